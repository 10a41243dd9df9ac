/* SPDX-License-Identifier: Apache-2.0
 * cmd_restore: volnfs restore USER/VOLUME: does the steps of a stream (cmd_dump) in a volume.
 *
 *   R1 A full stream makes the volume, or wants one without a name in it, such as is left when the server dies right
 *      after it was made; one with a base wants a volume that is, by its names and attributes, what base was, and has it as a
 *      snapshot of the same name.
 *   R2 Before the first step the directory DUMP_MARK is made in the root; it goes after the end record was seen and all
 *      is durable. In it, under the number it has in the stream, is kept what has no name meanwhile. A volume's changes
 *      become durable in their order: so whenever the server or the client dies, the volume is as R1 wants it, has the mark, or is
 *      all that the stream says, but perhaps for the time at which the root was changed.
 *   R3 After a failure the volume is destroyed (if it was made) or rolled back to base. If that fails too, the message
 *      says what to do; the mark keeps it from being used as a base, dumped, or restored into. Who did not make the mark
 *      changes nothing: somebody else may be restoring into the volume.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/dump.h"
#include "client/cli/remote.h"
#include "server/store/volume.h"

enum { ROLLBACK_KEEP = 2 }; /* control.x */

/* An inode of the stream and what it is here. ino 0: a free place. */
struct known {
    uint64_t ino, here;
    bool held; /* has a name in DUMP_MARK */
};

struct restore {
    CLIENT *c;
    char *name;
    struct dump_stream s;
    control_dump_head head;
    struct known *known;
    size_t nknown, room; /* room: a power of two, never full */
    bool made;           /* the volume */
    uint64_t mark;       /* the inode of DUMP_MARK */
    control_inode root;  /* the attributes it gets at the end; ino 0: none */
    control_dump_end end;
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
    stopped = 1;
}

/* --- inodes --- */

