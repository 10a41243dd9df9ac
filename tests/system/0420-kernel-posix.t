#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What programs expect of a file system, each version.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" kernel_posix.py
