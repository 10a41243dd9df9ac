#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Threads, forks and signal handlers that meet in the middle of calls on volumes.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
PY=/usr/bin/python3
[ -x "$PY" ] || PY=$(command -v python3) || skip_all "no python3"

ok "the server starts" server_start
is "closing what others use, forks, handlers" \
    "$(timeout 100 "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- "$PY" "${VOLNFS_SRC:-.}/tests/shim/races.py" /volumes/a 2>&1)" done
server_stop
done_testing
