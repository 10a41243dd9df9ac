/* SPDX-License-Identifier: Apache-2.0
 * options: the command line and the configuration file of volnfsd (see options.h).
 */
#include "server/options.h"

#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "proto/props.h"

#define DEFAULT_LISTEN "127.0.0.1:2049"
#define CACHE_MIN      (UINT64_C(16) << 20)
#define CACHE_DEFAULT_MAX (UINT64_C(4) << 30)
#define SECONDS_MAX    3600u

enum { EXIT_USAGE = 2 };

/* A quarter of the machine's memory, at most 4 GiB. */
static uint64_t default_cache(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    uint64_t size = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 4 : CACHE_MIN;
    if (size > CACHE_DEFAULT_MAX)
        size = CACHE_DEFAULT_MAX;
    return size < CACHE_MIN ? CACHE_MIN : size;
}

static const char *set_text(char **to, const char *value)
{
    char *copy;
    if (!*value)
        return "it is empty";
    copy = strdup(value);
    if (!copy)
        return "out of memory";
    free(*to);
    *to = copy;
    return NULL;
}

static const char *set_listen(struct options *o, const char *value)
{
    const char *colon = strrchr(value, ':');
    uint64_t port;
    if (!colon || !colon[1] || strlen(colon + 1) > 5 || strspn(colon + 1, "0123456789") !=
        strlen(colon + 1) || props_parse_size(colon + 1, &port) || port > 65535)
        return "it has to be ADDRESS:PORT, such as 127.0.0.1:2049, [::1]:2049 or :2049";
    if (o->nlisten == OPTIONS_LISTEN_MAX)
        return "there are too many";
    o->listen[o->nlisten] = strdup(value);
    if (!o->listen[o->nlisten])
        return "out of memory";
    o->nlisten++;
    return NULL;
}

static const char *set_seconds(uint32_t *to, const char *value)
{
    uint64_t n;
    if (!*value || strspn(value, "0123456789") != strlen(value) || props_parse_size(value, &n) || !n ||
        n > SECONDS_MAX)
        return "it has to be a number of seconds from 1 to 3600";
    *to = (uint32_t)n;
    return NULL;
}

static const char *set_cache(uint64_t *to, const char *value)
{
    uint64_t n;
    if (props_parse_size(value, &n) || n < CACHE_MIN || n > (UINT64_C(1) << 46))
        return "it has to be a size of at least 16M, such as 512M or 2G";
    *to = n;
    return NULL;
}

static const char *set_switch(bool *to, const char *value)
{
    bool on = !strcmp(value, "on");
    if (!on && strcmp(value, "off"))
        return "it has to be on or off";
    *to = on;
    return NULL;
}

/* Sets one key: NULL, or what is wrong with the value. *known: is there such a key. */
static const char *set_key(struct options *o, const char *key, const char *value, bool *known)
{
    *known = true;
    if (!strcmp(key, "store"))
        return set_text(&o->store, value);
    if (!strcmp(key, "listen"))
        return set_listen(o, value);
    if (!strcmp(key, "lease-time"))
        return set_seconds(&o->lease_time, value);
    if (!strcmp(key, "grace-time"))
        return set_seconds(&o->grace_time, value);
    if (!strcmp(key, "cache-size"))
        return set_cache(&o->cache_size, value);
    if (!strcmp(key, "delegations"))
        return set_switch(&o->delegations, value);
    if (!strcmp(key, "debug"))
        return set_switch(&o->debug, value);
    *known = false;
    return NULL;
}

/* --- the file --- */

struct file {
    struct options *o;
    const char *path;
    FILE *f;
    int line;  /* the last one read */
    bool said; /* a line was complained about */
};

/* Without the blanks a line begins with: inih would take it as more of the value above. */
static char *read_line(char *buf, int size, void *arg)
{
    struct file *f = arg;
    char *s = fgets(buf, size, f->f);
    if (s) {
        size_t blanks = strspn(s, " \t");
        f->line++;
        memmove(s, s + blanks, strlen(s + blanks) + 1);
    }
    return s;
}

static int take_line(void *arg, const char *section, const char *key, const char *value)
{
    struct file *f = arg;
    bool known;
    const char *wrong;
    if (f->said)
        return 0;
    if (*section) {
        fprintf(stderr, "volnfsd: %s:%d: there are no sections in this file, but here is [%s]\n", f->path,
                f->line, section);
        f->said = true;
        return 0;
    }
    wrong = set_key(f->o, key, value ? value : "", &known);
    if (known && !wrong)
        return 1;
    f->said = true;
    if (!known)
        fprintf(stderr, "volnfsd: %s:%d: there is no key '%s'; there are store, listen, lease-time, "
                "grace-time, cache-size, delegations and debug\n", f->path, f->line, key);
    else
        fprintf(stderr, "volnfsd: %s:%d: '%s' is not a value of %s: %s\n", f->path, f->line, value, key,
                wrong);
    return 0;
}

