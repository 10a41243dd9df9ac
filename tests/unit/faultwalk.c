/* SPDX-License-Identifier: Apache-2.0
 * faultwalk: runs, and counts which points were hit (see faultwalk.h).
 *
 * Two workers take runs from one list; each has a child per run. What children have to tell is in memory that all
 * share, so it is there whenever one dies.
 */
#include "tests/unit/faultwalk.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fault.h"

#define WORKERS  2
#define STORIES  16
#define POINTS   128
#define MOST     3u
#define RUN_S    600  /* then it hangs, even if others held the machine meanwhile */

struct worker {
    unsigned acked;
    int done, hit;
    unsigned story, point, nth, mode; /* the run; nth 0: without a fault, passings are counted */
};

struct point {
    char name[40];
    unsigned passed[STORIES]; /* without a fault */
    unsigned hits[2];         /* by mode: failed, crashed */
};

struct shared {
    struct worker w[WORKERS];
    struct point points[POINTS];
    unsigned npoints;
    unsigned next; /* run to be taken */
    unsigned runs; /* done */
    int failed;
};

static struct shared *all;
static struct worker *me;
static const struct fault_story *const *stories;
static unsigned nstories;
static char base[64];
static bool every, only;

/* --- in a story --- */

static unsigned point_of(const char *name)
{
    unsigned i = 0;

    while (i < all->npoints && strcmp(all->points[i].name, name) != 0)
        i++;
    if (i == POINTS)
        abort();
    return i;
}

static void seen(const char *name, int hit)
{
    if (me->nth == 0) { /* one process at a time */
        unsigned i = point_of(name);
        if (i == all->npoints)
            snprintf(all->points[all->npoints++].name, sizeof(all->points[0].name), "%s", name);
        all->points[i].passed[me->story]++;
    } else if (hit) {
        __atomic_fetch_add(&all->points[me->point].hits[me->mode], 1, __ATOMIC_RELAXED);
        __atomic_store_n(&me->hit, 1, __ATOMIC_RELEASE);
    }
}

void fault_step(void)
{
    me->acked++;
}

void fault_done(void)
{
    me->done = 1;
}

bool fault_came(void)
{
    return __atomic_load_n(&me->hit, __ATOMIC_ACQUIRE);
}

/* --- runs --- */

static void command(const char *fmt, const char *a, const char *b)
{
    char text[512];

    snprintf(text, sizeof(text), fmt, a, b);
    if (system(text) != 0) {
        fprintf(stderr, "%s failed\n", text);
        abort();
    }
}

/* A process that ends with this one. */
static pid_t fork_with_us(void)
{
    pid_t parent = getpid(), pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) != pid)
        if (errno != EINTR)
            abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* One story with one fault, or none (nth 0). */
static void run(unsigned story, unsigned point, unsigned nth, unsigned mode)
{
    const struct fault_story *s = stories[story];
    char dir[128], from[128];
    int status;
    pid_t pid;

    me->story = story;
    me->point = point;
    me->nth = nth;
    me->mode = mode;
    me->acked = 0;
    me->done = me->hit = 0;
    snprintf(dir, sizeof(dir), "%s/run-%u", base, (unsigned)(me - all->w));
    snprintf(from, sizeof(from), "%s/%s", base, s->name);
    command("cp -a '%s' '%s'", from, dir);
    pid = fork_with_us();
    if (pid == 0) {
        alarm(RUN_S);
        if (nth && !only && !freopen("/dev/null", "w", stderr)) /* it tells of each failure */
            abort();
        fault_watch(seen);
        fault_arm(nth ? all->points[point].name : "", nth ? nth : UINT32_MAX, mode ? FAULT_CRASH : FAULT_FAIL);
        s->play(s, dir);
        _exit(0);
    }
    status = pid < 0 ? -1 : wait_for(pid);
    if (status != 0 && !(mode && status == 99)) {
        printf("# the story ended with %d\n", status);
        fflush(stdout);
        _exit(1);
    }
    if (!nth && !me->done) {
        printf("# the story fails by itself, after %u steps\n", me->acked);
        fflush(stdout);
        _exit(1);
    }
    s->verify(s, dir, me->acked, me->done);
    command("rm -rf '%s'%s", dir, "");
}

static bool in_process(unsigned worker, void (*fn)(unsigned arg), unsigned arg)
{
    pid_t pid;

    me = &all->w[worker];
    pid = fork_with_us();
    if (pid == 0) {
        fn(arg);
        _exit(0);
    }
    return pid > 0 && wait_for(pid) == 0;
}

static void prepare(unsigned story)
{
    char dir[128];

    snprintf(dir, sizeof(dir), "%s/%s", base, stories[story]->name);
    if (mkdir(dir, 0700))
        abort();
    stories[story]->prepare(stories[story], dir);
}

static void record(unsigned story)
{
    run(story, 0, 0, 0);
}

