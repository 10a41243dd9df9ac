/* SPDX-License-Identifier: Apache-2.0
 * cmd_ls: volnfs ls: what is in a volume's directories.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/cli.h"
#include "client/cli/format.h"
#include "client/cli/remote.h"

struct ls {
    struct remote *r;
    bool lines, all, recursive, human;
    json_t *json; /* collects entries; NULL: print */
    bool titles, printed;
    unsigned depth;
    int status;
};

static char type_letter(uint32_t type)
{
    static const char letters[] = "?-dbclsp";
    return type < sizeof(letters) - 1 ? letters[type] : '?';
}

static const char *type_word(uint32_t type)
{
    static const char *const words[] = {"unknown", "file",    "directory", "block device", "character device",
                                        "symlink", "socket", "fifo"};
    return words[type < sizeof(words) / sizeof(words[0]) ? type : 0];
}

static void mode_text(const struct nfs_attr *a, char out[11])
{
    static const char rwx[] = "rwxrwxrwx";
    out[0] = type_letter(a->type);
    for (int i = 0; i < 9; i++)
        out[i + 1] = a->mode & (0400u >> i) ? rwx[i] : '-';
    if (a->mode & 04000)
        out[3] = a->mode & 0100 ? 's' : 'S';
    if (a->mode & 02000)
        out[6] = a->mode & 0010 ? 's' : 'S';
    if (a->mode & 01000)
        out[9] = a->mode & 0001 ? 't' : 'T';
    out[10] = 0;
}

/* Where a symbolic link leads to; NULL if it is none or cannot be read. Free it. */
static char *link_target(struct ls *ls, const struct nfs_fh *dir, const char *name, const struct nfs_fh *fh,
                         const struct nfs_attr *a)
{
    char target[4096];
    struct nfs_attr attr;
    struct nfs_fh own;
    if (a->type != NFS_LNK)
        return NULL;
    if (!fh) {
        if (nfs_lookup(ls->r->client, dir, name, strlen(name), &own, &attr))
            return NULL;
        fh = &own;
    }
    return nfs_readlink(ls->r->client, fh, target, sizeof(target)) ? NULL : need(strdup(target));
}

/* JSON is Unicode: a name that is not gets escapes, and its bytes beside it. */
static void json_name(json_t *o, const char *key, const char *name)
{
    json_t *text = json_string(name);
    char *shown, *hex, bytes[32];
    if (text) {
        json_object_set_new(o, key, text);
        return;
    }
    shown = show_escape(name);
    json_object_set_new(o, key, json_string(shown));
    free(shown);
    hex = need(malloc(strlen(name) * 2 + 1));
    for (size_t i = 0; name[i]; i++)
        sprintf(hex + i * 2, "%02x", (unsigned char)name[i]);
    snprintf(bytes, sizeof(bytes), "%s_hex", key);
    json_object_set_new(o, bytes, json_string(hex));
    free(hex);
}

static void add_json(struct ls *ls, const char *path, const char *name, const struct nfs_attr *a,
                     const char *target)
{
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f}", "type", type_word(a->type), "mode", "",
                          "size", (json_int_t)a->size, "used", (json_int_t)a->used, "links",
                          (json_int_t)a->nlink, "uid", (json_int_t)a->uid, "gid", (json_int_t)a->gid, "mtime",
                          (double)a->mtime.tv_sec + (double)a->mtime.tv_nsec / 1e9);
    char mode[8];
    need(o);
    snprintf(mode, sizeof(mode), "%04o", a->mode);
    json_object_set_new(o, "mode", json_string(mode));
    json_name(o, "name", name);
    json_name(o, "directory", path);
    if (target)
        json_name(o, "target", target);
    json_array_append_new(ls->json, o);
}

static void print_line(struct ls *ls, const char *name, const struct nfs_attr *a, const char *target, int width)
{
    char mode[11], size[24], when[32] = "?";
    struct tm tm;
    if (ls->lines) {
        mode_text(a, mode);
        if (ls->human)
            format_size(a->size, size, sizeof(size));
        else
            snprintf(size, sizeof(size), "%llu", (unsigned long long)a->size);
        if (localtime_r(&a->mtime.tv_sec, &tm))
            strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
        printf("%s %3u %5u %5u %*s %s ", mode, a->nlink, a->uid, a->gid, width, size, when);
    }
    show_name(stdout, name);
    if (ls->lines && target) {
        fputs(" -> ", stdout);
        show_name(stdout, target);
    }
    putchar('\n');
    ls->printed = true;
}

