/* SPDX-License-Identifier: Apache-2.0
 * internal: what the files of state/ share: the objects, their links, and the one lock.
 *
 * 1. state.lock guards everything in this header. It is held for memory work only: never across a statedb
 *    call, a callback or a wait other than on owner_idle and record_idle.
 * 2. client -> sessions, owners, stateids; owner -> opens, lock states; file -> opens, ranges. A client goes with
 *    everything below it (client_destroy_locked). An open goes with its lock states, a lock state
 *    with its ranges, a file with its last open.
 * 3. What must run without the lock (dropping a hold or a connection) is put on state.trash and run by
 *    st_unlock().
 * 4. A client whose lease ran out keeps its state until somebody conflicts with it (client_evict_locked), until the room
 *    is needed (client_make_room_locked, STATE_COURTEOUS) or a day has passed (a delegation that is to come back counts as a conflict). `going` says that its durable record is being removed: it is refused from then on.
 */
#ifndef VOLNFS_STATE_INTERNAL_H
#define VOLNFS_STATE_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "common/htab.h"
#include "common/list.h"
#include "server/state/callback.h"
#include "server/state/client.h"
#include "server/state/deleg.h"
#include "server/state/grace.h"
#include "server/state/lockrange.h"
#include "server/state/openstate.h"
#include "server/state/session.h"
#include "server/state/state.h"
#include "server/state/user.h"

/* Bounds. A workflow node rarely has more than some ten thousand files open. */
enum {
    CLIENTS_MAX = 20000,
    CLIENT_SESSIONS_MAX = 64,
    CLIENT_OPENS_MAX = 65536,
    CLIENT_OWNERS_MAX = 131072,
    CLIENT_RANGES_MAX = 65536,
    /* Of all clients together: a hostile one has as many names as it likes. */
    STATE_OWNERS_MAX = 262144,
    STATE_STIDS_MAX = 1048576, /* an open costs some 350 bytes, the first lock of an owner 350, a range 64 */
    STATE_RANGES_MAX = 1048576,
    STATE_COURTEOUS = 262144,  /* stateids; beyond, silent clients do not keep what they have for a day */
    STATE_KEPT_MAX = 256 << 20, /* bytes that replies in the slots of all sessions may come to */
    CLIENT_DELEGS_MAX = 16384, /* three times what a Linux client keeps by itself */
    CLIENT_WAITS_MAX = 256,    /* blocking locks that wait; more are polled for */
    CLIENT_FROMS_MAX = 4,
    CLIENT_CONNS_MAX = 64,     /* connections that a 4.0 client is known to have; an older one is taken for closed */
    CB_SLOTS_MAX = 16,
    DELEG_WAITERS_MAX = 2,     /* requests that wait for a callback while they hold a worker thread */
    SEEN_SLOTS = 16384,
};
#define COURTESY_MS (24ull * 3600 * 1000)
#define NAME_TOLD_MS 60000u
#define NO_ROOM_MS  1000u /* how long nobody is looked for who could make room, once nobody was found */

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
    pthread_cond_t record_idle; /* some client is no longer `recording` */
    struct state_conf conf;
    uint64_t seed;
    uint8_t secret[16]; /* of stateids */
    uint32_t epoch;
    struct htab clients, names, sessions, files, stids, owners, conns, conns40;
    struct list all; /* clients */
    uint32_t next_client;
    unsigned nranges; /* of all clients */
    uint64_t kept;    /* bytes that all sessions' slots may come to */
    uint64_t no_room_until;
    uint64_t name_told; /* when it was said that one machine came with another's name */
    bool slots_told;  /* that sessions get fewer; once, for clients can bring it about */
    struct users *users;
    struct trash *trash;
    bool in_grace, grace_told;
    uint64_t grace_until, grace_end; /* grace_end: not later, whatever happens */
    struct list grace_recs;
    unsigned grace_pending; /* records not done */
    /* callback.c, deleg.c, lockwait.c */
    const struct callback_ops *cb_ops;
    void *cb_ctx;
    pthread_cond_t deleg_changed; /* a delegation went, or a holder answered CB_GETATTR */
    unsigned deleg_waiters;
    uint64_t deleg_gen;           /* how often */
    unsigned ndelegs, nwrite; /* not revoked ones; of them write delegations. Read without the lock */
    struct list recalled; /* delegations to come back */
    struct list notify;   /* waiting locks whose CB_NOTIFY_LOCK is to be sent */
    struct list told;     /* waiting locks whose turn it is, by time */
    /* Which file was opened by which client, and which delegation was recalled, not long ago: hashes. */
    struct seen {
        uint64_t hash, at;
    } opened[SEEN_SLOTS], contended[SEEN_SLOTS];
};

