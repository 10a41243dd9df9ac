/* SPDX-License-Identifier: Apache-2.0
 * control_grant: grants and tokens, by the administration interface.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/control/control_impl.h"
#include "server/grant/grant.h"
#include "server/grant/grant_text.h"

#define EXPIRES_MAX (100 * 366 * INT64_C(86400)) /* a hundred years */

/* --- one grant --- */

static int bad_object(struct proc_call *pc, control_result *r, int err, const char *object)
{
    switch (err) {
    case -EINVAL:
        say(r, pc->text, err, "'%s' is no object of a grant: that is / or USER or USER/VOLUME or USER/VOLUME@SNAPSHOT "
            "or USER/VOLUME/FOLDER", object);
        break;
    case -ENOENT:
        say(r, pc->text, err, "there is no '%s' (yet): make it first", object);
        break;
    case -ENOTDIR:
        say(r, pc->text, err, "'%s' is not a directory", object);
        break;
    default:
        say_error(r, pc->text, err, object);
    }
    return err;
}

static int wrong(struct proc_call *pc, control_result *r, const char *text)
{
    say(r, pc->text, -EINVAL, "%s", text);
    return -EINVAL;
}

/* What the words alone say of it. */
static int rights_from_wire(struct proc_call *pc, const control_grant *a, struct grant_row *row, control_result *r)
{
    if (row->object == GRANT_SNAPSHOT)
        row->rights = 0;
    else
        row->rights = (a->write ? GRANT_MAY_WRITE : 0) | (a->create ? GRANT_MAY_CREATE : 0);
    if (a->create && (row->object > GRANT_USER || !a->write))
        return wrong(pc, r, "--create is for / and users, and needs the right to write: volumes are made there");
    if (a->squash > GRANT_SQUASH_ALL)
        return wrong(pc, r, "squash is none, root or all");
    if (a->has_anon && a->squash == GRANT_SQUASH_NONE)
        return wrong(pc, r, "--anon says whom --squash root or --squash all make of a user");
    if (a->expires < 0 || a->expires > EXPIRES_MAX)
        return wrong(pc, r, "it cannot end then");
    row->squash = (enum grant_squash)a->squash;
    row->has_anon = a->has_anon;
    row->anon_uid = a->has_anon ? a->anon_uid : 0;
    row->anon_gid = a->has_anon ? a->anon_gid : 0;
    row->expires = a->expires ? clock_wall().tv_sec + a->expires : 0;
    strcpy(row->label, a->label);
    for (char *p = row->label; *p; p++) /* it is shown on terminals */
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    return 0;
}

static int row_from_wire(struct proc_call *pc, const control_grant *a, struct grant_row *row, control_result *r)
{
    const char *bad;
    char buf[256];
    int err;

    memset(row, 0, sizeof(*row));
    if (a->token) {
        row->subject = GRANT_TOKEN;
    } else if ((bad = grant_parse_network(a->subject, row, buf, sizeof(buf)))) {
        say(r, pc->text, -EINVAL, "'%s' is not a network: %s", a->subject, bad);
        return -EINVAL;
    }
    err = vfs_grant_object(pc->c->vfs, a->object, row);
    if (!err && row->object == GRANT_SUBPATH)
        err = vfs_grant_folder(pc->c->vfs, row);
    if (err)
        return bad_object(pc, r, err, a->object);
    return rights_from_wire(pc, a, row, r);
}

