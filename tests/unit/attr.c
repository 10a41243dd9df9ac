/* SPDX-License-Identifier: Apache-2.0
 * attr: hostile values to set, then limits, then encoding and comparing.
 */
#include "server/nfs4/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t key[16] = {9};

/* Values under construction. */
struct vals {
    fattr4 a;
    char buf[512];
    uint32_t len;
};

static void v32(struct vals *v, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        v->buf[v->len++] = (char)(n >> (24 - 8 * i));
    v->a.attr_vals = (xattrvals){v->len, v->buf};
}

static void v64(struct vals *v, uint64_t n)
{
    v32(v, (uint32_t)(n >> 32));
    v32(v, (uint32_t)n);
}

static void vstr(struct vals *v, const char *s)
{
    uint32_t len = (uint32_t)strlen(s);

    v32(v, len);
    memcpy(v->buf + v->len, s, len);
    v->len += (len + 3) & ~3u;
    v->a.attr_vals.len = v->len;
}

static nfsstat4 decode(const struct vals *v, uint32_t minor, struct vset *set)
{
    xbitmap allowed, applied;

    attr_settable(minor, &allowed);
    return attr_decode_set(minor, &allowed, &v->a, set, &applied);
}

static struct vals with(unsigned attr)
{
    struct vals v = {0};

    v.a.attr_vals.data = v.buf;
    xbitmap_set(&v.a.attrmask, attr);
    return v;
}

static void mask_checked(void **state)
{
    struct vals v = with(FATTR4_DACL);
    struct vset set;

    assert_int_equal(decode(&v, 2, &set), NFS4ERR_ATTRNOTSUPP);
    v = with(95); /* beyond all */
    assert_int_equal(decode(&v, 2, &set), NFS4ERR_ATTRNOTSUPP);
    v = with(FATTR4_SIZE);
    v.a.attrmask.more = TRUE;
    v64(&v, 1);
    assert_int_equal(decode(&v, 2, &set), NFS4ERR_ATTRNOTSUPP);
    v = with(FATTR4_TYPE); /* read-only */
    v32(&v, NF4REG);
    assert_int_equal(decode(&v, 2, &set), NFS4ERR_INVAL);
    v = with(FATTR4_MODE_UMASK); /* not before 4.2 */
    v32(&v, 0666);
    v32(&v, 022);
    assert_int_equal(decode(&v, 1, &set), NFS4ERR_ATTRNOTSUPP);
    assert_int_equal(decode(&v, 2, &set), NFS4_OK);
    assert_int_equal(set.mode, 0644);
    xbitmap_set(&v.a.attrmask, FATTR4_MODE);
    assert_int_equal(decode(&v, 2, &set), NFS4ERR_INVAL);
}

/* An ACL sets the permission bits, a mode beside it the others. */
static void acl_and_mode(void **state)
{
    struct vals v = with(FATTR4_ACL);
    struct vset set;

    v32(&v, 1);
    v32(&v, 0);
    v32(&v, 0);
    v32(&v, 1);
    vstr(&v, "EVERYONE@");
    assert_int_equal(decode(&v, 0, &set), NFS4_OK);
    assert_int_equal(set.mask, VSET_PERM);
    assert_int_equal(set.mode, 0444);
    xbitmap_set(&v.a.attrmask, FATTR4_MODE);
    v32(&v, 02755);
    assert_int_equal(decode(&v, 0, &set), NFS4_OK);
    assert_int_equal(set.mask, VSET_MODE);
    assert_int_equal(set.mode, 02444);
}

