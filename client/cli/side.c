/* SPDX-License-Identifier: Apache-2.0
 * side: directories shared by the jobs of a copy (see side.h).
 */
#include "client/cli/side.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

bool side_failed;

/* Puts "/TEXT" in front of what is at end; returns where it begins. */
static size_t put_before(char *path, size_t end, const char *text)
{
    size_t size = strlen(text);
    memcpy(path + end - size, text, size);
    path[end - size - 1] = '/';
    return end - size - 1;
}

char *side_path(const struct side_dir *dir, const char *name)
{
    size_t size = name ? strlen(name) + 1 : 0, len, end;
    const struct side_dir *d;
    char *path;
    for (d = dir; d->parent; d = d->parent)
        size += strlen(d->path) + 1;
    len = strlen(d->path);
    path = need(malloc(len + size + 1));
    memcpy(path, d->path, len);
    end = len + size;
    path[end] = 0;
    if (name)
        end = put_before(path, end, name);
    for (d = dir; d->parent; d = d->parent)
        end = put_before(path, end, d->path);
    if (size && (!len || path[len - 1] == '/')) /* needs none more */
        memmove(path + len, path + len + 1, size);
    return path;
}

int side_child(struct side_dir *dir, const char *name, struct side_dir **out)
{
    struct side_dir *child = need(calloc(1, sizeof(*child)));
    int err;
    child->ops = dir->ops;
    child->refs = 1;
    child->fd = -1;
    child->remote = dir->remote;
    err = dir->ops->open_dir(dir, name, child);
    if (err) {
        free(child);
        return err;
    }
    child->path = need(strdup(name));
    child->parent = side_ref(dir);
    *out = child;
    return 0;
}

struct side_dir *side_ref(struct side_dir *dir)
{
    __atomic_add_fetch(&dir->refs, 1, __ATOMIC_RELAXED);
    return dir;
}

void side_unref(struct side_dir *dir)
{
    while (dir && __atomic_sub_fetch(&dir->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        struct side_dir *parent = dir->parent;
        int err = dir->finish.valid ? dir->ops->set_dir(dir, &dir->finish) : 0;
        if (err) {
            char *path = side_path(dir, NULL);
            show_error("cannot set the attributes of", path, err);
            free(path);
            __atomic_store_n(&side_failed, true, __ATOMIC_RELAXED);
        }
        dir->ops->close_dir(dir);
        free(dir->path);
        free(dir);
        dir = parent;
    }
}
