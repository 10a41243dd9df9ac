#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# libnfs's nfs-ls, nfs-cat and nfs-cp beside the kernel client.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --vers 4.2 kernel_libnfs.py
