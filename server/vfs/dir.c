/* SPDX-License-Identifier: Apache-2.0
 * dir: operations on names: checks first, then the store; the pseudo tree's directories are pseudo.c's.
 *
 * A check looks at an inode and the store acts on a name a moment later. Where that matters (the sticky
 * bit) the store is told which inode was meant and answers -ESTALE if the name is another by then, and
 * the whole is tried again.
 */
#include <errno.h>
#include <string.h>

#include "server/vfs/perm.h"
#include "server/vfs/pseudo.h"
#include "server/vfs/snapdir.h"

#define RETRIES 16 /* lost races with other renames in a row; more is a defect, not bad luck */

static int check_name(const char *name, size_t len)
{
    if (!len || memchr(name, '/', len) || memchr(name, 0, len))
        return -EINVAL;
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return -EINVAL;
    return len > STORE_NAME_MAX ? -ENAMETOOLONG : 0;
}

static bool is_pseudo(const struct vobj *o)
{
    return o->kind == VOBJ_ROOT || o->kind == VOBJ_USER || o->kind == VOBJ_SNAPDIR || o->kind == VOBJ_TOKENS;
}

/* The attributes of a directory of a volume in which c has the rights `may`. */
static int dir_attr(struct store_call *call, const struct vobj *dir, const struct vcred *c, unsigned may,
                    struct vattr *out)
{
    int err;
    if (dir->kind != VOBJ_FILE)
        return -ESTALE;
    if ((err = volume_getattr(dir->vol, call, dir->ino, dir->gen, out)))
        return err;
    return out->type == IT_DIR ? vfs_check(out, c, may) : -ENOTDIR;
}

static int check_writable(const struct vobj *dir)
{
    struct volume_props props;
    volume_get_props(dir->vol, &props);
    return props.readonly ? -EROFS : 0;
}

static void set_file(struct vobj *out, struct volume *vol, const struct vattr *a)
{
    struct vobj o = {.kind = VOBJ_FILE, .vol = volume_ref(vol), .ino = a->ino, .gen = a->gen};
    vobj_release(out);
    *out = o;
}

static void set_attr(struct vfs_attr *out, struct volume *vol, const struct vattr *a)
{
    out->a = *a;
    out->fsid = volume_id(vol);
    out->mounted_on_fileid = a->ino == STORE_ROOT_INO ? pseudo_volume_fileid(out->fsid) : a->ino;
}

int vfs_lookup(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
               const char *name, size_t len, struct vobj *out, struct vfs_attr *attr)
{
    struct vattr d, a;
    struct volume *vol = dir->vol;
    int err = check_name(name, len);
    if (is_pseudo(dir))
        return err ? err : pseudo_lookup(v, call, dir, c, name, len, out, attr);
    /* What dir is comes first: a bad name in a file is still not a directory. */
    int derr = dir_attr(call, dir, c, VMAY_EXEC, &d);
    if (derr || err)
        return derr ? derr : err;
    err = volume_lookup(vol, call, dir->ino, name, len, &a);
    if (err == -ENOENT && snapdir_is_name(dir, name, len)) {
        struct vobj o = {0};
        snapdir_object(vol, &o); /* out may be dir */
        vobj_release(out);
        *out = o;
        return attr ? snapdir_getattr(out, attr) : 0;
    }
    if (err)
        return err;
    if (attr)
        set_attr(attr, vol, &a);
    set_file(out, vol, &a);
    return 0;
}

/* .snapshots cannot be made by others; one of a volume that is older than snapshots stays what it is. */
static int check_reserved(const struct vobj *dir, const char *name, size_t len)
{
    return snapdir_is_name(dir, name, len) ? -EEXIST : 0;
}

