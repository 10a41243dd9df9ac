#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The power of the server's machine is cut under writers that fsync; make powercut does 30 rounds.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --power --server-arg=--lease-time --server-arg=8 --timeout 1200 --set ROUNDS=${ROUNDS:-3} --vers 4.2 kernel_kill9.py
