#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two clients and delegations: given, recalled by the other, attributes asked for, locks told, a restart; each version.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --server-arg=--lease-time --server-arg=5 --guests 2 \
    kernel_deleg.py
