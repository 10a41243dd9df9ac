# SPDX-License-Identifier: Apache-2.0
# Bad pointers: python3 badmem.py DIR. The output on a volume must be that of a local folder.
import ctypes, errno, mmap, os, signal, struct, subprocess, sys

os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
PAGE = 4096
none = libc.mmap(None, PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
only = libc.mmap(None, PAGE, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
both = libc.mmap(None, 2 * PAGE, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
libc.mprotect(ctypes.c_void_p(both + PAGE), PAGE, 0)
edge = both + PAGE - 100
with open("f", "wb") as f:
    f.write(b"0123456789" * 1000)
fd = os.open("f", os.O_RDWR)
here = os.path.abspath("f").encode()
good = ctypes.create_string_buffer(here)
room = ctypes.create_string_buffer(70000)
bads = (("null", 0), ("one", 1), ("low", 4096), ("none", none), ("kernel", -4096), ("odd", 0x8000000000001))
path_calls = {"stat": 4, "lstat": 6, "access": 21, "truncate": 76, "rename": 82, "mkdir": 83, "rmdir": 84,
              "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90, "statfs": 137, "chdir": 80}
fd_calls = {"read": 0, "write": 1, "fstat": 5, "pread": 17, "pwrite": 18, "readv": 19, "writev": 20, "getdents64": 217,
            "fstatfs": 138, "preadv": 295, "pwritev": 296}


def call(name, nr, *args):
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(nr), *(ctypes.c_void_p(a & (1 << 64) - 1) if isinstance(a, int) else a for a in args))
    print(name, got, errno.errorcode.get(ctypes.get_errno(), 0) if got < 0 else "")


for what, bad in bads:
    for name, nr in path_calls.items():
        if name in ("rename", "link", "symlink"):
            call(f"{name} {what}", nr, bad, bad)
            call(f"{name} good {what}", nr, good, bad)
        else:
            call(f"{name} {what}", nr, bad, room, 100)
    for name, nr in fd_calls.items():
        target = os.open(".", os.O_RDONLY) if name == "getdents64" else fd
        call(f"{name} {what}", nr, target, bad, 50, 0)
        if target != fd:
            os.close(target)
    call(f"stat to {what}", 4, good, bad)
    call(f"statfs to {what}", 137, good, bad)
    call(f"openat {what}", 257, -100, bad, 0)
    call(f"statx to {what}", 332, -100, good, 0, 0xFFF, bad)
    call(f"getlk {what}", 72, fd, 5, bad)
    call(f"open {what}", 2, bad, 0)
    if bad:
        call(f"utimensat {what}", 280, -100, good, bad, 0)
        call(f"poll {what}", 7, bad, 1, 0)
        call(f"select {what}", 23, 8, bad, 0, 0, 0)
        call(f"sendfile {what}", 40, fd, fd, bad, 10)
for name, at in (("only", only),):
    os.lseek(fd, 0, 0)
    call(f"read {name}", 0, fd, at, 50)
    call(f"write {name}", 1, fd, at, 50)
    call(f"stat {name}", 4, good, at)
# What there is of a buffer is used; what lies behind it is not touched.
call("pread edge", 17, fd, edge, 100, 0)
call("pwrite edge", 18, fd, edge, 100, 0)
os.lseek(fd, 0, 0)
call("read end", 0, fd, both, PAGE)
vec = ctypes.create_string_buffer(struct.pack("QQQQ", both, 10, none, 10))
os.lseek(fd, 0, 0)
call("open long", 2, edge, 0)

# The program's own handlers: as it set them.
old = signal.signal(signal.SIGSEGV, signal.SIG_IGN)
print(old == signal.SIG_DFL, signal.getsignal(signal.SIGSEGV) == signal.SIG_IGN)
signal.signal(signal.SIGSEGV, signal.SIG_DFL)
code = "import ctypes, faulthandler, sys; faulthandler.%s(); open('f').read(); ctypes.string_at(0)"
for state in ("enable", "disable"):
    done = subprocess.run([sys.executable, "-c", code % state], stderr=subprocess.PIPE)
    print(done.returncode, b"Segmentation fault" in done.stderr)
done = subprocess.run([sys.executable, "-c", "import os, signal; open('f').read(); os.kill(os.getpid(), signal.SIGSEGV)"])
print(done.returncode)
done = subprocess.run([sys.executable, "-c", "import os, signal; signal.signal(signal.SIGSEGV, lambda *a: print('mine')); "
                       "open('f').read(); os.kill(os.getpid(), signal.SIGSEGV); open('f').read()"], stdout=subprocess.PIPE)
print(done.returncode, done.stdout)
print("done")
