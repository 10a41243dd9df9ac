#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Grants and tokens as people meet them: volnfs run, --token-file, doctor, the log, a store from before grants.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
command -v sqlite3 >/dev/null || skip_all "sqlite3 is not installed"
ok "starts" server_start --cache-size 64M
here=127.0.0.1:$PORT
run() { "$VOLNFS" run -s "$here" "$@"; }
text() { "$@" 2>&1; }
ok "a volume" run -v alice/mydata -- sh -c 'mkdir -p /volumes/mydata/runs/42 && echo in >/volumes/mydata/runs/42/f && echo out >/volumes/mydata/g'

# Tokens.
volnfs token alice/mydata --subpath runs/42 --ro --expires 1h >"$T/ro.token"
volnfs token alice/mydata >"$T/mydata.token"
volnfs token alice/mydata --expires 1s >"$T/short"
is "a token's volume" "$(run --token-file "$T/mydata.token" -- cat /volumes/mydata/g)" "out"
is "it can be written" "$(run -t "$T/mydata.token" -- sh -c 'echo new >/volumes/mydata/n && cat /volumes/mydata/n')" "new"
is "a token's folder, elsewhere" "$(run -t "$T/ro.token=/volumes/x" -- sh -c 'cat /volumes/x/f; ls -a /volumes/x | wc -l')" "in
3"
like "it cannot be written" "$(text run -t "$T/ro.token=/volumes/x" -- sh -c 'echo >/volumes/x/f')" "Read-only file system"
volnfs set alice/mydata readonly=on
like "nor a file of a volume that is read only" "$(text run -v alice/mydata -- sh -c 'echo >>/volumes/mydata/g')" "Read-only file system"
like "nor cut" "$(text run -v alice/mydata -- truncate -s 0 /volumes/mydata/g)" "Read-only file system"
volnfs set alice/mydata readonly=off
not_ok "nor is there a way out" run -t "$T/ro.token=/volumes/x" -- cat /volumes/x/../../g
is "the environment names it" "$(VOLNFS_TOKEN_FILE=$T/mydata.token run -- ls /volumes/mydata | tr '\n' ' ')" "g n runs "
secret=$(sed 's/.*\.//' "$T/mydata.token")
is "no process shows the secret" "$(run -t "$T/mydata.token" -- sh -c 'env; cat /proc/self/cmdline /proc/self/mounts' |
    grep -ac -e "$secret")" "0"
like "doctor knows a good one" "$(text "$VOLNFS" doctor -s "$here" --token-file "$T/ro.token")" "ok .*token.* is good"
over() { text "$VOLNFS" doctor -s "$here" -t "$T/short" | grep -q "token expired"; }
ok "doctor says when it is over" wait_for 60 over
like "and so does run" "$(text run -t "$T/short" -- true)" "the token for /volumes/short: expired at"
echo 1.AAAA >"$T/wrong"
like "doctor on a wrong one" "$(text "$VOLNFS" doctor -s "$here" -t "$T/wrong")" "no such token"
like "run on a wrong one" "$(text run -t "$T/wrong" -- true)" "mistyped, revoked"
printf '../x\n' >"$T/wrong"
like "what is no token" "$(text run -t "$T/wrong" -- true)" "there is no token in the file"
like "no file" "$(text run -t "$T/none" -- true)" "No such file"
id=$(volnfs grants | awk '$2 == "token" && $4 == "rw" && $6 == "never" { print $1 }')
run -t "$T/mydata.token" -- sh -c 'exec 3</volumes/mydata/g; echo ready >"$1/ready2"; while [ ! -e "$1/revoked" ]; do sleep 0.05; done
    cat <&3; cat /volumes/mydata/g' sh "$T" >"$T/held" 2>&1 &
held=$!
wait_for 60 test -s "$T/ready2"
ok "revoke" volnfs revoke "$id"
: >"$T/revoked"
wait $held
is "an open file after that" "$(grep -c 'Permission denied' "$T/held")" "2"
like "and its token" "$(text run -t "$T/mydata.token" -- true)" "mistyped, revoked"
is "no secret is in the log" "$(grep -c -e "$secret" "$T/log" "$T/ready" | grep -vc ':0')" "0"

# Networks.
ok "this machine loses its grant" volnfs revoke 127.0.0.0/8 /
like "doctor says so" "$(text "$VOLNFS" doctor -s "$here" -v alice/mydata)" "no grant: the server shows this machine nothing"
like "run says so" "$(text run -v alice/mydata -- true)" "no grant gives it"
like "ls finds nothing" "$(text "$VOLNFS" ls -s "$here" alice/mydata:/)" "no volume alice/mydata on this server, or none that you may see"
ok "one volume, to read" volnfs grant 127.0.0.1 alice/mydata --ro --squash all
is "is read" "$(run -v alice/mydata:ro -- cat /volumes/mydata/g)" "out"
like "and not written" "$(text run -v alice/mydata -- sh -c 'echo >/volumes/mydata/g')" "Read-only file system|Permission denied"
like "and none is made" "$(text run -v alice/other -- true)" "no grant gives it"
ok "it may be written" volnfs grant 127.0.0.1 alice/mydata --squash all --anon 4711:4712
run -v alice/mydata -- sh -c 'chmod 777 /volumes/mydata' 2>/dev/null
volnfs grant ::1 / --create
ok "as somebody" test "$(volnfs grants alice/mydata | grep -c 'all=4711:4712')" = 1
like "bits behind a prefix" "$(text volnfs grant 10.1.0.0/8 /)" "10.0.0.0/8 is the network"
like "no such object" "$(text volnfs grant any alice/none)" "there is no 'alice/none'"
like "no such folder" "$(text volnfs token alice/mydata --subpath nowhere)" "there is no 'alice/mydata/nowhere'"
like "create on a volume" "$(text volnfs grant any alice/mydata --create)" "volumes are made there"
like "JSON" "$(volnfs grants --json)" '"squash": "all"'
ok "stops" server_stop

# A store from before grants, on a network.
sqlite3 "$T/store/state.db" 'DROP TABLE access; ALTER TABLE server DROP COLUMN next_grant; PRAGMA user_version = 1'
: >"$T/log"
ok "an old store" server_start --listen 0.0.0.0:0
like "says who gets in" "$(cat "$T/log")" "from before grants: from now on only this machine"
like "and how to let others in" "$(cat "$T/log")" "no grant lets any other machine in.*grant NETWORK /"
is "this machine" "$(volnfs grants | awk 'NR > 1 { print $2, $3, $4 }')" "127.0.0.0/8 / rw,create
::1 / rw,create"
ok "stops" server_stop
: >"$T/log"
ok "with a grant" server_start --listen 0.0.0.0:0 --grant '10.0.0.0/8 alice ro'
is "there is nothing to say" "$(grep -c 'no grant lets' "$T/log")" "0"
like "it is listed" "$(volnfs grants)" "start +10.0.0.0/8 +alice +ro"
not_ok "and not revoked by a number" volnfs revoke 9223372036854775807
ok "stops" server_stop
done_testing
