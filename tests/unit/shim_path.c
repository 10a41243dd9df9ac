/* SPDX-License-Identifier: Apache-2.0
 * client/shim: paths: texts, "..", links in and out of volumes, names of descriptors, what is remembered. The server is a
 * table in here.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/shim/path.h"

/* ---- a server: two volumes ---- */

enum { ROOT_V = 1, DIR_D, DIR_E, FILE_F, FILE_G, ROOT_W = 50, FILE_W };

static struct node {
    uint32_t id, dir, type;
    const char *name, *target;
} nodes[] = {
    {ROOT_V, 0, NFS_DIR, "", NULL},
    {DIR_D, ROOT_V, NFS_DIR, "d", NULL},
    {DIR_E, DIR_D, NFS_DIR, "e", NULL},
    {FILE_F, ROOT_V, NFS_REG, "f", NULL},
    {FILE_G, DIR_E, NFS_REG, "g", NULL},
    {10, ROOT_V, NFS_LNK, "to_f", "f"},
    {11, ROOT_V, NFS_LNK, "to_e", "d/e"},
    {12, DIR_E, NFS_LNK, "up", "../../f"},
    {13, ROOT_V, NFS_LNK, "nowhere", "none"},
    {14, ROOT_V, NFS_LNK, "deep_nowhere", "none/x"},
    {15, ROOT_V, NFS_LNK, "self", "self"},
    {16, ROOT_V, NFS_LNK, "ping", "pong"},
    {17, ROOT_V, NFS_LNK, "pong", "ping"},
    {18, ROOT_V, NFS_LNK, "absolute", "/volumes/v/d/e/g"},
    {19, ROOT_V, NFS_LNK, "other", "/volumes/w/in_w"},
    {20, ROOT_V, NFS_LNK, "out", "/etc"},
    {21, ROOT_V, NFS_LNK, "slash", "d/"},
    {22, ROOT_V, NFS_LNK, "root", "/"},
    {23, ROOT_V, NFS_LNK, "long", NULL}, /* thousands of bytes */
    {24, ROOT_V, NFS_LNK, "up_and_out", "../../etc/passwd"},
    {ROOT_W, 0, NFS_DIR, "", NULL},
    {FILE_W, ROOT_W, NFS_REG, "in_w", NULL},
};

static unsigned walks, lookups;
static uint32_t stale; /* handle that is refused */
static char long_target[SHIM_PATH];

static void set_fh(struct nfs_fh *fh, uint32_t id)
{
    memset(fh, 0, sizeof(*fh));
    fh->size = sizeof(id);
    memcpy(fh->data, &id, sizeof(id));
}

static uint32_t id_of(const struct nfs_fh *fh)
{
    uint32_t id;

    assert_int_equal(fh->size, sizeof(id));
    memcpy(&id, fh->data, sizeof(id));
    return id;
}

static const struct node *node_of(uint32_t id)
{
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
        if (nodes[i].id == id)
            return &nodes[i];
    return NULL;
}

static int look(uint32_t dir, const char *name, size_t size, struct nfs_fh *fh, struct nfs_attr *attr)
{
    if (node_of(dir)->type != NFS_DIR)
        return -ENOTDIR;
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
        if (nodes[i].dir == dir && strlen(nodes[i].name) == size && memcmp(nodes[i].name, name, size) == 0) {
            set_fh(fh, nodes[i].id);
            if (attr != NULL)
                *attr = (struct nfs_attr){.type = nodes[i].type, .fileid = nodes[i].id};
            return 0;
        }
    return -ENOENT;
}

int nfs_lookup(struct nfs_client *client, const struct nfs_fh *dir, const char *name, size_t size, struct nfs_fh *fh,
               struct nfs_attr *attr)
{
    lookups++;
    return id_of(dir) == stale ? -ESTALE : look(id_of(dir), name, size, fh, attr);
}

