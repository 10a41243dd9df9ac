#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfs dump and restore: full, a chain of increments, damaged and cut streams, wrong bases.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

run_in() { "$VOLNFS" run -s "127.0.0.1:$PORT" "$@"; }
dump() { volnfs dump "$@" >"$T/stream"; }
restore() { volnfs restore "$@" <"$T/stream"; }
# All that can be seen of a volume, but ctime: names, attributes, links, contents.
seen() {
    run_in -v "$1:ro=/v" -- python3 -c '
import hashlib, os, stat
seen = {}
def show(p):
    s = os.lstat(p)
    kind = stat.S_IFMT(s.st_mode)
    size = 0 if kind == stat.S_IFDIR else s.st_size
    text = os.readlink(p) if kind == stat.S_IFLNK else hashlib.md5(open(p, "rb").read()).hexdigest() if kind == stat.S_IFREG else ""
    same = seen.setdefault(s.st_ino, p)
    print(repr(p), oct(s.st_mode), s.st_nlink, s.st_uid, s.st_gid, size, s.st_mtime_ns, text, repr(same))
    if kind == stat.S_IFDIR:
        for n in sorted(os.listdir(p)):
            show(p + "/" + n)
show("/v")'
}
same() { seen "$1" >"$T/a" && seen "$2" >"$T/b" && [ -s "$T/a" ] && diff "$T/a" "$T/b"; }
# SQL on the index of the volume with the id $1, while no server runs: extended attributes, which the preload client has not.
index() {
    python3 -c '
import sqlite3, sys
d = sqlite3.connect(sys.argv[1])
for row in d.execute(sys.argv[2]): print(*(c.decode() if isinstance(c, bytes) else c for c in row))
d.commit()' "$T/store/volumes/$(printf %016x "$1")/index.db" "$2"
}
id_of() { volnfs list "$1" --json | sed -n 's/^ *"id": \([0-9]*\),*$/\1/p'; }
xattrs="SELECT e.name, x.name, x.value FROM xattr x JOIN dirent e ON e.ino = x.ino ORDER BY 1, 2"

ok "the server starts" server_start
ok "a volume" volnfs create alice/mydata
ok "files of all kinds" run_in -v alice/mydata=/v -- python3 -c '
import os
os.chdir("/v")
os.makedirs("d/e/f")
open("plain", "w").write("plain\n")
open("d/line\nbreak \\ \u00e4", "w").write("x")
open("d/big", "wb").write(os.urandom(3000000))
with open("sparse", "wb") as f:
    f.seek(16 << 20); f.write(b"middle"); f.truncate(64 << 20)
os.link("plain", "d/hard"); os.link("plain", "d/e/hard2")
os.symlink("../nowhere \n", "d/link")
os.mkfifo("fifo")
for i in range(600): open("d/e/%d" % i, "w").write(str(i))
os.chmod("d/big", 0o4711); os.utime("d/big", ns=(1, 123456789987654321)); os.utime("d/link", ns=(5, 7), follow_symlinks=False)
os.chmod("d/e/f", 0o1700); os.utime("d/e", ns=(1, 1000000001)); os.utime("d", ns=(1, 2000000002)); os.utime(".", ns=(1, 3000000003))'

not_ok "no volume" volnfs dump
not_ok "a volume that is not there" dump alice/none
like "says that it is the volume" "$(cat "$T/out")" "there is no volume 'alice/none'"
not_ok "a snapshot that is not there" dump alice/mydata@none
not_ok "a base that is not there" dump alice/mydata --base none
not_ok "a base of another volume" dump alice/mydata --base bob/x@y
not_ok "no terminal" script -qec "$VOLNFS --store $T/store dump alice/mydata" /dev/null
like "it says why" "$(cat "$T/out")" "terminal"
: >"$T/stream"
not_ok "nothing is no stream" restore alice/copy
like "it says so" "$(cat "$T/out")" "the stream is empty"
not_ok "and makes no volume" volnfs get alice/copy

ok "dump of what is there now" dump alice/mydata
is "leaves no snapshot" "$(volnfs snapshot list alice/mydata --json)" "[]"
[ "$(stat -c %s "$T/stream")" -lt 6000000 ]
result $? "holes are left out"
ok "restore" restore alice/copy
like "it counts" "$(cat "$T/out")" "^alice/copy: 6[0-9][0-9] new files and directories, 30"
ok "is the same" same alice/mydata alice/copy
not_ok "not into what is there" restore alice/copy
like "it says so" "$(cat "$T/out")" "exists already"
like "the copy is sparse" "$(volnfs list alice/copy --json | grep logical | tr -dc 0-9)" "^[0-9]{7}$"

