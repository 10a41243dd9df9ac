/* SPDX-License-Identifier: Apache-2.0
 * report: copies what is known of the clients (see report.h).
 */
#include "server/state/report.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "server/state/internal.h"

static void copy_name(const struct client *cl, char *out, size_t size)
{
    size_t n = cl->owner_len < size - 1 ? cl->owner_len : size - 1;

    for (size_t i = 0; i < n; i++)
        out[i] = cl->owner[i] > ' ' && cl->owner[i] < 0x7f ? cl->owner[i] : '?';
    out[n] = 0;
}

static void copy_conns(const struct client *cl, struct state_client_report *r)
{
    list_for_each(it, &cl->sessions) {
        const struct session *se = session_of_node(it);

        list_for_each(c, &se->conns) {
            uint64_t id = list_entry(c, struct conn_entry, node)->c.id;
            unsigned i = 0;

            while (i < r->nconns && i < REPORT_CONNS && r->conns[i] != id)
                i++;
            if (i < r->nconns && i < REPORT_CONNS)
                continue;
            if (i < REPORT_CONNS)
                r->conns[i] = id;
            r->nconns++;
        }
    }
}

size_t state_clients(struct state *s, struct state_client_report *out, size_t max)
{
    uint64_t now = clock_mono_ms();
    size_t n = 0;

    st_lock(s);
    list_for_each(it, &s->all) {
        const struct client *cl = list_entry(it, struct client, in_all);
        struct state_client_report *r;

        if (!cl->confirmed || n++ >= max)
            continue;
        r = &out[n - 1];
        memset(r, 0, sizeof(*r));
        r->id = cl->id;
        r->minor = cl->minor;
        copy_name(cl, r->name, sizeof(r->name));
        snprintf(r->principal, sizeof(r->principal), "%s", cl->principal);
        memcpy(r->from, cl->from[(cl->nfrom - 1) % CLIENT_FROMS_MAX], sizeof(r->from));
        r->expired = client_expired_locked(s, cl);
        r->idle_ms = now > cl->renewed ? now - cl->renewed : 0;
        r->sessions = cl->nsessions;
        r->opens = cl->nopens;
        r->locks = cl->nranges;
        r->delegs = cl->ndelegs;
        r->waits = cl->nwaits;
        copy_conns(cl, r);
    }
    st_unlock(s);
    return n;
}
