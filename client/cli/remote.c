/* SPDX-License-Identifier: Apache-2.0
 * remote: arguments, the server, and walking to a file on it (see remote.h).
 */
#include "client/cli/remote.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/cli/cli.h"

#define SOFT_MS     300000u /* a server may be away for five minutes, such as for a restart of its machine */
#define CONNECT_MS  10000
#define LINKS_MAX   40
#define DEPTH_MAX   ((rlim_t)100000)
#define DEPTH_STACK 1024 /* 100 MB in all: the kernel leaves a stack 128 MiB to grow, whatever its limit was at first */

void *need(void *mem)
{
    if (!mem) {
        cli_fail("out of memory");
        exit(1);
    }
    return mem;
}

/* The length of a user's or volume's name at text, 0 if there is none. */
static size_t part_length(const char *text)
{
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return *text == '.' || *text == '-' ? 0 : strspn(text, chars);
}

void place_parse(struct place *p, const char *text)
{
    size_t user = part_length(text), volume, snap = 0, size = strlen(text);
    *p = (struct place){.text = text, .slash = size && text[size - 1] == '/'};
    if (user && text[user] == '/') {
        volume = part_length(text + user + 1);
        if (volume && text[user + 1 + volume] == '@' && (snap = part_length(text + user + 2 + volume)))
            snap++;
        if (volume && text[user + 1 + volume + snap] == ':') {
            size_t head = user + 1 + volume + snap;
            p->in_volume = true;
            if (asprintf(&p->path, "%.*s/%s", (int)head, text, text + head + 1) < 0)
                p->path = need(NULL);
            return;
        }
    }
    p->path = need(strdup(text));
}

void place_release(struct place *p)
{
    free(p->path);
    p->path = NULL;
}

struct place *remote_places(const struct cli *cli, char **args, int n, int *status)
{
    struct place *places;
    if (n < 1) {
        *status = cli_usage(cli, "which one? Say USER/VOLUME:/path");
        return NULL;
    }
    places = need(calloc((size_t)n, sizeof(*places)));
    for (int i = 0; i < n; i++)
        place_parse(&places[i], args[i]);
    for (int i = 0; i < n; i++)
        if (!places[i].in_volume) {
            *status = cli_usage(cli, strchr(args[i], '/') && !strchr(args[i], ':')
                                         ? "'%s' names nothing in a volume: say USER/VOLUME:/PATH, with a colon"
                                         : "'%s' names nothing in a volume: say USER/VOLUME:/PATH", args[i]);
            remote_places_free(places, n);
            return NULL;
        }
    return places;
}

void remote_places_free(struct place *places, int n)
{
    for (int i = 0; i < n; i++)
        place_release(&places[i]);
    free(places);
}

/* Tries to connect, so that a wrong address is told at once. */
static int try_connect(const struct addrinfo *a)
{
    struct pollfd p = {.events = POLLOUT};
    socklen_t size = sizeof(int);
    int err = 0;
    p.fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p.fd < 0)
        return -errno;
    if (connect(p.fd, a->ai_addr, a->ai_addrlen)) {
        err = errno;
        if (err == EINPROGRESS) {
            err = poll(&p, 1, CONNECT_MS) == 1 ? 0 : ETIMEDOUT;
            if (!err && getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &err, &size))
                err = errno;
        }
    }
    close(p.fd);
    return -err;
}

struct remote *remote_open(const char *server, int *status)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL, *a;
    char host[256], addr[64];
    const char *port;
    struct remote *r = need(calloc(1, sizeof(*r)));
    int err;
    *status = 1;
    signal(SIGPIPE, SIG_IGN);
    if (!server)
        server = getenv("VOLNFS_SERVER");
    if (!server || !*server)
        server = "127.0.0.1";
    if (cli_split_server(server, host, sizeof(host), &port)) {
        cli_fail("server '%s': it has to be HOST or HOST:PORT, PORT from 1 to 65535", server);
        *status = EXIT_USAGE;
        goto fail;
    }
    err = getaddrinfo(host, port, &hints, &list);
    if (err) {
        cli_fail("server %s: %s", server, gai_strerror(err));
        goto fail;
    }
    err = -EADDRNOTAVAIL;
    for (a = list; a; a = a->ai_next) {
        char number[8];
        err = try_connect(a);
        if (!err && !getnameinfo(a->ai_addr, a->ai_addrlen, addr, sizeof(addr), number, sizeof(number),
                                 NI_NUMERICHOST | NI_NUMERICSERV)) {
            err = nfs_client_open(&r->client, addr, (unsigned)atoi(number), SOFT_MS, NULL);
            break;
        }
    }
    if (!err)
        err = nfs_root(r->client, &r->root, NULL);
    if (err) {
        cli_fail("no NFS server answers at %s:%s: %s; is volnfsd running there? --server names another", host, port,
                 strerror(-err));
        goto fail;
    }
    freeaddrinfo(list);
    *status = 0;
    return r;
