# SPDX-License-Identifier: Apache-2.0
"""What programs expect of a file system: names, links, attributes, open files, locks, holes; each version."""
import errno
import fcntl
import mmap
import multiprocessing
import random
import sqlite3
import stat
from guest import *

multiprocessing.set_start_method("fork")


def fails(code, func, *args):
    try:
        func(*args)
    except OSError as e:
        assert e.errno == code, "%s, not %s" % (errno.errorcode[e.errno], errno.errorcode[code])
        return
    raise AssertionError("no %s" % errno.errorcode[code])


@case
def bad_names_and_missing_files(d):
    fails(errno.ENOENT, os.stat, d + "/none")
    fails(errno.ENOENT, os.rename, d + "/none", d + "/x")
    fails(errno.ENOENT, os.unlink, d + "/none")
    fails(errno.ENAMETOOLONG, os.mkdir, d + "/" + "n" * 256)
    os.mkdir(d + "/" + "n" * 255)
    os.rmdir(d + "/" + "n" * 255)
    os.mkdir(d + "/sub")
    write_file(d + "/sub/f", b"")
    fails(errno.ENOTEMPTY, os.rmdir, d + "/sub")
    fails(errno.EEXIST, os.mkdir, d + "/sub")
    fails(errno.EISDIR, os.unlink, d + "/sub")
    fails(errno.ENOTDIR, os.rmdir, d + "/sub/f")
    fails(errno.ENOTDIR, os.stat, d + "/sub/f/g")
    fails(errno.EEXIST, os.open, d + "/sub/f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fails(errno.EINVAL, os.rename, d + "/sub", d + "/sub/under")
    for name in ("ä ö\u20ac", "with\nnewline", "-dash", " "):
        write_file(d + "/sub/" + name, name.encode())
        assert read_file(d + "/sub/" + name) == name.encode()
    assert sorted(os.listdir(d + "/sub")) == sorted(["f", "ä ö\u20ac", "with\nnewline", "-dash", " "])


@case
def write_read_append_truncate(d):
    f = d + "/f"
    data = os.urandom(300001)
    write_file(f, data, sync=True)
    assert os.stat(f).st_size == len(data) and read_file(f) == data
    with open(f, "r+b") as h:
        h.seek(131070)
        h.write(b"across")
    data = data[:131070] + b"across" + data[131076:]
    with open(f, "ab") as h:
        h.write(b"tail")
    data += b"tail"
    os.truncate(f, 200000)
    os.truncate(f, 250000)
    sh("echo 3 >/proc/sys/vm/drop_caches")
    assert read_file(f) == data[:200000] + bytes(50000)
    with open(f, "wb"):
        pass
    assert os.stat(f).st_size == 0


@case
def random_writes_match_a_local_file(d):
    rng = random.Random(7)
    with open("/tmp/ref", "w+b") as ref, open(d + "/f", "w+b", buffering=0) as vol:
        for i in range(400):
            at, n = rng.randrange(2000000), rng.choice((1, 100, 4096, 5000, 70000, 140000))
            block = rng.randbytes(n) if i % 3 else bytes([i & 255]) * n
            for h in (ref, vol):
                h.seek(at)
                h.write(block)
            if i % 50 == 49:
                size = rng.randrange(2500000)
                ref.truncate(size)
                vol.truncate(size)
            if i % 100 == 99:
                os.fsync(vol.fileno())
                sh("echo 1 >/proc/sys/vm/drop_caches")
                ref.seek(0)
                vol.seek(0)
                assert ref.read() == vol.read(), "differs after write %d" % i
    os.unlink("/tmp/ref")


@case
def hard_links(d):
    write_file(d + "/a", b"one")
    os.mkdir(d + "/sub")
    os.link(d + "/a", d + "/sub/b")
    a, b = os.stat(d + "/a"), os.stat(d + "/sub/b")
    assert a.st_ino == b.st_ino and a.st_nlink == b.st_nlink == 2
    fails(errno.EEXIST, os.link, d + "/a", d + "/sub/b")
    fails(errno.EPERM, os.link, d + "/sub", d + "/dirlink")
    os.unlink(d + "/a")
    assert read_file(d + "/sub/b") == b"one" and os.stat(d + "/sub/b").st_nlink == 1
    assert os.stat(d).st_nlink == 3, os.stat(d).st_nlink


@case
def symlinks(d):
    write_file(d + "/target", b"t")
    os.symlink("target", d + "/rel")
    os.symlink("x" * 1000, d + "/long")
    os.symlink("loop", d + "/loop")
    os.symlink("nowhere", d + "/dangling")
    assert os.readlink(d + "/rel") == "target" and read_file(d + "/rel") == b"t"
    assert os.readlink(d + "/long") == "x" * 1000
    assert stat.S_ISLNK(os.lstat(d + "/rel").st_mode) and os.lstat(d + "/rel").st_size == 6
    fails(errno.ELOOP, os.stat, d + "/loop")
    fails(errno.ENOENT, os.stat, d + "/dangling")


@case
def rename_over_an_open_file(d):
    write_file(d + "/old", b"old" * 1000)
    write_file(d + "/new", b"new")
    with open(d + "/old", "rb") as h:
        os.rename(d + "/new", d + "/old")
        sh("echo 3 >/proc/sys/vm/drop_caches")
        assert h.read() == b"old" * 1000
        assert read_file(d + "/old") == b"new"
    assert not os.path.exists(d + "/new")
    os.mkdir(d + "/d1")
    os.mkdir(d + "/d2")
    os.rename(d + "/d1", d + "/d2")
    fails(errno.ENOTDIR, os.rename, d + "/d2", d + "/old")
    fails(errno.EISDIR, os.rename, d + "/old", d + "/d2")
    os.mkdir(d + "/d3")
    write_file(d + "/d3/f", b"")
    fails(errno.ENOTEMPTY, os.rename, d + "/d2", d + "/d3")
    os.rename(d + "/d3", d + "/d2/moved")
    assert os.listdir(d + "/d2/moved") == ["f"]
    os.chdir(d + "/d2/moved")
    assert os.getcwd() == d + "/d2/moved" and os.stat("..").st_ino == os.stat(d + "/d2").st_ino
    os.chdir("/")


@case
def unlink_of_an_open_file(d):
    with open(d + "/f", "w+b") as h:
        h.write(b"still here")
        h.flush()
        os.unlink(d + "/f")
        fails(errno.ENOENT, os.stat, d + "/f")
        h.write(b", and more")
        h.flush()
        os.fsync(h.fileno())
        sh("echo 3 >/proc/sys/vm/drop_caches")
        h.seek(0)
        assert h.read() == b"still here, and more"
    assert os.listdir(d) == [], os.listdir(d)


@case
def mode_owner_and_times(d):
    f = d + "/f"
    write_file(f, b"x")
    os.chmod(f, 0o640)
    assert stat.S_IMODE(os.stat(f).st_mode) == 0o640
    os.chmod(f, 0o4755)
    assert stat.S_IMODE(os.stat(f).st_mode) == 0o4755
    os.chown(f, 1001, 1002)
    s = os.stat(f)
    assert (s.st_uid, s.st_gid) == (1001, 1002), s
    assert not s.st_mode & stat.S_ISUID or os.geteuid() == 0
    os.utime(f, ns=(1234567890123456789, 987654321987654321))
    s = os.stat(f)
    assert (s.st_atime_ns, s.st_mtime_ns) == (1234567890123456789, 987654321987654321), s
    ctime = s.st_ctime_ns
    time.sleep(0.05)
    os.chmod(f, 0o600)
    assert os.stat(f).st_ctime_ns > ctime
    before = os.stat(f).st_mtime_ns
    with open(f, "ab") as h:
        h.write(b"y")
    assert os.stat(f).st_mtime_ns > before
    before = os.stat(d).st_mtime_ns
    time.sleep(0.05)
    write_file(d + "/g", b"")
    assert os.stat(d).st_mtime_ns > before
    os.utime(d, (1, 2))
    assert os.stat(d).st_mtime == 2


@case
def another_user_is_kept_out(d):
    os.chmod(d, 0o755)
    write_file(d + "/secret", b"s")
    os.chmod(d + "/secret", 0o600)
    write_file(d + "/open", b"o")
    os.chmod(d + "/open", 0o644)
    os.mkdir(d + "/drop")
    os.chmod(d + "/drop", 0o1777)
    write_file(d + "/drop/roots", b"")

    def other():
        os.setgroups([])
        os.setgid(1000)
        os.setuid(1000)
        try:
            fails(errno.EACCES, open, d + "/secret")
            assert read_file(d + "/open") == b"o"
            fails(errno.EACCES, open, d + "/open", "r+")
            fails(errno.EACCES, write_file, d + "/mine", b"")
            fails(errno.EPERM, os.chmod, d + "/open", 0o777)
            fails(errno.EPERM, os.chown, d + "/open", 1000, 1000)
            write_file(d + "/drop/mine", b"m")
            assert os.stat(d + "/drop/mine").st_uid == 1000
            os.chmod(d + "/drop/mine", 0)
            fails(errno.EACCES, open, d + "/drop/mine")
            try:
                os.unlink(d + "/drop/roots")
                raise AssertionError("unlink in a sticky folder")
            except PermissionError:
                pass
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    pid = os.fork()
    if pid == 0:
        other()
    assert os.waitpid(pid, 0)[1] == 0, "see the console"


@case
def sparse_files(d):
    f = d + "/f"
    with open(f, "wb") as h:
        h.truncate(1 << 30)
        h.seek(512 << 20)
        h.write(b"island")
    s = os.stat(f)
    assert s.st_size == 1 << 30 and s.st_blocks * 512 < 64 << 20, s
    with open(f, "rb") as h:
        h.seek((512 << 20) - 10)
        assert h.read(26) == bytes(10) + b"island" + bytes(10)
        h.seek((1 << 30) - 4)
        assert h.read() == bytes(4)
    with open(f, "r+b") as h:
        h.truncate(1 << 40)
        h.seek((1 << 40) - 1)
        h.write(b"!")
    with open(f, "rb") as h:
        h.seek(-3, 2)
        assert h.read() == b"\0\0!"


@case
def seek_allocate_and_punch(d):
    f = d + "/f"
    write_file(f, b"x" * 1048576, sync=True)
    with open(f, "r+b") as h:
        if "/v4.2/" in d and sh("fallocate -p -o 262144 -l 262144 %s 2>&1 || true" % f) == "":
            h.seek(262144)
            assert h.read(262144) == bytes(262144)
            assert os.lseek(h.fileno(), 0, os.SEEK_HOLE) == 262144
            assert os.lseek(h.fileno(), 262144, os.SEEK_DATA) == 524288
            sh("fallocate -l 2097152 " + f)
            assert os.stat(f).st_size == 2097152
        end = os.stat(f).st_size
        assert os.lseek(h.fileno(), end - 1, os.SEEK_HOLE) <= end
        fails(errno.ENXIO, os.lseek, h.fileno(), end, os.SEEK_DATA)


@case
def mapped_files(d):
    f = d + "/f"
    write_file(f, bytes(1000000))
    with open(f, "r+b") as h, mmap.mmap(h.fileno(), 0) as m:
        m[500000:500005] = b"hello"
        m.flush()
    sh("echo 3 >/proc/sys/vm/drop_caches")
    assert read_file(f)[499999:500006] == b"\0hello\0"


@case
def o_excl_has_one_winner_per_name(d):
    def racer(q):
        won = 0
        for i in range(50):
            try:
                os.close(os.open("%s/%d" % (d, i), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won += 1
            except FileExistsError:
                pass
        q.put(won)

    q = multiprocessing.SimpleQueue()
    ps = [multiprocessing.Process(target=racer, args=(q,)) for _ in range(4)]
    [p.start() for p in ps]
    [p.join() for p in ps]
    assert sum(q.get() for _ in ps) == 50


@case
def byte_range_locks(d):
    with open(d + "/f", "w+b") as h:
        fcntl.lockf(h, fcntl.LOCK_EX, 100, 0)
        fcntl.lockf(h, fcntl.LOCK_SH, 100, 200)
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(r)
            with open(d + "/f", "r+b") as mine:
                try:
                    fails(errno.EAGAIN, fcntl.lockf, mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 99)
                    fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 100)
                    fcntl.lockf(mine, fcntl.LOCK_SH | fcntl.LOCK_NB, 50, 250)
                    fails(errno.EAGAIN, fcntl.lockf, mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 50, 250)
                    os.write(w, b"k")
                    fcntl.lockf(mine, fcntl.LOCK_EX, 100, 0)     # waits for the parent
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
        os.close(w)
        assert os.read(r, 1) == b"k"
        time.sleep(0.3)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        fcntl.lockf(h, fcntl.LOCK_UN, 100, 0)
        assert os.waitpid(pid, 0)[1] == 0
        os.close(r)


@case
def flock_excludes(d):
    with open(d + "/f", "w") as a, open(d + "/f", "w") as b:
        fcntl.flock(a, fcntl.LOCK_EX)
        fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(a, fcntl.LOCK_UN)
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)


@case
def sqlite_with_its_journal_and_two_writers(d):
    db = d + "/t.db"
    c = sqlite3.connect(db)
    c.execute("CREATE TABLE t(who INT, n INT, pad BLOB)")
    c.commit()
    c.close()

    def writer(who):
        con = sqlite3.connect(db, timeout=60, isolation_level=None)
        for n in range(25):
            con.execute("BEGIN IMMEDIATE")
            con.execute("INSERT INTO t VALUES(?, ?, ?)", (who, n, os.urandom(2000)))
            con.execute("COMMIT" if n % 5 else "ROLLBACK")
        con.close()

    ps = [multiprocessing.Process(target=writer, args=(w,)) for w in (1, 2)]
    [p.start() for p in ps]
    [p.join() for p in ps]
    assert [p.exitcode for p in ps] == [0, 0]
    c = sqlite3.connect(db)
    assert c.execute("SELECT who, count(*) FROM t GROUP BY who").fetchall() == [(1, 20), (2, 20)]
    assert c.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    c.close()
    assert os.listdir(d) == ["t.db"]


@case
def fifo_socket_and_device_nodes(d):
    os.mkfifo(d + "/fifo")
    os.mknod(d + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert stat.S_ISFIFO(os.stat(d + "/fifo").st_mode)
    s = os.stat(d + "/null")
    assert stat.S_ISCHR(s.st_mode) and s.st_rdev == os.makedev(1, 3)
    with open(d + "/null", "wb") as h:
        h.write(b"gone")


@case
def df_tells_sizes(d):
    s = os.statvfs(d)
    assert s.f_blocks > 0 and 0 < s.f_bavail <= s.f_blocks and s.f_namemax == 255, s
    out = sh("df -k " + d)
    assert SERVER + ":/" in out, out


@case
def listing_while_deleting(d):
    for i in range(600):
        os.mkdir("%s/entry-%04d" % (d, i))
    seen = set()
    with os.scandir(d) as it:
        for e in it:
            assert e.name not in seen, e.name
            seen.add(e.name)
            os.rmdir(e.path)
    assert len(seen) == 600 and os.listdir(d) == []


@case
def acl_is_another_view_of_the_mode(d):
    """As long as an ACL says what some mode says; cp -a and ls do not stumble over it."""
    f, name = d + "/f", "system.nfs4_acl"
    write_file(f, b"x")
    os.chmod(f, 0o640)
    acl = os.getxattr(f, name)
    assert b"OWNER@" in acl and b"GROUP@" in acl and b"EVERYONE@" in acl and acl[3] == 3, acl
    os.chmod(f, 0o604)
    assert os.getxattr(f, name) != acl
    os.setxattr(f, name, acl)
    assert stat.S_IMODE(os.stat(f).st_mode) == 0o640 and os.getxattr(f, name) == acl
    user = b"".join(n.to_bytes(4, "big") for n in (1, 0, 0, 1, 4)) + b"1000"  # ALLOW 1000 to read
    fails(errno.EIO, os.setxattr, f, name, user)  # what Linux makes of NFS4ERR_ATTRNOTSUPP
    assert stat.S_IMODE(os.stat(f).st_mode) == 0o640
    os.chmod(f, 0o2705)
    assert sh("cp -a f g; cp --preserve=all f h; ls -l f g h | cut -c1-10", d).split() == ["-rwx--Sr-x"] * 3


each_version()
finish()
