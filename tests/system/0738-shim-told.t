#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What programs are told that write to a full volume.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/told.py"
