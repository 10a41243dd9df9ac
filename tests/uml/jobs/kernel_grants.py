# SPDX-License-Identifier: Apache-2.0
"""Grants and tokens under a Linux client: what is not granted cannot be mounted, and what is taken back fails at once."""
import errno
import json
from guest import *

DATA = os.urandom(200000)
HERE = "10.99.%d.2" % (GUEST - 1)


def grant(*args):
    return ctl("volnfs grant --json " + " ".join(args)).split('"id": ')[1].split()[0].rstrip(",}")


def token(*args):
    text = ctl("volnfs token --json " + " ".join(args))
    return text.split('"id": ')[1].split()[0].rstrip(",}"), text.split('"secret": "')[1].split('"')[0]


def revoke(gid):
    ctl("volnfs revoke " + gid)


def forget():
    sh("sync; echo 3 >/proc/sys/vm/drop_caches")


def fails(error, what, *args):
    try:
        what(*args)
    except OSError as e:
        assert e.errno in error, e
        return
    raise AssertionError("%s%s succeeded" % (what.__name__, args))


def no_mount(vers, path):
    try:
        mount(vers, path, "/mnt/no")
    except RuntimeError:
        return
    umount("/mnt/no")
    raise AssertionError("%s was mounted" % path)


def write_through(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def nothing_without(vers):
    for path in ("/alice/mydata", "/alice", "/alice/mydata/runs", "/token/1.AAAA", "/token"):
        if path != "/token":
            no_mount(vers, path)
    assert os.listdir(mount(vers, "/", "/mnt/root")) == []
    umount("/mnt/root")


def to_read(vers):
    gid = grant(HERE, "alice/mydata", "--ro")
    v = mount(vers)
    assert read_file(v + "/f") == DATA
    denied = (errno.EROFS, errno.EACCES)
    for what, args in ((os.mkdir, (v + "/x",)), (os.unlink, (v + "/f",)), (os.chmod, (v + "/f", 0o600)),
                       (os.rename, (v + "/f", v + "/g")), (os.link, (v + "/f", v + "/h")), (os.symlink, ("a", v + "/s")),
                       (os.truncate, (v + "/f", 0)), (write_through, (v + "/f", b"x")), (write_through, (v + "/new", b"x"))):
        fails(denied, what, *args)
    assert grant(HERE, "alice/mydata") == gid
    forget()
    write_through(v + "/new", b"x")
    os.unlink(v + "/new")
    umount()
    no_mount(vers, "/alice/other")
    revoke(gid)


def taken_back(vers):
    gid = grant(HERE, "alice/mydata")
    v = mount(vers, opts="noac")
    r, w = os.open(v + "/f", os.O_RDONLY | os.O_DIRECT), open(v + "/w", "wb")
    assert os.pread(r, 10, 0) == DATA[:10]
    revoke(gid)

    def read_on(): # not from the cache
        assert os.pread(r, 10, 100000) == DATA[100000:100010]

    def write_on():
        w.write(b"x" * 5000)
        w.flush()
        os.fsync(w.fileno())

    fails((errno.EACCES,), read_on)
    fails((errno.EACCES,), write_on)
    fails((errno.EACCES, errno.ESTALE), os.listdir, v) # the client looks at the mount's root first
    no_mount(vers, "/alice/mydata")
    gid = grant(HERE, "alice/mydata")
    sh("echo 3 >/proc/sys/vm/drop_caches")
    assert read_file(v + "/f") == DATA
    read_on()
    os.close(r)
    try:
        w.close()
    except OSError:
        pass
    umount()
    revoke(gid)


def by_token(vers):
    began = time.monotonic()
    gid, secret = token("alice/mydata", "--ro")
    v = mount(vers, "/token/" + secret, "/mnt/t")
    assert read_file(v + "/f") == DATA
    fails((errno.EROFS, errno.EACCES), write_through, v + "/f", b"x")
    umount("/mnt/t")
    revoke(gid)
    no_mount(vers, "/token/" + secret)
    # Long enough for what is done with it here and now.
    span = 5 + int(8 * (time.monotonic() - began))
    gid, secret = token("alice/mydata", "--subpath", "runs/42", "--expires", "%ds" % span)
    end = time.monotonic() + span + 0.5
    v = mount(vers, "/token/" + secret, "/mnt/t", "noac")
    assert sorted(os.listdir(v)) == ["in", "out"], os.listdir(v)
    assert read_file(v + "/in") == b"inside"
    fails((errno.ENOENT, errno.ELOOP), read_file, v + "/out") # a link to ../../f is the client's to follow
    write_through(v + "/made", b"x")
    os.unlink(v + "/made")
    time.sleep(max(0, end - time.monotonic()))
    sh("echo 3 >/proc/sys/vm/drop_caches")
    fails((errno.EACCES, errno.ESTALE), os.listdir, v)
    umount("/mnt/t")
    no_mount(vers, "/token/" + secret)
    revoke(gid)


def a_folder(vers):
    gid = grant(HERE, "alice/mydata/runs/42")
    v = mount(vers, "/alice/mydata/runs/42", "/mnt/t")
    assert read_file(v + "/in") == b"inside"
    write_through(v + "/made", b"x")
    os.unlink(v + "/made")
    umount("/mnt/t")
    v = mount(vers)
    assert os.listdir(v) == ["runs"] and os.listdir(v + "/runs") == ["42"]
    assert read_file(v + "/runs/42/in") == b"inside"
    fails((errno.ENOENT,), read_file, v + "/f")
    fails((errno.EACCES, errno.EROFS, errno.EPERM), os.mkdir, v + "/x")
    umount()
    revoke(gid)


def squashed(vers):
    gid = grant(HERE, "alice/mydata", "--squash", "all", "--anon", "1234:1235")
    v = mount(vers)
    write_through(v + "/mine", b"x")
    st = os.stat(v + "/mine")
    assert (st.st_uid, st.st_gid) == (1234, 1235), st
    os.unlink(v + "/mine")
    umount()
    revoke(gid)


def made_by_mkdir(vers):
    gid = grant(HERE, "alice", "--create")
    v = mount(vers, "/alice", "/mnt/a")
    os.mkdir(v + "/fresh")
    write_through(v + "/fresh/f", b"x")
    os.unlink(v + "/fresh/f")
    sh("umount /mnt/a/fresh 2>/dev/null || true")
    os.rmdir(v + "/fresh")
    umount("/mnt/a")
    grant(HERE, "alice")
    v = mount(vers, "/alice", "/mnt/a")
    fails((errno.EACCES,), os.mkdir, v + "/fresh")
    umount("/mnt/a")
    revoke(gid)


def alone(func, vers):
    """Whatever the case before left."""
    for where in ("/mnt/v", "/mnt/t", "/mnt/a", "/mnt/no", "/mnt/root"):
        sh("umount -l %s 2>/dev/null || true" % where)
    for g in json.loads(ctl("volnfs grants --json")):
        if g["kind"] == "token" or g["subject"] == HERE:
            revoke(str(g["id"]))
    func(vers)


def prepare():
    gid = grant(HERE, "alice/mydata")
    v = mount(VERS[-1])
    os.chmod(v, 0o777)
    write_file(v + "/f", DATA)
    os.makedirs(v + "/runs/42")
    os.makedirs(v + "/secret")
    os.chmod(v + "/runs/42", 0o777)
    write_file(v + "/runs/42/in", b"inside")
    os.symlink("../../f", v + "/runs/42/out")
    umount()
    revoke(gid)


attempt("a volume", prepare)
for vers in VERS:
    for func in (nothing_without, to_read, taken_back, by_token, a_folder, squashed, made_by_mkdir):
        attempt("vers=%s: %s" % (vers, func.__name__.replace("_", " ")), alone, func, vers)
attempt("check", ctl, "check")
finish()
