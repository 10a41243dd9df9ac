/* SPDX-License-Identifier: Apache-2.0
 * admin_store: what the administration interface asks of a volume's store, by name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/snap.h"
#include "server/vfs/namespace.h"

int vfs_scrub_start(struct vfs *v, const char *name)
{
    struct volume *vol;
    int err = ns_vol_open_name(v, name, &vol);
    if (!err)
        err = volume_scrub_start(vol);
    volume_unref(vol);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_scrub_stat(struct vfs *v, const char *name, struct volume_scrub *st,
                   int (*fn)(void *arg, const char *path, uint64_t off), void *arg)
{
    struct volume *vol;
    int err = ns_vol_open_name(v, name, &vol);
    if (!err)
        err = volume_scrub_stat(vol, st);
    if (!err && st->damaged)
        err = volume_scrub_damage(vol, fn, arg);
    volume_unref(vol);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_volume_get(struct vfs *v, const char *full, bool write, struct volume **out)
{
    const char *at = strchrnul(full, '@');
    struct volume_props props;
    struct volume *vol = NULL;
    struct snap_info info;
    char *name;
    int err;
    *out = NULL;
    if (write && *at)
        return -EROFS;
    if (!(name = strndup(full, (size_t)(at - full))))
        return -ENOMEM;
    err = ns_vol_open_name(v, name, &vol);
    free(name);
    if (!err && *at) {
        if (!(err = snap_find(vol, at + 1, strlen(at + 1), &info)))
            err = snap_open(vol, info.id, true, out);
        volume_unref(vol);
        return err == -ESTALE ? -ENOENT : err;
    }
    if (!err && write) {
        volume_get_props(vol, &props);
        if (props.readonly)
            err = -EROFS;
    }
    if (err)
        volume_unref(vol);
    else
        *out = vol;
    return err;
}
