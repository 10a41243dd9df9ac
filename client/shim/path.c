/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a path to a file: working directory, dirfd, "." and "..", symbolic links in and out of volumes, names of
 * descriptors under /proc.
 *
 * Resolution works on one absolute text. Each round takes out "." and "..", finds the mount, looks up the directory
 * (from a small cache, or one compound) and the last name; a symbolic link rewrites the text and starts the next
 * round. A text that leaves the volumes is handed to the kernel. ".." after a name in a volume steps back from where
 * that name really leads, as the kernel does.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client/shim/shim.h"

#define PATH_LINKS 40
#define DIR_CACHE 256
#define DIR_CACHE_MS 2000
#define ROUND_AGAIN 1

int path_cwd_ours;

static struct {
    struct vlock lock;
    struct {
        char *path;
        struct nfs_fh fh;
        uint64_t ms;
        uint32_t names;
    } e[DIR_CACHE];
} dirs;

static unsigned path_hash(const char *path)
{
    unsigned h = 5381;

    while (*path != 0)
        h = h * 33 + (unsigned char)*path++;
    return h % DIR_CACHE;
}

static bool dir_cached(const char *path, struct nfs_fh *fh)
{
    unsigned i = path_hash(path);
    bool hit;

    vlock_lock(&dirs.lock);
    hit = dirs.e[i].path != NULL && dirs.e[i].names == __atomic_load_n(&shim.run->names, __ATOMIC_ACQUIRE) &&
          sys_now_ms() - dirs.e[i].ms < DIR_CACHE_MS && strcmp(dirs.e[i].path, path) == 0;
    if (hit)
        *fh = dirs.e[i].fh;
    vlock_unlock(&dirs.lock);
    return hit;
}

static void dir_remember(const char *path, const struct nfs_fh *fh)
{
    unsigned i = path_hash(path);
    char *copy = heap_strdup(path);

    if (copy == NULL)
        return;
    vlock_lock(&dirs.lock);
    heap_free(dirs.e[i].path);
    dirs.e[i].path = copy;
    dirs.e[i].fh = *fh;
    dirs.e[i].ms = sys_now_ms();
    dirs.e[i].names = __atomic_load_n(&shim.run->names, __ATOMIC_ACQUIRE);
    vlock_unlock(&dirs.lock);
}

static void dir_drop(const char *path)
{
    unsigned i = path_hash(path);

    vlock_lock(&dirs.lock);
    heap_free(dirs.e[i].path);
    dirs.e[i].path = NULL;
    vlock_unlock(&dirs.lock);
}

void path_forget(void)
{
    __atomic_add_fetch(&shim.run->names, 1, __ATOMIC_ACQ_REL);
}

void path_after_fork(void)
{
    memset(&dirs, 0, sizeof(dirs)); /* another thread may have been in the middle of an entry */
}

static bool path_below(const char *path, const char *top, size_t len)
{
    return strncmp(path, top, len) == 0 && (path[len] == 0 || path[len] == '/');
}

struct mount *path_mount(const char *path)
{
    struct mount *best = NULL;

    for (unsigned i = 0; i < shim.nmounts; i++) {
        struct mount *mount = &shim.run->mounts[i];

        if (path_below(path, mount->path, mount->len) && (best == NULL || mount->len > best->len))
            best = mount;
    }
    return best;
}

/* The kernel's idea of the working directory; its length without the final zero. */
static int path_kernel_cwd(char *buf, size_t size)
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

/* Takes out empty and "." components up to the first ".."; returns where that is, or NULL. */
static char *path_clean(char *path, bool *slash)
{
    char *from = path, *to = path;

    *slash = false;
    while (*from != 0) {
        size_t size;

        while (*from == '/')
            from++;
        size = strcspn(from, "/");
        if (size == 0) {
            *slash = true;
            break;
        }
        if (size == 1 && from[0] == '.') {
            from++;
            *slash = true;
            continue;
        }
        if (size == 2 && from[0] == '.' && from[1] == '.') {
            char *at = to;

            *to++ = '/';
            memmove(to, from, strlen(from) + 1);
            return at;
        }
        *to++ = '/';
        memmove(to, from, size);
        to += size;
        from += size;
        *slash = false;
    }
    if (to == path)
        *to++ = '/';
    *to = 0;
    return NULL;
}

