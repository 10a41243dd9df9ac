#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The README's mount lines, run in a Linux client.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --vers 4.2 kernel_readme.py
