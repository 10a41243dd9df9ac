/* SPDX-License-Identifier: Apache-2.0
 * snap_clone: a volume made from a snapshot, and a volume made into one.
 *
 * A clone gets hard links to the packs that its chunks are in. Packs are only ever appended to and removed as a
 * whole, and a clone begins packs of its own, above all numbers that were in use: so neither sees what the other
 * does. While it is made a packref keeps gc from removing packs (G1), so what its index names is there to be
 * linked. Where there are no hard links packs are copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/files.h"
#include "server/store/pack.h"
#include "server/store/pack_format.h"
#include "server/store/snap_int.h"

#define TRIES 5

/* --- cloning --- */

/* What a clone of the tree or the way back to it may write: indexes are of the same kind. */
static int room_for(const char *dir, const char *tree, struct index *ix)
{
    struct stat st;
    uint64_t bytes;
    int r;

    if (stat(tree, &st) < 0)
        return errno == ENOENT ? 0 : -errno; /* told where it is opened */
    r = index_used_bytes(ix, true, &bytes);
    return r ? r : snap_room(dir, (uint64_t)st.st_size + bytes, false);
}

struct linker {
    const char *from, *to; /* folders of packs */
    bool made[256];        /* folders below `to` */
    int err;
};

/* Where there are no hard links, or not between these folders. */
static int copy_pack(const char *from, const char *to)
{
    static const size_t piece = 1 << 20;
    char *buf = malloc(piece);
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1, r = 0;
    struct stat st;
    ssize_t n = 0;

    if (!buf)
        r = -ENOMEM;
    else if (in < 0 || fstat(in, &st) < 0)
        r = -errno;
    else if ((r = snap_room(from, (uint64_t)st.st_size, false)))
        ;
    else if ((out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        r = -errno;
    while (r == 0 && (n = read(in, buf, piece)) > 0)
        for (ssize_t done = 0, k; r == 0 && done < n; done += k)
            if ((k = write(out, buf + done, (size_t)(n - done))) < 0)
                r = -errno;
    if (r == 0 && (n < 0 || fsync(out) < 0))
        r = -errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    free(buf);
    return r;
}

static bool link_pack(void *arg, uint32_t pack, uint64_t live)
{
    struct linker *l = arg;
    char name[PACK_PATH_MAX], sub[8];
    char *from, *to, *dir;

    pack_path(name, pack);
    snprintf(sub, sizeof(sub), "%02x", pack & 0xff);
    from = path_join(l->from, name);
    to = path_join(l->to, name);
    dir = path_join(l->to, sub);
    if (!l->made[pack & 0xff] && mkdir(dir, 0700) < 0 && errno != EEXIST)
        l->err = -errno;
    l->made[pack & 0xff] = true;
    if (!l->err)
        l->err = fault_point("clone.link");
    if (!l->err) {
        int err = fault_point("clone.nolinks") ? EXDEV : link(from, to) < 0 ? errno : 0;
        if (err == EXDEV || err == EPERM || err == EMLINK || err == EOPNOTSUPP)
            l->err = copy_pack(from, to);
        else if (err != EEXIST)
            l->err = -err;
    }
    if (l->err && l->err != -ENOENT)
        log_error("cannot link %s to %s: %s", from, to, strerrordesc_np(-l->err));
    free(from);
    free(to);
    free(dir);
    return !l->err;
}

static int link_packs(const char *index, const char *from, const char *to)
{
    struct linker l = {.from = from, .to = to};
    struct index *ix;
    int r = index_open_readonly(index, to, &ix);

    if (r < 0)
        return r;
    r = index_list_packs(ix, link_pack, &l);
    index_close(ix);
    if (r == 0)
        r = l.err;
    for (unsigned i = 0; r == 0 && i < 256; i++) {
        char sub[8], *dir;
        snprintf(sub, sizeof(sub), "%02x", i);
        dir = path_join(to, sub);
        r = l.made[i] ? dir_sync(AT_FDCWD, dir) : 0;
        free(dir);
    }
    return r;
}

/* No lock held. */
static int make_clone(struct volume *v, uint64_t id, const char *dir, uint64_t next_chunk, uint32_t next_pack)
{
    char *tree = snap_path(v, id, ""), *shared = path_join(v->dir, "index.db"), *from = path_join(v->dir, "packs");
    char *index = path_join(dir, "index.db"), *to = path_join(dir, "packs");
    int r = room_for(v->dir, tree, v->ix);

    if (r == 0 && (mkdir(dir, 0700) < 0 || mkdir(to, 0700) < 0))
        r = -errno;
    /* gc may just have emptied a pack and not know of the packref yet: then its chunks are elsewhere by now. */
    for (int i = 0; r == 0 && i < TRIES; i++) {
        r = unlink(index) < 0 && errno != ENOENT ? -errno : 0;
        if (r == 0)
            r = index_create_clone(index, tree, shared, v->label, next_chunk, next_pack);
        if (r == 0)
            r = link_packs(index, from, to);
        if (r != -ENOENT)
            break;
        r = i < TRIES - 1 ? 0 : -EUCLEAN;
    }
    if (r == 0)
        r = dir_sync(AT_FDCWD, to);
    if (r == 0)
        r = dir_sync(AT_FDCWD, dir);
    if (r == 0)
        r = dir_sync_parent(dir);
    if (r == 0)
        r = fault_point("clone.done");
    free(tree);
    free(shared);
    free(from);
    free(index);
    free(to);
    return r;
}

int snap_clone(struct volume *v, const char *name, const char *dir)
{
    struct snap *s;
    uint64_t id, next_chunk;
    uint32_t next_pack;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    s = snap_find_name(v, name);
    if (!s || v->parent || v->no_clones) {
        r = s && v->no_clones ? -EBUSY : -ENOENT;
        vol_leave(v);
        return r;
    }
    s->cloning++;
    id = s->row.id;
    packref_get(v, 1); /* holds all of them */
    next_chunk = v->next_chunk;
    next_pack = packset_next(v->ps);
    pthread_mutex_unlock(&v->lock);
    r = make_clone(v, id, dir, next_chunk, next_pack);
    pthread_mutex_lock(&v->lock);
    packref_put(v, 1);
    s->cloning--;
    vol_wake(v);
    vol_leave(v);
    return r;
}

/* --- rolling back --- */

struct finder {
    const char *name;
    uint64_t id;
};

static bool find_row(void *arg, const struct index_snap *s)
{
    struct finder *f = arg;

    if (s->state == SNAP_READY && strcmp(s->name, f->name) == 0)
        f->id = s->id;
    return !f->id;
}

int snap_rollback(const char *dir, const char *label, const char *name, uint64_t epoch)
{
    struct finder f = {.name = name};
    char *db = path_join(dir, "index.db"), *tree = NULL;
    struct index *ix = NULL;
    int fd = dir_lock(dir), r = fd < 0 ? fd : 0;

    if (r == 0)
        r = index_open(db, label, &ix);
    if (r == 0)
        r = index_list_snaps(ix, find_row, &f);
    if (r == 0 && !f.id)
        r = -ENOENT;
    if (r < 0)
        goto out;
    if (asprintf(&tree, "%s/snapshots/%016llx.db", dir, (unsigned long long)f.id) < 0)
        abort();
    if (access(tree, F_OK) < 0) /* attaching would make an empty one */
        r = errno == ENOENT ? -EUCLEAN : -errno;
    if (r == 0)
        r = room_for(dir, tree, ix);
    if (r == 0)
        r = fault_point("rollback.begin");
    if (r == 0)
        r = index_rollback_tree(ix, tree, epoch);
    if (r == 0)
        (void)fault_point("rollback.done");
out:
    index_close(ix);
    dir_unlock(fd);
    free(tree);
    free(db);
    return r;
}
