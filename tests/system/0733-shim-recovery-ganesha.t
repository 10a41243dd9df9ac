#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The preload client against NFS-Ganesha.
VOLNFS_TEST_COPY_MIB=${VOLNFS_TEST_COPY_MIB:-128} exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/recovery.py" --ganesha copies stale
