#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Bad pointers under volnfs run: the errnos of a local folder, and the program's own SIGSEGV handlers.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
PY=/usr/bin/python3
[ -x "$PY" ] || PY=$(command -v python3) || skip_all "no python3"
S=${VOLNFS_SRC:-.}/tests/shim

ulimit -c 0
ok "the server starts" server_start
mkdir "$T/local"
"$PY" "$S/badmem.py" "$T/local" >"$T/local.out" 2>&1
timeout 60 "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- "$PY" "$S/badmem.py" /volumes/a >"$T/volume.out" 2>&1
like "the script comes to its end" "$(tail -n 1 "$T/local.out")" '^done$'
diff "$T/local.out" "$T/volume.out" >"$T/out"
result $? "the same on a volume"
"$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/a -- "$PY" "$S/badmem.py" "$T/local" >"$T/volume.out" 2>&1
diff "$T/local.out" "$T/volume.out" >"$T/out"
result $? "the same in a local folder beside a volume"
server_stop
done_testing
