#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What runs beside the server in a fight: the arbiter, raw clients that fight along, and the restarts.

    beside.py SECONDS SEED PERIOD MEMORY      started by uml.py --beside; the guests run tests/uml/jobs/fight.py

The arbiter knows who may have what. Everybody asks it over TCP (port 8), one JSON list a line, and gets one back:
    enter KEY WHO VALUE     WHO holds the lock KEY and found VALUE under it: nobody else may be inside, and VALUE has to
                            be what the last one left. Answer: the next value to write
    leave KEY WHO VALUE     VALUE is written, and the lock is about to be given up
    maybe KEY WHO           the lock is gone, and nobody knows whether the next value was written
    begin KEY -> N, done KEY N      N is being published in KEY; was published. One publisher of a KEY at a time
    least KEY -> N          what a reader that opens KEY now has to find at least
    held KEY T -> BOOL      did somebody begin and end publishing after the time T (of `now`)?
    now -> T, stop -> BOOL  is it time to end?
    wrong TEXT
A wrong thing ends the fight: it is told, with the seed. VALUE 0 is what a file has at first.
"""
import json
import os
import random
import socket
import socketserver
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import nfswire as w  # noqa: E402

ADDR, PORT, CONTROL, ARBITER = "10.99.0.1", 2049, 7, 8
FILES, LEAST, TOKENS = 4, 4, 24


class Wrong(Exception):
    pass


class Arbiter:
    def __init__(self, seconds):
        self.lock = threading.Lock()
        self.start = time.monotonic()
        self.end = self.start + seconds
        self.inside, self.value, self.version, self.published = {}, {}, {}, {}
        self.wrong, self.counts = [], {}

    def now(self):
        return time.monotonic() - self.start

    def fail(self, text):
        with self.lock:
            self.wrong.append("%.1f s: %s" % (self.now(), text))
            self.wrong_at = time.monotonic()
        print("wrong: " + text, file=sys.stderr, flush=True)
        self.end = 0

    def ask(self, what, *args):
        """The answer; notes what is wrong."""
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1
            try:
                return getattr(self, "do_" + what)(*args)
            except Wrong as e:
                text = str(e)
        self.fail(text)
        return None

    def do_enter(self, key, who, value):
        if key in self.inside:
            raise Wrong("%s got the lock %s that %s has" % (who, key, self.inside[key]))
        can = self.value.get(key, {0})
        if value not in can:
            raise Wrong("%s read %s in %s, not %s" % (who, value, key, sorted(can)))
        self.inside[key] = who
        self.value[key] = {value}
        return value + 1

    def do_leave(self, key, who, value):
        if self.inside.get(key) != who:
            raise Wrong("%s leaves %s, which %s has" % (who, key, self.inside.get(key)))
        del self.inside[key]
        self.value[key] = {value}

    def do_maybe(self, key, who):
        if self.inside.get(key) == who:
            del self.inside[key]
            self.value[key] |= {v + 1 for v in self.value[key]}

    def do_begin(self, key):
        n = self.version[key] = self.version.get(key, 0) + 1
        self.published.setdefault(key, []).append([n, self.now(), None])
        return n

    def do_done(self, key, n):
        for p in self.published[key]:
            if p[0] == n:
                p[2] = self.now()
        self.published[key] = self.published[key][-50:]

    def do_least(self, key):
        return max([p[0] for p in self.published.get(key, []) if p[2] is not None], default=0)

    def do_held(self, key, t):
        return any(p[1] > t and p[2] is not None for p in self.published.get(key, []))

    def do_now(self):
        return self.now()

    def do_stop(self):
        return time.monotonic() > self.end

    def do_wrong(self, text):
        raise Wrong(text)

    def serve(self):
        arbiter = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    self.wfile.write(json.dumps(arbiter.ask(*json.loads(line))).encode() + b"\n")

        socketserver.ThreadingTCPServer.daemon_threads = True
        socketserver.ThreadingTCPServer.allow_reuse_address = True
        server = socketserver.ThreadingTCPServer((ADDR, ARBITER), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()


def control(line):
    with socket.create_connection((ADDR, CONTROL), 200) as s:
        s.sendall(line.encode() + b"\n")
        s.shutdown(socket.SHUT_WR)
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    status, _, text = data.decode().partition("\n")
    if status != "0":
        raise RuntimeError("%s: %s" % (line, text))
    return text


# ---- raw clients ------------------------------------------------------------------------------------------------

class Status(Exception):
    """An operation's status that was not expected."""
    def __init__(self, status):
        super().__init__("status %d" % status)
        self.status = status


