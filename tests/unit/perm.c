/* SPDX-License-Identifier: Apache-2.0
 * perm: the permission matrix and the rules of chmod, chown, utimes, sticky and setgid.
 */
#include "server/vfs/perm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const uint32_t groups[] = {200, 300};
static const struct vcred root = {.uid = 0, .gid = 0};
static const struct vcred owner = {.uid = 10, .gid = 100};
static const struct vcred member = {.uid = 11, .gid = 111, .ngroups = 2, .groups = groups};
static const struct vcred other = {.uid = 12, .gid = 112};

static struct vattr file(uint32_t mode)
{
    return (struct vattr){.type = IT_REG, .mode = mode, .uid = 10, .gid = 300};
}

/* Every class with every mode against the definition: the first class that fits decides alone. */
static void test_matrix(void **state)
{
    for (uint32_t mode = 0; mode < 01000; mode++) {
        struct vattr a = file(mode);
        for (unsigned may = 1; may < 8; may++) {
            assert_int_equal(vfs_check(&a, &owner, may), may & ~(mode >> 6) ? -EACCES : 0);
            assert_int_equal(vfs_check(&a, &member, may), may & ~(mode >> 3 & 7) ? -EACCES : 0);
            assert_int_equal(vfs_check(&a, &other, may), may & ~(mode & 7) ? -EACCES : 0);
            bool exec_refused = may & VMAY_EXEC && !(mode & 0111);
            assert_int_equal(vfs_check(&a, &root, may), exec_refused ? -EACCES : 0);
        }
        a.type = IT_DIR;
        assert_int_equal(vfs_check(&a, &root, 7), 0);
    }
}

static void test_sticky(void **state)
{
    struct vattr dir = {.type = IT_DIR, .mode = 01777, .uid = 10};
    struct vattr child = {.type = IT_REG, .uid = 11};
    assert_int_equal(perm_sticky(&dir, &child, &other), -EPERM);
    assert_int_equal(perm_sticky(&dir, &child, &owner), 0);
    assert_int_equal(perm_sticky(&dir, &child, &member), 0);
    assert_int_equal(perm_sticky(&dir, &child, &root), 0);
    dir.mode = 0777;
    assert_int_equal(perm_sticky(&dir, &child, &other), 0);
}

static int set(const struct vattr *a, const struct vcred *c, struct vset s, struct vset *out)
{
    return perm_setattr(a, c, &s, false, out);
}

static void test_chmod(void **state)
{
    struct vattr a = file(0644);
    struct vset out = {0};
    const struct vset want = {.mask = VSET_MODE, .mode = 02755};
    assert_int_equal(set(&a, &other, want, &out), -EPERM);
    assert_int_equal(set(&a, &member, want, &out), -EPERM);
    assert_int_equal(out.mask, 0);
    /* The owner is not in the file's group: setgid is dropped, as chmod(2) says. */
    assert_int_equal(set(&a, &owner, want, &out), 0);
    assert_int_equal(out.mode, 0755);
    assert_int_equal(set(&a, &root, want, &out), 0);
    assert_int_equal(out.mode, 02755);
    a.type = IT_DIR;
    assert_int_equal(set(&a, &owner, want, &out), 0);
    assert_int_equal(out.mode, 02755);
}

/* The permission bits alone: setuid and the like stay as they are. */
static void test_perm_bits(void **state)
{
    struct vattr a = file(02644);
    struct vattr dir = {.type = IT_DIR, .mode = 0755, .uid = 10, .gid = 300};
    struct vset out = {0};
    const struct vset want = {.mask = VSET_PERM, .mode = 0711};
    assert_int_equal(set(&a, &other, want, &out), -EPERM);
    assert_int_equal(set(&a, &root, want, &out), 0);
    assert_int_equal(out.mask, VSET_MODE);
    assert_int_equal(out.mode, 02711);
    assert_int_equal(set(&a, &owner, want, &out), 0);
    assert_int_equal(out.mode, 0711); /* a chmod by one who is not in the group */
    assert_int_equal(perm_new_inode(&dir, &owner, IT_REG, &want, &out), 0);
    assert_int_equal(out.mask, VSET_MODE | VSET_UID | VSET_GID);
    assert_int_equal(out.mode, 0711);
}

