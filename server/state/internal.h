/* SPDX-License-Identifier: Apache-2.0
 * internal: what the files of state/ share: the objects, their links, and the one lock.
 *
 * 1. state.lock guards everything in this header. It is held for memory work only: never across a statedb
 *    call, a callback or a wait other than on owner_idle.
 * 2. client -> sessions, owners, stateids; owner -> opens, lock states; file -> opens, ranges. A client goes with
 *    everything below it (client_destroy_locked). An open goes with its lock states, a lock state
 *    with its ranges, a file with its last open.
 * 3. What must run without the lock (dropping a hold or a connection) is put on state.trash and run by
 *    st_unlock().
 * 4. A client whose lease ran out keeps its state until somebody conflicts with it (client_evict_locked) or
 *    a day has passed. `going` says that its durable record is being removed: it is refused from then on.
 */
#ifndef VOLNFS_STATE_INTERNAL_H
#define VOLNFS_STATE_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "common/htab.h"
#include "common/list.h"
#include "server/state/client.h"
#include "server/state/grace.h"
#include "server/state/lockrange.h"
#include "server/state/openstate.h"
#include "server/state/session.h"
#include "server/state/state.h"

/* Bounds. A workflow node rarely has more than some ten thousand files open. */
enum {
    CLIENTS_MAX = 20000,
    CLIENT_SESSIONS_MAX = 64,
    CLIENT_OPENS_MAX = 262144,
    CLIENT_OWNERS_MAX = 131072,
    CLIENT_RANGES_MAX = 65536,
    /* Of all clients together: a hostile one has as many names as it likes. */
    STATE_OWNERS_MAX = 262144,
    STATE_STIDS_MAX = 1048576,
    STATE_RANGES_MAX = 1048576,
    STATE_KEPT_MAX = 256 << 20, /* bytes that replies in the slots of all sessions may come to */
};
#define COURTESY_MS (24ull * 3600 * 1000)

struct trash {
    struct trash *next;
    void (*run)(struct state *s, struct trash *t); /* frees it */
};

struct grace_rec {
    struct list node;
    uint32_t minor;
    size_t owner_len;
    char principal[64];
    bool done;   /* has reclaimed everything it wanted */
    bool seen;   /* came back */
    bool gone;   /* its row is being removed */
    char owner[];
};

struct state {
    pthread_mutex_t lock;
    pthread_cond_t owner_idle; /* some owner is no longer busy */
    struct state_conf conf;
    uint64_t seed;
    uint32_t epoch;
    struct htab clients, names, sessions, files, stids, owners;
    struct list all; /* clients */
    uint32_t next_client;
    unsigned nranges; /* of all clients */
    uint64_t kept;    /* bytes that all sessions' slots may come to */
    struct trash *trash;
    bool in_grace, grace_told;
    uint64_t grace_until;
    struct list grace_recs;
    unsigned grace_pending; /* records not done */
};

/* A 4.0 client's callback path. */
struct cb40 {
    uint32_t program, ident;
    char netid[16], addr[64];
};

struct client {
    struct hnode by_id, by_name;
    struct list in_all, sessions, owners, stids;
    uint64_t id;
    uint32_t minor; /* 0, or 1 for 4.1 and later */
    bool confirmed, going, recorded, recording, warned;
    bool reclaim_ok;       /* was recorded by an earlier boot and may reclaim */
    bool reclaim_complete; /* 4.1: sent RECLAIM_COMPLETE; 4.0: sent a non-reclaim request */
    struct grace_rec *rec;
    uint8_t verifier[8], confirm[8];
    char principal[64];
    struct cb40 cb;
    uint64_t renewed;
    uint32_t cs_sequence; /* of the last CREATE_SESSION */
    bool cs_cached;
    struct session_create cs_reply;
    unsigned nsessions, nopens, nowners, nranges;
    uint32_t next_stid;
    bool back_wanted; /* some session asked for a back channel */
    size_t owner_len;
    char owner[];
};

enum stid_kind { STID_OPEN = 1, STID_LOCK = 2 };
struct stid {
    struct hnode node;
    struct list in_client;
    enum stid_kind kind;
    uint32_t index, seqid;
    struct client *client;
};

struct sfile {
    struct hnode node;
    struct file_key key;
    struct list opens;
    struct lockset locks;
};