int vfs_lookup_parent(struct vfs *v, struct store_call *call, const struct vobj *dir,
                      const struct vcred *c, struct vobj *out)
{
    struct vattr d, p;
    int err;
    if (dir->kind == VOBJ_ROOT)
        return -ENOENT;
    if (dir->kind == VOBJ_SNAPDIR) {
        struct volume *vol = volume_ref(dir->vol);
        err = volume_getattr(vol, call, STORE_ROOT_INO, 0, &p);
        if (!err)
            set_file(out, vol, &p);
        volume_unref(vol);
        return err;
    }
    if (dir->kind == VOBJ_USER || dir->kind == VOBJ_TOKENS) {
        struct vfs_attr attr;
        if ((err = pseudo_getattr(v, dir, &attr)))
            return err;
        vfs_root(v, out);
        return 0;
    }
    if ((err = dir_attr(call, dir, c, VMAY_EXEC, &d)))
        return err;
    if (dir->ino == STORE_ROOT_INO)
        return pseudo_parent_of_volume(v, dir->vol, out);
    if (!d.nlink || !d.parent)
        return -ENOENT; /* removed, but still open */
    if ((err = volume_getattr(dir->vol, call, d.parent, 0, &p)))
        return err;
    set_file(out, dir->vol, &p);
    return 0;
}

static int create_in_volume(struct vfs *v, struct store_call *call, const struct vobj *dir,
                            const struct vcred *c, const struct vfs_create *a, struct vobj *out,
                            struct vfs_attr *attr, bool *created, struct dir_change *dc)
{
    struct volume *vol = dir->vol;
    struct vattr d, have;
    struct volume_create_args ca = {.dir = dir->ino,
                                    .name = a->name,
                                    .len = a->len,
                                    .type = a->type,
                                    .rdev_major = a->rdev_major,
                                    .rdev_minor = a->rdev_minor,
                                    .target = a->target,
                                    .target_len = a->target_len};
    bool root = dir->ino == STORE_ROOT_INO;
    int err = dir_attr(call, dir, c, VMAY_EXEC, &d);
    if (err)
        return err;
    *dc = (struct dir_change){d.change, d.change};
    /* An existing name is reported, or opened, whoever may write the directory. */
    err = volume_lookup(vol, call, dir->ino, a->name, a->len, &have);
    if (err == -ENOENT) {
        if ((err = check_reserved(dir, a->name, a->len))) {
            struct vobj o = {0};
            snapdir_object(vol, &o);
            vobj_release(out);
            *out = o;
            (void)snapdir_getattr(out, attr);
            return err;
        }
        if ((err = vfs_check(&d, c, VMAY_WRITE)) || (err = check_writable(dir)) ||
            (err = perm_new_inode(&d, c, a->type, &a->set, &ca.set)))
            return err;
        if (root && (err = ns_root_enter(v, call)))
            return err;
        err = volume_create_at(vol, call, &ca, &have, dc);
        if (root)
            ns_root_leave(v);
        *created = !err;
        if (err == -EEXIST)
            *dc = (struct dir_change){d.change, d.change};
    } else if (!err) {
        err = -EEXIST;
    }
    if (err && err != -EEXIST)
        return err;
    set_attr(attr, vol, &have);
    set_file(out, vol, &have);
    if (err == -EEXIST && !a->excl && a->type == IT_REG && have.type == IT_REG)
        return 0;
    return err;
}

int vfs_create(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
               const struct vfs_create *a, struct vobj *out, struct vfs_attr *attr, bool *created,
               struct dir_change *dc)
{
    struct vfs_attr own_attr;
    struct dir_change own_dc;
    int err = check_name(a->name, a->len);
    if (err)
        return err;
    if (a->type == IT_NONE || a->type > IT_SOCK)
        return -EINVAL;
    if (a->type == IT_LNK && (!a->target_len || memchr(a->target, 0, a->target_len)))
        return -EINVAL;
    if (a->type == IT_LNK && a->target_len > STORE_SYMLINK_MAX)
        return -ENAMETOOLONG;
    if (!attr)
        attr = &own_attr;
    if (!dc)
        dc = &own_dc;
    *created = false;
    return is_pseudo(dir) ? pseudo_create(v, call, dir, c, a, out, attr, created, dc)
                          : create_in_volume(v, call, dir, c, a, out, attr, created, dc);
}

