/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries of a program that lie in volumes: found and lent before the exec, tidied up after it. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/shim/needed.h"
#include "client/shim/path.h"

#define NEEDED_PHDRS 64
#define NEEDED_DYNS 512
#define NEEDED_TEXT 32768 /* of a run path */
#define NEEDED_NAMES 512  /* that one object needs */
#define NEEDED_FOLDER "/lib." /* in the run directory */
#define NEEDED_DIR 320
#define NEEDED_VAR "VOLNFS_NEEDED="
#define NEEDED_VAR_LEN 14
#define LIBRARY_PATH "LD_LIBRARY_PATH="
#define LIBRARY_PATH_LEN 16

/* The program (the first) or a library. Texts are the heap's. */
struct object {
    int fd;
    bool alone; /* a program that no linker starts */
    int parent; /* which object needed it first; -1: the program */
    char *name;   /* by which it was needed */
    char *soname; /* NULL: none */
    char *path;
    char *rpath, *runpath; /* NULL: none */
    uint64_t strtab;       /* offset in the file */
    uint64_t strsize;
    uint64_t needs[NEEDED_NAMES]; /* offsets of names among the strings */
    unsigned nneeds;
};

struct search {
    struct object *objects[NEEDED_MAX + 1];
    unsigned n;
    const char *library_path; /* NULL: none */
    char *text;               /* NEEDED_TEXT bytes of scratch */
    struct vpath *vp;
};

static long read_at(int fd, void *to, size_t size, uint64_t offset)
{
    return offset > INT64_MAX ? -EINVAL : sys4(SYS_pread64, fd, to, size, offset);
}

static bool elf_text(struct search *s, const struct object *o, uint64_t at, char **text)
{
    size_t room = NEEDED_TEXT;
    long n;

    if (at >= o->strsize)
        return false;
    if (room > o->strsize - at)
        room = o->strsize - at;
    n = read_at(o->fd, s->text, room, o->strtab + at);
    if (n <= 0 || memchr(s->text, 0, (size_t)n) == NULL || s->text[0] == 0)
        return false;
    *text = heap_strdup(s->text);
    return *text != NULL;
}

/* Where in the file the program sees address at. */
static bool elf_place(const Elf64_Phdr *ph, unsigned n, uint64_t at, uint64_t *place)
{
    for (unsigned i = 0; i < n; i++)
        if (ph[i].p_type == PT_LOAD && at >= ph[i].p_vaddr && at - ph[i].p_vaddr < ph[i].p_filesz) {
            *place = ph[i].p_offset + (at - ph[i].p_vaddr);
            return true;
        }
    return false;
}

/* Fills in an object's texts. False: the linker looks for another one, made for this kind of machine. What is no object at all
 * is the linker's to complain of. */
static bool elf_open(struct search *s, struct object *o)
{
    uint64_t strings = 0, rpath = UINT64_MAX, runpath = UINT64_MAX, soname = UINT64_MAX;
    Elf64_Phdr ph[NEEDED_PHDRS], *dynamic = NULL;
    Elf64_Ehdr eh;
    Elf64_Dyn dyn[32];
    bool linker = false;
    size_t size;

    if (read_at(o->fd, &eh, sizeof(eh), 0) != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0)
        return true;
    if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_machine != EM_X86_64)
        return false;
    if (eh.e_phentsize != sizeof(ph[0]) || eh.e_phnum > NEEDED_PHDRS)
        return true;
    size = eh.e_phnum * sizeof(ph[0]);
    if (read_at(o->fd, ph, size, eh.e_phoff) != (long)size)
        return true;
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        linker |= ph[i].p_type == PT_INTERP;
        if (ph[i].p_type == PT_DYNAMIC)
            dynamic = &ph[i];
    }
    o->alone = !linker;
    if (dynamic == NULL)
        return true; /* needs nothing */
    for (unsigned k = 0; k < NEEDED_DYNS; k++) {
        unsigned i = k % (sizeof(dyn) / sizeof(dyn[0]));

        if (i == 0) {
            long n = read_at(o->fd, dyn, sizeof(dyn), dynamic->p_offset + k * sizeof(dyn[0]));

            if (n < 0)
                n = 0;
            memset((char *)dyn + n, 0, sizeof(dyn) - (size_t)n);
        }
        if (dyn[i].d_tag == DT_NULL || (k + 1) * sizeof(dyn[0]) > dynamic->p_filesz)
            break;
        switch (dyn[i].d_tag) {
        case DT_NEEDED:
            if (o->nneeds < NEEDED_NAMES)
                o->needs[o->nneeds++] = dyn[i].d_un.d_val;
            break;
        case DT_STRTAB:
            strings = dyn[i].d_un.d_ptr;
            break;
        case DT_STRSZ:
            o->strsize = dyn[i].d_un.d_val;
            break;
        case DT_RPATH:
            rpath = dyn[i].d_un.d_val;
            break;
        case DT_RUNPATH:
            runpath = dyn[i].d_un.d_val;
            break;
        case DT_SONAME:
            soname = dyn[i].d_un.d_val;
            break;
        default:
            break;
        }
    }
    if (!elf_place(ph, eh.e_phnum, strings, &o->strtab)) {
        o->nneeds = 0;
        return true;
    }
    if (elf_text(s, o, soname, &o->soname))
        o->alone = false; /* the linker itself */
    if (!elf_text(s, o, runpath, &o->runpath))
        elf_text(s, o, rpath, &o->rpath);
    return true;
}

