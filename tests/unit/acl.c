/* SPDX-License-Identifier: Apache-2.0
 * acl: hostile lists, what no mode says, then every mode there and back.
 */
#include "server/nfs4/acl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/xdrbuf.h"

#define COMMON 0x120080u /* what everybody may */
enum { ALLOW, DENY, AUDIT, ALARM };

struct list {
    char buf[4096];
    uint32_t len;
};

static void put(struct list *l, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        l->buf[l->len++] = (char)(v >> (24 - 8 * i));
}

static void ace_flags(struct list *l, uint32_t type, uint32_t flags, uint32_t mask, const char *who)
{
    uint32_t n = (uint32_t)strlen(who);

    if (!l->len)
        put(l, 0);
    l->buf[3]++;
    put(l, type);
    put(l, flags);
    put(l, mask);
    put(l, n);
    memcpy(l->buf + l->len, who, n);
    memset(l->buf + l->len + n, 0, 3);
    l->len += (n + 3) & ~3u;
}

static void ace(struct list *l, uint32_t type, uint32_t mask, const char *who)
{
    ace_flags(l, type, 0, mask, who);
}

static nfsstat4 take(const struct list *l, uint32_t len, uint32_t *mode)
{
    XDR x;

    xdrin_init(&x, l->buf, len);
    return acl_to_mode(&x, mode);
}

/* A list of one entry. */
static nfsstat4 one(uint32_t type, uint32_t flags, uint32_t mask, const char *who, uint32_t *mode)
{
    struct list l = {.len = 0};

    ace_flags(&l, type, flags, mask, who);
    return take(&l, l.len, mode);
}

static void hostile(void **state)
{
    struct list l = {.len = 0};
    uint32_t mode;

    ace(&l, ALLOW, 7, "OWNER@");
    ace(&l, ALLOW, 1, "EVERYONE@");
    for (uint32_t n = 0; n < l.len; n++)
        assert_int_equal(take(&l, n, &mode), NFS4ERR_BADXDR);
    assert_int_equal(take(&l, l.len, &mode), NFS4_OK);
    assert_int_equal(mode, 0644);
    memset(l.buf, 0xff, 4); /* four billion entries */
    assert_int_equal(take(&l, l.len, &mode), NFS4ERR_BADXDR);
    assert_int_equal(one(4, 0, 1, "OWNER@", &mode), NFS4ERR_INVAL);
    assert_int_equal(one(UINT32_MAX, 0, 1, "OWNER@", &mode), NFS4ERR_INVAL);
    assert_int_equal(one(ALLOW, 0, 1, "", &mode), NFS4ERR_INVAL);
}

static void refused(void **state)
{
    static const struct {
        uint32_t type, flags, mask;
        const char *who;
    } no[] = {
        {AUDIT, 0, 1, "OWNER@"},         {ALARM, 0, 1, "OWNER@"},
        {ALLOW, 1, 1, "OWNER@"},         {ALLOW, 0x80, 1, "OWNER@"}, /* inherited */
        {ALLOW, 0, 1, "1000"},           {DENY, 0, 1, "1000"},
        {ALLOW, 0x40, 1, "1000"},        {ALLOW, 0, 1, "OWNER"},
        {ALLOW, 0, 1, "AUTHENTICATED@"}, {ALLOW, 0, 2, "OWNER@"}, /* writing without appending */
        {ALLOW, 0, 4, "OWNER@"},         {ALLOW, 0, 0x40, "OWNER@"},
        {ALLOW, 0, 8, "OWNER@"},         {ALLOW, 0, 0x10000, "OWNER@"},
        {ALLOW, 0, 0x40000, "GROUP@"},   {ALLOW, 0, 0x100, "EVERYONE@"},
        {DENY, 0, 0x80, "EVERYONE@"},    {DENY, 0, 0x40000, "OWNER@"},
        {ALLOW, 0, 0x80000000, "OWNER@"},
        {ALLOW, 0, 1, "GROUP@"}, /* would be the owner's, too, if the owner is in the group */
    };
    uint32_t mode;

    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        assert_int_equal(one(no[i].type, no[i].flags, no[i].mask, no[i].who, &mode), NFS4ERR_ATTRNOTSUPP);
}

static void taken(void **state)
{
    struct list l = {.len = 0};
    uint32_t mode = 7;

    put(&l, 0); /* nobody may anything */
    assert_int_equal(take(&l, l.len, &mode), NFS4_OK);
    assert_int_equal(mode, 0);
    assert_int_equal(one(ALLOW, 0, 0, "1000", &mode), NFS4_OK);
    assert_int_equal(mode, 0);
    assert_int_equal(one(ALLOW, 0x40, COMMON, "1000", &mode), NFS4_OK);
    assert_int_equal(one(ALLOW, 0, 0x27 | COMMON, "EVERYONE@", &mode), NFS4_OK);
    assert_int_equal(mode, 0777);
    l.len = 0; /* the first that names a right decides */
    l.buf[3] = 0;
    ace(&l, DENY, 0x46, "EVERYONE@");
    ace(&l, ALLOW, 0x67 | COMMON | 0x40100, "OWNER@");
    ace_flags(&l, DENY, 0x40, 0x20, "GROUP@");
    ace(&l, ALLOW, 0x21, "EVERYONE@");
    assert_int_equal(take(&l, l.len, &mode), NFS4_OK);
    assert_int_equal(mode, 0545);
}

static uint32_t word(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;

    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* What the entries give to one who is what these say: RFC 8881 section 6.2.1, bit by bit. */
static uint32_t given(const char *acl, bool owner, bool member)
{
    uint32_t n = word(acl), got = 0, done = 0;
    const char *p = acl + 4;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t type = word(p), mask = word(p + 8), len = word(p + 12);
        const char *who = p + 16;
        bool me = !memcmp(who, "EVERYONE@", len) || (owner && !memcmp(who, "OWNER@", len)) ||
                  (member && !memcmp(who, "GROUP@", len));

        if (me && type == ALLOW)
            got |= mask & ~done;
        if (me)
            done |= mask;
        p = who + ((len + 3) & ~3u);
    }
    return got;
}

static uint32_t as_mask(uint32_t bits, bool dir)
{
    return (bits & 4 ? 1u : 0) | (bits & 2 ? (dir ? 0x46u : 6u) : 0) | (bits & 1 ? 0x20u : 0) | COMMON;
}

static void every_mode(void **state)
{
    char buf[ACL_BYTES_MAX + 1];
    size_t most = 0;

    for (uint32_t mode = 0; mode <= 0777; mode++)
        for (int dir = 0; dir < 2; dir++) {
            uint32_t back = 9999;
            size_t len;
            XDR x;

            buf[ACL_BYTES_MAX] = 'e';
            len = acl_of_mode(mode | 06000, dir, buf);
            assert_in_range(len, 4, ACL_BYTES_MAX);
            most = len > most ? len : most;
            for (int member = 0; member < 2; member++) {
                assert_int_equal(given(buf, true, member), as_mask(mode >> 6, dir) | 0x40100);
                assert_int_equal(given(buf, false, member),
                                 as_mask(member ? mode >> 3 & 7 : mode & 7, dir));
            }
            xdrin_init(&x, buf, len);
            assert_int_equal(acl_to_mode(&x, &back), NFS4_OK);
            assert_int_equal(back, mode);
            assert_int_equal(xdrin_left(&x), 0);
            assert_int_equal(buf[ACL_BYTES_MAX], 'e');
        }
    assert_int_equal(most, ACL_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile), cmocka_unit_test(refused), cmocka_unit_test(taken), cmocka_unit_test(every_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
