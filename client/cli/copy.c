/* SPDX-License-Identifier: Apache-2.0
 * copy: trees from one side to the other (see copy.h).
 */
#include "client/cli/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/progress.h"

#define QUEUE_MAX 4096u /* files found ahead of the copying */

struct copy_job {
    struct copy *copy;
    struct side_dir *from, *to;
    char *name, *to_name;
    struct nfs_attr attr;
};

/* A queued file keeps its two directories open: as many as there may be. */
static unsigned queue_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return 64;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur / 4 > QUEUE_MAX ? QUEUE_MAX
                                                                              : (unsigned)limit.rlim_cur / 4;
}

void copy_start(struct copy *c, struct nfs_client *client, bool bar)
{
    c->umask = umask(0);
    umask(c->umask);
    c->depth = remote_depth();
    c->chown = c->preserve && geteuid() == 0;
    c->progress = progress_new(client, bar);
    c->pool = pool_new(c->jobs, queue_limit());
}

int copy_finish(struct copy *c)
{
    progress_found_all(c->progress);
    pool_finish(c->pool);
    side_unref(c->into);
    progress_free(c->progress);
    return c->failed || side_failed;
}

void copy_fail(struct copy *c, const char *what, const struct side_dir *dir, const char *name, int err)
{
    char *path = side_path(dir, name), *text = show_escape(path);
    const char *why = err == COPY_CHANGED   ? "it changed while it was copied"
                      : err == COPY_DIFFERS ? "the copy differs from it"
                      : err == COPY_TAKEN   ? "somebody else copies to it at the same time"
                                            : strerror(-err);
    progress_pause(c->progress);
    cli_fail("%s %s: %s", what, text, why);
    c->failed = true;
    progress_go_on(c->progress);
    free(text);
    free(path);
}

void copy_attributes(const struct copy *c, const struct nfs_attr *attr, struct nfs_setattr *set)
{
    *set = (struct nfs_setattr){.valid = NFS_SET_MODE | NFS_SET_MTIME | NFS_SET_ATIME_NOW,
                                .mode = attr->mode & 0777 & ~c->umask, .mtime = attr->mtime};
    if (c->preserve) {
        set->valid = NFS_SET_MODE | NFS_SET_MTIME | NFS_SET_ATIME;
        set->mode = attr->mode & 07777;
        set->atime = attr->atime;
    }
    if (c->chown) {
        set->valid |= NFS_SET_UID | NFS_SET_GID;
        set->uid = attr->uid;
        set->gid = attr->gid;
    }
}

static void copy_link(struct copy *c, struct copy_job *job)
{
    char target[4096], there[4096];
    struct nfs_setattr set;
    int err = job->from->ops->readlink(job->from, job->name, target, sizeof(target));
    if (err) {
        copy_fail(c, "cannot read", job->from, job->name, err);
        return;
    }
    err = job->to->ops->symlink(job->to, job->to_name, target);
    if (err == -EEXIST) {
        if (!job->to->ops->readlink(job->to, job->to_name, there, sizeof(there)) && !strcmp(target, there)) {
            err = 0;
        } else {
            err = job->to->ops->remove(job->to, job->to_name);
            if (!err)
                err = job->to->ops->symlink(job->to, job->to_name, target);
        }
    }
    if (!err && c->preserve) {
        copy_attributes(c, &job->attr, &set);
        set.valid &= ~(unsigned)NFS_SET_MODE;
        err = job->to->ops->set_name(job->to, job->to_name, &set);
        if (err == -ENOTSUP || err == -EINVAL)
            err = 0; /* a server whose symbolic links have no attributes to set */
    }
    if (err)
        copy_fail(c, "cannot make", job->to, job->to_name, err);
}

static void copy_run(void *arg)
{
    struct copy_job *job = arg;
    if (job->attr.type == NFS_LNK)
        copy_link(job->copy, job);
    else
        xfer_file(job->copy, job->from, job->name, &job->attr, job->to, job->to_name);
    progress_file(job->copy->progress);
    side_unref(job->from);
    side_unref(job->to);
    free(job->name);
    free(job->to_name);
    free(job);
}