int nfs_lookup_first(struct nfs_client *client, const struct nfs_fh *dir, const char *name, size_t size,
                     struct nfs_fh *fh, struct nfs_attr *attr, struct nfs_first *first)
{
    first->have = 4;
    return nfs_lookup(client, dir, name, size, fh, attr);
}

int nfs_walk(struct nfs_client *client, const struct nfs_fh *dir, const char *path, struct nfs_fh *fh,
             struct nfs_attr *attr, size_t *used)
{
    size_t at = 0;

    walks++;
    *fh = *dir;
    attr->type = NFS_DIR;
    while (path[at] != 0) {
        size_t size = strcspn(path + at, "/");
        int err = look(id_of(fh), path + at, size, fh, attr);

        if (err != 0)
            return err;
        at += size;
        *used = at;
        if (path[at] == '/' && attr->type == NFS_LNK)
            return -ELOOP;
        at += path[at] == '/';
    }
    return 0;
}

int nfs_readlink(struct nfs_client *client, const struct nfs_fh *fh, char *buf, size_t size)
{
    const char *target = node_of(id_of(fh))->target != NULL ? node_of(id_of(fh))->target : long_target;

    if (strlen(target) >= size)
        return -ENAMETOOLONG;
    strcpy(buf, target);
    return 0;
}

int nfs_getattr(struct nfs_client *client, const struct nfs_fh *fh, struct nfs_attr *attr)
{
    *attr = (struct nfs_attr){.type = node_of(id_of(fh))->type, .fileid = id_of(fh)};
    return 0;
}

/* ---- what else the resolver asks ---- */

struct shim shim;
__thread int shim_deep;
int path_cwd_ours;
static struct run run;
static const char *cwd = "", *kernel_cwd = "/";
static struct ofd *open_dir; /* descriptor 7 */

int mount_ready(struct mount *mount)
{
    return 0;
}

bool seen_get(const struct nfs_fh *dir, const char *name, size_t size, struct nfs_fh *fh, struct nfs_attr *attr)
{
    return false;
}

uint32_t file_changes(void)
{
    return 0;
}

struct ofd *ofd_get(int fd)
{
    return fd == 7 ? open_dir : NULL;
}

struct mount *ofd_mount(const struct ofd *ofd)
{
    return &run.mounts[ofd->mount];
}

int ofd_peek(const char *link, struct ofd *copy)
{
    return -ENOENT;
}

void fd_path(char *to, int fd)
{
    sprintf(to, "/proc/self/fd/%d", fd);
}

int path_cwd(char *buf, size_t size)
{
    strcpy(buf, cwd);
    return (int)strlen(cwd);
}

int path_kernel_cwd(char *buf, size_t size)
{
    if (kernel_cwd == NULL)
        return -ENOENT;
    strcpy(buf, kernel_cwd);
    return (int)strlen(kernel_cwd);
}

static const char *gone_cwd;

int path_gone_cwd(char *buf, size_t size)
{
    if (gone_cwd == NULL)
        return 0;
    strcpy(buf, gone_cwd);
    return (int)strlen(gone_cwd);
}

static void show(unsigned i, const char *path, uint32_t root)
{
    strcpy(run.mounts[i].path, path);
    run.mounts[i].len = (uint32_t)strlen(path);
    set_fh(&run.mounts[i].root, root);
    shim.nmounts = i + 1;
}

static int setup(void **state)
{
    memset(&run, 0, sizeof(run));
    memset(&shim, 0, sizeof(shim));
    shim.run = &run;
    strcpy(shim.mirror, "/run/x/cwd");
    shim.mirror_len = (uint32_t)strlen(shim.mirror);
    show(0, "/volumes/v", ROOT_V);
    show(1, "/volumes/w", ROOT_W);
    strcpy(shim.top, "/volumes");
    shim.top_len = (uint32_t)strlen(shim.top);
    memset(long_target, 'l', sizeof(long_target) - 1);
    path_after_fork(); /* forgets */
    cwd = "";
    kernel_cwd = "/";
    gone_cwd = NULL;
    open_dir = NULL;
    path_cwd_ours = 1;
    shim_deep = 0;
    stale = 0;
    return 0;
}

