# SPDX-License-Identifier: Apache-2.0
# Cases of a shell test as TAP, and a private volnfsd for it. To be sourced:
#
#     . "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
#     ok "a name" COMMAND...          passes if COMMAND succeeds; its output is shown when it does not
#     not_ok "a name" COMMAND...      passes if COMMAND fails, but not by a signal
#     is "a name" GOT WANTED
#     like "a name" TEXT PATTERN      PATTERN as in grep -E
#     cases_from "a name" COMMAND...  each "ok NAME" and "not ok NAME" that COMMAND prints is a case; a name fails if
#                                     COMMAND does. What it printed stays in $T/cases
#     server_start [OPTION...]; server_stop; server_kill9     on $PORT of 127.0.0.1, store $T/store, log $T/log
#     done_testing
#
# $T is a temporary folder. It and the server are gone when the script ends, however it ends.
VOLNFS_BUILD=${VOLNFS_BUILD:-.}
VOLNFSD=$VOLNFS_BUILD/volnfsd
VOLNFS=$VOLNFS_BUILD/volnfs
T=$(mktemp -d "${TMPDIR:-/tmp}/volnfs-test.XXXXXX") || exit 1
cases=0 failures=0 server_pid='' PORT=0

cleanup() {
    [ -z "$server_pid" ] || { kill -9 "$server_pid" && wait "$server_pid"; } 2>/dev/null
    rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

skip_all() { echo "1..0 # SKIP $*"; exit 0; }

result() {      # STATUS NAME
    cases=$((cases + 1))
    if [ "$1" = 0 ]; then
        echo "ok $cases - $2"
    else
        failures=$((failures + 1))
        echo "not ok $cases - $2"
        [ ! -s "$T/out" ] || sed 's/^/# /' "$T/out"
    fi
}

ok() {
    ok_name=$1
    shift
    "$@" >"$T/out" 2>&1
    result $? "$ok_name"
}

not_ok() {
    ok_name=$1
    shift
    "$@" >"$T/out" 2>&1
    status=$?
    [ $status -ne 0 ] && [ $status -lt 128 ]
    result $? "$ok_name"
}

is() {
    printf 'got:    %s\nwanted: %s\n' "$2" "$3" >"$T/out"
    [ "$2" = "$3" ]
    result $? "$1"
}

like() {
    printf 'not like %s:\n%s\n' "$3" "$2" >"$T/out"
    printf '%s\n' "$2" | grep -Eq -e "$3"
    result $? "$1"
}

cases_from() {
    cases_name=$1
    shift
    "$@" >"$T/cases" 2>"$T/errors" || { echo "not ok $cases_name"; sed 's/^/# /' "$T/errors"; } >>"$T/cases"
    : >"$T/out"
    while read -r cases_line; do
        case $cases_line in
        "ok "*) result 0 "${cases_line#ok }" ;;
        "not ok "*) result 1 "${cases_line#not ok }" ;;
        *) echo "$cases_line" ;;
        esac
    done <"$T/cases"
}

# Wait until COMMAND succeeds, at most SECONDS.
wait_for() {
    wait_left=$(($1 * 20))
    shift
    until "$@"; do
        wait_left=$((wait_left - 1))
        [ $wait_left -gt 0 ] || return 1
        sleep 0.05
    done
}

server_ready() { grep -q 'ready: ' "$T/ready" || ! kill -0 "$server_pid" 2>/dev/null; }

server_start() {
    : >"$T/ready"
    "$VOLNFSD" --store "$T/store" --listen "127.0.0.1:$PORT" "$@" >"$T/ready" 2>>"$T/log" &
    server_pid=$!
    if wait_for 120 server_ready && grep -q 'ready: ' "$T/ready"; then
        PORT=$(sed -n 's/.*ready: .*:\([0-9]*\)$/\1/p' "$T/ready")
        return 0
    fi
    cat "$T/ready" "$T/log"
    return 1
}

server_stop() {
    kill "$server_pid" && wait "$server_pid"
    server_status=$?
    server_pid=
    return $server_status
}

server_kill9() {
    { kill -9 "$server_pid"; wait "$server_pid"; } 2>/dev/null
    server_pid=
}

volnfs() { "$VOLNFS" --store "$T/store" "$@"; }

done_testing() {
    echo "1..$cases"
    exit $((failures > 0))
}
