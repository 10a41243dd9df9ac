#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# git, tar, diff, cp and cmp of a large file, each version.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --timeout 1200 kernel_trees.py
