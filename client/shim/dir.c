/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing directories.
 *
 * A directory's offset is 0 before ".", 1 before "..", 2 before the first entry, else the server's cookie.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "client/shim/path.h"
#include "client/shim/shim.h"

struct dents {
    uint8_t *buf;
    size_t size, pos;
    uint64_t last; /* offset after the last entry that fitted */
    const struct nfs_fh *dir;
    struct seen_time when;
};

static bool dents_put(struct dents *d, uint64_t ino, uint64_t off, unsigned type, const char *name, size_t size)
{
    size_t need = (offsetof(struct sys_dirent, name) + size + 1 + 7) & ~(size_t)7;
    struct sys_dirent *e = (struct sys_dirent *)(d->buf + d->pos);

    if (d->size - d->pos < need)
        return false;
    e->ino = ino;
    e->off = (int64_t)off;
    e->reclen = (uint16_t)need;
    e->type = (uint8_t)type;
    memcpy(e->name, name, size);
    memset(e->name + size, 0, need - offsetof(struct sys_dirent, name) - size);
    d->pos += need;
    d->last = off;
    return true;
}

static bool dents_entry(void *arg, uint64_t cookie, const char *name, size_t size, const struct nfs_attr *attr,
                        const struct nfs_fh *fh)
{
    static const uint8_t types[] = {DT_UNKNOWN, DT_REG, DT_DIR, DT_BLK, DT_CHR, DT_LNK, DT_SOCK, DT_FIFO};
    struct dents *d = arg;

    if (!dents_put(d, attr->fileid, cookie, attr->type < 8 ? types[attr->type] : DT_UNKNOWN, name, size))
        return false;
    seen_put(&d->when, d->dir, name, size, fh, attr);
    return true;
}

static int dents_ask(struct dents *d, struct ofd *ofd, uint64_t at)
{
    d->dir = &ofd->fh;
    seen_begin(&d->when);
    return nfs_readdir(shim.client, &ofd->fh, at == 2 ? 0 : at, &ofd->verf, dents_entry, d);
}

static int dents_top(struct dents *d, uint64_t offset)
{
    for (uint64_t i = offset - 2; i < shim.nmounts; i++) {
        const char *path = shim.run->mounts[i].path, *name = strrchr(path, '/') + 1;

        if (!path_below(path, shim.top, shim.top_len))
            continue;
        if (!dents_put(d, 2 + i, i + 3, DT_DIR, name, strlen(name)))
            return 0;
    }
    return 1;
}

long sc_getdents64(const long a[6])
{
    struct dents d = {.buf = (uint8_t *)a[1], .size = (uint32_t)a[2]};
    struct ofd *ofd = ofd_get((int)a[0]);
    uint64_t at;
    int ret = 0;

    if (ofd == NULL)
        return shim_pass(SYS_getdents64, a);
    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->type != NFS_DIR)
        return -ENOTDIR;
    ofd_lock(ofd);
    at = d.last = (uint64_t)ofd->offset;
    if (at == 0 && dents_put(&d, ofd->attr.fileid ? ofd->attr.fileid : 1, 1, DT_DIR, ".", 1))
        at = 1;
    if (at == 1 && dents_put(&d, ofd->attr.fileid ? ofd->attr.fileid : 1, 2, DT_DIR, "..", 2))
        at = 2;
    /* Batches until the buffer is full: each is one request. */
    while (at >= 2 && ret == 0) {
        size_t before = d.pos;

        if (ofd->fh.size == 0)
            ret = dents_top(&d, at);
        else
            ret = dents_ask(&d, ofd, at);
        if (d.pos == before || d.size - d.pos < 4096)
            break;
        at = d.last;
    }
    ofd->offset = (int64_t)d.last;
    ofd_unlock(ofd);
    if (d.pos > 0)
        return (long)d.pos;
    if (ret == 0)
        return -EINVAL; /* not even one fits */
    return ret == 1 ? 0 : vol_error(ret);
}

/* The old form: only very old programs use it, through syscall(2). */
long sc_getdents(const long a[6])
{
    if (ofd_get((int)a[0]) == NULL)
        return shim_pass(SYS_getdents, a);
    shim_say("getdents is not served, getdents64 is");
    return -ENOSYS;
}
