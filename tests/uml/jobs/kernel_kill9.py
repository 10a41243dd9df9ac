# SPDX-License-Identifier: Apache-2.0
"""Files are written with fsync while the server is killed again and again; nothing acknowledged may be missing.

Each writer keeps a model of what it was told is done. The client never dies and its mount is hard, so at the end the
volume must equal the model exactly; caches are dropped before reading, so what is read comes from the server.
ROUNDS kills; every third one hits the server once more while it starts.
With uml.py --power the kills are power cuts, and the store is checked with all data after each, before the server.
"""
import hashlib
import json
import multiprocessing
import random
from guest import *

multiprocessing.set_start_method("fork")
ROUNDS = int(os.environ.get("ROUNDS", "5"))
WRITERS = 3
STOP = "/tmp/stop"


def content(rng):
    """Mixed sizes, mixed compressibility, some with a hole."""
    n = rng.choice((1, 100, 4096, 20000, 131072, 131073, 300000))
    return rng.randbytes(n) if rng.random() < 0.5 else rng.randbytes(64) * (n // 64 + 1)


def writer(n, d, seed, done):
    rng, model, count = random.Random(seed), {}, 0
    os.makedirs(d)
    while not os.path.exists(STOP):
        count += 1
        done[n] = count
        what = rng.random()
        if what < 0.5 or not model:
            name, data = "f%d" % count, content(rng)
            write_file(d + "/" + name + ".new", data, sync=True)
            rename_over_restart(d + "/" + name + ".new", d + "/" + name)
            model[name] = data
        elif what < 0.65:
            name = rng.choice(sorted(model))
            with open(d + "/" + name, "r+b") as f:
                at, data = rng.randrange(len(model[name]) + 5000), rng.randbytes(rng.choice((10, 5000, 140000)))
                f.seek(at)
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            old = model[name].ljust(at, b"\0")
            model[name] = old[:at] + data + old[at + len(data):]
        elif what < 0.75:
            name = rng.choice(sorted(model))
            size = rng.randrange(200000)
            os.truncate(d + "/" + name, size)
            model[name] = model[name][:size].ljust(size, b"\0")
        elif what < 0.85:
            name = rng.choice(sorted(model))
            rename_over_restart(d + "/" + name, d + "/r%d" % count)
            model["r%d" % count] = model.pop(name)
        else:
            name = rng.choice(sorted(model))
            unlink_over_restart(d + "/" + name)
            del model[name]
        if len(model) > 60:
            for name in sorted(model)[:30]:
                unlink_over_restart(d + "/" + name)
                del model[name]
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in model.items()}
    write_file("/tmp/model.%d" % n, json.dumps([count, sums]).encode())


def progress(done, changes, seconds=240):
    """Wait until the writers have made so many changes more: what they did before the last kill has gone on."""
    start, end = sum(done), time.monotonic() + seconds
    while sum(done) < start + changes:
        assert time.monotonic() < end, "the writers hang: %d changes in %d s" % (sum(done) - start, seconds)
        time.sleep(0.02)


def verify(n, d):
    count, model = json.loads(read_file("/tmp/model.%d" % n))
    say("writer %d: %d changes, %d files at the end" % (n, count, len(model)))
    assert sorted(os.listdir(d)) == sorted(model), sorted(set(os.listdir(d)) ^ set(model))
    for name, digest in model.items():
        assert hashlib.sha256(read_file(d + "/" + name)).hexdigest() == digest, name


def go(vers):
    where = mount(vers, "/alice/mydata", "/mnt/v", "hard")
    folders = ["%s/kill9-%s-%d" % (where, vers, n) for n in range(WRITERS)]
    if os.path.exists(STOP):
        os.unlink(STOP)
    done = multiprocessing.Array("l", WRITERS)
    ps = [multiprocessing.Process(target=writer, args=(n, folders[n], SEED * 1000 + n, done)) for n in range(WRITERS)]
    [p.start() for p in ps]
    try:
        for r in range(ROUNDS):
            progress(done, RNG.randrange(30))
            time.sleep(RNG.uniform(0, 0.3))
            ctl("kill9-starting %d" % RNG.choice((0, 1, 3, 10, 30, 100)) if r % 3 == 2 else "kill9")
    finally:
        write_file(STOP, b"")
        [p.join(280) for p in ps]
    assert [p.exitcode for p in ps] == [0] * WRITERS, "writers ended with %s" % [p.exitcode for p in ps]
    sh("echo 3 >/proc/sys/vm/drop_caches")
    for n in range(WRITERS):
        verify(n, folders[n])
    umount(where)
    mount(vers, "/alice/mydata", where)
    for n in range(WRITERS):
        verify(n, folders[n])
    sh("rm -rf %s/kill9-*" % where)
    umount(where)


def check_store():
    say(ctl("check"))


SEED = int(os.environ.get("SEED") or time.time())
RNG = random.Random(SEED)
say("seed %d" % SEED)
for vers in VERS:
    attempt("vers=%s: %d kills under 3 writers, nothing acknowledged is lost" % (vers, ROUNDS), go, vers)
    if not os.environ.get("FOREIGN"):
        attempt("vers=%s: volnfs check finds nothing" % vers, check_store)
finish()
