#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The preload client while its server goes away: copies, open files, locks, exclusive creates, appends.

    recovery.py [--ganesha] [PART]...

The parts run in the order of PARTS below, each against the same private server; the results are TAP. Programs under
`volnfs run` are pieces of Python in this file: inner() runs one with the cases' folder, `cue(NAME)` and `wait_cue(NAME)`
let the two sides take turns.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import servers  # noqa: E402

PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
MIB = int(os.environ.get("VOLNFS_TEST_COPY_MIB", "1024"))
LEASE = 5

PRELUDE = """
import errno, fcntl, os, sys, time
C, V = sys.argv[1], sys.argv[2]
def cue(name):
    os.close(os.open(C + "/" + name, os.O_CREAT | os.O_WRONLY))
def wait_cue(name, seconds=300):
    end = time.monotonic() + seconds
    while not os.path.exists(C + "/" + name):
        if time.monotonic() > end:
            sys.exit("no cue " + name)
        time.sleep(0.01)
def refused(lock):
    try:
        lock()
    except OSError as e:
        return e.errno
    return 0
"""


class Tests:
    def __init__(self, server, folder):
        self.server, self.folder, self.count, self.failed, self.cues = server, folder, 0, 0, 0

    def told(self, good, what, why=""):
        self.count += 1
        self.failed += not good
        print("%s %d - %s" % ("ok" if good else "not ok", self.count, what), flush=True)
        if not good:
            for line in str(why).splitlines()[-12:]:
                print("# " + line, flush=True)

    def run_argv(self, *command):
        return [servers.program("volnfs"), "run", "-s", "127.0.0.1:%d" % self.server.port, "-v", "alice/v", "--"] + \
            list(command)

    def start(self, *command, **kw):
        """A command under a run of its own; output in .out once done() was called."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.run_argv(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                start_new_session=True, **kw)

    def inner(self, script, **kw):
        """A piece of Python under a run of its own, with cues of its own."""
        self.cues += 1
        cues = os.path.join(self.folder, "cues.%d" % self.cues)
        os.mkdir(cues)
        p = self.start(PYTHON, "-B", "-c", PRELUDE + textwrap.dedent(script), cues, "/volumes/v", **kw)
        p.cues = cues
        return p

    @staticmethod
    def cue(p, name):
        open(os.path.join(p.cues, name), "w").close()

    @staticmethod
    def wait_cue(p, name, seconds=120):
        end = time.monotonic() + seconds
        while not os.path.exists(os.path.join(p.cues, name)):
            if p.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def done(self, p, what, seconds=240):
        try:
            out = p.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            out = p.communicate()[0] + "\nstill busy after %d s" % seconds
        self.told(p.returncode == 0, what, "status %s\n%s" % (p.returncode, out))
        return out

    def restart(self, away=0.3):
        self.server.kill9(start=False)
        time.sleep(away)
        self.server.start()


def descendant(pid, name):
    """The pid of a process below pid that runs a program called name."""
    for _ in range(12000):
        todo = [pid]
        while todo:
            try:
                with open("/proc/%d/task/%d/children" % (todo[0], todo[0])) as f:
                    kids = [int(k) for k in f.read().split()]
                for k in kids:
                    with open("/proc/%d/comm" % k) as f:
                        if f.read().strip() == name:
                            return k
                todo += kids
            except OSError:
                pass
            todo.pop(0)
        time.sleep(0.005)
    return None


def moved(pid, key, size, seconds=120):
    """Waits until the process has moved so many bytes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open("/proc/%d/io" % pid) as f:
                if int(dict(line.split(": ") for line in f)[key]) >= size:
                    return True
        except (OSError, ValueError):
            return False
        time.sleep(0.005)
    return False


# ---- the parts ------------------------------------------------------------------------------------------------------

def copies(t):
    """A copy in, one out, and dd, with the server killed in the middle of each."""
    local, back = os.path.join(t.folder, "big"), os.path.join(t.folder, "back")
    block = os.urandom(1 << 20)
    with open(local, "wb") as f:
        for i in range(MIB):
            f.write(i.to_bytes(8, "little") + block[8:])
    for name, command, key in (("cp in", ["cp", local, "/volumes/v/big"], "rchar"),
                               ("cp out", ["cp", "/volumes/v/big", back], "wchar"),
                               ("dd in place", ["dd", "if=" + local, "of=/volumes/v/big", "bs=1M", "conv=notrunc,fsync",
                                                "status=none"], "rchar")):
        p = t.start(*command)
        pid = descendant(p.pid, command[0])
        middle = pid is not None and moved(pid, key, MIB << 18)  # a quarter: it is not over before it is seen
        busy = p.poll() is None
        t.restart()
        t.done(p, "%s goes on after a restart" % name)
        t.told(middle and busy, "%s: the server was killed in the middle of it" % name, "%s %s" % (middle, busy))
    if os.path.exists(back):
        t.told(subprocess.call(["cmp", local, back]) == 0, "what was copied out is what was copied in")
    t.done(t.start("cmp", local, "/volumes/v/big"), "dd wrote the same")
    t.done(t.start("rm", "/volumes/v/big"), "removed")
    for path in (local, back):
        if os.path.exists(path):
            os.unlink(path)


