#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Repeated restarts, an expired lease, stale handles, soft and hard mode of the preload client.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/recovery.py" twice expired stale soft