int vfs_link(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vobj *dir,
             const struct vcred *c, const char *name, size_t len, struct dir_change *dc)
{
    struct vattr d, a;
    struct dir_change own_dc;
    bool root = dir->ino == STORE_ROOT_INO;
    int err = check_name(name, len);
    if (err)
        return err;
    if (is_pseudo(o))
        return -EISDIR;
    if (dir->kind == VOBJ_SNAPDIR)
        return -EROFS;
    if (is_pseudo(dir))
        return -EXDEV;
    if ((err = volume_getattr(o->vol, call, o->ino, o->gen, &a)))
        return err;
    if (a.type == IT_DIR)
        return -EISDIR;
    if (volume_id(o->vol) != volume_id(dir->vol))
        return -EXDEV;
    if ((err = dir_attr(call, dir, c, VMAY_EXEC | VMAY_WRITE, &d)) || (err = check_writable(dir)) ||
        (err = check_reserved(dir, name, len)))
        return err;
    if (root && (err = ns_root_enter(v, call)))
        return err;
    err = volume_link(dir->vol, call, o->ino, dir->ino, name, len, NULL, dc ? dc : &own_dc);
    if (root)
        ns_root_leave(v);
    return err;
}

static int lookup_to_remove(struct store_call *call, const struct vobj *dir, const char *name, size_t len,
                            struct vattr *a)
{
    int err = volume_lookup(dir->vol, call, dir->ino, name, len, a);
    return err == -ENOENT && snapdir_is_name(dir, name, len) ? -EROFS : err;
}

int vfs_remove(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
               const char *name, size_t len, struct vobj *gone, bool *last, struct dir_change *dc)
{
    struct vattr d, a, after;
    struct dir_change own_dc;
    int err = check_name(name, len);
    if (err)
        return err;
    if (!dc)
        dc = &own_dc;
    if (is_pseudo(dir)) {
        if (gone)
            vobj_release(gone);
        if (last)
            *last = true;
        return pseudo_remove(v, call, dir, c, name, len, dc);
    }
    for (int i = 0; i < RETRIES; i++) {
        if ((err = dir_attr(call, dir, c, VMAY_EXEC, &d)) ||
            (err = lookup_to_remove(call, dir, name, len, &a)) ||
            (err = vfs_check(&d, c, VMAY_WRITE)) || (err = perm_sticky(&d, &a, c)) ||
            (err = check_writable(dir)))
            return err;
        err = volume_unlink(dir->vol, call, dir->ino, name, len, a.ino, &after, dc);
        if (err != -ESTALE)
            break;
    }
    if (err)
        return err;
    if (gone)
        set_file(gone, dir->vol, &after);
    if (last)
        *last = after.nlink == 0;
    return 0;
}

/* May c rename the inode src from sdir to ddir, over dst (NULL: nothing there)? */
static int check_rename(const struct vattr *sd, const struct vattr *dd, const struct vattr *src,
                        const struct vattr *dst, const struct vcred *c)
{
    int err;
    if ((err = vfs_check(sd, c, VMAY_WRITE)) || (err = vfs_check(dd, c, VMAY_WRITE)) ||
        (err = perm_sticky(sd, src, c)))
        return err;
    if (dst && (err = perm_sticky(dd, dst, c)))
        return err;
    /* A directory that changes its parent has its ".." written. */
    if (src->type == IT_DIR && sd->ino != dd->ino)
        return vfs_check(src, c, VMAY_WRITE);
    return 0;
}

static int rename_once(struct vfs *v, struct store_call *call, const struct vobj *sdir,
                       const char *sname, size_t slen, const struct vobj *ddir, const char *dname,
                       size_t dlen, const struct vcred *c, struct vattr *replaced,
                       struct dir_change *sdc, struct dir_change *ddc)
{
    struct vattr sd, dd, src, dst;
    bool root = ddir->ino == STORE_ROOT_INO;
    bool over;
    int err;
    if ((err = dir_attr(call, sdir, c, VMAY_EXEC, &sd)) ||
        (err = dir_attr(call, ddir, c, VMAY_EXEC, &dd)) ||
        (err = volume_lookup(sdir->vol, call, sdir->ino, sname, slen, &src)))
        return err;
    err = volume_lookup(ddir->vol, call, ddir->ino, dname, dlen, &dst);
    if (err && err != -ENOENT)
        return err;
    over = !err;
    if ((err = check_rename(&sd, &dd, &src, over ? &dst : NULL, c)) || (err = check_writable(sdir)) ||
        (!over && (err = check_reserved(ddir, dname, dlen))))
        return err;
    if (root && (err = ns_root_enter(v, call)))
        return err;
    err = volume_rename(sdir->vol, call, sdir->ino, sname, slen, ddir->ino, dname, dlen, src.ino,
                        over ? dst.ino : 0, replaced, sdc, ddc);
    if (root)
        ns_root_leave(v);
    return err;
}

