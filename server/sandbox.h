/* SPDX-License-Identifier: Apache-2.0
 * sandbox: gives up what the server does not need, before it reads the first byte from the network.
 *
 *  1. sandbox_user: from root to a user and its groups; no way back (checked), no capabilities, no new privileges.
 *  2. sandbox_enter, while the process has one thread: all threads to come are in it.
 *     Files (Landlock, Linux 5.13 and later): the store; for reading the folder of the configuration file,
 *     /proc/self and what of /sys tells the number of processors.
 *     Calls (seccomp): those for files, memory, threads, sockets and time. No new program, process, code in memory
 *     (mappings that can be executed), other kind of socket than IP and Unix, mount, ptrace, module, clock or reboot.
 *     What is not allowed fails with EPERM.
 */
#ifndef VOLNFS_SERVER_SANDBOX_H
#define VOLNFS_SERVER_SANDBOX_H

#include <stdbool.h>

/* store is made for the user if it is missing. -errno after a log line: no such user, not root, or a store of
 * somebody else. */
int sandbox_user(const char *user, const char *store);

/* config may be NULL. Logs what this kernel cannot do, and goes on without. -errno after a log line: it should have
 * worked and did not. */
int sandbox_enter(const char *store, const char *config);

#endif
