#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfs check --repair and --rebuild on a server's store: refusals, a repaired index, one made anew; the server takes both.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"

ok "the server starts" server_start
ok "a volume" volnfs create alice/mydata
index=$(echo "$T"/store/volumes/*/index.db)
dir=${index%/index.db}

not_ok "not both at once" volnfs check --repair --rebuild alice/mydata
not_ok "not all" volnfs check --repair --all
not_ok "--punch alone" volnfs check --punch alice/mydata
ok "the server stops" server_stop

ok "nothing to repair" volnfs check --repair alice/mydata
like "it says so" "$(cat "$T/out")" "nothing to repair"
not_ok "nothing to rebuild" volnfs check --rebuild alice/mydata
like "it says what to use" "$(cat "$T/out")" "use --repair"
python3 -c "
import sqlite3, sys
d = sqlite3.connect(sys.argv[1])
d.execute('UPDATE meta SET files = 77')
d.commit()" "$index"
not_ok "damage is found" volnfs check alice/mydata
ok "repair" volnfs check --repair --data alice/mydata
like "it says what was done" "$(cat "$T/out")" "0 files counted"
ok "the old index is kept" sh -c "test -s '$dir'/damaged/*/index.db"
ok "check" volnfs check --data alice/mydata
head -c 20000 /dev/urandom >"$index"
not_ok "an index that cannot be read" volnfs check --repair alice/mydata
like "it says what to use" "$(cat "$T/out")" "--rebuild"
ok "rebuild" volnfs check --rebuild --json alice/mydata
ok "check" volnfs check --data alice/mydata
ok "the server starts" server_start
ok "and has the volume" volnfs destroy alice/mydata
done_testing
