/* SPDX-License-Identifier: Apache-2.0
 * options: the command line and the configuration file of volnfsd (see options.h).
 */
#include "server/options.h"

#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "config.h"
#include "proto/props.h"
#include "server/grant/grant_text.h"
#include "server/state/user.h"

#define DEFAULT_LISTEN "127.0.0.1:2049"
#define CACHE_MIN      (UINT64_C(16) << 20)
#define CACHE_DEFAULT_MAX (UINT64_C(4) << 30)
#define SECONDS_MAX    3600u
/* The sanitizers need calls of their own. */
#ifdef HAVE_SANITIZER
#define SANDBOX_DEFAULT false
#else
#define SANDBOX_DEFAULT true
#endif
#define JOURNAL_DEFAULT (64u << 20)
#define JOURNAL_MIN     (1u << 20)
#define JOURNAL_MAX     (1u << 30)
#define COUNT_MAX      1000000u
#define BUFFERS_MIN    (UINT64_C(4) << 20) /* the largest request and its reply, twice */

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

/* --- values: NULL, or what is wrong with one. `at` is what is set; of listen and grant all options --- */

static const char *set_text(void *at, const char *value)
{
    char **to = at, *copy;
    if (!*value)
        return "it is empty";
    copy = strdup(value);
    if (!copy)
        return "out of memory";
    free(*to);
    *to = copy;
    return NULL;
}

static bool is_port(const char *text)
{
    uint64_t port;
    return *text && strlen(text) <= 5 && strspn(text, "0123456789") == strlen(text) &&
           !props_parse_size(text, &port) && port <= 65535;
}

static const char *set_listen(void *at, const char *value)
{
    struct options *o = at;
    const char *colon = strrchr(value, ':');
    if (!colon || !is_port(colon + 1))
        return "it has to be ADDRESS:PORT, such as 127.0.0.1:2049, [::1]:2049 or :2049";
    if (o->nlisten == OPTIONS_LISTEN_MAX)
        return "there are too many";
    o->listen[o->nlisten] = strdup(value);
    if (!o->listen[o->nlisten])
        return "out of memory";
    o->nlisten++;
    return NULL;
}

/* A port alone is one of the loopback address. */
static const char *set_metrics(void *at, const char *value)
{
    char **to = at;
    const char *colon = strrchr(value, ':');
    char *all = NULL;
    if (!is_port(colon ? colon + 1 : value))
        return "it has to be PORT or ADDRESS:PORT, such as 9049, 127.0.0.1:9049 or :9049";
    if (asprintf(&all, "%s%s", colon ? "" : "127.0.0.1:", value) < 0)
        return "out of memory";
    free(*to);
    *to = all;
    return NULL;
}

static const char *set_grant(void *at, const char *value)
{
    struct options *o = at;
    static char why[256];
    struct option_grant *grown = realloc(o->grants, (o->ngrants + 1) * sizeof(*grown)), *g;
    const char *wrong;
    if (!grown)
        return "out of memory";
    o->grants = grown;
    g = &o->grants[o->ngrants];
    wrong = grant_parse_rule(value, &g->row, g->object, sizeof(g->object), why, sizeof(why));
    if (!wrong)
        o->ngrants++;
    return wrong;
}

static const char *set_seconds(void *at, const char *value)
{
    uint64_t n;
    if (!*value || strspn(value, "0123456789") != strlen(value) || props_parse_size(value, &n) || !n ||
        n > SECONDS_MAX)
        return "it has to be a number of seconds from 1 to 3600";
    *(uint32_t *)at = (uint32_t)n;
    return NULL;
}

static const char *set_cache(void *at, const char *value)
{
    uint64_t n;
    if (props_parse_size(value, &n) || n < CACHE_MIN || n > (UINT64_C(1) << 46))
        return "it has to be a size of at least 16M, such as 512M or 2G";
    *(uint64_t *)at = n;
    return NULL;
}

static const char *set_journal(void *at, const char *value)
{
    uint64_t n;
    if (props_parse_size(value, &n) || n < JOURNAL_MIN || n > JOURNAL_MAX)
        return "it has to be a size from 1M to 1G";
    *(uint32_t *)at = (uint32_t)n;
    return NULL;
}

