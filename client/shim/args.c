/* SPDX-License-Identifier: Apache-2.0 */
/* What calls point at, touched before anything is done. Uses nothing but its own code: a fault elsewhere is not caught. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <utime.h>

#include "client/shim/fault.h"
#include "client/shim/lazy.h"

#define ARGS_PAGE 4096ul
#define ARGS_USER 0x00007ffffffff000ul /* the end of the program's addresses */

/* Touches a byte per page; what there is of size bytes from at. write: with something that changes nothing. */
static size_t args_touch(const void *start, size_t size, bool write)
{
    struct fault_jmp jmp;
    volatile size_t good = 0;
    uintptr_t at = (uintptr_t)start;

    if (size == 0)
        return 0;
    if (at >= ARGS_USER)
        return 0;
    if (size > ARGS_USER - at)
        size = ARGS_USER - at;
    fault_guard(&jmp);
    if (fault_set(&jmp) != 0)
        return good; /* the guard is gone */
    while (good < size) {
        uint8_t *byte = (uint8_t *)(at + good);
        size_t next = ARGS_PAGE - ((at + good) & (ARGS_PAGE - 1));

        if (write)
            __asm__ volatile("lock orb $0, %0" : "+m"(*byte) : : "memory", "cc");
        else
            (void)*(volatile uint8_t *)byte;
        good = size - good < next ? size : good + next;
    }
    fault_unguard(&jmp);
    return good;
}

static bool args_in(long at, size_t size)
{
    return args_touch((const void *)at, size, false) == size;
}

static bool args_out(long at, size_t size)
{
    return args_touch((const void *)at, size, true) == size;
}

/* NULL is an answer too. */
static bool args_in_or_null(long at, size_t size)
{
    return at == 0 || args_in(at, size);
}

static bool args_out_or_null(long at, size_t size)
{
    return at == 0 || args_out(at, size);
}

static bool args_text(long at)
{
    const char *text = (const char *)at;
    struct fault_jmp jmp;

    if ((uintptr_t)at >= ARGS_USER)
        return false;
    fault_guard(&jmp);
    if (fault_set(&jmp) != 0)
        return false;
    for (size_t i = 0; i < SHIM_PATH && ((volatile const char *)text)[i] != 0; i++)
        ;
    fault_unguard(&jmp);
    return true;
}

/* A list of texts that ends with NULL, as argv. */
static bool args_texts(long at)
{
    const long *list = (const long *)at;

    if (at == 0)
        return true;
    for (;; list++) {
        if (!args_in((long)list, sizeof(*list)))
            return false;
        if (*list == 0)
            return true;
        if (!args_text(*list))
            return false;
    }
}

static bool args_vector(long at, long n, bool write)
{
    const struct iovec *iov = (const struct iovec *)at;

    if ((int)n <= 0 || (int)n > IOV_MAX)
        return true; /* EINVAL, or nothing to look at */
    if (!args_in(at, (size_t)(int)n * sizeof(*iov)))
        return false;
    for (int i = 0; i < (int)n; i++)
        if (iov[i].iov_len <= LONG_MAX && args_touch(iov[i].iov_base, iov[i].iov_len, write) != iov[i].iov_len)
            return false;
    return true;
}

/* As much of a buffer as there is; none: EFAULT. */
static bool args_buffer(long at, long *size, bool write)
{
    size_t want = (size_t)*size < 0x7ffff000 ? (size_t)*size : 0x7ffff000, have;

    if (want == 0)
        return true;
    have = args_touch((const void *)at, want, write);
    if (have == 0)
        return false;
    *size = (long)have;
    return true;
}

static bool args_paths(const struct call_row *row, const long a[6])
{
    if ((row->kind & ARG_PATH) && a[row->path] != 0 && !args_text(a[row->path]))
        return false;
    return !(row->kind & ARG_PATH2) || args_text(a[row->path2]);
}

