# SPDX-License-Identifier: Apache-2.0
"""Ways around grants that must not work.

    attacks.py PORT VOLNFS STORE LOG
"""
import random
import sys
import time

from wire import *

addr = ("127.0.0.1", int(sys.argv[1]))
cli = Cli(sys.argv[2], sys.argv[3])
log = sys.argv[4]
cases = Cases()
want = cases.want
rnd = random.Random(6)

cli("grant", "127.0.0.1", "/", "--create")
cli("revoke", "127.0.0.0/8", "/")
admin = At(addr, "127.0.0.1")
for name in ("alice/v1", "alice/v2", "bob/v3"):
    cli("create", name, "--mode", "0777", "--owner", "1000:1000")
v1 = admin.walk(b"alice", b"v1")[1]
v2 = admin.walk(b"alice", b"v2")[1]
runs = make_dir(admin, v1, b"runs", 0o777)
r42 = make_dir(admin, runs, b"42", 0o777)
sub = make_dir(admin, r42, b"sub", 0o777)
deep = make_dir(admin, sub, b"deep", 0o777)
secret_dir = make_dir(admin, v1, b"secret", 0o777)
secret_file = make_file(admin, secret_dir, b"key", b"SECRET" * 100, 0o666)
inside = make_file(admin, sub, b"inside", b"inside", 0o666)
other = make_file(admin, v2, b"other", b"other", 0o666)
admin.run([putfh(sub), symlink(b"out", b"../../../secret/key")])
admin.run([putfh(sub), symlink(b"abs", b"/alice/v1/secret/key")])


def tok(*args):
    return cli.token(*args)


# --- a token on a folder ---
tid, t = tok("alice/v1", "--subpath", "runs/42")
s = At(addr, "127.5.0.1")
st, top = s.walk(b"token", t)
want("the token's directory", st, 0)
want("no way above it", s.run([putfh(top), lookupp()])[0], NOENT)
for name in (b"..", b"."):
    want("no %r" % name, s.run([putfh(top), lookup(name)])[0] != 0, True)
for path in ((b"secret",), (b"runs",), (b".snapshots",), (b"../secret",), (b"sub", b"..", b".."),
             (b"sub", b"out", b"key"), (b"sub", b"abs", b"key")):
    st = s.run([putfh(top)] + [lookup(x) for x in path] + [getfh()])[0]
    want("no way by %r" % (path,), st != 0, True)
st = s.walk(b"token", t, b"sub", b"out")[0]
want("a symbolic link is a link, not what it names", s.run([putfh(s.last_fh()), read(ANON, 0, 10)])[0] != 0, True)
mysub = s.walk(b"token", t, b"sub")[1]
mydeep = s.walk(b"token", t, b"sub", b"deep")[1]
myinside = s.walk(b"token", t, b"sub", b"inside")[1]
want("up inside", s.run([putfh(mydeep), lookupp(), getfh()]), (0, 3))
want("is the same directory", s.last_fh(), mysub)
want("up to the top", s.run([putfh(mysub), lookupp(), getfh()]), (0, 3))
want("which is the top", s.last_fh(), top)
for fh in (v1, runs, r42, sub, secret_dir, secret_file, inside, other):
    want("others' handles are nothing to it", s.run([putfh(fh), getattr_(16)])[0], ACCESS)
    want("nor to save and restore", s.run([putfh(fh), savefh(), putfh(top), restorefh(), getattr_(16)])[0], ACCESS)
want("nor to link from", s.run([putfh(secret_file), savefh(), putfh(top), link(b"stolen")])[0], ACCESS)
want("nor to rename from", s.run([putfh(secret_dir), savefh(), putfh(top), rename(b"key", b"stolen")])[0], ACCESS)
want("nor to copy from", s.run([putfh(secret_file), savefh(), putfh(myinside), copy(10)])[0], ACCESS)
want("nor to clone from", s.run([putfh(secret_file), savefh(), putfh(myinside), clone(0)])[0], ACCESS)
want("nor to rename to", s.run([putfh(mysub), savefh(), putfh(secret_dir), rename(b"inside", b"x")])[0], ACCESS)
want("nor to copy to", s.run([putfh(myinside), savefh(), putfh(secret_file), copy(10)])[0], ACCESS)
cases.group("a token on a folder stays in it", 30)