GRACE, DELAY, DENIED, NOENT, SHARE_DENIED = 10013, 10008, 10010, 2, 10015
# What a client is told that the server has forgotten, or has taken for another.
LOST = {10011, 10022, 10023, 10024, 10025, 10052, 10078, 10063, 10087, 10070}


def results(r, nops):
    """The status of the compound if not all operations were done."""
    if r.status is None:
        raise EOFError("no compound came back")
    if r.status:
        raise Status(r.status)
    if r.numres != nops:
        raise EOFError("results are missing")
    return r.results


class Back(w.Conn):
    """A connection that answers the server's callbacks; recalled: stateids of delegations to give back."""
    def __init__(self, addr):
        super().__init__(addr, 60)
        self.recalled = []

    def raw(self, body):
        self.send(w.record(body))
        while True:
            got = self.recv()
            if struct.unpack_from(">I", got, 4)[0] == 1:
                return w.Reply(got)
            self.call(got)

    def poll(self, seconds):
        """Callbacks, until one came or the time is over."""
        self.s.settimeout(seconds)
        try:
            if self.s.recv(1, socket.MSG_PEEK):
                self.s.settimeout(60)
                self.call(self.recv())
        except socket.timeout:
            pass
        finally:
            self.s.settimeout(60)

    def call(self, body):
        xid, _, _, _, _, proc = struct.unpack_from(">6I", body)
        head = w.u32(xid) + w.u32(1) + w.u32(0) + w.u32(0) + w.u32(0) + w.u32(0)
        if proc == 0:
            self.send(w.record(head))
            return
        at = 24
        for _ in range(2):                              # credential, verifier
            n, = struct.unpack_from(">I", body, at + 4)
            at += 8 + n + -n % 4
        n, = struct.unpack_from(">I", body, at)
        at += 4 + n + -n % 4 + 8                        # tag, minor version, ident
        nops, op = struct.unpack_from(">II", body, at)
        at += 8
        if op != 11 or nops != 2:
            raise Wrong("a callback that does not begin with CB_SEQUENCE")
        seq = body[at + 16:at + 28]                     # sequence, slot, highest
        out = w.u32(11) + w.u32(0) + body[at:at + 16] + seq + seq[8:]
        refs, = struct.unpack_from(">I", body, at + 32)
        at += 36
        if refs:
            raise Wrong("referring calls that the server does not send")
        op, = struct.unpack_from(">I", body, at)
        if op == 4:                                     # CB_RECALL
            self.recalled.append(body[at + 4:at + 20])
        out += w.u32(op) + w.u32(0 if op == 4 else 10004)
        self.send(w.record(head + w.u32(0 if op == 4 else 10004) + w.u32(0) + w.u32(2) + out))


