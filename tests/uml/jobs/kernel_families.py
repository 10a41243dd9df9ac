# SPDX-License-Identifier: Apache-2.0
"""Two clients, what the other jobs leave out: OFD locks, nconnect=4, and a client that is killed with locks, opens and
delegations: the other gets them. Guest 2 is the one that dies, after its part of all versions: it holds something on a
mount of each, so that guest 1 waits for a lease time once."""
import fcntl
import struct
from guest import *

OFD_SETLK, OFD_SETLKW = 37, 38
LEASE = 5


def ofd(fd, kind, start, length, wait=False):
    fcntl.fcntl(fd, OFD_SETLKW if wait else OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0))


def refused(func, *args):
    try:
        func(*args)
    except BlockingIOError:
        return
    raise AssertionError("got a lock that another has")


def ofd_locks(d):
    """Of open files, not of processes: they stay when another descriptor is closed; fcntl locks of the other see them."""
    path = d + "/ofd"
    if GUEST == 1:
        with open(path, "r+b") as a, open(path, "r+b") as b:
            ofd(a.fileno(), fcntl.F_WRLCK, 0, 100)
            refused(ofd, b.fileno(), fcntl.F_RDLCK, 50, 10)
            ofd(b.fileno(), fcntl.F_RDLCK, 100, 100)
            with open(path, "rb"):
                pass
            ctl("barrier ofd held " + d)
            ctl("barrier ofd tried " + d)
            ofd(a.fileno(), fcntl.F_UNLCK, 0, 50)
            ctl("barrier ofd half " + d)
            ctl("barrier ofd end " + d)
    else:
        with open(path, "r+b") as h:
            ctl("barrier ofd held " + d)
            for how in (ofd, lambda fd, kind, start, n: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, n, start)):
                refused(how, h.fileno(), fcntl.F_WRLCK, 0, 10)
                refused(how, h.fileno(), fcntl.F_WRLCK, 150, 10)
            ofd(h.fileno(), fcntl.F_RDLCK, 150, 10)
            ofd(h.fileno(), fcntl.F_UNLCK, 150, 10)
            ctl("barrier ofd tried " + d)
            ctl("barrier ofd half " + d)
            ofd(h.fileno(), fcntl.F_WRLCK, 0, 50)
            refused(ofd, h.fileno(), fcntl.F_WRLCK, 0, 51)
            ofd(h.fileno(), fcntl.F_UNLCK, 0, 0)
            ctl("barrier ofd end " + d)


def connections():
    """To the server, from this guest."""
    with open("/proc/net/tcp") as f:
        return [x for x in (line.split() for line in f) if x[2].endswith(":%04X" % PORT) and x[3] == "01"]


def four_connections(vers):
    """nconnect=4 (on the first mount of a version: later ones use its client): many processes write and read at once,
    over four connections, and go on after the server was killed."""
    where = "/mnt/n" + vers
    mount(vers, "/alice/mydata", where, "nconnect=4")
    mine = "%s/nconnect.%s.%d" % (where, vers, GUEST)
    os.mkdir(mine)
    parts = {i: os.urandom(1 << 20) for i in range(6)}

    def all_at_once(job):
        pids = []
        for i in parts:
            pid = os.fork()
            if pid == 0:
                try:
                    job(i)
                    os._exit(0)
                except BaseException as e:
                    print("FAILED", repr(e), flush=True)
                    os._exit(1)
            pids.append(pid)
        bad = [p for p in pids if os.waitpid(p, 0)[1]]
        assert not bad, "%d processes failed" % len(bad)

    all_at_once(lambda i: write_file("%s/%d" % (mine, i), parts[i], sync=True))
    n = len(connections())
    assert n >= 4, "%d connections" % n
    sh("echo 3 >/proc/sys/vm/drop_caches")
    with open(mine + "/held", "wb") as h:
        fcntl.lockf(h, fcntl.LOCK_EX)
        ctl("barrier nc %s written" % vers)
        if GUEST == 1:
            ctl("kill9")

        def check(i):
            assert read_file("%s/%d" % (mine, i)) == parts[i]
            write_file("%s/again.%d" % (mine, i), parts[i], sync=True)

        all_at_once(check)
        h.write(b"still")
        h.flush()
        os.fsync(h.fileno())
    all_at_once(lambda i: os.unlink("%s/%d" % (mine, i)))
    assert sorted(os.listdir(mine)) == sorted(["again.%d" % i for i in parts] + ["held"])
    umount(where)
    ctl("barrier nc %s over" % vers)


def hold(d):
    """What guest 2 has when it dies: locks of each kind, a file removed while open, delegations."""
    held = []
    for name in ("posix", "flock", "ofd"):
        h = open("%s/killed.%s" % (d, name), "r+b")
        held.append(h)
        if name == "posix":
            fcntl.lockf(h, fcntl.LOCK_EX, 100, 0)
        elif name == "flock":
            fcntl.flock(h, fcntl.LOCK_EX)
        else:
            ofd(h.fileno(), fcntl.F_WRLCK, 0, 100)
    for _ in range(3):
        read_file(d + "/killed.deleg")
    return held


def takes_over(d, dead):
    """Held while the other lives; free when it has been dead for a lease time."""
    for name in ("posix", "flock", "ofd"):
        with open("%s/killed.%s" % (d, name), "r+b") as h:
            def take():
                if name == "posix":
                    fcntl.lockf(h, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 0)
                elif name == "flock":
                    fcntl.flock(h, fcntl.LOCK_EX | fcntl.LOCK_NB)
                else:
                    ofd(h.fileno(), fcntl.F_WRLCK, 0, 100)

            if not dead:
                refused(take)
                continue
            start = time.monotonic()
            while True:
                try:
                    take()
                    break
                except BlockingIOError:
                    assert time.monotonic() - start < 6 * LEASE, name + " is still locked"
                    time.sleep(0.2)
            h.write(b"mine")
            h.flush()
            os.fsync(h.fileno())
    if dead:
        write_file(d + "/killed.deleg", b"written", sync=True)
        os.rename(d + "/killed.deleg", d + "/killed.deleg.new")
        assert read_file(d + "/killed.deleg.new") == b"written"


folders, held = {}, []
for vers in VERS:
    attempt("vers=%s: nconnect=4" % vers, four_connections, vers)
    where = "/mnt/v" + vers
    d = folders[vers] = where + "/families." + vers
    mount(vers, "/alice/mydata", where, "actimeo=0,lookupcache=none")
    if GUEST == 1:
        os.mkdir(d)
        for name in ("ofd", "killed.posix", "killed.flock", "killed.ofd", "killed.deleg"):
            write_file(d + "/" + name, b"", sync=True)
    ctl("barrier ready " + vers)
    attempt("vers=%s: OFD locks" % vers, ofd_locks, d)
    ctl("barrier locked " + vers)
for vers in VERS:
    if GUEST == 2:
        held += hold(folders[vers])
ctl("barrier held")
if GUEST == 1:
    for vers in VERS:
        attempt("vers=%s: locked as long as the other lives" % vers, takes_over, folders[vers], False)
ctl("barrier die")
if GUEST == 2:
    ctl("done 0")
    ctl("kill")
time.sleep(1)
for vers in VERS:
    attempt("vers=%s: a killed client's locks and delegations are free" % vers, takes_over, folders[vers], True)
    attempt("vers=%s: umount" % vers, umount, "/mnt/v" + vers)
finish()
