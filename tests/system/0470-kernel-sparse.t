#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What 4.2 adds: reflinks, copies in the server, holes, user attributes.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --vers 4.2 kernel_sparse.py