/* A 4.0 client's callback path. */
struct cb40 {
    uint32_t program, ident;
    char netid[16], addr[64];
    struct sockaddr_storage to; /* AF_UNSPEC: no callbacks */
    enum { CB40_UNKNOWN, CB40_UP, CB40_DOWN } path;
    unsigned calls; /* under way */
    void *conn; /* NULL: not connected */
    void (*put_conn)(void *conn);
};

struct client {
    struct hnode by_id, by_name;
    struct list in_all, sessions, owners, stids;
    uint64_t id;
    uint32_t minor; /* 0, or 1 for 4.1 and later */
    bool confirmed, going, recorded, recording, warned;
    bool forgotten;        /* lost its record for holding nothing, since it was confirmed */
    bool reclaim_ok;       /* was recorded by an earlier boot and may reclaim */
    bool reclaim_complete; /* 4.1: sent RECLAIM_COMPLETE */
    unsigned asked_new;    /* 4.0: requests during grace that were no reclaims */
    struct grace_rec *rec;
    uint8_t verifier[8], confirm[8];
    char principal[64];
    uint8_t from[CLIENT_FROMS_MAX][CLIENT_FROM]; /* addresses it came from, the last ones */
    unsigned nfrom;
    bool granted; /* something is granted to one of them */
    struct cb40 cb;
    struct list conns40; /* 4.0: the connections it was heard on */
    unsigned nconns40;
    bool had_conn;
    uint64_t renewed;
    uint64_t rival_first, rival_last; /* when a machine came with its name from elsewhere: since when it tries, and last */
    uint64_t recorded_ms; /* when its record was last asked for */
    uint32_t cs_sequence; /* of the last CREATE_SESSION */
    bool cs_cached;
    struct session_create cs_reply;
    unsigned nsessions, nopens, nowners, nranges, ndelegs, nrevoked, nwaits;
    struct list delegs;
    struct list to_recall; /* those whose CB_RECALL is to be sent */
    struct list waits;     /* its locks that wait */
    uint32_t next_stid;
    bool back_wanted; /* some session asked for a back channel */
    size_t owner_len;
    char owner[];
};

enum stid_kind { STID_OPEN = 1, STID_LOCK = 2, STID_DELEG = 4 };
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
    struct list opens, delegs, waits;
    struct lockset locks;
};

/* A 4.0 client's connection. */
struct client_conn {
    struct hnode by_id; /* in state.conns40: others may use it, too */
    struct list in_client;
    uint64_t id;
    struct client *client;
};

