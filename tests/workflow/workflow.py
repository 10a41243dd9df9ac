#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job: a workflow of tasks whose file I/O is on a volume.

    workflow.py [MOUNTPOINT]        one dispatch; default /volumes/mydata

Three init_labelled_model tasks run in parallel, each a process of its own as it would be a worker of its own; then
update_models reads what they left. Printed as JSON: {label: [lines of its log]}. A volume outlives the run: each
dispatch on the same volume adds one line per label.
    workflow.py [MOUNTPOINT] task init_labelled_model LABEL | task update_models LABEL...
runs one task alone, as a worker does that was handed it.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

VOLUME = "/volumes/mydata"
LABELS = ["alpha", "beta", "gamma"]
MODEL_SIZE = 4 << 20


def write_model(path):
    """A model file of MODEL_SIZE bytes that is the same each time: half of it compresses, as weights do."""
    with open(path, "wb") as f:
        for i in range(MODEL_SIZE // 4096):
            noise = b"".join(hashlib.sha256(b"%d.%d" % (i, j)).digest() for j in range(64))
            f.write(noise + bytes([i & 0xff]) * 2048)


def checksum(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def init_labelled_model(volume, label):
    """Make the label's folder, copy a model into it, add a line to its log."""
    folder = os.path.join(volume, label)
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as local:
        source = os.path.join(local, "model.bin")
        write_model(source)
        target = os.path.join(folder, "model.bin")
        with open(source, "rb") as i, open(target + ".new", "wb") as o:
            while block := i.read(1 << 20):
                o.write(block)
            o.flush()
            os.fsync(o.fileno())
        os.rename(target + ".new", target)
        if checksum(target) != checksum(source):
            raise OSError("%s differs from what was written" % target)
    with open(os.path.join(folder, "log.txt"), "a") as log:
        log.write(time.strftime("%H:%M:%S") + " - init new model\n")
        log.flush()
        os.fsync(log.fileno())


def update_models(volume, labels):
    """Read every label's log: {label: [lines]}."""
    result = {}
    for label in labels:
        with open(os.path.join(volume, label, "log.txt")) as log:
            result[label] = log.read().splitlines()
    return result


def dispatch(volume, labels=LABELS):
    """Run the workflow once; returns {label: [lines]}."""
    me = os.path.abspath(__file__)
    tasks = [subprocess.Popen([sys.executable, "-B", me, volume, "task", "init_labelled_model", label])
             for label in labels]
    status = [t.wait() for t in tasks]
    if any(status):
        raise OSError("init_labelled_model ended with %s" % status)
    return update_models(volume, labels)


def main(argv):
    volume = argv.pop(0) if argv and argv[0] != "task" else VOLUME
    if not argv:
        print(json.dumps(dispatch(volume), indent=1), flush=True)
    elif argv[:2] == ["task", "init_labelled_model"] and len(argv) == 3:
        init_labelled_model(volume, argv[2])
    elif argv[:2] == ["task", "update_models"]:
        print(json.dumps(update_models(volume, argv[2:]), indent=1), flush=True)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
