/* SPDX-License-Identifier: Apache-2.0
 * stub: writes them, instruction by instruction.
 */
#include "client/door/stub.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include "client/door/entry.h"
#include "client/door/insn.h"

/* At the head of a stub area; the stubs reach them relative to themselves. Those that are looked at on the way of most calls
 * lie first, in one line of the cache. */
enum cell {
    CELL_LOW, /* where memory begins that door_near tells of, and its bytes; 0: none */
    CELL_SPAN,
    CELL_NOTE, /* what is known of descriptors */
    CELL_PLAIN,
    CELL_MADE,
    CELL_SERVE,
    CELL_ENTRY,
    CELL_ANY,
    CELL_MISSED,
    CELL_PATH0,
    CELL_PATH1,
    CELL_OPEN,
    CELL_OPENAT,
    CELL_SELECT,
    CELLS
};

void stub_cells(uint8_t *area, const struct door_conf *conf)
{
    const void *cells[CELLS] = {
        [CELL_NOTE] = conf->fds,         [CELL_PLAIN] = conf->plain,
        [CELL_MADE] = &door_made,        [CELL_SERVE] = conf->serve,      [CELL_ENTRY] = door_entry,
        [CELL_ANY] = door_entry_any,     [CELL_MISSED] = door_entry_missed, [CELL_PATH0] = door_entry_path0,
        [CELL_PATH1] = door_entry_path1, [CELL_OPEN] = door_entry_open,   [CELL_OPENAT] = door_entry_openat,
        [CELL_SELECT] = door_entry_select};

    memcpy(area, cells, sizeof(cells));
}

static void cell_set(uint8_t *area, enum cell cell, uintptr_t value)
{
    __atomic_store_n((uintptr_t *)(void *)area + cell, value, __ATOMIC_RELEASE);
}

/* Others read low and span while they change: first everything is near. */
void stub_near(uint8_t *area, uintptr_t low, uintptr_t high)
{
    cell_set(area, CELL_SPAN, UINTPTR_MAX);
    cell_set(area, CELL_LOW, low);
    cell_set(area, CELL_SPAN, high > low ? high - low : 0);
}

/* A stub being written. */
struct code {
    uint8_t *p; /* its end so far */
    const uint8_t *area, *next, *end; /* next: behind the site's window */
    const uint8_t *ask; /* where the filter is asked */
    const struct site *site;
    uint8_t how;
    unsigned points, nreads;
    struct stub *stub;
};

static void put(struct code *c, const void *bytes, size_t n)
{
    memcpy(c->p, bytes, n);
    c->p += n;
}

static void put_imm(struct code *c, const char *op, size_t n, uint32_t imm)
{
    put(c, op, n);
    put(c, &imm, sizeof(imm));
}

/* An instruction that ends with a 32-bit displacement to `to`. */
static void put_rel(struct code *c, const char *op, size_t n, const uint8_t *to)
{
    put(c, op, n);
    int32_t rel = (int32_t)(to - (c->p + 4));
    put(c, &rel, sizeof(rel));
}

/* One that reads the program's memory. */
static void put_read(struct code *c, const char *op, size_t n)
{
    c->stub->reads[c->nreads++] = (uint32_t)(c->p - c->area);
    put(c, op, n);
}

/* As put_rel, to a cell. */
static void put_cell(struct code *c, const char *op, size_t n, enum cell cell)
{
    put_rel(c, op, n, c->area + cell * sizeof(void *));
}

/* Jumps forward, filled in when their target is known. */
struct jumps {
    uint8_t *at[8];
    unsigned n;
};

enum { JB = 0x82, JC = 0x82, JAE = 0x83, JE = 0x84, JNE = 0x85, JA = 0x87, JNS = 0x89 };

static void put_jump(struct code *c, uint8_t op, struct jumps *j)
{
    put(c, (const uint8_t[]){0x0f, op, 0, 0, 0, 0}, 6);
    j->at[j->n++] = c->p - 4;
}

