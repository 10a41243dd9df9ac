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
    bool write, exec, no_keep;
    enum { FAULT_NOT, FAULT_DONE, FAULT_BUS, FAULT_KEEP } result;
};

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

        if (lend_getattr(&r->fh, &attr) != 0 || offset >= page_up(attr.size))
            return 0;
        lazy_resize(r, attr.size);
    }
    g = offset / LAZY_GRAIN;
    state = *state_of(r, g);
    f->result = FAULT_DONE;
    if (state >= PINNED || (state == LENT && !f->write))
        return 0; /* another thread was faster */
    if (!f->no_keep && r->store != NULL && !r->no_room && state != LENT && (state == SEEN || r->others)) {
        f->result = FAULT_KEEP;
        return 0;
    }
    if ((f->write ? lend_pin(r, g) : lend_granule(r, g)) != 0)
        f->result = FAULT_BUS;
    return 0;
}

/* Under the map lock, on stacks.keep. A granule that is new to us is taken from the store only if it is there. */
static long fault_keep(void *arg)
{
    struct fault *f = arg;
    struct lazy *r = lazy_find(f->at);
    uint64_t offset = r != NULL ? r->offset + (uint64_t)(f->at - r->at) : 0, g = offset / LAZY_GRAIN, from, to;

    f->no_keep = true;
    if (r == NULL || r->store == NULL || offset >= r->file_size)
        return 0;
    if (*state_of(r, g) != SEEN && !store_filled(r->store, offset, offset + 1))
        return 0;
    /* In order: more at once. */
    r->run = g != r->kept ? 1 : r->run * 2 < LAZY_RUN ? r->run * 2 : LAZY_RUN;
    part_of(r, g, &from, &to);
    for (r->kept = g + 1; r->kept < g + r->run && r->kept < granules_end(r) && *state_of(r, r->kept) == *state_of(r, g) &&
                          (*state_of(r, g) == SEEN || store_filled(r->store, to, to + 1));
         r->kept++)
        part_of(r, r->kept, &offset, &to);
    part_of(r, g, &from, &offset);
    f->no_keep = lazy_keep(address(r, from), address(r, to), false) != 0;
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
    f.no_keep = inside != 0; /* we may hold what keeping takes */
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
    shim_inside = inside;
    shim_mask_set(outer);
    errno = error;
    if (f.result != FAULT_DONE) /* another handler's turn */
        sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
    return f.result == FAULT_DONE ? LAZY_DONE : f.result == FAULT_BUS ? LAZY_BUS : LAZY_NOT;
}
