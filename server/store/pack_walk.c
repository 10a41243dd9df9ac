/* SPDX-License-Identifier: Apache-2.0
 * pack_walk: finds packs, and the records in one, without the index.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "server/store/files.h"
#include "server/store/pack.h"
#include "server/store/pack_format.h"

/* Reads exactly len bytes; 1 = done, 0 = the file ends before. */
static int read_at(int fd, void *buf, size_t len, uint64_t off)
{
    ssize_t n = read_full(fd, buf, len, off);

    return n < 0 ? (int)n : (size_t)n == len;
}

/* The pack's directory, if it is sealed and the directory is sound. *end: where records end. */
static int load_dir(int fd, uint32_t pack, uint64_t size, uint8_t **dir, size_t *count,
                    uint64_t *end)
{
    uint8_t b[PACK_HEADER];
    struct pack_footer f;

    if (size < 2 * PACK_HEADER)
        return 0;
    int rc = read_at(fd, b, sizeof(b), size - PACK_HEADER);
    if (rc <= 0)
        return rc;
    if (!pack_get_footer(b, &f) || f.pack != pack ||
        f.dir_off + (uint64_t)f.count * PACK_DIR_ENTRY + PACK_HEADER != size)
        return 0;
    size_t len = (size_t)f.count * PACK_DIR_ENTRY;
    uint8_t *d = malloc(len ? len : 1);
    if (!d)
        return -ENOMEM;
    rc = read_at(fd, d, len, f.dir_off);
    if (rc <= 0 || XXH3_64bits(d, len) != f.dir_sum) {
        free(d);
        return rc < 0 ? rc : 0;
    }
    *dir = d;
    *count = f.count;
    *end = f.dir_off;
    return 0;
}

/* The first entry's offset above off, 0 if none. Entries are in the order of offsets. */
static uint64_t next_in_dir(const uint8_t *dir, size_t count, uint64_t off)
{
    size_t lo = 0, hi = count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (pack_dir_entry_off(dir + mid * PACK_DIR_ENTRY) > off)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo < count ? pack_dir_entry_off(dir + lo * PACK_DIR_ENTRY) : 0;
}

static int walk_records(int fd, uint32_t pack, uint64_t end, const uint8_t *dir, size_t count,
                        uint8_t *buf,
                        int (*fn)(void *arg, const struct chunk *c, uint64_t ino, uint64_t off,
                                  bool good),
                        void *arg)
{
    uint64_t at = PACK_HEADER;
    int rc = 0;

    while (!rc && at != 0 && at + PACK_HEADER < end) {
        uint8_t header[PACK_HEADER];
        struct pack_record r;
        rc = read_at(fd, header, sizeof(header), at);
        if (rc <= 0)
            break;
        rc = 0;
        if (!pack_get_record(header, &r) || r.chunk.pack != pack || r.chunk.pack_off != at ||
            at + PACK_HEADER + r.chunk.stored_len > end) {
            at = next_in_dir(dir, count, at);
            continue;
        }
        rc = read_at(fd, buf, r.chunk.stored_len, at + PACK_HEADER);
        if (rc <= 0)
            break;
        bool good = XXH3_64bits(buf, r.chunk.stored_len) == r.chunk.checksum;
        rc = fn(arg, &r.chunk, r.ino, r.off, good);
        at += pack_align(PACK_HEADER + (uint64_t)r.chunk.stored_len);
    }
    return rc;
}

