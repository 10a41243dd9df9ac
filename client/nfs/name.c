/* SPDX-License-Identifier: Apache-2.0 */
/* Names, attributes and directories. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/nfs/call.h"

#define NAME_WALK_OPS 60 /* LOOKUPs in one compound */

enum { ACC_READ = 1, ACC_LOOKUP = 2, ACC_MODIFY = 4, ACC_EXTEND = 8, ACC_DELETE = 16, ACC_EXECUTE = 32 };

/* Reads GETFH and GETATTR results. */
static int name_result(struct nfs_call *call, struct nfs_fh *fh, struct nfs_attr *attr)
{
    int err = 0;

    if (fh != NULL) {
        err = call_op(call, NFS_OP_GETFH);
        if (err == 0)
            dec_fh(&call->dec, fh);
    }
    if (err == 0 && attr != NULL) {
        err = call_op(call, NFS_OP_GETATTR);
        if (err == 0)
            dec_attr(&call->dec, attr);
    }
    return call_check(call, err);
}

static void name_want(struct nfs_call *call, const struct nfs_fh *fh, const struct nfs_attr *attr)
{
    if (fh != NULL)
        enc_op(&call->enc, NFS_OP_GETFH);
    if (attr != NULL)
        enc_getattr(&call->enc);
}

static int name_check(const char *name, size_t size)
{
    if (size == 0)
        return -ENOENT;
    return size > NFS_NAME_MAX ? -ENAMETOOLONG : 0;
}

int nfs_root(struct nfs_client *client, struct nfs_fh *fh, struct nfs_attr *attr)
{
    struct nfs_call call;
    int err;

    call_start(&call);
    enc_op(&call.enc, NFS_OP_PUTROOTFH);
    name_want(&call, fh, attr);
    err = call_run(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_PUTROOTFH);
    if (err == 0)
        err = name_result(&call, fh, attr);
    call_end(&call);
    return err;
}

int nfs_lookup(struct nfs_client *client, const struct nfs_fh *dir, const char *name, size_t size, struct nfs_fh *fh,
               struct nfs_attr *attr)
{
    struct nfs_call call;
    int err = name_check(name, size);

    if (err != 0)
        return err;
    call_start(&call);
    enc_putfh(&call.enc, dir);
    enc_name(&call.enc, NFS_OP_LOOKUP, name, size);
    name_want(&call, fh, attr);
    err = call_run_on(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_LOOKUP);
    if (err == 0)
        err = name_result(&call, fh, attr);
    call_end(&call);
    return err;
}

/* One stretch of the walk: as many components as fit. Fills done[] with the end of each component found. */
static int name_stretch(struct nfs_client *client, const struct nfs_fh *dir, const char *path, size_t *stop,
                        size_t *found, struct nfs_fh *fh, struct nfs_attr *attr)
{
    struct nfs_call call;
    size_t ends[NAME_WALK_OPS], at = 0;
    int n = 0, i, err;

    call_start(&call);
    enc_putfh(&call.enc, dir);
    while (path[at] != 0 && n < NAME_WALK_OPS) {
        size_t size = strcspn(path + at, "/");

        err = name_check(path + at, size);
        if (err != 0 && n == 0)
            return err;
        if (err != 0 || call.enc.pos + size + 64 > sizeof(call.buf))
            break;
        enc_name(&call.enc, NFS_OP_LOOKUP, path + at, size);
        at += size;
        ends[n++] = at;
        at += path[at] == '/';
    }
    *stop = at;
    name_want(&call, fh, attr);
    *found = 0;
    err = call_run_on(client, &call);
    for (i = 0; i < n && err == 0; i++) {
        err = call_op(&call, NFS_OP_LOOKUP);
        if (err == 0)
            *found = ends[i];
    }
    if (err == 0)
        err = name_result(&call, fh, attr);
    else
        err = call_check(&call, err);
    call_end(&call);
    return err;
}