static bool do_grant(struct proc_call *pc, void *args)
{
    const control_grant *a = args;
    char secret[GRANT_SECRET_SIZE] = "", none[] = "";
    control_grant_result res = {.secret = none};
    struct grant_row row;
    int err = row_from_wire(pc, a, &row, &res.result);
    bool ok;

    if (!err) {
        err = a->token ? grants_add_token(pc->c->grants, &row, secret) : grants_add(pc->c->grants, &row);
        if (err == -E2BIG)
            say(&res.result, pc->text, err, "there are %u grants, and no more can be", GRANT_MAX);
        else
            say_error(&res.result, pc->text, err, a->object);
    }
    if (!err) {
        log_info("grant %llu: %s may %s %s%s", (unsigned long long)row.id, a->token ? "a token" : a->subject,
                 row.rights & GRANT_MAY_WRITE ? "read and write" : "read", a->object,
                 row.rights & GRANT_MAY_CREATE ? ", and make volumes" : "");
        res.id = row.id;
        res.expires = row.expires;
        res.secret = secret;
    }
    ok = xdr_control_grant_result(pc->out, &res);
    explicit_bzero(secret, sizeof(secret));
    return ok;
}

/* --- taking away --- */

struct wanted {
    struct grant_row row;
    uint64_t id;
};

static int find_place(void *arg, const struct grant_row *row, const char *object)
{
    struct wanted *w = arg;

    if (!object && row->subject == GRANT_NETWORK && row->prefix == w->row.prefix && row->object == w->row.object &&
        !memcmp(row->net, w->row.net, 16) && row->user == w->row.user && row->volume == w->row.volume &&
        row->snapshot == w->row.snapshot && !strcmp(row->path, w->row.path))
        w->id = row->id;
    return 0;
}

static bool do_revoke(struct proc_call *pc, void *args)
{
    const control_revoke_args *a = args;
    struct wanted w = {.id = a->id};
    control_result r;
    const char *bad;
    char buf[256];
    int err = 0;

    if (!a->id) {
        if ((bad = grant_parse_network(a->subject, &w.row, buf, sizeof(buf)))) {
            say(&r, pc->text, -EINVAL, "'%s' is not a network: %s", a->subject, bad);
            goto out;
        }
        err = vfs_grant_object(pc->c->vfs, a->object, &w.row);
        if (err) {
            bad_object(pc, &r, err, a->object);
            goto out;
        }
        (void)grants_list(pc->c->grants, find_place, &w);
    }
    err = w.id ? grants_del(pc->c->grants, w.id) : -ENOENT;
    if (err == -ENOENT && a->id)
        say(&r, pc->text, err, "there is no grant %llu; 'volnfs grants' shows those there are",
            (unsigned long long)a->id);
    else if (err == -ENOENT)
        say(&r, pc->text, err, "%s has no grant on '%s' itself; 'volnfs grants' shows those there are", a->subject,
            a->object);
    else if (err == -EPERM)
        say(&r, pc->text, err, "this grant is from the server's start options: take it away there");
    else
        say_error(&r, pc->text, err, a->object);
    if (!err)
        log_info("grant %llu is revoked", (unsigned long long)w.id);
out:
    return xdr_control_result(pc->out, &r);
}

/* --- listing --- */

struct listing {
    struct vfs *vfs;
    struct grant_row on; /* only what is on this or above or below it */
    bool all;
    struct grant_row *rows;
    char **objects; /* of fixed ones */
    unsigned n, max;
};

static bool concerns(const struct listing *l, const struct grant_row *row)
{
    if (l->all || row->object == GRANT_SERVER)
        return true;
    if (row->user != l->on.user)
        return false;
    return l->on.object == GRANT_USER || row->object == GRANT_USER || row->volume == l->on.volume;
}

/* Copies, because names are looked up without the table's lock. */
static int copy_row(void *arg, const struct grant_row *row, const char *object)
{
    struct listing *l = arg;

    if (!concerns(l, row))
        return 0;
    if (l->n == l->max) {
        unsigned max = l->max ? l->max * 2 : 64;
        struct grant_row *rows = realloc(l->rows, max * sizeof(*rows));
        char **objects;

        if (!rows)
            return -ENOMEM;
        l->rows = rows;
        objects = realloc(l->objects, max * sizeof(*objects));
        if (!objects)
            return -ENOMEM;
        l->objects = objects;
        l->max = max;
    }
    l->objects[l->n] = object ? strdup(object) : NULL;
    if (object && !l->objects[l->n])
        return -ENOMEM;
    l->rows[l->n++] = *row;
    return 0;
}

