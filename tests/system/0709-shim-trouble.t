#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The server restarts and is killed under programs in a run; eight appenders in runs of their own.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/trouble.py"
