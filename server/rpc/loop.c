/* SPDX-License-Identifier: Apache-2.0
 * loop: waits for events, then in turn: the events, connections that want to go on reading, output, times.
 */
#include "server/rpc/loop.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/priority.h"
#include "server/rpc/awake.h"
#include "server/rpc/conn.h"
#include "server/rpc/listener.h"
#include "server/rpc/rpcserver_priv.h"

#define EVENTS_MAX 128
#define TICK_MS    100u /* while something may time out */

static _Thread_local const struct loop *current;

bool loop_is_current(const struct loop *l)
{
    return current == l;
}

int loop_init(struct loop *l, struct rpcserver *server)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = l};

    l->source = SOURCE_INBOX;
    l->server = server;
    list_init(&l->conns);
    list_init(&l->again);
    list_init(&l->dirty);
    list_init(&l->timed);
    list_init(&l->starved);
    list_init(&l->dead);
    list_init(&l->free_requests);
    list_init(&l->inbox);
    list_init(&l->late);
    pthread_mutex_init(&l->lock, NULL);
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    l->evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epfd < 0 || l->evfd < 0 || epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->evfd, &ev) != 0)
        return -errno;
    return 0;
}

void loop_wake(struct loop *l)
{
    /* Edge-triggered, so nobody has to read it; the counter lasts for 2^64 wakes. */
    uint64_t one = 1;

    if (write(l->evfd, &one, sizeof(one)) < 0)
        log_error("cannot wake an event loop: errno %d", errno);
}

void loop_post(struct loop *l, struct job *job)
{
    bool was_empty;

    if (loop_is_current(l)) {
        job->run(job);
        return;
    }
    pthread_mutex_lock(&l->lock);
    was_empty = list_empty(&l->inbox);
    list_add_tail(&l->inbox, &job->node);
    if (was_empty)
        __atomic_add_fetch(&l->waking, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&l->lock);
    if (!was_empty)
        return;
    /* The job may be done by now, and with it all that rpcserver_stop waits for. */
    loop_wake(l);
    __atomic_sub_fetch(&l->waking, 1, __ATOMIC_RELEASE);
}

static void run_inbox(struct loop *l)
{
    struct list jobs;
    struct job *job;

    list_init(&jobs);
    pthread_mutex_lock(&l->lock);
    list_splice_tail(&jobs, &l->inbox);
    pthread_mutex_unlock(&l->lock);
    while ((job = list_first(&jobs, struct job, node))) {
        list_del(&job->node);
        job->run(job);
    }
}

static void run_lists(struct loop *l)
{
    struct list again;
    struct conn *c;

    list_init(&again);
    list_splice_tail(&again, &l->again);
    while ((c = list_first(&again, struct conn, again))) {
        list_del(&c->again);
        conn_resume(c);
    }
    while ((c = list_first(&l->dirty, struct conn, dirty)))
        conn_flush(c);
}

/* Those who wait for memory may try again. */
static void feed(struct loop *l)
{
    struct list starved;
    struct conn *c;

    if (list_empty(&l->starved) || l->large_bytes >= l->server->loop_memory)
        return;
    list_init(&starved);
    list_splice_tail(&starved, &l->starved);
    while ((c = list_first(&starved, struct conn, starved)))
        conn_feed(c);
}

static void bury_dead(struct loop *l)
{
    struct conn *c;

    while ((c = list_first(&l->dead, struct conn, all))) {
        list_del(&c->all);
        conn_unref(c);
    }
}

static void run_timers(struct loop *l)
{
    uint64_t now;
    struct list timed;
    struct conn *c;

    if (list_empty(&l->timed))
        return;
    now = clock_mono_ms();
    if (now < l->next_tick)
        return;
    l->next_tick = now + TICK_MS;
    list_init(&timed);
    list_splice_tail(&timed, &l->timed);
    while ((c = list_first(&timed, struct conn, timed))) {
        list_del(&c->timed);
        conn_tick(c, now);
    }
}

static void close_all(struct loop *l)
{
    struct conn *c;

    while ((c = list_first(&l->conns, struct conn, all)))
        conn_close(c);
    __atomic_store_n(&l->closed_all, true, __ATOMIC_RELEASE);
}

/* One client that asks, waits and asks again comes back within microseconds. Falling asleep and being woken costs a
 * virtual machine more than that, so while such requests keep coming they are waited for awake, this long. */
#define SPIN_NS   40000u
#define SPINS_MAX 4u

static int wait_events(struct loop *l, struct epoll_event *ev, int timeout)
{
    uint64_t now;
    int n;

    if (timeout == 0 || l->requests)
        return epoll_wait(l->epfd, ev, EVENTS_MAX, timeout);
    now = clock_mono_ns();
    if (l->spins) {
        uint64_t end = now + SPIN_NS;

        do {
            n = epoll_wait(l->epfd, ev, EVENTS_MAX, 0);
            if (n) {
                l->spins = SPINS_MAX;
                return n;
            }
            now = clock_mono_ns();
        } while (now < end);
        l->spins--;
    }
    n = epoll_wait(l->epfd, ev, EVENTS_MAX, timeout);
    if (clock_mono_ns() - now < 2 * SPIN_NS)
        l->spins = SPINS_MAX;
    return n;
}