class Raw(threading.Thread):
    """A client that comes back as a new one after each restart of the server: what it held is then gone."""
    def __init__(self, arbiter, seed, name):
        super().__init__(daemon=True)
        self.a, self.name, self.rnd = arbiter, name, random.Random("%s %s" % (seed, name))
        self.done, self.lives = False, 0
        self.inside = None      # the lock that we hold
        self.error = None
        self.last = time.monotonic()

    def run(self):
        try:
            while not self.a.ask("stop"):
                try:
                    self.connect()
                    self.lives += 1
                    while not self.a.ask("stop"):
                        self.last = time.monotonic()
                        self.rnd.choice(self.moves)()
                except Status as e:
                    if e.status not in LOST:
                        raise
                except (OSError, EOFError):
                    pass
                # Before a new connection: as long as we have not come back, nobody gets what we had.
                if self.inside:
                    self.a.ask("maybe", self.inside, self.name)
                    self.inside = None
                time.sleep(0.05)
            self.done = True
        except Exception as e:
            self.error = "%s: %r" % (self.name, e)
            self.a.fail(self.error)

    def patient(self, ops, ok=()):
        """Sends ops, again while the server says so; the results. ok: statuses that are given back as they are."""
        while True:
            r = self.send(ops)
            if r.status in (GRACE, DELAY):
                time.sleep(0.1)
                continue
            if r.status in ok:
                return r.status
            return results(r, len(ops) + self.extra)

    def folder(self):
        r = self.patient([w.putrootfh(), w.lookup(b"alice"), w.lookup(b"mydata"), w.lookup(b"fight"), w.getfh()])
        n, = struct.unpack_from(">I", r, len(r) - 4 - self.fh_room)
        return r[len(r) - n:]

    def names(self):
        """All names of the folder."""
        cookie, verf, out = 0, bytes(8), []
        while True:
            r = self.patient([w.putfh(self.dir), w.readdir(cookie, verf, 4096, 32768, [])])
            at = self.first + 8 + 8
            verf = r[at:at + 8]
            at += 8
            while struct.unpack_from(">I", r, at)[0]:
                cookie, n = struct.unpack_from(">QI", r, at + 4)
                out.append(r[at + 16:at + 16 + n])
                at += 16 + n + -n % 4 + 4 + 4           # the name, an empty bitmap, no values
            if struct.unpack_from(">I", r, at + 4)[0]:
                return out

    def rename(self):
        """A token gets a new name. Others may have been faster."""
        tokens = [n for n in self.names() if n.startswith(b"token.")]
        if not tokens:
            raise Wrong("all tokens are gone")
        old = self.rnd.choice(tokens)
        new = b"token.%s.%d" % (old.split(b".")[1], self.rnd.randrange(1 << 40))
        self.patient([w.putfh(self.dir), w.savefh(), w.rename(old, new)], ok=(NOENT,))

    def rewrite(self):
        """Under a lock of file K: what is there is what the last one wrote; writes the next."""
        k = self.rnd.randrange(FILES)
        key = "data.%d" % k
        fh, stateid = self.open(key.encode(), 3, 0)
        if fh is None:
            return
        lock = self.lock(fh, stateid)
        if lock:
            r = self.patient([w.putfh(fh), w.read(lock, 0, 4096)])
            at = self.first + 8 + 8
            n, = struct.unpack_from(">I", r, at + 4)
            data = r[at + 8:at + 8 + n]
            value = int(data[:16]) if data else 0
            if len(set(data[i:i + 16] for i in range(0, n, 16))) > 1:
                raise Wrong("%s read parts of two writes" % self.name)
            after = self.a.ask("enter", key, self.name, value)
            if after is None:
                return
            self.inside = key
            if self.rnd.random() < 0.3:
                time.sleep(self.rnd.random() / 5)
            self.patient([w.putfh(fh), w.write(lock, 0, 2, b"%015d\n" % after * 256)])
            self.a.ask("leave", key, self.name, after)
            self.inside = None
            self.unlock(fh, lock)
        self.close_file(fh, stateid)

    def deny(self):
        """An open that denies all others: only one raw client at a time has it."""
        fh, stateid = self.open(b"deny", 3, 3)
        if fh is None:
            return
        key = "deny"
        value = max(self.a.value.get(key, {0}))
        if self.a.ask("enter", key, self.name, value) is None:
            return
        self.inside = key
        time.sleep(self.rnd.random() / 20)
        self.a.ask("leave", key, self.name, value)
        self.inside = None
        self.close_file(fh, stateid)


