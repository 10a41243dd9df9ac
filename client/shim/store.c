/* SPDX-License-Identifier: Apache-2.0 */
/* The stores of mapped volume files: which there are, and the files behind them. */
#include "client/shim/store_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "client/nfs/rpc.h"

static struct store *stores; /* under the caller's lock */

static bool store_failed(long at)
{
    return at < 0 && at > -4096;
}

static void store_name(char *to, const struct nfs_fh *fh)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t h[2] = {0xcbf29ce484222325u, 0x84222325cbf29ce4u};

    for (uint32_t i = 0; i < fh->size; i++) {
        h[0] = (h[0] ^ fh->data[i]) * 0x100000001b3u;
        h[1] = (h[1] + fh->data[i]) * 0x9e3779b97f4a7c15u ^ h[1] >> 29;
    }
    memcpy(to, shim.dir, shim.dir_len);
    memcpy(to + shim.dir_len, "/map-", 5);
    for (int i = 0; i < 32; i++)
        to[shim.dir_len + 5 + i] = digits[h[i / 16] >> (60 - i % 16 * 4) & 15];
    to[shim.dir_len + 37] = 0;
}

static long store_open(const char *name)
{
    long fd = sys3(SYS_open, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600), high;

    if (fd < 0)
        return fd;
    high = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 128); /* out of the way of programs that count on low numbers */
    if (high >= 0) {
        sys1(SYS_close, fd);
        fd = high;
    }
    return fd;
}

static void store_unmap(struct store *s)
{
    if (s->bytes != NULL)
        sys2(SYS_munmap, s->bytes, s->capacity);
    if (s->info != NULL)
        sys2(SYS_munmap, s->info, INFO_HASHES + s->capacity / STORE_PAGE * 8);
    s->bytes = NULL;
    s->info = NULL;
}

int store_map(struct store *s, uint64_t size)
{
    uint64_t capacity = (size + STORE_GRAIN) & ~(STORE_GRAIN - 1);
    size_t info_size = INFO_HASHES + capacity / STORE_PAGE * 8;
    struct stat st;
    long info, bytes;

    if (capacity / STORE_GRAIN > INFO_BITS * 8ul)
        return -EFBIG;
    if (s->info != NULL && s->capacity >= capacity)
        return 0;
    if (sys2(SYS_fstat, s->info_fd, &st) != 0)
        return -EIO;
    if ((uint64_t)st.st_size < info_size && (info = sys2(SYS_ftruncate, s->info_fd, info_size)) != 0)
        return (int)info;
    info = sys6(SYS_mmap, 0, (long)info_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->info_fd, 0);
    if (store_failed(info))
        return (int)info;
    bytes = sys6(SYS_mmap, 0, (long)capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->fd, 0);
    if (store_failed(bytes)) {
        sys2(SYS_munmap, info, info_size);
        return (int)bytes;
    }
    store_unmap(s);
    s->capacity = capacity;
    s->info = (struct info *)info;
    s->filled = (uint8_t *)info + 4096;
    s->hashed = s->filled + INFO_BITS;
    s->hashes = (uint64_t *)((uint8_t *)info + INFO_HASHES);
    s->bytes = (uint8_t *)bytes;
    return 0;
}

static void store_close(struct store *s)
{
    store_unmap(s);
    if (s->fd >= 0)
        sys1(SYS_close, s->fd);
    if (s->info_fd >= 0)
        sys1(SYS_close, s->info_fd);
    s->fd = s->info_fd = -1;
}

/* Alone: a new store. */
static int store_begin(struct store *s, const struct nfs_attr *attr)
{
    long err = sys2(SYS_ftruncate, s->info_fd, 0);

    if (err == 0)
        err = sys2(SYS_ftruncate, s->fd, 0);
    if (err == 0)
        err = sys2(SYS_ftruncate, s->fd, attr->size);
    if (err == 0)
        err = store_map(s, attr->size);
    if (err != 0)
        return (int)err;
    s->info->size = attr->size;
    s->info->change = attr->change;
    __atomic_store_n(&s->info->magic, STORE_MAGIC, __ATOMIC_RELEASE);
    return 0;
}

/* Opens the files and gets hold of them: alone, then new; or with others. */
static int store_hold(struct store *s, const struct nfs_attr *attr)
{
    char name[320];
    struct stat st;
    long err;

    for (int n = 0; n < 1000; n++) {
        store_name(name, &s->fh);
        s->fd = (int)store_open(name);
        if (s->fd < 0)
            return s->fd;
        memcpy(name + strlen(name), ".i", 3);
        s->info_fd = (int)store_open(name);
        if (s->info_fd < 0)
            return s->info_fd;
        if (sys2(SYS_flock, s->fd, LOCK_EX | LOCK_NB) == 0 && (err = store_begin(s, attr)) != 0)
            return (int)err;
        err = sys2(SYS_flock, s->fd, LOCK_SH);
        if (err == 0)
            err = sys2(SYS_fstat, s->fd, &st);
        if (err == 0)
            err = store_map(s, attr->size);
        if (err != 0)
            return (int)err;
        /* Before we had the lock, the last holder may have removed what we opened, or be the last no longer. */
        if (st.st_nlink > 0 && __atomic_load_n(&s->info->magic, __ATOMIC_ACQUIRE) == STORE_MAGIC)
            return 0;
        store_close(s);
    }
    return -EIO;
}

