/* SPDX-License-Identifier: Apache-2.0
 * volume_idle: what is known of a volume that is not open, and when one that is open may be closed for a while.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "server/store/files.h"
#include "server/store/gc.h"
#include "server/store/journal.h"

/* --- looking at one that is not open --- */

static int is_newer(void *arg, uint64_t lsn, const void *payload, size_t len)
{
    const uint64_t *applied = arg;

    (void)payload;
    (void)len;
    return lsn > *applied;
}

/* 0: the index has all that the journal has; -EAGAIN: it has not. */
static int check_journal(const char *dir, const char *label, uint64_t applied)
{
    struct journal *j = NULL;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = journal_open(fd, label, true, &j);
    if (r == 0)
        r = journal_walk(j, is_newer, &applied);
    journal_close(j);
    close(fd);
    return r == -ENOENT ? 0 : r > 0 ? -EAGAIN : r;
}

static bool count_ready(void *arg, const struct index_snap *s)
{
    unsigned *n = arg;

    *n += s->state == SNAP_READY;
    return true;
}

static int add_size(void *arg, uint32_t pack, uint64_t size)
{
    uint64_t *bytes = arg;

    (void)pack;
    *bytes += size;
    return 0;
}

int volume_peek(const char *dir, const char *label, struct volume_peek *out)
{
    char *db = path_join(dir, "index.db"), *packs = path_join(dir, "packs");
    struct index *ix = NULL;
    struct index_meta m;
    int r = index_open_readonly(db, label, &ix);

    memset(out, 0, sizeof(*out));
    if (r == 0)
        r = index_get_meta(ix, &m);
    if (r == 0)
        r = check_journal(dir, label, m.txg);
    if (r == 0)
        r = index_get_inode(ix, STORE_ROOT_INO, &out->root);
    if (r == 0)
        r = index_list_snaps(ix, count_ready, &out->stat.snapshots);
    if (r == 0)
        r = pack_list(packs, add_size, &out->stat.pack_bytes);
    if (r == 0) {
        out->props = m.props;
        out->stat.files = m.files;
        out->stat.logical = m.logical;
        out->stat.stored = m.stored;
        out->stat.held = m.held;
        out->stat.index_bytes = index_bytes(ix);
    }
    index_close(ix);
    free(db);
    free(packs);
    return r < 0 ? r : 0;
}

int volume_peek_open(struct volume *v, struct volume_peek *out)
{
    struct store_call call;
    int r;

    store_call_init(&call, true);
    r = volume_getattr(v, &call, STORE_ROOT_INO, 0, &out->root);
    store_call_release(&call);
    volume_get_props(v, &out->props);
    volume_stat(v, &out->stat);
    return r;
}

void volume_stat_space(struct volume_stat *st, const struct volume_props *p, const char *dir)
{
    struct statvfs fs;
    uint64_t space = 0, reserve;

    if (statvfs(dir, &fs) == 0) {
        space = (uint64_t)fs.f_bavail * fs.f_frsize;
        reserve = vol_reserve((uint64_t)fs.f_blocks * fs.f_frsize);
        space = space > reserve ? space - reserve : 0;
    }
    vol_stat_space(st, p, space);
}

/* --- closing one --- */

bool volume_unused(struct volume *v)
{
    unsigned mine = 1; /* the caller's, and those of open snapshots */
    bool unused;

    if (pthread_mutex_trylock(&v->lock) != 0)
        return false;
    unused = !v->failed && !v->inside && !v->snap_making && !v->closing;
    list_for_each(it, &v->snaps) {
        const struct snap *s = list_entry(it, struct snap, link);
        unused &= !s->opening && !s->cloning;
        if (!s->open)
            continue;
        mine++;
        unused &= atomic_load(&s->open->refs) == 1;
    }
    unused &= atomic_load(&v->refs) == mine;
    pthread_mutex_unlock(&v->lock);
    return unused;
}

bool volume_at_rest(struct volume *v)
{
    return gc_at_rest(v);
}

void volume_carry(struct volume *v, struct volume_carry *out)
{
    *out = (struct volume_carry){.verifier = volume_write_verifier(v), .rested = gc_at_rest(v)};
}

void volume_take_over(struct volume *v, const struct volume_carry *c)
{
    if (!c->verifier)
        return;
    pthread_mutex_lock(&v->lock);
    v->verifier = c->verifier;
    pthread_mutex_unlock(&v->lock);
    if (c->rested)
        gc_rested(v);
}
