/* SPDX-License-Identifier: Apache-2.0
 * control_dump: procedures that read a volume or snapshot inode by inode and make one so, for 'volnfs dump' and
 * 'volnfs restore'.
 *
 * Nothing is kept between calls. A restore's steps return when memory has them; CONTROL_SETTLE makes all of them
 * durable. Permissions do not count here: who may call is the store's administrator.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "server/control/control_impl.h"

#define COMPARE_MAX (64u << 20) /* bytes compared in one call */

/* What an errno means here, for people. */
static void say_dump(control_result *r, char *buf, int err, const char *name)
{
    if (err == -EROFS)
        say(r, buf, err, "'%s' cannot be written: it is a snapshot, or readonly is set, or its disk failed", name);
    else if (err == -ENOENT && strchr(name, '@'))
        say(r, buf, err, "there is no '%s'; 'volnfs snapshot list' shows the snapshots there are", name);
    else if (err == -EINVAL)
        say(r, buf, err, "'%s': the request makes no sense", name);
    else if (err == -EEXIST)
        say(r, buf, err, "'%s': there is a file of that name", name);
    else
        say_error(r, buf, err, name);
}

static control_time time_to_wire(const struct timespec *t)
{
    return (control_time){.sec = t->tv_sec, .nsec = (u_int)t->tv_nsec};
}

static struct timespec time_from_wire(const control_time *t)
{
    return (struct timespec){.tv_sec = t->sec, .tv_nsec = (long)t->nsec};
}

static void inode_to_wire(const struct vattr *a, control_inode *i)
{
    *i = (control_inode){.ino = a->ino,
                         .gen = a->gen,
                         .type = a->type,
                         .mode = a->mode,
                         .nlink = a->nlink,
                         .uid = a->uid,
                         .gid = a->gid,
                         .major = a->rdev_major,
                         .minor = a->rdev_minor,
                         .size = a->size,
                         .change = a->change,
                         .atime = time_to_wire(&a->atime),
                         .mtime = time_to_wire(&a->mtime),
                         .ctime = time_to_wire(&a->ctime),
                         .btime = time_to_wire(&a->btime)};
}

/* --- DUMP_LIST --- */

struct list {
    control_dump_entry e[CONTROL_DUMP_ENTRIES];
    u_int n;
    uint64_t cookie;
    int err;
};

static bool add_entry(void *arg, const struct volume_dirent *de)
{
    struct list *l = arg;
    control_dump_entry *e = &l->e[l->n];
    if (!(e->name.name_val = malloc(de->len))) {
        l->err = -ENOMEM;
        return false;
    }
    memcpy(e->name.name_val, de->name, de->len);
    e->name.name_len = (u_int)de->len;
    inode_to_wire(&de->attr, &e->inode);
    l->cookie = de->cookie;
    return ++l->n < CONTROL_DUMP_ENTRIES;
}

static bool do_list(struct proc_call *pc, void *args)
{
    const control_dump_args *a = args;
    struct list *l = calloc(1, sizeof(*l));
    control_dump_list r = {0};
    struct volume *vol = NULL;
    struct store_call call;
    struct vattr attr;
    bool eof = false, ok;
    int err = l ? vfs_volume_get(pc->c->vfs, a->name, false, &vol) : -ENOMEM;
    store_call_init(&call, true);
    if (!err && !(err = volume_getattr(vol, &call, a->ino, 0, &attr))) {
        inode_to_wire(&attr, &r.self);
        if (attr.type == IT_DIR)
            err = volume_readdir(vol, &call, a->ino, a->at, CONTROL_DUMP_ENTRIES, add_entry, l, &eof);
        else
            eof = true;
    }
    if (!err)
        err = l->err;
    say_dump(&r.result, pc->text, err, a->name);
    if (!err) {
        r.eof = eof;
        r.cookie = l->cookie;
        r.entries.entries_len = l->n;
        r.entries.entries_val = l->e;
    }
    ok = xdr_control_dump_list(pc->out, &r);
    for (u_int i = 0; l && i < l->n; i++)
        free(l->e[i].name.name_val);
    free(l);
    store_call_release(&call);
    volume_unref(vol);
    return ok;
}

static bool refuse_list(struct proc_call *pc, control_result *r)
{
    control_dump_list l = {.result = *r};
    return xdr_control_dump_list(pc->out, &l);
}

/* --- DUMP_DATA --- */

/* Copies [off, off + len) to buf; what is past the end of the file, or where there is none, is zeros. */
static int read_all(struct volume *vol, struct store_call *call, uint64_t ino, uint64_t off, size_t len, char *buf)
{
    size_t done = 0;
    while (done < len) {
        struct volume_read rd;
        int err = volume_read(vol, call, ino, off + done, len - done, &rd);
        if (err < 0)
            return err;
        for (int i = 0; i < rd.niov; i++) {
            memcpy(buf + done, rd.iov[i].iov_base, rd.iov[i].iov_len);
            done += rd.iov[i].iov_len;
        }
        err = rd.eof || !rd.len;
        volume_read_release(&rd);
        if (err)
            break;
    }
    memset(buf + done, 0, len - done);
    return 0;
}

