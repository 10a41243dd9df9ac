#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An exclusive create that is repeated, for its answer was lost: the same file, over whatever session it comes.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not installed"
ok "starts" server_start
ok "a volume is made" volnfs create alice/v
export PYTHONPATH="${VOLNFS_SRC:-.}/tests/lib"
cases_from "the script comes to its end" python3 -B - "$PORT" <<'EOF'
import sys
from nfswire import *

addr = ("127.0.0.1", int(sys.argv[1]))
EXIST = 17


def create(session, verf):
    """(status, handle) of OPEN with EXCLUSIVE4_1 and GETFH."""
    op = u32(18) + u32(0) + u32(3) + u32(0) + u64(session.client) + opaque(b"owner") + u32(1) + u32(3) + verf + \
        bitmap([0, 2]) + opaque(u32(0o640)) + u32(0) + opaque(b"file")
    r = session.compound([putrootfh(), lookup(b"alice"), lookup(b"v"), op, getfh()])
    at = r.results.rfind(u32(10) + u32(0))
    return r.status, r.results[at + 8:] if r.status == 0 else b""


def client(name):
    s = Session(Conn(addr), name)
    s.compound([u32(58) + u32(0)])  # RECLAIM_COMPLETE
    return s


def case(name, good):
    print("ok" if good else "not ok", name, flush=True)


first = client(b"first")
status, fh = create(first, b"verifier")
case("is made", status == 0 and len(fh) > 4)
case("again in the same session", create(first, b"verifier") == (0, fh))
more = Session.__new__(Session)
more.c, more.minor, more.seq, more.client = Conn(addr), 1, {}, first.client
for seq in range(1, 9):
    r = more.c.compound(1, [create_session(first.client, seq)])
    if r.status == 0 and r.results[8:24] != first.id:
        more.id = r.results[8:24]
        break
case("again in a second session of the client", create(more, b"verifier") == (0, fh))
case("again by the client after its restart", create(client(b"first"), b"verifier") == (0, fh))
case("not with another verifier", create(client(b"first"), b"VERIFIER")[0] == EXIST)
case("not by another client with the same verifier", create(client(b"second"), b"verifier")[0] == EXIST)
EOF
ok "a clean stop" server_stop
done_testing
