/* SPDX-License-Identifier: Apache-2.0
 * side_volume: the side of a copy that is in a volume.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/side.h"

struct side_dir *side_volume_dir(struct remote *r, const struct nfs_fh *fh, const char *text)
{
    struct side_dir *dir = need(calloc(1, sizeof(*dir)));
    *dir = (struct side_dir){.ops = &side_volume, .refs = 1, .fd = -1, .remote = r, .fh = *fh,
                             .path = need(strdup(text))};
    return dir;
}

int side_open_volume(struct remote *r, const char *path, const char *text, struct side_dir **out)
{
    struct nfs_attr attr;
    struct nfs_fh fh;
    int err = remote_walk(r, path, true, &fh, &attr);
    if (err)
        return err;
    if (attr.type != NFS_DIR)
        return -ENOTDIR;
    *out = side_volume_dir(r, &fh, text);
    return 0;
}

static int find(struct side_dir *dir, const char *name, struct nfs_fh *fh, struct nfs_attr *attr)
{
    return nfs_lookup(dir->remote->client, &dir->fh, name, strlen(name), fh, attr);
}

static int volume_open_dir(struct side_dir *dir, const char *name, struct side_dir *child)
{
    struct nfs_attr attr;
    int err = find(dir, name, &child->fh, &attr);
    return err ? err : attr.type == NFS_DIR ? 0 : -ENOTDIR;
}

static int volume_make_dir(struct side_dir *dir, const char *name, uint32_t mode)
{
    return nfs_mkdir(dir->remote->client, &dir->fh, name, mode, NULL, NULL);
}

static int volume_list(struct side_dir *dir, struct remote_entry **out, size_t *n)
{
    return remote_list(dir->remote, &dir->fh, out, n);
}

static int volume_stat(struct side_dir *dir, const char *name, struct nfs_attr *attr)
{
    struct nfs_fh fh;
    return find(dir, name, &fh, attr);
}

static int volume_readlink(struct side_dir *dir, const char *name, char *buf, size_t size)
{
    struct nfs_attr attr;
    struct nfs_fh fh;
    int err = find(dir, name, &fh, &attr);
    return err ? err : nfs_readlink(dir->remote->client, &fh, buf, size);
}

static int volume_symlink(struct side_dir *dir, const char *name, const char *target)
{
    return nfs_symlink(dir->remote->client, &dir->fh, name, target);
}

static int volume_remove(struct side_dir *dir, const char *name)
{
    struct nfs_attr attr;
    int err = volume_stat(dir, name, &attr); /* REMOVE would take an empty directory too */
    return err ? err : attr.type == NFS_DIR ? -EISDIR : nfs_remove(dir->remote->client, &dir->fh, name);
}

static int volume_set_name(struct side_dir *dir, const char *name, const struct nfs_setattr *set)
{
    struct nfs_attr attr;
    struct nfs_fh fh;
    int err = find(dir, name, &fh, &attr);
    return err ? err : nfs_setattr(dir->remote->client, &fh, set, NULL);
}

static int volume_set_dir(struct side_dir *dir, const struct nfs_setattr *set)
{
    return nfs_setattr(dir->remote->client, &dir->fh, set, NULL);
}

static void volume_close_dir(struct side_dir *dir)
{
}

static int volume_open(struct side_dir *dir, const char *name, bool write, struct side_file *file,
                       struct nfs_attr *attr)
{
    int err = find(dir, name, &file->fh, attr);
    file->ops = &side_volume;
    file->dir = dir;
    file->open.valid = false;
    if (!err && attr->type != NFS_REG)
        err = attr->type == NFS_DIR ? -EISDIR : -EINVAL;
    return err;
}

static int volume_create(struct side_dir *dir, const char *name, const struct nfs_setattr *set,
                         struct side_file *file)
{
    struct nfs_attr attr;
    file->ops = &side_volume;
    file->dir = dir;
    return nfs_open_file(dir->remote->client, &dir->fh, name, 3, NFS_CREATE_EXCL, set, &file->fh, &attr,
                         &file->open);
}

static ssize_t volume_read(struct side_file *file, void *buf, size_t size, uint64_t at)
{
    return nfs_read_whole(file->dir->remote->client, &file->fh, buf, size, at);
}

static uint64_t volume_data(struct side_file *file, uint64_t at)
{
    return at; /* NFSv4.0 does not tell */
}

static int volume_write(struct side_file *file, const void *buf, size_t size, uint64_t at, bool sync,
                        uint64_t *verf)
{
    return nfs_write(file->dir->remote->client, &file->fh, buf, size, at, sync, verf);
}

static int volume_commit(struct side_file *file, uint64_t *verf)
{
    return nfs_commit(file->dir->remote->client, &file->fh, verf);
}

static int volume_set(struct side_file *file, const struct nfs_setattr *set, struct nfs_attr *attr)
{
    return nfs_setattr(file->dir->remote->client, &file->fh, set, attr);
}

static int volume_get(struct side_file *file, struct nfs_attr *attr)
{
    return nfs_getattr(file->dir->remote->client, &file->fh, attr);
}

static int volume_rename(struct side_file *file, const char *from, const char *to)
{
    struct nfs_attr attr;
    struct nfs_fh fh;
    int err = find(file->dir, from, &fh, &attr);
    if (err)
        return err == -ENOENT ? -ESTALE : err;
    if (!nfs_fh_same(&fh, &file->fh))
        return -ESTALE;
    return nfs_rename(file->dir->remote->client, &fh, &file->dir->fh, from, &file->dir->fh, to);
}

static void volume_close(struct side_file *file)
{
    /* An open that cannot be given back ends with the lease. */
    (void)nfs_close_file(file->dir->remote->client, &file->fh, &file->open);
}

const struct side_ops side_volume = {
    .open_dir = volume_open_dir,
    .make_dir = volume_make_dir,
    .list = volume_list,
    .stat = volume_stat,
    .readlink = volume_readlink,
    .symlink = volume_symlink,
    .remove = volume_remove,
    .set_name = volume_set_name,
    .set_dir = volume_set_dir,
    .close_dir = volume_close_dir,
    .open = volume_open,
    .create = volume_create,
    .read = volume_read,
    .data = volume_data,
    .write = volume_write,
    .commit = volume_commit,
    .set = volume_set,
    .get = volume_get,
    .rename = volume_rename,
    .close = volume_close,
};
