/* SPDX-License-Identifier: Apache-2.0
 * sites: makes, keeps and checks tables of patchable `syscall` instructions.
 */
#include "client/door/sites.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "client/door/door.h"
#include "client/door/insn.h"

#define JUMP_LEN    5  /* e9 rel32 */
#define WINDOW_MAX  24 /* bytes; struct site says so */
#define HISTORY     4  /* instructions before a syscall that may be displaced */
#define SITES_MAX   8192
#define CODE_MAX    (64u << 20)
#define BUILD_ID_MAX 32
#define CACHE_MAGIC "VOLNFS\1\n"

struct image {
    const uint8_t *p;
    size_t len;
    const Elf64_Ehdr *eh;
    const Elf64_Shdr *sh;
    uint8_t id[BUILD_ID_MAX];
    unsigned id_len;
};

static void *map_anon(size_t n)
{
    long r = door_call(SYS_mmap, 0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return r < 0 && r > -4096 ? NULL : (void *)r;
}

static bool inside(const struct image *im, uint64_t off, uint64_t len)
{
    return off <= im->len && len <= im->len - off;
}

static void image_close(struct image *im)
{
    if (im->p)
        door_call(SYS_munmap, im->p, im->len);
    im->p = NULL;
}

/* Finds the GNU build id among the notes of a section. */
static void find_build_id(struct image *im, const Elf64_Shdr *s)
{
    uint64_t at = 0;

    while (s->sh_size - at >= sizeof(Elf64_Nhdr)) {
        const Elf64_Nhdr *n = (const void *)(im->p + s->sh_offset + at);
        uint64_t name = (n->n_namesz + 3ull) & ~3ull, desc = (n->n_descsz + 3ull) & ~3ull;

        at += sizeof(*n);
        if (name > s->sh_size - at || desc > s->sh_size - at - name)
            return;
        if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 && n->n_descsz >= 8 &&
            n->n_descsz <= BUILD_ID_MAX && !memcmp(im->p + s->sh_offset + at, "GNU", 4)) {
            im->id_len = n->n_descsz;
            memcpy(im->id, im->p + s->sh_offset + at + name, n->n_descsz);
        }
        at += name + desc;
    }
}

