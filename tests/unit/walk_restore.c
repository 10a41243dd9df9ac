/* SPDX-License-Identifier: Apache-2.0
 * walk_restore: the story of a restore: a volume made of a stream, and brought up to date by a second one, by 'volnfs restore'
 * against a server with its control socket.
 *
 * When a server or a restore ended somewhere, a volume is as it was before, is all that the stream says, or says by
 * the mark that it is neither; what the message then asks for can be done, and the restore succeeds after it.
 */
#include <unistd.h>
#include <xxhash.h>

#include "server/store/snap.h"
#include "tests/unit/storetest.h"
#include "tests/unit/walk_server.h"
#include "tests/unit/walk_store.h"
#include "tests/unit/walk_volume.h"

#define MARK "/.volnfs-restore-incomplete "

/* --- what the command says --- */

static void read_said(struct walk_server *s, char text[2048])
{
    char path[256];
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "%s/said", s->dir);
    f = fopen(path, "r");
    assert_non_null(f);
    n = fread(text, 1, 2047, f);
    fclose(f);
    text[n] = 0;
}

static void refused(struct walk_server *s, int status, const char *why)
{
    char text[2048];

    read_said(s, text);
    if (!status || !strstr(text, why))
        fail_msg("%d, and it said: %s", status, text);
}

static void well(struct walk_server *s, int status)
{
    char text[2048];

    read_said(s, text);
    if (status)
        fail_msg("%d, and it said: %s", status, text);
}

/* --- what is in a volume --- */

struct shown {
    struct volume *vol;
    struct store_call call;
    FILE *to;
};
struct listed {
    unsigned n;
    uint64_t cookie;
    struct {
        char name[STORE_NAME_MAX + 1];
        struct vattr attr;
    } e[64];
};

static bool list_one(void *arg, const struct volume_dirent *de)
{
    struct listed *l = arg;

    assert_true(l->n < 64); /* all directories are small */
    memcpy(l->e[l->n].name, de->name, de->len);
    l->e[l->n].name[de->len] = 0;
    l->e[l->n++].attr = de->attr;
    return true;
}

static bool count_xattr(void *arg, uint64_t cookie, const char *name, size_t len)
{
    fprintf(arg, " %.*s", (int)len, name);
    return true;
}

static uint64_t content(struct shown *s, const struct vattr *a)
{
    char target[STORE_SYMLINK_MAX + 1];
    uint64_t sum = 0;
    int r;

    if (a->type == IT_LNK) {
        r = volume_readlink(s->vol, &s->call, a->ino, target);
        assert_true(r > 0);
        sum = XXH3_64bits(target, (size_t)r);
    }
    for (uint64_t off = 0; a->type == IT_REG && off < a->size;) {
        struct volume_read rd;
        assert_int_equal(volume_read(s->vol, &s->call, a->ino, off, 1 << 20, &rd), 0);
        for (int i = 0; i < rd.niov; i++)
            sum = XXH3_64bits_withSeed(rd.iov[i].iov_base, rd.iov[i].iov_len, sum); /* slot by slot */
        off += rd.len;
        assert_true(rd.len > 0);
        volume_read_release(&rd);
    }
    return sum;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b); /* it is first */
}

static void show(struct shown *s, const char *path, const struct vattr *a)
{
    bool dir = a->type == IT_DIR, eof, top = !strchr(path, '/');
    struct listed *l;

    fprintf(s->to, "%s %d %o %u %llu %lld %llx", path, a->type, a->mode, a->nlink,
            dir ? 0ull : (unsigned long long)a->size, top ? 0ll : (long long)a->mtime.tv_nsec,
            (unsigned long long)content(s, a));
    assert_int_equal(volume_listxattr(s->vol, &s->call, a->ino, 0, count_xattr, s->to, &eof), 0);
    fputc('\n', s->to);
    if (!dir)
        return;
    l = calloc(1, sizeof(*l));
    assert_int_equal(volume_readdir(s->vol, &s->call, a->ino, 0, 64, list_one, l, &eof), 0);
    qsort(l->e, l->n, sizeof(l->e[0]), by_name);
    for (unsigned i = 0; i < l->n; i++) {
        char sub[1024];
        snprintf(sub, sizeof(sub), "%s/%s", path, l->e[i].name);
        show(s, sub, &l->e[i].attr);
    }
    free(l);
}

