/* SPDX-License-Identifier: Apache-2.0
 * trash: removes folders of volumes (see trash.h).
 *
 * A destroyed volume goes in three steps: its row in state.db (from here on it does not exist), its
 * folder's name (to trash-<id>), the folder's contents, which may take long and happens in the background. A crash after
 * any of them leaves a folder without a row, which trash_clean finds at the next start.
 */
#include "server/vfs/trash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/log.h"
#include "common/release.h"

#define TRASH_PREFIX "trash-"
#define NAME_BYTES   32
#define RELEASE_PAUSE_US 500 /* a disk is for those who wait for it */
#define TRASH_DEPTH  16 /* a volume's folder is three deep; more is not ours */

char *trash_volume_path(const char *store, uint64_t id)
{
    char *path = NULL;
    if (asprintf(&path, "%s/volumes/%016" PRIx64, store, id) < 0)
        return NULL;
    return path;
}

/* Removes name below the open folder, whatever it is. Links are removed, never followed. */
static int remove_tree(int parent, const char *name, int depth, const atomic_bool *stop)
{
    struct release rest = RELEASE_NONE;
    int err = 0;
    int fd = -1;
    DIR *d = NULL;
    if (*stop)
        return -EINTR;
    err = release_unlink(parent, name, &rest);
    if (err == 0 || err == -ENOENT) {
        while (!*stop && release_some(&rest))
            usleep(RELEASE_PAUSE_US);
        release_all(&rest);
        return 0;
    }
    if (err != -EISDIR && err != -EPERM)
        return err;
    err = 0;
    if (depth > TRASH_DEPTH)
        return -ELOOP;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    d = fdopendir(fd);
    if (!d) {
        err = -errno;
        close(fd);
        return err;
    }
    for (;;) {
        struct dirent *e;
        int r;
        errno = 0;
        e = readdir(d);
        if (!e) {
            if (errno && !err)
                err = -errno;
            break;
        }
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        r = remove_tree(dirfd(d), e->d_name, depth + 1, stop);
        if (r && !err)
            err = r;
        if (r == -EINTR)
            break;
    }
    closedir(d);
    if (!err && unlinkat(parent, name, AT_REMOVEDIR) && errno != ENOENT)
        err = -errno;
    return err;
}

static int open_volumes(const char *store)
{
    char *path = NULL;
    int fd;
    if (asprintf(&path, "%s/volumes", store) < 0)
        return -ENOMEM;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fd = -errno;
    free(path);
    return fd;
}

static void name_of(uint64_t id, char *name, char *aside)
{
    snprintf(name, NAME_BYTES, "%016" PRIx64, id);
    snprintf(aside, NAME_BYTES, TRASH_PREFIX "%016" PRIx64, id);
}

int trash_put_aside(const char *store, uint64_t id)
{
    char name[NAME_BYTES], aside[NAME_BYTES];
    int err = fault_point("trash.rename");
    int dir = open_volumes(store);
    if (dir < 0)
        return dir;
    name_of(id, name, aside);
    if (!err && renameat(dir, name, dir, aside) && errno != ENOENT)
        err = -errno;
    if (err)
        log_warn("cannot put aside the folder %s/volumes/%s of a destroyed volume: %s; the next start tries again", store,
                 name, strerror(-err));
    close(dir);
    return err;
}

int trash_empty(const char *store, uint64_t id, const atomic_bool *stop)
{
    char name[NAME_BYTES], aside[NAME_BYTES];
    int err = fault_point("trash.remove");
    int dir = open_volumes(store);
    if (dir < 0)
        return dir;
    name_of(id, name, aside);
    if (!err)
        err = remove_tree(dir, aside, 0, stop);
    if (err && err != -EINTR)
        log_warn("cannot remove the folder %s/volumes/%s of a destroyed volume: %s; the next start tries again", store,
                 aside, strerror(-err));
    close(dir);
    return err;
}

/* The id in the name of a folder below volumes/; 0 if it is not one of ours. */
static uint64_t folder_id(const char *name)
{
    char *end;
    uint64_t id;
    if (!strncmp(name, TRASH_PREFIX, strlen(TRASH_PREFIX)))
        name += strlen(TRASH_PREFIX);
    if (strlen(name) != 16 || strspn(name, "0123456789abcdef") != 16)
        return 0;
    id = strtoull(name, &end, 16);
    return *end ? 0 : id;
}

int trash_clean(const char *store, struct statedb *db, bool (*known)(void *arg, uint64_t id),
                void (*found)(void *arg, uint64_t id), void *arg)
{
    int err = 0;
    uint64_t next = 0;
    DIR *d = NULL;
    int dir = open_volumes(store);
    if (dir < 0)
        return dir;
    d = fdopendir(dir);
    if (!d) {
        err = -errno;
        close(dir);
        return err;
    }
    for (;;) {
        struct dirent *e;
        uint64_t id;
        errno = 0;
        e = readdir(d);
        if (!e) {
            err = -errno;
            break;
        }
        id = folder_id(e->d_name);
        if (!id || (e->d_name[0] != 't' && known(arg, id)))
            continue;
        if (!next && (err = statedb_next_volume_id(db, &next)))
            break;
        if (id >= next) {
            log_error("%s/volumes/%s is a volume that state.db never knew; it is left alone. Was state.db "
                      "replaced by an older copy?", store, e->d_name);
            continue;
        }
        log_info("removing %s/volumes/%s, left by an interrupted create or destroy", store, e->d_name);
        if (e->d_name[0] == 't' || !trash_put_aside(store, id))
            found(arg, id);
    }
    closedir(d);
    return err;
}
