/* SPDX-License-Identifier: Apache-2.0
 * volnfs doctor: says whether a program can be served by the preload library here, and why not.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/nfs/file.h"
#include "client/shim/run.h"

static int problems;

static void good(const char *what)
{
    printf("ok    %s\n", what);
}

static void bad(const char *what, const char *why)
{
    printf("no    %s: %s\n", what, why);
    problems++;
}

/* COMMAND as execvp would find it. */
static bool find_command(const char *name, char *out, size_t size)
{
    const char *path = getenv("PATH");

    if (strchr(name, '/') != NULL) {
        snprintf(out, size, "%s", name);
        return access(out, X_OK) == 0;
    }
    for (path = path != NULL ? path : "/usr/bin:/bin"; *path != 0;) {
        size_t len = strcspn(path, ":");

        snprintf(out, size, "%.*s/%s", (int)len, path, name);
        if (access(out, X_OK) == 0)
            return true;
        path += len + (path[len] == ':');
    }
    return false;
}

/* What the program's file says. */
static void check_elf(const char *path, const uint8_t *at, size_t size)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)at;
    const Elf64_Phdr *ph;
    bool dynamic = false;

    if (size < sizeof(*head) || memcmp(at, ELFMAG, SELFMAG) != 0) {
        bad(path, "neither a script nor an ELF program");
        return;
    }
    if (head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_machine != EM_X86_64) {
        bad(path, "not a 64-bit x86 program");
        return;
    }
    if (head->e_phentsize != sizeof(*ph) || head->e_phoff > size ||
        (uint64_t)head->e_phnum * sizeof(*ph) > size - head->e_phoff) {
        bad(path, "a damaged ELF file");
        return;
    }
    ph = (const Elf64_Phdr *)(at + head->e_phoff);
    for (int i = 0; i < head->e_phnum; i++) {
        if (ph[i].p_type != PT_INTERP || ph[i].p_offset >= size || ph[i].p_filesz > size - ph[i].p_offset ||
            ph[i].p_filesz == 0)
            continue;
        dynamic = true;
        if (memmem(at + ph[i].p_offset, ph[i].p_filesz, "musl", 4) != NULL)
            bad(path, "made for musl; only glibc programs are served");
        else
            good("the program is dynamically linked to glibc");
    }
    if (memmem(at, size, "\xff Go buildinf:", 14) != NULL)
        bad(path, "written in Go, which makes system calls of its own, past the C library");
    if (!dynamic)
        bad(path, "statically linked (as most Go programs are): nothing can be preloaded into it");
}

static void check_command(const char *name)
{
    char path[4096], line[256], script[256], *interp;
    struct stat st;
    void *at;
    int fd;

    for (int depth = 0; depth < 4; depth++) {
        if (!find_command(name, path, sizeof(path))) {
            bad(name, "not found, or not executable");
            return;
        }
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
            bad(path, fd < 0 ? strerror(errno) : S_ISREG(st.st_mode) ? "empty" : "not a file");
            if (fd >= 0)
                close(fd);
            return;
        }
        if ((st.st_mode & (S_ISUID | S_ISGID)) != 0)
            bad(path, "set-user-id and set-group-id programs ignore what is preloaded");
        if (getxattr(path, "security.capability", NULL, 0) > 0)
            bad(path, "programs with file capabilities ignore what is preloaded");
        at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        close(fd);
        if (at == MAP_FAILED) {
            bad(path, strerror(errno));
            return;
        }
        if (st.st_size < 3 || memcmp(at, "#!", 2) != 0) {
            check_elf(path, at, (size_t)st.st_size);
            munmap(at, (size_t)st.st_size);
            return;
        }
        snprintf(line, sizeof(line), "%.*s", (int)(st.st_size - 2 < 250 ? st.st_size - 2 : 250), (char *)at + 2);
        munmap(at, (size_t)st.st_size);
        interp = line + strspn(line, " \t");
        interp[strcspn(interp, " \t\n")] = 0;
        printf("ok    %s is a script for %s\n", path, interp);
        memcpy(script, interp, strlen(interp) + 1); /* it is part of line */
        name = script;
    }
    bad(name, "scripts for scripts, too many in a row");
}

static bool any_name(void *arg, uint64_t cookie, const char *name, size_t size, const struct nfs_attr *attr,
                     const struct nfs_fh *fh)
{
    *(bool *)arg = true;
    return false;
}

