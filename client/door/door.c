/* SPDX-License-Identifier: Apache-2.0
 * door: finds the libraries, builds stubs, patches.
 *
 * Order, so that a failure leaves every byte as it was: (1) tables of all libraries; (2) stub areas, filled and made
 * executable; (3) each library's code made writable, checked against its table, patched, made
 * executable again. Only (3) changes code, and it changes nothing of a library whose bytes are not what the
 * table says; if a library cannot be made writable after another was patched, the other is put back.
 * While code is writable it is not executable, so from (3) on only inline system calls are made here.
 */
#include "client/door/door.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "client/door/entry.h"
#include "client/door/sites.h"

#define LIBS_MAX   6
#define STUB_MAX   512 /* bytes of one stub, a multiple of STUB_ALIGN */
#define STUB_ALIGN 64  /* what runs straight through lies in as few lines of the cache as can be */
#define STUB_HEAD  4096 /* bytes before the first stub: pointers, in a page that stays writable */
#define PAGE       4096ul
#define NEAR       (1ul << 30)

/* Offsets in a stub area. */
struct stub {
    uint32_t at;  /* 0: the site is not patched */
    uint32_t raw; /* its syscall instruction */
};

struct lib {
    uintptr_t base, text, text_len; /* load bias; its executable pages */
    char path[512];
    struct sites sites;
    uint8_t *stubs;
    size_t stubs_len;
    struct stub *stub_at; /* per site */
    bool patched;
};

struct door {
    const struct door_conf *conf;
    struct lib libs[LIBS_MAX];
    unsigned nlibs;
    struct door_stat stat;
};

static struct door_stat last;
static struct door opened; /* its libs are looked at by door_fixup */

uint32_t door_made;

static bool wanted(const char *path)
{
    static const char *const names[] = {"libc.so.", "libc-2.", "ld-linux-x86-64.", "ld-2.",
                                        "libpthread.so.", "libpthread-2.", "librt.so.", "librt-2."};
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strncmp(name, names[i], strlen(names[i])))
            return true;
    return false;
}

static int found(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct door *d = arg;
    struct lib *l = &d->libs[d->nlibs];

    if (!wanted(info->dlpi_name) || d->nlibs == LIBS_MAX || strlen(info->dlpi_name) >= sizeof(l->path))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];

        if (p->p_type == PT_LOAD && (p->p_flags & PF_X)) {
            uintptr_t from = (info->dlpi_addr + p->p_vaddr) & ~(PAGE - 1);
            uintptr_t to = (info->dlpi_addr + p->p_vaddr + p->p_memsz + PAGE - 1) & ~(PAGE - 1);

            l->base = info->dlpi_addr;
            l->text = from;
            l->text_len = to - from;
            strcpy(l->path, info->dlpi_name);
            d->nlibs++;
            break;
        }
    }
    return 0;
}

static bool serves(const struct door_conf *conf, const struct site *s)
{
    return s->nr < 0 || conf->serve[s->nr];
}

