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
#include "client/door/stub.h"

#define LIBS_MAX   6
#define PAGE       4096ul
#define NEAR       (1ul << 30)

struct lib {
    uintptr_t base, text, text_len; /* load bias; its executable pages */
    char path[512];
    struct sites sites;
    uint8_t *stubs;
    size_t stubs_len;
    struct stub *stub_at; /* per site, in the stub area */
    unsigned nstubs;
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

static int build_stubs(struct door *d, struct lib *l)
{
    size_t n = 0;

    for (unsigned i = 0; i < l->sites.n; i++)
        n += serves(d->conf, &l->sites.v[i]);
    l->stubs_len = (STUB_HEAD + STUB_ALIGN + n * STUB_MAX + l->sites.n * sizeof(*l->stub_at) + PAGE - 1) & ~(PAGE - 1);
    l->stubs = map_near(l, l->stubs_len);
    if (!l->stubs)
        return -ENOMEM;
    stub_cells(l->stubs, d->conf);
    l->stub_at = (struct stub *)(void *)(l->stubs + STUB_HEAD);
    l->nstubs = l->sites.n;

    uint8_t *p = l->stubs + STUB_HEAD + l->sites.n * sizeof(*l->stub_at);
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
        const uint8_t *from = p;
        p = stub_write(l->stubs, p, s, at, (const uint8_t *)l->text + l->text_len, d->conf, &l->stub_at[i]);
        if (p - from > STUB_MAX)
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

void door_near(uintptr_t low, uintptr_t high)
{
    door_entry_near(low, high);
    for (unsigned i = 0; i < opened.nlibs; i++)
        if (opened.libs[i].patched)
            stub_near(opened.libs[i].stubs, low, high);
}

uintptr_t door_fixup(uintptr_t ip)
{
    for (unsigned i = 0; i < opened.nlibs; i++) {
        const struct lib *l = &opened.libs[i];
        uintptr_t from = (uintptr_t)l->stubs;

        if (!l->patched || ip < from || ip >= from + l->stubs_len)
            continue;
        for (unsigned k = 0; k < l->nstubs; k++)
            for (unsigned n = 0; n < STUB_READS; n++)
                if (l->stub_at[k].reads[n] == ip - from)
                    return from + l->stub_at[k].ask;
    }
    return door_entry_fixup(ip);
}