/* All that can be seen of "bob/c" or "bob/c@s0" but ctime, and the root's mtime, which may be lost. "": there is none. */
static char *seen(struct walk_server *s, const char *name)
{
    struct shown sh = {0};
    char *text = NULL;
    size_t size;
    struct vattr a;
    int r = vfs_volume_get(s->v, name, false, &sh.vol);

    assert_true(r == 0 || r == -ENOENT);
    if (r)
        return strdup("");
    sh.to = open_memstream(&text, &size);
    store_call_init(&sh.call, true);
    assert_int_equal(volume_getattr(sh.vol, &sh.call, STORE_ROOT_INO, 0, &a), 0);
    show(&sh, "", &a);
    fclose(sh.to);
    store_call_release(&sh.call);
    volume_unref(sh.vol);
    return text;
}

static bool is(struct walk_server *s, const char *name, const char *want)
{
    char *text = seen(s, name);
    bool same = !strcmp(text, want);

    free(text);
    return same;
}

/* --- the story --- */

static uint64_t add(struct volume *vol, struct store_call *c, uint64_t dir, const char *name, enum inode_type type, size_t size)
{
    struct volume_create_args a = {.dir = dir, .name = name, .len = strlen(name), .type = type, .target = "nowhere",
                                   .target_len = type == IT_LNK ? 7 : 0,
                                   .set = {.mask = VSET_MODE | VSET_UID | VSET_GID, .mode = 0750, .uid = 3, .gid = 4}};
    unsigned char *data = malloc(size + 1);
    struct dir_change dc;
    struct vattr attr;

    assert_int_equal(volume_create_at(vol, c, &a, &attr, &dc), 0);
    st_fill(data, size, attr.ino);
    if (size)
        assert_int_equal(volume_write(vol, c, attr.ino, 0, data, size, false, NULL, NULL), 0);
    free(data);
    return attr.ino;
}

static void prepare(const struct fault_story *story, const char *dir)
{
    struct volume_props props;
    struct dir_change d1, d2;
    struct store_call c;
    struct walk_server s;
    struct volume *vol;
    struct vattr attr;
    uint64_t d, e, small;

    assert_int_equal(walk_server_begin(&s, dir), 0);
    volume_props_default(&props);
    assert_int_equal(vfs_volume_create(s.v, "alice/v", &props, 0, 0, 0755), 0);
    assert_int_equal(vfs_volume_get(s.v, "alice/v", true, &vol), 0);
    store_call_init(&c, true);
    d = add(vol, &c, STORE_ROOT_INO, "d", IT_DIR, 0);
    e = add(vol, &c, d, "e", IT_DIR, 0);
    add(vol, &c, e, "deep", IT_REG, 10);
    add(vol, &c, d, "big", IT_REG, 300000);
    small = add(vol, &c, STORE_ROOT_INO, "small", IT_REG, 5000);
    add(vol, &c, STORE_ROOT_INO, "link", IT_LNK, 0);
    assert_int_equal(volume_link(vol, &c, small, d, "hard", 4, &attr, &d1), 0);
    assert_int_equal(volume_setxattr(vol, &c, d, "..", 2, "2", 1, 0, &d1), 0);
    assert_int_equal(volume_setxattr(vol, &c, small, "a/b", 3, "1", 1, 0, &d1), 0);
    assert_int_equal(snap_create(vol, "s0", NULL), 0);
    assert_int_equal(volume_rename(vol, &c, STORE_ROOT_INO, "d", 1, STORE_ROOT_INO, "f", 1, 0, 0, NULL, &d1, &d2), 0);
    add(vol, &c, STORE_ROOT_INO, "d", IT_DIR, 0);
    assert_int_equal(volume_rename(vol, &c, d, "e", 1, STORE_ROOT_INO, "e", 1, 0, 0, NULL, &d1, &d2), 0);
    assert_int_equal(volume_unlink(vol, &c, STORE_ROOT_INO, "small", 5, 0, NULL, &d1), 0);
    assert_int_equal(volume_removexattr(vol, &c, small, "a/b", 3, &d1), 0);
    assert_int_equal(volume_write(vol, &c, small, 3, "other", 5, false, NULL, NULL), 0);
    add(vol, &c, e, "new", IT_REG, 140000);
    assert_int_equal(snap_create(vol, "s1", NULL), 0);
    store_call_release(&c);
    volume_unref(vol);
    well(&s, VOLNFS(&s, NULL, "full", "dump", "alice/v@s0"));
    well(&s, VOLNFS(&s, NULL, "more", "dump", "alice/v@s1", "--base", "@s0"));
    assert_int_equal(walk_server_end(&s), 0);
}

