#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Shells, coreutils and Python under volnfs run: the same output on a volume as in a local folder.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
S=${VOLNFS_SRC:-.}/tests/shim
PY=/usr/bin/python3
[ -x "$PY" ] || PY=$(command -v python3)

run() { "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/mydata -- "$@"; }
same() {    # NAME: compares $T/local.out with $T/volume.out
    diff "$T/local.out" "$T/volume.out" >"$T/out"
    result $? "$1"
}

ok "the server starts" server_start
mkdir "$T/local"
ok "a volume is made and the status passed on" sh -c '! "$0" run -s "127.0.0.1:$1" -v alice/mydata -- sh -c "exit 3"' "$VOLNFS" "$PORT"
like "the volume is there" "$(volnfs list)" "alice/mydata"

(D=$T/local sh "$S/programs.sh" 2>&1 | sed "s,$T/local,DIR,g") >"$T/local.out"
(D=/volumes/mydata run sh "$S/programs.sh" 2>&1 | sed "s,/volumes/mydata,DIR,g") >"$T/volume.out"
same "programs under sh"
(D=$T/local bash "$S/programs.sh" 2>&1 | sed "s,$T/local,DIR,g") >"$T/local.out"
(D=/volumes/mydata run bash "$S/programs.sh" 2>&1 | sed "s,/volumes/mydata,DIR,g") >"$T/volume.out"
same "programs under bash"
(D=$T/local T=$T sh "$S/libraries.sh" 2>&1 | sed "s,$T/local,DIR,g") >"$T/local.out"
(D=/volumes/mydata T=$T run sh "$S/libraries.sh" 2>&1 | sed "s,/volumes/mydata,DIR,g") >"$T/volume.out"
same "programs whose libraries lie beside them"
if [ -n "$PY" ]; then
    ("$PY" "$S/python.py" "$T/local" 2>&1 | sed "s,$T/local,DIR,g") >"$T/local.out"
    (run "$PY" "$S/python.py" /volumes/mydata 2>&1 | sed "s,/volumes/mydata,DIR,g") >"$T/volume.out"
    same "python"
fi
server_stop
done_testing
