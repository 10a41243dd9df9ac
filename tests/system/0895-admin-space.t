#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The disk of the store fills up and gets room again: the log says each once, volnfs status and the metrics show it."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.environ.get("VOLNFS_SRC", "."), "tests", "lib"))
import nfswire as w
import servers
from tap import case, done

SIZE = 256 << 20
LOW, FULL, ROOM = "is filling up", "disk is full", "there is room again"

if "in" not in sys.argv:     # again, where a mount is seen by nobody else
    if subprocess.run(["unshare", "-Urm", "true"], stderr=subprocess.DEVNULL).returncode:
        print("1..0 # SKIP no user namespaces")
        sys.exit(0)
    os.execvp("unshare", ["unshare", "-Urm", sys.executable, os.path.abspath(__file__), "in"])


def wait(what, seconds=120):
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.1)
    return what()


def said():
    return [t for line in server.log_text().splitlines() for t in (LOW, FULL, ROOM) if t in line]


def leave_free(size):
    """All but so many bytes of the disk are in use."""
    with open(os.path.join(disk, "ballast"), "ab") as f:
        st = os.statvfs(disk)
        size_now = os.fstat(f.fileno()).st_size
        want = size_now + st.f_bavail * st.f_frsize - size
        f.truncate(min(want, size_now))
        if want > size_now:
            os.posix_fallocate(f.fileno(), 0, want)


def change():
    """A name comes and goes; the status of making it."""
    r = c.compound(0, [w.putfh(top), w.mkdir(b"new")])
    if r.status == 0:
        c.compound(0, [w.putfh(top), w.remove(b"new")])
    return r.status


folder = tempfile.mkdtemp(prefix="volnfs-test.")
disk = os.path.join(folder, "disk")
os.mkdir(disk)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % SIZE, "none", disk], check=True)
server = servers.Volnfsd(folder, args=["--metrics", "127.0.0.1:0", "--journal-size", "1M", "--cache-size", "16M"])
server.store = os.path.join(disk, "store")     # and the log elsewhere
try:
    try:
        server.start()
    except servers.ServerError as e:
        if "built without libmicrohttpd" not in str(e):
            raise
        server.args = server.args[2:]
        server.start()
    server.make_volume("alice/w")
    port = re.search(r"status page on port (\d+)", server.log_text())
    c = w.Conn(("127.0.0.1", server.port))
    top = w.handle(c, b"alice", b"w")

    d = json.loads(server.volnfs("status", "-j"))["disk"]
    st = os.statvfs(disk)
    case("status has the disk's size", d["size"] == SIZE, d)
    case("and what is free", abs(d["free"] - st.f_bavail * st.f_frsize) < 8 << 20, (d, st))
    text = re.search(r"^disk    (\S+) of 256M free \((\d+) %\)$", server.volnfs("status"), re.M)
    case("as text, too", text and abs(int(text[2]) - 100 * d["free"] // SIZE) <= 3, text)
    if port:
        with urllib.request.urlopen("http://127.0.0.1:%s/metrics" % port[1], timeout=60) as r:
            m = dict(line.split() for line in r.read().decode().splitlines() if line.startswith("volnfs_store"))
        case("and the metrics", float(m["volnfs_store_size_bytes"]) == SIZE and
             abs(float(m["volnfs_store_free_bytes"]) - d["free"]) < 8 << 20, m)
    case("nothing is said yet", said() == [] and change() == 0, said())
    leave_free(45 << 20)
    case("that it fills up", wait(said) == [LOW] and change() == 0, said())
    line = [t for t in server.log_text().splitlines() if LOW in t][0]
    case("with figures and what to do", disk in line and " of 256M are free" in line and "less than 32M" in line and
         "snapshots" in line, line)
    leave_free(2 << 20)
    case("a name is refused", change() == 28)
    case("that it is full", wait(lambda: len(said()) > 1) and said() == [LOW, FULL], said())
    for _ in range(30):
        change()
        time.sleep(0.1)
    case("once", said() == [LOW, FULL], said())
    leave_free(200 << 20)
    case("that there is room again", wait(lambda: len(said()) > 2) and said() == [LOW, FULL, ROOM], said())
    case("and there is", change() == 0)
    c.close()
    case("it stops", server.stop() == 0 and said() == [LOW, FULL, ROOM], said())
finally:
    server.kill9(start=False) if server.alive() else None
    subprocess.run(["umount", "-l", disk])
    shutil.rmtree(folder, ignore_errors=True)
done()
