/* SPDX-License-Identifier: Apache-2.0
 * cmd_cp: volnfs cp: files and trees into, out of and between volumes.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/copy.h"

#define JOBS_MAX 64

enum { OPT_RESUME = 300, OPT_VERIFY };

static bool bar_on;

/* What is under way stays behind as parts, as after any other death. */
static void interrupted(int sig)
{
    static const char text[] = "\nvolnfs: stopped; the same command with --resume goes on from here\n";
    ssize_t n = write(STDERR_FILENO, text + !bar_on, sizeof(text) - 1 - !bar_on);
    (void)n;
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Where one source is: its directory and name, or itself if it is a directory without a name (".", "/", "a/v:"). */
struct source {
    struct side_dir *dir, *self;
    char *name;
    struct nfs_attr attr;
};

static void source_release(struct source *s)
{
    side_unref(s->dir);
    side_unref(s->self);
    free(s->name);
}

static int source_volume(struct source *s, struct remote *r, const struct place *p, bool follow)
{
    char name[NFS_NAME_MAX + 1];
    struct nfs_fh fh, dir;
    int err = remote_find(r, p->path, follow, &fh, &s->attr, &dir, name);
    if (err)
        return err;
    if (!*name) {
        s->self = side_volume_dir(r, &fh, p->text);
        return 0;
    }
    s->name = need(strdup(name));
    {
        /* For messages: the argument without its last part, as good as can be. */
        const char *slash = strrchr(p->text, '/'), *colon = strchr(p->text, ':');
        char *text = need(strndup(p->text, (size_t)((slash > colon ? slash : colon) + 1 - p->text)));
        s->dir = side_volume_dir(r, &dir, text);
        free(text);
    }
    return 0;
}

static int source_local(struct source *s, const struct place *p, bool follow)
{
    char *path = need(strdup(p->path)), *real, *slash;
    size_t end = strlen(path);
    int err;
    while (end > 1 && path[end - 1] == '/')
        path[--end] = 0;
    if (follow || p->slash) {
        real = realpath(path, NULL);
        if (!real) {
            err = -errno;
            free(path);
            return err;
        }
        if (!strcmp(path, ".") || !strcmp(path, "..") || !strcmp(real, "/") ||
            (end > 1 && !strcmp(path + end - 2, "/.")) || (end > 2 && !strcmp(path + end - 3, "/.."))) {
            err = side_open_local(path, &s->self);
            free(real);
            free(path);
            return err;
        }
        if (!strchr(path, '/') && !strcmp(strrchr(real, '/') + 1, path)) {
            free(real); /* not a link itself: messages say what was typed */
        } else {
            free(path);
            path = real;
        }
    } else if (!strcmp(path, ".") || !strcmp(path, "..") || !strcmp(path, "/") ||
               (end > 1 && !strcmp(path + end - 2, "/.")) || (end > 2 && !strcmp(path + end - 3, "/.."))) {
        err = side_open_local(path, &s->self);
        free(path);
        return err;
    }
    slash = strrchr(path, '/');
    s->name = need(strdup(slash ? slash + 1 : path));
    if (slash == path)
        slash[1] = 0;
    else if (slash)
        *slash = 0;
    err = side_open_local(slash ? path : ".", &s->dir);
    if (!err && !slash)
        *s->dir->path = 0;
    if (!err)
        err = s->dir->ops->stat(s->dir, s->name, &s->attr);
    free(path);
    return err;
}

/* The directory to copy into and, if the sources do not keep their names, the new name. */
struct target {
    struct side_dir *dir;
    char *name;
};

static int target_volume(struct target *t, struct remote *r, const struct place *p, bool may_name)
{
    struct nfs_attr attr;
    struct nfs_fh fh;
    char name[NFS_NAME_MAX + 1];
    int err = remote_walk(r, p->path, true, &fh, &attr);
    if (!err && attr.type == NFS_DIR) {
        t->dir = side_volume_dir(r, &fh, p->text);
        return 0;
    }
    if (err && err != -ENOENT)
        return err;
    if (!may_name)
        return err ? err : -ENOTDIR;
    err = remote_parent(r, p->path, &fh, name);
    if (err)
        return err == -EINVAL ? -ENOENT : err;
    {
        char *text = need(strdup(p->text)), *end = text + strlen(text);
        while (end > text && end[-1] == '/')
            *--end = 0;
        while (end > text && end[-1] != '/' && end[-1] != ':')
            *--end = 0;
        t->dir = side_volume_dir(r, &fh, text);
        free(text);
    }
    t->name = need(strdup(name));
    return 0;
}

static int target_local(struct target *t, const struct place *p, bool may_name)
{
    char *path, *slash;
    int err = side_open_local(p->path, &t->dir);
    if (!err || (err != -ENOENT && err != -ENOTDIR) || !may_name)
        return err;
    path = need(strdup(p->path));
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--)
        path[end - 1] = 0;
    slash = strrchr(path, '/');
    t->name = need(strdup(slash ? slash + 1 : path));
    if (slash)
        slash[slash == path] = 0;
    err = side_open_local(slash ? path : ".", &t->dir);
    if (!err && !slash)
        *t->dir->path = 0;
    if (!err && !*t->name)
        err = -ENOENT;
    free(path);
    return err;
}

