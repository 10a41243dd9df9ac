/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first look at a call, on the caller's stack and without vector registers: is it certainly none of ours?
 *
 * "Ours" may be a false alarm (the handler then passes the call on); "not ours" may not. A path is ours when it
 * starts like a mount, is relative while the working directory is in a volume, or leads through /proc/self/fd. A
 * descriptor not known yet is looked at once: ours are O_PATH descriptors of a memfd. One that is known is mostly
 * not even asked about: the door's stubs look into fd_state themselves.
 *
 * While mappings are filled where they are touched (lazy.h) the door asks about calls that are given an address near
 * them, too.
 *
 * The child of a fork need not come here with its first call: what it inherited stays as it was noted, and what
 * concerns a volume goes to the handler, which notices.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <linux/openat2.h>
#include <poll.h>

#include "client/door/door.h"
#include "client/nfs/rpc.h"
#include "client/shim/fault.h"
#include "client/shim/lazy.h"
#include "client/shim/shim.h"

#ifndef O_PATH
#define O_PATH 010000000
#endif
#define AT_FDCWD_VALUE (-100)

/*
 * Reads of the program's memory, of which nobody knows whether it is there: where one faults, fault_handler goes on
 * at its fixup, which says so.
 */
#define FILTER_PEEK(name, type, reg, insn)                                                                         \
    static inline bool name(const volatile void *at, type *value)                                                  \
    {                                                                                                              \
        uint32_t bad = 0;                                                                                          \
        type got;                                                                                                  \
                                                                                                                   \
        __asm__ volatile("1: " insn " %2, %" reg "0\n"                                                             \
                         "2:\n"                                                                                    \
                         ".pushsection .text.shim_fix, \"ax\", @progbits\n"                                        \
                         "3: movl $1, %1\n"                                                                        \
                         "   xorl %k0, %k0\n"                                                                      \
                         "   jmp 2b\n"                                                                             \
                         ".popsection\n"                                                                           \
                         ".pushsection shim_fix, \"a\", @progbits\n"                                               \
                         "   .balign 4\n"                                                                          \
                         "   .long 1b - ., 3b - .\n"                                                               \
                         ".popsection\n"                                                                           \
                         : "=&r"(got), "+r"(bad)                                                                   \
                         : "m"(*(const volatile type *)at));                                                       \
        *value = got;                                                                                              \
        return bad == 0;                                                                                           \
    }
FILTER_PEEK(filter_peek64, uint64_t, "", "movq")
FILTER_PEEK(filter_peek32, uint32_t, "k", "movl")
#undef FILTER_PEEK

bool shim_is_child(void)
{
    uint32_t made = __atomic_load_n(&door_made, __ATOMIC_RELAXED);

    if (made == door_seen && shim.counts)
        return false;
    if (sys0(SYS_getpid) != shim.pid)
        return true;
    door_seen = made; /* a vfork child of this thread would run in its place: there is none */
    return false;
}