static void copy_queue(struct copy *c, struct side_dir *from, const char *name, const struct nfs_attr *attr,
                       struct side_dir *to, const char *to_name)
{
    struct copy_job *job = need(calloc(1, sizeof(*job)));
    *job = (struct copy_job){.copy = c, .from = side_ref(from), .to = side_ref(to), .name = need(strdup(name)),
                             .to_name = need(strdup(to_name)), .attr = *attr};
    progress_found(c->progress, attr->type == NFS_REG ? attr->size : 0);
    pool_add(c->pool, copy_run, job);
}

/* Makes to_name, or takes the one that is there, and sets *made. */
static int copy_make_dir(struct copy *c, const struct nfs_attr *attr, struct side_dir *to, const char *to_name,
                         struct side_dir **child, bool *made)
{
    struct nfs_attr there;
    int err = to->ops->make_dir(to, to_name, (attr->mode & 0777 & ~c->umask) | 0700);
    *made = !err;
    if (err == -EEXIST) {
        err = to->ops->stat(to, to_name, &there);
        if (!err && there.type != NFS_DIR)
            err = -ENOTDIR;
    }
    return err ? err : side_child(to, to_name, child);
}

static bool same_dir(const struct side_dir *a, const struct side_dir *b)
{
    return a && b && a->ops == &side_volume && b->ops == &side_volume && nfs_fh_same(&a->fh, &b->fh);
}

static void contents(struct copy *c, struct side_dir *from, struct side_dir *to, unsigned depth);

static void copy_dir(struct copy *c, struct side_dir *from, const char *name, const struct nfs_attr *attr,
                     struct side_dir *to, const char *to_name, unsigned depth)
{
    struct side_dir *source = NULL, *target = NULL;
    struct nfs_setattr set;
    bool made = false;
    int err = side_child(from, name, &source);
    if (err) {
        copy_fail(c, "cannot open", from, name, err);
        return;
    }
    if (same_dir(source, c->into)) {
        copy_fail(c, "cannot copy a directory into itself:", from, name, -ELOOP);
        goto out;
    }
    err = copy_make_dir(c, attr, to, to_name, &target, &made);
    if (err) {
        copy_fail(c, "cannot make the directory", to, to_name, err);
        goto out;
    }
    copy_attributes(c, attr, &set);
    if (!c->preserve)
        set.valid = set.mode != (set.mode | 0700) && made ? NFS_SET_MODE : 0;
    contents(c, source, target, depth + 1);
    target->finish = set;
out:
    side_unref(source);
    side_unref(target);
}

static void entry(struct copy *c, struct side_dir *from, const char *name, const struct nfs_attr *attr, struct side_dir *to,
                  const char *to_name, unsigned depth)
{
    if (attr->rderror)
        copy_fail(c, "cannot look at", from, name, nfs_errno(attr->rderror));
    else if (attr->type == NFS_DIR && !c->recursive)
        copy_fail(c, "-r is needed for directories:", from, name, -EISDIR);
    else if (attr->type == NFS_DIR)
        copy_dir(c, from, name, attr, to, to_name, depth);
    else if (attr->type == NFS_REG || attr->type == NFS_LNK)
        copy_queue(c, from, name, attr, to, to_name);
    else
        copy_fail(c, "neither file nor directory nor symbolic link:", from, name, -ENOTSUP);
}

static void contents(struct copy *c, struct side_dir *from, struct side_dir *to, unsigned depth)
{
    struct remote_entry *list;
    size_t n;
    int err = depth < c->depth ? from->ops->list(from, &list, &n) : -ENAMETOOLONG;
    if (err) {
        copy_fail(c, "cannot read", from, NULL, err);
        return;
    }
    for (size_t i = 0; i < n; i++)
        entry(c, from, list[i].name, &list[i].attr, to, list[i].name, depth);
    remote_list_free(list, n);
}

void copy_entry(struct copy *c, struct side_dir *from, const char *name, const struct nfs_attr *attr,
                struct side_dir *to, const char *to_name)
{
    entry(c, from, name, attr, to, to_name, 0);
}

void copy_contents(struct copy *c, struct side_dir *from, struct side_dir *to)
{
    contents(c, from, to, 0);
}
