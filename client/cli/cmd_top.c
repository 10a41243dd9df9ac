/* SPDX-License-Identifier: Apache-2.0
 * cmd_top: volnfs top: what the server does, again and again. On a terminal it draws over itself and ends with q; into
 * a pipe it writes one picture after the other.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "client/cli/connect.h"
#include "client/cli/statusview.h"

#define HEAD_LINES 19u /* of a picture, without the tables */

static volatile sig_atomic_t stopped;
static struct termios cooked;
static bool raw;

static void stop(int sig)
{
    stopped = 1;
}

static void terminal_begin(void)
{
    struct sigaction sa = {.sa_handler = stop};
    struct termios t;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    if (isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &cooked)) {
        t = cooked;
        t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw = !tcsetattr(STDIN_FILENO, TCSANOW, &t);
    }
    fputs("\033[?1049h\033[?25l", stdout); /* another screen, no cursor */
}

static void terminal_end(void)
{
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    if (raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
}

static unsigned terminal_lines(unsigned *columns)
{
    struct winsize ws = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) || !ws.ws_row || !ws.ws_col)
        ws = (struct winsize){.ws_row = 24, .ws_col = 80};
    *columns = ws.ws_col;
    return ws.ws_row;
}

/* --- rates between two reports --- */

static void rates(control_traffic *now, const control_traffic *then, double s)
{
    now->ops_rate = (double)(now->ops - then->ops) / s;
    now->errors_rate = (double)(now->errors - then->errors) / s;
    now->read_rate = (double)(now->read_bytes - then->read_bytes) / s;
    now->written_rate = (double)(now->written_bytes - then->written_bytes) / s;
}

static const control_vstatus *find(const control_status *s, uint64_t id)
{
    for (u_int i = 0; i < s->volumes.volumes_len; i++)
        if (s->volumes.volumes_val[i].volume.id == id)
            return &s->volumes.volumes_val[i];
    return NULL;
}

static void compare(control_status *now, const control_status *then)
{
    double s = (double)(now->uptime_ms - then->uptime_ms) / 1000;
    if (now->info.epoch != then->info.epoch || s <= 0)
        return; /* the server was started again: its own rates will do */
    rates(&now->total, &then->total, s);
    for (u_int i = 0; i < now->volumes.volumes_len; i++) {
        control_vstatus *v = &now->volumes.volumes_val[i];
        /* Mostly the same volumes in the same places. */
        const control_vstatus *o = i < then->volumes.volumes_len &&
                                   then->volumes.volumes_val[i].volume.id == v->volume.id
                                       ? &then->volumes.volumes_val[i]
                                       : find(then, v->volume.id);
        if (o && v->traffic.ops >= o->traffic.ops)
            rates(&v->traffic, &o->traffic, s);
    }
}

/* --- a picture --- */

static void picture(FILE *to, const control_status *s, unsigned lines)
{
    unsigned nclients = s->client_list.client_list_len, room = lines > HEAD_LINES + 2 ? lines - HEAD_LINES : 2;
    unsigned clients = nclients ? room / 3 + 1 : 0;
    unsigned volumes;
    if (clients > nclients)
        clients = nclients;
    volumes = room - clients > 1 ? room - clients - 1 : 1;
    fprintf(to, "volnfs top: %s on %s\n", s->info.store, s->info.listen);
    statusview_head(to, s);
    fputc('\n', to);
    statusview_volumes(to, s, volumes);
    if (nclients) {
        fputc('\n', to);
        statusview_clients(to, s, clients);
    }
}

/* Puts text on the terminal, over what was there, cut to its size. */
static void draw(const char *text, unsigned lines, unsigned columns)
{
    fputs("\033[H", stdout);
    for (unsigned i = 0; *text && i + 1 < lines; i++) {
        size_t len = strcspn(text, "\n");
        fwrite(text, 1, len < columns ? len : columns, stdout);
        fputs("\033[K\n", stdout);
        text += len + (text[len] == '\n');
    }
    fputs("\033[Jq quits", stdout);
    fflush(stdout);
}

static int show(const control_status *s, bool tty, bool first)
{
    unsigned columns = 0, lines = 1000000;
    char *text = NULL;
    size_t len;
    FILE *to;
    if (tty)
        lines = terminal_lines(&columns);
    to = open_memstream(&text, &len);
    if (!to)
        return cli_fail("out of memory");
    picture(to, s, lines);
    fclose(to);
    if (tty)
        draw(text, lines, columns);
    else
        printf("%s%s", first ? "" : "\n", text);
    free(text);
    return fflush(stdout) ? cli_fail("cannot write the output") : 0;
}

/* Waits; true: go on. */
static bool pause_for(double seconds, bool keys)
{
    struct pollfd in = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN};
    struct timespec end, now;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (time_t)seconds;
    for (;;) {
        char key;
        int ms;
        clock_gettime(CLOCK_MONOTONIC, &now);
        ms = (int)((end.tv_sec - now.tv_sec) * 1000 + (end.tv_nsec - now.tv_nsec) / 1000000);
        if (stopped)
            return false;
        if (ms <= 0)
            return true;
        if (poll(&in, 1, ms) > 0) {
            if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')
                return false;
        }
    }
}

static int watch(CLIENT *c, unsigned long long count, unsigned seconds, bool tty)
{
    control_status old = {0}, s = {0};
    int status = 0;
    for (unsigned long long i = 0; !stopped && (!count || i < count); i++) {
        if (i && !pause_for(seconds, tty && raw))
            break;
        if (!statusview_get(c, CONTROL_WITH_VOLUMES | CONTROL_WITH_CLIENTS, &s) ||
            (s.result.err && control_outcome(&s.result))) {
            status = 1;
            break;
        }
        if (i)
            compare(&s, &old);
        status = show(&s, tty, !i);
        control_free(CONTROL_STATUS, &old);
        old = s;
        memset(&s, 0, sizeof(s));
        if (status)
            break;
    }
    control_free(CONTROL_STATUS, &old);
    control_free(CONTROL_STATUS, &s);
    return status;
}

int cmd_top(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"count", required_argument, NULL, 'n'},
                                          {"delay", required_argument, NULL, 'd'},
                                          {0}};
    unsigned long long count = 0, seconds = 2;
    bool tty = isatty(STDOUT_FILENO);
    CLIENT *c;
    int opt, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "n:d:", longs, &status)) != -1) {
        if (opt == 'n' && (!cli_number(optarg, 10, 1000000000, &count) || !count))
            return cli_usage(cli, "'%s' is not a number of pictures", optarg);
        if (opt == 'd' && (!cli_number(optarg, 10, 3600, &seconds) || !seconds))
            return cli_usage(cli, "'%s' is not a number of seconds from 1 to 3600", optarg);
        if (opt == '?')
            return status;
    }
    if (optind != argc)
        return cli_usage(cli, "top takes no argument");
    c = control_connect(cli, &status);
    if (!c)
        return status;
    if (tty)
        terminal_begin();
    status = watch(c, count, (unsigned)seconds, tty);
    if (tty)
        terminal_end();
    control_disconnect(c);
    return status;
}
