/* SPDX-License-Identifier: Apache-2.0
 * cli: options and messages of the volnfs command (see cli.h).
 */
#include "client/cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 24

static void print_usage(const struct verb *verb, FILE *to)
{
    /* A verb speaks to the server of a store, or to one anywhere. */
    fprintf(to, "usage: volnfs %s%s%s%s\n", strstr(verb->args, "SERVER[:PORT]") ? "" : "[--store DIR] ", verb->name,
            *verb->args ? " " : "", verb->args);
}

int cli_getopt(struct cli *cli, int argc, char **argv, const char *shorts, const struct option *longs,
               int *status)
{
    enum { JSON = 2000, HELP };
    static const struct option common[] = {{"store", required_argument, NULL, 'S'},
                                           {"json", no_argument, NULL, JSON},
                                           {"help", no_argument, NULL, HELP}};
    struct option all[OPTIONS_MAX + 1] = {{0}};
    char text[64];
    const char *own_json, *own_help;
    static char name[64]; /* which getopt_long begins its messages with */
    int n = 0, opt;
    snprintf(name, sizeof(name), "volnfs %s", cli->verb->name);
    argv[0] = name;
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++)
        all[n++] = common[i];
    for (; longs && longs->name && n < OPTIONS_MAX; longs++)
        all[n++] = *longs;
    if (!shorts)
        shorts = "";
    own_json = strchr(shorts, 'j');
    own_help = strchr(shorts, 'h');
    /* A '+' first: stop at the first word that is no option. */
    snprintf(text, sizeof(text), "%sS:%s%s%s", *shorts == '+' ? "+" : "", own_json ? "" : "j", own_help ? "" : "h",
             shorts + (*shorts == '+'));
    for (;;) {
        opt = getopt_long(argc, argv, text, all, NULL);
        if ((opt == 'j' && !own_json) || (opt == 'h' && !own_help))
            opt = opt == 'j' ? JSON : HELP;
        switch (opt) {
        case 'S':
            cli->store = optarg;
            break;
        case JSON:
            cli->json = true;
            break;
        case HELP:
            print_usage(cli->verb, stdout);
            if (cli->verb->help)
                fputs(cli->verb->help, stdout);
            *status = 0;
            return '?';
        case '?':
            print_usage(cli->verb, stderr);
            *status = EXIT_USAGE;
            return '?';
        default:
            return opt;
        }
    }
}

int cli_fail(const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    fputs("volnfs: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "volnfs %s: ", cli->verb->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    print_usage(cli->verb, stderr);
    return EXIT_USAGE;
}

char *cli_store(const struct cli *cli, int *status)
{
    char *path;
    if (!cli->store || !*cli->store) {
        *status = cli_fail("which store? Say --store DIR or set VOLNFS_STORE");
        *status = EXIT_USAGE;
        return NULL;
    }
    path = realpath(cli->store, NULL);
    if (!path)
        *status = cli_fail("store %s: %s; 'volnfsd --store %s' makes one", cli->store, strerror(errno),
                           cli->store);
    return path;
}

bool cli_number(const char *text, int base, unsigned long long max, unsigned long long *out)
{
    char *end;
    unsigned long long n;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    n = strtoull(text, &end, base);
    if (errno || *end || n > max)
        return false;
    *out = n;
    return true;
}

int cli_split_server(const char *server, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(server, ':'), *end;
    unsigned long long number;
    *port = "2049";
    if (*server == '[') {
        end = strchr(++server, ']');
        if (!end || (end[1] && (end[1] != ':' || !end[2])))
            return -EINVAL;
        if (end[1])
            *port = end + 2;
    } else {
        end = colon && strchr(server, ':') == colon ? colon : server + strlen(server);
        if (*end)
            *port = end + 1;
    }
    /* getaddrinfo takes greater numbers for what their last 16 bits say. */
    if (end == server || (size_t)(end - server) >= size || !cli_number(*port, 10, 65535, &number) || !number)
        return -EINVAL;
    memcpy(host, server, (size_t)(end - server));
    host[end - server] = 0;
    return 0;
}
