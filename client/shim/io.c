/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read, write and their relatives.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/nfs/rpc.h"
#include "client/shim/shim.h"

#define IO_ATTR_MS 1000
#define ZERO_PIECE (1u << 20)

void file_drop_cache(const struct nfs_fh *fh)
{
    file_changed(fh);
}

bool file_attr_fresh(const struct ofd *ofd)
{
    return ofd->attr_ms != 0 && ofd->attr_gen == file_gen(&ofd->fh) && sys_now_ms() - ofd->attr_ms < IO_ATTR_MS;
}

int file_attr(struct ofd *ofd, struct nfs_attr *attr, bool fresh)
{
    uint32_t gen;
    int err;

    if (!fresh && file_attr_fresh(ofd)) {
        *attr = ofd->attr;
        return 0;
    }
    vnode_drain(&ofd->fh);
    gen = file_gen(&ofd->fh);
    err = nfs_getattr(shim.client, &ofd->fh, attr);
    if (err != 0)
        return vol_error(err);
    ofd->attr = *attr;
    ofd->attr_gen = gen;
    ofd->attr_ms = sys_now_ms();
    return 0;
}

long file_read(struct ofd *ofd, const struct iovec *iov, int n, uint64_t offset)
{
    size_t done;
    unsigned losses;
    int err = lock_check(ofd);

    if (err != 0)
        return err;
again:
    losses = rpc_losses();
    done = 0;
    vnode_drain(&ofd->fh);
    /* At the end as last seen a moment ago: spare the server the question. */
    if (offset >= ofd->attr.size && file_attr_fresh(ofd))
        return 0;
    for (int i = 0; i < n; i++) {
        size_t size = iov[i].iov_len;
        ssize_t got;

        if (size == 0)
            continue;
        if (size > IO_MAX - done)
            size = IO_MAX - done;
        got = ahead_read(ofd, iov[i].iov_base, size, offset + done);
        if (got < 0)
            return done > 0 ? (long)done : vol_error((int)got);
        map_overlay(&ofd->fh, iov[i].iov_base, (size_t)got, offset + done);
        done += (size_t)got;
        if ((size_t)got < iov[i].iov_len)
            break;
    }
    if (losses != rpc_losses() && vnode_dirty(&ofd->fh))
        goto again;
    return (long)done;
}

/* A system call answers EFAULT where a library would crash; the common mistake is a pointer near NULL. */
static bool iov_wild(const struct iovec *iov, int n)
{
    if (n > 0 && (uintptr_t)iov < 4096)
        return true;
    for (int i = 0; i < n; i++)
        if ((uintptr_t)iov[i].iov_base < 4096 && iov[i].iov_len > 0)
            return true;
    return false;
}

long file_readable(const struct ofd *ofd)
{
    if (ofd->type == NFS_DIR)
        return (ofd->flags & (O_PATH)) ? -EBADF : -EISDIR;
    return (ofd->flags & O_ACCMODE) == O_WRONLY || (ofd->flags & O_PATH) ? -EBADF : 0;
}

long file_writable(const struct ofd *ofd)
{
    return (ofd->flags & O_ACCMODE) == O_RDONLY || (ofd->flags & O_PATH) ? -EBADF : 0;
}

long file_read_next(struct ofd *ofd, const struct iovec *iov, int n)
{
    long ret = file_readable(ofd);

    if (ret != 0)
        return ret;
    if (iov_wild(iov, n))
        return -EFAULT;
    ofd_lock(ofd);
    ret = file_read(ofd, iov, n, (uint64_t)ofd->offset);
    if (ret > 0)
        ofd->offset += ret;
    ofd_unlock(ofd);
    return ret;
}

/* After a write that ended at end: mappings, O_SYNC, O_DSYNC. */
static long written(struct ofd *ofd, const struct iovec *iov, uint64_t end, long ret)
{
    uint64_t at = end - (uint64_t)ret;
    int err;

    for (int i = 0; map_regions && ret > 0 && at < end; i++) {
        size_t part = iov[i].iov_len < end - at ? iov[i].iov_len : (size_t)(end - at);

        map_wrote(&ofd->fh, iov[i].iov_base, part, at);
        at += part;
    }
    if (ret <= 0 || !(ofd->flags & (O_SYNC | O_DSYNC)))
        return ret;
    err = vnode_flush(&ofd->fh, false);
    return err != 0 ? err : ret;
}