def opens(t):
    """Open files, their offsets, an unlinked one and a directory stream."""
    p = t.inner("""
        f = os.open(V + "/open", os.O_RDWR | os.O_CREAT)
        os.write(f, b"x" * 5000)
        os.lseek(f, 0, 0)
        assert len(os.read(f, 1000)) == 1000
        g = os.open(V + "/gone", os.O_RDWR | os.O_CREAT)
        os.write(g, b"unlinked")
        os.unlink(V + "/gone")
        os.mkdir(V + "/many")
        for i in range(300):
            open(V + "/many/%d" % i, "w").close()
        names = os.scandir(V + "/many")
        first = [next(names).name for i in range(10)]
        d = os.open(V + "/many", os.O_RDONLY)
        cue("ready"); wait_cue("restarted")
        assert os.read(f, 10000) == b"x" * 4000
        assert os.write(f, b"y" * 10) == 10
        os.fsync(f)
        assert os.fstat(f).st_size == 5010
        os.lseek(g, 0, 0)
        assert os.read(g, 100) == b"unlinked"
        os.write(g, b"!")
        os.fsync(g)
        assert os.fstat(g).st_size == 9 and not os.path.exists(V + "/gone")
        os.close(g)
        assert sorted(first + [e.name for e in names]) == sorted(str(i) for i in range(300))
        assert len(os.listdir(d)) == 300
        """)
    t.told(t.wait_cue(p, "ready"), "files are open")
    t.restart()
    t.cue(p, "restarted")
    t.done(p, "open files, an unlinked one and directory streams survive a restart")
    t.done(t.start("rm", "-r", "/volumes/v/many", "/volumes/v/open"), "removed")


def creates(t):
    """O_EXCL, mkdir, link, rename and unlink: each succeeds exactly once though calls are sent twice."""
    p = t.inner("""
        os.mkdir(V + "/excl")
        i, end = 0, None
        while end is None or i < end:
            n = V + "/excl/%d" % i
            os.close(os.open(n, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.mkdir(n + "d")
            os.rename(n + "d", n + "e")
            os.link(n, n + "l")
            os.symlink("x", n + "s")
            os.unlink(n)
            i += 1
            if i == 30:
                cue("busy")
            if end is None and os.path.exists(C + "/restarted"):
                end = i + 30
        assert len(os.listdir(V + "/excl")) == 3 * i, (i, len(os.listdir(V + "/excl")))
        """)
    t.told(t.wait_cue(p, "busy"), "names are made")
    for away in (0, 0.3, 0):
        t.restart(away)
        time.sleep(0.5)
    t.cue(p, "restarted")
    t.done(p, "every O_EXCL create, mkdir, rename, link, symlink and unlink worked once")
    t.done(t.start("rm", "-r", "/volumes/v/excl"), "removed")


def appends(t):
    """Two runs append numbered lines through three restarts."""
    script = """
        me = sys.argv[2] and os.environ["WHO"]
        f = os.open(V + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        i, end = 0, None
        while end is None or i < end:
            line = b"%s %06d %s\\n" % (me.encode(), i, b"." * (i % 200))
            assert os.write(f, line) == len(line)
            i += 1
            if i == 30:
                cue("busy")
            if end is None and os.path.exists(C + "/restarted"):
                end = i + 30
        os.close(f)
        print(i)
        """
    ps = [t.inner(script, env=dict(os.environ, WHO=w)) for w in "ab"]
    t.told(all(t.wait_cue(p, "busy") for p in ps), "lines are appended")
    for away in (0, 0.3, 0):
        t.restart(away)
        time.sleep(0.5)
    for p in ps:
        t.cue(p, "restarted")
    wrote = [t.done(p, "appends by %s go on" % w) for p, w in zip(ps, "ab")]
    check = t.done(t.start("cat", "/volumes/v/log"), "the log is read")
    lines = check.splitlines()
    good = True
    for w, n in zip("ab", wrote):
        mine = [x for x in lines if x.startswith(w + " ")]
        good = good and mine == ["%s %06d %s" % (w, i, "." * (i % 200)) for i in range(int(n or -1))]
    t.told(good and len(lines) == sum(int(n or -1) for n in wrote), "no line was lost, doubled or torn",
           "%s %d" % (wrote, len(lines)))