static int path_join(char *to, const char *dir, size_t dir_len, const char *rest)
{
    size_t rest_len = strlen(rest);

    if (dir_len + 1 + rest_len >= SHIM_PATH)
        return -ENAMETOOLONG;
    memmove(to + dir_len + 1, rest, rest_len + 1);
    memmove(to, dir, dir_len);
    to[dir_len] = '/';
    return 0;
}

/* Replaces the link that ends at used bytes of path by its target, keeping what follows. */
static int path_link(char *path, size_t used, const struct mount *mount, const struct nfs_fh *link)
{
    char *target = heap_alloc(2 * SHIM_PATH);
    size_t dir, target_len, rest_len = strlen(path + used);
    int err;

    if (target == NULL)
        return -ENOMEM;
    err = nfs_readlink(shim.client, link, target, SHIM_PATH);
    if (err != 0)
        goto out;
    target_len = strlen(target);
    err = -ENAMETOOLONG;
    if (target_len + rest_len + 2 >= SHIM_PATH)
        goto out;
    memcpy(target + target_len, path + used, rest_len + 1);
    err = 0;
    if (target[0] == '/') {
        memcpy(path, target, target_len + rest_len + 1);
        goto out;
    }
    for (dir = used; dir > 0 && path[dir - 1] != '/'; dir--)
        ;
    err = path_join(path, path, dir - 1, target);
out:
    heap_free(target);
    return err;
}

/* path[0..at) is followed by "..": makes it the parent of where it really leads. */
static int path_up(char *path, char *at, int depth)
{
    size_t prefix = (size_t)(at - path);
    struct vpath *vp = NULL;
    int err = 0;

    *at = 0;
    if (prefix > 0 && path_mount(path) != NULL && path_mount(path)->len < prefix) {
        if (depth > 8)
            return -ELOOP;
        vp = heap_alloc(sizeof(*vp));
        if (vp == NULL)
            return -ENOMEM;
        err = path_resolve(AT_FDCWD, path, VP_FOLLOW, vp);
        if (err == 0 && vp->kind == VP_MISSING)
            err = -ENOENT;
        if (err == 0 && vp->kind == VP_FILE && vp->attr.type != NFS_DIR)
            err = -ENOTDIR;
        if (err == 0) {
            size_t len = strlen(vp->path), rest = strlen(at + 3);

            if (len + rest + 4 >= SHIM_PATH)
                err = -ENAMETOOLONG;
            else {
                memmove(path + len + 3, at + 3, rest + 1);
                memcpy(path, vp->path, len);
                at = path + len;
                prefix = len;
            }
        }
        heap_free(vp);
        if (err != 0)
            return err;
    }
    while (prefix > 0 && path[prefix - 1] != '/')
        prefix--;
    if (prefix > 0)
        prefix--; /* the slash goes too */
    memmove(path + prefix, at + 3, strlen(at + 3) + 1);
    if (path[0] == 0)
        strcpy(path, "/");
    return 0;
}

/* "N" or "N/rest" -> N, or -1. */
static int path_number(const char *text, const char **rest)
{
    int n = 0;

    if (*text < '0' || *text > '9')
        return -1;
    while (*text >= '0' && *text <= '9' && n < 10000000)
        n = n * 10 + (*text++ - '0');
    if (*text != 0 && *text != '/')
        return -1;
    *rest = text;
    return n;
}

