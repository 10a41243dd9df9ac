/* SPDX-License-Identifier: Apache-2.0
 * index_read: queries of committed state. Every row is checked before anybody sees it.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "server/store/index_impl.h"

/* A query in progress on a reader of the pool. */
struct query {
    struct index *ix;
    struct index_conn *conn;
    sqlite3_stmt *st;
    const char *what;
};

static int query_start(struct query *q, struct index *ix, enum index_sql which, const char *what)
{
    *q = (struct query){.ix = ix, .what = what};
    int rc = index_reader_get(ix, &q->conn);
    if (rc)
        return rc;
    q->st = index_stmt(ix, q->conn, which, &rc);
    if (!q->st)
        index_reader_put(ix, q->conn);
    return rc;
}

/* 1: a row is there. 0: no more. */
static int query_step(struct query *q)
{
    int code = sqlite3_step(q->st);

    if (code == SQLITE_ROW)
        return 1;
    return code == SQLITE_DONE ? 0 : index_error(q->ix, q->conn->db, code, q->what);
}

static void query_end(struct query *q)
{
    sqlite3_reset(q->st);
    index_reader_put(q->ix, q->conn);
}

/* --- rows --- */

static struct timespec column_time(sqlite3_stmt *st, int i, bool *bad)
{
    int64_t ns = sqlite3_column_int64(st, i), rest = ns % 1000000000;

    if (sqlite3_column_type(st, i) != SQLITE_INTEGER)
        *bad = true;
    if (rest < 0)
        rest += 1000000000;
    /* rounded down, without ns - rest, which may not fit */
    return (struct timespec){.tv_sec = ns / 1000000000 - (ns % 1000000000 < 0), .tv_nsec = rest};
}

bool index_row_inode(sqlite3_stmt *st, int col, struct vattr *a)
{
    bool bad = false;

    a->ino = index_column(st, col, INT64_MAX, &bad);
    a->gen = (uint32_t)index_column(st, col + 1, UINT32_MAX, &bad);
    a->type = (enum inode_type)index_column(st, col + 2, IT_SOCK, &bad);
    a->mode = (uint32_t)index_column(st, col + 3, 07777, &bad);
    a->nlink = (uint32_t)index_column(st, col + 4, UINT32_MAX, &bad);
    a->uid = (uint32_t)index_column(st, col + 5, UINT32_MAX, &bad);
    a->gid = (uint32_t)index_column(st, col + 6, UINT32_MAX, &bad);
    a->rdev_major = (uint32_t)index_column(st, col + 7, UINT32_MAX, &bad);
    a->rdev_minor = (uint32_t)index_column(st, col + 8, UINT32_MAX, &bad);
    a->size = index_column(st, col + 9, STORE_FILE_MAX, &bad);
    a->used = index_column(st, col + 10, STORE_FILE_MAX, &bad);
    a->change = index_column(st, col + 11, INT64_MAX, &bad);
    a->parent = index_column(st, col + 12, INT64_MAX, &bad);
    a->atime = column_time(st, col + 13, &bad);
    a->mtime = column_time(st, col + 14, &bad);
    a->ctime = column_time(st, col + 15, &bad);
    a->btime = column_time(st, col + 16, &bad);
    a->create_verf = (uint64_t)sqlite3_column_int64(st, col + 17);
    return !bad && a->ino != 0 && a->type != IT_NONE &&
           sqlite3_column_type(st, col + 17) == SQLITE_INTEGER;
}

