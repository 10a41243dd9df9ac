/* SPDX-License-Identifier: Apache-2.0
 * cmd_status: volnfs status: is a server running on the store, where, and what does it do.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"
#include "client/cli/statusview.h"

static void print_info(const control_info *info)
{
    printf("volnfsd %s, process %llu, start number %llu\nstore   %s\nlisten  %s\n", info->release,
           (unsigned long long)info->pid, (unsigned long long)info->epoch, info->store, info->listen);
}

static int print_status(const struct cli *cli, const control_status *s)
{
    if (cli->json)
        return format_print_json(statusview_json(s));
    print_info(&s->info);
    statusview_head(stdout, s);
    putchar('\n');
    statusview_volumes(stdout, s, UINT_MAX);
    if (s->users.users_len) {
        putchar('\n');
        statusview_users(stdout, s);
    }
    if (s->client_list.client_list_len) {
        putchar('\n');
        statusview_clients(stdout, s, UINT_MAX);
    }
    return 0;
}

/* Who may not administer the store still learns where it is served. */
static int print_where(const struct cli *cli, CLIENT *c)
{
    control_info info;
    int status = 1;
    if (control_call(c, CONTROL_INFO, NULL, &info)) {
        status = 0;
        if (cli->json)
            status = format_print_json(json_pack("{s:s, s:s, s:s, s:I, s:I}", "release", info.release,
                                                 "store", info.store, "listen", info.listen, "epoch",
                                                 (json_int_t)info.epoch, "pid", (json_int_t)info.pid));
        else
            print_info(&info);
    }
    control_free(CONTROL_INFO, &info);
    return status;
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
    control_status s;
    CLIENT *c;
    int status = 0;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    if (optind != argc)
        return cli_usage(cli, "status takes no argument");
    c = control_connect(cli, &status);
    if (!c)
        return status;
    status = 1;
    if (statusview_get(c, CONTROL_WITH_VOLUMES | CONTROL_WITH_CLIENTS | CONTROL_WITH_OPS | CONTROL_WITH_GRANTS |
                             CONTROL_WITH_USERS, &s))
        status = s.result.err == -EPERM ? print_where(cli, c) : print_status(cli, &s);
    control_free(CONTROL_STATUS, &s);
    control_disconnect(c);
    return status;
}