static bool args_good(long nr, long a[6])
{
    switch (nr) {
    case SYS_read:
    case SYS_pread64:
    case SYS_getdents64:
        return args_buffer(a[1], &a[2], true);
    case SYS_write:
    case SYS_pwrite64:
        return args_buffer(a[1], &a[2], false);
    case SYS_readv:
    case SYS_preadv:
    case SYS_preadv2:
        return args_vector(a[1], a[2], true);
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
        return args_vector(a[1], a[2], false);
    case SYS_stat:
    case SYS_lstat:
    case SYS_fstat:
        return args_out(a[1], sizeof(struct stat));
    case SYS_newfstatat:
        return args_out(a[2], sizeof(struct stat));
    case SYS_statx:
        return args_out(a[4], sizeof(struct statx));
    case SYS_statfs:
    case SYS_fstatfs:
        return args_out(a[1], sizeof(struct statfs));
    case SYS_readlink:
        return (int)a[2] <= 0 || args_out(a[1], 1);
    case SYS_readlinkat:
        return (int)a[3] <= 0 || args_out(a[2], 1);
    case SYS_utime:
        return args_in_or_null(a[1], sizeof(struct utimbuf));
    case SYS_utimes:
        return args_in_or_null(a[1], 2 * sizeof(struct timeval));
    case SYS_futimesat:
        return args_in_or_null(a[2], 2 * sizeof(struct timeval));
    case SYS_utimensat:
        return args_in_or_null(a[2], 2 * sizeof(struct timespec));
    case SYS_openat2:
        return args_in(a[2], (size_t)a[3] < 4096 ? (size_t)a[3] : 4096);
    case SYS_symlink:
    case SYS_symlinkat:
        return args_text(a[0]);
    case SYS_fcntl:
        return !(a[1] == F_GETLK || a[1] == F_SETLK || a[1] == F_SETLKW || a[1] == F_OFD_GETLK ||
                 a[1] == F_OFD_SETLK || a[1] == F_OFD_SETLKW) ||
               (a[1] == F_GETLK || a[1] == F_OFD_GETLK ? args_out(a[2], sizeof(struct flock))
                                                       : args_in(a[2], sizeof(struct flock)));
    case SYS_sendfile:
        return args_out_or_null(a[2], sizeof(off_t));
    case SYS_copy_file_range:
    case SYS_splice:
        return args_out_or_null(a[1], sizeof(off_t)) && args_out_or_null(a[3], sizeof(off_t));
    case SYS_poll:
    case SYS_ppoll:
        return (unsigned)a[1] > SHIM_FDS ||
               (args_out(a[0], (unsigned)a[1] * sizeof(struct pollfd)) && (nr == SYS_poll || a[3] == 0 || args_in(a[3], 8)));
    case SYS_select:
    case SYS_pselect6: {
        size_t size = a[0] <= 0 ? 0 : ((size_t)(int)a[0] + 63) / 64 * 8;

        return args_out_or_null(a[1], size) && args_out_or_null(a[2], size) && args_out_or_null(a[3], size) &&
               args_in_or_null(a[4], sizeof(struct timespec));
    }
    case SYS_execve:
        return (a[0] == 0 || args_text(a[0])) && args_texts(a[1]) && args_texts(a[2]);
    case SYS_execveat:
        return (a[1] == 0 || args_text(a[1])) && args_texts(a[2]) && args_texts(a[3]);
    case SYS_chdir:
        return a[0] == 0 || args_text(a[0]);
    case SYS_sendmsg:
        return args_in(a[1], sizeof(struct msghdr)) &&
               args_in((long)((struct msghdr *)a[1])->msg_control,
                       ((struct msghdr *)a[1])->msg_controllen < (1u << 20) ? ((struct msghdr *)a[1])->msg_controllen : 1);
    case SYS_sendmmsg: {
        const struct mmsghdr *v = (const struct mmsghdr *)a[1];
        unsigned n = (unsigned)a[2] < IOV_MAX ? (unsigned)a[2] : IOV_MAX;

        if (!args_in(a[1], n * sizeof(*v)))
            return false;
        for (unsigned i = 0; i < n; i++) {
            size_t size = v[i].msg_hdr.msg_controllen;

            if (size != 0 && !args_in((long)v[i].msg_hdr.msg_control, size < (1u << 20) ? size : 1))
                return false;
        }
        return true;
    }
    case SYS_bind:
        return (unsigned)a[2] > 4096 || args_in(a[1], (unsigned)a[2]);
    case SYS_rt_sigaction:
        return args_in_or_null(a[1], 32) && args_out_or_null(a[2], 32);
    default:
        return true;
    }
}

static void keep(long at, size_t size)
{
    if (size == 0 || (uintptr_t)at >= ARGS_USER)
        return;
    if (size > ARGS_USER - (uintptr_t)at)
        size = ARGS_USER - (uintptr_t)at;
    if ((uintptr_t)at < lazy_high && (uintptr_t)at + size > lazy_low)
        map_keep((uint8_t *)at, (uint8_t *)at + size);
}

static void keep_vector(long at, long n)
{
    const struct iovec *iov = (const struct iovec *)at;

    if ((int)n <= 0 || (int)n > IOV_MAX)
        return;
    keep(at, (size_t)(int)n * sizeof(*iov));
    if (!args_in(at, (size_t)(int)n * sizeof(*iov)))
        return;
    for (int i = 0; i < (int)n; i++)
        keep((long)iov[i].iov_base, iov[i].iov_len);
}

static void keep_message(long at)
{
    const struct msghdr *m = (const struct msghdr *)at;

    keep(at, sizeof(*m));
    if (args_in(at, sizeof(*m)))
        keep_vector((long)m->msg_iov, (long)m->msg_iovlen);
}

void args_keep(long nr, const long a[6])
{
    switch (nr) {
    case SYS_mmap:
    case SYS_munmap:
    case SYS_mremap:
    case SYS_msync:
    case SYS_mprotect:
    case SYS_madvise:
    case SYS_mlock:
    case SYS_mlock2:
        return;
    case SYS_read:
    case SYS_write:
    case SYS_pread64:
    case SYS_pwrite64:
    case SYS_sendto:
    case SYS_recvfrom:
        keep(a[1], (size_t)a[2]);
        return;
    case SYS_readv:
    case SYS_writev:
    case SYS_preadv:
    case SYS_pwritev:
    case SYS_preadv2:
    case SYS_pwritev2:
    case SYS_vmsplice:
    case SYS_process_vm_writev:
        keep_vector(a[1], a[2]);
        return;
    case SYS_sendmsg:
        keep_message(a[1]);
        return;
    case SYS_sendmmsg:
        for (long i = 0; i < a[2] && i < IOV_MAX && args_in(a[1] + i * (long)sizeof(struct mmsghdr), sizeof(struct mmsghdr)); i++)
            keep_message(a[1] + i * (long)sizeof(struct mmsghdr));
        return;
    default:
        for (int i = 0; i < 6; i++)
            if (lazy_near(a[i]))
                keep(a[i], ARGS_PAGE);
    }
}

long args_check(long nr, long args[6])
{
    return args_paths(&call_table[nr], args) && args_good(nr, args) ? 0 : -EFAULT;
}