/* The first data at or after off; UINT64_MAX when there is none. */
static int find_data(struct volume *vol, struct store_call *call, uint64_t ino, uint64_t off, uint64_t *out)
{
    int err = volume_seek(vol, call, ino, off, true, out);
    if (err == -ENXIO) {
        *out = UINT64_MAX;
        err = 0;
    }
    return err;
}

static bool is_zero(const char *p, size_t len)
{
    return !len || (!*p && !memcmp(p, p + 1, len - 1));
}

/* What of the file is not a hole. */
static int next_data(struct volume *vol, struct store_call *call, const control_dump_args *a, char *buf,
                     control_dump_data *r)
{
    uint64_t off, end;
    int err = find_data(vol, call, a->ino, a->at, &off);
    if (err || off == UINT64_MAX) {
        r->eof = true;
        return err;
    }
    if ((err = volume_seek(vol, call, a->ino, off, false, &end)))
        return err;
    if (end - off > CONTROL_DUMP_BYTES)
        end = off + CONTROL_DUMP_BYTES - off % STORE_PAGE;
    r->offset = off;
    r->next = end;
    r->data.data_val = buf;
    r->data.data_len = (u_int)(end - off);
    return read_all(vol, call, a->ino, off, (size_t)(end - off), buf);
}

/* What of the file is not as in base: one slot at most. */
static int next_difference(struct volume *vol, struct volume *base, struct store_call *call,
                           const control_dump_args *a, uint64_t size, char *buf, control_dump_data *r)
{
    char *old = buf + SLOT_SIZE;
    uint64_t at = a->at, here, there;
    int err;
    for (size_t seen = 0; seen < COMPARE_MAX; seen += SLOT_SIZE) {
        size_t len;
        if ((err = find_data(vol, call, a->ino, at, &here)) || (err = find_data(base, call, a->ino, at, &there)))
            return err;
        if (there < here)
            here = there;
        if (here >= size) {
            r->eof = true;
            return 0;
        }
        at = here;
        len = SLOT_SIZE - at % SLOT_SIZE;
        if (len > size - at)
            len = (size_t)(size - at);
        if ((err = read_all(vol, call, a->ino, at, len, buf)) || (err = read_all(base, call, a->ino, at, len, old)))
            return err;
        if (memcmp(buf, old, len)) {
            r->offset = at;
            r->next = at + len;
            if (is_zero(buf, len)) {
                r->hole = len;
            } else {
                r->data.data_val = buf;
                r->data.data_len = (u_int)len;
            }
            return 0;
        }
        at += len;
    }
    r->offset = r->next = at;
    return 0;
}

static bool do_data(struct proc_call *pc, void *args)
{
    const control_dump_args *a = args;
    control_dump_data r = {0};
    struct volume *vol = NULL, *base = NULL;
    struct store_call call;
    struct vattr attr;
    char *buf = malloc(CONTROL_DUMP_BYTES);
    const char *name = a->name;
    bool ok;
    int err = buf ? vfs_volume_get(pc->c->vfs, a->name, false, &vol) : -ENOMEM;
    store_call_init(&call, true);
    if (!err && *a->base && (err = vfs_volume_get(pc->c->vfs, a->base, false, &base)))
        name = a->base;
    if (!err)
        err = volume_getattr(vol, &call, a->ino, 0, &attr);
    if (!err && attr.type != IT_REG)
        err = -EINVAL;
    if (!err)
        err = base ? next_difference(vol, base, &call, a, attr.size, buf, &r) : next_data(vol, &call, a, buf, &r);
    say_dump(&r.result, pc->text, err, name);
    ok = xdr_control_dump_data(pc->out, &r);
    store_call_release(&call);
    volume_unref(base);
    volume_unref(vol);
    free(buf);
    return ok;
}

static bool refuse_data(struct proc_call *pc, control_result *r)
{
    control_dump_data d = {.result = *r};
    return xdr_control_dump_data(pc->out, &d);
}

/* --- DUMP_EXTRA --- */

struct extra {
    control_dump_xattr x[64];
    u_int n;
    uint64_t cookie;
    int err;
};

static bool add_xattr(void *arg, uint64_t cookie, const char *name, size_t len)
{
    struct extra *e = arg;
    control_dump_xattr *x = &e->x[e->n];
    if (!(x->name.name_val = malloc(len + 1))) {
        e->err = -ENOMEM;
        return false;
    }
    memcpy(x->name.name_val, name, len);
    x->name.name_len = (u_int)len;
    e->cookie = cookie;
    return ++e->n < sizeof(e->x) / sizeof(e->x[0]);
}