int nfs_walk(struct nfs_client *client, const struct nfs_fh *dir, const char *path, struct nfs_fh *fh,
             struct nfs_attr *attr, size_t *used)
{
    struct nfs_fh from = *dir;
    size_t done = 0;
    int err;

    for (;;) {
        size_t stop, found, size;
        char part[4096];

        err = name_stretch(client, &from, path + done, &stop, &found, fh, attr);
        if (err == 0) {
            done += stop;
            if (path[done] == 0)
                break;
            /* More to come: the last one so far must be a directory. */
            if (attr->type == NFS_LNK) {
                *used = done - 1;
                return -ELOOP;
            }
            from = *fh;
            continue;
        }
        *used = done + found;
        if ((err != -ENOTDIR && err != -ELOOP) || found == 0)
            return err;
        /* LOOKUP in something that is no directory: a symbolic link? */
        size = found;
        if (size >= sizeof(part))
            return -ENAMETOOLONG;
        memcpy(part, path + done, size);
        part[size] = 0;
        err = name_stretch(client, &from, part, &stop, &found, fh, attr);
        if (err != 0)
            return err == -ELOOP ? -EIO : err;
        return attr->type == NFS_LNK ? -ELOOP : attr->type == NFS_DIR ? -EAGAIN : -ENOTDIR;
    }
    *used = done;
    return 0;
}

int nfs_getattr(struct nfs_client *client, const struct nfs_fh *fh, struct nfs_attr *attr)
{
    struct nfs_call call;
    int err;

    call_start(&call);
    enc_putfh(&call.enc, fh);
    enc_getattr(&call.enc);
    err = call_run_on(client, &call);
    if (err == 0)
        err = name_result(&call, NULL, attr);
    call_end(&call);
    return err;
}

int nfs_setattr(struct nfs_client *client, const struct nfs_fh *fh, const struct nfs_setattr *set,
                struct nfs_attr *attr)
{
    static const struct nfs_stateid anonymous;
    struct nfs_call call;
    int err;

    call_start(&call);
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_SETATTR);
    enc_stateid(&call.enc, &anonymous);
    enc_fattr(&call.enc, set);
    call_mark(&call);
    name_want(&call, NULL, attr);
    err = call_run_on(client, &call);
    if (err == 0) {
        uint32_t words;

        err = call_op(&call, NFS_OP_SETATTR);
        words = dec_u32(&call.dec); /* which were set: given also on errors */
        for (uint32_t i = 0; i < words && !call.dec.bad; i++)
            dec_u32(&call.dec);
    }
    if (err == 0)
        err = name_result(&call, NULL, attr);
    call_end(&call);
    return err;
}

int nfs_statfs(struct nfs_client *client, const struct nfs_fh *fh, struct nfs_statfs *fs)
{
    struct nfs_call call;
    int err;

    call_start(&call);
    enc_putfh(&call.enc, fh);
    enc_getattr_statfs(&call.enc);
    err = call_run_on(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_GETATTR);
    if (err == 0) {
        dec_statfs(&call.dec, fs);
        err = call_check(&call, 0);
    }
    call_end(&call);
    return err;
}

static const uint32_t acc_all = ACC_READ | ACC_LOOKUP | ACC_MODIFY | ACC_EXTEND | ACC_DELETE | ACC_EXECUTE;

/* The result of ACCESS as R_OK and so on. */
static int name_rights(struct nfs_dec *dec, const struct nfs_attr *attr)
{
    uint32_t supported = dec_u32(dec), granted = dec_u32(dec) & supported;
    int have = 0;

    if (granted & ACC_READ)
        have |= R_OK;
    if ((granted & ACC_MODIFY) || (attr->type != NFS_DIR && (granted & ACC_EXTEND)))
        have |= W_OK;
    if (granted & (attr->type == NFS_DIR ? ACC_LOOKUP : ACC_EXECUTE))
        have |= X_OK;
    return have;
}

