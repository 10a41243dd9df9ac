/* SPDX-License-Identifier: Apache-2.0
 * cmd_du: volnfs du: how much the files in a tree take, before compression; holes do not count.
 */
#include <errno.h>
#include <jansson.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "client/cli/format.h"
#include "client/cli/remote.h"

struct du {
    struct remote *r;
    bool sum, human;
    json_t *json;
    unsigned depth;
    void *seen; /* of files with several names, tsearch(3) */
    int status;
};

struct du_file {
    uint64_t major, minor, fileid;
};

static int du_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct du_file));
}

/* Bytes of one file: nothing for a second name of the same one. */
static uint64_t du_used(struct du *du, const struct nfs_attr *a)
{
    struct du_file *file, **found;
    if (a->type == NFS_DIR || a->nlink < 2)
        return a->used;
    file = need(malloc(sizeof(*file)));
    *file = (struct du_file){a->fsid_major, a->fsid_minor, a->fileid};
    found = need(tsearch(file, &du->seen, du_compare));
    if (*found == file)
        return a->used;
    free(file);
    return 0;
}

static void du_print(struct du *du, uint64_t bytes, const char *path)
{
    char size[24];
    if (du->json) {
        char *shown = show_escape(path);
        json_t *text = json_string(path);
        json_array_append_new(du->json, json_pack("{s:o, s:I}", "path", text ? text : json_string(shown), "used",
                                                  (json_int_t)bytes));
        free(shown);
        return;
    }
    if (du->human)
        format_size(bytes, size, sizeof(size));
    else
        snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
    printf("%s\t", size);
    show_name(stdout, path);
    putchar('\n');
}

/* path: of the directory; as it was when it returns. */
static uint64_t du_tree(struct du *du, const struct nfs_fh *fh, const struct nfs_attr *own, char **path, unsigned depth)
{
    uint64_t bytes = own->used;
    struct remote_entry *list = NULL;
    size_t n = 0;
    int err = depth < du->depth ? remote_list(du->r, fh, &list, &n) : -ENAMETOOLONG;
    if (err)
        du->status = show_error(NULL, *path, err);
    for (size_t i = 0; i < n; i++) {
        struct nfs_attr attr;
        struct nfs_fh child;
        size_t here;
        if (list[i].attr.type != NFS_DIR) {
            bytes += du_used(du, &list[i].attr);
            continue;
        }
        here = remote_path_add(path, list[i].name);
        err = nfs_lookup(du->r->client, fh, list[i].name, strlen(list[i].name), &child, &attr);
        if (!err && attr.type == NFS_DIR)
            bytes += du_tree(du, &child, &attr, path, depth + 1);
        else if (err && err != -ENOENT)
            du->status = show_error(NULL, *path, err);
        (*path)[here] = 0;
    }
    remote_list_free(list, n);
    if (!depth || !du->sum)
        du_print(du, bytes, *path);
    return bytes;
}

int cmd_du(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 1000},
                                          {"summarize", no_argument, NULL, 's'},
                                          {"human-readable", no_argument, NULL, 'h'},
                                          {0}};
    struct du du = {0};
    const char *server = NULL;
    struct place *places;
    int opt, n, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "sh", longs, &status)) != -1) {
        switch (opt) {
        case 1000:
            server = optarg;
            break;
        case 's':
            du.sum = true;
            break;
        case 'h':
            du.human = true;
            break;
        default:
            return status;
        }
    }
    n = argc - optind;
    places = remote_places(cli, argv + optind, n, &status);
    if (!places)
        return status;
    du.r = remote_open(server, &du.status);
    if (du.r) {
        du.depth = remote_depth();
        if (cli->json)
            du.json = need(json_array());
        for (int i = 0; i < n; i++) {
            struct nfs_attr attr;
            struct nfs_fh fh;
            char *path = need(strdup(places[i].text));
            int err = remote_walk(du.r, places[i].path, places[i].slash, &fh, &attr);
            if (err)
                du.status = remote_error(du.r, NULL, &places[i], err);
            else if (attr.type == NFS_DIR)
                du_tree(&du, &fh, &attr, &path, 0);
            else
                du_print(&du, du_used(&du, &attr), places[i].text);
            free(path);
        }
        if (du.json && format_print_json(du.json))
            du.status = 1;
        tdestroy(du.seen, free);
        remote_close(du.r);
    }
    remote_places_free(places, n);
    return du.status;
}
