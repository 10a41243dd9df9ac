#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the preload client tells: write(2) itself fails in a volume whose quota is used up, and works again when it is raised; a
server that does not answer is spoken of once in a run, and once when it answers again: TAP."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

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


class Lines:
    """A program's standard error, as it comes."""

    def __init__(self, argv, **env):
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     env=dict(os.environ, **env))
        self.lines = []
        self.ready = self.proc.stdout.readline() == "ready\n"
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(self.proc.stderr.readline, "")))
        self.reader.start()

    def go(self):
        self.proc.stdin.write("\n")
        self.proc.stdin.flush()

    def has(self, text):
        return [line for line in list(self.lines) if text in line]

    def wait(self, text, seconds=120):
        end = time.monotonic() + seconds
        while not self.has(text) and time.monotonic() < end:
            time.sleep(0.05)
        return len(self.has(text))

    def end(self):
        self.proc.stdin.close()
        out = self.proc.stdout.read()
        self.reader.join()
        return self.proc.wait(300), out


THREE = """
cd /volumes/small; echo ready; read go
for i in 1 2 3; do stat -c %n f1 & done
wait
"""
AWAY, BACK = "does not answer", "answers again"


def away():
    address = "127.0.0.1:%d" % server.port
    runs = loud, quiet, alone, mute = [
        Lines(command("bash", "-c", THREE), VOLNFS_QUIET=""),
        Lines(command("bash", "-c", THREE), VOLNFS_QUIET="1"),
        *(Lines(["bash", "-c", THREE], VOLNFS_SERVER=address, VOLNFS_VOLUMES=volumes, VOLNFS_DEBUG=debug, VOLNFS_QUIET="",
                LD_PRELOAD=servers.program("libvolnfs_preload.so"))
          for debug, volumes in (("1", "alice/small"), ("0", "alice/small;alice/small=/volumes/b")))]
    case("four runs", all(run.ready for run in runs))
    server.proc.send_signal(signal.SIGSTOP)
    try:
        for run in runs:
            run.go()
        case("volnfs run says that the server does not answer", loud.wait(AWAY) == 1, loud.lines)
        case("and which one, and what can be done", loud.has("volnfs: %s " % address) and loud.has("VOLNFS_SOFT"), loud.lines)
        case("without it a program says it with VOLNFS_DEBUG", alone.wait(AWAY) > 0, alone.lines)
        time.sleep(3)
    finally:
        server.proc.send_signal(signal.SIGCONT)
    case("that it answers again is said", loud.wait(BACK) == 1, loud.lines)
    ends = [run.end() for run in runs]
    case("the programs went on", ends == [(0, "f1\n" * 3)] * 4, ends)
    case("each was said once", len(loud.lines) == 2 and len(alone.has(AWAY)) == 1 == len(alone.has(BACK)), (loud.lines, alone.lines))
    case("VOLNFS_QUIET: nothing", quiet.lines == [], quiet.lines)
    case("nor without VOLNFS_DEBUG in a program of one's own", mute.lines == [], mute.lines)


folder = tempfile.mkdtemp(prefix="volnfs-told.")
server = servers.Volnfsd(os.path.join(folder, "server"))
try:
    server.start()
    full()
    away()
finally:
    server.kill9(start=False)
    shutil.rmtree(folder, ignore_errors=True)
done()
