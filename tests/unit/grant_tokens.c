/* SPDX-License-Identifier: Apache-2.0
 * Tests of tokens: what they give, what is kept of them, and guessing.
 */
#include "tests/unit/granttest.h"

static int try_token(struct env *e, const char *address, const char *secret, uint64_t *id)
{
    struct grant_view *v = view_of(e, address);
    const struct grant_rule *r;
    int err = grant_token(v, secret, strlen(secret), &r);

    if (id)
        *id = r ? r->id : 0;
    grant_view_unref(v);
    return err;
}

static void tokens(void **state)
{
    struct env *e = *state;
    struct grant_row a = {.object = GRANT_VOLUME, .user = 1, .volume = 1, .expires = clock_wall().tv_sec + 50};
    struct grant_row b = {.object = GRANT_USER, .user = 2, .rights = GRANT_MAY_WRITE | GRANT_MAY_CREATE};
    char sa[GRANT_SECRET_SIZE], sb[GRANT_SECRET_SIZE], mixed[GRANT_SECRET_SIZE * 2];
    uint64_t id;

    assert_int_equal(grants_add_token(e->g, &a, sa), 0);
    assert_int_equal(grants_add_token(e->g, &b, sb), 0);
    assert_true(strlen(sa) >= 43 && strcmp(strchr(sa, '.'), strchr(sb, '.')));
    assert_int_equal(strspn(sa, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."), strlen(sa));
    assert_int_equal(try_token(e, "10.0.0.1", sa, &id), 0);
    assert_true(id == a.id);
    /* it gives its object and nothing else, from anywhere */
    assert_int_equal(eval(e, "10.0.0.1", a.id, 1, 1, 0), GRANT_READ);
    assert_int_equal(eval(e, "127.0.0.1", a.id, 1, 1, 0), GRANT_READ);
    assert_int_equal(eval(e, "10.0.0.1", a.id, 1, 2, 0), GRANT_NOTHING);
    assert_int_equal(eval(e, "127.0.0.1", a.id, 1, 2, 0), GRANT_NOTHING); /* though its address might */
    assert_int_equal(eval(e, "10.0.0.1", a.id, 1, 0, 0), GRANT_NOTHING);
    assert_int_equal(eval(e, "10.0.0.1", a.id, 0, 0, 0), GRANT_NOTHING);
    assert_int_equal(eval(e, "10.0.0.1", 0, 1, 1, 0), GRANT_NOTHING);
    assert_int_equal(eval(e, "10.0.0.1", b.id, 2, 0, 0), GRANT_WRITE);
    assert_int_equal(eval(e, "10.0.0.1", b.id, 2, 3, 0), GRANT_WRITE);
    struct grant_view *v = view_of(e, "10.0.0.1");
    assert_true(grant_may_create(v, b.id, 2) && !grant_may_create(v, b.id, 0) && !grant_may_create(v, b.id, 1));
    assert_true(!grant_may_create(v, a.id, 1) && !grant_may_create(v, a.id, 0));
    grant_view_unref(v);
    /* the text of one with the number of the other */
    snprintf(mixed, sizeof(mixed), "%llu%s", (unsigned long long)b.id, strchr(sa, '.'));
    assert_int_equal(try_token(e, "10.0.0.2", mixed, NULL), -ENOENT);
    /* not a byte more or less */
    snprintf(mixed, sizeof(mixed), "%sA", sa);
    assert_int_equal(try_token(e, "10.0.0.2", mixed, NULL), -ENOENT);
    snprintf(mixed, sizeof(mixed), "%.*s", (int)strlen(sa) - 1, sa);
    assert_int_equal(try_token(e, "10.0.0.2", mixed, NULL), -ENOENT);
    snprintf(mixed, sizeof(mixed), "0%s", sa);
    assert_int_equal(try_token(e, "10.0.0.2", mixed, NULL), -ENOENT);
    /* a network's number is no token's */
    snprintf(mixed, sizeof(mixed), "1%s", strchr(sa, '.'));
    assert_int_equal(try_token(e, "10.0.0.2", mixed, NULL), -ENOENT);
    /* restart */
    env_close(e);
    env_open(e);
    assert_int_equal(try_token(e, "10.0.0.1", sb, NULL), -ENOENT); /* its user does not exist in this store */
    assert_int_equal(grants_add_token(e->g, &a, sa), 0);
    clock_test_advance(51 * 1000);
    assert_int_equal(try_token(e, "10.0.0.1", sa, NULL), -EKEYEXPIRED);
    assert_int_equal(eval(e, "10.0.0.1", a.id, 1, 1, 0), GRANT_NOTHING);
    clock_test_advance(-51 * 1000);
    assert_int_equal(try_token(e, "10.0.0.1", sa, NULL), 0);
    assert_int_equal(grants_del(e->g, a.id), 0);
    assert_int_equal(try_token(e, "10.0.0.1", sa, NULL), -ENOENT);
    assert_int_equal(eval(e, "10.0.0.1", a.id, 1, 1, 0), GRANT_NOTHING);
}

/* No secret is in the store's files. */
static void kept_hashed(void **state)
{
    struct env *e = *state;
    struct grant_row a = {.object = GRANT_SERVER};
    char secret[GRANT_SECRET_SIZE];
    static const char *const files[] = {"store/state.db", "store/state.db-wal"};
    char *all = malloc(4 << 20);

    assert_int_equal(grants_add_token(e->g, &a, secret), 0);
    for (int i = 0; i < 2; i++) {
        int fd = open(st_path(e->dir, files[i]), O_RDONLY);
        ssize_t n = fd < 0 ? 0 : read(fd, all, 4 << 20);

        assert_true(i == 0 || n > 0);
        assert_null(memmem(all, (size_t)n, strchr(secret, '.') + 1, 12));
        assert_non_null(i == 0 ? all : memmem(all, (size_t)n, a.hash, 32));
        if (fd >= 0)
            close(fd);
    }
    free(all);
}

static void guessing(void **state)
{
    struct env *e = *state;
    struct grant_row a = {.object = GRANT_SERVER};
    char secret[GRANT_SECRET_SIZE], text[64];

    assert_int_equal(grants_add_token(e->g, &a, secret), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(try_token(e, "10.0.0.1", "1.x", NULL), -ENOENT);
    for (int i = 0; i < 100; i++)
        assert_int_equal(try_token(e, "10.0.0.1", i % 2 ? "x" : secret, NULL), -EBUSY);
    assert_int_equal(try_token(e, "10.0.0.2", secret, NULL), 0); /* it is only that one's trouble */
    /* one every two seconds */
    clock_test_advance(2001);
    assert_int_equal(try_token(e, "10.0.0.1", "2.y", NULL), -ENOENT);
    assert_int_equal(try_token(e, "10.0.0.1", secret, NULL), -EBUSY);
    clock_test_advance(30000);
    assert_int_equal(try_token(e, "10.0.0.1", secret, NULL), 0);
    /* a customer's IPv6 addresses are one */
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "2001:db8::%d", i + 1);
        assert_int_equal(try_token(e, text, "", NULL), -ENOENT);
    }
    assert_int_equal(try_token(e, "2001:db8::ffff", secret, NULL), -EBUSY);
    assert_int_equal(try_token(e, "2001:db8:0:1::1", secret, NULL), 0);
    /* very many guessers take no more memory and let nobody in */
    for (int i = 0; i < 20000; i++) {
        snprintf(text, sizeof(text), "11.%d.%d.1", i / 256, i % 256);
        assert_int_equal(try_token(e, text, "3.z", NULL), -ENOENT);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(tokens), T(kept_hashed), T(guessing)};

    return cmocka_run_group_tests_name("grant_tokens", tests, NULL, NULL);
}
