#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two clients and delegations: given, recalled by the other, attributes asked for, locks told, each version.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --guests 2 kernel_deleg.py
