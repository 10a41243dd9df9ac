/* SPDX-License-Identifier: Apache-2.0
 * treemodel: a tree of directories, files, links, symbolic links and pipes, changed at random in a volume and alike in
 * memory: mostly by RENAME of anything over anything, also over what is open or has other names.
 */
#ifndef VOLNFS_TESTS_TREEMODEL_H
#define VOLNFS_TESTS_TREEMODEL_H

#include "tests/unit/volumemodel.h"

#define TREE_NODES 60
#define TREE_NAMES 5 /* of a directory */

struct tnode {
    enum inode_type type; /* 0: free */
    uint64_t ino;
    unsigned links;       /* names; of a directory 1, or 0 */
    bool held;
    uint64_t seed;        /* of a file's 100 bytes; 0: empty */
    int parent, names[TREE_NAMES]; /* of a directory; -1: none */
};
struct tree {
    struct tnode n[TREE_NODES]; /* 0 is the top of it, a directory "tree" in the volume's root */
    unsigned renames, replaced, refused;
};

static inline int tree_new(struct tree *w, enum inode_type type, uint64_t ino, int parent)
{
    int i = 0;

    while (i < TREE_NODES && w->n[i].type)
        i++;
    if (i == TREE_NODES)
        return -1;
    w->n[i] = (struct tnode){.type = type, .ino = ino, .links = 1, .parent = parent};
    memset(w->n[i].names, 0xff, sizeof(w->n[i].names));
    return i;
}

static inline void tree_init(struct tree *w, struct vt *t)
{
    struct vattr a;

    memset(w, 0, sizeof(*w));
    assert_int_equal(vt_create(t, &t->c, STORE_ROOT_INO, "tree", IT_DIR, &a), 0);
    tree_new(w, IT_DIR, a.ino, -1);
}

static inline const char *tree_name(int i, char buf[8])
{
    snprintf(buf, 8, "n%d", i);
    return buf;
}

static inline bool tree_empty(const struct tnode *n)
{
    for (int i = 0; i < TREE_NAMES; i++)
        if (n->names[i] >= 0)
            return false;
    return true;
}

/* Is `above` the directory i, or above it? */
static inline bool tree_above(const struct tree *w, int above, int i)
{
    for (; i >= 0; i = w->n[i].parent)
        if (i == above)
            return true;
    return false;
}

static inline void tree_unref(struct tree *w, int i)
{
    struct tnode *n = &w->n[i];

    n->links--;
    if (!n->links && !n->held)
        n->type = 0;
}

/* A directory that has a name, at random. */
static inline int tree_dir(struct model *rng, const struct tree *w)
{
    for (;;) {
        int i = (int)model_rand(rng, TREE_NODES);
        if (w->n[i].type == IT_DIR && w->n[i].links)
            return i;
    }
}

static inline void tree_rename(struct tree *w, struct vt *t, int sd, int si, int dd, int di)
{
    char from[8], to[8];
    int s = w->n[sd].names[si], d = w->n[dd].names[di], want[4] = {0}, nwant = 0, r;
    struct vattr replaced;

    r = volume_rename(t->v, &t->c, w->n[sd].ino, tree_name(si, from), strlen(tree_name(si, from)), w->n[dd].ino,
                      tree_name(di, to), strlen(tree_name(di, to)), 0, UINT64_MAX, &replaced, NULL, NULL);
    w->renames++;
    if (s < 0)
        want[nwant++] = -ENOENT;
    else if (s == d)
        want[nwant++] = 0;
    else {
        if (w->n[s].type == IT_DIR && tree_above(w, s, dd))
            want[nwant++] = -EINVAL;
        if (d >= 0 && w->n[s].type == IT_DIR && w->n[d].type != IT_DIR)
            want[nwant++] = -ENOTDIR;
        if (d >= 0 && w->n[s].type != IT_DIR && w->n[d].type == IT_DIR)
            want[nwant++] = -EISDIR;
        if (d >= 0 && w->n[s].type == IT_DIR && w->n[d].type == IT_DIR && !tree_empty(&w->n[d]))
            want[nwant++] = -ENOTEMPTY;
    }
    for (int i = 0; i < nwant; i++)
        if (r == want[i]) {
            w->refused += r != 0;
            return;
        }
    if (r || nwant)
        fail_msg("rename %d/%d to %d/%d: %d, not %d", sd, si, dd, di, r, nwant ? want[0] : 0);
    assert_int_equal(replaced.ino, d >= 0 ? w->n[d].ino : 0);
    if (d >= 0) {
        w->replaced++;
        assert_int_equal(replaced.nlink, w->n[d].type == IT_DIR ? 0 : w->n[d].links - 1);
        tree_unref(w, d);
    }
    w->n[sd].names[si] = -1;
    w->n[dd].names[di] = s;
    if (w->n[s].type == IT_DIR)
        w->n[s].parent = dd;
}

