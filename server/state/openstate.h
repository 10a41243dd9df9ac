/* SPDX-License-Identifier: Apache-2.0
 * openstate: open owners with their 4.0 seqids, opens with share reservations, and byte-range locks of
 * clients (RFC 7530 sections 9 and 16.16, RFC 8881 sections 9 and 18.16).
 *
 * client: the session's client in 4.1+, 0 in 4.0 (where a stateid or the owner names it). may_block as in
 * client.h: a conflict with a client whose lease ran out has to remove its durable record first.
 */
#ifndef VOLNFS_STATE_OPENSTATE_H
#define VOLNFS_STATE_OPENSTATE_H

#include <stdbool.h>

#include "server/state/client.h"

/* --- 4.0: the order of an owner's requests (RFC 7530 section 9.1.7) --- */

enum owner_kind { OWNER_OPEN, OWNER_LOCK };
struct state_owner;
/* A request of an owner: from owner_begin*() to owner_end(), during which other requests of that owner wait. */
struct owner_call {
    struct state_owner *owner;
    uint32_t seqid, op;
    bool fresh;  /* the owner is not confirmed: OPEN4_RESULT_CONFIRM */
    bool replay; /* the request is a repetition: answer with these, then call owner_end all the same */
    nfsstat4 status;
    const void *reply; /* what owner_end got */
    size_t reply_len;
};
/* For OPEN. Makes the owner if there is none; an unconfirmed one starts afresh. */
nfsstat4 owner_begin(struct state *s, uint64_t clientid, const void *owner, size_t len, uint32_t op,
                     uint32_t seqid, bool may_block, struct owner_call *oc);
/* For operations with a stateid of that kind of owner. */
nfsstat4 owner_begin_stateid(struct state *s, const stateid4 *sid, enum owner_kind kind, uint32_t op,
                             uint32_t seqid, bool may_block, struct owner_call *oc);
/* Ends the request. Unless status is one of those that do not count (RFC 7530 section 9.1.7), or STATE_BLOCK, the
 * owner's seqid moves on and reply (copied) is kept for a repetition. */
void owner_end(struct state *s, struct owner_call *oc, nfsstat4 status, const void *reply, size_t len);

/* --- opens --- */

enum { SHARE_READ = 1, SHARE_WRITE = 2 };
struct open_request {
    uint32_t minor;
    uint64_t clientid;
    const void *owner;
    size_t owner_len;
    struct owner_call *oc; /* 4.0 */
    struct file_key file;
    uint64_t user; /* whose volume it is in, 0: counts for nobody */
    uint32_t uid; /* of the request */
    uint32_t access, deny;
    bool reclaim;
    /* Delegations. */
    bool truncate;            /* the OPEN will empty the file */
    bool want_read, want_write, want_none; /* what the client says; want_none: no delegation */
    bool prev_read, prev_write; /* CLAIM_PREVIOUS: of a delegation, too */
    const stateid4 *cur;      /* CLAIM_DELEGATE_CUR, CLAIM_DELEG_CUR_FH */
    uint64_t change;          /* the file's, before */
    const char *fh;           /* how callbacks call the file; NULL: no delegation */
    uint32_t fh_len;
    enum { DELEG_NONE, DELEG_READ, DELEG_WRITE } deleg; /* out */
    bool deleg_contended;     /* out: none, because of others */
    stateid4 deleg_stateid;   /* out */
    bool notify;              /* out: the client can be told when a lock that it waits for is free */
    void *hold;      /* keeps the inode; taken over (and NULL afterwards) when a new open was made */
    stateid4 stateid; /* out */
    uint32_t old_access, old_deny, old_seen; /* out: before, for open_undo; old_access 0 = it is new */
};
nfsstat4 open_grant(struct state *s, struct open_request *r, bool may_block);
/* Takes back what open_grant just did. */
void open_undo(struct state *s, const struct open_request *r);
/* OPEN_CONFIRM. */
nfsstat4 open_confirm(struct state *s, const struct file_key *f, const stateid4 *sid, stateid4 *out);
nfsstat4 open_downgrade(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                        const stateid4 *sid, uint32_t access, uint32_t deny, stateid4 *out);
/* Releases the locks of the open, too. */
nfsstat4 open_close(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                    const stateid4 *sid, stateid4 *out);

/* --- byte-range locks --- */

struct lock_denied {
    uint64_t offset, length, clientid;
    bool write;
    size_t owner_len;
    char owner[CLIENT_OWNER_MAX];
};
struct lock_request {
    uint32_t minor;
    uint64_t client;
    struct file_key file;
    stateid4 stateid; /* of the open if new_owner, else of the lock; out: of the lock */
    bool new_owner, write, reclaim;
    uint64_t clientid; /* 4.0: of a new owner, or of LOCKT */
    const void *owner; /* of a new owner, or of LOCKT */
    size_t owner_len;
    uint32_t lock_seqid; /* 4.0, of a new owner */
    uint64_t offset, length;
    bool wait;       /* LOCK: a blocking type, by a client that is told when it may go on */
    const char *fh;  /* then: how callbacks call the file */
    uint32_t fh_len;
    struct lock_denied denied; /* out with NFS4ERR_DENIED */
};
nfsstat4 lock_set(struct state *s, struct lock_request *r, bool may_block);
nfsstat4 lock_test(struct state *s, struct lock_request *r, bool may_block);
nfsstat4 lock_unset(struct state *s, struct lock_request *r);
/* RELEASE_LOCKOWNER. */
nfsstat4 lock_release_owner(struct state *s, uint64_t clientid, const void *owner, size_t len);

/* TEST_STATEID and FREE_STATEID. */
nfsstat4 stateid_test(struct state *s, uint64_t client, const stateid4 *sid);
nfsstat4 stateid_free(struct state *s, uint64_t client, const stateid4 *sid);

#endif
