#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the suite in a local folder and in a volume through the preload client, and compares: TAP, one case each.

    compare.py [--user UID] [--strace] [--env NAME=VALUE] [--keep DIR] [GROUP[.CASE]...]

--user runs both as that user. --strace runs only the volume's side, under strace, and looks for system calls that
reached the kernel with the name of a volume. Differences that are right are listed in the file `differences`.
"""
import argparse
import difflib
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import servers

VOLUME = "/volumes/t"


def permitted():
    """[(pattern of "case: text", pattern of the local value, pattern of the volume's value)]"""
    rows = []
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "differences")
    with open(path) as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                rows.append([part.strip() for part in line.split(" | ")][:3])
    return rows


def cases(text):
    """{case: [lines]} in order."""
    result, lines = {}, []
    for line in text.splitlines():
        if re.fullmatch(r"\w+\.\w+:", line):
            lines = result.setdefault(line[:-1], [])
        else:
            lines.append(line.strip())
    return result


def split(line):
    """The text and the value of a line; a line without a value is all text."""
    for mark in (" = ", ": "):
        text, found, value = line.rpartition(mark) if mark == " = " else line.partition(mark)
        if found:
            return text, value
    return line, ""


def same_line(case, local, volume, rows):
    if local == volume:
        return True
    (text, a), (other, b) = split(local), split(volume)
    text, a = (other, "(nothing)") if local == "" else (text, a)
    other, b = (text, "(nothing)") if volume == "" else (other, b)
    return text == other and any(
        fnmatch.fnmatchcase("%s: %s" % (case, text), row[0]) and fnmatch.fnmatchcase(a, row[1]) and
        fnmatch.fnmatchcase(b, row[2]) for row in rows)


def differences(case, local, volume, rows):
    """Lines are paired by their texts, so that one that is missing does not make all that follow it differ."""
    out = []
    pairs = difflib.SequenceMatcher(None, [split(line)[0] for line in local], [split(line)[0] for line in volume], False)
    for how, a, to_a, b, to_b in pairs.get_opcodes():
        if how == "equal":
            for i in range(to_a - a):
                if not same_line(case, local[a + i], volume[b + i], rows):
                    out += ["local:  " + local[a + i], "volume: " + volume[b + i]]
        else:
            out += ["local:  " + line for line in local[a:to_a] if not same_line(case, line, "", rows)]
            out += ["volume: " + line for line in volume[b:to_b] if not same_line(case, "", line, rows)]
    return out


def as_user(uid):
    return ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"] if uid else []


def leaks(path):
    """Calls in strace's output that gave the kernel a volume's name; texts of links are none, nor what it answers, nor
    what a copy of a program is called."""
    found = []
    with open(path, errors="replace") as f:
        for line in f:
            call = line.split("(", 1)[0].split()[-1] if "(" in line else ""
            names = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            if call.startswith("symlink"):
                names = names[1:]
            elif call.startswith("exec") or call.startswith("readlink"):
                names = names[:1]
            elif call in ("memfd_create", "read", "write", "pread64", "pwrite64", "getcwd", "recvmsg", "sendmsg", "readv",
                          "writev"):
                names = []
            if any(name == VOLUME or name.startswith(VOLUME + "/") for name in names):
                found.append(line.strip()[:300])
    return found


class Output:
    def __init__(self):
        self.count = self.failures = 0

    def result(self, good, name, why=()):
        self.count += 1
        self.failures += not good
        print("%sok %d - %s" % ("" if good else "not ", self.count, name))
        for line in why if not good else ():
            print("#   " + line)
        sys.stdout.flush()

    def done(self):
        print("1..%d" % self.count)
        return int(self.failures > 0)


def open_to_all(folder):
    """Copies of the programs where another user can reach them: the build may lie in a folder that is closed to him."""
    programs = os.path.join(folder, "bin")
    os.mkdir(programs, 0o755)
    for name in ("volnfs", "libvolnfs_preload.so", "tests/shim/suite"):
        shutil.copy(os.path.join(servers.build_dir(), name), programs)
    return os.path.join(programs, "volnfs"), os.path.join(programs, "suite")


def run_suite(argv, suite, where, local, names):
    os.makedirs(local)
    os.chmod(local, 0o777)
    done = subprocess.run(argv + [suite, where, local] + names, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", cwd="/")
    return done.returncode, done.stdout.replace(where, "DIR").replace(local, "LOCAL")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", type=int, default=0)
    parser.add_argument("--strace", action="store_true")
    parser.add_argument("--env", help="for the volume's side")
    parser.add_argument("--keep")
    parser.add_argument("names", nargs="*")
    opt = parser.parse_args()
    if opt.user and os.geteuid() != 0:
        print("1..0 # SKIP root is needed to be another user")
        return 0
    if opt.strace and not shutil.which("strace"):
        print("1..0 # SKIP strace is not installed")
        return 0
    # The same length as the folder on the volume, so that what prints a length of a path agrees.
    folder = tempfile.mkdtemp(prefix="v", dir="/tmp")
    where = folder + "/" + "s" * (len(VOLUME + "/suite") - len(folder) - 1)
    os.chmod(folder, 0o755)
    tap = Output()
    server = servers.Volnfsd(os.path.join(folder, "server"))
    try:
        server.start()
        volnfs, suite = servers.program("volnfs"), servers.program("tests/shim/suite")
        if opt.user:
            volnfs, suite = open_to_all(folder)
        run = [volnfs, "run", "-s", "127.0.0.1:%d" % server.port, "-v", "alice/t", "--"]
        made = subprocess.run(run + ["/bin/sh", "-c", "mkdir %s/suite && chmod 777 %s %s/suite" % ((VOLUME,) * 3)],
                              capture_output=True, text=True)
        tap.result(made.returncode == 0, "a folder on the volume", made.stderr.splitlines())
        if made.returncode != 0:
            return tap.done()
        trace = os.path.join(folder, "trace")
        if opt.strace:
            open(trace, "w").close()
            run += ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file,%desc", "-e", "signal=none", "-o", trace]
        env = ["env", opt.env] if opt.env else []
        code, volume = run_suite(env + as_user(opt.user) + run, suite, VOLUME + "/suite", os.path.join(folder, "lv"), opt.names)
        if opt.keep:
            os.makedirs(opt.keep, exist_ok=True)
            with open(os.path.join(opt.keep, "volume"), "w") as f:
                f.write(volume)
        tap.result(code == 0, "the suite ran on the volume", ["status %d" % code] + volume.splitlines()[-3:])
        if opt.strace:
            found = leaks(trace)
            tap.result(os.path.getsize(trace) > 1000, "strace saw calls")
            tap.result(not found, "no call with a volume's name reached the kernel", found[:40])
            if opt.keep:
                shutil.copy(trace, opt.keep)
            return tap.done()
        os.mkdir(where)
        os.chmod(where, 0o777)
        code, local = run_suite(as_user(opt.user), suite, where, os.path.join(folder, "ll"), opt.names)
        if opt.keep:
            with open(os.path.join(opt.keep, "local"), "w") as f:
                f.write(local)
        tap.result(code == 0, "the suite ran on a local folder", ["status %d" % code] + local.splitlines()[-3:])
        local, volume, rows = cases(local), cases(volume), permitted()
        for case in local:
            found = differences(case, local[case], volume.get(case, []), rows)
            found += ["local:  " + line for line in local[case] if line == "ended by status 99"] # it lost its output
            tap.result(not found, case, found)
        return tap.done()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
