/* SPDX-License-Identifier: Apache-2.0
 * attr_encode: attribute values onto the wire, in the order of their numbers.
 */
#include <stdio.h>
#include <string.h>

#include "server/nfs4/acl.h"
#include "server/nfs4/attr.h"
#include "server/nfs4/compound.h"

struct writer {
    char *p;
};

static void put32(struct writer *w, uint32_t v)
{
    w->p[0] = (char)(v >> 24);
    w->p[1] = (char)(v >> 16);
    w->p[2] = (char)(v >> 8);
    w->p[3] = (char)v;
    w->p += 4;
}

static void put64(struct writer *w, uint64_t v)
{
    put32(w, (uint32_t)(v >> 32));
    put32(w, (uint32_t)v);
}

static void put_bytes(struct writer *w, const void *p, uint32_t len)
{
    put32(w, len);
    memcpy(w->p, p, len);
    memset(w->p + len, 0, -len & 3);
    w->p += len + (-len & 3);
}

static void put_time(struct writer *w, const struct timespec *t)
{
    put64(w, (uint64_t)(int64_t)t->tv_sec);
    put32(w, (uint32_t)t->tv_nsec);
}

static void put_bitmap(struct writer *w, const xbitmap *b)
{
    uint32_t n = b->w[2] ? 3 : b->w[1] ? 2 : b->w[0] ? 1 : 0;

    put32(w, n);
    for (uint32_t i = 0; i < n; i++)
        put32(w, b->w[i]);
}

/* Owners are numbers in decimal (RFC 7530 section 5.9 allows it; clients with AUTH_SYS understand it). */
static void put_id(struct writer *w, uint32_t id)
{
    char s[12];

    put_bytes(w, s, (uint32_t)snprintf(s, sizeof(s), "%u", id));
}

static uint32_t wire_type(enum inode_type t)
{
    switch (t) {
    case IT_DIR:
        return NF4DIR;
    case IT_LNK:
        return NF4LNK;
    case IT_BLK:
        return NF4BLK;
    case IT_CHR:
        return NF4CHR;
    case IT_FIFO:
        return NF4FIFO;
    case IT_SOCK:
        return NF4SOCK;
    case IT_REG:
    case IT_NONE:
        break;
    }
    return NF4REG;
}

static void put_bits(struct writer *w, void (*set)(uint32_t minor, xbitmap *out), uint32_t minor)
{
    xbitmap b;

    set(minor, &b);
    put_bitmap(w, &b);
}

static void put_handle(struct writer *w, const struct attr_source *s)
{
    char fh[FH_SIZE_MAX];

    put_bytes(w, fh, fh_encode(s->handle_key, &s->fh, fh));
}

/* A bitmap of one word. */
static void put_word(struct writer *w, uint32_t bits)
{
    put32(w, 1);
    put32(w, bits);
}

