/* SPDX-License-Identifier: Apache-2.0
 * volume_names: names of a volume: lookup, create, link, unlink, rename, readlink.
 *
 * Each operation first gathers all it needs (which may end in RETRY or -EAGAIN), then checks, then
 * changes memory and the open txg without a pause: so it is atomic, and an error leaves no trace.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "server/store/volume_int.h"

#define RENAME_DEPTH 4096u /* twice what fits into a path */

static bool name_ok(const char *name, size_t len)
{
    return len >= 1 && len <= STORE_NAME_MAX && !memchr(name, '/', len) && !memchr(name, 0, len) &&
           !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.');
}

/* The directory and one of its names. */
static int get_name(struct volume *v, const struct store_call *call, uint64_t dir, const char *name,
                    size_t len, struct inode **din, struct dent **d)
{
    int r;

    if (!name_ok(name, len))
        return len > STORE_NAME_MAX ? -ENAMETOOLONG : -EINVAL;
    r = inode_get(v, call, dir, din);
    if (r)
        return r;
    return dent_get(v, call, *din, name, len, d);
}

static int lookup_locked(struct volume *v, struct store_call *call, uint64_t dir, const char *name,
                         size_t len, struct vattr *out)
{
    struct inode *din, *in;
    struct dent *d;
    int r = get_name(v, call, dir, name, len, &din, &d);

    if (r)
        return r;
    if (!d->ino)
        return -ENOENT;
    r = inode_get(v, call, d->ino, &in);
    if (r == 0)
        *out = in->a;
    return r == -ESTALE ? -EUCLEAN : r; /* a name without an inode */
}

