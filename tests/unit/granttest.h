/* SPDX-License-Identifier: Apache-2.0
 * granttest: grants in a database of their own, and what they give an address.
 */
#ifndef VOLNFS_TESTS_GRANTTEST_H
#define VOLNFS_TESTS_GRANTTEST_H

#include <arpa/inet.h>
#include <netinet/in.h>

#include "common/clock.h"
#include "common/fault.h"
#include "server/grant/grant.h"
#include "server/grant/grant_text.h"
#include "tests/unit/storetest.h"

struct env {
    char *dir;
    struct statedb *db;
    struct grants *g;
};

static inline void env_open(struct env *e)
{
    assert_int_equal(statedb_open(st_path(e->dir, "store"), &e->db), 0);
    assert_int_equal(grants_new(e->db, &e->g), 0);
}

static inline void env_close(struct env *e)
{
    grants_free(e->g);
    statedb_close(e->db);
}

static inline int env_setup(void **state)
{
    struct env *e = calloc(1, sizeof(*e));

    e->dir = st_tmpdir();
    env_open(e);
    *state = e;
    return 0;
}

static inline int env_teardown(void **state)
{
    struct env *e = *state;

    fault_disarm();
    env_close(e);
    st_rmtree(e->dir);
    free(e);
    return 0;
}

static inline struct sockaddr_storage peer(const char *text)
{
    struct sockaddr_storage ss = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        ss.ss_family = AF_INET;
    } else {
        ss.ss_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
    }
    return ss;
}

static inline struct grant_view *view_of(struct env *e, const char *address)
{
    struct sockaddr_storage ss = peer(address);
    struct grant_view *v = NULL;

    assert_int_equal(grant_view_renew(e->g, &ss, &v), 0);
    return v;
}

static inline enum grant_level eval(struct env *e, const char *address, uint64_t id, uint64_t user, uint64_t volume,
                             uint64_t snap)
{
    struct grant_view *v = view_of(e, address);
    enum grant_level level = grant_eval(v, id, user, volume, snap, NULL);

    grant_view_unref(v);
    return level;
}

static inline struct grant_row network(const char *text)
{
    struct grant_row row = {0};
    char buf[256];

    assert_null(grant_parse_network(text, &row, buf, sizeof(buf)));
    return row;
}

#endif
