/* SPDX-License-Identifier: Apache-2.0
 * op_readdir: READDIR. Entries are encoded straight into a buffer that is bounded by the client's maxcount, the
 * room in the reply and BUFFER_MAX, whichever is least; a directory is read in as many requests as it takes.
 *
 * Cookies are the store's: stable for the life of an entry, above 7. So the cookie verifier is always zero.
 */
#include <errno.h>
#include <string.h>

#include "server/nfs4/attr.h"
#include "server/nfs4/ops.h"

#define BUFFER_MAX  65536u
#define RESOK_FIXED 16u /* verifier, end of list, eof */
#define ENTRY_FIXED 16u /* "there is one more", cookie, length of the name */
#define WAY_COOKIE  8u
#define ENTRY_MIN   28u /* with a short name and no attributes: bounds how many entries are fetched */

struct listing {
    struct compound *c;
    const xbitmap *want;
    struct attr_source src;
    char *buf;
    size_t len, size;
    size_t names, names_max; /* bytes of cookies and names: what dircount limits */
    unsigned count;
    uint64_t grant; /* of the entries' handles */
    bool full;
    nfsstat4 status;
};

static void put32(char *p, uint32_t v)
{
    p[0] = (char)(v >> 24);
    p[1] = (char)(v >> 16);
    p[2] = (char)(v >> 8);
    p[3] = (char)v;
}

static char *put_entry_name(char *p, const struct vfs_dirent *de)
{
    size_t pad = -de->len & 3;

    put32(p, 1);
    put32(p + 4, (uint32_t)(de->cookie >> 32));
    put32(p + 8, (uint32_t)de->cookie);
    put32(p + 12, (uint32_t)de->len);
    memcpy(p + ENTRY_FIXED, de->name, de->len);
    memset(p + ENTRY_FIXED + de->len, 0, pad);
    return p + ENTRY_FIXED + de->len + pad;
}

static char *put_bitmap(char *p, const xbitmap *b)
{
    uint32_t n = b->w[2] ? 3 : b->w[1] ? 2 : b->w[0] ? 1 : 0;

    put32(p, n);
    for (uint32_t i = 0; i < n; i++)
        put32(p + 4 + (size_t)4 * i, b->w[i]);
    return p + 4 + (size_t)4 * n;
}

/* The entry's attributes, or the error that stands for them. False: the whole READDIR fails. */
static bool entry_source(struct listing *l, const struct vfs_dirent *de)
{
    struct attr_source *s = &l->src;

    s->only_error = de->err != 0;
    s->rdattr_error = nfs4_status(de->err);
    if (de->err) {
        if (xbitmap_has(l->want, FATTR4_RDATTR_ERROR))
            return true;
        l->status = s->rdattr_error;
        return false;
    }
    s->va = de->attr;
    fh_parts_of(&de->obj, &s->fh);
    s->fh.grant = l->grant;
    if (s->fh.kind == VOBJ_FILE && !de->obj.vol)
        fh_set_volume(&s->fh, de->attr.fsid); /* a volume that is not open */
    return true;
}

static bool add_entry(void *arg, const struct vfs_dirent *de)
{
    struct listing *l = arg;
    char tmp[ENTRY_FIXED + STORE_NAME_MAX + 1 + 16 + 4 + ATTR_BYTES_MAX], *p, *bitmap_at;
    char values[ATTR_BYTES_MAX];
    xbitmap got;
    size_t len, n;

    if (de->err == -ENOENT || de->err == -ESTALE)
        return true; /* removed meanwhile */
    if (!entry_source(l, de))
        return false;
    n = attr_encode(&l->src, l->want, &got, values);
    bitmap_at = put_entry_name(tmp, de);
    p = put_bitmap(bitmap_at, &got);
    put32(p, (uint32_t)n);
    memcpy(p + 4, values, n);
    len = (size_t)(p - tmp) + 4 + n;
    if (len > l->size - l->len ||
        (l->count && l->names + 12 + de->len > l->names_max)) {
        l->full = true;
        return false;
    }
    memcpy(l->buf + l->len, tmp, len);
    l->len += len;
    l->names += 12 + de->len;
    l->count++;
    return true;
}

