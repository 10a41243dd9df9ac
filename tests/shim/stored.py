#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Large files mapped to be written to: how much of them is fetched, and what is at the server after msync, munmap, the end of a
lock, fsync, exec, exit, a SIGBUS for want of room, kill -9, and who is told when the volume has no room: TAP. Every program is under a `volnfs run` of its own."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import servers
from tap import case, done, skip

PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
V = "/volumes/t"
SIZE = 256 << 20
SMALL = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=24m none /dev/shm && exec "$@"', "small"]

HEAD = """
import mmap, os, signal, sys
path, G = "%s/large", 2 << 20
def opened(): return os.open(path, os.O_RDWR)
def mapped(fd): return mmap.mmap(fd, os.fstat(fd).st_size)
""" % V


def start(code, *args, wrap=(), env=(), volume="t"):
    argv = list(wrap) + ["env", *env, servers.program("volnfs"), "run", "-s", "127.0.0.1:%d" % server.port, "-v", "alice/" + volume, "--",
                         PYTHON, "-B", "-c", HEAD + code, *args]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(code, *args, wrap=(), env=(), volume="t"):
    """(status, output, errors)"""
    proc = start(code, *args, wrap=wrap, env=env, volume=volume)
    try:
        out, err = proc.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        proc.kill()
        out, err = proc.communicate()
    return proc.returncode, out.strip(), err


def fetched():
    """Bytes of files that the server has sent."""
    with urllib.request.urlopen(base + "/metrics", timeout=60) as r:
        return int(float(re.search(r"^volnfs_read_bytes_total (\S+)$", r.read().decode(), re.M).group(1)))


def at_server(*places):
    """What another run finds there: bytes, six at each place."""
    status, out, err = run("fd = opened()\nfor at in sys.argv[1:]: print(os.pread(fd, 6, int(at)).hex())", *map(str, places))
    return [bytes.fromhex(line) for line in out.split()] if status == 0 else err


def little():
    before = fetched()
    status, out, err = run("""
m = mapped(opened())
m[0:5] = b"first"
m[100 * G:100 * G + 6] = b"middle"
print(m[len(m) - 1])
m.flush()
""")
    count = fetched() - before
    case("three places of a large file are written to and read", status == 0 and out == "0", err)
    case("no more than their granules are fetched", 3 * 4096 <= count <= 4 * (2 << 20), "%d bytes" % count)
    case("what was written is at the server", at_server(0, 200 << 20) == [b"first\0", b"middle"])
    before = fetched()
    status, out, err = run("m = mapped(opened())\nprint(sum(m[i] for i in range(0, 64 * G, 65536)))")
    count = fetched() - before
    case("a reader in order gets all, once", status == 0 and 64 * (2 << 20) <= count <= 96 * (2 << 20), "%d bytes %s" % (count, err))


def written(name, end):
    """end: code after which what was written must be at the server, whatever comes then."""
    status, out, err = run("""
fd = opened()
m = mapped(fd)
what = sys.argv[1].encode()
for g in (3, 40, 41, 90):
    m[g * G + 100:g * G + 106] = what
%s
print("done", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
""" % end, (name + "......")[:6])
    want = (name + "......")[:6].encode()
    got = at_server(*[g * (2 << 20) + 100 for g in (3, 40, 41, 90)])
    case("what was written is at the server after %s" % name, out == "done" and got == [want] * 4, "%s %s %s" % (got, out, err))


def ended():
    written("msync", "m.flush()")
    written("munmap", "m.close()")
    written("unlock", "import fcntl\nfcntl.lockf(fd, fcntl.LOCK_EX)\nm[9 * G] = 1\nfcntl.lockf(fd, fcntl.LOCK_UN)")
    written("fsync", "os.fsync(fd)")
    written("exec", "if os.fork() == 0: os.execv('/bin/true', ['true'])\nos.wait()")
    status, out, err = run("m = mapped(opened())\nm[5 * G:5 * G + 6] = b'exited'\nos._exit(7)")
    case("and after exit", status == 7 and at_server(5 * (2 << 20)) == [b"exited"], err)
    status, out, err = run("""
m = mapped(opened())
m[6 * G:6 * G + 6] = b"synced"
m.flush()
m[7 * G:7 * G + 6] = b"maybe!"
os.kill(os.getpid(), signal.SIGKILL)
""")
    case("kill -9: what was synced is there", at_server(6 * (2 << 20)) == [b"synced"], err)
    case("and the rest of the file is whole", at_server(7 * (2 << 20))[0] in (b"maybe!", bytes(6)))


