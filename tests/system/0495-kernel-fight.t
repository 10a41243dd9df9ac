#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two guests and raw clients fight over the same files over two restarts, the short form of `make fight`.
exec sh "${VOLNFS_SRC:-.}/tests/fight/run" 20 "$(date +%s)" 8 10240
