#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two clients on one volume: O_EXCL races, locks, appends, each version.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --guests 2 kernel_two.py
