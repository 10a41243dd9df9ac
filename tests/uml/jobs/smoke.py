# SPDX-License-Identifier: Apache-2.0
"""The first thing to work: mount the root, a user and a volume; write, read back."""
from guest import *

for vers in VERS:
    def tree():
        mount(vers, "/", "/mnt/root")
        assert "alice" in os.listdir("/mnt/root"), os.listdir("/mnt/root")
        assert os.listdir("/mnt/root/alice") == ["mydata"], os.listdir("/mnt/root/alice")
        umount("/mnt/root")
    attempt("vers=%s: mount of /" % vers, tree)

    def user():
        mount(vers, "/alice", "/mnt/alice")
        assert os.listdir("/mnt/alice") == ["mydata"]
        umount("/mnt/alice")
    attempt("vers=%s: mount of /alice" % vers, user)

    def volume():
        mount(vers, "/alice/mydata", "/mnt/v")
        write_file("/mnt/v/hello", b"hello " + vers.encode(), sync=True)
        umount("/mnt/v")
        mount(vers, "/alice/mydata", "/mnt/v")
        assert read_file("/mnt/v/hello") == b"hello " + vers.encode()
        os.unlink("/mnt/v/hello")
        assert os.listdir("/mnt/v") == []
        umount("/mnt/v")
    attempt("vers=%s: a file written, found after a new mount" % vers, volume)
finish()
