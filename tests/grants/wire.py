# SPDX-License-Identifier: Apache-2.0
"""What the tests of grants share: operations of 4.2 as bytes, clients at addresses, and a server's grants by the CLI."""
import json
import os
import struct
import subprocess

from nfswire import *

NOENT, IO, ACCESS, EXIST, XDEV, NOTDIR, ISDIR, ROFS, STALE, BADHANDLE = 2, 5, 13, 17, 18, 20, 21, 30, 70, 10001
DELAY, CLID_INUSE = 10008, 10017
CURRENT = u32(1) + bytes(12)
NO_DELEG = 0x400


def access(bits):
    return u32(3) + u32(bits)


def lookupp():
    return u32(16)


def lockt(clientid):
    return u32(13) + u32(1) + u64(0) + u64(1) + u64(clientid) + opaque(b"lockt")


def nverify_size(n):
    return u32(17) + bitmap([16]) + opaque(u64(n))


def readlink():
    return u32(27)


def secinfo_no_name():
    return u32(52) + u32(0)


def symlink(name, to):
    return u32(6) + u32(5) + opaque(to) + opaque(name) + u32(0) + opaque(b"")


def seek(off):
    return u32(69) + ANON + u64(off) + u32(0)


def read_plus(off, n):
    return u32(68) + ANON + u64(off) + u32(n)


def io_advise():
    return u32(63) + ANON + u64(0) + u64(10) + bitmap([1])


def allocate(off, n):
    return u32(59) + ANON + u64(off) + u64(n)


def deallocate(off, n):
    return u32(62) + ANON + u64(off) + u64(n)


def copy(n):
    return u32(60) + ANON + ANON + u64(0) + u64(0) + u64(n) + u32(1) + u32(1) + u32(0)


def clone(n):
    return u32(71) + ANON + ANON + u64(0) + u64(0) + u64(n)


def getxattr(name):
    return u32(72) + opaque(name)


def setxattr(name, value):
    return u32(73) + u32(0) + opaque(name) + opaque(value)


def listxattrs():
    return u32(74) + u64(0) + u32(4096)


def removexattr(name):
    return u32(75) + opaque(name)


def setmode(mode):
    return setattr_(ANON, [0, 2], u32(mode))


def setsize(n):
    return setattr_(ANON, [16], u64(n))


def open_fh(s, how):
    return u32(18) + u32(0) + u32(how | NO_DELEG) + u32(0) + u64(s.client) + opaque(b"o") + u32(0) + u32(4)


def open_name(s, how, name, create=False):
    return open_(0, how | NO_DELEG, 0, s.client, b"o", create, name)


class At(Session):
    """A 4.2 client at an address."""
    def __init__(self, addr, source, **kw):
        super().__init__(Conn(addr, source=source), b"grants-" + source.encode() + os.urandom(4), minor=2, **kw)
        self.source = source
        if self.compound([u32(58) + u32(0)]).status:
            raise OSError("RECLAIM_COMPLETE")

    def run(self, ops, uid=0, gid=0, groups=()):
        """The status of the last operation that was answered, and how many were answered (without SEQUENCE)."""
        r = self.compound(ops, cred=cred_sys(uid, gid, groups))
        self.reply = r
        return r.status, r.numres - 1

    def walk(self, *names, **kw):
        """(status, handle) of /NAMES."""
        st, n = self.run([putrootfh()] + [lookup(x) for x in names] + [getfh()], **kw)
        return st, None if st else self.last_fh()

    def last_fh(self):
        """The handle of a GETFH that came last."""
        b = self.reply.results
        for size in (32, 48):
            if b[-size - 12:-size] == u32(10) + u32(0) + u32(size):
                return b[-size:]
        raise ValueError("no handle")

    def names(self, fh):
        """(status, names) of a directory."""
        st, _ = self.run([putfh(fh), readdir(0, bytes(8), 0, 65536, [0])])
        out, b, at = [], self.reply.results, 44 + 8 + 16
        while not st and struct.unpack_from(">I", b, at)[0]:
            n, = struct.unpack_from(">I", b, at + 12)
            out.append(b[at + 16:at + 16 + n])
            at += 16 + n + -n % 4
            words, = struct.unpack_from(">I", b, at)
            size, = struct.unpack_from(">I", b, at + 4 + 4 * words)
            at += 8 + 4 * words + size
        return st, sorted(out)


class Cli:
    def __init__(self, volnfs, store):
        self.argv = [volnfs, "--store", store]

    def __call__(self, *args, check=True):
        p = subprocess.run(self.argv + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if check and p.returncode:
            raise RuntimeError("%s: %s" % (" ".join(args), p.stderr))
        return p.stdout if check else p

    def grant(self, *args):
        return str(json.loads(self("grant", "--json", *args))["id"])

    def token(self, *args):
        j = json.loads(self("token", "--json", *args))
        return str(j["id"]), j["secret"].encode()


class Cases:
    """Counts what was looked at; prints what was not as it should be, a TAP line per group."""
    def __init__(self):
        self.n = self.bad = self.total = 0

    def want(self, what, got, expected):
        self.n += 1
        if got != expected:
            self.bad += 1
            if self.bad <= 20:
                print("# %s: got %s, expected %s" % (what, got, expected), flush=True)

    def group(self, name, least=1):
        good = not self.bad and self.n >= least
        print("%s %s (%d looked at)" % ("ok" if good else "not ok", name, self.n), flush=True)
        self.total += self.n
        self.n = self.bad = 0


def make_file(s, d, name, data, mode=0o644):
    """Through the current session, owned by uid 0; returns its handle."""
    st, _ = s.run([putfh(d), open_name(s, 3, name, True), getfh()])
    if st:
        raise OSError("make %r: %d" % (name, st))
    fh = s.last_fh()
    st, _ = s.run([putfh(fh), write(ANON, 0, 2, data), setmode(mode)])
    if st:
        raise OSError("write %r: %d" % (name, st))
    return fh


def make_dir(s, d, name, mode=0o755):
    st, _ = s.run([putfh(d), mkdir(name), setmode(mode), getfh()])
    if st:
        raise OSError("mkdir %r: %d" % (name, st))
    return s.last_fh()