/* Memory within reach of 32-bit jumps from the library. */
static uint8_t *map_near(const struct lib *l, size_t len)
{
    for (uintptr_t away = 1ul << 20; away < NEAR; away += away < (64ul << 20) ? 1ul << 20 : 16ul << 20) {
        uintptr_t want[2] = {l->text - away, l->text + l->text_len + away};

        for (int i = 0; i < 2; i++) {
            long r;

            if (i == 0 && away > l->text)
                continue;
            r = door_call(SYS_mmap, want[i] & ~(PAGE - 1), len, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
            if (r < 0 && r > -4096)
                continue;
            if ((uintptr_t)r == (want[i] & ~(PAGE - 1)))
                return (uint8_t *)r;
            door_call(SYS_munmap, r, len);
        }
    }
    return NULL;
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

/* An instruction that ends with a 32-bit displacement to `to`. */
static uint8_t *put_rel(uint8_t *p, const char *op, size_t n, const void *to)
{
    p = put(p, op, n);
    int32_t rel = (int32_t)((const uint8_t *)to - (p + 4));
    return put(p, &rel, 4);
}

/* The cells at the head of a stub area, which the stubs reach relative to themselves. */
enum cell {
    CELL_SERVE,
    CELL_FDS,  /* what is known of descriptors; while door_near tells of memory: nothing */
    CELL_NOTE, /* what is known of them */
    CELL_LOW, /* door_entry_low and door_entry_span */
    CELL_SPAN,
    CELL_MADE,
    CELL_ENTRY,
    CELL_ANY,
    CELL_MISSED,
    CELL_PATH0,
    CELL_PATH1,
    CELL_PLAIN,
    CELL_OPEN,
    CELL_OPENAT,
    CELL_POLL,
    CELL_SELECT,
    CELLS
};

static const uint8_t *cell_at(const uint8_t *cells, enum cell n)
{
    return cells + n * sizeof(void *);
}

/* Jumps forward, filled in when their target is known. */
struct jumps {
    uint8_t *at[8];
    unsigned n;
};

enum { JAE = 0x83, JB = 0x82, JC = 0x82, JE = 0x84, JNE = 0x85, JA = 0x87 };

static uint8_t *put_jump(uint8_t *p, uint8_t op, struct jumps *j)
{
    *p++ = 0x0f;
    *p++ = op;
    j->at[j->n++] = p;
    return p + 4;
}

static void jumps_land(struct jumps *j, const uint8_t *target)
{
    for (unsigned i = 0; i < j->n; i++) {
        int32_t rel = (int32_t)(target - (j->at[i] + 4));

        memcpy(j->at[i], &rel, 4);
    }
    j->n = 0;
}

/* The same of the end of a lea, or NULL. */
static void lea_land(uint8_t *end, const uint8_t *target)
{
    int32_t rel = (int32_t)(target - end);

    if (end)
        memcpy(end - 4, &rel, 4);
}

/* Compares what is known of the descriptor in argument n with DOOR_FOREIGN; away when its number is too high. Leaves
 * the table in rcx and the number in r11. */
static uint8_t *put_fd(uint8_t *p, unsigned n, enum cell table, const uint8_t *cells, struct jumps *away)
{
    static const char *const mov_r11d[] = {"\x41\x89\xfb", "\x41\x89\xf3", "\x41\x89\xd3", "\x45\x89\xd3",
                                           "\x45\x89\xc3"}; /* from edi, esi, edx, r10d, r8d */
    uint32_t top = DOOR_FDS - 1;

    p = put(p, mov_r11d[n], 3);
    p = put(put(p, "\x41\x81\xfb", 3), &top, 4);           /* cmp $top, %r11d */
    p = put_jump(p, JA, away);
    p = put_rel(p, "\x48\x8b\x0d", 3, cell_at(cells, table));    /* mov table(%rip), %rcx */
    p = put(p, "\x42\x80\x3c\x19", 4);                     /* cmpb $DOOR_FOREIGN, (%rcx,%r11) */
    *p++ = DOOR_FOREIGN;
    return p;
}

/* After put_fd with CELL_FDS said no: the same with CELL_NOTE, and none of the arguments in points is near. */
static uint8_t *put_near(uint8_t *p, unsigned points, const uint8_t *cells, struct jumps *raw, struct jumps *away)
{
    static const char *const mov_rcx[] = {"\x48\x89\xf9", "\x48\x89\xf1", "\x48\x89\xd1", "\x4c\x89\xd1",
                                          "\x4c\x89\xc1", "\x4c\x89\xc9"}; /* from rdi, rsi, rdx, r10, r8, r9 */

    p = put_rel(p, "\x48\x8b\x0d", 3, cell_at(cells, CELL_NOTE)); /* mov note(%rip), %rcx */
    p = put(p, "\x42\x80\x3c\x19", 4);                     /* cmpb $DOOR_FOREIGN, (%rcx,%r11) */
    *p++ = DOOR_FOREIGN;
    p = put_jump(p, JNE, away);
    for (unsigned n = 0; n < 6; n++) {
        if (!(points >> n & 1))
            continue;
        p = put(p, mov_rcx[n], 3);
        p = put_rel(p, "\x48\x2b\x0d", 3, cell_at(cells, CELL_LOW));  /* sub low(%rip), %rcx */
        p = put_rel(p, "\x48\x3b\x0d", 3, cell_at(cells, CELL_SPAN)); /* cmp span(%rip), %rcx */
        p = points >> (n + 1) == 0 ? put_jump(p, JAE, raw) : put_jump(p, JB, away);
    }
    return p;
}

/* Falls through when the descriptor in argument n is foreign and, while some memory is near, goes to put_near. */
static uint8_t *put_foreign(uint8_t *p, unsigned n, unsigned points, const uint8_t *cells, struct jumps *near,
                            struct jumps *away)
{
    p = put_fd(p, n, points == 0 ? CELL_NOTE : CELL_FDS, cells, away);
    return put_jump(p, JNE, points == 0 || (points & DOOR_DEEP) ? away : near);
}

/* Does a stub of this kind decide something by itself? */
static bool decides(uint8_t how)
{
    return how == DOOR_FD2 || how == DOOR_CLOSE || how == DOOR_AT || (how >= DOOR_FD && how <= DOOR_FD + 4);
}

/* It falls through when the call is the kernel's; goes away when the filter must be asked, near when put_near is to
 * say. *lea: the end of an instruction whose displacement is to be that of raw. */
static uint8_t *put_own(uint8_t *p, uint8_t how, unsigned points, const uint8_t *cells, struct jumps *near,
                        struct jumps *away, uint8_t **lea)
{
    switch (how) {
    case DOOR_FD2:
        p = put_fd(p, 0, CELL_NOTE, cells, away);
        p = put_jump(p, JNE, away);
        p = put_fd(p, 1, CELL_NOTE, cells, away);
        return put_jump(p, JNE, away);
    case DOOR_CLOSE:
        p = put_fd(p, 0, CELL_NOTE, cells, away);
        p = put_jump(p, JNE, away);
        return put(p, "\x42\xc6\x04\x19\x00", 5); /* movb $0, (%rcx,%r11) */
    case DOOR_AT:
        p = put(p, "\x48\x8d\x0d\0\0\0\0", 7); /* lea raw(%rip), %rcx: for door_fixup */
        *lea = p;
        p = put(p, "\x80\x3e\x00", 3); /* cmpb $0, (%rsi) */
        p = put_jump(p, JNE, away);
        return put_foreign(p, 0, points, cells, near, away);
    default:
        return put_foreign(p, how - DOOR_FD, points, cells, near, away);
    }
}

/* Asks one of door_entry's kind, directly if it is within reach. */
static uint8_t *put_ask(uint8_t *p, enum cell entry, const uint8_t *cells)
{
    const uint8_t *cell = cell_at(cells, entry), *to;
    intptr_t away;

    memcpy(&to, cell, sizeof(to));
    p = put(p, "\x48\x8d\x64\x24\x80", 5); /* lea -128(%rsp), %rsp */
    away = (intptr_t)to - (intptr_t)(p + 5);
    if (away == (int32_t)away)
        p = put_rel(p, "\xe8", 1, to); /* call entry */
    else
        p = put_rel(p, "\xff\x15", 2, cell); /* call *cell(%rip) */
    return put(p, "\x48\x8d\xa4\x24\x80\0\0\0", 8); /* lea 128(%rsp), %rsp */
}

/* The call as DOOR_LOOK has it. */
static uint8_t *put_look(uint8_t *p, const struct site *s, uint8_t how, const uint8_t *cells, struct jumps *behind)
{
    struct jumps failed = {.n = 0};
    uint32_t top = DOOR_FDS - 1, nr = (uint32_t)s->nr;
    uint8_t foreign = DOOR_FOREIGN;

    p = put(p, "\x0f\x05", 2); /* syscall */
    if (how == DOOR_OPEN) {
        p = put(put(p, "\x48\x3d", 2), &top, 4);             /* cmp $top, %rax */
        p = put_jump(p, JA, &failed);
        p = put_rel(p, "\x48\x8b\x0d", 3, cell_at(cells, CELL_NOTE)); /* mov note(%rip), %rcx */
        p = put(p, "\x80\x3c\x01\x00", 4);                   /* cmpb $0, (%rcx,%rax) */
        p = put_jump(p, JNE, behind);
        p = put(put(p, "\xc6\x04\x01", 3), &foreign, 1);     /* movb $DOOR_FOREIGN, (%rcx,%rax) */
        p = put_jump(p, JE, behind);
        jumps_land(&failed, p);
    }
    p = put(p, "\x48\x83\xf8\xfe", 4); /* cmp $-ENOENT, %rax */
    p = put_jump(p, JNE, behind);
    p = put(put(p, "\xb8", 1), &nr, 4); /* mov $nr, %eax */
    p = put_ask(p, CELL_MISSED, cells);
    p = put_jump(p, JC, behind);
    p = put(p, "\x48\xc7\xc0\xfe\xff\xff\xff", 7); /* mov $-ENOENT, %rax */
    return put_jump(p, JE, behind);
}

/* The way to the filter. */
static enum cell entry_of(const struct site *s, uint8_t how)
{
    switch (how) {
    case DOOR_PATH0:
        return CELL_PATH0;
    case DOOR_AT:
        return CELL_PATH1;
    case DOOR_POLL:
        return CELL_POLL;
    case DOOR_SELECT:
        return CELL_SELECT;
    case DOOR_OPEN:
        return s->nr == SYS_open ? CELL_OPEN : s->nr == SYS_openat ? CELL_OPENAT : CELL_ENTRY;
    default:
        return CELL_ENTRY;
    }
}

/* -EINVAL to a clone that shares descriptors and not memory. */
static uint8_t *put_clone(uint8_t *p, struct jumps *behind)
{
    uint32_t mask = CLONE_FILES | CLONE_VM, files = CLONE_FILES;
    struct jumps go_on = {.n = 0};

    p = put(p, "\x41\x89\xfb", 3);                 /* mov %edi, %r11d */
    p = put(put(p, "\x41\x81\xe3", 3), &mask, 4);  /* and $mask, %r11d */
    p = put(put(p, "\x41\x81\xfb", 3), &files, 4); /* cmp $files, %r11d */
    p = put_jump(p, JNE, &go_on);
    p = put(p, "\x48\xc7\xc0\xea\xff\xff\xff", 7); /* mov $-EINVAL, %rax */
    p = put_jump(p, JE, behind);
    jumps_land(&go_on, p);
    return p;
}

/* Asks; the call is made at once, or as DOOR_LOOK has it, or was made. */
static uint8_t *put_asked(uint8_t *p, const struct site *s, uint8_t how, const uint8_t *cells, struct jumps *raw,
                          struct jumps *look, struct jumps *behind)
{
    p = put_ask(p, entry_of(s, how), cells);
    p = put_jump(p, JC, behind);
    if (how == DOOR_PATH || how == DOOR_PATH0 || how == DOOR_OPEN || how == DOOR_AT) {
        p = put_jump(p, JE, raw);
        jumps_land(look, p);
        return put_look(p, s, how, cells, behind);
    }
    return p;
}

/* Is a path looked at by the stub itself? */
static bool looks(const struct site *s, uint8_t how, const struct door_conf *conf)
{
    return !conf->scan && !(conf->points[s->nr] & DOOR_MAKES) &&
           (how == DOOR_PATH0 || how == DOOR_AT || (how == DOOR_OPEN && (s->nr == SYS_open || s->nr == SYS_openat)));
}

/*
 * To look when the path is plain and no memory is near, else falls through, to ask. What the entries do in more places of
 * memory: after a system call each of them has to come from farther than the nearest cache. door_fixup knows the
 * instructions that read the path; rcx is where to go on then.
 */
static uint8_t *put_plain(uint8_t *p, const struct site *s, uint8_t how, const uint8_t *cells, struct jumps *look,
                          struct jumps *ask, uint8_t **lea)
{
    bool first = how == DOOR_PATH0 || s->nr == SYS_open;
    uint32_t flags = O_PATH | O_CREAT;
    int32_t seen = (int32_t)((intptr_t)&door_seen - (intptr_t)__builtin_thread_pointer());

    if (how == DOOR_OPEN) {
        p = put(put(p, s->nr == SYS_open ? "\xf7\xc6" : "\xf7\xc2", 2), &flags, 4); /* test $flags, %esi or %edx */
        p = put_jump(p, JNE, ask);
        p = put_rel(p, "\x48\x8b\x0d", 3, cell_at(cells, CELL_MADE)); /* mov made(%rip), %rcx */
        p = put(p, "\x44\x8b\x19", 3);                           /* mov (%rcx), %r11d */
        p = put(put(p, "\x64\x44\x3b\x1c\x25", 5), &seen, 4);     /* cmp %fs:seen, %r11d */
        p = put_jump(p, JNE, ask);
    }
    p = put_rel(p, "\x48\x8b\x0d", 3, cell_at(cells, CELL_SPAN)); /* mov span(%rip), %rcx */
    p = put(p, "\x48\x85\xc9", 3);                           /* test %rcx, %rcx */
    p = put_jump(p, JNE, ask);
    p = put(p, "\x48\x8d\x0d\0\0\0\0", 7); /* lea ask(%rip), %rcx */
    *lea = p;
    p = put(p, first ? "\x80\x3f\x2f" : "\x80\x3e\x2f", 3); /* cmpb $'/', (%rdi) or (%rsi) */
    p = put_jump(p, JNE, ask);
    p = put(p, first ? "\x44\x0f\xb6\x5f\x01" : "\x44\x0f\xb6\x5e\x01", 5); /* movzbl 1(%rdi), %r11d */
    p = put_rel(p, "\x48\x8b\x0d", 3, cell_at(cells, CELL_PLAIN)); /* mov plain(%rip), %rcx */
    p = put(p, "\x42\x80\x3c\x19\x00", 5);                    /* cmpb $0, (%rcx,%r11) */
    return put_jump(p, JNE, look);
}

/* The site's syscall and what followed it, and back. */
static uint8_t *put_raw(uint8_t *p, const uint8_t *site_addr, const struct site *s, uint8_t **raw_at)
{
    *raw_at = p;
    p = put(p, site_addr, 2u + s->after);
    return put_rel(p, "\xe9", 1, site_addr + 2 + s->after);
}

/* Writes the stub of a site at p; returns its end. *raw_at: its own syscall instruction, and what followed it. What is the
 * kernel's runs straight through. */
static uint8_t *build_stub(uint8_t *p, const uint8_t *site_addr, const struct site *s, const struct door_conf *conf,
                           const uint8_t *cells, uint8_t **raw_at)
{
    uint8_t how = s->nr < 0 ? DOOR_ASK : conf->serve[s->nr];
    unsigned points = s->nr < 0 ? 0 : conf->points[s->nr] & ~(unsigned)DOOR_MAKES;
    struct jumps raw = {.n = 0}, near = {.n = 0}, away = {.n = 0}, look = {.n = 0}, behind = {.n = 0};
    uint8_t *to_raw = NULL, *to_ask = NULL;

    p = put(p, site_addr - s->before, s->before);
    if (decides(how)) {
        p = put_own(p, how, points, cells, &near, &away, &to_raw);
        p = put_raw(p, site_addr, s, raw_at);
        if (near.n > 0) {
            jumps_land(&near, p);
            p = put_near(p, points, cells, &raw, &away);
        }
        jumps_land(&away, p);
        if (looks(s, how, conf))
            p = put_plain(p, s, how, cells, &look, &away, &to_ask);
        jumps_land(&away, p);
        lea_land(to_ask, p);
        p = put_asked(p, s, how, cells, &raw, &look, &behind);
        if (how != DOOR_AT)
            p = put_rel(p, "\xe9", 1, *raw_at);
    } else {
        if (s->nr < 0) {
            uint32_t max = DOOR_NR_MAX;

            p = put(put(p, "\x48\x3d", 2), &max, 4);               /* cmp $max, %rax */
            p = put_jump(p, JAE, &raw);
            p = put_rel(p, "\x4c\x8b\x1d", 3, cell_at(cells, CELL_SERVE)); /* mov serve(%rip), %r11 */
            p = put(p, "\x41\x80\x3c\x03\x00", 5);                 /* cmpb $0, (%r11,%rax) */
            p = put_jump(p, JE, &raw);
            p = put_ask(p, CELL_ANY, cells);
            p = put_jump(p, JC, &behind);
        } else if (how == DOOR_COUNT) {
            if (s->nr == SYS_clone)
                p = put_clone(p, &behind);
            p = put_rel(p, "\x4c\x8b\x1d", 3, cell_at(cells, CELL_MADE)); /* mov made(%rip), %r11 */
            p = put(p, "\xf0\x41\xff\x03", 4);                    /* lock incl (%r11) */
        } else {
            if (looks(s, how, conf))
                p = put_plain(p, s, how, cells, &look, &away, &to_ask);
            jumps_land(&away, p);
            lea_land(to_ask, p);
            p = put_asked(p, s, how, cells, &raw, &look, &behind);
        }
        p = put_raw(p, site_addr, s, raw_at);
    }
    jumps_land(&raw, *raw_at);
    jumps_land(&behind, *raw_at + 2);
    lea_land(to_raw, *raw_at);
    return p;
}

static int build_stubs(struct door *d, struct lib *l)
{
    size_t n = 0;

    for (unsigned i = 0; i < l->sites.n; i++)
        n += serves(d->conf, &l->sites.v[i]);
    l->stubs_len = (STUB_HEAD + STUB_ALIGN + n * STUB_MAX + l->sites.n * sizeof(*l->stub_at) + PAGE - 1) & ~(PAGE - 1);
    l->stubs = map_near(l, l->stubs_len);
    if (!l->stubs)
        return -ENOMEM;
    const void *cells[CELLS] = {d->conf->serve,    d->conf->fds,      d->conf->fds,     NULL,
                                NULL,              &door_made,        door_entry,       door_entry_any,
                                door_entry_missed, door_entry_path0,  door_entry_path1, d->conf->plain,
                                door_entry_open,   door_entry_openat, door_entry_poll,  door_entry_select};
    memcpy(l->stubs, cells, sizeof(cells));
    l->stub_at = (struct stub *)(void *)(l->stubs + STUB_HEAD);

    uint8_t *p = l->stubs + STUB_HEAD + l->sites.n * sizeof(*l->stub_at), *raw;
    for (unsigned i = 0; i < l->sites.n; i++) {
        const struct site *s = &l->sites.v[i];
        const uint8_t *at = (const uint8_t *)l->base + s->vaddr;

        l->stub_at[i].at = 0;
        if (!serves(d->conf, s))
            continue;
        d->stat.sites++;
        if ((uintptr_t)at - s->before < l->text ||
            (uintptr_t)at + 2 + s->after > l->text + l->text_len || at[0] != 0x0f || at[1] != 0x05)
            return -ENOEXEC;
        if (s->before + s->after < 3) {
            d->stat.left++;
            d->stat.uncounted += s->nr >= 0 && d->conf->serve[s->nr] == DOOR_COUNT;
            continue;
        }
        p = (uint8_t *)(((uintptr_t)p + STUB_ALIGN - 1) & ~(uintptr_t)(STUB_ALIGN - 1));
        l->stub_at[i].at = (uint32_t)(p - l->stubs);
        p = build_stub(p, at, s, d->conf, l->stubs, &raw);
        l->stub_at[i].raw = (uint32_t)(raw - l->stubs);
        if (p - (l->stubs + l->stub_at[i].at) > STUB_MAX)
            return -E2BIG;
        d->stat.patched++;
    }
    return (int)door_call(SYS_mprotect, l->stubs + STUB_HEAD, l->stubs_len - STUB_HEAD, PROT_READ | PROT_EXEC);
}

/* Between the two mprotects no code of the library may run: only loops and inline system calls here. */
static int patch(struct lib *l, bool undo)
{
    long err = door_call(SYS_mprotect, l->text, l->text_len, PROT_READ | PROT_WRITE);

    if (err)
        return (int)err;
    for (unsigned i = 0; i < l->sites.n; i++) {
        const struct site *s = &l->sites.v[i];
        volatile uint8_t *at = (volatile uint8_t *)l->base + s->vaddr - s->before;
        unsigned n = s->before + 2u + s->after;

        if (!l->stub_at[i].at)
            continue;
        const uint8_t *stub = l->stubs + l->stub_at[i].at;
        if (undo) {
            /* The displaced bytes stand in the stub: some at its start, the rest from its syscall on. */
            const uint8_t *q = l->stubs + l->stub_at[i].raw;

            for (unsigned k = 0; k < s->before; k++)
                at[k] = stub[k];
            for (unsigned k = s->before; k < n; k++)
                at[k] = q[k - s->before];
            continue;
        }
        int32_t rel = (int32_t)(stub - ((const uint8_t *)at + 5));
        at[0] = 0xe9;
        at[1] = (uint8_t)rel;
        at[2] = (uint8_t)(rel >> 8);
        at[3] = (uint8_t)(rel >> 16);
        at[4] = (uint8_t)(rel >> 24);
        for (unsigned k = 5; k < n; k++)
            at[k] = 0xcc; /* never reached */
    }
    l->patched = !undo;
    err = door_call(SYS_mprotect, l->text, l->text_len, PROT_READ | PROT_EXEC);
    if (err)
        __builtin_trap(); /* the C library cannot run any more */
    return 0;
}

static void release(struct door *d)
{
    for (unsigned i = 0; i < d->nlibs; i++) {
        sites_release(&d->libs[i].sites);
        if (d->libs[i].stubs && !d->libs[i].patched)
            door_call(SYS_munmap, d->libs[i].stubs, d->libs[i].stubs_len);
    }
}

int door_open(const struct door_conf *conf, const char **why)
{
    struct door *d = &opened;
    int err = 0;

    memset(d, 0, sizeof(*d));
    d->conf = conf;
    *why = "no C library that can be patched was found (musl, static, or not x86-64)";
    dl_iterate_phdr(found, d);
    if (d->nlibs < 2)
        return -ENOEXEC;
    *why = "the C library's code could not be read and decoded";
    for (unsigned i = 0; i < d->nlibs && !err; i++)
        err = sites_get(d->libs[i].path, conf->cache_dir, &d->libs[i].sites);
    if (err)
        goto out;
    door_entry_init();
    door_entry_plain = conf->plain;
    door_entry_fds = conf->fds;
    *why = "no memory near the C library for the stubs, or its code is not what its file says";
    for (unsigned i = 0; i < d->nlibs && !err; i++)
        err = build_stubs(d, &d->libs[i]);
    if (err)
        goto out;
    *why = "the kernel refuses to make the C library's code writable (SELinux execmod, or a policy like it)";
    for (unsigned i = 0; i < d->nlibs && !err; i++)
        err = patch(&d->libs[i], false);
    if (err) {
        for (unsigned i = 0; i < d->nlibs; i++)
            if (d->libs[i].patched)
                patch(&d->libs[i], true);
        goto out;
    }
    d->stat.libs = d->nlibs;
    last = d->stat;
    *why = NULL;
out:
    release(d);
    return err;
}

void door_stat(struct door_stat *st)
{
    *st = last;
}

static void door_put(const struct lib *l, enum cell n, uintptr_t value)
{
    __atomic_store_n((uintptr_t *)(void *)(l->stubs + n * sizeof(void *)), value, __ATOMIC_RELEASE);
}

/* Others read low and span while they change: first everything is near. */
void door_near(uintptr_t low, uintptr_t high)
{
    static const uint8_t none[DOOR_FDS];
    uintptr_t span = high > low ? high - low : 0, table = span != 0 ? (uintptr_t)none : (uintptr_t)opened.conf->fds;

    for (int step = 0; step < 3; step++) {
        uintptr_t value = step == 0 ? UINTPTR_MAX : step == 1 ? low : span;

        __atomic_store_n(step == 1 ? &door_entry_low : &door_entry_span, value, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < opened.nlibs; i++)
            if (opened.libs[i].patched)
                door_put(&opened.libs[i], step == 1 ? CELL_LOW : CELL_SPAN, value);
    }
    for (unsigned i = 0; i < opened.nlibs; i++)
        if (opened.libs[i].patched)
            door_put(&opened.libs[i], CELL_FDS, table);
}

/* An instruction by which put_own or put_plain read a path. */
static bool reads_path(const uint8_t *ip)
{
    return !memcmp(ip, "\x80\x3e\x00", 3) || ((ip[1] == 0x3e || ip[1] == 0x3f) && ip[0] == 0x80 && ip[2] == '/') ||
           (!memcmp(ip, "\x44\x0f\xb6", 3) && (ip[3] == 0x5e || ip[3] == 0x5f) && ip[4] == 1);
}

uintptr_t door_fixup(uintptr_t ip, uintptr_t rcx)
{
    uintptr_t ask = door_entry_fixup(ip);

    if (ask != 0)
        return ask;
    for (unsigned i = 0; i < opened.nlibs; i++) {
        const struct lib *l = &opened.libs[i];
        uintptr_t from = (uintptr_t)l->stubs;

        if (!l->patched || ip < from || ip >= from + l->stubs_len || rcx <= ip || rcx - ip >= STUB_MAX)
            continue;
        if (reads_path((const uint8_t *)ip) &&
            (!memcmp((const void *)rcx, "\x0f\x05", 2) || !memcmp((const void *)rcx, "\x48\x8d\x64\x24\x80", 5)))
            return rcx;
    }
    return 0;
}