static int row_to_wire(const struct listing *l, unsigned i, control_grant *out)
{
    const struct grant_row *row = &l->rows[i];
    char subject[64] = "token", object[VFS_OBJECT_TEXT];

    if (row->subject == GRANT_NETWORK)
        grant_print_network(row, subject, sizeof(subject));
    vfs_grant_text(l->vfs, row, object, sizeof(object));
    *out = (control_grant){.id = row->id,
                           .token = row->subject == GRANT_TOKEN,
                           .fixed = l->objects[i] != NULL,
                           .subject = strdup(subject),
                           .object = strdup(l->objects[i] ? l->objects[i] : object),
                           .write = row->rights & GRANT_MAY_WRITE,
                           .create = row->rights & GRANT_MAY_CREATE ? 1 : 0,
                           .squash = row->squash,
                           .has_anon = row->has_anon,
                           .anon_uid = row->anon_uid,
                           .anon_gid = row->anon_gid,
                           .expires = row->expires,
                           .created = row->created,
                           .label = strdup(row->label)};
    return out->subject && out->object && out->label ? 0 : -ENOMEM;
}

static bool do_grants(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    struct listing l = {.vfs = pc->c->vfs, .all = !*a->name};
    control_grants_result r = {0};
    int err = l.all ? 0 : vfs_grant_object(pc->c->vfs, a->name, &l.on);
    control_grant *out = NULL;
    unsigned n = 0;
    bool ok;

    l.all = l.all || l.on.object == GRANT_SERVER;
    if (err)
        bad_object(pc, &r.result, err, a->name);
    else
        say(&r.result, pc->text, 0, "%s", "");
    if (!err)
        err = grants_list(pc->c->grants, copy_row, &l);
    if (!err && l.n && !(out = calloc(l.n, sizeof(*out))))
        err = -ENOMEM;
    for (unsigned i = 0; !err && i < l.n; i++)
        err = row_to_wire(&l, i, &out[n++]);
    if (!err)
        r.grants.grants_len = n, r.grants.grants_val = out;
    else if (err == -ENOMEM)
        say(&r.result, pc->text, err, "out of memory");
    ok = xdr_control_grants_result(pc->out, &r);
    for (unsigned i = 0; i < n; i++) {
        free(out[i].subject);
        free(out[i].object);
        free(out[i].label);
    }
    free(out);
    for (unsigned i = 0; i < l.n; i++)
        free(l.objects[i]);
    free(l.objects);
    free(l.rows);
    return ok;
}

int grants_to_wire(struct control *c, control_grant **out, u_int *n)
{
    struct listing l = {.vfs = c->vfs, .all = true};
    int err = grants_list(c->grants, copy_row, &l);

    *n = 0;
    *out = calloc(l.n + 1, sizeof(**out));
    if (!*out)
        err = -ENOMEM;
    for (unsigned i = 0; !err && i < l.n; i++)
        err = row_to_wire(&l, i, &(*out)[(*n)++]);
    for (unsigned i = 0; i < l.n; i++)
        free(l.objects[i]);
    free(l.objects);
    free(l.rows);
    return err;
}

/* --- the table --- */

static bool refuse_grant(struct proc_call *pc, control_result *r)
{
    char none[] = "";
    control_grant_result res = {.result = *r, .secret = none};

    return xdr_control_grant_result(pc->out, &res);
}

static bool refuse_grants(struct proc_call *pc, control_result *r)
{
    control_grants_result res = {.result = *r};

    return xdr_control_grants_result(pc->out, &res);
}

const struct control_proc control_grant_procs[] = {
    {CONTROL_GRANT, false, true, do_grant, CONTROL_ARGS(control_grant), refuse_grant},
    {CONTROL_REVOKE, false, true, do_revoke, CONTROL_ARGS(control_revoke_args), NULL},
    {CONTROL_GRANTS, false, true, do_grants, CONTROL_ARGS(control_name_args), refuse_grants},
    {0},
};
