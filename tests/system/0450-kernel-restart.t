#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The server goes away under open files, held locks and running work, each version.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --server-arg=--lease-time --server-arg=5 kernel_restart.py