def locks(t):
    """Held locks are asked for again after a restart, by the launcher while the holder sleeps, and still exclude."""
    holder = t.inner("""
        p = os.open(V + "/posix", os.O_RDWR | os.O_CREAT)
        fcntl.lockf(p, fcntl.LOCK_EX, 100, 0)
        fcntl.lockf(p, fcntl.LOCK_UN, 20, 40)
        s = os.open(V + "/shared", os.O_RDWR | os.O_CREAT)
        fcntl.lockf(s, fcntl.LOCK_SH)
        f = os.open(V + "/flock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(f, fcntl.LOCK_EX)
        cue("ready"); wait_cue("restarted")
        os.write(p, b"still mine")
        fcntl.lockf(p, fcntl.LOCK_EX, 5, 200)   # one more, on top of what was reclaimed
        fcntl.lockf(p, fcntl.LOCK_UN)
        fcntl.flock(f, fcntl.LOCK_UN)
        cue("given")
        wait_cue("end")
        """)
    t.told(t.wait_cue(holder, "ready"), "locks are held")
    t.restart()
    other = t.inner("""
        p = os.open(V + "/posix", os.O_RDWR)
        s = os.open(V + "/shared", os.O_RDWR)
        f = os.open(V + "/flock", os.O_RDWR)
        busy = (errno.EAGAIN, errno.EACCES)
        assert refused(lambda: fcntl.lockf(p, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)) in busy
        assert refused(lambda: fcntl.lockf(p, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 99)) in busy
        assert refused(lambda: fcntl.lockf(p, fcntl.LOCK_EX | fcntl.LOCK_NB, 20, 40)) == 0
        assert refused(lambda: fcntl.lockf(s, fcntl.LOCK_EX | fcntl.LOCK_NB)) in busy
        assert refused(lambda: fcntl.lockf(s, fcntl.LOCK_SH | fcntl.LOCK_NB)) == 0
        assert refused(lambda: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)) in busy
        fcntl.lockf(p, fcntl.LOCK_UN, 20, 40)
        cue("refused"); wait_cue("given")
        fcntl.lockf(p, fcntl.LOCK_EX)
        fcntl.flock(f, fcntl.LOCK_EX)
        """)
    t.told(t.wait_cue(other, "refused"), "after the restart they still exclude others")
    t.cue(holder, "restarted")
    t.told(t.wait_cue(holder, "given"), "the holder writes, takes another and gives them back")
    t.cue(other, "given")
    t.done(other, "then another run gets them")
    t.cue(holder, "end")
    t.done(holder, "the holder ends well")


def twice(t):
    """A server that is killed again while locks are being asked for."""
    holder = t.inner("""
        fds = [os.open(V + "/twice.%d" % i, os.O_RDWR | os.O_CREAT) for i in range(20)]
        for f in fds:
            fcntl.lockf(f, fcntl.LOCK_EX)
        cue("ready"); wait_cue("restarted")
        for f in fds:
            os.write(f, b"x")
            fcntl.lockf(f, fcntl.LOCK_UN)
        """)
    t.told(t.wait_cue(holder, "ready"), "twenty locks are held")
    for away in (0, 0.2, 1.5):
        t.restart(away)
        time.sleep(away)
    other = t.inner("""
        for i in range(20):
            f = os.open(V + "/twice.%d" % i, os.O_RDWR)
            assert refused(lambda: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)) != 0
            os.close(f)
        """)
    t.done(other, "after three restarts they still exclude others")
    t.cue(holder, "restarted")
    t.done(holder, "and belong to their holder")