static void copy_source(struct copy *c, struct source *s, struct target *t)
{
    struct nfs_attr attr = {.type = NFS_DIR, .mode = 0755};
    struct side_dir *into = NULL;
    const struct side_ops *ops = t->dir->ops;
    int err;
    if (s->name) {
        copy_entry(c, s->dir, s->name, &s->attr, t->dir, t->name ? t->name : s->name);
        return;
    }
    if (!c->recursive) {
        copy_fail(c, "-r is needed for directories:", s->self, NULL, -EISDIR);
        return;
    }
    if (t->name) {
        err = ops->make_dir(t->dir, t->name, attr.mode & ~c->umask);
        if (!err || err == -EEXIST)
            err = side_child(t->dir, t->name, &into);
        if (err) {
            copy_fail(c, "cannot make the directory", t->dir, t->name, err);
            return;
        }
        side_unref(c->into);
        c->into = side_ref(into); /* it may be in what is copied */
    } else {
        into = side_ref(t->dir);
    }
    if (into->ops == &side_volume && s->self->ops == &side_volume && nfs_fh_same(&into->fh, &s->self->fh))
        copy_fail(c, "cannot copy a directory into itself:", s->self, NULL, -ELOOP);
    else
        copy_contents(c, s->self, into);
    side_unref(into);
}

static int cp_run(struct copy *c, struct remote *r, struct place *args, int n, bool bar)
{
    struct place *dst = &args[n - 1];
    struct target t = {0};
    int err, status = 0;
    /* A slash at the end asks for a directory, which a directory that is copied makes itself. */
    bool may_name = n == 2 && (!dst->slash || c->recursive);
    err = dst->in_volume ? target_volume(&t, r, dst, may_name) : target_local(&t, dst, may_name);
    if (err) {
        side_unref(t.dir);
        free(t.name);
        return remote_error(r, "cannot copy to", dst, err);
    }
    c->into = side_ref(t.dir);
    bar_on = bar;
    copy_start(c, r->client, bar);
    for (int i = 0; i < n - 1; i++) {
        struct source s = {0};
        bool follow = !c->recursive || args[i].slash;
        err = args[i].in_volume ? source_volume(&s, r, &args[i], follow) : source_local(&s, &args[i], follow);
        if (err)
            status = remote_error(r, NULL, &args[i], err);
        else
            copy_source(c, &s, &t);
        source_release(&s);
    }
    if (copy_finish(c))
        status = 1;
    side_unref(t.dir);
    free(t.name);
    return status;
}

int cmd_cp(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 's'},
                                          {"recursive", no_argument, NULL, 'r'},
                                          {"preserve", no_argument, NULL, 'p'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"resume", no_argument, NULL, OPT_RESUME},
                                          {"verify", no_argument, NULL, OPT_VERIFY},
                                          {0}};
    struct copy c = {.jobs = 8};
    const char *server = NULL;
    bool bar = isatty(STDERR_FILENO), any = false;
    struct place *args;
    struct remote *r;
    unsigned long long number;
    int opt, n, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "s:rRpj:q", longs, &status)) != -1) {
        switch (opt) {
        case 's':
            server = optarg;
            break;
        case 'r':
        case 'R':
            c.recursive = true;
            break;
        case 'p':
            c.preserve = true;
            break;
        case 'j':
            if (!cli_number(optarg, 10, JOBS_MAX, &number) || !number)
                return cli_usage(cli, "-j has to be a number from 1 to %d", JOBS_MAX);
            c.jobs = (unsigned)number;
            break;
        case 'q':
            bar = false;
            break;
        case OPT_RESUME:
            c.resume = true;
            break;
        case OPT_VERIFY:
            c.verify = true;
            break;
        default:
            return status;
        }
    }
    n = argc - optind;
    if (n < 2)
        return cli_usage(cli, "a source and a destination are needed");
    args = need(calloc((size_t)n, sizeof(*args)));
    for (int i = 0; i < n; i++) {
        place_parse(&args[i], argv[optind + i]);
        any |= args[i].in_volume;
    }
    for (int i = 0; i < n - 1 && !status; i++)
        if (!args[i].in_volume && !args[n - 1].in_volume)
            status = cli_usage(cli, any ? "'%s' and the destination are both local; say USER/VOLUME:/PATH of what is in a volume"
                                        : "'%s' and all the rest are local; say USER/VOLUME:/PATH of what is in a volume",
                               args[i].text);
    if (!status) {
        r = remote_open(server, &status);
        if (r) {
            signal(SIGINT, interrupted);
            signal(SIGTERM, interrupted);
            signal(SIGHUP, interrupted);
            status = cp_run(&c, r, args, n, bar);
            remote_close(r);
        }
    }
    for (int i = 0; i < n; i++)
        place_release(&args[i]);
    free(args);
    return status;
}
