/* SPDX-License-Identifier: Apache-2.0
 * cmd_grant: volnfs grant, token, revoke, grants: who may reach what.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"
#include "client/cli/remote.h"

/* --- words --- */

/* "90", "90s", "30m", "2h", "7d", "4w". */
static bool parse_span(const char *text, quad_t *out)
{
    static const struct {
        const char *unit;
        unsigned seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
    size_t digits = strspn(text, "0123456789");
    char number[16];
    unsigned long long n;

    if (!digits || digits >= sizeof(number))
        return false;
    memcpy(number, text, digits);
    number[digits] = 0;
    if (!cli_number(number, 10, 100ull * 366 * 86400, &n) || !n)
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
        if (!strcmp(text + digits, units[i].unit)) {
            *out = (quad_t)(n * units[i].seconds);
            return true;
        }
    }
    return false;
}

static bool parse_pair(const char *text, u_int *uid, u_int *gid)
{
    const char *colon = strchr(text, ':');
    unsigned long long u, g;
    char first[16];

    if (!colon || colon - text >= (long)sizeof(first))
        return false;
    memcpy(first, text, (size_t)(colon - text));
    first[colon - text] = 0;
    if (!cli_number(first, 10, UINT32_MAX - 1, &u) || !cli_number(colon + 1, 10, UINT32_MAX - 1, &g))
        return false;
    *uid = (u_int)u;
    *gid = (u_int)g;
    return true;
}

static const char *const squashes[] = {"none", "root", "all"};

