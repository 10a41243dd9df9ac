/* SPDX-License-Identifier: Apache-2.0
 * release: ftruncate of what has no name any more.
 */
#include "common/release.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void done(struct release *r)
{
    if (r->fd >= 0)
        close(r->fd);
    *r = (struct release)RELEASE_NONE;
}

int release_unlink(int dirfd, const char *name, struct release *r)
{
    struct stat st;
    int fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    *r = (struct release)RELEASE_NONE;
    if (unlinkat(dirfd, name, 0)) {
        int err = errno;
        if (fd >= 0)
            close(fd);
        return -err;
    }
    if (fd < 0)
        return 0;
    r->fd = fd;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        r->left = (uint64_t)st.st_size;
    if (r->left <= RELEASE_STEP)
        done(r);
    return 0;
}

bool release_some(struct release *r)
{
    uint64_t to = r->left > RELEASE_STEP ? (r->left - 1) / RELEASE_STEP * RELEASE_STEP : 0;

    r->left = to;
    if (to == 0 || ftruncate(r->fd, (off_t)to)) /* or it goes as a whole */
        done(r);
    return r->fd >= 0;
}

void release_all(struct release *r)
{
    while (release_some(r))
        ;
}
