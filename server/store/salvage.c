/* SPDX-License-Identifier: Apache-2.0
 * salvage: takes the rows out of a database some of whose pages are damaged.
 *
 * Each table is read in the order of its key. Where reading fails, it goes on behind the damage: with the first key, at a
 * distance that doubles, from which rows can be read again, and then by halves back to the edge. What was stepped
 * over is told, and struct repair.gaps is set. A key that is not above the one before is damage, too: pages that are in the
 * tree many times over would have no end otherwise. Views and virtual tables are not read at all.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/store/repair_int.h"
#include "server/store/sqlite.h"

#define GAPS_MAX  4096u /* of a table */
#define NOTES_MAX 1000u

struct table {
    const char *name, *a, *b; /* b: second part of the key, or NULL */
};

static const struct table tree_tables[] = {
    {"meta", "id", NULL}, {"inode", "ino", NULL}, {"dirent", "dir", "cookie"}, {"symlink", "ino", NULL},
    {"xattr", "id", NULL}, {"orphan", "ino", NULL}, {"extent", "ino", "off"},
};
static const struct table shared_tables[] = {
    {"chunk", "id", NULL}, {"blob", "chunk", NULL}, {"pack", "id", NULL}, {"snapshot", "id", NULL},
    {"dead", "death", "chunk"}, {"dedup", "chunk", NULL},
};

struct salvage {
    struct repair *r;
    sqlite3 *src;
    const struct table *t;
    sqlite3_stmt *from, *to;
    int64_t a, b; /* the last key read, or stepped over */
    uint64_t rows;
};

static void seek(struct salvage *s, int64_t a, int64_t b)
{
    sqlite3_reset(s->from);
    sqlite3_bind_int64(s->from, 1, a);
    if (s->t->b)
        sqlite3_bind_int64(s->from, 2, b);
}

/* Is there nothing, or a row that can be read, behind (a, b)? */
static bool readable(struct salvage *s, int64_t a, int64_t b)
{
    seek(s, a, b);
    int code = sqlite3_step(s->from);
    sqlite3_reset(s->from);
    return code == SQLITE_ROW || code == SQLITE_DONE;
}

/* The least step from `from`, about, that leads to something readable; 0: none does. */
static int64_t step_over(struct salvage *s, bool second)
{
    int64_t from = second ? s->b : s->a, bad = 0, good = 0;

    for (int i = 0; i < 63 && !good; i++) {
        int64_t step = (int64_t)1 << i;
        if (from > INT64_MAX - 1 - step)
            break;
        if (second ? readable(s, s->a, from + step) : readable(s, from + step, -1))
            good = step;
        else
            bad = step;
    }
    while (good && good - bad > 1) {
        int64_t mid = bad + (good - bad) / 2;
        if (second ? readable(s, s->a, from + mid) : readable(s, from + mid, -1))
            good = mid;
        else
            bad = mid;
    }
    return good;
}

static bool skip(struct salvage *s)
{
    int64_t step;

    s->r->gaps = true;
    if (s->t->b && s->a >= 0 && (step = step_over(s, true))) {
        repair_did(s->r, "index: rows of table %s from (%lld, %lld) to (%lld, %lld) cannot be read", s->t->name,
                   (long long)s->a, (long long)s->b, (long long)s->a, (long long)(s->b + step));
        s->b += step;
        return true;
    }
    step = step_over(s, false);
    repair_did(s->r, "index: rows of table %s from %lld %s cannot be read", s->t->name, (long long)s->a,
               step ? "on" : "to the end");
    s->a += step;
    s->b = -1;
    return step != 0;
}

/* Sets *on if the row's key is above the last one's. */
static int put_row(struct salvage *s, bool *on)
{
    int n = sqlite3_column_count(s->from), want = sqlite3_bind_parameter_count(s->to);
    int64_t a, b;

    n -= s->t->b ? 2 : 1;
    a = sqlite3_column_int64(s->from, n);
    b = s->t->b ? sqlite3_column_int64(s->from, n + 1) : 0;
    *on = a > s->a || (a == s->a && b > s->b);
    for (int i = 0; i < want; i++)
        if (i < n)
            sqlite3_bind_value(s->to, i + 1, sqlite3_column_value(s->from, i));
        else
            sqlite3_bind_int64(s->to, i + 1, 0);
    int code = sqlite3_step(s->to);
    sqlite3_reset(s->to);
    sqlite3_clear_bindings(s->to);
    if (*on) {
        s->a = a;
        s->b = b;
    }
    s->rows++;
    return code == SQLITE_DONE || (code & 0xff) == SQLITE_CONSTRAINT || (code & 0xff) == SQLITE_MISMATCH
               ? 0
               : index_error(s->r->ix, s->r->db, code, s->t->name);
}