/* The descriptor a path under /proc or /dev names, or -1. *rest is what follows. */
static int path_names_fd(const char *path, const char **rest)
{
    static const char *const fixed[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};

    for (int i = 0; i < 3; i++)
        if (path_below(path, fixed[i], strlen(fixed[i]))) {
            *rest = path + strlen(fixed[i]);
            return i;
        }
    if (strncmp(path, "/dev/fd/", 8) == 0)
        return path_number(path + 8, rest);
    if (strncmp(path, "/proc/self/fd/", 14) == 0)
        return path_number(path + 14, rest);
    if (strncmp(path, "/proc/thread-self/fd/", 21) == 0)
        return path_number(path + 21, rest);
    if (strncmp(path, "/proc/", 6) == 0) {
        int pid = path_number(path + 6, rest);

        if (pid > 0 && pid == (int)sys0(SYS_getpid) && strncmp(*rest, "/fd/", 4) == 0)
            return path_number(*rest + 4, rest);
    }
    return -1;
}

/* /proc/PID/fd/N with nothing behind it. */
static bool path_names_others_fd(const char *path)
{
    const char *rest;

    return strncmp(path, "/proc/", 6) == 0 && path_number(path + 6, &rest) > 0 && strncmp(rest, "/fd/", 4) == 0 &&
           path_number(rest + 4, &rest) >= 0 && *rest == 0;
}

/* Fills out from an open description. */
static int path_from_ofd(const struct ofd *ofd, unsigned flags, struct vpath *out)
{
    int err = 0;

    strcpy(out->path, ofd->path);
    out->slash = false;
    if (ofd->fh.size == 0) {
        out->kind = VP_TOP;
        return 0;
    }
    out->kind = VP_FILE;
    out->mount = ofd_mount(ofd);
    out->is_root = nfs_fh_same(&ofd->fh, &out->mount->root);
    out->fh = ofd->fh;
    out->attr = ofd->attr;
    out->dir.size = 0;
    out->name[0] = 0;
    if (!(flags & VP_NOATTR))
        err = nfs_getattr(shim.client, &ofd->fh, &out->attr);
    return err;
}

/* base: the directory of the last name when it is known whatever its name is now, else NULL. One round: 0 done,
 * ROUND_AGAIN when out->path was rewritten, or a negative errno. */
static int path_round(unsigned flags, const struct nfs_fh *base, struct vpath *out)
{
    struct mount *mount = path_mount(out->path);
    char *path = out->path, *last, saved;
    size_t used = 0;
    bool cached;
    int err;

    if (mount == NULL) {
        if (shim.top_len != 0 && path_below(path, shim.top, shim.top_len)) {
            if (path[shim.top_len] == 0) {
                out->kind = VP_TOP;
                return 0;
            }
            if (strchr(path + shim.top_len + 1, '/') != NULL)
                return -ENOENT;
            out->kind = VP_MISSING;
            out->mount = NULL;
            return 0;
        }
        out->kind = VP_LOCAL;
        if (out->slash && strlen(path) + 2 < SHIM_PATH && path[1] != 0)
            strcat(path, "/");
        return 0;
    }
    err = mount_ready(mount);
    if (err != 0)
        return err;
    out->mount = mount;
    out->is_root = path[mount->len] == 0;
    if (out->is_root) {
        out->kind = VP_FILE;
        out->fh = mount->root;
        out->name[0] = 0;
        out->dir = mount->root;
        return flags & VP_NOATTR ? 0 : nfs_getattr(shim.client, &out->fh, &out->attr);
    }
    last = strrchr(path, '/');
    if (strlen(last + 1) > NFS_NAME_MAX)
        return -ENAMETOOLONG;
    strcpy(out->name, last + 1);
    if (last == path + mount->len) {
        out->dir = mount->root;
        cached = true;
    } else {
        saved = *last;
        *last = 0;
        cached = base != NULL || dir_cached(path, &out->dir);
        if (base != NULL)
            out->dir = *base;
        if (!cached) {
            err = nfs_walk(shim.client, &mount->root, path + mount->len + 1, &out->dir, &out->attr, &used);
            used += mount->len + 1;
            if (err == 0 && out->attr.type == NFS_LNK)
                err = -ELOOP;
            if (err == 0 && out->attr.type != NFS_DIR)
                err = -ENOTDIR;
            if (err == 0)
                dir_remember(path, &out->dir);
        }
        *last = saved;
        if (err == -ELOOP) {
            err = path_link(path, used, mount, &out->dir);
            return err != 0 ? err : ROUND_AGAIN;
        }
        if (err == -EAGAIN) /* changed under our feet */
            return ROUND_AGAIN;
        if (err != 0)
            return err;
    }
    if (flags & VP_PARENT) {
        out->kind = VP_MISSING;
        return 0;
    }
    if ((flags & VP_SEEN) && seen_get(&out->dir, out->name, strlen(out->name), &out->fh, &out->attr))
        err = 0;
    else if (flags & VP_FIRST)
        err = nfs_lookup_first(shim.client, &out->dir, out->name, strlen(out->name), &out->fh, &out->attr, out->first);
    else
        err = nfs_lookup(shim.client, &out->dir, out->name, strlen(out->name), &out->fh, &out->attr);
    if (err == -ESTALE && cached && last != path + mount->len) {
        *last = 0;
        dir_drop(path);
        *last = '/';
        return ROUND_AGAIN;
    }
    if (err == -ENOENT) {
        out->kind = VP_MISSING;
        return 0;
    }
    if (err != 0)
        return err;
    out->kind = VP_FILE;
    if (out->attr.type == NFS_LNK && ((flags & VP_FOLLOW) || out->slash)) {
        bool slash = out->slash;

        if (!(flags & VP_FOLLOW))
            out->links = true;
        if (flags & VP_FIRST)
            out->first->have = -1;
        err = path_link(path, strlen(path), mount, &out->fh);
        if (err == 0 && slash && strlen(path) + 2 < SHIM_PATH)
            strcat(path, "/");
        return err != 0 ? err : ROUND_AGAIN;
    }
    if (out->slash && out->attr.type != NFS_DIR)
        return -ENOTDIR;
    return 0;
}

