/* SPDX-License-Identifier: Apache-2.0
 * sizes: what files take on disk in a volume. `make sizes`.
 *
 *     sizes [DIR [PATH...]]
 *
 * Without a PATH: /usr/include for a source tree, and made from one seed, so that every run has the same, tensors of normally
 * distributed weights, data that does not compress, and many small texts. Each goes into a new volume below DIR (/tmp) under its
 * own names; told is what packs and index have become against the files' bytes once the background has nothing left to do, with
 * the bound that has to be kept. The journal, of a fixed size that large volumes do not notice, does not count. PATH...:
 * trees instead, judged as source trees. Status 1 if a bound was not kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "server/store/volume.h"
#include "tests/bench/must.h"

#define LEVELS     64
#define PIECE      (1u << 20)
#define TENSOR_MIB 64u
#define TENSORS    4u
#define TEXTS      100000u
#define TEXT_SIZE  1024u
#define PER_DIR    1000u
#define WORDS      8192u

static const char *base = "/tmp";
static struct volume *v;
static struct store_call call;
static uint64_t dirs[LEVELS], files, bytes, rng;
static unsigned bad;

static uint64_t next(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dULL;
}

/* In (0, 1). */
static double uniform(void)
{
    return ((double)(next() >> 11) + 0.5) / 9007199254740992.0;
}

static uint64_t make(uint64_t in, const char *name, enum inode_type type)
{
    struct volume_create_args f = {.dir = in, .name = name, .len = strlen(name), .type = type,
                                   .set = {.mask = VSET_MODE, .mode = type == IT_DIR ? 0755 : 0644}};
    struct vattr a;

    MUST(volume_create_at(v, &call, &f, &a, NULL));
    return a.ino;
}

static void put(uint64_t ino, uint64_t off, const void *p, size_t len)
{
    MUST(volume_write(v, &call, ino, off, p, len, false, NULL, NULL));
    bytes += len;
}

/* A file is whole. */
static void end(uint64_t ino)
{
    MUST(volume_commit(v, &call, ino));
    if (++files % 64 == 0) {
        MUST(volume_call_wait(&call));
        store_call_release(&call);
    }
}

static int add(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    static unsigned char buf[PIECE];
    uint64_t off = 0, ino;
    ssize_t n;
    int fd;

    if (ftw->level >= LEVELS - 1)
        return 0;
    if (type == FTW_D)
        dirs[ftw->level + 1] = ftw->level ? make(dirs[ftw->level], path + ftw->base, IT_DIR) : STORE_ROOT_INO;
    if (type != FTW_F || !S_ISREG(st->st_mode) || (fd = open(path, O_RDONLY)) < 0)
        return 0;
    ino = make(ftw->level ? dirs[ftw->level] : STORE_ROOT_INO, path + ftw->base, IT_REG);
    for (; (n = read(fd, buf, sizeof(buf))) > 0; off += (uint64_t)n)
        put(ino, off, buf, (size_t)n);
    close(fd);
    end(ino);
    return 0;
}

static void tree(const char *path)
{
    MUST(nftw(path, add, LEVELS, FTW_PHYS) < 0 ? -errno : 0);
}

/* Two of the normal distribution. */
static void normal(float out[2])
{
    double r = sqrt(-2 * log(uniform())), phi = 2 * M_PI * uniform();

    out[0] = (float)(r * cos(phi));
    out[1] = (float)(r * sin(phi));
}

/* Tensors of weights of `size` bytes, the upper ones of a float. The rows differ in scale, as those of trained networks do. */
static void tensors(size_t size)
{
    static unsigned char buf[PIECE];
    char name[32];
    float two[2], scale = 0;
    uint64_t ino;

    for (unsigned t = 0; t < TENSORS; t++) {
        snprintf(name, sizeof(name), "tensor%u", t);
        ino = make(STORE_ROOT_INO, name, IT_REG);
        for (uint64_t mib = 0; mib < TENSOR_MIB; mib++) {
            for (size_t i = 0; i < PIECE / size; i++) {
                uint32_t bits;
                if (i % 4096 == 0)
                    scale = (float)(0.02 * (0.5 + uniform()));
                if (i % 2 == 0)
                    normal(two);
                two[i % 2] *= scale;
                memcpy(&bits, &two[i % 2], 4);
                bits >>= 32 - 8 * size;
                memcpy(buf + i * size, &bits, size);
            }
            put(ino, mib << 20, buf, sizeof(buf));
        }
        end(ino);
    }
}

static void bf16(const char *none)
{
    (void)none;
    tensors(2);
}

static void f32(const char *none)
{
    (void)none;
    tensors(4);
}

