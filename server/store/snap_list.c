/* SPDX-License-Identifier: Apache-2.0
 * snap_list: the snapshots that a volume has: their names, what is shown of them, and how they are found again when the
 * volume is opened (snap.h, N3 and N5).
 */
#include "server/store/snap_int.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/store/files.h"

/* --- names --- */

int snap_check_name(const char *name, size_t len)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

    if (len < 1 || len > STORE_SNAP_NAME_MAX || memchr(name, 0, len) || !strchr(first, name[0]))
        return -EINVAL;
    for (size_t i = 1; i < len; i++)
        if (!strchr(first, name[i]) && !strchr("._-:", name[i]))
            return -EINVAL;
    return 0;
}

char *snap_path(const struct volume *v, uint64_t id, const char *suffix)
{
    char *p;

    if (asprintf(&p, "%s/snapshots/%016llx.db%s", v->dir, (unsigned long long)id, suffix) < 0)
        abort();
    return p;
}

/* --- the list; volume lock held --- */

struct snap *snap_find_any(struct volume *v, const char *name, size_t len)
{
    list_for_each(it, &v->snaps) {
        struct snap *s = list_entry(it, struct snap, link);
        if (s->row.name[0] && strlen(s->row.name) == len && memcmp(s->row.name, name, len) == 0)
            return s;
    }
    return NULL;
}

struct snap *snap_find_id(struct volume *v, uint64_t id)
{
    list_for_each(it, &v->snaps) {
        struct snap *s = list_entry(it, struct snap, link);
        if (s->row.id == id)
            return s;
    }
    return NULL;
}

struct snap *snap_find_name(struct volume *v, const char *name)
{
    struct snap *s = snap_find_any(v, name, strlen(name));

    return s && s->row.state == SNAP_READY ? s : NULL;
}

struct snap *snap_list_add(struct volume *v, const struct index_snap *row)
{
    struct snap *s = vol_alloc(sizeof(*s));

    s->row = *row;
    list_add_tail(&v->snaps, &s->link); /* ids ascend */
    return s;
}

void snap_list_del(struct snap *s)
{
    list_del(&s->link);
    free(s);
}

/* --- looking --- */

static void fill_info(const struct snap *s, struct snap_info *out)
{
    *out = (struct snap_info){.id = s->row.id,
                              .created = s->row.created,
                              .files = s->row.files,
                              .logical = s->row.logical,
                              .stored = s->row.stored};
    memcpy(out->name, s->row.name, sizeof(out->name));
}

int snap_find(struct volume *v, const char *name, size_t len, struct snap_info *out)
{
    struct snap *s;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    s = len ? snap_find_any(v, name, len) : NULL;
    if (s && s->row.state == SNAP_READY)
        fill_info(s, out);
    else
        r = -ENOENT;
    vol_leave(v);
    return r;
}

int snap_list(struct volume *v, uint64_t after, struct snap_info *out, unsigned max)
{
    int n = 0, r = vol_enter(v);

    if (r < 0)
        return r;
    list_for_each(it, &v->snaps) {
        struct snap *s = list_entry(it, struct snap, link);
        if (s->row.state != SNAP_READY || s->row.id <= after)
            continue;
        if ((unsigned)n == max)
            break;
        fill_info(s, &out[n++]);
    }
    vol_leave(v);
    return n;
}

uint64_t snap_list_change(struct volume *v, struct timespec *mtime)
{
    uint64_t c;

    pthread_mutex_lock(&v->lock);
    c = v->snap_change;
    *mtime = v->snap_mtime;
    pthread_mutex_unlock(&v->lock);
    return c;
}

/* --- opening the volume --- */

static bool load_row(void *arg, const struct index_snap *row)
{
    snap_list_add(arg, row);
    return true;
}

/* Is it the file of a snapshot that is ready? */
static bool file_known(struct volume *v, const char *name)
{
    unsigned long long id;
    char again[32];
    struct snap *s;

    if (sscanf(name, "%16llx", &id) != 1)
        return false;
    snprintf(again, sizeof(again), "%016llx.db", id);
    s = strcmp(name, again) == 0 ? snap_find_id(v, id) : NULL;
    return s && s->row.state == SNAP_READY;
}

static int drop_unknown_files(struct volume *v)
{
    char *path = path_join(v->dir, "snapshots");
    DIR *d = opendir(path);
    struct dirent *e;
    int r = d || errno == ENOENT ? 0 : -errno;

    free(path);
    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || file_known(v, e->d_name))
            continue;
        log_info("%s: removing snapshots/%s, which belongs to no snapshot", v->label, e->d_name);
        if (unlinkat(dirfd(d), e->d_name, 0) < 0)
            log_warn("%s: cannot remove snapshots/%s: %s", v->label, e->d_name, strerrordesc_np(errno));
    }
    if (d)
        closedir(d);
    return r;
}

int snap_load(struct volume *v)
{
    struct index_meta meta;
    int r = index_get_meta(v->ix, &meta);

    if (r == 0)
        r = index_list_snaps(v->ix, load_row, v);
    if (r < 0)
        return r;
    v->snap_change = v->e->epoch << 20;
    v->snap_mtime = clock_wall();
    list_for_each(it, &v->snaps) {
        struct snap *s = list_entry(it, struct snap, link);
        if (s->row.id > meta.snap_seq)
            return -EUCLEAN;
        if (s->row.state != SNAP_CREATING)
            continue;
        s->row.state = SNAP_DESTROYING; /* N3 */
        s->row.name[0] = 0;
        snap_put_row(v, s);
    }
    return drop_unknown_files(v);
}
