/* SPDX-License-Identifier: Apache-2.0 */
/* A run's directory and shared record. */
#include "client/shim/run.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/shim/shim.h"

int run_parse_server(const char *text, char *host, size_t size, unsigned *port)
{
    const char *colon = strrchr(text, ':'), *end;
    unsigned char addr[16];
    size_t len;
    char *stop;

    *port = 2049;
    if (text[0] == '[') {
        end = strchr(++text, ']');
        if (end == NULL || (end[1] != 0 && end[1] != ':'))
            return -EINVAL;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else if (colon != NULL && strchr(text, ':') != colon) {
        colon = NULL; /* a bare IPv6 address */
        end = text + strlen(text);
    } else {
        end = colon != NULL ? colon : text + strlen(text);
    }
    if (colon != NULL) {
        unsigned long value = strtoul(colon + 1, &stop, 10);

        if (*stop != 0 || stop == colon + 1 || value == 0 || value > 65535)
            return -EINVAL;
        *port = (unsigned)value;
    }
    len = (size_t)(end - text);
    if (len == 0 || len >= size)
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = 0;
    return inet_pton(AF_INET, host, addr) == 1 || inet_pton(AF_INET6, host, addr) == 1 ? 0 : -EINVAL;
}

int run_token(const char *file, char *remote, size_t size)
{
    static const char known[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    char *secret = remote + 6;
    size_t room = size - 7, n = 0;
    ssize_t got;
    int fd = open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    while (n < room && (got = read(fd, secret + n, room - n)) > 0)
        n += (size_t)got;
    close(fd);
    while (n > 0 && (secret[n - 1] == '\n' || secret[n - 1] == '\r' || secret[n - 1] == ' '))
        n--;
    secret[n] = 0;
    memcpy(remote, "token/", 6);
    if (n > 0 && n < room && strspn(secret, known) == n && strstr(secret, "..") == NULL)
        return 0;
    memset(remote, 0, size);
    return -EBADMSG;
}

/* "@FILE". The secret is in the run's record, which only this user can read, and in no environment. */
static int run_read_token(const char *text, size_t left, struct mount *mount)
{
    char path[PATH_MAX];

    if (left - 1 >= sizeof(path))
        return -ENAMETOOLONG;
    memcpy(path, text + 1, left - 1);
    path[left - 1] = 0;
    return run_token(path, mount->remote, sizeof(mount->remote));
}

/* One entry of VOLNFS_VOLUMES. */
static int run_parse_volume(const char *text, size_t len, struct mount *mount)
{
    const char *equal = memchr(text, '=', len), *slash;
    size_t left = equal != NULL ? (size_t)(equal - text) : len;

    memset(mount, 0, sizeof(*mount));
    if (left > 3 && memcmp(text + left - 3, ":ro", 3) == 0) {
        mount->readonly = 1;
        left -= 3;
    }
    if (left > 1 && text[0] == '@') {
        int err = equal != NULL ? run_read_token(text, left, mount) : -EINVAL;

        if (err != 0)
            return err;
        left = strlen(mount->remote);
    } else {
        if (left == 0 || left >= sizeof(mount->remote) - 1)
            return -EINVAL;
        memcpy(mount->remote, text, left);
    }
    if (mount->remote[0] == '/' || strstr(mount->remote, "..") != NULL || strchr(mount->remote, '/') == NULL ||
        mount->remote[left - 1] == '/' || strstr(mount->remote, "//") != NULL)
        return -EINVAL;
    if (strchr(mount->remote, '@') != NULL)
        mount->readonly = 1;
    if (equal != NULL) {
        size_t size = len - (size_t)(equal + 1 - text);

        if (size < 2 || size >= sizeof(mount->path) || equal[1] != '/')
            return -EINVAL;
        memcpy(mount->path, equal + 1, size);
    } else {
        slash = strrchr(mount->remote, '/');
        if ((size_t)snprintf(mount->path, sizeof(mount->path), "/volumes/%s", slash + 1) >= sizeof(mount->path))
            return -EINVAL;
    }
    mount->len = (uint32_t)strlen(mount->path);
    while (mount->len > 1 && mount->path[mount->len - 1] == '/')
        mount->path[--mount->len] = 0;
    if (mount->len < 2 || strstr(mount->path, "/.") != NULL || strstr(mount->path, "//") != NULL)
        return -EINVAL;
    return 0;
}

static int run_parse_volumes(struct run *run, const char *volumes)
{
    unsigned n = 0;

    while (*volumes != 0) {
        size_t len = strcspn(volumes, ";");

        if (len > 0) {
            int err = n < SHIM_MOUNTS ? run_parse_volume(volumes, len, &run->mounts[n]) : -E2BIG;

            if (err != 0)
                return err;
            n++;
        }
        volumes += len + (volumes[len] != 0);
    }
    return n > 0 ? 0 : -EINVAL;
}

static int run_default_dir(const char *server, const char *volumes, char *dir, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u ^ sizeof(struct run) ^ RUN_MAGIC; /* of this version */

    for (const char *p = server; *p != 0; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    for (const char *p = volumes; *p != 0; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    return (size_t)snprintf(dir, size, "%s/volnfs-%u-%016llx", run_parent(), (unsigned)geteuid(),
                            (unsigned long long)hash) < size
               ? 0
               : -ENAMETOOLONG;
}

/* Makes the record. 0 too if another process was faster; -EAGAIN: the directory has just been removed. */
static int run_make_record(const char *path, const char *volumes, const char **why)
{
    const size_t head = offsetof(struct run, holds);
    struct run *fresh = calloc(1, sizeof(*fresh));
    char made[320];
    int fd, err;

    if (fresh == NULL)
        return -ENOMEM;
    *why = "VOLNFS_VOLUMES is not USER/VOLUME[:ro][=PATH];...";
    err = run_parse_volumes(fresh, volumes);
    if (err != 0) {
        if (err == -EBADMSG)
            *why = "there is no token in the file";
        else if (err != -EINVAL)
            *why = "the file with the token cannot be read";
        free(fresh);
        return err;
    }
    fresh->magic = RUN_MAGIC;
    fresh->size = sizeof(*fresh);
    *why = "the run's shared record cannot be written";
    snprintf(made, sizeof(made), "%s.%d", path, (int)getpid());
    fd = open(made, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    err = fd >= 0 ? 0 : errno == ENOENT ? -EAGAIN : -errno;
    if (err == 0 && (write(fd, fresh, head) != (ssize_t)head || ftruncate(fd, sizeof(*fresh)) != 0))
        err = -ENOSPC;
    free(fresh);
    /* Whoever links first wins; the others take what is there. */
    if (err == 0 && link(made, path) != 0 && errno != EEXIST)
        err = errno == ENOENT ? -EAGAIN : -errno;
    if (fd >= 0) {
        unlink(made);
        close(fd);
    }
    return err;
}

/* The locked record at path; -EAGAIN: there is none, or it was just removed. */
static int run_lock_record(const char *path)
{
    struct stat st, there;
    int fd = open(path, O_RDWR | O_CLOEXEC), err;

    if (fd < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    while ((err = flock(fd, LOCK_SH)) != 0 && errno == EINTR)
        ;
    err = err != 0 ? -errno : 0;
    if (err == 0 && (fstat(fd, &st) != 0 || stat(path, &there) != 0 || st.st_ino != there.st_ino ||
                     st.st_dev != there.st_dev))
        err = -EAGAIN;
    if (err != 0)
        close(fd);
    return err != 0 ? err : fd;
}

/* One attempt; -EAGAIN: what was there has been removed meanwhile. */
static int run_open_record(const char *dir, bool ours, const char *volumes, const char **why)
{
    char path[300];
    struct stat st;
    int fd, err;

    *why = "the run directory cannot be made";
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return -errno;
    *why = "the run directory belongs to somebody else";
    if (lstat(dir, &st) != 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    /* Whoever is root may join a run of another user, but not one that lies in wait under the name of its own. */
    if (!S_ISDIR(st.st_mode) || (st.st_uid != geteuid() && (ours || geteuid() != 0)) || (st.st_mode & 022))
        return -EPERM;
    *why = "the run's shared record cannot be opened";
    snprintf(path, sizeof(path), "%s/state", dir);
    fd = run_lock_record(path);
    if (fd != -EAGAIN)
        return fd;
    if (ours)
        run_clean(run_parent());
    err = run_make_record(path, volumes, why);
    return err != 0 ? err : run_lock_record(path);
}

/* Locks and maps the record; ours: a directory that must belong to this user. */
static int run_map(const char *dir, bool ours, const char *volumes, struct run **out, const char **why)
{
    struct stat st;
    struct run *run;
    int fd = -EAGAIN, err;

    for (int i = 0; i < 100 && fd == -EAGAIN; i++)
        fd = run_open_record(dir, ours, volumes, why);
    if (fd < 0)
        return fd;
    run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    err = run == MAP_FAILED ? -errno : 0;
    if (err == 0 && (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof(*run) || run->magic != RUN_MAGIC ||
                     run->size != sizeof(*run))) {
        *why = "the run's shared record is of another version";
        munmap(run, sizeof(*run));
        err = -EINVAL;
    }
    close(fd); /* the mapping keeps the lock */
    if (err == 0)
        *out = run;
    return err;
}

int run_attach(const char *dir, const char *server, const char *volumes, struct run **out, char *out_dir, size_t size,
               const char **why)
{
    *why = "the run directory's name is too long";
    if (dir == NULL) {
        if (run_default_dir(server, volumes, out_dir, size) != 0)
            return -ENAMETOOLONG;
    } else if ((size_t)snprintf(out_dir, size, "%s", dir) >= size) {
        return -ENAMETOOLONG;
    }
    return run_map(out_dir, dir == NULL, volumes, out, why);
}

int run_make(const char *volumes, struct run **out, char *out_dir, size_t size, const char **why)
{
    int err;

    run_clean(run_parent());
    *why = "the run directory cannot be made";
    if ((size_t)snprintf(out_dir, size, "%s/" RUN_PREFIX "XXXXXX", run_parent()) >= size)
        return -ENAMETOOLONG;
    if (mkdtemp(out_dir) == NULL)
        return -errno;
    err = run_map(out_dir, true, volumes, out, why);
    if (err != 0)
        run_remove(out_dir);
    return err;
}
