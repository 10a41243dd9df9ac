#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Locks of renamed and removed files and of directories under volnfs run; removed files give their space back.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
PY=/usr/bin/python3
[ -x "$PY" ] || PY=$(command -v python3) || skip_all "no python3"

at() { timeout 200 "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- "$@"; }
renamer() {
    for _ in 1 2; do
        wait_for 100 at test -e /volumes/a/please
        at sh -c 'cd /volumes/a && mv y/h y/i && rm please'
    done
}

ok "the server starts" server_start
renamer >/dev/null 2>&1 &
renamer_pid=$!
is "locks follow renames; names that are gone; directories" \
    "$(at "$PY" "${VOLNFS_SRC:-.}/tests/shim/moved.py" /volumes/a 2>&1)" done
wait $renamer_pid
server_stop
done_testing
