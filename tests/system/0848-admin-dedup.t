#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dedup=on: the same file, written several times, is stored once; and it stays whole when the others go.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

json() { python3 -c "import json, sys; d = json.load(sys.stdin); print($1)"; }
figure() { volnfs list alice/v --json | json "d[0][\"$1\"]"; }
cp_in() { volnfs cp -q -s "127.0.0.1:$PORT" "$T/data" "alice/v:/$1"; }
deduped() { volnfs status --json | json 'd["cache"]["deduped"]'; }
settled() { [ "$(figure logical)" = "$1" ] && [ "$(figure stored)" -le "$2" ] && [ "$(figure stored)" -gt 0 ]; }

ok "the server starts" server_start
ok "create" volnfs create alice/v -o dedup=on
is "it is on" "$(volnfs get alice/v dedup)" on
not_ok "not a value" volnfs set alice/v dedup=maybe
head -c 12000000 /dev/urandom >"$T/data"
ok "a file" cp_in one
ok "it counts" wait_for 20 settled 12000000 12100000
ok "a copy" cp_in two
ok "costs nothing" wait_for 20 settled 24000000 12100000
is "which is told" "$(deduped)" "$((12000000 / 131072 * 131072 + (12000000 % 131072 >= 65536 ? 12000000 % 131072 : 0)))"
like "to people, too" "$(volnfs status)" "not stored again"
ok "the server is killed" server_kill9
ok "and starts again" server_start
ok "one more copy" cp_in three
ok "costs nothing either" wait_for 20 settled 36000000 12100000
ok "the first ones go" volnfs rm -s "127.0.0.1:$PORT" alice/v:/one alice/v:/two
ok "what they shared stays" wait_for 20 settled 12000000 12100000
ok "off" volnfs set alice/v dedup=off
ok "then a copy is one" cp_in four
twice() { settled 24000000 24200000 && [ "$(figure stored)" -gt 23000000 ]; }
ok "in full" wait_for 20 twice
ok "the copies are what was written" sh -c "for f in three four; do '$VOLNFS' cp -q -s 127.0.0.1:$PORT alice/v:/\$f '$T'/\$f && cmp '$T/data' '$T'/\$f || exit 1; done"
ok "check" volnfs check --data alice/v
ok "the server stops" server_stop
ok "check, server down" volnfs check --data alice/v
ok "the server starts at last" server_start
ok "destroy" volnfs destroy alice/v
ok "it stops" server_stop
done_testing
