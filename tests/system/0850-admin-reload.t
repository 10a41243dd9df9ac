#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SIGHUP: what may change while the server runs changes, what needs a restart is named, a wrong file changes nothing;
# the log's forms; SIGTERM while a client works.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
conf() { printf 'store = %s\nlisten = 127.0.0.1:%s\n' "$T/store" "$PORT" >"$T/conf"; printf '%s\n' "$@" >>"$T/conf"; }
lines() { wc -l <"$T/log"; }
since() { tail -n "+$((mark + 1))" "$T/log"; }
# Reads the file again and waits until the log says what came of it.
said() { since | grep -Eq 'was read again|was not taken over'; }
hup() {
    mark=$(lines)
    kill -HUP "$server_pid"
    wait_for 60 said
}
# What NFS operations one listing makes.
list() { "$VOLNFS" ls -s "127.0.0.1:$PORT" alice/mydata:/; }

conf
ok "the server starts with a file" server_start --config "$T/conf"
conf
ok "a volume" volnfs create alice/mydata
mark=$(lines)
list
is "quiet by default" "$(since)" ""
conf 'debug = ops'
ok "the file is read again" hup
mark=$(lines)
ok "a client works" list
like "one line per operation" "$(since)" "^volnfsd: debug: conn=[0-9]+ xid=[0-9a-f]{8} op=READDIR status=OK volume=[0-9]+ ino=1 uid=[0-9]+ read=0 written=0$"
is "and of nothing else" "$(since | grep -cv ' op=')" 0
conf 'debug = rpc,state,store' 'log-format = json'
ok "and again" hup
mark=$(lines)
list
ok "every line is JSON" sh -c "tail -n +$((mark + 1)) '$T/log' | python3 -c '
import json, sys
lines = [json.loads(l) for l in sys.stdin]
assert lines and all(l[\"level\"] == \"debug\" and l[\"program\"] == \"volnfsd\" for l in lines)
assert {l[\"topic\"] for l in lines} - {\"store\"} == {\"rpc\"}, lines # the store may be busy with the volume still
'"
ok "a client with state" "$VOLNFS" cp -q -s "127.0.0.1:$PORT" "$T/conf" alice/mydata:/conf
like "the client is told of" "$(since)" '"topic":"state","message":"client=[0-9a-f]+ minor=. principal=.* confirmed"'
committed() { since | grep -q '"topic":"store","message":"alice/mydata: commit='; }
ok "and the commit of the change" wait_for 60 committed
conf 'lease-time = 17' 'cache-size = 64M'
ok "keys that need a restart" hup
like "are named" "$(since)" "warn.*lease-time has changed: that needs a restart"
like "each of them" "$(since)" "warn.*cache-size has changed"
is "and no others" "$(since | grep -c 'needs a restart')" 2
conf 'debug = ops' 'lease-tim = 17'
ok "a file that is wrong" hup
like "is named with its line" "$(since)" "conf:4: there is no key 'lease-tim'"
mark=$(lines)
list
is "and changes nothing" "$(since)" ""
conf 'max-client-connections = 3'
ok "limits can change" hup
ok "and hold at once" python3 -B - "$PORT" <<'END'
import socket, sys, time
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(6)]
closed = set()
def look():
    for s in set(held) - closed:
        s.settimeout(0.1)
        try:
            if s.recv(1) == b"":
                closed.add(s)
        except socket.timeout:
            pass
        except ConnectionError:
            closed.add(s)
end = time.monotonic() + 60
while len(closed) < 3 and time.monotonic() < end:
    look()
look()
sys.exit(len(closed) != 3)
END
conf
ok "and go back" hup

# A stop and a start while a client copies: it waits, and the copy is whole.
head -c 60000000 /dev/urandom >"$T/big"
"$VOLNFS" cp -q -s "127.0.0.1:$PORT" "$T/big" alice/mydata:/big 2>"$T/cp" &
copier=$!
begun() { "$VOLNFS" ls -a -s "127.0.0.1:$PORT" alice/mydata:/ | grep -q big; }
ok "a copy is under way" wait_for 60 begun
ok "SIGTERM ends it" server_stop
ok "it starts again" server_start
wait $copier
is "the client saw a pause only" "$? $(cat "$T/cp")" "0 "
ok "and nothing is missing" sh -c "'$VOLNFS' cat -s 127.0.0.1:$PORT alice/mydata:/big | cmp - '$T/big'"
ok "SIGTERM ends it again" server_stop
done_testing
