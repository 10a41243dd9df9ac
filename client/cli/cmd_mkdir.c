/* SPDX-License-Identifier: Apache-2.0
 * cmd_mkdir: volnfs mkdir: makes directories in volumes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/cli/cli.h"
#include "client/cli/remote.h"

static int make_one(struct remote *r, const char *path, uint32_t mode)
{
    char name[NFS_NAME_MAX + 1];
    struct nfs_attr attr;
    struct nfs_fh dir;
    int err = remote_parent(r, path, &dir, name);
    if (err == -EINVAL) {
        err = remote_walk(r, path, true, &dir, &attr); /* is the volume there? */
        return err ? err : -EEXIST;
    }
    if (err)
        return err;
    return nfs_mkdir(r->client, &dir, name, mode, NULL, NULL);
}

/* Each directory on the way in turn; those that are there are left as they are. */
static int make_all(struct remote *r, const char *path, uint32_t mode)
{
    size_t at = strcspn(path, "/") + 1; /* the user's */
    int err;
    at += strcspn(path + at, "/");      /* the volume's */
    do {
        struct nfs_attr attr;
        struct nfs_fh fh;
        char *part;
        at += strspn(path + at, "/");
        at += strcspn(path + at, "/");
        part = need(strndup(path, at));
        err = remote_walk(r, part, true, &fh, &attr);
        if (!err && attr.type != NFS_DIR)
            err = -ENOTDIR;
        if (err == -ENOENT) {
            err = make_one(r, part, mode | (path[at] ? 0300 : 0));
            if (err == -EEXIST && !remote_walk(r, part, true, &fh, &attr) && attr.type == NFS_DIR)
                err = 0; /* somebody else was faster */
        }
        free(part);
    } while (!err && path[at]);
    return err;
}

int cmd_mkdir(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 's'},
                                          {"parents", no_argument, NULL, 'p'},
                                          {0}};
    mode_t mask = umask(0);
    const char *server = NULL;
    bool parents = false;
    struct place *places;
    struct remote *r;
    int opt, n, status = 0;
    umask(mask);
    while ((opt = cli_getopt(cli, argc, argv, "s:p", longs, &status)) != -1) {
        switch (opt) {
        case 's':
            server = optarg;
            break;
        case 'p':
            parents = true;
            break;
        default:
            return status;
        }
    }
    n = argc - optind;
    places = remote_places(cli, argv + optind, n, &status);
    if (!places)
        return status;
    r = remote_open(server, &status);
    for (int i = 0; i < n && r; i++) {
        int err = (parents ? make_all : make_one)(r, places[i].path, 0777 & ~mask);
        if (err)
            status = remote_error(r, "cannot make", &places[i], err);
    }
    remote_close(r);
    remote_places_free(places, n);
    return status;
}
