/* SPDX-License-Identifier: Apache-2.0
 * walk_store: the folders of a store without its server.
 */
#include "tests/unit/walk_store.h"

#include <dirent.h>

#include "server/store/check.h"
#include "tests/unit/storetest.h"

static DIR *open_volumes(const char *store, char path[512])
{
    DIR *d;

    snprintf(path, 512, "%s/volumes", store);
    d = opendir(path);
    if (!d)
        perror(path);
    return d;
}

static bool is_trash(const struct dirent *e)
{
    return !strncmp(e->d_name, "trash-", 6);
}

bool walk_has_trash(const char *store)
{
    char path[512];
    DIR *d = open_volumes(store, path);
    bool found = false;

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        found |= is_trash(e);
    closedir(d);
    return found;
}

static void problem(void *arg, const char *text)
{
    fprintf(stderr, "# check: %s\n", text);
}

int walk_check_folders(const char *store, bool trash)
{
    char path[512];
    DIR *d = open_volumes(store, path);
    int n = d ? 0 : -1;

    for (struct dirent *e; n >= 0 && (e = readdir(d));) {
        struct check_report rep;
        int r;

        if (e->d_name[0] == '.' || (trash && is_trash(e)))
            continue;
        snprintf(path, sizeof(path), "%s/volumes/%.64s", store, e->d_name);
        r = volume_check(path, true, problem, NULL, &rep);
        n++;
        if (r || rep.problems) {
            fprintf(stderr, "# %s: %d, %llu problems\n", path, r, (unsigned long long)rep.problems);
            n = -1;
        }
    }
    if (d)
        closedir(d);
    return n;
}
