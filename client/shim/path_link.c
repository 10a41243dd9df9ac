/* SPDX-License-Identifier: Apache-2.0 */
/* What a text becomes when a symbolic link in it is followed, or "..". */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client/shim/path.h"

/* Replaces the link that ends at used bytes of path by its target, keeping what follows. */
int path_link(char *path, size_t used, const struct mount *mount, const struct nfs_fh *link)
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
int path_up(char *path, char *at, int depth)
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

/* Follows the first symbolic link in a local path. 1: path was rewritten; 0: there is none. */
int path_local_link(char *path, bool last_too)
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
