/* SPDX-License-Identifier: Apache-2.0
 * state: clients, sessions, opens, locks and delegations of one server: the face that nfs4/ uses for I/O
 * and namespace operations. (Opens, locks and sessions themselves: openstate.h, lockrange.h, client.h,
 * session.h, grace.h.)
 *
 * State keys a file by (volume id, inode) and does not call vfs or store, except that state_new gets the
 * statedb for client records, and that an open file holds its inode through the callbacks below.
 */
#ifndef VOLNFS_STATE_STATE_H
#define VOLNFS_STATE_STATE_H

#include "proto/nfs4_gen.h"
#include "server/store/statedb.h"

#define CLIENT_FROM 16 /* bytes of an address */

struct state;

/* The call would have to wait for the disk and was told not to; nothing was changed (compound.h: NFS4_BLOCK). */
#define STATE_BLOCK ((nfsstat4)0x7ffffffe)

/* Who a file is. */
struct file_key {
    uint64_t volume, ino;
};

struct state_conf {
    uint32_t lease_seconds;     /* 90 by default */
    uint32_t grace_seconds;     /* 0 = the lease time */
    struct statedb *db;
    uint64_t epoch;
    bool delegations; /* grant them */
    uint64_t max_user[5];          /* of the volumes of one user, by enum user_kind; 0: the default */
    uint32_t max_opens, max_locks; /* of one client; 0: CLIENT_OPENS_MAX, CLIENT_RANGES_MAX */
    /* Drops what an open's hold on an inode keeps (ctx is what the open handed over). Never blocks. */
    void (*drop_hold)(void *ctx, void *hold);
    /* Grace is over: orphans may go. Called once, from any thread. */
    void (*grace_over)(void *ctx);
    void *ctx;
};
/* Reads the client records; grace starts if there are any. */
int state_new(const struct state_conf *conf, struct state **out);
/* Before state_free at a clean stop, when no request is under way: forgets clients that have nothing to reclaim.
 * Blocks. Without it state_free is like a crash. */
void state_stop(struct state *s);
void state_free(struct state *s);
/* Lease expiry, end of grace, callback retries: call about once a second on a thread that may block. */
void state_tick(struct state *s);
/* Changes max_opens and max_locks; what clients have already they keep. */
void state_set_limits(struct state *s, uint32_t max_opens, uint32_t max_locks);
/* What the volumes of each user are used for (user.h). */
struct users *state_users(struct state *s);
bool state_in_grace(struct state *s);
uint32_t state_lease_seconds(const struct state *s);

enum state_access { STATE_READ = 1, STATE_WRITE = 2 };
struct state_io {
    bool open;         /* the stateid stands for an open (or lock, delegation)... */
    bool one_user;     /* ... of this one user, who needs no permission check; others do */
    uint32_t uid;
    uint64_t clientid; /* of the stateid, 0 for special ones */
};
static inline bool state_io_by_open(const struct state_io *io, uint32_t uid)
{
    return io->open && io->one_user && io->uid == uid;
}
/* Checks the stateid of a READ, WRITE or SETATTR(size) on a file (RFC 8881 sections 8.2.3, 9.1.2,
 * RFC 7530 section 9.1.4): special stateids, seqid 0 in 4.1, share denials, mandatory modes of the open,
 * expired and revoked state; renews the 4.0 lease. client is the session's client (4.1+) or 0.
 * During grace: NFS4ERR_GRACE where reclaims could conflict. Recalls delegations that conflict
 * (NFS4ERR_DELAY meanwhile). */
nfsstat4 state_check_io(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                        const stateid4 *sid, enum state_access want, struct state_io *out);
/* Before an operation that changes names or attributes of f (REMOVE, RENAME, LINK, SETATTR):
 * NFS4ERR_DELAY while a conflicting delegation is being recalled, else NFS4_OK. */
nfsstat4 state_check_change(struct state *s, uint64_t client, const struct file_key *f);

#endif