/* Back. */
static void put_jump_to(struct code *c, const uint8_t *to)
{
    put_rel(c, "\xe9", 1, to);
}

/* Back to where the filter is asked; that is near where most of these jumps are, which so take little room. */
static void put_jump_ask(struct code *c, uint8_t op)
{
    intptr_t rel = c->ask - (c->p + 2);

    if (rel >= INT8_MIN)
        put(c, (const uint8_t[]){(uint8_t)(op - 0x10), (uint8_t)rel}, 2);
    else
        put_rel(c, (const char[]){0x0f, (char)op}, 2, c->ask);
}

static void land_at(struct jumps *j, const uint8_t *target)
{
    for (unsigned i = 0; i < j->n; i++) {
        int32_t rel = (int32_t)(target - (j->at[i] + 4));

        memcpy(j->at[i], &rel, 4);
    }
    j->n = 0;
}

static void land(struct code *c, struct jumps *j)
{
    land_at(j, c->p);
}

/* Where a cell points to, or NULL when that is not within reach. */
static const uint8_t *reach(const struct code *c, enum cell cell)
{
    const uint8_t *to;
    intptr_t away;

    memcpy(&to, c->area + cell * sizeof(void *), sizeof(to));
    away = (intptr_t)to - (intptr_t)c->p;
    return away > INT32_MIN / 2 && away < INT32_MAX / 2 ? to : NULL;
}

/* What a cell that never changes holds, to rcx. */
static void put_rcx(struct code *c, enum cell cell)
{
    const uint8_t *to = reach(c, cell);

    if (to != NULL)
        put_rel(c, "\x48\x8d\x0d", 3, to); /* lea to(%rip), %rcx */
    else
        put_cell(c, "\x48\x8b\x0d", 3, cell); /* mov cell(%rip), %rcx */
}

static void put_nr(struct code *c)
{
    put_imm(c, "\xb8", 1, (uint32_t)c->site->nr); /* mov $nr, %eax */
}

/*
 * On behind the site's window: with a copy of what stands there up to the function's return, if that is short and can be
 * elsewhere, else by a jump. No syscall is copied; conditional jumps lead back to the library.
 */
static void put_on(struct code *c)
{
    enum { COPY_MAX = 40 };
    uint8_t *start = c->p;
    struct insn in;

    for (const uint8_t *at = c->next; at < c->end && at - c->next < COPY_MAX; at += in.len) {
        if (!insn_decode(at, (size_t)(c->end - at), &in))
            break;
        if (at[0] == 0xc3) { /* ret */
            put(c, at, 1);
            return;
        }
        if ((at[0] & 0xf0) == 0x70) /* with 8 bits of displacement; with 32 */
            put_rel(c, (const char[]){0x0f, (char)(at[0] + 0x10)}, 2, at + in.target);
        else if (at[0] == 0x0f && (at[1] & 0xf0) == 0x80)
            put_rel(c, (const char *)at, 2, at + in.target);
        else if (in.movable)
            put(c, at, in.len);
        else
            break;
    }
    c->p = start;
    put_jump_to(c, c->next);
}

/* The rest of the site's window, and on. */
static void put_behind(struct code *c)
{
    put(c, c->next - c->site->after, c->site->after);
    put_on(c);
}

/* Asks one of door_entry's kind, directly if it is within reach. */
static void put_ask(struct code *c, enum cell entry)
{
    const uint8_t *to = reach(c, entry);

    put(c, "\x48\x8d\x64\x24\x80", 5); /* lea -128(%rsp), %rsp */
    if (to != NULL)
        put_rel(c, "\xe8", 1, to); /* call entry */
    else
        put_cell(c, "\xff\x15", 2, entry); /* call *cell(%rip) */
    put(c, "\x48\x8d\xa4\x24\x80\0\0\0", 8); /* lea 128(%rsp), %rsp */
}

/* Falls through when the descriptor in argument n is foreign, and its register holds just that. The table is in rcx from
 * then on. */