static struct vpath vp;

static int at(int dirfd, const char *path, unsigned flags)
{
    memset(&vp, 0, sizeof(vp));
    return path_resolve(dirfd, path, flags, &vp);
}

#define FOUND(where, path_, flags, id)                                                                                  \
    do {                                                                                                               \
        assert_int_equal(at(where, path_, flags), 0);                                                                   \
        assert_int_equal(vp.kind, VP_FILE);                                                                            \
        assert_int_equal(id_of(&vp.fh), id);                                                                           \
    } while (0)
#define MISSING(where, path_, flags, in, name_)                                                                         \
    do {                                                                                                               \
        assert_int_equal(at(where, path_, flags), 0);                                                                   \
        assert_int_equal(vp.kind, VP_MISSING);                                                                         \
        assert_int_equal(id_of(&vp.dir), in);                                                                          \
        assert_string_equal(vp.name, name_);                                                                           \
    } while (0)
#define LOCAL(where, path_, flags, text)                                                                                \
    do {                                                                                                               \
        assert_int_equal(at(where, path_, flags), 0);                                                                   \
        assert_int_equal(vp.kind, VP_LOCAL);                                                                           \
        assert_string_equal(vp.path, text);                                                                            \
    } while (0)

/* ---- texts ---- */

static void texts_are_cleaned(void **state)
{
    static const struct {
        const char *from, *to;
        bool slash;
    } cases[] = {{"/", "/", true},           {"//", "/", true},          {"/a", "/a", false},    {"/a/", "/a", true},
                 {"///a//b///", "/a/b", true}, {"/./a/./b", "/a/b", false}, {"/a/.", "/a", true}, {"/.", "/", true},
                 {"/...", "/...", false},    {"/.a", "/.a", false},      {"/a./b..", "/a./b..", false}};
    char text[64];
    bool slash;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        strcpy(text, cases[i].from);
        assert_null(path_clean(text, &slash));
        assert_string_equal(text, cases[i].to);
        assert_int_equal(slash, cases[i].slash);
    }
    strcpy(text, "/a//b/./../c");
    assert_ptr_equal(path_clean(text, &slash), text + 4);
    assert_string_equal(text, "/a/b/../c");
    strcpy(text, "/..");
    assert_ptr_equal(path_clean(text, &slash), text);
}

static void texts_are_joined(void **state)
{
    static char to[SHIM_PATH + 1], dir[SHIM_PATH + 1];

    assert_int_equal(path_join(to, "/a/b", 2, "c"), 0);
    assert_string_equal(to, "/a/c");
    strcpy(to, "/x/yy");
    assert_int_equal(path_join(to, to, 2, to + 3), 0); /* all in one buffer */
    assert_string_equal(to, "/x/yy");
    memset(dir, 'd', SHIM_PATH);
    assert_int_equal(path_join(to, dir, SHIM_PATH - 3, "r"), 0);
    assert_int_equal(strlen(to), SHIM_PATH - 1);
    assert_int_equal(path_join(to, dir, SHIM_PATH - 2, "r"), -ENAMETOOLONG);
}

