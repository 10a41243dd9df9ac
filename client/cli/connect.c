/* SPDX-License-Identifier: Apache-2.0
 * connect: calls to the server of a store (see connect.h).
 */
#include "client/cli/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CALL_SECONDS 600 /* destroying a large volume removes many files */

/* Connects to STORE/control.sock, however long STORE is: a path too long for a socket address is reached
 * through /proc/self/fd. */
static int connect_socket(const char *store)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int err = 0, dir = -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/control.sock", store) >=
        (int)sizeof(sun.sun_path)) {
        dir = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0) {
            err = -errno;
            goto out;
        }
        snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/control.sock", dir);
    }
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)))
        err = -errno;
out:
    if (dir >= 0)
        close(dir);
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

CLIENT *control_connect(const struct cli *cli, int *status)
{
    /* libtirpc wants an address to copy; the descriptor is connected already. */
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct netbuf addr = {.maxlen = sizeof(sun), .len = sizeof(sun), .buf = &sun};
    CLIENT *c = NULL;
    const char *store = cli_store(cli, status);
    int fd;
    if (!store)
        return NULL;
    fd = connect_socket(store);
    if (fd == -ENOENT || fd == -ECONNREFUSED) {
        *status = cli_fail("no server is running on store %s: start one with 'volnfsd --store %s'", store,
                           store);
        goto out;
    }
    if (fd < 0) {
        *status = cli_fail("cannot reach the server of store %s: %s", store, strerror(-fd));
        goto out;
    }
    c = clnt_vc_create(fd, &addr, VOLNFS_CONTROL, VOLNFS_CONTROL_V1, 0, 0);
    if (!c) {
        *status = cli_fail("cannot talk to the server of store %s%s", store, clnt_spcreateerror(""));
        close(fd);
        goto out;
    }
    clnt_control(c, CLSET_FD_CLOSE, NULL);
out:
    free((char *)store);
    return c;
}

void control_disconnect(CLIENT *c)
{
    if (c)
        clnt_destroy(c);
}

bool control_call(CLIENT *c, rpcproc_t proc, xdrproc_t xargs, const void *args, xdrproc_t xres, void *res,
                  size_t res_size)
{
    struct timeval timeout = {.tv_sec = CALL_SECONDS};
    enum clnt_stat st;
    memset(res, 0, res_size);
    st = clnt_call(c, proc, xargs, (void *)args, xres, res, timeout);
    if (st == RPC_SUCCESS)
        return true;
    if (st == RPC_CANTRECV)
        cli_fail("the server closed the connection before it answered; its log says why");
    else
        cli_fail("the server did not answer as expected (%s); are volnfs and volnfsd of the same release?",
                 clnt_sperrno(st));
    return false;
}

int control_outcome(const control_result *r)
{
    if (!r->err)
        return 0;
    return cli_fail("%s", r->text && *r->text ? r->text : strerror(-r->err));
}

int control_with_volume(const struct cli *cli, const char *name,
                        int (*fn)(const struct cli *cli, const control_volume *v, void *arg), void *arg)
{
    control_name_args args = {.name = (char *)name};
    control_list_result r;
    int status = 1;
    CLIENT *c = control_connect(cli, &status);
    if (!c)
        return status;
    if (!control_call(c, CONTROL_LIST, (xdrproc_t)xdr_control_name_args, &args,
                      (xdrproc_t)xdr_control_list_result, &r, sizeof(r)))
        goto out;
    status = control_outcome(&r.result);
    if (!status)
        status = r.volumes.volumes_len == 1 ? fn(cli, r.volumes.volumes_val, arg)
                                            : cli_fail("'%s' is not the name of one volume", name);
out:
    xdr_free((xdrproc_t)xdr_control_list_result, &r);
    control_disconnect(c);
    return status;
}