bool index_row_chunk(sqlite3_stmt *st, int col, struct chunk *c)
{
    bool bad = false;

    c->id = index_column(st, col, INT64_MAX, &bad);
    c->pack = (uint32_t)index_column(st, col + 1, UINT32_MAX, &bad);
    c->pack_off = index_column(st, col + 2, UINT32_MAX, &bad);
    c->stored_len = (uint32_t)index_column(st, col + 3, CHUNK_BOUND, &bad);
    c->len = (uint32_t)index_column(st, col + 4, SLOT_SIZE, &bad);
    c->codec = (enum chunk_codec)index_column(st, col + 5, CHUNK_CODEC_MAX, &bad);
    c->later = false; /* who asks for flags sets it */
    c->checksum = (uint64_t)sqlite3_column_int64(st, col + 6);
    return !bad && c->id != 0 && c->len != 0 && c->stored_len != 0 &&
           (c->codec != CHUNK_RAW || c->stored_len == c->len) &&
           sqlite3_column_type(st, col + 6) == SQLITE_INTEGER;
}

/* --- meta and inodes --- */

int index_get_meta(struct index *ix, struct index_meta *m)
{
    struct query q;
    bool bad = false;
    int rc = query_start(&q, ix, SQL_GET_META, "meta");

    if (rc)
        return rc;
    rc = query_step(&q);
    if (rc == 1) {
        memset(m, 0, sizeof(*m));
        m->next_ino = index_column(q.st, 0, INT64_MAX, &bad);
        m->next_chunk = index_column(q.st, 1, INT64_MAX, &bad);
        m->next_pack = (uint32_t)index_column(q.st, 2, UINT32_MAX, &bad);
        m->next_gen = (uint32_t)index_column(q.st, 3, UINT32_MAX, &bad);
        m->txg = index_column(q.st, 4, INT64_MAX, &bad);
        m->files = index_column(q.st, 5, INT64_MAX, &bad);
        m->logical = index_column(q.st, 6, INT64_MAX, &bad);
        m->stored = index_column(q.st, 7, INT64_MAX, &bad);
        m->props.codec = (enum volume_codec)index_column(q.st, 8, VOLUME_ZSTD, &bad);
        m->props.level = (int)index_column(q.st, 9, 22, &bad);
        m->props.quota_bytes = index_column(q.st, 10, INT64_MAX, &bad);
        m->props.quota_files = index_column(q.st, 11, INT64_MAX, &bad);
        m->props.readonly = index_column(q.st, 12, 1, &bad);
        m->snap_seq = index_column(q.st, 13, INT64_MAX - 1, &bad);
        m->held = index_column(q.st, 14, INT64_MAX, &bad);
        m->props.dedup = index_column(q.st, 15, 1, &bad);
        m->props.recompress = (int)index_column(q.st, 16, 22, &bad);
        m->props.snapdir = index_column(q.st, 17, 1, &bad);
        rc = bad ? index_bad_row(ix, "meta", 1) : 0;
    } else if (rc == 0) {
        rc = index_bad_row(ix, "meta: none", 1);
    }
    query_end(&q);
    return rc;
}

int index_get_inode(struct index *ix, uint64_t ino, struct vattr *out)
{
    struct query q;
    int rc = query_start(&q, ix, SQL_GET_INODE, "inode");

    if (rc)
        return rc;
    bind_u64(q.st, 1, ino);
    rc = query_step(&q);
    if (rc == 1)
        rc = index_row_inode(q.st, 0, out) ? 0 : index_bad_row(ix, "inode", ino);
    else if (rc == 0)
        rc = -ENOENT;
    query_end(&q);
    return rc;
}

/* --- names --- */

uint64_t index_name_cookie(const char *name, size_t len)
{
    uint64_t base = XXH3_64bits(name, len) & UINT64_C(0x7ffffffffffffff8);

    return base ? base : 8;
}

/* A name's column: a blob of 1..STORE_NAME_MAX bytes. */
static const char *column_name(sqlite3_stmt *st, int i, size_t max, size_t *len)
{
    int n = sqlite3_column_bytes(st, i);

    if (sqlite3_column_type(st, i) != SQLITE_BLOB || n < 1 || (size_t)n > max)
        return NULL;
    const char *p = sqlite3_column_blob(st, i);
    *len = (size_t)n;
    return p && !memchr(p, 0, *len) ? p : NULL;
}