def expired(t):
    """A run that is stopped for longer than a lease: what somebody else took meanwhile is lost, and said so."""
    holder = t.inner("""
        p = os.open(V + "/expired", os.O_RDWR | os.O_CREAT)
        fcntl.lockf(p, fcntl.LOCK_EX)
        q = os.open(V + "/plain", os.O_RDWR | os.O_CREAT)
        os.write(q, b"before")
        cue("ready"); wait_cue("go")
        got = refused(lambda: os.write(p, b"mine"))
        assert got == errno.EIO, got
        got = refused(lambda: os.read(p, 10))
        assert got == errno.EIO, got
        assert refused(lambda: fcntl.lockf(p, fcntl.LOCK_EX | fcntl.LOCK_NB)) == errno.EIO
        os.write(q, b" and after")
        os.fsync(q)
        assert os.pread(q, 100, 0) == b"before and after"
        os.close(p)
        p = os.open(V + "/expired", os.O_RDWR)
        assert os.read(p, 100) == b"other"
        fcntl.lockf(p, fcntl.LOCK_EX)
        os.write(p, b"!")
        """)
    t.told(t.wait_cue(holder, "ready"), "a lock is held")
    start = time.monotonic()
    os.killpg(holder.pid, signal.SIGSTOP)
    other = t.inner("""
        p = os.open(V + "/expired", os.O_RDWR)
        fcntl.lockf(p, fcntl.LOCK_EX)
        os.write(p, b"other")
        """)
    t.done(other, "another run gets the lock when the lease has passed")
    t.told(time.monotonic() - start > LEASE / 5, "and not before", time.monotonic() - start)
    t.cue(holder, "go")
    os.killpg(holder.pid, signal.SIGCONT)
    t.done(holder, "the first hears of it with EIO, and goes on with what it did not lock")


def stale(t):
    """A file that is gone, under an open descriptor."""
    p = t.inner("""
        f = os.open(V + "/stale", os.O_RDWR | os.O_CREAT)
        os.write(f, b"x")
        os.fsync(f)
        cue("ready"); wait_cue("gone")
        time.sleep(1.1)
        got = refused(lambda: os.pread(f, 10, 0))
        assert got == errno.ESTALE, got
        got = refused(lambda: os.fstat(f) and None)
        assert got in (0, errno.ESTALE), got
        assert not os.path.exists(V + "/stale")
        g = os.open(V + "/stale", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.write(g, b"new")
        """)
    t.told(t.wait_cue(p, "ready"), "a file is open")
    t.done(t.start("rm", "/volumes/v/stale"), "another run removes it")
    t.cue(p, "gone")
    t.done(p, "what is left of it is ESTALE, and its name can be used again")


