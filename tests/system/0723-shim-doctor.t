#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfs doctor: what is in the way, with a reason for each, and its exit status.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

says() {   # NAME PATTERN ARGUMENT...: ends with 1 and says so
    says_name=$1 pattern=$2
    shift 2
    "$VOLNFS" doctor -s "127.0.0.1:$PORT" "$@" >"$T/out" 2>&1
    got=$?
    [ $got = 1 ] && grep -E '^no  ' "$T/out" | grep -Eq -e "$pattern"
    result $? "$says_name"
}
bend() { python3 - "$1" "$2" <<'END'
import sys
kind, to = sys.argv[1:]
b = bytearray(open("/bin/true", "rb").read())
interp = b"/lib64/ld-linux-x86-64.so.2"
at = b.index(interp)
if kind == "musl":
    b[at:at + len(interp)] = b"/lib/ld-musl-x86_64.so.1\0\0\0"
elif kind == "static":
    off, size, n = (int.from_bytes(b[a:a + w], "little") for a, w in ((32, 8), (54, 2), (56, 2)))
    for i in range(n):
        if b[off + i * size:off + i * size + 4] == b"\3\0\0\0":
            b[off + i * size] = 0
elif kind == "go":
    b += b"\xff Go buildinf:"
elif kind == "other":
    b[18] = 183     # for another machine
elif kind == "short":
    b = b[:80]
open(to, "wb").write(b)
END
chmod 755 "$2"; }

is "an unknown option is wrong usage" "$("$VOLNFS" doctor --no-such >/dev/null 2>&1; echo $?)" 2
PORT=1
says "no server" "no NFS server answers"
PORT=0
ok "the server starts" server_start
ok "the volume is made" volnfs create alice/v
ok "all is well" "$VOLNFS" doctor -s "127.0.0.1:$PORT" -v alice/v cat
says "no volume" "no such volume" -v alice/none
says "a server that is no address" "not ADDRESS:PORT" -s nowhere:1
says "a command that is not there" "not found" no-such-command
says "a directory" "not a file" /tmp
for kind in musl static go other short; do bend $kind "$T/$kind"; done
says "musl" "musl" "$T/musl"
says "static" "statically linked" "$T/static"
says "Go" "Go" "$T/go"
says "another machine" "not a 64-bit x86 program" "$T/other"
says "a damaged file" "damaged|neither" "$T/short"
cp /bin/true "$T/suid" && chmod 4755 "$T/suid"
says "set-user-id" "set-user-id" "$T/suid"
run() { "$VOLNFS" run -s "127.0.0.1:$PORT" -v alice/mydata -- "$@"; }
run sh -c "'$T/static' /volumes/mydata/x; '$T/musl' /elsewhere; cd /volumes/mydata; '$T/static'" >"$T/out" 2>&1
result "$(($(grep -c 'static sees no volumes: it is statically linked' "$T/out") - 2 + $(grep -c musl.sees "$T/out")))" \
    "a program that will see no volumes is said to, when a volume is named"
VOLNFS_QUIET=1 run sh -c "'$T/static' /volumes/mydata/x" >"$T/out" 2>&1
result "$(grep -c 'sees no volumes' "$T/out")" "and nothing with VOLNFS_QUIET"
printf '#!%s\n' "$T/static" >"$T/script" && chmod 755 "$T/script"
says "a script for one that cannot be served" "statically linked" "$T/script"
printf '#!%s\n' "$T/loop" >"$T/loop" && chmod 755 "$T/loop"
says "a script for itself" "too many in a row" "$T/loop"
: >"$T/empty" && chmod 755 "$T/empty"
says "an empty file" "empty" "$T/empty"
server_stop
done_testing
