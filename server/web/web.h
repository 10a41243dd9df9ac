/* SPDX-License-Identifier: Apache-2.0
 * web: the metrics and the status page over HTTP, for --metrics ADDR:PORT.
 *
 * Read-only and without secrets: GET and HEAD of /, /metrics, /style.css and /favicon.svg, nothing else. One thread, at
 * most WEB_CONNS connections, each for at most WEB_SECONDS without a byte. Pages bring no script and load nothing from
 * elsewhere (the Content-Security-Policy says so to the browser). On a loopback address a request must name a
 * loopback host, so that a page from elsewhere cannot read this one through a name of its own (DNS rebinding).
 */
#ifndef VOLNFS_WEB_WEB_H
#define VOLNFS_WEB_WEB_H

#include "server/control/control.h"

#define WEB_CONNS   32u
#define WEB_SECONDS 10u

struct web;
/* Binds ADDR:PORT; nothing is answered before web_start. -errno after a log line. -ENOSYS: built without
 * libmicrohttpd. */
int web_new(const char *addr, struct web **out);
/* Starts answering with reports of c, which is borrowed: after rpcserver_start. */
int web_start(struct web *w, struct control *c);
/* The port it really has. */
int web_port(const struct web *w);
/* Before rpcserver_stop. Accepts NULL. */
void web_free(struct web *w);

#endif