static void noise(const char *none)
{
    static uint64_t buf[PIECE / 8];
    uint64_t ino = make(STORE_ROOT_INO, "noise", IT_REG);

    (void)none;
    for (uint64_t mib = 0; mib < (uint64_t)TENSORS * TENSOR_MIB; mib++) {
        for (size_t i = 0; i < PIECE / 8; i++)
            buf[i] = next();
        put(ino, mib << 20, buf, sizeof(buf));
    }
    end(ino);
}

/* Texts of words that are as unequally frequent as those of a language, out of made-up ones. */
static void texts(const char *none)
{
    static const char *const syllables[] = {"al", "be", "cor", "da", "en", "fi", "gra", "ho", "in", "ju", "ka", "lo", "mer", "no",
                                            "or", "pe", "qui", "re", "st", "ti", "un", "ver", "wa", "ex", "y", "zo", "s", "th",
                                            "er", "an", "ing", "ed"};
    static char words[WORDS][16];
    char text[TEXT_SIZE + 32], name[32];
    uint64_t dir = 0, ino;

    (void)none;
    for (unsigned w = 0; w < WORDS; w++) /* what is frequent is short */
        for (unsigned s = 0; s < 1 + (w > 16) + (w > 256) + next() % 2; s++)
            strcat(words[w], syllables[next() % 32]);
    for (unsigned i = 0; i < TEXTS; i++) {
        if (i % PER_DIR == 0) {
            snprintf(name, sizeof(name), "d%u", i / PER_DIR);
            dir = make(STORE_ROOT_INO, name, IT_DIR);
        }
        for (size_t at = 0; at < TEXT_SIZE;) { /* word w comes about 1 / w times */
            unsigned w = (unsigned)(exp(uniform() * log(WORDS))) - 1;
            at += (size_t)sprintf(text + at, "%s%s", words[w], next() % 12 == 0 ? ".\n" : " ");
        }
        snprintf(name, sizeof(name), "text%u", i);
        ino = make(dir, name, IT_REG);
        put(ino, 0, text, TEXT_SIZE);
        end(ino);
    }
}

/* Fills a new volume and judges it. */
static void measure(struct engine *e, const char *what, void (*fill)(const char *), const char *arg, double bound)
{
    struct vset root = {.mask = VSET_MODE, .mode = 0755};
    struct volume_props props;
    struct volume_stat st;
    char dir[300], cmd[330];
    double all;

    snprintf(dir, sizeof(dir), "%s/volnfs-sizes-%d", base, (int)getpid());
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    files = bytes = 0;
    rng = 88172645463325252ULL;
    volume_props_default(&props);
    MUST(volume_create(dir, &props, &root));
    MUST(volume_open(e, dir, "sizes", 1, &v));
    store_call_init(&call, true);
    fill(arg);
    MUST(volume_call_wait(&call));
    store_call_release(&call);
    MUST(volume_gc(v)); /* what the background does in its own time */
    MUST(volume_close(v));
    MUST(volume_open(e, dir, "sizes", 1, &v));
    volume_stat(v, &st);
    MUST(volume_close(v));
    all = (double)(st.pack_bytes + st.index_bytes) / (double)bytes;
    bad += !(all <= bound);
    printf("%-24s %7llu files %7.1f MiB: %.3f, at most %.2f  %s  (payload %.3f, packs %.3f, index %.3f: %.0f bytes a file)\n",
           what, (unsigned long long)files, (double)bytes / 1048576, all, bound, all <= bound ? "ok" : "NOT REACHED",
           (double)st.stored / (double)bytes, (double)st.pack_bytes / (double)bytes, (double)st.index_bytes / (double)bytes,
           (double)st.index_bytes / (double)files);
    fflush(stdout);
    if (system(cmd) != 0)
        exit(1);
}

int main(int argc, char **argv)
{
    struct engine_conf conf = {.cache_size = 256u << 20, .epoch = 1};
    struct engine *e;

    if (argc > 1)
        base = argv[1];
    MUST(engine_new(&conf, &e));
    for (int i = 2; i < argc; i++)
        measure(e, argv[i], tree, argv[i], 0.30);
    if (argc <= 2) {
        measure(e, "/usr/include", tree, "/usr/include", 0.30);
        measure(e, "bf16 tensors", bf16, NULL, 0.72);
        measure(e, "f32 tensors", f32, NULL, 0.87);
        measure(e, "incompressible", noise, NULL, 1.01);
        measure(e, "texts of 1 KiB", texts, NULL, 0.80);
    }
    engine_free(e);
    return bad != 0;
}
