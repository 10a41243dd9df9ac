#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The workflow without a mount: each task is a process under a `volnfs run` of its own.

    shim.py [--tap]

A private volnfsd serves an empty store in a temporary folder. The workflow is dispatched twice, with a restart of the
server in between: three init_labelled_model tasks in parallel, then update_models, whose result is printed: one line
per label, then two. Exit status 0 if so. --tap prints test results instead of the story.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
sys.path.insert(0, HERE)
import servers  # noqa: E402
from workflow import LABELS, MODEL_SIZE  # noqa: E402

# A Python that is a plain program: a version manager's wrapper costs a second per task.
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


def task(server, *args):
    """Starts one task as a worker does: volnfs run -v alice/mydata -- python3 workflow.py task ..."""
    return subprocess.Popen([servers.program("volnfs"), "run", "-s", "127.0.0.1:%d" % server.port, "-v", "alice/mydata",
                             "--", PYTHON, "-B", os.path.join(HERE, "workflow.py"), "/volumes/mydata", "task", *args],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def dispatch(server):
    """One run of the workflow: {label: [lines]}."""
    tasks = [task(server, "init_labelled_model", label) for label in LABELS]
    status = [(t.communicate(), t.returncode)[1] for t in tasks]
    if any(status):
        raise OSError("init_labelled_model ended with %s" % status)
    reader = task(server, "update_models", *LABELS)
    out = reader.communicate()[0]
    if reader.returncode:
        raise OSError("update_models ended with %d" % reader.returncode)
    return json.loads(out)


def lines(result, n):
    return sorted(result) == sorted(LABELS) and all(
        len(v) == n and all(line.endswith(" - init new model") for line in v) for v in result.values())


def main(argv):
    tap, failed, count = "--tap" in argv, 0, 0
    folder = tempfile.mkdtemp(prefix="volnfs-workflow.")
    server = servers.Volnfsd(os.path.join(folder, "server"), args=["--lease-time", "5"])

    def told(good, what):
        nonlocal failed, count
        count += 1
        failed += not good
        if tap:
            print("%s %d - %s" % ("ok" if good else "not ok", count, what), flush=True)
        else:
            print("%s: %s" % ("ok" if good else "FAILED", what), flush=True)

    try:
        server.start()
        for n in (1, 2):
            result = dispatch(server)
            if not tap:
                print(json.dumps(result, indent=1), flush=True)
            told(lines(result, n), "dispatch %d: %d line%s per label" % (n, n, "s" * (n > 1)))
            if n == 1:
                server.restart()
                told(True, "the server restarted")
        size = sum(int(s) for s in subprocess.run(
            [servers.program("volnfs"), "du", "--server", "127.0.0.1:%d" % server.port, "-s", "alice/mydata:/"],
            text=True, stdout=subprocess.PIPE).stdout.split()[:1])
        told(size >= 3 * MODEL_SIZE, "the volume holds three models: %d bytes" % size)
        told(server.stop() == 0, "the server stops cleanly")
    except (OSError, servers.ServerError, ValueError) as e:
        told(False, str(e).replace("\n", "; "))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if tap:
        print("1..%d" % count)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
