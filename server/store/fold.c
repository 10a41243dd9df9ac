/* SPDX-License-Identifier: Apache-2.0
 * fold: an array, sorted when it is run.
 */
#include "server/store/fold.h"

#include <stdlib.h>

void fold_add(struct fold *f, struct txg *t, struct rowop *op)
{
    if (f->n == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 64;
        f->m = realloc(f->m, f->cap * sizeof(*f->m));
        if (!f->m)
            abort();
    }
    f->m[f->n] = (struct fold_map){t, op, f->n};
    f->n++;
}

static bool same_slot(const struct fold_map *a, const struct fold_map *b)
{
    return a->op->ino == b->op->ino && a->op->off / SLOT_SIZE == b->op->off / SLOT_SIZE;
}

static int compare(const void *a, const void *b)
{
    const struct fold_map *x = a, *y = b;

    if (x->op->ino != y->op->ino)
        return x->op->ino < y->op->ino ? -1 : 1;
    if (!same_slot(x, y))
        return x->op->off < y->op->off ? -1 : 1;
    return x->seq < y->seq ? -1 : 1;
}

/* Are all bytes of op in covered? They are afterwards. */
static bool cover(uint32_t covered[SLOT_PAGES], const struct rowop *op)
{
    uint64_t off = op->off % SLOT_SIZE, end = off + op->len;
    bool all = true;

    if (off % STORE_PAGE || end > SLOT_SIZE)
        return false;
    for (uint64_t at = off; at < end; at += STORE_PAGE) {
        uint32_t n = end - at < STORE_PAGE ? (uint32_t)(end - at) : STORE_PAGE;
        uint32_t *c = &covered[at / STORE_PAGE];

        all = all && n <= *c;
        *c = n > *c ? n : *c;
    }
    return all;
}

/* Takes those out of one slot's maps, m[0..n), that others cover: op is NULL then. */
static void thin_out(struct fold_map *m, size_t n)
{
    uint32_t covered[SLOT_PAGES] = {0};

    if (n < 2)
        return;
    while (n--)
        if (cover(covered, m[n].op))
            m[n].op = NULL;
}

int fold_run(struct fold *f, int (*fn)(void *arg, struct txg *t, struct rowop *op), void *arg)
{
    size_t n = f->n;
    int r = 0;

    f->n = 0;
    if (n > 1)
        qsort(f->m, n, sizeof(*f->m), compare);
    for (size_t i = 0, k; i < n && r >= 0; i = k) {
        for (k = i + 1; k < n && same_slot(&f->m[i], &f->m[k]);)
            k++;
        thin_out(f->m + i, k - i);
        for (; i < k && r >= 0; i++)
            if (f->m[i].op)
                r = fn(arg, f->m[i].t, f->m[i].op);
    }
    return r < 0 ? r : 0;
}

void fold_release(struct fold *f)
{
    free(f->m);
    *f = (struct fold){0};
}