void loop_late(struct loop *l, struct job *job)
{
    if (!l->nlate++)
        l->late_since = clock_mono_ns();
    list_add_tail(&l->late, &job->node);
}

/* Late jobs share a costly step (a sync), and cause the next requests: about as many as the last time. They are waited
 * for awake, a quarter of what the step takes for the next one, within these bounds, and LATE_NS in all. */
#define LATE_GAP_MIN 30000u
#define LATE_GAP_MAX 250000u
#define LATE_NS      400000u

/* *due: there is nothing to wait for any more. Where more than one connection asks there is no step to share: those of
 * one do not wait while others keep the loop busy. */
static int late_events(struct loop *l, struct epoll_event *ev, bool *due)
{
    uint64_t now = clock_mono_ns(), last = l->late_since + LATE_NS, gap = l->late_ns / 4, end;
    int n;

    gap = gap < LATE_GAP_MIN ? LATE_GAP_MIN : gap > LATE_GAP_MAX ? LATE_GAP_MAX : gap;
    end = now + gap < last ? now + gap : last;
    do {
        n = epoll_wait(l->epfd, ev, EVENTS_MAX, 0);
        now = clock_mono_ns();
    } while (n == 0 && !l->many && l->nlate < l->late_most && list_empty(&l->again) && now < end);
    *due = l->many || now >= last || (n <= 0 && list_empty(&l->again));
    return n;
}

static void run_late(struct loop *l)
{
    struct list jobs;
    struct job *job;
    uint64_t t0 = clock_mono_ns();

    if (l->nlate > l->late_most)
        l->late_most = l->nlate;
    else
        l->late_most -= (l->late_most - l->nlate + 3) / 4;
    l->all_late = l->nlate == l->requests && !l->many;
    l->many = false;
    l->nlate = 0;
    l->late_cost = false;
    list_init(&jobs);
    list_splice_tail(&jobs, &l->late);
    while ((job = list_first(&jobs, struct job, node))) {
        list_del(&job->node);
        job->run(job);
        l->all_late = false;
    }
    if (!l->late_cost) {
        l->late_most = 0; /* nothing to share */
        l->late_ns = 0;
    } else {
        uint64_t took = clock_mono_ns() - t0;
        l->late_ns = l->late_ns ? l->late_ns - l->late_ns / 4 + took / 4 : took;
    }
}

static void *loop_main(void *arg)
{
    struct rpcserver *s = ((struct loop *)arg)->server;
    struct epoll_event ev[EVENTS_MAX];
    struct loop *l = arg;

    current = l;
    pthread_setname_np(pthread_self(), "rpc loop");
    priority_set(PRIORITY_QUICK);
    while (rpcserver_phase(s) != PHASE_QUIT) {
        int timeout = !list_empty(&l->again)                                ? 0
                      : !list_empty(&l->timed) || !list_empty(&l->starved) ? (int)TICK_MS
                                                                          : -1;
        bool due = false;
        int n = l->nlate ? late_events(l, ev, &due) : wait_events(l, ev, timeout);

        if (due)
            run_late(l);
        for (int i = 0; i < n; i++) {
            switch (*(enum source *)ev[i].data.ptr) {
            case SOURCE_CONN:
                conn_event(ev[i].data.ptr, ev[i].events);
                break;
            case SOURCE_LISTENER:
                listener_event(ev[i].data.ptr);
                break;
            case SOURCE_INBOX:
                run_inbox(l);
                break;
            }
        }
        if (rpcserver_phase(s) >= PHASE_DRAIN && l == s->loops)
            for (unsigned i = 0; i < s->nlisteners; i++)
                listener_close(&s->listeners[i]);
        if (rpcserver_phase(s) >= PHASE_CLOSE && !l->closed_all)
            close_all(l);
        run_lists(l);
        run_timers(l);
        feed(l);
        bury_dead(l);
    }
    run_late(l);
    run_inbox(l);
    close_all(l);
    bury_dead(l);
    return NULL;
}

int loop_start(struct loop *l)
{
    int err = pthread_create(&l->thread, NULL, loop_main, l);

    l->started = err == 0;
    return -err;
}

void loop_release(struct loop *l)
{
    while (__atomic_load_n(&l->waking, __ATOMIC_ACQUIRE))
        sched_yield();
    while (!list_empty(&l->inbox))
        run_inbox(l);
    bury_dead(l);
    awake_free(l->awake);
    rbuf_unref(l->spare);
    request_free_pool(l);
    if (l->evfd >= 0)
        close(l->evfd);
    if (l->epfd >= 0)
        close(l->epfd);
    pthread_mutex_destroy(&l->lock);
}
