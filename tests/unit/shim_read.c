/* SPDX-License-Identifier: Apache-2.0 */
/* READ and WRITE against a server that breaks off, lies, fails, stays silent, and answers in any order: what was received in place,
 * and what counts. */
#include "tests/unit/fakenfs.h"

#include "client/nfs/file.h"
#include "client/nfs/rpc.h"

#define LONG 60000u /* a reply that is received in place */
#define MAX_STEPS 8

/* What is done with the next call that arrives. */
struct step {
    uint32_t count, bytes; /* as the reply says, and those in it */
    uint32_t sent;         /* so much of it is sent before the connection is closed; 0: all, and it stays */
    uint32_t stray;        /* before it, one to the xid that is so much higher, with other bytes */
    uint8_t fill;
    bool later;      /* answered behind the next one */
    bool more;       /* it is not the end of the file */
    bool write;      /* it is a WRITE */
    bool silent;     /* there is no answer */
    uint32_t status; /* of the READ or WRITE */
};

struct world {
    int listener;
    unsigned port;
    struct step steps[MAX_STEPS];
    unsigned n, done; /* done: atomic */
    pthread_t thread;
    struct nfs_client *client;
};

/* False: the connection is closed. */
static bool answer(int fd, const struct step *s, uint32_t xid)
{
    uint32_t padded = (s->bytes + 3) & ~3u;
    uint32_t words[20] = {0, xid, 1, 0, 0, 0, 0, /* accepted, success */
                          s->status, 0, 2, 22, 0, s->write ? 38 : 25, s->status}; /* PUTFH: ok; READ or WRITE */
    unsigned n = 14;
    size_t size, left;
    uint8_t *msg, *at;

    if (s->status == 0 && s->write) {
        words[n++] = s->count;
        n += 3; /* unstable, verifier */
    } else if (s->status == 0) {
        words[n++] = !s->more;
        words[n++] = s->count;
    }
    size = n * 4 + padded;
    words[0] = LAST | (uint32_t)(size - 4);
    msg = at = malloc(size);
    fake_words(msg, words, n);
    memset(msg + n * 4, s->fill, padded);
    for (left = s->sent > 0 ? s->sent : size; left > 0;) {
        ssize_t part = send(fd, at, left, MSG_NOSIGNAL);

        if (part <= 0)
            break;
        at += part;
        left -= (size_t)part;
    }
    free(msg);
    return left == 0 && s->sent == 0;
}

static void *serve(void *arg)
{
    struct world *w = arg;
    const struct step *held = NULL;
    uint8_t body[CALL_MAX];
    uint32_t xid, held_xid = 0;

    while (w->done < w->n) {
        int fd = accept(w->listener, NULL, NULL);
        bool open = fd >= 0;

        if (!open)
            return NULL;
        while (open && w->done < w->n && (open = fake_call(fd, body, &xid) > 0)) {
            const struct step *s = &w->steps[w->done++];

            if (s->silent)
                continue;
            if (s->later) {
                held = s;
                held_xid = xid;
                continue;
            }
            if (s->stray > 0) {
                struct step other = *s;

                other.fill = (uint8_t)~s->fill;
                answer(fd, &other, xid + s->stray);
            }
            open = answer(fd, s, xid);
            if (open && held != NULL)
                open = answer(fd, held, held_xid);
            held = NULL;
        }
        if (open) /* until the client goes */
            fake_call(fd, body, &xid);
        close(fd);
    }
    return NULL;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    w->listener = fake_listen(&w->port);
    *state = w;
    return 0;
}

static void start(struct world *w, const struct step *steps, unsigned n)
{
    memcpy(w->steps, steps, n * sizeof(*steps));
    w->n = n;
    assert_int_equal(nfs_client_open(&w->client, "127.0.0.1", w->port, 0, NULL), 0);
    assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
}

static void finish(struct world *w)
{
    nfs_client_close(w->client);
    pthread_join(w->thread, NULL);
    assert_int_equal(w->done, w->n);
}

static int teardown(void **state)
{
    struct world *w = *state;

    close(w->listener);
    free(w);
    return 0;
}

static const struct nfs_fh fh = {.size = 4, .data = "abcd"};
static uint8_t room[LONG + 64];

/* The connection breaks off in the middle of a long reply; the one to the call that is sent again is short. */
static void a_reply_that_broke_off_does_not_count(void **state)
{
    const struct step cut = {.count = LONG, .bytes = LONG, .sent = LONG / 2, .fill = 0x11};
    const struct step steps[] = {cut, {.count = 0, .bytes = 0},
                                 cut, {.count = 100, .bytes = 100, .fill = 0x22},
                                 cut, {.count = LONG, .bytes = 0}, /* a count without its bytes */
                                 cut, {.count = LONG, .bytes = LONG, .fill = 0x33}};
    struct world *w = *state;
    bool eof = false;

    start(w, steps, 8);
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, &eof), 0);
    assert_true(eof);
    assert_int_equal(nfs_read(w->client, &fh, room, 100, 0, &eof), 100);
    assert_int_equal(room[99], 0x22);
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, &eof), -EIO);
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, &eof), LONG);
    assert_int_equal(room[0], 0x33);
    assert_int_equal(room[LONG - 1], 0x33);
    finish(w);
}

