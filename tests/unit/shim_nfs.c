/* SPDX-License-Identifier: Apache-2.0
 * client/nfs: the pure parts: compounds in bytes, ranges of locks, the heap; and VOLNFS_SERVER and VOLNFS_VOLUMES.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/nfs/call.h"
#include "client/nfs/heap.h"
#include "client/shim/run.h"
#include "client/shim/shim.h"

/* ---- decoding ---- */

struct bytes {
    uint8_t at[1024];
    size_t size;
};

static void put(struct bytes *to, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(to->at + to->size, &value, 4);
    to->size += 4;
}

static void put_text(struct bytes *to, const char *text)
{
    size_t size = strlen(text);

    put(to, (uint32_t)size);
    memset(to->at + to->size, 0, (size + 3) & ~(size_t)3);
    memcpy(to->at + to->size, text, size);
    to->size += (size + 3) & ~(size_t)3;
}

/* A reply with one GETATTR of type, change, size, mode, owner and mtime. */
static void reply_getattr(struct bytes *to, const char *owner)
{
    size_t length_at, start;

    to->size = 0;
    put(to, NFS_OK);
    put(to, 0); /* tag */
    put(to, 1);
    put(to, NFS_OP_GETATTR);
    put(to, NFS_OK);
    put(to, 2);
    put(to, 1u << 1 | 1u << 3 | 1u << 4);
    put(to, 1u << 1 | 1u << 4 | 1u << 21);
    length_at = to->size;
    put(to, 0);
    start = to->size;
    put(to, NFS_REG);
    put(to, 7);
    put(to, 8);
    put(to, 1);
    put(to, 2);
    put(to, 0640);
    put_text(to, owner);
    put(to, 0);
    put(to, 1000);
    put(to, 999999999);
    {
        uint32_t length = __builtin_bswap32((uint32_t)(to->size - start));

        memcpy(to->at + length_at, &length, 4);
    }
}

static bool decode(const struct bytes *from, size_t size, struct nfs_attr *attr)
{
    struct nfs_dec dec;

    memset(attr, 0, sizeof(*attr));
    dec_start(&dec, from->at, size);
    if (dec_op(&dec, NFS_OP_GETATTR) != NFS_OK)
        return false;
    dec_attr(&dec, attr);
    return !dec.bad;
}

static void attributes_cut_short_are_bad(void **state)
{
    struct bytes reply;
    struct nfs_attr attr;

    reply_getattr(&reply, "1000");
    for (size_t size = 0; size < reply.size; size++)
        assert_false(decode(&reply, size, &attr));
    assert_true(decode(&reply, reply.size, &attr));
}

static void attributes_are_decoded(void **state)
{
    struct bytes reply;
    struct nfs_attr attr;

    reply_getattr(&reply, "1000");
    assert_true(decode(&reply, reply.size, &attr));
    assert_int_equal(attr.type, NFS_REG);
    assert_int_equal(attr.change, 7ull << 32 | 8);
    assert_int_equal(attr.size, 1ull << 32 | 2);
    assert_int_equal(attr.mode, 0640);
    assert_int_equal(attr.uid, 1000);
    assert_int_equal(attr.mtime.tv_sec, 1000);
    assert_int_equal(attr.mtime.tv_nsec, 999999999);
}

static void hostile_replies_are_bad(void **state)
{
    struct bytes reply;
    struct nfs_attr attr;
    struct nfs_dec dec;

    /* Every single byte wrong: nothing but an answer, never a read beyond the end (run under ASan). */
    reply_getattr(&reply, "nobody@example");
    for (size_t i = 0; i < reply.size; i++) {
        struct bytes bent = reply;
        uint8_t *exact = malloc(reply.size);

        bent.at[i] ^= 0xff;
        memcpy(exact, bent.at, reply.size);
        dec_start(&dec, exact, reply.size);
        if (dec_op(&dec, NFS_OP_GETATTR) == NFS_OK)
            dec_attr(&dec, &attr);
        free(exact);
    }
    /* A result of another operation than asked for. */
    reply_getattr(&reply, "0");
    dec_start(&dec, reply.at, reply.size);
    assert_int_not_equal(dec_op(&dec, NFS_OP_GETFH), NFS_OK);
    assert_true(dec.bad);
}

static void encoders_stop_at_their_buffer(void **state)
{
    struct nfs_fh fh = {.size = NFS_FH_MAX};
    uint8_t buf[64];
    struct nfs_enc enc;

    enc_start(&enc, buf, sizeof(buf));
    enc_putfh(&enc, &fh);
    assert_false(enc_finish(&enc));
    assert_true(enc.pos <= sizeof(buf));
    enc_start(&enc, buf, sizeof(buf));
    fh.size = 5;
    enc_putfh(&enc, &fh);
    assert_true(enc_finish(&enc));
    assert_int_equal(enc.pos, 12 + 4 + 4 + 8);
    assert_int_equal(buf[11], 1); /* one operation */
}

