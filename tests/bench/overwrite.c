/* SPDX-License-Identifier: Apache-2.0
 * overwrite: a file is overwritten at random, 4 KiB at a time; how much of the disk does the volume take?
 *
 * overwrite DIR MiB SECONDS: the data does not compress, each 64 writes are committed. Fails if packs, index and all take more
 * than twice the file's size once gc is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/store/volume.h"
#include "tests/bench/must.h"

static uint64_t rng = 88172645463325252ULL;

static uint64_t next(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dULL;
}

static void fill(unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        uint64_t x = next();
        memcpy(p + i, &x, 8);
    }
}

static double report(struct volume *v, const char *when, uint64_t size, uint64_t writes)
{
    struct volume_stat st;
    double times;

    volume_stat(v, &st);
    times = (double)(st.pack_bytes + st.index_bytes) / (double)size;
    printf("%8s %9llu writes, live %5llu MiB, packs %5llu MiB, index %4llu MiB, copied %6llu MiB, %.2f times the file\n",
           when, (unsigned long long)writes, (unsigned long long)st.stored >> 20,
           (unsigned long long)st.pack_bytes >> 20, (unsigned long long)st.index_bytes >> 20,
           (unsigned long long)st.gc_copied >> 20, times);
    fflush(stdout);
    return times;
}

int main(int argc, char **argv)
{
    struct engine_conf conf = {.cache_size = 256u << 20, .epoch = 1};
    struct vset root = {.mask = VSET_MODE | VSET_UID | VSET_GID, .mode = 0755};
    struct volume_props props;
    struct engine *e;
    struct volume *v;
    struct store_call c;
    struct vattr a;
    struct volume_create_args f = {.dir = STORE_ROOT_INO, .name = "f", .len = 1, .type = IT_REG,
                                   .set = {.mask = VSET_MODE, .mode = 0644}};
    unsigned char *buf = malloc(1u << 20);
    uint64_t size, end, shown, writes = 0;
    double times;
    char when[16];

    if (argc != 4 || !buf) {
        fprintf(stderr, "usage: overwrite DIR MiB SECONDS (DIR must not exist)\n");
        return 2;
    }
    size = strtoull(argv[2], NULL, 10) << 20;
    volume_props_default(&props);
    MUST(engine_new(&conf, &e));
    MUST(volume_create(argv[1], &props, &root));
    MUST(volume_open(e, argv[1], "bench", 1, &v));
    store_call_init(&c, true);
    MUST(volume_create_at(v, &c, &f, &a, NULL));
    for (uint64_t off = 0; off < size; off += 1u << 20) {
        fill(buf, 1u << 20);
        MUST(volume_write(v, &c, a.ino, off, buf, 1u << 20, false, NULL, NULL));
    }
    MUST(volume_commit(v, &c, a.ino));
    MUST(volume_call_wait(&c));
    store_call_release(&c);
    report(v, "written", size, 0);
    end = clock_mono_ms() + strtoull(argv[3], NULL, 10) * 1000;
    shown = clock_mono_ms();
    while (clock_mono_ms() < end) {
        fill(buf, 4096);
        MUST(volume_write(v, &c, a.ino, next() % (size / 4096) * 4096, buf, 4096, false, NULL, NULL));
        if (++writes % 64)
            continue;
        MUST(volume_commit(v, &c, a.ino));
        MUST(volume_call_wait(&c));
        store_call_release(&c);
        if (clock_mono_ms() >= shown + 5000) {
            shown = clock_mono_ms();
            snprintf(when, sizeof(when), "%llu s", (unsigned long long)(strtoull(argv[3], NULL, 10) - (end - shown) / 1000));
            report(v, when, size, writes);
        }
    }
    report(v, "end", size, writes);
    MUST(volume_gc(v));
    times = report(v, "after gc", size, writes);
    MUST(volume_close(v));
    engine_free(e);
    free(buf);
    return times > 2;
}
