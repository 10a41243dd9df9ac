/* SPDX-License-Identifier: Apache-2.0
 * cmd_dump: volnfs dump USER/VOLUME[@SNAPSHOT] [--base SNAPSHOT]: a volume as a stream of steps that make it again.
 *
 * The steps come in an order in which they can be done one by one (cmd_restore does): first which inodes of base are
 * meant (BASE), then names leave, the deepest first (AWAY), then names come, from the root down (NEW, NAME), each new
 * inode with its bytes and attributes, then what else changed in inodes that stay, and last the attributes of
 * directories. Without a base the tree before is an empty root.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/dump.h"
#include "client/cli/remote.h"
#include "server/store/snap.h"
#include "server/store/types.h"

struct dump {
    CLIENT *c;
    struct dump_stream s;
    const char *name, *base_name; /* "alice/mydata@monday"; base_name "" if there is none */
    struct dump_tree base, now;
    bool *wanted;  /* inodes of base that steps speak of */
    bool *done;    /* inodes of now that are there */
    bool *touched; /* directories of now that get their attributes */
    control_dump_end end;
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
    stopped = 1;
}

static bool put(struct dump *d, control_change *ch)
{
    if (stopped) {
        cli_fail("stopped");
        return false;
    }
    d->end.steps++;
    if (ch->step == STEP_NEW)
        d->end.inodes++;
    if (ch->step == STEP_DATA)
        d->end.bytes += ch->data.data_len;
    return dump_write(&d->s, DUMP_CHANGE, (xdrproc_t)xdr_control_change, ch);
}

static control_change of_name(control_step step, const struct dump_name *n)
{
    control_change ch = {.step = step, .ino = n->ino, .dir = n->dir};
    ch.name.name_val = n->name;
    ch.name.name_len = n->len;
    return ch;
}

static bool same_name(const struct dump_tree *t, const struct dump_name *n)
{
    const struct dump_name *o = dump_tree_name(t, n->dir, n->name, n->len);
    return o && o->ino == n->ino;
}

/* Is it the inode of base? Then *out is what it was. */
static bool in_base(const struct dump *d, uint64_t ino, const control_inode **out)
{
    size_t i = dump_tree_inode(&d->base, ino);
    if (i == d->base.ninodes)
        return false;
    *out = &d->base.inodes[i];
    return true;
}

/* Notes that an inode, and the directories on the way to it, have to be found in base. */
static void want(struct dump *d, uint64_t ino)
{
    for (;;) {
        size_t i = dump_tree_inode(&d->base, ino);
        if (ino == DUMP_ROOT || i == d->base.ninodes || d->wanted[i])
            return;
        d->wanted[i] = true;
        ino = d->base.names[d->base.first[i]].dir;
    }
}

static void touch(struct dump *d, uint64_t ino)
{
    size_t i = dump_tree_inode(&d->now, ino);
    if (i < d->now.ninodes)
        d->touched[i] = true;
}

/* --- what is in an inode --- */

static bool put_data(struct dump *d, uint64_t ino, bool compare)
{
    control_dump_args args = {.name = (char *)d->name, .base = (char *)(compare ? d->base_name : ""), .ino = ino};
    bool ok, eof = false;
    do {
        control_dump_data r;
        ok = !control_ask(d->c, CONTROL_DUMP_DATA, &args, &r);
        if (ok && (r.data.data_len || r.hole)) {
            control_change ch = {.step = r.hole ? STEP_HOLE : STEP_DATA, .ino = ino, .offset = r.offset};
            ch.length = r.hole;
            ch.data.data_val = r.data.data_val;
            ch.data.data_len = r.data.data_len;
            ok = put(d, &ch);
        }
        eof = r.eof;
        args.at = r.next;
        control_free(CONTROL_DUMP_DATA, &r);
    } while (ok && !eof);
    return ok;
}

struct xattrs {
    control_dump_xattr *x;
    size_t n;
    control_dump_extra first; /* has the target */
};

