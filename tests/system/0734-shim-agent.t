#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The preload library by environment only: its agent keeps lease and locks.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/recovery.py" agent
