/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at files and changing their attributes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>
#include <utime.h>

#include "client/shim/path.h"

/* Every AT_ flag that any of the calls takes: what is beyond them is wrong for all. */
#define STAT_FLAGS 0x7b00
#define STAT_BLKSIZE (128 << 10)
#define NFS_SUPER_MAGIC_VALUE 0x6969

static uint32_t stat_mode(const struct nfs_attr *attr)
{
    static const uint32_t types[] = {0, S_IFREG, S_IFDIR, S_IFBLK, S_IFCHR, S_IFLNK, S_IFSOCK, S_IFIFO};

    return attr->mode | (attr->type < 8 ? types[attr->type] : 0);
}

void stat_fill(struct stat *st, const struct mount *mount, const struct nfs_attr *attr)
{
    memset(st, 0, sizeof(*st));
    st->st_dev = mount->dev;
    st->st_ino = attr->fileid;
    st->st_mode = stat_mode(attr);
    st->st_nlink = attr->nlink;
    st->st_uid = attr->uid;
    st->st_gid = attr->gid;
    st->st_rdev = makedev(attr->rdev_major, attr->rdev_minor);
    st->st_size = (off_t)attr->size;
    st->st_blksize = STAT_BLKSIZE;
    st->st_blocks = (blkcnt_t)((attr->used + 511) / 512);
    st->st_atim = attr->atime;
    st->st_mtim = attr->mtime;
    st->st_ctim = attr->ctime;
}

/* The directory the mounts lie in, which nobody has made. */
static void stat_top(struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_dev = 0x75000000;
    st->st_ino = 1;
    st->st_mode = S_IFDIR | 0555;
    st->st_nlink = 2 + shim.nmounts;
    st->st_blksize = 4096;
}

/* What a call is about: 0 and either *ofd or *vp, 1 for the kernel's business. seen: VP_SEEN or 0. */
static int stat_find(int dirfd, const char *path, int flags, unsigned seen, struct ofd **ofd, struct vpath *vp)
{
    int err;

    *ofd = NULL;
    if (path == NULL || (path[0] == 0 && (flags & AT_EMPTY_PATH))) {
        if (dirfd == AT_FDCWD) {
            path = ".";
        } else {
            *ofd = ofd_get(dirfd);
            vp->path[0] = 0;
            return *ofd == NULL;
        }
    }
    err = path_resolve(dirfd, path, (flags & AT_SYMLINK_NOFOLLOW ? 0 : VP_FOLLOW) | seen, vp);
    if (err == 0 && vp->kind == VP_LOCAL)
        return 1;
    if (flags & ~STAT_FLAGS)
        return -EINVAL;
    return err == 0 && vp->kind == VP_MISSING ? -ENOENT : err;
}

static int stat_get(struct ofd *ofd, struct vpath *vp, struct stat *st)
{
    struct nfs_attr attr;
    int err;

    if ((uintptr_t)st < 4096)
        return -EFAULT;
    if (ofd != NULL && ofd->fh.size != 0) {
        err = file_attr(ofd, &attr, false);
        if (err != 0)
            return err;
        stat_fill(st, ofd_mount(ofd), &attr);
        return 0;
    }
    if (ofd != NULL || vp->kind == VP_TOP) {
        stat_top(st);
        return 0;
    }
    if (vp->attr.type == NFS_REG && vnode_dirty(&vp->fh)) {
        vnode_drain(&vp->fh);
        err = nfs_getattr(shim.client, &vp->fh, &vp->attr);
        if (err != 0)
            return vol_error(err);
    }
    stat_fill(st, vp->mount, &vp->attr);
    return 0;
}

static long stat_at(long nr, const long a[6], int d, int i, int dirfd, const char *path, int flags, struct stat *st)
{
    struct vpath vp;
    struct ofd *ofd;
    int err = stat_find(dirfd, path, flags, VP_SEEN, &ofd, &vp);

    if (err == 1)
        return path_pass(nr, a, d, i, &vp);
    return err != 0 ? err : stat_get(ofd, &vp, st);
}