static void xattrs_release(struct xattrs *x)
{
    for (size_t i = 0; i < x->n; i++)
        xdr_free((xdrproc_t)xdr_control_dump_xattr, &x->x[i]);
    free(x->x);
    control_free(CONTROL_DUMP_EXTRA, &x->first);
}

static bool xattrs_get(struct dump *d, const char *name, uint64_t ino, struct xattrs *x)
{
    control_dump_args args = {.name = (char *)name, .base = (char *)"", .ino = ino};
    bool ok, eof;
    *x = (struct xattrs){.n = 0};
    do {
        control_dump_extra r;
        ok = !control_ask(d->c, CONTROL_DUMP_EXTRA, &args, &r);
        eof = !ok || r.eof || !r.xattrs.xattrs_len;
        if (ok && r.xattrs.xattrs_len) {
            x->x = need(realloc(x->x, (x->n + r.xattrs.xattrs_len) * sizeof(*x->x)));
            memcpy(x->x + x->n, r.xattrs.xattrs_val, r.xattrs.xattrs_len * sizeof(*x->x));
            x->n += r.xattrs.xattrs_len;
            r.xattrs.xattrs_len = 0;
            free(r.xattrs.xattrs_val);
            r.xattrs.xattrs_val = NULL;
        }
        args.at = r.cookie;
        if (!x->first.target.target_len) {
            x->first.target = r.target;
            r.target.target_val = NULL;
            r.target.target_len = 0;
        }
        control_free(CONTROL_DUMP_EXTRA, &r);
    } while (!eof);
    return ok;
}

static const control_dump_xattr *xattr_find(const struct xattrs *in, const control_dump_xattr *x)
{
    for (size_t i = 0; i < in->n; i++)
        if (in->x[i].name.name_len == x->name.name_len &&
            !memcmp(in->x[i].name.name_val, x->name.name_val, x->name.name_len))
            return &in->x[i];
    return NULL;
}

static bool put_xattr(struct dump *d, control_step step, uint64_t ino, const control_dump_xattr *x)
{
    control_change ch = {.step = step, .ino = ino};
    ch.name.name_val = x->name.name_val;
    ch.name.name_len = x->name.name_len;
    if (step == STEP_XATTR) {
        ch.data.data_val = x->value.value_val;
        ch.data.data_len = x->value.value_len;
    }
    return put(d, &ch);
}

/* The differences between what was (old) and is. */
static bool put_xattrs(struct dump *d, uint64_t ino, const struct xattrs *old, const struct xattrs *now)
{
    bool ok = true;
    for (size_t i = 0; ok && i < old->n; i++)
        if (!xattr_find(now, &old->x[i]))
            ok = put_xattr(d, STEP_NOXATTR, ino, &old->x[i]);
    for (size_t i = 0; ok && i < now->n; i++) {
        const control_dump_xattr *o = xattr_find(old, &now->x[i]), *x = &now->x[i];
        if (!o || o->value.value_len != x->value.value_len ||
            (x->value.value_len && memcmp(o->value.value_val, x->value.value_val, x->value.value_len) != 0))
            ok = put_xattr(d, STEP_XATTR, ino, x);
    }
    return ok;
}

static bool put_set(struct dump *d, const control_inode *i)
{
    control_change ch = {.step = STEP_SET, .ino = i->ino, .inode = (control_inode *)i};
    return put(d, &ch);
}

/* A new inode with all that is in it; a directory's attributes come later. */
static bool put_new(struct dump *d, const struct dump_name *n, const control_inode *i)
{
    control_change ch = of_name(STEP_NEW, n);
    struct xattrs now, none = {.n = 0};
    bool ok = xattrs_get(d, d->name, i->ino, &now);
    ch.inode = (control_inode *)i;
    ch.data.data_val = now.first.target.target_val;
    ch.data.data_len = now.first.target.target_len;
    ok = ok && put(d, &ch) && put_xattrs(d, i->ino, &none, &now);
    xattrs_release(&now);
    if (ok && i->type == IT_REG)
        ok = put_data(d, i->ino, false);
    return ok && (i->type == IT_DIR || put_set(d, i));
}