static void put_fd(struct code *c, unsigned n, bool first)
{
    static const char *const cmp[] = {"\x48\x81\xff", "\x48\x81\xfe", "\x48\x81\xfa", "\x49\x81\xfa",
                                      "\x49\x81\xf8"}; /* cmp $top, %rdi, rsi, rdx, r10 or r8 */
    static const uint8_t index[] = {0x39, 0x31, 0x11, 0x11, 0x01};

    put_imm(c, cmp[n], 3, DOOR_FDS - 1);
    put_jump_ask(c, JA);
    if (first)
        put_rcx(c, CELL_NOTE);
    if (n >= 3)
        put(c, "\x42", 1);
    put(c, (const uint8_t[]){0x80, 0x3c, index[n], DOOR_FOREIGN}, 4); /* cmpb $DOOR_FOREIGN, (%rcx,%rdi) ... */
    put_jump_ask(c, JNE);
}

/* Falls through when argument n is not near; spoils rcx. A text may be as long as a page. */
static void put_near(struct code *c, unsigned n, bool text)
{
    static const char *const mov_rcx[] = {"\x48\x89\xf9", "\x48\x89\xf1", "\x48\x89\xd1", "\x4c\x89\xd1",
                                          "\x4c\x89\xc1", "\x4c\x89\xc9"}; /* from rdi, rsi, rdx, r10, r8, r9 */

    for (int end = 0; end <= text; end++) {
        put(c, mov_rcx[n], 3);
        if (end)
            put_imm(c, "\x48\x81\xc1", 3, 4095); /* add $4095, %rcx */
        put_cell(c, "\x48\x2b\x0d", 3, CELL_LOW);  /* sub low(%rip), %rcx */
        put_cell(c, "\x48\x3b\x0d", 3, CELL_SPAN); /* cmp span(%rip), %rcx */
        put_jump_ask(c, JB);
    }
}

/* The same with all arguments in points but `text`. */
static void put_points(struct code *c, int text)
{
    for (unsigned n = 0; n < 6; n++)
        if (c->points >> n & 1 && (int)n != text)
            put_near(c, n, false);
}

/* cmpq $0, span(%rip): not equal while some memory is near. */
static void put_span(struct code *c)
{
    put_rel(c, "\x48\x83\x3d", 3, c->area + CELL_SPAN * sizeof(void *) - 1);
    put(c, "\0", 1);
}

/* Falls through when a few descriptors in an array of struct pollfd are all foreign. Spoils rax. */
static void put_poll(struct code *c)
{
    const uint8_t *loop;

    put(c, "\x44\x8d\x5e\xff\x41\x83\xfb\x1f", 8); /* lea -1(%rsi), %r11d; cmp $31, %r11d */
    put_jump_ask(c, JA);
    put_points(c, -1);
    put_rcx(c, CELL_NOTE);
    loop = c->p;
    put_read(c, "\x42\x8b\x04\xdf", 4);  /* mov (%rdi,%r11,8), %eax */
    put_imm(c, "\x3d", 1, DOOR_FDS - 1); /* cmp $top, %eax */
    put_jump_ask(c, JA);
    put(c, (const uint8_t[]){0x80, 0x3c, 0x01, DOOR_FOREIGN}, 4); /* cmpb $DOOR_FOREIGN, (%rcx,%rax) */
    put_jump_ask(c, JNE);
    put(c, "\x41\x83\xeb\x01", 4); /* sub $1, %r11d */
    put(c, (const uint8_t[]){JNS - 0x10, (uint8_t)(loop - (c->p + 2))}, 2);
    put_nr(c);
}

/* Is a path looked at by the stub itself? */
static bool looks(const struct code *c, const struct door_conf *conf)
{
    return !conf->scan && !(conf->points[c->site->nr] & DOOR_MAKES) &&
           (c->how == DOOR_PATH0 || c->how == DOOR_AT ||
            (c->how == DOOR_OPEN && (c->site->nr == SYS_open || c->site->nr == SYS_openat)));
}

