# SPDX-License-Identifier: Apache-2.0
"""Third-party clients beside the kernel: nfs-ls, nfs-cat and nfs-cp of libnfs-utils read what the kernel wrote."""
import hashlib
from guest import *

URL = "nfs://$ADDR%s?version=4\\&nfsport=$PORT"


def tree(where):
    for i in range(30):
        os.makedirs("%s/tree/d%d" % (where, i % 5), exist_ok=True)
        write_file("%s/tree/d%d/f%d" % (where, i % 5, i), os.urandom(i * 3000) + b"end %d" % i)
    os.symlink("d1/f1", where + "/tree/link")
    write_file(where + "/big", os.urandom(5 << 20), sync=True)


def names(where):
    out = ctl("host nfs-ls -R " + URL % "/alice/mydata/tree")
    for i in range(30):
        assert any(line.split()[-1].endswith("f%d" % i) for line in out.splitlines() if line.strip()), (i, out)
    out = ctl("host nfs-ls " + URL % "/alice/mydata")
    assert {line.split()[-1] for line in out.splitlines()} >= {"tree", "big"}, out
    big = next(line for line in out.splitlines() if line.endswith("big"))
    assert str(5 << 20) in big.split(), big


def contents(where):
    for name in ("big", "tree/d4/f29", "tree/d0/f0"):
        out = ctl("host nfs-cat %s | sha256sum" % (URL % ("/alice/mydata/" + name)))
        assert out.split()[0] == hashlib.sha256(read_file(where + "/" + name)).hexdigest(), (name, out)


def copied_out(where):
    out = ctl("host nfs-cp %s copy >&2; sha256sum copy; rm copy" % (URL % "/alice/mydata/big"))
    assert hashlib.sha256(read_file(where + "/big")).hexdigest() in out, out


def copied_in(where):
    # nfs-cp of libnfs 4.0.0 cannot encode a WRITE above 4 KiB, to any server; small files it can.
    ctl("host head -c 3000 /usr/bin/env >small; nfs-cp small %s" % (URL % "/alice/mydata/from-libnfs"))
    assert os.stat(where + "/from-libnfs").st_size == 3000
    out = ctl("host sha256sum small")
    assert hashlib.sha256(read_file(where + "/from-libnfs")).hexdigest() in out


where = mount(VERS[-1])
attempt("a tree written by the kernel", tree, where)
attempt("nfs-ls lists it", names, where)
attempt("nfs-cat reads it", contents, where)
attempt("nfs-cp copies out of it", copied_out, where)
attempt("nfs-cp copies into it", copied_in, where)
attempt("umount", umount, where)
finish()