static void one(struct ls *ls, const struct nfs_fh *dir, const char *path, const char *name,
                const struct nfs_fh *fh, const struct nfs_attr *a, int width)
{
    char *target = NULL;
    if (ls->lines || ls->json)
        target = link_target(ls, dir, name, fh, a);
    if (ls->json)
        add_json(ls, path, name, a, target);
    else
        print_line(ls, name, a, target, width);
    free(target);
}

static int size_width(const struct ls *ls, const struct remote_entry *list, size_t n)
{
    uint64_t max = 0;
    char text[24];
    if (ls->human)
        return 6;
    for (size_t i = 0; i < n; i++)
        if (list[i].attr.size > max)
            max = list[i].attr.size;
    return snprintf(text, sizeof(text), "%llu", (unsigned long long)max);
}

static bool hidden(const struct ls *ls, const char *name)
{
    return !ls->all && *name == '.';
}

/* full: the path of the directory; as it was when it returns. */
static void list_dir(struct ls *ls, const struct nfs_fh *fh, char **full, unsigned depth)
{
    const char *path = *full;
    struct remote_entry *list;
    size_t n, here;
    int err = depth < ls->depth ? remote_list(ls->r, fh, &list, &n) : -ENAMETOOLONG, width;
    if (err) {
        ls->status = show_error(NULL, path, err);
        return;
    }
    if (ls->titles && !ls->json) {
        if (ls->printed)
            putchar('\n');
        show_name(stdout, path);
        puts(":");
        ls->printed = true;
    }
    width = size_width(ls, list, n);
    for (size_t i = 0; i < n; i++)
        if (list[i].attr.rderror)
            ls->status = show_error(path, list[i].name, nfs_errno(list[i].attr.rderror));
        else if (!hidden(ls, list[i].name))
            one(ls, fh, path, list[i].name, NULL, &list[i].attr, width);
    for (size_t i = 0; i < n && ls->recursive; i++) {
        struct nfs_attr attr;
        struct nfs_fh child;
        if (list[i].attr.type != NFS_DIR || hidden(ls, list[i].name))
            continue;
        here = remote_path_add(full, list[i].name);
        err = nfs_lookup(ls->r->client, fh, list[i].name, strlen(list[i].name), &child, &attr);
        if (err)
            ls->status = show_error(NULL, *full, err);
        else if (attr.type == NFS_DIR)
            list_dir(ls, &child, full, depth + 1);
        (*full)[here] = 0;
    }
    remote_list_free(list, n);
}

static void list_top(struct ls *ls, const struct nfs_fh *fh, const char *text)
{
    char *path = need(strdup(text));
    list_dir(ls, fh, &path, 0);
    free(path);
}

/* Files first, then directories, as ls does. */
static void list_places(struct ls *ls, struct place *places, int n)
{
    for (int dirs = 0; dirs < 2; dirs++) {
        for (int i = 0; i < n; i++) {
            struct nfs_attr attr;
            struct nfs_fh fh;
            int err = remote_walk(ls->r, places[i].path, !ls->lines || places[i].slash, &fh, &attr);
            if (err && !dirs)
                ls->status = remote_error(ls->r, NULL, &places[i], err);
            if (err || (attr.type == NFS_DIR) != dirs)
                continue;
            if (dirs)
                list_top(ls, &fh, places[i].text);
            else
                one(ls, NULL, "", places[i].text, &fh, &attr, 0);
        }
    }
}

int cmd_ls(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 's'},
                                          {"long", no_argument, NULL, 'l'},
                                          {"all", no_argument, NULL, 'a'},
                                          {"recursive", no_argument, NULL, 'R'},
                                          {"human-readable", no_argument, NULL, 'h'},
                                          {0}};
    struct ls ls = {0};
    struct place *places;
    const char *server = NULL;
    int opt, n, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "s:laRh", longs, &status)) != -1) {
        switch (opt) {
        case 's':
            server = optarg;
            break;
        case 'l':
            ls.lines = true;
            break;
        case 'a':
            ls.all = true;
            break;
        case 'R':
            ls.recursive = true;
            break;
        case 'h':
            ls.human = true;
            break;
        default:
            return status;
        }
    }
    n = argc - optind;
    places = remote_places(cli, argv + optind, n, &status);
    if (!places)
        return status;
    ls.r = remote_open(server, &ls.status);
    if (ls.r) {
        ls.depth = remote_depth();
        ls.titles = n > 1 || ls.recursive;
        if (cli->json)
            ls.json = need(json_array());
        list_places(&ls, places, n);
        if (ls.json && format_print_json(ls.json))
            ls.status = 1;
        remote_close(ls.r);
    }
    remote_places_free(places, n);
    return ls.status;
}
