/* SPDX-License-Identifier: Apache-2.0
 * repair_int: what the files of repair share.
 */
#ifndef VOLNFS_STORE_REPAIR_INT_H
#define VOLNFS_STORE_REPAIR_INT_H

#include "server/store/index_impl.h"
#include "server/store/repair.h"

struct repair {
    const char *dir;
    char *packs; /* the folder */
    const struct repair_options *opt;
    void (*say)(void *arg, const char *text);
    void *arg;
    struct repair_report *rep;
    struct index *ix; /* the new one; every change is made in a transaction of its writer */
    sqlite3 *db;      /* its writer's connection */
    bool gaps;        /* rows of the old one could not be read */
    bool inventory;   /* temp.rec is filled */
    /* of the journal: records with lsn > applied */
    uint64_t applied, jfirst, jlast, jino, jchunk, jgen, jsnap;
    uint32_t jpack;
};

/* One sentence: about something repaired, or something that stays damaged. */
void repair_did(struct repair *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void repair_left(struct repair *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int repair_exec(struct repair *r, const char *text);
/* Each row's first column is a sentence; of something repaired, or left. */
int repair_run(struct repair *r, const char *text, bool done);
int repair_int(struct repair *r, const char *text, int64_t *out);
/* repair_sql.c: the functions that statements use: pathof(ino), showname(name), name_cookie(name), freecookie(dir, name), nowns(). */
int repair_functions(sqlite3 *db);
/* repair_swap.c: `old` is kept in damaged/, `new` gets its name, durably. Until the rename nothing has happened. */
int repair_swap(struct repair *r, const char *old, const char *new);
/* The journal goes to damaged/, too. */
int repair_drop_journal(struct repair *r);

/* salvage.c: copies the rows of the database in path that can be read, of all tables or of those of a tree, into the new index. */
int salvage(struct repair *r, const char *path, bool tree);
/* repair_data.c: makes chunks of the new index agree with the packs. */
int repair_chunks(struct repair *r);
/* Fills temp.rec with all sound records of all packs, once. */
int repair_inventory(struct repair *r);
/* rebuild.c: fills an empty new index from snapshots and packs. */
int rebuild(struct repair *r);
/* Data whose extents could not be read goes back to where its record says. */
int rebuild_extents(struct repair *r);
/* A row for each snapshot's file that can be read. */
int rebuild_snapshots(struct repair *r);
/* repair_fix.c: makes the new index agree with itself. */
int repair_rows(struct repair *r); /* each row by itself, */
int repair_tree(struct repair *r); /* names, inodes; counters of everything */

#endif