static bool wanted(unsigned story, unsigned point, unsigned nth)
{
    const struct fault_story *s = stories[story];
    bool own = s->own && !strncmp(all->points[point].name, s->own, strlen(s->own));
    unsigned passed = all->points[point].passed[story], most = own ? s->own_most : s->most ? s->most : MOST;

    return every || nth == 1 || nth % (passed / most + 1) == 0;
}

/* The run with the number i; false: there are not so many. */
static bool run_number(unsigned i)
{
    for (unsigned s = 0; s < nstories; s++)
        for (unsigned p = 0; p < all->npoints; p++) {
            unsigned n = 2 * all->points[p].passed[s];
            if (i >= n) {
                i -= n;
                continue;
            }
            if (wanted(s, p, i / 2 + 1)) {
                run(s, p, i / 2 + 1, i % 2);
                __atomic_fetch_add(&all->runs, 1, __ATOMIC_RELAXED);
            }
            return true;
        }
    return false;
}

static void work(void)
{
    while (!__atomic_load_n(&all->failed, __ATOMIC_RELAXED) &&
           run_number(__atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED)))
        ;
}

static bool walk(void)
{
    pid_t pids[WORKERS];
    bool ok = true;

    for (unsigned i = 0; i < WORKERS; i++) {
        me = &all->w[i];
        pids[i] = fork_with_us();
        if (pids[i] == 0) {
            work();
            _exit(0);
        }
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *w = &all->w[i];
        if (pids[i] > 0 && wait_for(pids[i]) == 0)
            continue;
        ok = false;
        all->failed = 1;
        printf("# FAULTWALK=%s:%s:%u:%s, after %u steps\n", stories[w->story]->name, all->points[w->point].name, w->nth,
               w->mode ? "crash" : "fail", w->acked);
    }
    printf("# %u runs\n", all->runs);
    return ok;
}

/* --- points --- */

/* W4. */
static bool all_were_hit(void)
{
    const char *src = getenv("VOLNFS_SRC");
    char text[1024], name[128];
    unsigned n = 0, missed = 0;
    FILE *f;

    snprintf(text, sizeof(text), "grep -rhoE 'fault_point\\(\"[^\"]*' '%s/common' '%s/server' '%s/client' --include='*.c' |"
             " sed 's/.*\"//' | sort -u", src ? src : ".", src ? src : ".", src ? src : ".");
    f = popen(text, "r");
    while (f && fscanf(f, "%127s", name) == 1) {
        const struct point *p = &all->points[point_of(name)]; /* one behind the last: zeros */
        n++;
        if (p->hits[0] && p->hits[1])
            continue;
        printf("# %s: failed %u times, crashed %u times\n", name, p->hits[0], p->hits[1]);
        missed++;
    }
    if (f)
        pclose(f);
    printf("# %u points\n", n);
    return n >= 40 && !missed;
}

static bool ok(unsigned number, bool yes, const char *what)
{
    printf("%s %u - %s\n", yes ? "ok" : "not ok", number, what);
    fflush(stdout);
    return yes;
}

static void alone(unsigned story)
{
    run(story, me->point, me->nth, me->mode);
}

static bool run_alone(const char *text)
{
    char name[64], mode[16];
    struct worker *w = &all->w[0];

    if (sscanf(text, "%63[^:]:%39[^:]:%u:%15s", name, all->points[0].name, &w->nth, mode) != 4)
        return false;
    all->npoints = 1;
    w->mode = !strcmp(mode, "crash");
    for (unsigned i = 0; i < nstories; i++)
        if (!strcmp(stories[i]->name, name))
            return ok(1, in_process(0, prepare, i) && in_process(0, alone, i), text);
    return false;
}

/* Processes end, not machines: so nothing has to reach a disk, and in memory it takes a tenth of the time. */
static void make_base(void)
{
    struct statvfs st;
    bool memory = statvfs("/dev/shm", &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize > 512u << 20;

    snprintf(base, sizeof(base), "%s/volnfs-faults-XXXXXX", memory && !access("/dev/shm", W_OK) ? "/dev/shm" : "/tmp");
    if (!mkdtemp(base))
        abort();
}

int fault_walk(const struct fault_story *const *list, unsigned n)
{
    const char *which = getenv("FAULTWALK");
    bool good = true;

    stories = list;
    nstories = n;
    every = which && !strcmp(which, "all");
    all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || n > STORIES)
        abort();
    make_base();
    only = which && !every;
    if (only) {
        puts("1..1");
        good = run_alone(which);
    } else {
        printf("1..%u\n", n + 2);
        for (unsigned i = 0; i < n && good; i++) {
            good = in_process(0, prepare, i) && in_process(0, record, i);
            ok(i + 1, good, list[i]->name);
        }
        good = good && ok(n + 1, walk(), "each passing fails, and is the end");
        good = good && ok(n + 2, all_were_hit(), "every point of the sources was one of them");
    }
    if (good || !which)
        command("rm -rf '%s'%s", base, "");
    else
        printf("# %s is left\n", base);
    return good ? 0 : 1;
}
