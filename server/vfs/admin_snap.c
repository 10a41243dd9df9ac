/* SPDX-License-Identifier: Apache-2.0
 * admin_snap: what the administration interface asks of snapshots, by name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "server/store/snap.h"
#include "server/vfs/namespace.h"

/* The volume of "alice/mydata@name", with a reference, and the part behind the '@', which is checked. */
static int find_of(struct vfs *v, const char *full, struct nvol **out, const char **snap)
{
    const char *at = strchr(full, '@');
    char *name;
    int err;
    *out = NULL;
    if (!at || snap_check_name(at + 1, strlen(at + 1)))
        return -EINVAL;
    *snap = at + 1;
    name = strndup(full, (size_t)(at - full));
    if (!name)
        return -ENOMEM;
    err = ns_vol_find(v, name, out);
    free(name);
    return err;
}

/* The open volume of "alice/mydata@name", with a reference. */
static int open_of(struct vfs *v, const char *full, struct volume **out, const char **snap)
{
    struct nvol *n;
    int err = find_of(v, full, &n, snap);
    *out = NULL;
    if (err)
        return err;
    err = ns_vol_open(v, n, true, out);
    ns_vol_put(n);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_snap_create(struct vfs *v, const char *full)
{
    struct volume *vol;
    const char *snap;
    int err = open_of(v, full, &vol, &snap);
    if (!err && !(err = snap_create(vol, snap, NULL)))
        log_info("snapshot %s created", full);
    volume_unref(vol);
    return err;
}

int vfs_snap_destroy(struct vfs *v, const char *full)
{
    struct volume *vol;
    const char *snap;
    int err = open_of(v, full, &vol, &snap);
    if (!err && !(err = snap_destroy(vol, snap)))
        log_info("snapshot %s destroyed", full);
    volume_unref(vol);
    return err;
}

int vfs_snap_rename(struct vfs *v, const char *full, const char *to)
{
    const char *at = strchr(to, '@'), *slash = strchr(to, '/');
    struct volume *vol;
    const char *snap;
    int err = open_of(v, full, &vol, &snap);
    if (!err && slash && !at)
        err = -EINVAL;
    else if (!err && at && (at - to != snap - 1 - full || memcmp(to, full, (size_t)(at - to))))
        err = -EXDEV;
    if (!err && !(err = snap_rename(vol, snap, at ? at + 1 : to)))
        log_info("snapshot %s renamed to %s", full, to);
    volume_unref(vol);
    return err;
}

int vfs_snap_clone(struct vfs *v, const char *full, const char *to)
{
    const char *slash = strchr(to, '/'), *snap;
    struct nvol *src, *n = NULL;
    uint64_t user = 0;
    int err = find_of(v, full, &src, &snap);
    if (err)
        return err;
    if (!slash || statedb_check_user_name(to, (size_t)(slash - to)) ||
        statedb_check_volume_name(slash + 1, strlen(slash + 1)))
        err = -EINVAL;
    for (int i = 0; !err && i < 8; i++) { /* the user may be removed again in between */
        err = ns_user_add(v, to, (size_t)(slash - to), &user, NULL);
        if (err && err != -EEXIST)
            break;
        err = ns_vol_clone(v, src, snap, user, slash + 1, strlen(slash + 1), &n);
        ns_vol_put(n);
        if (err != -ESTALE)
            break;
        err = 0;
    }
    ns_vol_put(src);
    if (!err)
        log_info("snapshot %s cloned to %s", full, to);
    return err;
}

int vfs_snap_rollback(struct vfs *v, const char *full, unsigned flags)
{
    const char *snap;
    struct nvol *n;
    int err = find_of(v, full, &n, &snap);
    if (err)
        return err;
    err = ns_vol_rollback(v, n, snap, flags);
    ns_vol_put(n);
    if (!err)
        log_info("volume rolled back to %s", full);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_volume_settle(struct vfs *v, const char *name, uint64_t *id)
{
    struct volume *vol;
    int err = ns_vol_open_name(v, name, &vol);
    if (!err) {
        *id = volume_id(vol);
        err = volume_settle(vol);
    }
    volume_unref(vol);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_snap_list(struct vfs *v, const char *name,
                  int (*fn)(void *arg, uint64_t volume, const struct snap_info *s), void *arg)
{
    struct snap_info s;
    struct volume *vol;
    int r, err = ns_vol_open_name(v, name, &vol);
    for (s.id = 0; !err && (r = snap_list(vol, s.id, &s, 1)) != 0;)
        err = r < 0 ? r : fn(arg, volume_id(vol), &s);
    volume_unref(vol);
    return err == -ESTALE ? -ENOENT : err;
}