static void texts_that_name_descriptors(void **state)
{
    static const struct {
        const char *path, *rest;
        int fd;
    } cases[] = {{"/dev/stdin", "", 0},        {"/dev/stdout", "", 1},       {"/dev/stderr/x", "/x", 2},
                 {"/dev/stdinx", NULL, -1},    {"/dev/fd/12", "", 12},       {"/dev/fd/", NULL, -1},
                 {"/dev/fd/1x", NULL, -1},     {"/proc/self/fd/3/a", "/a", 3}, {"/proc/self/fdinfo/3", NULL, -1},
                 {"/proc/thread-self/fd/4", "", 4}, {"/proc/1/fd/3", NULL, -1}, {"/proc/self/fd/-1", NULL, -1},
                 {"/proc/self/fd/99999999999999", NULL, -1}};
    const char *rest;
    char mine[64];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(path_names_fd(cases[i].path, &rest), cases[i].fd);
        if (cases[i].rest != NULL)
            assert_string_equal(rest, cases[i].rest);
    }
    snprintf(mine, sizeof(mine), "/proc/%d/fd/5", getpid());
    assert_int_equal(path_names_fd(mine, &rest), 5);
    assert_true(path_names_others_fd("/proc/1/fd/3"));
    assert_false(path_names_others_fd("/proc/1/fd/3/x"));
    assert_false(path_names_others_fd("/proc/1/fdx/3"));
    assert_true(path_names_cwd("/proc/self/cwd", &rest) && *rest == 0);
    assert_true(path_names_cwd("/proc/thread-self/cwd/a", &rest) && strcmp(rest, "/a") == 0);
    assert_true(path_names_cwd("/proc/17/cwd/", &rest) && strcmp(rest, "/") == 0);
    assert_false(path_names_cwd("/proc/self/cwdx", &rest));
    assert_false(path_names_cwd("/proc/x/cwd", &rest));
    assert_false(path_names_cwd("/proc/self", &rest));
}

/* ---- resolution ---- */

static void names(void **state)
{
    static char name[SHIM_PATH + 300];

    FOUND(AT_FDCWD, "/volumes/v", VP_FOLLOW, ROOT_V);
    assert_true(vp.is_root);
    FOUND(AT_FDCWD, "/volumes/v/f", VP_FOLLOW, FILE_F);
    assert_string_equal(vp.path, "/volumes/v/f");
    assert_string_equal(vp.name, "f");
    assert_int_equal(id_of(&vp.dir), ROOT_V);
    FOUND(AT_FDCWD, "/volumes/v/d/e/g", VP_FOLLOW, FILE_G);
    assert_int_equal(id_of(&vp.dir), DIR_E);
    FOUND(AT_FDCWD, "//volumes/./v//d/e/./g", VP_FOLLOW, FILE_G);
    MISSING(AT_FDCWD, "/volumes/v/none", VP_FOLLOW, ROOT_V, "none");
    MISSING(AT_FDCWD, "/volumes/v/d/e/none", 0, DIR_E, "none");
    MISSING(AT_FDCWD, "/volumes/v/d/e/g", VP_PARENT, DIR_E, "g");
    assert_int_equal(at(AT_FDCWD, "/volumes/v/none/x", VP_FOLLOW), -ENOENT);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/f/x", VP_FOLLOW), -ENOTDIR);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/f/x/y", VP_FOLLOW), -ENOTDIR);
    /* beside the volumes */
    assert_int_equal(at(AT_FDCWD, "/volumes", VP_FOLLOW), 0);
    assert_int_equal(vp.kind, VP_TOP);
    assert_int_equal(at(AT_FDCWD, "/volumes/none", VP_FOLLOW), 0);
    assert_true(vp.kind == VP_MISSING && vp.mount == NULL);
    assert_int_equal(at(AT_FDCWD, "/volumes/none/x", VP_FOLLOW), -ENOENT);
    assert_int_equal(at(AT_FDCWD, "/volumes/vv", VP_FOLLOW), 0);
    assert_true(vp.kind == VP_MISSING && vp.mount == NULL);
    LOCAL(AT_FDCWD, "/etc/passwd", VP_FOLLOW, ""); /* as it was given */
    LOCAL(AT_FDCWD, "/volumesx", VP_FOLLOW, "");
    LOCAL(AT_FDCWD, "", VP_FOLLOW, "");
    /* too long */
    strcpy(name, "/volumes/v/");
    memset(name + 11, 'n', 255);
    MISSING(AT_FDCWD, name, VP_FOLLOW, ROOT_V, name + 11);
    name[11 + 255] = 'n';
    assert_int_equal(at(AT_FDCWD, name, VP_FOLLOW), -ENAMETOOLONG);
    memset(name + 11, '/', SHIM_PATH - 12);
    name[SHIM_PATH - 1] = 0;
    FOUND(AT_FDCWD, name, VP_FOLLOW, ROOT_V);
    strcpy(name + SHIM_PATH - 1, "f");
    assert_int_equal(at(AT_FDCWD, name, VP_FOLLOW), -ENAMETOOLONG);
}

