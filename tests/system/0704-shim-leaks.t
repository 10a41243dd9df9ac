#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The suite under strace: no system call with the name of a volume reaches the kernel.
exec python3 -B "${VOLNFS_SRC:-.}/tests/shim/compare.py" --strace open rw.plain rw.seen rw.unlinked seek.plain stat \
    access.plain dirs.make dirs.remove dirs.nodes unlink rename link attr trunc readdir.plain readdir.by_fd fds inherit.fork \
    inherit.exec inherit.rights locks.record locks.flock map.private map.shared exec path poll copy.sendfile copy.ranges misc \
    stdio
