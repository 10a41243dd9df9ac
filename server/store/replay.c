/* SPDX-License-Identifier: Apache-2.0
 * replay: what a crash left in the journal goes into the index, before anybody uses the volume.
 *
 * The index says L = meta.txg. Records up to L are skipped (they were applied and not released yet); L + 1, L + 2, ...
 * are applied until the journal's walk ends. A journal that begins above L + 1 does not fit the index: to apply it
 * would make up a past, to drop it would lose what was promised, so the volume is not opened.
 *
 * Two walks: the first reads everything (a record that passes its checksum and makes no sense is damage, found before
 * anything was changed) and finds the last next_pack: packs from there on were begun and are named by nobody.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "server/store/journal.h"
#include "server/store/record.h"

#define BATCH_MAX 1024u

struct replay {
    struct volume *vol;
    uint64_t applied;   /* L */
    uint64_t last;      /* lsn seen in the walk */
    uint32_t next_pack;
    struct txg *t[BATCH_MAX];
    size_t n;
    unsigned rows;
    uint64_t bytes;
};

static int scan_one(void *arg, uint64_t lsn, const void *payload, size_t len)
{
    struct replay *rp = arg;
    struct txg *t = NULL;
    int r;

    if (lsn <= rp->applied)
        return 0;
    if (lsn != (rp->last > rp->applied ? rp->last : rp->applied) + 1) {
        log_error("%s: the index ends with transaction group %llu, the journal begins with %llu",
                  rp->vol->label, (unsigned long long)rp->applied, (unsigned long long)lsn);
        return -EUCLEAN;
    }
    r = record_get(lsn, payload, len, &t);
    if (r < 0) {
        log_error("%s: journal record %llu makes no sense", rp->vol->label, (unsigned long long)lsn);
        return r;
    }
    rp->last = lsn;
    if (t->meta.next_pack > rp->next_pack)
        rp->next_pack = t->meta.next_pack;
    txg_free(NULL, t);
    return 0;
}

static int apply_batch(struct replay *rp)
{
    struct batch *b = NULL;
    int r = 0;

    if (rp->n) {
        r = batch_apply(rp->vol, rp->t, rp->n, &b);
        batch_free(b);
    }
    for (size_t i = 0; i < rp->n; i++)
        txg_free(NULL, rp->t[i]);
    rp->n = 0;
    rp->rows = 0;
    rp->bytes = 0;
    return r;
}

static int apply_record(void *arg, uint64_t lsn, const void *payload, size_t len)
{
    struct replay *rp = arg;
    struct txg *t;
    int r;

    if (lsn <= rp->applied)
        return 0;
    r = record_get(lsn, payload, len, &t);
    if (r < 0)
        return r;
    rp->t[rp->n++] = t;
    rp->rows += t->rows;
    rp->bytes += t->blob_bytes;
    if (rp->n == BATCH_MAX || rp->rows > TXG_ROWS_MAX || rp->bytes > 4 * TXG_BLOB_MAX)
        r = apply_batch(rp);
    return r;
}

struct pack_scan {
    struct volume *vol;
    uint32_t next;
    int64_t named; /* the last pack with a row in the index; -1: not known yet */
};

/* A pack from `next` on was begun after the last durable txg: no row can name it (I3, I7). */
static int drop_unknown_pack(void *arg, uint32_t pack, uint64_t size)
{
    struct pack_scan *s = arg;
    char *path = NULL;

    if (pack < s->next)
        return 0;
    if (s->named < 0 && (s->named = index_last_pack(s->vol->ix)) < 0)
        return (int)s->named;
    if (s->named >= s->next) { /* then next_pack is what is wrong */
        log_error("%s: packs from %u on are not in use by the index's counter, but pack %lld is by its rows; nothing is"
                  " removed, 'volnfs check --repair' sets it right", s->vol->label, s->next, (long long)s->named);
        return -EUCLEAN;
    }
    log_info("%s: removing pack %u (%llu bytes), begun and not committed", s->vol->label, pack,
             (unsigned long long)size);
    if (asprintf(&path, "%s/packs/%02x/%08x.pack", s->vol->dir, pack & 0xff, pack) < 0)
        abort();
    if (unlink(path) < 0 && errno != ENOENT)
        log_warn("%s: cannot remove %s: %s", s->vol->label, path, strerrordesc_np(errno));
    free(path);
    return 0;
}

static int open_packs(struct volume *v, const char *packs, uint32_t next)
{
    struct pack_scan scan = {.vol = v, .next = next, .named = -1};
    int r = pack_list(packs, drop_unknown_pack, &scan);

    return r == 0 ? packset_open(packs, v->label, next, &v->ps) : r;
}

int replay(struct volume *v, const char *packs, struct index_meta *meta)
{
    struct replay *rp = vol_alloc(sizeof(*rp));
    int r = journal_open(v->dirfd, v->label, false, &v->journal);

    rp->vol = v;
    rp->applied = meta->txg;
    rp->next_pack = meta->next_pack;
    v->disk_meta = *meta;
    if (r == -ENOENT) { /* a volume of before there were journals, or nothing was ever changed */
        r = open_packs(v, packs, meta->next_pack);
        goto out;
    }
    if (r == 0)
        r = journal_walk(v->journal, scan_one, rp);
    if (r == 0)
        r = open_packs(v, packs, rp->next_pack);
    if (r < 0)
        goto out;
    if (rp->last > rp->applied) {
        log_info("%s: applying transaction groups %llu to %llu from the journal", v->label,
                 (unsigned long long)rp->applied + 1, (unsigned long long)rp->last);
        r = journal_walk(v->journal, apply_record, rp);
        if (r == 0)
            r = apply_batch(rp);
        for (size_t i = 0; i < rp->n; i++)
            txg_free(NULL, rp->t[i]);
    }
    if (r == 0)
        r = journal_reset(v->journal, v->journal_max < journal_size(v->journal) ? v->journal_max : 0,
                          v->disk_meta.txg + 1);
    *meta = v->disk_meta;
out:
    free(rp);
    return r;
}