static void dots(void **state)
{
    FOUND(AT_FDCWD, "/volumes/v/d/../f", VP_FOLLOW, FILE_F);
    FOUND(AT_FDCWD, "/volumes/v/d/e/../..", VP_FOLLOW, ROOT_V);
    FOUND(AT_FDCWD, "/volumes/v/d/e/../../d/./e/g", VP_FOLLOW, FILE_G);
    FOUND(AT_FDCWD, "/volumes/v/../w/in_w", VP_FOLLOW, FILE_W);
    FOUND(AT_FDCWD, "/etc/../volumes/v/f", VP_FOLLOW, FILE_F);
    FOUND(AT_FDCWD, "/../../volumes/v/f", VP_FOLLOW, FILE_F);
    LOCAL(AT_FDCWD, "/volumes/v/d/../../../etc/passwd", VP_FOLLOW, "/etc/passwd");
    LOCAL(AT_FDCWD, "/volumes/v/../..", VP_FOLLOW, "/");
    LOCAL(AT_FDCWD, "/volumes/v/../../../../usr/lib/", VP_FOLLOW, "/usr/lib/");
    /* from where a link really leads */
    FOUND(AT_FDCWD, "/volumes/v/to_e/..", VP_FOLLOW, DIR_D);
    assert_string_equal(vp.path, "/volumes/v/d");
    FOUND(AT_FDCWD, "/volumes/v/to_e/../e/g", VP_FOLLOW, FILE_G);
    LOCAL(AT_FDCWD, "/volumes/v/out/../tmp", VP_FOLLOW, "/tmp");
    /* of what is no directory, or nothing */
    assert_int_equal(at(AT_FDCWD, "/volumes/v/f/..", VP_FOLLOW), -ENOTDIR);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/none/../f", VP_FOLLOW), -ENOENT);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/nowhere/..", VP_FOLLOW), -ENOENT);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/self/..", VP_FOLLOW), -ELOOP);
}

static void links(void **state)
{
    FOUND(AT_FDCWD, "/volumes/v/to_f", VP_FOLLOW, FILE_F);
    assert_string_equal(vp.path, "/volumes/v/f");
    FOUND(AT_FDCWD, "/volumes/v/to_f", 0, 10);
    FOUND(AT_FDCWD, "/volumes/v/to_e/g", 0, FILE_G);
    FOUND(AT_FDCWD, "/volumes/v/to_e/up", VP_FOLLOW, FILE_F);
    FOUND(AT_FDCWD, "/volumes/v/absolute", VP_FOLLOW, FILE_G);
    FOUND(AT_FDCWD, "/volumes/v/other", VP_FOLLOW, FILE_W);
    assert_ptr_equal(vp.mount, &run.mounts[1]);
    LOCAL(AT_FDCWD, "/volumes/v/out", VP_FOLLOW, "/etc");
    LOCAL(AT_FDCWD, "/volumes/v/out/passwd", 0, "/etc/passwd");
    LOCAL(AT_FDCWD, "/volumes/v/up_and_out", VP_FOLLOW, "/etc/passwd");
    LOCAL(AT_FDCWD, "/volumes/v/root", VP_FOLLOW, "/");
    FOUND(AT_FDCWD, "/volumes/v/root/volumes/v/f", VP_FOLLOW, FILE_F);
    /* dangling */
    MISSING(AT_FDCWD, "/volumes/v/nowhere", VP_FOLLOW, ROOT_V, "none");
    FOUND(AT_FDCWD, "/volumes/v/nowhere", 0, 13);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/deep_nowhere", VP_FOLLOW), -ENOENT);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/nowhere/x", VP_FOLLOW), -ENOENT);
    /* in circles */
    FOUND(AT_FDCWD, "/volumes/v/self", 0, 15);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/self", VP_FOLLOW), -ELOOP);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/ping", VP_FOLLOW), -ELOOP);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/ping/x", VP_FOLLOW), -ELOOP);
    /* to what is too long */
    FOUND(AT_FDCWD, "/volumes/v/long", 0, 23);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/long", VP_FOLLOW), -ENAMETOOLONG);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/long/x", VP_FOLLOW), -ENAMETOOLONG);
}