static int get_values(struct volume *vol, struct store_call *call, uint64_t ino, struct extra *e)
{
    for (u_int i = 0; i < e->n; i++) {
        control_dump_xattr *x = &e->x[i];
        char *value = malloc(STORE_XATTR_SIZE_MAX), *less;
        int n = value ? volume_getxattr(vol, call, ino, x->name.name_val, x->name.name_len, value,
                                        STORE_XATTR_SIZE_MAX)
                      : -ENOMEM;
        if (n < 0) {
            free(value);
            return n;
        }
        less = realloc(value, (size_t)n + 1);
        x->value.value_len = (u_int)n;
        x->value.value_val = less ? less : value;
    }
    return 0;
}

static bool do_extra(struct proc_call *pc, void *args)
{
    const control_dump_args *a = args;
    char target[STORE_SYMLINK_MAX + 1];
    control_dump_extra r = {0};
    struct volume *vol = NULL;
    struct extra e = {.n = 0};
    struct store_call call;
    struct vattr attr;
    bool eof = false, ok;
    int n, err = vfs_volume_get(pc->c->vfs, a->name, false, &vol);
    store_call_init(&call, true);
    if (!err)
        err = volume_getattr(vol, &call, a->ino, 0, &attr);
    if (!err && attr.type == IT_LNK) {
        if ((n = volume_readlink(vol, &call, a->ino, target)) < 0)
            err = n;
        r.target.target_val = target;
        r.target.target_len = n < 0 ? 0 : (u_int)n;
    }
    if (!err)
        err = volume_listxattr(vol, &call, a->ino, a->at, add_xattr, &e, &eof);
    if (!err)
        err = e.err;
    if (!err)
        err = get_values(vol, &call, a->ino, &e);
    say_dump(&r.result, pc->text, err, a->name);
    if (!err) {
        r.eof = eof;
        r.cookie = e.cookie;
        r.xattrs.xattrs_len = e.n;
        r.xattrs.xattrs_val = e.x;
    }
    ok = xdr_control_dump_extra(pc->out, &r);
    for (u_int i = 0; i < e.n; i++) {
        free(e.x[i].name.name_val);
        free(e.x[i].value.value_val);
    }
    store_call_release(&call);
    volume_unref(vol);
    return ok;
}

static bool refuse_extra(struct proc_call *pc, control_result *r)
{
    control_dump_extra e = {.result = *r};
    return xdr_control_dump_extra(pc->out, &e);
}

/* --- RESTORE --- */

/* Can it be a name? Bytes of a stream come through here. */
static bool good_name(const char *name, size_t len)
{
    return len >= 1 && len <= STORE_NAME_MAX && !memchr(name, 0, len) && !memchr(name, '/', len) &&
           !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.');
}

static bool good_time(const control_time *t)
{
    return t->nsec < 1000000000u;
}

/* Attributes from the wire. */
static int set_from_wire(const control_inode *i, bool size, struct vset *set)
{
    if (i->mode > 07777 || i->size > STORE_FILE_MAX || !good_time(&i->atime) || !good_time(&i->mtime) ||
        !good_time(&i->btime) || i->type < IT_REG || i->type > IT_SOCK)
        return -EINVAL;
    *set = (struct vset){.mask = VSET_MODE | VSET_UID | VSET_GID | VSET_ATIME | VSET_MTIME | VSET_BTIME,
                         .mode = i->mode,
                         .uid = i->uid,
                         .gid = i->gid,
                         .size = i->size,
                         .atime = time_from_wire(&i->atime),
                         .mtime = time_from_wire(&i->mtime),
                         .btime = time_from_wire(&i->btime)};
    if (size && i->type == IT_REG)
        set->mask |= VSET_SIZE;
    return 0;
}

static int make_inode(struct volume *vol, struct store_call *call, const control_change *c, uint64_t *ino)
{
    struct volume_create_args args = {.dir = c->dir, .name = c->name.name_val, .len = c->name.name_len};
    struct dir_change dc;
    struct vattr attr;
    int err = c->inode ? set_from_wire(c->inode, false, &args.set) : -EINVAL;
    if (err)
        return err;
    args.type = (enum inode_type)c->inode->type;
    args.rdev_major = c->inode->major;
    args.rdev_minor = c->inode->minor;
    if (args.type == IT_LNK) {
        if (!c->data.data_len || c->data.data_len > STORE_SYMLINK_MAX || memchr(c->data.data_val, 0, c->data.data_len))
            return -EINVAL;
        args.target = c->data.data_val;
        args.target_len = c->data.data_len;
    }
    err = volume_create_at(vol, call, &args, &attr, &dc);
    *ino = err ? 0 : attr.ino;
    return err;
}

