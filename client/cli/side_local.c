/* SPDX-License-Identifier: Apache-2.0
 * side_local: the side of a copy that is on this machine.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "client/cli/side.h"

void side_attr(const struct stat *st, struct nfs_attr *attr)
{
    static const uint32_t types[16] = {[S_IFREG >> 12] = NFS_REG, [S_IFDIR >> 12] = NFS_DIR,
                                       [S_IFLNK >> 12] = NFS_LNK, [S_IFBLK >> 12] = NFS_BLK,
                                       [S_IFCHR >> 12] = NFS_CHR, [S_IFSOCK >> 12] = NFS_SOCK,
                                       [S_IFIFO >> 12] = NFS_FIFO};
    *attr = (struct nfs_attr){.type = types[st->st_mode >> 12 & 15], .mode = st->st_mode & 07777u,
                              .nlink = (uint32_t)st->st_nlink, .uid = st->st_uid, .gid = st->st_gid,
                              .size = (uint64_t)st->st_size, .used = (uint64_t)st->st_blocks * 512,
                              .fileid = st->st_ino, .fsid_major = major(st->st_dev),
                              .fsid_minor = minor(st->st_dev), .atime = st->st_atim, .mtime = st->st_mtim,
                              .ctime = st->st_ctim};
}

int side_open_local(const char *path, struct side_dir **out)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct side_dir *dir;
    if (fd < 0)
        return -errno;
    dir = need(calloc(1, sizeof(*dir)));
    *dir = (struct side_dir){.ops = &side_local, .refs = 1, .fd = fd, .path = need(strdup(path))};
    *out = dir;
    return 0;
}

static int local_open_dir(struct side_dir *dir, const char *name, struct side_dir *child)
{
    child->fd = openat(dir->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return child->fd < 0 ? -errno : 0;
}

static int local_make_dir(struct side_dir *dir, const char *name, uint32_t mode)
{
    return mkdirat(dir->fd, name, mode) ? -errno : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct remote_entry *)a)->name, ((const struct remote_entry *)b)->name);
}

static int local_list(struct side_dir *dir, struct remote_entry **out, size_t *count)
{
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct remote_entry *list = NULL;
    size_t n = 0, room = 0;
    struct dirent *e;
    if (!d) {
        err = -errno;
        if (fd >= 0)
            close(fd);
        return err;
    }
    while (errno = 0, (e = readdir(d))) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (fstatat(dir->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue; /* gone since */
        if (n == room) {
            room = room ? room * 2 : 256;
            list = need(realloc(list, room * sizeof(*list)));
        }
        list[n].name = need(strdup(e->d_name));
        side_attr(&st, &list[n++].attr);
    }
    err = -errno;
    closedir(d);
    if (err) {
        remote_list_free(list, n);
        return err;
    }
    if (n)
        qsort(list, n, sizeof(*list), by_name);
    *out = remote_list_fit(list, n);
    *count = n;
    return 0;
}

static int local_stat(struct side_dir *dir, const char *name, struct nfs_attr *attr)
{
    struct stat st;
    if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW))
        return -errno;
    side_attr(&st, attr);
    return 0;
}

static int local_readlink(struct side_dir *dir, const char *name, char *buf, size_t size)
{
    ssize_t n = readlinkat(dir->fd, name, buf, size);
    if (n < 0)
        return -errno;
    if ((size_t)n >= size)
        return -ENAMETOOLONG;
    buf[n] = 0;
    return 0;
}

static int local_symlink(struct side_dir *dir, const char *name, const char *target)
{
    return symlinkat(target, dir->fd, name) ? -errno : 0;
}

static int local_remove(struct side_dir *dir, const char *name)
{
    return unlinkat(dir->fd, name, 0) ? -errno : 0;
}

/* The times in the order utimensat wants them. */
static bool local_times(const struct nfs_setattr *set, struct timespec ts[2])
{
    ts[0] = set->atime;
    ts[1] = set->mtime;
    if (set->valid & NFS_SET_ATIME_NOW)
        ts[0].tv_nsec = UTIME_NOW;
    else if (!(set->valid & NFS_SET_ATIME))
        ts[0].tv_nsec = UTIME_OMIT;
    if (set->valid & NFS_SET_MTIME_NOW)
        ts[1].tv_nsec = UTIME_NOW;
    else if (!(set->valid & NFS_SET_MTIME))
        ts[1].tv_nsec = UTIME_OMIT;
    return ts[0].tv_nsec != UTIME_OMIT || ts[1].tv_nsec != UTIME_OMIT;
}

