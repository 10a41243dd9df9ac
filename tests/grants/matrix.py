# SPDX-License-Identifier: Apache-2.0
"""Every subject, object, right and operation: exactly what is granted succeeds; nothing after a revocation or an end.

    matrix.py PORT VOLNFS STORE
A subject is a network or a token. An object is the server, a user, a volume, a snapshot, a folder. A place is a directory
with two files and a symbolic link: in the granted volume, in a folder of it, in another volume of the user, in another
user's, in a snapshot. Each operation is tried with the handles that an administrator has, and with those that the
subject finds on its own way.
"""
import sys
import time

from wire import *

addr = ("127.0.0.1", int(sys.argv[1]))
cli = Cli(sys.argv[2], sys.argv[3])
cases = Cases()
NOTHING, WAY, READ, WRITE = range(4)

cli("grant", "127.0.0.1", "/", "--create")
cli("revoke", "127.0.0.0/8", "/")
admin = At(addr, "127.0.0.1")

PATHS = {"v1": (b"alice", b"v1"), "folder": (b"alice", b"v1", b"runs", b"42"), "v2": (b"alice", b"v2"),
         "v3": (b"bob", b"v3"), "snap": (b"alice", b"v1@s")}
for name in ("alice/v1", "alice/v2", "bob/v3"):
    cli("create", name, "--mode", "0777", "--owner", "0:0")
_, v1 = admin.walk(b"alice", b"v1")
make_dir(admin, make_dir(admin, v1, b"runs"), b"42")
for place in ("v1", "folder", "v2", "v3"):
    d = admin.walk(*PATHS[place])[1]
    f = make_file(admin, d, b"f", b"x" * 8192)
    make_file(admin, d, b"f2", b"y" * 8192)
    assert admin.run([putfh(d), symlink(b"l", b"f"), putfh(d), symlink(b"r", b"f")])[0] == 0
    assert admin.run([putfh(f), setxattr(b"a", b"1")])[0] == 0
cli("snapshot", "create", "alice/v1@s")


def handles(s, path):
    """The handles of a place on a client's way, or the status."""
    out = {}
    for key, more in (("d", ()), ("f", (b"f",)), ("f2", (b"f2",)), ("l", (b"l",))):
        st, fh = s.walk(*path, *more)
        if st:
            return st
        out[key] = fh
    return out


by_admin = {place: handles(admin, path) for place, path in PATHS.items()}
serial = tokens = 0


def operations(s, h):
    """(name, needs, operations): needs READ or WRITE."""
    global serial
    serial += 1
    n = b"n%d" % serial
    d, f, f2, l = (putfh(h[k]) for k in ("d", "f", "f2", "l"))
    yield "GETATTR", READ, [f, getattr_(16)]
    yield "GETATTR directory", READ, [d, getattr_(16)]
    yield "ACCESS", READ, [f, access(0x3f)]
    yield "READ", READ, [f, read(ANON, 0, 10)]
    yield "READ_PLUS", READ, [f, read_plus(0, 10)]
    yield "SEEK", READ, [f, seek(0)]
    yield "IO_ADVISE", READ, [f, io_advise()]
    yield "LOCKT", READ, [f, lockt(s.client)]
    yield "COMMIT", READ, [f, commit(0, 0)]
    yield "NVERIFY", READ, [f, nverify_size(1 << 40)]
    yield "LISTXATTRS", READ, [f, listxattrs()]
    yield "GETXATTR", READ, [f, getxattr(b"a")]
    yield "OPEN to read", READ, [f, open_fh(s, 1), close(0, CURRENT)]
    yield "OPEN to read by name", READ, [d, open_name(s, 1, b"f"), close(0, CURRENT)]
    yield "OPEN to read or make", READ, [d, open_name(s, 1, b"f", True), close(0, CURRENT)]
    yield "READDIR", READ, [d, readdir(0, bytes(8), 0, 8192, [16])]
    yield "LOOKUP", READ, [d, lookup(b"f")]
    yield "READLINK", READ, [l, readlink()]
    yield "SECINFO_NO_NAME", READ, [d, secinfo_no_name()]
    yield "WRITE", WRITE, [f, write(ANON, 0, 0, b"z")]
    yield "SETATTR mode", WRITE, [f, setmode(0o644)]
    yield "SETATTR size", WRITE, [f, setsize(8192)]
    yield "ALLOCATE", WRITE, [f, allocate(0, 10)]
    yield "DEALLOCATE", WRITE, [f, deallocate(0, 10)]
    yield "SETXATTR, REMOVEXATTR", WRITE, [f, setxattr(n, b"1"), removexattr(n)]
    yield "REMOVEXATTR", WRITE, [f, removexattr(b"a"), setxattr(b"a", b"1")]
    yield "OPEN to write", WRITE, [f, open_fh(s, 3), close(0, CURRENT)]
    yield "OPEN to write by name", WRITE, [d, open_name(s, 2, b"f"), close(0, CURRENT)]
    yield "OPEN to make", WRITE, [d, open_name(s, 1, n, True), close(0, CURRENT), d, remove(n)]
    yield "CREATE, REMOVE", WRITE, [d, mkdir(n), d, remove(n)]
    yield "CREATE link", WRITE, [d, symlink(n, b"x"), d, remove(n)]
    yield "REMOVE", WRITE, [d, remove(b"r"), symlink(b"r", b"f")]
    yield "RENAME", WRITE, [d, savefh(), rename(b"f2", n), rename(n, b"f2")]
    yield "LINK", WRITE, [f, savefh(), d, link(n), remove(n)]
    yield "COPY", WRITE, [f, savefh(), f2, copy(100)]
    yield "CLONE", WRITE, [f, savefh(), f2, clone(8192)]


