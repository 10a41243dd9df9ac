/* SPDX-License-Identifier: Apache-2.0
 * move: copies of chunks, and the ops that make them the chunks.
 */
#include "server/store/move.h"

#include <stdlib.h>

void moves_begin(struct moves *m, struct volume *v)
{
    *m = (struct moves){.vol = v, .tail = &m->ops, .out = vol_alloc(CHUNK_BOUND)};
    pthread_mutex_lock(&v->lock);
    m->low = packref_here(v);
    pthread_mutex_unlock(&v->lock);
}

void moves_form(struct moves *m, struct chunk *c, unsigned char *buf, const void **payload)
{
    struct volume *v = m->vol;
    struct chunk n = {.id = c->id};
    const void *p;
    int level;

    *payload = buf;
    pthread_mutex_lock(&v->lock);
    level = v->props.recompress > v->props.level ? v->props.recompress : c->later ? v->props.level : 0;
    if (v->props.codec == VOLUME_RAW)
        level = 0;
    pthread_mutex_unlock(&v->lock);
    if (level == 0 || chunk_decode(c, buf, SCRATCH_DECODED(buf)) < 0 ||
        chunk_encode(SCRATCH_DECODED(buf), c->len, level, m->out, &n, &p) < 0 ||
        n.stored_len > c->stored_len - c->stored_len / 16)
        return;
    *c = n;
    *payload = p;
}

int moves_add(struct moves *m, const struct chunk *from, struct chunk c, const void *payload, uint64_t ino, uint64_t off)
{
    struct rowop *op;
    int r = packset_append(m->vol->ps, &c, ino, off, payload);

    if (r < 0)
        return r;
    op = rowop_new(OP_MOVE, 0, NULL, 0, NULL, 0);
    op->chunk = c;
    op->src = from->pack;
    op->src_off = from->pack_off;
    *m->tail = op;
    m->tail = &op->next;
    m->n++;
    m->bytes += c.stored_len;
    return 0;
}

uint64_t moves_end(struct moves *m, bool keep)
{
    struct volume *v = m->vol;
    uint64_t txg = 0;

    pthread_mutex_lock(&v->lock);
    for (struct rowop *op = m->ops; op; op = op->next)
        packref_get(v, op->chunk.pack);
    packref_put(v, m->low);
    if (!keep) {
        rowop_drop_list(v, m->ops);
    } else if (m->ops) {
        for (struct rowop *op = m->ops, *next; op; op = next) {
            next = op->next;
            txg_add(v, op);
        }
        txg = v->open->n;
    }
    m->ops = NULL;
    pthread_mutex_unlock(&v->lock);
    free(m->out);
    return txg;
}
