# SPDX-License-Identifier: Apache-2.0
"""A guest's part of the fight (tests/fight/beside.py has the rest): processes on mounts of several versions rewrite
files under locks, rename tokens, and publish and read numbers. What each finds the arbiter compares."""
import errno
import fcntl
import json
import random
import signal
import struct
from guest import *

FILES, LEAST, TOKENS = 4, 4, 24
SEED = os.environ["SEED"]
WORKERS = int(os.environ.get("WORKERS", "4"))
GIVE_UP = 20   # seconds that a process waits for a lock (clients of 4.0 ask only every half minute)
STUCK = 120    # seconds that nothing may take
# Each guest has two mounts; each is a client of its own.
MOUNTS = {1: ["4.2", "4.0"], 2: ["4.1", "4.2"]}[GUEST]


class Arbiter:
    def __init__(self):
        self.s = socket.create_connection((SERVER, 8), 60)
        self.f = self.s.makefile("rwb")

    def ask(self, *what):
        self.f.write(json.dumps(what).encode() + b"\n")
        self.f.flush()
        return json.loads(self.f.readline())


class GaveUp(Exception):
    pass


def alarm(signum, frame):
    raise GaveUp()


OFD_SETLK, OFD_SETLKW = 37, 38


def ofd(fd, kind, wait):
    fcntl.fcntl(fd, OFD_SETLKW if wait else OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1 << 20, 0))


# A file has one kind of lock: within one machine the kinds do not know of each other.
def take(fd, k, wait):
    nb = 0 if wait else fcntl.LOCK_NB
    if k % 3 == 0:
        fcntl.lockf(fd, fcntl.LOCK_EX | nb, 1 << 20)
    elif k % 3 == 1:
        fcntl.flock(fd, fcntl.LOCK_EX | nb)
    else:
        ofd(fd, fcntl.F_WRLCK, wait)


def give(fd, k):
    if k % 3 == 0:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1 << 20)
    elif k % 3 == 1:
        fcntl.flock(fd, fcntl.LOCK_UN)
    else:
        ofd(fd, fcntl.F_UNLCK, True)


class Worker:
    def __init__(self, n):
        self.name = "guest %d process %d" % (GUEST, n)
        self.rnd = random.Random("%s %d %d" % (SEED, GUEST, n))
        self.d = "/mnt/f%d/fight" % (n % len(MOUNTS))
        self.n, self.a = n, Arbiter()
        self.slowest = (0, "")

    def run(self):
        signal.signal(signal.SIGALRM, alarm)
        moves = [self.rewrite, self.rewrite, self.rename, self.read]
        if self.n == 0:
            moves += [self.publish] * 2
        while not self.a.ask("stop"):
            move = self.rnd.choice(moves)
            start = time.monotonic()
            try:
                move()
            except Exception as e:
                self.a.ask("wrong", "%s: %s: %r" % (self.name, move.__name__, e))
                raise
            took = time.monotonic() - start
            self.slowest = max(self.slowest, (took, move.__name__))
            if took > STUCK:
                self.a.ask("wrong", "%s: %s took %.0f s" % (self.name, move.__name__, took))
        say("%s: the slowest was %s with %.1f s" % (self.name, self.slowest[1], self.slowest[0]))

    def rewrite(self):
        k = self.rnd.randrange(FILES)
        key = "data.%d" % k
        fd = os.open("%s/%s" % (self.d, key), os.O_RDWR)
        try:
            wait = self.rnd.random() < 0.5
            signal.alarm(GIVE_UP if wait else 0)
            try:
                take(fd, k, wait)
            finally:
                signal.alarm(0)
            data = os.pread(fd, 8192, 0)
            value = int(data[:16]) if data else 0
            assert len(set(data[i:i + 16] for i in range(0, len(data), 16))) <= 1, "parts of two writes"
            after = self.a.ask("enter", key, self.name, value)
            if after is None:
                return
            if self.rnd.random() < 0.2:
                time.sleep(self.rnd.random() / 4)
            os.pwrite(fd, b"%015d\n" % after * 256, 0)
            os.fsync(fd)
            self.a.ask("leave", key, self.name, after)
            give(fd, k)
        except (BlockingIOError, GaveUp):
            pass
        finally:
            os.close(fd)

    def rename(self):
        old = self.rnd.choice([n for n in os.listdir(self.d) if n.startswith("token.")])
        new = "token.%s.%d" % (old.split(".")[1], self.rnd.randrange(1 << 40))
        try:
            os.rename(self.d + "/" + old, self.d + "/" + new)
        except FileNotFoundError:
            pass    # somebody else was faster, or it was done before a restart

    def publish(self):
        """The first process of guest N writes those K that are N modulo 2."""
        key = "least.%d" % (self.rnd.randrange(LEAST // 2) * 2 + GUEST - 1)
        n = self.a.ask("begin", key)
        write_file("%s/new.%s" % (self.d, key), b"", sync=True)
        fd = os.open("%s/%s" % (self.d, key), os.O_WRONLY)
        os.pwrite(fd, b"%015d\n" % n, 0)
        os.fsync(fd)
        os.close(fd)
        self.a.ask("done", key, n)

    def read(self):
        key = "least.%d" % self.rnd.randrange(LEAST)
        for _ in range(3):
            least = self.a.ask("least", key)
            data = read_file("%s/%s" % (self.d, key))
            found = int(data) if data else 0
            if found < least:
                self.a.ask("wrong", "%s read %d in %s, where %d was published" % (self.name, found, key, least))


def fight():
    pids = []
    for n in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            try:
                Worker(n).run()
                os._exit(0)
            except BaseException as e:
                print("FAILED", n, repr(e), flush=True)
                os._exit(1)
        pids.append(pid)
    bad = [pid for pid in pids if os.waitpid(pid, 0)[1] != 0]
    assert not bad, "%d of %d processes failed" % (len(bad), len(pids))


def all_there():
    names = [n for n in os.listdir("/mnt/f0/fight") if n.startswith("token.")]
    ids = sorted(int(n.split(".")[1]) for n in names)
    assert ids == list(range(TOKENS)), ids
    for n in names:
        assert read_file("/mnt/f0/fight/" + n) == b"token %s" % n.split(".")[1].encode(), n


for i, vers in enumerate(MOUNTS):
    # A mount of its own folder of the server, or the second would share the first one's client.
    mount(vers, "/alice/mydata", "/mnt/f%d" % i, "nosharecache")
if GUEST == 1:
    d = "/mnt/f0/fight"
    os.mkdir(d)
    for name in ["data.%d" % k for k in range(FILES)] + ["least.%d" % k for k in range(LEAST)] + ["deny"]:
        write_file(d + "/" + name, b"", sync=True)
    for n in range(TOKENS):
        write_file("%s/token.%d.0" % (d, n), b"token %d" % n, sync=True)
ctl("barrier ready")
if GUEST == 1:
    ctl("host touch begun")
attempt("fight", fight)
ctl("barrier fought")
for i in range(len(MOUNTS)):
    attempt("umount " + MOUNTS[i], umount, "/mnt/f%d" % i)
mount("4.2", "/alice/mydata", "/mnt/f0")
attempt("every token is there once", all_there)
umount("/mnt/f0")
ctl("barrier over")
if GUEST == 1:
    ctl("host while [ ! -e ended ]; do sleep 0.1; done; touch over")
finish()
