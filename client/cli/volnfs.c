/* SPDX-License-Identifier: Apache-2.0
 * volnfs: the command for people: the table of verbs, and main.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "common/log.h"
#include "config.h"

static int cmd_help(struct cli *cli, int argc, char **argv);
static int cmd_version(struct cli *cli, int argc, char **argv);

/* cp, ls and the like speak NFS to any server; the others speak to the server of a local store. */
#define SERVER_HELP \
    "\nThe server is --server, else the environment's VOLNFS_SERVER, else 127.0.0.1:2049.\n"

static const struct verb verbs[] = {
    {"create", "USER/VOLUME [-o PROPERTY=VALUE,...] [--owner UID:GID] [--mode MODE]", "make a volume",
     cmd_create,
     "\n  -o, --property LIST  properties, as in 'volnfs set'\n"
     "  -u, --owner UID:GID  who owns its root directory (you)\n"
     "  -m, --mode MODE      the root directory's mode, octal (0755)\n"},
    {"destroy", "USER/VOLUME...", "remove volumes with everything in them", cmd_destroy, NULL},
    {"list", "[USER|USER/VOLUME] [--json]", "show volumes and their sizes", cmd_list, NULL},
    {"get", "USER/VOLUME [PROPERTY] [--json]", "show properties", cmd_get, NULL},
    {"set", "USER/VOLUME PROPERTY=VALUE...", "change properties", cmd_set,
     "\n  compression=off|zstd|zstd-1..zstd-19  how new data is stored\n"
     "  quota=none|SIZE                       the most bytes, such as 10G, before compression\n"
     "  quota-files=none|NUMBER               the most files and directories\n"
     "  readonly=on|off                       refuse changes\n"
     "  snapdir=hidden|visible                list .snapshots in the root directory\n"
     "  recompress=off|zstd-1..zstd-19        compress harder what is moved or scrubbed\n"
     "  dedup=on|off                          data that the volume has already is not stored again\n"},
    {"snapshot", "create|destroy USER/VOLUME@NAME... | rename USER/VOLUME@NAME NEW | rollback [-r|-k] USER/VOLUME@NAME | "
     "list [USER[/VOLUME]] [--json]",
     "keep what a volume holds at a moment", cmd_snapshot,
     "\n  -r, --destroy-younger  rollback destroys the snapshots made since then\n"
     "  -k, --keep-younger     rollback keeps them\n"
     "\nA snapshot is read at USER/VOLUME@NAME, like a volume, and in .snapshots/NAME of the volume.\n"},
    {"diff", "USER/VOLUME@NAME [USER/VOLUME@NAME] [--json]", "tell what changed since a snapshot", cmd_diff,
     "\n+ came, - went, M changed, R renamed; up to the second snapshot, or now.\n"},
    {"clone", "USER/VOLUME@NAME USER/NEW", "make a volume that begins as a snapshot is", cmd_clone, NULL},
    {"dump", "[--base SNAPSHOT] USER/VOLUME[@NAME]", "write a volume as one stream, to keep elsewhere", cmd_dump,
     "\n  -b, --base SNAPSHOT  only what changed since that snapshot of the volume\n"
     "\nWithout @NAME it is what the volume holds now. 'volnfs restore' makes a volume of the stream.\n"},
    {"restore", "USER/VOLUME", "make a volume of a stream, or bring one up to date", cmd_restore,
     "\nReads the stream of 'volnfs dump'. One with a base wants the volume that base was restored to.\n"},
    {"grant",
     "NETWORK OBJECT [--ro] [--create] [--subpath FOLDER] [--squash none|root|all] [--anon UID:GID] [--expires TIME] [--label TEXT]",
     "let a network reach the server, a user, a volume or a folder", cmd_grant,
     "\n  NETWORK             10.0.0.0/8, 192.0.2.7, 2001:db8::/32 or any\n"
     "  OBJECT              / or USER or USER/VOLUME or USER/VOLUME@SNAPSHOT or USER/VOLUME/FOLDER\n"
     "  -r, --ro            only to read\n"
     "  -w, --rw            also to write (it is so)\n"
     "  -c, --create        volumes and users may be made and removed\n"
     "  -q, --squash WHO    root: uid 0 is nobody; all: everybody is the volume's owner (none)\n"
     "  -a, --anon UID:GID  whom --squash makes of users instead\n"
     "  -e, --expires TIME  ends after so long: 90s, 30m, 2h, 7d\n"
     "  -p, --subpath FOLDER  only this folder of the volume\n"
     "  -l, --label TEXT    for you\n"
     "\nWhat no grant gives does not exist for a client. The closest object counts, then the longest network.\n"},
    {"token", "OBJECT [--ro] [--subpath FOLDER] [--expires TIME] [--squash none|root|all] [--anon UID:GID] [--label TEXT]",
     "make a secret that lets its bearer reach something", cmd_token,
     "\nPrints the secret, once. Mount SERVER:/token/SECRET, or give it to 'volnfs run' in a file.\n"
     "  -p, --subpath FOLDER  only this folder of the volume\n"
     "  -r, --ro, -w, --rw, -c, --create, -q, --squash, -a, --anon, -e, --expires, -l, --label  as in grant\n"},
    {"revoke", "ID...|NETWORK OBJECT", "take grants and tokens back", cmd_revoke, NULL},
    {"grants", "[OBJECT] [--json]", "show grants and tokens", cmd_grants, NULL},
    {"status", "[--json]", "show the server of the store and what it does", cmd_status, NULL},
    {"top", "[-n COUNT] [-d SECONDS]", "watch what the server does", cmd_top,
     "\n  -n, --count COUNT    end after so many pictures (when q is pressed)\n"
     "  -d, --delay SECONDS  the time between two (2)\n"},
    {"check", "[--data] [--json] USER/VOLUME...|--all | --repair|--rebuild [--punch] [--data] [--json] USER/VOLUME...", "verify volumes on the disk", cmd_check,
     "\n  -d, --data  also read all data and verify its checksums\n"
     "  -a, --all   every volume of the store\n"
     "  --repair    make what is found right, in volumes that no server has open\n"
     "  --rebuild   make an index of what is left when there is none that can be read\n"
     "  --punch     ranges whose data is damaged become holes, not errors\n"
     "\nWithout --repair and --rebuild it only reads, with the server up or down.\n"},
    {"scrub", "[--status] [--json] USER/VOLUME", "verify the checksums of a volume in the background", cmd_scrub,
     "\n  -t, --status  how far it is, and which files are damaged\n"
     "\nThe server reads all data of the volume slowly, beside its other work, and goes on after a restart.\n"},
    {"run", "[-s SERVER[:PORT]] [-u USER] [-v USER/VOLUME[@SNAPSHOT][:ro][=PATH]]... "
     "[--token-file FILE[:ro][=PATH]]... [--] COMMAND...",
     "run a command that sees volumes, without a mount", cmd_run,
     "\n  -s, --server HOST[:PORT]  the server (VOLNFS_SERVER, or 127.0.0.1:2049)\n"
     "  -v, --volume VOLUME       shown at /volumes/VOLUME or at PATH; made if missing, unless :ro\n"
     "  -u, --user USER           whose volumes; without -v all of them are shown\n"
     "  -t, --token-file FILE     what the token in it gives, at PATH or /volumes/ and the file's name up to a dot\n"
     "                            (VOLNFS_TOKEN_FILE if nothing else is said)\n"},
    {"doctor", "[-s SERVER[:PORT]] [-v USER/VOLUME] [--token-file FILE] [COMMAND]", "say whether programs can use volumes here", cmd_doctor, NULL},
    {"cp", "[-s SERVER[:PORT]] [-rpq] [-j N] [--resume] [--verify] SOURCE... DESTINATION",
     "copy into, out of and between volumes", cmd_cp,
     "\n  -r, --recursive  copy directories too, and symbolic links as such\n"
     "  -p, --preserve   keep mode and times, and as root the owner\n"
     "  -j, --jobs N     so many files at once (8)\n"
     "      --resume     skip what is there already, go on with files that were begun\n"
     "      --verify     read the copies again and compare checksums\n"
     "  -q, --quiet      no progress on the terminal\n" SERVER_HELP},
    {"ls", "[-s SERVER[:PORT]] [-laRh] [--json] USER/VOLUME:/PATH...", "list directories of volumes", cmd_ls,
     "\n  -l, --long            mode, links, owner, group, size, time\n"
     "  -a, --all             names that begin with a dot too\n"
     "  -R, --recursive       directories in directories too\n"
     "  -h, --human-readable  sizes such as 1.5M\n" SERVER_HELP},
    {"cat", "[-s SERVER[:PORT]] USER/VOLUME:/PATH...", "write files of volumes to the output", cmd_cat,
     "\n" SERVER_HELP},
    {"rm", "[-s SERVER[:PORT]] [-rf] USER/VOLUME:/PATH...", "remove files in volumes", cmd_rm,
     "\n  -r, --recursive  directories with everything in them too\n"
     "  -f, --force      do not mind what is not there\n" SERVER_HELP},
    {"du", "[--server SERVER[:PORT]] [-sh] [--json] USER/VOLUME:/PATH...", "tell what directories hold", cmd_du,
     "\n  -s, --summarize       only the totals of the arguments\n"
     "  -h, --human-readable  sizes such as 1.5M\n" SERVER_HELP},
    {"mkdir", "[-s SERVER[:PORT]] [-p] USER/VOLUME:/PATH...", "make directories in volumes", cmd_mkdir,
     "\n  -p, --parents  those on the way too; those that are there are fine\n" SERVER_HELP},
    {"mv", "[-s SERVER[:PORT]] SOURCE... DESTINATION", "rename within a volume", cmd_mv, "\n" SERVER_HELP},
    {"help", "[VERB]", "show this, or how to use a verb", cmd_help, NULL},
    {"version", "", "show the release", cmd_version, NULL},
};
#define NVERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < NVERBS; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static void print_help(FILE *to)
{
    fputs("usage: volnfs [--store DIR] [--json] VERB ...\n\n", to);
    for (size_t i = 0; i < NVERBS; i++)
        fprintf(to, "  %-8s  %s\n", verbs[i].name, verbs[i].what);
    fputs("\nThe store is --store DIR or the environment's VOLNFS_STORE.\n"
          "'volnfs help VERB' tells more; so does volnfs(1).\n", to);
}

