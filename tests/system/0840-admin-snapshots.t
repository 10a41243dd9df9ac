#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Snapshots through the command and the preload client.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

json() { python3 -c "import json, sys; d = json.load(sys.stdin); print($1)"; }

ok "the server starts" server_start
ok "a volume" volnfs create alice/mydata
run_in() { "$VOLNFS" run -s "127.0.0.1:$PORT" "$@"; }
ok "files" run_in -v alice/mydata -- sh -c 'cd /volumes/mydata && echo one >f && mkdir d && seq 20000 >d/g'

for name in alice/mydata alice/mydata@ alice/mydata@a/b alice/mydata@-x alice/none@x "alice/mydata@$(printf 'n%.0s' $(seq 64))"; do
    not_ok "snapshot create '$(printf %.30s "$name")' is refused" volnfs snapshot create "$name"
done
not_ok "no action" volnfs snapshot
not_ok "an unknown one" volnfs snapshot frobnicate
ok "create" volnfs snapshot create alice/mydata@monday
not_ok "create it again" volnfs snapshot create alice/mydata@monday
like "it says so" "$(cat "$T/out")" "already"
ok "changes" run_in -v alice/mydata -- sh -c 'cd /volumes/mydata && echo two >f && rm d/g'
is "the snapshot has what was, at its own name" \
    "$(run_in -v alice/mydata@monday:ro=/snap -- sh -c 'cat /snap/f; tail -n1 /snap/d/g' | tr '\n' ' ')" "one 20000 "
is "and in .snapshots" "$(run_in -v alice/mydata -- sh -c 'cat /volumes/mydata/f /volumes/mydata/.snapshots/monday/f' | tr '\n' ' ')" "two one "
is "which is listed itself" "$(run_in -v alice/mydata -- ls /volumes/mydata/.snapshots)" monday
is "but not in the root" "$(run_in -v alice/mydata -- ls -A /volumes/mydata | tr '\n' ' ')" "d f "
ok "unless one wants it" volnfs set alice/mydata snapdir=visible
is "to be visible" "$(run_in -v alice/mydata -- ls -A /volumes/mydata | tr '\n' ' ')" ".snapshots d f "
not_ok "no writing there" run_in -v alice/mydata -- sh -c 'echo x >/volumes/mydata/.snapshots/monday/f'
not_ok "no removing" run_in -v alice/mydata -- rm -r /volumes/mydata/.snapshots/monday
is "cp takes it" "$(VOLNFS_SERVER=127.0.0.1:$PORT "$VOLNFS" cat alice/mydata@monday:/f)" one
held() { volnfs list alice/mydata --json | json "$1"; }
counted() { [ "$(held 'd[0]["held"] > 1000 and d[0]["snapshots"] == 1')" = True ]; }
ok "what it holds is counted, soon" wait_for 60 counted
is "list" "$(volnfs snapshot list --json | json '[s["name"] for s in d]')" "['alice/mydata@monday']"
like "list of a volume" "$(volnfs snapshot list alice/mydata)" "^alice/mydata@monday "
not_ok "list of one that is not there" volnfs snapshot list alice/none
ok "rename" volnfs snapshot rename alice/mydata@monday tuesday
ok "check, server up" volnfs check --data --all
ok "the server stops" server_stop
ok "check, server down" volnfs check --data --all
ok "the server starts again" server_start
is "the snapshot is there, with its new name" "$(run_in -v alice/mydata@tuesday:ro=/snap -- cat /snap/f)" one
ok "clone" volnfs clone alice/mydata@tuesday bob/copy
not_ok "clone into what is there" volnfs clone alice/mydata@tuesday bob/copy
not_ok "clone what is not there" volnfs clone alice/mydata@none bob/more
is "it has what was" "$(run_in -v bob/copy=/c -- sh -c 'cat /c/f; tail -n1 /c/d/g' | tr '\n' ' ')" "one 20000 "
ok "it can be written" run_in -v bob/copy=/c -- sh -c 'echo three >/c/f && seq 30000 >/c/d/g && sync'
is "and is a volume of its own" "$(run_in -v alice/mydata -v alice/mydata@tuesday:ro=/snap -- cat /volumes/mydata/f /snap/f | tr '\n' ' ')" "two one "
ok "more changes" run_in -v alice/mydata -- sh -c 'cd /volumes/mydata && mkdir -p new/deep && echo x >new/deep/y && mv d moved &&
    echo z >moved/z && chmod 600 f'
is "diff until now" "$(volnfs diff alice/mydata@tuesday | tr '\n' ' ')" \
    "M / - /d/g M /f R /d -> /moved + /moved/z + /new + /new/deep + /new/deep/y "
ok "another snapshot" volnfs snapshot create alice/mydata@wednesday
ok "and back" run_in -v alice/mydata -- sh -c 'cd /volumes/mydata && mv f g'
is "diff of two" "$(volnfs diff alice/mydata@tuesday alice/mydata@wednesday --json | json '[(x["change"], x["path"]) for x in d][:3]')" \
    "[('M', '/'), ('-', '/d/g'), ('M', '/f')]"
is "backwards" "$(volnfs diff alice/mydata@wednesday alice/mydata@tuesday | grep -c '^- /new')" 3
is "only a name" "$(volnfs diff alice/mydata@wednesday | tr '\n' ' ')" "M / R /f -> /g "
ok "back again" run_in -v alice/mydata -- mv /volumes/mydata/g /volumes/mydata/f
is "nothing" "$(volnfs diff alice/mydata@tuesday alice/mydata@tuesday)" ""
not_ok "diff of what is not there" volnfs diff alice/mydata@none
not_ok "diff of two volumes" volnfs diff alice/mydata@tuesday bob/copy@x
not_ok "rollback with a younger one" volnfs snapshot rollback alice/mydata@tuesday
not_ok "rollback, both ways" volnfs snapshot rollback -r -k alice/mydata@tuesday
ok "rollback under a reader" run_in -v alice/mydata -- sh -c 'exec 3</volumes/mydata/f
    "$1" --store "$2" snapshot rollback --keep-younger alice/mydata@tuesday >&2
    test "$(cat <&3)" = one && test "$(cat /volumes/mydata/f)" = one && test "$(tail -n1 /volumes/mydata/d/g)" = 20000' - "$(realpath "$VOLNFS")" "$T/store"
ok "and forward again" volnfs snapshot rollback alice/mydata@wednesday
is "to what was" "$(run_in -v alice/mydata -- sh -c 'cat /volumes/mydata/f; ls /volumes/mydata/d' | tr '\n' ' ')" "two "
ok "rollback that destroys" volnfs snapshot rollback -r alice/mydata@tuesday
is "leaves one" "$(volnfs snapshot list --json | json '[s["name"] for s in d]')" "['alice/mydata@tuesday']"
ok "check of both" volnfs check --data --all
ok "destroy" volnfs snapshot destroy alice/mydata@tuesday
not_ok "destroy it again" volnfs snapshot destroy alice/mydata@tuesday
is "nothing is left" "$(run_in -v alice/mydata -- ls /volumes/mydata/.snapshots)" ""
freed() { [ "$(held 'd[0]["held"]')" = 0 ]; }
ok "and its bytes are free again" wait_for 60 freed
ok "what was cloned can go" volnfs destroy alice/mydata
is "the clone stays" "$(run_in -v bob/copy=/c -- sh -c 'cat /c/f; tail -n1 /c/d/g' | tr '\n' ' ')" "three 30000 "
ok "check" volnfs check --data --all
done_testing