static void test_chown(void **state)
{
    struct vattr a = file(06755), mine = {.type = IT_REG, .mode = 06755, .uid = 11, .gid = 111};
    struct vset out;
    assert_int_equal(set(&a, &owner, (struct vset){.mask = VSET_UID, .uid = 12}, &out), -EPERM);
    assert_int_equal(set(&a, &owner, (struct vset){.mask = VSET_GID, .gid = 200}, &out), -EPERM);
    assert_int_equal(set(&a, &other, (struct vset){.mask = VSET_UID, .uid = 10}, &out), -EPERM);
    assert_int_equal(set(&mine, &member, (struct vset){.mask = VSET_GID, .gid = 200}, &out), 0);
    assert_int_equal(out.mask, VSET_GID | VSET_MODE);
    assert_int_equal(out.mode, 0755);
    assert_int_equal(set(&a, &owner, (struct vset){.mask = VSET_UID, .uid = 10}, &out), 0);
    assert_int_equal(set(&a, &root, (struct vset){.mask = VSET_UID, .uid = 12}, &out), 0);
    assert_int_equal(out.mode, 0755);
    a.mode = 0644;
    assert_int_equal(set(&a, &root, (struct vset){.mask = VSET_UID, .uid = 12}, &out), 0);
    assert_int_equal(out.mask, VSET_UID);
}

static void test_times(void **state)
{
    struct vattr a = file(0646);
    struct vset out;
    assert_int_equal(set(&a, &other, (struct vset){.mask = VSET_MTIME}, &out), -EPERM);
    assert_int_equal(set(&a, &other, (struct vset){.mask = VSET_MTIME_NOW}, &out), 0);
    assert_int_equal(set(&a, &member, (struct vset){.mask = VSET_ATIME_NOW}, &out), -EACCES);
    a.mode = 0;
    assert_int_equal(set(&a, &owner, (struct vset){.mask = VSET_MTIME | VSET_ATIME}, &out), 0);
}

static void test_truncate(void **state)
{
    struct vattr a = file(04466);
    struct vset out;
    const struct vset want = {.mask = VSET_SIZE};
    assert_int_equal(set(&a, &owner, want, &out), 0); /* it may have been opened before */
    assert_int_equal(set(&a, &member, want, &out), 0);
    a.mode = 0446;
    assert_int_equal(set(&a, &member, want, &out), -EACCES);
    assert_int_equal(perm_setattr(&a, &member, &want, true, &out), 0);
    a.mode = 04466;
    assert_int_equal(set(&a, &other, want, &out), 0);
    assert_int_equal(out.mode, 0466);
    assert_int_equal(set(&a, &root, want, &out), 0);
    assert_int_equal(out.mask, VSET_SIZE);
}

static void test_new_inode(void **state)
{
    struct vattr dir = {.type = IT_DIR, .mode = 0777, .uid = 1, .gid = 500};
    struct vset out;
    assert_int_equal(perm_new_inode(&dir, &other, IT_REG,
                                    &(struct vset){.mask = VSET_UID, .uid = 10}, &out), -EPERM);
    assert_int_equal(perm_new_inode(&dir, &other, IT_REG,
                                    &(struct vset){.mask = VSET_GID, .gid = 500}, &out), -EPERM);
    assert_int_equal(perm_new_inode(&dir, &other, IT_REG, &(struct vset){0}, &out), 0);
    assert_int_equal(out.uid, 12);
    assert_int_equal(out.gid, 112);
    assert_int_equal(out.mode, 0666);
    dir.mode = 02777;
    assert_int_equal(perm_new_inode(&dir, &other, IT_DIR,
                                    &(struct vset){.mask = VSET_MODE, .mode = 0700}, &out), 0);
    assert_int_equal(out.gid, 500);
    assert_int_equal(out.mode, 02700);
    /* A setgid program of a group that the maker is not in is not made. */
    assert_int_equal(perm_new_inode(&dir, &other, IT_REG,
                                    &(struct vset){.mask = VSET_MODE, .mode = 02755}, &out), 0);
    assert_int_equal(out.gid, 500);
    assert_int_equal(out.mode, 0755);
    assert_int_equal(perm_new_inode(&dir, &root, IT_REG, &(struct vset){.mask = VSET_UID, .uid = 7}, &out),
                     0);
    assert_int_equal(out.uid, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix), cmocka_unit_test(test_sticky),   cmocka_unit_test(test_chmod), cmocka_unit_test(test_perm_bits),
        cmocka_unit_test(test_chown),  cmocka_unit_test(test_times),    cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_new_inode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