static int image_open(const char *path, struct image *im)
{
    struct stat st;
    long fd, r;

    memset(im, 0, sizeof(*im));
    fd = door_call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (int)fd;
    r = door_call(SYS_fstat, fd, &st);
    if (!r && (st.st_size < (off_t)sizeof(Elf64_Ehdr) || st.st_size > (off_t)CODE_MAX))
        r = -ENOEXEC;
    if (!r) {
        im->len = (size_t)st.st_size;
        r = door_call(SYS_mmap, 0, im->len, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    door_call(SYS_close, fd);
    if (r < 0 && r > -4096)
        return (int)r;
    im->p = (const void *)r;
    im->eh = (const void *)im->p;
    const Elf64_Ehdr *eh = im->eh;
    if (memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
        eh->e_machine != EM_X86_64 || eh->e_shentsize != sizeof(Elf64_Shdr) || eh->e_shoff % 8 ||
        !inside(im, eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(Elf64_Shdr))) {
        image_close(im);
        return -ENOEXEC;
    }
    im->sh = (const void *)(im->p + eh->e_shoff);
    for (unsigned i = 0; i < eh->e_shnum; i++) {
        const Elf64_Shdr *s = &im->sh[i];

        if (s->sh_type != SHT_NOBITS && !inside(im, s->sh_offset, s->sh_size)) {
            image_close(im);
            return -ENOEXEC;
        }
        if (s->sh_type == SHT_NOTE && s->sh_offset % 4 == 0)
            find_build_id(im, s);
    }
    return 0;
}

/* One bit per code byte: something jumps, calls or points there. */
struct targets {
    uint8_t *bits;
    size_t bytes;
    uint64_t lo, hi; /* code addresses */
};

static void target_add(struct targets *t, uint64_t a)
{
    if (a >= t->lo && a < t->hi)
        t->bits[(a - t->lo) / 8] |= (uint8_t)(1u << (a - t->lo) % 8);
}

static bool target_in(const struct targets *t, uint64_t from, uint64_t to)
{
    for (uint64_t a = from; a < to; a++)
        if (t->bits[(a - t->lo) / 8] >> (a - t->lo) % 8 & 1)
            return true;
    return false;
}

static void add_symbols(const struct image *im, struct targets *t)
{
    for (unsigned i = 0; i < im->eh->e_shnum; i++) {
        const Elf64_Shdr *s = &im->sh[i];

        if ((s->sh_type != SHT_DYNSYM && s->sh_type != SHT_SYMTAB) || s->sh_offset % 8)
            continue;
        const Elf64_Sym *sym = (const void *)(im->p + s->sh_offset);
        for (uint64_t k = 0; k < s->sh_size / sizeof(*sym); k++)
            target_add(t, sym[k].st_value);
    }
}

/* Decodes one instruction of a section at offset at; a byte that is none counts as one that cannot move. */
static void decode(const uint8_t *code, size_t len, size_t at, struct insn *in)
{
    if (!insn_decode(code + at, len - at, in)) {
        memset(in, 0, sizeof(*in));
        in->len = 1;
    }
}

/* Chooses the window of the syscall at offset at. hist: the lengths of the movable instructions right
 * before it, nearest first, 0-terminated. */
static void choose_window(const uint8_t *code, size_t len, size_t at, uint64_t vaddr,
                          const uint8_t hist[HISTORY + 1], const struct targets *t, struct site *s)
{
    uint8_t fwd[HISTORY + 1] = {0};
    size_t end = at + 2;

    for (unsigned i = 0; i < HISTORY && end < len; i++) {
        struct insn in;

        decode(code, len, end, &in);
        if (!in.movable)
            break;
        fwd[i] = in.len;
        end += in.len;
    }
    /* Few bytes first: more of either side only when less does not do. */
    for (unsigned total = 1; total <= 2 * HISTORY; total++) {
        for (unsigned nb = total < HISTORY ? total : HISTORY; nb + 1 > 0; nb--) {
            unsigned na = total - nb, before = 0, after = 0;
            bool have = na <= HISTORY;

            for (unsigned i = 0; have && i < nb; i++)
                have = hist[i] != 0, before += hist[i];
            for (unsigned i = 0; have && i < na; i++)
                have = fwd[i] != 0, after += fwd[i];
            if (have && before + 2 + after >= JUMP_LEN && before + 2 + after <= WINDOW_MAX &&
                !target_in(t, vaddr - before + 1, vaddr + 2 + after)) {
                s->before = (uint8_t)before;
                s->after = (uint8_t)after;
                return;
            }
            if (nb == 0)
                break;
        }
    }
}

static int sweep(const uint8_t *code, size_t len, uint64_t vaddr, struct targets *t,
                 struct sites *out, bool collect)
{
    uint8_t hist[HISTORY + 1] = {0};
    int eax = -1;
    struct insn in;

    for (size_t at = 0; at < len; at += in.len) {
        decode(code, len, at, &in);
        if (in.branch && !collect)
            target_add(t, vaddr + at + (uint64_t)in.target);
        if (in.syscall && collect) {
            if (out->n == SITES_MAX)
                return -ENOEXEC;
            struct site *s = &out->v[out->n++];

            memset(s, 0, sizeof(*s));
            s->vaddr = (uint32_t)(vaddr + at);
            s->nr = (int16_t)(eax >= 0 && eax < DOOR_NR_MAX ? eax : -1);
            choose_window(code, len, at, vaddr + at, hist, t, s);
        }
        eax = in.sets_eax_imm ? in.eax_imm : -1;
        if (in.movable) {
            memmove(hist + 1, hist, HISTORY - 1);
            hist[0] = in.len;
        } else {
            memset(hist, 0, sizeof(hist));
        }
    }
    return 0;
}

/* Windows that share bytes: neither is patched. */
static void drop_overlaps(struct sites *s)
{
    for (unsigned i = 1; i < s->n; i++) {
        struct site *a = &s->v[i - 1], *b = &s->v[i];

        if (a->vaddr + 2 + a->after > b->vaddr - b->before)
            a->before = a->after = b->before = b->after = 0;
    }
}

static int make(const struct image *im, struct sites *out)
{
    struct targets t = {.lo = UINT64_MAX};
    int err = 0;

    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < im->eh->e_shnum; i++) {
        const Elf64_Shdr *s = &im->sh[i];

        if (s->sh_type != SHT_PROGBITS || !(s->sh_flags & SHF_EXECINSTR) || !s->sh_size)
            continue;
        if (s->sh_addr > CODE_MAX || s->sh_addr + s->sh_size > CODE_MAX)
            return -ENOEXEC;
        t.lo = s->sh_addr < t.lo ? s->sh_addr : t.lo;
        t.hi = s->sh_addr + s->sh_size > t.hi ? s->sh_addr + s->sh_size : t.hi;
    }
    if (t.lo >= t.hi)
        return -ENOEXEC;
    t.bytes = (t.hi - t.lo) / 8 + 1;
    t.bits = map_anon(t.bytes);
    out->bytes = SITES_MAX * sizeof(struct site);
    out->v = map_anon(out->bytes);
    if (!t.bits || !out->v) {
        err = -ENOMEM;
        goto out;
    }
    add_symbols(im, &t);
    for (int collect = 0; collect < 2; collect++)
        for (unsigned i = 0; i < im->eh->e_shnum && !err; i++) {
            const Elf64_Shdr *s = &im->sh[i];

            if (s->sh_type == SHT_PROGBITS && (s->sh_flags & SHF_EXECINSTR) && s->sh_size)
                err = sweep(im->p + s->sh_offset, s->sh_size, s->sh_addr, &t, out, collect);
        }
    drop_overlaps(out);
out:
    if (t.bits)
        door_call(SYS_munmap, t.bits, t.bytes);
    if (err)
        sites_release(out);
    return err;
}

int sites_make(const char *path, struct sites *out)
{
    struct image im;
    int err = image_open(path, &im);

    if (err)
        return err;
    err = make(&im, out);
    image_close(&im);
    return err;
}

void sites_release(struct sites *s)
{
    if (s->v)
        door_call(SYS_munmap, s->v, s->bytes);
    memset(s, 0, sizeof(*s));
}

/* --- the cache: magic, count, then struct site as in memory --- */

struct cache_head {
    char magic[8];
    uint32_t n, size;
};

static bool dir_is_ours(long fd)
{
    struct stat st;

    return !door_call(SYS_fstat, fd, &st) && S_ISDIR(st.st_mode) &&
           st.st_uid == (uid_t)door_call(SYS_geteuid) && !(st.st_mode & 022);
}

static void cache_name(const struct image *im, char name[2 * BUILD_ID_MAX + 8])
{
    static const char hex[] = "0123456789abcdef";
    unsigned k = 0;

    for (unsigned i = 0; i < im->id_len; i++) {
        name[k++] = hex[im->id[i] >> 4];
        name[k++] = hex[im->id[i] & 15];
    }
    memcpy(name + k, ".sites", 7);
}

static bool cache_load(long dir, const char *name, struct sites *out)
{
    struct cache_head h;
    struct stat st;
    bool ok = false;
    long fd = door_call(SYS_openat, dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    memset(out, 0, sizeof(*out));
    if (fd < 0)
        return false;
    if (!door_call(SYS_fstat, fd, &st) && st.st_uid == (uid_t)door_call(SYS_geteuid) &&
        door_call(SYS_read, fd, &h, sizeof(h)) == sizeof(h) &&
        !memcmp(h.magic, CACHE_MAGIC, 8) && h.size == sizeof(struct site) && h.n <= SITES_MAX) {
        size_t want = h.n * sizeof(struct site);

        out->bytes = want ? want : 1;
        out->v = map_anon(out->bytes);
        ok = out->v && door_call(SYS_read, fd, out->v, want) == (long)want;
        out->n = h.n;
    }
    door_call(SYS_close, fd);
    for (unsigned i = 0; ok && i < out->n; i++) {
        const struct site *s = &out->v[i];
        unsigned w = s->before + 2u + s->after;

        ok = (w == 2 || (w >= JUMP_LEN && w <= WINDOW_MAX)) && s->vaddr >= s->before &&
             (i == 0 || out->v[i - 1].vaddr + 2 + out->v[i - 1].after <= s->vaddr - s->before);
    }
    if (!ok)
        sites_release(out);
    return ok;
}

static void cache_save(long dir, const char *name, const struct sites *s)
{
    struct cache_head h = {.magic = CACHE_MAGIC, .n = s->n, .size = sizeof(struct site)};
    char tmp[] = "new-00000000.sites";
    unsigned pid = (unsigned)door_call(SYS_getpid);

    for (unsigned i = 0; i < 8; i++)
        tmp[4 + i] = "0123456789abcdef"[pid >> (28 - 4 * i) & 15];
    long fd = door_call(SYS_openat, dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                        0600);
    if (fd < 0)
        return;
    long want = (long)(s->n * sizeof(struct site));
    bool ok = door_call(SYS_write, fd, &h, sizeof(h)) == sizeof(h) &&
              door_call(SYS_write, fd, s->v, want) == want;
    door_call(SYS_close, fd);
    if (!ok || door_call(SYS_renameat, dir, tmp, dir, name))
        door_call(SYS_unlinkat, dir, tmp, 0);
}

int sites_get(const char *path, const char *dir, struct sites *out)
{
    char name[2 * BUILD_ID_MAX + 8];
    struct image im;
    long dirfd = -1;
    int err = image_open(path, &im);

    if (err)
        return err;
    if (dir && im.id_len)
        dirfd = door_call(SYS_openat, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd >= 0 && !dir_is_ours(dirfd)) {
        door_call(SYS_close, dirfd);
        dirfd = -1;
    }
    if (dirfd >= 0)
        cache_name(&im, name);
    if (dirfd < 0 || !cache_load(dirfd, name, out)) {
        err = make(&im, out);
        if (!err && dirfd >= 0)
            cache_save(dirfd, name, out);
    }
    if (dirfd >= 0)
        door_call(SYS_close, dirfd);
    image_close(&im);
    return err;
}