long sc_stat(const long a[6])
{
    return stat_at(SYS_stat, a, -1, 0, AT_FDCWD, (const char *)a[0], 0, (struct stat *)a[1]);
}

long sc_lstat(const long a[6])
{
    return stat_at(SYS_lstat, a, -1, 0, AT_FDCWD, (const char *)a[0], AT_SYMLINK_NOFOLLOW, (struct stat *)a[1]);
}

long sc_fstat(const long a[6])
{
    struct ofd *ofd = ofd_get((int)a[0]);

    return ofd == NULL ? shim_pass(SYS_fstat, a) : stat_get(ofd, NULL, (struct stat *)a[1]);
}

long sc_newfstatat(const long a[6])
{
    return stat_at(SYS_newfstatat, a, 0, 1, (int)a[0], (const char *)a[1], (int)a[3], (struct stat *)a[2]);
}

static void statx_time(struct statx_timestamp *to, const struct timespec *from)
{
    to->tv_sec = from->tv_sec;
    to->tv_nsec = (uint32_t)from->tv_nsec;
}

long sc_statx(const long a[6])
{
    struct statx *x = (struct statx *)a[4];
    struct vpath vp;
    struct ofd *ofd;
    struct stat st;
    int err = stat_find((int)a[0], (const char *)a[1], (int)a[2], a[2] & AT_STATX_FORCE_SYNC ? 0 : VP_SEEN, &ofd, &vp);

    if (err == 1)
        return path_pass(SYS_statx, a, 0, 1, &vp);
    if (err == 0)
        err = (unsigned)a[3] & 0x80000000u ? -EINVAL : stat_get(ofd, &vp, &st); /* STATX__RESERVED */
    if (err != 0)
        return err;
    memset(x, 0, sizeof(*x));
    x->stx_mask = STATX_BASIC_STATS;
    x->stx_blksize = (uint32_t)st.st_blksize;
    x->stx_nlink = (uint32_t)st.st_nlink;
    x->stx_uid = st.st_uid;
    x->stx_gid = st.st_gid;
    x->stx_mode = (uint16_t)st.st_mode;
    x->stx_ino = st.st_ino;
    x->stx_size = (uint64_t)st.st_size;
    x->stx_blocks = (uint64_t)st.st_blocks;
    statx_time(&x->stx_atime, &st.st_atim);
    statx_time(&x->stx_mtime, &st.st_mtim);
    statx_time(&x->stx_ctime, &st.st_ctim);
    x->stx_rdev_major = major(st.st_rdev);
    x->stx_rdev_minor = minor(st.st_rdev);
    x->stx_dev_major = major(st.st_dev);
    x->stx_dev_minor = minor(st.st_dev);
    return 0;
}

static long access_at(long nr, const long a[6], int d, int i, int dirfd, int mode, int flags)
{
    struct vpath vp;
    struct ofd *ofd;
    int err = stat_find(dirfd, (const char *)a[i], flags, 0, &ofd, &vp), have;

    if (err == 1)
        return path_pass(nr, a, d, i, &vp);
    if (err != 0)
        return err;
    if ((mode & ~7) != 0)
        return -EINVAL;
    if (ofd == NULL && vp.kind == VP_TOP)
        return mode & W_OK ? -EROFS : 0;
    if (mode == F_OK)
        return 0;
    if (ofd == NULL && vp.mount->readonly && (mode & W_OK))
        return -EROFS;
    have = nfs_access(shim.client, ofd != NULL ? &ofd->fh : &vp.fh, mode, NULL);
    if (have < 0)
        return vol_error(have);
    return have == mode ? 0 : -EACCES;
}

long sc_access(const long a[6])
{
    return access_at(SYS_access, a, -1, 0, AT_FDCWD, (int)a[1], 0);
}

long sc_faccessat(const long a[6])
{
    return access_at(SYS_faccessat, a, 0, 1, (int)a[0], (int)a[2], 0);
}

long sc_faccessat2(const long a[6])
{
    return access_at(SYS_faccessat2, a, 0, 1, (int)a[0], (int)a[2], (int)a[3]);
}

