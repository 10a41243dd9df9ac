/* SPDX-License-Identifier: Apache-2.0
 * attr: any bytes as a fattr4 to set and to compare, and as a bitmap of attributes to give. The first byte picks the
 * minor version and what may be set.
 */
#include <stdlib.h>
#include <string.h>

#include "server/nfs4/attr.h"
#include "tests/fuzz/replay.h"

static const struct attr_source source = {
    .lease = 90,
    .handle_key = (const uint8_t *)"0123456789abcdef",
    .fh = {.kind = VOBJ_FILE, .volume = UINT64_MAX, .ino = 5, .gen = 6},
    .va = {.a = {.ino = UINT64_MAX, .type = IT_REG, .mode = 0644, .nlink = 1, .uid = UINT32_MAX, .gid = 7,
                 .size = 12345, .used = 16384, .change = 99, .mtime = {-1, 999999999}},
           .fsid = 3},
    .st = {.total_bytes = UINT64_MAX, .free_bytes = 5},
};

static void to_set(uint32_t minor, bool excl, const fattr4 *a)
{
    xbitmap allowed, applied;
    struct vset set;

    (excl ? attr_exclcreat : attr_settable)(minor, &allowed);
    if (attr_decode_set(minor, &allowed, a, &set, &applied) != NFS4_OK)
        return;
    must(memcmp(&applied, &a->attrmask, sizeof(applied)) == 0 && !applied.more);
    must(!(set.mask & VSET_MODE) || set.mode <= 07777);
    must(!(set.mask & VSET_PERM) || (set.mode <= 0777 && !(set.mask & VSET_MODE)));
    must(!(set.mask & VSET_UID) || set.uid != UINT32_MAX);
    must(!(set.mask & VSET_ATIME) || set.atime.tv_nsec < 1000000000);
    must(!(set.mask & VSET_MTIME) || set.mtime.tv_nsec < 1000000000);
}

/* What is encoded compares as the same, as far as it may be compared. */
static void to_give(const struct attr_source *s, const xbitmap *want)
{
    static char buf[ATTR_BYTES_MAX];
    fattr4 a = {.attr_vals = {.data = buf}};
    nfsstat4 st;

    a.attr_vals.len = (uint32_t)attr_encode(s, want, &a.attrmask, buf);
    must(a.attr_vals.len <= ATTR_BYTES_MAX && a.attr_vals.len % 4 == 0);
    for (int i = 0; i < 3; i++)
        must(!(a.attrmask.w[i] & ~want->w[i]));
    st = attr_compare(s, &a);
    must(st == NFS4ERR_SAME || (st == NFS4ERR_INVAL && xbitmap_has(want, FATTR4_RDATTR_ERROR)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct attr_source s = source;
    uint64_t value;
    uint8_t *copy;
    fattr4 a;
    XDR x;

    if (!size)
        return 0;
    s.minor = data[0] % 3;
    s.va.a.mode = (uint32_t)data[0] * 0x55u & 07777;
    copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    xdrin_init(&x, copy, size - 1);
    memset(&a, 0, sizeof(a));
    if (xdr_fattr4(&x, &a)) {
        to_set(s.minor, data[0] & 4, &a);
        (void)attr_compare(&s, &a);
        must(!attr_is_size(&a, &value) || a.attr_vals.len == 8);
        s.only_error = data[0] & 8;
        if (!s.only_error)
            to_give(&s, &a.attrmask);
    }
    free(copy);
    return 0;
}
