#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# --user and the sandbox of a server that runs: who it is, what it may not, and that it serves all the same.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$server_pid/status"; }
round_trip() {
    head -c 3000000 /dev/urandom >"$T/f" && "$VOLNFS" cp -q -s "127.0.0.1:$PORT" "$T/f" alice/mydata:/f &&
        "$VOLNFS" cat -s "127.0.0.1:$PORT" alice/mydata:/f | cmp - "$T/f"
}

ok "the server starts" server_start --metrics 127.0.0.1:0
grep -q 'HAVE_SANITIZER 1' "$VOLNFS_BUILD/config.h" || # has no sandbox unless it is asked for
    is "it takes no new privileges" "$(field NoNewPrivs)" 1
if grep -q 'calls are not restricted\|HAVE_SANITIZER 1' "$T/log" "$VOLNFS_BUILD/config.h"; then
    echo "# no seccomp here"
else
    is "its calls are filtered" "$(field Seccomp)" 2
    is "those of all its threads" "$(cat /proc/"$server_pid"/task/*/status | sed -n 's/^Seccomp:\t//p' | sort -u)" 2
fi
ok "volumes are made" volnfs create alice/mydata
ok "and used" round_trip
ok "status is told" volnfs status
ok "snapshots are made" volnfs snapshot create alice/mydata@one
ok "it stops" server_stop
ok "it starts on what it wrote" server_start
ok "which is all there" sh -c "'$VOLNFS' cat -s 127.0.0.1:$PORT alice/mydata:/f | cmp - '$T/f'"
is "nothing was forbidden that it wanted" "$(grep -ci 'not permitted\|permission denied' "$T/log")" 0
ok "it stops again" server_stop
ok "without the sandbox" server_start --sandbox off
is "there is none" "$(field Seccomp)" 0
ok "it stops" server_stop

not_ok "there is no such user" "$VOLNFSD" --store "$T/other" --listen 127.0.0.1:0 --user no-such-user
like "which it says" "$(cat "$T/out")" "there is no user no-such-user"
if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
    not_ok "a store of root is not one for others" timeout 60 "$VOLNFSD" --store "$T/store" --listen 127.0.0.1:0 --user nobody
    like "which it says" "$(cat "$T/out")" "does not belong to nobody; .*chown -R nobody"
    rm -rf "$T/store"
    chmod 711 "$T"
    # A port that only root may bind, in a network of its own.
    if unshare -n true 2>/dev/null; then
        PORT=0
        ok "as another user" server_start --user nobody
        is "it is that user for good" "$(field Uid)" "$(id -u nobody)	$(id -u nobody)	$(id -u nobody)	$(id -u nobody)"
        is "with its group" "$(field Gid | cut -f1)" "$(id -g nobody)"
        is "and without root's groups" "$(field Groups | tr -d ' ')" "$(id -G nobody | tr -d ' ')"
        is "it has no capabilities" "$(field CapEff) $(field CapPrm) $(field CapInh) $(field CapAmb)" \
            "0000000000000000 0000000000000000 0000000000000000 0000000000000000"
        is "the store is the user's" "$(stat -c %U "$T/store" "$T/store/state.db" | sort -u)" nobody
        ok "volumes are made" volnfs create alice/mydata
        ok "and used" round_trip
        ok "it stops" server_stop
        rm -rf "$T/store"
        cat >"$T/low" <<END
ip link set lo up
"$VOLNFSD" --store "$T/store" --listen 127.0.0.1:987 --user nobody >"$T/lowlog" 2>&1 &
pid=\$!
for i in \$(seq 1200); do grep -q ready "$T/lowlog" && break; sleep 0.1; done
"$VOLNFS" --store "$T/store" create alice/low && "$VOLNFS" ls -s 127.0.0.1:987 alice/low:/
status=\$?
kill \$pid
wait \$pid || status=2
cat "$T/lowlog"
exit \$status
END
        ok "a port below 1024 is bound before" unshare -n sh "$T/low"
    fi
else
    not_ok "only root can become another user" timeout 60 "$VOLNFSD" --store "$T/other" --listen 127.0.0.1:0 --user root
fi
done_testing
