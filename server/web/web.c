/* SPDX-License-Identifier: Apache-2.0
 * web: HTTP by libmicrohttpd (see web.h).
 */
#include "server/web/web.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "config.h"

#ifndef HAVE_MICROHTTPD

int web_new(const char *addr, struct web **out)
{
    log_error("this volnfsd was built without libmicrohttpd: there are no metrics");
    return -ENOSYS;
}

int web_start(struct web *w, struct control *c)
{
    return -ENOSYS;
}

int web_port(const struct web *w)
{
    return -ENOSYS;
}

void web_free(struct web *w)
{
}

#else

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>

#include "server/control/report.h"
#include "server/rpc/listener.h"
#include "server/web/pages.h"

#define REQUEST_MEMORY 32768u /* of one connection, for its headers */

struct web {
    struct listener listener;
    bool loopback;
    struct control *control;
    struct MHD_Daemon *mhd;
};

static const char policy[] = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
                             "form-action 'none'; frame-ancestors 'none'";

static const char *const headers[][2] = {
    {"Content-Security-Policy", policy},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
    {MHD_HTTP_HEADER_SERVER, "volnfs"},
};

static enum MHD_Result send_response(struct MHD_Connection *conn, unsigned status, const char *type,
                                     struct MHD_Response *r)
{
    enum MHD_Result ok = MHD_NO;
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        MHD_add_response_header(r, headers[i][0], headers[i][1]);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    ok = MHD_queue_response(conn, status, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result send_text(struct MHD_Connection *conn, unsigned status, const char *type, const char *text)
{
    return send_response(conn, status, type,
                         MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result send_report(struct web *w, struct MHD_Connection *conn, unsigned with, const char *type,
                                   void (*page)(FILE *to, const control_status *s))
{
    control_status s;
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    int err = to ? report_collect(w->control, with, &s) : -ENOMEM;
    if (!err) {
        page(to, &s);
        report_release(&s);
    }
    if (to && fclose(to) && !err)
        err = -ENOMEM;
    if (err) {
        free(text);
        return send_text(conn, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain", "The report cannot be made now.\n");
    }
    return send_response(conn, MHD_HTTP_OK, type, MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE));
}

/* "localhost:9090", "127.0.0.1", "[::1]:80". */
static bool names_loopback(const char *host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; host && i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i]);
        if (!strncasecmp(host, names[i], len) && (!host[len] || host[len] == ':'))
            return true;
    }
    return host && !strncmp(host, "127.", 4) && strspn(host, "0123456789.:") == strlen(host);
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *conn, const char *url, const char *method,
                              const char *version, const char *body, size_t *body_len, void **seen)
{
    static char mark;
    struct web *w = arg;
    if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
        return send_text(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "Only GET and HEAD.\n");
    if (!*seen) { /* the headers are here; answer after what may follow them, as the library wants it */
        *seen = &mark;
        return MHD_YES;
    }
    if (*body_len) {
        *body_len = 0;
        return MHD_YES;
    }
    if (w->loopback && !names_loopback(MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST)))
        return send_text(conn, MHD_HTTP_FORBIDDEN, "text/plain", "This server answers to loopback names only.\n");
    if (!strcmp(url, "/"))
        return send_report(w, conn,
                           CONTROL_WITH_VOLUMES | CONTROL_WITH_CLIENTS | CONTROL_WITH_OPS | CONTROL_WITH_HISTORY |
                               CONTROL_WITH_GRANTS | CONTROL_WITH_USERS,
                           "text/html; charset=utf-8", pages_status);
    if (!strcmp(url, "/metrics"))
        return send_report(w, conn,
                           CONTROL_WITH_VOLUMES | CONTROL_WITH_OPS | CONTROL_WITH_BUCKETS | CONTROL_WITH_GRANTS |
                               CONTROL_WITH_USERS,
                           "text/plain; version=0.0.4; charset=utf-8", pages_metrics);
    if (!strcmp(url, "/style.css"))
        return send_text(conn, MHD_HTTP_OK, "text/css; charset=utf-8", pages_style);
    if (!strcmp(url, "/favicon.svg"))
        return send_text(conn, MHD_HTTP_OK, "image/svg+xml", pages_favicon);
    return send_text(conn, MHD_HTTP_NOT_FOUND, "text/plain", "There is / and /metrics.\n");
}

static void library_log(void *arg, const char *fmt, va_list ap)
{
    char text[512];
    if (!(log_get_topics() & LOG_RPC))
        return;
    vsnprintf(text, sizeof(text), fmt, ap);
    text[strcspn(text, "\n")] = 0;
    log_debug(LOG_RPC, "metrics: %s", text);
}

static bool is_loopback(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    const struct in6_addr *six = &((struct sockaddr_in6 *)&ss)->sin6_addr;
    if (getsockname(fd, (struct sockaddr *)&ss, &len))
        return false;
    if (ss.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)&ss)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

int web_new(const char *addr, struct web **out)
{
    struct web *w = calloc(1, sizeof(*w));
    int err;
    if (!w)
        return -ENOMEM;
    err = listener_open(addr, &w->listener);
    if (err) {
        free(w);
        return err;
    }
    w->loopback = is_loopback(w->listener.fd);
    *out = w;
    return 0;
}

int web_start(struct web *w, struct control *c)
{
    w->control = c;
    w->mhd = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL,
                              answer, w, MHD_OPTION_EXTERNAL_LOGGER, library_log, NULL, MHD_OPTION_LISTEN_SOCKET,
                              w->listener.fd, MHD_OPTION_CONNECTION_LIMIT, WEB_CONNS,
                              MHD_OPTION_CONNECTION_TIMEOUT, WEB_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                              (size_t)REQUEST_MEMORY, MHD_OPTION_END);
    if (w->mhd)
        return 0;
    log_error("cannot start serving metrics");
    return -EIO;
}

int web_port(const struct web *w)
{
    return listener_port(&w->listener);
}

void web_free(struct web *w)
{
    if (!w)
        return;
    if (w->mhd)
        MHD_stop_daemon(w->mhd); /* closes the socket */
    else
        listener_close(&w->listener);
    free(w);
}

#endif