/* A directory entry's name has no slash and is neither "." nor "..". */
static const char *column_entry_name(sqlite3_stmt *st, int i, size_t *len)
{
    const char *p = column_name(st, i, STORE_NAME_MAX, len);

    if (!p || memchr(p, '/', *len) || (p[0] == '.' && (*len == 1 || (*len == 2 && p[1] == '.'))))
        return NULL;
    return p;
}

/* Walks the up to 8 entries with the base cookie; stops at the name if it is given and there. */
static int scan_base(struct index *ix, uint64_t dir, uint64_t base, const char *name, size_t len,
                     uint64_t *cookie, uint64_t *ino, uint8_t *taken)
{
    struct query q;
    bool found = false;
    int rc = query_start(&q, ix, SQL_GET_DIRENT, "dirent");

    if (rc)
        return rc;
    bind_u64(q.st, 1, dir);
    bind_u64(q.st, 2, base);
    bind_u64(q.st, 3, base + 7);
    while (!found && (rc = query_step(&q)) == 1) {
        bool bad = false;
        size_t n = 0;
        uint64_t at = index_column(q.st, 0, INT64_MAX, &bad);
        uint64_t to = index_column(q.st, 1, INT64_MAX, &bad);
        const char *p = column_entry_name(q.st, 2, &n);
        if (bad || !p || to == 0) {
            rc = index_bad_row(ix, "dirent of inode", dir);
            break;
        }
        if (taken)
            *taken |= (uint8_t)(1u << (at - base));
        if (name && n == len && memcmp(p, name, len) == 0) {
            found = true;
            *ino = to;
            *cookie = at;
        }
    }
    query_end(&q);
    return found ? 1 : rc;
}

int index_get_dirent(struct index *ix, uint64_t dir, const char *name, size_t len, uint64_t *cookie,
                     uint64_t *ino)
{
    uint64_t at = 0;
    int rc = scan_base(ix, dir, index_name_cookie(name, len), name, len, &at, ino, NULL);

    if (rc < 0)
        return rc;
    if (cookie && rc)
        *cookie = at;
    return rc ? 0 : -ENOENT;
}

int index_cookies_taken(struct index *ix, uint64_t dir, uint64_t base, uint8_t *taken)
{
    *taken = 0;
    return scan_base(ix, dir, base, NULL, 0, NULL, NULL, taken);
}

int index_list_dir(struct index *ix, uint64_t dir, uint64_t after, unsigned max,
                   bool (*fn)(void *arg, const struct volume_dirent *de), void *arg, bool *eof)
{
    struct volume_dirent de;
    struct query q;
    unsigned n = 0;
    bool stop = false;

    *eof = false;
    if (after > INT64_MAX) {
        *eof = true;
        return 0;
    }
    int rc = query_start(&q, ix, SQL_LIST_DIR, "directory");
    if (rc)
        return rc;
    bind_u64(q.st, 1, dir);
    bind_u64(q.st, 2, after);
    bind_u64(q.st, 3, (uint64_t)max + 1); /* one more, to see the end */
    while (!stop && (rc = query_step(&q)) == 1 && n < max) {
        bool bad = false;
        const char *name = column_entry_name(q.st, 19, &de.len);
        de.cookie = index_column(q.st, 18, INT64_MAX, &bad);
        if (bad || !name || !index_row_inode(q.st, 0, &de.attr)) {
            rc = index_bad_row(ix, "dirent of inode", dir);
            break;
        }
        memcpy(de.name, name, de.len);
        de.name[de.len] = 0;
        n++;
        stop = !fn(arg, &de);
    }
    query_end(&q);
    if (rc < 0)
        return rc;
    *eof = !stop && rc == 0;
    return 0;
}

int index_dir_empty(struct index *ix, uint64_t dir, bool *empty)
{
    struct query q;
    int rc = query_start(&q, ix, SQL_DIR_EMPTY, "directory");

    if (rc)
        return rc;
    bind_u64(q.st, 1, dir);
    rc = query_step(&q);
    *empty = rc == 0;
    query_end(&q);
    return rc < 0 ? rc : 0;
}