static inline void tree_put(struct tree *w, struct vt *t, int i, uint64_t seed)
{
    unsigned char data[100];

    vt_fill(data, sizeof(data), seed);
    w->n[i].seed = seed;
    assert_int_equal(volume_write(t->v, &t->c, w->n[i].ino, 0, data, sizeof(data), seed % 2, NULL, NULL), 0);
}

static inline void tree_make(struct tree *w, struct vt *t, int dir, int name, unsigned kind, uint64_t seed)
{
    static const enum inode_type types[] = {IT_DIR, IT_REG, IT_LNK, IT_FIFO, IT_DIR, IT_REG};
    enum inode_type type = types[kind % 6];
    struct vattr a;
    char text[8];
    int i = w->n[dir].names[name], r;

    r = vt_create(t, &t->c, w->n[dir].ino, tree_name(name, text), type, &a);
    if (i >= 0) {
        assert_int_equal(r, -EEXIST);
        assert_int_equal(a.ino, w->n[i].ino);
        return;
    }
    assert_int_equal(r, 0);
    i = tree_new(w, type, a.ino, dir);
    assert_true(i >= 0);
    w->n[dir].names[name] = i;
    if (type == IT_REG)
        tree_put(w, t, i, seed + 1);
}

static inline void tree_unlink(struct tree *w, struct vt *t, int dir, int name)
{
    char text[8];
    int i = w->n[dir].names[name], r = vt_unlink(t, w->n[dir].ino, tree_name(name, text));

    if (i < 0) {
        assert_int_equal(r, -ENOENT);
    } else if (w->n[i].type == IT_DIR && !tree_empty(&w->n[i])) {
        assert_int_equal(r, -ENOTEMPTY);
    } else {
        assert_int_equal(r, 0);
        w->n[dir].names[name] = -1;
        tree_unref(w, i);
    }
}

static inline void tree_link(struct tree *w, struct vt *t, int i, int dir, int name)
{
    char text[8];
    int r;

    tree_name(name, text);
    if (!i || !w->n[i].type)
        return;
    r = volume_link(t->v, &t->c, w->n[i].ino, w->n[dir].ino, text, strlen(text), NULL, NULL);
    if (w->n[i].type == IT_DIR) {
        assert_int_equal(r, -EISDIR);
    } else if (w->n[dir].names[name] >= 0) {
        assert_int_equal(r, -EEXIST);
    } else if (!w->n[i].links) {
        assert_int_equal(r, -ENOENT);
    } else {
        assert_int_equal(r, 0);
        w->n[dir].names[name] = i;
        w->n[i].links++;
    }
}

/* Opens or closes it, so to say. */
static inline void tree_hold(struct tree *w, struct vt *t, int i)
{
    if (!w->n[i].type)
        return;
    w->n[i].held = !w->n[i].held;
    if (w->n[i].held) {
        assert_int_equal(volume_hold(t->v, &t->c, w->n[i].ino), 0);
    } else {
        volume_release(t->v, w->n[i].ino);
        if (!w->n[i].links)
            w->n[i].type = 0;
    }
}

/* What is open and was removed: it is there, and nothing can be put into it. */
static inline void tree_removed(struct tree *w, struct vt *t, int i, uint64_t seed)
{
    struct vattr a;

    if (!w->n[i].type || w->n[i].links)
        return;
    if (w->n[i].type == IT_REG) {
        tree_put(w, t, i, seed + 1);
    } else if (w->n[i].type == IT_DIR) {
        assert_int_equal(vt_create(t, &t->c, w->n[i].ino, "x", IT_REG, &a), -ENOENT);
        for (int k = 0; k < TREE_NAMES; k++)
            if (w->n[0].names[k] >= 0) {
                char text[8];
                tree_name(k, text);
                assert_int_equal(vt_rename(t, w->n[0].ino, text, w->n[i].ino, "x"), -ENOENT);
            }
    }
}

