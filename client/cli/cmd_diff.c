/* SPDX-License-Identifier: Apache-2.0
 * cmd_diff: volnfs diff USER/VOLUME@A [USER/VOLUME@B]. The server says where the volume is, and the databases are
 * read from there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"
#include "client/cli/remote.h"
#include "server/store/diff.h"
#include "server/store/snap.h"

static int settled(const struct cli *cli, const void *reply, void *id)
{
    *(uint64_t *)id = ((const control_settled *)reply)->volume;
    return 0;
}

/* Asks the server to bring the volume's index up to date; its id. */
static int settle(struct cli *cli, char *name, uint64_t *id)
{
    control_name_args args = {.name = name};
    return control_once(cli, CONTROL_SETTLE, &args, settled, id);
}

static bool print_line(void *arg, const struct diff_line *l)
{
    printf("%c ", l->what);
    if (l->from) {
        show_name(stdout, l->from);
        fputs(" -> ", stdout);
    }
    show_name(stdout, l->path);
    return putchar('\n') != EOF;
}

static bool add_line(void *arg, const struct diff_line *l)
{
    json_t *all = arg, *o = json_object();
    const char what[2] = {l->what, 0};
    char *path = show_escape(l->path), *from = l->from ? show_escape(l->from) : NULL;
    json_object_set_new(o, "change", json_string(what));
    json_object_set_new(o, "path", json_string(path));
    if (from)
        json_object_set_new(o, "from", json_string(from));
    free(path);
    free(from);
    return json_array_append_new(all, o) == 0;
}

int cmd_diff(struct cli *cli, int argc, char **argv)
{
    char *volume, *dir = NULL, *a, *b = NULL;
    const char *store, *missing = NULL;
    json_t *all = NULL;
    uint64_t id = 0;
    int err, status = 0;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    if (argc - optind < 1 || argc - optind > 2)
        return cli_usage(cli, "one or two snapshots are needed");
    volume = argv[optind];
    a = strchr(volume, '@');
    if (!a || strlen(volume) > CONTROL_NAME_MAX || !control_is_volume(volume, (size_t)(a - volume)) ||
        snap_check_name(a + 1, strlen(a + 1)))
        return cli_usage(cli, "'%.80s' is not of the form USER/VOLUME@NAME", volume);
    *a++ = 0;
    if (argc - optind == 2) {
        size_t len = strlen(volume);
        b = argv[optind + 1];
        if (strncmp(b, volume, len) || b[len] != '@' || snap_check_name(b + len + 1, strlen(b + len + 1)))
            return cli_usage(cli, "'%.80s' is not a snapshot of %s", b, volume);
        b += len + 1;
    }
    store = cli_store(cli, &status);
    if (!store || (status = settle(cli, volume, &id)))
        return status;
    if (asprintf(&dir, "%s/volumes/%016" PRIx64, store, id) < 0)
        return cli_fail("out of memory");
    all = cli->json ? json_array() : NULL;
    err = volume_diff(dir, a, b, all ? add_line : print_line, all, &missing);
    free(dir);
    if (err == -ENOENT && missing)
        status = cli_fail("there is no snapshot '%s@%s'", volume, missing);
    else if (err)
        status = cli_fail("the snapshots of %s cannot be compared: %s", volume, strerror(-err));
    else if (all)
        return format_print_json(all);
    else if (fflush(stdout))
        status = cli_fail("cannot write the output");
    json_decref(all);
    return status;
}