/* False: not an attribute that has a value. */
static bool put_attr(struct writer *w, const struct attr_source *s, unsigned attr)
{
    const struct vattr *a = &s->va.a;

    switch (attr) {
    case FATTR4_SUPPORTED_ATTRS:
        put_bits(w, attr_supported, s->minor);
        break;
    case FATTR4_TYPE:
        put32(w, wire_type(a->type));
        break;
    case FATTR4_FH_EXPIRE_TYPE:
        put32(w, FH4_PERSISTENT);
        break;
    case FATTR4_CHANGE:
        put64(w, a->change);
        break;
    case FATTR4_SIZE:
        put64(w, a->size);
        break;
    case FATTR4_LINK_SUPPORT:
    case FATTR4_SYMLINK_SUPPORT:
    case FATTR4_UNIQUE_HANDLES:
    case FATTR4_CANSETTIME:
    case FATTR4_CASE_PRESERVING:
    case FATTR4_CHOWN_RESTRICTED:
    case FATTR4_HOMOGENEOUS:
    case FATTR4_NO_TRUNC:
        put32(w, 1);
        break;
    case FATTR4_NAMED_ATTR:
    case FATTR4_CASE_INSENSITIVE:
        put32(w, 0);
        break;
    case FATTR4_ACL:
        w->p += acl_of_mode(a->mode, a->type == IT_DIR, w->p);
        break;
    case FATTR4_ACLSUPPORT:
        put32(w, ACL4_SUPPORT_ALLOW_ACL | ACL4_SUPPORT_DENY_ACL);
        break;
    case FATTR4_FSID:
        put64(w, s->va.fsid);
        put64(w, 0);
        break;
    case FATTR4_LEASE_TIME:
        put32(w, s->lease);
        break;
    case FATTR4_RDATTR_ERROR:
        put32(w, (uint32_t)s->rdattr_error);
        break;
    case FATTR4_FILEHANDLE:
        put_handle(w, s);
        break;
    case FATTR4_FILEID:
        put64(w, a->ino);
        break;
    case FATTR4_FILES_AVAIL:
        put64(w, s->st.avail_files);
        break;
    case FATTR4_FILES_FREE:
        put64(w, s->st.free_files);
        break;
    case FATTR4_FILES_TOTAL:
        put64(w, s->st.total_files);
        break;
    case FATTR4_MAXFILESIZE:
        put64(w, STORE_FILE_MAX);
        break;
    case FATTR4_MAXLINK:
        put32(w, STORE_LINK_MAX);
        break;
    case FATTR4_MAXNAME:
        put32(w, STORE_NAME_MAX);
        break;
    case FATTR4_MAXREAD:
    case FATTR4_MAXWRITE:
        put64(w, NFS4_MAX_IO);
        break;
    case FATTR4_MODE:
        put32(w, a->mode & 07777);
        break;
    case FATTR4_NUMLINKS:
        put32(w, a->nlink);
        break;
    case FATTR4_OWNER:
        put_id(w, a->uid);
        break;
    case FATTR4_OWNER_GROUP:
        put_id(w, a->gid);
        break;
    case FATTR4_QUOTA_AVAIL_HARD:
    case FATTR4_QUOTA_AVAIL_SOFT:
    case FATTR4_SPACE_AVAIL:
        put64(w, s->st.avail_bytes);
        break;
    case FATTR4_QUOTA_USED:
        put64(w, s->st.total_bytes - s->st.free_bytes);
        break;
    case FATTR4_RAWDEV:
        put32(w, a->rdev_major);
        put32(w, a->rdev_minor);
        break;
    case FATTR4_SPACE_FREE:
        put64(w, s->st.free_bytes);
        break;
    case FATTR4_SPACE_TOTAL:
        put64(w, s->st.total_bytes);
        break;
    case FATTR4_SPACE_USED:
        put64(w, a->used);
        break;
    case FATTR4_TIME_ACCESS:
        put_time(w, &a->atime);
        break;
    case FATTR4_TIME_CREATE:
        put_time(w, &a->btime);
        break;
    case FATTR4_TIME_DELTA:
        put64(w, 0);
        put32(w, 1);
        break;
    case FATTR4_TIME_METADATA:
        put_time(w, &a->ctime);
        break;
    case FATTR4_TIME_MODIFY:
        put_time(w, &a->mtime);
        break;
    case FATTR4_MOUNTED_ON_FILEID:
        put64(w, s->va.mounted_on_fileid);
        break;
    case FATTR4_FS_LAYOUT_TYPES:
        put32(w, 0); /* none: no pNFS */
        break;
    case FATTR4_SUPPATTR_EXCLCREAT:
        put_bits(w, attr_exclcreat, s->minor);
        break;
    case FATTR4_CLONE_BLKSIZE:
        put32(w, VOLUME_CLONE_BLOCK);
        break;
    case FATTR4_CHANGE_ATTR_TYPE:
        put32(w, NFS4_CHANGE_TYPE_IS_MONOTONIC_INCR);
        break;
    case FATTR4_XATTR_SUPPORT:
        put32(w, s->fh.kind == VOBJ_FILE);
        break;
    case FATTR4_OPEN_ARGUMENTS: /* what op_open.c takes: five bitmaps of a word (RFC 9754 section 3) */
        put_word(w, 0xe);  /* access: read, write, both */
        put_word(w, 0xf);  /* deny: none, read, write, both */
        put_word(w, 0x38); /* wants: any delegation, none, cancel */
        put_word(w, 0x37); /* claims: all but CLAIM_DELEGATE_PREV and CLAIM_DELEG_PREV_FH */
        put_word(w, 0xf);  /* all create modes */
        break;
    default:
        return false;
    }
    return true;
}

size_t attr_encode(const struct attr_source *s, const xbitmap *want, xbitmap *got, char *buf)
{
    struct writer w = {buf};
    xbitmap exist;

    memset(got, 0, sizeof(*got));
    if (s->only_error) {
        if (xbitmap_has(want, FATTR4_RDATTR_ERROR)) {
            xbitmap_set(got, FATTR4_RDATTR_ERROR);
            put_attr(&w, s, FATTR4_RDATTR_ERROR);
        }
        return (size_t)(w.p - buf);
    }
    attr_supported(s->minor, &exist);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t bits = want->w[i] & exist.w[i];

        for (; bits; bits &= bits - 1) {
            unsigned attr = i * 32 + (unsigned)__builtin_ctz(bits);

            if (put_attr(&w, s, attr))
                xbitmap_set(got, attr);
        }
    }
    return (size_t)(w.p - buf);
}
