# SPDX-License-Identifier: Apache-2.0
"""Snapshots as a Linux client sees them: mounted by name, browsed in .snapshots, across changes and restarts."""
import errno
from guest import *

DATA = os.urandom(300000)


def refused(what, *args):
    try:
        what(*args)
    except OSError as e:
        assert e.errno == errno.EROFS, e
        return
    raise AssertionError("a snapshot was changed by %s" % what.__name__)


def tree(top):
    """What is in a directory, with contents."""
    out = {}
    for here, dirs, files in os.walk(top):
        for n in dirs:
            out[os.path.relpath(os.path.join(here, n), top)] = "dir"
        for n in files:
            path = os.path.join(here, n)
            out[os.path.relpath(path, top)] = read_file(path) if not os.path.islink(path) else os.readlink(path)
    return out


def by_name(vers):
    name = "v" + vers.replace(".", "")
    v = mount(vers)
    d = "%s/%s" % (v, name)
    os.mkdir(d)
    write_file(d + "/big", DATA)
    write_file(d + "/small", b"before")
    os.mkdir(d + "/sub")
    os.symlink("small", d + "/sub/link")
    os.link(d + "/small", d + "/sub/hard")
    for i in range(80):
        write_file(d + "/sub/f%d" % i, b"%d" % i)
    os.sync()
    was = tree(d)
    ctl("volnfs snapshot create alice/mydata@" + name)
    # changes of all kinds
    with open(d + "/big", "r+b") as f:
        f.seek(100000)
        f.write(b"changed")
    os.unlink(d + "/small")
    sh("rm -r %s/sub; mkdir %s/sub; echo new >%s/sub/f1" % (d, d, d))
    s = mount(vers, "/alice/mydata@" + name, "/mnt/s", "ro")
    assert tree(s + "/" + name) == was
    assert os.stat(s).st_dev != os.stat(v).st_dev
    umount(s)
    s = mount(vers, "/alice/mydata@" + name, "/mnt/s")
    refused(write_file, s + "/x", b"")
    refused(os.unlink, "%s/%s/small" % (s, name))
    refused(os.chmod, "%s/%s/small" % (s, name), 0o600)
    refused(os.mkdir, s + "/" + name + "/dir")
    refused(os.rename, "%s/%s/small" % (s, name), s + "/y")
    sh("df %s | tail -1; stat -f %s" % (s, s))
    umount(s)
    umount()


def browsed(vers):
    name = "v" + vers.replace(".", "")
    v = mount(vers)
    assert ".snapshots" not in os.listdir(v)
    assert name in os.listdir(v + "/.snapshots")
    b = "%s/.snapshots/%s" % (v, name)
    assert read_file("%s/%s/big" % (b, name)) == DATA
    assert os.stat(b).st_dev != os.stat(v).st_dev
    assert len(os.listdir("%s/%s/sub" % (b, name))) == 82
    refused(write_file, b + "/x", b"")
    refused(os.mkdir, v + "/.snapshots/made")
    assert sh("cd %s && cd .. && pwd -P" % b).strip() == v + "/.snapshots"
    sh("cp -a %s/%s %s/copied-%s && diff -r --no-dereference %s/%s %s/copied-%s" % (b, name, v, name, b, name, v, name))
    umount_under(v)
    umount()


def over_a_restart(vers):
    name = "v" + vers.replace(".", "")
    s = mount(vers, "/alice/mydata@" + name, "/mnt/s", "ro")
    v = mount(vers)
    with open("%s/%s/big" % (s, name), "rb") as f, open("%s/.snapshots/%s/%s/sub/f7" % (v, name, name), "rb") as g:
        assert f.read(1000) == DATA[:1000]
        ctl("kill9")
        sh("echo 3 >/proc/sys/vm/drop_caches")
        assert f.read() == DATA[1000:]
        assert g.read() == b"7"
    umount_under(v)
    umount()
    umount(s)


def cloned(vers):
    name = "v" + vers.replace(".", "")
    ctl("volnfs clone alice/mydata@%s alice/clone-%s" % (name, name))
    c = mount(vers, "/alice/clone-" + name, "/mnt/c")
    v = mount(vers)
    d = "%s/%s" % (c, name)
    assert read_file(d + "/big") == DATA and read_file(d + "/small") == b"before"
    with open(d + "/big", "r+b") as f:
        f.seek(200000)
        f.write(b"in the clone")
        os.fsync(f.fileno())
    sh("rm -r %s/sub && cp -a %s/big %s/bigger && sync" % (d, d, d))
    assert read_file(d + "/bigger") == DATA[:200000] + b"in the clone" + DATA[200012:]
    assert read_file("%s/.snapshots/%s/%s/big" % (v, name, name)) == DATA
    umount_under(v)
    umount()
    umount(c)
    ctl("volnfs destroy alice/clone-" + name)


def rolled_back(vers):
    name = "v" + vers.replace(".", "")
    v = mount(vers)
    d = "%s/%s" % (v, name)
    write_file(d + "/young", b"x", sync=True)
    was = os.stat(d).st_mtime_ns
    for _ in range(3):
        read_file(d + "/big")  # gets a delegation
    with open(d + "/big", "rb") as f, open(d + "/young", "rb") as g:
        assert f.read() != DATA and g.read() == b"x"
        ctl("volnfs snapshot rollback alice/mydata@" + name)
        assert read_file(d + "/big") == DATA, "a delegation was not taken back"
        sh("echo 3 >/proc/sys/vm/drop_caches")
        f.seek(0)
        assert f.read() == DATA, "an open file goes on with what the snapshot has"
        try:
            g.seek(0)
            g.read(1)
            raise AssertionError("a file that is younger than the snapshot was read")
        except OSError as e:
            assert e.errno == errno.ESTALE, e
    umount()
    v = mount(vers)
    assert tree(d) == tree("%s/.snapshots/%s/%s" % (v, name, name))
    assert os.stat(d).st_mtime_ns != was
    write_file(d + "/after", b"y", sync=True)
    umount_under(v)
    umount()


def destroyed(vers):
    name = "v" + vers.replace(".", "")
    s = mount(vers, "/alice/mydata@" + name, "/mnt/s", "ro")
    assert read_file("%s/%s/small" % (s, name)) == b"before"
    ctl("volnfs snapshot destroy alice/mydata@" + name)
    sh("echo 3 >/proc/sys/vm/drop_caches")
    try:
        read_file("%s/%s/big" % (s, name))
        raise AssertionError("a destroyed snapshot was read")
    except OSError as e:
        assert e.errno in (errno.ESTALE, errno.ENOENT), e
    sh("umount -l " + s)
    v = mount(vers)
    assert name not in os.listdir(v + "/.snapshots")
    umount()


for vers in VERS:
    for func in (by_name, browsed, over_a_restart, cloned, rolled_back, destroyed):
        attempt("vers=%s: %s" % (vers, func.__name__.replace("_", " ")), func, vers)
attempt("check", ctl, "check")
finish()