int vfs_rename(struct vfs *v, struct store_call *call, const struct vobj *sdir, const char *sname,
               size_t slen, const struct vobj *ddir, const char *dname, size_t dlen,
               const struct vcred *c, struct vobj *replaced, bool *last, struct dir_change *sdc,
               struct dir_change *ddc)
{
    struct vattr old = {0};
    struct dir_change own_sdc, own_ddc;
    int err;
    if ((err = check_name(sname, slen)) || (err = check_name(dname, dlen)))
        return err;
    sdc = sdc ? sdc : &own_sdc;
    ddc = ddc ? ddc : &own_ddc;
    if (replaced)
        vobj_release(replaced);
    if (last)
        *last = false;
    if (is_pseudo(sdir) || is_pseudo(ddir)) {
        if (!vobj_same(sdir, ddir))
            return -EXDEV;
        err = pseudo_rename(v, call, sdir, c, sname, slen, dname, dlen, sdc);
        *ddc = *sdc;
        return err;
    }
    if (volume_id(sdir->vol) != volume_id(ddir->vol))
        return -EXDEV;
    for (int i = 0; i < RETRIES; i++) {
        err = rename_once(v, call, sdir, sname, slen, ddir, dname, dlen, c, &old, sdc, ddc);
        if (err != -ESTALE)
            break;
    }
    if (err || !old.ino)
        return err;
    if (replaced)
        set_file(replaced, ddir->vol, &old);
    if (last)
        *last = old.nlink == 0;
    return 0;
}

/* Passes the store's entries on as objects. */
struct walk {
    struct volume *vol;
    bool (*fn)(void *arg, const struct vfs_dirent *de);
    void *arg;
};

static bool pass_entry(void *arg, const struct volume_dirent *e)
{
    const struct walk *w = arg;
    struct vfs_dirent de = {.cookie = e->cookie,
                            .name = e->name,
                            .len = e->len,
                            .obj = {.kind = VOBJ_FILE,
                                    .vol = w->vol,
                                    .ino = e->attr.ino,
                                    .gen = e->attr.gen}};
    set_attr(&de.attr, w->vol, &e->attr);
    return w->fn(w->arg, &de);
}

/* The entry .snapshots, if the volume shows it; false when fn wants no more. */
static bool give_snapdir(struct volume *vol, bool (*fn)(void *arg, const struct vfs_dirent *de), void *arg)
{
    struct volume_props props;
    struct vfs_dirent de = {.cookie = SNAPDIR_COOKIE,
                            .name = SNAPDIR_NAME,
                            .len = strlen(SNAPDIR_NAME),
                            .obj = {.kind = VOBJ_SNAPDIR, .vol = vol}};
    volume_get_props(vol, &props);
    if (!props.snapdir)
        return true;
    (void)snapdir_getattr(&de.obj, &de.attr);
    return fn(arg, &de);
}

int vfs_readdir(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                uint64_t after, unsigned max, bool (*fn)(void *arg, const struct vfs_dirent *de),
                void *arg, bool *eof)
{
    struct walk w = {.vol = dir->vol, .fn = fn, .arg = arg};
    struct vattr d;
    int err;
    *eof = false;
    if (is_pseudo(dir))
        return pseudo_readdir(v, call, dir, c, after, max, fn, arg, eof);
    if ((err = dir_attr(call, dir, c, VMAY_READ, &d)))
        return err;
    if (after < SNAPDIR_COOKIE && snapdir_is_name(dir, SNAPDIR_NAME, strlen(SNAPDIR_NAME)) &&
        !give_snapdir(dir->vol, fn, arg))
        return 0;
    return volume_readdir(dir->vol, call, dir->ino, after, max, pass_entry, &w, eof);
}
