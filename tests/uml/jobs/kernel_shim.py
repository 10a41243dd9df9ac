# SPDX-License-Identifier: Apache-2.0
"""The kernel client and the preload client on one volume: appends under locks, each other's locks, the same bytes."""
import fcntl
import threading
from guest import *

LINES, BATCH = 1000, 100

APPENDER = """
import fcntl, os, sys
path, who = sys.argv[1], sys.argv[2]
for first in range(0, %d, %d):
    with open(path, "ab", buffering=0) as h:
        fcntl.lockf(h, fcntl.LOCK_EX)
        for i in range(first, first + %d):
            h.write(b"%%s %%04d %%s\\n" %% (who.encode(), i, b"." * (i %% 100)))
        os.fsync(h.fileno())
        fcntl.lockf(h, fcntl.LOCK_UN)
""" % (LINES, BATCH, BATCH)

TREE = """
import os, random, sys
r = random.Random(7)
for d in range(20):
    os.makedirs("%s/tree/d%d/sub" % (sys.argv[1], d))
    for f in range(10):
        with open("%s/tree/d%d/f%d" % (sys.argv[1], d, f), "wb") as h:
            h.write(r.randbytes(r.choice((0, 1, 100, 4096, 70000, 1200000 if f == 0 else 10))))
    os.symlink("../d0/f0", "%s/tree/d%d/link" % (sys.argv[1], d))
"""

SUMS = """
import hashlib, os, sys
h = hashlib.sha256()
for path, dirs, files in sorted(os.walk(sys.argv[1] + "/tree")):
    for n in sorted(dirs + files):
        p = os.path.join(path, n)
        s = os.lstat(p)
        h.update(("%s %o %d %d\\n" % (os.path.relpath(p, sys.argv[1]), s.st_mode, s.st_size if n in files else 0, s.st_uid)).encode())
        if os.path.islink(p):
            h.update(os.readlink(p).encode())
        elif n in files:
            h.update(open(p, "rb").read())
print(h.hexdigest())
"""


def host(script):
    """Runs a script beside the server; what it prints."""
    return ctl("host " + script.replace("\n", " ")) or ""


def put(name, text):
    """A script for the host side: its folder is ours too."""
    write_file(d + "/" + name, text.encode(), sync=True)


RUN = '"$VOLNFS" run -s "$ADDR:$PORT" -v alice/mydata -- python3 -B '


def run(script, *args):
    return RUN + "/volumes/mydata/shim/%s %s" % (script, " ".join(args))


def appenders():
    write_file(d + "/log", b"", sync=True)
    shim = threading.Thread(target=host, args=(
        "; ".join("%s & p%d=$!" % (run("append.py", "/volumes/mydata/shim/log", "s%d" % i), i) for i in range(4)) +
        "; " + "; ".join("wait $p%d" % i for i in range(4)),))
    shim.start()
    kernel = [subprocess.Popen(["python3", "-B", d + "/append.py", d + "/log", "k%d" % i]) for i in range(4)]
    status = [p.wait() for p in kernel]
    shim.join()
    assert status == [0] * 4, status
    lines = read_file(d + "/log").split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 8 * LINES, len(lines)
    for who in [b"s%d" % i for i in range(4)] + [b"k%d" % i for i in range(4)]:
        mine = [x for x in lines if x.startswith(who + b" ")]
        assert mine == [b"%s %04d %s" % (who, i, b"." * (i % 100)) for i in range(LINES)], (who, len(mine))


def our_lock_is_seen():
    with open(d + "/lock", "r+b") as h:
        fcntl.lockf(h, fcntl.LOCK_EX, 10, 0)
        out = host(run("try.py", "/volumes/mydata/shim/lock"))
        assert out.split() == ["refused", "got"], out


def their_lock_is_seen():
    shim = threading.Thread(target=host, args=(run("hold.py", "/volumes/mydata/shim"),))
    shim.start()
    while not os.path.exists(d + "/held"):
        time.sleep(0.05)
    with open(d + "/lock", "r+b") as h:
        try:
            fcntl.lockf(h, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 5)
            raise AssertionError("got a lock that a shim process has")
        except BlockingIOError:
            pass
        fcntl.lockf(h, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 10)
    write_file(d + "/enough", b"", sync=True)
    shim.join()
    with open(d + "/lock", "r+b") as h:
        fcntl.lockf(h, fcntl.LOCK_EX | fcntl.LOCK_NB)


def same_bytes():
    host(run("tree.py", "/volumes/mydata/shim"))
    theirs = host(run("sums.py", "/volumes/mydata/shim")).split()
    ours = subprocess.check_output(["python3", "-B", d + "/sums.py", d], text=True).split()
    assert ours == theirs and len(ours) == 1, (ours, theirs)


TRY = """
import fcntl, sys
h = open(sys.argv[1], "r+b")
try:
    fcntl.lockf(h, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 9)
    print("got")
except OSError:
    print("refused")
fcntl.lockf(h, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 10)
print("got")
"""

HOLD = """
import fcntl, os, sys, time
h = open(sys.argv[1] + "/lock", "r+b")
fcntl.lockf(h, fcntl.LOCK_EX, 10, 0)
open(sys.argv[1] + "/held", "w").close()
while not os.path.exists(sys.argv[1] + "/enough"):
    time.sleep(0.1)
"""

where = "/mnt/v"
d = where + "/shim"
mount("4.2", "/alice/mydata", where, "actimeo=0,lookupcache=none")
os.mkdir(d)
for name, text in (("append.py", APPENDER), ("tree.py", TREE), ("sums.py", SUMS), ("try.py", TRY), ("hold.py", HOLD), ("lock", "")):
    put(name, text)
attempt("a guest's lock is seen by a shim process", our_lock_is_seen)
attempt("a shim process's lock is seen by the guest", their_lock_is_seen)
attempt("a tree made through the shim is the same in the guest", same_bytes)
attempt("8 appenders, half of them shim processes: 8,000 whole lines", appenders)
attempt("umount", umount, where)
finish()
