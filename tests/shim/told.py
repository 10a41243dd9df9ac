#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the preload client tells: write(2) itself fails in a volume whose quota is used up, and works again when it is raised: TAP."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import servers
from tap import case, done

PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
RAISE = "raise\n"

# Every echo is in a process of its own.
SHELL = """
cd /volumes/small
for i in 1 2 3; do sh -c "echo x >f$i"; echo $? $(stat -c %s f$i); done
for i in 1 2 3; do sh -c "echo x >>a$i"; echo $?; done
echo raise; read go
for i in 1 2 3; do sh -c "echo x >f$i" && sh -c "echo x >>a$i"; echo $? $(stat -c %s f$i a$i); done
"""

# One process keeps its descriptor.
KEPT = """
import errno, os, sys
fd = os.open("/volumes/small/kept", os.O_RDWR | os.O_CREAT)
def write(at):
    try:
        return os.pwrite(fd, b"k" * 100000, at)
    except OSError as e:
        return errno.errorcode[e.errno]
def told(what):
    try:
        return what(fd)
    except OSError as e:
        return errno.errorcode[e.errno]
at = 0
while write(at) != "EDQUOT" and at < 5000000: # the first may be sent and not awaited
    at += 100000
print("told at once", write(at), write(at))
print("raise", flush=True)
sys.stdin.readline()
print("goes on", write(at), os.pread(fd, 100000, at) == b"k" * 100000)
print("fsync", told(os.fsync), told(os.fsync))
print("goes on", write(at + 100000), told(os.close))
"""


def command(*argv):
    return [servers.program("volnfs"), "run", "-s", "127.0.0.1:%d" % server.port, "-v", "alice/small", "--"] + list(argv)


def until_raised(*argv):
    """Runs it; the quota is raised when it says so. (status, lines)"""
    server.volnfs("set", "alice/small", "quota=1M")
    proc = subprocess.Popen(command(*argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = []
    for line in proc.stdout:
        lines.append(line.strip())
        if line == RAISE:
            server.volnfs("set", "alice/small", "quota=100M")
            proc.stdin.write("\n")
            proc.stdin.flush()
    proc.stdin.close()
    return proc.wait(300), lines


def full():
    server.volnfs("create", "alice/small")
    subprocess.run(command("sh", "-c", "head -c 3000000 /dev/urandom >/volumes/small/big"), check=True)
    status, lines = until_raised("sh", "-c", SHELL)
    at = lines.index("raise") if "raise" in lines else 0
    # The first may be one that only close tells.
    case("when the quota is used up, echo says so, in every process", lines[1:3] == ["1 0", "1 0"] and lines[3:6] == ["1"] * 3, lines)
    case("and works when it is raised", at == 6 and lines[7:] == ["0 2 2"] * 3, lines)
    status, lines = until_raised(PYTHON, "-B", "-c", KEPT)
    case("a process that goes on writing is told by write, each time", lines[:1] == ["told at once EDQUOT EDQUOT"], lines)
    case("and can write when the quota is raised", lines[2:3] == ["goes on 100000 True"], lines)
    case("fsync tells it as well, once", lines[3:] == ["fsync EDQUOT None", "goes on 100000 None"] and status == 0, lines)


folder = tempfile.mkdtemp(prefix="volnfs-told.")
server = servers.Volnfsd(os.path.join(folder, "server"))
try:
    server.start()
    full()
finally:
    server.kill9(start=False)
    shutil.rmtree(folder, ignore_errors=True)
done()
