/* SPDX-License-Identifier: Apache-2.0
 * index_vfs: SQLite's file system with a WAL that is written in large pieces and grows in steps.
 *
 * SQLite writes a WAL frame by frame, each with two system calls, and lets the file grow with every commit,
 * so that each sync also has to write the file's size. Here consecutive writes to a WAL are collected until
 * it is synced (or read, or cut), and the file grows ahead in steps of zeros, which end a WAL as well as its
 * end does: a frame of zeros never has the header's salt. All other files are the default VFS's own.
 *
 * V1 A commit syncs the WAL before it shows its frames to other connections (synchronous = FULL, which
 *    conn_open sets): nobody looks for a frame that is still in the buffer but its writer, whose reads
 *    write it out first.
 * V2 What a failed write leaves in the buffer is dropped: SQLite rolls back, and writes those frames anew.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/index_impl.h"
#include "server/store/sqlite.h"

#define BUFFER_SIZE (124 << 10) /* the default VFS writes less than 128 KiB at once */
#define STEP_SMALL  (1 << 20) /* growth of a small WAL */
#define STEP_LARGE  (4 << 20) /* of one that is at least as large as this */
#define ZEROS       (64 << 10)

struct walfile {
    sqlite3_file base;
    sqlite3_int64 size; /* of the file; -1: not known */
    sqlite3_int64 off;  /* of the buffer in the file */
    int len;
    char *buf;
    sqlite3_file real[]; /* the default VFS's, with whatever follows it */
};

static struct walfile *wf(sqlite3_file *f)
{
    return (struct walfile *)f;
}

/* Grows the file ahead of its end; not growing is no failure. */
static void grow(struct walfile *w)
{
    static const char zeros[ZEROS];
    sqlite3_file *r = w->real;
    sqlite3_int64 end = w->size, to = end + (end < STEP_LARGE ? STEP_SMALL : STEP_LARGE);

    for (sqlite3_int64 at = end; at < to; at += ZEROS)
        if (r->pMethods->xWrite(r, zeros, ZEROS, at)) {
            r->pMethods->xTruncate(r, end);
            return;
        }
    w->size = to;
}

static int flush(struct walfile *w)
{
    sqlite3_file *r = w->real;
    sqlite3_int64 end = w->off + w->len;
    int rc = 0;

    if (!w->len)
        return 0;
    if (w->size < 0 || w->off == 0) /* a WAL that begins again may have been cut by another connection */
        rc = r->pMethods->xFileSize(r, &w->size);
    if (!rc)
        rc = r->pMethods->xWrite(r, w->buf, w->len, w->off);
    w->len = 0;
    if (rc) {
        w->size = -1;
        return rc;
    }
    if (end > w->size) {
        w->size = end;
        grow(w);
    }
    return 0;
}

static int wal_close(sqlite3_file *f)
{
    struct walfile *w = wf(f);
    int rc = flush(w), rc2 = w->real->pMethods->xClose(w->real);

    free(w->buf);
    w->buf = NULL;
    return rc ? rc : rc2;
}

static int wal_read(sqlite3_file *f, void *p, int n, sqlite3_int64 off)
{
    struct walfile *w = wf(f);
    int rc = w->len && off < w->off + w->len && off + n > w->off ? flush(w) : 0;

    return rc ? rc : w->real->pMethods->xRead(w->real, p, n, off);
}

static int wal_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 off)
{
    struct walfile *w = wf(f);
    int rc = 0;

    if (w->len && (off != w->off + w->len || n > BUFFER_SIZE - w->len))
        rc = flush(w);
    if (rc)
        return rc;
    if (!w->buf)
        w->buf = malloc(BUFFER_SIZE);
    if (!w->buf || n > BUFFER_SIZE) {
        w->size = -1;
        return w->real->pMethods->xWrite(w->real, p, n, off);
    }
    if (!w->len)
        w->off = off;
    memcpy(w->buf + w->len, p, (size_t)n);
    w->len += n;
    return 0;
}

static int wal_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    struct walfile *w = wf(f);
    int rc = flush(w);

    w->size = -1;
    return rc ? rc : w->real->pMethods->xTruncate(w->real, size);
}

static int wal_sync(sqlite3_file *f, int flags)
{
    struct walfile *w = wf(f);
    int rc = flush(w);

    return rc ? rc : w->real->pMethods->xSync(w->real, flags);
}

static int wal_file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    struct walfile *w = wf(f);
    int rc = flush(w);

    return rc ? rc : w->real->pMethods->xFileSize(w->real, size);
}

static int wal_lock(sqlite3_file *f, int lock)
{
    return wf(f)->real->pMethods->xLock(wf(f)->real, lock);
}

static int wal_unlock(sqlite3_file *f, int lock)
{
    return wf(f)->real->pMethods->xUnlock(wf(f)->real, lock);
}

static int wal_check_reserved(sqlite3_file *f, int *out)
{
    return wf(f)->real->pMethods->xCheckReservedLock(wf(f)->real, out);
}

static int wal_control(sqlite3_file *f, int op, void *arg)
{
    return wf(f)->real->pMethods->xFileControl(wf(f)->real, op, arg);
}

static int wal_sector(sqlite3_file *f)
{
    return wf(f)->real->pMethods->xSectorSize(wf(f)->real);
}

static int wal_device(sqlite3_file *f)
{
    return wf(f)->real->pMethods->xDeviceCharacteristics(wf(f)->real);
}

static const sqlite3_io_methods wal_methods = {
    .iVersion = 1, /* neither shared memory nor mapped pages: a WAL has none */
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_file_size,
    .xLock = wal_lock,
    .xUnlock = wal_unlock,
    .xCheckReservedLock = wal_check_reserved,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector,
    .xDeviceCharacteristics = wal_device,
};

static sqlite3_vfs vfs, *real_vfs;

static int vfs_open(sqlite3_vfs *self, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
    struct walfile *w = wf(f);
    int rc;

    (void)self;
    if (!(flags & SQLITE_OPEN_WAL))
        return real_vfs->xOpen(real_vfs, name, f, flags, out_flags);
    memset(w, 0, sizeof(*w));
    w->size = -1;
    w->real->pMethods = NULL;
    rc = real_vfs->xOpen(real_vfs, name, w->real, flags, out_flags);
    if (w->real->pMethods && rc) /* then it wants to be closed */
        w->real->pMethods->xClose(w->real);
    if (!rc)
        w->base.pMethods = &wal_methods;
    return rc;
}

static void vfs_make(void)
{
    sqlite_setup();
    real_vfs = sqlite3_vfs_find(NULL);
    if (!real_vfs)
        return;
    vfs = *real_vfs;
    vfs.pNext = NULL;
    vfs.zName = "volnfs";
    vfs.szOsFile = (int)sizeof(struct walfile) + real_vfs->szOsFile;
    vfs.xOpen = vfs_open;
    if (sqlite3_vfs_register(&vfs, 0))
        real_vfs = NULL;
}

const char *index_vfs(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, vfs_make);
    return real_vfs ? vfs.zName : NULL;
}