static bool parse_squash(const char *text, u_int *out)
{
    for (u_int i = 0; i < 3; i++) {
        if (!strcmp(text, squashes[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

static const struct option grant_longs[] = {{"ro", no_argument, NULL, 'r'},
                                            {"rw", no_argument, NULL, 'w'},
                                            {"create", no_argument, NULL, 'c'},
                                            {"squash", required_argument, NULL, 'q'},
                                            {"anon", required_argument, NULL, 'a'},
                                            {"expires", required_argument, NULL, 'e'},
                                            {"label", required_argument, NULL, 'l'},
                                            {"subpath", required_argument, NULL, 'p'},
                                            {0}};

/* The options of grant and token. Returns false with *status set. */
static bool parse_options(struct cli *cli, int argc, char **argv, control_grant *g, const char **subpath, int *status)
{
    int opt;

    while ((opt = cli_getopt(cli, argc, argv, "rwce:q:a:l:p:", grant_longs, status)) != -1) {
        switch (opt) {
        case 'r':
            g->write = false;
            break;
        case 'w':
            g->write = true;
            break;
        case 'c':
            g->create = true;
            break;
        case 'q':
            if (!parse_squash(optarg, &g->squash)) {
                *status = cli_usage(cli, "--squash is none, root or all, not '%s'", optarg);
                return false;
            }
            break;
        case 'a':
            g->has_anon = true;
            if (!parse_pair(optarg, &g->anon_uid, &g->anon_gid)) {
                *status = cli_usage(cli, "--anon is UID:GID, in numbers, not '%s'", optarg);
                return false;
            }
            break;
        case 'e':
            if (!parse_span(optarg, &g->expires)) {
                *status = cli_usage(cli, "--expires is a time such as 90s, 30m, 2h or 7d, not '%s'", optarg);
                return false;
            }
            break;
        case 'l':
            if (strlen(optarg) > 127) {
                *status = cli_usage(cli, "the label is too long");
                return false;
            }
            g->label = optarg;
            break;
        case 'p':
            *subpath = optarg;
            break;
        default:
            return false;
        }
    }
    return true;
}

/* USER/VOLUME and a folder in it: "alice/mydata/runs/42". NULL after a message. */
static char *object_text(struct cli *cli, const char *object, const char *subpath, int *status)
{
    size_t len = strlen(object) + (subpath ? strlen(subpath) + 1 : 0);
    char *text;

    while (subpath && *subpath == '/')
        subpath++;
    if (len > 1400 || (subpath && !*subpath)) {
        *status = cli_usage(cli, len > 1400 ? "the name is too long" : "--subpath needs a folder of the volume");
        return NULL;
    }
    text = need(malloc(len + 2));
    snprintf(text, len + 2, "%s%s%s", object, subpath ? "/" : "", subpath ? subpath : "");
    len = strlen(text);
    while (len > 1 && text[len - 1] == '/')
        text[--len] = 0;
    return text;
}

/* --- grant and token --- */

static int show_grant(const struct cli *cli, const void *reply, void *token)
{
    const control_grant_result *r = reply;
    json_t *j;

    if (!token)
        return cli->json ? format_print_json(json_pack("{s:I}", "id", (json_int_t)r->id)) : 0;
    if (!cli->json) {
        puts(r->secret);
        return 0;
    }
    j = json_pack("{s:I, s:s, s:o}", "id", (json_int_t)r->id, "secret", r->secret, "expires",
                  r->expires ? json_integer(r->expires) : json_null());
    return format_print_json(j);
}

static int send_grant(const struct cli *cli, control_grant *g)
{
    return control_once(cli, CONTROL_GRANT, g, show_grant, g->token ? g : NULL);
}

int cmd_grant(struct cli *cli, int argc, char **argv)
{
    char none[] = "";
    control_grant g = {.write = true, .label = none};
    const char *subpath = NULL;
    int status = 1;

    if (!parse_options(cli, argc, argv, &g, &subpath, &status))
        return status;
    if (argc - optind != 2)
        return cli_usage(cli, "a network and an object have to be named");
    g.subject = argv[optind];
    if (strlen(g.subject) > 63)
        return cli_usage(cli, "the network is too long");
    g.object = object_text(cli, argv[optind + 1], subpath, &status);
    if (!g.object)
        return status;
    status = send_grant(cli, &g);
    free(g.object);
    return status;
}

int cmd_token(struct cli *cli, int argc, char **argv)
{
    char none[] = "", subject[] = "token";
    control_grant g = {.token = true, .write = true, .label = none, .subject = subject};
    const char *subpath = NULL;
    int status = 1;

    if (!parse_options(cli, argc, argv, &g, &subpath, &status))
        return status;
    if (argc - optind != 1)
        return cli_usage(cli, "one object has to be named");
    g.object = object_text(cli, argv[optind], subpath, &status);
    if (!g.object)
        return status;
    status = send_grant(cli, &g);
    free(g.object);
    return status;
}

/* --- revoke --- */

int cmd_revoke(struct cli *cli, int argc, char **argv)
{
    char none[] = "";
    control_revoke_args a = {.subject = none, .object = none};
    unsigned long long id;
    int status = 1, all = 0;
    bool numbers = true;
    CLIENT *c;

    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    for (int i = optind; i < argc; i++)
        numbers = numbers && cli_number(argv[i], 10, INT64_MAX, &id) && id;
    if (argc == optind || (!numbers && argc - optind != 2))
        return cli_usage(cli, "either the numbers of grants, or a network and an object");
    if (!numbers && (strlen(argv[optind]) > 63 || strlen(argv[optind + 1]) > 1400))
        return cli_usage(cli, "the name is too long");
    c = control_connect(cli, &status);
    if (!c)
        return status;
    if (!numbers) {
        a.subject = argv[optind];
        a.object = argv[optind + 1];
        all = control_do(c, CONTROL_REVOKE, &a);
    }
    for (int i = optind; numbers && i < argc; i++) {
        (void)cli_number(argv[i], 10, INT64_MAX, &id);
        a.id = id;
        all = cli_worse(all, control_do(c, CONTROL_REVOKE, &a));
    }
    control_disconnect(c);
    return all;
}

/* --- grants --- */

static int print_json(const control_grant *g, u_int n)
{
    json_t *all = json_array();

    for (u_int i = 0; all && i < n; i++) {
        json_t *j = json_pack("{s:o, s:s, s:s, s:s, s:b, s:b, s:s, s:o, s:o, s:I, s:s, s:b}", "id",
                              g[i].fixed ? json_null() : json_integer((json_int_t)g[i].id), "kind", g[i].token ? "token" : "network", "subject", g[i].subject,
                              "object", g[i].object, "write", g[i].write, "create", g[i].create, "squash",
                              squashes[g[i].squash < 3 ? g[i].squash : 0], "anon",
                              g[i].has_anon ? json_pack("[I, I]", (json_int_t)g[i].anon_uid,
                                                        (json_int_t)g[i].anon_gid)
                                            : json_null(),
                              "expires", g[i].expires ? json_integer(g[i].expires) : json_null(), "created",
                              (json_int_t)g[i].created, "label", g[i].label, "start_option", g[i].fixed);

        if (json_array_append_new(all, j)) {
            json_decref(all);
            all = NULL;
        }
    }
    return format_print_json(all);
}

static void expires_text(const control_grant *g, char *out, size_t size)
{
    time_t t = (time_t)g->expires;
    struct tm tm;

    if (!g->expires)
        snprintf(out, size, "never");
    else if (time(NULL) >= t)
        snprintf(out, size, "expired");
    else if (!localtime_r(&t, &tm) || !strftime(out, size, "%Y-%m-%d %H:%M", &tm))
        snprintf(out, size, "?");
}

static int print_table(const control_grant *g, u_int n)
{
    int subject = 7, object = 6;

    for (u_int i = 0; i < n; i++) {
        if ((int)strlen(g[i].subject) > subject)
            subject = (int)strlen(g[i].subject);
        if ((int)strlen(g[i].object) > object)
            object = (int)strlen(g[i].object);
    }
    printf("%6s  %-*s  %-*s  %-9s  %-18s  %-16s  %s\n", "ID", subject, "SUBJECT", object, "OBJECT", "RIGHTS", "SQUASH",
           "EXPIRES", "LABEL");
    for (u_int i = 0; i < n; i++) {
        char expires[32], squash[48], id[24];

        expires_text(&g[i], expires, sizeof(expires));
        snprintf(squash, sizeof(squash), g[i].has_anon ? "%s=%u:%u" : "%s", squashes[g[i].squash < 3 ? g[i].squash : 0],
                 g[i].anon_uid, g[i].anon_gid);
        if (g[i].fixed)
            snprintf(id, sizeof(id), "start");
        else
            snprintf(id, sizeof(id), "%llu", (unsigned long long)g[i].id);
        printf("%6s  %-*s  ", id, subject, g[i].subject);
        show_name(stdout, g[i].object);
        printf("%*s  %-9s  %-18s  %-16s  ", object - (int)strlen(g[i].object), "",
               g[i].create ? "rw,create" : g[i].write ? "rw" : "ro", squash, expires);
        show_name(stdout, g[i].label);
        putchar('\n');
    }
    return 0;
}

static int show_grants(const struct cli *cli, const void *reply, void *arg)
{
    const control_grants_result *r = reply;

    return (cli->json ? print_json : print_table)(r->grants.grants_val, r->grants.grants_len);
}

int cmd_grants(struct cli *cli, int argc, char **argv)
{
    int status = 1;

    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    return control_list(cli, argc - optind, argv + optind, "object", CONTROL_GRANTS, show_grants);
}
