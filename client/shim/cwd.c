/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The working directory, which the kernel keeps.
 *
 * For /volumes/v/a the process stands in RUN/cwd/volumes/v/a, the mirror of it, an empty directory of our own: children
 * inherit it and getcwd can tell. A directory that the run renames or removes has its mirror renamed or removed as well, so that
 * whoever stands there, or below, goes along, or stands nowhere. What others do to it shows when it is next used.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client/shim/path.h"

#define DELETED " (deleted)" /* behind what /proc shows of a removed directory */

int path_cwd_ours;

int path_kernel_cwd(char *buf, size_t size)
{
    long n = sys2(SYS_getcwd, buf, size);

    return n < 0 ? (int)n : (int)n - 1;
}

/* May a name below this directory be a mount? */
static bool path_leads(const char *dir)
{
    size_t len = strlen(dir);

    if (len == 1)
        return true;
    for (unsigned i = 0; i < shim.nmounts; i++)
        if (path_below(shim.run->mounts[i].path, dir, len))
            return true;
    return false;
}

int path_cwd(char *buf, size_t size)
{
    bool child = shim_is_vfork_child();
    int n;

    if (path_cwd_ours == 1 && !child)
        return 0;
    n = path_kernel_cwd(buf, size);
    if (n < 0)
        return n == -ENOENT ? 0 : n;
    if (!path_below(buf, shim.mirror, shim.mirror_len)) {
        if (!child)
            path_cwd_ours = path_leads(buf) ? 3 : 1;
        return 0;
    }
    if (!child)
        path_cwd_ours = 2;
    n -= (int)shim.mirror_len;
    memmove(buf, buf + shim.mirror_len, (size_t)n + 1);
    return n;
}

int path_gone_cwd(char *buf, size_t size)
{
    const size_t mark = strlen(DELETED);
    long n = sys3(SYS_readlink, "/proc/self/cwd", buf, size - 1);

    if (n < 0)
        return (int)n;
    buf[n] = 0;
    if ((size_t)n <= shim.mirror_len + mark || !path_below(buf, shim.mirror, shim.mirror_len) ||
        strcmp(buf + n - mark, DELETED) != 0)
        return 0;
    n -= (long)(shim.mirror_len + mark);
    memmove(buf, buf + shim.mirror_len, (size_t)n);
    buf[n] = 0;
    return (int)n;
}

/* The name of a directory's mirror, to be freed; NULL: too long, or no memory. */
static char *mirror_of(const char *path)
{
    size_t len = strlen(path);
    char *mirror = shim.mirror_len + len < SHIM_PATH ? heap_alloc(SHIM_PATH) : NULL;

    if (mirror != NULL) {
        memcpy(mirror, shim.mirror, shim.mirror_len);
        memcpy(mirror + shim.mirror_len, path, len + 1);
    }
    return mirror;
}

static void mirror_parents(char *mirror)
{
    for (char *p = mirror + shim.dir_len + 1; *p != 0; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        sys2(SYS_mkdir, mirror, 0700);
        *p = '/';
    }
}

static void mirror_make(char *mirror)
{
    mirror_parents(mirror);
    sys2(SYS_mkdir, mirror, 0700);
}

bool cwd_mirror(const char *path)
{
    char *mirror = mirror_of(path);
    bool there = false;

    if (mirror != NULL) {
        mirror_make(mirror);
        there = sys4(SYS_faccessat, AT_FDCWD, mirror, X_OK, 0) == 0;
    }
    heap_free(mirror);
    return there;
}