static struct known *slot(struct known *table, size_t room, uint64_t ino)
{
    size_t i = (size_t)(ino * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (room - 1);
    while (table[i].ino && table[i].ino != ino)
        i = (i + 1) & (room - 1);
    return &table[i];
}

static struct known *find(struct restore *r, uint64_t ino)
{
    struct known *k = slot(r->known, r->room, ino);
    return ino && k->ino ? k : NULL;
}

static void learn(struct restore *r, uint64_t ino, uint64_t here)
{
    if (r->nknown * 2 >= r->room) {
        size_t room = r->room ? r->room * 2 : 1024;
        struct known *grown = need(calloc(room, sizeof(*grown)));
        for (size_t i = 0; i < r->room; i++)
            if (r->known[i].ino)
                *slot(grown, room, r->known[i].ino) = r->known[i];
        free(r->known);
        r->known = grown;
        r->room = room;
    }
    *slot(r->known, r->room, ino) = (struct known){ino, here, false};
    r->nknown++;
}

/* --- steps --- */

/* *here: of what a step made or found; may be NULL. */
static bool call_step(struct restore *r, const control_change *ch, uint64_t *here)
{
    control_restore_args args = {.name = r->name, .change = *ch};
    control_restored res;
    bool ok = !control_ask(r->c, CONTROL_RESTORE, &args, &res);
    if (here)
        *here = res.ino;
    control_free(CONTROL_RESTORE, &res);
    return ok;
}

static bool senseless(const struct restore *r)
{
    cli_fail("the stream makes no sense before offset %llu", (unsigned long long)r->s.offset);
    return false;
}

static void number(uint64_t ino, char buf[24])
{
    snprintf(buf, 24, "%016" PRIx64, ino);
}

/* Gives k the name in DUMP_MARK instead of the one of ch, or the other way round. */
static bool move(struct restore *r, const control_change *ch, struct known *k, bool away)
{
    char held[24];
    control_change m = {.step = STEP_MOVE, .ino = k->here};
    number(k->ino, held);
    m.dir = away ? ch->dir : r->mark;
    m.todir = away ? r->mark : ch->dir;
    m.name.name_val = away ? ch->name.name_val : held;
    m.name.name_len = away ? ch->name.name_len : (u_int)strlen(held);
    m.to.to_val = away ? held : ch->name.name_val;
    m.to.to_len = away ? (u_int)strlen(held) : ch->name.name_len;
    if (!call_step(r, &m, NULL))
        return false;
    k->held = away;
    return true;
}

/* One step; ch's numbers become those of this volume. */
static bool do_step(struct restore *r, control_change *ch)
{
    uint64_t there = ch->ino, here;
    struct known *k = find(r, there), *dir = find(r, ch->dir);
    bool named = ch->step == STEP_BASE || ch->step == STEP_AWAY || ch->step == STEP_NEW || ch->step == STEP_NAME;
    r->end.steps++;
    if (!there || (named && !dir) || (!k && ch->step != STEP_BASE && ch->step != STEP_NEW && ch->step != STEP_AWAY))
        return senseless(r);
    ch->ino = k ? k->here : 0;
    ch->dir = dir ? dir->here : 0;
    ch->todir = 0; /* of no step of a stream */
    switch (ch->step) {
    case STEP_BASE:
    case STEP_NEW:
        if (k)
            return senseless(r);
        if (!call_step(r, ch, &here))
            return false;
        learn(r, there, here);
        r->end.inodes += ch->step == STEP_NEW;
        return true;
    case STEP_AWAY:
        return k && ch->keep && !k->held ? move(r, ch, k, true) : call_step(r, ch, NULL);
    case STEP_NAME:
        if (ch->keep && !k->held)
            return senseless(r);
        return ch->keep ? move(r, ch, k, false) : call_step(r, ch, NULL);
    case STEP_SET:
        if (!ch->inode)
            return senseless(r);
        if (there == DUMP_ROOT) {
            r->root = *ch->inode;
            return true;
        }
        return call_step(r, ch, NULL);
    case STEP_DATA:
        r->end.bytes += ch->data.data_len;
        return call_step(r, ch, NULL);
    case STEP_HOLE:
    case STEP_XATTR:
    case STEP_NOXATTR:
        return call_step(r, ch, NULL);
    case STEP_MOVE:
        break;
    }
    return senseless(r);
}

static bool do_steps(struct restore *r)
{
    for (;;) {
        control_change ch = {0};
        control_dump_end end = {0};
        bool ok;
        int type = dump_read(&r->s);
        if (!type)
            return false;
        if (stopped) {
            cli_fail("stopped");
            return false;
        }
        if (type == DUMP_END) {
            if (!dump_decode(&r->s, (xdrproc_t)xdr_control_dump_end, &end))
                return false;
            if (end.steps != r->end.steps || end.inodes != r->end.inodes || end.bytes != r->end.bytes)
                return senseless(r);
            return dump_read_end(&r->s);
        }
        if (type != DUMP_CHANGE)
            return senseless(r);
        ok = dump_decode(&r->s, (xdrproc_t)xdr_control_change, &ch) && do_step(r, &ch);
        xdr_free((xdrproc_t)xdr_control_change, &ch);
        if (!ok)
            return false;
    }
}

/* --- beginning and end --- */

static bool call_simple(struct restore *r, rpcproc_t proc, char *name)
{
    control_name_args args = {.name = name};
    return !control_do(r->c, proc, &args);
}

static char *at(const struct restore *r, const char *snapshot)
{
    char *text;
    if (asprintf(&text, "%s@%s", r->name, snapshot) < 0)
        need(NULL);
    return text;
}

static bool is_mark(const control_dump_entry *e)
{
    return e->name.name_len == strlen(DUMP_MARK) && !memcmp(e->name.name_val, DUMP_MARK, e->name.name_len);
}

/* The volume is there already: it will do if nothing is in it. exists: what the server said. */
static bool use_volume(struct restore *r, const control_result *exists)
{
    control_dump_args args = {.name = r->name, .base = (char *)"", .ino = DUMP_ROOT};
    control_dump_list list;
    bool ok = !control_ask(r->c, CONTROL_DUMP_LIST, &args, &list), marked = false;
    for (u_int i = 0; i < list.entries.entries_len; i++)
        marked = marked || is_mark(&list.entries.entries_val[i]);
    if (ok && marked)
        cli_fail("a restore of %s is under way, or did not come to its end: then 'volnfs destroy %s', and restore it again",
                 r->name, r->name);
    else if (ok && list.entries.entries_len)
        control_outcome(exists);
    ok = ok && !list.entries.entries_len && list.eof;
    control_free(CONTROL_DUMP_LIST, &list);
    return ok;
}

static bool make_volume(struct restore *r)
{
    struct volume_props d;
    control_result res;
    bool ok;
    control_create_args args = {.name = r->name, .uid = getuid(), .gid = getgid(), .mode = 0700};
    volume_props_default(&d);
    args.props = (control_props){.codec = d.codec == VOLUME_ZSTD, .level = d.level, .recompress = (u_int)d.recompress};
    if (control_call(r->c, CONTROL_CREATE, &args, &res))
        r->made = res.err != -EEXIST && !control_outcome(&res);
    ok = r->made || (res.err == -EEXIST && use_volume(r, &res));
    control_free(CONTROL_CREATE, &res);
    return ok;
}

/* Is the volume what base was? */
static bool check_base(struct restore *r)
{
    struct dump_tree base = {.nnames = 0}, now = {.nnames = 0};
    char *name = at(r, r->head.base);
    bool ok = dump_tree_load(&base, r->c, name) && dump_tree_load(&now, r->c, r->name);
    if (ok && dump_tree_print(&base, false) != r->head.base_print) {
        cli_fail("%s is not the %s@%s that the stream goes on from", name, r->head.origin, r->head.base);
        ok = false;
    } else if (ok && dump_tree_print(&base, true) != dump_tree_print(&now, true)) {
        cli_fail("%s was changed since its snapshot %s: 'volnfs snapshot rollback --keep-younger %s' undoes that",
                 r->name, r->head.base, name);
        ok = false;
    }
    dump_tree_release(&base);
    dump_tree_release(&now);
    free(name);
    return ok;
}

static bool make_mark(struct restore *r)
{
    control_inode inode = {.ino = 1, .type = IT_DIR, .mode = 0700};
    control_change ch = {.step = STEP_NEW, .dir = DUMP_ROOT, .inode = &inode};
    ch.name.name_val = (char *)DUMP_MARK;
    ch.name.name_len = (u_int)strlen(DUMP_MARK);
    return call_step(r, &ch, &r->mark);
}

/* Makes durable what was done until now. */
static bool settle(struct restore *r)
{
    control_name_args args = {.name = r->name};
    control_settled res;
    bool ok = !control_ask(r->c, CONTROL_SETTLE, &args, &res);
    control_free(CONTROL_SETTLE, &res);
    return ok;
}

static bool set_root(struct restore *r)
{
    control_change ch = {.step = STEP_SET, .ino = DUMP_ROOT, .inode = &r->root};
    return !r->root.ino || call_step(r, &ch, NULL);
}

/* Takes the mark away, after all the rest is durable: a server that dies must not lose bytes, but not the mark. What the
 * mark's going does to the root's times is undone then. */
static bool finish(struct restore *r)
{
    control_change ch = {.step = STEP_AWAY};
    char held[24];
    bool ok = true;
    for (size_t i = 0; ok && i < r->room; i++)
        if (r->known[i].ino && r->known[i].held) {
            number(r->known[i].ino, held);
            ch.dir = r->mark;
            ch.ino = r->known[i].here;
            ch.name.name_val = held;
            ch.name.name_len = (u_int)strlen(held);
            ok = call_step(r, &ch, NULL);
        }
    ok = ok && set_root(r) && settle(r);
    ch = (control_change){.step = STEP_AWAY, .dir = DUMP_ROOT, .ino = r->mark};
    ch.name.name_val = (char *)DUMP_MARK;
    ch.name.name_len = (u_int)strlen(DUMP_MARK);
    return ok && call_step(r, &ch, NULL) && set_root(r) && settle(r);
}

/* R3. */
static void undo(struct restore *r)
{
    bool full = !*r->head.base;
    char *base = at(r, r->head.base);
    if (full) {
        if (r->made && call_simple(r, CONTROL_DESTROY, r->name))
            cli_fail("%s was not restored, and is removed again", r->name);
        else
            cli_fail("%s is not complete: 'volnfs destroy %s', then restore it again", r->name, r->name);
    } else {
        control_pair_args args = {.name = base, .to = (char *)"", .flags = ROLLBACK_KEEP};
        if (!control_do(r->c, CONTROL_SNAP_ROLLBACK, &args))
            cli_fail("%s is what it was before, %s", r->name, base);
        else
            cli_fail("%s is neither what it was nor what it should be: 'volnfs snapshot rollback --keep-younger %s', "
                     "then restore again", r->name, base);
    }
    free(base);
}

/* Names in the head are shown, and sent on. */
static bool plain(const char *text)
{
    return !text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-")];
}

static int run(struct restore *r)
{
    bool full;
    char *snap;
    int status = 0;
    if (!dump_read_start(&r->s, stdin))
        return 1;
    switch (dump_read(&r->s)) {
    case DUMP_HEAD:
        if (!dump_decode(&r->s, (xdrproc_t)xdr_control_dump_head, &r->head))
            return 1;
        if (!plain(r->head.origin) || !plain(r->head.snapshot) || !plain(r->head.base))
            return !senseless(r);
        break;
    case 0:
        return 1;
    default:
        return !senseless(r);
    }
    full = !*r->head.base;
    if (!(full ? make_volume(r) : check_base(r)))
        return 1;
    learn(r, DUMP_ROOT, DUMP_ROOT);
    if (!make_mark(r))
        return 1;
    if (!do_steps(r) || !finish(r)) {
        undo(r);
        return 1;
    }
    if (*r->head.snapshot) {
        snap = at(r, r->head.snapshot);
        if (!call_simple(r, CONTROL_SNAP_CREATE, snap))
            status = cli_fail("%s is restored, but is no base for the next stream without a snapshot %s", r->name, snap);
        free(snap);
    }
    if (!status)
        printf("%s: %llu new files and directories, %llu bytes%s%s\n", r->name, (unsigned long long)r->end.inodes,
               (unsigned long long)r->end.bytes, *r->head.snapshot ? ", snapshot @" : "", r->head.snapshot);
    return status;
}

int cmd_restore(struct cli *cli, int argc, char **argv)
{
    struct sigaction sa = {.sa_handler = stop};
    struct restore r = {.c = NULL};
    int status = 0;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    if (argc - optind != 1)
        return cli_usage(cli, "which volume is to be made?");
    r.name = argv[optind];
    if (!control_is_volume(r.name, strlen(r.name)) || strlen(r.name) > CONTROL_NAME_MAX - 64)
        return cli_usage(cli, "'%.80s' is not of the form USER/VOLUME", r.name);
    if (isatty(STDIN_FILENO))
        return cli_usage(cli, "a stream is needed on the standard input");
    if (!(r.c = control_connect(cli, &status)))
        return status;
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &sa, NULL); /* what was done has to be undone */
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    status = run(&r);
    control_disconnect(r.c);
    dump_release(&r.s);
    xdr_free((xdrproc_t)xdr_control_dump_head, &r.head);
    free(r.known);
    return status;
}