/* Which argument that path is. */
static int path_arg(const struct code *c)
{
    return c->how == DOOR_PATH0 || c->site->nr == SYS_open ? 0 : 1;
}

/* Falls through when the path is plain (door_conf). To near while some memory is near; back: where to go on when that is
 * elsewhere. */
static void put_plain(struct code *c, struct jumps *near, const uint8_t **back)
{
    bool first = path_arg(c) == 0;
    int32_t seen = (int32_t)((intptr_t)&door_seen - (intptr_t)__builtin_thread_pointer());

    if (c->how == DOOR_OPEN) {
        const uint8_t *made = reach(c, CELL_MADE);

        put_imm(c, c->site->nr == SYS_open ? "\xf7\xc6" : "\xf7\xc2", 2, O_PATH | O_CREAT); /* test $flags, %esi or %edx */
        put_jump_ask(c, JNE);
        if (made != NULL) {
            put_rel(c, "\x44\x8b\x1d", 3, made); /* mov made(%rip), %r11d */
        } else {
            put_rcx(c, CELL_MADE);
            put(c, "\x44\x8b\x19", 3); /* mov (%rcx), %r11d */
        }
        put_imm(c, "\x64\x44\x3b\x1c\x25", 5, (uint32_t)seen); /* cmp %fs:seen, %r11d */
        put_jump_ask(c, JNE);
    }
    put_span(c);
    put_jump(c, JNE, near);
    *back = c->p;
    put_read(c, first ? "\x80\x3f\x2f" : "\x80\x3e\x2f", 3); /* cmpb $'/', (%rdi) or (%rsi) */
    put_jump_ask(c, JNE);
    put_read(c, first ? "\x44\x0f\xb6\x5f\x01" : "\x44\x0f\xb6\x5e\x01", 5); /* movzbl 1(%rdi) or 1(%rsi), %r11d */
    put_rcx(c, CELL_PLAIN);
    put(c, "\x42\x80\x3c\x19\x00", 5); /* cmpb $0, (%rcx,%r11) */
    put_jump_ask(c, JE);
}

/* The call as DOOR_LOOK has it. It failed: to failed. Returns what is behind the call. */
static const uint8_t *put_look(struct code *c, struct jumps *failed)
{
    const uint8_t *behind;
    struct jumps known = {.n = 0};

    put(c, "\x0f\x05", 2); /* syscall */
    if (c->how == DOOR_OPEN) {
        put_imm(c, "\x48\x3d", 2, DOOR_FDS - 1); /* cmp $top, %rax */
        put_jump(c, JA, failed);
        put_rcx(c, CELL_NOTE);
        put(c, "\x80\x3c\x01\x00", 4); /* cmpb $0, (%rcx,%rax) */
        put_jump(c, JNE, &known);
        put(c, (const uint8_t[]){0xc6, 0x04, 0x01, DOOR_FOREIGN}, 4); /* movb $DOOR_FOREIGN, (%rcx,%rax) */
        land(c, &known);
    } else {
        put(c, "\x48\x83\xf8\xfe", 4); /* cmp $-ENOENT, %rax */
        put_jump(c, JE, failed);
    }
    behind = c->p;
    put_behind(c);
    return behind;
}

/* It failed: with ENOENT, door_missed is asked. */
static void put_failed(struct code *c, const uint8_t *behind)
{
    struct jumps done = {.n = 0};

    if (c->how == DOOR_OPEN) {
        put(c, "\x48\x83\xf8\xfe", 4); /* cmp $-ENOENT, %rax */
        put_jump(c, JNE, &done);
    }
    put_nr(c);
    put_ask(c, CELL_MISSED);
    put_jump(c, JC, &done);
    put(c, "\x48\xc7\xc0\xfe\xff\xff\xff", 7); /* mov $-ENOENT, %rax */
    put_jump_to(c, behind);
    land_at(&done, behind);
}