long file_write_next(struct ofd *ofd, const struct iovec *iov, int n)
{
    uint64_t end = 0;
    long ret = file_writable(ofd);

    if (ret != 0)
        return ret;
    if (iov_wild(iov, n))
        return -EFAULT;
    ofd_lock(ofd);
    ret = vnode_write(ofd, iov, n, (uint64_t)ofd->offset, (ofd->flags & O_APPEND) != 0, &end);
    if (ret > 0)
        ofd->offset = (int64_t)end;
    ofd_unlock(ofd);
    return ret < 0 ? vol_error((int)ret) : written(ofd, iov, end, ret);
}

long file_write_at(struct ofd *ofd, const struct iovec *iov, int n, int64_t offset)
{
    uint64_t end;
    long ret = file_writable(ofd);

    if (ret != 0)
        return ret;
    if (iov_wild(iov, n))
        return -EFAULT;
    if (offset < 0)
        return -EINVAL;
    /* As Linux does: with O_APPEND the offset is ignored. */
    ret = vnode_write(ofd, iov, n, (uint64_t)offset, (ofd->flags & O_APPEND) != 0, &end);
    return written(ofd, iov, end, ret);
}

long file_read_at(struct ofd *ofd, const struct iovec *iov, int n, int64_t offset)
{
    long ret = file_readable(ofd);

    if (ret != 0)
        return ret;
    if (iov_wild(iov, n))
        return -EFAULT;
    return offset < 0 ? -EINVAL : file_read(ofd, iov, n, (uint64_t)offset);
}

#define OURS(ofd, fd, nr)                                                                                            \
    struct ofd *ofd = ofd_get((int)(fd));                                                                            \
    if (ofd == NULL)                                                                                                 \
        return shim_pass(nr, a);

long sc_read(const long a[6])
{
    struct iovec iov = {(void *)a[1], (size_t)a[2] < IO_MAX ? (size_t)a[2] : IO_MAX};

    OURS(ofd, a[0], SYS_read);
    return file_read_next(ofd, &iov, 1);
}

long sc_write(const long a[6])
{
    struct iovec iov = {(void *)a[1], (size_t)a[2] < IO_MAX ? (size_t)a[2] : IO_MAX};

    OURS(ofd, a[0], SYS_write);
    return file_write_next(ofd, &iov, 1);
}

long sc_pread64(const long a[6])
{
    struct iovec iov = {(void *)a[1], (size_t)a[2] < IO_MAX ? (size_t)a[2] : IO_MAX};

    OURS(ofd, a[0], SYS_pread64);
    return file_read_at(ofd, &iov, 1, a[3]);
}

long sc_pwrite64(const long a[6])
{
    struct iovec iov = {(void *)a[1], (size_t)a[2] < IO_MAX ? (size_t)a[2] : IO_MAX};

    OURS(ofd, a[0], SYS_pwrite64);
    return file_write_at(ofd, &iov, 1, a[3]);
}

static long iov_check(int n)
{
    return n < 0 || n > IOV_MAX ? -EINVAL : 0;
}

long sc_readv(const long a[6])
{
    OURS(ofd, a[0], SYS_readv);
    return iov_check((int)a[2]) != 0 ? -EINVAL : file_read_next(ofd, (const struct iovec *)a[1], (int)a[2]);
}

long sc_writev(const long a[6])
{
    OURS(ofd, a[0], SYS_writev);
    return iov_check((int)a[2]) != 0 ? -EINVAL : file_write_next(ofd, (const struct iovec *)a[1], (int)a[2]);
}

/* For preadv and preadv2, whose offset -1 means the file offset and whose flags are hints. */
long sc_preadv(const long a[6])
{
    long nr = shim_nr();

    OURS(ofd, a[0], nr);
    if (iov_check((int)a[2]) != 0)
        return -EINVAL;
    return a[3] == -1 && nr == SYS_preadv2
               ? file_read_next(ofd, (const struct iovec *)a[1], (int)a[2])
               : file_read_at(ofd, (const struct iovec *)a[1], (int)a[2], a[3]);
}