# A damaged stream, at the head, in the middle, at the end; a cut one; one that goes on.
cp "$T/stream" "$T/good"
size=$(stat -c %s "$T/good")
for at in 3 12 20 30 60 $((size / 2)) $((size - 3)); do
    python3 -c '
import sys
d = bytearray(open(sys.argv[1], "rb").read()); d[int(sys.argv[2])] ^= 1; open(sys.argv[3], "wb").write(d)' "$T/good" "$at" "$T/stream"
    not_ok "a flipped bit at $at is refused" restore alice/bad
    [ "$at" -lt 16 ] || like "it says where" "$(cat "$T/out")" "(at|before) offset [0-9]+"
    not_ok "and nothing is left of it" volnfs get alice/bad
done
for to in 8 20 100 $((size / 2)) $((size - 1)) $((size - 60)); do
    head -c "$to" "$T/good" >"$T/stream"
    not_ok "a stream cut to $to is refused" restore alice/bad
    not_ok "and nothing is left of it" volnfs get alice/bad
done
{ head -c $((size / 2)) "$T/good"; wait_for 100 test -e "$T/failed"; } | {
    sh -c 'echo $$ >"$1/pid"; exec "$2" --store "$1/store" restore alice/bad' sh "$T" "$VOLNFS" >"$T/err" 2>&1
    echo $? >"$T/failed"
} &
begun() { volnfs get alice/bad >/dev/null 2>&1; }
ok "a restore is under way" wait_for 60 begun
ok "it is stopped" kill -INT "$(cat "$T/pid")"
wait $!
like "it says so" "$(cat "$T/failed" "$T/err" | tr '\n' ' ')" "^1 .*not restored, and is removed again"
not_ok "and nothing is left of it" volnfs get alice/bad
{ cat "$T/good"; echo; } >"$T/stream"
not_ok "a stream that goes on is refused" restore alice/bad
not_ok "and nothing is left of it" volnfs get alice/bad
{ volnfs dump alice/mydata 2>"$T/err" || echo failed >"$T/failed"; } | head -c 1000 >/dev/null
ok "a reader that goes away is a failure" test -s "$T/failed"
like "that is told" "$(cat "$T/err")" "cannot write the stream"
is "and leaves no snapshot" "$(volnfs snapshot list alice/mydata --json)" "[]"

# A chain.
mydata=$(id_of alice/mydata)
server_stop
ok "extended attributes" index "$mydata" "INSERT INTO xattr(ino, name, value) SELECT ino, x.n, x.v FROM dirent,
    (SELECT CAST('one' AS BLOB) n, CAST('1' AS BLOB) v UNION SELECT CAST('two' AS BLOB), CAST('' AS BLOB)) x
    WHERE CAST(name AS TEXT) IN ('sparse', 'd', 'fifo')"
ok "the server starts" server_start
ok "the first snapshot" volnfs snapshot create alice/mydata@s0
ok "is dumped" dump alice/mydata@s0
ok "and restored" restore bob/backup
ok "changes" run_in -v alice/mydata=/v -- python3 -c '
import os
os.chdir("/v")
with open("d/big", "r+b") as f: f.seek(1000000); f.write(b"changed")
os.rename("d/e/f", "f"); os.rename("d/e", "f/e")
os.rename("d/line\nbreak \\ \u00e4", "d/x"); os.unlink("plain"); os.link("d/hard", "plain2")
open("plain", "w").write("another"); os.symlink("a", "d/a")
with open("sparse", "r+b") as f: f.seek(16 << 20); f.write(bytes(6)); f.seek(32 << 20); f.write(b"there")
for i in range(0, 600, 3): os.unlink("f/e/%d" % i)
os.makedirs("gone/deep"); os.utime("f/e", ns=(1, 77))'
server_stop
ok "other extended attributes" index "$mydata" "UPDATE xattr SET value = CAST('new' AS BLOB) WHERE CAST(name AS TEXT) = 'one' AND
    ino = (SELECT ino FROM dirent WHERE CAST(name AS TEXT) = 'sparse')"
