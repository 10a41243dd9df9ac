# SPDX-License-Identifier: Apache-2.0
"""Private servers for tests and benches: volnfsd, and NFS-Ganesha as a peer, each in a folder of its own.

A server has: port, pid, log (path), start(), stop(), kill9(), restart(), make_volume("alice/mydata"), log_text().
start() returns when the server takes connections; it raises ServerError with the end of the log when it does not.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import time


class ServerError(Exception):
    pass


def build_dir():
    return os.environ.get("VOLNFS_BUILD", os.getcwd())


def source_dir():
    here = os.path.dirname(os.path.abspath(__file__))
    return os.environ.get("VOLNFS_SRC", os.path.dirname(os.path.dirname(here)))


def program(name):
    """The path of a program of this build, or None."""
    path = os.path.join(build_dir(), name)
    return path if os.access(path, os.X_OK) else None


def free_port(addr="127.0.0.1"):
    with socket.socket() as s:
        s.bind((addr, 0))
        return s.getsockname()[1]


class Server:
    """What both kinds share: one child process with its log in a file."""
    stop_timeout = 30

    def __init__(self, folder, addr="127.0.0.1", port=0):
        self.folder, self.addr, self.port = folder, addr, port
        self.log = os.path.join(folder, self.name + ".log")
        self.proc = None
        os.makedirs(folder, exist_ok=True)

    @property
    def pid(self):
        return self.proc.pid

    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def _spawn(self, argv, env=None):
        self.log_start = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         env=env, start_new_session=True)

    def _log_new(self):
        with open(self.log, "rb") as f:
            f.seek(self.log_start)
            return f.read().decode(errors="replace")

    def _wait(self, ready, seconds=60):
        end = time.monotonic() + seconds
        while not ready():
            if self.proc.poll() is not None:
                raise ServerError("%s ended with %d:\n%s" % (self.name, self.proc.returncode, self._log_new()[-2000:]))
            if time.monotonic() > end:
                self.kill9(start=False)
                raise ServerError("%s is not ready after %d s:\n%s" % (self.name, seconds, self._log_new()[-2000:]))
            time.sleep(0.01)

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def stop(self):
        """SIGTERM; returns the exit status."""
        if self.proc is None:
            return 0
        if self.alive():
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(self.stop_timeout)
            except subprocess.TimeoutExpired:
                self.kill9(start=False)
                raise ServerError("%s did not stop within %d s of SIGTERM" % (self.name, self.stop_timeout))
        return self.proc.returncode

    def kill9(self, start=True):
        if self.alive():
            self.proc.kill()
        self.proc.wait()
        if start:
            self.start()

    def kill9_starting(self, seconds):
        """SIGKILL, start, SIGKILL again so soon that it may still be recovering; then start for good."""
        self.kill9(start=False)
        self.launch()
        time.sleep(seconds)
        self.kill9()

    def start(self):
        self.launch()
        self._wait(self._ready)

    def restart(self):
        rc = self.stop()
        if rc != 0 and self.name == "volnfsd":
            raise ServerError("volnfsd ended with %d on SIGTERM:\n%s" % (rc, self._log_new()[-2000:]))
        self.start()

    def peak_rss(self):
        """Peak resident memory in bytes."""
        with open("/proc/%d/status" % self.pid) as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) * 1024


class Volnfsd(Server):
    name = "volnfsd"

    def __init__(self, folder, addr="127.0.0.1", port=0, args=()):
        super().__init__(folder, addr, port)
        self.store = os.path.join(folder, "store")
        self.args = list(args)

    def launch(self):
        exe = program("volnfsd")
        if not exe:
            raise ServerError("no volnfsd in %s" % build_dir())
        # Clients elsewhere, such as guests, need a grant; tests of grants bring their own.
        grant = [] if self.addr.startswith("127.") or "--grant" in self.args else ["--grant", "any / create"]
        self._spawn([exe, "--store", self.store, "--listen", "%s:%d" % (self.addr, self.port)] + grant + self.args)

    def _ready(self):
        m = re.search(r"^.*\bready\b.*$", self._log_new(), re.M | re.I)
        if not m:
            return False
        ports = re.findall(r":(\d+)\b", m.group(0))
        if self.port == 0 and ports:
            self.port = int(ports[-1])
        return True

    def volnfs(self, *args, check=True):
        """Run `volnfs VERB ...` on this server's store; returns its standard output."""
        done = subprocess.run([program("volnfs"), "--store", self.store] + list(args), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and done.returncode != 0:
            raise ServerError("volnfs %s: status %d: %s" % (" ".join(args), done.returncode, done.stderr))
        return done.stdout

    def check(self):
        """Stops the server, checks its store with all data, starts it again; what the check printed."""
        self.stop()
        try:
            return self.volnfs("check", "--data", "--all")
        finally:
            self.start()

    def make_volume(self, name):
        self.volnfs("create", name)


GANESHA_CONF = """
NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = {addr}; Enable_NLM = false; Enable_RQUOTA = false;
                  Plugins_Dir = /usr/lib/x86_64-linux-gnu/ganesha; }}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; Minor_Versions = 0,1,2; Only_Numeric_Owners = true; }}
EXPORT {{ Export_Id = 1; Path = {root}; Pseudo = /; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
          Protocols = 4; Transports = TCP; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = WARN; }}
"""


class Ganesha(Server):
    """The peer. Needs root: its VFS back end opens files by handle. Its state folders are hidden under a tmpfs."""
    name = "ganesha"

    @staticmethod
    def missing():
        if not shutil.which("ganesha.nfsd"):
            return "nfs-ganesha is not installed"
        if os.geteuid() != 0:
            return "nfs-ganesha's VFS back end needs root"
        return None

    def launch(self):
        root = os.path.join(self.folder, "export")
        os.makedirs(root, exist_ok=True)
        self.port = self.port or free_port(self.addr)
        conf = os.path.join(self.folder, "ganesha.conf")
        with open(conf, "w") as f:
            f.write(GANESHA_CONF.format(addr=self.addr, port=self.port, root=root))
        script = ("mkdir -p /var/run/ganesha /var/lib/nfs/ganesha && mkdir -p {0}/state && "
                  "mount -t tmpfs tmp /var/run/ganesha && mount --bind {0}/state /var/lib/nfs/ganesha && "
                  "exec ganesha.nfsd -F -L {0}/ganesha.log -f {0}/ganesha.conf -p {0}/ganesha.pid".format(self.folder))
        self._spawn(["unshare", "-m", "sh", "-c", script])

    def _ready(self):
        try:
            socket.create_connection((self.addr, self.port), 1).close()
            return True
        except OSError:
            return False

    def make_volume(self, name):
        os.makedirs(os.path.join(self.folder, "export", name), exist_ok=True)


def rss_kb(pid):
    """Resident memory of a process in kB."""
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1))


def flip(folder, pattern):
    """Flip one bit in the middle of the only place under folder that holds pattern; returns the file's name."""
    found = []
    for path, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(path, name), "rb") as f:
                data = f.read()
            at = data.find(pattern)
            while at >= 0:
                found.append((os.path.join(path, name), at + len(pattern) // 2))
                at = data.find(pattern, at + 1)
    if len(found) != 1:
        raise ServerError("the bytes are in %d places: %s" % (len(found), found[:5]))
    path, at = found[0]
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x10]))
    return path


def make(kind, folder, addr="127.0.0.1", port=0, args=()):
    if kind == "ganesha":
        return Ganesha(folder, addr, port)
    return Volnfsd(folder, addr, port, args)
