/* SPDX-License-Identifier: Apache-2.0
 * growth: does a volume stay as fast when it has a million files and 100 GiB? `make growth`.
 *
 *     growth [FILES [GIB [DIR]]]
 *
 * With GROWTH_KEEP=FOLDER the volume that was filled is kept there, or taken from there if there is one.
 *
 * The same work is timed on a volume that is empty and on one that has grown, in turns; of each the best round counts. The
 * changes are judged together: the index follows them, so that one kind of change may wait for what another has left.
 * What waits for nothing is timed by the processor time of its thread.
 * Each phase runs in a process of its own, so that nothing is left in memory. Prints each figure with the bound it has to
 * keep; status 1 if one does not.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "server/store/snap.h"
#include "server/store/volume.h"
#include "tests/bench/must.h"

#define CACHE     (256u << 20)
#define WORK      20000u /* files of a round of the timed work */
#define ROUNDS    8
#define GROUP     64u    /* changes that are waited for together */
#define PER_DIR   1000u
#define BIG_FILE  4u     /* GiB */
#define OPS       7
#define ALL       OPS /* all changes of a round */
#define CPU       (OPS + 1) /* processor time of a round, of all threads */

static const struct {
    const char *name;
    bool change;
} ops[OPS] = {{"create + 4 KiB", true}, {"look up", false}, {"read", false}, {"overwrite", true}, {"list", false},
              {"rename", true}, {"remove", true}};

/* What the phases leave for each other; shared memory. */
struct results {
    double base[OPS + 2], grown[OPS + 2], grow_s, open_clean_s, open_crash_s, snap_s, pause_s, longest_s, abandon_s;
    uint64_t peak, files, logical, disk;
};
static struct results *R;
static char base[256], dir[300], empty_dir[300];
static unsigned nfiles = 1000000, gib = 100;

struct at {
    struct engine *e;
    struct volume *v;
    struct store_call c;
};

static double seconds(uint64_t t0)
{
    return (double)(clock_mono_ns() - t0) / 1e9;
}

static double own_seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Of all threads. */
static double cpu_seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void at_open(struct at *a)
{
    struct engine_conf conf = {.cache_size = CACHE, .epoch = (uint64_t)getpid()};

    MUST(engine_new(&conf, &a->e));
    MUST(volume_open(a->e, dir, "growth", 1, &a->v));
    store_call_init(&a->c, true);
}

static void at_close(struct at *a)
{
    store_call_release(&a->c);
    MUST(volume_close(a->v));
    engine_free(a->e);
}

static void settle(struct at *a)
{
    MUST(volume_call_wait(&a->c));
    store_call_release(&a->c);
}

static uint64_t make(struct at *a, uint64_t in, const char *name, enum inode_type type)
{
    struct volume_create_args ca = {.dir = in, .name = name, .len = strlen(name), .type = type,
                                    .set = {.mask = VSET_MODE, .mode = type == IT_DIR ? 0755 : 0644}};
    struct vattr at;

    MUST(volume_create_at(a->v, &a->c, &ca, &at, NULL));
    return at.ino;
}

static bool count_entry(void *arg, const struct volume_dirent *de)
{
    uint64_t *last = arg;

    *last = de->cookie;
    return true;
}

/* One round in a new folder; what is better than before is kept in took. */
static void work(struct at *a, int round, double *took)
{
    uint64_t *ino = calloc(WORK, sizeof(*ino)), d, t0, last = 0;
    unsigned char page[4096];
    struct volume_read r;
    struct vattr at;
    char name[32], to[32];
    bool eof = false;
    double each, own, all = 0, cpu = cpu_seconds();

    snprintf(name, sizeof(name), "round%d", round);
    d = make(a, STORE_ROOT_INO, name, IT_DIR);
    memset(page, 7, sizeof(page));
    for (int op = 0; op < OPS; op++) {
        t0 = clock_mono_ns();
        own = own_seconds();
        for (unsigned i = 0; i < WORK && !(op == 4 && eof); i++) {
            snprintf(name, sizeof(name), "w%u", i);
            memcpy(page, &i, sizeof(i));
            switch (op) {
            case 0:
                ino[i] = make(a, d, name, IT_REG);
                MUST(volume_write(a->v, &a->c, ino[i], 0, page, 4096, true, NULL, NULL));
                break;
            case 1:
                MUST(volume_lookup(a->v, &a->c, d, name, strlen(name), &at));
                break;
            case 2:
                MUST(volume_read(a->v, &a->c, ino[i], 0, 4096, &r));
                volume_read_release(&r);
                break;
            case 3:
                MUST(volume_write(a->v, &a->c, ino[i], 0, page, 4096, true, NULL, NULL));
                break;
            case 4:
                MUST(volume_readdir(a->v, &a->c, d, last, 256, count_entry, &last, &eof));
                break;
            case 5:
                snprintf(to, sizeof(to), "x%u", i);
                MUST(volume_rename(a->v, &a->c, d, name, strlen(name), d, to, strlen(to), 0, UINT64_MAX, NULL, NULL, NULL));
                break;
            case 6:
                name[0] = 'x';
                MUST(volume_unlink(a->v, &a->c, d, name, strlen(name), 0, NULL, NULL));
                break;
            }
            if (i % GROUP == GROUP - 1)
                settle(a);
        }
        settle(a);
        each = (ops[op].change ? seconds(t0) : own_seconds() - own) / WORK;
        if (took[op] == 0 || each < took[op])
            took[op] = each;
        all += ops[op].change ? each : 0;
    }
    if (took[ALL] == 0 || all < took[ALL])
        took[ALL] = all;
    cpu = (cpu_seconds() - cpu) / WORK;
    if (took[CPU] == 0 || cpu < took[CPU])
        took[CPU] = cpu;
    if (getenv("GROWTH_ROUNDS"))
        fprintf(stderr, "round %d: all %.1f cpu %.1f\n", round, all * 1e6, cpu * 1e6);
    free(ino);
}

