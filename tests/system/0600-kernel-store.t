#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compression of source code, zeros, damaged packs.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --vers 4.2 kernel_store.py
