/* SPDX-License-Identifier: Apache-2.0
 * connect: connections that the server makes to a client.
 */
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "server/rpc/conn.h"
#include "server/rpc/rpcserver_priv.h"

int rpcserver_connect(struct rpcserver *s, const struct sockaddr_storage *addr,
                      const struct oncrpc_program *prog, struct conn_ref **out)
{
    socklen_t len = addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    struct conn *c;
    int fd, err;

    if (rpcserver_phase(s) != PHASE_RUN || !s->started)
        return -ESHUTDOWN;
    if (__atomic_load_n(&s->nconns, __ATOMIC_RELAXED) >= rpcserver_limit(s, max_conns))
        return -EMFILE;
    fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)addr, len) != 0 && errno != EINPROGRESS) {
        err = -errno;
        close(fd);
        return err;
    }
    err = conn_new_ref(s, prog, fd, addr, &c);
    if (!err)
        *out = (struct conn_ref *)c;
    return err;
}
