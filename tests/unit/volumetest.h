/* SPDX-License-Identifier: Apache-2.0
 * volumetest: a volume in a temporary folder, for the tests of the volume core.
 */
#ifndef VOLNFS_TESTS_VOLUMETEST_H
#define VOLNFS_TESTS_VOLUMETEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/volume.h"

struct vt {
    char base[64], dir[96];
    struct engine *e;
    struct volume *v;
    uint64_t epoch, cache, pack_size;
    uint32_t journal; /* bytes of it at most; 0: the usual */
    struct store_call c; /* may block */
    struct store_call n; /* may not */
};

static inline void vt_open(struct vt *t)
{
    struct engine_conf conf = {.cache_size = t->cache, .workers = 2, .epoch = ++t->epoch,
                               .journal_size = t->journal, .pack_size = t->pack_size};

    assert_int_equal(engine_new(&conf, &t->e), 0);
    assert_int_equal(volume_open(t->e, t->dir, "test/vol", 7, &t->v), 0);
    store_call_init(&t->c, true);
    store_call_init(&t->n, false);
}

static inline void vt_close(struct vt *t)
{
    store_call_release(&t->c);
    store_call_release(&t->n);
    assert_int_equal(volume_close(t->v), 0);
    engine_free(t->e);
    t->v = NULL;
}

static inline void vt_reopen(struct vt *t)
{
    vt_close(t);
    vt_open(t);
}

static inline void vt_make(struct vt *t, const struct volume_props *p)
{
    struct volume_props d;
    struct vset root = {.mask = VSET_MODE | VSET_UID | VSET_GID, .mode = 0755, .uid = 5, .gid = 6};

    memset(t, 0, sizeof(*t));
    t->cache = 32u << 20;
    strcpy(t->base, "/tmp/volnfs-vol-XXXXXX");
    if (!mkdtemp(t->base))
        abort();
    snprintf(t->dir, sizeof(t->dir), "%s/v", t->base);
    volume_props_default(&d);
    assert_int_equal(volume_create(t->dir, p ? p : &d, &root), 0);
}

static inline void vt_remove(struct vt *t)
{
    char cmd[128];

    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", t->base);
    if (system(cmd) != 0)
        abort();
}

/* Waits until all changes of the blocking call are durable. */
static inline void vt_sync(struct vt *t)
{
    assert_int_equal(volume_call_wait(&t->c), 0);
    store_call_release(&t->c);
}

static inline int vt_create(struct vt *t, struct store_call *c, uint64_t dir, const char *name,
                            enum inode_type type, struct vattr *out)
{
    struct volume_create_args a = {.dir = dir, .name = name, .len = strlen(name), .type = type,
                                   .set = {.mask = VSET_MODE | VSET_UID | VSET_GID,
                                           .mode = type == IT_DIR ? 0755 : 0644, .uid = 1, .gid = 2}};

    if (type == IT_LNK) {
        a.target = "some/target";
        a.target_len = 11;
    }
    return volume_create_at(t->v, c, &a, out, NULL);
}

static inline int vt_lookup(struct vt *t, struct store_call *c, uint64_t dir, const char *name,
                            struct vattr *out)
{
    return volume_lookup(t->v, c, dir, name, strlen(name), out);
}

static inline int vt_unlink(struct vt *t, uint64_t dir, const char *name)
{
    return volume_unlink(t->v, &t->c, dir, name, strlen(name), 0, NULL, NULL);
}

static inline int vt_rename(struct vt *t, uint64_t sdir, const char *s, uint64_t ddir, const char *d)
{
    return volume_rename(t->v, &t->c, sdir, s, strlen(s), ddir, d, strlen(d), 0, UINT64_MAX, NULL, NULL,
                         NULL);
}

static inline int vt_truncate(struct vt *t, uint64_t ino, uint64_t size)
{
    struct vset s = {.mask = VSET_SIZE, .size = size};

    return volume_setattr(t->v, &t->c, ino, &s, NULL);
}

/* Reads len bytes at off fully; returns the bytes got, or an error before the first. */
static inline long vt_read(struct vt *t, struct store_call *c, uint64_t ino, uint64_t off, void *buf,
                           size_t len)
{
    size_t got = 0;

    while (got < len) {
        struct volume_read r;
        size_t n = 0;
        int err = volume_read(t->v, c, ino, off + got, len - got, &r);
        if (err < 0)
            return got ? (long)got : err;
        for (int i = 0; i < r.niov; i++) {
            memcpy((char *)buf + got + n, r.iov[i].iov_base, r.iov[i].iov_len);
            n += r.iov[i].iov_len;
        }
        assert_int_equal(n, r.len);
        volume_read_release(&r);
        got += n;
        if (r.eof || n == 0)
            break;
    }
    return (long)got;
}

static inline void vt_fill(unsigned char *p, size_t len, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;

    for (size_t i = 0; i < len; i++) { /* half of it compresses */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = i & 1 ? (unsigned char)x : (unsigned char)seed;
    }
}

#endif
