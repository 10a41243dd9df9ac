/* SPDX-License-Identifier: Apache-2.0
 * volumemodel: random operations on a volume and, alike, on a model of it in memory.
 *
 * A model made from the same seed takes the same steps: so a parent can tell what a child that died
 * after k steps must have left behind.
 */
#ifndef VOLNFS_TESTS_VOLUMEMODEL_H
#define VOLNFS_TESTS_VOLUMEMODEL_H

#include "server/store/check.h"
#include "tests/unit/volumetest.h"

#define MODEL_DIRS  3
#define MODEL_NAMES 10
#define MODEL_FILES 64
#define MODEL_MAX   (600u << 10)

struct mfile {
    unsigned char *data;
    size_t size;
    unsigned links;
    uint64_t ino;
};
struct model {
    uint64_t rng, dirs[MODEL_DIRS];
    struct mfile files[MODEL_FILES];
    int names[MODEL_DIRS][MODEL_NAMES]; /* -1: none */
    bool stable; /* every step durable and atomic */
    bool dirsmade;
    bool may_fail, failed; /* -EIO, -EUCLEAN and -EROFS end a step and are noted */
    bool quiet;            /* model_compare prints nothing */
};

/* An operation of a step: what it returns must be `want`, or a failure that the test asked for. */
#define MODEL_DO(m, expr, want)                                                                    \
    do {                                                                                           \
        long got_ = (expr);                                                                        \
        if ((m)->may_fail && (got_ == -EIO || got_ == -EUCLEAN || got_ == -EROFS)) {                                   \
            (m)->failed = true;                                                                    \
            return;                                                                                \
        }                                                                                          \
        assert_int_equal(got_, want);                                                              \
    } while (0)

static inline uint64_t model_rand(struct model *m, uint64_t n)
{
    m->rng ^= m->rng << 13;
    m->rng ^= m->rng >> 7;
    m->rng ^= m->rng << 17;
    return (m->rng >> 11) % n;
}

static inline void model_init(struct model *m, uint64_t seed, bool stable)
{
    memset(m, 0, sizeof(*m));
    m->rng = seed * 0x9e3779b97f4a7c15ULL + 12345;
    m->stable = stable;
    m->dirs[0] = STORE_ROOT_INO;
    memset(m->names, 0xff, sizeof(m->names));
}

static inline void model_release(struct model *m)
{
    for (int i = 0; i < MODEL_FILES; i++)
        free(m->files[i].data);
}

static inline void model_unref(struct model *m, int f)
{
    if (f >= 0 && --m->files[f].links == 0) {
        free(m->files[f].data);
        m->files[f] = (struct mfile){0};
    }
}

static inline void model_make_dirs(struct model *m, struct vt *t)
{
    struct vattr a;

    for (int d = 1; d < MODEL_DIRS; d++) {
        char name[16];
        snprintf(name, sizeof(name), "d%d", d);
        if (t) {
            assert_int_equal(vt_create(t, &t->c, STORE_ROOT_INO, name, IT_DIR, &a), 0);
            m->dirs[d] = a.ino;
        }
    }
}

/* Clones a range of p to one of q; both may be the same file. */
static inline void model_clone(struct model *m, struct vt *t, struct mfile *p, struct mfile *q, uint64_t x, uint64_t y, uint64_t z)
{
    size_t soff = p->size ? x % p->size & ~(size_t)4095 : 0, doff = z & ~4095u, len = p->size - soff;
    struct vattr a;
    int want = 0;

    if (y % 2)
        len = (len < 4096 * (y + 1) ? len : 4096 * (y + 1)) & ~(size_t)4095;
    if (doff + len > MODEL_MAX)
        doff = 0;
    if ((len % 4096 && doff + len < q->size) || (p == q && len && soff < doff + len && doff < soff + len))
        want = -EINVAL;
    if (t)
        MODEL_DO(m, volume_clone(t->v, &t->c, p->ino, soff, q->ino, doff, len, &a), want);
    if (want)
        return;
    memcpy(q->data + doff, p->data + soff, len);
    if (len && doff + len > q->size)
        q->size = doff + len;
    if (t)
        assert_int_equal(a.size, q->size);
}