int nfs_lookup_first(struct nfs_client *client, const struct nfs_fh *dir, const char *name, size_t size,
                     struct nfs_fh *fh, struct nfs_attr *attr, struct nfs_first *first)
{
    static const struct nfs_stateid anonymous;
    struct nfs_call call;
    int err = name_check(name, size);

    first->have = -1;
    first->size = 0;
    first->eof = false;
    if (err != 0)
        return err;
    call_start(&call);
    enc_putfh(&call.enc, dir);
    enc_name(&call.enc, NFS_OP_LOOKUP, name, size);
    name_want(&call, fh, attr);
    enc_op(&call.enc, NFS_OP_ACCESS);
    enc_u32(&call.enc, acc_all);
    if (first->room > 0) {
        enc_op(&call.enc, NFS_OP_READ);
        enc_stateid(&call.enc, &anonymous);
        enc_u64(&call.enc, 0);
        enc_u32(&call.enc, first->room);
    }
    err = call_run_on(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_LOOKUP);
    if (err == 0)
        err = name_result(&call, fh, attr);
    /* From here on a failure only means that nothing was brought along. */
    if (err == 0 && call.dec.left > 0 && call_op(&call, NFS_OP_ACCESS) == 0) {
        first->have = name_rights(&call.dec, attr);
        if (first->room > 0 && call.dec.left > 0 && call_op(&call, NFS_OP_READ) == 0) {
            uint32_t eof = dec_u32(&call.dec), count;
            const uint8_t *data = dec_bytes(&call.dec, &count);

            if (!call.dec.bad && count <= first->room) {
                memcpy(first->buf, data, count);
                first->size = count;
                first->eof = eof != 0;
            }
        }
    }
    if (call.dec.bad) {
        first->have = -1;
        first->size = 0;
    }
    call_end(&call);
    return err;
}

int nfs_access(struct nfs_client *client, const struct nfs_fh *fh, int want, struct nfs_attr *attr)
{
    struct nfs_attr own;
    struct nfs_call call;
    int err, have = 0;

    if (attr == NULL)
        attr = &own;
    call_start(&call);
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_ACCESS);
    enc_u32(&call.enc, acc_all);
    enc_getattr(&call.enc);
    err = call_run_on(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_ACCESS);
    if (err == 0) {
        struct nfs_dec rights = call.dec; /* what they mean depends on the type, which comes next */

        dec_skip(&call.dec, 8);
        err = name_result(&call, NULL, attr);
        have = name_rights(&rights, attr);
    }
    call_end(&call);
    return err != 0 ? err : have & want;
}

int nfs_readlink(struct nfs_client *client, const struct nfs_fh *fh, char *buf, size_t size)
{
    struct nfs_call call;
    int err;

    call_start(&call);
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_READLINK);
    err = call_run_on(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_READLINK);
    if (err == 0) {
        uint32_t length;
        const uint8_t *text = dec_bytes(&call.dec, &length);

        err = call_check(&call, 0);
        if (err == 0 && length >= size)
            err = -ENAMETOOLONG;
        if (err == 0) {
            memcpy(buf, text, length);
            buf[length] = 0;
        }
    }
    call_end(&call);
    return err;
}

/* Is this what is there by that name? */
static bool name_leads(struct nfs_client *client, const struct nfs_fh *dir, const char *name, const struct nfs_fh *fh)
{
    struct nfs_attr attr;
    struct nfs_fh there;

    return nfs_lookup(client, dir, name, strlen(name), &there, &attr) == 0 && nfs_fh_same(&there, fh);
}

/*
 * A CREATE that was sent again met something: was it we who made it, before the connection broke? A directory has the access
 * time that we gave it, to the nanosecond, a symbolic link its target.
 */