/* The way to the filter. */
static enum cell entry_of(const struct code *c, bool looked)
{
    switch (c->how) {
    case DOOR_PATH0:
        return looked ? CELL_ENTRY : CELL_PATH0;
    case DOOR_AT:
        return looked ? CELL_ENTRY : CELL_PATH1;
    case DOOR_SELECT:
        return CELL_SELECT;
    case DOOR_OPEN:
        return c->site->nr == SYS_open ? CELL_OPEN : c->site->nr == SYS_openat ? CELL_OPENAT : CELL_ENTRY;
    default:
        return CELL_ENTRY;
    }
}

/* -EINVAL to a clone that shares descriptors and not memory. */
static void put_clone(struct code *c, struct jumps *done)
{
    struct jumps go_on = {.n = 0};

    put(c, "\x41\x89\xfb", 3);                            /* mov %edi, %r11d */
    put_imm(c, "\x41\x81\xe3", 3, CLONE_FILES | CLONE_VM); /* and $mask, %r11d */
    put_imm(c, "\x41\x81\xfb", 3, CLONE_FILES);            /* cmp $files, %r11d */
    put_jump(c, JNE, &go_on);
    put(c, "\x48\xc7\xc0\xea\xff\xff\xff", 7); /* mov $-EINVAL, %rax */
    put_jump(c, JE, done);
    land(c, &go_on);
}

/* The site's syscall and what followed it, and on. */
static void put_raw(struct code *c)
{
    c->stub->raw = (uint32_t)(c->p - c->area);
    put(c, "\x0f\x05", 2); /* syscall */
    put_behind(c);
}

/* Where the filter is asked: before the stub itself. Then to raw, or, with look, to that after DOOR_LOOK; done: it is made. */
static void put_asks(struct code *c, enum cell entry, struct jumps *raw, struct jumps *look, struct jumps *done)
{
    enum { ASKS_MAX = 5 + 19 + 3 * 6 };
    uint8_t *start = (uint8_t *)(((uintptr_t)c->p + ASKS_MAX + STUB_ALIGN - 1) & ~(uintptr_t)(STUB_ALIGN - 1));

    c->ask = c->p = start - ASKS_MAX;
    c->stub->ask = (uint32_t)(c->ask - c->area);
    if (c->how == DOOR_POLL)
        put_nr(c);
    put_ask(c, entry);
    put_jump(c, JC, done);
    put_jump(c, JE, raw);
    if (look != NULL)
        put_jump(c, JNE, look);
    while (c->p < start)
        put(c, "\xcc", 1);
}

/* The instructions that the site's jump displaced: where the stub begins. */
static void put_begin(struct code *c)
{
    c->stub->at = (uint32_t)(c->p - c->area);
    put(c, c->next - c->site->after - 2 - c->site->before, c->site->before);
}

/* Descriptors: falls through when all is known of them. */
static void put_fds(struct code *c)
{
    switch (c->how) {
    case DOOR_POLL:
        put_poll(c);
        break;
    case DOOR_FD2:
        put_fd(c, 0, true);
        put_fd(c, 1, false);
        break;
    case DOOR_CLOSE:
        put_fd(c, 0, true);
        put(c, "\xc6\x04\x39\x00", 4); /* movb $0, (%rcx,%rdi) */
        break;
    default:
        put_fd(c, c->how == DOOR_AT ? 0 : c->how - DOOR_FD, true);
        if (c->points & DOOR_DEEP) {
            put_span(c);
            put_jump_ask(c, JNE);
        } else {
            put_points(c, -1);
        }
    }
}

/* Calls that are the kernel's when the stub finds only foreign descriptors. */
static void put_own(struct code *c)
{
    struct jumps raw = {.n = 0}, done = {.n = 0};

    put_asks(c, CELL_ENTRY, &raw, NULL, &done);
    put_begin(c);
    put_fds(c);
    land(c, &raw);
    put_raw(c);
    land_at(&done, c->area + c->stub->raw + 2);
}

