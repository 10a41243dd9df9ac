/* SPDX-License-Identifier: Apache-2.0 */
/* Our descriptors, so that the program can be kept from closing them. */
#include "client/nfs/rpc.h"

static int rpc_fds[128];

bool rpc_fd_keep(int fd)
{
    for (unsigned i = 0; i < sizeof(rpc_fds) / sizeof(rpc_fds[0]); i++) {
        int zero = 0;

        if (__atomic_compare_exchange_n(&rpc_fds[i], &zero, fd + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return true;
    }
    return false;
}

void rpc_fd_release(int fd)
{
    for (unsigned i = 0; i < sizeof(rpc_fds) / sizeof(rpc_fds[0]); i++) {
        int mine = fd + 1;

        if (__atomic_compare_exchange_n(&rpc_fds[i], &mine, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return;
    }
}

bool rpc_owns_fd(int fd)
{
    for (unsigned i = 0; i < sizeof(rpc_fds) / sizeof(rpc_fds[0]); i++)
        if (__atomic_load_n(&rpc_fds[i], __ATOMIC_RELAXED) == fd + 1 && fd >= 0)
            return true;
    return false;
}