/* Every settable attribute with its values cut at every length, and with a word too many. */
static void truncated(void **state)
{
    struct vals v = with(FATTR4_SIZE);
    struct vset set;

    xbitmap_set(&v.a.attrmask, FATTR4_MODE);
    xbitmap_set(&v.a.attrmask, FATTR4_OWNER);
    xbitmap_set(&v.a.attrmask, FATTR4_OWNER_GROUP);
    xbitmap_set(&v.a.attrmask, FATTR4_TIME_ACCESS_SET);
    xbitmap_set(&v.a.attrmask, FATTR4_TIME_MODIFY_SET);
    v64(&v, 12);
    v32(&v, 0640);
    vstr(&v, "1000");
    vstr(&v, "100");
    v32(&v, SET_TO_CLIENT_TIME4);
    v64(&v, (uint64_t)-5);
    v32(&v, 999999999);
    v32(&v, SET_TO_SERVER_TIME4);
    assert_int_equal(decode(&v, 0, &set), NFS4_OK);
    assert_true(set.size == 12 && set.mode == 0640 && set.uid == 1000 && set.gid == 100);
    assert_true(set.atime.tv_sec == -5 && set.atime.tv_nsec == 999999999);
    assert_int_equal(set.mask, VSET_SIZE | VSET_MODE | VSET_UID | VSET_GID | VSET_ATIME | VSET_MTIME_NOW);
    for (uint32_t n = 0; n < v.len; n++) {
        v.a.attr_vals.len = n;
        assert_int_equal(decode(&v, 0, &set), NFS4ERR_BADXDR);
    }
    v32(&v, 0);
    assert_int_equal(decode(&v, 0, &set), NFS4ERR_BADXDR);
}

static void bad_values(void **state)
{
    static const char *const owners[] = {"", "root", "-1", "4294967295", "99999999999", "1000@here", "1 ", "0x1"};
    struct vset set;
    struct vals v;

    for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
        v = with(FATTR4_OWNER);
        vstr(&v, owners[i]);
        v.a.attr_vals.data = v.buf;
        assert_int_equal(decode(&v, 0, &set), owners[i][0] ? NFS4ERR_BADOWNER : NFS4ERR_INVAL);
    }
    v = with(FATTR4_MODE);
    v32(&v, 0x10000644);
    assert_int_equal(decode(&v, 0, &set), NFS4ERR_INVAL);
    v = with(FATTR4_TIME_MODIFY_SET);
    v32(&v, SET_TO_CLIENT_TIME4);
    v64(&v, 1);
    v32(&v, 1000000000);
    assert_int_equal(decode(&v, 0, &set), NFS4ERR_INVAL);
    v = with(FATTR4_TIME_MODIFY_SET);
    v32(&v, 2);
    assert_int_equal(decode(&v, 0, &set), NFS4ERR_BADXDR);
}

static struct attr_source source(uint32_t minor)
{
    struct attr_source s = {
        .minor = minor,
        .lease = 90,
        .handle_key = key,
        .fh = {.kind = VOBJ_FILE, .volume = UINT64_MAX, .ino = UINT64_MAX, .gen = UINT32_MAX},
        .va = {.a = {.ino = 5,
                     .type = IT_REG,
                     .mode = 07777,
                     .nlink = 2,
                     .uid = UINT32_MAX - 1,
                     .gid = UINT32_MAX - 1,
                     .size = UINT64_MAX,
                     .change = 77}},
    };

    return s;
}

/* Everything at once fits the promised buffer, in every minor version, and nothing is said that was not asked. */
static void encode_all(void **state)
{
    char buf[ATTR_BYTES_MAX];
    xbitmap all, got, exist;

    memset(&all, 0xff, sizeof(all));
    for (uint32_t minor = 0; minor <= 2; minor++) {
        struct attr_source s = source(minor);
        size_t len;

        s.va.a.mode = 0017; /* takes the most entries of an ACL */
        len = attr_encode(&s, &all, &got, buf);

        assert_in_range(len, 200, ATTR_BYTES_MAX);
        assert_int_equal(len % 4, 0);
        attr_supported(minor, &exist);
        xbitmap_clear(&exist, FATTR4_TIME_ACCESS_SET);
        xbitmap_clear(&exist, FATTR4_TIME_MODIFY_SET);
        xbitmap_clear(&exist, FATTR4_MODE_UMASK);
        assert_memory_equal(got.w, exist.w, sizeof(got.w));
        memset(&got, 0, sizeof(got));
        assert_int_equal(attr_encode(&s, &got, &exist, buf), 0);
        assert_int_equal(exist.w[0] | exist.w[1] | exist.w[2], 0);
    }
}

