#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfsd's command line: what it refuses, the line it prints, its end, one server per store.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

not_ok "no store" "$VOLNFSD"
not_ok "an unknown option" "$VOLNFSD" --store "$T/x" --no-such-option
not_ok "an address without a port" "$VOLNFSD" --store "$T/x" --listen 127.0.0.1
not_ok "a port too large" "$VOLNFSD" --store "$T/x" --listen 127.0.0.1:65536
not_ok "a lease time that is no number" "$VOLNFSD" --store "$T/x" --lease-time soon
not_ok "a cache of nothing" "$VOLNFSD" --store "$T/x" --cache-size 0
: >"$T/file"
not_ok "a store that is a file" "$VOLNFSD" --store "$T/file" --listen 127.0.0.1:0
like "it says which" "$(cat "$T/out")" "$T/file"
not_ok "a store in a folder that is not there" "$VOLNFSD" --store "$T/no/store" --listen 127.0.0.1:0
like "it says what to do" "$(cat "$T/out")" "$T/no/store: the folder it would be in is missing; make that first"
not_ok "a store where nobody may write" "$VOLNFSD" --store /sys/volnfs --listen 127.0.0.1:0
like "it says what to do" "$(cat "$T/out")" "give the folder to user id $(id -u), or choose another"

ok "starts, makes the store" server_start
ok "the store is there" test -d "$T/store"
is "only its owner may look into the store" "$(stat -c %a "$T/store")" 700
is "one line when ready" "$(wc -l <"$T/ready")" 1
like "the line has the port" "$(cat "$T/ready")" "127\.0\.0\.1:$PORT$"
not_ok "a second server on the store is refused" "$VOLNFSD" --store "$T/store" --listen 127.0.0.1:0
like "and says why" "$(cat "$T/out")" "another|in use|locked|already"
not_ok "a second server on the port is refused" "$VOLNFSD" --store "$T/other" --listen "127.0.0.1:$PORT"
ok "a volume is made" volnfs create alice/mydata
ok "SIGTERM is a clean end" server_stop
ok "starts again on its store" server_start
like "the volume is still there" "$(volnfs list)" "alice/mydata"
ok "SIGINT is a clean end" sh -c "kill -INT $server_pid; while kill -0 $server_pid 2>/dev/null; do sleep 0.05; done"
wait "$server_pid"
is "with status 0" $? 0
ok "starts again" server_start
server_kill9
ok "starts after kill -9" server_start
like "the volume is still there after kill -9" "$(volnfs list)" "alice/mydata"
printf 'listen = 127.0.0.1:0\n' >"$T/conf"
server_stop
ok "takes a configuration file" server_start --config "$T/conf"
server_stop
# shellcheck disable=SC2046
ok "serves at 32 addresses" server_start $(seq 31 | sed 's/.*/--listen 127.0.0.1:0/')
is "and names them all" "$(grep -o '127.0.0.1:[1-9][0-9]*' "$T/ready" | sort -u | wc -l)" 32
server_stop
printf 'no-such-key = 1\n' >"$T/conf"
not_ok "refuses an unknown key in it" "$VOLNFSD" --store "$T/store" --config "$T/conf"
printf 'store = /nowhere\n  lease-time = never\n' >"$T/conf"
not_ok "takes a line that begins with blanks as one of its own" "$VOLNFSD" --check-config --config "$T/conf"
like "and says which" "$(cat "$T/out")" "conf:2: 'never' is not a value of lease-time"
done_testing
