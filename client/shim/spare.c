/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of closed files, kept with a descriptor at a high number for the next open: making a memfd, mapping it and
 * reopening it takes longer than a round trip to a server nearby, a dup of what is there a fraction of that.
 *
 * A record may only be used again when nobody else can still have a descriptor of it:
 *  1. Every descriptor that was counted is closed (ofd.refs is 0), and no call uses the mapping (ofd_map.refs is 0).
 *  2. Nothing was cloned in this process while it was open (ofd_map.made is still door_made): so no child inherited
 *     it, whether the fork was announced or not. Where clones cannot be counted nothing is kept.
 *  3. ofd.loose is not set: it was not sent in a message, not copied in a vfork child, and no process ever mapped it that
 *     did not make it. Who maps it sets the flag and then looks whether the descriptor still leads there (ofd_get), who
 *     closes it looks at the flag after the kernel's close, and who takes a spare looks again: a descriptor may have been
 *     taken by a call that nobody saw, and looked at only now.
 *  4. The spare's own descriptor is only ever duplicated. The program cannot close it by a call that we see
 *     (rpc_fd_keep); if it did otherwise, its inode is another one and the spare is dropped.
 *
 * A forked child drops what it inherited; a vfork child does not touch this.
 */
#include <errno.h>
#include <fcntl.h>

#include "client/nfs/rpc.h"
#include "client/shim/shim.h"

#define SPARE_MAX 12

static struct {
    struct vlock lock;
    struct spare v[SPARE_MAX];
    unsigned n;
    int keeps; /* descriptors, of spares lent out too */
} spares;

static void spare_stat(struct spare *spare, int fd)
{
    struct stat st;

    st.st_ino = 0;
    sys2(SYS_fstat, fd, &st);
    spare->ino = st.st_ino;
    spare->dev = st.st_dev;
}

bool spare_begin(struct spare *spare, int fd, int high)
{
    long keep;

    if (spare->keep >= 0)
        return true;
    if (__atomic_add_fetch(&spares.keeps, 1, __ATOMIC_RELAXED) > SPARE_MAX)
        goto no;
    keep = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, high);
    if (keep < 0)
        goto no;
    if (!rpc_fd_keep((int)keep)) {
        sys1(SYS_close, keep);
        goto no;
    }
    spare->keep = (int)keep;
    spare_stat(spare, spare->keep);
    return true;
no:
    __atomic_sub_fetch(&spares.keeps, 1, __ATOMIC_RELAXED);
    return false;
}

void spare_end(struct spare *spare)
{
    struct spare now;

    if (spare->keep < 0)
        return;
    rpc_fd_release(spare->keep);
    spare_stat(&now, spare->keep);
    if (now.ino == spare->ino && now.dev == spare->dev)
        sys1(SYS_close, spare->keep);
    spare->keep = -1;
    __atomic_sub_fetch(&spares.keeps, 1, __ATOMIC_RELAXED);
}

bool spare_put(const struct spare *spare)
{
    bool room;

    vlock_lock(&spares.lock);
    room = spares.n < SPARE_MAX;
    if (room) {
        spares.v[spares.n] = *spare;
        __atomic_store_n(&spares.n, spares.n + 1, __ATOMIC_RELEASE); /* another thread may fork here */
    }
    vlock_unlock(&spares.lock);
    return room;
}

int spare_take(struct spare *out, int flags, int low)
{
    struct spare now;
    long fd;

    if (spares.n == 0)
        return -ENOENT;
    vlock_lock(&spares.lock);
    if (spares.n == 0) {
        vlock_unlock(&spares.lock);
        return -ENOENT;
    }
    *out = spares.v[spares.n - 1];
    __atomic_store_n(&spares.n, spares.n - 1, __ATOMIC_RELEASE);
    vlock_unlock(&spares.lock);
    if (__atomic_load_n(&out->ofd->loose, __ATOMIC_SEQ_CST) != 0) {
        spare_drop(out);
        return -ENOENT;
    }
    fd = sys3(SYS_fcntl, out->keep, flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, low);
    if (fd < 0) {
        if (!spare_put(out))
            spare_drop(out);
        return (int)fd;
    }
    spare_stat(&now, (int)fd);
    if (now.ino != out->ino || now.dev != out->dev) {
        sys1(SYS_close, fd);
        spare_drop(out);
        return -ENOENT;
    }
    return (int)fd;
}

void spare_drop(struct spare *spare)
{
    sys2(SYS_munmap, spare->ofd, OFD_SIZE);
    spare_end(spare);
}

void spare_after_fork(void)
{
    spares.lock.word = 0;
    while (spares.n > 0)
        spare_drop(&spares.v[--spares.n]);
}
