#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Large files mapped to be written to: little is fetched, and what was written comes to the server however the program ends.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/stored.py"
