/* SPDX-License-Identifier: Apache-2.0
 * cmd_status: volnfs status: is a server running on the store, and where.
 */
#include <stdio.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"

int cmd_status(struct cli *cli, int argc, char **argv)
{
    control_info info;
    CLIENT *c;
    int opt, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, NULL, NULL, &status)) != -1)
        return status;
    if (optind != argc)
        return cli_usage(cli, "status takes no argument");
    c = control_connect(cli, &status);
    if (!c)
        return status;
    status = 1;
    if (control_call(c, CONTROL_INFO, (xdrproc_t)(void (*)(void))xdr_void, NULL, (xdrproc_t)xdr_control_info, &info,
                     sizeof(info))) {
        status = 0;
        if (cli->json)
            status = format_print_json(json_pack("{s:s, s:s, s:s, s:I, s:I}", "release", info.release,
                                                 "store", info.store, "listen", info.listen, "epoch",
                                                 (json_int_t)info.epoch, "pid", (json_int_t)info.pid));
        else
            printf("volnfsd %s, process %llu, start number %llu\nstore   %s\nlisten  %s\n", info.release,
                   (unsigned long long)info.pid, (unsigned long long)info.epoch, info.store,
                   info.listen);
    }
    xdr_free((xdrproc_t)xdr_control_info, &info);
    control_disconnect(c);
    return status;
}