/* A descriptor turned out not to be ours. A vfork child has our memory but descriptors of its own. */
static void filter_local(int fd)
{
    uint8_t unknown = FD_UNKNOWN;

    if (fd < SHIM_FDS && !shim_is_child() && !(fd > 127 && rpc_owns_fd(fd)))
        __atomic_compare_exchange_n(&fd_state[fd], &unknown, FD_LOCAL, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static bool filter_fd(int fd)
{
    long flags;

    if (fd < 0)
        return false;
    if (fd < SHIM_FDS && fd_state[fd] != FD_UNKNOWN)
        return fd_state[fd] == FD_OURS;
    flags = sys2(SYS_fcntl, fd, F_GETFL);
    if (flags < 0)
        return false;
    if (flags & O_PATH)
        return true; /* perhaps: the handler looks closer */
    filter_local(fd);
    return false;
}

static inline bool filter_prefix(const char *path, const char *prefix, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (path[i] != prefix[i])
            return false;
    return path[len] == 0 || path[len] == '/';
}

/* Names of descriptors: /proc/self/fd/N, /proc/PID/cwd ..., /dev/fd/N, /dev/stdin. */
static inline bool filter_special(const char *path)
{
    if (path[1] == 'p')
        return path[2] == 'r' && path[3] == 'o' && path[4] == 'c' && path[5] == '/';
    return path[1] == 'd' && path[2] == 'e' && path[3] == 'v' && path[4] == '/' &&
           ((path[5] == 'f' && path[6] == 'd') || (path[5] == 's' && path[6] == 't' && path[7] == 'd'));
}

enum filter_text { TEXT_BAD, TEXT_PLAIN, TEXT_UP };

/* Whether a text is there, up to its end, and has two dots in a row: a/../.. may lead anywhere. Eight bytes at a time,
 * from a multiple of eight, so that nothing behind the end is missed. */
static enum filter_text filter_text(const char *path)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u, dot = '.' * ones;
    const uint64_t *at = (const uint64_t *)((uintptr_t)path & ~7ul);
    unsigned skip = 8 * ((uintptr_t)path & 7);
    uint64_t word, zero, dots, last = 0;

    if (!filter_peek64(at, &word))
        return TEXT_BAD;
    word |= ((uint64_t)1 << skip) - 1; /* what stands before it: neither dot nor end */
    for (;;) {
        zero = (word - ones) & ~word & high;
        dots = ((word ^ dot) - ones) & ~(word ^ dot) & high;
        if (zero != 0)
            dots &= zero ^ (zero - 1);
        if (dots & (dots << 8 | last))
            return TEXT_UP;
        if (zero != 0)
            return TEXT_PLAIN;
        last = dots >> 56;
        if (!filter_peek64(++at, &word))
            return TEXT_BAD;
    }
}

static bool filter_path(const char *path, int dirfd)
{
    enum filter_text text;

    if ((unsigned long)path < 4096)
        return false; /* NULL and near it: EFAULT, from the kernel */
    text = filter_text(path);
    if (text == TEXT_BAD)
        return false; /* the kernel will say so */
    if (path[0] == '/') {
        if (text == TEXT_UP)
            return true;
        if (path[1] == '/' || path[1] == '.')
            return true; /* unusual: let the resolver take it apart */
        if (shim.top_len != 0 && filter_prefix(path, shim.top, shim.top_len))
            return true;
        if (filter_special(path))
            return true;
        if (shim.apart)
            for (unsigned i = 0; i < shim.nmounts; i++)
                if (filter_prefix(path, shim.run->mounts[i].path, shim.run->mounts[i].len))
                    return true;
        return shim.dir_len != 0 && filter_prefix(path, shim.mirror, shim.mirror_len);
    }
    if (dirfd == AT_FDCWD_VALUE) {
        if (path_cwd_ours != 1)
            return true;
        /* "..": the handler follows it */
        return path[0] == '.' && path[1] == '.';
    }
    return filter_fd(dirfd);
}

static bool filter_poll(const struct pollfd *fds, unsigned n)
{
    uint32_t fd;

    if (fds == NULL || n > SHIM_FDS)
        return false;
    for (unsigned i = 0; i < n; i++)
        if (filter_peek32(&fds[i].fd, &fd) && filter_fd((int)fd))
            return true;
    return false;
}

static bool filter_set(const uint64_t *set, int n)
{
    if (set == NULL)
        return false;
    for (int base = 0; base < n; base += 64) {
        uint64_t bits;

        if (!filter_peek64(&set[base / 64], &bits))
            return false;
        for (; bits != 0; bits &= bits - 1) {
            int fd = base + __builtin_ctzll(bits);

            if (fd < n && filter_fd(fd))
                return true;
        }
    }
    return false;
}

/* dup2: a local descriptor that becomes a copy of another local one stays local; one not open stays unknown. */
static bool filter_replace(int from, int to)
{
    if (from < 0 || to < 0)
        return false;
    if (rpc_owns_fd(to) || filter_fd(from))
        return true;
    return filter_fd(to);
}

__thread int shim_deep;

/*
 * Folders that were there a moment ago, by a hash of their absolute names: nothing below them is missed because of a
 * link on the way. Not believed any more once the run has made or moved a link anywhere, so that only others can put a
 * link in a folder's place unnoticed, for some milliseconds. That a name is missing is never remembered: who asks again may
 * have been told that it is there now.
 */
#define FILTER_DIRS 256
#define FILTER_DIR_TICKS (1ull << 25) /* of the processor's counter: about 10 ms */
#define FILTER_DIR_MAX 512

static struct {
    uint64_t hash, ticks;
    uint32_t links;
} filter_dirs[FILTER_DIRS];

/* By this call a symbolic link may come to be where there was none. */
static bool filter_links(long nr)
{
    switch (nr) {
    case SYS_symlink:
    case SYS_symlinkat:
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_link:
    case SYS_linkat:
        return true;
    default:
        return false;
    }
}

static uint64_t filter_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

/* May a path that leads nowhere for the kernel lead somewhere through a symbolic link into a volume? */
static bool filter_linked(int dirfd, const char *path, bool nofollow)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    uint64_t hash = 0xcbf29ce484222325u;
    char dir[FILTER_DIR_MAX], byte;
    size_t len = 0, end = 0;
    uint32_t links = __atomic_load_n(&shim.run->links, __ATOMIC_ACQUIRE);
    unsigned slot;
    long ret;

    if (filter_text(path) == TEXT_UP)
        return true; /* not looked for by the door */
    if (!nofollow) {
        ret = sys4(SYS_readlinkat, dirfd, path, &byte, 1);
        if (ret != -ENOENT && ret != -ENOTDIR)
            return ret >= 0; /* a link to nowhere */
    }
    for (; path[len] != 0; len++)
        if (path[len] == '/' && path[len + 1] != '/' && path[len + 1] != 0)
            end = len;
    if (len > 0 && path[len - 1] == '/')
        for (end = len; end > 0 && path[end - 1] == '/'; end--) /* the last name is followed too */
            ;
    if (end == 0)
        return false; /* a name in a folder that is there */
    if (end >= FILTER_DIR_MAX)
        return true;
    for (size_t k = 0; k < end; k++) {
        dir[k] = path[k];
        hash = (hash ^ (uint8_t)path[k]) * 0x100000001b3u;
    }
    dir[end] = 0;
    slot = (unsigned)(hash >> 32) % FILTER_DIRS;
    if (path[0] == '/' && filter_dirs[slot].hash == hash && filter_dirs[slot].links == links &&
        filter_ticks() - filter_dirs[slot].ticks < FILTER_DIR_TICKS)
        return false;
    ret = sys4(SYS_openat2, dirfd, dir, &how, sizeof(how));
    if (ret >= 0)
        sys1(SYS_close, ret);
    else if (ret == -ENOENT || ret == -ENOTDIR || ret == -EFAULT)
        return false; /* missing, and no link before what is missing */
    else if (sys4(SYS_faccessat, dirfd, dir, 0, 0) != 0)
        return true;
    if (path[0] == '/') {
        filter_dirs[slot].ticks = filter_ticks();
        filter_dirs[slot].links = links;
        filter_dirs[slot].hash = hash;
    }
    return false;
}

