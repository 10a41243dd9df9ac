#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The suite again as a user without rights: what mode bits forbid.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/compare.py" --user 65534 open access attr dirs unlink rename link exec stat trunc
