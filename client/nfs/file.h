/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NFSv4.0 client: files, directories, opens and locks of one server, as plain calls.
 *
 * Everything returns 0 (or a count) or a negative errno; NFS4ERR_DELAY and NFS4ERR_GRACE are retried inside, a lost
 * connection is made again (hard) until the soft limit given at the start. Reads and writes use the anonymous
 * stateid, so only creating a file and locking need an open at the server. All calls may be made from any thread.
 */
#ifndef CLIENT_NFS_FILE_H
#define CLIENT_NFS_FILE_H

#include "client/nfs/compound.h"
#include "client/nfs/sys.h"

struct nfs_client;

/*
 * The client's identity at the server. It may lie in memory shared by all processes of a run, which then are one
 * client: all zero means "not yet". Kept by nfs_client_renew.
 */
struct nfs_shared {
    struct rlock lock;
    uint32_t epoch; /* grows whenever the server has forgotten us */
    uint32_t confirmed;
    uint32_t lease; /* seconds */
    uint64_t clientid;
    uint64_t verifier;
    uint64_t renewed_ms; /* monotonic: when the last renewal that worked was sent */
    uint64_t tried_ms;   /* and the last of all */
    char id[64];         /* what the server knows us by; made from the boot id and random bytes */
};

/* An open at the server. */
struct nfs_open {
    struct nfs_stateid stateid;
    uint32_t owner; /* slot in the client's pool */
    uint32_t owner_name;
    uint32_t epoch;
    uint32_t access;
    bool valid;
};

#define NFS_RANGES 16

/* A range that is locked; type 0 is none. */
struct nfs_range {
    uint64_t offset, end; /* end is the last byte */
    uint32_t type;
};

/* A lock owner's state on one file. All zero: no lock taken yet. */
struct nfs_locker {
    struct rlock busy; /* over one request and what it changes here; see reclaim.c */
    struct nfs_open open;
    struct nfs_stateid stateid;
    uint64_t name; /* unique within the client; chosen by nfs_lock at first */
    uint32_t seqid;
    uint32_t epoch;
    bool valid;
    /* The LOCK request that is under way, so that whoever clears up after a dead process can repeat it. */
    uint32_t asked; /* its lock type; 0: none */
    uint64_t asked_offset, asked_length;
    /* What is held, to ask for it again after a restart of the server. */
    bool lost;     /* what was held is not held any more: everything fails with -EIO until nfs_lock_end */
    bool too_many; /* more ranges than fit here */
    uint32_t nranges;
    struct nfs_range ranges[NFS_RANGES];
};

#define NFS_OWNERS 32

/* An open-owner: one request at a time, numbered. */
struct nfs_owner {
    struct rlock lock;
    uint32_t name;  /* changes when the server and we no longer agree on the number */
    uint32_t seqid; /* of the next request */
    uint32_t epoch;
};

/* One process's owners. In memory shared with others if they are to finish its business after its death. */
struct nfs_self {
    uint64_t tag;   /* random: makes owners unique; 0: not set up */
    uint32_t names; /* owner names given out */
    struct nfs_owner owners[NFS_OWNERS];
};

enum nfs_lock_type { NFS_LOCK_READ = 1, NFS_LOCK_WRITE = 2 };

/* A client of HOST (numeric) : port. shared may be NULL: an identity of its own. soft_ms: see rpc_server_open. */
int nfs_client_open(struct nfs_client **out, const char *host, unsigned port, unsigned soft_ms,
                    struct nfs_shared *shared);
void nfs_client_close(struct nfs_client *client);

/* Uses self (set up if its tag is 0) for the opens and locks made from now on. */
void nfs_client_set_self(struct nfs_client *client, struct nfs_self *self);

/* In the child after fork, before anything else. Its self is one of its own memory. */
void nfs_client_after_fork(struct nfs_client *client);

/* Called with a new client id after the server has forgotten the one before: asks for everything back
 * (nfs_lock_reclaim). A failure leaves the client id unused, and it is called again later. */
typedef int (*nfs_recover_fn)(struct nfs_client *client, uint64_t clientid, uint32_t epoch, void *arg);
void nfs_client_set_recover(struct nfs_client *client, nfs_recover_fn recover, void *arg);

/* Renews the lease if a third of it has passed or the server closed a connection (or always, with force), and recovers when the server has forgotten us.
 * Makes no client id where there never was one. */
int nfs_client_renew(struct nfs_client *client, bool force);

/* The server's root. */
int nfs_root(struct nfs_client *client, struct nfs_fh *fh, struct nfs_attr *attr);

