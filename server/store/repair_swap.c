/* SPDX-License-Identifier: Apache-2.0
 * repair_swap: a new index takes the place of the old one, which is kept under damaged/.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "server/store/pack.h"
#include "server/store/pack_format.h"
#include "server/store/repair_int.h"

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return -errno;
    if (fsync(fd))
        rc = -errno;
    close(fd);
    return rc;
}

/* The folder for what is set aside, made when it is needed first. */
static int aside(struct repair *r, char *path, size_t size)
{
    struct timespec now = clock_wall();

    snprintf(path, size, "%s/damaged", r->dir);
    if (mkdir(path, 0700) && errno != EEXIST)
        return -errno;
    for (unsigned i = 0; !r->rep->aside[0]; i++) {
        char name[64];
        snprintf(name, sizeof(name), "damaged/%lld.%u", (long long)now.tv_sec, i);
        snprintf(path, size, "%s/%s", r->dir, name);
        if (mkdir(path, 0700) == 0)
            memcpy(r->rep->aside, name, sizeof(name));
        else if (errno != EEXIST || i > 1000)
            return -errno;
    }
    snprintf(path, size, "%s/%s", r->dir, r->rep->aside);
    return 0;
}

struct linker {
    const char *from;
    char to[3900];
};

static int link_pack(void *arg, uint32_t pack, uint64_t size)
{
    struct linker *l = arg;
    char name[PACK_PATH_MAX], from[4096], to[4096];

    pack_path(name, pack);
    snprintf(from, sizeof(from), "%s/%s", l->from, name);
    snprintf(to, sizeof(to), "%s/%s", l->to, name + 3);
    return link(from, to) && errno != EEXIST && errno != ENOENT ? -errno : 0;
}

static int keep_packs(struct repair *r, const char *folder)
{
    struct linker l = {.from = r->packs};
    int rc;

    snprintf(l.to, sizeof(l.to), "%s/packs", folder);
    if (mkdir(l.to, 0700) && errno != EEXIST)
        return -errno;
    rc = pack_list(r->packs, link_pack, &l);
    if (rc == -ENOENT)
        return 0;
    return rc ? rc : sync_path(l.to);
}

int repair_swap(struct repair *r, const char *old, const char *new)
{
    static const char *const tails[] = {"", "-wal", "-shm"};
    char folder[3800], from[4096], to[4096];
    bool packs = r->gaps || r->opt->rebuild || r->opt->punch;
    int rc = aside(r, folder, sizeof(folder));

    if (!rc)
        rc = sync_path(new);
    if (!rc && packs)
        rc = keep_packs(r, folder);
    if (!rc)
        rc = fault_point("repair.kept");
    for (size_t i = 0; !rc && i < 3; i++) { /* a WAL that could not be brought into the file is of no use to the new one */
        snprintf(from, sizeof(from), "%s%s", old, tails[i]);
        snprintf(to, sizeof(to), "%s/index.db%s", folder, tails[i]);
        rc = i == 0 ? link(from, to) : rename(from, to);
        rc = rc && errno != ENOENT && errno != EEXIST ? -errno : 0;
    }
    if (!rc)
        rc = sync_path(folder);
    if (!rc)
        rc = fault_point("repair.rename");
    if (!rc)
        rc = rename(new, old) ? -errno : 0;
    if (!rc)
        rc = sync_path(r->dir);
    if (!rc)
        (void)fault_point("repair.renamed");
    return rc;
}

int repair_drop_journal(struct repair *r)
{
    char folder[3800], from[4096], to[4096];
    int rc = aside(r, folder, sizeof(folder));

    snprintf(from, sizeof(from), "%s/journal", r->dir);
    snprintf(to, sizeof(to), "%s/journal", folder);
    if (!rc && rename(from, to))
        rc = errno == ENOENT ? 0 : -errno;
    if (!rc)
        rc = sync_path(folder);
    if (!rc)
        rc = sync_path(r->dir);
    if (!rc)
        repair_did(r, "journal: groups from %llu on cannot be applied; it was set aside", (unsigned long long)r->jfirst);
    return rc;
}
