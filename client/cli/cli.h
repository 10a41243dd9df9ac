/* SPDX-License-Identifier: Apache-2.0
 * cli: what the verbs of the volnfs command share.
 */
#ifndef VOLNFS_CLI_CLI_H
#define VOLNFS_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

/* What was given before or after the verb. */
struct cli {
    const char *store; /* --store or VOLNFS_STORE; NULL if neither */
    bool json;
    const struct verb *verb;
};

/* One row of the table in volnfs.c. run gets the verb as argv[0] and returns the exit status. */
struct verb {
    const char *name, *args, *what;
    int (*run)(struct cli *cli, int argc, char **argv);
    const char *help; /* printed by 'volnfs help VERB', after the usage line; NULL: nothing more */
};

enum { EXIT_USAGE = 2 };

/* getopt_long with the options that every verb takes (--store, --json, --help) handled here. shorts and longs
 * (ended by zeros, may be NULL) are the verb's own; -j and -h are the verb's if shorts has them. Returns an option
 * character, -1 at the end, or '?' after a message: then return *status. */
int cli_getopt(struct cli *cli, int argc, char **argv, const char *shorts, const struct option *longs,
               int *status);
/* "volnfs: ..." on stderr. Returns 1, the exit status of a failure. */
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* As cli_fail, with a line on how to call the verb. Returns EXIT_USAGE. */
int cli_usage(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The exit status after two of several things. */
static inline int cli_worse(int a, int b)
{
    return a > b ? a : b;
}
/* The store as an absolute path, to be freed; or NULL after a message, and *status says how to end. */
char *cli_store(const struct cli *cli, int *status);
/* Decimal digits up to max, or octal if base is 8. */
bool cli_number(const char *text, int base, unsigned long long max, unsigned long long *out);

int cmd_cat(struct cli *cli, int argc, char **argv);
int cmd_check(struct cli *cli, int argc, char **argv);
int cmd_clone(struct cli *cli, int argc, char **argv);
int cmd_cp(struct cli *cli, int argc, char **argv);
int cmd_create(struct cli *cli, int argc, char **argv);
int cmd_destroy(struct cli *cli, int argc, char **argv);
int cmd_diff(struct cli *cli, int argc, char **argv);
int cmd_dump(struct cli *cli, int argc, char **argv);
int cmd_restore(struct cli *cli, int argc, char **argv);
int cmd_du(struct cli *cli, int argc, char **argv);
int cmd_get(struct cli *cli, int argc, char **argv);
int cmd_grant(struct cli *cli, int argc, char **argv);
int cmd_grants(struct cli *cli, int argc, char **argv);
int cmd_revoke(struct cli *cli, int argc, char **argv);
int cmd_token(struct cli *cli, int argc, char **argv);
int cmd_list(struct cli *cli, int argc, char **argv);
int cmd_doctor(struct cli *cli, int argc, char **argv);
int cmd_run(struct cli *cli, int argc, char **argv);
int cmd_ls(struct cli *cli, int argc, char **argv);
int cmd_mkdir(struct cli *cli, int argc, char **argv);
int cmd_mv(struct cli *cli, int argc, char **argv);
int cmd_rm(struct cli *cli, int argc, char **argv);
int cmd_scrub(struct cli *cli, int argc, char **argv);
int cmd_set(struct cli *cli, int argc, char **argv);
int cmd_snapshot(struct cli *cli, int argc, char **argv);
int cmd_status(struct cli *cli, int argc, char **argv);
int cmd_top(struct cli *cli, int argc, char **argv);

/* Takes HOST, HOST:PORT, [V6], [V6]:PORT or V6 apart; *port: a number from 1 to 65535, in server, or 2049's text. 0 or
 * -EINVAL. */
int cli_split_server(const char *server, char *host, size_t size, const char **port);

#endif
