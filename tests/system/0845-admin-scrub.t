#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfs scrub: started, finished, damage told by path.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

json() { python3 -c "import json, sys; d = json.load(sys.stdin); print($1)"; }
field() { volnfs scrub --status --json alice/v | json "d[\"$1\"]"; }
ended() { [ "$(field running)" = False ]; }

ok "the server starts" server_start
ok "create" volnfs create alice/v -o compression=off
not_ok "which volume?" volnfs scrub
not_ok "not a volume's name" volnfs scrub alice
not_ok "a volume that is not there" volnfs scrub alice/none
like "never scrubbed" "$(volnfs scrub --status alice/v)" "never scrubbed"
head -c 300000 /dev/urandom >"$T/data"
ok "copy a file in" volnfs cp -q -s "127.0.0.1:$PORT" "$T/data" "alice/v:/file"
ok "start" volnfs scrub alice/v
ok "it ends" wait_for 60 ended
is "nothing is damaged" "$(field damaged)" 0
is "exit status" "$(volnfs scrub -t alice/v >/dev/null; echo $?)" 0
ok "the server stops" server_stop
for pack in "$T"/store/volumes/*/packs/*/*.pack; do
    python3 - "$pack" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(64 + 64 + 1000)
    byte = f.read(1)
    f.seek(-1, 1)
    f.write(bytes([byte[0] ^ 255]))
END
done
ok "the server starts again" server_start
ok "start again" volnfs scrub alice/v
ok "it ends again" wait_for 60 ended
is "a chunk is damaged" "$(field damaged)" 1
like "its file is named" "$(volnfs scrub --status alice/v)" "/file at"
is "exit status of damage" "$(volnfs scrub -t alice/v >/dev/null; echo $?)" 1
ok "the server stops at last" server_stop
done_testing
