#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Large mappings where the run directory's file system has no room to keep them: what does not fit is lent again.
. "${VOLNFS_SRC:-.}/tests/lib/tap.sh"
small() { unshare -Urm sh -c 'mount -t tmpfs -o size=24m none /dev/shm && exec "$@"' small "$@"; }
small true 2>/dev/null || skip_all "no user namespaces"
small python3 -B "${VOLNFS_SRC:-.}/tests/shim/compare.py" lazy.scan lazy.calls lazy.handlers lazy.forks lazy.threads \
    lazy.writable lazy.parts lazy.advice lazy.between stored.plain stored.forks stored.between stored.cut_between stored.grows