long sc_pwritev(const long a[6])
{
    long nr = shim_nr(), ret;

    OURS(ofd, a[0], nr);
    if (iov_check((int)a[2]) != 0)
        return -EINVAL;
    if (nr == SYS_pwritev2 && ((int)a[5] & RWF_APPEND) && !(ofd->flags & O_APPEND)) {
        uint64_t end;

        if (file_writable(ofd) != 0)
            return -EBADF;
        ret = vnode_write(ofd, (const struct iovec *)a[1], (int)a[2], 0, true, &end);
        if (ret > 0 && a[3] == -1)
            ofd->offset = (int64_t)end;
        return ret < 0 ? vol_error((int)ret) : written(ofd, (const struct iovec *)a[1], end, ret);
    }
    ret = a[3] == -1 && nr == SYS_pwritev2
              ? file_write_next(ofd, (const struct iovec *)a[1], (int)a[2])
              : file_write_at(ofd, (const struct iovec *)a[1], (int)a[2], a[3]);
    if (ret > 0 && nr == SYS_pwritev2 && ((int)a[5] & (RWF_SYNC | RWF_DSYNC)))
        return vnode_flush(&ofd->fh, false) != 0 ? -EIO : ret;
    return ret;
}

long sc_lseek(const long a[6])
{
    struct nfs_attr attr = {.size = 0};
    int64_t to = a[1];
    long ret;

    OURS(ofd, a[0], SYS_lseek);
    if (ofd->flags & O_PATH)
        return -EBADF;
    ofd_lock(ofd);
    switch ((int)a[2]) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        if (__builtin_add_overflow(to, ofd->offset, &to))
            to = -1;
        break;
    case SEEK_END:
    case SEEK_DATA:
    case SEEK_HOLE:
        ret = ofd->fh.size == 0 ? 0 : file_attr(ofd, &attr, true);
        if (ret != 0)
            goto out;
        if ((int)a[2] == SEEK_END) {
            if (__builtin_add_overflow(to, (int64_t)attr.size, &to))
                to = -1;
        } else if (to < 0 || (uint64_t)to >= attr.size) {
            ret = -ENXIO;
            goto out;
        } else if ((int)a[2] == SEEK_HOLE) {
            to = (int64_t)attr.size; /* one hole: the one at the end */
        }
        break;
    default:
        to = -1;
    }
    ret = to < 0 ? -EINVAL : to;
    if (ret >= 0)
        ofd->offset = to;
out:
    ofd_unlock(ofd);
    return ret;
}

long sc_fsync(const long a[6])
{
    int mapped, err;

    OURS(ofd, a[0], SYS_fsync);
    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->type != NFS_REG)
        return 0; /* the server has made names durable before it answered */
    mapped = map_file_sync(&ofd->fh);
    err = vnode_flush(&ofd->fh, true);
    return vol_error(err != 0 ? err : mapped);
}

long sc_sync(const long a[6])
{
    map_sync_all();
    vnode_flush_all();
    return shim_pass(SYS_sync, a);
}

long sc_syncfs(const long a[6])
{
    OURS(ofd, a[0], SYS_syncfs);
    map_sync_all();
    vnode_flush_all();
    return 0;
}

static long set_size(const struct nfs_fh *fh, uint64_t size)
{
    struct nfs_setattr set = {.valid = NFS_SET_SIZE, .size = size};
    int err;

    map_file_closing(fh);
    vnode_drain(fh);
    err = nfs_setattr(shim.client, fh, &set, NULL);
    vnode_truncated(fh);
    file_changed(fh);
    if (err == 0)
        map_cut(fh, size);
    return vol_error(err);
}

long sc_ftruncate(const long a[6])
{
    OURS(ofd, a[0], SYS_ftruncate);
    if (file_writable(ofd) != 0)
        return -EINVAL;
    return a[1] < 0 ? -EINVAL : set_size(&ofd->fh, (uint64_t)a[1]);
}

long sc_truncate(const long a[6])
{
    struct vpath vp;
    int err = path_resolve(AT_FDCWD, (const char *)a[0], VP_FOLLOW, &vp);

    if (err != 0)
        return err;
    switch (vp.kind) {
    case VP_LOCAL:
        return path_pass(SYS_truncate, a, -1, 0, &vp);
    case VP_MISSING:
        return -ENOENT;
    case VP_TOP:
        return -EISDIR;
    default:
        if (vp.attr.type == NFS_DIR)
            return -EISDIR;
        if (vp.mount->readonly)
            return -EROFS;
        if (a[1] < 0)
            return -EINVAL;
        err = nfs_access(shim.client, &vp.fh, W_OK, NULL); /* the server lets an owner go on who has the file open */
        if (err < 0)
            return vol_error(err);
        return err == W_OK ? set_size(&vp.fh, (uint64_t)a[1]) : -EACCES;
    }
}