static int read_config(struct options *o, const char *path)
{
    struct file f = {.o = o, .path = path, .f = fopen(path, "re")};
    int line, status = -1;
    if (!f.f) {
        fprintf(stderr, "volnfsd: cannot read %s: %s\n", path, strerror(errno));
        return EXIT_USAGE;
    }
    line = ini_parse_stream(read_line, &f, take_line, &f);
    if (ferror(f.f)) {
        fprintf(stderr, "volnfsd: cannot read %s\n", path);
        status = EXIT_USAGE;
    } else if (line) {
        if (!f.said)
            fprintf(stderr, "volnfsd: %s:%d: this line is not of the form KEY = VALUE\n", path, line);
        status = EXIT_USAGE;
    }
    fclose(f.f);
    return status;
}

/* --- the command line --- */

static void print_help(FILE *to)
{
    fputs("usage: volnfsd --store DIR [OPTION]...\n"
          "Serves the volumes in DIR over NFSv4. DIR is made if it is missing.\n\n"
          "      --store DIR           the store\n"
          "      --listen ADDR:PORT    where to serve; may be given again (" DEFAULT_LISTEN ")\n"
          "      --lease-time SECONDS  how long a silent client keeps its locks (90)\n"
          "      --grace-time SECONDS  how long clients may reclaim after a restart (the lease time)\n"
          "      --cache-size BYTES    memory for file data, with K, M or G (a quarter of the machine's\n"
          "                            memory, at most 4 GiB)\n"
          "      --delegations on|off  let clients keep files for themselves until others want them (on)\n"
          "      --config FILE         lines 'KEY = VALUE' with the options above as keys\n"
          "      --check-config        only see that the options and the file are right\n"
          "      --debug               log much\n"
          "      --version\n"
          "      --help\n", to);
}

static const struct option longs[] = {{"store", required_argument, NULL, 'k'},
                                      {"listen", required_argument, NULL, 'k'},
                                      {"lease-time", required_argument, NULL, 'k'},
                                      {"grace-time", required_argument, NULL, 'k'},
                                      {"cache-size", required_argument, NULL, 'k'},
                                      {"delegations", required_argument, NULL, 'k'},
                                      {"config", required_argument, NULL, 'c'},
                                      {"check-config", no_argument, NULL, 'C'},
                                      {"debug", no_argument, NULL, 'd'},
                                      {"version", no_argument, NULL, 'V'},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

static void drop_listen(struct options *o)
{
    while (o->nlisten)
        free(o->listen[--o->nlisten]);
}

/* First pass: only --config, --help, --version and errors. Second pass: all but --config. */
static int parse_pass(struct options *o, int argc, char **argv, bool second)
{
    bool known, own_listen = false;
    const char *wrong;
    int opt, which = 0, status;
    optind = 0;
    opterr = !second;
    while ((opt = getopt_long(argc, argv, "", longs, &which)) != -1) {
        switch (opt) {
        case 'k':
            if (!second)
                break;
            if (!strcmp(longs[which].name, "listen") && !own_listen) {
                drop_listen(o);
                own_listen = true;
            }
            wrong = set_key(o, longs[which].name, optarg, &known);
            if (wrong) {
                fprintf(stderr, "volnfsd: '%s' is not a value of --%s: %s\n", optarg, longs[which].name,
                        wrong);
                return EXIT_USAGE;
            }
            break;
        case 'c':
            if (!second && (status = read_config(o, optarg)) != -1)
                return status;
            break;
        case 'C':
            o->check_config = true;
            break;
        case 'd':
            if (second)
                o->debug = true;
            break;
        case 'V':
            puts("volnfsd " PACKAGE_VERSION);
            return 0;
        case 'h':
            print_help(stdout);
            return 0;
        default:
            print_help(stderr);
            return EXIT_USAGE;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "volnfsd: '%s' is not an option\n", argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

int options_parse(struct options *o, int argc, char **argv)
{
    int status;
    memset(o, 0, sizeof(*o));
    o->lease_time = 90;
    o->delegations = true;
    o->cache_size = default_cache();
    if ((status = parse_pass(o, argc, argv, false)) != -1 ||
        (status = parse_pass(o, argc, argv, true)) != -1)
        return status;
    if (!o->store) {
        fputs("volnfsd: which store? Say --store DIR\n", stderr);
        return EXIT_USAGE;
    }
    if (!o->nlisten && set_listen(o, DEFAULT_LISTEN)) {
        fputs("volnfsd: out of memory\n", stderr);
        return 1;
    }
    return -1;
}

void options_release(struct options *o)
{
    drop_listen(o);
    free(o->store);
    o->store = NULL;
}
