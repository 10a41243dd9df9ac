/* SPDX-License-Identifier: Apache-2.0
 * nfsbench: drives an NFSv4.0 server with raw compounds over one connection and prints a rate per row.
 *
 *     nfsbench [-h HOST] [-p PORT] [-d DIRECTORY] [-s SECONDS] [-m FILE_MIB] ROW...
 *
 * A row keeps `depth` requests in flight: each of `depth` slots sends its next compound as soon as its last one is
 * answered. A slot's work is a list of compounds (make_*); NFS4ERR_DELAY sends the same compound again. Any
 * other error ends the bench with status 1. Rows need no order: what a row reads or removes is made before its clock
 * starts. Data is half compressible: each 4 KiB is 2 KiB of pseudo-random bytes and 2 KiB of one repeated byte; in
 * rows of incompressible data all of it is pseudo-random. No two blocks are alike.
 *
 * Row "keep" leaves a file that row "coldread" of a later run reads and removes: what is between the two makes it cold.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nfsbench.h"

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void fill(char *buffer, size_t size, size_t random_part, uint64_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;

    for (size_t at = 0; at < size; at += 4096) {
        for (size_t i = 0; i < random_part; i += 8) {
            uint64_t r = random_next(&state);

            memcpy(buffer + at + i, &r, 8);
        }
        memset(buffer + at + random_part, (int)(state & 0xff), 4096 - random_part);
    }
}

/* ---- the engine ------------------------------------------------------------------------------------------------- */

static void slot_next(struct slot *s);

static void send_compound(struct bench *b, struct slot *s, nfs_argop4 *ops, int n, wire_reply reply, void *arg)
{
    COMPOUND4args args;

    memset(&args, 0, sizeof args);
    args.argarray.argarray_len = (u_int)n;
    args.argarray.argarray_val = ops;
    wire_call(b->wire, &args, reply, arg);
    if (s)
        b->in_flight++;
}

static void slot_reply(void *arg, COMPOUND4res *res)
{
    struct slot *s = arg;
    struct bench *b = s->bench;
    int again = 0;
    u_int good;

    b->in_flight--;
    good = res->resarray.resarray_len;
    if (res->status == NFS4ERR_DELAY || res->status == NFS4ERR_GRACE) {
        again = 1;
        if (good > 0) {
            nfs_opnum4 last = res->resarray.resarray_val[--good].resop;

            /* A seqid moves on although its operation was put off. */
            if (last == OP_OPEN || last == OP_CLOSE || last == OP_OPEN_CONFIRM)
                s->seqid++;
        }
    } else if (res->status != NFS4_OK) {
        die("%s: NFS error %d in operation %d", b->row->name, (int)res->status, (int)good - 1);
    }
    for (u_int i = 0; i < good; i++) {
        nfs_resop4 *r = &res->resarray.resarray_val[i];

        if (r->resop == OP_OPEN) {
            s->seqid++;
            s->stateid = r->nfs_resop4_u.opopen.OPEN4res_u.resok4.stateid;
            s->confirm = !!(r->nfs_resop4_u.opopen.OPEN4res_u.resok4.rflags & OPEN4_RESULT_CONFIRM);
        } else if (r->resop == OP_OPEN_CONFIRM) {
            s->seqid++;
            s->stateid = r->nfs_resop4_u.opopen_confirm.OPEN_CONFIRM4res_u.resok4.open_stateid;
        } else if (r->resop == OP_CLOSE) {
            s->seqid++;
        } else if (r->resop == OP_GETFH) {
            nfs_fh4 *fh = &r->nfs_resop4_u.opgetfh.GETFH4res_u.resok4.object;

            s->fh.len = fh->nfs_fh4_len;
            memcpy(s->fh.val, fh->nfs_fh4_val, fh->nfs_fh4_len);
        } else if (r->resop == OP_READ) {
            u_int want = b->row->bytes > IO_SMALL ? IO_BIG : IO_SMALL;

            if (r->nfs_resop4_u.opread.READ4res_u.resok4.data.data_len != want)
                die("%s: short read", b->row->name);
        } else if (r->resop == OP_WRITE) {
            u_int want = b->row->bytes > IO_SMALL ? IO_BIG : IO_SMALL;

            if (r->nfs_resop4_u.opwrite.WRITE4res_u.resok4.count != want)
                die("%s: short write", b->row->name);
        }
    }
    s->step -= again;
    slot_next(s);
}

