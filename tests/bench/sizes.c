/* SPDX-License-Identifier: Apache-2.0
 * sizes: what files take on disk in a volume.
 *
 * sizes DIR PATH...: writes all regular files below the paths into a new volume in DIR and tells what packs and index
 * have become once all is at rest, against the files' bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "server/store/volume.h"
#include "tests/bench/must.h"

static struct volume *v;
static struct store_call call;
static uint64_t dir, files, bytes;

static int add(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    static unsigned char buf[1u << 20];
    char name[32];
    struct vattr a;
    struct volume_create_args f = {.name = name, .set = {.mask = VSET_MODE, .mode = 0644}};
    uint64_t off = 0;
    ssize_t n;
    int fd;

    if (type != FTW_F || !S_ISREG(st->st_mode) || (fd = open(path, O_RDONLY)) < 0)
        return 0;
    if (files % 1000 == 0) { /* directories of a usual size */
        f.dir = STORE_ROOT_INO;
        f.type = IT_DIR;
        f.len = (size_t)snprintf(name, sizeof(name), "d%llu", (unsigned long long)files);
        MUST(volume_create_at(v, &call, &f, &a, NULL));
        dir = a.ino;
    }
    f.dir = dir;
    f.type = IT_REG;
    f.len = (size_t)snprintf(name, sizeof(name), "file%llu", (unsigned long long)files++);
    MUST(volume_create_at(v, &call, &f, &a, NULL));
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        MUST(volume_write(v, &call, a.ino, off, buf, (size_t)n, false, NULL, NULL));
        off += (uint64_t)n;
    }
    close(fd);
    bytes += off;
    MUST(volume_commit(v, &call, a.ino));
    if (files % 64 == 0) {
        MUST(volume_call_wait(&call));
        store_call_release(&call);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct engine_conf conf = {.cache_size = 256u << 20, .epoch = 1};
    struct vset root = {.mask = VSET_MODE, .mode = 0755};
    struct volume_props props;
    struct volume_stat st;
    struct engine *e;

    if (argc < 3) {
        fprintf(stderr, "usage: sizes DIR PATH... (DIR must not exist)\n");
        return 2;
    }
    volume_props_default(&props);
    MUST(engine_new(&conf, &e));
    MUST(volume_create(argv[1], &props, &root));
    MUST(volume_open(e, argv[1], "sizes", 1, &v));
    store_call_init(&call, true);
    for (int i = 2; i < argc; i++)
        MUST(nftw(argv[i], add, 32, FTW_PHYS));
    MUST(volume_call_wait(&call));
    store_call_release(&call);
    sleep(3); /* small data moves to packs */
    MUST(volume_gc(v)); /* what else the background does in its own time */
    MUST(volume_close(v));
    MUST(volume_open(e, argv[1], "sizes", 1, &v));
    volume_stat(v, &st);
    printf("%llu files, %.1f MiB: payload %.3f, packs %.3f, index %.3f, in all %.3f of it; %.0f bytes of index a file\n",
           (unsigned long long)files, (double)bytes / 1048576, (double)st.stored / (double)bytes,
           (double)st.pack_bytes / (double)bytes, (double)st.index_bytes / (double)bytes,
           (double)(st.pack_bytes + st.index_bytes) / (double)bytes, (double)st.index_bytes / (double)files);
    MUST(volume_close(v));
    engine_free(e);
    return 0;
}