static int statfs_fill(const struct nfs_fh *fh, const struct mount *mount, struct statfs *fs)
{
    struct nfs_statfs got;
    int err = nfs_statfs(shim.client, fh, &got);

    if (err != 0)
        return vol_error(err);
    memset(fs, 0, sizeof(*fs));
    fs->f_type = NFS_SUPER_MAGIC_VALUE;
    fs->f_bsize = fs->f_frsize = 4096;
    fs->f_blocks = got.space_total / 4096;
    fs->f_bfree = got.space_free / 4096;
    fs->f_bavail = got.space_avail / 4096;
    fs->f_files = got.files_total;
    fs->f_ffree = got.files_free;
    fs->f_namelen = got.maxname != 0 ? got.maxname : NFS_NAME_MAX;
    fs->f_flags = mount->readonly ? 1 : 0;
    memcpy(&fs->f_fsid, &mount->dev, sizeof(fs->f_fsid));
    return 0;
}

long sc_statfs(const long a[6])
{
    struct statfs *fs = (struct statfs *)a[1];
    struct vpath vp;
    struct ofd *ofd;
    int err = stat_find(AT_FDCWD, (const char *)a[0], 0, 0, &ofd, &vp);

    if (err == 1)
        return path_pass(SYS_statfs, a, -1, 0, &vp);
    if (err != 0)
        return err;
    if (vp.kind == VP_TOP) {
        memset(fs, 0, sizeof(*fs));
        fs->f_type = NFS_SUPER_MAGIC_VALUE;
        fs->f_bsize = fs->f_frsize = 4096;
        fs->f_namelen = NFS_NAME_MAX;
        return 0;
    }
    return statfs_fill(&vp.fh, vp.mount, fs);
}

long sc_fstatfs(const long a[6])
{
    struct ofd *ofd = ofd_get((int)a[0]);

    if (ofd == NULL)
        return shim_pass(SYS_fstatfs, a);
    return ofd->fh.size == 0 ? -ENOSYS : statfs_fill(&ofd->fh, ofd_mount(ofd), (struct statfs *)a[1]);
}

/* What /proc shows of a process's working directory, which may be one of ours. */
static long readlink_cwd(long nr, const long a[6], const char *path, char *buf, long size)
{
    char *text = heap_alloc(SHIM_PATH);
    long n;

    if (text == NULL)
        return -ENOMEM;
    n = sys3(SYS_readlink, path, text, SHIM_PATH - 1);
    text[n > 0 ? n : 0] = 0;
    if (n > 0 && path_below(text, shim.mirror, shim.mirror_len)) {
        n -= (long)shim.mirror_len;
        n = n > size ? size : n;
        memcpy(buf, text + shim.mirror_len, (size_t)n);
    } else {
        n = shim_pass(nr, a);
    }
    heap_free(text);
    return n;
}

long readlink_exe(const char *path, char *buf, size_t size)
{
    size_t len = strlen(path);
    const char *name;
    char *text;
    long n = 0;

    if (strncmp(path, "/proc/", 6) != 0 || strcmp(path + len - 4, "/exe") != 0 || (text = heap_alloc(SHIM_PATH)) == NULL)
        return 0;
    name = memfd_name(path, text);
    if (name != NULL && name[0] == '/' && path_mount(name) != NULL) {
        len = strlen(name);
        n = (long)(len < size ? len : size);
        memcpy(buf, name, (size_t)n);
    }
    heap_free(text);
    return n;
}