static void slashes(void **state)
{
    FOUND(AT_FDCWD, "/volumes/v/d/", 0, DIR_D);
    assert_true(vp.slash);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/f/", VP_FOLLOW), -ENOTDIR);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/f/.", VP_FOLLOW), -ENOTDIR);
    assert_int_equal(at(AT_FDCWD, "/volumes/v/to_f/", 0), -ENOTDIR);
    FOUND(AT_FDCWD, "/volumes/v/to_e/", 0, DIR_E); /* follows although it was not told to */
    assert_true(vp.links);
    FOUND(AT_FDCWD, "/volumes/v/slash", VP_FOLLOW, DIR_D);
    assert_false(vp.links);
    MISSING(AT_FDCWD, "/volumes/v/none/", 0, ROOT_V, "none");
    assert_true(vp.slash);
    MISSING(AT_FDCWD, "/volumes/v/nowhere/", 0, ROOT_V, "none");
    assert_true(vp.links);
}

static void other_places(void **state)
{
    shim.top_len = 0;
    shim.apart = true;
    shim.top[0] = 0;
    show(0, "/data", ROOT_V);
    show(1, "/data/d/w", ROOT_W); /* one in the other */
    FOUND(AT_FDCWD, "/data/f", VP_FOLLOW, FILE_F);
    FOUND(AT_FDCWD, "/data/d/w", VP_FOLLOW, ROOT_W);
    FOUND(AT_FDCWD, "/data/d/w/in_w", VP_FOLLOW, FILE_W);
    FOUND(AT_FDCWD, "/data/d/w/..", VP_FOLLOW, DIR_D);
    FOUND(AT_FDCWD, "/data/to_e/../w/in_w", VP_FOLLOW, FILE_W);
    LOCAL(AT_FDCWD, "/datafile", VP_FOLLOW, "");
    LOCAL(AT_FDCWD, "/data/..", VP_FOLLOW, "/");
    assert_ptr_equal(path_mount("/data/d/w/x"), &run.mounts[1]);
    assert_ptr_equal(path_mount("/data/d/wx"), &run.mounts[0]);
    assert_null(path_mount("/dat"));
}

