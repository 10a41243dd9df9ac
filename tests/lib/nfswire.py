# SPDX-License-Identifier: Apache-2.0
"""NFSv4 by hand, for tests that send what no good client sends: records, calls, operations as bytes.

    c = Conn(("127.0.0.1", port)); c.compound(0, [putrootfh(), lookup(b"alice"), getfh()]) -> Reply
"""
import os
import socket
import struct
import time

OK = 0


def u32(n):
    return struct.pack(">I", n & 0xffffffff)


def u64(n):
    return struct.pack(">Q", n & 0xffffffffffffffff)


def opaque(b):
    return u32(len(b)) + b + bytes(-len(b) % 4)


def putrootfh():
    return u32(24)


def putfh(fh):
    return u32(22) + opaque(fh)


def getfh():
    return u32(10)


def lookup(name):
    return u32(15) + opaque(name)


def savefh():
    return u32(32)


def restorefh():
    return u32(31)


def getattr_(*words):
    return u32(9) + u32(len(words)) + b"".join(map(u32, words))


def setattr_(stateid, mask, values):
    return u32(34) + stateid + bitmap(mask) + opaque(values)


def bitmap(words):
    return u32(len(words)) + b"".join(map(u32, words))


def mkdir(name):
    return u32(6) + u32(2) + opaque(name) + bitmap([0, 2]) + opaque(u32(0o755))


def remove(name):
    return u32(28) + opaque(name)


def rename(old, new):
    return u32(29) + opaque(old) + opaque(new)


def link(name):
    return u32(11) + opaque(name)


def readdir(cookie, verf, dircount, maxcount, words):
    return u32(26) + u64(cookie) + verf + u32(dircount) + u32(maxcount) + bitmap(words)


def read(stateid, off, count):
    return u32(25) + stateid + u64(off) + u32(count)


def write(stateid, off, stable, data):
    return u32(38) + stateid + u64(off) + u32(stable) + opaque(data)


def commit(off, count):
    return u32(5) + u64(off) + u32(count)


def open_(seqid, access, deny, clientid, owner, create, name):
    how = u32(1) + u32(0) + bitmap([0, 2]) + opaque(u32(0o644)) if create else u32(0)
    return u32(18) + u32(seqid) + u32(access) + u32(deny) + u64(clientid) + opaque(owner) + how + u32(0) + opaque(name)


def open_confirm(stateid, seqid):
    return u32(20) + stateid + u32(seqid)


def close(seqid, stateid):
    return u32(4) + u32(seqid) + stateid


def lock_new(kind, off, length, oseq, ostateid, lseq, clientid, owner):
    return (u32(12) + u32(kind) + u32(0) + u64(off) + u64(length) + u32(1) + u32(oseq) + ostateid + u32(lseq) +
            u64(clientid) + opaque(owner))


def setclientid(verf, name):
    return u32(35) + verf + opaque(name) + u32(0x40000000) + opaque(b"tcp") + opaque(b"127.0.0.1.0.0") + u32(1)


def setclientid_confirm(clientid, verf):
    return u32(36) + u64(clientid) + verf


def exchange_id(verf, name, flags=0):
    return u32(42) + verf + opaque(name) + u32(flags) + u32(0) + u32(0)


def create_session(clientid, seq, slots=16, size=1 << 20, ops=32):
    chan = u32(0) + u32(size) + u32(size) + u32(65536) + u32(ops) + u32(slots) + u32(0)
    return u32(43) + u64(clientid) + u32(seq) + u32(0) + chan + chan + u32(0x40000000) + u32(1) + u32(0)


def sequence(session, seq, slot, highest=15, cache=0):
    return u32(53) + session + u32(seq) + u32(slot) + u32(highest) + u32(cache)


ANON = bytes(16)


def cred_sys(uid=0, gid=0, groups=()):
    return u32(1) + opaque(u32(0) + opaque(b"t") + u32(uid) + u32(gid) + u32(len(groups)) + b"".join(map(u32, groups)))


def call_bytes(xid, minor, ops, tag=b"", nops=None, cred=None, proc=1, vers=4):
    head = u32(xid) + u32(0) + u32(2) + u32(100003) + u32(vers) + u32(proc) + (cred or cred_sys()) + u32(0) + u32(0)
    if proc == 0:
        return head
    return head + opaque(tag) + u32(minor) + u32(len(ops) if nops is None else nops) + b"".join(ops)


def record(body):
    return u32(0x80000000 | len(body)) + body


class Reply:
    """Of a COMPOUND: status, numres, results (bytes that begin with the first operation's number)."""
    def __init__(self, body):
        self.body = body
        self.xid, self.mtype, self.stat = struct.unpack_from(">III", body)
        self.accept = struct.unpack_from(">I", body, 20)[0] if self.stat == 0 else None
        self.status = self.numres = None
        self.results = b""
        if self.accept == 0 and len(body) >= 36:
            self.status, n = struct.unpack_from(">II", body, 24)
            at = 32 + n + -n % 4
            self.numres = struct.unpack_from(">I", body, at)[0]
            self.results = body[at + 4:]


