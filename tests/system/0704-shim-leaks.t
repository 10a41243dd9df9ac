#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The suite under strace: no system call with the name of a volume reaches the kernel.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/compare.py" --strace
