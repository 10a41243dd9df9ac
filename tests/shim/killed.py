# SPDX-License-Identifier: Apache-2.0
# Locks of processes that are killed: python3 killed.py DIR, to be run below volnfs run. Prints what went wrong.
import fcntl, os, signal, subprocess, sys, threading, time

D = sys.argv[1]
os.chdir(D)


def spawn(work):
    """A child that runs work(), says so and sleeps."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(w, b"y")
            time.sleep(100)
        finally:
            os._exit(9)
    os.close(w)
    if os.read(r, 1) != b"y":
        print("the child did not get there")
    os.close(r)
    return pid


def kill(pid, wait=True):
    os.kill(pid, signal.SIGKILL)
    if wait:
        os.waitpid(pid, 0)


# It takes two seconds at most where nothing else is going on; without the client's doing it would be the lease of 90 s, or
# until the holder wakes.
SOON = 45


def within(name, lock):
    start = time.monotonic()
    lock()
    took = time.monotonic() - start
    if took > SOON:
        print(f"{name}: {took:.1f} s")


def refused(name, lock):
    try:
        lock()
    except (BlockingIOError, PermissionError):
        return
    print(f"{name}: not refused")


f = open("lock", "w")
keep = []

# fcntl, waited for while the holder is killed, and asked for afterwards; the dead not waited for by anybody.
pid = spawn(lambda: fcntl.lockf(open("lock", "r+"), fcntl.LOCK_EX) or keep.append(1))
# The child's file object is gone by now, and with it the lock; take it with one that stays.
kill(pid)


def hold_fcntl():
    keep.append(open("lock", "r+"))
    fcntl.lockf(keep[-1], fcntl.LOCK_EX)


def hold_flock():
    keep.append(open("lock", "r+"))
    fcntl.flock(keep[-1], fcntl.LOCK_EX)


for name, hold, take in (("fcntl", hold_fcntl, fcntl.lockf), ("flock", hold_flock, fcntl.flock)):
    pid = spawn(hold)
    refused(name, lambda: take(f, fcntl.LOCK_EX | fcntl.LOCK_NB))
    kill(pid, wait=False)
    within(f"{name} of a zombie", lambda: take(f, fcntl.LOCK_EX))
    os.waitpid(pid, 0)
    take(f, fcntl.LOCK_UN)

    pid = spawn(hold)
    threading.Timer(0.5, lambda: kill(pid)).start()
    within(f"{name} while waiting", lambda: take(f, fcntl.LOCK_EX))
    take(f, fcntl.LOCK_UN)

    # Killed at any moment of taking and giving back.
    for i in range(6):
        def busy():
            g = open("lock", "r+")
            if os.fork() == 0:
                os.kill(os.getppid(), 0)
                os._exit(0)
            r = os.fork()
            if r == 0:
                time.sleep(0.01 + i * 0.003)
                os.kill(os.getppid(), signal.SIGKILL)
                os._exit(0)
            while True:
                take(g, fcntl.LOCK_EX)
                take(g, fcntl.LOCK_UN)
        pid = os.fork()
        if pid == 0:
            busy()
        os.waitpid(pid, 0)
        within(f"{name} in between {i}", lambda: take(f, fcntl.LOCK_EX))
        take(f, fcntl.LOCK_UN)

# A description that two processes share: it keeps its lock while one of them lives.
g = open("lock", "r+")
fcntl.flock(g, fcntl.LOCK_EX)
pid = spawn(lambda: None)
kill(pid)
time.sleep(1.5)
refused("flock of the survivor", lambda: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB))
g.close()
within("flock after the survivor's close", lambda: fcntl.flock(f, fcntl.LOCK_EX))
fcntl.flock(f, fcntl.LOCK_UN)

# A program that only inherited the description starts and ends others that inherit it too: by fork, by vfork, and by fork
# after a vfork. The lock stays until the last of them ends.
FAMILY = """
import os, subprocess, sys
def forks():
    for i in range(3):
        if os.fork() == 0:
            os._exit(0)
        os.wait()
forks()
for i in range(3):
    subprocess.run(["true"], close_fds=False)
forks()
print("y", flush=True)
sys.stdin.read()
"""
for program in (["sh", "-c", "(:); (:); x=$(:); (:); echo y; read x"], [sys.executable, "-c", FAMILY]):
    g = os.open("lock", os.O_RDWR)
    fcntl.flock(g, fcntl.LOCK_EX)
    os.set_inheritable(g, True)
    p = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    os.close(g)
    if p.stdout.readline() != b"y\n":
        print(f"{program[0]}: did not get there")
    refused(f"flock inherited by {program[0]}", lambda: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB))
    p.stdin.close()
    p.wait()
    within(f"flock after the end of {program[0]}", lambda: fcntl.flock(f, fcntl.LOCK_EX))
    fcntl.flock(f, fcntl.LOCK_UN)

# fcntl locks outlive an exec, and go with the close after it.
r, w = os.pipe()
os.set_inheritable(r, True)
pid = os.fork()
if pid == 0:
    h = os.open("lock", os.O_RDWR)
    fcntl.lockf(h, fcntl.LOCK_EX)
    os.set_inheritable(h, True)
    os.execlp("sh", "sh", "-c", f"echo up >ready; read x <&{r}; exec {h}>&-; echo down >ready; read x <&{r}")
for i in range(1200):
    if os.path.exists("ready") and open("ready").read() == "up\n":
        break
    time.sleep(0.05)
refused("after exec", lambda: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB))
os.write(w, b"\n")
within("closed after exec", lambda: fcntl.lockf(f, fcntl.LOCK_EX))
kill(pid)
fcntl.lockf(f, fcntl.LOCK_UN)

# One thread waits for a lock whose holder waits for one that another thread of ours gives back.
a = open("a", "w")
b = open("b", "w")
fcntl.lockf(a, fcntl.LOCK_EX)


def other():
    keep.append(open("b", "r+"))
    fcntl.lockf(keep[-1], fcntl.LOCK_EX)


def other_then_a(ready=[]):
    other()
    if os.fork() == 0:
        os._exit(0)


pid = spawn(other)
t = threading.Thread(target=lambda: fcntl.lockf(b, fcntl.LOCK_EX, 10))
t.start()
time.sleep(0.2)
within("unlock while another thread waits", lambda: fcntl.lockf(a, fcntl.LOCK_UN))
kill(pid)
t.join(SOON)
if t.is_alive():
    print("the waiting thread never got its lock")


# Signals: a handler without SA_RESTART ends the wait, one with it does not.
class Rang(Exception):
    pass


def ring(*_):
    raise Rang


pid = spawn(hold_fcntl)
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.5)
start = time.monotonic()
try:
    fcntl.lockf(f, fcntl.LOCK_EX)
    print("no alarm")
except Rang:
    if time.monotonic() - start > SOON:
        print("a late alarm")
rang = []
signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.3)
threading.Timer(0.8, lambda: kill(pid)).start()
within("a restarted wait", lambda: fcntl.lockf(f, fcntl.LOCK_EX))
if rang != [1]:
    print("the handler did not run")
print("done")