index "$mydata" "DELETE FROM xattr WHERE CAST(name AS TEXT) = 'two' AND
    ino = (SELECT ino FROM dirent WHERE CAST(name AS TEXT) = 'd')"
ok "the server starts" server_start
ok "the second snapshot" volnfs snapshot create alice/mydata@s1
ok "changes" run_in -v alice/mydata=/v -- python3 -c '
import os, shutil
os.chdir("/v")
os.rename("f", "t"); os.rename("d", "f"); os.rename("t", "d")
os.rename("d/e", "e"); os.rename("d", "e/d"); os.mkdir("d")
os.rename("f/big", "b"); os.rename("f/hard", "f/big"); os.rename("b", "f/hard")
shutil.rmtree("gone"); open("gone", "w").write("a file now")
os.truncate("sparse", 5); os.truncate("f/hard", 500); os.chmod("f/x", 0)'
ok "the third snapshot" volnfs snapshot create alice/mydata@s2
ok "s0 to s1" dump alice/mydata@s1 --base @s0
[ "$(stat -c %s "$T/stream")" -lt 700000 ]
result $? "is small"
cp "$T/stream" "$T/s1"
ok "s1 to s2" dump --base alice/mydata@s1 alice/mydata@s2
cp "$T/stream" "$T/s2"
not_ok "s1 to s2 does not go into s0" restore bob/backup
like "it says what is missing" "$(cat "$T/out")" "bob/backup@s1"
ok "another volume with a snapshot of that name" volnfs create bob/other
volnfs snapshot create bob/other@s1
not_ok "is no base" restore bob/other
like "it says so" "$(cat "$T/out")" "is not the alice/mydata@s1"
cp "$T/s1" "$T/stream"
ok "a change of the copy" run_in -v bob/backup=/v -- touch /v/plain
not_ok "refuses the stream" restore bob/backup
like "it says what to do" "$(cat "$T/out")" "snapshot rollback --keep-younger bob/backup@s0"
ok "which helps" volnfs snapshot rollback --keep-younger bob/backup@s0
head -c $(($(stat -c %s "$T/s1") - 10)) "$T/s1" >"$T/stream"
not_ok "a cut increment is refused" restore bob/backup
like "it says what the volume is" "$(cat "$T/out")" "is what it was before"
ok "and it is" same alice/mydata@s0 bob/backup
cp "$T/s1" "$T/stream"
ok "restore s1" restore bob/backup
ok "is the same" same alice/mydata@s1 bob/backup
cp "$T/s2" "$T/stream"
ok "restore s2" restore bob/backup
ok "is the same" same alice/mydata@s2 bob/backup
ok "s0 is still there" same alice/mydata@s0 bob/backup@s0
not_ok "s2 again" restore bob/backup
ok "from the copy back" dump bob/backup@s0 --base s2
ok "check" volnfs check --data --all
backup=$(id_of bob/backup)
ok "the server stops" server_stop
like "extended attributes: changed" "$(index "$backup" "$xattrs")" "^sparse one new$"
like "removed, not only added" "$(index "$backup" "$xattrs" | grep -c .)" "^5$"
is "all of them" "$(index "$backup" "$xattrs")" "$(index "$mydata" "$xattrs")"
ok "the server starts" server_start
ok "what was restored is still there" same alice/mydata@s2 bob/backup

# A directory that is in itself: there is an end, all the same.
ok "a volume" volnfs create alice/loop
ok "with directories" run_in -v alice/loop=/v -- mkdir -p /v/a/b
loop=$(id_of alice/loop)
ok "the server stops" server_stop
index "$loop" "INSERT INTO dirent(dir, cookie, name, ino) SELECT b.ino, b.cookie, b.name, a.ino FROM dirent a, dirent b
    WHERE CAST(a.name AS TEXT) = 'a' AND CAST(b.name AS TEXT) = 'b'"
ok "the server starts" server_start
timeout 60 "$VOLNFS" --store "$T/store" dump alice/loop >"$T/stream" 2>"$T/err"
is "a dump of it fails" "$?" 1
like "it says why" "$(cat "$T/err")" "directory [0-9]+ has two names"
is "and leaves no snapshot" "$(volnfs snapshot list alice/loop --json)" "[]"
done_testing