static bool name_made(struct nfs_client *client, const struct nfs_fh *dir, const char *name, uint32_t type,
                      const char *target, const struct nfs_setattr *set, struct nfs_fh *fh, struct nfs_attr *attr)
{
    char there[1501];

    if (nfs_lookup(client, dir, name, strlen(name), fh, attr) != 0 || attr->type != type)
        return false;
    if (type == NFS_DIR)
        return attr->atime.tv_sec == set->atime.tv_sec && attr->atime.tv_nsec == set->atime.tv_nsec;
    return type != NFS_LNK || (nfs_readlink(client, fh, there, sizeof(there)) == 0 && strcmp(there, target) == 0);
}

/* CREATE of anything but a plain file; up to the attributes. */
static int name_create(struct nfs_client *client, const struct nfs_fh *dir, const char *name, uint32_t type,
                       const char *target, uint32_t major, uint32_t minor, uint32_t mode, struct nfs_fh *fh,
                       struct nfs_attr *attr)
{
    struct nfs_setattr set = {.valid = NFS_SET_MODE, .mode = mode};
    struct nfs_attr own_attr;
    struct nfs_fh own_fh;
    struct nfs_call call;
    int err = name_check(name, strlen(name));

    if (err != 0)
        return err;
    if (type == NFS_DIR) {
        set.valid |= NFS_SET_ATIME;
        sys2(SYS_clock_gettime, CLOCK_REALTIME, &set.atime);
    }
    call_start(&call);
    enc_putfh(&call.enc, dir);
    enc_op(&call.enc, NFS_OP_CREATE);
    enc_u32(&call.enc, type);
    if (type == NFS_LNK) {
        enc_bytes(&call.enc, target, strlen(target));
    } else if (type == NFS_BLK || type == NFS_CHR) {
        enc_u32(&call.enc, major);
        enc_u32(&call.enc, minor);
    }
    enc_bytes(&call.enc, name, strlen(name));
    enc_fattr(&call.enc, &set);
    call_mark(&call);
    name_want(&call, fh, attr);
    err = call_run_on(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_CREATE);
    if (err == 0) {
        uint32_t words;

        dec_change_info(&call.dec);
        words = dec_u32(&call.dec);
        for (uint32_t i = 0; i < words && !call.dec.bad; i++)
            dec_u32(&call.dec);
        err = name_result(&call, fh, attr);
    } else if (err == -EEXIST && call.rpc.resent &&
               name_made(client, dir, name, type, target, &set, fh != NULL ? fh : &own_fh, attr != NULL ? attr : &own_attr)) {
        err = 0;
    }
    call_end(&call);
    return err;
}

int nfs_mkdir(struct nfs_client *client, const struct nfs_fh *dir, const char *name, uint32_t mode,
              struct nfs_fh *fh, struct nfs_attr *attr)
{
    return name_create(client, dir, name, NFS_DIR, NULL, 0, 0, mode, fh, attr);
}

int nfs_symlink(struct nfs_client *client, const struct nfs_fh *dir, const char *name, const char *target)
{
    size_t size = strlen(target);

    if (size == 0)
        return -ENOENT;
    if (size > 1500) /* what our request buffer holds beside the rest */
        return -ENAMETOOLONG;
    return name_create(client, dir, name, NFS_LNK, target, 0, 0, 0777, NULL, NULL);
}

int nfs_mknod(struct nfs_client *client, const struct nfs_fh *dir, const char *name, uint32_t type, uint32_t mode,
              uint32_t major, uint32_t minor)
{
    return name_create(client, dir, name, type, NULL, major, minor, mode, NULL, NULL);
}

int nfs_remove(struct nfs_client *client, const struct nfs_fh *dir, const char *name)
{
    struct nfs_call call;
    int err = name_check(name, strlen(name));

    if (err != 0)
        return err;
    call_start(&call);
    enc_putfh(&call.enc, dir);
    enc_name(&call.enc, NFS_OP_REMOVE, name, strlen(name));
    err = call_run_on(client, &call);
    if (err == 0) {
        err = call_op(&call, NFS_OP_REMOVE);
        if (err == -ENOENT && call.rpc.resent)
            err = 0;
    }
    call_end(&call);
    return err;
}

