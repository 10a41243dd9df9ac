#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The server is killed again and again under writers that fsync; make crash does 50 rounds.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --server-arg=--lease-time --server-arg=8 --timeout 1200 --set ROUNDS=${ROUNDS:-5} --vers "${CRASH_VERS:-4.2,4.0}" kernel_kill9.py