class Raw40(Raw):
    extra, first, fh_room = 0, 0, 32

    def __init__(self, *args):
        super().__init__(*args)
        self.moves = [self.rename, self.rewrite, self.rewrite, self.deny]

    def send(self, ops):
        return self.c.compound(0, ops)

    def connect(self):
        self.c = w.Conn((ADDR, PORT), 60)
        self.client = w.Client40(self.c, self.name.encode())
        self.seq = 0
        self.n = 0
        self.owner_seq = 0
        self.owner = b"life %d" % self.lives
        self.confirmed = False
        self.dir = self.handle()

    def handle(self):
        while True:
            try:
                return w.handle(self.c, b"alice", b"mydata", b"fight")
            except OSError as e:
                if "status" not in str(e):
                    raise
                time.sleep(0.1)

    def counted(self, ops, ok=()):
        """An operation of our open owner: its seqid moves on, unless the status is one that does not count."""
        while True:
            r = self.send(ops(self.owner_seq))
            if r.status in (GRACE, DELAY) or r.status == 0 or r.status in ok:
                self.owner_seq += 1
            if r.status in (GRACE, DELAY):
                time.sleep(0.1)
                continue
            if r.status in ok:
                return None
            return results(r, len(ops(0)))

    def open(self, name, access, deny):
        r = self.counted(lambda q: [w.putfh(self.dir), w.open_(q, access, deny, self.client.id, self.owner, False, name),
                                    w.getfh()], ok=(SHARE_DENIED,))
        if r is None:
            return None, None
        stateid = r[16:32]
        flags, = struct.unpack_from(">I", r, 32 + 20)
        fh = r[-32:]
        if flags & 2:
            r = self.counted(lambda q: [w.putfh(fh), w.open_confirm(stateid, q)])
            stateid = r[16:32]
        return fh, stateid

    def lock(self, fh, stateid):
        self.n += 1
        lo = b"lock %d" % self.n
        r = self.counted(lambda q: [w.putfh(fh), w.lock_new(2, 0, 1 << 20, q, stateid, 1, self.client.id, lo)],
                         ok=(DENIED,))
        return r and r[16:32]

    def unlock(self, fh, lock):
        self.patient([w.putfh(fh), w.u32(14) + w.u32(2) + w.u32(2) + lock + w.u64(0) + w.u64(1 << 20)])

    def close_file(self, fh, stateid):
        self.counted(lambda q: [w.putfh(fh), w.close(q, stateid)])


class Raw41(Raw):
    extra, first, fh_room = 1, 44, 32

    def __init__(self, *args):
        super().__init__(*args)
        self.moves = [self.rename, self.rewrite, self.rewrite, self.deny, self.delegated]

    def send(self, ops):
        self.seq += 1
        return self.c.compound(2, [w.sequence(self.session, self.seq, 0)] + ops)

    def connect(self):
        self.c = Back((ADDR, PORT))
        r = results(self.c.compound(2, [w.exchange_id(os.urandom(8), self.name.encode())]), 1)
        self.client, seq = struct.unpack_from(">QI", r, 8)
        op = bytearray(w.create_session(self.client, seq))
        op[16:20] = w.u32(2)                            # flags: a back channel on this connection
        r = results(self.c.compound(2, [bytes(op)]), 1)
        self.session, self.seq, self.n = r[8:24], 0, 0
        self.patient([w.u32(58) + w.u32(0)])            # RECLAIM_COMPLETE
        self.dir = self.folder()

    def open(self, name, access, deny, deleg=False):
        r = self.patient([w.putfh(self.dir), w.open_(0, access | (0x100 if deleg else 0x400), deny, self.client,
                                                     b"owner", False, name), w.getfh()], ok=(SHARE_DENIED,))
        if r == SHARE_DENIED:
            return (None,) * (3 if deleg else 2)
        at = self.first + 8 + 8
        stateid = r[at:at + 16]
        at += 16 + 20 + 4
        n, = struct.unpack_from(">I", r, at)
        at += 4 + 4 * n
        kind, = struct.unpack_from(">I", r, at)
        return (r[-32:], stateid) + ((r[at + 4:at + 20] if kind == 1 else None,) if deleg else ())

    def lock(self, fh, stateid):
        self.n += 1
        r = self.patient([w.putfh(fh), w.lock_new(2, 0, 1 << 20, 0, stateid, 0, self.client, b"lock %d" % self.n)],
                         ok=(DENIED,))
        at = self.first + 16
        return None if r == DENIED else r[at:at + 16]

    def unlock(self, fh, lock):
        r = self.patient([w.putfh(fh), w.u32(14) + w.u32(2) + w.u32(0) + lock + w.u64(0) + w.u64(1 << 20)])
        at = self.first + 16
        self.patient([w.u32(45) + r[at:at + 16]])       # FREE_STATEID

    def close_file(self, fh, stateid):
        self.patient([w.putfh(fh), w.close(0, stateid)])

    def delegated(self):
        """As long as we have a delegation of a file, nobody writes it."""
        key = "least.%d" % self.rnd.randrange(LEAST)
        fh, stateid, deleg = self.open(key.encode(), 1, 0, deleg=True)
        if not deleg:
            self.close_file(fh, stateid)
            return
        since = self.a.ask("now")
        end = time.monotonic() + self.rnd.random() * 2
        while deleg[4:] not in [d[4:] for d in self.c.recalled] and time.monotonic() < end:
            self.c.poll(0.1)
        broken = self.a.ask("held", key, since)
        r = self.patient([w.putfh(fh), w.u32(8) + deleg])
        if broken and isinstance(r, bytes):
            raise Wrong("%s was written while %s had a delegation of it" % (key, self.name))
        self.c.recalled.clear()
        self.close_file(fh, stateid)
        self.a.counts["delegations"] = self.a.counts.get("delegations", 0) + 1


