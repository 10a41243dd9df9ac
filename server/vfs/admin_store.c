/* SPDX-License-Identifier: Apache-2.0
 * admin_store: what the administration interface asks of a volume's store, by name.
 */
#include <errno.h>

#include "server/vfs/namespace.h"

static int open_of(struct vfs *v, const char *name, struct volume **out)
{
    struct nvol *n;
    int err = ns_vol_find(v, name, &n);
    *out = NULL;
    if (err)
        return err;
    err = ns_vol_open(v, n, true, out);
    ns_vol_put(n);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_scrub_start(struct vfs *v, const char *name)
{
    struct volume *vol;
    int err = open_of(v, name, &vol);
    if (!err)
        err = volume_scrub_start(vol);
    volume_unref(vol);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_scrub_stat(struct vfs *v, const char *name, struct volume_scrub *st,
                   int (*fn)(void *arg, const char *path, uint64_t off), void *arg)
{
    struct volume *vol;
    int err = open_of(v, name, &vol);
    if (!err)
        err = volume_scrub_stat(vol, st);
    if (!err && st->damaged)
        err = volume_scrub_damage(vol, fn, arg);
    volume_unref(vol);
    return err == -ESTALE ? -ENOENT : err;
}
