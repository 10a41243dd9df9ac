#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Grants and tokens under a Linux client: mounts that must not be, and files that are taken away while open.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --vers 4.0,4.2 --server-arg=--grant --server-arg="10.99.0.1 /" kernel_grants.py
