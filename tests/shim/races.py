# SPDX-License-Identifier: Apache-2.0
# Threads that close what others use, forks in between, handlers that use volumes: python3 races.py DIR, below volnfs run.
import errno, fcntl, os, signal, subprocess, sys, threading, time

os.chdir(sys.argv[1])
with open("data", "wb") as f:
    f.write(bytes(range(256)) * 64)

# One number is closed and opened again all the time, and read from meanwhile.
stop = time.monotonic() + 2
number = os.open("data", os.O_RDONLY)
wrong = []


def reader(call):
    n = 0
    while time.monotonic() < stop:
        try:
            got = call(number)
            n += 1
            # "dfov": a record, for the moment in which another thread takes it in.
            if got is not None and got[:4] not in (b"", b"\0\1\2\3", b"dfov"):
                wrong.append(got)
        except OSError as e:
            if e.errno not in (errno.EBADF, errno.ESPIPE):  # or it is a pipe by now
                wrong.append(repr(e))
    if n == 0:
        wrong.append("never read anything")


def closer():
    while time.monotonic() < stop:
        os.close(number)
        while True:
            fd = os.open("data", os.O_RDONLY)
            if fd == number:
                break
            if fd < number:     # somebody else's small number: keep it out of the way
                continue
            os.close(fd)


def forker():
    while time.monotonic() < stop:
        pid = os.fork()
        if pid == 0:
            ok = 1
            try:
                fd = os.open("data", os.O_RDONLY)
                ok = 0 if os.read(fd, 4) == b"\0\1\2\3" else 2
                os.close(fd)
            finally:
                os._exit(ok)
        if os.waitpid(pid, 0)[1] != 0:
            wrong.append("a forked child failed")


def spawner():
    while time.monotonic() < stop:
        if subprocess.run(["/bin/cat", "data"], stdout=subprocess.DEVNULL).returncode != 0:
            wrong.append("a spawned child failed")


threads = [threading.Thread(target=t, args=a) for t, a in (
    (reader, (lambda fd: os.pread(fd, 256, 0),)), (reader, (lambda fd: os.fstat(fd) and None,)),
    (reader, (lambda fd: os.close(os.dup(fd)),)), (closer, ()), (forker, ()), (spawner, ()))]
for t in threads:
    t.start()
for t in threads:
    t.join(30)
    if t.is_alive():
        print("a thread hangs")
        os._exit(1)
if wrong:
    print([repr(w)[:60] for w in wrong[:5]])

# A handler that reads and writes the volume, while calls on the volume are under way and while a lock is waited for.
count = [0]


def handler(*_):
    with open("log", "ab") as log:
        log.write(b"x")
    count[0] += 1


lock = open("lock", "w")
has, tell = os.pipe()
pid = os.fork()
if pid == 0:
    fcntl.flock(open("lock"), fcntl.LOCK_UN)
    mine = open("lock", "r+")
    fcntl.flock(mine, fcntl.LOCK_EX)
    os.write(tell, b"x")
    time.sleep(1)
    os._exit(0)
os.read(has, 1)
signal.signal(signal.SIGALRM, handler)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
fcntl.flock(lock, fcntl.LOCK_EX)
done, late = 0, time.monotonic() + 60
while done < 300 or (count[0] < 3 and time.monotonic() < late):
    with open("data", "rb") as f:
        f.read()
    done += 1
signal.setitimer(signal.ITIMER_REAL, 0)
os.waitpid(pid, 0)
if count[0] < 3 or os.path.getsize("log") != count[0]:
    print("handlers:", count[0], os.path.getsize("log"))
print("done")
