#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The server goes away and comes back under programs that use volumes; appenders in several runs: TAP.

Every program is under a `volnfs run` of its own, so each run is a client of its own.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import servers  # noqa: E402

PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
SIZE_MB = int(os.environ.get("TROUBLE_MB", "96"))
V = "/volumes/t"


class Tap:
    def __init__(self):
        self.count = self.failures = 0

    def ok(self, good, name, why=""):
        self.count += 1
        self.failures += not good
        print("%sok %d - %s" % ("" if good else "not ", self.count, name))
        for line in str(why).splitlines() if not good else []:
            print("#   " + line)
        sys.stdout.flush()

    def done(self):
        print("1..%d" % self.count)
        return int(self.failures > 0)


tap = Tap()


def start(server, *argv, **kw):
    """A program under its own run."""
    return subprocess.Popen([servers.program("volnfs"), "run", "-s", "127.0.0.1:%d" % server.port, "-v", "alice/t",
                             "--"] + list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, **kw)


def finish(proc, name, seconds=240, want=0):
    """Waits for it; one test result. Returns its output."""
    try:
        out = proc.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        proc.kill()
        tap.ok(False, name, "still running after %d s\n%s" % (seconds, proc.communicate()[0]))
        return ""
    tap.ok(proc.returncode == want, name, "status %d\n%s" % (proc.returncode, out[-2000:]))
    return out


def python(server, code, *args):
    return start(server, PYTHON, "-c", code, *args)


COPY = """
import hashlib, os, sys, time
size = int(sys.argv[1]) << 20
block = os.urandom(1 << 20)
h = hashlib.sha256()
with open("/volumes/t/copy", "wb") as f:
    for i in range(size >> 20):
        piece = i.to_bytes(8, "big") + block[8:]
        h.update(piece)
        f.write(piece)
        if i % 16 == 0:
            print("at", i, flush=True)
    f.flush()
    os.fsync(f.fileno())
g = hashlib.sha256()
with open("/volumes/t/copy", "rb") as f:
    while piece := f.read(1 << 20):
        g.update(piece)
print("same" if h.digest() == g.digest() else "DIFFERENT", flush=True)
"""


def copy_over(server, name, away):
    """The server goes away when the copy is a third done."""
    proc = python(server, COPY, str(SIZE_MB))
    while True:
        line = proc.stdout.readline()
        if not line or int(line.split()[1]) >= SIZE_MB // 3:
            break
    away()
    out = finish(proc, "%s in the middle of a copy" % name)
    tap.ok(out.rstrip().endswith("same"), "the copy is whole after that", out[-300:])
    reader = start(server, "cksum", V + "/copy")
    tap.ok(finish(reader, "another run reads it").split()[1:2] == [str(SIZE_MB << 20)], "all of it")


HOLD = """
import fcntl, os, sys
f = open("/volumes/t/lock", "a+")
fcntl.lockf(f, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
for what in (lambda: os.pwrite(f.fileno(), b"x", 0), lambda: f.seek(0), lambda: fcntl.lockf(f, fcntl.LOCK_UN)):
    try:
        what()
    except OSError as e:
        print("errno", e.errno, flush=True)
        sys.exit(3)
print("given back", flush=True)
"""
TRY = """
import fcntl, sys
f = open("/volumes/t/lock", "a+")
try:
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("got it")
except OSError:
    print("busy")
"""


def lock_over(server):
    """A lock held while the server restarts is either still held, or its holder is told. Never two holders unaware."""
    holder = python(server, HOLD)
    tap.ok(holder.stdout.readline() == "held\n", "a lock is taken")
    tap.ok(python(server, TRY).communicate(timeout=120)[0] == "busy\n", "another run does not get it")
    server.restart()
    time.sleep(6)  # a lease: whoever wants to reclaim has
    after = python(server, TRY).communicate(timeout=120)[0].strip()
    holder.stdin.write("\n")
    holder.stdin.flush()
    out = holder.communicate(timeout=120)[0]
    tap.ok((after == "busy" and "given back" in out) or (after == "got it" and "errno" in out),
           "a restart under a held lock: it is kept, or lost and told", "other: %s; holder: %s" % (after, out))
    tap.ok(python(server, TRY).communicate(timeout=120)[0] == "got it\n", "it is free in the end")


OPEN_FILES = """
import errno, mmap, os, sys
os.chdir("/volumes/t")
kept = open("kept", "w+")
kept.write("before")
kept.flush()
gone = open("gone", "w+")
gone.write("unlinked")
gone.flush()
os.unlink("gone")
os.makedirs("dir/sub")
d = os.open("dir", os.O_RDONLY)
os.chdir("dir/sub")
with open("../../map", "wb") as f:
    f.write(b"m" * 100000)
f = open("../../map", "r+b")
m = mmap.mmap(f.fileno(), 0)
m[10:13] = b"abc"
print("ready", flush=True)
sys.stdin.readline()
kept.write(" and after")
kept.flush()
os.fsync(kept.fileno())
kept.seek(0)
print(kept.read(), os.listdir(d), os.getcwd(), os.path.exists("../sub"))
gone.seek(0)
try:
    print(gone.read())
except OSError as e:
    print("unlinked" if e.errno == errno.ESTALE else e)  # lost, and told
m[20:23] = b"def"
m.flush()
print(f.read(24))
open("new", "w").write("x")
print(os.listdir("."))
"""