/* Only what leads to folders: entry i has the cookie WAY_COOKIE + i. -errno. */
static int list_way(struct listing *l, uint64_t after, bool *eof)
{
    const struct grant_rule *rule, *other;
    struct compound *c = l->c;
    const char *name, *before;
    size_t len, blen;
    int err;

    for (unsigned i = 0; (err = access_way(c, i, &name, &len, &rule)) != -ENOENT; i++) {
        struct vfs_dirent de = {.cookie = WAY_COOKIE + i, .name = name, .len = len};
        bool again = false, more;

        if (err < 0)
            return err;
        for (unsigned j = 0; !err && !again && j < i; j++)
            again = access_way(c, j, &before, &blen, &other) == 0 && blen == len && !memcmp(before, name, len);
        if (err || again || de.cookie <= after)
            continue;
        err = vfs_lookup(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, name, len, &de.obj, &de.attr);
        if (err == -ENOENT || (!err && de.attr.a.type != IT_DIR)) {
            vobj_release(&de.obj);
            continue;
        }
        if (err)
            return err;
        l->grant = rule ? rule->id : 0;
        more = add_entry(l, &de);
        vobj_release(&de.obj);
        if (!more)
            return 0;
    }
    *eof = true;
    return 0;
}

static nfsstat4 check_args(const READDIR4args *a)
{
    static const verifier4 zero;

    if (xbitmap_has(&a->attr_request, FATTR4_TIME_ACCESS_SET) ||
        xbitmap_has(&a->attr_request, FATTR4_TIME_MODIFY_SET))
        return NFS4ERR_INVAL;
    if (a->cookie == 1 || a->cookie == 2)
        return NFS4ERR_BAD_COOKIE; /* reserved, RFC 8881 section 18.23.3 */
    if (a->cookie && memcmp(a->cookieverf, zero, sizeof(zero)) != 0)
        return NFS4ERR_NOT_SAME;
    return NFS4_OK;
}

/* How many bytes of entries. False: not even an empty listing fits. */
static bool entries_room(const struct compound *c, const READDIR4args *a, size_t *out)
{
    size_t room = compound_room(c);

    if (a->maxcount < room)
        room = a->maxcount;
    if (room < RESOK_FIXED)
        return false;
    room -= RESOK_FIXED;
    *out = (room < BUFFER_MAX ? room : BUFFER_MAX) & ~(size_t)3;
    return true;
}

nfsstat4 op_readdir(struct compound *c, READDIR4args *args, READDIR4res *res)
{
    READDIR4resok *ok = &res->READDIR4res_u.resok4;
    struct listing l = {.c = c, .want = &args->attr_request};
    bool eof = false;
    nfsstat4 st = check_args(args);
    int err;

    if (st != NFS4_OK)
        return st;
    if (!entries_room(c, args, &l.size))
        return NFS4ERR_TOOSMALL;
    l.names_max = args->dircount ? args->dircount : SIZE_MAX;
    err = attr_source_of(c, &c->cur.obj, l.want, &l.src);
    if (err)
        return nfs4_status(err);
    if (l.src.va.a.type != IT_DIR)
        return NFS4ERR_NOTDIR;
    l.buf = compound_scratch(c, l.size + 4);
    if (!l.buf)
        return NFS4ERR_DELAY;
    l.grant = c->cur.acc.grant;
    if (c->view && c->cur.acc.level == GRANT_WAY)
        err = list_way(&l, args->cookie, &eof);
    else
        err = vfs_readdir(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, args->cookie,
                          (unsigned)(l.size / ENTRY_MIN + 1), add_entry, &l, &eof);
    if (err < 0)
        return nfs4_status(err);
    if (l.status != NFS4_OK && !l.count)
        return l.status; /* with entries before it, the next request gets to it */
    if (l.full && !l.count)
        return NFS4ERR_TOOSMALL;
    put32(l.buf + l.len, 0);
    ok->entries = (xraw){(uint32_t)l.len + 4, l.buf};
    ok->eof = eof && !l.full && l.status == NFS4_OK;
    return NFS4_OK;
}
