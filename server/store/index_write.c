/* SPDX-License-Identifier: Apache-2.0
 * index_write: transactions and the rows that are not extents.
 *
 * Every statement between index_begin and index_commit runs on the writer connection. A statement that
 * fails leaves the transaction open; the caller rolls it back.
 */
#include <errno.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/index_impl.h"

int index_begin(struct index *ix)
{
    int rc = fault_point("index.begin");

    if (rc)
        return rc;
    if (ix->readonly)
        return -EROFS;
    pthread_mutex_lock(&ix->write_lock);
    rc = ix->failed;
    sqlite3_stmt *st = rc ? NULL : index_stmt(ix, &ix->writer, SQL_BEGIN, &rc);
    if (st)
        rc = index_run(ix, &ix->writer, st, "begin");
    ix->nlive = 0;
    ix->blob_bytes_before = ix->blob_bytes;
    ix->snap_seq_before = ix->snap_seq;
    ix->snap_newest_before = ix->snap_newest;
    if (rc)
        pthread_mutex_unlock(&ix->write_lock);
    return rc;
}

static void rollback_locked(struct index *ix)
{
    int rc = 0;

    /* SQLite rolls back by itself after some errors (disk full, I/O). */
    if (!sqlite3_get_autocommit(ix->writer.db)) {
        sqlite3_stmt *st = index_stmt(ix, &ix->writer, SQL_ROLLBACK, &rc);
        if (st)
            rc = index_run(ix, &ix->writer, st, "rollback");
        if (rc && !ix->failed)
            ix->failed = -EIO;
    }
    ix->nlive = 0;
    ix->snap_seq = ix->snap_seq_before;
    ix->snap_newest = ix->snap_newest_before;
    __atomic_store_n(&ix->blob_bytes, ix->blob_bytes_before, __ATOMIC_RELAXED);
}

void index_rollback(struct index *ix)
{
    rollback_locked(ix);
    pthread_mutex_unlock(&ix->write_lock);
}

int index_commit(struct index *ix)
{
    int rc = index_flush_live(ix);

    if (!rc && sqlite3_get_autocommit(ix->writer.db))
        rc = -EIO; /* a failed statement has ended the transaction and the caller did not notice */
    if (!rc)
        rc = fault_point("index.commit");
    if (!rc) {
        sqlite3_stmt *st = index_stmt(ix, &ix->writer, SQL_COMMIT, &rc);
        if (st)
            rc = index_run(ix, &ix->writer, st, "commit");
        /* Frames whose sync failed may or may not be on the disk: only a reopen can tell. */
        if (rc == -EIO)
            ix->failed = -EIO;
    }
    if (rc)
        rollback_locked(ix);
    pthread_mutex_unlock(&ix->write_lock);
    return rc;
}

sqlite3_stmt *writer_prepare(struct index *ix, enum index_sql which, int *rc)
{
    *rc = fault_point("index.apply");
    return *rc ? NULL : index_stmt(ix, &ix->writer, which, rc);
}

int writer_run(struct index *ix, sqlite3_stmt *st, const char *what)
{
    return index_run(ix, &ix->writer, st, what);
}

int writer_run_keys(struct index *ix, enum index_sql which, uint64_t a, uint64_t b, int keys,
                    const char *what)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, which, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, a);
    if (keys > 1)
        bind_u64(st, 2, b);
    return writer_run(ix, st, what);
}

int index_put_meta(struct index *ix, const struct index_meta *m)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_META, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, m->next_ino);
    bind_u64(st, 2, m->next_chunk);
    bind_u64(st, 3, m->next_pack);
    bind_u64(st, 4, m->next_gen);
    bind_u64(st, 5, m->txg);
    bind_u64(st, 6, m->files);
    bind_u64(st, 7, m->logical);
    bind_u64(st, 8, m->stored);
    bind_u64(st, 9, m->props.codec);
    bind_u64(st, 10, (uint64_t)m->props.level);
    bind_u64(st, 11, m->props.quota_bytes);
    bind_u64(st, 12, m->props.quota_files);
    bind_u64(st, 13, m->props.readonly);
    bind_u64(st, 14, m->snap_seq);
    bind_u64(st, 15, m->held);
    bind_u64(st, 16, m->props.dedup);
    bind_u64(st, 17, (uint64_t)m->props.recompress);
    bind_u64(st, 18, m->props.snapdir);
    return writer_run(ix, st, "put meta");
}