/* Why a volume may not be there. What no grant gives is not there at all, so a server without a name is a hint. */
static const char *missing(struct nfs_client *client, const struct nfs_fh *root, const char *volume)
{
    static char why[256];
    struct nfs_attr attr;
    struct nfs_fh fh;
    uint64_t verf = 0;
    bool any = false;

    (void)nfs_readdir(client, root, 0, &verf, any_name, &any);
    if (!any)
        return "no grant: the server shows this machine nothing; its operator says 'volnfs grant THIS-ADDRESS /'";
    if (nfs_lookup(client, root, volume, strcspn(volume, "/"), &fh, &attr) == 0)
        return "no such volume, or no grant on it; where a grant allows it, volnfs run makes it unless it is to be read only";
    snprintf(why, sizeof(why), "no user '%.*s', or no grant; where a grant allows it, volnfs run makes both",
             (int)strcspn(volume, "/"), volume);
    return why;
}

static void check_token(struct nfs_client *client, const struct nfs_fh *root, const char *file)
{
    char remote[256];
    struct nfs_attr attr;
    struct nfs_fh fh;
    size_t used;
    int err = run_token(file, remote, sizeof(remote));

    if (err == 0)
        err = nfs_walk(client, root, remote, &fh, &attr, &used);
    else {
        bad(file, err == -EBADMSG ? "there is no token in this file" : strerror(-err));
        return;
    }
    explicit_bzero(remote, sizeof(remote));
    if (err == 0)
        printf("ok    the token in %s is good\n", file);
    else
        bad(file, err == -ENOENT   ? "no such token: mistyped, revoked, or of something that is gone"
                  : err == -EACCES ? "token expired"
                                   : strerror(-err));
}

static void check_server(const char *text, const char *volume, const char *token)
{
    struct nfs_client *client = NULL;
    struct nfs_attr attr;
    struct nfs_fh root;
    char host[64];
    unsigned port;
    int err = run_parse_server(text, host, sizeof(host), &port);

    if (err == 0)
        err = nfs_client_open(&client, host, port, 2000, NULL);
    if (err == 0)
        err = nfs_root(client, &root, &attr);
    if (err == 0)
        printf("ok    a server answers at %s\n", text);
    else
        bad(text, err == -EINVAL ? "not ADDRESS:PORT" : err == -EIO ? "no NFS server answers" : strerror(-err));
    if (err == 0 && volume != NULL) {
        struct nfs_fh fh;
        size_t used;

        err = nfs_walk(client, &root, volume, &fh, &attr, &used);
        if (err == 0 && nfs_access(client, &fh, R_OK | X_OK, NULL) != (R_OK | X_OK))
            err = -EACCES;
        if (err == 0)
            printf("ok    the volume %s is there\n", volume);
        else
            bad(volume, err == -ENOENT   ? missing(client, &root, volume)
                        : err == -EACCES ? "this user may not read it, or the grant was taken back"
                                         : strerror(-err));
    }
    if (err == 0 && token != NULL)
        check_token(client, &root, token);
    nfs_client_close(client);
}

/* Can code of libraries be changed here, and is there /proc? */
static void check_place(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED || mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0)
        bad("this place", "memory can't be made executable, so system calls can't be caught");
    else
        good("memory can be made executable");
    if (page != MAP_FAILED)
        munmap(page, 4096);
    if (access("/proc/self/fd/0", F_OK) != 0 && access("/proc/self/fd", F_OK) != 0)
        bad("/proc", "not mounted; descriptors of volume files are found through it");
    else
        good("/proc is there");
}

int cmd_doctor(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 's'},
                                          {"volume", required_argument, NULL, 'v'},
                                          {"token-file", required_argument, NULL, 't'},
                                          {0}};
    const char *volume = NULL, *token = getenv("VOLNFS_TOKEN_FILE"), *server = getenv("VOLNFS_SERVER");
    int opt, status = 0;

    while ((opt = cli_getopt(cli, argc, argv, "+s:v:t:", longs, &status)) != -1) {
        if (opt == 's')
            server = optarg;
        else if (opt == 'v')
            volume = optarg;
        else if (opt == 't')
            token = optarg;
        else
            return status;
    }
    check_place();
    check_server(server != NULL ? server : "127.0.0.1:2049", volume, token);
    if (optind < argc)
        check_command(argv[optind]);
    return problems == 0 ? 0 : 1;
}
