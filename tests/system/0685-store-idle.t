#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Many volumes, of which few may be open: all are listed, each is there when it is asked for, also after a crash; a destroyed
# one is gone at once and its space soon, whatever happens to the server.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

VOLUMES='v0 v1 v2 v3 v4 v5 v6 v7'
is_open() { find "/proc/$server_pid/fd" -lname "$T/store/volumes/*/lock" 2>/dev/null | wc -l; }
few_open() { [ "$(is_open)" -le 3 ]; }
none_open() { [ "$(is_open)" = 0 ]; }
names() { volnfs list --json | python3 -c "import json, sys; print(*sorted(v['name'] for v in json.load(sys.stdin)))"; }
all_hold() {    # each volume has the file's bytes, as the list says
    volnfs list --json | python3 -c "
import json, sys
sys.exit(any(v['logical'] != 300000 or v['files'] != 1 for v in json.load(sys.stdin)))"
}
put() {
    for v in $VOLUMES; do
        volnfs cp -q -s "127.0.0.1:$PORT" "$T/data-$v" "alice/$v:/f" && few_open || return 1
    done
}
compare() {
    for v in $VOLUMES; do
        rm -f "$T/back"
        volnfs cp -q -s "127.0.0.1:$PORT" "alice/$v:/f" "$T/back" && cmp "$T/back" "$T/data-$v" && few_open || return 1
    done
}
no_trash() { [ -z "$(find "$T/store/volumes" -maxdepth 1 -name 'trash-*')" ]; }
few_folders() { [ "$(find "$T/store/volumes" -mindepth 1 -maxdepth 1 | wc -l)" = "$1" ]; }

start() { server_start --lease-time 2 --grace-time 1 "$@"; }

ok "the server starts" start --max-open-volumes 3 --idle-time 1
for v in $VOLUMES; do
    head -c 300000 /dev/urandom >"$T/data-$v"
    volnfs create "alice/$v" >/dev/null || exit 1
done
ok "files in all of them, few open at a time" put
ok "and back" compare
ok "the list has all figures" wait_for 20 all_hold
is "and all names" "$(names | tr ' ' '\n' | sed 's,.*/,,' | tr '\n' ' ')" "$(echo $VOLUMES | tr '\n' ' ' )"
ok "few are open" few_open
ok "status lists them, too" sh -c "'$VOLNFS' --store '$T/store' status --json | grep -q '\"logical\": *300000'"
ok "the server is killed" server_kill9
ok "and starts again" start --max-open-volumes 3 --idle-time 1
ok "the list is right" wait_for 20 all_hold
ok "and all that was in them is there" compare
ok "the server stops" server_stop
ok "and starts again" start --max-open-volumes 3 --idle-time 1
ok "a list" all_hold
ok "opens none" none_open

ok "one is destroyed" volnfs destroy alice/v0
ok "its space comes back" wait_for 20 few_folders 7
ok "another" volnfs destroy alice/v1
ok "the server is killed at once" server_kill9
ok "and starts again" start
ok "the rest of it goes" wait_for 20 few_folders 6
ok "no trash is left" no_trash
not_ok "it is gone" volnfs get alice/v1 readonly
VOLUMES='v2 v3 v4 v5 v6 v7'
few_open() { true; }
ok "the others are there" compare
ok "it stops" server_stop
done_testing
