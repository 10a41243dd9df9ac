#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The server is killed under open files, exclusive creates, appends and locks of the preload client.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/recovery.py" opens creates appends locks