int index_get_symlink(struct index *ix, uint64_t ino, char *buf, size_t size)
{
    struct query q;
    size_t len = 0;
    int rc = query_start(&q, ix, SQL_GET_SYMLINK, "symlink");

    if (rc)
        return rc;
    bind_u64(q.st, 1, ino);
    rc = query_step(&q);
    if (rc == 1) {
        const char *p = column_name(q.st, 0, STORE_SYMLINK_MAX, &len);
        if (!p)
            rc = index_bad_row(ix, "symlink", ino);
        else if (len > size)
            rc = -ERANGE;
        else
            memcpy(buf, p, len);
    } else if (rc == 0) {
        rc = -ENOENT;
    }
    query_end(&q);
    return rc < 0 ? rc : (int)len;
}

/* --- extended attributes --- */

int index_get_xattr(struct index *ix, uint64_t ino, const char *name, size_t len, void *buf,
                    size_t size)
{
    struct query q;
    int rc = query_start(&q, ix, SQL_GET_XATTR, "xattr");

    if (rc)
        return rc;
    bind_u64(q.st, 1, ino);
    sqlite3_bind_blob64(q.st, 2, name, len, SQLITE_STATIC);
    rc = query_step(&q);
    if (rc == 1) {
        int n = sqlite3_column_bytes(q.st, 0);
        if (sqlite3_column_type(q.st, 0) != SQLITE_BLOB || n > (int)STORE_XATTR_SIZE_MAX) {
            rc = index_bad_row(ix, "xattr of inode", ino);
        } else if (size && (size_t)n > size) {
            rc = -ERANGE;
        } else {
            if (size && n)
                memcpy(buf, sqlite3_column_blob(q.st, 0), (size_t)n);
            rc = n;
        }
    } else if (rc == 0) {
        rc = -ENODATA;
    }
    sqlite3_clear_bindings(q.st); /* name is the caller's */
    query_end(&q);
    return rc;
}

int index_list_xattr(struct index *ix, uint64_t ino, uint64_t after,
                     bool (*fn)(void *arg, uint64_t cookie, const char *name, size_t len), void *arg,
                     bool *eof)
{
    struct query q;
    bool stop = false;
    int rc = query_start(&q, ix, SQL_LIST_XATTR, "xattrs");

    *eof = false;
    if (rc)
        return rc;
    bind_u64(q.st, 1, ino);
    bind_u64(q.st, 2, after > INT64_MAX ? INT64_MAX : after);
    while (!stop && (rc = query_step(&q)) == 1) {
        bool bad = false;
        size_t len = 0;
        uint64_t id = index_column(q.st, 0, INT64_MAX, &bad);
        const char *name = column_name(q.st, 1, STORE_XATTR_NAME_MAX, &len);
        if (bad || !name) {
            rc = index_bad_row(ix, "xattr of inode", ino);
            break;
        }
        stop = !fn(arg, id, name, len);
    }
    query_end(&q);
    if (rc < 0)
        return rc;
    *eof = !stop;
    return 0;
}

/* --- extents --- */

static uint64_t range_end(uint64_t off, uint64_t len)
{
    uint64_t end = off + len;

    return end < off || end > INT64_MAX ? INT64_MAX : end;
}

int index_get_extents(struct index *ix, uint64_t ino, uint64_t off, uint64_t len,
                      struct index_extent *out, unsigned max)
{
    struct query q;
    unsigned n = 0;

