# SPDX-License-Identifier: Apache-2.0
"""Mounts of /, of a user and of a volume; MKDIR and RMDIR there make and destroy volumes; 50,000 names in a folder."""
import errno
from guest import *

ENTRIES = int(os.environ.get("ENTRIES", "50000"))
FOREIGN = os.environ.get("FOREIGN")         # set for a server that has no volumes, only folders


def the_root(vers):
    mount(vers, "/", "/mnt/root")
    assert "alice" in os.listdir("/mnt/root"), os.listdir("/mnt/root")
    assert "mydata" in os.listdir("/mnt/root/alice")
    write_file("/mnt/root/alice/mydata/through-root", b"1")
    if not FOREIGN:
        assert os.stat("/mnt/root").st_dev != os.stat("/mnt/root/alice/mydata").st_dev, "one fsid for each volume"
        try:
            write_file("/mnt/root/file", b"")
            raise AssertionError("a plain file was made in /")
        except OSError as e:
            assert e.errno in (errno.EROFS, errno.EACCES, errno.EPERM), e
    umount_under("/mnt/root")
    umount("/mnt/root")


def a_user(vers):
    mount(vers, "/alice", "/mnt/alice")
    assert read_file("/mnt/alice/mydata/through-root") == b"1"
    base = "made-%s" % vers.replace(".", "")
    name = "/mnt/alice/" + base
    os.mkdir(name)
    write_file(name + "/f", b"in a new volume")
    if not FOREIGN:
        assert base in ctl("volnfs list"), ctl("volnfs list")
        assert os.stat(name).st_dev != os.stat("/mnt/alice/mydata").st_dev
    assert read_file(name + "/f") == b"in a new volume"
    umount_under("/mnt/alice")
    try:
        os.rmdir(name)
        raise AssertionError("a volume that is not empty was removed")
    except OSError as e:
        assert e.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY), e
    os.unlink(name + "/f")
    umount_under("/mnt/alice")
    os.rmdir(name)
    if not FOREIGN:
        assert base not in ctl("volnfs list")
    umount_under("/mnt/alice")
    umount("/mnt/alice")


def a_volume(vers):
    mount(vers, "/alice/mydata", "/mnt/v")
    assert read_file("/mnt/v/through-root") == b"1"
    os.unlink("/mnt/v/through-root")
    umount("/mnt/v")


def fill(vers):
    mount(vers)
    for i in range(GUEST - 1, ENTRIES, GUESTS):
        os.close(os.open("/mnt/v/many/a-name-of-usual-length-%06d.txt" % i, os.O_CREAT | os.O_WRONLY, 0o644))
    umount()


def listed(vers):
    mount(vers)
    names = os.listdir("/mnt/v/many")
    assert len(names) == len(set(names)) == ENTRIES, (len(names), len(set(names)))
    assert sorted(names)[ENTRIES // 2] == "a-name-of-usual-length-%06d.txt" % (ENTRIES // 2)
    assert sh("ls -l /mnt/v/many | wc -l") == "%d\n" % (ENTRIES + 1)
    assert sh("ls /mnt/v/many | wc -l") == "%d\n" % ENTRIES
    umount()


def emptied(vers):
    mount(vers)
    for i in range(GUEST - 1, ENTRIES, GUESTS):
        os.unlink("/mnt/v/many/a-name-of-usual-length-%06d.txt" % i)
    ctl("barrier emptied")
    if GUEST == 1:
        os.rmdir("/mnt/v/many")
    umount()


if GUEST == 1:
    for vers in VERS:
        attempt("vers=%s: mount of /" % vers, the_root, vers)
        attempt("vers=%s: mount of /alice, mkdir makes a volume" % vers, a_user, vers)
        attempt("vers=%s: mount of /alice/mydata" % vers, a_volume, vers)
    mount(VERS[0])
    os.mkdir("/mnt/v/many")
    umount()
ctl("barrier tree")
attempt("%d names made by %d guests" % (ENTRIES, GUESTS), fill, VERS[GUEST % len(VERS)])
ctl("barrier filled")
for i, vers in enumerate(VERS):
    if i % GUESTS == GUEST - 1:
        attempt("vers=%s: %d names listed" % (vers, ENTRIES), listed, vers)
ctl("barrier listed")
attempt("the names removed", emptied, VERS[-1])
finish()