static int local_set_name(struct side_dir *dir, const char *name, const struct nfs_setattr *set)
{
    struct timespec ts[2];
    if ((set->valid & NFS_SET_UID) && fchownat(dir->fd, name, set->uid, set->gid, AT_SYMLINK_NOFOLLOW))
        return -errno;
    if (local_times(set, ts) && utimensat(dir->fd, name, ts, AT_SYMLINK_NOFOLLOW))
        return -errno;
    return 0;
}

static int set_fd(int fd, const struct nfs_setattr *set)
{
    struct timespec ts[2];
    if ((set->valid & NFS_SET_SIZE) && ftruncate(fd, (off_t)set->size))
        return -errno;
    if ((set->valid & NFS_SET_UID) && fchown(fd, set->uid, set->gid))
        return -errno;
    if ((set->valid & NFS_SET_MODE) && fchmod(fd, set->mode))
        return -errno;
    if (local_times(set, ts) && futimens(fd, ts))
        return -errno;
    return 0;
}

static int local_set_dir(struct side_dir *dir, const struct nfs_setattr *set)
{
    return set_fd(dir->fd, set);
}

static void local_close_dir(struct side_dir *dir)
{
    close(dir->fd);
}

static int local_get(struct side_file *file, struct nfs_attr *attr)
{
    struct stat st;
    if (fstat(file->fd, &st))
        return -errno;
    side_attr(&st, attr);
    return 0;
}

/* Nobody else writes to a part of ours at the same time. */
static int local_claim(struct side_file *file)
{
    if (!flock(file->fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK)
        return 0;
    close(file->fd);
    return -EBUSY;
}

static int local_open(struct side_dir *dir, const char *name, bool write, struct side_file *file,
                      struct nfs_attr *attr)
{
    int err;
    file->ops = &side_local;
    file->dir = dir;
    file->fd = openat(dir->fd, name, (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file->fd < 0)
        return -errno;
    err = local_get(file, attr);
    if (!err && attr->type != NFS_REG)
        err = attr->type == NFS_DIR ? -EISDIR : -EINVAL;
    if (err) {
        close(file->fd);
        return err;
    }
    if (!write)
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return write ? local_claim(file) : 0;
}

static int local_create(struct side_dir *dir, const char *name, const struct nfs_setattr *set,
                        struct side_file *file)
{
    struct nfs_setattr times = *set;
    int err;
    file->ops = &side_local;
    file->dir = dir;
    file->fd = openat(dir->fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, set->mode);
    if (file->fd < 0)
        return -errno;
    err = local_claim(file);
    if (err)
        return err;
    times.valid &= NFS_SET_ATIME;
    return set_fd(file->fd, &times);
}

static ssize_t local_read(struct side_file *file, void *buf, size_t size, uint64_t at)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(file->fd, (char *)buf + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (!n)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static uint64_t local_data(struct side_file *file, uint64_t at)
{
    off_t next = lseek(file->fd, (off_t)at, SEEK_DATA);
    if (next < 0)
        return errno == ENXIO ? UINT64_MAX : at;
    return (uint64_t)next;
}

static int local_write(struct side_file *file, const void *buf, size_t size, uint64_t at, bool sync,
                       uint64_t *verf)
{
    size_t done = 0;
    *verf = 0;
    while (done < size) {
        ssize_t n = pwrite(file->fd, (const char *)buf + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0; /* as cp: the disk has it when the kernel sees fit */
}

static int local_commit(struct side_file *file, uint64_t *verf)
{
    *verf = 0;
    return 0;
}

static int local_set(struct side_file *file, const struct nfs_setattr *set, struct nfs_attr *attr)
{
    int err = set_fd(file->fd, set);
    return err || !attr ? err : local_get(file, attr);
}

static int local_rename(struct side_file *file, const char *from, const char *to)
{
    struct stat mine, there;
    if (fstat(file->fd, &mine))
        return -errno;
    if (fstatat(file->dir->fd, from, &there, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? -ESTALE : -errno;
    if (mine.st_ino != there.st_ino || mine.st_dev != there.st_dev)
        return -ESTALE;
    return renameat(file->dir->fd, from, file->dir->fd, to) ? -errno : 0;
}

static void local_close(struct side_file *file)
{
    close(file->fd);
}

const struct side_ops side_local = {
    .open_dir = local_open_dir,
    .make_dir = local_make_dir,
    .list = local_list,
    .stat = local_stat,
    .readlink = local_readlink,
    .symlink = local_symlink,
    .remove = local_remove,
    .set_name = local_set_name,
    .set_dir = local_set_dir,
    .close_dir = local_close_dir,
    .open = local_open,
    .create = local_create,
    .read = local_read,
    .data = local_data,
    .write = local_write,
    .commit = local_commit,
    .set = local_set,
    .get = local_get,
    .rename = local_rename,
    .close = local_close,
};
