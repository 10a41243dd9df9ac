#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two clients: OFD locks, nconnect=4 over a killed server, a killed client whose locks and delegations go; each version.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --server-arg=--lease-time --server-arg=5 --guests 2 \
    kernel_families.py
