/* SPDX-License-Identifier: Apache-2.0
 * cmd_create: volnfs create USER/VOLUME.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/connect.h"
#include "proto/props.h"
#include "server/store/volume.h"

/* "UID:GID" or "UID" (the group then has the same number). */
static bool parse_owner(const char *text, u_int *uid, u_int *gid)
{
    char user[16];
    unsigned long long n;
    size_t len = strcspn(text, ":");
    if (len >= sizeof(user))
        return false;
    memcpy(user, text, len);
    user[len] = 0;
    if (!cli_number(user, 10, UINT32_MAX - 1, &n))
        return false;
    *uid = *gid = (u_int)n;
    if (text[len] == ':') {
        if (!cli_number(text + len + 1, 10, UINT32_MAX - 1, &n))
            return false;
        *gid = (u_int)n;
    }
    return true;
}

static void default_props(control_props *p)
{
    struct volume_props d;
    volume_props_default(&d);
    p->codec = d.codec == VOLUME_ZSTD;
    p->level = d.level;
    p->quota_bytes = d.quota_bytes;
    p->quota_files = d.quota_files;
    p->readonly = d.readonly;
}

int cmd_create(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"property", required_argument, NULL, 'o'},
                                          {"owner", required_argument, NULL, 'u'},
                                          {"mode", required_argument, NULL, 'm'},
                                          {0}};
    control_create_args args = {.uid = getuid(), .gid = getgid(), .mode = 0755};
    char why[512];
    unsigned long long mode;
    int opt, status = 1;
    default_props(&args.props);
    while ((opt = cli_getopt(cli, argc, argv, "o:u:m:", longs, &status)) != -1) {
        switch (opt) {
        case 'o':
            if (props_set_list(&args.props, optarg, why, sizeof(why)))
                return cli_usage(cli, "%s", why);
            break;
        case 'u':
            if (!parse_owner(optarg, &args.uid, &args.gid))
                return cli_usage(cli, "'%s' is not an owner: it has to be UID or UID:GID, in numbers",
                                 optarg);
            break;
        case 'm':
            if (!cli_number(optarg, 8, 07777, &mode))
                return cli_usage(cli, "'%s' is not a mode: it has to be octal, such as 0755", optarg);
            args.mode = (u_int)mode;
            break;
        default:
            return status;
        }
    }
    if (argc - optind != 1)
        return cli_usage(cli, "one volume has to be named");
    args.name = argv[optind];
    if (strlen(args.name) > CONTROL_NAME_MAX)
        return cli_usage(cli, "the name is too long");
    return control_once(cli, CONTROL_CREATE, &args, NULL, NULL);
}
