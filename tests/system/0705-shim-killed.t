#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Locks under volnfs run: what killed processes held is free again within two seconds; signals while waiting.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
PY=/usr/bin/python3
[ -x "$PY" ] || PY=$(command -v python3) || skip_all "no python3"

at() { "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a "$@"; }

ok "the server starts" server_start
is "killed holders, shared descriptions, exec, threads, signals" \
    "$(at -- "$PY" "${VOLNFS_SRC:-.}/tests/shim/killed.py" /volumes/a 2>&1)" done
# Another run is another client: it must get the lock as well, long before the lease of 90 s ends.
at -- sh -c 'exec 9>/volumes/a/x; flock 9; echo up >/volumes/a/held; kill -9 $$' >/dev/null 2>&1
ok "a lock of a killed run's process, from another run" timeout 60 "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- flock -w 45 /volumes/a/x true
server_stop
done_testing