static void grow(struct at *a)
{
    unsigned char *buf = malloc(1 << 20), small[300];
    uint64_t d = 0, ino;
    char name[32];

    memset(small, 'a', sizeof(small));
    for (unsigned i = 0; i < nfiles; i++) {
        if (i % PER_DIR == 0) {
            snprintf(name, sizeof(name), "d%u", i / PER_DIR);
            d = make(a, STORE_ROOT_INO, name, IT_DIR);
        }
        snprintf(name, sizeof(name), "f%u", i);
        ino = make(a, d, name, IT_REG);
        memcpy(small, &i, sizeof(i));
        MUST(volume_write(a->v, &a->c, ino, 0, small, sizeof(small), true, NULL, NULL));
        if (i % 4096 == 4095)
            settle(a);
    }
    settle(a);
    ino = 0;
    for (uint64_t mb = 0; mb < (uint64_t)gib << 10; mb++) {
        if (mb % (BIG_FILE << 10) == 0) {
            if (ino)
                MUST(volume_commit(a->v, &a->c, ino));
            settle(a);
            snprintf(name, sizeof(name), "big%u", (unsigned)(mb >> 10));
            ino = make(a, STORE_ROOT_INO, name, IT_REG);
        }
        memset(buf, (int)(mb % 255) + 1, 1 << 20);
        for (unsigned s = 0; s < 8; s++) { /* no two slots alike */
            uint64_t n = mb * 8 + s;
            memcpy(buf + s * SLOT_SIZE, &n, sizeof(n));
        }
        MUST(volume_write(a->v, &a->c, ino, mb % (BIG_FILE << 10) << 20, buf, 1 << 20, false, NULL, NULL));
    }
    if (ino)
        MUST(volume_commit(a->v, &a->c, ino));
    settle(a);
    free(buf);
}

static void phase_grow(void)
{
    struct at a;
    struct volume_stat st;
    uint64_t t0 = clock_mono_ns();

    at_open(&a);
    grow(&a);
    R->grow_s = seconds(t0);
    volume_stat(a.v, &st);
    R->files = st.files;
    R->logical = st.logical;
    R->disk = st.pack_bytes + st.index_bytes;
    at_close(&a);
}

static void phase_compare(void)
{
    struct at grown, empty;

    at_open(&grown);
    empty.e = grown.e;
    MUST(volume_open(empty.e, empty_dir, "empty", 2, &empty.v));
    store_call_init(&empty.c, true);
    for (int round = 0; round < ROUNDS; round++) { /* who comes second finds memory and caches full of the other's */
        bool swap = round & 1;
        work(swap ? &grown : &empty, round, swap ? R->grown : R->base);
        work(swap ? &empty : &grown, round, swap ? R->base : R->grown);
    }
    store_call_release(&empty.c);
    MUST(volume_close(empty.v));
    at_close(&grown);
}

struct writer {
    struct at *a;
    uint64_t ino;
    atomic_bool stop;
    double longest, over;
};

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    struct store_call c;
    unsigned char page[4096] = {1};

    store_call_init(&c, true);
    for (uint64_t i = 0; !w->stop; i++) {
        uint64_t t0 = clock_mono_ns();
        double s;
        MUST(volume_write(w->a->v, &c, w->ino, i % 1000 * 4096, page, sizeof(page), true, NULL, NULL));
        MUST(volume_call_wait(&c));
        store_call_release(&c);
        s = seconds(t0);
        if (s > w->longest)
            w->longest = s;
        if (s > 0.02)
            w->over += s;
    }
    return NULL;
}

