#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Grants: every subject, object, right and operation, by a raw client.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
command -v python3 >/dev/null || skip_all "python3 is not installed"
src=${VOLNFS_SRC:-.}
ok "starts" server_start --cache-size 64M
export PYTHONPATH="$src/tests/lib:$src/tests/grants"
cases_from "the matrix ends" python3 -B "$src/tests/grants/matrix.py" "$PORT" "$VOLNFS" "$T/store"
like "thousands of combinations" "$(tail -1 "$T/cases")" '^# [0-9]{5} combinations'
ok "the server ends" server_stop
done_testing