static void object_free(struct object *o, bool close_it)
{
    if (close_it && o->fd >= 0)
        sys1(SYS_close, o->fd);
    heap_free(o->name);
    heap_free(o->soname);
    heap_free(o->path);
    heap_free(o->rpath);
    heap_free(o->runpath);
    heap_free(o);
}

/* A folder of a run path with $ORIGIN put in, and "/name": false when it is none that can be looked at. */
static bool folder_name(const char *from, size_t len, const struct object *o, const char *name, char *to)
{
    size_t n = 0, origin = o->path != NULL ? (size_t)(strrchr(o->path, '/') - o->path) : 0, name_len = strlen(name);

    for (size_t i = 0; i < len; i++) {
        size_t skip = 0;

        if (from[i] == '$') {
            if (len - i >= 9 && memcmp(from + i, "${ORIGIN}", 9) == 0)
                skip = 9;
            else if (len - i >= 7 && memcmp(from + i, "$ORIGIN", 7) == 0)
                skip = 7;
            if (skip == 0 || o->path == NULL || n + origin >= SHIM_PATH)
                return false; /* $LIB and $PLATFORM are the local machine's */
            memcpy(to + n, o->path, origin);
            n += origin;
            i += skip - 1;
        } else {
            if (n + 1 >= SHIM_PATH)
                return false;
            to[n++] = from[i];
        }
    }
    if (len == 0)
        to[n++] = '.';
    if (n + 1 + name_len >= SHIM_PATH)
        return false;
    to[n++] = '/';
    memcpy(to + n, name, name_len + 1);
    return true;
}

enum where { NOWHERE, LOCAL, VOLUME };

static enum where look(struct search *s, const char *path)
{
    struct vpath *vp = s->vp;
    int err = path_resolve(AT_FDCWD, path, VP_FOLLOW, vp);

    if (err == 0 && vp->kind == VP_LOCAL && sys4(SYS_faccessat, AT_FDCWD, vp->path, R_OK, 0) == 0)
        return LOCAL;
    if (err == 0 && vp->kind == VP_LOCAL && !shim_deep) {
        shim_deep = 1; /* a local link may lead to a volume */
        err = path_resolve(AT_FDCWD, path, VP_FOLLOW, vp);
        shim_deep = 0;
    }
    return err == 0 && vp->kind == VP_FILE && vp->attr.type == NFS_REG ? VOLUME : NOWHERE;
}

/* The library at s->vp becomes an object. False: none that the linker would take; it goes on looking. */
static bool take(struct search *s, int parent, const char *name)
{
    struct object *o = heap_zalloc(1, sizeof(*o));

    if (o == NULL)
        return false;
    o->parent = parent;
    o->name = heap_strdup(name);
    o->path = heap_strdup(s->vp->path);
    o->fd = memfd_of(&s->vp->fh, s->vp->path, s->vp->attr.size);
    if (o->fd < 0 || o->name == NULL || o->path == NULL || !elf_open(s, o)) {
        shim_say("%s: not taken as a library: %s", s->vp->path, o->fd < 0 ? strerror(-o->fd) : "made for another kind of machine");
        object_free(o, true);
        return false;
    }
    s->objects[s->n++] = o;
    return true;
}

/* The next folder of a list, len letters of it, up to one of ends; NULL: behind the last. *at: where the list goes on. */
static const char *next_folder(const char **at, const char *ends, size_t *len)
{
    const char *folder = *at;

    if (folder != NULL) {
        *len = strcspn(folder, ends);
        *at = folder[*len] != 0 ? folder + *len + 1 : NULL;
    }
    return folder;
}