# On the way to a folder a directory may be looked at, and shows only what leads there.
ON_WAY = {"GETATTR directory": 0, "READDIR": 0, "LOOKUP": NOENT, "SECINFO_NO_NAME": 0, "OPEN to read by name": NOENT,
          "OPEN to write by name": NOENT}


def expected(name, needs, level, place):
    if level == WAY:
        return ON_WAY.get(name, ACCESS)
    if level == NOTHING:
        return ACCESS
    return 0 if level >= needs else ROFS


def try_all(what, s, h, level, place):
    for name, needs, ops in operations(s, h):
        st, n = s.run(ops)
        want = expected(name, needs, level, place)
        cases.want("%s: %s in %s" % (what, name, place), st, want)
        if not st:
            cases.want("%s: %s in %s, all of it" % (what, name, place), n, len(ops))


OBJECTS = [("/", {"v1", "folder", "v2", "v3", "snap"}), ("alice", {"v1", "folder", "v2", "snap"}),
           ("alice/v1", {"v1", "folder", "snap"}), ("alice/v1@s", {"snap"}), ("alice/v1/runs/42", {"folder"})]
RIGHTS = [("ro", ["--ro"]), ("rw", []), ("create", ["--create"])]


def possible(obj, right):
    return (right != "create" or obj in ("/", "alice")) and (obj != "alice/v1@s" or right == "ro")


def level_of(places, right, place):
    if place not in places:
        return NOTHING
    return READ if right == "ro" or place == "snap" else WRITE


def token_path(obj, path):
    """What is left of a place's path below the object of a token, None if it is not there."""
    top = tuple(x.encode() for x in obj.split("/") if x)
    return path[len(top):] if path[:len(top)] == top else None


def own_way(obj, place, secret):
    if secret is None:
        return PATHS[place]
    rest = token_path(obj, PATHS[place])
    return None if rest is None else (b"token", secret) + rest


def walked(what, s, obj, places, right, secret):
    """Everything under the subject's own handles; returns them."""
    found = {}
    for place in PATHS:
        path = own_way(obj, place, secret)
        if path is None:
            continue
        got = handles(s, path)
        if place in places:
            cases.want("%s: the way to %s" % (what, place), isinstance(got, dict), True)
            if isinstance(got, dict):
                found[place] = got
                try_all(what, s, got, level_of(places, right, place), place)
        else:
            cases.want("%s: no way to %s" % (what, place), got, NOENT)
    return found


def made(what, s, right, obj, secret):
    """Volumes and users by mkdir."""
    global serial
    serial += 1
    if secret is None:
        root, alice = s.walk()[1], admin.walk(b"alice")[1]
    else:
        root = s.walk(b"token", secret)[1] if obj == "/" else s.walk()[1]
        alice = s.walk(*((b"token", secret, b"alice") if obj == "/" else (b"token", secret)))[1]
    may_user, may_volume = right == "create" and obj == "/", right == "create"
    st, _ = s.run([putfh(root), mkdir(b"u%d" % serial), putfh(root), remove(b"u%d" % serial)])
    cases.want(what + ": a user made", st, 0 if may_user else ACCESS)
    if secret is None or obj in ("/", "alice"):
        st, _ = s.run([putfh(alice), mkdir(b"w%d" % serial), putfh(alice), remove(b"w%d" % serial)])
        cases.want(what + ": a volume made", st, 0 if may_volume else ACCESS)
        if not may_volume:
            cases.want(what + ": a volume renamed", s.run([putfh(alice), savefh(), rename(b"v2", b"v9")])[0] in (ACCESS, NOENT),
                       True)
            cases.want(what + ": a volume removed", s.run([putfh(alice), remove(b"v2")])[0] in (ACCESS, NOENT), True)


def listing(what, s, places, obj):
    """What a network's listings show."""
    users = {b"alice"} | ({b"bob"} if "v3" in places else set())
    st, names = s.names(s.walk()[1])
    cases.want(what + ": users listed", (st, {x for x in names if x in (b"alice", b"bob", b"token")}), (0, users))
    st, names = s.names(admin.walk(b"alice")[1])
    volumes = {p.encode() for p in ("v1", "v2") if p in places} | ({b"v1"} if obj.startswith("alice/v1/") else set())
    cases.want(what + ": volumes listed", (st, {x for x in names if x in (b"v1", b"v2", b"v3")}), (0, volumes))


