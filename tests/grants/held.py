# SPDX-License-Identifier: Apache-2.0
"""What clients hold when their grants go, and what others may do to it.

    held.py PORT VOLNFS STORE HANDLES          leaves handles there for
    held.py PORT VOLNFS STORE HANDLES again    after a restart of the server
"""
import json
import os
import socket
import sys
import time

from wire import *

addr = ("127.0.0.1", int(sys.argv[1]))
cli = Cli(sys.argv[2], sys.argv[3])
cases = Cases()
want = cases.want


def again():
    """Handles are good as long as their grants are, and no grant takes the place of one that is gone."""
    with open(sys.argv[4]) as f:
        live, gone, whole, tid = json.load(f)
    live, gone, whole = map(bytes.fromhex, (live, gone, whole))
    s = At(addr, "127.41.0.1")
    want("a handle of a token", s.run([putfh(live), getattr_(16)])[0], 0)
    want("no way above it", s.run([putfh(live), lookupp()])[0], NOENT)
    want("one of a token that was taken back", s.run([putfh(gone), getattr_(16)])[0], ACCESS)
    want("one of the volume, with nothing but the token", s.run([putfh(whole), getattr_(16)])[0], ACCESS)
    made = [cli.token("alice/v1", "--subpath", "a")[0] for _ in range(3)]
    want("new tokens have new numbers", [n for n in made if int(n) <= int(tid)], [])
    want("what was taken back stays so", s.run([putfh(gone), getattr_(16)])[0], ACCESS)
    for fh in (live, gone, whole):
        for bit in range(len(fh) * 8):
            bad = bytearray(fh)
            bad[bit // 8] ^= 1 << bit % 8
            want("a forged handle", s.run([putfh(bytes(bad)), getattr_(16)])[0], 10001)
    cases.group("handles after a restart", 700)


if sys.argv[5:] == ["again"]:
    again()
    sys.exit()

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
# nor may who has no grant keep a name from who has one
squat = Conn(addr, source="127.66.0.1")
tid, tseq = struct.unpack_from(">QI", squat.compound(2, [exchange_id(b"squatter", b"a free name")]).results, 8)
want("a name that is free", squat.compound(2, [create_session(tid, tseq)]).status, 0)
nid, nseq = struct.unpack_from(">QI", vc.compound(2, [exchange_id(b"rightful", b"a free name")]).results, 8)
want("is taken by who has a grant", vc.compound(2, [create_session(nid, nseq)]).status, 0)
Client40(t40, b"a free 4.0 name")
want("4.0, too", v40.compound(0, [setclientid(b"rightful", b"a free 4.0 name")]).status, 0)
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
cases.group("another machine's root does not get at a client by its name", 22)

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

# --- copies that go on by themselves ---
def told(h):
    """What CB_OFFLOAD said: status, and bytes copied if that is bad."""
    body = h.calls[-1]
    at = body.index(u32(11) + h.session) + 20 + 16 + 4
    op, n = struct.unpack_from(">II", body, at)
    at += 8 + n + -n % 4 + 16
    status, done = struct.unpack_from(">IQ", body, at)
    return (op, status), done if status else 0


huge, target = make_file(admin, v1, b"huge", b"", 0o666), make_file(admin, v1, b"target", b"", 0o666)
want("a file without an end, nearly", admin.run([putfh(huge), setsize(1 << 45)])[0], 0)
for what, before, after, status in (("as before", ("--squash", "all"), None, 0),
                                    ("mapped by now", (), ("--squash", "all"), ACCESS),
                                    ("no longer mapped", ("--squash", "all"), (), ACCESS),
                                    ("mapped to another", ("--squash", "all"), ("--squash", "all", "--anon", "7:7"), ACCESS),
                                    ("ro now", (), ("--ro",), ROFS)):
    cli.grant("127.32.0.0/16", "alice/v1", *before)
    h = Holder("127.32.0.1")
    size = 1 << 44 if after is not None else 40 << 20
    want("%s: it begins" % what, h.run([putfh(huge), savefh(), putfh(target),
                                        u32(60) + ANON + ANON + u64(0) + u64(1) + u64(size) + u32(1) + u32(0) + u32(0)]), 0)
    sid = h.reply.results[-44:-28]
    done = 0
    while after is not None and not done and not h.calls:
        want("%s: it is under way" % what, h.run([putfh(target), u32(67) + sid]), 0)
        done, = struct.unpack_from(">Q", h.reply.results, 44 + 8 + 8)
    if after is not None:
        cli.grant("127.32.0.0/16", "alice/v1", *after)
    want("%s: the client is told" % what, h.recalled() > 0, True)
    how, done = told(h) if h.calls else (None, 0)
    want("%s: how it ended" % what, (how, 0 < done < size), ((15, status), status != 0))
    cli("revoke", "127.32.0.0/16", "alice/v1")
    want("%s: made small again" % what, admin.run([putfh(target), setsize(0)])[0], 0)
cases.group("copies go on as who began them, or not at all", 24)

# --- two folders of a volume for one network, and nothing beside them ---
secret = make_dir(admin, v1, b"secret", 0o777)
dir_a, dir_b = make_dir(admin, v1, b"a", 0o777), make_dir(admin, v1, b"b", 0o777)
make_file(admin, dir_a, b"fa", b"A", 0o666)
make_file(admin, dir_b, b"fb", b"B", 0o666)
cli("create", "carol/hidden", "--mode", "0777")
cli("snapshot", "create", "alice/v1@s")
cli.grant("127.40.0.0/16", "alice/v1/a")
cli.grant("127.40.0.0/16", "alice/v1/b", "--ro")
s = At(addr, "127.40.0.1")
way = s.walk(b"alice", b"v1")[1]
a, b = s.walk(b"alice", b"v1", b"a")[1], s.walk(b"alice", b"v1", b"b")[1]
fa, fb = s.walk(b"alice", b"v1", b"a", b"fa")[1], s.walk(b"alice", b"v1", b"b", b"fb")[1]
want("RENAME from one to the other", s.run([putfh(a), savefh(), putfh(b), rename(b"fa", b"x")])[0], XDEV)
want("LINK", s.run([putfh(fa), savefh(), putfh(b), link(b"x")])[0], XDEV)
want("LINK back", s.run([putfh(fb), savefh(), putfh(a), link(b"x")])[0], XDEV)
want("CLONE", s.run([putfh(fb), savefh(), putfh(fa), clone(0)])[0], XDEV)
want("RENAME above them", s.run([putfh(way), savefh(), putfh(way), rename(b"a", b"c")])[0], ACCESS)


def secinfo(name):
    return u32(33) + opaque(name)


for what, ops in (("LOOKUP", lambda n: [lookup(n)]), ("SECINFO", lambda n: [secinfo(n)]), ("OPEN", lambda n: [open_name(s, 1, n)]),
                  ("REMOVE", lambda n: [remove(n)]), ("CREATE", lambda n: [mkdir(n)]),
                  ("OPEN to make", lambda n: [open_name(s, 3, n, True)])):
    got = [s.run([putfh(way)] + ops(n))[0] for n in (b"secret", b"nothing", b".snapshots")]
    want("%s: what is not granted looks like what is not there" % what, (len(set(got)), got[0] in (2, ACCESS)), (1, True))
want("READDIR", [s.names(way), s.names(s.walk(b"alice")[1]), s.names(s.walk()[1])],
     [(0, [b"a", b"b"]), (0, [b"v1"]), (0, [b"alice"])])
for ops in ([listxattrs()], [getxattr(b"user.x")], [u32(19) + u32(0)], [setmode(0o777)]):
    want("nothing is read of the directory above", s.run([putfh(way)] + ops)[0] != 0, True)
want("ACCESS tells that it is for going through", (s.run([putfh(way), access(63)])[0], s.reply.results[-4:]), (0, u32(3)))
for path in ((b"carol",), (b"alice", b"v1@s"), (b"alice", b"v1", b"a", b".snapshots")):
    want("not there: %r" % (path,), s.walk(*path)[0], NOENT)
want("SECINFO of another user", s.run([putrootfh(), secinfo(b"carol")])[0], NOENT)
want("PUTPUBFH is no other root", s.run([u32(23), lookup(b"carol")])[0], NOENT)
want("no way up", (s.run([putfh(a), lookupp()])[0], s.run([putfh(a), u32(52) + u32(1)])[0]), (NOENT, NOENT))
tid, t = cli.token("alice/v1", "--subpath", "a")
x = At(addr, "127.41.0.1")
top = x.walk(b"token", t)[1]
want("nor with a token", (x.run([putfh(top), lookupp()])[0], x.run([putfh(top), u32(52) + u32(1)])[0]), (NOENT, NOENT))
cases.group("two folders of one volume", 22)

gone_id, t = cli.token("alice/v1", "--subpath", "a")
gone = x.walk(b"token", t)[1]
cli("revoke", gone_id)
with open(sys.argv[4], "w") as f:
    json.dump([top.hex(), gone.hex(), v1.hex(), gone_id], f)

# --- the control socket: rubbish, and peers that do not read or write ---
path = os.path.join(sys.argv[3], "control.sock")


def control(raw):
    """What came back: the bytes of a reply, or b"" when the connection was closed."""
    k = socket.socket(socket.AF_UNIX)
    k.settimeout(60)
    try:
        k.connect(path)
        k.sendall(raw)
        mark = k.recv(4, socket.MSG_WAITALL)
        return k.recv(struct.unpack(">I", mark)[0] & 0x7fffffff, socket.MSG_WAITALL) if len(mark) == 4 else b""
    except ConnectionError:
        return b""
    finally:
        k.close()


def call(proc, args):
    return record(u32(7) + u32(0) + u32(2) + u32(0x20566e66) + u32(1) + u32(proc) + bytes(16) + args)


want("nobody else gets at the store's folder", os.stat(sys.argv[3]).st_mode & 0o77, 0)
for proc in list(range(60)) + [0xffffffff]:
    for args in (b"", b"\xff" * 4, u32(0xffffffff) + b"x" * 64, u32(1 << 20) + bytes(1 << 20), opaque(b"../../../x"),
                 opaque(b"a" * 5000), os.urandom(1000)):
        want("procedure %d is answered" % proc, len(control(call(proc, args))) >= 24, True)
want("a record without end", control(struct.pack(">I", 0xffffffff) + b"x" * 100), b"")
held = []
for i in range(600):
    k = socket.socket(socket.AF_UNIX)
    k.settimeout(10)
    try:
        k.connect(path)
        k.send(call(30, u32(127)) * 20 if i % 10 == 0 else struct.pack(">I", 0x80000000 | 100000) + b"x" * 50)
    except OSError:
        pass
    held.append(k)
want("the administrator is served beside them", cli("status", "-j", check=False).returncode, 0)
want("and clients are", admin.run([putfh(v1), getattr_(16)])[0], 0)
for k in held:
    k.close()
cases.group("the control socket", 400)
