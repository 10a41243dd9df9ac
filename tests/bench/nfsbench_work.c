/* SPDX-License-Identifier: Apache-2.0
 * nfsbench: the compounds of its units of work.
 */
#include "nfsbench.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static const stateid4 anonymous;
static uint32_t attr_words[2] = { 1u << 1 | 1u << 3 | 1u << 4 | 1u << 20, 1u << 1 | 1u << 3 | 1u << 20 | 1u << 21 };
uint32_t mode_word[2] = { 0, 1u << 1 };
static char mode_value[4] = { 0, 0, 1, (char)0244 }; /* 0644 */

int op_putfh(nfs_argop4 *op, struct fh *fh)
{
    op->argop = OP_PUTFH;
    op->nfs_argop4_u.opputfh.object.nfs_fh4_len = fh->len;
    op->nfs_argop4_u.opputfh.object.nfs_fh4_val = fh->val;
    return 1;
}

int op_name(nfs_argop4 *op, nfs_opnum4 opnum, char *name)
{
    utf8string *u = opnum == OP_LOOKUP ? &op->nfs_argop4_u.oplookup.objname : &op->nfs_argop4_u.opremove.target;

    op->argop = opnum;
    u->utf8string_len = (u_int)strlen(name);
    u->utf8string_val = name;
    return 1;
}

static int op_write(nfs_argop4 *op, uint64_t offset, char *data, uint32_t size, stable_how4 how)
{
    WRITE4args *w = &op->nfs_argop4_u.opwrite;

    op->argop = OP_WRITE;
    w->stateid = anonymous;
    w->offset = offset;
    w->stable = how;
    w->data.data_len = size;
    w->data.data_val = data;
    return 1;
}

static int op_read(nfs_argop4 *op, uint64_t offset, uint32_t size)
{
    op->argop = OP_READ;
    op->nfs_argop4_u.opread.stateid = anonymous;
    op->nfs_argop4_u.opread.offset = offset;
    op->nfs_argop4_u.opread.count = size;
    return 1;
}

static int op_open_create(struct slot *s, nfs_argop4 *op)
{
    OPEN4args *o = &op->nfs_argop4_u.opopen;
    fattr4 *attrs = &o->openhow.openflag4_u.how.createhow4_u.createattrs;

    memset(op, 0, sizeof *op);
    op->argop = OP_OPEN;
    o->seqid = s->seqid;
    o->share_access = OPEN4_SHARE_ACCESS_WRITE;
    o->owner.clientid = s->bench->clientid;
    o->owner.owner.owner_len = (u_int)strlen(s->owner);
    o->owner.owner.owner_val = s->owner;
    o->openhow.opentype = OPEN4_CREATE;
    o->openhow.openflag4_u.how.mode = UNCHECKED4;
    attrs->attrmask.bitmap4_len = 2;
    attrs->attrmask.bitmap4_val = mode_word;
    attrs->attr_vals.attrlist4_len = sizeof mode_value;
    attrs->attr_vals.attrlist4_val = mode_value;
    o->claim.claim = CLAIM_NULL;
    o->claim.open_claim4_u.file.utf8string_len = (u_int)strlen(s->name);
    o->claim.open_claim4_u.file.utf8string_val = s->name;
    return 1;
}

static uint64_t random_block(struct slot *s)
{
    return random_next(&s->bench->rng) % (s->bench->file_size / IO_SMALL) * IO_SMALL;
}

int make_seq_write(struct slot *s)
{
    if (s->step)
        return 0;
    /* Different bytes each time, at the price of a stamp per block, not of the generator. */
    for (size_t at = 0; at < IO_BIG; at += IO_SMALL)
        memcpy(s->buffer + at, &s->unit, 8);
    return op_putfh(s->ops, &s->bench->file) + op_write(s->ops + 1, s->unit * IO_BIG, s->buffer, IO_BIG, UNSTABLE4);
}

int make_seq_read(struct slot *s)
{
    if (s->step)
        return 0;
    return op_putfh(s->ops, &s->bench->file) + op_read(s->ops + 1, s->unit * IO_BIG, IO_BIG);
}

int make_random_read(struct slot *s)
{
    if (s->step)
        return 0;
    return op_putfh(s->ops, &s->bench->file) + op_read(s->ops + 1, random_block(s), IO_SMALL);
}

static int small_write(struct slot *s, stable_how4 how)
{
    if (s->step)
        return 0;
    memcpy(s->buffer, &s->unit, 8);
    return op_putfh(s->ops, &s->bench->file) + op_write(s->ops + 1, random_block(s), s->buffer, IO_SMALL, how);
}

int make_random_write(struct slot *s)
{
    return small_write(s, UNSTABLE4);
}

int make_stable_write(struct slot *s)
{
    return small_write(s, FILE_SYNC4);
}

/* OPEN(create) + WRITE(FILE_SYNC, anonymous stateid) + GETFH; an OPEN_CONFIRM if asked for; CLOSE. */
static int create_file(struct slot *s, uint32_t size)
{
    int n = 0;

    if (s->step == 0) {
        snprintf(s->name, sizeof s->name, "f%d.%llu", getpid(), (unsigned long long)(s->bench->base + s->unit));
        n = op_putfh(s->ops, &s->bench->dir) + op_open_create(s, s->ops + 1);
        if (size) {
            memcpy(s->buffer, &s->unit, 8);
            n += op_write(s->ops + n, 0, s->buffer, size, FILE_SYNC4);
        }
        s->ops[n++].argop = OP_GETFH;
    } else if (s->step == 1 && s->confirm) {
        n = op_putfh(s->ops, &s->fh);
        s->ops[n].argop = OP_OPEN_CONFIRM;
        s->ops[n].nfs_argop4_u.opopen_confirm.open_stateid = s->stateid;
        s->ops[n++].nfs_argop4_u.opopen_confirm.seqid = s->seqid;
    } else if (s->step == 1 + s->confirm) {
        n = op_putfh(s->ops, &s->fh);
        s->ops[n].argop = OP_CLOSE;
        s->ops[n].nfs_argop4_u.opclose.seqid = s->seqid;
        s->ops[n++].nfs_argop4_u.opclose.open_stateid = s->stateid;
    }
    return n;
}

int make_create(struct slot *s)
{
    return create_file(s, IO_SMALL);
}

int make_empty(struct slot *s)
{
    return create_file(s, 0);
}

int make_lookup(struct slot *s)
{
    int n = op_putfh(s->ops, &s->bench->dir);

    if (s->step)
        return 0;
    snprintf(s->name, sizeof s->name, "f%d.%llu", getpid(),
             (unsigned long long)(s->bench->base + random_next(&s->bench->rng) % LOOKUP_FILES));
    n += op_name(s->ops + n, OP_LOOKUP, s->name);
    s->ops[n].argop = OP_GETATTR;
    s->ops[n].nfs_argop4_u.opgetattr.attr_request.bitmap4_len = 2;
    s->ops[n++].nfs_argop4_u.opgetattr.attr_request.bitmap4_val = attr_words;
    return n;
}

int make_remove(struct slot *s)
{
    if (s->step)
        return 0;
    snprintf(s->name, sizeof s->name, "f%d.%llu", getpid(), (unsigned long long)(s->bench->base + s->unit));
    return op_putfh(s->ops, &s->bench->dir) + op_name(s->ops + 1, OP_REMOVE, s->name);
}
