# SPDX-License-Identifier: Apache-2.0
"""A server on a machine of its own whose power can be cut: volnfsd in a User-mode Linux guest, its store on an ext4
image that is the guest's only disk.

What a SIGKILL of the guest takes away is what a power cut takes away: everything that was in the memory of its kernel,
pages written and not synced included. What reached the image stays. kill9() of this server is such a cut and a new
boot, so jobs written for a server that is killed serve as they are.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import servers

GUEST = 10                      # its number: tap9, 10.99.9.2
ADDR, PORT, CONTROL_PORT = "10.99.9.2", 2049, 7


class Powered(servers.Server):
    name = "volnfsd"
    store = "/mnt/store/s"      # in the guest
    image_size = 2 << 30

    def __init__(self, folder, here, args=()):
        super().__init__(folder, ADDR, PORT)
        self.args, self.boots = list(args), 0
        self.image = os.path.join(folder, "disk")
        jobs = os.path.join(folder, "jobs")
        os.makedirs(jobs)
        os.makedirs(os.path.join(folder, "bin"))
        for name in ("guest.py", "powered_server.py"):
            shutil.copy(os.path.join(here, "jobs", name), jobs)
        for name in ("volnfsd", "volnfs"):
            shutil.copy(servers.program(name), os.path.join(folder, "bin"))
        mount = os.path.join(folder, "bin", "mount")
        shutil.copyfile(os.path.realpath(shutil.which("mount")), mount)
        os.chmod(mount, 0o755)
        self.init = os.path.join(folder, "init.sh")
        shutil.copyfile(os.path.join(here, "init.sh"), self.init)
        os.chmod(self.init, 0o755)
        with open(self.image, "wb") as f:
            f.truncate(self.image_size)
        mkfs = shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        subprocess.run([mkfs, "-q", "-F", self.image], check=True, stdin=subprocess.DEVNULL)

    def launch(self):
        self.boots += 1
        argv = ["linux.uml", "mem=512M", "rootfstype=hostfs", "rootflags=/", "ro", "ubd0=" + self.image,
                "init=" + self.init, "uml_dir=" + self.folder, "umid=power%d" % self.boots,
                "vec0:transport=tap,ifname=tap%d,depth=128,gro=1,mac=02:00:00:00:00:%02x" % (GUEST - 1, GUEST),
                "con=null", "con0=null,fd:1", "quiet", "JOBDIR=" + self.folder, "JOB=powered_server.py",
                "GUEST=%d" % GUEST, "GUESTS=1", "PORT=%d" % PORT, "VERS=4.2", "LISTEN=%s:%d" % (ADDR, PORT),
                "STORE=" + self.store, "ARGS=" + ",".join(self.args)]
        env = dict(os.environ)
        if os.access("/dev/shm", os.W_OK):
            env["TMPDIR"] = "/dev/shm"
        self._spawn(argv, env)

    def _ready(self):
        try:
            socket.create_connection((ADDR, PORT), 0.2).close()
            return True
        except OSError:
            return False

    def start(self):
        super().start()
        m = re.search(r"^check after the boot: status (\d+)", self._log_new(), re.M)
        if m and m.group(1) != "0":
            raise servers.ServerError("after power cut %d the store was damaged:\n%s" %
                                      (self.boots - 1, self._log_new()[-3000:]))

    def kill9(self, start=True):
        """Cuts the power."""
        try:
            os.killpg(self.proc.pid, signal.SIGKILL)    # its processes and helpers, too
        except ProcessLookupError:
            pass
        self.proc.wait()
        if start:
            self.start()

    def inside(self, line, check=True):
        """Runs a shell line in the guest; returns what it printed."""
        with socket.create_connection((ADDR, CONTROL_PORT), 200) as s:
            s.sendall(line.encode() + b"\n")
            data = b""
            while chunk := s.recv(65536):
                data += chunk
        status, _, text = data.decode(errors="replace").partition("\n")
        if check and status != "0":
            raise servers.ServerError("in the server's guest: status %s of %s: %s" % (status, line, text[-2000:]))
        return text

    def stop(self):
        """SIGTERM to the server; the machine goes on, as check() and start() want it. The server's exit status."""
        if not self.alive():
            return 0
        status = int(self.inside("stop"))
        self.inside("off", check=False)
        try:
            self.proc.wait(30)
        except subprocess.TimeoutExpired:
            self.kill9(start=False)
        return status

    def check(self):
        """Stops the server, checks its store with all data, starts it again; what the check printed."""
        self.inside("stop")
        try:
            return self.inside("/job/bin/volnfs check --data --store %s --all" % self.store)
        finally:
            self.inside("off", check=False)
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.kill9(start=False)
            self.start()

    def volnfs(self, *args, check=True):
        quoted = " ".join("'%s'" % a.replace("'", "'\\''") for a in args)
        return self.inside("/job/bin/volnfs --store %s %s" % (self.store, quoted), check)

    def make_volume(self, name):
        end = time.monotonic() + 20
        while True:     # the control line listens a moment after the server does
            try:
                return self.volnfs("create", name)
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