/* Session objects: session.c, and callback.c for the back channel. */
struct conn_entry {
    struct trash trash;
    struct hnode by_id; /* in state.conns while bound: a connection may be bound to several sessions */
    struct list node;
    struct session *session;
    struct session_conn c;
    unsigned refs; /* of being bound, and one per callback under way */
};
struct cb_slot {
    uint32_t sequence; /* of the last callback that was answered */
    bool busy;
};
struct session {
    struct hnode node;
    struct list in_client;
    struct state *state;
    struct client *client; /* NULL once unlinked */
    uint64_t clientid;
    uint8_t id[SESSION_ID_SIZE];
    unsigned refs, busy;
    struct session_attrs fore, back;
    uint32_t minor;
    uint32_t cb_program, cb_uid, cb_gid;
    bool back_wanted;
    bool back_fault; /* the client does not know what we say there */
    struct list conns;
    unsigned nconns;
    struct cb_slot cb_slots[CB_SLOTS_MAX];
    struct session_slot *slots;
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
    struct user *user; /* whose volume it is in, with one of its opens; NULL: nobody counts */
    uint32_t uid;     /* who opened; */
    bool many_users;  /* others did, too, as the same owner: all of them are checked at each READ and WRITE */
    uint64_t change; /* the file's when it was opened first; 0: not known, it was reclaimed */
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

struct deleg {
    struct stid st;
    struct list in_file, in_holder;
    struct list in_recalled; /* state.recalled */
    struct list in_to_recall;
    struct sfile *file; /* NULL once revoked */
    struct file_key key;
    bool write;
    uint32_t uid, access; /* of the OPEN that it came with */
    bool recalled, revoked, acked, sending;
    uint64_t recalled_at, sent_at, touched; /* touched: the last WRITE by its stateid */
    /* CB_GETATTR. */
    uint64_t change; /* when it was granted */
    bool asking, answered;
    unsigned answers;
    struct deleg_attrs attrs;
    uint32_t fh_len;
    char fh[CALLBACK_FH_MAX];
};

/* A blocking lock that was refused: lockwait.c. */
struct lock_wait {
    struct list in_file, in_client, in_notify, in_told;
    struct client *client;
    struct sfile *file;
    uint64_t start, end;
    bool write;
    uint64_t told_at; /* 0: it is not its turn yet */
    uint32_t fh_len;
    char fh[CALLBACK_FH_MAX];
    size_t owner_len;
    char owner[];
};

void st_lock(struct state *s);
/* Runs the trash after unlocking. */
void st_unlock(struct state *s);
void st_trash(struct state *s, struct trash *t);

/* client.c */
struct client *client_find_locked(struct state *s, uint64_t id, bool confirmed);
/* The client of an owner string; minor: 0, or 1 for 4.1 and later. */
struct client *client_find_name_locked(struct state *s, uint32_t minor, const void *owner, size_t len, bool confirmed);
/* An unconfirmed client of one address, with its lease begun; id: 0 for a new one. NULL: no room. */
struct client *client_make_locked(struct state *s, uint32_t minor, const uint8_t verifier[8], const void *owner, size_t len,
                                  const char *principal, const uint8_t from[CLIENT_FROM], uint64_t id);
/* A confirmed client of the minor version, lease renewed; the error of an unknown one otherwise. */
nfsstat4 client_use_locked(struct state *s, uint64_t id, uint32_t minor, struct client **out);
bool client_expired_locked(const struct state *s, const struct client *cl);
bool client_has_state_locked(const struct client *cl);
/* The confirmed client of the same owner string, or NULL. */
struct client *client_old_locked(struct state *s, const struct client *cl);
void client_confirm_locked(struct state *s, struct client *cl);
void client_renew_locked(struct client *cl);
/* Did it come from there? And: it did; the last few addresses are known. */
bool client_from_locked(const struct client *cl, const uint8_t from[CLIENT_FROM]);
void client_add_from_locked(struct client *cl, const uint8_t from[CLIENT_FROM]);
/* May a machine at `from` be this confirmed client after a restart, and end what it has? granted: see client.h. NFS4_OK: yes;
 * NFS4ERR_DELAY: perhaps later; NFS4ERR_CLID_INUSE: no, the client is alive. */
nfsstat4 client_restarts_locked(struct state *s, struct client *cl, const uint8_t from[CLIENT_FROM], bool granted);
/* 4.0: forgets the client's connections. */
void client_drop_conns40_locked(struct state *s, struct client *cl);
/* 4.0: a connection is gone. */
void client_conn_closed_locked(struct state *s, uint64_t conn);
/* True while another thread deals with the client's record: it must not be freed. */
bool client_pinned(const struct client *cl);
void client_limit_log_locked(struct client *cl, const char *what);
/* Frees a client that is not pinned, and all below it. */
void client_destroy_locked(struct state *s, struct client *cl);

/* client_record.c */
/* Removes a client with its durable record. 1: it is gone, the lock was dropped meanwhile: look at everything
 * again. 0: nothing was done, status in *err (STATE_BLOCK, NFS4ERR_DELAY). */
int client_evict_locked(struct state *s, struct client *cl, bool may_block, nfsstat4 *err);
/* Another principal comes with this confirmed client's owner string: the client goes if it holds nothing, or its lease ran
 * out. As client_evict_locked; *err is NFS4ERR_CLID_INUSE if it stays. */
int client_take_name_locked(struct state *s, struct client *cl, bool may_block, nfsstat4 *err);
/* The client that was silent longest of those whose lease ran out and who hold opens in this user's volumes (0: in any); or
 * NULL. */
struct client *client_silent_locked(struct state *s, uint64_t user);
/* Before an open, owner or lock in this user's volumes is made: where a limit of all clients together, or of the user, is
 * reached, whoever was silent longest goes. As client_evict_locked; *err is NFS4_OK if there is room, or nobody to go. */
int client_make_room_locked(struct state *s, uint64_t user, bool may_block, nfsstat4 *err);
/* Removes the durable record only: the client cannot reclaim what it has now. Drops the lock meanwhile: look at
 * everything again. False: not now. */
bool client_forget_locked(struct state *s, struct client *cl);
/* A client without opens and delegations has nothing to reclaim: removes the records of up to FORGET_BATCH such ones,
 * whose connections are all closed or that did not ask for their record in the last idle_ms, in one synced write, so
 * that a restart need not wait for them; their next open records them again. The number of them; 0 also if the disk
 * does not let us. May drop and retake the lock. */
unsigned client_forget_idle_locked(struct state *s, uint64_t now, uint64_t idle_ms);

/* session.c */
void session_unlink_locked(struct state *s, struct session *se);
struct session *session_of_node(struct list *n);
struct session *session_find_locked(struct state *s, const uint8_t id[SESSION_ID_SIZE]);
void conn_unref_locked(struct state *s, struct conn_entry *ce);

/* callback.c */
/* May the client be called back, as far as is known? */
bool cb_path_locked(const struct client *cl);
/* Sends what is due to the client as far as there are slots. */
void cb_pump_locked(struct state *s, struct client *cl);
/* 4.0: there is a new address: tries it. */
void cb_probe40_locked(struct state *s, struct client *cl);
/* 4.0: forgets the connection. */
void cb_drop40_locked(struct state *s, struct client *cl);
/* Sends CB_GETATTR; false: there is no way or no slot now. */
bool cb_getattr_locked(struct state *s, struct deleg *d);

/* deleg.c */
void deleg_free_locked(struct state *s, struct deleg *d);
/* Recalls what others than cl (NULL: than nobody) hold on f and what conflicts with reading, or with writing,
 * too. True: something does. */
bool deleg_conflict_locked(struct state *s, struct sfile *f, const struct client *cl, bool write);
/* Waits a moment for delegations to come back. False: not now, answer NFS4ERR_DELAY. */
bool deleg_wait_locked(struct state *s);
/* After an OPEN was granted: gives a delegation with it if that is sensible. */
void deleg_grant_locked(struct state *s, struct open_request *r, const struct open_state *os);
/* CLAIM_DELEGATE_CUR and CLAIM_DELEG_CUR_FH: is the delegation there? */
nfsstat4 deleg_check_cur_locked(struct state *s, const struct open_request *r, const struct client *cl);
/* The answer to CB_RECALL or CB_GETATTR. */
void deleg_answered_locked(struct state *s, struct client *cl, const struct callback *cb,
                           const struct callback_result *r);
/* Once a second: sends again, revokes, evicts. Takes the lock. */
void deleg_tick(struct state *s);

/* lockwait.c */
void wait_add_locked(struct state *s, const struct lock_request *r, struct client *cl, struct sfile *f,
                     const void *owner, size_t len, uint64_t end);
/* The owner got the lock, or gave up. */
void wait_drop_locked(struct sfile *f, const struct client *cl, const void *owner, size_t len);
void wait_free_locked(struct lock_wait *w);
/* Somebody else whose turn it is before this owner's, or NULL. */
const struct lock_wait *wait_ahead_locked(const struct sfile *f, const struct client *cl,
                                          const void *owner, size_t len, uint64_t start, uint64_t end,
                                          bool write);
/* Locks of f went: tells those who may go on. */
void wait_wake_locked(struct state *s, struct sfile *f);
/* Once a second: those who did not come lose their turn. */
void wait_tick_locked(struct state *s);

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
/* Frees f if nothing holds it. */
void sfile_trim_locked(struct state *s, struct sfile *f);
void open_free_locked(struct state *s, struct open_state *os);
void lock_free_locked(struct state *s, struct lock_state *ls);

/* grace.c */
int grace_init(struct state *s);
void grace_release(struct state *s);
void grace_client_locked(struct state *s, struct client *cl);
void grace_done_locked(struct state *s, struct client *cl);
void grace_tick(struct state *s);
/* May this client reclaim now? */
nfsstat4 grace_reclaim_locked(struct state *s, const struct client *cl);
/* A new open or lock: NFS4ERR_GRACE during grace, and in 4.1 before RECLAIM_COMPLETE. */
nfsstat4 grace_normal_locked(struct state *s, struct client *cl);

#endif
