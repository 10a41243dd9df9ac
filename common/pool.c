/* SPDX-License-Identifier: Apache-2.0
 * pool: last in, first out, because the piece used last is the one in the processor's cache.
 */
#include "common/pool.h"

#include <stdlib.h>
#include <string.h>

void *pool_get(struct pool *p, int *fresh)
{
    void *piece = NULL;

    if (POOL_KEEPS) {
        pthread_mutex_lock(&p->lock);
        piece = p->free;
        if (piece) {
            memcpy(&p->free, piece, sizeof(p->free));
            p->n--;
        }
        pthread_mutex_unlock(&p->lock);
    }
    if (fresh)
        *fresh = !piece;
    return piece ? piece : malloc(p->size);
}

void pool_put(struct pool *p, void *piece)
{
    if (POOL_KEEPS) {
        pthread_mutex_lock(&p->lock);
        if (p->n < p->keep) {
            memcpy(piece, &p->free, sizeof(p->free));
            p->free = piece;
            p->n++;
            piece = NULL;
        }
        pthread_mutex_unlock(&p->lock);
    }
    free(piece);
}