/* Calls that look at a symbolic link itself: bit 0 for the first path, bit 1 for the second. */
static unsigned filter_nofollow(long nr, const long args[6])
{
    switch (nr) {
    case SYS_lstat:
    case SYS_readlink:
    case SYS_readlinkat:
    case SYS_unlink:
    case SYS_unlinkat:
    case SYS_rmdir:
    case SYS_mkdir:
    case SYS_mkdirat:
    case SYS_symlink:
    case SYS_symlinkat:
    case SYS_lchown:
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2:
        return 3;
    case SYS_newfstatat:
        return args[3] & AT_SYMLINK_NOFOLLOW ? 3 : 0;
    case SYS_statx:
        return args[2] & AT_SYMLINK_NOFOLLOW ? 3 : 0;
    default:
        return 0;
    }
}

int door_missed(long nr, long args[6])
{
    const struct call_row *row = &call_table[nr];
    unsigned nofollow = filter_nofollow(nr, args);

    if (shim_inside)
        return DOOR_PASS;
    if (!filter_linked(row->kind & ARG_AT ? (int)args[row->fd] : AT_FDCWD_VALUE, (const char *)args[row->path],
                       nofollow & 1) &&
        (!(row->kind & ARG_PATH2) || !filter_linked(row->kind & ARG_AT ? (int)args[row->fd2] : AT_FDCWD_VALUE,
                                                    (const char *)args[row->path2], nofollow & 2)))
        return DOOR_PASS;
    shim_deep = 1;
    return DOOR_TAKE;
}

/* May the descriptor that this open gives be ours after all, or is it not this process's? */
static bool filter_doubtful(long nr, const long args[6])
{
    int flags = nr == SYS_open ? (int)args[1] : nr == SYS_openat ? (int)args[2] : nr == SYS_creat ? 0 : O_PATH;

    return (flags & O_PATH) || shim_is_child();
}