static inline void tree_step(struct tree *w, struct vt *t, struct model *rng)
{
    int sd = tree_dir(rng, w), si = (int)model_rand(rng, TREE_NAMES);
    int dd = tree_dir(rng, w), di = (int)model_rand(rng, TREE_NAMES);
    int any = (int)model_rand(rng, TREE_NODES), used = 0;
    unsigned op = (unsigned)model_rand(rng, 100);
    uint64_t seed = model_rand(rng, 1000000);

    for (int i = 0; i < 8 && w->n[sd].names[si] < 0 && op >= 25; i++) { /* rather one that is there */
        sd = tree_dir(rng, w);
        si = (int)model_rand(rng, TREE_NAMES);
    }
    for (int i = 0; i < TREE_NODES; i++)
        used += w->n[i].type != 0;
    if (op < 25 && used < TREE_NODES * 3 / 4)
        tree_make(w, t, sd, si, (unsigned)seed, seed);
    else if (op < 65)
        tree_rename(w, t, sd, si, dd, di);
    else if (op < 75)
        tree_link(w, t, any, dd, di);
    else if (op < 85)
        tree_unlink(w, t, sd, si);
    else if (op < 95)
        tree_hold(w, t, any);
    else
        tree_removed(w, t, any, seed);
}

/* The volume was closed: what is open and has no name is an orphan, which goes. */
static inline void tree_reopened(struct tree *w, struct vt *t)
{
    for (int i = 0; i < TREE_NODES; i++) {
        w->n[i].held = false;
        if (w->n[i].type && !w->n[i].links)
            w->n[i].type = 0;
    }
    assert_int_equal(volume_purge_orphans(t->v), 0);
}

/* Inodes that the volume has for it. */
static inline unsigned tree_count(const struct tree *w)
{
    unsigned n = 0;

    for (int i = 0; i < TREE_NODES; i++)
        n += w->n[i].type != 0;
    return n;
}

static inline bool tree_count_name(void *arg, const struct volume_dirent *de)
{
    ++*(unsigned *)arg;
    return true;
}

static inline void tree_compare_dir(struct tree *w, struct vt *t, const struct tnode *n)
{
    unsigned want = 0, got = 0;
    uint64_t subdirs = 0;
    bool eof = false;
    struct vattr a;
    char text[8];

    for (int i = 0; i < TREE_NAMES; i++) {
        int r = vt_lookup(t, &t->c, n->ino, tree_name(i, text), &a);
        if (n->names[i] < 0) {
            assert_int_equal(r, -ENOENT);
            continue;
        }
        want++;
        assert_int_equal(r, 0);
        assert_int_equal(a.ino, w->n[n->names[i]].ino);
        subdirs += a.type == IT_DIR;
    }
    assert_int_equal(volume_readdir(t->v, &t->c, n->ino, 0, 1000, tree_count_name, &got, &eof), 0);
    assert_true(eof && got == want);
    assert_int_equal(volume_getattr(t->v, &t->c, n->ino, 0, &a), 0);
    assert_int_equal(a.nlink, n->links ? 2 + subdirs : 0);
    if (n->links)
        assert_int_equal(a.parent, n->parent < 0 ? STORE_ROOT_INO : w->n[n->parent].ino);
}

static inline void tree_compare(struct tree *w, struct vt *t)
{
    unsigned char want[100], got[101];
    struct vattr a;

    for (int i = 0; i < TREE_NODES; i++) {
        const struct tnode *n = &w->n[i];
        if (!n->type)
            continue;
        assert_int_equal(volume_getattr(t->v, &t->c, n->ino, 0, &a), 0);
        assert_int_equal(a.type, n->type);
        if (n->type == IT_DIR) {
            tree_compare_dir(w, t, n);
            continue;
        }
        assert_int_equal(a.nlink, n->links);
        if (n->type == IT_REG) {
            vt_fill(want, sizeof(want), n->seed);
            assert_int_equal(vt_read(t, &t->c, n->ino, 0, got, sizeof(got)), sizeof(want));
            assert_memory_equal(got, want, sizeof(want));
        }
    }
}

#endif
