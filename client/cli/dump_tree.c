/* SPDX-License-Identifier: Apache-2.0
 * dump_tree: all names and inodes of a tree in memory (see dump.h).
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "client/cli/dump.h"
#include "client/cli/remote.h"
#include "server/store/types.h"

static int by_ino(const void *a, const void *b)
{
    const control_inode *x = a, *y = b;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int compare_name(const struct dump_name *n, uint64_t dir, const char *name, uint32_t len)
{
    int d = n->dir < dir ? -1 : n->dir > dir;
    if (!d)
        d = memcmp(n->name, name, n->len < len ? n->len : len);
    return d ? d : n->len < len ? -1 : n->len > len;
}

static int by_name(const void *a, const void *b, void *arg)
{
    const struct dump_name *names = arg, *x = &names[*(const size_t *)a], *y = &names[*(const size_t *)b];
    return compare_name(x, y->dir, y->name, y->len);
}

/* The inode of names[i] is all[i + 1]; all[0] is the root. */
struct loading {
    struct dump_tree *t;
    control_inode *all;
    size_t room;
    uint64_t *dirs; /* a table of those that were read; 0: a free place */
    size_t ndirs, places;
};

/* Notes that a directory is read. false: it was already; where it is in itself there would be no end. */
static bool first_time(struct loading *l, uint64_t ino)
{
    size_t i;
    if (l->ndirs * 2 >= l->places) {
        struct loading old = *l;
        l->places = l->places ? l->places * 2 : 1024;
        l->dirs = need(calloc(l->places, sizeof(*l->dirs)));
        l->ndirs = 0;
        for (i = 0; i < old.places; i++)
            if (old.dirs[i])
                (void)first_time(l, old.dirs[i]);
        free(old.dirs);
    }
    for (i = (size_t)(ino * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (l->places - 1); l->dirs[i]; i = (i + 1) & (l->places - 1))
        if (l->dirs[i] == ino)
            return false;
    l->dirs[i] = ino;
    l->ndirs++;
    return true;
}

static void add(struct loading *l, uint64_t dir, control_dump_entry *e)
{
    struct dump_tree *t = l->t;
    if (t->nnames + 1 >= l->room) {
        l->room *= 2;
        t->names = need(realloc(t->names, l->room * sizeof(*t->names)));
        l->all = need(realloc(l->all, l->room * sizeof(*l->all)));
    }
    t->names[t->nnames] = (struct dump_name){dir, e->inode.ino, e->name.name_val, e->name.name_len};
    l->all[++t->nnames] = e->inode;
    e->name.name_val = NULL;
    e->name.name_len = 0;
}

static bool load_dir(struct loading *l, CLIENT *c, const char *name, uint64_t ino)
{
    control_dump_args args = {.name = (char *)name, .base = (char *)"", .ino = ino};
    bool ok, eof = false;
    if (!first_time(l, ino)) {
        cli_fail("%s is damaged: directory %llu has two names; 'volnfs check' tells more", name, (unsigned long long)ino);
        return false;
    }
    do {
        control_dump_list r;
        ok = !control_ask(c, CONTROL_DUMP_LIST, &args, &r);
        if (ok) {
            for (u_int i = 0; i < r.entries.entries_len; i++)
                add(l, ino, &r.entries.entries_val[i]);
            if (ino == DUMP_ROOT)
                l->all[0] = r.self;
            eof = r.eof || !r.entries.entries_len;
            args.at = r.cookie;
        }
        control_free(CONTROL_DUMP_LIST, &r);
    } while (ok && !eof);
    return ok;
}

bool dump_tree_load(struct dump_tree *t, CLIENT *c, const char *name)
{
    struct loading l = {.t = t, .room = 1024};
    size_t n = 0;
    bool ok;
    *t = (struct dump_tree){.names = need(malloc(l.room * sizeof(*t->names)))};
    l.all = need(malloc(l.room * sizeof(*l.all)));
    ok = load_dir(&l, c, name, DUMP_ROOT);
    for (size_t i = 0; ok && i < t->nnames; i++)
        if (l.all[i + 1].type == IT_DIR)
            ok = load_dir(&l, c, name, t->names[i].ino);
    free(l.dirs);
    t->inodes = l.all;
    if (!ok)
        return false;
    qsort(l.all, t->nnames + 1, sizeof(*l.all), by_ino);
    for (size_t i = 0; i <= t->nnames; i++)
        if (!i || l.all[i].ino != l.all[n - 1].ino)
            l.all[n++] = l.all[i];
    t->ninodes = n;
    t->first = need(calloc(n, sizeof(*t->first)));
    t->order = need(malloc((t->nnames + 1) * sizeof(*t->order)));
    for (size_t i = t->nnames; i-- > 0;) {
        t->first[dump_tree_inode(t, t->names[i].ino)] = i;
        t->order[i] = i;
    }
    qsort_r(t->order, t->nnames, sizeof(*t->order), by_name, t->names);
    return true;
}

void dump_tree_release(struct dump_tree *t)
{
    for (size_t i = 0; i < t->nnames; i++)
        free(t->names[i].name);
    free(t->names);
    free(t->inodes);
    free(t->first);
    free(t->order);
    *t = (struct dump_tree){.names = NULL};
}

size_t dump_tree_inode(const struct dump_tree *t, uint64_t ino)
{
    control_inode key = {.ino = ino};
    const control_inode *found = t->ninodes ? bsearch(&key, t->inodes, t->ninodes, sizeof(key), by_ino) : NULL;
    return found ? (size_t)(found - t->inodes) : t->ninodes;
}

const struct dump_name *dump_tree_name(const struct dump_tree *t, uint64_t dir, const char *name, uint32_t len)
{
    size_t low = 0, high = t->nnames;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct dump_name *n = &t->names[t->order[mid]];
        int d = compare_name(n, dir, name, len);
        if (!d)
            return n;
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static uint64_t print_inode(const control_inode *i, uint64_t seed, bool exact)
{
    bool sized = i->type == IT_REG || i->type == IT_LNK;
    uint64_t f[] = {i->type, i->mode, i->uid, i->gid, (uint64_t)i->major << 32 | i->minor, sized ? i->size : 0,
                    i->type == IT_DIR ? 0 : i->nlink, (uint64_t)i->mtime.sec, i->mtime.nsec, exact ? i->ino : 0,
                    exact ? (uint64_t)i->ctime.sec : 0, exact ? i->ctime.nsec : 0};
    return XXH3_64bits_withSeed(f, sizeof(f), seed);
}

uint64_t dump_tree_print(const struct dump_tree *t, bool exact)
{
    uint64_t *path = need(calloc(t->ninodes + 1, sizeof(*path))), sum = 0;
    size_t root = dump_tree_inode(t, DUMP_ROOT);
    path[root] = 1;
    if (root < t->ninodes)
        sum = print_inode(&t->inodes[root], 1, exact);
    for (size_t i = 0; i < t->nnames; i++) { /* the sum does not depend on the order */
        const struct dump_name *n = &t->names[i];
        size_t at = dump_tree_inode(t, n->ino);
        uint64_t h = XXH3_64bits_withSeed(n->name, n->len, path[dump_tree_inode(t, n->dir)]);
        if (t->inodes[at].type == IT_DIR)
            path[at] = h;
        sum += print_inode(&t->inodes[at], h, exact);
    }
    free(path);
    return sum;
}
