# SPDX-License-Identifier: Apache-2.0
"""The server goes away in the middle, by SIGTERM and by SIGKILL: open files, held locks, unlinked files go on."""
import errno
import fcntl
import multiprocessing
from guest import *

multiprocessing.set_start_method("fork")
HOW = ["restart", "kill9"]


def locked_elsewhere(path, start, length):
    """Whether another process is refused this range."""
    pid = os.fork()
    if pid == 0:
        with open(path, "r+b") as h:
            try:
                fcntl.lockf(h, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
                os._exit(1)
            except OSError as e:
                os._exit(0 if e.errno in (errno.EAGAIN, errno.EACCES) else 2)
    return os.waitpid(pid, 0)[1] == 0


def goes_on(d, how):
    os.makedirs(d)
    write_file(d + "/read", b"r" * 100000, sync=True)
    r, w, gone = open(d + "/read", "rb"), open(d + "/write", "w+b", buffering=0), open(d + "/gone", "w+b", buffering=0)
    r.read(10)
    w.write(b"before ")
    os.fsync(w.fileno())
    w.write(b"(not synced) ")
    gone.write(b"unlinked")
    os.fsync(gone.fileno())
    os.unlink(d + "/gone")
    fcntl.lockf(w, fcntl.LOCK_EX, 100, 0)
    ctl(how)
    w.write(b"after")
    os.fsync(w.fileno())
    assert len(r.read()) == 99990
    # Not through another descriptor: closing that would drop this process's locks.
    assert os.pread(w.fileno(), 100, 0) == b"before (not synced) after"
    gone.seek(0)
    assert gone.read() == b"unlinked"
    assert locked_elsewhere(d + "/write", 50, 10), "the lock was lost"
    assert not locked_elsewhere(d + "/write", 100, 10), "more than the lock is held"
    fcntl.lockf(w, fcntl.LOCK_UN, 100, 0)
    assert not locked_elsewhere(d + "/write", 50, 10), "the lock stayed"
    for h in (r, w, gone):
        h.close()
    assert sorted(os.listdir(d)) == ["read", "write"], os.listdir(d)


def under_load(d, how):
    """Processes create, write, rename and remove while the server goes away and comes back."""
    os.makedirs(d)

    def worker(n):
        for i in range(40):
            name = "%s/%d.%d" % (d, n, i)
            write_file(name + ".new", b"%d" % i * 5000, sync=True)
            rename_over_restart(name + ".new", name)
            if i % 2:
                unlink_over_restart(name)

    ps = [multiprocessing.Process(target=worker, args=(n,)) for n in range(3)]
    [p.start() for p in ps]
    time.sleep(0.1)
    ctl(how)
    [p.join(280) for p in ps]
    assert [p.exitcode for p in ps] == [0, 0, 0], [p.exitcode for p in ps]
    assert sorted(os.listdir(d)) == sorted("%d.%d" % (n, i) for n in range(3) for i in range(0, 40, 2))
    for n in range(3):
        for i in range(0, 40, 2):
            assert read_file("%s/%d.%d" % (d, n, i)) == b"%d" % i * 5000


for vers in VERS:
    where = "/mnt/v" + vers
    mount(vers, "/alice/mydata", where, "hard")
    for how in HOW:
        attempt("vers=%s: open files and locks after %s" % (vers, how), goes_on,
                "%s/open.%s.%s" % (where, vers, how), how)
        attempt("vers=%s: work under way at %s" % (vers, how), under_load,
                "%s/load.%s.%s" % (where, vers, how), how)
    attempt("vers=%s: umount" % vers, umount, where)
finish()
