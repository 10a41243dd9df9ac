/* SPDX-License-Identifier: Apache-2.0 */
/* Paths as texts: parts, joins, and the names that /proc and /dev have for descriptors. Asks nobody but for the process's
 * id. */
#include <errno.h>
#include <string.h>

#include "client/shim/path.h"

bool path_below(const char *path, const char *top, size_t len)
{
    return strncmp(path, top, len) == 0 && (path[len] == 0 || path[len] == '/');
}

char *path_clean(char *path, bool *slash)
{
    char *from = path, *to = path;

    *slash = false;
    while (*from != 0) {
        size_t size;

        while (*from == '/')
            from++;
        size = strcspn(from, "/");
        if (size == 0) {
            *slash = true;
            break;
        }
        if (size == 1 && from[0] == '.') {
            from++;
            *slash = true;
            continue;
        }
        if (size == 2 && from[0] == '.' && from[1] == '.') {
            char *at = to;

            *to++ = '/';
            memmove(to, from, strlen(from) + 1);
            return at;
        }
        *to++ = '/';
        memmove(to, from, size);
        to += size;
        from += size;
        *slash = false;
    }
    if (to == path)
        *to++ = '/';
    *to = 0;
    return NULL;
}

int path_join(char *to, const char *dir, size_t dir_len, const char *rest)
{
    size_t rest_len = strlen(rest);

    if (dir_len + 1 + rest_len >= SHIM_PATH)
        return -ENAMETOOLONG;
    memmove(to + dir_len + 1, rest, rest_len + 1);
    memmove(to, dir, dir_len);
    to[dir_len] = '/';
    return 0;
}

/* "N" or "N/rest" -> N, or -1. */
static int path_number(const char *text, const char **rest)
{
    int n = 0;

    if (*text < '0' || *text > '9')
        return -1;
    while (*text >= '0' && *text <= '9' && n < 10000000)
        n = n * 10 + (*text++ - '0');
    if (*text != 0 && *text != '/')
        return -1;
    *rest = text;
    return n;
}

int path_names_fd(const char *path, const char **rest)
{
    static const char *const fixed[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};

    for (int i = 0; i < 3; i++)
        if (path_below(path, fixed[i], strlen(fixed[i]))) {
            *rest = path + strlen(fixed[i]);
            return i;
        }
    if (strncmp(path, "/dev/fd/", 8) == 0)
        return path_number(path + 8, rest);
    if (strncmp(path, "/proc/self/fd/", 14) == 0)
        return path_number(path + 14, rest);
    if (strncmp(path, "/proc/thread-self/fd/", 21) == 0)
        return path_number(path + 21, rest);
    if (strncmp(path, "/proc/", 6) == 0) {
        int pid = path_number(path + 6, rest);

        if (pid > 0 && pid == (int)sys0(SYS_getpid) && strncmp(*rest, "/fd/", 4) == 0)
            return path_number(*rest + 4, rest);
    }
    return -1;
}

bool path_names_others_fd(const char *path)
{
    const char *rest;

    return strncmp(path, "/proc/", 6) == 0 && path_number(path + 6, &rest) > 0 && strncmp(rest, "/fd/", 4) == 0 &&
           path_number(rest + 4, &rest) >= 0 && *rest == 0;
}

bool path_names_cwd(const char *path, const char **rest)
{
    const char *at = path + 6;

    if (strncmp(path, "/proc/", 6) != 0)
        return false;
    if (strncmp(at, "self/", 5) == 0)
        at += 4;
    else if (strncmp(at, "thread-self/", 12) == 0)
        at += 11;
    else if (path_number(at, &at) < 0)
        return false;
    if (!path_below(at, "/cwd", 4))
        return false;
    *rest = at + 4;
    return true;
}
