/* SPDX-License-Identifier: Apache-2.0
 * cmd_cat: volnfs cat: writes files of a volume to the standard output. One thread reads ahead, in parallel
 * pieces, while the other writes.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/remote.h"

#define BUFFER ((size_t)4 << 20)
#define BUFFERS 2

struct cat {
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct nfs_client *client;
    struct nfs_fh fh;
    uint8_t *buf[BUFFERS];
    ssize_t have[BUFFERS]; /* of a full one: bytes, 0 at the end, or an errno */
    unsigned filled, taken;
    bool stop;
};

static void *read_ahead(void *arg)
{
    struct cat *cat = arg;
    uint64_t at = 0;
    ssize_t n = 1;
    bool eof = false;
    while (n > 0) {
        unsigned slot;
        pthread_mutex_lock(&cat->lock);
        while (cat->filled - cat->taken == BUFFERS && !cat->stop)
            pthread_cond_wait(&cat->change, &cat->lock);
        if (cat->stop)
            n = 0;
        slot = cat->filled % BUFFERS;
        pthread_mutex_unlock(&cat->lock);
        if (n > 0)
            n = eof ? 0 : nfs_read(cat->client, &cat->fh, cat->buf[slot], BUFFER, at, &eof);
        if (n > 0)
            at += (uint64_t)n;
        pthread_mutex_lock(&cat->lock);
        cat->have[slot] = n;
        cat->filled++;
        pthread_cond_signal(&cat->change);
        pthread_mutex_unlock(&cat->lock);
    }
    return NULL;
}

static int put(const uint8_t *buf, size_t size)
{
    while (size) {
        ssize_t n = write(STDOUT_FILENO, buf, size);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            buf += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* Returns the exit status; *out_failed when there is no use in going on. */
static int cat_file(struct cat *cat, const char *text, bool *out_failed)
{
    pthread_t thread;
    int err = 0;
    ssize_t n;
    cat->filled = cat->taken = 0;
    cat->stop = false;
    if (pthread_create(&thread, NULL, read_ahead, cat))
        return cli_fail("cannot start a thread");
    do {
        pthread_mutex_lock(&cat->lock);
        while (cat->filled == cat->taken)
            pthread_cond_wait(&cat->change, &cat->lock);
        n = cat->have[cat->taken % BUFFERS];
        pthread_mutex_unlock(&cat->lock);
        if (n > 0)
            err = put(cat->buf[cat->taken % BUFFERS], (size_t)n);
        pthread_mutex_lock(&cat->lock);
        cat->taken++;
        cat->stop = err != 0;
        pthread_cond_signal(&cat->change);
        pthread_mutex_unlock(&cat->lock);
    } while (n > 0 && !err);
    pthread_join(thread, NULL);
    *out_failed = err != 0;
    if (err)
        return cli_fail("cannot write to the standard output: %s", strerror(-err));
    return n < 0 ? show_error(NULL, text, (int)n) : 0;
}

int cmd_cat(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 's'}, {0}};
    struct cat cat = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};
    const char *server = NULL;
    struct place *places;
    struct remote *r;
    bool out_failed = false;
    int opt, n, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "s:", longs, &status)) != -1) {
        if (opt != 's')
            return status;
        server = optarg;
    }
    n = argc - optind;
    places = remote_places(cli, argv + optind, n, &status);
    if (!places)
        return status;
    r = remote_open(server, &status);
    if (r) {
        signal(SIGPIPE, SIG_DFL); /* as cat; the connections send with MSG_NOSIGNAL */
        cat.client = r->client;
        for (int i = 0; i < BUFFERS; i++)
            cat.buf[i] = need(malloc(BUFFER));
        for (int i = 0; i < n && !out_failed; i++) {
            struct nfs_attr attr;
            int err = remote_walk(r, places[i].path, true, &cat.fh, &attr);
            if (!err && attr.type == NFS_DIR)
                err = -EISDIR;
            if (!err && attr.type != NFS_REG)
                err = -EINVAL;
            status |= err ? remote_error(r, NULL, &places[i], err) : cat_file(&cat, places[i].text, &out_failed);
        }
        for (int i = 0; i < BUFFERS; i++)
            free(cat.buf[i]);
        remote_close(r);
    }
    remote_places_free(places, n);
    return status;
}
