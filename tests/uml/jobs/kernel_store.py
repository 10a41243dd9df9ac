# SPDX-License-Identifier: Apache-2.0
"""What the store makes of files: source code compresses, zeros cost nothing, damage is told and stays where it is."""
import errno
import json
from guest import *


def listed(volume):
    """The volume's row of `volnfs list --json`."""
    found = json.loads(ctl("volnfs list --json"))
    rows = found["volumes"] if isinstance(found, dict) else found
    return next(r for r in rows if volume in (r.get("name"), "%s/%s" % (r.get("user"), r.get("name")), r.get("volume")))


def sizes(volume):
    row = listed(volume)
    return int(row["logical"]), int(row["stored"]), row


def fresh(name):
    ctl("volnfs create alice/" + name)
    return mount(VERS[-1], "/alice/" + name, "/mnt/" + name)


def settle():
    """Restart, so that everything is in the packs."""
    ctl("restart")


def source_code():
    where = fresh("source")
    sh("""set -o pipefail
        (cd /usr/lib && find python3*/ -name '*.py' | tar cf - -T -) | tar xf -
        tar cf - -C /usr/include linux asm-generic | tar xf -
        sync""", cwd=where)
    umount(where)
    settle()
    logical, stored, row = sizes("alice/source")
    say("source code: %d bytes take %d (%.2f)" % (logical, stored, stored / logical))
    assert logical > 5 << 20 and stored * 3 < logical, row


def zeros():
    where = fresh("zeros")
    sh("dd if=/dev/zero of=%s/z bs=1M count=1024 status=none; sync" % where)
    assert os.stat(where + "/z").st_size == 1 << 30
    umount(where)
    settle()
    logical, stored, row = sizes("alice/zeros")
    say("a GiB of zeros takes %d bytes" % stored)
    assert stored < 1 << 20 and row["pack_bytes"] + row["index_bytes"] < 4 << 20, row
    mount(VERS[-1], "/alice/zeros", where)
    with open(where + "/z", "rb") as f:
        f.seek(777 << 20)
        assert f.read(1 << 20) == bytes(1 << 20)
    umount(where)


def damage():
    where = fresh("damaged")
    data = os.urandom(1 << 20)
    write_file(where + "/f", data, sync=True)
    write_file(where + "/other", b"whole" * 1000, sync=True)
    umount(where)
    ctl("stop")
    bad = 5 * 131072 + 1000
    try:
        hit = ctl("flip " + data[bad:bad + 32].hex())
    finally:
        ctl("start")
    before = len(ctl("log"))
    mount(VERS[-1], "/alice/damaged", where, "rsize=131072")
    with open(where + "/f", "rb", buffering=0) as f:
        for slot in range(8):
            got = None
            try:
                got = os.pread(f.fileno(), 131072, slot * 131072)
            except OSError as e:
                assert e.errno == errno.EIO, e
            if slot == 5:
                assert got is None, "damaged bytes were handed out"
            else:
                assert got == data[slot * 131072:(slot + 1) * 131072], "slot %d" % slot
    assert read_file(where + "/other") == b"whole" * 1000
    umount(where)
    log = ctl("log")[before:]
    pack = int(os.path.basename(hit).split(".")[0], 16)
    assert "alice/damaged" in log and "pack %d" % pack in log, (hit, log)
    assert ctl("host ! $VOLNFS check --data --store $STORE alice/damaged") is not None


attempt("source code takes less than a third", source_code)
attempt("a GiB of zeros takes next to nothing", zeros)
attempt("a flipped byte: EIO for its slot only, a line in the log", damage)
finish()
