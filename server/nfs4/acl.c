/* SPDX-License-Identifier: Apache-2.0
 * acl: the entries are followed for the four kinds of requester that a mode can tell apart; the first entry that names
 * a right for one decides (RFC 8881 section 6.2.1).
 */
#include "server/nfs4/acl.h"

#include <string.h>

/* Masks of entries. What each bit of a mode is; a directory's write bit also lets remove names. */
#define READS        0x01u
#define WRITES       0x06u /* WRITE_DATA and APPEND_DATA, or ADD_FILE and ADD_SUBDIRECTORY */
#define RUNS         0x20u
#define DELETE_CHILD 0x40u
#define BY_MODE      (READS | WRITES | RUNS | DELETE_CHILD)
#define BY_ALL       0x120080u /* READ_ATTRIBUTES READ_ACL SYNCHRONIZE */
#define BY_OWNER     0x040100u /* WRITE_ATTRIBUTES WRITE_ACL */

#define TYPE_ALARM   3u
#define FLAG_GROUP   0x40u /* says nothing of GROUP@, but some clients set it */
#define WHO_MAX      1024u

/* --- from a mode --- */

static char *put32(char *p, uint32_t v)
{
    p[0] = (char)(v >> 24);
    p[1] = (char)(v >> 16);
    p[2] = (char)(v >> 8);
    p[3] = (char)v;
    return p + 4;
}

static uint32_t mask_of(uint32_t bits, bool dir)
{
    uint32_t m = 0;

    if (bits & 4)
        m |= READS;
    if (bits & 2)
        m |= WRITES | (dir ? DELETE_CHILD : 0);
    if (bits & 1)
        m |= RUNS;
    return m;
}

static char *put_ace(char *p, uint32_t type, uint32_t mask, const char *who)
{
    uint32_t len = (uint32_t)strlen(who);

    p = put32(p, type);
    p = put32(p, 0);
    p = put32(p, mask);
    p = put32(p, len);
    memcpy(p, who, len);
    memset(p + len, 0, -len & 3);
    return p + len + (-len & 3);
}

size_t acl_of_mode(uint32_t mode, bool dir, char *buf)
{
    uint32_t owner = mode >> 6 & 7, group = mode >> 3 & 7, other = mode & 7;
    uint32_t not_owner = (group | other) & ~owner, not_group = other & ~group;
    char *p = buf;

    p = put32(p, 3u + (not_owner != 0) + (not_group != 0));
    if (not_owner)
        p = put_ace(p, ACE4_ACCESS_DENIED_ACE_TYPE, mask_of(not_owner, dir), "OWNER@");
    p = put_ace(p, ACE4_ACCESS_ALLOWED_ACE_TYPE, mask_of(owner, dir) | BY_ALL | BY_OWNER, "OWNER@");
    if (not_group)
        p = put_ace(p, ACE4_ACCESS_DENIED_ACE_TYPE, mask_of(not_group, dir), "GROUP@");
    p = put_ace(p, ACE4_ACCESS_ALLOWED_ACE_TYPE, mask_of(group, dir) | BY_ALL, "GROUP@");
    p = put_ace(p, ACE4_ACCESS_ALLOWED_ACE_TYPE, mask_of(other, dir) | BY_ALL, "EVERYONE@");
    return (size_t)(p - buf);
}

/* --- to a mode --- */

/* Who asks: the owner, who may be in the group or not; another of the group; somebody else. */
enum { OWNER, OWNER_IN_GROUP, IN_GROUP, OTHER, NCLASSES };
#define C(x) (1u << (x))
static const struct {
    const char *name;
    unsigned classes;
} whos[] = {
    {"OWNER@", C(OWNER) | C(OWNER_IN_GROUP)},
    {"GROUP@", C(OWNER_IN_GROUP) | C(IN_GROUP)},
    {"EVERYONE@", C(OWNER) | C(OWNER_IN_GROUP) | C(IN_GROUP) | C(OTHER)},
};
#define NWHOS (sizeof(whos) / sizeof(whos[0]))

/* Whom an entry is about; 0: some user or group, of whom a mode knows nothing. */
static unsigned classes_of(const xopaque *who)
{
    for (size_t i = 0; i < NWHOS; i++)
        if (who->len == strlen(whos[i].name) && !memcmp(who->data, whos[i].name, who->len))
            return whos[i].classes;
    return 0;
}

/* The bits that an entry's mask means. False: a mode cannot say it. */
static bool bits_of(uint32_t mask, bool allow, unsigned classes, uint32_t *bits)
{
    bool owner = classes == (C(OWNER) | C(OWNER_IN_GROUP));
    uint32_t writes = mask & WRITES;

    if (mask & ~BY_MODE & ~(allow ? BY_ALL : 0) & ~(allow && owner ? BY_OWNER : 0))
        return false;
    if (writes ? writes != WRITES : (mask & DELETE_CHILD) != 0)
        return false;
    *bits = (mask & READS ? 4u : 0) | (writes ? 2u : 0) | (mask & RUNS ? 1u : 0);
    return classes || !*bits;
}

nfsstat4 acl_to_mode(XDR *x, uint32_t *mode)
{
    uint32_t allowed[NCLASSES] = {0}, decided[NCLASSES] = {0}, n;
    nfsstat4 st = NFS4_OK;

    if (!xdr_uint32_t(x, &n) || n > xdrin_left(x) / 16)
        return NFS4ERR_BADXDR;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t type, flags, mask, bits = 0;
        unsigned classes;
        xopaque who;

        if (!xdr_uint32_t(x, &type) || !xdr_uint32_t(x, &flags) || !xdr_uint32_t(x, &mask) ||
            !xdr_xopaque(x, &who))
            return NFS4ERR_BADXDR;
        if (type > TYPE_ALARM || !who.len || who.len > WHO_MAX)
            return NFS4ERR_INVAL;
        classes = classes_of(&who);
        if (type > ACE4_ACCESS_DENIED_ACE_TYPE || flags & ~FLAG_GROUP ||
            !bits_of(mask, type == ACE4_ACCESS_ALLOWED_ACE_TYPE, classes, &bits))
            st = NFS4ERR_ATTRNOTSUPP; /* but the rest has to be an ACL, too */
        for (unsigned c = 0; c < NCLASSES; c++) {
            if (!(classes & C(c)))
                continue;
            if (type == ACE4_ACCESS_ALLOWED_ACE_TYPE)
                allowed[c] |= bits & ~decided[c];
            decided[c] |= bits;
        }
    }
    if (allowed[OWNER] != allowed[OWNER_IN_GROUP])
        st = NFS4ERR_ATTRNOTSUPP; /* as a mode has it, the group's bits do not concern the owner */
    *mode = allowed[OWNER] << 6 | allowed[IN_GROUP] << 3 | allowed[OTHER];
    return st;
}
