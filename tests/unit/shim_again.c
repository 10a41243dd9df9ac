/* SPDX-License-Identifier: Apache-2.0
 * Calls that were sent again, since the connection broke, and find that what they do is done: by them, or by somebody else.
 */
#include "tests/unit/fakenfs.h"

#include "client/nfs/file.h"

#define MADE "madehere"

enum what { CUT, REPLY };

/* What is done with the next call that arrives. */
struct step {
    enum what what; /* the connection is closed, or this is the reply's compound: */
    unsigned n;
    uint32_t words[24];
    unsigned time; /* where in it the access time belongs that the last CREATE of MADE had; 0: nowhere */
};

#define ANSWER(...)                                                                                \
    {                                                                                              \
        .what = REPLY, .n = sizeof((uint32_t[]){__VA_ARGS__}) / 4, .words = { __VA_ARGS__ }        \
    }
enum { PUTFH = 22, SAVEFH = 32, LINK = 11, RENAME = 29, CREATE = 6, LOOKUP = 15, GETFH = 10, GETATTR = 9, READLINK = 27 };
enum { NOENT = 2, EXIST = 17, MINE = 0x6d696e65, OTHER = 0x6f746865 };
#define CUT_IT {.what = CUT}
#define TWO_FAIL(op, status) ANSWER(status, 0, 4, PUTFH, 0, SAVEFH, 0, PUTFH, 0, op, status)
#define CREATE_FAILS ANSWER(EXIST, 0, 2, PUTFH, 0, CREATE, EXIST)
#define FOUND(fh, ...) ANSWER(0, 0, 4, PUTFH, 0, LOOKUP, 0, GETFH, 0, 4, fh, GETATTR, 0, __VA_ARGS__)
#define TYPE(type) 1, 2, 4, type
#define TYPE_TIME(type) 2, 2, 1 << 15, 16, type, 0, 0, 0
#define TYPE_TIME_AT 18

struct world {
    int listener;
    unsigned port, n, done;
    const struct step *steps;
    uint32_t time[3];
    pthread_t thread;
    struct nfs_client *client;
};

static const struct nfs_fh dir = {.size = 4, .data = "home"}, mine = {.size = 4, .data = "mine"};

/* Of a CREATE of MADE: the access time in its attributes, which follows mask, length, mode and "set by the client". */
static void note_time(struct world *w, const uint8_t *body, uint32_t size)
{
    const uint8_t *at = memmem(body, size, MADE, 8);
    uint32_t words;

    if (at == NULL || body + size - at < 48)
        return;
    memcpy(&words, at + 8, 4);
    memcpy(w->time, at + 8 + 4 * (1 + ntohl(words) + 3), 12);
}

static void *serve(void *arg)
{
    struct world *w = arg;

    while (w->done < w->n) {
        int fd = accept(w->listener, NULL, NULL);
        uint8_t body[CALL_MAX], msg[160];
        uint32_t xid, size;

        if (fd < 0)
            return NULL;
        while (w->done < w->n && (size = fake_call(fd, body, &xid)) > 0) {
            const struct step *s = &w->steps[w->done++];
            const uint32_t head[] = {LAST | (24 + 4 * s->n), xid, 1, 0, 0, 0, 0};

            note_time(w, body, size);
            if (s->what == CUT)
                break;
            fake_words(msg, head, 7);
            fake_words(msg + 28, s->words, s->n);
            if (s->time)
                memcpy(msg + 28 + 4 * s->time, w->time, 12);
            if (send(fd, msg, 28 + 4 * s->n, MSG_NOSIGNAL) < 0)
                break;
        }
        if (w->done == w->n) /* until the client goes */
            fake_call(fd, body, &xid);
        close(fd);
    }
    return NULL;
}

