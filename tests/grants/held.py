# SPDX-License-Identifier: Apache-2.0
"""What clients hold when their grants go, and what others may do to it.

    held.py PORT VOLNFS STORE
"""
import sys

from wire import *

addr = ("127.0.0.1", int(sys.argv[1]))
cli = Cli(sys.argv[2], sys.argv[3])
cases = Cases()
want = cases.want

cli("grant", "127.0.0.1", "/", "--create")
cli("revoke", "127.0.0.0/8", "/")
admin = At(addr, "127.0.0.1")
cli("create", "alice/v1", "--mode", "0777", "--owner", "1000:1000")
v1 = admin.walk(b"alice", b"v1")[1]
file = make_file(admin, v1, b"file", b"text", 0o666)


# --- a 4.0 owner's requests count when they are refused, too (RFC 7530 section 9.1.7) ---
class Owner:
    def __init__(self, source):
        self.c = Conn(addr, source=source)
        self.k = Client40(self.c, b"owner at " + source.encode())

    def open(self, seqid, d=v1, name=b"file"):
        r = self.c.compound(0, [putfh(d), open_(seqid, 3, 0, self.k.id, b"o", False, name), getfh()])
        self.sid = r.results[16:32]
        return r.status

    def confirm(self, seqid):
        r = self.c.compound(0, [putfh(file), open_confirm(self.sid, seqid)])
        self.sid = r.results[16:32]
        return r.status

    def lock(self, seqid, owner, fh=file):
        r = self.c.compound(0, [putfh(fh), lock_new(2, 0, 1, seqid, self.sid, 7, self.k.id, owner)])
        if not r.status:
            self.lsid = r.results[16:32]
        return r.status

    def relock(self, lseqid, fh=file):
        r = self.c.compound(0, [putfh(fh), u32(12) + u32(2) + u32(0) + u64(5) + u64(1) + u32(0) + self.lsid + u32(lseqid)])
        if not r.status:
            self.lsid = r.results[16:32]
        return r.status


BAD_SEQID, ISDIR = 10026, 21
gid = cli.grant("127.20.0.0/16", "alice/v1")
o = Owner("127.20.0.1")
want("OPEN, OPEN_CONFIRM", (o.open(1), o.confirm(2)), (0, 0))
cli("revoke", gid)
want("OPEN without a grant", o.open(3), ACCESS)
gid = cli.grant("127.20.0.0/16", "alice/v1")
want("the next", o.open(4), 0)
want("one further on", o.open(7), BAD_SEQID)
want("which does not count", o.open(5), 0)
cli("revoke", gid)
want("LOCK without a grant", o.lock(6, b"l"), ACCESS)
gid = cli.grant("127.20.0.0/16", "alice/v1")
want("the next LOCK", o.lock(7, b"l"), 0)
want("LOCK of a directory in the tree above", o.lock(8, b"l2", admin.walk(b"alice")[1]) != 0, True)
want("the next OPEN", o.open(9), 0)
cli("revoke", gid)
want("LOCK of a lock owner, without a grant", o.relock(8), ACCESS)
gid = cli.grant("127.20.0.0/16", "alice/v1")
want("the next of it", o.relock(9), 0)
cli("revoke", gid)
want("a LOCK that was answered before is not answered again", o.relock(9), ACCESS)
gid = cli.grant("127.20.0.0/16", "alice/v1")
want("nor counted twice", o.relock(10), 0)
want("NOFILEHANDLE does not count", o.c.compound(0, [open_(10, 3, 0, o.k.id, b"o", False, b"file")]).status, 10020)
want("so the same number is good", o.open(10), 0)
cases.group("a 4.0 owner's requests that are refused count", 15)
