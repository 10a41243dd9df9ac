#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Large mappings on a kernel that has no MREMAP_DONTUNMAP: the same results.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/compare.py" --env VOLNFS_OLD_KERNEL=1 lazy stored
