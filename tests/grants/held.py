# SPDX-License-Identifier: Apache-2.0
"""What clients hold when their grants go, and what others may do to it.

    held.py PORT VOLNFS STORE
"""
import sys
import time

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

# --- root of another machine, who guesses names and numbers ---
gid = cli.grant("127.8.0.0/16", "alice/v1")
victim, thief = At(addr, "127.8.0.1"), Conn(addr, source="127.66.0.1")
name = b"the victim's name"
vc = Conn(addr, source="127.8.0.1")
verf = b"verifier"
r = vc.compound(2, [exchange_id(verf, name)])
vid, seq = struct.unpack_from(">QI", r.results, 8)
r = vc.compound(2, [create_session(vid, seq)])
vsession = r.results[8:24]
vseq = [0]


def as_victim(ops):
    vseq[0] += 1
    return vc.compound(2, [sequence(vsession, vseq[0], 0)] + ops)


as_victim([u32(58) + u32(0)])
r = as_victim([putfh(file), u32(18) + u32(0) + u32(3 | 0x400) + u32(0) + u64(vid) + opaque(b"o") + u32(0) + u32(4)])
want("the victim opens", r.status, 0)
for n in (0, 1, seq, seq + 1):
    r = thief.compound(2, [create_session(vid, n)])
    want("CREATE_SESSION %d with its client id" % n, (r.status != 0, vsession in r.results), (True, False))
want("DESTROY_CLIENTID", thief.compound(2, [u32(57) + u64(vid)]).status, 10082)
r = thief.compound(2, [exchange_id(b"guessed!", name)])
if not r.status:
    tid, tseq = struct.unpack_from(">QI", r.results, 8)
    want("a restart of it, it seems", thief.compound(2, [create_session(tid, tseq)]).status, DELAY)
else:
    want("a restart of it, it seems", r.status, DELAY)
want("the victim goes on", as_victim([putfh(file), getattr_(16)]).status, 0)
r = vc.compound(2, [exchange_id(verf, name)])
want("it may ask again", struct.unpack_from(">Q", r.results, 8)[0], vid)
# the same incarnation knows its verifier and may come from elsewhere: it has two ways to the server
other = Conn(addr, source="127.8.0.2")
r = other.compound(2, [exchange_id(verf, name)])
want("from its second address", struct.unpack_from(">Q", r.results, 8)[0], vid)
want("with a session", other.compound(2, [create_session(vid, seq + 1)]).status, 0)
# where it was known, it may have restarted
r = vc.compound(2, [exchange_id(b"restart!", name)])
nid, nseq = struct.unpack_from(">QI", r.results, 8)
want("a restart of its own", vc.compound(2, [create_session(nid, nseq)]).status, 0)
want("which ended what was before", as_victim([putfh(file), getattr_(16)]).status, 10052)

v40, t40 = Conn(addr, source="127.8.0.1"), Conn(addr, source="127.66.0.1")
k = Client40(v40, b"the victim's 4.0 name")
st, sid, fh = k.open(v1, b"file")
want("4.0: the victim opens", st, 0)
want("4.0: a restart of it, it seems", t40.compound(0, [setclientid(b"guessed!", b"the victim's 4.0 name")]).status, DELAY)
want("4.0: the victim goes on", v40.compound(0, [putfh(fh), read(sid, 0, 1)]).status, 0)
want("4.0: a restart of its own", v40.compound(0, [setclientid(b"guessed!", b"the victim's 4.0 name")]).status, 0)
# who waits until the lease is over gets the name: a machine may have got another address
end = time.monotonic() + 60
st = None
while st != 0 and time.monotonic() < end:
    st = t40.compound(0, [setclientid(b"guessed!", b"the victim's 4.0 name")]).status
    time.sleep(0.2)
want("4.0: and when the lease is over", st, 0)
# stateids of one client are not 1, 2, 3
k = Client40(v40, b"many opens")
ids = [struct.unpack(">IIII", k.open(v1, b"n%d" % i)[1])[3] for i in range(20)]
want("stateids cannot be counted up", sum(abs(x - y) < 1000 for i, x in enumerate(ids) for y in ids[:i]) < 3, True)
cases.group("another machine's root does not get at a client by its name", 18)

# --- delegations, and opens by handle ---
WANT_WRITE = 0x200


