#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Bytes and connections that no good client sends: the server stays up, bounded, and serves the good ones.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not installed"
ok "starts" server_start --cache-size 64M
ok "a volume is made" volnfs create alice/w
export PYTHONPATH="${VOLNFS_SRC:-.}/tests/lib"
cases_from "the script comes to its end" python3 -B - "$PORT" "$server_pid" "$T/store/control.sock" <<'EOF'
import os, random, resource, socket, sys, time
from nfswire import *

addr, pid, control = ("127.0.0.1", int(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
rnd = random.Random(11)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)


def case(name, good):
    print("ok" if good and alive(addr) is not None else "not ok", name, flush=True)


def send_and_leave(raw):
    k = Conn(addr)
    try:
        k.send(raw)
    except OSError:
        pass
    k.close()


def closes(raw):
    k = Conn(addr)
    try:
        k.send(raw)
    except OSError:
        pass
    got = k.closed()
    k.close()
    return got


def status(ops, minor=0, **kw):
    k = Conn(addr)
    try:
        r = k.compound(minor, ops, **kw)
        return r.status if r.accept == 0 else -1
    except EOFError:
        return -2
    finally:
        k.close()


c = Conn(addr)
w = handle(c, b"alice", b"w")
cl = Client40(c, b"hostile")

for n in [1, 3, 4, 5, 100, 5000] * 20:
    send_and_leave(rnd.randbytes(n))
case("random bytes", True)
for n in [0, 1, 4, 8, 20, 40, 44, 100, 5000] * 20:
    send_and_leave(record(rnd.randbytes(n)))
case("random records", True)
case("a record of 2 GiB is refused at its mark", closes(u32(0xffffffff)) and closes(u32(0x7fffffff)))
k = Conn(addr)
k.send(u32(0) * 100000 + record(call_bytes(1, 0, [], proc=0)))
case("empty fragments before a call", Reply(k.recv()).accept == 0)
k.close()
whole = call_bytes(7, 0, [putfh(w), open_(1, 3, 0, cl.id, b"o", True, b"g"), getfh(), getattr_(0x18, 0)])
k, lost = Conn(addr), 0
for n in range(len(whole)):
    try:
        k.raw(whole[:n])
    except (EOFError, OSError):
        k.close()
        k = Conn(addr)
        lost += 1
case("truncated calls are answered or hung up on", 0 < lost < len(whole))

case("2^32 operations", status([putrootfh()], nops=0xffffffff) == 10018)
case("a bitmap of 2^32 words", status([putrootfh(), u32(9) + u32(0xffffffff)]) == 10036)
case("a name of 2^32 bytes", status([putfh(w), u32(15) + u32(0xffffffff)]) == 10036)
case("a name of 256", status([putfh(w), lookup(b"x" * 256)]) == 63)
case("a handle of 129", status([u32(22) + opaque(bytes(129))]) == 10036)
case("READDIR of 4 GiB", status([putfh(w), readdir(0, bytes(8), 2**32 - 1, 2**32 - 1, [0x18])]) == 0)
case("READDIR of nothing", status([putfh(w), readdir(0, bytes(8), 0, 0, [])]) == 10005)
wrong = 0
for bit in range(len(w) * 8):
    h = bytearray(w)
    h[bit // 8] ^= 1 << bit % 8
    wrong += c.compound(0, [putfh(bytes(h)), getattr_(0x18)]).status not in (10001, 70)
case("handles with a flipped bit", wrong == 0)
names = [b"a\nb", b"\x1b[31m", b"\x01", b"y" * 255]
case("names with control characters are names", all(cl.open(w, n)[0] == 0 for n in names))

_, sid, fh = cl.open(w, b"far")
for off in (2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1):
    case("WRITE at %#x" % off, status([putfh(fh), write(sid, off, 2, b"a" * 5000)]) == 27)
    case("READ at %#x" % off, status([putfh(fh), read(sid, off, 5000)]) == 0)
case("the largest size", status([putfh(fh), setattr_(sid, [0x10], u64(2**62 - 1))]) == 0)
case("one more", status([putfh(fh), setattr_(sid, [0x10], u64(2**62))]) == 27)
case("READ at the end of it", status([putfh(fh), read(sid, 2**62 - 4096, 4096)]) == 0)
t = time.monotonic()
case("and none at all, soon", status([putfh(fh), setattr_(sid, [0x10], u64(0))]) == 0 and time.monotonic() - t < 60)

s = Session(c, b"slots", minor=1)
case("a slot too high", c.compound(1, [sequence(s.id, 1, 4000)]).status == 10053)
case("a sequence id too high", c.compound(1, [sequence(s.id, 9, 0)]).status == 10063)
case("a session that is none", c.compound(1, [sequence(bytes(16), 1, 0)]).status == 10052)
r = s.compound([putfh(w), mkdir(b"once")], cache=1)
again = c.compound(1, [sequence(s.id, 1, 0, cache=1), putfh(w), mkdir(b"once")])
case("a repeated SEQUENCE gets the kept reply", r.status == 0 and again.results == r.results)
case("another request as the repetition", c.compound(1, [sequence(s.id, 1, 0, cache=1), putfh(w), mkdir(b"twic")]).status == 10076)

many = []
try:
    for i in range(1500):
        many.append(Conn(addr))
        many[-1].send(u32(0x80000000 | 1 << 20) + b"x" * 10)
except OSError:
    pass
case("1500 connections with a megabyte announced", len(many) > 500 and rss_kb(pid) < 400 << 10)
for k in many:
    k.close()

_, sid, fh = cl.open(w, b"big")
block = rnd.randbytes(1 << 20)
for i in range(8):
    c.compound(0, [putfh(fh), write(sid, i << 20, 0, block)])
many = []
for i in range(40):
    k = Conn(addr)
    k.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    k.send(b"".join(record(call_bytes(j, 0, [putfh(fh), read(ANON, (j % 8) << 20, 1 << 20)])) for j in range(200)))
    many.append(k)
case("8 GB asked for and not taken", rss_kb(pid) < 600 << 10)
case("others read on", status([putfh(fh), read(ANON, 0, 1 << 20)]) == 0)
for k in many:
    k.close()

for n in [0, 4, 100, 3000] * 10:
    k = Conn(control)
    try:
        k.send(rnd.choice([rnd.randbytes(n), record(rnd.randbytes(n)), u32(0xffffffff)]))
    except OSError:
        pass
    k.close()
case("random bytes at the control socket", True)
EOF
ok "the volume is listed" volnfs list alice/w
is "no control character got into the log" "$(tr -d '\n\040-\176' <"$T/log" | wc -c)" 0
ok "a clean stop" server_stop
ok "and nothing is wrong with the volume" "$VOLNFS" check --store "$T/store" alice/w
done_testing
