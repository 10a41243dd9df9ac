#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Snapshots: mounts of them, .snapshots, clones and rollback under a Linux client.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --vers 4.0,4.2 --server-arg=--lease-time=5 kernel_snap.py
