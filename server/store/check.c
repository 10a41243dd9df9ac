/* SPDX-License-Identifier: Apache-2.0
 * check: looks for contradictions inside a volume's index, and between it and the packs.
 *
 * One read transaction on one connection: a server may go on beside. The index and packs are check_index.c's and
 * check_packs.c's; here are the journal, the snapshots one by one, and the order of all.
 */
#include "server/store/check_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/store/files.h"
#include "server/store/journal.h"
#include "server/store/record.h"

void check_problem(struct check *ck, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    int n = snprintf(text, sizeof(text), "%s", ck->where);
    vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
    va_end(ap);
    ck->rep->problems++;
    if (ck->problem)
        ck->problem(ck->arg, text);
}

int check_sql_error(struct check *ck, int code, const char *what)
{
    /* Damage is a finding, and the other queries may still tell more. SQLITE_ERROR comes of it: a
     * temporary table that could not be made. */
    if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_ERROR) {
        check_problem(ck, "index: a damaged page was met (%.60s)", what);
        return 0;
    }
    return index_error(ck->ix, ck->conn->db, code, what);
}

/* --- the journal --- */

struct journal_seen {
    struct check *ck;
    uint64_t first, last; /* 0: there is no record */
};

static int check_record(void *arg, uint64_t lsn, const void *payload, size_t len)
{
    struct journal_seen *s = arg;

    s->first = s->first ? s->first : lsn;
    s->last = lsn;
    if (record_check(lsn, payload, len))
        check_problem(s->ck, "journal: record %llu makes no sense", (unsigned long long)lsn);
    return 0;
}

/* Before the index is looked at: then a server beside us can only have applied more meanwhile, not less. */
static int check_journal(struct check *ck, const char *dir, struct journal_seen *s)
{
    struct journal *j = NULL;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    *s = (struct journal_seen){.ck = ck};
    if (fd < 0)
        return -errno;
    rc = journal_open(fd, dir, true, &j);
    close(fd);
    if (rc == -EUCLEAN)
        check_problem(ck, "journal: not a sane one");
    if (rc)
        return rc == -ENOENT || rc == -EUCLEAN ? 0 : rc;
    rc = journal_walk(j, check_record, s);
    journal_close(j);
    return rc;
}

static void compare_journal(struct check *ck, const struct journal_seen *s)
{
    struct index_meta meta;

    if (!s->first || index_get_meta(ck->ix, &meta))
        return;
    if (s->first > meta.txg + 1)
        check_problem(ck, "journal: begins with transaction group %llu, but the index ends with %llu",
                (unsigned long long)s->first, (unsigned long long)meta.txg);
    ck->rep->journal = s->last > meta.txg ? s->last - meta.txg : 0;
}

/* --- snapshots --- */

struct snap_list {
    struct index_snap *row;
    size_t n;
};

static bool note_snap(void *arg, const struct index_snap *s)
{
    struct snap_list *l = arg;
    struct index_snap *p;

    if (s->state != SNAP_READY)
        return true;
    p = realloc(l->row, (l->n + 1) * sizeof(*p));
    if (!p)
        return false;
    l->row = p;
    l->row[l->n++] = *s;
    return true;
}

static bool snap_still_there(struct check *ck, uint64_t id)
{
    struct snap_list l = {0};
    bool there = false;

    (void)index_list_snaps(ck->ix, note_snap, &l);
    for (size_t i = 0; i < l.n; i++)
        there |= l.row[i].id == id;
    free(l.row);
    return there;
}

static int check_snapshot(struct check *ck, const char *dir, const struct index_snap *s)
{
    struct check sub = *ck;
    char name[40], *path, *shared = path_join(dir, "index.db");
    int rc;

    snprintf(name, sizeof(name), "snapshots/%016llx.db", (unsigned long long)s->id);
    path = path_join(dir, name);
    sub.ix = NULL;
    sub.conn = NULL;
    snprintf(sub.where, sizeof(sub.where), "snapshot %s: ", s->name);
    rc = index_open_snapshot(path, shared, dir, true, &sub.ix);
    if (rc) {
        if (snap_still_there(ck, s->id))
            check_problem(&sub, "its database cannot be opened: %s", strerror(-rc));
        rc = 0;
        goto out;
    }
    rc = index_reader_get(sub.ix, &sub.conn);
    if (!rc)
        rc = check_snapshot_rows(&sub, s->id);
    if (sub.conn)
        index_reader_put(sub.ix, sub.conn);
out:
    index_close(sub.ix);
    free(path);
    free(shared);
    return rc;
}

static int check_snapshots(struct check *ck, const char *dir)
{
    struct snap_list l = {0};
    int rc = index_list_snaps(ck->ix, note_snap, &l);

    if (rc == -EUCLEAN)
        rc = 0; /* found by a query above */
    for (size_t i = 0; !rc && i < l.n; i++)
        rc = check_snapshot(ck, dir, &l.row[i]);
    ck->rep->snapshots = l.n;
    free(l.row);
    return rc;
}

/* --- all of it --- */

int volume_check(const char *dir, bool data, void (*fn)(void *arg, const char *text), void *arg,
                 struct check_report *rep)
{
    struct check ck = {.data = data, .problem = fn, .arg = arg, .rep = rep};
    struct journal_seen seen;
    char *path = path_join(dir, "index.db");
    int rc;

    memset(rep, 0, sizeof(*rep));
    ck.packs = path_join(dir, "packs");
    rc = check_journal(&ck, dir, &seen);
    if (!rc)
        rc = index_open_readonly(path, dir, &ck.ix);
    if (rc == -EUCLEAN) {
        check_problem(&ck, "index: not a sane database; nothing else can be checked");
        rc = 0;
        goto out;
    }
    if (!rc)
        rc = index_reader_get(ck.ix, &ck.conn);
    if (!rc)
        compare_journal(&ck, &seen);
    if (!rc)
        rc = check_rows(&ck);
    if (!rc)
        rc = check_snapshots(&ck, dir);
    if (ck.conn)
        index_reader_put(ck.ix, ck.conn);
out:
    index_close(ck.ix);
    free(path);
    free(ck.packs);
    return rc;
}