/* Removes a mirror and the mirrors in it: names of directories that somebody else has removed. */
static void mirror_remove(char *mirror)
{
    size_t len = strlen(mirror), top = len;

    while (sys1(SYS_rmdir, mirror) == -ENOTEMPTY || len > top) {
        struct sys_dirent *e = NULL;
        long dir = sys3(SYS_open, mirror, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n;
        bool deeper = false;
        char buf[1024];

        while (dir >= 0 && !deeper && (n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0)
            for (long at = 0; at < n && !deeper; at += e->reclen) {
                e = (void *)(buf + at);
                deeper = e->name[0] != '.' || (e->name[1] != 0 && (e->name[1] != '.' || e->name[2] != 0));
                deeper = deeper && len + strlen(e->name) + 2 < SHIM_PATH;
            }
        if (dir >= 0)
            sys1(SYS_close, dir);
        if (deeper) {
            mirror[len++] = '/';
            strcpy(mirror + len, e->name);
            len += strlen(e->name);
            continue;
        }
        if (len == top)
            return;
        while (mirror[--len] != '/')
            ;
        mirror[len] = 0;
    }
}

void cwd_removed(const char *path)
{
    char *mirror = mirror_of(path);

    if (mirror != NULL && sys1(SYS_rmdir, mirror) == -ENOTEMPTY)
        mirror_remove(mirror);
    heap_free(mirror);
}

void cwd_moved(const char *from, const char *to)
{
    char *old = mirror_of(from), *new = mirror_of(to);

    if (old == NULL || new == NULL || sys2(SYS_access, old, 0) != 0) {
        if (new != NULL)
            cwd_removed(to);
    } else {
        mirror_parents(new);
        mirror_remove(new);
        sys2(SYS_rename, old, new);
    }
    heap_free(old);
    heap_free(new);
}

long sc_getcwd(const long a[6])
{
    char *path;
    long n;

    if (!shim_is_vfork_child() && path_cwd_ours == 1)
        return shim_pass(SYS_getcwd, a);
    path = heap_alloc(SHIM_PATH);
    if (path == NULL)
        return -ENOMEM;
    n = path_cwd(path, SHIM_PATH);
    if (n > 0 && (size_t)a[1] < (size_t)n + 1)
        n = -ERANGE;
    if (n > 0) {
        memcpy((char *)a[0], path, (size_t)n + 1);
        n++;
    } else if (n == 0) {
        n = shim_pass(SYS_getcwd, a);
    }
    heap_free(path);
    return n;
}

/* Makes the mirror of an absolute path and goes there. */
static long cwd_enter(const char *path)
{
    char *mirror = mirror_of(path);
    long ret;

    if (mirror == NULL)
        return -ENAMETOOLONG;
    ret = sys1(SYS_chdir, mirror);
    if (ret == -ENOENT) {
        mirror_make(mirror);
        ret = sys1(SYS_chdir, mirror);
    }
    if (ret == 0 && !shim_is_vfork_child())
        path_cwd_ours = 2;
    heap_free(mirror);
    return ret;
}

static long cwd_local(long ret)
{
    if (ret == 0 && !shim_is_vfork_child())
        path_cwd_ours = 0;
    return ret;
}

long sc_chdir(const long a[6])
{
    const char *path = (const char *)a[0];
    struct vpath vp;
    int err, have;

    if (path == NULL || path[0] == 0)
        return shim_pass(SYS_chdir, a);
    err = path_resolve(AT_FDCWD, path, VP_FOLLOW, &vp);
    if (err != 0)
        return err;
    if (vp.kind == VP_LOCAL) {
        long ret = cwd_local(sys1(SYS_chdir, vp.path[0] != 0 ? vp.path : path));

        if (ret != -ENOENT || shim_deep)
            return ret;
        shim_deep = 1; /* a local link into a volume? */
        err = path_resolve(AT_FDCWD, path, VP_FOLLOW, &vp);
        if (err != 0 || vp.kind == VP_LOCAL)
            return ret;
    }
    switch (vp.kind) {
    case VP_MISSING:
        return -ENOENT;
    case VP_TOP:
        return cwd_enter(vp.path);
    default:
        break;
    }
    if (vp.attr.type != NFS_DIR)
        return -ENOTDIR;
    have = nfs_access(shim.client, &vp.fh, 1, NULL);
    if (have < 0)
        return vol_error(have);
    return have == 0 ? -EACCES : cwd_enter(vp.path);
}

long sc_fchdir(const long a[6])
{
    struct ofd *ofd = ofd_get((int)a[0]);

    if (ofd == NULL)
        return cwd_local(sys1(SYS_fchdir, a[0]));
    return ofd->type == NFS_DIR ? cwd_enter(ofd->path) : -ENOTDIR;
}
