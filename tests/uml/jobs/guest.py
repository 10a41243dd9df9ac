# SPDX-License-Identifier: Apache-2.0
"""What a job in a guest has at hand: cases reported as TAP, mounts, the control line to the harness.

    from guest import *
    @case
    def rename_over_open_file(dir): ...      # an exception (assert) fails the case
    run_cases("/mnt/v", "4.2")               # each case gets a fresh folder under the mount
    finish()
"""
import ctypes
import os
import socket
import subprocess
import sys
import time
import traceback

SERVER = "10.99.0.1"                         # the harness
NFSD = os.environ.get("NFSD", SERVER)        # the server
GUEST = int(os.environ["GUEST"])
GUESTS = int(os.environ["GUESTS"])
PORT = int(os.environ["PORT"])
VERS = os.environ["VERS"].split(",")
_cases = []
_failed = 0


def ctl(line):
    """Send one line to the harness; returns the text of its answer, raises when its status isn't 0."""
    with socket.create_connection((SERVER, 7), 300) as s:
        s.sendall(line.encode() + b"\n")
        s.shutdown(socket.SHUT_WR)
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    status, _, text = data.decode().partition("\n")
    if status != "0":
        raise RuntimeError("%s: %s" % (line, text))
    return text


def say(text):
    for line in str(text).splitlines():
        ctl("tap " + line)


def sh(script, cwd=None, check=True):
    """Run a shell script; returns what it printed (both outputs); raises with it when it fails."""
    done = subprocess.run(["bash", "-ec", script], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    if check and done.returncode != 0:
        raise RuntimeError("status %d of: %s\n%s" % (done.returncode, script.strip(), done.stdout[-1500:]))
    return done.stdout


def mount(vers, path="/alice/mydata", where="/mnt/v", opts=""):
    os.makedirs(where, exist_ok=True)
    o = "vers=%s,port=%d,timeo=50,retrans=2" % (vers, PORT) + ("," + opts if opts else "")
    sh("timeout 300 mount.nfs4 -o %s %s:%s %s" % (o, NFSD, path, where))
    return where


def umount(where="/mnt/v"):
    sh("timeout 300 umount " + where)


def umount_under(where):
    """Each volume or snapshot crossed into is a mount of its own under where: deepest first."""
    with open("/proc/mounts") as f:
        found = [line.split()[1] for line in f]
    for m in sorted(found, key=len, reverse=True):
        if m.startswith(where + "/"):
            umount(m)


def report(good, name, why=""):
    global _failed
    who = "" if GUESTS == 1 else "guest %d: " % GUEST
    if not good:
        _failed += 1
        print("FAILED", name, why, flush=True)
    ctl("tap %s - %s%s" % ("ok" if good else "not ok", who, name))
    if not good and why:
        say(why)


def attempt(name, func, *args):
    """Run func as a case called name; returns whether it passed."""
    start = time.monotonic()
    try:
        func(*args)
        good, why = True, ""
    except Exception:
        good, why = False, traceback.format_exc()
    report(good, "%s (%.1f s)" % (name, time.monotonic() - start), why)
    return good


def case(func):
    _cases.append(func)
    return func


def run_cases(where, label):
    for func in _cases:
        name = func.__name__.replace("_", " ")
        d = os.path.join(where, func.__name__)

        def body():
            os.makedirs(d)
            func(d)

        attempt("%s: %s" % (label, name), body)


def each_version(path="/alice/mydata", opts=""):
    """Run the cases in a folder of their own on a mount of each version asked for."""
    for vers in VERS:
        where = "/mnt/v" + vers

        def body():
            mount(vers, path, where, opts)

        if not attempt("vers=%s: mount of %s" % (vers, path), body):
            continue
        base = os.path.join(where, "v" + vers)
        os.makedirs(base, exist_ok=True)
        run_cases(base, "vers=" + vers)
        attempt("vers=%s: umount" % vers, umount, where)


def write_file(path, data, sync=False):
    with open(path, "wb") as f:
        f.write(data)
        if sync:
            f.flush()
            os.fsync(f.fileno())


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


# A server that dies between making a change durable and answering gets the call again after its restart, and has no
# memory of the first (that would take persistent sessions). So over a restart a RENAME or REMOVE that was done may be
# told as ENOENT. These two take that for success; whether it was done shows when the files are compared.
def rename_over_restart(old, new):
    try:
        os.rename(old, new)
    except FileNotFoundError:
        os.stat(new)


def unlink_over_restart(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def finish():
    ctl("done 0")
    sys.exit(0)


MODULES = """fs/netfs/netfs fs/fscache/fscache net/dns_resolver/dns_resolver net/sunrpc/sunrpc fs/nfs_common/grace
    fs/lockd/lockd fs/nfs_common/nfs_acl fs/nfs/nfs fs/nfs/nfsv3 fs/nfs/nfsv4"""


def load_modules():
    """Load the NFS client by finit_module(2): needs no kmod on the host."""
    libc = ctypes.CDLL(None, use_errno=True)
    for name in MODULES.split():
        fd = os.open("/usr/lib/uml/modules/%s/kernel/%s.ko" % (os.uname().release, name), os.O_RDONLY)
        if libc.syscall(313, fd, b"", 0) != 0:
            print("module", name, os.strerror(ctypes.get_errno()), flush=True)
        os.close(fd)


if __name__ == "__main__":
    load_modules()
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-B", sys.argv[1]])