/* Follows the first symbolic link in a local path. 1: path was rewritten; 0: there is none. */
static int path_local_link(char *path, bool last_too)
{
    char *target;
    size_t end = 0, dir, rest;
    int err = 0;
    long n;

    if (path[0] != '/' || path_below(path, "/proc", 5))
        return 0; /* the links of /proc are no texts */
    target = heap_alloc(2 * SHIM_PATH);
    if (target == NULL)
        return -ENOMEM;
    while (path[end] != 0) {
        char saved;

        dir = end;
        end += 1 + strcspn(path + end + 1, "/");
        if (path[end] == 0 && !last_too)
            break;
        saved = path[end];
        path[end] = 0;
        n = sys3(SYS_readlink, path, target, SHIM_PATH - 1);
        path[end] = saved;
        if (n == -EINVAL)
            continue;
        if (n <= 0)
            break;
        target[n] = 0;
        rest = strlen(path + end);
        err = -ENAMETOOLONG;
        if ((size_t)n + rest + dir + 2 >= SHIM_PATH)
            break;
        memcpy(target + n, path + end, rest + 1);
        if (target[0] == '/')
            memcpy(path, target, (size_t)n + rest + 1);
        else
            path_join(path, path, dir, target);
        err = 1;
        break;
    }
    heap_free(target);
    return err;
}

