/* SPDX-License-Identifier: Apache-2.0
 * cmd_list: volnfs list [USER]: volumes with their sizes.
 */
#include <stdio.h>
#include <string.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"
#include "proto/props.h"

static int print_json(const control_volume *v, u_int n)
{
    json_t *all = json_array();
    for (u_int i = 0; all && i < n; i++)
        if (json_array_append_new(all, format_volume(&v[i]))) {
            json_decref(all);
            all = NULL;
        }
    return format_print_json(all);
}

static int print_table(const control_volume *v, u_int n)
{
    int width = 4, status = 0;
    for (u_int i = 0; i < n; i++)
        if ((int)strlen(v[i].name) > width)
            width = (int)strlen(v[i].name);
    printf("%-*s  %8s  %8s  %7s  %8s  %9s  %6s  %-11s  %s\n", width, "NAME", "LOGICAL", "STORED", "RATIO",
           "HELD", "FILES", "QUOTA", "COMPRESSION", "READONLY");
    for (u_int i = 0; i < n; i++) {
        char logical[16], stored[16], ratio[16], held[16] = "-", quota[PROPS_TEXT_MAX], comp[PROPS_TEXT_MAX];
        if (v[i].err) {
            printf("%-*s  cannot be opened: %s\n", width, v[i].name, strerror(-v[i].err));
            status = 1;
            continue;
        }
        format_size(v[i].logical, logical, sizeof(logical));
        format_size(v[i].stored, stored, sizeof(stored));
        format_ratio(&v[i], ratio, sizeof(ratio));
        if (v[i].snapshots || v[i].held)
            format_size(v[i].held, held, sizeof(held));
        props_get(&v[i].props, "quota", quota, sizeof(quota));
        props_get(&v[i].props, "compression", comp, sizeof(comp));
        printf("%-*s  %8s  %8s  %7s  %8s  %9llu  %6s  %-11s  %s\n", width, v[i].name, logical, stored, ratio,
               held, (unsigned long long)v[i].files, quota, comp, v[i].props.readonly ? "on" : "off");
    }
    if (status)
        cli_fail("a volume cannot be opened; the server's log says why");
    return status;
}

static int show(const struct cli *cli, const void *reply, void *arg)
{
    const control_list_result *r = reply;
    return (cli->json ? print_json : print_table)(r->volumes.volumes_val, r->volumes.volumes_len);
}

int cmd_list(struct cli *cli, int argc, char **argv)
{
    int status = 0;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    return control_list(cli, argc - optind, argv + optind, "user or volume", CONTROL_LIST, show);
}