static long readlink_at(long nr, const long a[6], int d, int i, int dirfd, char *buf, long size)
{
    const char *path = (const char *)a[i];
    const char *rest;
    char *text;
    struct vpath vp;
    struct ofd *ofd;
    size_t len;
    int err;

    if (size <= 0)
        return -EINVAL;
    /* /proc/self/fd/N of ours tells the path, as for any file. */
    if (strncmp(path, "/proc/", 6) == 0 && strstr(path, "/fd/") != NULL) {
        err = path_resolve(dirfd, path, VP_FOLLOW | VP_NOATTR, &vp);
        if (err == 0 && vp.kind != VP_LOCAL && vp.kind != VP_MISSING) {
            len = strlen(vp.path);
            len = len > (size_t)size ? (size_t)size : len;
            memcpy(buf, vp.path, len);
            return (long)len;
        }
        return shim_pass(nr, a);
    }
    if (path_names_cwd(path, &rest) && *rest == 0)
        return readlink_cwd(nr, a, path, buf, size);
    len = (size_t)readlink_exe(path, buf, (size_t)size);
    if (len > 0)
        return (long)len;
    err = stat_find(dirfd, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, 0, &ofd, &vp);
    if (err == 1)
        return path_pass(nr, a, d, i, &vp);
    if (err != 0)
        return err;
    if ((ofd != NULL ? ofd->type : vp.kind == VP_TOP ? NFS_DIR : vp.attr.type) != NFS_LNK)
        return -EINVAL;
    text = heap_alloc(SHIM_PATH);
    if (text == NULL)
        return -ENOMEM;
    err = nfs_readlink(shim.client, ofd != NULL ? &ofd->fh : &vp.fh, text, SHIM_PATH);
    len = 0;
    if (err == 0) {
        len = strlen(text);
        len = len > (size_t)size ? (size_t)size : len;
        memcpy(buf, text, len);
    }
    heap_free(text);
    return err != 0 ? vol_error(err) : (long)len;
}

long sc_readlink(const long a[6])
{
    return readlink_at(SYS_readlink, a, -1, 0, AT_FDCWD, (char *)a[1], (int)a[2]);
}

long sc_readlinkat(const long a[6])
{
    return readlink_at(SYS_readlinkat, a, 0, 1, (int)a[0], (char *)a[2], (int)a[3]);
}

/* SETATTR of whatever the arguments name. */
static long set_at(long nr, const long a[6], int d, int i, int dirfd, const char *path, int flags,
                   const struct nfs_setattr *set)
{
    struct vpath vp;
    struct ofd *ofd;
    const struct nfs_fh *fh;
    const struct mount *mount;
    int err = stat_find(dirfd, path, flags, 0, &ofd, &vp);

    if (err == 1)
        return path_pass(nr, a, d, i, &vp);
    if (err != 0)
        return err;
    if (ofd != NULL ? ofd->fh.size == 0 : vp.kind == VP_TOP)
        return -EROFS;
    fh = ofd != NULL ? &ofd->fh : &vp.fh;
    mount = ofd != NULL ? ofd_mount(ofd) : vp.mount;
    if (mount->readonly)
        return -EROFS;
    if (set->valid == 0)
        return 0;
    /* Our own writes come first, or they would move the times again. */
    vnode_drain(fh);
    err = nfs_setattr(shim.client, fh, set, NULL);
    file_changed(fh);
    return vol_error(err);
}

static struct nfs_setattr set_mode(long mode)
{
    return (struct nfs_setattr){.valid = NFS_SET_MODE, .mode = (uint32_t)mode & 07777};
}

static struct nfs_setattr set_owner(long uid, long gid)
{
    struct nfs_setattr set = {.uid = (uint32_t)uid, .gid = (uint32_t)gid};

    set.valid = ((uint32_t)uid != (uint32_t)-1 ? NFS_SET_UID : 0u) | ((uint32_t)gid != (uint32_t)-1 ? NFS_SET_GID : 0u);
    return set;
}

long sc_chmod(const long a[6])
{
    struct nfs_setattr set = set_mode(a[1]);

    return set_at(SYS_chmod, a, -1, 0, AT_FDCWD, (const char *)a[0], 0, &set);
}

long sc_fchmod(const long a[6])
{
    struct nfs_setattr set = set_mode(a[1]);
    struct ofd *ofd = ofd_get((int)a[0]);

    if (ofd == NULL)
        return shim_pass(SYS_fchmod, a);
    if (ofd->flags & O_PATH)
        return -EBADF;
    return set_at(SYS_fchmod, a, -1, 0, (int)a[0], NULL, 0, &set);
}

long sc_fchmodat(const long a[6])
{
    struct nfs_setattr set = set_mode(a[2]);

    return set_at(SYS_fchmodat, a, 0, 1, (int)a[0], (const char *)a[1], 0, &set);
}