/* Opens a pack and checks its header. The descriptor, or -errno. */
static int open_pack(const char *dir, uint32_t pack, uint64_t *size)
{
    char name[PACK_PATH_MAX], *path = NULL;
    uint8_t header[PACK_HEADER];
    struct stat st;
    int fd, rc;

    pack_path(name, pack);
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        return -ENOMEM;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    rc = fd < 0 || fstat(fd, &st) ? -errno : read_at(fd, header, sizeof(header), 0);
    free(path);
    if (rc > 0 && pack_get_file_header(header, pack) && st.st_size <= PACK_FILE_MAX) {
        *size = (uint64_t)st.st_size;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return rc < 0 ? rc : -EUCLEAN;
}

int pack_walk(const char *dir, uint32_t pack,
              int (*fn)(void *arg, const struct chunk *c, uint64_t ino, uint64_t off, bool good),
              void *arg)
{
    uint8_t *entries = NULL, *buf = NULL;
    size_t count = 0;
    uint64_t end;
    int rc, fd = open_pack(dir, pack, &end);

    if (fd < 0)
        return fd;
    rc = load_dir(fd, pack, end, &entries, &count, &end);
    if (!rc) {
        buf = malloc(CHUNK_BOUND);
        rc = buf ? walk_records(fd, pack, end, entries, count, buf, fn, arg) : -ENOMEM;
    }
    close(fd);
    free(entries);
    free(buf);
    return rc;
}

/* --- entries --- */

static int entries_of_dir(const uint8_t *dir, size_t count, struct pack_entry **out)
{
    struct pack_entry *e = malloc((count ? count : 1) * sizeof(*e));

    if (!e)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        pack_get_dir_entry(dir + i * PACK_DIR_ENTRY, &e[i].id, &e[i].off, &e[i].stored_len);
    *out = e;
    return (int)count;
}

static int entries_of_headers(int fd, uint32_t pack, uint64_t end, struct pack_entry **out)
{
    struct pack_entry *e = NULL;
    size_t count = 0, cap = 0;
    int rc = 1;

    for (uint64_t at = PACK_HEADER; at + PACK_HEADER < end;) {
        uint8_t header[PACK_HEADER];
        struct pack_record r;
        rc = read_at(fd, header, sizeof(header), at);
        if (rc <= 0 || !pack_get_record(header, &r) || r.chunk.pack != pack || r.chunk.pack_off != at)
            break;
        if (count == cap) {
            cap = cap ? cap * 2 : 1024;
            struct pack_entry *p = realloc(e, cap * sizeof(*e));
            if (!p) {
                rc = -ENOMEM;
                break;
            }
            e = p;
        }
        e[count++] = (struct pack_entry){r.chunk.id, (uint32_t)at, r.chunk.stored_len};
        at += pack_align(PACK_HEADER + (uint64_t)r.chunk.stored_len);
    }
    if (rc < 0) {
        free(e);
        return rc;
    }
    *out = e;
    return (int)count;
}

int pack_entries(const char *dir, uint32_t pack, struct pack_entry **out)
{
    uint8_t *entries = NULL;
    size_t count = 0;
    uint64_t end;
    int rc, fd = open_pack(dir, pack, &end);

    *out = NULL;
    if (fd < 0)
        return fd;
    rc = load_dir(fd, pack, end, &entries, &count, &end);
    if (!rc)
        rc = entries ? entries_of_dir(entries, count, out) : entries_of_headers(fd, pack, end, out);
    free(entries);
    close(fd);
    return rc;
}

/* --- listing --- */

struct found {
    uint32_t pack;
    uint64_t size;
};
struct found_list {
    struct found *v;
    size_t count, cap;
};

static int found_compare(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return x->pack < y->pack ? -1 : x->pack > y->pack;
}

static int found_add(struct found_list *l, uint32_t pack, uint64_t size)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        struct found *v = realloc(l->v, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        l->v = v;
        l->cap = cap;
    }
    l->v[l->count++] = (struct found){pack, size};
    return 0;
}

static int list_folder(int dirfd, const char *folder, struct found_list *l)
{
    int fd = openat(dirfd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *de;
    int rc = 0;

    if (!d) {
        rc = errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (!rc && (errno = 0, de = readdir(d))) {
        struct stat st;
        uint32_t pack = pack_parse_name(folder, de->d_name);
        if (pack && fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            rc = found_add(l, pack, (uint64_t)st.st_size);
    }
    if (!rc && errno)
        rc = -errno;
    closedir(d);
    return rc;
}

int pack_list(const char *dir, int (*fn)(void *arg, uint32_t pack, uint64_t size), void *arg)
{
    struct found_list l = {0};
    DIR *d = opendir(dir);
    struct dirent *de;
    int rc = 0;

    if (!d)
        return -errno;
    while (!rc && (errno = 0, de = readdir(d)))
        if (strlen(de->d_name) == 2 && strcmp(de->d_name, "..") != 0)
            rc = list_folder(dirfd(d), de->d_name, &l);
    if (!rc && errno)
        rc = -errno;
    closedir(d);
    if (l.count)
        qsort(l.v, l.count, sizeof(*l.v), found_compare);
    for (size_t i = 0; !rc && i < l.count; i++)
        rc = fn(arg, l.v[i].pack, l.v[i].size);
    free(l.v);
    return rc;
}
