/* SPDX-License-Identifier: Apache-2.0
 * file: bytes of files, with the checks that POSIX wants before them.
 */
#include <errno.h>

#include "server/vfs/perm.h"
#include "server/vfs/pseudo.h"

/* The type, for operations on data. */
static int check_type(const struct vobj *o, const struct vattr *a)
{
    if (a->type == IT_DIR)
        return -EISDIR;
    return a->type == IT_REG ? 0 : -EINVAL;
}

int vfs_read(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vcred *c,
             bool by_open, uint64_t off, size_t len, struct volume_read *out)
{
    if (o->kind != VOBJ_FILE)
        return -EISDIR;
    if (!by_open) {
        struct vattr a;
        int err = volume_getattr(o->vol, call, o->ino, o->gen, &a);
        if (err || (err = check_type(o, &a)))
            return err;
        /* Who may execute a file may read it: that is how its pages get there. */
        if (!perm_is_owner(&a, c) && vfs_check(&a, c, VMAY_READ) && vfs_check(&a, c, VMAY_EXEC))
            return -EACCES;
    }
    return volume_read(o->vol, call, o->ino, off, len, out);
}

/* Drops setuid and setgid before the first changed byte; doing it twice is harmless, so a call that blocks
 * afterwards may come again. */
static int drop_suid(const struct vobj *o, struct store_call *call, const struct vattr *a)
{
    struct vset set = {.mask = VSET_MODE, .mode = perm_drop_suid(a->mode)};
    return set.mode == a->mode ? 0 : volume_setattr(o->vol, call, o->ino, &set, NULL);
}

/* What a change of bytes wants to know and do before; some: there are bytes to change. */
static int before_write(const struct vobj *o, struct store_call *call, const struct vcred *c, bool by_open,
                        bool some)
{
    struct volume_props props;
    struct vattr a;
    int err;

    if (o->kind != VOBJ_FILE)
        return -EISDIR;
    if (!by_open || c->uid != 0) {
        if ((err = volume_getattr(o->vol, call, o->ino, o->gen, &a)) || (err = check_type(o, &a)))
            return err;
        if (!by_open && !perm_is_owner(&a, c) && (err = vfs_check(&a, c, VMAY_WRITE)))
            return err;
    }
    volume_get_props(o->vol, &props);
    if (props.readonly)
        return -EROFS;
    return c->uid != 0 && some ? drop_suid(o, call, &a) : 0;
}

int vfs_before_write(struct store_call *call, const struct vobj *o, const struct vcred *c, bool by_open)
{
    return before_write(o, call, c, by_open, true);
}

int vfs_write(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vcred *c,
              bool by_open, uint64_t off, const void *data, size_t len, bool stable,
              const uint64_t *expect_size, struct vfs_attr *out)
{
    int err = before_write(o, call, c, by_open, len != 0);

    if (err)
        return err;
    err = volume_write(o->vol, call, o->ino, off, data, len, stable, expect_size,
                       out ? &out->a : NULL);
    if (!err && out) {
        out->fsid = volume_id(o->vol);
        out->mounted_on_fileid = out->a.ino;
    }
    return err;
}

int vfs_commit(struct vfs *v, struct store_call *call, const struct vobj *o)
{
    return o->kind == VOBJ_FILE ? volume_commit(o->vol, call, o->ino) : -EISDIR;
}
