#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The README's commands for users and operators, run as they are written, one after the other: in a network and with a
# /srv and /volumes of their own. Its mounts are run by 0650, in a Linux client.
if [ -z "$VOLNFS_README_INSIDE" ]; then
    . "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
    flags=-mn
    [ "$(id -u)" = 0 ] || flags=-Urmn
    unshare $flags true 2>/dev/null || skip_all "no namespaces of one's own here"
    [ -d /srv ] || skip_all "there is no /srv to put a folder over"
    export VOLNFS_README_INSIDE=$T VOLNFS_BUILD VOLNFS_SRC
    unshare $flags "$BASH" "$0"
    exit
fi
# The outer one removes the folder.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
inner=$(mktemp -d "$VOLNFS_README_INSIDE/in.XXXXXX") && rm -rf "$T" && T=$inner
src=$(cd "${VOLNFS_SRC:-.}" && pwd)
build=$(cd "$VOLNFS_BUILD" && pwd)
ip link set lo up && mount -t tmpfs tmpfs /srv || skip_all "no folders of one's own here"
mkdir "$T/bin" "$T/work"
for program in volnfs volnfsd; do ln -s "$build/$program" "$T/bin/"; done
PATH=$T/bin:$PATH
cd "$T/work" || exit 1

# The lines of the block after the line $1, without the comments behind them.
block() {
    awk -v head="$1" '$0 == head { on = 1; next } on && /^[^ ]/ { exit } on && /^    / { sub(/^    /, ""); print }' "$src/README" |
        sed 's/  *# .*//'
}
serve() {
    [ -z "$server_pid" ] || server_stop || return 1
    : >"$T/ready"
    "$@" >"$T/ready" 2>>"$T/log" &
    server_pid=$!
    wait_for 120 server_ready && grep -q 'ready: ' "$T/ready" || { cat "$T/ready" "$T/log"; return 1; }
}
run_block() {
    local line
    while read -r line; do
        case $line in
        "volnfsd "*) ok "$line" serve $line ;;
        mount\ *) ;; # 0650 runs these in a Linux client
        *) ok "$line" timeout 200 bash -c "$line" ;;
        esac
    done
}
use=$(block "Use it:")
operate=$(block "Run it for others:")
is "the README has both blocks" "$([ "$(echo "$use" | wc -l)" -ge 7 ] && [ "$(echo "$operate" | wc -l)" -ge 9 ] && echo yes)" yes
run_block <<<"$use"
run_block <<<"$operate"
like "the status page is where it says" "$(python3 -c 'import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9049/").status)' 2>&1)" 200
ok "the backup is there" test -d /srv/backup
ok "the dump, too" test -s /srv/backup.dump
[ -z "$server_pid" ] || ok "the server stops" server_stop
cd / && umount -l /srv
done_testing