/* call_run_on, where the compound begins with PUTFH, SAVEFH, PUTFH. */
static int name_run_two(struct nfs_client *client, struct nfs_call *call)
{
    int err = call_run_on(client, call);

    if (err == 0)
        err = call_op(call, NFS_OP_SAVEFH);
    return err == 0 ? call_op(call, NFS_OP_PUTFH) : err;
}

int nfs_rename(struct nfs_client *client, const struct nfs_fh *fh, const struct nfs_fh *from_dir, const char *from,
               const struct nfs_fh *to_dir, const char *to)
{
    struct nfs_call call;
    int err = name_check(from, strlen(from));

    if (err == 0)
        err = name_check(to, strlen(to));
    if (err != 0)
        return err;
    call_start(&call);
    enc_putfh(&call.enc, from_dir);
    enc_op(&call.enc, NFS_OP_SAVEFH);
    enc_putfh(&call.enc, to_dir);
    enc_op(&call.enc, NFS_OP_RENAME);
    enc_bytes(&call.enc, from, strlen(from));
    enc_bytes(&call.enc, to, strlen(to));
    err = name_run_two(client, &call);
    if (err == 0) {
        err = call_op(&call, NFS_OP_RENAME);
        if (err == -ENOENT && call.rpc.resent && name_leads(client, to_dir, to, fh))
            err = 0;
    }
    call_end(&call);
    /* One error for two Unix ones: a non-empty directory in the way. */
    return err == -EEXIST ? -ENOTEMPTY : err;
}

int nfs_link(struct nfs_client *client, const struct nfs_fh *fh, const struct nfs_fh *dir, const char *name)
{
    struct nfs_call call;
    int err = name_check(name, strlen(name));

    if (err != 0)
        return err;
    call_start(&call);
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_SAVEFH);
    enc_putfh(&call.enc, dir);
    enc_name(&call.enc, NFS_OP_LINK, name, strlen(name));
    err = name_run_two(client, &call);
    if (err == 0) {
        err = call_op(&call, NFS_OP_LINK);
        if (err == -EEXIST && call.rpc.resent && name_leads(client, dir, name, fh))
            err = 0;
    }
    call_end(&call);
    return err;
}

int nfs_readdir(struct nfs_client *client, const struct nfs_fh *fh, uint64_t cookie, uint64_t *verf,
                nfs_entry_fn entry, void *arg)
{
    struct nfs_call call;
    int err;

    call_start(&call);
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_READDIR);
    enc_u64(&call.enc, cookie);
    enc_u64(&call.enc, cookie == 0 ? 0 : *verf);
    enc_u32(&call.enc, 32768);
    enc_u32(&call.enc, 131072);
    enc_attr_mask(&call.enc);
    err = call_run_on(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_READDIR);
    if (err == 0) {
        bool go = true;
        uint32_t more;

        *verf = dec_u64(&call.dec);
        while ((more = dec_u32(&call.dec)) == 1 && go) {
            struct nfs_fh handle = {0};
            struct nfs_attr attr;
            uint64_t next = dec_u64(&call.dec);
            uint32_t size;
            const uint8_t *name = dec_bytes(&call.dec, &size);

            call.dec.fh = &handle;
            dec_attr(&call.dec, &attr);
            call.dec.fh = NULL;
            if (call.dec.bad || size == 0 || size > NFS_NAME_MAX || memchr(name, '/', size) != NULL ||
                memchr(name, 0, size) != NULL) {
                err = -EIO;
                break;
            }
            go = entry(arg, next, (const char *)name, size, &attr, &handle);
        }
        if (err == 0)
            err = call_check(&call, 0);
        if (err == 0 && more == 0 && go)
            err = dec_u32(&call.dec) != 0 ? 1 : 0;
    }
    call_end(&call);
    return err;
}