def soft(t):
    """VOLNFS_SOFT: errors after that many seconds, also when the server only hangs; without it: patience."""
    script = """
        f = os.open(V + "/soft", os.O_RDWR | os.O_CREAT)
        cue("ready"); wait_cue("away")
        start = time.monotonic()
        got = refused(lambda: os.stat(V + "/soft2"))
        took = time.monotonic() - start
        print(got, took)
        assert got in (errno.EIO, errno.ETIMEDOUT) and 1 <= took < 60, (got, took)
        cue("failed"); wait_cue("back")
        os.write(f, b"x")
        os.fsync(f)
        """
    env = dict(os.environ, VOLNFS_SOFT="2")
    p = t.inner(script, env=env)
    t.told(t.wait_cue(p, "ready"), "a file is open")
    t.server.kill9(start=False)
    t.cue(p, "away")
    t.told(t.wait_cue(p, "failed"), "soft: a server that is away is an error")
    t.server.start()
    t.cue(p, "back")
    t.done(p, "soft: and is used again when it is back")
    p = t.inner(script, env=env)
    t.wait_cue(p, "ready")
    os.kill(t.server.pid, signal.SIGSTOP)
    t.cue(p, "away")
    t.told(t.wait_cue(p, "failed"), "soft: a server that hangs is an error")
    os.kill(t.server.pid, signal.SIGCONT)
    t.cue(p, "back")
    t.done(p, "soft: and is used again when it goes on")
    p = t.inner("""
        cue("ready"); wait_cue("away")
        start = time.monotonic()
        os.close(os.open(V + "/hard", os.O_RDWR | os.O_CREAT))
        assert time.monotonic() - start > 2
        """)
    t.wait_cue(p, "ready")
    t.server.kill9(start=False)
    t.cue(p, "away")
    time.sleep(3)
    t.server.start()
    t.done(p, "hard: a call waits until the server is back")
    p = t.inner("""
        cue("ready"); wait_cue("away")
        os.stat(V + "/hard")
        """)
    t.wait_cue(p, "ready")
    t.server.kill9(start=False)
    t.cue(p, "away")
    time.sleep(0.5)
    start = time.monotonic()
    os.kill(p.pid, signal.SIGTERM)
    try:
        p.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
    p.communicate()
    t.told(p.returncode == 128 + signal.SIGTERM and time.monotonic() - start < 60,
           "hard: a signal ends the wait", "%s after %.1f s" % (p.returncode, time.monotonic() - start))
    done = subprocess.run(t.run_argv("true"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    t.told(done.returncode == 1 and "127.0.0.1:%d" % t.server.port in done.stdout and "refused" in done.stdout.lower(),
           "no server at the start: says so", done.stdout)
    t.server.start()


def agents(server):
    """Pids of agents of this server's runs."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/comm" % pid) as f, open("/proc/%s/environ" % pid, "rb") as e:
                if f.read().strip() == "volnfs-agent" and b"VOLNFS_SERVER=127.0.0.1:%d\0" % server.port in e.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def agent(t):
    """By environment only: locks are kept for longer than a lease, also over a restart, by one agent for all."""
    t.done(t.start("true"), "the volume is there")
    library = os.environ.get("VOLNFS_PRELOAD") or os.path.join(servers.build_dir(), "libvolnfs_preload.so")
    env = dict(os.environ, LD_PRELOAD=library, VOLNFS_SERVER="127.0.0.1:%d" % t.server.port, VOLNFS_VOLUMES="alice/v")

    def alone(script, fds=()):
        t.cues += 1
        cues = os.path.join(t.folder, "cues.%d" % t.cues)
        os.mkdir(cues)
        p = subprocess.Popen([PYTHON, "-B", "-c", PRELUDE + textwrap.dedent(script), cues, "/volumes/v"], env=env,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             start_new_session=True, pass_fds=fds)
        p.cues = cues
        return p

    hold = """
        f = os.open(V + "/agent." + "%s", os.O_RDWR | os.O_CREAT)
        fcntl.%s(f, fcntl.LOCK_EX)
        cue("ready"); wait_cue("end")
        os.write(f, b"mine")
        """
    a, b = alone(hold % ("a", "lockf")), alone(hold % ("b", "flock"))
    t.told(t.wait_cue(a, "ready") and t.wait_cue(b, "ready"), "two processes hold locks")
    t.told(len(agents(t.server)) == 1, "they have one agent", agents(t.server))
    t.restart()
    time.sleep(LEASE * 2 + 1)
    t.done(t.inner("""
        for name, lock in (("a", fcntl.lockf), ("b", fcntl.flock)):
            f = os.open(V + "/agent." + name, os.O_RDWR)
            assert refused(lambda: lock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)) in (errno.EAGAIN, errno.EACCES), name
            os.close(f)
        """), "they still exclude others after a restart and two leases")
    t.cue(a, "end")
    t.done(a, "one ends well")
    os.killpg(b.pid, signal.SIGKILL)
    b.communicate()
    t.done(t.inner("""
        f = os.open(V + "/agent.b", os.O_RDWR)
        fcntl.flock(f, fcntl.LOCK_EX)
        """), "the other's lock is given back when it is killed")

    def ends(what):
        end = time.monotonic() + 120
        while agents(t.server) and time.monotonic() < end:
            time.sleep(0.1)
        t.told(not agents(t.server), what, agents(t.server))

    ends("the agent ends when all have ended")
    env["VOLNFS_OLD_KERNEL"] = "1"
    ours, its = os.pipe()
    c = alone(hold % ("c", "flock"), (its,))
    os.close(its)
    t.cue(c, "end")
    t.done(c, "a program on an old kernel ends well")
    os.read(ours, 1)
    os.close(ours)
    t.told(len(agents(t.server)) == 1, "a pipe to it ends with it, not with the agent", agents(t.server))
    ends("that agent ends, too")


PARTS = {"agent": agent, "copies": copies, "opens": opens, "creates": creates, "appends": appends, "locks": locks, "twice": twice,
         "expired": expired, "stale": stale, "soft": soft}


def main(argv):
    ganesha = "--ganesha" in argv
    parts = [a for a in argv if not a.startswith("-")] or list(PARTS)
    if ganesha and servers.Ganesha.missing():
        print("1..0 # SKIP " + servers.Ganesha.missing())
        return 0
    folder = tempfile.mkdtemp(prefix="volnfs-recovery.")
    os.environ["VOLNFS_QUIET"] = "1"  # how long a server is away is not told among what the programs say
    port = int(os.environ.get("VOLNFS_TEST_PORT", "0"))
    server = servers.make("ganesha" if ganesha else "volnfsd", os.path.join(folder, "server"), port=port,
                          args=["--lease-time", str(LEASE)])
    t = Tests(server, folder)
    try:
        server.start()
        if ganesha:
            server.make_volume("alice/v")
        for part in parts:
            start = time.monotonic()
            PARTS[part](t)
            print("# %s: %.1f s" % (part, time.monotonic() - start), flush=True)
    except servers.ServerError as e:
        t.told(False, "the server starts", e)
    finally:
        if server.proc:
            server.kill9(start=False)
        shutil.rmtree(folder, ignore_errors=True)
    print("1..%d" % t.count)
    return 1 if t.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
