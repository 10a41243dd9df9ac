# SPDX-License-Identifier: Apache-2.0
# Larger programs in a folder D, with L for local files: run on a local one and on a volume; output and the tree they
# leave must be the same. TOOL chooses one; each starts in an empty folder of its own.
umask 022
export LC_ALL=C TZ=UTC HOME="$L" GIT_CONFIG_NOSYSTEM=1 PYTHONDONTWRITEBYTECODE=1
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
mkdir -p "$D/$TOOL" && cd "$D/$TOOL" || exit 1

# A small tree to work on.
tree() {
    mkdir -p "$1/sub/deep" "$1/empty"
    for i in 1 2 3 4 5 6 7 8 9; do seq $i $((i * 300)) >"$1/f$i"; done
    seq 1 30000 >"$1/sub/large"
    printf 'x\0y' >"$1/sub/deep/odd name"
    ln -s ../f1 "$1/sub/link"
    ln "$1/f2" "$1/sub/hard"
    chmod 750 "$1/sub"
    chmod 600 "$1/f3"
    touch -d '2020-02-03 04:05:06.789' "$1/f4"
}

case $TOOL in
git)
    git init -q -b main r && cd r
    tree t
    git add . && git commit -qm one && git status --short
    echo changed >t/f1
    git mv t/f5 t/moved
    rm t/f6
    git status --short
    git commit -qam two
    git log --oneline --stat | cat
    git checkout -q -b side HEAD~1 && echo side >side && git add side && git commit -qm side
    git merge -q --no-edit main && git log --format=%s | sort
    git gc -q && git fsck --strict && git count-objects | cut -d, -f1
    git clone -q . ../clone && cd ../clone && git log --format=%H -1 && git diff HEAD~1 --stat
    echo more >>t/f7 && git stash -q && git stash pop -q && git diff --stat
    git clone -q "$D/git/r" "$L/out" && (cd "$L/out" && git rev-parse HEAD) && rm -rf "$L/out"
    git grep -c 299 | sort
    # what differs by the time of day or by the place
    rm -rf ../r/.git ../clone/.git
    ;;
tar)
    tree t
    tar cf a.tar t && tar tvf a.tar | cut -c1-10,31- | wc -l
    mkdir x && tar xf a.tar -C x && diff -r t x/t && tar df a.tar -C x && echo equal
    tar czf a.tgz t && tar xzf a.tgz --transform 's,^t,y,' && diff -r t y
    (cd t && tar cf - .) | (mkdir z && cd z && tar xf -) && diff -r t z
    tar cf "$L/l.tar" t && tar xf "$L/l.tar" -C x --overwrite && rm "$L/l.tar"
    rm a.tar a.tgz
    ;;
rsync)
    tree t
    rsync -a t/ copy/ && diff -r t copy && echo equal
    echo new >t/f1 && rm t/f2 && rsync -ai --delete t/ copy/ | sed 's/^[^ ]* *//' | grep -v '/$' | sort
    rsync -a t "$L/" && diff -r t "$L/t" && rsync -a --checksum "$L/t/" back/ && diff -r t back && rm -rf "$L/t"
    rsync -aH --inplace t/ back/ && diff -r t back
    ;;