static const char *set_count(void *at, const char *value)
{
    uint64_t n;
    if (!*value || strspn(value, "0123456789") != strlen(value) || props_parse_size(value, &n) || !n || n > COUNT_MAX)
        return "it has to be a number from 1 to 1000000";
    *(uint32_t *)at = (uint32_t)n;
    return NULL;
}

static const char *set_count64(void *at, const char *value)
{
    uint32_t n;
    const char *wrong = set_count(&n, value);
    if (!wrong)
        *(uint64_t *)at = n;
    return wrong;
}

static const char *set_buffers(void *at, const char *value)
{
    uint64_t n;
    if (props_parse_size(value, &n) || n < BUFFERS_MIN || n > (UINT64_C(1) << 46))
        return "it has to be a size of at least 4M, such as 64M or 1G";
    *(uint64_t *)at = n;
    return NULL;
}

static const char *set_switch(void *at, const char *value)
{
    bool on = !strcmp(value, "on");
    if (!on && strcmp(value, "off"))
        return "it has to be on or off";
    *(bool *)at = on;
    return NULL;
}

static const char *set_format(void *at, const char *value)
{
    bool json = !strcmp(value, "json");
    if (!json && strcmp(value, "text"))
        return "it has to be text or json";
    *(bool *)at = json;
    return NULL;
}

static const char *set_debug(void *at, const char *value)
{
    static const struct {
        const char *name;
        unsigned topics;
    } words[] = {{"on", LOG_ALL},     {"off", 0},         {"rpc", LOG_RPC},
                 {"ops", LOG_OPS},    {"state", LOG_STATE}, {"store", LOG_STORE}};
    bool alone = !strchr(value, ',');
    unsigned topics = 0;
    for (;;) {
        size_t len = strcspn(value, ","), i = alone ? 0 : 2;
        while (i < sizeof(words) / sizeof(words[0]) && (strlen(words[i].name) != len || strncmp(words[i].name, value, len)))
            i++;
        if (i == sizeof(words) / sizeof(words[0]))
            return "it has to be on, off, or some of rpc,ops,state,store";
        topics |= words[i].topics;
        if (!value[len])
            break;
        value += len + 1;
    }
    *(unsigned *)at = topics;
    return NULL;
}

/* --- keys --- */

#define AT(member) offsetof(struct options, member), sizeof(((struct options *)0)->member)
static const struct key {
    const char *name;
    const char *(*set)(void *at, const char *value);
    size_t at, size; /* in struct options */
    bool live;       /* it can change while the server runs */
} keys[] = {
    {"store", set_text, AT(store), false},
    {"listen", set_listen, 0, 0, false},
    {"grant", set_grant, 0, 0, true},
    {"metrics", set_metrics, AT(metrics), false},
    {"lease-time", set_seconds, AT(lease_time), false},
    {"grace-time", set_seconds, AT(grace_time), false},
    {"cache-size", set_cache, AT(cache_size), false},
    {"journal-size", set_journal, AT(journal_size), false},
    {"delegations", set_switch, AT(delegations), false},
    {"stay-awake", set_switch, AT(stay_awake), false},
    {"user", set_text, AT(user), false},
    {"sandbox", set_switch, AT(sandbox), false},
    {"max-connections", set_count, AT(max.conns), true},
    {"max-client-connections", set_count, AT(max.client_conns), true},
    {"max-client-requests", set_count, AT(max.client_requests), true},
    {"max-client-opens", set_count, AT(max.client_opens), true},
    {"max-client-locks", set_count, AT(max.client_locks), true},
    {"max-user-requests", set_count64, AT(max.user[USER_REQUESTS]), true},
    {"max-user-opens", set_count64, AT(max.user[USER_OPENS]), true},
    {"max-user-locks", set_count64, AT(max.user[USER_LOCKS]), true},
    {"max-user-connections", set_count64, AT(max.user[USER_CONNS]), true},
    {"max-user-buffers", set_buffers, AT(max.user[USER_BYTES]), true},
    {"slow-time", set_seconds, AT(slow_time), true},
    {"idle-time", set_seconds, AT(idle_time), true},
    {"max-open-volumes", set_count, AT(max_open_volumes), true},
    {"log-format", set_format, AT(log_json), true},
    {"debug", set_debug, AT(debug), true},
};
#define NKEYS (sizeof(keys) / sizeof(keys[0]))

