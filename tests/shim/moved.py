# SPDX-License-Identifier: Apache-2.0
# Locks of files that were renamed or removed, of directories; removed files: python3 moved.py DIR, below volnfs run.
import errno, fcntl, os, signal, subprocess, sys, time

os.chdir(sys.argv[1])
PY = sys.executable
TRY = "import fcntl, sys\ntry:\n fcntl.%s(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n print('free')\nexcept OSError: print('held')"


def other(call, name):
    return subprocess.run([PY, "-c", TRY % call, name], stdout=subprocess.PIPE, text=True).stdout.strip()


def want(name, got, wanted):
    if got != wanted:
        print(f"{name}: {got}, not {wanted}")


for call, take in (("lockf", fcntl.lockf), ("flock", fcntl.flock)):
    os.makedirs("d/e", exist_ok=True)
    os.makedirs("x", exist_ok=True)
    f = open("d/f", "w")
    os.rename("d/f", "d/g")
    take(f, fcntl.LOCK_EX)
    want(call + " renamed", other(call, "d/g"), "held")
    f.close()
    f = open("d/g", "r+")
    os.rename("d/g", "x/h")
    open("d/g", "w").close()    # another file of the old name
    take(f, fcntl.LOCK_EX)
    want(call + " moved", other(call, "x/h"), "held")
    want(call + " the other of the old name", other(call, "d/g"), "free")
    f.close()
    f = open("x/h", "r+")
    os.rename("x", "y")         # the directory moves
    take(f, fcntl.LOCK_EX)
    want(call + " below a moved directory", other(call, "y/h"), "held")
    f.close()
    f = open("y/h", "r+")
    # By another run: found by its number in the directory.
    open("please", "w").close()
    while os.path.exists("please"):
        time.sleep(0.05)
    take(f, fcntl.LOCK_EX)
    want(call + " renamed by others", other(call, "y/i"), "held")
    f.close()
    subprocess.run("rm -r y d", shell=True)

# A file without a name.
f = open("gone", "w+")
g = open("gone", "r+")
os.unlink("gone")
fcntl.flock(f, fcntl.LOCK_EX)
try:
    fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("two locks of a removed file")
except BlockingIOError:
    pass
f.write("still here")
f.flush()
g.seek(0)
want("removed and open", g.read(), "still here")
f.close()
fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
try:
    fcntl.lockf(g, fcntl.LOCK_EX)
    print("a range of a removed file")
except OSError as e:
    want("range", e.errno, errno.ENOLCK)
g.close()

# Directories.
os.mkdir("dir")
a, b = os.open("dir", os.O_RDONLY), os.open("dir", os.O_RDONLY)
fcntl.flock(a, fcntl.LOCK_SH)
fcntl.flock(b, fcntl.LOCK_SH)
try:
    fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("a directory twice")
except BlockingIOError:
    pass
os.close(b)
fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
want("flock(1)", subprocess.run(["flock", "-n", "dir", "true"]).returncode, 1)
pid = os.fork()
if pid == 0:
    c = os.open("dir", os.O_RDONLY)
    fcntl.flock(c, fcntl.LOCK_EX)
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.3)
fcntl.flock(a, fcntl.LOCK_UN)
os.waitpid(pid, 0)
start = time.monotonic()
fcntl.flock(a, fcntl.LOCK_EX)
if time.monotonic() - start > 45:  # half of a lease
    print("a killed process's directory took", time.monotonic() - start)

# A descriptor sent to another process: its copy's end is not the end of the lock.
import array, socket

f = open("sent", "w")
g = open("sent", "r+")
fcntl.flock(f, fcntl.LOCK_EX)
left, right = socket.socketpair()
pid = os.fork()
if pid == 0:
    f.close()
    g.close()
    left.close()
    got = array.array("i")
    got.frombytes(right.recvmsg(1, socket.CMSG_SPACE(4))[1][0][2][:4])
    os.write(got[0], b"by the other")
    os.close(got[0])
    right.send(b"x")
    right.recv(1)
    os._exit(0)
left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [f.fileno()]))])
left.recv(1)
want("sent and written", open("sent").read(), "by the other")
try:
    fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("the lock went with the copy")
except BlockingIOError:
    pass
left.send(b"x")
os.waitpid(pid, 0)
f.close()
fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)

# Sockets and pipes have names here, but no other end.
try:
    socket.socket(socket.AF_UNIX).bind("socket")
    print("a socket")
except OSError as e:
    want("bind", e.errno, errno.EOPNOTSUPP)
os.mkfifo("pipe")
want("pipe", oct(os.stat("pipe").st_mode & 0o170000), oct(0o010000))
try:
    os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    print("a pipe")
except OSError as e:
    want("pipe", e.errno, errno.ENXIO)
os.unlink("pipe")

# A rename that must not replace.
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
open("one", "w").close()
open("two", "w").close()
want("noreplace", (libc.renameat2(-100, b"one", -100, b"two", 1), ctypes.get_errno()), (-1, errno.EEXIST))
want("noreplace", libc.renameat2(-100, b"one", -100, b"three", 1), 0)
want("noreplace", (os.path.exists("one"), os.path.exists("three"), os.stat("three").st_nlink), (False, True, 1))
ctypes.set_errno(0)
want("exchange", (libc.renameat2(-100, b"two", -100, b"three", 2), ctypes.get_errno()), (-1, errno.EINVAL))
print("done")