fail:
    if (list)
        freeaddrinfo(list);
    remote_close(r);
    return NULL;
}

void remote_close(struct remote *r)
{
    if (r)
        nfs_client_close(r->client);
    free(r);
}

/* Where a walk stands: the handles from the server's root down to here. */
struct walk {
    struct nfs_fh *fhs;
    size_t depth, room;
    char *rest; /* what is still to be walked */
    int links;
};

static void walk_push(struct walk *w, const struct nfs_fh *fh)
{
    if (w->depth == w->room) {
        w->room = w->room ? w->room * 2 : 32;
        w->fhs = need(realloc(w->fhs, w->room * sizeof(*w->fhs)));
    }
    w->fhs[w->depth++] = *fh;
}

/* Puts the link's target in front of what is still to be walked: nothing, or a slash and more. */
static int walk_link(struct remote *r, struct walk *w, const struct nfs_fh *link, const char *rest)
{
    char target[4096], *text;
    int err = nfs_readlink(r->client, link, target, sizeof(target));
    if (err)
        return err;
    if (++w->links > LINKS_MAX)
        return -ELOOP;
    if (*target == '/')
        return -ENOENT;
    if (asprintf(&text, "%s%s", target, rest) < 0)
        need(NULL);
    free(w->rest);
    w->rest = text;
    return 0;
}

int remote_walk(struct remote *r, const char *path, bool follow, struct nfs_fh *fh, struct nfs_attr *attr)
{
    char name[NFS_NAME_MAX + 1];
    struct nfs_fh dir;
    return remote_find(r, path, follow, fh, attr, &dir, name);
}

int remote_find(struct remote *r, const char *path, bool follow, struct nfs_fh *fh, struct nfs_attr *attr,
                struct nfs_fh *dir, char *name)
{
    struct walk w = {.rest = need(strdup(path))};
    bool known = false; /* *attr is of the top of the stack */
    int err = 0;
    char *at = w.rest;
    walk_push(&w, &r->root);
    *name = 0;
    for (;;) {
        size_t size;
        struct nfs_fh next;
        at += strspn(at, "/");
        size = strcspn(at, "/");
        if (!size)
            break;
        if (size == 1 && *at == '.') {
            at += size;
            continue;
        }
        if (size == 2 && at[0] == '.' && at[1] == '.') {
            if (w.depth > 3) /* the server's root, the user, the volume */
                w.depth--;
            known = false;
            at += size;
            continue;
        }
        err = nfs_lookup(r->client, &w.fhs[w.depth - 1], at, size, &next, attr);
        if (err)
            break;
        if (attr->type == NFS_LNK && (at[size] || follow)) {
            err = walk_link(r, &w, &next, at + size);
            if (err)
                break;
            at = w.rest;
            known = false;
            continue;
        }
        walk_push(&w, &next);
        known = true;
        memcpy(name, at, size); /* the server took it: at most NFS_NAME_MAX */
        name[size] = 0;
        at += size;
        if (*at && attr->type != NFS_DIR) {
            err = -ENOTDIR;
            break;
        }
    }
    *fh = w.fhs[w.depth - 1];
    *dir = w.fhs[w.depth > 1 ? w.depth - 2 : 0];
    if (!known || w.depth <= 3)
        *name = 0;
    if (!err && !known)
        err = nfs_getattr(r->client, fh, attr);
    free(w.fhs);
    free(w.rest);
    return err;
}

int remote_parent(struct remote *r, const char *path, struct nfs_fh *dir, char *name)
{
    struct nfs_attr attr;
    size_t end = strlen(path), size;
    const char *last;
    char *up;
    int err;
    while (end > 0 && path[end - 1] == '/')
        end--;
    last = memrchr(path, '/', end);
    if (!last)
        return -EINVAL;
    size = (size_t)(path + end - ++last);
    if (size > NFS_NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, last, size);
    name[size] = 0;
    up = need(strndup(path, (size_t)(last - path)));
    size = strcspn(up, "/");
    size += strspn(up + size, "/");
    if (!up[size] || !strcmp(name, ".") || !strcmp(name, ".."))
        err = -EINVAL;
    else
        err = remote_walk(r, up, true, dir, &attr);
    if (!err && attr.type != NFS_DIR)
        err = -ENOTDIR;
    free(up);
    return err;
}