static int prepare(struct salvage *s)
{
    char text[256], marks[64] = "?";
    int64_t cols = 0;
    int rc;

    snprintf(text, sizeof(text), "SELECT count(*) FROM pragma_table_info('%s')", s->t->name);
    rc = repair_int(s->r, text, &cols);
    for (int64_t i = 1; i < cols && i < 30; i++)
        strcat(marks, ",?");
    snprintf(text, sizeof(text), "INSERT OR IGNORE INTO main.%s VALUES(%s)", s->t->name, marks);
    if (!rc && sqlite3_prepare_v2(s->r->db, text, -1, &s->to, NULL))
        rc = -EIO;
    if (s->t->b)
        snprintf(text, sizeof(text), "SELECT *, %s, %s FROM %s WHERE (%s, %s) > (?1, ?2) ORDER BY %s, %s", s->t->a,
                 s->t->b, s->t->name, s->t->a, s->t->b, s->t->a, s->t->b);
    else
        snprintf(text, sizeof(text), "SELECT *, %s FROM %s WHERE %s > ?1 ORDER BY %s", s->t->a, s->t->name, s->t->a,
                 s->t->a);
    if (!rc && (!index_has_table(s->src, s->t->name) || sqlite3_prepare_v2(s->src, text, -1, &s->from, NULL))) {
        s->r->gaps = true;
        repair_did(s->r, "index: table %s cannot be read", s->t->name);
    }
    return rc;
}

static int salvage_table(struct repair *r, sqlite3 *src, const struct table *t)
{
    struct salvage s = {.r = r, .src = src, .t = t, .a = -1, .b = -1};
    int rc = prepare(&s), code = SQLITE_ROW;

    for (unsigned gaps = 0; !rc && s.from && code != SQLITE_DONE;) {
        bool on = true;
        seek(&s, s.a, s.b);
        while (!rc && on && (code = sqlite3_step(s.from)) == SQLITE_ROW)
            rc = put_row(&s, &on);
        if (rc || code == SQLITE_DONE)
            break;
        if ((code & 0xff) == SQLITE_NOMEM)
            rc = -ENOMEM;
        else if (++gaps > GAPS_MAX || !skip(&s))
            break;
    }
    sqlite3_finalize(s.from);
    sqlite3_finalize(s.to);
    return rc;
}

/* Notes (where a scrub is) can be done without. */
static void salvage_notes(struct repair *r, sqlite3 *src)
{
    sqlite3_stmt *from = NULL, *to = NULL;

    if (index_has_table(src, "note") && !sqlite3_prepare_v2(src, "SELECT key, value FROM note", -1, &from, NULL) &&
        !sqlite3_prepare_v2(r->db, "INSERT OR IGNORE INTO main.note VALUES(?1, ?2)", -1, &to, NULL))
        for (unsigned i = 0; i < NOTES_MAX && sqlite3_step(from) == SQLITE_ROW; i++) {
            sqlite3_bind_value(to, 1, sqlite3_column_value(from, 0));
            sqlite3_bind_value(to, 2, sqlite3_column_value(from, 1));
            sqlite3_step(to);
            sqlite3_reset(to);
        }
    sqlite3_finalize(from);
    sqlite3_finalize(to);
}

int salvage(struct repair *r, const char *path, bool tree)
{
    sqlite3 *src = NULL;
    int rc = 0;

    sqlite_setup();
    if (sqlite3_open_v2(path, &src, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL)) {
        sqlite3_close(src);
        return -EUCLEAN;
    }
    sqlite3_db_config(src, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_exec(src, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY", NULL,
                 NULL, NULL);
    for (size_t i = 0; !rc && i < sizeof(tree_tables) / sizeof(*tree_tables); i++)
        rc = salvage_table(r, src, &tree_tables[i]);
    for (size_t i = 0; !rc && !tree && i < sizeof(shared_tables) / sizeof(*shared_tables); i++)
        rc = salvage_table(r, src, &shared_tables[i]);
    if (!rc && !tree)
        salvage_notes(r, src);
    sqlite3_close(src);
    return rc;
}
