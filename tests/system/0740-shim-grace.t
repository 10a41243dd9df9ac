#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The server is killed after tasks that came and went, and under one that holds a lock: who waits, and for how long.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/graceful.py"