# --- between grants: both are good, and still nothing goes from one to the other ---
t2id, t2 = tok("alice/v1", "--subpath", "secret")
key2 = s.walk(b"token", t2, b"key")[1]
dir2 = s.walk(b"token", t2)[1]
want("the second token works", s.run([putfh(key2), read(ANON, 0, 6)])[0], 0)
want("LINK between tokens", s.run([putfh(key2), savefh(), putfh(top), link(b"stolen")])[0], XDEV)
want("RENAME between tokens", s.run([putfh(dir2), savefh(), putfh(top), rename(b"key", b"stolen")])[0], XDEV)
want("COPY between tokens", s.run([putfh(key2), savefh(), putfh(myinside), copy(10)])[0], XDEV)
want("CLONE between tokens", s.run([putfh(key2), savefh(), putfh(myinside), clone(0)])[0], XDEV)
cli.grant("127.5.0.0/16", "alice/v2")
want("LINK from a network's grant", s.run([putfh(other), savefh(), putfh(top), link(b"x")])[0], XDEV)
want("COPY from a network's grant", s.run([putfh(other), savefh(), putfh(myinside), copy(5)])[0], XDEV)
want("COPY to a network's grant", s.run([putfh(myinside), savefh(), putfh(other), copy(5)])[0], XDEV)
cli("revoke", t2id)
want("the other token goes on", s.run([putfh(myinside), read(ANON, 0, 6)])[0], 0)
want("the revoked one does not", s.run([putfh(key2), read(ANON, 0, 6)])[0], ACCESS)
cases.group("nothing goes from one grant to another", 9)

# --- moved out while it is held ---
st, _ = s.run([putfh(myinside), open_fh(s, 3), getfh()])
want("an open file", st, 0)
admin.run([putfh(r42), savefh(), putfh(secret_dir), rename(b"sub", b"sub")])
make_file(admin, sub, b"later", b"later", 0o666)
for what, ops in (("GETATTR", [getattr_(16)]), ("LOOKUP", [lookup(b"later")]), ("LOOKUPP", [lookupp()]),
                  ("READDIR", [readdir(0, bytes(8), 0, 4096, [0])]), ("make", [mkdir(b"x")]),
                  ("OPEN", [open_name(s, 1, b"later")])):
    want("%s of a directory that was moved out" % what, s.run([putfh(mysub)] + ops)[0], ACCESS)
    want("%s of one below it" % what, s.run([putfh(mydeep)] + ops)[0], ACCESS)
want("by the old name", s.walk(b"token", t, b"sub")[0], NOENT)
want("the file it had is still its file", s.run([putfh(myinside), read(ANON, 0, 6)])[0], 0)
admin.run([putfh(secret_dir), savefh(), putfh(r42), rename(b"sub", b"sub")])
want("back again", s.run([putfh(mysub), lookup(b"later")])[0], 0)
# the folder itself is moved, and another takes its name
admin.run([putfh(runs), savefh(), putfh(v1), rename(b"42", b"old42")])
want("the folder is gone", s.run([putfh(top), getattr_(16)])[0], ACCESS)
want("and its token's way", s.walk(b"token", t)[0], NOENT)
new42 = make_dir(admin, runs, b"42", 0o777)
want("another has its name: the old is not it", s.run([putfh(top), getattr_(16)])[0], ACCESS)
want("the new is", s.walk(b"token", t)[0], 0)
admin.run([putfh(runs), remove(b"42"), savefh()])
admin.run([putfh(v1), savefh(), putfh(runs), rename(b"old42", b"42")])
want("the old is back", s.run([putfh(top), getattr_(16)])[0], 0)
cases.group("a directory that is moved out of the folder is out of reach", 15)