/* Paths: looked at by the stub, or asked about; then the call as DOOR_LOOK has it. */
static void put_path(struct code *c, const struct door_conf *conf)
{
    struct jumps named = {.n = 0}, near = {.n = 0}, failed = {.n = 0}, raw = {.n = 0}, look = {.n = 0}, done = {.n = 0};
    bool looked = looks(c, conf);
    const uint8_t *back = NULL, *behind;

    put_asks(c, entry_of(c, looked), &raw, &look, &done);
    put_begin(c);
    if (c->how == DOOR_AT) {
        put_read(c, "\x80\x3e\x00", 3); /* cmpb $0, (%rsi) */
        if (looked)
            put_jump(c, JNE, &named);
        else
            put_jump_ask(c, JNE);
        put_fds(c);
        land(c, &raw);
        put_raw(c);
        land(c, &named);
    }
    if (looked)
        put_plain(c, &near, &back);
    else if (c->how != DOOR_AT)
        put_jump_to(c, c->ask);
    land(c, &look);
    behind = put_look(c, &failed);
    land_at(&done, behind);
    land(c, &failed);
    put_failed(c, behind);
    if (looked) {
        land(c, &near);
        put_near(c, (unsigned)path_arg(c), true);
        put_points(c, path_arg(c));
        put_jump_to(c, back);
    }
    if (c->stub->raw == 0) {
        land(c, &raw);
        put_raw(c);
    }
}

/* Calls that the filter is always asked about. */
static void put_always(struct code *c)
{
    struct jumps raw = {.n = 0}, done = {.n = 0};

    c->p = (uint8_t *)(((uintptr_t)c->p + STUB_ALIGN - 1) & ~(uintptr_t)(STUB_ALIGN - 1));
    put_begin(c);
    if (c->site->nr < 0) {
        put_imm(c, "\x48\x3d", 2, DOOR_NR_MAX); /* cmp $max, %rax */
        put_jump(c, JAE, &raw);
        put_cell(c, "\x4c\x8b\x1d", 3, CELL_SERVE); /* mov serve(%rip), %r11 */
        put(c, "\x41\x80\x3c\x03\x00", 5);          /* cmpb $0, (%r11,%rax) */
        put_jump(c, JE, &raw);
        put_ask(c, CELL_ANY);
        put_jump(c, JC, &done);
    } else if (c->how == DOOR_COUNT) {
        if (c->site->nr == SYS_clone)
            put_clone(c, &done);
        put_cell(c, "\x4c\x8b\x1d", 3, CELL_MADE); /* mov made(%rip), %r11 */
        put(c, "\xf0\x41\xff\x03", 4);            /* lock incl (%r11) */
    } else {
        put_ask(c, entry_of(c, false));
        put_jump(c, JC, &done);
    }
    land(c, &raw);
    put_raw(c);
    land_at(&done, c->area + c->stub->raw + 2);
}

uint8_t *stub_write(uint8_t *area, uint8_t *p, const struct site *site, const uint8_t *code, const uint8_t *end,
                    const struct door_conf *conf, struct stub *stub)
{
    struct code c = {.p = p, .area = area, .next = code + 2 + site->after, .end = end, .site = site, .stub = stub,
                     .how = site->nr < 0 ? DOOR_ASK : conf->serve[site->nr],
                     .points = site->nr < 0 ? 0 : conf->points[site->nr] & ~(unsigned)DOOR_MAKES};

    memset(stub, 0, sizeof(*stub));
    switch (c.how) {
    case DOOR_PATH:
    case DOOR_PATH0:
    case DOOR_OPEN:
    case DOOR_AT:
        put_path(&c, conf);
        break;
    case DOOR_ASK:
    case DOOR_COUNT:
    case DOOR_SELECT:
        put_always(&c);
        break;
    default:
        put_own(&c);
    }
    return c.p;
}
