# SPDX-License-Identifier: Apache-2.0
"""What Python programs do in a folder: run on a local one and on a volume, the output must be the same."""
import ctypes.util, errno, fcntl, glob, mmap, os, pathlib, pickle, shutil, sqlite3, stat, subprocess, sys, tempfile
import threading, zipfile
import multiprocessing

v = pathlib.Path(sys.argv[1])


def err(what, *args, **kw):
    try:
        return what(*args, **kw)
    except OSError as e:
        return errno.errorcode[e.errno]


def work(i):
    (v / f"mp{i}").write_text(str(i) * 1000)
    return os.path.getsize(v / f"mp{i}")


def main():
    (v / "x").mkdir()
    (v / "x/a.txt").write_text("hello\n")
    with open(v / "x/a.txt", "a") as f:
        f.write("more\n")
        print(f.tell())
    print((v / "x/a.txt").read_text().split())
    shutil.copytree(v / "x", v / "y")
    print(sorted(os.listdir(v)), sorted(p[len(str(v)):] for p in glob.glob(str(v / "*/*"))))
    print([(r[len(str(v)):], sorted(d), sorted(f)) for r, d, f in sorted(os.walk(v))])
    print(sorted((e.name, e.is_dir(), e.is_symlink()) for e in os.scandir(v)))

    print("errors", err(os.open, v / "none", os.O_RDONLY), err(os.mkdir, v / "x"), err(os.rmdir, v / "x"),
          err(os.unlink, v / "x"), err(os.open, v / "x/a.txt/z", os.O_RDONLY), err(os.open, v / "x", os.O_WRONLY),
          err(os.open, v / "x/a.txt", os.O_CREAT | os.O_EXCL), err(os.rename, v / "none", v / "z"),
          err(os.rename, v / "x", v / "x/in"), err(os.rename, v / "x", v / "x/a.txt"), err(os.link, v / "x", v / "z"),
          err(os.symlink, "t", v / "x"), err(os.readlink, v / "x"), err(os.open, v / ("n" * 256), os.O_CREAT),
          err(os.truncate, v / "x", 0), err(os.chmod, v / "none", 0), err(os.utime, v / "none"),
          err(os.open, v / "x/a.txt", os.O_DIRECTORY), err(os.listdir, v / "x/a.txt"), err(os.rmdir, v / "x/a.txt"))
    fd = os.open(v / "f", os.O_CREAT | os.O_WRONLY, 0o640)
    print(oct(os.fstat(fd).st_mode), err(os.read, fd, 1), err(os.lseek, fd, -1, 0),
          fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE, os.pwrite(fd, b"abc", 5), os.lseek(fd, 0, 2))
    os.close(fd)
    print(err(os.read, fd, 1), (v / "f").read_bytes())
    fd = os.open(v / "f", os.O_RDWR | os.O_APPEND)
    print(os.write(fd, b"xyz"), os.lseek(fd, 0, 1), os.pread(fd, 100, 0), os.preadv(fd, [bytearray(2)], 5))
    d2 = os.dup(fd)
    os.lseek(d2, 3, 0)
    print(os.lseek(fd, 0, 1), os.read(fd, 100))
    os.close(fd)
    print(os.lseek(d2, 0, 1))
    os.close(d2)
    fd = os.open(v, os.O_RDONLY)
    print(sorted(os.listdir(fd)), os.stat("f", dir_fd=fd).st_size, err(os.read, fd, 1))
    os.fchdir(fd)
    print(os.getcwd() == str(v), os.path.exists("f"), os.path.realpath("x/../f") == str(v / "f"))
    os.chdir("/")
    os.close(fd)

    db = sqlite3.connect(v / "t.db")
    db.execute("create table t(a, b)")
    for mode in ("delete", "wal"):
        print(db.execute(f"pragma journal_mode={mode}").fetchall())
        with db:
            db.executemany("insert into t values(?, ?)", [(i, str(i)) for i in range(1000)])
        print(subprocess.run([sys.executable, "-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
                              "c.execute('insert into t values(1, 2)'); c.commit(); "
                              "print(c.execute('select count(*) from t').fetchall())", str(v / "t.db")],
                             capture_output=True, text=True).stdout)
        print(db.execute("select count(*), sum(a) from t").fetchall())
    db.close()

    with tempfile.TemporaryDirectory(dir=v) as d:
        open(d + "/q", "w").write("q")
        print(os.listdir(d))
    print(subprocess.run(["sh", "-c", "cat; pwd"], cwd=v / "x", stdin=open(v / "x/a.txt"), stdout=subprocess.PIPE,
                         text=True).stdout.replace(str(v), ""))
    with open(v / "out", "w") as out:
        subprocess.run(["echo", "to a file"], stdout=out)
        out.write("after\n")
    print((v / "out").read_text())

    data = os.urandom(3_000_000)
    (v / "m").write_bytes(data)
    with open(v / "m", "r+b") as f:
        with mmap.mmap(f.fileno(), 0) as m:
            print(m[:] == data)
            m[0:5] = b"HELLO"
            m.flush()
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
            print(m[:8] == b"HELLO" + data[5:8])
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as m:
            m[0:5] = b"other"
    print((v / "m").read_bytes()[:5], (v / "m").stat().st_size)

    fd = os.open(v / "m", os.O_RDONLY)
    pid = os.fork()
    if pid == 0:
        os.read(fd, 10)
        os._exit(0)
    os.waitpid(pid, 0)
    print("shared offset", os.lseek(fd, 0, 1))
    os.close(fd)

    f = open(v / "lk", "w")
    fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
    code = ("import fcntl, sys\n"
            "f = open(sys.argv[1], 'r+')\n"
            "for a in ((fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0), (fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)):\n"
            "    try: fcntl.lockf(f, *a); print('got')\n"
            "    except OSError as e: print('busy')\n")
    print(subprocess.run([sys.executable, "-c", code, str(v / "lk")], capture_output=True, text=True).stdout)
    f.close()
    print(subprocess.run([sys.executable, "-c", code, str(v / "lk")], capture_output=True, text=True).stdout)

    (v / "u").write_text("abc")
    f = open(v / "u")
    os.unlink(v / "u")
    print("unlinked", f.read(), os.path.exists(v / "u"))
    f.close()

    (v / "pk").mkdir()
    (v / "pk/__init__.py").write_text("x = 41\n")
    (v / "pk/sub.py").write_text("from . import x\ny = x + 1\n")
    with zipfile.ZipFile(v / "z.zip", "w") as z:
        z.writestr("zmod.py", "z = 7\n")
    sys.path[:0] = [str(v), str(v / "z.zip")]
    import pk.sub, zmod
    print(pk.sub.y, zmod.z)
    big = list(range(300000))
    with open(v / "p", "wb") as f:
        pickle.dump(big, f)
    with open(v / "p", "rb") as f:
        print(pickle.load(f) == big)

    for kind in ("fork", "spawn"):
        with multiprocessing.get_context(kind).Pool(3) as pool:
            print(kind, pool.map(work, range(6)))

    def lines(i):
        for n in range(50):
            fd = os.open(v / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.write(fd, b"%d %d\n" % (i, n))
            os.close(fd)
    threads = [threading.Thread(target=lines, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    got = (v / "log").read_text().splitlines()
    print(len(got), len(set(got)))

    os.mkfifo(v / "fifo")
    print(stat.S_ISFIFO(os.stat(v / "fifo").st_mode))
    st = os.stat(v / "f")
    os.utime(v / "f", ns=(10**18 + 5, 10**18 + 7))
    print(os.stat(v / "f").st_mtime_ns, os.stat(v / "f").st_ino == st.st_ino, os.access(v / "f", os.X_OK))
    for name in sorted(os.listdir(v)):
        shutil.rmtree(v / name) if (v / name).is_dir() else os.remove(v / name)
    print(os.listdir(v))


if __name__ == "__main__":
    main()
