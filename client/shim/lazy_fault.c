/* SPDX-License-Identifier: Apache-2.0 */
/* Large mappings, filled where they are touched: the touches. */
#include "client/shim/lazy.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "client/shim/lend.h"
#include "client/shim/store.h"

#define FAULT_STACK (256ul << 10)

static struct {
    uint8_t *step, *keep; /* their ends, of fault_step's and fault_keep's */
} stacks;

/* Calls fn(arg) on another stack: a handler may have little of its own. */
long lazy_call(long (*fn)(void *arg), void *arg, uint8_t *top) SHIM_HIDDEN;
__asm__(".text\n"
        ".hidden lazy_call\n"
        ".globl lazy_call\n"
        ".type lazy_call, @function\n"
        "lazy_call:\n"
        "    push %rbp\n"
        "    mov %rsp, %rbp\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsp\n"
        "    call *%rax\n"
        "    mov %rbp, %rsp\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size lazy_call, . - lazy_call\n");

int lazy_fault_start(void)
{
    for (int i = 0; i < 2; i++) {
        uint8_t **stack = i == 0 ? &stacks.step : &stacks.keep;
        long at;

        if (*stack != NULL)
            continue;
        at = sys6(SYS_mmap, 0, FAULT_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (failed(at))
            return (int)at;
        sys3(SYS_mprotect, at, LAZY_PAGE, PROT_NONE);
        *stack = (uint8_t *)at + FAULT_STACK;
    }
    return 0;
}

struct fault {
    uint8_t *at;
    bool write, exec, no_keep, full; /* full: the store had no room for what can be written to */
    uint64_t size;                   /* the server has said so: the file's size; 0: it was not asked */
    unsigned asked;                  /* how often */
    enum { FAULT_NOT, FAULT_DONE, FAULT_BUS, FAULT_KEEP } result;
};

/* Is the run's store to have the granule? Whether it then gets it is another matter. */
static bool to_keep(const struct lazy *r, uint8_t state)
{
    if (r->store == NULL || state == LENT)
        return false;
    return r->writable || (!r->no_room && (r->stored || state == SEEN || r->others ||
                                           r->writers != __atomic_load_n(&shim.run->writers, __ATOMIC_ACQUIRE)));
}

/* Under lazy.lock, on stacks.step. */
static long fault_step(void *arg)
{
    struct fault *f = arg;
    struct lazy *r = lazy_find(f->at);
    uint64_t offset, g;
    uint8_t state;

    f->result = FAULT_NOT;
    if (r == NULL || f->exec || (f->write ? !(r->prot & PROT_WRITE) : r->prot == PROT_NONE))
        return 0;
    offset = r->offset + (uint64_t)(f->at - r->at);
    f->result = FAULT_BUS;
    if (offset >= page_up(r->file_size)) {
        struct nfs_attr attr;

        if (f->asked++ > 8 || lend_getattr(&r->fh, &attr) != 0 || offset >= page_up(attr.size))
            return 0;
        f->size = attr.size;
        lazy_resize(r, attr.size);
    }
    g = offset / LAZY_GRAIN;
    state = *state_of(r, g);
    f->result = FAULT_DONE;
    if (state >= PINNED || (state == LENT && !f->write))
        return 0; /* another thread was faster */
    if (to_keep(r, state) && (r->writable || !f->no_keep)) {
        f->result = f->no_keep ? FAULT_BUS : FAULT_KEEP;
        return 0;
    }
    if ((f->write ? lend_pin(r, g) : lend_granule(r, g)) != 0)
        f->result = FAULT_BUS;
    return 0;
}

/* In a stored mapping the store's size counts, which others of the run may have changed. False: not behind offset. */
static bool right_size(struct fault *f, struct lazy *r, uint64_t offset)
{
    uint64_t size;

    if (f->size != 0)
        store_grown(r->store, f->size);
    f->size = 0;
    size = store_size(r->store);
    if (size != r->file_size) {
        lazy_lock();
        lazy_resize(r, size);
        lazy_unlock();
    }
    return offset < page_up(size);
}

/* Under the map lock, on stacks.keep. Unless the mapping is stored, a granule that is new to us is taken from the store only if it
 * is there. */
static long fault_keep(void *arg)
{
    struct fault *f = arg;
    struct lazy *r = lazy_find(f->at);
    uint64_t offset = r != NULL ? r->offset + (uint64_t)(f->at - r->at) : 0, g = offset / LAZY_GRAIN, from, to, end;
    int err;

    if (r != NULL && r->store != NULL && !r->stored) {
        r->writers = __atomic_load_n(&shim.run->writers, __ATOMIC_ACQUIRE);
        if (store_written(r->store)) /* by another process, since we mapped it */
            lazy_share(&r->fh, r->store);
    }
    if (r != NULL && r->stored && r->store != NULL && !right_size(f, r, offset))
        return 0; /* the server is asked */
    f->no_keep = true;
    if (r == NULL || r->store == NULL || offset >= (r->stored ? page_up(r->file_size) : r->file_size))
        return 0;
    if (!r->stored && *state_of(r, g) != SEEN && !store_filled(r->store, offset, offset + 1))
        return 0;
    /* In order: more at once. */
    r->run = g != r->kept || r->run == 0 || r->advice == MADV_RANDOM ? 1 : r->run * 2 < LAZY_RUN ? r->run * 2 : LAZY_RUN;
    part_of(r, g, &from, &end);
    to = end;
    for (r->kept = g + 1; r->kept < g + r->run && r->kept < granules_end(r) && *state_of(r, r->kept) == *state_of(r, g) &&
                          (r->stored || *state_of(r, g) == SEEN || store_filled(r->store, to, to + 1));
         r->kept++)
        part_of(r, r->kept, &offset, &to);
    err = lazy_keep(address(r, from), address(r, to), false);
    if (err == -ENOSPC && r->writable && to > end)
        err = lazy_keep(address(r, from), address(r, end), false);
    f->no_keep = err != 0;
    f->full = err == -ENOSPC && r->writable;
    if (err != 0 && r->writable)
        shim_say("SIGBUS: a mapping of a volume's file, offset %llu: %s", (unsigned long long)from,
                 err == -ENOSPC ? "no room in the run directory" : strerrordesc_np(-err));
    return 0;
}

/* Under the map lock, on stacks.keep. The program may end now: what it wrote goes to the server. */
static long fault_save(void *arg)
{
    (void)arg;
    map_save();
    return 0;
}

enum lazy_result lazy_fault(const siginfo_t *info, ucontext_t *context)
{
    const greg_t error_code = context->uc_mcontext.gregs[REG_ERR]; /* Intel SDM vol. 3, 4.7 */
    struct fault f = {.at = info->si_addr, .write = (error_code & 2) != 0, .exec = (error_code & 16) != 0};
    uint64_t all = ~0ull, mask, outer;
    int inside = shim_inside, error = errno;

    if (!lazy_near((long)f.at) || lazy_held() || __atomic_load_n(&lazy_count, __ATOMIC_ACQUIRE) == 0)
        return LAZY_NOT;
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8); /* until the return from the handler */
    if (*shim.alive == 0)
        shim_after_fork();
    memcpy(&mask, &context->uc_sigmask, sizeof(mask));
    outer = shim_mask_set(mask);
    shim_inside = 1;
    f.no_keep = inside == 1; /* we may hold what keeping takes */
    do {
        lazy_lock();
        lazy_call(fault_step, &f, stacks.step);
        lazy_unlock();
        if (f.result == FAULT_KEEP) {
            map_lock();
            lazy_call(fault_keep, &f, stacks.keep);
            map_unlock();
        }
    } while (f.result == FAULT_KEEP);
    if (f.result == FAULT_BUS && f.full) {
        map_lock();
        lazy_call(fault_save, &f, stacks.keep);
        map_unlock();
    }
    shim_inside = inside;
    shim_mask_set(outer);
    errno = error;
    if (f.result != FAULT_DONE) /* another handler's turn */
        sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
    return f.result == FAULT_DONE ? LAZY_DONE : f.result == FAULT_BUS ? LAZY_BUS : LAZY_NOT;
}
