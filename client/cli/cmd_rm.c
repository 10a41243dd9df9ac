/* SPDX-License-Identifier: Apache-2.0
 * cmd_rm: volnfs rm: removes files and trees from volumes, several at once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/pool.h"
#include "client/cli/remote.h"

#define RM_THREADS 8
#define RM_QUEUE 4096

struct rm {
    struct remote *r;
    struct pool *pool;
    bool recursive, force, failed;
    unsigned depth;
};

/* A file to remove, or a directory: removed when everything in it is, unless some of it could not be. */
struct rm_node {
    struct rm *rm;
    struct rm_node *up; /* NULL: an argument */
    int refs;
    bool failed;
    struct nfs_fh dir; /* where it is; up's handle below the arguments */
    struct nfs_fh fh;  /* a directory's */
    char *path; /* of an argument, for messages */
    char *name;
};

/* Free it. */
static char *rm_path(const struct rm_node *node)
{
    const struct rm_node *n;
    size_t size = 0, len, part;
    char *path, *end;
    for (n = node; n->up; n = n->up)
        size += strlen(n->name) + 1;
    len = strlen(n->path);
    while (size && len && n->path[len - 1] == '/')
        len--;
    path = need(malloc(len + size + 1));
    memcpy(path, n->path, len);
    end = path + len + size;
    *end = 0;
    for (n = node; n->up; n = n->up) {
        part = strlen(n->name);
        end = memcpy(end - part, n->name, part);
        *--end = '/';
    }
    return path;
}

static void rm_fail(struct rm_node *node, int err)
{
    char *path = rm_path(node);
    show_error("cannot remove", path, err);
    free(path);
    __atomic_store_n(&node->rm->failed, true, __ATOMIC_RELAXED);
    if (node->up)
        __atomic_store_n(&node->up->failed, true, __ATOMIC_RELAXED);
}

static void rm_remove(struct rm_node *node)
{
    int err = nfs_remove(node->rm->r->client, &node->dir, node->name);
    if (err && !(err == -ENOENT && node->up))
        rm_fail(node, err);
}

static void rm_unref(struct rm_node *node)
{
    while (node && __atomic_sub_fetch(&node->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        struct rm_node *up = node->up;
        if (!node->failed)
            rm_remove(node);
        else if (up)
            __atomic_store_n(&up->failed, true, __ATOMIC_RELAXED);
        free(node->name);
        free(node->path);
        free(node);
        node = up;
    }
}

static void rm_run(void *arg)
{
    rm_unref(arg);
}

static struct rm_node *rm_node(struct rm_node *up, const char *name)
{
    struct rm_node *node = need(calloc(1, sizeof(*node)));
    __atomic_add_fetch(&up->refs, 1, __ATOMIC_RELAXED);
    *node = (struct rm_node){.rm = up->rm, .up = up, .refs = 1, .dir = up->fh, .name = need(strdup(name))};
    return node;
}

/* Everything in a directory, then the directory, once those before it are done. Takes over the reference. */
static void rm_tree(struct rm_node *node, unsigned depth)
{
    struct rm *rm = node->rm;
    struct remote_entry *list = NULL;
    size_t n = 0;
    int err = depth < rm->depth ? remote_list(rm->r, &node->fh, &list, &n) : -ENAMETOOLONG;
    if (err) {
        rm_fail(node, err);
        node->failed = true;
    }
    for (size_t i = 0; i < n; i++) {
        struct rm_node *child = rm_node(node, list[i].name);
        struct nfs_attr attr;
        if (list[i].attr.type != NFS_DIR) {
            pool_add(rm->pool, rm_run, child);
            continue;
        }
        err = nfs_lookup(rm->r->client, &node->fh, list[i].name, strlen(list[i].name), &child->fh, &attr);
        if (!err && attr.type == NFS_DIR) {
            rm_tree(child, depth + 1);
            continue;
        }
        if (err && err != -ENOENT) {
            rm_fail(child, err);
            child->failed = true;
        }
        pool_add(rm->pool, rm_run, child);
    }
    remote_list_free(list, n);
    pool_add(rm->pool, rm_run, node);
}

static void rm_place(struct rm *rm, const struct place *p)
{
    struct rm_node *node;
    struct nfs_attr attr;
    struct nfs_fh dir, fh;
    char name[NFS_NAME_MAX + 1];
    int err = remote_parent(rm->r, p->path, &dir, name);
    if (err == -EINVAL) {
        char *text = show_escape(p->text);
        cli_fail("cannot remove %s: it has no name in a directory; 'volnfs destroy' removes a volume", text);
        free(text);
        __atomic_store_n(&rm->failed, true, __ATOMIC_RELAXED);
        return;
    }
    if (!err)
        err = nfs_lookup(rm->r->client, &dir, name, strlen(name), &fh, &attr);
    if (!err && attr.type == NFS_DIR && !rm->recursive)
        err = -EISDIR;
    if (!err && attr.type != NFS_DIR && p->slash)
        err = -ENOTDIR;
    if (err) {
        if (err != -ENOENT || !rm->force) {
            remote_error(rm->r, "cannot remove", p, err);
            __atomic_store_n(&rm->failed, true, __ATOMIC_RELAXED);
        }
        return;
    }
    node = need(calloc(1, sizeof(*node)));
    *node = (struct rm_node){.rm = rm, .refs = 1, .dir = dir, .fh = fh, .path = need(strdup(p->text)),
                             .name = need(strdup(name))};
    if (attr.type == NFS_DIR)
        rm_tree(node, 0);
    else
        pool_add(rm->pool, rm_run, node);
}

int cmd_rm(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 's'},
                                          {"recursive", no_argument, NULL, 'r'},
                                          {"force", no_argument, NULL, 'f'},
                                          {0}};
    struct rm rm = {0};
    const char *server = NULL;
    struct place *places;
    int opt, n, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "s:rRf", longs, &status)) != -1) {
        switch (opt) {
        case 's':
            server = optarg;
            break;
        case 'r':
        case 'R':
            rm.recursive = true;
            break;
        case 'f':
            rm.force = true;
            break;
        default:
            return status;
        }
    }
    n = argc - optind;
    if (!n && rm.force)
        return 0;
    places = remote_places(cli, argv + optind, n, &status);
    if (!places)
        return status;
    rm.r = remote_open(server, &status);
    if (rm.r) {
        rm.depth = remote_depth();
        rm.pool = pool_new(RM_THREADS, RM_QUEUE);
        for (int i = 0; i < n; i++)
            rm_place(&rm, &places[i]);
        pool_finish(rm.pool);
        remote_close(rm.r);
    }
    remote_places_free(places, n);
    return rm.failed ? 1 : status;
}