/* Send the slot's next compound: of its unit, or of the next unit while the row goes on. */
static void slot_next(struct slot *s)
{
    struct bench *b = s->bench;
    int n;

    while ((n = b->row->make(s)) == 0) {
        b->done_units++;
        if (b->next_unit >= b->max_units || (b->deadline > 0 && now() >= b->deadline))
            return;
        s->unit = b->next_unit++;
        s->step = 0;
    }
    s->step++;
    send_compound(b, s, s->ops, n, slot_reply, s);
}

/* Run units of row until its limit or its time; returns the seconds it took. */
static double run_units(struct bench *b, const struct row *row, uint64_t units, double seconds)
{
    double start = now();

    b->row = row;
    b->next_unit = b->done_units = 0;
    b->max_units = units ? units : UINT64_MAX;
    b->deadline = seconds > 0 ? start + seconds : 0;
    for (int i = 0; i < row->depth && b->next_unit < b->max_units; i++) {
        b->slots[i].unit = b->next_unit++;
        b->slots[i].step = 0;
        slot_next(&b->slots[i]);
    }
    while (b->in_flight)
        wire_wait(b->wire);
    return now() - start;
}

/* ---- one compound at a time, for setting up --------------------------------------------------------------------- */

struct call {
    int done;
    nfsstat4 status;
    struct fh fh;
    uint64_t clientid;
    char confirm[8];
};

static void call_reply(void *arg, COMPOUND4res *res)
{
    struct call *c = arg;

    c->done = 1;
    c->status = res->status;
    for (u_int i = 0; i < res->resarray.resarray_len && res->status == NFS4_OK; i++) {
        nfs_resop4 *r = &res->resarray.resarray_val[i];

        if (r->resop == OP_GETFH) {
            nfs_fh4 *fh = &r->nfs_resop4_u.opgetfh.GETFH4res_u.resok4.object;

            c->fh.len = fh->nfs_fh4_len;
            memcpy(c->fh.val, fh->nfs_fh4_val, fh->nfs_fh4_len);
        } else if (r->resop == OP_SETCLIENTID) {
            c->clientid = r->nfs_resop4_u.opsetclientid.SETCLIENTID4res_u.resok4.clientid;
            memcpy(c->confirm, r->nfs_resop4_u.opsetclientid.SETCLIENTID4res_u.resok4.setclientid_confirm, 8);
        }
    }
}

static struct call call(struct bench *b, nfs_argop4 *ops, int n)
{
    struct call c;

    for (int tries = 0; tries < 300; tries++) {
        memset(&c, 0, sizeof c);
        send_compound(b, NULL, ops, n, call_reply, &c);
        while (!c.done)
            wire_wait(b->wire);
        if (c.status != NFS4ERR_DELAY && c.status != NFS4ERR_GRACE)
            break;
        usleep(100000);
    }
    return c;
}

static void client_confirm(struct bench *b)
{
    char id[64], netid[] = "tcp", addr[] = "0.0.0.0.0.0";
    nfs_argop4 op;
    struct call c;

    memset(&op, 0, sizeof op);
    op.argop = OP_SETCLIENTID;
    op.nfs_argop4_u.opsetclientid.client.id.id_len =
        (u_int)snprintf(id, sizeof id, "nfsbench %d %.9f", getpid(), now());
    op.nfs_argop4_u.opsetclientid.client.id.id_val = id;
    memcpy(op.nfs_argop4_u.opsetclientid.client.verifier, id + strlen(id) - 8, 8);
    op.nfs_argop4_u.opsetclientid.callback.cb_location.r_netid = netid;
    op.nfs_argop4_u.opsetclientid.callback.cb_location.r_addr = addr;
    c = call(b, &op, 1);
    if (c.status != NFS4_OK)
        die("SETCLIENTID: NFS error %d", (int)c.status);
    b->clientid = c.clientid;
    op.argop = OP_SETCLIENTID_CONFIRM;
    op.nfs_argop4_u.opsetclientid_confirm.clientid = c.clientid;
    memcpy(op.nfs_argop4_u.opsetclientid_confirm.setclientid_confirm, c.confirm, 8);
    c = call(b, &op, 1);
    if (c.status != NFS4_OK)
        die("SETCLIENTID_CONFIRM: NFS error %d", (int)c.status);
}