/* The text to begin with. 1: it is the kernel's business as it stands. */
static int path_begin(int dirfd, const char *path, struct vpath *out, const struct nfs_fh **base)
{
    int n;

    if (path[0] == '/') {
        if (strlen(path) >= SHIM_PATH)
            return -ENAMETOOLONG;
        strcpy(out->path, path);
        return 0;
    }
    if (dirfd == AT_FDCWD) {
        n = path_cwd(out->path, SHIM_PATH);
        if (n < 0)
            return n;
        if (n == 0) {
            if (path_cwd_ours != 3 && !shim_deep && strncmp(path, "..", 2) != 0)
                return 1;
            n = path_kernel_cwd(out->path, SHIM_PATH);
            if (n < 0)
                return 1;
        }
        return path_join(out->path, out->path, (size_t)n, path);
    } else {
        struct ofd *dir = ofd_get(dirfd);
        char link[32];

        if (dir != NULL) {
            if (dir->type != NFS_DIR && path[0] != 0)
                return -ENOTDIR;
            /* One name in an open directory is found wherever that was moved to meanwhile. */
            if (dir->fh.size != 0 && strchr(path, '/') == NULL && strcmp(path, ".") != 0 && strcmp(path, "..") != 0)
                *base = &dir->fh;
            return path_join(out->path, dir->path, strlen(dir->path), path);
        }
        /* A walk by components from a descriptor of "/" or the like. */
        memcpy(link, "/proc/self/fd/", 14);
        {
            char digits[12];
            int i = 0, v = dirfd;

            if (v < 0)
                return 1;
            do {
                digits[i++] = (char)('0' + v % 10);
                v /= 10;
            } while (v != 0);
            for (int k = 0; k < i; k++)
                link[14 + k] = digits[i - 1 - k];
            link[14 + i] = 0;
        }
        n = (int)sys3(SYS_readlink, link, out->path, SHIM_PATH - 1);
        if (n <= 0 || out->path[0] != '/')
            return 1;
        out->path[n] = 0;
        return path_join(out->path, out->path, (size_t)n, path);
    }
}

int path_resolve(int dirfd, const char *path, unsigned flags, struct vpath *out)
{
    static __thread int depth __attribute__((tls_model("initial-exec")));
    const struct nfs_fh *base = NULL;
    const char *rest;
    bool local;
    int err, fd;

    out->mount = NULL;
    out->is_root = false;
    out->links = false;
    out->name[0] = 0;
    if (flags & VP_FIRST)
        out->first->have = -1;
    else
        out->first = NULL;
    if (path[0] == 0) {
        out->kind = VP_LOCAL;
        out->path[0] = 0;
        return 0;
    }
    out->seen = file_changes();
    err = path_begin(dirfd, path, out, &base);
    local = !path_below(out->path, shim.mirror, shim.mirror_len) && path_mount(out->path) == NULL;
    if (err < 0)
        return err;
    if (err == 1) {
        out->kind = VP_LOCAL;
        out->path[0] = 0; /* pass as it was */
        return 0;
    }
    for (int links = 0; links <= PATH_LINKS; links++) {
        char *up;

        fd = path_names_fd(out->path, &rest);
        if (fd >= 0) {
            struct ofd *ofd = ofd_get(fd);

            if (ofd == NULL || (*rest == 0 && !(flags & VP_FOLLOW))) {
                out->kind = VP_LOCAL;
                return 0;
            }
            if (*rest == 0)
                return path_from_ofd(ofd, flags, out);
            err = path_join(out->path, ofd->path, strlen(ofd->path), rest + 1);
            if (err != 0)
                return err;
        }
        if (fd < 0 && (flags & VP_FOLLOW) && path_names_others_fd(out->path)) {
            struct ofd other;

            err = ofd_peek(out->path, &other);
            if (err == 0)
                return path_from_ofd(&other, flags, out);
            if (err != -ENOENT)
                return err;
        }
        if (path_below(out->path, shim.mirror, shim.mirror_len))
            memmove(out->path, out->path + shim.mirror_len, strlen(out->path + shim.mirror_len) + 1);
        if (shim_deep && path_mount(out->path) == NULL) {
            err = path_local_link(out->path, (flags & VP_FOLLOW) || out->path[strlen(out->path) - 1] == '/');
            if (err < 0)
                return err;
            if (err == 1)
                continue;
        }
        while ((up = path_clean(out->path, &out->slash)) != NULL) {
            depth++;
            err = path_up(out->path, up, depth);
            depth--;
            if (err != 0)
                return err;
        }
        err = path_round(flags, links == 0 ? base : NULL, out);
        if (err == 0 && links == 0 && out->kind == VP_LOCAL && local)
            out->path[0] = 0; /* nothing was followed: let it pass as it was */
        if (err != ROUND_AGAIN)
            return err;
    }
    return -ELOOP;
}