/* More bytes than asked for, or another number than the reply says, reach nobody's memory. */
static void a_count_that_lies_is_an_error(void **state)
{
    const struct step steps[] = {{.count = LONG, .bytes = LONG, .fill = 0x44},
                                 {.count = LONG - 4, .bytes = LONG, .fill = 0x44},
                                 {.count = LONG, .bytes = LONG - 4, .fill = 0x44},
                                 {.count = 0xffffffff, .bytes = LONG, .fill = 0x44}};
    struct world *w = *state;

    start(w, steps, 4);
    memset(room, 0xee, sizeof(room));
    assert_int_equal(nfs_read(w->client, &fh, room, LONG - 1, 0, NULL), -EIO);
    assert_int_equal(room[0], 0xee);
    nfs_read(w->client, &fh, room, LONG, 0, NULL); /* too many bytes behind: the count is good */
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, NULL), -EIO);
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, NULL), -EIO);
    for (unsigned i = LONG; i < sizeof(room); i++)
        assert_int_equal(room[i], 0xee);
    finish(w);
}

/* Two calls under way on one connection, answered the other way round. */
static void replies_come_in_any_order(void **state)
{
    const struct step steps[] = {{.count = LONG / 2, .bytes = LONG / 2, .fill = 0x55, .later = true},
                                 {.count = LONG / 2, .bytes = LONG / 2, .fill = 0x66}};
    struct world *w = *state;
    struct nfs_ahead *first, *second;

    start(w, steps, 2);
    first = nfs_read_start(w->client, &fh, room, LONG / 2, 0, 0);
    second = nfs_read_start(w->client, &fh, room + LONG / 2, LONG / 2, LONG / 2, 0);
    assert_int_equal(nfs_read_finish(w->client, first), LONG / 2);
    assert_int_equal(nfs_read_finish(w->client, second), LONG / 2);
    for (unsigned i = 0; i < LONG; i++)
        assert_int_equal(room[i], i < LONG / 2 ? 0x55 : 0x66);
    finish(w);
}

/* A reply to a call that was never made changes nothing. */
static void a_reply_to_nobody_goes_nowhere(void **state)
{
    const struct step steps[] = {{.count = LONG, .bytes = LONG, .fill = 0x77, .stray = 1},
                                 {.count = 10, .bytes = 10, .fill = 0x88, .stray = 0x80000000}};
    struct world *w = *state;

    start(w, steps, 2);
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, NULL), LONG);
    for (unsigned k = 0; k < LONG; k++)
        assert_int_equal(room[k], 0x77);
    assert_int_equal(nfs_read(w->client, &fh, room, 10, 0, NULL), 10);
    assert_int_equal(room[9], 0x88);
    assert_int_equal(room[10], 0x77);
    finish(w);
}

/* An error behind bytes that are good is one for who wants all. */
static void an_error_comes_behind_good_bytes(void **state)
{
    const struct step part = {.count = 1000, .bytes = 1000, .fill = 0x99, .more = true}, fail = {.status = NFS_ERR_IO};
    const struct step steps[] = {part, fail, part, fail, part, {.count = 500, .bytes = 500, .fill = 0x99}};
    struct world *w = *state;
    bool eof = false;

    start(w, steps, 6);
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, &eof), 1000);
    assert_false(eof);
    assert_int_equal(nfs_read_whole(w->client, &fh, room, LONG, 0), -EIO);
    assert_int_equal(nfs_read_whole(w->client, &fh, room, LONG, 0), 1500);
    finish(w);
}

/* What is said of a write that fails in the middle is why. */
static void a_write_tells_why_it_failed(void **state)
{
    const struct step part = {.write = true, .count = 1000}, full = {.write = true, .status = NFS_ERR_NOSPC};
    const struct step steps[] = {part, full, part, {.write = true, .count = 500}};
    struct world *w = *state;

    start(w, steps, 4);
    assert_int_equal(nfs_write(w->client, &fh, room, 1500, 0, false, NULL), -ENOSPC);
    assert_int_equal(nfs_write(w->client, &fh, room, 1500, 0, false, NULL), 0);
    finish(w);
}

static struct world *watched;
static unsigned busy_behind; /* so many calls there is something else to do */

static int hook(void)
{
    return __atomic_load_n(&watched->done, __ATOMIC_ACQUIRE) >= busy_behind ? -EINTR : 0;
}

/* A server that asks for patience, or says nothing at all, does not keep who has something else to do. */
static void patience_has_an_end(void **state)
{
    const struct step delay = {.status = NFS_ERR_DELAY}, grace = {.status = NFS_ERR_GRACE};
    const struct step steps[] = {delay, delay, delay, grace, grace, grace, {.silent = true},
                                 {.count = LONG, .bytes = LONG, .fill = 0xaa}};
    struct world *w = watched = *state;

    start(w, steps, 8);
    rpc_idle_hook = hook;
    busy_behind = 6;
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, NULL), -EINTR);
    busy_behind = 7;
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, NULL), -EINTR);
    rpc_idle_hook = NULL;
    assert_int_equal(nfs_read(w->client, &fh, room, LONG, 0, NULL), LONG);
    assert_int_equal(room[LONG - 1], 0xaa);
    finish(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_reply_that_broke_off_does_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(a_count_that_lies_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(replies_come_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reply_to_nobody_goes_nowhere, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_comes_behind_good_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_tells_why_it_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(patience_has_an_end, setup, teardown),
    };

    alarm(120); /* a call that is never answered waits for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