static inline void model_step(struct model *m, struct vt *t)
{
    int d = (int)model_rand(m, MODEL_DIRS), n = (int)model_rand(m, MODEL_NAMES);
    int d2 = (int)model_rand(m, MODEL_DIRS), n2 = (int)model_rand(m, MODEL_NAMES);
    int op = (int)model_rand(m, 100), f = m->names[d][n];
    uint64_t x = model_rand(m, MODEL_MAX), y = model_rand(m, 100), z = model_rand(m, MODEL_MAX);
    uint64_t fill = model_rand(m, 255) + 1;
    bool stable = model_rand(m, 2) || m->stable;
    char name[16], name2[16];
    struct vattr a;

    snprintf(name, sizeof(name), "f%d", n);
    snprintf(name2, sizeof(name2), "f%d", n2);
    if (f < 0) {
        for (f = 0; f < MODEL_FILES && m->files[f].links; f++)
            ;
        if (f == MODEL_FILES)
            return;
        m->names[d][n] = f;
        m->files[f] = (struct mfile){.data = calloc(1, MODEL_MAX + 1), .links = 1};
        if (t) {
            MODEL_DO(m, vt_create(t, &t->c, m->dirs[d], name, IT_REG, &a), 0);
            m->files[f].ino = a.ino;
        }
    } else if (op < 45) {
        struct mfile *p = &m->files[f];
        size_t len = y < 50 ? 1 + z % 5000 : y < 80 ? 4096 * (1 + z % 10) : 1 + z % 300000;
        size_t off = y % 3 == 0 ? x & ~4095u : y % 3 == 1 ? x : p->size;
        if (off >= MODEL_MAX)
            off = 0;
        if (len > MODEL_MAX - off)
            len = MODEL_MAX - off;
        if (fill < 20)
            memset(p->data + off, 0, len);
        else
            vt_fill(p->data + off, len, fill);
        if (off + len > p->size)
            p->size = off + len;
        if (t)
            MODEL_DO(m, volume_write(t->v, &t->c, p->ino, off, p->data + off, len, stable, NULL, &a), 0);
        if (t)
            assert_int_equal(a.size, p->size);
    } else if (op < 55) {
        struct mfile *p = &m->files[f];
        size_t size = y < 50 ? x : y < 60 ? 0 : p->size ? x % p->size : 0;
        if (size < p->size)
            memset(p->data + size, 0, p->size - size);
        p->size = size;
        if (t)
            MODEL_DO(m, vt_truncate(t, p->ino, size), 0);
    } else if (op < 62) {
        struct mfile *p = &m->files[f];
        size_t len = 1 + z % 200000, end = x + len < p->size ? x + len : p->size;
        if (x < end)
            memset(p->data + x, 0, end - x);
        if (t)
            MODEL_DO(m, volume_punch(t->v, &t->c, p->ino, x, len), 0);
    } else if (op < 72) {
        int g = m->names[d2][n2];
        if (t)
            MODEL_DO(m, vt_rename(t, m->dirs[d], name, m->dirs[d2], name2), 0);
        if (g != f) {
            model_unref(m, g);
            m->names[d2][n2] = f;
            m->names[d][n] = -1;
        }
    } else if (op < 78) {
        if (m->names[d2][n2] >= 0)
            return;
        m->names[d2][n2] = f;
        m->files[f].links++;
        if (t)
            MODEL_DO(m, volume_link(t->v, &t->c, m->files[f].ino, m->dirs[d2], name2, strlen(name2), &a, NULL), 0);
    } else if (op < 86) {
        m->names[d][n] = -1;
        model_unref(m, f);
        if (t)
            MODEL_DO(m, vt_unlink(t, m->dirs[d], name), 0);
    } else if (op < 92) {
        if (t)
            MODEL_DO(m, volume_commit(t->v, &t->c, m->files[f].ino), 0);
        if (t && y < 30 && !m->may_fail)
            vt_sync(t);
    } else if (op < 96) {
        int g = m->names[d2][n2];
        if (g >= 0)
            model_clone(m, t, &m->files[f], &m->files[g], x, y, z);
    } else if (t && m->files[f].size) {
        struct mfile *p = &m->files[f];
        unsigned char *buf = malloc(MODEL_MAX);
        size_t off = x % p->size;
        long got = vt_read(t, &t->c, p->ino, off, buf, MODEL_MAX - off);
        if (got == (long)(p->size - off))
            assert_memory_equal(buf, p->data + off, (size_t)got);
        free(buf);
        MODEL_DO(m, got, p->size - off);
    }
    if (t && t->c.ndeps && !m->may_fail && model_rand(&(struct model){.rng = m->rng}, 20) == 0)
        vt_sync(t);
}

/* The number of differences between the volume and the model (file numbers are looked up by name). */
static inline unsigned model_compare(struct model *m, struct vt *t)
{
    unsigned bad = 0;
    unsigned char *buf = malloc(MODEL_MAX + 1);
    struct vattr a;

    for (int d = 0; d < MODEL_DIRS; d++) {
        uint64_t dir = STORE_ROOT_INO;
        if (d) {
            char name[16];
            snprintf(name, sizeof(name), "d%d", d);
            if (vt_lookup(t, &t->c, STORE_ROOT_INO, name, &a) != 0) {
                bad++;
                continue;
            }
            dir = a.ino;
        }
        for (int n = 0; n < MODEL_NAMES; n++) {
            char name[16];
            int f = m->names[d][n], r;
            snprintf(name, sizeof(name), "f%d", n);
            r = vt_lookup(t, &t->c, dir, name, &a);
            if (f < 0) {
                bad += r != -ENOENT;
                continue;
            }
            if (r != 0 || a.size != m->files[f].size || a.nlink != m->files[f].links) {
                if (!m->quiet)
                    print_message("file %d, inode %llu: %d, size %llu for %zu, %u links for %u\n", f,
                              (unsigned long long)a.ino, r, (unsigned long long)a.size, m->files[f].size,
                                  a.nlink, m->files[f].links);
                bad++;
                continue;
            }
            if (vt_read(t, &t->c, a.ino, 0, buf, MODEL_MAX + 1) != (long)a.size ||
                memcmp(buf, m->files[f].data, a.size) != 0) {
                size_t at = 0;
                while (at < a.size && buf[at] == m->files[f].data[at])
                    at++;
                if (!m->quiet)
                    print_message("file %d, inode %llu, size %llu: differs at %zu\n", f,
                                  (unsigned long long)a.ino, (unsigned long long)a.size, at);
                bad++;
            }
        }
    }
    free(buf);
    return bad;
}

static inline void model_problem(void *arg, const char *text)
{
    print_message("check: %s\n", text);
}

static inline void model_check_disk(struct vt *t)
{
    struct check_report rep;

    memset(&rep, 0, sizeof(rep));
    assert_int_equal(volume_check(t->dir, true, model_problem, NULL, &rep), 0);
    assert_int_equal(rep.problems, 0);
}

#endif
