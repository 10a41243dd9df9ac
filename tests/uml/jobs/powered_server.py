# SPDX-License-Identifier: Apache-2.0
"""The machine whose power is cut (see powered.py): mounts its disk, checks the store as it was left, runs the server on
it, takes commands on port 7.

One line per connection: stop (SIGTERM to the server, its exit status), off (sync and power off), or a shell line. The
answer is the status, a line end, and what was printed.
"""
import os
import socket
import subprocess

store, listen = os.environ["STORE"], os.environ["LISTEN"]
args = [a for a in os.environ.get("ARGS", "").split(",") if a]
disk = os.path.dirname(store)
os.makedirs(disk, exist_ok=True)
subprocess.run(["/job/bin/mount", "-n", "-t", "ext4", "/dev/ubda", disk], check=True)
if os.path.exists(store + "/volumes"):
    check = subprocess.run(["/job/bin/volnfs", "check", "--data", "--all", "--store", store], stdin=subprocess.DEVNULL)
    print("check after the boot: status %d" % check.returncode, flush=True)
server = subprocess.Popen(["/job/bin/volnfsd", "--store", store, "--listen", listen, "--grant", "any / create"] + args,
                          stdin=subprocess.DEVNULL)
control = socket.create_server((listen.rpartition(":")[0], 7))


def answer(line):
    if line == "stop":
        server.terminate()
        return 0, str(server.wait())
    if line == "off":
        subprocess.run(["umount", disk], check=True)
        return 0, ""
    done = subprocess.run(["sh", "-c", line], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")
    return done.returncode, done.stdout


while True:
    conn, _ = control.accept()
    with conn:
        line = conn.makefile().readline().strip()
        try:
            status, text = answer(line)
        except Exception as e:  # whoever asked must hear of it
            status, text = 1, repr(e)
        conn.sendall(("%d\n%s" % (status, text)).encode())
    if line == "off" and status == 0:
        break
