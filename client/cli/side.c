/* SPDX-License-Identifier: Apache-2.0
 * side: directories shared by the jobs of a copy (see side.h).
 */
#include "client/cli/side.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

bool side_failed;

char *side_path(const struct side_dir *dir, const char *name)
{
    size_t size = strlen(dir->path);
    char *text;
    const char *slash = !size || dir->path[size - 1] == '/' ? "" : "/";
    if (asprintf(&text, "%s%s%s", dir->path, slash, name) < 0)
        need(NULL);
    return text;
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
    child->path = side_path(dir, name);
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
            show_error("cannot set the attributes of", dir->path, err);
            __atomic_store_n(&side_failed, true, __ATOMIC_RELAXED);
        }
        dir->ops->close_dir(dir);
        free(dir->path);
        free(dir);
        dir = parent;
    }
}
