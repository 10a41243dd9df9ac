#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What programs and their users are told: a write of a full volume, a server that does not answer.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/told.py"