/* Sets one key: NULL, or what is wrong with the value. */
static const char *set_key(struct options *o, const struct key *k, const char *value)
{
    return k->set((char *)o + k->at, value);
}

static void print_keys(FILE *to)
{
    for (size_t i = 0; i < NKEYS; i++)
        fprintf(to, "%s%s", i == 0 ? "" : i + 1 < NKEYS ? ", " : " and ", keys[i].name);
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
    const struct key *k = keys;
    const char *wrong = NULL;
    if (f->said)
        return 0;
    if (*section) {
        fprintf(stderr, "volnfsd: %s:%d: there are no sections in this file, but here is [%s]\n", f->path,
                f->line, section);
        f->said = true;
        return 0;
    }
    while (k < keys + NKEYS && strcmp(k->name, key))
        k++;
    if (k < keys + NKEYS)
        wrong = set_key(f->o, k, value ? value : "");
    if (k < keys + NKEYS && !wrong)
        return 1;
    f->said = true;
    if (!wrong && key[strcspn(key, " \t")]) {
        fprintf(stderr, "volnfsd: %s:%d: '%s': a line has the form KEY = VALUE\n", f->path, f->line, key);
    } else if (!wrong) {
        fprintf(stderr, "volnfsd: %s:%d: there is no key '%s'; there are ", f->path, f->line, key);
        print_keys(stderr);
        fputc('\n', stderr);
    } else {
        fprintf(stderr, "volnfsd: %s:%d: '%s' is not a value of %s: %s\n", f->path, f->line, value, key,
                wrong);
    }
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
          "      --grant RULE          let a network in: 'NETWORK OBJECT [WORD]...', such as '10.0.0.0/8 /';\n"
          "                            may be given again; see volnfsd(8)\n"
          "      --lease-time SECONDS  how long a silent client keeps its locks (90)\n"
          "      --grace-time SECONDS  how long clients may reclaim after a restart (the lease time)\n"
          "      --cache-size BYTES    memory for file data, with K, M or G (a quarter of the machine's\n"
          "                            memory, at most 4 GiB)\n"
          "      --journal-size BYTES  each volume's journal on disk grows to this (64M)\n"
          "      --delegations on|off  let clients keep files for themselves until others want them (on)\n"
          "      --stay-awake on|off   in virtual machines: do not let a processor sleep while a client that\n"
          "                            waits for each of its changes goes on (on)\n"
          "      --config FILE         lines 'KEY = VALUE' with the options above as keys\n"
          "      --check-config        only see that the options and the file are right\n"
          "      --metrics [ADDR:]PORT serve metrics and a status page over HTTP (on the loopback address)\n"
          "      --user NAME           become this user, as root, once the ports are bound\n"
          "      --sandbox on|off      keep to the store's files and to harmless calls (on)\n"
          "      --max-connections N   in all (10000)\n"
          "      --max-client-connections N, --max-client-requests N\n"
          "                            of one address: connections (half of all), requests under way (4096)\n"
          "      --max-client-opens N, --max-client-locks N\n"
          "                            of one client: opens, locked ranges (65536)\n"
          "      --max-user-requests N, --max-user-opens N, --max-user-locks N\n"
          "                            of all volumes of one user: requests under way (16384), opens and\n"
          "                            locked ranges (524288)\n"
          "      --max-user-connections N, --max-user-buffers BYTES\n"
          "                            likewise: connections, and memory for requests and replies (no limit)\n"
          "      --slow-time SECONDS   what a client gets to send a request, or take a reply (60)\n"
          "      --idle-time SECONDS   after which a volume that nobody uses is closed (300)\n"
          "      --max-open-volumes N  more are closed as soon as nobody uses them (128)\n"
          "      --log-format FORMAT   lines of text or of json (text)\n"
          "      --debug[=TOPICS]      log much; TOPICS: some of rpc,ops,state,store\n"
          "  -V, --version\n"
          "  -h, --help\n", to);
}