static void where_one_stands(void **state)
{
    static struct ofd dir = {.type = NFS_DIR, .path = "/volumes/v/d"};
    static struct ofd file = {.type = NFS_REG, .path = "/volumes/v/f"};

    set_fh(&dir.fh, DIR_D);
    set_fh(&file.fh, FILE_F);
    LOCAL(AT_FDCWD, "f", VP_FOLLOW, "");
    cwd = "/volumes/v/d";
    path_cwd_ours = 2;
    FOUND(AT_FDCWD, "e/g", VP_FOLLOW, FILE_G);
    FOUND(AT_FDCWD, ".", VP_FOLLOW, DIR_D);
    FOUND(AT_FDCWD, "..", VP_FOLLOW, ROOT_V);
    FOUND(AT_FDCWD, "../f", VP_FOLLOW, FILE_F);
    LOCAL(AT_FDCWD, "../../../tmp/x", VP_FOLLOW, "/tmp/x");
    /* removed: only what is above it can be reached */
    cwd = "";
    kernel_cwd = NULL;
    gone_cwd = "/volumes/v/d/was";
    FOUND(AT_FDCWD, "..", VP_FOLLOW, DIR_D);
    FOUND(AT_FDCWD, "../e/g", VP_FOLLOW, FILE_G);
    FOUND(AT_FDCWD, "../..", VP_FOLLOW, ROOT_V);
    LOCAL(AT_FDCWD, "x", VP_FOLLOW, "");
    LOCAL(AT_FDCWD, "..x", VP_FOLLOW, "");
    /* a local one above the volumes */
    kernel_cwd = "/tmp";
    FOUND(AT_FDCWD, "../volumes/v/f", VP_FOLLOW, FILE_F);
    LOCAL(AT_FDCWD, "../etc", VP_FOLLOW, "");
    /* descriptors */
    open_dir = &dir;
    FOUND(7, "e/g", VP_FOLLOW, FILE_G);
    FOUND(7, "e", VP_FOLLOW, DIR_E);
    FOUND(7, "..", VP_FOLLOW, ROOT_V);
    FOUND(7, "/volumes/w/in_w", VP_FOLLOW, FILE_W);
    strcpy(dir.path, "/volumes/v/old_name"); /* one name is found by the handle */
    FOUND(7, "e", VP_FOLLOW, DIR_E);
    assert_int_equal(at(7, "e/g", VP_FOLLOW), -ENOENT);
    strcpy(dir.path, "/volumes/v/d");
    FOUND(AT_FDCWD, "/proc/self/fd/7", VP_FOLLOW, DIR_D);
    FOUND(AT_FDCWD, "/dev/fd/7/e/g", VP_FOLLOW, FILE_G);
    LOCAL(AT_FDCWD, "/proc/self/fd/7", 0, "/proc/self/fd/7");
    LOCAL(AT_FDCWD, "/proc/self/fd/8", VP_FOLLOW, "/proc/self/fd/8");
    open_dir = &file;
    assert_int_equal(at(7, "x", VP_FOLLOW), -ENOTDIR);
}

/* Links of a local file system, which count once the kernel has found nothing. */
static void local_links(void **state)
{
    char top[] = "/tmp/shim-path-XXXXXX", text[128];

    assert_non_null(mkdtemp(top));
    assert_int_equal(chdir(top), 0);
    assert_int_equal(symlink("/volumes/v/d", "in"), 0);
    assert_int_equal(symlink("in/e", "twice"), 0);
    assert_int_equal(symlink("../../volumes/v/f", "relative"), 0);
    assert_int_equal(symlink("none", "nowhere"), 0);
    assert_int_equal(symlink("circle", "circle"), 0);
    kernel_cwd = top;
#define IN(name) (snprintf(text, sizeof(text), "%s/%s", top, name), text)
    LOCAL(AT_FDCWD, IN("in/e/g"), VP_FOLLOW, "");
    shim_deep = 1;
    FOUND(AT_FDCWD, IN("in/e/g"), VP_FOLLOW, FILE_G);
    FOUND(AT_FDCWD, IN("in"), VP_FOLLOW, DIR_D);
    FOUND(AT_FDCWD, IN("in/"), 0, DIR_D);
    FOUND(AT_FDCWD, IN("twice/g"), VP_FOLLOW, FILE_G);
    FOUND(AT_FDCWD, IN("relative"), VP_FOLLOW, FILE_F);
    FOUND(AT_FDCWD, "in/e/g", VP_FOLLOW, FILE_G);
    FOUND(AT_FDCWD, IN("in/../f"), VP_FOLLOW, FILE_F);
    assert_int_equal(at(AT_FDCWD, IN("in"), 0), 0);
    assert_int_equal(vp.kind, VP_LOCAL);
    assert_int_equal(at(AT_FDCWD, IN("nowhere"), VP_FOLLOW), 0);
    assert_int_equal(vp.kind, VP_LOCAL);
    assert_int_equal(at(AT_FDCWD, IN("circle"), VP_FOLLOW), -ELOOP);
    shim_deep = 0;
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(unlink(IN("in")) | unlink(IN("twice")) | unlink(IN("relative")) | unlink(IN("nowhere")), 0);
    assert_int_equal(unlink(IN("circle")) | rmdir(top), 0);
#undef IN
}