static void every_status_has_an_errno(void **state)
{
    assert_int_equal(nfs_errno(NFS_OK), 0);
    assert_int_equal(nfs_errno(NFS_ERR_NOENT), -ENOENT);
    assert_int_equal(nfs_errno(NFS_ERR_STALE), -ESTALE);
    assert_int_equal(nfs_errno(NFS_ERR_DQUOT), -EDQUOT);
    assert_int_equal(nfs_errno(NFS_ERR_XDEV), -EXDEV);
    assert_int_equal(nfs_errno(NFS_ERR_NAMETOOLONG), -ENAMETOOLONG);
    for (uint32_t status = 1; status < 11000; status++)
        assert_true(nfs_errno(status) < 0 && nfs_errno(status) > -4096);
}

/* ---- ranges ---- */

static void ranges_are(const struct nfs_locker *locker, const char *want)
{
    char text[1024] = "";

    for (uint32_t i = 0; i < locker->nranges; i++) {
        const struct nfs_range *r = &locker->ranges[i];
        size_t at = strlen(text);

        if (r->end == UINT64_MAX)
            snprintf(text + at, sizeof(text) - at, "%s%u:%lu-", i ? " " : "", r->type, (unsigned long)r->offset);
        else
            snprintf(text + at, sizeof(text) - at, "%s%u:%lu-%lu", i ? " " : "", r->type, (unsigned long)r->offset,
                     (unsigned long)r->end);
    }
    assert_string_equal(text, want);
}

static void ranges_split_and_join(void **state)
{
    struct nfs_locker locker = {0};

    nfs_range_set(&locker, 0, 0, UINT64_MAX);
    ranges_are(&locker, "");
    nfs_range_set(&locker, 2, 10, 10);
    ranges_are(&locker, "2:10-19");
    nfs_range_set(&locker, 2, 20, 5);
    ranges_are(&locker, "2:10-24");
    nfs_range_set(&locker, 2, 0, 10);
    ranges_are(&locker, "2:0-24");
    nfs_range_set(&locker, 1, 5, 5);
    ranges_are(&locker, "2:0-4 1:5-9 2:10-24");
    nfs_range_set(&locker, 0, 7, 10);
    ranges_are(&locker, "2:0-4 1:5-6 2:17-24");
    nfs_range_set(&locker, 1, 100, UINT64_MAX);
    ranges_are(&locker, "2:0-4 1:5-6 2:17-24 1:100-");
    nfs_range_set(&locker, 0, 200, 1);
    ranges_are(&locker, "2:0-4 1:5-6 2:17-24 1:100-199 1:201-");
    nfs_range_set(&locker, 2, 0, UINT64_MAX);
    ranges_are(&locker, "2:0-");
    nfs_range_set(&locker, 0, 0, 1);
    ranges_are(&locker, "2:1-");
    nfs_range_set(&locker, 0, UINT64_MAX, 1);
    assert_int_equal(locker.nranges, 1);
    assert_int_equal(locker.ranges[0].end, UINT64_MAX - 1);
    nfs_range_set(&locker, 0, 0, UINT64_MAX);
    ranges_are(&locker, "");
}

/* Against one byte per place. */
static void ranges_agree_with_bytes(void **state)
{
    unsigned seed = 1;

    for (int round = 0; round < 300; round++) {
        struct nfs_locker locker = {0};
        uint8_t bytes[64] = {0};

        for (int n = 0; n < 12 && !locker.too_many; n++) {
            unsigned at = (unsigned)rand_r(&seed) % 60, len = 1 + (unsigned)rand_r(&seed) % (64 - at);
            uint32_t type = (unsigned)rand_r(&seed) % 3;
            uint8_t seen[64] = {0};

            nfs_range_set(&locker, type, at, len);
            memset(bytes + at, (int)type, len);
            for (uint32_t i = 0; i < locker.nranges; i++) {
                assert_true(locker.ranges[i].end < 64 && locker.ranges[i].type != 0);
                for (uint64_t b = locker.ranges[i].offset; b <= locker.ranges[i].end; b++) {
                    assert_int_equal(seen[b], 0);
                    seen[b] = (uint8_t)locker.ranges[i].type;
                }
            }
            if (!locker.too_many)
                assert_memory_equal(seen, bytes, sizeof(bytes));
        }
    }
}

static void too_many_ranges_are_noted(void **state)
{
    struct nfs_locker locker = {0};

    for (uint64_t i = 0; i < NFS_RANGES; i++)
        nfs_range_set(&locker, 2, i * 10, 1);
    assert_false(locker.too_many);
    nfs_range_set(&locker, 2, NFS_RANGES * 10, 1);
    assert_true(locker.too_many);
    assert_int_equal(locker.nranges, NFS_RANGES);
    nfs_range_set(&locker, 0, 0, UINT64_MAX);
    assert_false(locker.too_many);
}