/* Whether the first two parts of path, or the volume itself where these are a snapshot's, lead to nothing. */
static bool volume_missing(struct remote *r, const char *path, bool snapshot)
{
    struct nfs_attr attr;
    struct nfs_fh fh;
    char *top = need(strdup(path));
    size_t size = strcspn(top, "/");
    int err;
    if (top[size])
        top[size + 1 + strcspn(top + size + 1, snapshot ? "/" : "@/")] = 0;
    err = remote_walk(r, top, false, &fh, &attr);
    free(top);
    return err == -ENOENT;
}

int remote_error(struct remote *r, const char *what, const struct place *p, int err)
{
    bool volume;
    char *text;
    if (err != -ENOENT || !p->in_volume || !volume_missing(r, p->path, true))
        return show_error(what, p->text, err);
    volume = volume_missing(r, p->path, false);
    text = show_escape(p->text);
    cli_fail("%s%s%s: there is no %s %.*s on this server, or none that you may see", what ? what : "", what ? " " : "", text,
             volume ? "volume" : "snapshot", (int)strcspn(p->text, volume ? "@:" : ":"), p->text);
    free(text);
    return 1;
}

struct listing {
    struct remote_entry *list;
    size_t n, room;
    uint64_t cookie;
};

static bool list_entry(void *arg, uint64_t cookie, const char *name, size_t size, const struct nfs_attr *attr,
                       const struct nfs_fh *fh)
{
    struct listing *l = arg;
    if (l->n == l->room) {
        l->room = l->room ? l->room * 2 : 256;
        l->list = need(realloc(l->list, l->room * sizeof(*l->list)));
    }
    l->list[l->n].name = need(strndup(name, size));
    l->list[l->n++].attr = *attr;
    l->cookie = cookie;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct remote_entry *)a)->name, ((const struct remote_entry *)b)->name);
}

int remote_list(struct remote *r, const struct nfs_fh *dir, struct remote_entry **out, size_t *n)
{
    struct listing l = {0};
    uint64_t verf = 0;
    int err;
    do {
        uint64_t before = l.cookie;
        err = nfs_readdir(r->client, dir, l.cookie, &verf, list_entry, &l);
        if (!err && l.cookie == before)
            err = -EIO; /* a server that does not get on */
    } while (!err);
    if (err < 0) {
        remote_list_free(l.list, l.n);
        return err;
    }
    if (l.n)
        qsort(l.list, l.n, sizeof(*l.list), by_name);
    *out = remote_list_fit(l.list, l.n);
    *n = l.n;
    return 0;
}

struct remote_entry *remote_list_fit(struct remote_entry *list, size_t n)
{
    if (n)
        return need(realloc(list, n * sizeof(*list)));
    free(list);
    return NULL;
}

unsigned remote_depth(void)
{
    struct rlimit l;
    rlim_t want = DEPTH_MAX * DEPTH_STACK;
    if (getrlimit(RLIMIT_STACK, &l))
        return 1000;
    if (l.rlim_cur != RLIM_INFINITY && l.rlim_cur < want) {
        l.rlim_cur = l.rlim_max == RLIM_INFINITY || l.rlim_max > want ? want : l.rlim_max;
        (void)setrlimit(RLIMIT_STACK, &l);
        if (getrlimit(RLIMIT_STACK, &l))
            return 1000;
    }
    return l.rlim_cur == RLIM_INFINITY || l.rlim_cur >= want ? (unsigned)DEPTH_MAX - 1000 : (unsigned)(l.rlim_cur / DEPTH_STACK) / 2;
}

size_t remote_path_add(char **path, const char *name)
{
    size_t size = strlen(*path), more = strlen(name);
    bool slash = size && (*path)[size - 1] != '/' && (*path)[size - 1] != ':';
    *path = need(realloc(*path, size + slash + more + 1));
    (*path)[size] = '/';
    memcpy(*path + size + slash, name, more + 1);
    return size;
}

void remote_list_free(struct remote_entry *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i].name);
    free(list);
}
