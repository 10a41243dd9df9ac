#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The attack suite, for some seconds (make attack: for ten minutes, with a stricter eye on latency). And connections
# that are only held: ten thousand, or as many as the limit of open files leaves, and 200 MiB.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not installed"
# A sanitizer keeps freed memory for a while; that is not what the memory is measured for.
ASAN_OPTIONS=${ASAN_OPTIONS:-quarantine_size_mb=1:thread_local_quarantine_size_kb=64:allocator_release_to_os_interval_ms=500}
export ASAN_OPTIONS
ok "forged handles, malformed calls, slow clients, floods, huge counts, slots" \
    timeout 300 python3 -B "${VOLNFS_SRC:-.}/tests/attack/attack.py" 12 --ratio 0
sed 's/^/# /' "$T/out"
ok "a server for ten thousand" server_start --max-connections 10100 --max-client-connections 10100
held() {
    python3 -B - "$PORT" "$server_pid" <<'END'
import os, resource, socket, sys
sys.path.insert(0, os.path.join(os.environ.get("VOLNFS_SRC", "."), "tests", "lib"))
import nfswire as w
port, pid = int(sys.argv[1]), int(sys.argv[2])
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
# The server's limit is the same; its files besides connections are few.
n = min(10000, most - 200)
held = []
for i in range(n):
    s = socket.socket()
    s.bind(("127.0.0.%d" % (2 + i // 5000), 0))
    s.connect(("127.0.0.1", port))
    held.append(s)
for s in held[::100]:   # they are served
    s.sendall(w.record(w.call_bytes(1, 0, [], proc=0)))
    assert len(s.recv(100)) == 28
mib = w.rss_kb(pid) / 1024
print("%d connections, %.0f MiB" % (n, mib))
sys.exit(not mib < 200 or w.alive(("127.0.0.1", port)) is None)
END
}
ok "they cost less than 200 MiB" held
sed 's/^/# /' "$T/out"
ok "it stops" server_stop
done_testing