# --- a network's grant on a folder ---
gid = cli.grant("127.6.0.0/16", "alice/v1/runs/42", "--ro")
n = At(addr, "127.6.0.1")
w = At(addr, "127.7.0.1")
want("the way", n.walk(b"alice", b"v1", b"runs", b"42", b"sub")[0], 0)
nsub = n.last_fh()
for path in ((b"secret",), (b".snapshots",), (b"runs", b"43")):
    want("nothing beside it: %r" % (path,), n.walk(b"alice", b"v1", *path)[0], NOENT)
want("the volume shows the way only", n.names(n.walk(b"alice", b"v1")[1]), (0, [b"runs"]))
want("others' handles", n.run([putfh(sub), getattr_(16)])[0], ACCESS)
want("its handle for another network", w.run([putfh(nsub), getattr_(16)])[0], ACCESS)
want("its handle for a holder of a token", s.run([putfh(nsub), getattr_(16)])[0], ACCESS)
want("nothing is written", n.run([putfh(nsub), mkdir(b"x")])[0], ROFS)
cli.grant("127.6.0.0/16", "alice/v1/runs/42")
want("until the grant says so: its handles go on", n.run([putfh(nsub), mkdir(b"x"), putfh(nsub), remove(b"x")])[0], 0)
cli("revoke", gid)
want("revoked", n.run([putfh(nsub), getattr_(16)])[0], ACCESS)
want("and no way", n.walk(b"alice")[0], NOENT)
cases.group("a network's grant on a folder", 11)