coreutils)
    tree t
    cp -a t c && diff -r t c
    (cd c && find . -printf '%p %y %m %n %s %l\n' | sed 's,^\(.* d [0-9]* \)[0-9]* [0-9]*,\1,' | sort)
    stat -c '%y' c/f4
    mv c m && ls -1R m
    ls -l m | awk 'NR > 1 { print $1, $3, /^d/ ? 0 : $5, $9 }'
    cp -r --reflink=auto m n && cp -u t/f1 n/ && cp -l t/f1 hard && cp -s "$PWD/t/f1" soft && cmp hard soft
    install -D -m 640 t/f1 i/j/k && ls -l i/j/k | cut -c1-10
    du -a --apparent-size m/f1 | cut -f2
    find t -type f -size +1k | sort
    find t -name 'f*' -newer t/f4 | wc -l
    find m -type f -exec grep -l 299 {} + | sort
    find m -depth -name sub -exec rm -r {} \; ; ls m
    sort -R t/f9 | sort -n | cmp - t/f9
    sort -n -o t/f9 t/f9 && split -n 3 t/f9 p. && cat p.* | cmp - t/f9
    dd if=t/sub/large of=d bs=512 skip=3 seek=5 count=9 status=none && cksum d
    dd if=t/sub/large of=d bs=1k conv=notrunc,fsync status=none && cmp d t/sub/large
    tail -n 2 t/sub/large; tail -c 20 t/sub/large; head -n 1 t/sub/large; tac t/f1 | head -n 1
    : >w
    (for i in 1 2 3; do echo line $i; sleep 0.1; done >>w) & tail -f -s 0.1 --pid=$! w; wait
    touch -t 202001020304 w && stat -c %Y w; touch -r t/f4 w && stat -c %Y w
    ln -sf t/f1 l && ln -sf t/f2 l && readlink l && readlink -f l | sed "s,^$D,DIR,"; realpath t/sub/link | sed "s,^$D,DIR,"
    shred -u -n 1 p.aa; truncate -s 5M sparse && stat -c %s sparse; wc -c sparse; cmp -n 1000 sparse /dev/zero
    mktemp -p . | wc -c; mktemp -d -p . tmp.XXXX | wc -c; rm -rf tmp*
    md5sum t/f* | md5sum -c --quiet && comm -12 t/f1 t/f2 | wc -l; paste t/f1 t/f2 | tail -n 1; nl t/f1 | tail -n 1
    chmod -R u+w,go-rwx t && stat -c %a t t/f3; tee a b <t/f1 >/dev/null && cmp a b
    rm -rf t m n i; rm -f l ./*.?? sparse; df . | wc -l; rmdir none
    mkfifo pipe && test -p pipe && echo fifo
    rm -f pipe
    ;;
editors)
    printf 'one\ntwo\nthree\n' >f
    sed -i 's/two/2/' f && cat f
    sed -i.bak 's/one/1/' f && cat f f.bak
    perl -i -pe 's/three/3/' f && cat f
    perl -e 'open F, "+<", "f"; flock F, 2; seek F, 0, 2; print F "perl\n"; close F; opendir D, "."; print join(" ", sort readdir D), "\n"'
    vim -es -u NONE -i NONE -n f <<X
%s/perl/vim/
\$put ='added'
wq
X
    cat f
    awk '{ print > ("awk" NR % 2) }' f && cat awk0 awk1
    patch -s f <<X
--- f
+++ f
@@ -1 +1 @@
-1
+ONE
X
    cat f
    ed -s f <<X
1s/ONE/ed/
w
q
X
    cat f
    ;;
gcc)
    mkdir src && cd src
    for i in 1 2 3 4 5 6; do printf '#include "all.h"\nint f%d(void) { return %d * ONE; }\n' $i $i >f$i.c; done
    echo '#define ONE 1
int f1(void), f2(void), f3(void), f4(void), f5(void), f6(void);' >all.h
    printf '#include <stdio.h>\n#include "all.h"\nint main(void) { printf("%%d\\n", f1() + f2() + f3() + f4() + f5() + f6()); return 0; }\n' >main.c
    printf 'prog: main.o f1.o f2.o f3.o f4.o libf.a\n\tgcc -o $@ main.o f1.o f2.o f3.o f4.o -L. -lf\nlibf.a: f5.o f6.o\n\tar rcsD $@ f5.o f6.o\n%%.o: %%.c all.h\n\tgcc -O1 -c -o $@ $<\n' >Makefile
    make -s -j2 && ./prog
    make -q && echo up to date
    sleep 0.05; touch f3.c && make -s -j2 -n | wc -l
    gcc -shared -fPIC -o libs.so f1.c && nm libs.so | grep -c ' T f1'
    strip prog && ./prog
    rm -f prog ./*.o ./*.so
    ;;
node)
    cat >n.js <<'X'
const fs = require('fs'), path = require('path'), os = require('os');
const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
if (!isMainThread) {
    fs.writeFileSync('w' + workerData, 'x'.repeat(workerData * 1000));
    parentPort.postMessage(fs.statSync('w' + workerData).size);
} else (async () => {
    fs.mkdirSync('d/e', { recursive: true });
    fs.writeFileSync('d/a', 'hello');
    fs.appendFileSync('d/a', ' world');
    console.log(fs.readFileSync('d/a', 'utf8'), fs.existsSync('d/none'), fs.readdirSync('d').sort());
    const p = fs.promises;
    await p.writeFile('big', Buffer.alloc(3000000, 'abc'));
    await new Promise((ok, no) => fs.createReadStream('big').pipe(fs.createWriteStream('big2')).on('finish', ok).on('error', no));
    console.log((await p.readFile('big')).equals(await p.readFile('big2')));
    await p.copyFile('big', 'big3'); await p.rename('big3', 'big4');
    console.log((await p.stat('big4')).size, (await p.readdir('.', { withFileTypes: true })).map(e => e.name + e.isDirectory()).sort());
    try { await p.readFile('none'); } catch (e) { console.log(e.code, e.syscall); }
    try { fs.rmdirSync('d'); } catch (e) { console.log(e.code); }
    const h = await p.open('h', 'w+'); await h.write('0123456789'); await h.truncate(5);
    console.log((await h.read(Buffer.alloc(10), 0, 10, 0)).bytesRead); await h.close();
    const sizes = await Promise.all([1, 2, 3].map(n => new Promise((ok, no) =>
        new Worker(path.resolve('n.js'), { workerData: n }).on('message', ok).on('error', no))));
    console.log(sizes);
    fs.writeFileSync('m.js', 'module.exports = 42;'); console.log(require(path.resolve('m.js')));
    await p.symlink('d', 's'); console.log(await p.readlink('s'), (await p.lstat('s')).isSymbolicLink());
    fs.rmSync('d', { recursive: true });
    console.log(require('child_process').execSync('cat h; pwd', { cwd: process.cwd() }).toString().replace(process.cwd(), 'CWD'));
})();
X
    node n.js
    ;;
sqlite)
    for mode in delete wal; do
        sqlite3 $mode.db "pragma journal_mode=$mode; create table t(a integer primary key, b);"
        for p in 1 2; do
            (for i in 1 2 3 4 5 6 7 8; do
                printf '.timeout 20000\nbegin immediate; insert into t(b) values(%d); insert into t(b) values(%d); commit;\n' $p $p |
                    sqlite3 $mode.db
            done) &
        done
        wait
        sqlite3 $mode.db "select count(*), sum(b) from t; pragma integrity_check; select count(*) from t where b = 1;"
        sqlite3 $mode.db "create index i on t(b); vacuum; begin; delete from t; rollback; select count(*) from t; .dump" | tail -n 5
        sqlite3 $mode.db "pragma mmap_size=1000000; select count(*) from t; pragma wal_checkpoint(truncate);" | tail -n 1
    done
    sqlite3 :memory: "attach 'delete.db' as d; attach 'wal.db' as w; select count(*) from d.t, w.t;"
    rm -f ./*.db*
    ;;
numpy)
    "$PY" - <<'X'
import numpy as np, os
a = np.arange(300000, dtype=np.float64).reshape(300, 1000)
np.save("a.npy", a)
print((np.load("a.npy") == a).all())
m = np.load("a.npy", mmap_mode="r")
print(m[17, 5], m.sum())
m = np.load("a.npy", mmap_mode="r+")
m[0, 0] = 42
m.flush()
del m
print(np.load("a.npy")[0, 0])
np.savez("z.npz", a=a, b=a[:2])
with np.load("z.npz") as z:
    print(sorted(z.files), (z["a"] == a).all())
w = np.memmap("w", dtype="u4", mode="w+", shape=(1000, 100))
w[:] = np.arange(100000, dtype="u4").reshape(1000, 100)
w.flush()
print(np.fromfile("w", dtype="u4").sum(), os.path.getsize("w"))
a.tofile("raw")
print(np.fromfile("raw", count=10, offset=80)[0])
np.savetxt("t.txt", a[:3, :3])
print(np.loadtxt("t.txt").sum())
X
    rm -f z.npz
    ;;
extension)
    mkdir pkg && cat >pkg/mod.c <<'X'
#include <Python.h>
static PyObject *answer(PyObject *s, PyObject *a) { (void)s; (void)a; return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {0}};
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "mod", 0, -1, methods, 0, 0, 0, 0};
PyMODINIT_FUNC PyInit_mod(void) { return PyModule_Create(&def); }
X
    : >pkg/__init__.py
    gcc -shared -fPIC -o pkg/mod.so pkg/mod.c $("$PY" -c 'import sysconfig; print("-I" + sysconfig.get_paths()["include"])') &&
        "$PY" -c 'import sys; sys.path.insert(0, "."); from pkg import mod; print(mod.answer())'
    rm -f pkg/mod.so
    ;;
esac
echo "status $?"
# The tree that is left.
cd "$D/$TOOL" && find . -printf '%p %y %m %n %l ' \( -type f -printf '%s ' -exec cksum {} \; -o -printf '\n' \) |
    sed 's,^\([^ ]* d [0-9]*\) .*,\1,' | sort
