/* SPDX-License-Identifier: Apache-2.0
 * replay: main of a fuzz target built without libFuzzer: runs the files named, or else those of tests/fuzz/seeds.
 */
#include "tests/fuzz/replay.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 65536
#define MUTANTS   5000

static uint64_t seed = 1;
static int mutants = MUTANTS;

static uint32_t rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static void mutate_and_run(const uint8_t *data, size_t size)
{
    static uint8_t buf[INPUT_MAX + 64];

    for (int i = 0; i < mutants; i++) {
        size_t n = size + rnd() % 64;

        memset(buf, 0, n);
        memcpy(buf, data, size);
        for (uint32_t k = rnd() % 8; k > 0 && n; k--)
            buf[rnd() % n] = rnd() % 2 ? (uint8_t)rnd() : (uint8_t)(rnd() % 4);
        LLVMFuzzerTestOneInput(buf, rnd() % 4 ? n : rnd() % (n + 1));
    }
}

static int replay(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *f = fopen(path, "rb");
    size_t n;

    if (!f) {
        perror(path);
        return -1;
    }
    n = fread(data, 1, sizeof(data), f);
    fclose(f);
    LLVMFuzzerTestOneInput(data, n);
    mutate_and_run(data, n);
    return 0;
}

/* The target's seeds, if we are run from a build of the tree. */
static int replay_seeds(const char *program)
{
    const char *src = getenv("VOLNFS_SRC"), *name = strrchr(program, '/');
    char pattern[4096];
    glob_t g;
    int n, err = 0;

    name = name ? name + 1 : program;
    n = snprintf(pattern, sizeof(pattern), "%s/tests/fuzz/seeds/%.*s/*", src ? src : ".", (int)strcspn(name, "."),
                 name);
    if (n < 0 || (size_t)n >= sizeof(pattern) || glob(pattern, 0, NULL, &g) != 0)
        return 0;
    mutants = MUTANTS / (int)(g.gl_pathc + 1);
    for (n = 0; n < (int)g.gl_pathc && !err; n++)
        err = replay(g.gl_pathv[n]);
    globfree(&g);
    return err ? err : n;
}

int main(int argc, char **argv)
{
    int n = argc - 1;

    mutate_and_run((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        if (replay(argv[i]) < 0)
            return 1;
    if (argc == 1 && (n = replay_seeds(argv[0])) < 0)
        return 1;
    printf("1..1\nok 1 - replayed %d files and their mutants\n", n);
    return 0;
}