/* Names in a directory. name is size bytes, no slash, not "." or "..". attr may be NULL. */
int nfs_lookup(struct nfs_client *client, const struct nfs_fh *dir, const char *name, size_t size, struct nfs_fh *fh,
               struct nfs_attr *attr);

/* What the first request for a file that is being opened can bring along. */
struct nfs_first {
    uint32_t room; /* for the first bytes; 0: none wanted */
    uint32_t size; /* result: how many came */
    int have;      /* result: R_OK | W_OK | X_OK granted, -1 not known */
    bool eof;      /* result: that is all of the file */
    uint8_t *buf;
};

/* nfs_lookup that also asks for the access rights and reads the first bytes. */
int nfs_lookup_first(struct nfs_client *client, const struct nfs_fh *dir, const char *name, size_t size,
                     struct nfs_fh *fh, struct nfs_attr *attr, struct nfs_first *first);

/*
 * Walks PATH ("a/b/c", no "." or ".." and no empty component; "" is dir itself) in one compound per ~60 names.
 * On success *fh and *attr are the last component's, not followed if it is a symbolic link. When a component
 * on the way is a symbolic link the result is -ELOOP, *used is how many bytes of path lead up to and include
 * that link, and *fh and *attr are the link's. A missing component: -ENOENT with *used the bytes found before it.
 */
int nfs_walk(struct nfs_client *client, const struct nfs_fh *dir, const char *path, struct nfs_fh *fh,
             struct nfs_attr *attr, size_t *used);

int nfs_getattr(struct nfs_client *client, const struct nfs_fh *fh, struct nfs_attr *attr);
int nfs_setattr(struct nfs_client *client, const struct nfs_fh *fh, const struct nfs_setattr *set,
                struct nfs_attr *attr); /* attr may be NULL */
int nfs_statfs(struct nfs_client *client, const struct nfs_fh *fh, struct nfs_statfs *fs);

/* Which of R_OK | W_OK | X_OK (and -1 none) the caller has; attr may be NULL. Returns the granted bits. */
int nfs_access(struct nfs_client *client, const struct nfs_fh *fh, int want, struct nfs_attr *attr);

/* Reads a symbolic link into buf (size bytes with the final zero). -ENAMETOOLONG if it does not fit. */
int nfs_readlink(struct nfs_client *client, const struct nfs_fh *fh, char *buf, size_t size);

int nfs_mkdir(struct nfs_client *client, const struct nfs_fh *dir, const char *name, uint32_t mode,
              struct nfs_fh *fh, struct nfs_attr *attr);
int nfs_symlink(struct nfs_client *client, const struct nfs_fh *dir, const char *name, const char *target);
int nfs_mknod(struct nfs_client *client, const struct nfs_fh *dir, const char *name, uint32_t type, uint32_t mode,
              uint32_t major, uint32_t minor);
/* Removes a file or an empty directory: the protocol has one call, so whoever wants unlink or rmdir looks first. */
int nfs_remove(struct nfs_client *client, const struct nfs_fh *dir, const char *name);
/* fh: what from leads to. */
int nfs_rename(struct nfs_client *client, const struct nfs_fh *fh, const struct nfs_fh *from_dir, const char *from,
               const struct nfs_fh *to_dir, const char *to);
int nfs_link(struct nfs_client *client, const struct nfs_fh *fh, const struct nfs_fh *dir, const char *name);

/* How nfs_open_file goes about a missing or existing file. */
enum nfs_create { NFS_CREATE_NO, NFS_CREATE_YES, NFS_CREATE_EXCL };

/* Opens (and creates, with what set says; a size of 0 truncates) name in dir. access: 1 read, 2 write, 3 both.
 * fh, attr and open are filled in. The open lasts until nfs_close_file. */
int nfs_open_file(struct nfs_client *client, const struct nfs_fh *dir, const char *name, unsigned access,
                  enum nfs_create create, const struct nfs_setattr *set, struct nfs_fh *fh, struct nfs_attr *attr,
                  struct nfs_open *open);
int nfs_close_file(struct nfs_client *client, const struct nfs_fh *fh, struct nfs_open *open);

/* Reads up to size bytes at offset, in parallel pieces. Short at the end of the file, then *eof (may be NULL) is set; or where an
 * error came behind bytes that are good: who asks for the rest is told of it. */
ssize_t nfs_read(struct nfs_client *client, const struct nfs_fh *fh, void *buf, size_t size, uint64_t offset,
                 bool *eof);
/* The same, short only at the end of the file: an error is one wherever it comes. */
ssize_t nfs_read_whole(struct nfs_client *client, const struct nfs_fh *fh, void *buf, size_t size, uint64_t offset);

