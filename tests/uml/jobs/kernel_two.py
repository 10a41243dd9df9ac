# SPDX-License-Identifier: Apache-2.0
"""Two clients on one volume: O_EXCL races, locks, appends under locks, what one writes the other reads."""
import errno
import fcntl
from guest import *


def append(path, lock, unlock, count=60):
    for i in range(count):
        with open(path, "r+b") as h:
            lock(h)
            h.seek(0, 2)
            h.write(b"%d %03d\n" % (GUEST, i))
            h.flush()
            os.fsync(h.fileno())
            unlock(h)


def appended(path, count=60):
    with open(path, "rb") as h:
        lines = h.read().splitlines()
    assert sorted(lines) == sorted(b"%d %03d" % (g, i) for g in (1, 2) for i in range(count)), len(lines)
    for g in (b"1", b"2"):
        mine = [x for x in lines if x.startswith(g)]
        assert mine == sorted(mine)


def races(d):
    won = 0
    for i in range(200):
        try:
            fd = os.open("%s/excl.%d" % (d, i), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(fd, b"%d" % GUEST)
            os.close(fd)
            won += 1
        except FileExistsError:
            pass
    write_file("%s/won.%d" % (d, GUEST), b"%d" % won, sync=True)


def one_winner(d):
    counts = {g: int(read_file("%s/won.%d" % (d, g))) for g in (1, 2)}
    assert counts[1] + counts[2] == 200, counts
    owners = [read_file("%s/excl.%d" % (d, i)) for i in range(200)]
    assert owners.count(b"1") == counts[1] and owners.count(b"2") == counts[2], counts


def lock_held_by_the_other(d):
    with open(d + "/lock", "r+b") as h:
        if GUEST == 1:
            fcntl.lockf(h, fcntl.LOCK_EX, 10, 0)
            ctl("barrier held " + d)
            ctl("barrier refused " + d)
            time.sleep(1)   # the other waits by then, or comes later
            write_file(d + "/released", b"", sync=True)
            fcntl.lockf(h, fcntl.LOCK_UN, 10, 0)
        else:
            ctl("barrier held " + d)
            try:
                fcntl.lockf(h, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
                raise AssertionError("got a lock the other has")
            except BlockingIOError:
                pass
            fcntl.lockf(h, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)
            ctl("barrier refused " + d)
            fcntl.lockf(h, fcntl.LOCK_EX, 10, 0)
            assert "released" in os.listdir(d)


def seen_by_the_other(d):
    """Close-to-open: what was closed on one is read after an open on the other; new and removed names show too."""
    for i in range(10):
        if i % 2 == GUEST - 1:
            write_file(d + "/ball", b"%d from %d" % (i, GUEST))
            write_file(d + "/ball.%d" % i, b"")
            if i:
                os.unlink(d + "/ball.%d" % (i - 1))
        ctl("barrier ball %s %d" % (d, i))
        assert read_file(d + "/ball") == b"%d from %d" % (i, i % 2 + 1)
        with open(d + "/ball.%d" % i):
            pass
        assert not i or not os.path.exists(d + "/ball.%d" % (i - 1))
        ctl("barrier seen %s %d" % (d, i))


for vers in VERS:
    where = "/mnt/v" + vers
    d = where + "/two." + vers
    mount(vers, "/alice/mydata", where, "actimeo=0,lookupcache=none")
    if GUEST == 1:
        os.mkdir(d)
        for name in ("lock", "posix", "flock"):
            write_file(d + "/" + name, b"", sync=True)
    ctl("barrier ready " + vers)
    attempt("vers=%s: O_EXCL" % vers, races, d)
    ctl("barrier raced " + vers)
    attempt("vers=%s: O_EXCL had one winner for each name" % vers, one_winner, d)
    ctl("barrier a " + vers)
    attempt("vers=%s: append under fcntl locks" % vers, append, d + "/posix",
            lambda h: fcntl.lockf(h, fcntl.LOCK_EX), lambda h: fcntl.lockf(h, fcntl.LOCK_UN))
    attempt("vers=%s: append under flock" % vers, append, d + "/flock",
            lambda h: fcntl.flock(h, fcntl.LOCK_EX), lambda h: fcntl.flock(h, fcntl.LOCK_UN))
    ctl("barrier b " + vers)
    attempt("vers=%s: no append was lost (fcntl)" % vers, appended, d + "/posix")
    attempt("vers=%s: no append was lost (flock)" % vers, appended, d + "/flock")
    ctl("barrier c " + vers)
    attempt("vers=%s: a lock of the other guest" % vers, lock_held_by_the_other, d)
    ctl("barrier d " + vers)
    attempt("vers=%s: what one writes the other reads" % vers, seen_by_the_other, d)
    attempt("vers=%s: umount" % vers, umount, where)
    ctl("barrier e " + vers)
finish()
