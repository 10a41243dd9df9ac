# SPDX-License-Identifier: Apache-2.0
"""Delegations between two clients: what one keeps for itself the other gets when it asks, and nothing gets lost."""
import fcntl
import re
from guest import *

OPS = {"OPEN": 0, "CLOSE": 0, "DELEGRETURN": 0}


def counts(where):
    """How often this mount has sent an operation."""
    text = open("/proc/self/mountstats").read()
    part = text.split("mounted on %s with" % where, 1)[1].split("\ndevice ", 1)[0]
    return {op: int(re.search(r"^\s*%s: (\d+)" % op, part, re.M).group(1)) for op in OPS}


def reopen(path, times, mode="rb"):
    for _ in range(times):
        with open(path, mode) as h:
            if "r" in mode:
                h.read()


def kept_for_reading(where, d):
    """A file that is opened again and again is not asked for each time; a write by the other is seen."""
    path = d + "/reads"
    if GUEST == 1:
        reopen(path, 3)
        before = counts(where)
        reopen(path, 50)
        after = counts(where)
        assert after["OPEN"] - before["OPEN"] < 5, (before, after)
    ctl("barrier read " + d)
    if GUEST == 2:
        write_file(path, b"new", sync=True)
    ctl("barrier written " + d)
    assert read_file(path) == b"new"
    if GUEST == 1:
        assert counts(where)["DELEGRETURN"] > 0, counts(where)


def kept_for_writing(where, d):
    """What the holder of a write delegation has not written yet is seen by the other, by stat and by reading."""
    path = d + "/writes"
    if GUEST == 1:
        reopen(path, 3, "r+b")  # the second OPEN brings the delegation
        with open(path, "r+b") as h:
            h.write(b"x" * 5000)
            h.flush()
            ctl("barrier dirty " + d)
            ctl("barrier stat " + d)
            h.write(b"y" * 5000)
        ctl("barrier closed " + d)
    else:
        ctl("barrier dirty " + d)
        assert os.stat(path).st_size == 5000, os.stat(path)
        ctl("barrier stat " + d)
        ctl("barrier closed " + d)
        assert read_file(path) == b"x" * 5000 + b"y" * 5000
    ctl("barrier both " + d)


def taken_away(where, d):
    """Names and attributes: a delegation is recalled before they change."""
    for i in range(5):
        path = "%s/name.%d" % (d, i)
        if GUEST == 1:
            write_file(path, b"%d" % i, sync=True)
            reopen(path, 3)
        ctl("barrier made %s %d" % (d, i))
        if GUEST == 2:
            os.chmod(path, 0o600)
            os.link(path, path + ".link")
            os.rename(path, path + ".new")
            os.unlink(path + ".link")
        ctl("barrier renamed %s %d" % (d, i))
        assert read_file(path + ".new") == b"%d" % i
        assert os.stat(path + ".new").st_mode & 0o777 == 0o600


def ping_pong(where, d):
    """Both write the same file in turn under a lock; every byte arrives."""
    path = d + "/turns"
    for i in range(40):
        with open(path, "r+b") as h:
            fcntl.lockf(h, fcntl.LOCK_EX)
            n = int(h.read() or b"0")
            h.seek(0)
            h.write(b"%06d" % (n + 1))
            h.flush()
            os.fsync(h.fileno())
            fcntl.lockf(h, fcntl.LOCK_UN)
    ctl("barrier turns " + d)
    assert int(read_file(path)) == 80, read_file(path)


def told(where, d, vers):
    """Who waits for a lock gets it soon after it is free. In 4.0 clients poll; in 4.1 they would, too, but 15 s after the
    begin at the earliest."""
    with open(d + "/lock", "r+b") as h:
        if GUEST == 1:
            fcntl.lockf(h, fcntl.LOCK_EX)
            ctl("barrier held " + d)
            time.sleep(8)
            fcntl.lockf(h, fcntl.LOCK_UN)
            ctl("barrier freed " + d)
            ctl("barrier got " + d)
        else:
            ctl("barrier held " + d)
            start = time.monotonic()
            fcntl.lockf(h, fcntl.LOCK_EX)
            took = time.monotonic() - start
            ctl("barrier freed " + d)
            fcntl.lockf(h, fcntl.LOCK_UN)
            ctl("barrier got " + d)
            assert took < (60 if vers == "4.0" else 14), took


def restarted(where, d):
    """A delegation survives the server: its holder reclaims it, and the other still sees what the holder wrote."""
    path = d + "/kept"
    if GUEST == 1:
        write_file(path, b"1", sync=True)
        reopen(path, 3, "r+b")
        with open(path, "r+b") as h:
            h.write(b"2")
            h.flush()
            ctl("restart")
            h.write(b"3")
        reopen(path, 3)
    ctl("barrier restarted " + d)
    assert read_file(path) == b"23", read_file(path)
    ctl("barrier read again " + d)
    if GUEST == 2:
        write_file(path, b"4", sync=True)
    ctl("barrier changed " + d)
    assert read_file(path) == b"4", read_file(path)


for vers in VERS:
    where = "/mnt/v" + vers
    d = where + "/deleg." + vers
    mount(vers, "/alice/mydata", where, "actimeo=0" if GUEST == 2 else "")
    if GUEST == 1:
        os.mkdir(d)
        for name in ("reads", "writes", "turns", "lock"):
            write_file(d + "/" + name, b"", sync=True)
    ctl("barrier ready " + vers)
    attempt("vers=%s: kept for reading" % vers, kept_for_reading, where, d)
    ctl("barrier a " + vers)
    if vers != "4.0":
        attempt("vers=%s: kept for writing" % vers, kept_for_writing, where, d)
    ctl("barrier b " + vers)
    attempt("vers=%s: names and attributes" % vers, taken_away, where, d)
    ctl("barrier c " + vers)
    attempt("vers=%s: in turn" % vers, ping_pong, where, d)
    ctl("barrier d " + vers)
    attempt("vers=%s: a lock that was waited for" % vers, told, where, d, vers)
    ctl("barrier e " + vers)
    attempt("vers=%s: over a restart of the server" % vers, restarted, where, d)
    ctl("barrier f " + vers)
    attempt("vers=%s: umount" % vers, umount, where)
    ctl("barrier g " + vers)
finish()
