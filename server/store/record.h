/* SPDX-License-Identifier: Apache-2.0
 * record: a closed transaction group as the bytes of a journal record, and back.
 *
 * Private to the store. The table of what each op type carries is op_fields() in record.c, a switch without default:
 * a new op type does not compile before it is there. Everything that is read is untrusted: lengths are bounded by
 * the record and by what the volume could have written, values are checked as index rows are.
 */
#ifndef VOLNFS_STORE_RECORD_H
#define VOLNFS_STORE_RECORD_H

#include <stddef.h>
#include <stdint.h>

struct txg;
struct volume;

/* Bytes that record_put will write. */
size_t record_size(const struct txg *t);
/* Writes them; the txg is closed. */
void record_put(const struct txg *t, void *buf);
/* A txg from a payload: ops and images without pointers to memory (in, slot), t->n = n. -EUCLEAN. txg_free. */
int record_get(uint64_t n, const void *buf, size_t len, struct txg **out);
/* Would record_get take it? 0 or -EUCLEAN. */
int record_check(uint64_t n, const void *buf, size_t len);

#endif