/* sigprocmask, without the two signals that stay open; see fault.h. */
static int filter_mask(long *args)
{
    const uint64_t *set = (const uint64_t *)args[1];
    uint64_t given = 0, masked = fault_masked;
    struct fault_jmp jmp;
    long ret;

    if (args[3] != 8 || (set == NULL && masked == 0))
        return DOOR_PASS;
    if (set != NULL) {
        fault_guard(&jmp);
        if (fault_set(&jmp) != 0)
            return DOOR_PASS;
        given = *(volatile const uint64_t *)set;
        fault_unguard(&jmp);
        if (masked == 0 && (given & FAULT_SIGNALS) == 0)
            return DOOR_PASS;
    }
    {
        uint64_t kernel = given & ~FAULT_SIGNALS;

        ret = sys4(SYS_rt_sigprocmask, args[0], set != NULL ? &kernel : NULL, args[2], 8);
    }
    if (ret == 0 && args[2] != 0)
        *(uint64_t *)args[2] |= masked;
    given &= FAULT_SIGNALS;
    if (ret == 0 && set != NULL)
        fault_masked = args[0] == SIG_BLOCK ? masked | given : args[0] == SIG_UNBLOCK ? masked & ~given : given;
    door_result(args, ret);
    return DOOR_DONE;
}

/* The same of an action's mask. */
static int filter_action(long *args)
{
    const struct fault_action *act = (const struct fault_action *)args[1];
    unsigned number = (unsigned)args[0];
    struct fault_action copy;
    struct fault_jmp jmp;
    uint8_t bits, old;
    long ret;

    if (number == 0 || number > 64 || args[3] != 8 || (act == NULL && fault_action_masks[number] == 0))
        return DOOR_PASS;
    old = fault_action_masks[number];
    bits = old;
    if (act != NULL) {
        fault_guard(&jmp);
        if (fault_set(&jmp) != 0)
            return DOOR_PASS;
        copy.handler = ((volatile const struct fault_action *)act)->handler;
        copy.flags = act->flags;
        copy.restorer = act->restorer;
        copy.mask = act->mask;
        fault_unguard(&jmp);
        bits = (uint8_t)((copy.mask >> (SIGSEGV - 1) & 1) | (copy.mask >> (SIGBUS - 1) & 1) << 1);
        copy.mask &= ~FAULT_SIGNALS;
    }
    if (bits == 0 && old == 0)
        return DOOR_PASS;
    ret = sys4(SYS_rt_sigaction, number, act != NULL ? &copy : NULL, args[2], 8);
    if (ret == 0 && args[2] != 0)
        ((struct fault_action *)args[2])->mask |= (uint64_t)(old & 1) << (SIGSEGV - 1) | (uint64_t)(old >> 1 & 1) << (SIGBUS - 1);
    if (ret == 0 && act != NULL && !shim_is_child()) /* a vfork child has our memory */
        fault_action_masks[number] = bits;
    door_result(args, ret);
    return DOOR_DONE;
}

int door_filter(long nr, long args[6])
{
    const struct call_row *row = &call_table[nr];

    if (row->run == NULL) { /* DOOR_COUNT, from a site that does not know its number */
        uint64_t flags = (uint64_t)args[0];

        if ((nr == SYS_clone || (nr == SYS_clone3 && filter_peek64((const void *)args[0], &flags))) &&
            (flags & (CLONE_FILES | CLONE_VM)) == CLONE_FILES) {
            door_result(args, -EINVAL); /* as a stub that knows it */
            return DOOR_DONE;
        }
        __atomic_add_fetch(&door_made, 1, __ATOMIC_RELAXED);
        return DOOR_PASS;
    }
    if (nr == SYS_rt_sigprocmask && !shim_inside)
        return filter_mask(args);
    if (filter_links(nr))
        __atomic_add_fetch(&shim.run->links, 1, __ATOMIC_ACQ_REL);
    if (shim_filter(nr, args))
        return DOOR_TAKE;
    if (nr == SYS_rt_sigaction && !shim_inside)
        return filter_action(args);
    if (!(row->kind & ARG_PATH) || shim_inside)
        return DOOR_PASS;
    if ((row->kind & ARG_OPENS) && filter_doubtful(nr, args)) {
        long result = sys6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);

        if (result == -ENOENT && door_missed(nr, args) == DOOR_TAKE)
            return DOOR_TAKE;
        door_result(args, result);
        return DOOR_DONE;
    }
    return DOOR_LOOK;
}