FILL = """
m = mapped(opened())
for g in range(len(m) // G):
    m[g * G + 50:g * G + 56] = sys.argv[1].encode()
    print(g, flush=True)
"""


def no_room():
    if subprocess.run(SMALL + ["true"], capture_output=True).returncode != 0:
        skip("no room", "no user namespaces")
        return
    status, out, err = run(FILL, "roomy!", wrap=SMALL, env=["VOLNFS_DEBUG=1"])
    last = int(out.split()[-1]) if out else -1
    case("no room left: the touch is a SIGBUS", status in (-signal.SIGBUS, 128 + signal.SIGBUS) and 4 <= last < 12, "%d %d %s" % (status, last, err))
    case("VOLNFS_DEBUG says why", "no room in the run directory" in err, err)
    got = at_server(*[g * (2 << 20) + 50 for g in range(last + 2)])
    case("what was written until then is at the server", got == [b"roomy!"] * (last + 1) + [bytes(6)], got)
    # Another process of the run has the room that the killed one had, with another file.
    status, out, err = run("""
import subprocess
again = "import sys; exec(sys.argv[1])"
code = sys.argv[2]
for name in ("large", "other"):
    path = "/volumes/t/" + name
    if name == "other":
        with open(path, "wb") as f: f.truncate(64 << 20)
    p = subprocess.run([sys.executable, "-B", "-c", code.replace("/large", "/" + name), "second"], capture_output=True, text=True)
    print(p.returncode, p.stdout.split()[-1])
""", "", HEAD + FILL, wrap=SMALL)
    rows = [line.split() for line in out.splitlines()]
    case("a second process, of another file, has as much room", len(rows) == 2 and rows[0] == rows[1] and rows[0][0] == str(-signal.SIGBUS), "%s %s" % (rows, err))


QUOTA = """
def outcome(what, *args):
    try: what(*args)
    except OSError as e: return errno.errorcode[e.errno]
    return "done"

import errno
fd = os.open("/volumes/q/" + sys.argv[1], os.O_RDWR | os.O_CREAT)
other = os.open("/volumes/q/other", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 32 << 20)
m = mapped(fd)
for at in range(0, 16 << 20, 4096): m[at:at + 6] = b"quota!"
if sys.argv[1] == "msync": print(outcome(m.flush))
if sys.argv[1] == "munmap": m.close()
print(outcome(os.fsync, other), outcome(os.fsync, fd), outcome(os.fdatasync, fd), m.closed or m[(16 << 20) - 4096:(16 << 20) - 4090] == b"quota!")
if sys.argv[1] == "msync":
    sys.stdout.flush()
    sys.stdin.readline()
    print(outcome(os.fsync, fd), os.pread(fd, 6, (16 << 20) - 4096))
"""


def quota():
    """What does not fit into the volume's quota: who asks is told, and what is still mapped can be written back later."""
    server.make_volume("alice/q")
    for name, want in (("fsync", "done EDQUOT EDQUOT True"), ("munmap", "done EDQUOT done True")):
        server.volnfs("set", "alice/q", "quota=4M")
        status, out, err = run(QUOTA, name, volume="q")
        case("beyond the quota: fsync tells (%s)" % name, out == want, "%s %s" % (out, err))
    proc = start(QUOTA, "msync", volume="q")
    first = [proc.stdout.readline().strip() for _ in range(2)]
    server.volnfs("set", "alice/q", "quota=none")
    out, err = proc.communicate("go\n", timeout=300)
    case("msync tells it too", first == ["EDQUOT", "done EDQUOT EDQUOT True"], "%s %s" % (first, err))
    case("and with room it is all written back", out.strip() == "done b'quota!'", "%s %s" % (out, err))


folder = tempfile.mkdtemp(prefix="volnfs-test.")
server = servers.Volnfsd(os.path.join(folder, "server"), args=["--metrics", "127.0.0.1:0"])
try:
    server.start()
    base = "http://127.0.0.1:" + re.search(r"status page on port (\d+)", server.log_text()).group(1)
    made = run("with open(path, 'wb') as f: f.truncate(int(sys.argv[1]))", str(SIZE))
    case("a file of 256 MiB", made[0] == 0, made[2])
    little()
    ended()
    no_room()
    quota()
finally:
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)
done()
