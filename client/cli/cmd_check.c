/* SPDX-License-Identifier: Apache-2.0
 * cmd_check: volnfs check USER/VOLUME...|--all: is what is on the disk consistent? Reads the store itself, so
 * it works with the server up or down. With --repair or --rebuild it writes, and the server must not have the volume.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"
#include "common/log.h"
#include "server/store/check.h"
#include "server/store/repair.h"
#include "server/store/statedb.h"

struct target {
    uint64_t id;
    char name[USER_NAME_MAX + VOLUME_NAME_MAX + 2];
};

struct names {
    struct user_row *users;
    size_t nusers;
    struct target *vols;
    size_t nvols;
};

static int add_user(void *arg, const struct user_row *u)
{
    struct names *n = arg;
    struct user_row *grown = realloc(n->users, (n->nusers + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    n->users = grown;
    n->users[n->nusers++] = *u;
    return 0;
}

static int add_volume(void *arg, const struct volume_row *r)
{
    struct names *n = arg;
    const char *user = "?";
    struct target *grown = realloc(n->vols, (n->nvols + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    n->vols = grown;
    for (size_t i = 0; i < n->nusers; i++)
        if (n->users[i].id == r->user)
            user = n->users[i].name;
    n->vols[n->nvols].id = r->id;
    snprintf(n->vols[n->nvols].name, sizeof(n->vols[0].name), "%s/%s", user, r->name);
    n->nvols++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct target *)a)->name, ((const struct target *)b)->name);
}

static int load_names(const char *store, struct names *n)
{
    struct statedb *db = NULL;
    int err = statedb_open_readonly(store, &db);
    if (err)
        return err;
    if (!(err = statedb_list_users(db, add_user, n)))
        err = statedb_list_volumes(db, add_volume, n);
    statedb_close(db);
    if (n->nvols)
        qsort(n->vols, n->nvols, sizeof(*n->vols), by_name);
    return err;
}

/* What is to be done, to one volume after another. */
struct job {
    const char *store;
    bool repair; /* or rebuild; else check */
    struct repair_options opt;
    json_t *list; /* NULL: print */
    /* the volume at hand: */
    const char *name;
    char *dir;
    json_t *problems;
};

static void problem(void *arg, const char *text)
{
    struct job *j = arg;
    if (j->problems)
        json_array_append_new(j->problems, json_string_nocheck(text));
    else
        printf("%s: %s\n", j->name, text);
}

static int check(struct job *j)
{
    struct check_report rep = {0};
    int err = volume_check(j->dir, j->opt.data, problem, j, &rep), status = 0;
    if (err)
        status = cli_fail("%s could not be checked: %s", j->name, strerror(-err));
    else if (rep.problems)
        status = 1;
    if (j->list)
        json_array_append_new(
            j->list, json_pack("{s:s, s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "name", j->name,
                               "clean", status == 0, "error", -err, "inodes", (json_int_t)rep.inodes,
                               "names", (json_int_t)rep.dirents, "extents", (json_int_t)rep.extents, "chunks",
                               (json_int_t)rep.chunks, "packs", (json_int_t)rep.packs, "bytes_read",
                               (json_int_t)rep.bytes_read, "problem_count", (json_int_t)rep.problems,
                               "problems", j->problems));
    else if (!err)
        printf("%s: %s%" PRIu64 " problems; %" PRIu64 " inodes, %" PRIu64 " names, %" PRIu64
               " extents, %" PRIu64 " chunks, %" PRIu64 " packs\n",
               j->name, rep.problems ? "" : "clean, ", rep.problems, rep.inodes, rep.dirents, rep.extents,
               rep.chunks, rep.packs);
    return status;
}

static const char *why_not(int err)
{
    switch (err) {
    case -EBUSY:
        return "a server has it open; stop the server first";
    case -ENOTSUP:
        return "its format is newer than this program's";
    case -EUCLEAN:
        return "its index.db cannot be read; --rebuild makes one of what is left";
    case -EEXIST:
        return "its index.db can be read; use --repair";
    default:
        return strerror(-err);
    }
}