int volume_lookup(struct volume *v, struct store_call *call, uint64_t dir, const char *name,
                  size_t len, struct vattr *out)
{
    int r = vol_enter(v);

    if (r < 0)
        return r;
    do
        r = lookup_locked(v, call, dir, name, len, out);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

/* A directory's own change by an operation on its names. */
static void dir_touch(struct inode *dir, struct timespec now, struct dir_change *dc)
{
    uint64_t before = dir->a.change;

    inode_changed(dir, now, true);
    if (dc)
        *dc = (struct dir_change){before, dir->a.change};
}

static void dir_same(const struct inode *dir, struct dir_change *dc)
{
    if (dc)
        *dc = (struct dir_change){dir->a.change, dir->a.change};
}

static void fill_new(struct volume *v, const struct volume_create_args *a, struct timespec now,
                     struct vattr *n)
{
    *n = (struct vattr){
        .ino = v->next_ino++,
        .gen = v->next_gen++,
        .type = a->type,
        .mode = a->set.mode & 07777,
        .nlink = a->type == IT_DIR ? 2 : 1,
        .uid = a->set.uid,
        .gid = a->set.gid,
        .rdev_major = a->rdev_major,
        .rdev_minor = a->rdev_minor,
        .change = v->e->epoch << 40,
        .parent = a->type == IT_DIR ? a->dir : 0,
        .atime = a->set.mask & VSET_ATIME ? a->set.atime : now,
        .mtime = a->set.mask & VSET_MTIME ? a->set.mtime : now,
        .ctime = now,
        .btime = a->set.mask & VSET_BTIME ? a->set.btime : now,
        .create_verf = a->set.mask & VSET_VERF ? a->set.create_verf : 0,
    };
    if (v->next_gen == 0)
        v->next_gen = 1;
    if (a->type == IT_REG && (a->set.mask & VSET_SIZE))
        n->size = a->set.size;
    if (a->type == IT_LNK)
        n->size = a->target_len;
}

static int create_locked(struct volume *v, struct store_call *call,
                         const struct volume_create_args *a, struct vattr *out,
                         struct dir_change *dc)
{
    struct timespec now;
    struct inode *dir, *in;
    struct dent *d;
    struct vattr n;
    int r = vol_admit(v, call, CHANGE_NAMES);

    /* An existing name says so even where nothing can be made. */
    if (r && r != -ENOSPC && r != -EROFS)
        return r;
    int refused = r;
    r = get_name(v, call, a->dir, a->name, a->len, &dir, &d);
    if (r)
        return r;
    if (d->ino) {
        r = inode_get(v, call, d->ino, &in);
        if (r)
            return r == -ESTALE ? -EUCLEAN : r;
        *out = in->a;
        dir_same(dir, dc);
        return -EEXIST;
    }
    if (refused)
        return refused;
    if (dir->a.nlink == 0)
        return -ENOENT;
    if (v->props.quota_files && v->files >= v->props.quota_files)
        return vol_over_quota(v, call);
    if ((a->set.mask & VSET_SIZE) && a->set.size > STORE_FILE_MAX)
        return -EFBIG;
    if (a->type == IT_DIR && dir->a.nlink >= STORE_LINK_MAX)
        return -EMLINK;
    if (!dent_cookie_free(d))
        return -ENOSPC;

    now = clock_wall();
    fill_new(v, a, now, &n);
    in = inode_new(v, &n);
    v->files++;
    v->open->created++;
    in->complete = a->type == IT_DIR;
    inode_dirty(in);
    if (a->type == IT_LNK) {
        in->target = vol_alloc(a->target_len + 1);
        memcpy(in->target, a->target, a->target_len);
        in->target_len = a->target_len;
        txg_add(v, rowop_new(OP_SYMLINK, n.ino, a->target, a->target_len, NULL, 0));
    }
    dent_set(d, n.ino);
    if (a->type == IT_DIR)
        dir->a.nlink++;
    dir_touch(dir, now, dc);
    *out = in->a;
    call_note(call, v, v->open->n);
    return 0;
}

int volume_create_at(struct volume *v, struct store_call *call, const struct volume_create_args *a,
                     struct vattr *out, struct dir_change *dc)
{
    int r;

    if (a->type <= IT_NONE || a->type > IT_SOCK ||
        (a->type == IT_LNK && (a->target_len == 0 || memchr(a->target, 0, a->target_len))))
        return -EINVAL;
    if (a->type == IT_LNK && a->target_len > STORE_SYMLINK_MAX)
        return -ENAMETOOLONG;
    r = vol_enter_change(v, call);
    if (r < 0)
        return r;
    do
        r = create_locked(v, call, a, out, dc);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

static int link_locked(struct volume *v, struct store_call *call, uint64_t ino, uint64_t dir,
                       const char *name, size_t len, struct vattr *out, struct dir_change *dc)
{
    struct timespec now;
    struct inode *in, *din;
    struct dent *d;
    int r = vol_admit(v, call, CHANGE_NAMES);

    if (r)
        return r;
    r = inode_get(v, call, ino, &in);
    if (r)
        return r;
    r = get_name(v, call, dir, name, len, &din, &d);
    if (r)
        return r;
    if (in->a.type == IT_DIR)
        return -EISDIR;
    if (d->ino)
        return -EEXIST;
    if (din->a.nlink == 0 || in->a.nlink == 0)
        return -ENOENT;
    if (in->a.nlink >= STORE_LINK_MAX)
        return -EMLINK;
    if (!dent_cookie_free(d))
        return -ENOSPC;

    now = clock_wall();
    dent_set(d, ino);
    in->a.nlink++;
    inode_changed(in, now, false);
    dir_touch(din, now, dc);
    if (out)
        *out = in->a;
    call_note(call, v, v->open->n);
    return 0;
}

int volume_link(struct volume *v, struct store_call *call, uint64_t ino, uint64_t dir,
                const char *name, size_t len, struct vattr *out, struct dir_change *dc)
{
    int r = vol_enter_change(v, call);

    if (r < 0)
        return r;
    do
        r = link_locked(v, call, ino, dir, name, len, out, dc);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

static int unlink_locked(struct volume *v, struct store_call *call, uint64_t dir, const char *name,
                         size_t len, uint64_t expect_ino, struct vattr *gone, struct dir_change *dc)
{
    struct timespec now;
    struct inode *din, *in;
    struct dent *d;
    int r = vol_admit(v, call, CHANGE_FREE);

    if (r)
        return r;
    r = get_name(v, call, dir, name, len, &din, &d);
    if (r)
        return r;
    if (!d->ino)
        return -ENOENT;
    if (expect_ino && d->ino != expect_ino)
        return -ESTALE;
    r = inode_get(v, call, d->ino, &in);
    if (r)
        return r == -ESTALE ? -EUCLEAN : r;
    if (in->a.type == IT_DIR) {
        r = dir_check_empty(v, call, in);
        if (r)
            return r;
    }

    now = clock_wall();
    dent_clear(d);
    if (in->a.type == IT_DIR)
        din->a.nlink--;
    dir_touch(din, now, dc);
    inode_drop_name(in, now);
    if (gone)
        *gone = in->a;
    call_note(call, v, v->open->n);
    return 0;
}

int volume_unlink(struct volume *v, struct store_call *call, uint64_t dir, const char *name,
                  size_t len, uint64_t expect_ino, struct vattr *gone, struct dir_change *dc)
{
    int r = vol_enter_change(v, call);

    if (r < 0)
        return r;
    do
        r = unlink_locked(v, call, dir, name, len, expect_ino, gone, dc);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

/* One rename: what it found. */
struct rename_set {
    struct inode *sdir, *ddir, *src, *dst;
    struct dent *sd, *dd;
};

/* Is `ino` the directory dir or above it? 1 would be RETRY, so: -EINVAL if it is. All the way up has to be
 * in memory at once, under the lock: hence a bound on the depth, also by what may stay in memory. */
static int not_above(struct volume *v, struct store_call *call, uint64_t ino, struct inode *dir)
{
    size_t most = v->e->inode_limit / 2 < RENAME_DEPTH ? v->e->inode_limit / 2 : RENAME_DEPTH;

    for (size_t depth = 0; depth < most; depth++) {
        int r;
        if (dir->a.ino == ino)
            return -EINVAL;
        if (dir->a.ino == STORE_ROOT_INO)
            return 0;
        r = inode_get(v, call, dir->a.parent, &dir);
        if (r)
            return r == -ESTALE ? -ENOENT : r;
        if (dir->a.type != IT_DIR)
            return -EUCLEAN;
    }
    return -EMLINK;
}

static int rename_check_target(struct volume *v, struct store_call *call, struct rename_set *s)
{
    if (s->src->a.type == IT_DIR) {
        if (s->dst->a.type != IT_DIR)
            return -ENOTDIR;
        return dir_check_empty(v, call, s->dst);
    }
    return s->dst->a.type == IT_DIR ? -EISDIR : 0;
}

static void rename_apply(struct rename_set *s, struct timespec now)
{
    bool isdir = s->src->a.type == IT_DIR;
    uint64_t ino = s->src->a.ino;

    dent_clear(s->sd);
    dent_set(s->dd, ino);
    if (isdir && s->sdir != s->ddir) {
        s->sdir->a.nlink--;
        s->ddir->a.nlink++;
        s->src->a.parent = s->ddir->a.ino;
    }
    inode_changed(s->src, now, false);
    if (s->dst) {
        if (s->dst->a.type == IT_DIR)
            s->ddir->a.nlink--;
        inode_drop_name(s->dst, now);
    }
}

static int rename_locked(struct volume *v, struct store_call *call, uint64_t sdir, const char *sname,
                         size_t slen, uint64_t ddir, const char *dname, size_t dlen,
                         uint64_t expect_src, uint64_t expect_dst, struct vattr *replaced,
                         struct dir_change *sdc, struct dir_change *ddc)
{
    struct rename_set s = {0};
    struct timespec now;
    uint64_t sbefore, dbefore;
    int r = vol_admit(v, call, CHANGE_FREE);

    if (r)
        return r;
    r = get_name(v, call, sdir, sname, slen, &s.sdir, &s.sd);
    if (r == 0)
        r = get_name(v, call, ddir, dname, dlen, &s.ddir, &s.dd);
    if (r)
        return r;
    if (!s.sd->ino)
        return -ENOENT;
    if (expect_src && s.sd->ino != expect_src)
        return -ESTALE;
    if (expect_dst != UINT64_MAX && s.dd->ino != expect_dst)
        return -ESTALE;
    r = inode_get(v, call, s.sd->ino, &s.src);
    if (r == 0 && s.dd->ino)
        r = inode_get(v, call, s.dd->ino, &s.dst);
    if (r)
        return r == -ESTALE ? -EUCLEAN : r;
    if (s.ddir->a.nlink == 0)
        return -ENOENT;
    if (s.src->a.type == IT_DIR && s.sdir != s.ddir) {
        r = not_above(v, call, s.src->a.ino, s.ddir);
        if (r)
            return r;
    }
    if (replaced)
        memset(replaced, 0, sizeof(*replaced));
    if (s.dst == s.src) {
        dir_same(s.sdir, sdc);
        dir_same(s.ddir, ddc);
        return 0;
    }
    if (s.dst) {
        r = rename_check_target(v, call, &s);
        if (r)
            return r;
    } else if (s.src->a.type == IT_DIR && s.sdir != s.ddir && s.ddir->a.nlink >= STORE_LINK_MAX) {
        return -EMLINK;
    }
    if (!dent_cookie_free(s.dd))
        return -ENOSPC;

    now = clock_wall();
    sbefore = s.sdir->a.change;
    dbefore = s.ddir->a.change;
    rename_apply(&s, now);
    dir_touch(s.sdir, now, NULL);
    if (s.ddir != s.sdir)
        dir_touch(s.ddir, now, NULL);
    if (sdc)
        *sdc = (struct dir_change){sbefore, s.sdir->a.change};
    if (ddc)
        *ddc = (struct dir_change){dbefore, s.ddir->a.change};
    if (replaced && s.dst)
        *replaced = s.dst->a;
    call_note(call, v, v->open->n);
    return 0;
}

int volume_rename(struct volume *v, struct store_call *call, uint64_t sdir, const char *sname,
                  size_t slen, uint64_t ddir, const char *dname, size_t dlen, uint64_t expect_src,
                  uint64_t expect_dst, struct vattr *replaced, struct dir_change *sdc,
                  struct dir_change *ddc)
{
    int r = vol_enter_change(v, call);

    if (r < 0)
        return r;
    do
        r = rename_locked(v, call, sdir, sname, slen, ddir, dname, dlen, expect_src, expect_dst,
                          replaced, sdc, ddc);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

static int readlink_locked(struct volume *v, struct store_call *call, uint64_t ino, char *buf)
{
    struct inode *in;
    int r = inode_get(v, call, ino, &in);

    if (r)
        return r;
    if (in->a.type != IT_LNK)
        return -EINVAL;
    if (!in->target) {
        char *t;
        if (!call->may_block)
            return -EAGAIN;
        t = vol_alloc(STORE_SYMLINK_MAX + 1);
        in->opsref++;
        pthread_mutex_unlock(&v->lock);
        r = index_get_symlink(v->ix, ino, t, STORE_SYMLINK_MAX + 1);
        pthread_mutex_lock(&v->lock);
        in->opsref--;
        if (r < 0 || in->target || in->dead) {
            free(t);
            return r < 0 ? (in->dead ? -ESTALE : r == -ENOENT ? -EUCLEAN : r) : RETRY;
        }
        in->target = t;
        in->target_len = (size_t)r;
    }
    memcpy(buf, in->target, in->target_len);
    buf[in->target_len] = '\0';
    return 0;
}

int volume_readlink(struct volume *v, struct store_call *call, uint64_t ino, char *buf)
{
    int r = vol_enter(v);

    if (r < 0)
        return r;
    do
        r = readlink_locked(v, call, ino, buf);
    while (r == RETRY);
    vol_leave(v);
    return r < 0 ? r : (int)strlen(buf);
}
