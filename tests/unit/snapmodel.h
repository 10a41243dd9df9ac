/* SPDX-License-Identifier: Apache-2.0
 * snapmodel: models of what snapshots hold: copies of the volume's model.
 */
#ifndef VOLNFS_TESTS_SNAPMODEL_H
#define VOLNFS_TESTS_SNAPMODEL_H

#include "server/store/snap.h"
#include "tests/unit/volumemodel.h"

/* The volume of a snapshot by name. */
static inline struct volume *open_snap(struct vt *t, const char *name)
{
    struct snap_info s;
    struct volume *v;

    assert_int_equal(snap_find(t->v, name, strlen(name), &s), 0);
    assert_int_equal(snap_open(t->v, s.id, true, &v), 0);
    return v;
}

static inline struct model *model_copy(const struct model *m)
{
    struct model *c = malloc(sizeof(*c));

    *c = *m;
    for (int i = 0; i < MODEL_FILES; i++)
        if (c->files[i].links) {
            c->files[i].data = calloc(1, MODEL_MAX + 1); /* zeros behind the end */
            memcpy(c->files[i].data, m->files[i].data, m->files[i].size);
        }
    return c;
}

static inline void model_drop(struct model *m)
{
    model_release(m);
    free(m);
}

static inline void compare_snap(struct vt *t, struct model *m, const char *name)
{
    struct vt s = *t;

    s.v = open_snap(t, name);
    store_call_init(&s.c, true);
    assert_int_equal(model_compare(m, &s), 0);
    store_call_release(&s.c);
    volume_unref(s.v);
}

/* A model that was copied, or played without a volume, learns the inode numbers. */
static inline void find_inodes(struct model *m, struct vt *t)
{
    struct vattr a;

    for (int d = 0; d < MODEL_DIRS; d++) {
        char name[16];
        snprintf(name, sizeof(name), "d%d", d);
        if (d)
            assert_int_equal(vt_lookup(t, &t->c, STORE_ROOT_INO, name, &a), 0);
        m->dirs[d] = d ? a.ino : STORE_ROOT_INO;
        for (int n = 0; n < MODEL_NAMES; n++) {
            if (m->names[d][n] < 0)
                continue;
            snprintf(name, sizeof(name), "f%d", n);
            assert_int_equal(vt_lookup(t, &t->c, m->dirs[d], name, &a), 0);
            m->files[m->names[d][n]].ino = a.ino;
        }
    }
}

/* Waits until destroyed snapshots are gone for good. */
static inline void snap_settle(struct vt *t, uint64_t held)
{
    struct volume_stat st;

    for (int i = 0; i < 6000; i++) {
        volume_stat(t->v, &st);
        if (st.held == held)
            return;
        usleep(10000);
    }
    assert_int_equal(st.held, held);
}

/* Writes data into a file of the root, which is made if it is not there. */
static inline void snap_put(struct vt *t, const char *name, const void *data, size_t len, uint64_t *ino)
{
    struct vattr a;
    int r = vt_lookup(t, &t->c, STORE_ROOT_INO, name, &a);

    if (r == -ENOENT)
        r = vt_create(t, &t->c, STORE_ROOT_INO, name, IT_REG, &a);
    assert_int_equal(r, 0);
    assert_int_equal(volume_write(t->v, &t->c, a.ino, 0, data, len, false, NULL, NULL), 0);
    *ino = a.ino;
}

#endif
