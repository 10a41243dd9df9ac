#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# git, tar, rsync, coreutils, editors, gcc, node, sqlite3 and numpy under volnfs run: the same output and the same tree
# as in a local folder; once more in a user namespace without any right.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
S=${VOLNFS_SRC:-.}/tests/shim
PY=/usr/bin/python3
[ -x "$PY" ] || PY=$(command -v python3)
export PY

plain() { "$@"; }
# With no capability at all, as in a container that may not mount.
without_rights() { unshare -U --map-user=1000 --map-group=1000 "$@"; }

# both NAME AS TOOL: what TOOL prints in $T/local and on the volume.
both() {
    mkdir -p "$T/L" && chmod 777 "$T/L"
    rm -rf "$T/local"
    mkdir "$T/local" && chmod 777 "$T/local"
    D=$T/local L=$T/L TOOL=$3 $2 timeout 60 bash "$S/tools.sh" 2>&1 </dev/null | sed "s,$T/local,DIR,g" >"$T/local.out"
    rm -rf "$T/L"
    mkdir "$T/L" && chmod 777 "$T/L"
    D=/volumes/t/$2 L=$T/L TOOL=$3 $2 timeout 120 "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/t -- bash "$S/tools.sh" 2>&1 \
        </dev/null | sed "s,/volumes/t/$2,DIR,g" >"$T/volume.out"
    diff "$T/local.out" "$T/volume.out" >"$T/out" && [ "$(wc -l <"$T/local.out")" -gt 2 ]
    result $? "$1"
}
tool() {    # TOOL PROGRAM...: both ways if the programs are there
    tool_name=$1
    shift
    for tool_needs; do
        if ! command -v "$tool_needs" >/dev/null; then
            cases=$((cases + 1))
            echo "ok $cases - $tool_name # SKIP no $tool_needs"
            return
        fi
    done
    both "$tool_name" plain "$tool_name"
}

chmod 755 "$T"
ok "the server starts" server_start
ok "folders on the volume" "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/t -- \
    sh -c 'cd /volumes/t && mkdir plain without_rights && chmod 777 . plain without_rights'
tool coreutils cp
tool tar tar
tool git git
tool rsync rsync
tool editors perl vim patch ed
tool gcc gcc make
tool sqlite sqlite3
tool node node
if "$PY" -c 'import numpy' 2>/dev/null; then tool numpy; fi
if "$PY" -c 'import os, sysconfig; os.stat(sysconfig.get_paths()["include"] + "/Python.h")' 2>/dev/null; then
    tool extension gcc
fi
if without_rights true 2>/dev/null; then
    for name in coreutils git sqlite gcc; do
        both "$name without rights" without_rights $name
    done
else
    echo "# no user namespaces here"
fi
ok "the volume is sound" volnfs check --all
server_stop
done_testing