/* Walk to the directory and make our own folder in it. */
static void folder_make(struct bench *b)
{
    static char mode[4] = { 0, 0, 1, (char)0355 }; /* 0755 */
    nfs_argop4 ops[MAX_OPS];
    char *path = strdup(b->dir_path), *save = NULL, name[48];
    struct fh at;
    struct call c;

    ops[0].argop = OP_PUTROOTFH;
    ops[1].argop = OP_GETFH;
    c = call(b, ops, 2);
    at = c.fh;
    for (char *part = strtok_r(path, "/", &save); part && c.status == NFS4_OK; part = strtok_r(NULL, "/", &save)) {
        op_putfh(ops, &at);
        op_name(ops + 1, OP_LOOKUP, part);
        ops[2].argop = OP_GETFH;
        c = call(b, ops, 3);
        at = c.fh;
    }
    free(path);
    if (c.status != NFS4_OK)
        die("%s: NFS error %d", b->dir_path, (int)c.status);
    b->top = at;
    snprintf(name, sizeof name, "nfsbench.%d", getpid());
    op_putfh(ops, &at);
    memset(ops + 1, 0, sizeof ops[1]);
    ops[1].argop = OP_CREATE;
    ops[1].nfs_argop4_u.opcreate.objtype.type = NF4DIR;
    ops[1].nfs_argop4_u.opcreate.objname.utf8string_len = (u_int)strlen(name);
    ops[1].nfs_argop4_u.opcreate.objname.utf8string_val = name;
    ops[1].nfs_argop4_u.opcreate.createattrs.attrmask.bitmap4_len = 2;
    ops[1].nfs_argop4_u.opcreate.createattrs.attrmask.bitmap4_val = mode_word;
    ops[1].nfs_argop4_u.opcreate.createattrs.attr_vals.attrlist4_len = sizeof mode;
    ops[1].nfs_argop4_u.opcreate.createattrs.attr_vals.attrlist4_val = mode;
    ops[2].argop = OP_GETFH;
    c = call(b, ops, 3);
    if (c.status != NFS4_OK)
        die("mkdir %s: NFS error %d", name, (int)c.status);
    b->dir = c.fh;
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static uint64_t limit_file(struct bench *b)
{
    return b->file_size / IO_BIG;
}

static uint64_t limit_remove(struct bench *b)
{
    return REMOVE_FILES;
}

static const struct row empty_files = { "prepare: files", "", "", 16, NULL, make_empty, 0, 0, NULL };
static const struct row one_file = { "prepare: a file", "", "", 1, NULL, make_empty, 0, 0, NULL };
static const struct row fill_file = { "prepare: its data", "", "", 8, NULL, make_seq_write, 0, IO_BIG, NULL };

static void commit_file(struct bench *b)
{
    nfs_argop4 ops[2];
    struct call c;

    memset(ops, 0, sizeof ops);
    op_putfh(ops, &b->file);
    ops[1].argop = OP_COMMIT;
    c = call(b, ops, 2);
    if (c.status != NFS4_OK)
        die("COMMIT: NFS error %d", (int)c.status);
}

/* Removes the data file, so that many rounds fit on a small disk. */
static void drop_file(struct bench *b)
{
    nfs_argop4 ops[2];

    if (!b->file.len)
        return;
    op_putfh(ops, &b->file_dir);
    op_name(ops + 1, OP_REMOVE, b->file_name);
    if (call(b, ops, 2).status != NFS4_OK)
        die("cannot remove %s", b->file_name);
    b->file.len = 0;
    b->filled = 0;
}

static void fill_buffers(struct bench *b, size_t random_part)
{
    if (b->random_part == random_part)
        return;
    b->random_part = random_part;
    for (int i = 0; i < MAX_DEPTH; i++)
        fill(b->slots[i].buffer, IO_BIG, random_part, (uint64_t)i + 1);
}

static void empty_file(struct bench *b, size_t random_part)
{
    drop_file(b);
    fill_buffers(b, random_part);
    b->base += 1 << 24;
    run_units(b, &one_file, 1, 0);
    b->file = b->slots[0].fh;
    b->file_dir = b->dir;
    memcpy(b->file_name, b->slots[0].name, sizeof b->file_name);
}

static void prepare_empty_file(struct bench *b)
{
    empty_file(b, IO_SMALL / 2);
}

static void prepare_incompressible(struct bench *b)
{
    empty_file(b, IO_SMALL);
}

static void prepare_file(struct bench *b)
{
    if (b->filled)
        return;
    prepare_empty_file(b);
    run_units(b, &fill_file, limit_file(b), 0);
    commit_file(b);
    b->filled = 1;
}

/* The file of row "keep": in DIRECTORY itself, so that a later run finds it. */
static const char kept_name[] = "nfsbench.kept";

static void keep_file(struct bench *b)
{
    nfs_argop4 ops[4];
    RENAME4args *args = &ops[3].nfs_argop4_u.oprename;

    memset(ops, 0, sizeof ops);
    op_putfh(ops, &b->file_dir);
    ops[1].argop = OP_SAVEFH;
    op_putfh(ops + 2, &b->top);
    ops[3].argop = OP_RENAME;
    args->oldname.utf8string_len = (u_int)strlen(b->file_name);
    args->oldname.utf8string_val = b->file_name;
    args->newname.utf8string_len = sizeof kept_name - 1;
    args->newname.utf8string_val = (char *)kept_name;
    if (call(b, ops, 4).status != NFS4_OK)
        die("cannot rename %s", b->file_name);
    b->file.len = 0;
    b->filled = 0;
}

static void prepare_kept_file(struct bench *b)
{
    nfs_argop4 ops[3];
    struct call c;

    drop_file(b);
    memset(ops, 0, sizeof ops);
    op_putfh(ops, &b->top);
    op_name(ops + 1, OP_LOOKUP, (char *)kept_name);
    ops[2].argop = OP_GETFH;
    c = call(b, ops, 3);
    if (c.status != NFS4_OK)
        die("%s: NFS error %d: run row \"keep\" first", kept_name, (int)c.status);
    b->file = c.fh;
    b->file_dir = b->top;
    memcpy(b->file_name, kept_name, sizeof kept_name);
}

static void prepare_owners(struct bench *b)
{
    b->base += 1 << 24;
    run_units(b, &empty_files, 32, 0);
    b->base += 1 << 24;
}

static void prepare_lookup(struct bench *b)
{
    b->base += 1 << 24;
    run_units(b, &empty_files, LOOKUP_FILES, 0);
}

static void prepare_remove(struct bench *b)
{
    b->base += 1 << 24;
    run_units(b, &empty_files, REMOVE_FILES, 0);
}

static const struct row rows[] = {
    { "seqwrite", "sequential write, 1 MiB at depth 8, COMMIT", "MiB/s", 8, prepare_empty_file, make_seq_write, 1,
      IO_BIG, limit_file },
    { "seqwriteraw", "the same, incompressible data", "MiB/s", 8, prepare_incompressible, make_seq_write, 1, IO_BIG,
      limit_file },
    { "keep", "the same, half compressible, for coldread", "MiB/s", 8, prepare_empty_file, make_seq_write, 1, IO_BIG,
      limit_file },
    { "coldread", "sequential read, 1 MiB at depth 8, cold", "MiB/s", 8, prepare_kept_file, make_seq_read, 0,
      IO_BIG, limit_file },
    { "seqread", "sequential read, 1 MiB at depth 8", "MiB/s", 8, prepare_file, make_seq_read, 0, IO_BIG, limit_file },
    { "randread1", "random read, 4 KiB at depth 1", "/s", 1, prepare_file, make_random_read, 0, IO_SMALL, NULL },
    { "randread32", "random read, 4 KiB at depth 32", "/s", 32, prepare_file, make_random_read, 0, IO_SMALL, NULL },
    { "randwrite32", "random write, 4 KiB at depth 32, COMMIT", "/s", 32, prepare_file, make_random_write, 1, IO_SMALL,
      NULL },
    { "stable1", "stable write, 4 KiB at depth 1", "/s", 1, prepare_file, make_stable_write, 0, IO_SMALL, NULL },
    { "stable16", "stable write, 4 KiB at depth 16", "/s", 16, prepare_file, make_stable_write, 0, IO_SMALL, NULL },
    { "create1", "create + write 4 KiB stable, depth 1", "/s", 1, prepare_owners, make_create, 0, IO_SMALL, NULL },
    { "create16", "create + write 4 KiB stable, depth 16", "/s", 16, prepare_owners, make_create, 0, IO_SMALL, NULL },
    { "lookup32", "LOOKUP + GETATTR, depth 32", "/s", 32, prepare_lookup, make_lookup, 0, 0, NULL },
    { "remove1", "REMOVE, depth 1", "/s", 1, prepare_remove, make_remove, 0, 0, limit_remove },
    { "remove16", "REMOVE, depth 16", "/s", 16, prepare_remove, make_remove, 0, 0, limit_remove },
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static void run_row(struct bench *b, const struct row *row)
{
    uint64_t units = row->limit ? row->limit(b) : 0;
    double start, rate;

    row->prepare(b);
    start = now();
    run_units(b, row, units, row->limit ? 0 : b->seconds);
    if (row->commit)
        commit_file(b);
    rate = (double)b->done_units / (now() - start);
    if (row->prepare == prepare_empty_file)
        b->filled = 1;
    if (strcmp(row->name, "keep") == 0)
        keep_file(b);
    if (row->bytes > IO_SMALL)
        rate *= row->bytes / (1 << 20);
    printf("%s\t%.1f\t%s\t%s\n", row->name, rate, row->unit, row->what);
    fflush(stdout);
}

static void usage(void)
{
    fputs("usage: nfsbench [-h HOST] [-p PORT] [-d DIRECTORY] [-s SECONDS] [-m FILE_MIB] [ROW...]\nrows:\n", stderr);
    for (int i = 0; i < ROWS; i++)
        fprintf(stderr, "  %-12s %s\n", rows[i].name, rows[i].what);
    exit(2);
}

int main(int argc, char **argv)
{
    static struct bench b = { .host = "127.0.0.1", .dir_path = "/alice/mydata", .port = 2049, .seconds = 2,
                              .file_size = 256 << 20, .rng = 88172645463325252u };
    int c;

    while ((c = getopt(argc, argv, "h:p:d:s:m:")) != -1) {
        switch (c) {
        case 'h': b.host = optarg; break;
        case 'p': b.port = atoi(optarg); break;
        case 'd': b.dir_path = optarg; break;
        case 's': b.seconds = atof(optarg); break;
        case 'm': b.file_size = (uint64_t)atoi(optarg) << 20; break;
        default: usage();
        }
    }
    if (b.seconds <= 0 || b.file_size == 0)
        usage();
    b.wire = wire_connect(b.host, b.port);
    client_confirm(&b);
    folder_make(&b);
    for (int i = 0; i < MAX_DEPTH; i++) {
        b.slots[i].bench = &b;
        b.slots[i].id = i;
        snprintf(b.slots[i].owner, sizeof b.slots[i].owner, "owner %d.%d", getpid(), i);
        b.slots[i].buffer = malloc(IO_BIG);
        if (!b.slots[i].buffer)
            die("out of memory");
    }
    fill_buffers(&b, IO_SMALL / 2);
    for (int i = optind; i < argc || (i == optind && optind == argc); i++) {
        int known = 0;

        for (int r = 0; r < ROWS; r++)
            if (optind == argc || strcmp(argv[i], rows[r].name) == 0) {
                run_row(&b, &rows[r]);
                known = 1;
            }
        if (!known)
            usage();
    }
    drop_file(&b);
    wire_close(b.wire);
    return 0;
}
