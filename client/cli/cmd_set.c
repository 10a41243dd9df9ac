/* SPDX-License-Identifier: Apache-2.0
 * cmd_set: volnfs set USER/VOLUME PROPERTY=VALUE...
 */
#include <string.h>

#include "client/cli/connect.h"
#include "proto/props.h"

/* Sees that all of it is right before any of it is done. */
static int check_all(const struct cli *cli, int argc, char **argv)
{
    control_props p = {0};
    char why[512];
    for (int i = optind + 1; i < argc; i++)
        if (props_set_list(&p, argv[i], why, sizeof(why)))
            return cli_usage(cli, "%s", why);
    return 0;
}

static int set_one(CLIENT *c, char *name, char *pair)
{
    control_set_args args = {.name = name, .key = pair};
    char *eq = strchr(pair, '=');
    *eq = 0;
    args.value = eq + 1;
    return control_do(c, CONTROL_SET, &args);
}

int cmd_set(struct cli *cli, int argc, char **argv)
{
    int status = 0;
    char *name;
    CLIENT *c;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    if (argc - optind < 2)
        return cli_usage(cli, "a volume and at least one PROPERTY=VALUE are needed");
    name = argv[optind];
    if (strlen(name) > CONTROL_NAME_MAX)
        return cli_usage(cli, "the name is too long");
    if ((status = check_all(cli, argc, argv)))
        return status;
    c = control_connect(cli, &status);
    if (!c)
        return status;
    for (int i = optind + 1; i < argc && !status; i++) {
        char *rest = argv[i], *pair;
        while (!status && (pair = strsep(&rest, ",")))
            if (*pair)
                status = set_one(c, name, pair);
    }
    control_disconnect(c);
    return status;
}