class Conn:
    def __init__(self, addr, timeout=60, source=None):
        """source: the address to come from, such as 127.0.0.2."""
        self.s = socket.create_connection(addr, timeout, source and (source, 0)) if isinstance(addr, tuple) else socket.socket(socket.AF_UNIX)
        if not isinstance(addr, tuple):
            self.s.settimeout(timeout)
            self.s.connect(addr)
        self.xid = struct.unpack(">I", os.urandom(4))[0]

    def send(self, raw):
        self.s.sendall(raw)

    def _exactly(self, n):
        parts = []
        while n:
            b = self.s.recv(min(n, 1 << 20))
            if not b:
                raise EOFError("the server closed the connection")
            parts.append(b)
            n -= len(b)
        return b"".join(parts)

    def recv(self):
        body = b""
        while True:
            mark = struct.unpack(">I", self._exactly(4))[0]
            body += self._exactly(mark & 0x7fffffff)
            if mark & 0x80000000:
                return body

    def raw(self, body):
        """Sends one record, returns the next reply."""
        self.send(record(body))
        return Reply(self.recv())

    def compound(self, minor, ops, **kw):
        self.xid = self.xid + 1 & 0xffffffff
        return self.raw(call_bytes(self.xid, minor, ops, **kw))

    def null(self):
        self.xid = self.xid + 1 & 0xffffffff
        return self.raw(call_bytes(self.xid, 0, [], proc=0))

    def close(self):
        self.s.close()

    def closed(self, seconds=60):
        """True once the server has closed the connection."""
        self.s.settimeout(seconds)
        try:
            while self.s.recv(65536):
                pass
            return True
        except ConnectionError:
            return True
        except socket.timeout:
            return False


def handle(c, *names):
    """The handle of /NAMES."""
    r = c.compound(0, [putrootfh()] + [lookup(n) for n in names] + [getfh()])
    if r.status:
        raise OSError("status %d" % r.status)
    at = 8 * (1 + len(names)) + 8
    n = struct.unpack_from(">I", r.results, at)[0]
    return r.results[at + 4:at + 4 + n]


def last_handle(results):
    """The handle that a GETFH at the end gave."""
    got, at = u32(10) + u32(0), results.find(u32(10) + u32(0))
    while at >= 0:
        n, = struct.unpack_from(">I", results, at + 8)
        if at + 12 + n + -n % 4 == len(results):  # not the same bytes elsewhere, as in the handle
            return results[at + 12:at + 12 + n]
        at = results.find(got, at + 1)
    raise ValueError("no handle")


class Client40:
    """A confirmed 4.0 client that opens files, one owner each."""
    def __init__(self, c, name):
        self.c, self.n = c, 0
        r = c.compound(0, [setclientid(os.urandom(8), name)])
        self.id, = struct.unpack_from(">Q", r.results, 8)
        verf = r.results[16:24]
        if c.compound(0, [setclientid_confirm(self.id, verf)]).status:
            raise OSError("SETCLIENTID_CONFIRM")

    def open(self, dirfh, name, access=3, deny=0, owner=None, create=True):
        """(status, stateid, handle)"""
        self.n += 1
        owner = owner or b"owner%d" % self.n
        r = self.c.compound(0, [putfh(dirfh), open_(1, access, deny, self.id, owner, create, name), getfh()])
        if r.status:
            return r.status, None, None
        stateid = r.results[16:32]
        fh = last_handle(r.results)
        flags, = struct.unpack_from(">I", r.results, 32 + 4 + 16)
        if flags & 2:
            q = self.c.compound(0, [putfh(fh), open_confirm(stateid, 2)])
            if q.status:
                return q.status, None, None
            stateid = q.results[16:32]
        return 0, stateid, fh


class Session:
    """A 4.1 client with one session."""
    def __init__(self, c, name, minor=1, **kw):
        self.c, self.minor, self.seq = c, minor, {}
        r = c.compound(minor, [exchange_id(os.urandom(8), name)])
        self.client, seq = struct.unpack_from(">QI", r.results, 8)
        r = c.compound(minor, [create_session(self.client, seq, **kw)])
        if r.status:
            raise OSError("CREATE_SESSION %d" % r.status)
        self.id = r.results[8:24]

    def compound(self, ops, slot=0, cache=0, **kw):
        self.seq[slot] = self.seq.get(slot, 0) + 1
        return self.c.compound(self.minor, [sequence(self.id, self.seq[slot], slot, cache=cache)] + ops, **kw)


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def alive(addr, seconds=60):
    """Does a new client get an answer in time? Returns the seconds it took, or None."""
    t = time.monotonic()
    try:
        c = Conn(addr, seconds)
        ok = c.compound(0, [putrootfh(), getfh()]).status == 0
        c.close()
        return time.monotonic() - t if ok else None
    except (OSError, EOFError):
        return None
