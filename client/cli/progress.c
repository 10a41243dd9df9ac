/* SPDX-License-Identifier: Apache-2.0
 * progress: the line on the terminal while files are copied (see progress.h).
 */
#include "client/cli/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/format.h"
#include "client/cli/remote.h"

#define DRAW_MS  200
#define RENEW_S  5
#define RATES    25 /* the rate is that of the last RATES * DRAW_MS */

struct progress {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    struct nfs_client *client;
    bool bar, end, all, drawn;
    uint64_t files, files_done, bytes, bytes_done, skipped;
    uint64_t past[RATES];  /* bytes copied at the last drawings */
    uint64_t when[RATES]; /* ms */
    unsigned draws;
    uint64_t started;
};

static void clear_locked(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

static void show_time(uint64_t s, char *out, size_t size)
{
    if (s >= 360000)
        snprintf(out, size, "days");
    else if (s >= 3600)
        snprintf(out, size, "%u:%02u:%02u", (unsigned)(s / 3600), (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    else
        snprintf(out, size, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
}

static void draw_locked(struct progress *p, bool last)
{
    uint64_t now = sys_now_ms(), ms, rate, fresh = p->bytes_done - p->skipped;
    unsigned slot = p->draws++ % RATES, width = 80;
    char done[16], total[16], speed[16], left[24], line[256];
    struct winsize ws;
    int n;
    ms = now - (p->draws > RATES ? p->when[slot] : p->started);
    rate = fresh - (p->draws > RATES ? p->past[slot] : 0);
    p->when[slot] = now;
    p->past[slot] = fresh;
    if (last) {
        ms = now - p->started;
        rate = fresh;
    }
    rate = (int64_t)rate < 0 ? 0 : (uint64_t)((double)rate * 1000 / (double)(ms ? ms : 1));
    format_size(p->bytes_done, done, sizeof(done));
    format_size(p->bytes, total, sizeof(total));
    format_size(rate, speed, sizeof(speed));
    if (last)
        show_time((now - p->started) / 1000, left, sizeof(left));
    else if (!p->all || !rate)
        strcpy(left, "-");
    else
        show_time((p->bytes - p->bytes_done) / rate, left, sizeof(left));
    n = snprintf(line, sizeof(line), "%3u%%  %s of %s%s  %s/s  %s %s  %llu of %llu%s files",
                 p->bytes ? (unsigned)((double)p->bytes_done * 100 / (double)p->bytes) : p->all ? 100u : 0u, done,
                 total, p->all ? "" : "+", speed, last ? "in" : "ETA", left, (unsigned long long)p->files_done,
                 (unsigned long long)p->files, p->all ? "" : "+");
    if (!ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) && ws.ws_col)
        width = ws.ws_col;
    if (n >= 0 && (unsigned)n >= width)
        line[width - 1] = 0;
    fprintf(stderr, "\r%s\033[K%s", line, last ? "\n" : "");
    fflush(stderr);
    p->drawn = !last;
}

static void *progress_thread(void *arg)
{
    struct progress *p = arg;
    uint64_t renewed = sys_now_ms();
    pthread_mutex_lock(&p->lock);
    while (!p->end) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += DRAW_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        if (!p->bar)
            until.tv_sec += RENEW_S;
        pthread_cond_timedwait(&p->wake, &p->lock, &until);
        if (p->end)
            break;
        if (p->bar)
            draw_locked(p, false);
        if (p->client && sys_now_ms() - renewed > RENEW_S * 1000) {
            renewed = sys_now_ms();
            pthread_mutex_unlock(&p->lock);
            (void)nfs_client_renew(p->client, false); /* a lost lease is noticed by those who need it */
            pthread_mutex_lock(&p->lock);
        }
    }
    if (p->bar) {
        clear_locked(p);
        draw_locked(p, true);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct progress *progress_new(struct nfs_client *client, bool bar)
{
    struct progress *p = need(calloc(1, sizeof(*p)));
    pthread_condattr_t attr;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attr);
    pthread_condattr_destroy(&attr);
    p->client = client;
    p->bar = bar;
    p->started = sys_now_ms();
    if (pthread_create(&p->thread, NULL, progress_thread, p))
        need(NULL);
    return p;
}

void progress_found(struct progress *p, uint64_t bytes)
{
    pthread_mutex_lock(&p->lock);
    p->files++;
    p->bytes += bytes;
    pthread_mutex_unlock(&p->lock);
}

void progress_found_all(struct progress *p)
{
    pthread_mutex_lock(&p->lock);
    p->all = true;
    pthread_mutex_unlock(&p->lock);
}

void progress_bytes(struct progress *p, int64_t bytes)
{
    pthread_mutex_lock(&p->lock);
    p->bytes_done += (uint64_t)bytes;
    pthread_mutex_unlock(&p->lock);
}

void progress_skipped(struct progress *p, uint64_t bytes)
{
    pthread_mutex_lock(&p->lock);
    p->bytes_done += bytes;
    p->skipped += bytes;
    pthread_mutex_unlock(&p->lock);
}

void progress_file(struct progress *p)
{
    pthread_mutex_lock(&p->lock);
    p->files_done++;
    pthread_mutex_unlock(&p->lock);
}

void progress_pause(struct progress *p)
{
    pthread_mutex_lock(&p->lock);
    clear_locked(p);
}

void progress_go_on(struct progress *p)
{
    pthread_mutex_unlock(&p->lock);
}

void progress_free(struct progress *p)
{
    pthread_mutex_lock(&p->lock);
    p->end = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    free(p);
}
