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

#include "client/shim/path.h"

#define PATH_LINKS 40
#define ROUND_AGAIN 1

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
        cached = base != NULL || path_dir_cached(path, &out->dir);
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
                path_dir_remember(path, &out->dir);
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
        path_dir_drop(path);
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

/* A path from a working directory that was removed: nothing is in there any more, but what it lay in may be. 1: for
 * the kernel. */
static int path_from_gone(const char *path, char *out)
{
    char *slash;

    if (strncmp(path, "..", 2) != 0 || (path[2] != 0 && path[2] != '/') || path_gone_cwd(out, SHIM_PATH) <= 0)
        return 1;
    slash = strrchr(out, '/');
    return path_join(out, out, (size_t)(slash - out), path[2] == 0 ? "." : path + 3);
}

/* The working directory of some process. 1: it is in a volume, and out is the path now. */
static int path_from_cwd(const char *rest, char *out)
{
    size_t head = strlen(out) - strlen(rest);
    char *text = heap_alloc(SHIM_PATH), saved = out[head];
    int err = 0;
    long n;

    if (text == NULL)
        return -ENOMEM;
    out[head] = 0;
    n = sys3(SYS_readlink, out, text, SHIM_PATH - 1);
    out[head] = saved;
    text[n > 0 ? n : 0] = 0;
    if (n > 0 && path_below(text, shim.mirror, shim.mirror_len)) {
        memmove(text, text + shim.mirror_len, strlen(text + shim.mirror_len) + 1);
        err = path_join(text, text, strlen(text), rest[0] == 0 ? "" : rest + 1);
        if (err == 0)
            strcpy(out, text);
        err = err == 0 ? 1 : err;
    }
    heap_free(text);
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
                return path_from_gone(path, out->path);
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
        if (dirfd < 0)
            return 1;
        fd_path(link, dirfd);
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
    local = !path_below(out->path, shim.mirror, shim.mirror_len) && path_mount(out->path) == NULL &&
            !(shim.top_len != 0 && path_below(out->path, shim.top, shim.top_len));
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
        if (fd < 0 && path_names_cwd(out->path, &rest) && ((flags & VP_FOLLOW) || *rest != 0)) {
            err = path_from_cwd(rest, out->path);
            if (err < 0)
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