# --- forged handles ---
bad = 0
base = [s.walk(b"token", t, b"sub")[1], v1, sub, secret_file, admin.walk()[1]]
for i in range(20000):
    if i % 4 == 0:
        fh = bytearray(rnd.randbytes(rnd.choice((0, 1, 8, 31, 32, 33, 40, 47, 48, 49, 64, 128))))
    else:
        fh = bytearray(rnd.choice(base))
        for _ in range(rnd.choice((1, 1, 1, 2, 8))):
            bit = rnd.randrange(len(fh) * 8)
            fh[bit // 8] ^= 1 << bit % 8
    if bytes(fh) in base:
        continue
    if s.run([putfh(bytes(fh))])[0] != BADHANDLE:
        bad += 1
want("forged handles taken", bad, 0)
# the grant of another handle put into it, the MAC kept
a, b = base[0], s.walk(b"token", t)[1]
want("parts of two handles", s.run([putfh(a[:32] + b[32:40] + a[40:])])[0] in (0, BADHANDLE), True)
want("without its grant", s.run([putfh(b"\x01" + a[1:24] + a[40:])])[0], BADHANDLE)
want("with another grant", s.run([putfh(a[:32] + u64(1) + a[40:])])[0], BADHANDLE)
cases.group("20,000 forged handles", 4)

# --- somebody else's session, client and stateid ---
gid = cli.grant("127.8.0.0/16", "alice/v2")
victim, thief = At(addr, "127.8.0.1"), Conn(addr, source="127.66.0.1")
st, _ = victim.run([putfh(other), open_fh(victim, 3), getfh()], uid=1000)
stateid = victim.reply.results[44 + 8 + 8:44 + 8 + 8 + 16]
want("the victim's open", (st, victim.run([putfh(other), read(stateid, 0, 5)], uid=1000)[0]), (0, 0))


def stolen(ops, uid, seq, slot):
    return thief.compound(2, [sequence(victim.id, seq, slot)] + ops, cred=cred_sys(uid))


for i, ops in enumerate(([read(stateid, 0, 5)], [write(stateid, 0, 2, b"evil!")], [setmode(0)], [lookupp()])):
    r = stolen([putfh(other)] + ops, 1000, i + 1, 5)
    want("a stolen session, where nothing is granted", r.status, ACCESS)
r = stolen([putrootfh(), lookup(b"alice")], 0, 5, 5)
want("shows it nothing", r.status, NOENT)
# where something is granted, but the thief is somebody else: the stateid does not lend him the owner's rights
admin.run([putfh(other), setmode(0o600)])
admin.run([putfh(other), setattr_(ANON, [0, 16 + 32], opaque(b"1000") + opaque(b"1000"))])
near = At(addr, "127.8.0.2")
want("another client's stateid", near.run([putfh(other), read(stateid, 0, 5)], uid=2000)[0] != 0, True)
want("another client's stateid, and another user's", near.run([putfh(other), write(stateid, 0, 2, b"evil!")], uid=2000)[0] != 0,
     True)
r = victim.run([putfh(other), read(stateid, 0, 5)], uid=2000)
want("another user on the same client", r[0], ACCESS)
want("the owner himself", victim.run([putfh(other), read(stateid, 0, 5)], uid=1000)[0], 0)
# a kept reply is not for other credentials
ops = [putfh(other), setmode(0o600)]
r1 = victim.c.compound(2, [sequence(victim.id, 1, 9, cache=1)] + ops, cred=cred_sys(1000))
r2 = thief.compound(2, [sequence(victim.id, 1, 9, cache=1)] + ops, cred=cred_sys(2000))
want("a kept reply", (r1.status, r2.status != 0), (0, True))
# the client id itself
r = thief.compound(2, [exchange_id(bytes(8), b"grants-127.8.0.1")], cred=cred_sys(2000))
want("a new client of the victim's name is not the victim", struct.unpack_from(">Q", r.results, 8)[0] != victim.client, True)
want("the victim goes on", victim.run([putfh(other), read(stateid, 0, 5)], uid=1000)[0], 0)
# 4.0: stateids of another client, other credentials
c40 = Conn(addr, source="127.8.0.3")
k = Client40(c40, b"victim40")
st, sid, fh = k.open(v2, b"forty", access=3)
admin.run([putfh(v2), lookup(b"forty"), setmode(0o600)])
t40 = Conn(addr, source="127.8.0.4")
want("4.0: the owner's stateid with another user's credentials",
     t40.compound(0, [putfh(fh), read(sid, 0, 1)], cred=cred_sys(2000)).status, ACCESS)
t40 = Conn(addr, source="127.66.0.2")
want("4.0: from where nothing is granted", t40.compound(0, [putfh(fh), read(sid, 0, 1)]).status, ACCESS)
cases.group("another client's session, stateid and kept reply", 15)

# --- snapshots of a revoked volume ---
cli("snapshot", "create", "alice/v2@s")
st, snap = victim.walk(b"alice", b"v2@s")
want("the snapshot", st, 0)
snapfile = victim.walk(b"alice", b"v2", b".snapshots", b"s")[1]
cli("revoke", gid)
want("the snapshot of a revoked volume", victim.run([putfh(snap), getattr_(16)])[0], ACCESS)
want("by .snapshots", victim.run([putfh(snapfile), getattr_(16)])[0], ACCESS)
want("by name", victim.walk(b"alice", b"v2@s")[0], NOENT)
sid2 = cli.grant("127.8.0.0/16", "alice/v2@s", "--ro")
want("granted alone", victim.run([putfh(snap), lookup(b"forty")])[0], 0)
want("its volume is not", victim.run([putfh(v2), getattr_(16)])[0], ACCESS)
want("nor is it there", victim.walk(b"alice", b"v2")[0], NOENT)
want("nor above the snapshot", victim.run([putfh(snap), lookupp(), getattr_(16)])[0], ACCESS)
want("nothing is listed", victim.names(victim.walk(b"alice")[1]), (0, []))
cases.group("snapshots", 8)

# --- squash ---
d = make_dir(admin, v1, b"squash", 0o777)


def owner_of(s, fh):
    r = s.compound([putfh(fh), getattr_(0, 16 + 32)], cred=cred_sys(0))
    i = r.results.rindex(u32(2) + u32(0) + u32(48))
    n, = struct.unpack_from(">I", r.results, i + 16)
    o = r.results[i + 20:i + 20 + n]
    j = i + 20 + n + -n % 4
    m, = struct.unpack_from(">I", r.results, j)
    return o.decode() + ":" + r.results[j + 4:j + 4 + m].decode()


q = At(addr, "127.10.0.1")
serial = 0
for options, uid, gid_, groups, owner in (
        ((), 0, 0, (), "0:0"), ((), 77, 78, (), "77:78"),
        (("--squash", "root"), 0, 0, (), "65534:65534"), (("--squash", "root"), 77, 78, (), "77:78"),
        (("--squash", "root"), 77, 0, (0,), "77:65534"), (("--squash", "root", "--anon", "5:6"), 0, 0, (), "5:6"),
        (("--squash", "all"), 0, 0, (), "1000:1000"), (("--squash", "all"), 77, 78, (0,), "1000:1000"),
        (("--squash", "all", "--anon", "5:6"), 77, 78, (), "5:6")):
    cli.grant("127.10.0.1", "alice/v1", *options)
    serial += 1
    st, _ = q.run([putfh(d), mkdir(b"s%d" % serial), getfh()], uid=uid, gid=gid_, groups=groups)
    fh = q.last_fh()
    want("made with %s by %d:%d" % (options, uid, gid_), (st, owner_of(admin, fh)), (0, owner))
cli.grant("127.10.0.1", "alice/v1", "--squash", "root")
hidden = make_file(admin, d, b"rootonly", b"r", 0o600)
group0 = make_file(admin, d, b"group0", b"r", 0o640)
want("root's file for a squashed root", q.run([putfh(hidden), read(ANON, 0, 1)], uid=0)[0], ACCESS)
want("chown by a squashed root", q.run([putfh(hidden), setmode(0o666)], uid=0)[0], 1)
want("group 0 among the groups", q.run([putfh(group0), read(ANON, 0, 1)], uid=77, gid=0, groups=(0,))[0], ACCESS)
# two volumes that map users differently: what the one's mapping may is not what the other's may
cli.grant("127.10.0.1", "alice/v2", "--squash", "none")
target = make_file(admin, v2, b"target", b"", 0o666)
want("COPY from where root is squashed to where it is not",
     q.run([putfh(hidden), savefh(), putfh(target), copy(1)], uid=0)[0], XDEV)
cases.group("squash", 13)

# --- secrets ---
want("no listing of tokens", admin.names(admin.walk(b"token")[1]), (0, []))
st, names = admin.names(admin.walk()[1])
want("nor of their directory", b"token" in names, False)
for ops in ([mkdir(b"x")], [remove(t)], [symlink(b"x", b"y")]):
    st = s.run([putfh(s.walk(b"token")[1])] + ops)[0]
    want("nothing is made or removed there", st in (ACCESS, ROFS, NOENT), True)
want("no user called token", cli("create", "token/x", check=False).returncode != 0, True)
want("nor by mkdir", admin.run([putrootfh(), mkdir(b"token")])[0], EXIST)
g = At(addr, "127.99.0.1")
got = [g.walk(b"token", b"%d.%s" % (int(tid), b"A" * 43))[0] for _ in range(40)]
want("guesses", (set(got), got[:10], got[-1]), ({NOENT, DELAY}, [NOENT] * 10, DELAY))
want("the right one has to wait, too", g.walk(b"token", t)[0], DELAY)
want("others do not", s.walk(b"token", t)[0], 0)
text = open(log, errors="replace").read()
want("said once", text.count("127.99.0.1 tries tokens"), 1)
want("no secret is in the log", [x for x in (t, t2) if x.split(b".")[1].decode() in text], [])
files = b"".join(open(os.path.join(sys.argv[3], f), "rb").read() for f in os.listdir(sys.argv[3]) if f.startswith("state.db"))
want("nor in the store", t.split(b".")[1] in files, False)
want("nor shown", t.split(b".")[1].decode() in cli("grants", "--json"), False)
cases.group("secrets", 12)

# --- ends with what it is on ---
cli("destroy", "bob/v3")
_, t3 = tok("alice/v2")
st, h3 = s.walk(b"token", t3)
cli("destroy", "alice/v2")
want("the token of a volume that is gone", s.walk(b"token", t3)[0], NOENT)
cli("create", "alice/v2", "--mode", "0777")
want("another of its name is another", s.walk(b"token", t3)[0], NOENT)
want("nor does a handle reach it", s.run([putfh(h3), getattr_(16)])[0], STALE)
want("its grants are gone", [x for x in json.loads(cli("grants", "alice/v2", "--json")) if x["object"] == "alice/v2"], [])
cases.group("grants end with their volume", 4)
