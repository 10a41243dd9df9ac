#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run a job in one or two User-mode Linux guests: real Linux NFS clients of a private server.

    uml.py [--guests N] [--vers 4.0,4.1,4.2] [--server-arg ARG]... [--timeout S] [--set NAME=VALUE]... JOB.py

JOB.py is a script of tests/uml/jobs/ (or a path) and runs in every guest with tests/uml/jobs/guest.py at hand, which
reports each case over TCP; this program prints the cases as TAP and its plan at the end. Exit status 0 if all passed.

Everything happens inside new network, mount and process namespaces (and a user namespace when not root): server,
guests, taps and mounts are gone when their first process is, whatever happened. In the namespace the server listens
on 10.99.0.1:2049; guest N is 10.99.<N-1>.2. The control listener on 10.99.0.1:7 takes one line per connection:
    tap TEXT | done STATUS | barrier NAME     from the guest's cases
    restart | kill9 | kill9-starting MS | stop | start    kill9-starting: killed once more, MS after its start
    check                                     stops the server, runs volnfs check --data on its store, starts it
    volnfs ARGS | log | host SCRIPT           SCRIPT runs beside the server, with $ADDR, $PORT and $STORE
    kill                the guest that says it, as a power cut would
    rss                 the server's resident memory in kB
    flip HEX                                  flips a byte in the store's one place that holds these bytes (server down)
and answers with a line "STATUS" followed by text.

