/* SPDX-License-Identifier: Apache-2.0
 * cmd_snapshot: volnfs snapshot create|list|destroy|rename|rollback, volnfs clone.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"
#include "server/store/snap.h"

enum { ROLLBACK_DESTROY = 1, ROLLBACK_KEEP = 2 }; /* control.x */

static unsigned younger; /* what a rollback does with younger snapshots */

static bool is_snapshot(const char *name)
{
    const char *at = strchr(name, '@');
    return at && strlen(name) <= CONTROL_NAME_MAX && control_is_volume(name, (size_t)(at - name)) &&
           !snap_check_name(at + 1, strlen(at + 1));
}

/* Calls proc, which takes a name and answers with a result, for each argument. */
static int each_name(struct cli *cli, int argc, char **argv, rpcproc_t proc)
{
    int worst = 0, status = 0;
    CLIENT *c;
    if (argc == 0)
        return cli_usage(cli, "which snapshot?");
    for (int i = 0; i < argc; i++)
        if (!is_snapshot(argv[i]))
            return cli_usage(cli, "'%.80s' is not of the form USER/VOLUME@NAME", argv[i]);
    c = control_connect(cli, &status);
    if (!c)
        return status;
    for (int i = 0; i < argc; i++) {
        control_name_args args = {.name = argv[i]};
        worst = cli_worse(worst, control_do(c, proc, &args));
    }
    control_disconnect(c);
    return worst;
}

static int do_create(struct cli *cli, int argc, char **argv)
{
    return each_name(cli, argc, argv, CONTROL_SNAP_CREATE);
}

static int do_destroy(struct cli *cli, int argc, char **argv)
{
    return each_name(cli, argc, argv, CONTROL_SNAP_DESTROY);
}

static int snapshot_pair(struct cli *cli, char *name, char *to, unsigned flags, rpcproc_t proc)
{
    control_pair_args args = {.name = name, .to = to, .flags = flags};
    if (!is_snapshot(name))
        return cli_usage(cli, "'%.80s' is not of the form USER/VOLUME@NAME", name);
    if (strlen(to) > CONTROL_NAME_MAX)
        return cli_usage(cli, "the name '%.40s...' is too long", to);
    return control_once(cli, proc, &args, NULL, NULL);
}

static int do_rename(struct cli *cli, int argc, char **argv)
{
    if (argc != 2)
        return cli_usage(cli, "a snapshot and its new name are needed");
    return snapshot_pair(cli, argv[0], argv[1], 0, CONTROL_SNAP_RENAME);
}

static int do_rollback(struct cli *cli, int argc, char **argv)
{
    if (argc != 1)
        return cli_usage(cli, "one snapshot to go back to is needed");
    return snapshot_pair(cli, argv[0], (char *)"", younger, CONTROL_SNAP_ROLLBACK);
}

/* --- list --- */

static int print_json(const control_snapshot *s, u_int n)
{
    json_t *all = json_array();
    for (u_int i = 0; all && i < n; i++) {
        json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "name", s[i].name, "id", (json_int_t)s[i].id,
                              "created", (json_int_t)s[i].created, "files", (json_int_t)s[i].files, "logical",
                              (json_int_t)s[i].logical, "stored", (json_int_t)s[i].stored);
        if (!o || json_array_append_new(all, o)) {
            json_decref(all);
            all = NULL;
        }
    }
    return format_print_json(all);
}

static int print_table(const control_snapshot *s, u_int n)
{
    int width = 4;
    for (u_int i = 0; i < n; i++)
        if ((int)strlen(s[i].name) > width)
            width = (int)strlen(s[i].name);
    printf("%-*s  %-19s  %8s  %9s\n", width, "NAME", "CREATED", "LOGICAL", "FILES");
    for (u_int i = 0; i < n; i++) {
        char logical[16], when[32] = "?";
        time_t t = (time_t)s[i].created;
        struct tm tm;
        if (localtime_r(&t, &tm))
            strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
        format_size(s[i].logical, logical, sizeof(logical));
        printf("%-*s  %-19s  %8s  %9llu\n", width, s[i].name, when, logical, (unsigned long long)s[i].files);
    }
    return 0;
}

static int show(const struct cli *cli, const void *reply, void *arg)
{
    const control_snapshots *r = reply;
    return (cli->json ? print_json : print_table)(r->snapshots.snapshots_val, r->snapshots.snapshots_len);
}

static int do_list(struct cli *cli, int argc, char **argv)
{
    return control_list(cli, argc, argv, "user or volume", CONTROL_SNAP_LIST, show);
}

int cmd_snapshot(struct cli *cli, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct cli *cli, int argc, char **argv);
    } actions[] = {{"create", do_create},
                   {"destroy", do_destroy},
                   {"list", do_list},
                   {"rename", do_rename},
                   {"rollback", do_rollback}};
    static const struct option longs[] = {{"destroy-younger", no_argument, NULL, 'r'},
                                          {"keep-younger", no_argument, NULL, 'k'},
                                          {0}};
    int opt, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "rk", longs, &status)) != -1) {
        if (opt == '?')
            return status;
        younger |= opt == 'r' ? ROLLBACK_DESTROY : ROLLBACK_KEEP;
    }
    if (optind == argc)
        return cli_usage(cli, "create, list, destroy, rename or rollback?");
    if (younger && strcmp(argv[optind], "rollback"))
        return cli_usage(cli, "only rollback minds younger snapshots");
    if (younger == (ROLLBACK_DESTROY | ROLLBACK_KEEP))
        return cli_usage(cli, "destroy younger snapshots or keep them?");
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (!strcmp(argv[optind], actions[i].name))
            return actions[i].run(cli, argc - optind - 1, argv + optind + 1);
    return cli_usage(cli, "'%.40s' is nothing to do with a snapshot: use create, list, destroy, rename or rollback",
                     argv[optind]);
}

int cmd_clone(struct cli *cli, int argc, char **argv)
{
    int status = 0;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    if (argc - optind != 2)
        return cli_usage(cli, "a snapshot and the name of a new volume are needed");
    return snapshot_pair(cli, argv[optind], argv[optind + 1], 0, CONTROL_SNAP_CLONE);
}
