#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The server is killed in the middle of 1 GiB copies through the preload client.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/recovery.py" copies
