/* SPDX-License-Identifier: Apache-2.0
 * replay: main of a fuzz target built without libFuzzer.
 */
#include "tests/fuzz/replay.h"

#include <stdio.h>
#include <string.h>

#define INPUT_MAX 65536
#define MUTANTS   5000

static uint64_t seed = 1;

static uint32_t rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static void mutate_and_run(const uint8_t *data, size_t size)
{
    static uint8_t buf[INPUT_MAX + 64];

    for (int i = 0; i < MUTANTS; i++) {
        size_t n = size + rnd() % 64;

        memset(buf, 0, n);
        memcpy(buf, data, size);
        for (uint32_t k = rnd() % 8; k > 0 && n; k--)
            buf[rnd() % n] = rnd() % 2 ? (uint8_t)rnd() : (uint8_t)(rnd() % 4);
        LLVMFuzzerTestOneInput(buf, rnd() % 4 ? n : rnd() % (n + 1));
    }
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_MAX];

    mutate_and_run(data, 0);
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        size_t n;

        if (!f) {
            perror(argv[i]);
            return 1;
        }
        n = fread(data, 1, sizeof(data), f);
        fclose(f);
        LLVMFuzzerTestOneInput(data, n);
        mutate_and_run(data, n);
    }
    printf("1..1\nok 1 - replayed %d files and their mutants\n", argc - 1);
    return 0;
}