static bool put_changed(struct dump *d, const control_inode *i, bool full)
{
    struct xattrs old = {.n = 0}, now = {.n = 0};
    bool ok = xattrs_get(d, d->name, i->ino, &now) && (full || xattrs_get(d, d->base_name, i->ino, &old)) &&
              put_xattrs(d, i->ino, &old, &now);
    xattrs_release(&old);
    xattrs_release(&now);
    if (ok && i->type == IT_REG)
        ok = put_data(d, i->ino, true);
    return ok && (i->type == IT_DIR || put_set(d, i));
}

/* --- the whole --- */

/* What steps will speak of, and whether both trees are of one volume. */
static bool look(struct dump *d)
{
    for (size_t i = 0; i < d->base.nnames; i++) {
        const struct dump_name *n = &d->base.names[i];
        if (same_name(&d->now, n))
            continue;
        want(d, n->dir);
        want(d, n->ino);
        touch(d, n->dir);
    }
    for (size_t i = 0; i < d->now.nnames; i++) {
        const struct dump_name *n = &d->now.names[i];
        if (n->dir == DUMP_ROOT && n->len == strlen(DUMP_MARK) && !memcmp(n->name, DUMP_MARK, n->len)) {
            cli_fail("a restore into %s was cut off: it is not complete", d->name);
            return false;
        }
        if (same_name(&d->base, n))
            continue;
        want(d, n->dir);
        want(d, n->ino);
        touch(d, n->dir);
    }
    for (size_t i = 0; i < d->now.ninodes; i++) {
        const control_inode *old, *now = &d->now.inodes[i];
        if (!in_base(d, now->ino, &old) || old->change != now->change)
            d->touched[i] = true;
        if (in_base(d, now->ino, &old)) {
            if (old->gen != now->gen || old->type != now->type) {
                cli_fail("%s and %s are not of one history", d->base_name, d->name);
                return false;
            }
            if (d->touched[i])
                want(d, now->ino);
        }
    }
    return true;
}

static bool put_all(struct dump *d)
{
    const control_inode *old;
    bool ok = true, full = !*d->base_name;
    for (size_t i = 0; ok && i < d->base.nnames; i++) {
        const struct dump_name *n = &d->base.names[i];
        size_t at = dump_tree_inode(&d->base, n->ino);
        if (d->wanted[at] && d->base.first[at] == i) {
            control_change ch = of_name(STEP_BASE, n);
            ok = put(d, &ch);
        }
    }
    for (size_t i = d->base.nnames; ok && i-- > 0;) {
        const struct dump_name *n = &d->base.names[i];
        if (!same_name(&d->now, n)) {
            control_change ch = of_name(STEP_AWAY, n);
            ch.keep = dump_tree_inode(&d->now, n->ino) < d->now.ninodes;
            ok = put(d, &ch);
        }
    }
    for (size_t i = 0; ok && i < d->now.nnames; i++) {
        const struct dump_name *n = &d->now.names[i];
        size_t at = dump_tree_inode(&d->now, n->ino);
        if (same_name(&d->base, n))
            continue;
        if (d->done[at] || in_base(d, n->ino, &old)) {
            control_change ch = of_name(STEP_NAME, n);
            ch.keep = d->now.inodes[at].type == IT_DIR;
            ok = put(d, &ch);
        } else {
            d->done[at] = true;
            ok = put_new(d, n, &d->now.inodes[at]);
        }
    }
    for (size_t i = 0; ok && i < d->now.ninodes; i++)
        if (d->touched[i] && !d->done[i])
            ok = put_changed(d, &d->now.inodes[i], full);
    for (size_t i = 0; ok && i < d->now.ninodes; i++)
        if (d->touched[i] && d->now.inodes[i].type == IT_DIR)
            ok = put_set(d, &d->now.inodes[i]);
    return ok && dump_write(&d->s, DUMP_END, (xdrproc_t)xdr_control_dump_end, &d->end);
}

