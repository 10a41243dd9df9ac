#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""volnfs restore, when the server or the command is killed at any of its calls: what is there then is as before, whole, or says
that it is not; it can be removed or rolled back, and a second restore succeeds. RESTORE_KILLED=all leaves out no call."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.environ.get("VOLNFS_SRC", "."), "tests", "lib"))
import servers
from tap import case, done

MARK = ".volnfs-restore-incomplete"


def exactly(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def message(sock):
    """One RPC message, with its record marks."""
    data = b""
    while True:
        head = exactly(sock, 4)
        size = int.from_bytes(head, "big")
        data += head + exactly(sock, size & 0x7fffffff)
        if size & 0x80000000:
            return data


class Between:
    """A store's folder with a control socket that passes calls on to the server, and kills somebody at the Nth."""

    def __init__(self, folder, server):
        self.server, self.folder = server, folder
        self.calls, self.at, self.how = 0, 0, None
        os.makedirs(folder)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(os.path.join(folder, "control.sock"))
        self.sock.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            here, _ = self.sock.accept()
            there = socket.socket(socket.AF_UNIX)
            try:
                there.connect(os.path.join(self.server.store, "control.sock"))
                self.serve(here, there)
            except (EOFError, OSError):
                pass
            here.close()
            there.close()

    def serve(self, here, there):
        while True:
            call = message(here)
            self.calls += 1
            now = self.calls == self.at
            there.sendall(call)
            if now and self.how == "call":
                self.server.kill9(start=False)
            reply = message(there)
            if now and self.how == "reply":
                self.server.kill9(start=False)
            if now and self.how == "client":
                self.client.send_signal(signal.SIGKILL)
            here.sendall(reply)

    def restore(self, volume, stream, at=0, how=None):
        """(status, messages, calls)"""
        self.calls, self.at, self.how = 0, at, how
        with open(stream, "rb") as f:
            self.client = subprocess.Popen([servers.program("volnfs"), "--store", self.folder, "restore", volume], stdin=f,
                                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            out = self.client.communicate(timeout=120)[0]
        return self.client.returncode, out, self.calls


def run_in(mount, script):
    done = subprocess.run([servers.program("volnfs"), "run", "-s", "127.0.0.1:%d" % server.port, "-v", mount, "--",
                           sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise servers.ServerError("%s: %s" % (mount, done.stdout))
    return done.stdout


def seen(volume):
    """All that can be seen of a volume but ctime; the root's mtime, which may be lost, is left out."""
    return run_in(volume + ":ro=/v", """
import hashlib, os, stat
def show(p):
    s = os.lstat(p)
    d = stat.S_ISDIR(s.st_mode)
    text = os.readlink(p) if stat.S_ISLNK(s.st_mode) else "" if d else hashlib.md5(open(p, "rb").read()).hexdigest()
    print(repr(p), oct(s.st_mode), s.st_nlink, s.st_uid, s.st_gid, 0 if d else s.st_size, p != "/v" and s.st_mtime_ns, text)
    for n in sorted(os.listdir(p)) if d else ():
        show(p + "/" + n)
show("/v")""")


def volnfs(*args):
    done = subprocess.run([servers.program("volnfs"), "--store", server.store] + list(args), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def dump(path, *args):
    with open(path, "wb") as f:
        subprocess.run([servers.program("volnfs"), "--store", server.store, "dump"] + list(args), stdout=f, check=True)


def alive():
    if not server.alive():
        server.start()


def moments(calls):
    """At which calls, and how. The last ones, where the mark goes, always."""
    every = os.environ.get("RESTORE_KILLED") == "all"
    for n in range(1, calls + 1):
        if every or n > calls - 6 or n % 4 == 1:
            yield n, "reply"
        if every or n % 7 == 2:
            yield n, "call"
        if every or n % 9 == 3:
            yield n, "client"


def full(n, how):
    """A killed full restore, and another one. Nothing, or what is wrong."""
    done, out, _ = between.restore("bob/copy", streams["full"], n, how)
    alive()
    whole = False
    if volnfs("get", "bob/copy")[0] == 0:
        now = seen("bob/copy")
        whole = now == want["s0"]
        empty = now.count("\n") == 1
        marked = MARK in now
        if not (whole or empty or marked):
            return "neither empty, nor whole, nor marked:\n" + now
        if marked and volnfs("dump", "bob/copy")[0] == 0:
            return "it can be dumped"
        if marked:
            status, out, _ = between.restore("bob/copy", streams["full"])
            if status == 0 or "volnfs destroy bob/copy" not in out:
                return "restored over the mark: %d %s" % (status, out)
            if volnfs("destroy", "bob/copy")[0]:
                return "it cannot be destroyed"
    if done == 0 and not whole:
        return "it succeeded, and is lost"
    if not whole:
        status, out, _ = between.restore("bob/copy", streams["full"])
        if status:
            return "the second one: " + out
        if seen("bob/copy") != want["s0"]:
            return "the second one is not the same"
    status, out = volnfs("destroy", "bob/copy")
    return out if status else ""


def increment(n, how, stream="s1"):
    """A killed increment, and what it says, and another one; then back to base."""
    done, out, _ = between.restore("bob/backup", streams[stream], n, how)
    alive()
    if seen("bob/backup@s0") != want["s0"]:
        return "base has changed"
    now = seen("bob/backup")
    if done == 0 and now != want["s1"]:
        return "it succeeded, and is lost"
    if now not in (want["s0"], want["s1"]) and MARK not in now:
        return "neither base, nor whole, nor marked:\n" + now
    if "@s1" not in volnfs("snapshot", "list", "bob/backup")[1]:
        status, out, _ = between.restore("bob/backup", streams["s1"])
        if status and "volnfs snapshot rollback --keep-younger bob/backup@s0" not in out:
            return "the second one does not say what helps: " + out
        if status and volnfs("snapshot", "rollback", "--keep-younger", "bob/backup@s0")[0]:
            return "it cannot be rolled back"
        if status:
            status, out, _ = between.restore("bob/backup", streams["s1"])
        if status:
            return "the second one: " + out
    if seen("bob/backup") != want["s1"]:
        return "not the same in the end"
    status, out = volnfs("snapshot", "rollback", "--destroy-younger", "bob/backup@s0")
    return out if status else ""


def walk(name, calls, fn):
    bad = []
    times = 0
    for n, how in moments(calls):
        times += 1
        wrong = fn(n, how)
        if wrong:
            bad.append("%s %d of %d: %s" % (how, n, calls, wrong))
            break
    print("# %d times, of %d calls" % (times, calls))
    case(name, not bad and times > 0, "\n".join(bad))


folder = tempfile.mkdtemp(prefix="volnfs-test.", dir=os.environ.get("TMPDIR", "/tmp"))
server = servers.Volnfsd(os.path.join(folder, "server"), args=["--lease-time", "5", "--grace-time", "1"])
streams = {n: os.path.join(folder, n) for n in ("full", "s1", "cut", "cutfull")}
want = {}
try:
    server.start()
    between = Between(os.path.join(folder, "between"), server)
    server.make_volume("alice/mydata")
    run_in("alice/mydata=/v", """
import os
os.chdir("/v")
os.makedirs("d/e")
open("d/big", "wb").write(os.urandom(1500000))
open("small", "w").write("small")
os.link("small", "d/hard"); os.symlink("nowhere", "d/link")
os.chmod("d/big", 0o4711); os.utime("d", ns=(1, 2000000002)); os.chmod(".", 0o750)""")
    server.volnfs("snapshot", "create", "alice/mydata@s0")
    want["s0"] = seen("alice/mydata")
    run_in("alice/mydata=/v", """
import os
os.chdir("/v")
os.rename("d", "f"); os.mkdir("d"); os.rename("f/e", "d/e"); os.rename("f/big", "d/big2"); os.unlink("small")
with open("d/big2", "r+b") as f: f.seek(500000); f.write(b"changed"); f.truncate(1400000)
open("new", "wb").write(os.urandom(200000)); os.chmod(".", 0o711)""")
    server.volnfs("snapshot", "create", "alice/mydata@s1")
    want["s1"] = seen("alice/mydata")
    dump(streams["full"], "alice/mydata@s0")
    dump(streams["s1"], "alice/mydata@s1", "--base", "@s0")
    for cut, whole in (("cut", "s1"), ("cutfull", "full")):
        with open(streams[whole], "rb") as f, open(streams[cut], "wb") as g:
            g.write(f.read()[:-20])

    status, out, calls = between.restore("bob/backup", streams["full"])
    case("a restore", status == 0 and seen("bob/backup") == want["s0"], out)
    walk("a full one that is killed", calls, full)
    status, out, calls = between.restore("bob/copy", streams["cutfull"])
    case("a cut one is undone", status != 0 and volnfs("get", "bob/copy")[0] != 0, out)
    for how in ("call", "reply"):
        status, out, _ = between.restore("bob/copy", streams["cutfull"], calls, how)
        alive()
        there = volnfs("get", "bob/copy")[0] == 0
        wrong = seen("bob/copy") if there else ""
        if how == "call" and there and (MARK in wrong or wrong.count("\n") == 1):
            wrong, out = volnfs("destroy", "bob/copy")
        case("killed at its undoing, by a %s" % how, status != 0 and not wrong, wrong)

    status, out, calls = between.restore("bob/backup", streams["s1"])
    case("an increment", status == 0 and seen("bob/backup") == want["s1"], out)
    status, out = volnfs("snapshot", "rollback", "--destroy-younger", "bob/backup@s0")
    case("and back", status == 0 and seen("bob/backup") == want["s0"], out)
    walk("an increment that is killed", calls, increment)
    status, out, calls = between.restore("bob/backup", streams["cut"])
    case("a cut one is undone", status != 0 and seen("bob/backup") == want["s0"], out)
    for how in ("call", "reply"):
        wrong = increment(calls, how, "cut")
        case("killed at its undoing, by a %s" % how, not wrong, wrong)
    server.stop()
    status, out = volnfs("check", "--data", "--all")
    case("the store is sound", status == 0, out)
except Exception as e:  # what is left must go
    case("the test ends", False, repr(e) + "\n" + server.log_text()[-2000:])
finally:
    if server.alive():
        server.kill9(start=False)
    shutil.rmtree(folder)
done()
