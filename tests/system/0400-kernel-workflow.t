#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job on a kernel mount, two guests as workers, a server restart in between; each version.
exec python3 -B "${VOLNFS_SRC:-.}/tests/uml/uml.py" --server-arg=--lease-time --server-arg=5 --guests 2 workflow.py
