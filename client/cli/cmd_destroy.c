/* SPDX-License-Identifier: Apache-2.0
 * cmd_destroy: volnfs destroy USER/VOLUME...
 */
#include <string.h>

#include "client/cli/connect.h"

int cmd_destroy(struct cli *cli, int argc, char **argv)
{
    int status = 0, worst = 0;
    CLIENT *c;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    if (optind == argc)
        return cli_usage(cli, "which volume?");
    c = control_connect(cli, &status);
    if (!c)
        return status;
    for (int i = optind; i < argc; i++) {
        control_name_args args = {.name = argv[i]};
        if (strlen(argv[i]) > CONTROL_NAME_MAX) {
            cli_fail("the name '%.40s...' is too long", argv[i]);
            worst = EXIT_USAGE;
            continue;
        }
        worst = cli_worse(worst, control_do(c, CONTROL_DESTROY, &args));
    }
    control_disconnect(c);
    return worst;
}
