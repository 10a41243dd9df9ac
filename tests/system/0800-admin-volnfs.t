#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The volnfs command: verbs, exit status, JSON, the server up and down.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

json() { python3 -c "import json, sys; d = json.load(sys.stdin); print($1)"; }

not_ok "no verb" "$VOLNFS"
not_ok "an unknown verb" volnfs frobnicate
not_ok "no store given" env -u VOLNFS_STORE "$VOLNFS" list
not_ok "no server there" volnfs list
like "it says what and why" "$(cat "$T/out")" "$T/store"
ok "the server starts" server_start

for name in mydata alice/ /mydata alice/my/data alice/.. alice/. ../x "alice/$(printf 'n%.0s' $(seq 300))"; do
    not_ok "create '$(printf %.20s "$name")' is refused" volnfs create "$name"
done
ok "create" volnfs create alice/mydata
not_ok "create it again" volnfs create alice/mydata
ok "create with properties" volnfs create alice/raw -o compression=off,quota=10M
ok "create for another user" volnfs create bob/data

like "list" "$(volnfs list)" "^alice/mydata "
is "list --json" "$(volnfs list --json | json 'sorted(v["name"] for v in d)')" "['alice/mydata', 'alice/raw', 'bob/data']"
is "list of a user" "$(volnfs list alice --json | json 'len(d)')" 2
ok "sizes are numbers" sh -c "'$VOLNFS' --store '$T/store' list --json | python3 -c '
import json, sys
for v in json.load(sys.stdin):
    assert v[\"logical\"] >= 0 and v[\"stored\"] >= 0 and v[\"files\"] == 0, v'"

is "get one property" "$(volnfs get alice/raw compression)" off
is "get a size" "$(volnfs get alice/raw quota)" 10M
not_ok "get an unknown property" volnfs get alice/raw colour
not_ok "get of a volume that is not there" volnfs get alice/none
ok "set" volnfs set alice/raw readonly=on
is "is set" "$(volnfs get alice/raw readonly)" on
not_ok "set to nonsense" volnfs set alice/raw readonly=perhaps
not_ok "set of an unknown property" volnfs set alice/raw colour=red
is "is unchanged" "$(volnfs get alice/raw readonly)" on

not_ok "destroy what is not there" volnfs destroy alice/none
ok "destroy" volnfs destroy alice/raw
is "is gone" "$(volnfs list --json | json 'sorted(v["name"] for v in d)')" "['alice/mydata', 'bob/data']"
ok "check with the server up" volnfs check --all
ok "properties outlive a restart: set" volnfs set alice/mydata quota=1G
ok "properties outlive a restart: stop" server_stop
ok "check with the server down" volnfs check --all
ok "check --data --json" sh -c "'$VOLNFS' --store '$T/store' check --data --json --all | python3 -c '
import json, sys
assert all(v[\"clean\"] for v in json.load(sys.stdin))'"
not_ok "check of a volume that is not there" volnfs check alice/none
ok "properties outlive a restart: start" server_start
is "properties outlive a restart" "$(volnfs get alice/mydata quota)" 1G
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 711 "$T" "$T/store"
    chmod 666 "$T/store/control.sock"
    not_ok "another user may not create" setpriv --reuid 65534 --clear-groups "$VOLNFS" --store "$T/store" create eve/x
    chmod 700 "$T/store"
fi
done_testing