VOLNFS_TEST_SERVER=ganesha drives NFS-Ganesha in place of volnfsd (to test the tests). With --power the server has a
guest of its own at 10.99.9.2, with its store on a disk of that guest, and kill9 cuts that guest's power.
"""
import argparse
import ctypes
import os
import shlex
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "lib")]
import powered  # noqa: E402
import servers  # noqa: E402

ADDR, PORT, CONTROL_PORT = "10.99.0.1", 2049, 7
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def why_not():
    """Why no guest can be booted here, or None."""
    for tool, package in (("linux.uml", "user-mode-linux"), ("mount.nfs4", "nfs-common"), ("ip", "iproute2"),
                          ("unshare", "util-linux")):
        if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return "%s is not installed (package %s)" % (tool, package)
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun may not be opened by this user"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    probe = subprocess.run(UNSHARE + user + ["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if probe.returncode != 0:
        return "no tap in a new network namespace: " + probe.stdout.strip().replace("\n", "; ")
    return None


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--guests", type=int, default=1)
    p.add_argument("--vers", default="4.0,4.1,4.2")
    p.add_argument("--mem", default="512M")
    p.add_argument("--timeout", type=int, default=900)
    p.add_argument("--server-arg", action="append", default=[])
    p.add_argument("--set", action="append", default=[], help="NAME=VALUE for the job")
    p.add_argument("--plain", action="store_true", help="print the job's lines as they come, no TAP")
    p.add_argument("--why-not", action="store_true", help="say why no guest can be booted here; status 0 if it can")
    p.add_argument("--keep", action="store_true", help="keep the folder (consoles, server's log and store), say where")
    p.add_argument("--power", action="store_true", help="the server in a guest of its own whose power is cut")
    p.add_argument("--pcap", help="record what goes over the wire into this file (needs tcpdump)")
    p.add_argument("--beside", help="a command to run beside the server meanwhile, in the run's folder: a case of its own")
    p.add_argument("--inside", help=argparse.SUPPRESS)
    p.add_argument("job", nargs="?")
    return p.parse_args()


# ---- outside the namespaces -------------------------------------------------------------------------------------

def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def outside(args):
    reason = why_not()
    if args.why_not:
        print(reason or "guests can be booted here")
        return 1 if reason else 0
    if reason:
        print("1..0 # SKIP kernel client: " + reason)
        return 0
    folder = tempfile.mkdtemp(prefix="volnfs-uml.")
    child = None

    def stop(signum, _frame):
        sys.exit(128 + signum)

    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, stop)
    try:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        child = subprocess.Popen(UNSHARE + user + [sys.executable, "-B", os.path.abspath(__file__), "--inside", folder]
                                 + sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        return child.wait()
    finally:
        if child and child.poll() is None:
            child.kill()
            child.wait()
        if args.keep:
            print("# kept: " + folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


# ---- inside -----------------------------------------------------------------------------------------------------

class Run:
    def __init__(self, args):
        self.args, self.folder = args, args.inside
        self.lock = threading.Lock()
        self.cases = self.failed = 0
        self.done = {}                     # guest -> exit status of its job
        self.barriers = {}
        self.server_lock = threading.Lock()
        kind = os.environ.get("VOLNFS_TEST_SERVER", "volnfsd")
        folder = os.path.join(self.folder, "server")
        self.server = (powered.Powered(folder, HERE, args.server_arg) if args.power else
                       servers.make(kind, folder, ADDR, PORT, args.server_arg))

    def tap(self, line):
        with self.lock:
            if self.args.plain:
                print(line, flush=True)
            elif line.startswith(("ok", "not ok")):
                self.cases += 1
                self.failed += line.startswith("not ok") and "# TODO" not in line
                word, _, name = line.partition(" - ")
                print("%s %d - %s" % (word, self.cases, name), flush=True)
            else:
                print("# " + line, flush=True)

    def barrier(self, name):
        with self.lock:
            b = self.barriers.setdefault(name, threading.Barrier(self.args.guests))
        try:
            b.wait(timeout=200)
            return 0, ""
        except threading.BrokenBarrierError:
            return 1, "another guest did not come to barrier " + name

    def command(self, guest, line):
        word, _, rest = line.partition(" ")
        if word == "tap":
            self.tap(rest)
            return 0, ""
        if word == "done":
            self.done[guest] = int(rest)
            return 0, ""
        if word == "barrier":
            return self.barrier(rest)
        with self.server_lock:
            s = self.server
            try:
                if word == "kill":
                    self.kill(guest)
                elif word == "restart":
                    s.restart()
                elif word == "kill9":
                    s.kill9()
                elif word == "stop":
                    s.stop()
                elif word == "start":
                    s.start()
                elif word == "rss":
                    return 0, str(servers.rss_kb(s.pid))
                elif word == "kill9-starting":
                    s.kill9_starting(float(rest) / 1000)
                elif word == "check":
                    return 0, s.check()
                elif word == "flip":
                    return 0, servers.flip(s.store, bytes.fromhex(rest))
                elif word == "host":
                    return self.host(rest)
                elif word == "log":
                    return 0, s.log_text()
                elif word == "volnfs":
                    return 0, s.volnfs(*shlex.split(rest))
                else:
                    return 1, "unknown command " + word
                return 0, ""
            except servers.ServerError as e:
                return 1, str(e)

    def host(self, script):
        env = dict(os.environ, ADDR=ADDR, PORT=str(PORT), STORE=getattr(self.server, "store", ""),
                   VOLNFS=servers.program("volnfs") or "volnfs")
        done = subprocess.run(["bash", "-ec", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=env, timeout=200, cwd=self.folder)
        return done.returncode, done.stdout.decode(errors="replace")

    def listen(self):
        run = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                guest = int(self.client_address[0].split(".")[2]) + 1
                line = self.rfile.readline().decode(errors="replace").rstrip("\n")
                try:
                    status, text = run.command(guest, line)
                except Exception as e:  # the guest must hear of it, whatever it was
                    status, text = 1, repr(e)
                self.wfile.write(("%d\n%s" % (status, text)).encode())

        socketserver.ThreadingTCPServer.daemon_threads = True
        server = socketserver.ThreadingTCPServer((ADDR, CONTROL_PORT), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def beside(self):
        self.said = open(os.path.join(self.folder, "beside"), "w+")
        return subprocess.Popen(shlex.split(self.args.beside), stdin=subprocess.DEVNULL, stdout=self.said,
                                stderr=subprocess.STDOUT, cwd=self.folder, preexec_fn=die_with_parent)

    def beside_ended(self, proc):
        try:
            status = proc.wait(120)
        except subprocess.TimeoutExpired:
            status = "still running"
            proc.kill()
            proc.wait()
        self.said.seek(0)
        for line in self.said.read().splitlines()[-60:]:
            self.tap(line)
        self.tap("%sok - what ran beside the server (status %s)" % ("" if status == 0 else "not ", status))
        return status == 0

    def network(self):
        script = "ip link set lo up\n"
        for g in list(range(self.args.guests)) + [powered.GUEST - 1] * self.args.power:
            script += ("ip tuntap add dev tap%d mode tap\nip addr add 10.99.%d.1/24 dev tap%d\nip link set tap%d up\n"
                       % (g, g, g, g))
        if self.args.power:
            script += "echo 1 >/proc/sys/net/ipv4/ip_forward\n"
        subprocess.run(["sh", "-ec", script], check=True)

    def files(self):
        jobs = os.path.join(self.folder, "jobs")
        shutil.copytree(os.path.join(HERE, "jobs"), jobs)
        shutil.copytree(os.path.join(os.path.dirname(HERE), "workflow"), os.path.join(self.folder, "workflow"))
        shutil.copy(os.path.join(os.path.dirname(os.path.dirname(HERE)), "README"), self.folder)
        if os.path.sep in self.args.job:
            shutil.copy(self.args.job, jobs)
        os.mkdir(os.path.join(self.folder, "bin"))
        mount = os.path.join(self.folder, "bin", "mount")
        shutil.copyfile(os.path.realpath(shutil.which("mount")), mount)
        os.chmod(mount, 0o755)
        init = os.path.join(self.folder, "init.sh")
        shutil.copyfile(os.path.join(HERE, "init.sh"), init)
        os.chmod(init, 0o755)

    def guest(self, n):
        a = self.args
        console = open(os.path.join(self.folder, "console.%d" % n), "wb")
        argv = ["linux.uml", "mem=" + a.mem, "rootfstype=hostfs", "rootflags=/", "ro",
                "init=%s/init.sh" % self.folder, "uml_dir=%s" % self.folder, "umid=g%d" % n,
                "vec0:transport=tap,ifname=tap%d,depth=128,gro=1,mac=02:00:00:00:00:%02x" % (n - 1, n),
                "con=null", "con0=null,fd:1", "quiet", "JOBDIR=" + self.folder, "JOB=" + os.path.basename(a.job),
                "GUEST=%d" % n, "GUESTS=%d" % a.guests, "PORT=%d" % PORT, "VERS=" + a.vers, "NFSD=" + self.server.addr] + a.set
        shm = os.access("/dev/shm", os.W_OK)    # a guest's memory is a deleted file there
        env = dict(os.environ, TMPDIR="/dev/shm" if shm else self.folder)
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=env,
                                start_new_session=True)    # a dying guest signals its whole process group

    def kill(self, n):
        """All processes of a guest at once: its kernel traces its processes, and one whose tracer alone is killed goes
        on by itself, with what it takes for system calls of the guest going to the host."""
        os.killpg(self.guests[n].pid, signal.SIGKILL)

    def console_tail(self, n):
        with open(os.path.join(self.folder, "console.%d" % n), errors="replace") as f:
            for line in f.read().splitlines()[-20:]:
                print("# guest %d: %s" % (n, line.rstrip("\r")))

    def main(self):
        self.network()
        self.files()
        self.server.start()
        self.server.make_volume("alice/mydata")
        self.listen()
        beside = self.beside() if self.args.beside else None
        if self.args.pcap:
            subprocess.Popen(["tcpdump", "-Z", "root", "--immediate-mode", "-U", "-i", "tap0", "-w", self.args.pcap, "port %d" % PORT],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        guests = self.guests = {n: self.guest(n) for n in range(1, self.args.guests + 1)}
        end = time.monotonic() + self.args.timeout
        while any(p.poll() is None for p in guests.values()) and time.monotonic() < end:
            time.sleep(0.05)
        bad = False
        if beside and not self.beside_ended(beside):
            bad = True
        for n, p in guests.items():
            if p.poll() is None:
                self.tap("not ok - guest %d is still busy after %d s" % (n, self.args.timeout))
                bad = True
            elif self.done.get(n) != 0:
                self.tap("not ok - the job of guest %d ended well (status %s)" % (n, self.done.get(n, "unknown")))
                bad = True
            if bad or self.failed:
                self.console_tail(n)
        try:
            if not self.server.alive():
                self.tap("not ok - the server is still there at the end")
            elif self.server.stop() != 0 and self.server.name == "volnfsd":
                self.tap("not ok - the server stops cleanly")
        except servers.ServerError as e:
            self.tap("not ok - " + str(e).splitlines()[0])
        if bad or self.failed:
            for line in self.server.log_text().splitlines()[-20:] if self.server.name == "volnfsd" else ():
                print("# server: " + line)
        if not self.args.plain:
            print("1..%d" % self.cases)
        return 1 if bad or self.failed else 0


def main():
    args = arguments()
    if not args.inside:
        return outside(args)
    die_with_parent()
    status = 1
    try:
        status = Run(args).main()
    except (servers.ServerError, subprocess.CalledProcessError, OSError) as e:
        print("Bail out! " + str(e).replace("\n", " | "))
    sys.stdout.flush()
    os._exit(status)    # the process namespace goes with us, and everything in it


if __name__ == "__main__":
    sys.exit(main())
