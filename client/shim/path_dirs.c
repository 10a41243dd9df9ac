/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of volumes by their names, for a moment: most paths lead into one that was just used. */
#include <string.h>

#include "client/shim/path.h"

#define DIR_CACHE 256
#define DIR_CACHE_MS 2000

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

bool path_dir_cached(const char *path, struct nfs_fh *fh)
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

void path_dir_remember(const char *path, const struct nfs_fh *fh)
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

void path_dir_drop(const char *path)
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