/* Bytes from..to of a file become zeros. */
static long zero_range(struct ofd *ofd, uint64_t from, uint64_t to)
{
    size_t room = to - from < ZERO_PIECE ? (size_t)(to - from) : ZERO_PIECE;
    struct iovec iov = {heap_zalloc(1, room > 0 ? room : 1), room};
    long ret = 0;

    if (iov.iov_base == NULL)
        return -ENOMEM;
    while (from < to && ret >= 0) {
        uint64_t end = 0;

        iov.iov_len = to - from < room ? (size_t)(to - from) : room;
        ret = vnode_write(ofd, &iov, 1, from, false, &end);
        ret = written(ofd, &iov, end, ret);
        if (ret > 0)
            from += (uint64_t)ret;
    }
    heap_free(iov.iov_base);
    return ret < 0 ? vol_error((int)ret) : 0;
}

/* The modes that make zeros. The protocol spoken here has no operation for it; written zeros read the same, and volnfsd keeps
 * whole pages of them as holes. */
static long zero_allocated(struct ofd *ofd, int mode, uint64_t from, uint64_t to)
{
    bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    struct nfs_attr attr;
    long err;

    mode &= ~FALLOC_FL_KEEP_SIZE;
    if ((mode != FALLOC_FL_PUNCH_HOLE || !keep) && mode != FALLOC_FL_ZERO_RANGE) {
        shim_say("fallocate mode %#x is not served", (unsigned)mode);
        return -EOPNOTSUPP;
    }
    err = file_attr(ofd, &attr, true);
    if (err == 0 && from < attr.size)
        err = zero_range(ofd, from, to < attr.size ? to : attr.size);
    return err != 0 || keep || to <= attr.size ? err : set_size(&ofd->fh, to);
}

long sc_fallocate(const long a[6])
{
    struct nfs_attr attr;
    int err;

    OURS(ofd, a[0], SYS_fallocate);
    if (file_writable(ofd) != 0)
        return -EBADF;
    if (a[2] < 0 || a[3] <= 0)
        return -EINVAL;
    if (a[2] > INT64_MAX - a[3])
        return -EFBIG;
    if (ofd->type != NFS_REG)
        return -ENODEV;
    if ((int)a[1] != 0)
        return zero_allocated(ofd, (int)a[1], (uint64_t)a[2], (uint64_t)(a[2] + a[3]));
    err = file_attr(ofd, &attr, true);
    if (err != 0)
        return err;
    /* Space is not reserved on compressing storage; the size is what programs look at. */
    return (uint64_t)(a[2] + a[3]) <= attr.size ? 0 : set_size(&ofd->fh, (uint64_t)(a[2] + a[3]));
}

long sc_fadvise64(const long a[6])
{
    OURS(ofd, a[0], SYS_fadvise64);
    return (int)a[3] < 0 || (int)a[3] > POSIX_FADV_NOREUSE ? -EINVAL : 0;
}

long sc_readahead(const long a[6])
{
    OURS(ofd, a[0], SYS_readahead);
    return file_readable(ofd);
}

long sc_ioctl(const long a[6])
{
    struct nfs_attr attr;
    unsigned long cmd = (unsigned long)a[1] & 0xffffffffu;
    int err;

    OURS(ofd, a[0], SYS_ioctl);
    switch (cmd) {
    case FIOCLEX:
        return sys3(SYS_fcntl, a[0], F_SETFD, FD_CLOEXEC);
    case FIONCLEX:
        return sys3(SYS_fcntl, a[0], F_SETFD, 0);
    case FIONBIO:
        return 0;
    case FIONREAD:
        err = file_attr(ofd, &attr, true);
        if (err == 0)
            *(int *)a[2] = (int)((int64_t)attr.size > ofd->offset ? (int64_t)attr.size - ofd->offset : 0);
        return err;
    default:
        return -ENOTTY;
    }
}
