#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# volnfs-preload(7) and volnfs-run(1) are true where that can be read off: system calls, environment, options.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
src=${VOLNFS_SRC:-.}

# The words under the .TP heading $1 of SYSTEM CALLS.
listed() {
    awk -v want="$1" '/^\.SH/ { on = $2 == "SYSTEM" } !on { next }
        /^\.TP/ { getline; under = $0 == want; next } /^\./ { under = 0; next } under' "$src/man/volnfs-preload.7" |
        tr ' ' '\n' | sort
}
# The calls in the dispatch table whose functions do ($1 empty) or do not ($1 = -v) serve volumes.
refusing='sc_(xattr_path|xattr_fd|refuse_path|enosys|getdents|inotify_add_watch|name_to_handle_at)\}'
rows() {
    grep -E '^ +\[SYS_[a-z0-9_]+\] = \{' "$src/client/shim/dispatch.c" | grep -E $1 "$refusing" |
        sed -E 's/.*\[SYS_([a-z0-9_]+)\].*/\1/' | sort
}
is "system calls that are served" "$(listed Served)" "$(rows -v)"
is "system calls that are refused" "$(listed Refused)" "$(rows)"
is "none that is passed on is in the table" "$(listed 'Passed on' | tr -d . | grep -xF -e "$(rows)" -e "$(rows -v)")" ""
for name in $(grep -ohE '"VOLNFS_[A-Z]+"' "$src"/client/shim/*.c | tr -d '"' | sort -u); do
    ok "volnfs-preload.7 has $name" grep -q "^\\.B $name\$" "$src/man/volnfs-preload.7"
done
for name in $(grep -ohE '"VOLNFS_[A-Z]+"' "$src/client/cli/cmd_run.c" "$src/client/cli/cmd_doctor.c" | tr -d '"' | sort -u); do
    ok "volnfs-run.1 or volnfs-preload.7 has $name" grep -q "^\\.B $name\$" "$src/man/volnfs-run.1" "$src/man/volnfs-preload.7"
done
for option in $(sed -nE 's/.*\{"([a-z]+)", (required|no)_argument, NULL.*/\1/p' "$src/client/cli/cmd_run.c" "$src/client/cli/cmd_doctor.c" | sort -u); do
    ok "volnfs-run.1 has --$option" grep -q "\\\\-\\\\-$option" "$src/man/volnfs-run.1"
done
for page in volnfs-run.1 volnfs-preload.7; do
    if command -v man >/dev/null; then
        is "$page is well made" "$(man --warnings -l "$src/man/$page" 2>&1 >/dev/null)" ""
    fi
done
done_testing