/* ---- heap ---- */

static void heap_gives_what_was_asked_for(void **state)
{
    static const size_t sizes[] = {1, 15, 16, 17, 255, 4096, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 9 << 20};
    uint8_t *all[64];

    assert_null(heap_zalloc(SIZE_MAX / 2, 3));
    for (unsigned i = 0; i < 64; i++) {
        size_t size = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];

        all[i] = heap_alloc(size);
        assert_non_null(all[i]);
        assert_int_equal((uintptr_t)all[i] % 16, 0);
        memset(all[i], (int)i, size);
    }
    for (unsigned i = 0; i < 64; i++) {
        size_t size = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];

        assert_int_equal(all[i][0], i);
        assert_int_equal(all[i][size - 1], i);
        if (i % 2)
            heap_free(all[i]);
    }
    for (unsigned i = 0; i < 64; i += 2) {
        size_t size = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];

        all[i] = heap_realloc(all[i], size * 2);
        assert_int_equal(all[i][size - 1], i);
        heap_free(all[i]);
    }
    heap_free(NULL);
    all[0] = heap_zalloc(1000, 3);
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(all[0][i], 0);
    heap_free(all[0]);
    all[0] = (uint8_t *)heap_strdup("text");
    assert_string_equal((char *)all[0], "text");
    heap_free(all[0]);
}

/* ---- environment ---- */

static void servers_are_parsed(void **state)
{
    static const char *const bad[] = {"", ":", ":2049", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:x",
                                      "1.2.3.4:20x", "name:2049", "1.2.3", "[::1", "[::1]x", "[]:1", "[::1]:", "::1]"};
    static const struct {
        const char *text, *host;
        unsigned port;
    } good[] = {{"1.2.3.4", "1.2.3.4", 2049}, {"1.2.3.4:1", "1.2.3.4", 1}, {"[::1]:65535", "::1", 65535},
                {"[fe80::1]", "fe80::1", 2049}, {"::1", "::1", 2049}};
    char host[64];
    unsigned port;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(run_parse_server(bad[i], host, sizeof(host), &port), -EINVAL);
    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(run_parse_server(good[i].text, host, sizeof(host), &port), 0);
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
}

static int attach(const char *volumes, struct run **run)
{
    char dir[] = "/tmp/volnfs-unit-XXXXXX", out[256];
    const char *why = NULL;
    int err;

    assert_non_null(mkdtemp(dir));
    err = run_attach(dir, "127.0.0.1:1", volumes, run, out, sizeof(out), &why);
    assert_true(err == 0 || why != NULL);
    run_remove(dir);
    assert_int_equal(access(dir, F_OK), -1);
    return err;
}

static void volumes_are_parsed(void **state)
{
    static const char *const bad[] = {"", ";", "a", "/a", "/a/b", "a/", "a//b", "a/../b", "a/b=", "a/b=x", "a/b=/",
                                      "a/b=/x/../y", "a/b=//x", "a/b=/x//y", ":ro", "a/b;c"};
    char many[40 * 8] = "", longest[400] = "a/b=/";
    struct run *run = NULL;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_true(attach(bad[i], &run) < 0);
    for (int i = 0; i < SHIM_MOUNTS + 1; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "a/v%d;", i);
    assert_int_equal(attach(many, &run), -E2BIG);
    memset(longest + 5, 'x', 300);
    assert_true(attach(longest, &run) < 0);

    assert_int_equal(attach("alice/mydata;;bob/m:ro=/models//;carol/c@monday=/x/y", &run), 0);
    assert_string_equal(run->mounts[0].path, "/volumes/mydata");
    assert_string_equal(run->mounts[0].remote, "alice/mydata");
    assert_int_equal(run->mounts[0].readonly, 0);
    assert_string_equal(run->mounts[1].path, "/models");
    assert_string_equal(run->mounts[1].remote, "bob/m");
    assert_int_equal(run->mounts[1].readonly, 1);
    assert_string_equal(run->mounts[2].path, "/x/y");
    assert_string_equal(run->mounts[2].remote, "carol/c@monday");
    assert_int_equal(run->mounts[2].readonly, 1);
    assert_int_equal(run->mounts[3].len, 0);
}

static void run_directories_of_others_are_refused(void **state)
{
    char dir[] = "/tmp/volnfs-unit-XXXXXX", out[256];
    const char *why = NULL;
    struct run *run = NULL;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(run_attach(dir, "127.0.0.1:1", "a/b", &run, out, sizeof(out), &why), -EPERM);
    run_remove(dir);

    /* Root takes a run of another user when told to, but not one that waits under the name of root's own. */
    if (geteuid() != 0)
        return;
    assert_int_equal(run_attach(NULL, "127.0.0.1:1", "unit/b", &run, out, sizeof(out), &why), 0);
    run_remove(out);
    assert_int_equal(mkdir(out, 0700), 0);
    assert_int_equal(chown(out, 1234, 1234), 0);
    assert_int_equal(run_attach(NULL, "127.0.0.1:1", "unit/b", &run, out, sizeof(out), &why), -EPERM);
    run_remove(out);
}