/* Under the exclusive flock. The record first: who comes before both names are gone waits for us, and begins anew. */
static void store_remove(char *name)
{
    size_t n = strlen(name);

    memcpy(name + n, ".i", 3);
    sys1(SYS_unlink, name);
    name[n] = 0;
    sys1(SYS_unlink, name);
}

void store_sweep(void)
{
    struct sys_dirent *e;
    long dir = sys3(SYS_open, shim.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n, fd;
    char buf[2048], name[320];

    while (dir >= 0 && (n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n; at += e->reclen) {
            e = (void *)(buf + at);
            if (strncmp(e->name, "map-", 4) != 0 || strlen(e->name) != 36)
                continue;
            memcpy(name, shim.dir, shim.dir_len);
            name[shim.dir_len] = '/';
            memcpy(name + shim.dir_len + 1, e->name, 37);
            fd = sys3(SYS_open, name, O_RDWR | O_CLOEXEC, 0);
            if (fd < 0)
                continue;
            if (sys2(SYS_flock, fd, LOCK_EX | LOCK_NB) == 0)
                store_remove(name);
            sys1(SYS_close, fd);
        }
    }
    if (dir >= 0)
        sys1(SYS_close, dir);
}

static void store_free(struct store *s, bool empty)
{
    struct store **at;

    for (at = &stores; *at != NULL && *at != s; at = &(*at)->next)
        ;
    if (*at == s) {
        *at = s->next;
        __atomic_sub_fetch(&shim.run->mapped[file_slot(&s->fh)], 1, __ATOMIC_RELAXED);
        place_closed(&s->fh);
    }
    if (empty && !s->forked && s->info != NULL && sys2(SYS_flock, s->fd, LOCK_EX | LOCK_NB) == 0) {
        char name[320];

        /* Only the names go: a thread that still looks at the memory may do so. */
        __atomic_store_n(&s->info->magic, 0, __ATOMIC_RELEASE);
        store_name(name, &s->fh);
        store_remove(name);
    }
    rpc_fd_release(s->fd);
    rpc_fd_release(s->info_fd);
    store_close(s);
    heap_free(s);
}

int store_get(const struct nfs_fh *fh, const struct nfs_attr *attr, struct store **out)
{
    struct store *s;
    int err = 0;

    for (s = stores; s != NULL && !nfs_fh_same(&s->fh, fh); s = s->next)
        ;
    if (s == NULL) {
        s = heap_zalloc(1, sizeof(*s));
        if (s == NULL)
            return -ENOMEM;
        s->fh = *fh;
        s->fd = s->info_fd = -1;
        err = store_hold(s, attr);
        if (err != 0) {
            store_free(s, false);
            return err;
        }
        rpc_fd_keep(s->fd);
        rpc_fd_keep(s->info_fd);
        s->next = stores;
        stores = s;
        __atomic_add_fetch(&shim.run->mapped[file_slot(fh)], 1, __ATOMIC_RELAXED);
    }
    s->refs++;
    rlock_lock(&s->info->lock);
    err = store_refresh_locked(s, attr);
    rlock_unlock(&s->info->lock);
    if (err != 0) {
        store_unref(s);
        return err;
    }
    *out = s;
    return 0;
}

void store_ref(struct store *s)
{
    s->refs++;
}

void store_unref(struct store *s)
{
    if (--s->refs > 0)
        return;
    if (s->writable) {
        store_sync(s, 0, UINT64_MAX);
        __atomic_sub_fetch(&s->info->writers, 1, __ATOMIC_ACQ_REL);
    }
    store_free(s, true);
}

int store_fd(const struct store *s)
{
    return s->fd;
}

const struct nfs_fh *store_fh(const struct store *s)
{
    return &s->fh;
}

void store_forked(struct store *s)
{
    s->forked = true;
}

/* This process has n more of each. */
static void store_count(int n)
{
    for (struct store *s = stores; s != NULL; s = s->next) {
        __atomic_add_fetch(&shim.run->mapped[file_slot(&s->fh)], n, __ATOMIC_RELAXED);
        if (s->writable)
            __atomic_add_fetch(&s->info->writers, n, __ATOMIC_ACQ_REL);
    }
}

void store_child(void)
{
    store_count(1);
}

void store_exec(bool back)
{
    store_count(back ? 1 : -1);
}