/* A clean start, a snapshot under a writer, and an end without closing. */
static void phase_snapshot(void)
{
    struct at a;
    struct writer w = {.a = &a};
    pthread_t thread;
    uint64_t t0 = clock_mono_ns();

    at_open(&a);
    R->open_clean_s = seconds(t0);
    w.ino = make(&a, STORE_ROOT_INO, "written", IT_REG);
    settle(&a);
    pthread_create(&thread, NULL, writer_main, &w);
    usleep(300000);
    t0 = clock_mono_ns();
    MUST(snap_create(a.v, "all", NULL));
    R->snap_s = seconds(t0);
    w.stop = true;
    pthread_join(thread, NULL);
    R->pause_s = w.over;
    R->longest_s = w.longest;
    for (unsigned i = 0; i < 5000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "late%u", i);
        make(&a, STORE_ROOT_INO, name, IT_REG);
    }
    settle(&a);
    _exit(0);
}

static void phase_crashed(void)
{
    struct at a;
    uint64_t t0 = clock_mono_ns();

    at_open(&a);
    R->open_crash_s = seconds(t0);
    t0 = clock_mono_ns();
    store_call_release(&a.c);
    volume_abandon(a.v);
    R->abandon_s = seconds(t0);
    engine_free(a.e);
}

static bool run(void (*phase)(void))
{
    struct rusage ru;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        phase();
        fflush(stdout);
        _exit(0);
    }
    if (wait4(pid, &status, 0, &ru) != pid || status != 0)
        return false;
    if ((uint64_t)ru.ru_maxrss << 10 > R->peak)
        R->peak = (uint64_t)ru.ru_maxrss << 10;
    return true;
}

static bool copy(const char *from, const char *to)
{
    char cmd[700];

    snprintf(cmd, sizeof(cmd), "cp -r '%s' '%s' && sync -f '%s'", from, to, to);
    return system(cmd) == 0;
}

static unsigned bad;

static void judge(const char *what, double got, double bound, const char *unit)
{
    bool ok = got <= bound;

    bad += !ok;
    printf("%-34s %10.3f %-4s  at most %g  %s\n", what, got, unit, bound, ok ? "ok" : "NOT REACHED");
}

int main(int argc, char **argv)
{
    struct volume_props p;
    struct vset root = {.mask = VSET_MODE, .mode = 0755};
    char cmd[400];
    const char *keep = getenv("GROWTH_KEEP");
    bool done, kept = keep && access(keep, F_OK) == 0;

    if (argc > 1)
        nfiles = (unsigned)atoi(argv[1]);
    if (argc > 2)
        gib = (unsigned)atoi(argv[2]);
    mallopt(M_ARENA_MAX, 4); /* as volnfsd does */
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    R = mmap(NULL, sizeof(*R), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(base, sizeof(base), "%s/volnfs-growth-%d", argc > 3 ? argv[3] : "/tmp", (int)getpid());
    snprintf(dir, sizeof(dir), "%s/grown", base);
    snprintf(empty_dir, sizeof(empty_dir), "%s/empty", base);
    if (mkdir(base, 0700) < 0) {
        perror(base);
        return 1;
    }
    volume_props_default(&p);
    if (!kept)
        MUST(volume_create(dir, &p, &root));
    MUST(volume_create(empty_dir, &p, &root));
    done = kept ? copy(keep, dir) : run(phase_grow) && (!keep || copy(dir, keep));
    done = done && run(phase_compare) && run(phase_snapshot) && run(phase_crashed);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", base);
    if (system(cmd) != 0 || !done)
        return 1;
    printf("%llu files, %.1f GiB logical, %.2f GiB on the disk, filled in %.0f s\n", (unsigned long long)R->files,
           (double)R->logical / (1 << 30), (double)R->disk / (1 << 30), R->grow_s);
    for (int i = 0; i <= OPS; i++) {
        char what[64];
        snprintf(what, sizeof(what), "%s: %.1f us, empty %.1f", i == ALL ? "all changes" : ops[i].name, R->grown[i] * 1e6,
                 R->base[i] * 1e6);
        if (i == ALL || !ops[i].change)
            judge(what, R->grown[i] / R->base[i], 1.5, "x");
        else
            printf("%s\n", what);
    }
    printf("a round takes %.1f us of processor time a file, empty %.1f\n", R->grown[CPU] * 1e6, R->base[CPU] * 1e6);
    judge("opened after a clean stop", R->open_clean_s, 1, "s");
    judge("opened after a crash", R->open_crash_s, 5, "s");
    judge("memory above the cache", ((double)R->peak - CACHE) / (1 << 20), 200, "MiB");
    judge("snapshot: writers' pauses over 20 ms", R->pause_s, 1, "s");
    judge("ended, as when it is destroyed", R->abandon_s, 1, "s");
    printf("snapshot took %.2f s, the longest write %.0f ms\n", R->snap_s, R->longest_s * 1e3);
    return bad != 0;
}