long sc_fchmodat2(const long a[6])
{
    struct nfs_setattr set = set_mode(a[2]);

    return set_at(452, a, 0, 1, (int)a[0], (const char *)a[1], (int)a[3], &set);
}

long sc_chown(const long a[6])
{
    struct nfs_setattr set = set_owner(a[1], a[2]);

    return set_at(SYS_chown, a, -1, 0, AT_FDCWD, (const char *)a[0], 0, &set);
}

long sc_lchown(const long a[6])
{
    struct nfs_setattr set = set_owner(a[1], a[2]);

    return set_at(SYS_lchown, a, -1, 0, AT_FDCWD, (const char *)a[0], AT_SYMLINK_NOFOLLOW, &set);
}

long sc_fchown(const long a[6])
{
    struct nfs_setattr set = set_owner(a[1], a[2]);
    struct ofd *ofd = ofd_get((int)a[0]);

    if (ofd == NULL)
        return shim_pass(SYS_fchown, a);
    return set_at(SYS_fchown, a, -1, 0, (int)a[0], NULL, 0, &set);
}

long sc_fchownat(const long a[6])
{
    struct nfs_setattr set = set_owner(a[2], a[3]);

    return set_at(SYS_fchownat, a, 0, 1, (int)a[0], (const char *)a[1], (int)a[4], &set);
}

static int set_times(struct nfs_setattr *set, const struct timespec *times)
{
    memset(set, 0, sizeof(*set));
    if (times == NULL) {
        set->valid = NFS_SET_ATIME_NOW | NFS_SET_MTIME_NOW;
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        if (times[i].tv_nsec == UTIME_OMIT)
            continue;
        if (times[i].tv_nsec == UTIME_NOW) {
            set->valid |= i == 0 ? NFS_SET_ATIME_NOW : NFS_SET_MTIME_NOW;
            continue;
        }
        if (times[i].tv_nsec < 0 || times[i].tv_nsec > 999999999)
            return -EINVAL;
        set->valid |= i == 0 ? NFS_SET_ATIME : NFS_SET_MTIME;
        *(i == 0 ? &set->atime : &set->mtime) = times[i];
    }
    return 0;
}

long sc_utimensat(const long a[6])
{
    struct nfs_setattr set;
    int err = set_times(&set, (const struct timespec *)a[2]);

    if (err != 0)
        return err;
    if (set.valid == 0)
        return 0; /* as the kernel: nothing to set, nothing looked at */
    return set_at(SYS_utimensat, a, 0, 1, (int)a[0], (const char *)a[1], (int)a[3], &set);
}

static int set_timevals(struct nfs_setattr *set, const struct timeval *tv)
{
    struct timespec ts[2];

    for (int i = 0; tv != NULL && i < 2; i++) {
        if (tv[i].tv_usec < 0 || tv[i].tv_usec > 999999)
            return -EINVAL;
        ts[i] = (struct timespec){tv[i].tv_sec, tv[i].tv_usec * 1000};
    }
    return set_times(set, tv == NULL ? NULL : ts);
}

long sc_utimes(const long a[6])
{
    struct nfs_setattr set;
    int err = set_timevals(&set, (const struct timeval *)a[1]);

    return err != 0 ? err : set_at(SYS_utimes, a, -1, 0, AT_FDCWD, (const char *)a[0], 0, &set);
}

long sc_futimesat(const long a[6])
{
    struct nfs_setattr set;
    int err = set_timevals(&set, (const struct timeval *)a[2]);

    return err != 0 ? err : set_at(SYS_futimesat, a, 0, 1, (int)a[0], (const char *)a[1], 0, &set);
}

long sc_utime(const long a[6])
{
    const struct utimbuf *buf = (const struct utimbuf *)a[1];
    struct timespec ts[2] = {{0, 0}, {0, 0}};
    struct nfs_setattr set;

    if (buf != NULL) {
        ts[0].tv_sec = buf->actime;
        ts[1].tv_sec = buf->modtime;
    }
    set_times(&set, buf == NULL ? NULL : ts);
    return set_at(SYS_utime, a, -1, 0, AT_FDCWD, (const char *)a[0], 0, &set);
}