/* Looks through a list of folders; true: the search is over, and if the name is in a volume it is taken. */
static bool through(struct search *s, const char *list, const char *ends, const struct object *of, int parent,
                    const char *name)
{
    char *path = heap_alloc(SHIM_PATH);
    bool over = path == NULL;
    const char *folder;
    size_t len;

    while (!over && (folder = next_folder(&list, ends, &len)) != NULL)
        if (folder_name(folder, len, of, name, path)) {
            enum where where = look(s, path);

            over = where == LOCAL || (where == VOLUME && take(s, parent, name));
        }
    heap_free(path);
    return over;
}

static void find(struct search *s, int parent, const char *name)
{
    const struct object *o = s->objects[parent], *by = o;

    if (strchr(name, '/') != NULL)
        return;
    for (unsigned i = 1; i < s->n; i++)
        if (strcmp(s->objects[i]->name, name) == 0 ||
            (s->objects[i]->soname != NULL && strcmp(s->objects[i]->soname, name) == 0))
            return;
    while (o->runpath == NULL) {
        if (by->rpath != NULL && through(s, by->rpath, ":", by, parent, name))
            return;
        if (by->parent < 0)
            break;
        by = s->objects[by->parent];
    }
    if (s->library_path != NULL && through(s, s->library_path, ":;", s->objects[0], parent, name))
        return;
    if (o->runpath != NULL)
        through(s, o->runpath, ":", o, parent, name);
}

static const char *env_value(char *const *env, const char *name, size_t len)
{
    for (; env != NULL && *env != NULL; env++)
        if (strncmp(*env, name, len) == 0)
            return *env + len;
    return NULL;
}

bool needed_by_env(char *const *env)
{
    const char *list = env_value(env, LIBRARY_PATH, LIBRARY_PATH_LEN), *folder;
    char *path = list != NULL && *list != 0 ? heap_alloc(SHIM_PATH) : NULL;
    bool found = false;
    size_t len;

    while (path != NULL && !found && (folder = next_folder(&list, ":;", &len)) != NULL)
        if (len < SHIM_PATH) {
            memcpy(path, folder, len);
            path[len] = 0;
            found = path[0] == '/' ? path_mount(path) != NULL : path_cwd(path, SHIM_PATH) > 0;
        }
    heap_free(path);
    return found;
}

/* A library that was lent. link: the name the linker has it by, which becomes the one in the volume. text: scratch. */
static void take_back(int fd, const char *link, char *text)
{
    char path[32], *copy;
    const char *name;

    fd_path(path, fd);
    name = memfd_name(path, text);
    if (name == NULL)
        return; /* no descriptor of ours */
    if (name[0] == '/' && link != NULL)
        for (struct link_map *l = _r_debug.r_map; l != NULL; l = l->l_next)
            if (l->l_name != NULL && strcmp(l->l_name, link) == 0 && (copy = heap_strdup(name)) != NULL)
                l->l_name = copy; /* of something that stays loaded */
    sys1(SYS_close, fd);
}