class Holder:
    """A 4.2 client that can be called back."""
    def __init__(self, source):
        self.c, self.seq = Conn(addr, source=source), 0
        self.c.s.settimeout(60)
        r = self.c.compound(2, [exchange_id(os.urandom(8), b"holder " + source.encode())])
        self.id, seq = struct.unpack_from(">QI", r.results, 8)
        chan = u32(0) + u32(1 << 20) + u32(1 << 20) + u32(4096) + u32(16) + u32(16) + u32(0)
        r = self.c.compound(2, [u32(43) + u64(self.id) + u32(seq) + u32(2) + chan + chan + u32(0x40000000) + u32(1) + u32(0)])
        self.session = r.results[8:24]
        self.calls = []
        self.run([u32(58) + u32(0)])

    def _reply(self):
        """The next reply; what calls back meanwhile is answered with OK."""
        while True:
            body = self.c.recv()
            if body[4:8] == u32(0):
                return self._call(body)
            return Reply(body)

    def _call(self, body):
        # xid CALL 2 prog vers proc cred verf, tag minor ident n, CB_SEQUENCE: session seq slot highest cache lists, then the rest
        self.calls.append(body)
        at = body.index(u32(11) + self.session)
        seq, slot, highest = struct.unpack_from(">III", body, at + 20)
        op, = struct.unpack_from(">I", body, at + 20 + 16 + 4)
        res = u32(11) + u32(0) + self.session + u32(seq) + u32(slot) + u32(highest) + u32(highest) + u32(op) + u32(0)
        self.c.send(record(body[:4] + u32(1) + u32(0) + u32(0) + u32(0) + u32(0) + u32(0) + u32(0) + u32(2) + res))
        return None

    def run(self, ops):
        self.seq += 1
        self.c.send(record(call_bytes(self.seq, 2, [sequence(self.session, self.seq, 0)] + ops)))
        r = None
        while r is None:
            r = self._reply()
        self.reply = r
        return r.status

    def open(self, claim, want=WANT_WRITE, fh=None, how=u32(0)):
        """OPEN for reading and writing; the delegation's stateid if there is one."""
        st = self.run([putfh(fh or v1), u32(18) + u32(0) + u32(3 | want) + u32(0) + u64(self.id) + opaque(b"o") + how + claim,
                       getfh()])
        if st:
            return st, None
        b = self.reply.results[44 + 8:]  # after SEQUENCE and PUTFH
        at = 8 + 16 + 20 + 4
        n, = struct.unpack_from(">I", b, at)
        at += 4 + 4 * n
        kind, = struct.unpack_from(">I", b, at)
        return st, b[at + 4:at + 20] if kind in (1, 2) else None

    def recalled(self, seconds=60):
        """Waits until it was called back; how often."""
        end = time.monotonic() + seconds
        while not self.calls and time.monotonic() < end:
            self.run([])  # which renews the lease, and sees what came before the reply
            time.sleep(0.05)
        return len(self.calls)


def delegreturn(sid):
    return u32(8) + sid


CLAIM_FH = u32(4)
CREATE = u32(1) + u32(0) + bitmap([0, 2]) + opaque(u32(0o666))
for what, options in (("revoked", ()), ("over", ("--expires", "6s")), ("ro now", ()), ("squashed now", ())):
    gid = cli.grant("127.30.0.0/16", "alice/v1", *options)
    h = Holder("127.30.0.1")
    st, deleg = h.open(u32(0) + opaque(what.encode()), how=CREATE)
    want("%s: a write delegation" % what, (st, deleg is not None), (0, True))
    fh = last_handle(h.reply.results)
    want("%s: written with it" % what, h.run([putfh(fh), write(deleg or ANON, 0, 2, b"mine")]), 0)
    if what == "revoked":
        cli("revoke", gid)
    elif what == "ro now":
        cli.grant("127.30.0.0/16", "alice/v1", "--ro")
    elif what == "squashed now":
        cli.grant("127.30.0.0/16", "alice/v1", "--squash", "all")
    want("%s: it is recalled" % what, h.recalled() > 0, True)
    refused = {"revoked": ACCESS, "over": ACCESS, "ro now": ROFS}.get(what, 0)
    want("%s: WRITE by it" % what, h.run([putfh(fh), write(deleg or ANON, 0, 2, b"evil")]), refused)
    want("%s: OPEN of the handle" % what, h.open(CLAIM_FH, 0x400, fh)[0], refused)
    want("%s: OPEN of the delegation" % what, h.open(u32(5) + (deleg or ANON), 0x400, fh)[0], refused)
    want("%s: READ by it" % what, h.run([putfh(fh), read(deleg or ANON, 0, 4)]), refused if refused == ACCESS else 0)
    want("%s: it can be given back" % what, h.run([putfh(fh), delegreturn(deleg or ANON)]), 0)
    want("%s: others get at the file" % what, admin.run([putfh(fh), write(ANON, 0, 2, b"text")])[0], 0)
    cli("revoke", "127.30.0.0/16", "alice/v1", check=False)
cases.group("delegations go back when grants do", 36)
