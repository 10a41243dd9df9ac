/* SPDX-License-Identifier: Apache-2.0
 * stdio: what libc builds on the calls: FILE, mkstemp, tmpfile, glob, ftw, fts, scandir, getline.
 */
#include "tests/shim/suite.h"

#include <fts.h>
#include <ftw.h>
#include <glob.h>

static void streams(void)
{
    char line[64];
    FILE *f = fopen(P("f"), "w+");

    VAL(fprintf(f, "one %d\n", 1));
    VAL(fputs("two\n", f) >= 0);
    VAL(fflush(f));
    suite_show(P("f"));
    VAL(fseek(f, 0, SEEK_SET));
    VAL(fgets(line, sizeof(line), f) == line);
    VAL(ftell(f));
    VAL(fseek(f, 0, SEEK_END));
    VAL(fputc('x', f));
    VAL(fclose(f));
    suite_show(P("f"));
    f = fopen(P("f"), "a");
    fputs("appended\n", f);
    VAL(ftell(f));
    fclose(f);
    f = fopen(P("f"), "r");
    int n = 0;
    for (char *l = NULL, *p = (char *)1; p != NULL; n++) {
        size_t size = 0;

        l = NULL;
        p = getline(&l, &size, f) < 0 ? NULL : l;
        free(l);
    }
    VAL(n);
    VAL(feof(f) != 0);
    VAL(freopen(P("g"), "w", f) == f);
    fputs("reopened", f);
    fclose(f);
    suite_show(P("g"));
    VAL(fopen(P("g"), "wx") == NULL ? errno : 0);
    VAL(fopen(P("none/g"), "r") == NULL ? errno : 0);
    f = fopen(P("big"), "w");
    for (int i = 0; i < 20000; i++)
        fprintf(f, "line %d of a larger file\n", i);
    VAL(fclose(f));
    suite_lstat(P("big"));
}

static void temporary(void)
{
    char name[4200], dir[4200];
    int fd;

    snprintf(name, sizeof(name), "%s", P("tXXXXXX"));
    fd = OK(mkstemp(name));
    suite_say("name changed: %d", strstr(name, "XXXXXX") == NULL);
    VAL(write(fd, "x", 1));
    VAL(access(name, F_OK));
    VAL(unlink(name));
    snprintf(dir, sizeof(dir), "%s", P("dXXXXXX"));
    VAL(mkdtemp(dir) == dir);
    VAL(rmdir(dir));
    setenv("TMPDIR", P(""), 1);
    FILE *f = tmpfile();
    VAL(f != NULL);
    char *t = tempnam(P(""), "pre");
    VAL(t != NULL && strncmp(t, P("pre"), strlen(P("pre"))) == 0);
    free(t);
    suite_list(P(""));
}

static int visited;

static int visit(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    visited += ftw->level * 10 + flag;
    (void)path;
    return 0;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void walks(void)
{
    char pattern[4200];
    glob_t g;

    mkdir(P("d"), 0755);
    mkdir(P("d/e"), 0755);
    suite_make(P("d/a.txt"), "a");
    suite_make(P("d/b.txt"), "b");
    suite_make(P("d/e/c.txt"), "c");
    symlink("e", P("d/s"));
    snprintf(pattern, sizeof(pattern), "%s", P("d/*.txt"));
    VAL(glob(pattern, 0, NULL, &g));
    for (size_t i = 0; i < g.gl_pathc; i++)
        suite_say("glob %s", g.gl_pathv[i]);
    snprintf(pattern, sizeof(pattern), "%s", P("*/*/c.*"));
    VAL(glob(pattern, 0, NULL, &g));
    VAL(g.gl_pathc);
    snprintf(pattern, sizeof(pattern), "%s", P("none*"));
    VAL(glob(pattern, 0, NULL, &g));
    chdir(P("d"));
    VAL(glob("*", GLOB_MARK, NULL, &g));
    for (size_t i = 0; i < g.gl_pathc; i++)
        suite_say("glob %s", g.gl_pathv[i]);
    VAL(nftw(P("d"), visit, 10, FTW_PHYS));
    VAL(visited);
    VAL(nftw(P("d"), visit, 10, FTW_DEPTH | FTW_CHDIR));
    VAL(visited);
    char *roots[] = {(char *)(uintptr_t)P("d"), NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL, by_name);
    for (FTSENT *e; (e = fts_read(fts)) != NULL;)
        suite_say("fts %d %s", e->fts_info, e->fts_name);
    fts_close(fts);
    char *roots2[] = {".", NULL};
    fts = fts_open(roots2, FTS_LOGICAL, by_name);
    for (FTSENT *e; (e = fts_read(fts)) != NULL;)
        suite_say("fts %d %s", e->fts_info, e->fts_path);
    fts_close(fts);
}

SUITE_GROUP(stdio) = {{"streams", streams}, {"temporary", temporary}, {"walks", walks}, {NULL, NULL}};
