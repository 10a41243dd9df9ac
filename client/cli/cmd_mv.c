/* SPDX-License-Identifier: Apache-2.0
 * cmd_mv: volnfs mv: renames files and directories within a volume.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/remote.h"

/* dir/name becomes to/to_name. */
static int move(struct remote *r, const struct nfs_fh *dir, const char *name, const struct nfs_fh *to,
                const char *to_name, bool slash)
{
    struct nfs_attr attr, there;
    struct nfs_fh fh, over;
    int err = nfs_lookup(r->client, dir, name, strlen(name), &fh, &attr);
    if (err)
        return err;
    if (slash && attr.type != NFS_DIR)
        return -ENOTDIR;
    err = nfs_lookup(r->client, to, to_name, strlen(to_name), &over, &there);
    if (!err && nfs_fh_same(&fh, &over)) {
        /* The same place: nothing to do. Two names of one file: RENAME would keep both. */
        if (nfs_fh_same(dir, to) && !strcmp(name, to_name))
            return 0;
        return attr.type == NFS_DIR ? -EINVAL : nfs_remove(r->client, dir, name);
    }
    if (!err && attr.type == NFS_DIR && there.type != NFS_DIR)
        return -ENOTDIR;
    if (!err && attr.type != NFS_DIR && there.type == NFS_DIR)
        return -EISDIR;
    return nfs_rename(r->client, &fh, dir, name, to, to_name);
}

static int mv_run(struct cli *cli, struct remote *r, struct place *places, int n)
{
    struct place *last = &places[n - 1];
    struct nfs_fh to;
    struct nfs_attr attr;
    char to_name[NFS_NAME_MAX + 1] = "";
    int status = 0, err = remote_walk(r, last->path, true, &to, &attr);
    bool into = !err && attr.type == NFS_DIR, slash = false;
    if (!into && n > 2)
        return remote_error(r, "cannot move to", last, err ? err : -ENOTDIR);
    if (!into) {
        err = remote_parent(r, last->path, &to, to_name);
        if (err)
            return remote_error(r, "cannot move to", last, err);
        slash = last->slash;
    }
    for (int i = 0; i < n - 1; i++) {
        char name[NFS_NAME_MAX + 1];
        struct nfs_fh dir;
        err = remote_parent(r, places[i].path, &dir, name);
        if (!err)
            err = move(r, &dir, name, &to, into ? name : to_name, slash || places[i].slash);
        if (err == -EXDEV) {
            char *text = show_escape(places[i].text);
            status = cli_fail("%s is in another volume: use 'volnfs cp -r' and 'volnfs rm -r'", text);
            free(text);
        } else if (err) {
            status = remote_error(r, "cannot move", &places[i], err);
        }
    }
    return status;
}

int cmd_mv(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 's'}, {0}};
    const char *server = NULL;
    struct place *places;
    struct remote *r;
    int opt, n, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "s:", longs, &status)) != -1) {
        if (opt != 's')
            return status;
        server = optarg;
    }
    n = argc - optind;
    if (n < 2)
        return cli_usage(cli, "a source and a destination are needed");
    places = remote_places(cli, argv + optind, n, &status);
    if (!places)
        return status;
    r = remote_open(server, &status);
    if (r)
        status = mv_run(cli, r, places, n);
    remote_close(r);
    remote_places_free(places, n);
    return status;
}
