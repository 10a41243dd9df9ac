/* SPDX-License-Identifier: Apache-2.0
 * snapdir: snapshots in the tree (see snapdir.h).
 */
#include "server/vfs/snapdir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/vfs/pseudo.h"

#define READDIR_MAX 256u /* snapshots copied out at a time */

bool snapdir_is_name(const struct vobj *dir, const char *name, size_t len)
{
    return dir->kind == VOBJ_FILE && dir->ino == STORE_ROOT_INO && len == strlen(SNAPDIR_NAME) &&
           !memcmp(name, SNAPDIR_NAME, len) && !snap_id(volume_id(dir->vol));
}

void snapdir_object(struct volume *vol, struct vobj *out)
{
    struct vobj o = {.kind = VOBJ_SNAPDIR, .vol = volume_ref(vol)};
    vobj_release(out);
    *out = o;
}

int snapdir_getattr(const struct vobj *o, struct vfs_attr *out)
{
    struct volume_stat st;
    memset(out, 0, sizeof(*out));
    volume_stat(o->vol, &st);
    out->a.ino = PSEUDO_SNAPDIR_FILEID;
    out->a.gen = 1;
    out->a.type = IT_DIR;
    out->a.mode = 0555;
    out->a.nlink = 2 + st.snapshots;
    out->a.size = out->a.used = 4096;
    out->a.change = snap_list_change(o->vol, &out->a.mtime);
    out->a.atime = out->a.ctime = out->a.btime = out->a.mtime;
    out->fsid = volume_id(o->vol);
    out->mounted_on_fileid = out->a.ino;
    return 0;
}

int snapdir_root(struct store_call *call, struct volume *vol, uint64_t id, struct vobj *out,
                 struct vfs_attr *attr)
{
    struct volume *s = NULL;
    struct vattr a;
    int err = snap_open(vol, id, call->may_block, &s);
    if (err)
        return err == -ESTALE ? -ENOENT : err;
    if ((err = volume_getattr(s, call, STORE_ROOT_INO, 0, &a))) {
        volume_unref(s);
        return err == -ESTALE ? -ENOENT : err;
    }
    if (attr)
        *attr = (struct vfs_attr){.a = a,
                                  .fsid = volume_id(s),
                                  .mounted_on_fileid = pseudo_volume_fileid(volume_id(s))};
    vobj_release(out);
    *out = (struct vobj){.kind = VOBJ_FILE, .vol = s, .ino = STORE_ROOT_INO, .gen = a.gen};
    return 0;
}

int snapdir_lookup(struct store_call *call, const struct vobj *dir, const char *name, size_t len,
                   struct vobj *out, struct vfs_attr *attr)
{
    struct volume *vol = dir->vol;
    struct snap_info s;
    int err = snap_find(vol, name, len, &s);
    return err ? err : snapdir_root(call, vol, s.id, out, attr);
}

/* Gives one snapshot to fn; false when it wants no more. */
static bool give(struct store_call *call, struct volume *vol, const struct snap_info *s,
                 bool (*fn)(void *arg, const struct vfs_dirent *de), void *arg)
{
    struct vfs_dirent de = {.cookie = s->id + PSEUDO_COOKIE_BASE, .name = s->name, .len = strlen(s->name)};
    bool more = true;
    de.err = snapdir_root(call, vol, s->id, &de.obj, &de.attr);
    if (de.err) {
        uint64_t id = snap_volume_id(volume_id(vol), s->id);
        de.attr = (struct vfs_attr){.a = {.ino = STORE_ROOT_INO, .type = IT_DIR},
                                    .fsid = id,
                                    .mounted_on_fileid = pseudo_volume_fileid(id)};
    }
    if (de.err != -ENOENT) /* destroyed meanwhile */
        more = fn(arg, &de);
    vobj_release(&de.obj);
    return more;
}

int snapdir_readdir(struct store_call *call, const struct vobj *dir, uint64_t after, unsigned max,
                    bool (*fn)(void *arg, const struct vfs_dirent *de), void *arg, bool *eof)
{
    struct snap_info *s;
    bool wanted = true;
    int n;
    *eof = false;
    if (!call->may_block)
        return -EAGAIN; /* snapshots may have to be opened for their attributes */
    if (max > READDIR_MAX || !max)
        max = READDIR_MAX;
    s = calloc(max, sizeof(*s));
    if (!s)
        return -ENOMEM;
    after = after < PSEUDO_COOKIE_BASE ? 0 : after - PSEUDO_COOKIE_BASE;
    n = snap_list(dir->vol, after, s, max);
    for (int i = 0; i < n && wanted; i++)
        wanted = give(call, dir->vol, &s[i], fn, arg);
    free(s);
    *eof = n >= 0 && wanted && (unsigned)n < max;
    return n < 0 ? n : 0;
}