struct state_owner {
    struct hnode node;
    struct list in_client, states;
    struct client *client;
    enum owner_kind kind;
    bool confirmed, busy, dead; /* dead: freed by owner_end */
    uint32_t seqid;             /* 4.0: of the last request */
    bool has_reply;
    uint32_t reply_op;
    nfsstat4 reply_status;
    void *reply;
    size_t reply_len;
    uint64_t used;
    /* 4.0: the last stateid that was closed, so that a repeated CLOSE finds its owner. */
    uint32_t closed_index;
    size_t len;
    char bytes[];
};

struct open_state {
    struct stid st;
    struct state_owner *owner;
    struct list in_owner, in_file, locks;
    struct sfile *file;
    uint32_t access, deny;
    uint32_t uid;     /* who opened; */
    bool many_users;  /* others did, too, as the same owner: all of them are checked at each READ and WRITE */
    uint16_t seen; /* bit (access * 4 + deny) of every OPEN since: what OPEN_DOWNGRADE may go to */
    void *hold;
    struct trash trash;
};

struct lock_state {
    struct stid st;
    struct state_owner *owner;
    struct list in_owner, in_open;
    struct open_state *open;
    unsigned nranges;
};

void st_lock(struct state *s);
/* Runs the trash after unlocking. */
void st_unlock(struct state *s);
void st_trash(struct state *s, struct trash *t);

/* client.c */
struct client *client_find_locked(struct state *s, uint64_t id, bool confirmed);
/* A confirmed client of the minor version, lease renewed; the error of an unknown one otherwise. */
nfsstat4 client_use_locked(struct state *s, uint64_t id, uint32_t minor, struct client **out);
bool client_expired_locked(const struct state *s, const struct client *cl);
bool client_has_state_locked(const struct client *cl);
void client_destroy_locked(struct state *s, struct client *cl);
/* Removes a client with its durable record. 1: it is gone, the lock was dropped meanwhile: look at everything
 * again. 0: nothing was done, status in *err (STATE_BLOCK, NFS4ERR_DELAY). */
int client_evict_locked(struct state *s, struct client *cl, bool may_block, nfsstat4 *err);
/* The confirmed client of the same owner string, or NULL. */
struct client *client_old_locked(struct state *s, const struct client *cl);
void client_confirm_locked(struct state *s, struct client *cl);
void client_renew_locked(struct client *cl);
/* True while another thread deals with the client's record: it must not be freed. */
bool client_pinned(const struct client *cl);
void client_limit_log_locked(struct client *cl, const char *what);

/* session.c */
void session_unlink_locked(struct state *s, struct session *se);
struct session *session_of_node(struct list *n);

/* stateid.c */
int stid_add_locked(struct state *s, struct client *cl, struct stid *st, enum stid_kind kind);
void stid_del_locked(struct state *s, struct stid *st);
void stid_fill(const struct state *s, const struct stid *st, stateid4 *out);
/* Finds the state of a stateid that is not special; renews the lease. client: of the session, 0 in 4.0. seqid
 * rules of RFC 8881 8.2.2 unless any_seqid. kinds: what may be. */
nfsstat4 stid_find_locked(struct state *s, uint32_t minor, uint64_t client, const stateid4 *sid,
                          unsigned kinds, bool any_seqid, struct stid **out);
uint32_t stid_wire_epoch(const stateid4 *sid);
uint32_t stid_wire_client(const stateid4 *sid);
uint32_t stid_wire_index(const stateid4 *sid);
bool stid_special(const stateid4 *sid);

/* owner.c */
struct state_owner *owner_find_locked(struct state *s, struct client *cl, enum owner_kind kind,
                                      const void *bytes, size_t len);
struct state_owner *owner_make_locked(struct state *s, struct client *cl, enum owner_kind kind,
                                      const void *bytes, size_t len, nfsstat4 *err);
void owner_free_locked(struct state *s, struct state_owner *o);
/* Frees all opens of an open owner. */
void owner_drop_opens_locked(struct state *s, struct state_owner *o);

/* openstate.c, lockstate.c */
struct sfile *sfile_find_locked(struct state *s, const struct file_key *k);
void open_free_locked(struct state *s, struct open_state *os);
void lock_free_locked(struct state *s, struct lock_state *ls);

/* grace.c */
int grace_init(struct state *s);
void grace_release(struct state *s);
void grace_client_locked(struct state *s, struct client *cl);
void grace_done_locked(struct state *s, struct client *cl);
void grace_tick(struct state *s);
/* May this client reclaim now? */
nfsstat4 grace_reclaim_locked(const struct state *s, const struct client *cl);
/* A new open or lock: NFS4ERR_GRACE during grace, and in 4.1 before RECLAIM_COMPLETE. */
nfsstat4 grace_normal_locked(struct state *s, struct client *cl);

#endif