static void begin(struct world *w, const struct step *steps, unsigned n)
{
    *w = (struct world){.steps = steps, .n = n};
    w->listener = fake_listen(&w->port);
    assert_int_equal(nfs_client_open(&w->client, "127.0.0.1", w->port, 0, NULL), 0);
    assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
}

static void end(struct world *w)
{
    nfs_client_close(w->client);
    pthread_join(w->thread, NULL);
    assert_int_equal(w->done, w->n);
    close(w->listener);
}

static void a_link_is_there_by_whom(void **state)
{
    const struct step steps[] = {CUT_IT, TWO_FAIL(LINK, EXIST), FOUND(MINE, TYPE(1)),
                                 CUT_IT, TWO_FAIL(LINK, EXIST), FOUND(OTHER, TYPE(1)),
                                 TWO_FAIL(LINK, EXIST)};
    struct world w;

    begin(&w, steps, 7);
    assert_int_equal(nfs_link(w.client, &mine, &dir, "lock"), 0);
    assert_int_equal(nfs_link(w.client, &mine, &dir, "lock"), -EEXIST);
    assert_int_equal(nfs_link(w.client, &mine, &dir, "lock"), -EEXIST);
    end(&w);
}

static void a_name_is_gone_by_whom(void **state)
{
    const struct step steps[] = {CUT_IT, TWO_FAIL(RENAME, NOENT), FOUND(MINE, TYPE(1)),
                                 CUT_IT, TWO_FAIL(RENAME, NOENT), FOUND(OTHER, TYPE(1)),
                                 TWO_FAIL(RENAME, NOENT)};
    struct world w;

    begin(&w, steps, 7);
    assert_int_equal(nfs_rename(w.client, &mine, &dir, "job", &dir, "taken"), 0);
    assert_int_equal(nfs_rename(w.client, &mine, &dir, "job", &dir, "taken"), -ENOENT);
    assert_int_equal(nfs_rename(w.client, &mine, &dir, "job", &dir, "taken"), -ENOENT);
    end(&w);
}

static void a_directory_is_there_by_whom(void **state)
{
    struct step made = FOUND(MINE, TYPE_TIME(2));
    struct step steps[] = {CUT_IT, CREATE_FAILS, made, CUT_IT, CREATE_FAILS, made, CREATE_FAILS};
    struct nfs_attr attr;
    struct nfs_fh fh;
    struct world w;

    steps[2].time = TYPE_TIME_AT;
    begin(&w, steps, 7);
    assert_int_equal(nfs_mkdir(w.client, &dir, MADE, 0755, &fh, &attr), 0);
    assert_true(nfs_fh_same(&fh, &mine) && attr.type == NFS_DIR);
    assert_int_equal(nfs_mkdir(w.client, &dir, MADE, 0755, NULL, NULL), -EEXIST);
    assert_int_equal(nfs_mkdir(w.client, &dir, MADE, 0755, NULL, NULL), -EEXIST);
    end(&w);
}

static void a_symbolic_link_is_there_by_whom(void **state)
{
    const struct step found = FOUND(MINE, TYPE(5)), target = ANSWER(0, 0, 2, PUTFH, 0, READLINK, 0, 4, 0x68657265 /* here */);
    const struct step steps[] = {CUT_IT, CREATE_FAILS, found, target, CUT_IT, CREATE_FAILS, found, target, CREATE_FAILS};
    struct world w;

    begin(&w, steps, 9);
    assert_int_equal(nfs_symlink(w.client, &dir, "lock", "here"), 0);
    assert_int_equal(nfs_symlink(w.client, &dir, "lock", "there"), -EEXIST);
    assert_int_equal(nfs_symlink(w.client, &dir, "lock", "here"), -EEXIST);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_is_there_by_whom),
        cmocka_unit_test(a_name_is_gone_by_whom),
        cmocka_unit_test(a_directory_is_there_by_whom),
        cmocka_unit_test(a_symbolic_link_is_there_by_whom),
    };

    alarm(120); /* a call that is never answered waits for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
