#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The workflow through the preload client: twice, with a server restart in between.
exec python3 -B "${VOLNFS_SRC:-.}/tests/workflow/shim.py" --tap
