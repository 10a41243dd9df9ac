#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Grants: forged handles, ways out of a folder, between grants, with others' sessions, guessed secrets.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not installed"
src=${VOLNFS_SRC:-.}
ok "starts" server_start --cache-size 64M --debug
export PYTHONPATH="$src/tests/lib:$src/tests/grants"
cases_from "the attacks end" python3 -B "$src/tests/grants/attacks.py" "$PORT" "$VOLNFS" "$T/store" "$T/log"
is "groups" "$(grep -c '^ok' "$T/cases")" "10"
ok "the server ends" server_stop
done_testing
