# SPDX-License-Identifier: Apache-2.0
"""The README's mount lines, as they are written but for the server's name, its port and the secret (0890 runs the other
commands)."""
import re
from guest import *

with open("/job/README") as f:
    LINES = [re.sub(r"  +# .*", "", line).strip() for line in f if line.startswith("    mount ")]


def run(line):
    secret = ""
    if "SECRET" in line:
        text = ctl("volnfs token --json alice/mydata --ro")
        secret = text.split('"secret": "')[1].split('"')[0]
    where = line.split()[-1]
    os.makedirs(where, exist_ok=True)
    sh(line.replace("server:", NFSD + ":").replace("127.0.0.1", NFSD).replace("SECRET", secret)
       .replace("mount -t nfs4", "/job/bin/mount -t nfs4"))
    try:
        assert os.listdir(where) == ["file"], os.listdir(where)
        assert read_file(where + "/file") == b"there"
    finally:
        umount(where)


mount("4.2")
write_file("/mnt/v/file", b"there", sync=True)
umount()
ctl("volnfs snapshot create alice/mydata@monday")
report(len(LINES) >= 4, "the README has its mount lines")
for line in LINES:
    attempt(line, run, line)
finish()