def open_over(server):
    proc = python(server, OPEN_FILES)
    tap.ok(proc.stdout.readline() == "ready\n", "open files, a folder, a mapping, an unlinked file")
    server.kill9()
    proc.stdin.write("\n")
    proc.stdin.flush()
    out = finish(proc, "they outlive kill -9 of the server")
    want = ("before and after ['sub'] /volumes/t/dir/sub True\nunlinked\n%r\n['new']\n" %
            (b"m" * 10 + b"abc" + b"m" * 7 + b"def" + b"m"))
    tap.ok(out == want, "and hold what they should", out)


MAPPED = """
import hashlib, mmap, os, sys
def digest(pieces):
    h = hashlib.sha256()
    for piece in pieces:
        h.update(piece)
    return h.digest()
path, size = "/volumes/t/large", 64 << 20
if not os.path.exists(path):
    with open(path, "wb") as f:
        for i in range(size >> 20):
            f.write(bytes([i]) * (1 << 20))
m = mmap.mmap(os.open(path, os.O_RDONLY), 0, prot=mmap.PROT_READ)
def pieces():
    for at in range(0, size, 1 << 20):
        if at == size // 3 >> 20 << 20:
            print("third", flush=True)
            sys.stdin.readline()
        yield m[at:at + (1 << 20)]
print("same" if digest(pieces()) == digest(bytes([i]) * (1 << 20) for i in range(size >> 20)) else "DIFFERENT", flush=True)
"""


def map_over(server, name, away):
    """The server goes away when a third of a mapping has been looked at."""
    proc = python(server, MAPPED)
    proc.stdout.readline()
    away()
    proc.stdin.write("\n")
    proc.stdin.flush()
    tap.ok(finish(proc, "%s in the middle of a mapping" % name) == "same\n", "all of it is seen")


def map_away(server):
    """A server that does not come back: SIGBUS where there is nothing to show, after VOLNFS_SOFT seconds."""
    proc = start(server, PYTHON, "-c", MAPPED, env=dict(os.environ, VOLNFS_SOFT="2"))
    proc.stdout.readline()
    server.kill9(start=False)
    began = time.monotonic()
    proc.stdin.write("\n")
    proc.stdin.flush()
    finish(proc, "without a server a touch ends in SIGBUS", want=128 + 7)
    took = time.monotonic() - began
    tap.ok(1 < took < 120, "not at once and not too late", "%.1f s" % took)
    server.start()


APPEND = """
import os, sys
fd = os.open("/volumes/t/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for i in range(int(sys.argv[2])):
    os.write(fd, ("writer %s line %04d\\n" % (sys.argv[1], i)).encode())
"""


def appenders(server, count, lines):
    began = time.monotonic()
    procs = [python(server, APPEND, str(n), str(lines)) for n in range(count)]
    for n, proc in enumerate(procs):
        out = proc.communicate(timeout=600)[0]
        if proc.returncode != 0:
            tap.ok(False, "appender %d" % n, out)
    print("# %d lines in %.1f s" % (count * lines, time.monotonic() - began))
    out = finish(start(server, "cat", V + "/log"), "the log is read").splitlines()
    want = sorted("writer %d line %04d" % (n, i) for n in range(count) for i in range(lines))
    tap.ok(sorted(out) == want, "%d appenders in %d runs: every line is there once and whole" % (count, count),
           "%d lines of %d" % (len(out), len(want)))
    order = all([l for l in out if l.startswith("writer %d " % n)] == sorted(l for l in out if l.startswith("writer %d " % n))
                for n in range(count))
    tap.ok(order, "each in its order")


PICKLE = """
import os, pickle, sys
data = [os.urandom(1 << 20) for _ in range(int(sys.argv[1]))]
with open("/volumes/t/pickle", "wb") as f:
    pickle.dump(data, f)
with open("/volumes/t/pickle", "rb") as f:
    print(pickle.load(f) == data)
"""


def main():
    folder = tempfile.mkdtemp(prefix="volnfs-trouble.")
    os.environ["VOLNFS_QUIET"] = "1"  # how long a server is away is not told among what the programs say
    server = servers.Volnfsd(os.path.join(folder, "server"), args=["--lease-time", "5"])
    try:
        server.start()
        finish(start(server, "true"), "a volume")
        copy_over(server, "a restart", server.restart)
        copy_over(server, "kill -9", server.kill9)
        open_over(server)
        map_over(server, "a restart", server.restart)
        map_over(server, "kill -9", server.kill9)
        map_away(server)
        lock_over(server)
        appenders(server, 8, int(os.environ.get("TROUBLE_LINES", "250")))
        size = os.environ.get("TROUBLE_PICKLE_MB", "20")
        tap.ok(finish(python(server, PICKLE, size), "%s MB are pickled" % size, 300) == "True\n", "and come back")
        server.volnfs("check", "--all")
        tap.ok(True, "the volume is sound")
        return tap.done()
    finally:
        server.kill9(start=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
