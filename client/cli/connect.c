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

#include "server/store/statedb.h"

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
    char *store = cli_store(cli, status);
    int fd;
    if (!store)
        return NULL;
    fd = connect_socket(store);
    if (fd == -ENOENT || fd == -ECONNREFUSED) {
        *status = cli_fail("no server is running on store %s: start one with 'volnfsd --store %s'", store,
                           store);
        goto out;
    }
    if (fd == -EACCES) {
        *status = cli_fail("only root and the user that the server runs as may administer store %s: run this as one of them",
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
    free(store);
    return c;
}

void control_disconnect(CLIENT *c)
{
    if (c)
        clnt_destroy(c);
}

bool control_is_volume(const char *name, size_t len)
{
    const char *slash = memchr(name, '/', len);
    size_t user = slash ? (size_t)(slash - name) : 0;
    return slash && !statedb_check_user_name(name, user) && !statedb_check_volume_name(slash + 1, len - user - 1);
}

/* What control.x says of the procedures that are called from here. */
static const struct call {
    rpcproc_t proc;
    xdrproc_t args, reply;
    size_t size; /* of the reply */
} calls[] = {
#define CALL(proc, a, r) {CONTROL_##proc, (xdrproc_t)xdr_control_##a, (xdrproc_t)xdr_control_##r, sizeof(control_##r)}
    {CONTROL_INFO, (xdrproc_t)(void (*)(void))xdr_void, (xdrproc_t)xdr_control_info, sizeof(control_info)},
    CALL(CREATE, create_args, result),
    CALL(DESTROY, name_args, result),
    CALL(LIST, name_args, list_result),
    CALL(SET, set_args, result),
    CALL(SNAP_CREATE, name_args, result),
    CALL(SNAP_DESTROY, name_args, result),
    CALL(SNAP_LIST, name_args, snapshots),
    CALL(SNAP_RENAME, pair_args, result),
    CALL(SNAP_CLONE, pair_args, result),
    CALL(SNAP_ROLLBACK, pair_args, result),
    CALL(SETTLE, name_args, settled),
    CALL(GRANT, grant, grant_result),
    CALL(REVOKE, revoke_args, result),
    CALL(GRANTS, name_args, grants_result),
    CALL(STATUS, status_args, status),
    CALL(SCRUB, name_args, result),
    CALL(SCRUB_STATUS, name_args, scrub),
    CALL(DUMP_LIST, dump_args, dump_list),
    CALL(DUMP_DATA, dump_args, dump_data),
    CALL(DUMP_EXTRA, dump_args, dump_extra),
    CALL(RESTORE, restore_args, restored),
#undef CALL
};

static const struct call *find_call(rpcproc_t proc)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
        if (calls[i].proc == proc)
            return &calls[i];
    abort(); /* a verb that calls what is not in the table */
}

bool control_call(CLIENT *c, rpcproc_t proc, const void *args, void *reply)
{
    const struct call *k = find_call(proc);
    struct timeval timeout = {.tv_sec = CALL_SECONDS};
    enum clnt_stat st;
    memset(reply, 0, k->size);
    st = clnt_call(c, proc, k->args, (void *)args, k->reply, reply, timeout);
    if (st == RPC_SUCCESS)
        return true;
    if (st == RPC_CANTRECV)
        cli_fail("the server closed the connection before it answered; its log says why");
    else
        cli_fail("the server did not answer as expected (%s); are volnfs and volnfsd of the same release?",
                 clnt_sperrno(st));
    return false;
}

void control_free(rpcproc_t proc, void *reply)
{
    xdr_free(find_call(proc)->reply, reply);
}

int control_outcome(const control_result *r)
{
    if (!r->err)
        return 0;
    cli_fail("%s", r->text && *r->text ? r->text : strerror(-r->err));
    return r->err == -EINVAL ? EXIT_USAGE : 1;
}

int control_ask(CLIENT *c, rpcproc_t proc, const void *args, void *reply)
{
    return control_call(c, proc, args, reply) ? control_outcome(reply) : 1;
}

int control_do(CLIENT *c, rpcproc_t proc, const void *args)
{
    control_result r;
    int status = control_ask(c, proc, args, &r);
    control_free(proc, &r);
    return status;
}

int control_once(const struct cli *cli, rpcproc_t proc, const void *args, control_show *show, void *arg)
{
    void *reply = calloc(1, find_call(proc)->size);
    int status = 1;
    CLIENT *c = NULL;
    if (!reply)
        return cli_fail("out of memory");
    c = control_connect(cli, &status);
    if (!c)
        goto out;
    status = control_ask(c, proc, args, reply);
    if (!status && show)
        status = show(cli, reply, arg);
    control_free(proc, reply);
    control_disconnect(c);
out:
    free(reply);
    return status;
}

int control_list(const struct cli *cli, int argc, char **argv, const char *what, rpcproc_t proc, control_show *show)
{
    control_name_args args = {.name = argc ? argv[0] : (char *)""};
    if (argc > 1)
        return cli_usage(cli, "at most one %s", what);
    if (strlen(args.name) > CONTROL_NAME_MAX)
        return cli_usage(cli, "the name is too long");
    return control_once(cli, proc, &args, show, NULL);
}
