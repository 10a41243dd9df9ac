/* SPDX-License-Identifier: Apache-2.0
 * volume: how fast is the store alone? Prints one line per measurement. Run by hand.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "server/store/volume.h"
#include "tests/bench/must.h"

static void fill(unsigned char *p, size_t len)
{
    uint64_t x = 88172645463325252ULL;

    for (size_t i = 0; i < len; i++) { /* half of it compresses */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = i & 512 ? (unsigned char)x : 7;
    }
}

static struct vattr make(struct volume *v, struct store_call *c, const char *name)
{
    struct volume_create_args a = {.dir = STORE_ROOT_INO, .name = name, .len = strlen(name),
                                   .type = IT_REG, .set = {.mask = VSET_MODE, .mode = 0644}};
    struct vattr at;

    MUST(volume_create_at(v, c, &a, &at, NULL));
    return at;
}

static void report(const char *what, uint64_t ns, double n, const char *unit)
{
    printf("%-32s %10.2f us each, %10.1f %s/s\n", what, (double)ns / 1e3 / n, n * 1e9 / (double)ns, unit);
}

static void small(struct volume *v, unsigned char *buf)
{
    enum { N = 20000 };
    struct store_call c;
    struct volume_read r;
    struct vattr a = {0};
    uint64_t t0 = clock_mono_ns();
    char name[32];

    store_call_init(&c, true);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "small%d", i);
        a = make(v, &c, name);
        MUST(volume_write(v, &c, a.ino, 0, buf, 4096, true, NULL, NULL));
        if (i % 256 == 255) {
            MUST(volume_call_wait(&c));
            store_call_release(&c);
        }
    }
    report("create + stable 4 KiB, 256 a group", clock_mono_ns() - t0, N, "files");
    MUST(volume_call_wait(&c));
    t0 = clock_mono_ns();
    for (int i = 0; i < 1000; i++) {
        MUST(volume_write(v, &c, a.ino, (uint64_t)i % 16 * 4096, buf, 4096, true, NULL, NULL));
        MUST(volume_call_wait(&c));
        store_call_release(&c);
    }
    report("stable 4 KiB, one at a time", clock_mono_ns() - t0, 1000, "writes");
    t0 = clock_mono_ns();
    for (int i = 0; i < 1000000; i++) {
        MUST(volume_read(v, &c, a.ino, (uint64_t)i % 16 * 4096, 4096, &r));
        volume_read_release(&r);
    }
    report("read 4 KiB, cached", clock_mono_ns() - t0, 1000000, "reads");
    t0 = clock_mono_ns();
    for (int i = 0; i < 1000000; i++)
        MUST(volume_getattr(v, &c, a.ino, a.gen, &a));
    report("getattr, cached", clock_mono_ns() - t0, 1000000, "calls");
    store_call_release(&c);
}

static void stream(struct volume *v, unsigned char *buf)
{
    enum { MB = 512 };
    struct store_call c;
    struct vattr a;
    uint64_t t0 = clock_mono_ns();

    store_call_init(&c, true);
    a = make(v, &c, "stream");
    for (uint64_t i = 0; i < MB; i++)
        MUST(volume_write(v, &c, a.ino, i << 20, buf, 1 << 20, false, NULL, NULL));
    MUST(volume_commit(v, &c, a.ino));
    MUST(volume_call_wait(&c));
    report("write 1 MiB in order, commit", clock_mono_ns() - t0, MB, "MiB");
    t0 = clock_mono_ns();
    for (uint64_t i = 0; i < MB; i++) {
        struct volume_read r;
        MUST(volume_read(v, &c, a.ino, i << 20, 1 << 20, &r));
        volume_read_release(&r);
    }
    report("read 1 MiB in order, partly cold", clock_mono_ns() - t0, MB, "MiB");
    store_call_release(&c);
}

/* Takes a file's pages out of the page cache. */
static int forget(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    int fd = type == FTW_F ? open(path, O_RDONLY) : -1;

    (void)st;
    (void)ftw;
    if (fd >= 0) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    return 0;
}