/* What takes a look at the program's memory. */
static bool filter_memory(const struct call_row *row, const long args[6])
{
    uint64_t word;
    uint32_t half;

    if (row->kind & ARG_MANY) {
        for (unsigned i = 0; i < (unsigned)args[2] && i < UIO_MAXIOV; i++)
            if (filter_peek64(&((const struct mmsghdr *)args[1])[i].msg_hdr.msg_controllen, &word) && word != 0)
                return true;
        return false;
    }
    if (row->kind & ARG_SEND)
        return filter_peek64(&((const struct msghdr *)args[1])->msg_controllen, &word) && word != 0;
    if (row->kind & ARG_BIND)
        return (unsigned)args[2] > 2 && filter_peek32((const void *)args[1], &half) && (uint16_t)half == AF_UNIX;
    if (row->kind & ARG_PATH) {
        if (filter_path((const char *)args[row->path], row->kind & ARG_AT ? (int)args[row->fd] : AT_FDCWD_VALUE))
            return true;
    }
    if (row->kind & ARG_PATH2) {
        if (filter_path((const char *)args[row->path2], row->kind & ARG_AT ? (int)args[row->fd2] : AT_FDCWD_VALUE))
            return true;
    }
    if (row->kind & ARG_POLL)
        return filter_poll((const struct pollfd *)args[0], (unsigned)args[1]);
    if (row->kind & ARG_SELECT) {
        int n = (int)args[0] < SHIM_FDS ? (int)args[0] : SHIM_FDS;

        return filter_set((const uint64_t *)args[1], n) || filter_set((const uint64_t *)args[2], n) ||
               filter_set((const uint64_t *)args[3], n);
    }
    return false;
}

/* Memory that shows something of ours? */
static bool filter_shown(long at, long size)
{
    uintptr_t from = (uintptr_t)at, to;

    if (__builtin_add_overflow(from, (uintptr_t)size, &to))
        return true;
    to += 4095; /* sizes are rounded up */
    return (from < map_high && to > map_low) || (from < lazy_high && to > lazy_low);
}

static bool filter_map(long nr, const long args[6])
{
    if (nr == SYS_mmap)
        return (args[3] & MAP_FIXED) && filter_shown(args[0], args[1]);
    return filter_shown(args[0], args[1]) ||
           (nr == SYS_mremap && (args[3] & MREMAP_FIXED) && filter_shown(args[4], args[2]));
}

static bool filter_vector(long at, long n)
{
    const struct iovec *iov = (const struct iovec *)at;
    uint64_t base;

    for (int i = 0; i < (int)n && i < UIO_MAXIOV; i++)
        if (!filter_peek64(&iov[i].iov_base, &base) || lazy_near((long)base))
            return true;
    return false;
}

/* Calls that look at more memory than their arguments say. */
static bool filter_deep(long nr, const long args[6])
{
    const struct msghdr *message = (const struct msghdr *)args[1];
    uint64_t word, n;

    switch (nr) {
    case SYS_mprotect:
    case SYS_madvise:
    case SYS_mlock:
    case SYS_mlock2:
        return filter_shown(args[0], args[1]);
    case SYS_sendmmsg:
        return true;
    case SYS_sendmsg:
        return !filter_peek64(&message->msg_iov, &word) || !filter_peek64(&message->msg_iovlen, &n) || lazy_near((long)word) ||
               filter_vector((long)word, (long)n);
    default: /* a vector as second argument */
        return filter_vector(args[1], args[2]);
    }
}

bool shim_filter(long nr, const long args[6])
{
    const struct call_row *row;

    if (shim_inside)
        return false;
    row = &call_table[nr];
    if (row->kind & ARG_ALWAYS)
        return true;
    if (lazy_count != 0 && (lazy_args(args) || ((row->kind & ARG_LAZY) && filter_deep(nr, args))))
        return true;
    if (row->kind & ARG_CLOSES) {
        int fd = (int)args[0];

        if (fd < 0)
            return false;
        if (fd < SHIM_FDS && fd_state[fd] == FD_LOCAL) {
            fd_state[fd] = FD_UNKNOWN;
            return false;
        }
        if (fd > 127 && rpc_owns_fd(fd))
            return true;
        return filter_fd(fd);
    }
    if ((row->kind & ARG_FD) && filter_fd((int)args[row->fd]))
        return true;
    if ((row->kind & ARG_MAP) && map_regions != 0 && filter_map(nr, args))
        return true;
    if (row->kind & ARG_REPLACE)
        return filter_replace((int)args[0], (int)args[1]);
    if (row->kind & ARG_SIGNAL)
        return (int)args[0] == SIGSEGV || (int)args[0] == SIGBUS;
    return filter_memory(row, args);
}