static int repair(struct job *j)
{
    struct repair_report rep = {0};
    int err = volume_repair(j->dir, &j->opt, problem, j, &rep), status = 0;
    if (err)
        status = cli_fail("%s was not repaired: %s", j->name, why_not(err));
    else if (rep.left)
        status = 1;
    if (j->list)
        json_array_append_new(j->list, json_pack("{s:s, s:b, s:i, s:I, s:I, s:s, s:O}", "name", j->name, "clean",
                                                 status == 0, "error", -err, "repaired", (json_int_t)rep.repaired, "left",
                                                 (json_int_t)rep.left, "aside", rep.aside, "problems", j->problems));
    else if (!err && !rep.aside[0])
        printf("%s: %s\n", j->name, rep.left ? "nothing more can be repaired" : "clean, nothing to repair");
    else if (!err)
        printf("%s: %" PRIu64 " repairs, %" PRIu64 " problems left; what was there before is in %s/%s\n", j->name,
               rep.repaired, rep.left, j->dir, rep.aside);
    return status;
}

static int do_one(struct job *j, const struct target *t)
{
    int status;
    if (asprintf(&j->dir, "%s/volumes/%016" PRIx64, j->store, t->id) < 0)
        return cli_fail("out of memory");
    j->name = t->name;
    j->problems = j->list ? json_array() : NULL;
    status = j->repair ? repair(j) : check(j);
    fflush(stdout);
    json_decref(j->problems);
    free(j->dir);
    return status;
}

static const struct target *find_target(const struct names *n, const char *name)
{
    for (size_t i = 0; i < n->nvols; i++)
        if (!strcmp(n->vols[i].name, name))
            return &n->vols[i];
    return NULL;
}

/* Those that are named, or all. */
static int do_list(struct job *j, const struct names *n, char **argv, int argc)
{
    int status = 0;
    for (int i = 0; i < argc; i++) {
        const struct target *t = find_target(n, argv[i]);
        if (!t)
            status = cli_fail("there is no volume '%s' in store %s", argv[i], j->store);
        else if (do_one(j, t))
            status = 1;
    }
    for (size_t i = 0; !argc && i < n->nvols; i++)
        if (do_one(j, &n->vols[i]))
            status = 1;
    if (j->list && format_print_json(j->list))
        status = 1;
    return status;
}

int cmd_check(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        {"data", no_argument, NULL, 'd'},  {"all", no_argument, NULL, 'a'},
        {"repair", no_argument, NULL, 'R'}, {"rebuild", no_argument, NULL, 'B'},
        {"punch", no_argument, NULL, 'P'},  {0}};
    struct job job = {0};
    bool all = false;
    struct names n = {0};
    char *store;
    int opt, err, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "da", longs, &status)) != -1) {
        if (opt == 'd')
            job.opt.data = true;
        else if (opt == 'a')
            all = true;
        else if (opt == 'R')
            job.repair = true;
        else if (opt == 'B')
            job.opt.rebuild = true;
        else if (opt == 'P')
            job.opt.punch = true;
        else
            return status;
    }
    if (all == (optind < argc))
        return cli_usage(cli, "name the volumes to check, or say --all");
    if (job.repair && job.opt.rebuild)
        return cli_usage(cli, "--repair is for an index that can be read, --rebuild for one that cannot");
    job.repair |= job.opt.rebuild;
    if (job.opt.punch && !job.repair)
        return cli_usage(cli, "--punch goes with --repair or --rebuild");
    if (all && job.repair)
        return cli_usage(cli, "name the volumes to repair");
    for (int i = optind; i < argc; i++)
        if (!control_is_volume(argv[i], strlen(argv[i])))
            return cli_usage(cli, "'%.80s' is not of the form USER/VOLUME", argv[i]);
    store = cli_store(cli, &status);
    if (!store)
        return status;
    job.store = store;
    err = load_names(store, &n);
    if (err == -ENOENT)
        status = cli_fail("%s is not a store: it has no state.db", store);
    else if (err)
        status = cli_fail("cannot read %s/state.db: %s", store, strerror(-err));
    else {
        job.list = cli->json ? json_array() : NULL;
        status = do_list(&job, &n, argv + optind, argc - optind);
    }
    free(n.users);
    free(n.vols);
    free(store);
    return status;
}
