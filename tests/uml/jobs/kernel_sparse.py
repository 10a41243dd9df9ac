# SPDX-License-Identifier: Apache-2.0
"""What NFSv4.2 adds for files, with the tools people use: reflinks, copies in the server, holes, user attributes."""
import errno
import fcntl
import json
import re
import struct
from guest import *

FICLONERANGE = 0x4020940d  # of linux/fs.h


def pattern(n, seed):
    return (b"%08d" % seed + os.urandom(24)) * (n // 32 + 1)


def clone_range(dst, src, soff, n, doff):
    fcntl.ioctl(dst, FICLONERANGE, struct.pack("qQQQ", src.fileno(), soff, n, doff))


def sizes(volume):
    found = json.loads(ctl("volnfs list --json"))
    rows = found["volumes"] if isinstance(found, dict) else found
    row = next(r for r in rows if volume in (r.get("name"), "%s/%s" % (r.get("user"), r.get("name")), r.get("volume")))
    return int(row["logical"]), int(row["stored"])


@case
def cp_reflink_shares(d):
    data = pattern(24 << 20, 1)[:(24 << 20) + 777]
    write_file(d + "/a", data, sync=True)
    before = sizes("alice/mydata")
    sh("cp --reflink=always a b; sync", cwd=d)
    sh("cmp a b", cwd=d)
    after = sizes("alice/mydata")
    say("a reflink of 24 MiB: %+d logical, %+d stored" % (after[0] - before[0], after[1] - before[1]))
    assert after[0] - before[0] >= 24 << 20 and after[1] - before[1] < 1 << 20, (before, after)
    with open(d + "/b", "r+b") as f:
        f.seek(5000000)
        f.write(b"another")
        os.fsync(f.fileno())
    assert read_file(d + "/a") == data
    os.unlink(d + "/a")
    assert read_file(d + "/b") == data[:5000000] + b"another" + data[5000007:]


@case
def clone_ranges(d):
    data = pattern(1 << 20, 2)[:1 << 20]
    write_file(d + "/a", data)
    with open(d + "/a", "rb") as src, open(d + "/b", "w+b") as dst:
        dst.write(b"x" * 300000)
        dst.flush()
        clone_range(dst, src, 8192, 131072 + 4096, 65536)
        want = bytearray(b"x" * 300000)
        want[65536:65536 + 135168] = data[8192:8192 + 135168]
        assert read_file(d + "/b") == bytes(want)
        try:
            clone_range(dst, src, 1, 4096, 0)
            assert False, "an unaligned clone"
        except OSError as e:
            assert e.errno == errno.EINVAL, e


@case
def copies_in_the_server(d):
    data = pattern(20 << 20, 3)[:(20 << 20) + 5]
    write_file(d + "/a", data, sync=True)
    for soff, doff in ((0, 0), (100, 4196), (7, 100001)):
        with open(d + "/a", "rb") as src, open(d + "/b", "w+b") as dst:
            n = 0
            while n < len(data) - soff:
                done = os.copy_file_range(src.fileno(), dst.fileno(), len(data) - soff - n, soff + n, doff + n)
                assert done > 0
                n += done
            os.fsync(dst.fileno())
        assert read_file(d + "/b") == bytes(doff) + data[soff:], (soff, doff)
        os.unlink(d + "/b")


@case
def holes(d):
    f = d + "/f"
    write_file(f, b"d" * (1 << 20), sync=True)
    used = os.stat(f).st_blocks
    sh("fallocate -p -o 262144 -l 262144 " + f)
    with open(f, "rb") as h:
        assert os.lseek(h.fileno(), 0, os.SEEK_HOLE) == 262144
        assert os.lseek(h.fileno(), 262144, os.SEEK_DATA) == 524288
        assert os.lseek(h.fileno(), 524288, os.SEEK_HOLE) == 1 << 20
    assert read_file(f) == b"d" * 262144 + bytes(262144) + b"d" * 524288
    assert os.stat(f).st_blocks <= used - 512, (used, os.stat(f).st_blocks)
    sh("fallocate -l 2097152 " + f)
    assert os.stat(f).st_size == 2 << 20
    sh("truncate -s 4G sparse; cp --sparse=always --reflink=never f g; cmp f g", cwd=d)
    assert os.stat(d + "/sparse").st_blocks == 0
    with open(d + "/sparse", "rb") as h:
        try:
            os.lseek(h.fileno(), 0, os.SEEK_DATA)
            assert False, "data in a hole"
        except OSError as e:
            assert e.errno == errno.ENXIO, e


def user_names(f):
    """Beside them there is system.nfs4_acl, which Linux names whenever a server has ACLs."""
    return sorted(n for n in os.listxattr(f) if n.startswith("user."))


@case
def user_attributes(d):
    f = d + "/f"
    write_file(f, b"")
    assert user_names(f) == []
    os.setxattr(f, "user.colour", b"green")
    os.setxattr(f, "user.empty", b"")
    os.setxattr(f, "user.long", b"v" * 60000)
    assert os.getxattr(f, "user.colour") == b"green" and os.getxattr(f, "user.long") == b"v" * 60000
    assert user_names(f) == ["user.colour", "user.empty", "user.long"]
    for flags, name, err in ((os.XATTR_CREATE, "user.colour", errno.EEXIST), (os.XATTR_REPLACE, "user.none", errno.ENODATA)):
        try:
            os.setxattr(f, name, b"", flags)
            assert False, name
        except OSError as e:
            assert e.errno == err, e
    os.removexattr(f, "user.colour")
    try:
        os.getxattr(f, "user.colour")
        assert False
    except OSError as e:
        assert e.errno == errno.ENODATA, e
    if sh("command -v getfattr || true"):
        sh("setfattr -n user.tool -v yes f; getfattr -d f | grep 'user.tool=\"yes\"'", cwd=d)
    for i in range(200):
        os.setxattr(d, "user.many%03d" % i, b"%d" % i)
    assert len(user_names(d)) == 200


@case
def advice(d):
    write_file(d + "/f", b"x" * 100000, sync=True)
    with open(d + "/f", "rb") as f:
        for what in (os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_RANDOM, os.POSIX_FADV_WILLNEED, os.POSIX_FADV_DONTNEED):
            os.posix_fadvise(f.fileno(), 0, 0, what)
        assert len(f.read()) == 100000


def sent(where, op):
    text = open("/proc/self/mountstats").read()
    part = text.split("mounted on %s with" % where, 1)[1].split("\ndevice ", 1)[0]
    return int(re.search(r"^\s*%s: (\d+)" % op, part, re.M).group(1))


@case
def large_copies_go_on_by_themselves(d):
    """Bytes that lie differently, and another volume: the server moves them, and tells when it is done."""
    data = pattern(24 << 20, 5)[:(24 << 20) + 5]
    write_file(d + "/a", data, sync=True)
    sh("echo 3 >/proc/sys/vm/drop_caches")
    mount("4.2", "/alice/copies", "/mnt/copies")
    where = d[:d.index("/", 5)]
    read_before, copies = sent(where, "READ"), sent(where, "COPY")
    try:
        for to in (d + "/b", "/mnt/copies/b"):
            with open(d + "/a", "rb") as src, open(to, "w+b") as dst:
                n = 0
                while n < len(data) - 3:
                    done = os.copy_file_range(src.fileno(), dst.fileno(), len(data) - 3 - n, 3 + n, n)
                    assert done > 0
                    n += done
                os.fsync(dst.fileno())
        assert sent(where, "READ") == read_before
        say("%d COPY for %d bytes" % (sent(where, "COPY") + sent("/mnt/copies", "COPY") - copies, 2 * len(data)))
        assert read_file(d + "/b") == data[3:] and read_file("/mnt/copies/b") == data[3:]
    finally:
        umount("/mnt/copies")


ctl("volnfs create alice/copies")
each_version()
finish()