static int unknown_verb(const char *name)
{
    fprintf(stderr, "volnfs: there is no verb '%s'; 'volnfs help' shows those there are\n", name);
    return EXIT_USAGE;
}

static int cmd_help(struct cli *cli, int argc, char **argv)
{
    int status = 0;
    char *help[] = {NULL, (char *)"--help", NULL};
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    if (optind == argc) {
        print_help(stdout);
        return 0;
    }
    cli->verb = find_verb(argv[optind]);
    if (!cli->verb)
        return unknown_verb(argv[optind]);
    help[0] = argv[optind];
    optind = 0;
    (void)cli_getopt(cli, 2, help, NULL, NULL, &status);
    return status;
}

static int cmd_version(struct cli *cli, int argc, char **argv)
{
    int status = 0;
    if (cli_getopt(cli, argc, argv, NULL, NULL, &status) != -1)
        return status;
    puts("volnfs " PACKAGE_VERSION);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"store", required_argument, NULL, 'S'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    struct cli cli = {.store = getenv("VOLNFS_STORE")};
    int opt;
    log_set_name("volnfs");
    log_set_level(LOG_WARN);
    while ((opt = getopt_long(argc, argv, "+S:jhV", longs, NULL)) != -1) {
        switch (opt) {
        case 'S':
            cli.store = optarg;
            break;
        case 'j':
            cli.json = true;
            break;
        case 'h':
            print_help(stdout);
            return 0;
        case 'V':
            puts("volnfs " PACKAGE_VERSION);
            return 0;
        default:
            print_help(stderr);
            return EXIT_USAGE;
        }
    }
    if (optind == argc) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    cli.verb = find_verb(argv[optind]);
    if (!cli.verb)
        return unknown_verb(argv[optind]);
    argc -= optind;
    argv += optind;
    optind = 0; /* starts getopt afresh on the verb's own options */
    opt = cli.verb->run(&cli, argc, argv);
    if (fflush(stdout) && !opt)
        return cli_fail("cannot write the output");
    return opt;
}