def one(kind, source, subject, obj, places, rname, options):
    global tokens
    what = "%s %s %s" % (kind, obj, rname)
    secret = None
    if kind == "token":
        gid, secret = cli.token(obj, *options)
    else:
        gid = cli.grant(subject, obj, *options)
    tokens += secret is not None
    s = At(addr, "127.77.1.%d" % tokens if secret else source) # wrong tokens are counted by address
    found = walked(what, s, obj, places, rname, secret)
    for place, h in by_admin.items(): # handles that it should not have, or that it could have found
        level = NOTHING if kind == "token" or obj.endswith("42") else level_of(places, rname, place)
        if level == NOTHING and kind != "token" and obj.endswith("42") and place == "v1":
            level = WAY
        try_all(what + " by others' handles", s, h, level, place)
    made(what, s, rname, obj, secret)
    if secret is None:
        listing(what, s, places, obj)
    cases.group(what, 150)

    cli("revoke", gid)
    for place, h in found.items():
        try_all(what + " revoked", s, h, NOTHING, place)
    if secret is None:
        for place, h in by_admin.items():
            try_all(what + " revoked, by others' handles", s, h, NOTHING, place)
    for place in PATHS:
        path = own_way(obj, place, secret)
        if path:
            cases.want(what + " revoked: no way", s.walk(*path)[0], NOENT)
    cases.group(what + ", revoked", 30)


for obj, places in OBJECTS:
    for rname, options in RIGHTS:
        if possible(obj, rname):
            one("network", "127.9.0.2", "127.9.0.0/16", obj, places, rname, options)
            one("token", None, None, obj, places, rname, options)

# Ends: the same as a revocation, without anybody's doing.
s = At(addr, "127.9.0.3")
other = At(addr, "127.77.0.2")


def until_the_end(s, network, span, what):
    """What is granted for so long, all of it used."""
    grant = cli.grant(network, "alice/v1", "--expires", "%ds" % span)
    ident, secret = cli.token("alice/v1", "--subpath", "runs/42", "--expires", "%ds" % span)
    nets, toks = handles(s, PATHS["v1"]), handles(other, (b"token", secret))
    try_all("before the end" + what, s, nets, WRITE, "v1")
    try_all("token before its end" + what, other, toks, WRITE, "folder")
    st, _ = s.run([putfh(nets["f"]), open_fh(s, 3), getfh()])
    stateid = s.reply.results[44 + 8 + 8:44 + 8 + 8 + 16]
    cases.want("an open file" + what, s.run([putfh(nets["f"]), read(stateid, 0, 10)])[0], 0)
    return grant, ident, secret, nets, toks, stateid


# How long that takes here and now, and with it how soon an end can come after it.
began = time.monotonic()
grant, ident, *_ = until_the_end(At(addr, "127.10.0.3"), "127.10.0.0/16", 3600, ", rehearsed")
span = 2 + int(4 * (time.monotonic() - began))
cli("revoke", grant)
cli("revoke", ident)
folder = cli.grant("127.9.0.0/16", "alice/v2", "--ro")
_, _, secret, nets, toks, stateid = until_the_end(s, "127.9.0.0/16", span, "")
time.sleep(span + 0.1)
try_all("after the end", s, nets, NOTHING, "v1")
try_all("token after its end", other, toks, NOTHING, "folder")
for ops in ([read(stateid, 0, 10)], [write(stateid, 0, 2, b"q")], [lockt(s.client)]):
    cases.want("an open file, after the end", s.run([putfh(nets["f"])] + ops)[0], ACCESS)
cases.want("it can be closed", s.run([putfh(nets["f"]), close(0, stateid)])[0], 0)
cases.want("a way after the end", s.walk(*PATHS["v1"])[0], NOENT)
cases.want("another grant goes on", s.walk(*PATHS["v2"])[0], 0)
cases.want("the token's way after its end", other.walk(b"token", secret)[0], ACCESS)
cases.group("grants and tokens that end", 100)

# Several: the closest object, then the longest network.
cli.grant("127.9.0.0/16", "/")
cli.grant("127.9.0.0/16", "alice", "--ro")
cli.grant("127.9.0.3", "alice", "--create")
cli.grant("127.9.0.3", "alice/v1", "--ro")
for source, levels in (("127.9.0.3", {"v1": READ, "folder": READ, "v2": READ, "v3": WRITE, "snap": READ}),
                       ("127.9.0.4", {"v1": READ, "folder": READ, "v2": READ, "v3": WRITE, "snap": READ})):
    s = At(addr, source)
    for place, level in levels.items():
        try_all("several, from " + source, s, by_admin[place], level, place)
cli("revoke", folder)
try_all("alice/v2 for 127.9.0.3, by its longer network", At(addr, "127.9.0.3"), by_admin["v2"], WRITE, "v2")
try_all("alice/v2 for 127.9.0.4", At(addr, "127.9.0.4"), by_admin["v2"], READ, "v2")
cases.group("of several grants the closest", 300)

# What was there is still there.
for place, h in by_admin.items():
    for name in (b"f", b"f2", b"l"):
        cases.want("%r in %s" % (name, place), admin.run([putfh(h["d"]), lookup(name)])[0], 0)
cases.group("nothing was lost")
print("# %d combinations" % cases.total)
