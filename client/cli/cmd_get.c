/* SPDX-License-Identifier: Apache-2.0
 * cmd_get: volnfs get USER/VOLUME [PROPERTY]: the properties of a volume.
 */
#include <stdio.h>
#include <string.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"
#include "proto/props.h"

static int show(const struct cli *cli, const void *reply, void *arg)
{
    const control_list_result *r = reply;
    const control_volume *v = r->volumes.volumes_val;
    char **words = arg;
    const char *key = words[1]; /* NULL: all */
    char value[PROPS_TEXT_MAX];
    if (r->volumes.volumes_len != 1)
        return cli_fail("'%s' is not the name of one volume", words[0]);
    if (v->err)
        return cli_fail("volume '%s' cannot be opened: %s", v->name, strerror(-v->err));
    if (key && props_get(&v->props, key, value, sizeof(value))) {
        char why[512];
        props_unknown(key, why, sizeof(why));
        cli_fail("%s", why);
        return EXIT_USAGE;
    }
    if (cli->json && !key)
        return format_print_json(format_volume(v));
    if (cli->json)
        return format_print_json(json_pack("{s:s}", key, value));
    if (key) {
        puts(value);
        return 0;
    }
    printf("%-12s  %s\n", "PROPERTY", "VALUE");
    for (const char *const *k = props_keys; *k; k++) {
        props_get(&v->props, *k, value, sizeof(value));
        printf("%-12s  %s\n", *k, value);
    }
    return 0;
}

int cmd_get(struct cli *cli, int argc, char **argv)
{
    control_name_args args;
    int status = 0;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    if (argc - optind < 1 || argc - optind > 2)
        return cli_usage(cli, "which volume?");
    if (!strchr(argv[optind], '/') || strlen(argv[optind]) > CONTROL_NAME_MAX)
        return cli_usage(cli, "'%.64s' cannot name a volume: it has to be USER/VOLUME", argv[optind]);
    args.name = argv[optind];
    return control_once(cli, CONTROL_LIST, &args, show, argv + optind);
}
