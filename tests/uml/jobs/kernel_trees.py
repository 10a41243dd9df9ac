# SPDX-License-Identifier: Apache-2.0
"""Real programs on real trees: git, tar and diff, cp and cmp of a large file; each version."""
import hashlib
from guest import *

BIG_MB = int(os.environ.get("BIG_MB", "512"))
GIT_FILES = int(os.environ.get("GIT_FILES", "2000"))


@case
def git_init_add_commit(d):
    for i in range(GIT_FILES):
        os.makedirs("/tmp/src/d%02d" % (i % 20), exist_ok=True)
        text = "int f%d(void)\n{ return %d; }\n" % (i, i) * (i % 40 + 1)
        write_file("/tmp/src/d%02d/f%d.c" % (i % 20, i), text.encode())
    sh("""export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
        cp -r /tmp/src/. .
        git init -q .
        git add .
        git commit -q -m one
        test -z "$(git status --porcelain)"
        test "$(git ls-files | wc -l)" = %d
        git rm -q -r d00
        git commit -q -m two
        git checkout -q HEAD~1 -- d00
        git gc -q
        git fsck --strict
        diff -r -x .git . /tmp/src
        rm -rf /tmp/src""" % GIT_FILES, cwd=d)


@case
def tar_x_and_diff_of_a_source_tree(d):
    sh("""tar cf /tmp/src.tar -C /usr/include linux asm-generic -C /usr/lib $(cd /usr/lib && ls -d python3*/json)
        mkdir /tmp/tree
        tar xf /tmp/src.tar -C /tmp/tree
        tar xf /tmp/src.tar
        echo 3 >/proc/sys/vm/drop_caches
        diff -r --no-dereference /tmp/tree .
        test "$(tar cf - . | tar tf - | wc -l)" -gt 500
        rm -rf /tmp/tree /tmp/src.tar *""", cwd=d)


@case
def cp_and_cmp_of_a_large_file(d):
    block = bytearray((os.urandom(1 << 19) + b"text that compresses " * 24967)[:1 << 20])
    digest = hashlib.sha256()
    with open(d + "/a", "wb") as f:
        for i in range(BIG_MB):
            block[0:8] = block[65536:65544] = i.to_bytes(8, "little")
            f.write(block)
            digest.update(block)
        f.flush()
        os.fsync(f.fileno())
    assert os.stat(d + "/a").st_size == BIG_MB << 20
    sh("echo 3 >/proc/sys/vm/drop_caches; cp a b; echo 3 >/proc/sys/vm/drop_caches; cmp a b", cwd=d)
    sh("echo 3 >/proc/sys/vm/drop_caches")
    back = hashlib.sha256()
    with open(d + "/b", "rb") as f:
        while chunk := f.read(1 << 20):
            back.update(chunk)
    assert back.digest() == digest.digest()
    os.unlink(d + "/a")
    os.unlink(d + "/b")


each_version()
finish()
