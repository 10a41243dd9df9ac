/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_file_range, sendfile, splice: through memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "client/shim/shim.h"

#define SPLICE_MAX (64u << 10) /* a pipe's size */

/* One side of a copy: a volume file or any other descriptor. */
struct side {
    struct ofd *ofd;
    int fd;
    int64_t *at; /* NULL: its own offset */
};

static long side_read(const struct side *s, void *buf, size_t size)
{
    struct iovec iov = {buf, size};
    long n;

    if (s->ofd == NULL)
        return s->at != NULL ? sys4(SYS_pread64, s->fd, buf, size, *s->at)
                             : shim_blocking(SYS_read, s->fd, SYS_ARG(buf), (long)size, 0);
    n = s->at != NULL ? file_read_at(s->ofd, &iov, 1, *s->at) : file_read_next(s->ofd, &iov, 1);
    return n;
}

static long side_write(const struct side *s, const void *buf, size_t size)
{
    struct iovec iov = {(void *)buf, size};

    if (s->ofd == NULL)
        return s->at != NULL ? sys4(SYS_pwrite64, s->fd, buf, size, *s->at)
                             : shim_blocking(SYS_write, s->fd, SYS_ARG(buf), (long)size, 0);
    return s->at != NULL ? file_write_at(s->ofd, &iov, 1, *s->at) : file_write_next(s->ofd, &iov, 1);
}

/* Copies through memory. What was read and not written is given back to the source's offset if it has one. */
static long side_copy(struct side *in, struct side *out, size_t size)
{
    size_t done = 0, room = size < (1u << 20) ? size : 1u << 20;
    uint8_t *buf = heap_alloc(room > 0 ? room : 1);
    long n = 0, w;

    if (buf == NULL)
        return -ENOMEM;
    while (done < size) {
        n = side_read(in, buf, size - done < room ? size - done : room);
        if (n <= 0)
            break;
        w = side_write(out, buf, (size_t)n);
        if (w > 0) {
            if (in->at != NULL)
                *in->at += w;
            if (out->at != NULL)
                *out->at += w;
            done += (size_t)w;
        }
        if (w < n) {
            long back = n - (w > 0 ? w : 0);

            if (in->at == NULL && in->ofd != NULL) {
                ofd_lock(in->ofd);
                in->ofd->offset -= back;
                ofd_unlock(in->ofd);
            } else if (in->at == NULL) {
                sys3(SYS_lseek, in->fd, -back, SEEK_CUR);
            }
            n = w;
            break;
        }
        if (in->ofd == NULL && in->at == NULL && sys3(SYS_lseek, in->fd, 0, SEEK_CUR) < 0)
            break; /* a pipe: what was there is enough */
    }
    heap_free(buf);
    return done > 0 ? (long)done : n;
}

long sc_copy_file_range(const long a[6])
{
    struct side in = {ofd_get((int)a[0]), (int)a[0], (int64_t *)a[1]};
    struct side out = {ofd_get((int)a[2]), (int)a[2], (int64_t *)a[3]};

    if (in.ofd == NULL && out.ofd == NULL)
        return shim_pass(SYS_copy_file_range, a);
    if (sys2(SYS_fcntl, in.fd, F_GETFD) < 0 || sys2(SYS_fcntl, out.fd, F_GETFD) < 0)
        return -EBADF;
    if ((in.ofd == NULL) != (out.ofd == NULL))
        return -EXDEV; /* programs fall back to read and write */
    if (out.ofd->type == NFS_DIR)
        return -EISDIR;
    if ((out.ofd->flags & O_APPEND) || file_readable(in.ofd) != 0)
        return out.ofd->flags & O_APPEND ? -EBADF : file_readable(in.ofd);
    if (file_writable(out.ofd) != 0 || (unsigned)a[5] != 0)
        return (unsigned)a[5] != 0 ? -EINVAL : file_writable(out.ofd);
    return side_copy(&in, &out, (size_t)a[4] < IO_MAX ? (size_t)a[4] : IO_MAX);
}

long sc_sendfile(const long a[6])
{
    struct side out = {ofd_get((int)a[0]), (int)a[0], NULL};
    struct side in = {ofd_get((int)a[1]), (int)a[1], (int64_t *)a[2]};

    if (in.ofd == NULL && out.ofd == NULL)
        return shim_pass(SYS_sendfile, a);
    if (sys2(SYS_fcntl, in.fd, F_GETFD) < 0 || (in.ofd != NULL && in.ofd->type != NFS_DIR && file_readable(in.ofd) != 0) ||
        sys2(SYS_fcntl, out.fd, F_GETFD) < 0 || (out.ofd != NULL && file_writable(out.ofd) != 0))
        return -EBADF;
    if ((in.ofd != NULL && in.ofd->type != NFS_REG) || (out.ofd != NULL && (out.ofd->flags & O_APPEND)) ||
        (in.ofd == NULL && sys3(SYS_lseek, in.fd, 0, SEEK_CUR) < 0))
        return -EINVAL; /* sendfile reads what can be mapped */
    return side_copy(&in, &out, (size_t)a[3] < IO_MAX ? (size_t)a[3] : IO_MAX);
}

long sc_splice(const long a[6])
{
    struct side in = {ofd_get((int)a[0]), (int)a[0], (int64_t *)a[1]};
    struct side out = {ofd_get((int)a[2]), (int)a[2], (int64_t *)a[3]};

    if (in.ofd == NULL && out.ofd == NULL)
        return shim_pass(SYS_splice, a);
    if (sys2(SYS_fcntl, in.fd, F_GETFD) < 0 || sys2(SYS_fcntl, out.fd, F_GETFD) < 0)
        return -EBADF;
    /* One side must be a pipe. What is read from it is less than it holds, so a write back never waits. */
    if ((in.ofd != NULL && out.ofd != NULL) || sys2(SYS_fcntl, in.ofd != NULL ? out.fd : in.fd, F_GETPIPE_SZ) < 0)
        return -EINVAL;
    if ((in.ofd != NULL ? out.at : in.at) != NULL)
        return -ESPIPE;
    if (in.ofd != NULL ? file_readable(in.ofd) != 0 : file_writable(out.ofd) != 0)
        return in.ofd != NULL && in.ofd->type == NFS_DIR ? -EINVAL : -EBADF;
    return side_copy(&in, &out, (size_t)a[4] < SPLICE_MAX ? (size_t)a[4] : SPLICE_MAX);
}
