/* SPDX-License-Identifier: Apache-2.0 */
/* The working directory, which the kernel keeps: in a mirror of the volume's folders when it lies in a volume. */
#include <errno.h>
#include <string.h>

#include "client/shim/path.h"

int path_cwd_ours;

/* The kernel's idea of the working directory; its length without the final zero. */
int path_kernel_cwd(char *buf, size_t size)
{
    long n = sys2(SYS_getcwd, buf, size);

    return n < 0 ? (int)n : (int)n - 1;
}

/* May a name below this directory be a mount? */
static bool path_leads(const char *dir)
{
    size_t len = strlen(dir);

    if (len == 1)
        return true;
    for (unsigned i = 0; i < shim.nmounts; i++)
        if (path_below(shim.run->mounts[i].path, dir, len))
            return true;
    return false;
}

int path_cwd(char *buf, size_t size)
{
    bool child = shim_is_vfork_child();
    int n;

    if (path_cwd_ours == 1 && !child)
        return 0;
    n = path_kernel_cwd(buf, size);
    if (n < 0)
        return n == -ENOENT ? 0 : n;
    if (!path_below(buf, shim.mirror, shim.mirror_len)) {
        if (!child)
            path_cwd_ours = path_leads(buf) ? 3 : 1;
        return 0;
    }
    if (!child)
        path_cwd_ours = 2;
    n -= (int)shim.mirror_len;
    memmove(buf, buf + shim.mirror_len, (size_t)n + 1);
    return n;
}