    if (off >= STORE_FILE_MAX || max == 0)
        return 0;
    int rc = query_start(&q, ix, SQL_GET_EXTENTS, "extents");
    if (rc)
        return rc;
    bind_u64(q.st, 1, ino);
    bind_u64(q.st, 2, range_end(off, len));
    sqlite3_bind_int64(q.st, 3, (int64_t)off - (int64_t)SLOT_SIZE);
    bind_u64(q.st, 4, (uint64_t)max + SLOT_SIZE); /* those that end before off do not count */
    while (n < max && (rc = query_step(&q)) == 1) {
        bool bad = false;
        struct index_extent *e = &out[n];
        e->off = index_column(q.st, 7, STORE_FILE_MAX, &bad);
        e->len = (uint32_t)index_column(q.st, 8, SLOT_SIZE, &bad);
        e->chunk_off = (uint32_t)index_column(q.st, 9, SLOT_SIZE, &bad);
        if (bad || !index_row_chunk(q.st, 0, &e->chunk) || e->len == 0 ||
            e->off % SLOT_SIZE + e->len > SLOT_SIZE || e->chunk_off + e->len > e->chunk.len) {
            rc = index_bad_row(ix, "extent of inode", ino);
            break;
        }
        if (e->off + e->len > off)
            n++;
    }
    query_end(&q);
    return rc < 0 ? rc : (int)n;
}

int index_read_blob(struct index *ix, const struct chunk *c, void *buf)
{
    struct query q;
    int rc = query_start(&q, ix, SQL_GET_BLOB, "blob");

    if (rc)
        return rc;
    bind_u64(q.st, 1, c->id);
    rc = query_step(&q);
    if (rc == 1) {
        rc = 0;
        if (sqlite3_column_type(q.st, 0) != SQLITE_BLOB ||
            sqlite3_column_bytes(q.st, 0) != (int)c->stored_len)
            rc = index_bad_row(ix, "blob", c->id);
        else
            memcpy(buf, sqlite3_column_blob(q.st, 0), c->stored_len);
    } else if (rc == 0) {
        rc = -ENOENT;
    }
    query_end(&q);
    return rc;
}

int index_seek(struct index *ix, uint64_t ino, uint64_t off, uint64_t end, bool want_data,
               uint64_t *out)
{
    struct query q;
    uint64_t hole = off; /* everything in [off, hole) is mapped */
    bool found = false;

    if (end > STORE_FILE_MAX)
        end = STORE_FILE_MAX;
    if (off >= end)
        return -ENXIO;
    int rc = query_start(&q, ix, SQL_SEEK, "extents");
    if (rc)
        return rc;
    bind_u64(q.st, 1, ino);
    sqlite3_bind_int64(q.st, 2, (int64_t)off - (int64_t)SLOT_SIZE);
    while (!found && (rc = query_step(&q)) == 1) {
        bool bad = false;
        uint64_t e_off = index_column(q.st, 0, STORE_FILE_MAX, &bad);
        uint64_t e_end = e_off + index_column(q.st, 1, SLOT_SIZE, &bad);
        if (bad) {
            rc = index_bad_row(ix, "extent of inode", ino);
            break;
        }
        if (e_end <= off)
            continue;
        if (want_data) {
            *out = e_off > off ? e_off : off;
            found = true;
        } else if (e_off > hole || hole >= end) {
            break;
        } else {
            hole = e_end;
        }
    }
    query_end(&q);
    if (rc < 0)
        return rc;
    if (!want_data) {
        *out = hole;
        found = true;
    }
    return found && *out < end ? 0 : -ENXIO;
}

int index_list_orphans(struct index *ix, bool (*fn)(void *arg, uint64_t ino), void *arg)
{
    struct query q;
    bool more = true;
    int rc = query_start(&q, ix, SQL_ORPHANS, "orphans");

    if (rc)
        return rc;
    while (more && (rc = query_step(&q)) == 1) {
        bool bad = false;
        uint64_t ino = index_column(q.st, 0, INT64_MAX, &bad);
        if (bad || ino == 0) {
            rc = index_bad_row(ix, "orphan", ino);
            break;
        }
        more = fn(arg, ino);
    }
    query_end(&q);
    return rc < 0 ? rc : 0;
}