static void versions(void **state)
{
    xbitmap b;

    attr_supported(0, &b);
    assert_false(xbitmap_has(&b, FATTR4_SUPPATTR_EXCLCREAT));
    assert_false(xbitmap_has(&b, FATTR4_XATTR_SUPPORT));
    attr_supported(1, &b);
    assert_true(xbitmap_has(&b, FATTR4_SUPPATTR_EXCLCREAT));
    assert_false(xbitmap_has(&b, FATTR4_XATTR_SUPPORT));
    attr_supported(2, &b);
    assert_true(xbitmap_has(&b, FATTR4_XATTR_SUPPORT));
    assert_true(xbitmap_has(&b, FATTR4_MODE_UMASK));
}

static void only_error(void **state)
{
    struct attr_source s = source(1);
    char buf[ATTR_BYTES_MAX];
    xbitmap want = {0}, got;

    s.only_error = true;
    s.rdattr_error = NFS4ERR_IO;
    xbitmap_set(&want, FATTR4_SIZE);
    assert_int_equal(attr_encode(&s, &want, &got, buf), 0);
    xbitmap_set(&want, FATTR4_RDATTR_ERROR);
    assert_int_equal(attr_encode(&s, &want, &got, buf), 4);
    assert_int_equal(got.w[0], 1u << FATTR4_RDATTR_ERROR);
}

static void compare(void **state)
{
    struct attr_source s = source(1);
    struct vals v = with(FATTR4_SIZE);
    uint64_t size;

    v64(&v, UINT64_MAX);
    assert_int_equal(attr_compare(&s, &v.a), NFS4ERR_SAME);
    assert_true(attr_is_size(&v.a, &size));
    assert_true(size == UINT64_MAX);
    s.va.a.size = 1;
    assert_int_equal(attr_compare(&s, &v.a), NFS4ERR_NOT_SAME);
    xbitmap_set(&v.a.attrmask, FATTR4_CHANGE);
    assert_false(attr_is_size(&v.a, &size));
    assert_int_equal(attr_compare(&s, &v.a), NFS4ERR_NOT_SAME);
    v = with(FATTR4_RDATTR_ERROR);
    v32(&v, 0);
    assert_int_equal(attr_compare(&s, &v.a), NFS4ERR_INVAL);
    v = with(FATTR4_TIME_ACCESS_SET);
    assert_int_equal(attr_compare(&s, &v.a), NFS4ERR_INVAL);
    v = with(FATTR4_DACL);
    assert_int_equal(attr_compare(&s, &v.a), NFS4ERR_ATTRNOTSUPP);
    v = with(FATTR4_ACL); /* of mode 0777 */
    v32(&v, 3);
    for (int i = 0; i < 3; i++) {
        v32(&v, 0);
        v32(&v, 0);
        v32(&v, 0x1200a7 | (i ? 0 : 0x40100));
        vstr(&v, i == 0 ? "OWNER@" : i == 1 ? "GROUP@" : "EVERYONE@");
    }
    assert_int_equal(attr_compare(&s, &v.a), NFS4ERR_SAME);
    s.va.a.mode = 0770;
    assert_int_equal(attr_compare(&s, &v.a), NFS4ERR_NOT_SAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mask_checked), cmocka_unit_test(truncated), cmocka_unit_test(bad_values),
        cmocka_unit_test(encode_all),   cmocka_unit_test(versions),  cmocka_unit_test(only_error),
        cmocka_unit_test(compare),     cmocka_unit_test(acl_and_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