/* One READ of up to RPC_MAX_IO bytes that is not waited for yet; NULL when there is no memory. buf stays the call's
 * until nfs_read_finish, which returns the count (short also when the server chose so) or a negative errno. lane:
 * calls of one lane share a connection. nfs_read_abandon is for a child after fork: the call was its parent's. */
struct nfs_ahead;
struct nfs_ahead *nfs_read_start(struct nfs_client *client, const struct nfs_fh *fh, void *buf, size_t size,
                                 uint64_t offset, int lane);
ssize_t nfs_read_finish(struct nfs_client *client, struct nfs_ahead *call);
void nfs_read_abandon(struct nfs_ahead *call);

/* Writes everything, in parallel pieces, and makes it durable if sync is set; *verf (may be NULL) is the server's
 * write verifier. 0 or a negative errno: then some of it may be written. */
int nfs_write(struct nfs_client *client, const struct nfs_fh *fh, const void *data, size_t size, uint64_t offset,
              bool sync, uint64_t *verf);
int nfs_commit(struct nfs_client *client, const struct nfs_fh *fh, uint64_t *verf);
/* The same without waiting: NULL, or a call to be finished, which _here says will not block. It tells of writes that were
 * answered before it was started. */
struct nfs_commit;
struct nfs_commit *nfs_commit_start(struct nfs_client *client, const struct nfs_fh *fh);
bool nfs_commit_here(struct nfs_client *client, struct nfs_commit *commit);
int nfs_commit_finish(struct nfs_client *client, struct nfs_commit *commit, uint64_t *verf);

/* Appends at the end of the file, whole or not at all against other appenders (up to RPC_MAX_IO bytes at once);
 * *size_hint is where the end was last seen and becomes where it is now. */
ssize_t nfs_append(struct nfs_client *client, const struct nfs_fh *fh, const void *data, size_t size,
                   uint64_t *size_hint);

/* One entry of a directory. Return false to stop. attr->rderror tells of a bad entry; fh->size is 0 when the server
 * gave no handle. */
typedef bool (*nfs_entry_fn)(void *arg, uint64_t cookie, const char *name, size_t size,
                             const struct nfs_attr *attr, const struct nfs_fh *fh);

/* Reads one batch of entries after cookie (0: from the start); *verf belongs to it. 1 at the end, 0 when there is
 * more. "." and ".." are never among them. */
int nfs_readdir(struct nfs_client *client, const struct nfs_fh *fh, uint64_t cookie, uint64_t *verf,
                nfs_entry_fn entry, void *arg);

/* Opens name in dir for a locker that has no open; it must still be fh (-ESTALE). The client's next nfs_lock must be made
 * with the same self. */
int nfs_lock_open(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *dir, const char *name,
                  const struct nfs_fh *fh, unsigned access);
/* Locks length bytes at offset (length UINT64_MAX: to the end). -EAGAIN when held by somebody else; wait: the caller
 * will ask again soon, and the server may keep it a place in the queue. -EIO when earlier locks of it were lost,
 * -EBADF when only its open was: the locker is empty again then. */
int nfs_lock(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh, enum nfs_lock_type type,
             uint64_t offset, uint64_t length, bool wait);
int nfs_unlock(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh, uint64_t offset,
               uint64_t length);
/* Who would be in the way: 0 nobody, 1 with type, offset and length filled in. */
int nfs_lock_test(struct nfs_client *client, const struct nfs_locker *locker, const struct nfs_fh *fh,
                  enum nfs_lock_type *type, uint64_t *offset, uint64_t *length);
/* Gives back everything the locker holds, and its open. dead: the process that used it ended at any point: what it
 * may have asked for is asked for again, to learn what there is to give back. */
void nfs_lock_end(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh, bool dead);

/* For the recover function: the locker's open and locks again. What the server refuses is lost and marked so.
 * A negative errno only when the server cannot be reached. */
int nfs_lock_reclaim(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh, uint64_t clientid,
                     uint32_t epoch);
/* Before bytes are read or written under a lock: -EIO when it was lost. Asks the server if the lease may have run out
 * unnoticed (the program was stopped). */
int nfs_lock_check(struct nfs_client *client, const struct nfs_locker *locker);

/* Notes in a locker that a range is locked (type: enum nfs_lock_type) or not any more (0). */
void nfs_range_set(struct nfs_locker *locker, uint32_t type, uint64_t offset, uint64_t length);

/* Two handles of the same file? */
static inline bool nfs_fh_same(const struct nfs_fh *a, const struct nfs_fh *b)
{
    return a->size == b->size && __builtin_memcmp(a->data, b->data, a->size) == 0;
}

#endif