static void play(const struct fault_story *story, const char *dir)
{
    static const char *const streams[] = {"full", "more"};
    struct walk_server s;
    int r = walk_server_begin(&s, dir);

    if (r)
        return;
    for (unsigned i = 0; i < 2 && r == 0; i++) {
        r = VOLNFS(&s, streams[i], NULL, "restore", "bob/c");
        if (r == 0)
            fault_step();
    }
    if (r == 0)
        fault_done();
    if (walk_server_end(&s))
        assert_true(fault_came());
}

/* A full restore did not come to its end. */
static void again(struct walk_server *s, const char *want)
{
    char *now = seen(s, "bob/c");
    bool none = !*now, marked = strstr(now, MARK), whole = !strcmp(now, want), empty = !none && !strchr(now + 1, '/');

    if (!none && !marked && !whole && !empty)
        fail_msg("neither nothing, nor marked, nor whole:\n%s", now);
    free(now);
    if (marked)
        refused(s, VOLNFS(s, NULL, NULL, "dump", "bob/c"), "cut off");
    if (marked || whole) {
        refused(s, VOLNFS(s, "full", NULL, "restore", "bob/c"), marked ? "volnfs destroy bob/c" : "exists");
        well(s, VOLNFS(s, NULL, NULL, "destroy", "bob/c"));
    }
    well(s, VOLNFS(s, "full", NULL, "restore", "bob/c"));
}

/* An increment did not. */
static void again_more(struct walk_server *s, const char *base, const char *want)
{
    char *now = seen(s, "bob/c");
    bool marked = strstr(now, MARK);

    if (!marked && strcmp(now, base) && strcmp(now, want))
        fail_msg("neither as base, nor marked, nor whole:\n%s", now);
    free(now);
    if (!is(s, "bob/c@s1", "")) { /* only the answer was missing */
        assert_false(marked);
        return;
    }
    if (VOLNFS(s, "more", NULL, "restore", "bob/c") == 0)
        return;
    refused(s, 1, "volnfs snapshot rollback --keep-younger bob/c@s0");
    well(s, VOLNFS(s, NULL, NULL, "snapshot", "rollback", "--keep-younger", "bob/c@s0"));
    well(s, VOLNFS(s, "more", NULL, "restore", "bob/c"));
}

static void verify(const struct fault_story *story, const char *dir, unsigned acked, bool done)
{
    struct walk_server s;
    char *first, *second;

    assert_int_equal(walk_server_begin(&s, dir), 0);
    first = seen(&s, "alice/v@s0");
    second = seen(&s, "alice/v@s1");
    assert_true(strchr(first + 1, '/') && strchr(second + 1, '/') && strcmp(first, second) && is(&s, "alice/v", second));
    if (acked == 0)
        again(&s, first);
    assert_true(is(&s, "bob/c@s0", first));
    if (acked < 2)
        again_more(&s, first, second);
    assert_true(is(&s, "bob/c@s0", first) && is(&s, "bob/c", second) && is(&s, "bob/c@s1", second));
    free(first);
    free(second);
    for (unsigned i = 0; i < 6000 && walk_has_trash(s.store); i++)
        usleep(10000);
    assert_int_equal(walk_server_end(&s), 0);
    assert_int_equal(walk_check_folders(s.store, false), 2);
}

const struct fault_story walk_restore = {.name = "restore", .prepare = prepare, .play = play, .verify = verify, .most = 1,
                                         .own = "restore.", .own_most = 7};