# ---- the fight --------------------------------------------------------------------------------------------------

def main():
    seconds, seed, period, memory = float(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    rnd = random.Random(seed + " restarts")
    arbiter = Arbiter(seconds)
    arbiter.serve()
    raws = [Raw40(arbiter, seed, "raw40"), Raw41(arbiter, seed, "raw41"), Raw41(arbiter, seed, "raw42")]
    while not os.path.exists("begun"):                  # the first guest has made the files
        if time.monotonic() > arbiter.start + 300:
            print("the guests have not begun")
            return 1
        time.sleep(0.1)
    arbiter.start, arbiter.end = time.monotonic(), time.monotonic() + seconds
    for r in raws:
        r.start()
    kill = bool(rnd.randrange(2))
    restarts, before, sizes, sample = 0, 0, [], 0
    at = arbiter.start + period * (0.5 + rnd.random() / 2)
    while not arbiter.ask("stop"):
        time.sleep(0.2)
        now = time.monotonic()
        if now > sample:
            sizes.append(int(control("rss")) // 1024)
            sample = now + max(5, seconds / 40)
        if not before and arbiter.end - now < period / 2:
            before = int(control("rss"))
        if now > at and arbiter.end - now > period * 0.6:
            try:
                control("kill9" if kill else "restart")
            except RuntimeError as e:
                arbiter.fail(str(e))
                break
            restarts, kill = restarts + 1, not kill
            at += period * (0.75 + rnd.random() / 2)
    for r in raws:
        r.join(90)
        if not r.done and not r.error:
            arbiter.fail("%s is stuck since %.0f s" % (r.name, time.monotonic() - r.last))
    print("seed %s: %d restarts, lives of the raw clients: %s" % (seed, restarts, [r.lives for r in raws]))
    print("asked of the arbiter: %s" % ", ".join("%s %d" % c for c in sorted(arbiter.counts.items())))
    with open("ended", "w"):
        pass
    while not os.path.exists("over"):                   # the guests have unmounted
        if not arbiter.wrong and time.monotonic() > arbiter.end + 300:
            arbiter.fail("the guests do not end")
        if arbiter.wrong and time.monotonic() > arbiter.wrong_at + 60:
            break
        time.sleep(0.1)
    after = int(control("rss"))
    print("memory: %d kB before, %d kB after; in MiB over the time: %s" % (before, after, sizes))
    if memory and before and after > before + memory:
        arbiter.wrong.append("memory grew from %d to %d kB" % (before, after))
    for text in arbiter.wrong:
        print("wrong: " + text)
    for what in ("enter", "delegations"):
        if not arbiter.counts.get(what):
            arbiter.wrong.append(what)
            print("wrong: nobody ever got to: " + what)
    return 1 if arbiter.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