static const struct option others[] = {{"config", required_argument, NULL, 'c'},
                                       {"check-config", no_argument, NULL, 'C'},
                                       {"version", no_argument, NULL, 'V'},
                                       {"help", no_argument, NULL, 'h'},
                                       {0}};
#define NOTHERS (sizeof(others) / sizeof(others[0]))

static void fill_longs(struct option longs[NKEYS + NOTHERS])
{
    for (size_t i = 0; i < NKEYS; i++)
        longs[i] = (struct option){keys[i].name, keys[i].set == set_debug ? optional_argument : required_argument, NULL, 'k'};
    memcpy(longs + NKEYS, others, sizeof(others));
}

static void drop_listen(struct options *o)
{
    while (o->nlisten)
        free(o->listen[--o->nlisten]);
}

/* First pass: only --config, --help, --version and errors. Second pass: all but --config. */
static int parse_pass(struct options *o, int argc, char **argv, bool second)
{
    struct option longs[NKEYS + NOTHERS];
    bool own_listen = false;
    const char *wrong;
    int opt, which = 0, status = EXIT_USAGE;
    fill_longs(longs);
    optind = 0;
    opterr = !second;
    while ((opt = getopt_long(argc, argv, "hV", longs, &which)) != -1) {
        switch (opt) {
        case 'k':
            if (!second)
                break;
            if (keys[which].set == set_listen && !own_listen) {
                drop_listen(o);
                own_listen = true;
            }
            if (!optarg)
                optarg = (char *)"on"; /* of --debug */
            wrong = set_key(o, &keys[which], optarg);
            if (wrong) {
                fprintf(stderr, "volnfsd: '%s' is not a value of --%s: %s\n", optarg, keys[which].name, wrong);
                return EXIT_USAGE;
            }
            break;
        case 'c':
            if (second)
                break;
            if (set_text(&o->config, optarg) || (status = read_config(o, optarg)) != -1)
                return o->config ? status : EXIT_USAGE;
            break;
        case 'C':
            o->check_config = true;
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
    o->stay_awake = true;
    o->cache_size = default_cache();
    o->journal_size = JOURNAL_DEFAULT;
    o->slow_time = 60;
    o->idle_time = 300;
    o->max_open_volumes = 128;
    o->sandbox = SANDBOX_DEFAULT;
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

/* --- again, on SIGHUP --- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static bool same_listen(const struct options *a, const struct options *b)
{
    bool same = a->nlisten == b->nlisten;
    for (unsigned i = 0; same && i < a->nlisten; i++)
        same = !strcmp(a->listen[i], b->listen[i]);
    return same;
}

/* Takes the key over if it can change while the server runs; false: it has changed and cannot. */
static bool take_over(struct options *o, const struct options *n, const struct key *k)
{
    char *mine = (char *)o + k->at;
    const char *theirs = (const char *)n + k->at;
    if (k->set == set_grant) /* swapped as a whole */
        return true;
    if (k->set == set_listen)
        return same_listen(o, n);
    if (k->set == set_text || k->set == set_metrics)
        return same_text(*(char **)mine, *(char *const *)theirs);
    if (k->live)
        memcpy(mine, theirs, k->size);
    return memcmp(mine, theirs, k->size) == 0;
}

int options_reload(struct options *o, int argc, char **argv)
{
    struct options n;
    int status = options_parse(&n, argc, argv);
    for (size_t i = 0; status == -1 && i < NKEYS; i++)
        if (!take_over(o, &n, &keys[i]))
            log_warn("%s has changed: that needs a restart", keys[i].name);
    if (status == -1) {
        struct options old = {.grants = o->grants, .ngrants = o->ngrants};
        o->grants = n.grants;
        o->ngrants = n.ngrants;
        n.grants = old.grants;
        n.ngrants = old.ngrants;
    }
    options_release(&n);
    return status == -1 ? 0 : -1;
}

void options_release(struct options *o)
{
    drop_listen(o);
    free(o->grants);
    o->grants = NULL;
    o->ngrants = 0;
    free(o->store);
    free(o->metrics);
    free(o->user);
    free(o->config);
    o->store = o->metrics = o->user = o->config = NULL;
}