static int set_inode(struct volume *vol, struct store_call *call, const control_change *c)
{
    struct vset set = {0};
    struct vattr attr;
    int err = c->inode ? set_from_wire(c->inode, true, &set) : -EINVAL;
    if (!err)
        err = volume_getattr(vol, call, c->ino, 0, &attr);
    if (!err && attr.type != (enum inode_type)c->inode->type)
        err = -EINVAL;
    /* A size that is set changes the times, so they come after it. */
    if (!err && (set.mask & VSET_SIZE) && set.size != attr.size) {
        struct vset size = {.mask = VSET_SIZE, .size = set.size};
        err = volume_setattr(vol, call, c->ino, &size, NULL);
    }
    set.mask &= ~(uint32_t)VSET_SIZE;
    return err ? err : volume_setattr(vol, call, c->ino, &set, NULL);
}

static int write_bytes(struct volume *vol, struct store_call *call, const control_change *c, uint64_t len)
{
    if (!len || c->offset > STORE_FILE_MAX || len > STORE_FILE_MAX - c->offset)
        return -EINVAL;
    if (c->step == STEP_HOLE)
        return volume_punch(vol, call, c->ino, c->offset, len);
    return volume_write(vol, call, c->ino, c->offset, c->data.data_val, len, false, NULL, NULL);
}

/* One step; *ino: what it made or found. */
static int apply(struct volume *vol, struct store_call *call, const control_change *c, uint64_t *ino)
{
    const char *name = c->name.name_val;
    size_t len = c->name.name_len;
    struct dir_change d1, d2;
    struct vattr attr;
    int err;
    if ((c->step == STEP_BASE || c->step == STEP_AWAY || c->step == STEP_NEW || c->step == STEP_NAME ||
         c->step == STEP_MOVE) && !good_name(name, len)) /* extended attributes may be called "a/b" */
        return -EINVAL;
    switch (c->step) {
    case STEP_BASE:
        err = volume_lookup(vol, call, c->dir, name, len, &attr);
        *ino = err ? 0 : attr.ino;
        return err;
    case STEP_AWAY:
        return volume_unlink(vol, call, c->dir, name, len, c->ino, NULL, &d1);
    case STEP_NEW:
        return make_inode(vol, call, c, ino);
    case STEP_NAME:
        return volume_link(vol, call, c->ino, c->dir, name, len, &attr, &d1);
    case STEP_MOVE:
        if (!good_name(c->to.to_val, c->to.to_len))
            return -EINVAL;
        return volume_rename(vol, call, c->dir, name, len, c->todir, c->to.to_val, c->to.to_len, c->ino, 0, NULL, &d1,
                             &d2);
    case STEP_DATA:
        return write_bytes(vol, call, c, c->data.data_len);
    case STEP_HOLE:
        return write_bytes(vol, call, c, c->length);
    case STEP_XATTR:
        return volume_setxattr(vol, call, c->ino, name, len, c->data.data_val, c->data.data_len, 0, &d1);
    case STEP_NOXATTR:
        return volume_removexattr(vol, call, c->ino, name, len, &d1);
    case STEP_SET:
        return set_inode(vol, call, c);
    }
    return -EINVAL;
}

static bool do_restore(struct proc_call *pc, void *args)
{
    const control_restore_args *a = args;
    control_restored r = {0};
    struct volume *vol = NULL;
    struct store_call call;
    uint64_t ino = 0;
    bool ok;
    int err = vfs_volume_get(pc->c->vfs, a->name, true, &vol);
    store_call_init(&call, true);
    if (err)
        say_dump(&r.result, pc->text, err, a->name);
    else if ((err = fault_point("restore.step")) || (err = apply(vol, &call, &a->change, &ino)) < 0 ||
             (err = fault_point("restore.done")))
        say(&r.result, pc->text, err, "'%s' cannot be restored into: %s", a->name, strerror(-err));
    else
        say(&r.result, pc->text, 0, "%s", "");
    r.ino = ino;
    ok = xdr_control_restored(pc->out, &r);
    store_call_release(&call);
    volume_unref(vol);
    return ok;
}

static bool refuse_restore(struct proc_call *pc, control_result *r)
{
    control_restored d = {.result = *r};
    return xdr_control_restored(pc->out, &d);
}

const struct control_proc control_dump_procs[] = {
    {CONTROL_DUMP_LIST, false, true, do_list, CONTROL_ARGS(control_dump_args), refuse_list},
    {CONTROL_DUMP_DATA, false, true, do_data, CONTROL_ARGS(control_dump_args), refuse_data},
    {CONTROL_DUMP_EXTRA, false, true, do_extra, CONTROL_ARGS(control_dump_args), refuse_extra},
    {CONTROL_RESTORE, false, true, do_restore, CONTROL_ARGS(control_restore_args), refuse_restore},
    {0},
};