/* A folder of links goes, with what its links lead to. When the program has just begun, the linker's names change. */
static void tidy(const char *dir, bool begun)
{
    char *text = heap_alloc(SHIM_PATH), *link = heap_alloc(SHIM_PATH), entries[2048];
    long fd = sys3(SYS_open, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n, got = 0;
    bool some = text != NULL && link != NULL && fd >= 0;

    for (int i = 0; some && i < NEEDED_MAX; i++) { /* from the start each time: names go */
        sys3(SYS_lseek, fd, 0, SEEK_SET);
        got = sys3(SYS_getdents64, fd, entries, sizeof(entries));
        some = false;
        for (long at = 0; at < got;) {
            const struct sys_dirent *e = (const struct sys_dirent *)(entries + at);

            at += e->reclen;
            if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
                continue;
            snprintf(link, SHIM_PATH, "%s/%s", dir, e->name);
            n = sys3(SYS_readlink, link, text, SHIM_PATH - 1);
            some |= sys1(SYS_unlink, link) == 0;
            text[n > 0 ? n : 0] = 0;
            if (strncmp(text, "/proc/", 6) == 0 && strstr(text, "/fd/") != NULL)
                take_back(atoi(strrchr(text, '/') + 1), begun ? link : NULL, text);
        }
    }
    if (fd >= 0)
        sys1(SYS_close, fd);
    sys1(SYS_rmdir, dir);
    heap_free(text);
    heap_free(link);
}

/* Is /proc that of our pid namespace? Then a debugger, too, can follow links to our descriptors. */
static bool proc_knows_us(void)
{
    char self[16];
    long n = sys3(SYS_readlink, "/proc/self", self, sizeof(self) - 1);

    self[n > 0 ? n : 0] = 0;
    return n > 0 && atoi(self) == (int)sys0(SYS_getpid);
}

/* The folder of links, and in it a link for every library. Their descriptors are the folder's from then on. */
static int lend(struct search *s, char dir[NEEDED_DIR])
{
    char target[64], *link = heap_alloc(SHIM_PATH);
    bool known = proc_knows_us();
    int err = link != NULL ? -EEXIST : -ENOMEM;

    for (unsigned i = 0; i < 100 && err == -EEXIST; i++) {
        snprintf(dir, NEEDED_DIR, "%s" NEEDED_FOLDER "%d.%u", shim.dir, (int)sys0(SYS_gettid), i);
        err = (int)sys2(SYS_mkdir, dir, 0700);
    }
    for (unsigned i = 1; err == 0 && i < s->n; i++) {
        struct object *o = s->objects[i];

        snprintf(link, SHIM_PATH, "%s/%s", dir, o->name);
        if (known)
            snprintf(target, sizeof(target), "/proc/%d/fd/%d", (int)sys0(SYS_getpid), o->fd);
        else
            fd_path(target, o->fd);
        err = (int)sys2(SYS_symlink, target, link);
        if (err == 0)
            err = (int)sys3(SYS_fcntl, o->fd, F_SETFD, 0);
        if (err == 0)
            o->fd = -1;
        else
            tidy(dir, false);
    }
    heap_free(link);
    return err;
}

/* LD_LIBRARY_PATH for the linker: folders in volumes by their mirrors. Room for it is the caller's. */
static void list_mirrored(const char *list, char *to)
{
    const char *folder;
    size_t len;

    while ((folder = next_folder(&list, ":;", &len)) != NULL) {
        memcpy(to, folder, len);
        to[len] = 0;
        if (len > 0 && len < SHIM_PATH && to[0] == '/' && strstr(to, "..") == NULL && path_mount(to) != NULL && cwd_mirror(to)) {
            memmove(to + shim.mirror_len, to, len);
            memcpy(to, shim.mirror, shim.mirror_len);
            to += shim.mirror_len;
        }
        to += len;
        *to++ = folder[len];
    }
}

/* And back, in place. */
static void list_plain(char *list)
{
    const char *at = list, *folder, *end = list + strlen(list);
    size_t len;

    while ((folder = next_folder(&at, ":;", &len)) != NULL) {
        size_t skip = path_below(folder, shim.mirror, shim.mirror_len) ? shim.mirror_len : 0;

        memmove(list, folder + skip, len - skip + 1);
        list += len - skip + 1;
    }
    if (list < end)
        memset(list, 0, (size_t)(end - list));
}

/* env with an LD_LIBRARY_PATH for the linker; dir, which may be "", comes first. NULL: no memory. */
static char **env_with(const char *dir, char **env, void *(*alloc)(size_t))
{
    const char *old = env_value(env, LIBRARY_PATH, LIBRARY_PATH_LEN);
    size_t n = 0, k = 0, len, size = LIBRARY_PATH_LEN + strlen(dir) + 2;
    char **all, *path, *var, *at;

    if (old != NULL && *old == 0)
        old = dir; /* it names no folder, but behind a colon nothing is the working directory */
    for (const char *rest = old; next_folder(&rest, ":;", &len) != NULL;)
        size += shim.mirror_len;
    size += old != NULL ? strlen(old) : 0;
    while (env != NULL && env[n] != NULL)
        n++;
    all = alloc((n + 3) * sizeof(*all));
    path = alloc(size);
    var = alloc(NEEDED_VAR_LEN + strlen(dir) + 1);
    if (all == NULL || path == NULL || var == NULL)
        return NULL;
    strcpy(path, LIBRARY_PATH);
    strcat(path, dir);
    at = path + strlen(path);
    if (old != NULL) {
        if (dir[0] != 0)
            *at++ = ':';
        list_mirrored(old, at);
    }
    strcpy(var, NEEDED_VAR);
    strcat(var, dir);
    for (size_t i = 0; i < n; i++)
        if (strncmp(env[i], LIBRARY_PATH, LIBRARY_PATH_LEN) != 0 && strncmp(env[i], NEEDED_VAR, NEEDED_VAR_LEN) != 0)
            all[k++] = env[i];
    all[k++] = path;
    all[k++] = var;
    all[k] = NULL;
    return all;
}

int needed_prepare(int fd, const char *path, char **env, void *(*alloc)(size_t), char ***with)
{
    struct search *s = heap_zalloc(1, sizeof(*s));
    struct object *program = heap_zalloc(1, sizeof(*program));
    char dir[NEEDED_DIR];
    int err = -ENOMEM;

    *with = env;
    if (s == NULL || program == NULL) {
        heap_free(program);
        goto out;
    }
    s->objects[s->n++] = program;
    program->fd = fd;
    program->parent = -1;
    program->path = path != NULL ? heap_strdup(path) : NULL;
    s->text = heap_alloc(NEEDED_TEXT);
    s->vp = heap_alloc(sizeof(*s->vp));
    if ((path != NULL && program->path == NULL) || s->text == NULL || s->vp == NULL)
        goto out;
    s->library_path = env_value(env, LIBRARY_PATH, LIBRARY_PATH_LEN);
    if (s->library_path != NULL && s->library_path[0] == 0)
        s->library_path = NULL;
    err = 0;
    if (!elf_open(s, program) || program->alone)
        goto out;
    for (unsigned i = 0; i < s->n; i++) /* those that are found are looked at in their turn: breadth first */
        for (unsigned k = 0; k < s->objects[i]->nneeds && s->n <= NEEDED_MAX; k++) {
            char *name;

            if (!elf_text(s, s->objects[i], s->objects[i]->needs[k], &name))
                continue;
            find(s, (int)i, name);
            heap_free(name);
        }
    if (s->n > NEEDED_MAX)
        shim_say("%s: more than %d libraries in volumes; those that come last are not found",
                 path != NULL ? path : "a program", NEEDED_MAX);
    if (s->n == 1 && !needed_by_env(env))
        goto out;
    dir[0] = 0;
    err = s->n > 1 ? lend(s, dir) : 0;
    if (err == 0 && (*with = env_with(dir, env, alloc)) == NULL) {
        if (dir[0] != 0)
            tidy(dir, false);
        *with = env;
        err = -ENOMEM;
    }
    if (err != 0)
        shim_say("%s: its libraries in volumes cannot be lent to it: %s", path != NULL ? path : "a program",
                 strerror(-err));
out:
    for (unsigned i = 0; s != NULL && i < s->n; i++)
        object_free(s->objects[i], i > 0);
    if (s != NULL) {
        heap_free(s->text);
        heap_free(s->vp);
    }
    heap_free(s);
    return err;
}

void needed_drop(char **with)
{
    const char *dir = env_value(with, NEEDED_VAR, NEEDED_VAR_LEN);

    if (dir[0] != 0)
        tidy(dir, false);
}

/* Takes text at env[i] out, and from the memory it stands in, which others can read. */
static void env_take(char **env, size_t i)
{
    memset(env[i], 0, strlen(env[i]));
    for (; env[i] != NULL; i++)
        env[i] = env[i + 1];
}

void needed_take(void)
{
    const char *value = env_value(environ, NEEDED_VAR, NEEDED_VAR_LEN);
    char dir[NEEDED_DIR];
    size_t len;

    if (value == NULL)
        return;
    len = strlen(value);
    if (len < sizeof(dir)) {
        memcpy(dir, value, len + 1);
        if (strncmp(dir, shim.dir, shim.dir_len) == 0 &&
            strncmp(dir + shim.dir_len, NEEDED_FOLDER, sizeof(NEEDED_FOLDER) - 1) == 0 &&
            strchr(dir + shim.dir_len + 1, '/') == NULL)
            tidy(dir, true);
    }
    for (size_t i = 0; environ[i] != NULL; i++) {
        char *text = environ[i], *list = text + LIBRARY_PATH_LEN;

        if (strncmp(text, LIBRARY_PATH, LIBRARY_PATH_LEN) != 0)
            continue;
        if (len > 0 && strncmp(list, value, len) == 0 && list[len] == ':') {
            size_t rest = strlen(list + len + 1);

            memmove(list, list + len + 1, rest);
            memset(list + rest, 0, len + 1);
            if (strcmp(list, value) == 0) /* it was empty: env_with */
                memset(list, 0, len);
        } else if (len > 0 && strcmp(list, value) == 0) {
            env_take(environ, i--);
            continue;
        }
        list_plain(list);
    }
    for (size_t i = 0; environ[i] != NULL; i++)
        if (strncmp(environ[i], NEEDED_VAR, NEEDED_VAR_LEN) == 0)
            env_take(environ, i--);
}