/* Reads "stream" from the disk, and a plain file of as many bytes as it is stored in. */
static void cold(struct volume *v, const char *dir, unsigned char *buf)
{
    enum { MB = 512 };
    struct volume_stat st;
    struct store_call c;
    struct vattr a;
    char path[300];
    uint64_t t0, stored;
    int fd;

    store_call_init(&c, true);
    volume_stat(v, &st);
    stored = st.stored;
    MUST(volume_lookup(v, &c, STORE_ROOT_INO, "stream", 6, &a));
    t0 = clock_mono_ns();
    for (uint64_t i = 0; i < MB; i++) {
        struct volume_read r;
        MUST(volume_read(v, &c, a.ino, i << 20, 1 << 20, &r));
        volume_read_release(&r);
    }
    report("read 1 MiB in order, cold", clock_mono_ns() - t0, MB, "MiB");
    store_call_release(&c);
    snprintf(path, sizeof(path), "%s/plain", dir);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    for (uint64_t n = 0; n < stored; n += 1 << 20)
        MUST(write(fd, buf, 1 << 20));
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    lseek(fd, 0, SEEK_SET);
    t0 = clock_mono_ns();
    while (read(fd, buf, 1 << 20) > 0)
        ;
    report("the stored bytes from a plain file", clock_mono_ns() - t0, (double)(stored >> 20), "MiB");
    close(fd);
    unlink(path);
}

/* Nanoseconds to write a file of MB MiB, no two slots of which are equal, and commit it. */
static uint64_t distinct(struct volume *v, const char *name, unsigned char *buf, uint64_t mb)
{
    struct store_call c;
    struct vattr a;
    uint64_t t0 = clock_mono_ns();

    store_call_init(&c, true);
    a = make(v, &c, name);
    for (uint64_t i = 0; i < mb; i++) {
        for (uint64_t k = 0; k < 1 << 20; k += SLOT_SIZE) {
            uint64_t stamp = i << 20 | k;
            memcpy(buf + k + 600, &stamp, sizeof(stamp));
        }
        MUST(volume_write(v, &c, a.ino, i << 20, buf, 1 << 20, false, NULL, NULL));
    }
    MUST(volume_commit(v, &c, a.ino));
    MUST(volume_call_wait(&c));
    store_call_release(&c);
    return clock_mono_ns() - t0;
}

/* What dedup costs new data, and what it makes of a copy; best of some rounds, in turn without and with it. */
static void dedup(struct engine *e, const char *dir, unsigned char *buf)
{
    enum { MB = 256, ROUNDS = 5 };
    uint64_t best[2][2] = {{UINT64_MAX, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}};
    static const char *const what[2][2] = {{"new data, dedup=off", "a copy of it"}, {"new data, dedup=on", "a copy of it"}};

    for (int i = 0; i < 2 * ROUNDS; i++) {
        struct vset root = {.mask = VSET_MODE, .mode = 0755};
        struct volume_props p;
        char path[300], cmd[320];
        struct volume *v;
        volume_props_default(&p);
        p.dedup = i & 1;
        snprintf(path, sizeof(path), "%s-%d", dir, i);
        MUST(volume_create(path, &p, &root));
        MUST(volume_open(e, path, "bench", 2, &v));
        for (int k = 0; k < 2; k++) {
            uint64_t ns = distinct(v, k ? "b" : "a", buf, MB);
            best[i & 1][k] = ns < best[i & 1][k] ? ns : best[i & 1][k];
            MUST(volume_settle(v));
        }
        MUST(volume_close(v));
        snprintf(cmd, sizeof(cmd), "rm -rf '%s'", path);
        MUST(system(cmd));
    }
    for (int i = 0; i < 4; i++)
        report(what[i / 2][i % 2], best[i / 2][i % 2], MB, "MiB");
}

int main(int argc, char **argv)
{
    struct engine_conf conf = {.cache_size = 256u << 20, .epoch = 1};
    struct volume_props p;
    struct vset root = {.mask = VSET_MODE, .mode = 0755};
    unsigned char *buf = malloc(1 << 20);
    char dir[256], cmd[300];
    struct engine *e;
    struct volume *v;

    snprintf(dir, sizeof(dir), "%s/volnfs-bench-%d", argc > 1 ? argv[1] : "/tmp", (int)getpid());
    fill(buf, 1 << 20);
    volume_props_default(&p);
    MUST(volume_create(dir, &p, &root));
    MUST(engine_new(&conf, &e));
    MUST(volume_open(e, dir, "bench", 1, &v));
    small(v, buf);
    stream(v, buf);
    MUST(volume_close(v));
    sync();
    nftw(dir, forget, 16, FTW_PHYS);
    MUST(volume_open(e, dir, "bench", 1, &v));
    cold(v, dir, buf);
    MUST(volume_close(v));
    dedup(e, dir, buf);
    engine_free(e);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    return system(cmd) != 0;
}
