#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Mounts of /, a user, a volume; volumes made by mkdir; 50,000 names made and listed by two guests.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --guests 2 kernel_names.py
