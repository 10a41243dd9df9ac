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
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "client/door/entry.h"
#include "client/door/sites.h"

#define LIBS_MAX   6
#define STUB_MAX   96 /* bytes of one stub */
#define STUB_HEAD  64 /* bytes before the first stub: pointers */
#define PAGE       4096ul
#define NEAR       (1ul << 30)
#define CHECK_LEN  (6 + 6 + 7 + 5 + 6) /* build_stub's test of an unknown call number */
#define CALL_LEN   (7 + 6)             /* build_stub's lea and jmp */

struct lib {
    uintptr_t base, text, text_len; /* load bias; its executable pages */
    char path[512];
    struct sites sites;
    uint8_t *stubs;
    size_t stubs_len;
    uint32_t *stub_at; /* per site: offset in stubs, 0 = not patched */
    bool patched;
};

struct door {
    const struct door_conf *conf;
    struct lib libs[LIBS_MAX];
    unsigned nlibs;
    struct door_stat stat;
};

static struct door_stat last;

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

/* Writes the stub of a site at p; returns its end. entry and serve: cells with those pointers. */
static uint8_t *build_stub(uint8_t *p, const uint8_t *site_addr, const struct site *s,
                           const void *entry, const void *serve)
{
    uint8_t *fix[2] = {NULL, NULL};
    uint8_t *lea;

    p = put(p, site_addr - s->before, s->before);
    if (s->nr < 0) {
        uint32_t max = DOOR_NR_MAX;

        p = put(put(p, "\x48\x3d", 2), &max, 4);      /* cmp $max, %rax */
        p = put_rel(p, "\x0f\x83", 2, p);             /* jae raw */
        fix[0] = p;
        p = put_rel(p, "\x4c\x8b\x1d", 3, serve);     /* mov serve(%rip), %r11 */
        p = put(p, "\x41\x80\x3c\x03\x00", 5);        /* cmpb $0, (%r11,%rax) */
        p = put_rel(p, "\x0f\x84", 2, p);             /* je raw */
        fix[1] = p;
    }
    p = put_rel(p, "\x48\x8d\x0d", 3, p);             /* lea raw(%rip), %rcx */
    lea = p;
    p = put_rel(p, "\xff\x25", 2, entry);             /* jmp *entry(%rip) */
    for (int i = 0; i < 2; i++) {
        int32_t rel = (int32_t)(p - fix[i]);

        if (fix[i])
            memcpy(fix[i] - 4, &rel, 4);
    }
    int32_t rel = (int32_t)(p - lea);
    memcpy(lea - 4, &rel, 4);
    p = put(p, site_addr, 2u + s->after);             /* raw: syscall, and what followed it */
    return put_rel(p, "\xe9", 1, site_addr + 2 + s->after);
}

static int build_stubs(struct door *d, struct lib *l)
{
    size_t n = 0;

    for (unsigned i = 0; i < l->sites.n; i++)
        n += serves(d->conf, &l->sites.v[i]);
    l->stubs_len = (STUB_HEAD + n * STUB_MAX + l->sites.n * sizeof(uint32_t) + PAGE - 1) & ~(PAGE - 1);
    l->stubs = map_near(l, l->stubs_len);
    if (!l->stubs)
        return -ENOMEM;
    const void *entry = door_entry, *serve = d->conf->serve;
    memcpy(l->stubs, &entry, 8);
    memcpy(l->stubs + 8, &serve, 8);
    l->stub_at = (uint32_t *)(void *)(l->stubs + STUB_HEAD);

    uint8_t *p = l->stubs + STUB_HEAD + l->sites.n * sizeof(uint32_t);
    for (unsigned i = 0; i < l->sites.n; i++) {
        const struct site *s = &l->sites.v[i];
        const uint8_t *at = (const uint8_t *)l->base + s->vaddr;

        l->stub_at[i] = 0;
        if (!serves(d->conf, s))
            continue;
        d->stat.sites++;
        if ((uintptr_t)at - s->before < l->text ||
            (uintptr_t)at + 2 + s->after > l->text + l->text_len || at[0] != 0x0f || at[1] != 0x05)
            return -ENOEXEC;
        if (s->before + s->after < 3) {
            d->stat.left++;
            continue;
        }
        l->stub_at[i] = (uint32_t)(p - l->stubs);
        p = build_stub(p, at, s, l->stubs, l->stubs + 8);
        d->stat.patched++;
    }
    return (int)door_call(SYS_mprotect, l->stubs, l->stubs_len, PROT_READ | PROT_EXEC);
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

        if (!l->stub_at[i])
            continue;
        const uint8_t *stub = l->stubs + l->stub_at[i];
        if (undo) {
            /* The displaced bytes stand in the stub: some at its start, the rest from its syscall on. */
            const uint8_t *q = stub + s->before + (s->nr < 0 ? CHECK_LEN : 0) + CALL_LEN;

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
    static struct door door;
    struct door *d = &door;
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
    door_entry_filter = conf->filter;
    door_entry_handler = conf->handler;
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
