#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every system call of the suite in a local folder and on a volume: the same results, errno included.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/compare.py"