static bool write_stream(struct dump *d, const char *volume, const char *snapshot)
{
    control_dump_head head = {.origin = (char *)volume, .snapshot = (char *)snapshot, .base = (char *)""};
    bool ok = dump_tree_load(&d->now, d->c, d->name) &&
              (!*d->base_name || dump_tree_load(&d->base, d->c, d->base_name));
    if (ok) {
        d->wanted = need(calloc(d->base.ninodes + 1, sizeof(bool)));
        d->done = need(calloc(d->now.ninodes + 1, sizeof(bool)));
        d->touched = need(calloc(d->now.ninodes + 1, sizeof(bool)));
        head.files = d->now.ninodes;
        head.created = time(NULL);
        if (*d->base_name) {
            head.base = strchr(d->base_name, '@') + 1;
            head.base_print = dump_tree_print(&d->base, false);
        }
        ok = look(d) && dump_write_start(&d->s, stdout) &&
             dump_write(&d->s, DUMP_HEAD, (xdrproc_t)xdr_control_dump_head, &head) && put_all(d);
    }
    if (ok && fflush(stdout)) {
        cli_fail("cannot write the stream: %s", strerror(errno));
        ok = false;
    }
    dump_release(&d->s);
    dump_tree_release(&d->base);
    dump_tree_release(&d->now);
    free(d->wanted);
    free(d->done);
    free(d->touched);
    return ok;
}

static bool snapshot(CLIENT *c, char *name, rpcproc_t proc)
{
    control_name_args args = {.name = name};
    return !control_do(c, proc, &args);
}

/* "alice/mydata" and what was given with --base: NAME, @NAME or the whole. NULL after a message. */
static char *base_of(const struct cli *cli, const char *volume, const char *given, int *status)
{
    size_t len = strlen(volume);
    char *name = NULL;
    if (!strncmp(given, volume, len) && given[len] == '@')
        given += len + 1;
    else if (*given == '@')
        given++;
    if (snap_check_name(given, strlen(given)) || strlen(given) + len > CONTROL_NAME_MAX - 2)
        *status = cli_usage(cli, "'%.80s' is not a snapshot of %s", given, volume);
    else if (asprintf(&name, "%s@%s", volume, given) < 0)
        need(NULL);
    return name;
}

int cmd_dump(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"base", required_argument, NULL, 'b'}, {0}};
    struct sigaction sa = {.sa_handler = stop};
    struct dump d = {.base_name = ""};
    const char *base = NULL, *snap = "";
    char *volume, *full = NULL, *base_full = NULL, *at;
    int opt, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "b:", longs, &status)) != -1) {
        if (opt != 'b')
            return status;
        base = optarg;
    }
    if (argc - optind != 1)
        return cli_usage(cli, "one volume or snapshot is needed");
    volume = argv[optind];
    at = strchr(volume, '@');
    if (strlen(volume) > CONTROL_NAME_MAX - 40 || !control_is_volume(volume, at ? (size_t)(at - volume) : strlen(volume)) ||
        (at && snap_check_name(at + 1, strlen(at + 1))))
        return cli_usage(cli, "'%.80s' is not of the form USER/VOLUME or USER/VOLUME@NAME", volume);
    if (isatty(STDOUT_FILENO))
        return cli_usage(cli, "a stream is nothing for a terminal: send it to a file or a program");
    if (at) {
        *at = 0;
        snap = at + 1;
    }
    if (at ? asprintf(&full, "%s@%s", volume, snap) < 0
           : asprintf(&full, "%s@dump-%ld-%llx", volume, (long)getpid(), (unsigned long long)time(NULL)) < 0)
        need(NULL);
    if (base && !(base_full = base_of(cli, volume, base, &status)))
        goto out;
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &sa, NULL); /* the snapshot made here has to go again */
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    if (!(d.c = control_connect(cli, &status)))
        goto out;
    d.name = full;
    if (base_full)
        d.base_name = base_full;
    status = 1;
    if (at || snapshot(d.c, full, CONTROL_SNAP_CREATE)) {
        status = !write_stream(&d, volume, snap);
        if (!at && !snapshot(d.c, full, CONTROL_SNAP_DESTROY))
            status = cli_fail("the snapshot %s stays; 'volnfs snapshot destroy %s' removes it", full, full);
    }
    control_disconnect(d.c);
out:
    free(full);
    free(base_full);
    return status;
}
