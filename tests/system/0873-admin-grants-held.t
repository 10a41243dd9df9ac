#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Grants: what clients hold when their grants go, and what others may do to it.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not installed"
src=${VOLNFS_SRC:-.}
ok "starts" server_start --cache-size 64M --lease-time 5
held() {
    PYTHONPATH=$src/tests/lib:$src/tests/grants python3 -B "$src/tests/grants/held.py" "$PORT" "$VOLNFS" "$T/store" \
        "$T/handles" "$@" >>"$T/cases" 2>"$T/errors" || { echo "not ok the test ends"; cat "$T/errors"; } >>"$T/cases"
}
held
ok "stops" server_stop
ok "starts again" server_start --cache-size 64M --lease-time 5
held again
while read -r line; do
    case $line in
    "ok "*) ok "${line#ok }" true ;;
    "not ok "*) not_ok "${line#not ok }" true ;;
    *) echo "$line" ;;
    esac
done <"$T/cases"
is "groups" "$(grep -c '^ok' "$T/cases")" "7"
ok "the server ends" server_stop
done_testing
