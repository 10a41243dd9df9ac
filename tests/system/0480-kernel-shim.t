#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The kernel client and the preload client on one volume.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" kernel_shim.py