/* Nanoseconds since 1970; times outside 1677..2262 become the nearest that fits. */
static void bind_time(sqlite3_stmt *st, int i, const struct timespec *t)
{
    int64_t ns;

    if (__builtin_mul_overflow((int64_t)t->tv_sec, INT64_C(1000000000), &ns) ||
        __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
        ns = t->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    sqlite3_bind_int64(st, i, ns);
}

int index_put_inode(struct index *ix, const struct vattr *a)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_INODE, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, a->ino);
    bind_u64(st, 2, a->gen);
    bind_u64(st, 3, a->type);
    bind_u64(st, 4, a->mode);
    bind_u64(st, 5, a->nlink);
    bind_u64(st, 6, a->uid);
    bind_u64(st, 7, a->gid);
    bind_u64(st, 8, a->rdev_major);
    bind_u64(st, 9, a->rdev_minor);
    bind_u64(st, 10, a->size);
    bind_u64(st, 11, a->used);
    bind_u64(st, 12, a->change);
    bind_u64(st, 13, a->parent);
    bind_time(st, 14, &a->atime);
    bind_time(st, 15, &a->mtime);
    bind_time(st, 16, &a->ctime);
    bind_time(st, 17, &a->btime);
    bind_u64(st, 18, a->create_verf);
    return writer_run(ix, st, "put inode");
}

int index_del_inode(struct index *ix, uint64_t ino)
{
    int rc = writer_run_keys(ix, SQL_DEL_INODE, ino, 0, 1, "delete inode");

    if (!rc)
        rc = writer_run_keys(ix, SQL_DEL_XATTRS, ino, 0, 1, "delete xattrs");
    if (!rc)
        rc = writer_run_keys(ix, SQL_DEL_SYMLINK, ino, 0, 1, "delete symlink");
    return rc;
}

int index_put_symlink(struct index *ix, uint64_t ino, const char *target, size_t len)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_SYMLINK, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, ino);
    sqlite3_bind_blob64(st, 2, target, len, SQLITE_STATIC);
    return writer_run(ix, st, "put symlink");
}

int index_put_dirent(struct index *ix, uint64_t dir, uint64_t cookie, const char *name, size_t len,
                     uint64_t ino)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_DIRENT, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, dir);
    bind_u64(st, 2, cookie);
    sqlite3_bind_blob64(st, 3, name, len, SQLITE_STATIC);
    bind_u64(st, 4, ino);
    return writer_run(ix, st, "put dirent");
}

int index_del_dirent(struct index *ix, uint64_t dir, uint64_t cookie)
{
    return writer_run_keys(ix, SQL_DEL_DIRENT, dir, cookie, 2, "delete dirent");
}

int index_put_orphan(struct index *ix, uint64_t ino)
{
    return writer_run_keys(ix, SQL_PUT_ORPHAN, ino, 0, 1, "put orphan");
}

int index_del_orphan(struct index *ix, uint64_t ino)
{
    return writer_run_keys(ix, SQL_DEL_ORPHAN, ino, 0, 1, "delete orphan");
}

int index_put_xattr(struct index *ix, uint64_t ino, const char *name, size_t len, const void *val,
                    size_t size)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_XATTR, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, ino);
    sqlite3_bind_blob64(st, 2, name, len, SQLITE_STATIC);
    sqlite3_bind_blob64(st, 3, size ? val : "", size, SQLITE_STATIC);
    return writer_run(ix, st, "put xattr");
}

int index_del_xattr(struct index *ix, uint64_t ino, const char *name, size_t len)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_DEL_XATTR, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, ino);
    sqlite3_bind_blob64(st, 2, name, len, SQLITE_STATIC);
    return writer_run(ix, st, "delete xattr");
}
