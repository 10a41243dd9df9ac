#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tasks come and go, the server is killed, and nobody waits for those that held nothing; who held a lock keeps it.

    graceful.py

The server has the usual times: a grace time that is waited for is 90 s, and fails the test. TAP.
"""
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import recovery  # noqa: E402
import servers  # noqa: E402

SOON = 45  # a slow machine's start, and many times what is needed


def records(t):
    """How many clients the server would wait for."""
    db = sqlite3.connect("file:%s/state.db?mode=ro" % t.server.store, uri=True, timeout=30)
    try:
        return db.execute("SELECT count(*) FROM client").fetchone()[0]
    finally:
        db.close()


def settled(t, want, seconds):
    end = time.monotonic() + seconds
    while records(t) != want and time.monotonic() < end:
        time.sleep(0.01)
    return records(t) == want


def tasks(t, n):
    """n at a time: programs that open, write, read and end. They may be short of a second."""
    ps = [t.start("sh", "-c", "echo %d >/volumes/v/task.%d; cat /volumes/v/task.%d" % (i, i, i)) for i in range(n)]
    return [p.communicate()[0] for p in ps] == ["%d\n" % i for i in range(n)]


def next_open(t, what):
    start = time.monotonic()
    t.done(t.start("sh", "-c", "echo new >/volumes/v/new"), what)
    took = time.monotonic() - start
    t.told(took < SOON, "%s: soon" % what, "after %.1f s" % took)


def nobody(t):
    """Short tasks, and the server killed once they are over, at some moment of the next seconds."""
    for away in (0, random.random()):
        t.told(tasks(t, 6), "six tasks come and go")
        t.told(settled(t, 0, 9), "and are forgotten before the time of idle clients is over", "%d records" % records(t))
        time.sleep(away)
        t.restart(0)
        next_open(t, "the next task's open is answered")


def again(t):
    """One client whose programs come and go for a while."""
    p = t.start("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cat /volumes/v/new; sleep 0.3; done")
    out = p.communicate()[0]
    t.told(out == "new\n" * 12, "programs of one task follow each other", out)
    t.told(settled(t, 0, 9), "and are forgotten with it", "%d records" % records(t))


def holder(t):
    """One that holds a lock, among tasks that come and go when the server is killed: it is the holder's afterwards."""
    for moment in (0, random.random() * 2):
        p = t.inner("""
            f = os.open(V + "/held", os.O_RDWR | os.O_CREAT)
            fcntl.lockf(f, fcntl.LOCK_EX)
            cue("ready"); wait_cue("stolen?")
            os.write(f, b"mine")
            os.fsync(f)
            cue("wrote"); wait_cue("end")
            """)
        t.told(t.wait_cue(p, "ready"), "a lock is held")
        ps = [t.start("sh", "-c", "while echo x >/volumes/v/busy.%d; do [ -e %s/enough ] && break; done" % (i, p.cues))
              for i in range(2)]
        time.sleep(0.5 + moment)
        t.restart(0)
        thief = t.inner("""
            f = os.open(V + "/held", os.O_RDWR)
            cue("open")
            assert refused(lambda: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)) in (errno.EAGAIN, errno.EACCES)
            cue("refused"); wait_cue("free")
            fcntl.lockf(f, fcntl.LOCK_EX)
            assert os.read(f, 10) == b"mine"
            """)
        t.cue(p, "stolen?")
        t.told(t.wait_cue(p, "wrote", SOON), "the holder has it soon after the restart, and writes")
        t.told(t.wait_cue(thief, "refused", SOON), "nobody else gets it")
        t.cue(p, "enough")
        for i, busy in enumerate(ps):
            t.done(busy, "busy task %d goes on" % i)
        t.cue(p, "end")
        t.done(p, "the holder ends")
        t.cue(thief, "free")
        t.done(thief, "then another gets it")
        t.told(settled(t, 0, 60), "and all are forgotten", "%d records" % records(t))


def stopped(t):
    """The holder cannot ask for its lock at once: the server waits for it, though another asks meanwhile."""
    p = t.inner("""
        f = os.open(V + "/still", os.O_RDWR | os.O_CREAT)
        fcntl.lockf(f, fcntl.LOCK_EX)
        cue("ready"); wait_cue("go")
        os.write(f, b"mine")
        os.fsync(f)
        cue("wrote"); wait_cue("end")
        """)
    t.told(t.wait_cue(p, "ready"), "a lock is held")
    t.told(tasks(t, 3) and settled(t, 1, 30), "tasks come and go", "%d records" % records(t))
    os.killpg(p.pid, signal.SIGSTOP)
    t.restart(0)
    thief = t.inner("""
        f = os.open(V + "/still", os.O_RDWR)
        cue("open")
        assert refused(lambda: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)) in (errno.EAGAIN, errno.EACCES)
        cue("refused")
        """)
    time.sleep(3)
    t.told(not os.path.exists(os.path.join(thief.cues, "open")), "nobody opens anything before the holder is back")
    os.killpg(p.pid, signal.SIGCONT)
    t.cue(p, "go")
    t.told(t.wait_cue(p, "wrote", SOON), "the holder has it, and writes")
    t.told(t.wait_cue(thief, "refused", SOON), "the other is refused")
    t.done(thief, "and ends")
    t.cue(p, "end")
    t.done(p, "the holder ends")


def main(argv):
    seed = int(os.environ.get("VOLNFS_TEST_SEED", time.time_ns() % 1000000))
    random.seed(seed)
    print("# VOLNFS_TEST_SEED=%d" % seed)
    folder = tempfile.mkdtemp(prefix="volnfs-graceful-")
    server = servers.Volnfsd(os.path.join(folder, "server"))
    try:
        server.start()
        server.make_volume("alice/v")
        t = recovery.Tests(server, folder)
        parts = {"nobody": nobody, "again": again, "holder": holder, "stopped": stopped}
        for part in [parts[a] for a in argv] or parts.values():
            part(t)
        server.stop()
        print("1..%d" % t.count)
        return t.failed != 0
    finally:
        server.kill9(start=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
