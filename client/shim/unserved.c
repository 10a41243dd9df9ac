/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program about to be started that the library will not be loaded into (static, musl, another word size) sees no
 * volumes. Where its arguments or the working directory name one, it is told so on stderr, unless VOLNFS_QUIET is set.
 * `volnfs doctor` says more, and beforehand.
 */
#include <elf.h>
#include <fcntl.h>
#include <string.h>

#include "client/shim/shim.h"

#define UNSERVED_HEAD 4096 /* program headers behind that are not looked for */

static bool unserved_names(char *const *argv)
{
    char *cwd;
    bool names = false;

    for (int i = 0; argv != NULL && argv[i] != NULL && !names; i++)
        names = argv[i][0] == '/' && path_mount(argv[i]) != NULL;
    if (!names && (cwd = heap_alloc(SHIM_PATH)) != NULL) {
        names = path_cwd(cwd, SHIM_PATH) > 0;
        heap_free(cwd);
    }
    return names;
}

/* Why the library will not be in it; NULL: it will, or it is no program for this to judge. */
static const char *unserved_why(const uint8_t *head, size_t size)
{
    Elf64_Ehdr eh;

    if (size < sizeof(eh) || memcmp(head, ELFMAG, SELFMAG) != 0)
        return NULL;
    memcpy(&eh, head, sizeof(eh));
    if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != EM_X86_64)
        return "made for another kind of machine";
    if (eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_phoff > size ||
        (uint64_t)eh.e_phnum * sizeof(Elf64_Phdr) > size - eh.e_phoff)
        return NULL;
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        Elf64_Phdr ph;

        memcpy(&ph, head + eh.e_phoff + i * sizeof(ph), sizeof(ph));
        if (ph.p_type != PT_INTERP)
            continue;
        if (ph.p_offset >= size || ph.p_filesz > size - ph.p_offset || ph.p_filesz == 0)
            return NULL;
        return memmem(head + ph.p_offset, ph.p_filesz, "ld-musl", 7) != NULL ? "linked with musl" : NULL;
    }
    return "statically linked";
}

void unserved_say(int dirfd, const char *path, char *const *argv)
{
    const char *why, *parts[4];
    uint8_t *head;
    char text[512];
    size_t len = 0;
    long fd, n;

    if (shim.quiet || !unserved_names(argv))
        return;
    head = heap_alloc(UNSERVED_HEAD);
    if (head == NULL)
        return;
    fd = path[0] != 0 ? sys4(SYS_openat, dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0) : dirfd;
    n = fd < 0 ? -1 : sys4(SYS_pread64, fd, head, UNSERVED_HEAD, 0);
    if (fd >= 0 && path[0] != 0)
        sys1(SYS_close, fd);
    why = n > 0 ? unserved_why(head, (size_t)n) : NULL;
    heap_free(head);
    if (why == NULL)
        return;
    parts[0] = "volnfs: ";
    parts[1] = argv != NULL && argv[0] != NULL ? argv[0] : path;
    parts[2] = " sees no volumes: it is ";
    parts[3] = why;
    for (int i = 0; i < 4; i++)
        for (const char *p = parts[i]; *p != 0 && len < sizeof(text) - 1; p++)
            text[len++] = *p;
    text[len++] = '\n';
    sys3(SYS_write, 2, text, len);
}