enum { DEAD, MAPPED, LISTED, REUSED, FOREIGN, RUNS };

static void make_runs(const char *parent, char dir[RUNS][100], struct run **run)
{
    static const char *const names[] = {"run-aaaaaa", "run-bBbB99", "0123456789abcdef", "run-dddddd", "run-eeeeee"};
    char out[300], user[16];
    const char *why = NULL;

    snprintf(user, sizeof(user), "%u-", (unsigned)geteuid());
    for (int i = 0; i < RUNS; i++) {
        snprintf(dir[i], 100, "%s/volnfs-%s%s", parent, i == LISTED ? user : "", names[i]);
        assert_int_equal(run_attach(dir[i], "127.0.0.1:1", "a/b", &run[i], out, sizeof(out), &why), 0);
        snprintf(out, sizeof(out), "%.99s/cwd", dir[i]);
        assert_int_equal(mkdir(out, 0700), 0);
        if (i >= LISTED)
            assert_int_equal(hold_attach(&run[i]->holds), 0);
    }
    run[REUSED]->holds.proc[0].start++;
    run[FOREIGN]->holds.proc[0].space++;
}

/* Runs that are dead, mapped by a process, or that list one: alive, of a number that another one has now, elsewhere. */
static void dead_runs_are_removed(void **state)
{
    char parent[] = "/tmp/volnfs-unit-XXXXXX", dir[RUNS][100], out[300];
    const char *why = NULL;
    struct run *run[RUNS];

    assert_non_null(mkdtemp(parent));
    make_runs(parent, dir, run);
    for (int i = 0; i < RUNS; i++)
        if (i != MAPPED)
            munmap(run[i], sizeof(*run[i]));
    run_clean(parent);
    for (int i = 0; i < RUNS; i++)
        assert_int_equal(access(dir[i], F_OK), i == DEAD || i == REUSED ? -1 : 0);
    /* What was removed can be made anew; what ends goes with the next look. */
    assert_int_equal(run_attach(dir[DEAD], "127.0.0.1:1", "a/b", &run[DEAD], out, sizeof(out), &why), 0);
    assert_int_equal(run_attach(dir[LISTED], "127.0.0.1:1", "a/b", &run[LISTED], out, sizeof(out), &why), 0);
    run[LISTED]->holds.pids[0] = -1;
    munmap(run[MAPPED], sizeof(*run[MAPPED]));
    munmap(run[LISTED], sizeof(*run[LISTED]));
    run_clean(parent);
    assert_int_equal(access(dir[DEAD], F_OK), 0);
    assert_int_equal(access(dir[MAPPED], F_OK), -1);
    assert_int_equal(access(dir[LISTED], F_OK), -1);
    munmap(run[DEAD], sizeof(*run[DEAD]));
    run_remove(parent);
    assert_int_equal(access(parent, F_OK), -1);
}

/* However deep, and with whatever names, in the directory and in constant memory and descriptors. */
static void deep_directories_are_removed(void **state)
{
    char parent[] = "/tmp/volnfs-unit-XXXXXX";
    struct rlimit old, few = {.rlim_cur = 24};
    int at;

    assert_non_null(mkdtemp(parent));
    at = open(parent, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 3000; i++) {
        int below;

        assert_int_equal(mkdirat(at, "d", 0700), 0);
        close(openat(at, ".moved-0", O_WRONLY | O_CREAT, 0600));
        below = openat(at, "d", O_RDONLY | O_DIRECTORY);
        close(at);
        assert_true(below >= 0);
        at = below;
    }
    close(at);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    run_remove(parent);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(access(parent, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_cut_short_are_bad),
        cmocka_unit_test(attributes_are_decoded),
        cmocka_unit_test(hostile_replies_are_bad),
        cmocka_unit_test(encoders_stop_at_their_buffer),
        cmocka_unit_test(every_status_has_an_errno),
        cmocka_unit_test(ranges_split_and_join),
        cmocka_unit_test(ranges_agree_with_bytes),
        cmocka_unit_test(too_many_ranges_are_noted),
        cmocka_unit_test(heap_gives_what_was_asked_for),
        cmocka_unit_test(servers_are_parsed),
        cmocka_unit_test(volumes_are_parsed),
        cmocka_unit_test(run_directories_of_others_are_refused),
        cmocka_unit_test(dead_runs_are_removed),
        cmocka_unit_test(deep_directories_are_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