static void what_is_remembered(void **state)
{
    struct nfs_fh fh;

    walks = lookups = 0;
    FOUND(AT_FDCWD, "/volumes/v/d/e/g", VP_FOLLOW, FILE_G);
    assert_int_equal(walks, 1);
    FOUND(AT_FDCWD, "/volumes/v/d/e/g", VP_FOLLOW, FILE_G);
    MISSING(AT_FDCWD, "/volumes/v/d/e/none", VP_FOLLOW, DIR_E, "none");
    assert_int_equal(walks, 1);
    assert_int_equal(lookups, 3); /* the file itself is always asked for */
    path_forget();
    FOUND(AT_FDCWD, "/volumes/v/d/e/g", VP_FOLLOW, FILE_G);
    assert_int_equal(walks, 2);
    /* A folder that is another one by now is looked for again. */
    set_fh(&fh, FILE_F);
    path_dir_remember("/volumes/v/d/e", &fh);
    stale = FILE_F;
    FOUND(AT_FDCWD, "/volumes/v/d/e/g", VP_FOLLOW, FILE_G);
    assert_int_equal(walks, 3);
    path_dir_drop("/volumes/v/d/e");
    assert_false(path_dir_cached("/volumes/v/d/e", &fh));
    /* Nothing is kept of a walk that ended at a link or nowhere. */
    assert_int_equal(at(AT_FDCWD, "/volumes/v/none/x", VP_FOLLOW), -ENOENT);
    assert_false(path_dir_cached("/volumes/v/none", &fh));
    assert_int_equal(at(AT_FDCWD, "/volumes/v/to_e/g", VP_FOLLOW), 0);
    assert_false(path_dir_cached("/volumes/v/to_e", &fh));
    assert_true(path_dir_cached("/volumes/v/d/e", &fh));
}

static void first_bytes(void **state)
{
    struct nfs_first first = {0};

    vp.first = &first;
    assert_int_equal(path_resolve(AT_FDCWD, "/volumes/v/f", VP_FOLLOW | VP_FIRST, &vp), 0);
    assert_int_equal(first.have, 4);
    assert_int_equal(path_resolve(AT_FDCWD, "/volumes/v/none", VP_FOLLOW | VP_FIRST, &vp), 0);
    assert_int_equal(vp.kind, VP_MISSING);
    assert_int_equal(path_resolve(AT_FDCWD, "/volumes/v/other", VP_FOLLOW | VP_FIRST, &vp), 0);
    assert_int_equal(id_of(&vp.fh), FILE_W);
    assert_int_equal(first.have, 4); /* of the file, not of the link */
    assert_int_equal(path_resolve(AT_FDCWD, "/volumes/v/out", VP_FOLLOW | VP_FIRST, &vp), 0);
    assert_int_equal(first.have, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_cleaned),
        cmocka_unit_test(texts_are_joined),
        cmocka_unit_test(texts_that_name_descriptors),
        cmocka_unit_test_setup(names, setup),
        cmocka_unit_test_setup(dots, setup),
        cmocka_unit_test_setup(links, setup),
        cmocka_unit_test_setup(slashes, setup),
        cmocka_unit_test_setup(other_places, setup),
        cmocka_unit_test_setup(where_one_stands, setup),
        cmocka_unit_test_setup(local_links, setup),
        cmocka_unit_test_setup(what_is_remembered, setup),
        cmocka_unit_test_setup(first_bytes, setup),
    };

    return cmocka_run_group_tests_name("shim_path", tests, NULL, NULL);
}
