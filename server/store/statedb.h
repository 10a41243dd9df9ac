/* SPDX-License-Identifier: Apache-2.0
 * statedb: what the whole server remembers: STORE/state.db. Boot epoch, handle key, users, volumes, grants, and
 * the clients that may reclaim state after a restart (RFC 8881 section 8.4.2.1; RFC 7530 section 9.6.3.4).
 *
 * Every change is durable when the call returns 0. Thread-safe; calls block on the disk, so they are
 * made from threads that may. The user and volume tables are small and are read whole at start.
 */
#ifndef VOLNFS_STORE_STATEDB_H
#define VOLNFS_STORE_STATEDB_H

#include "server/store/volume.h"

struct statedb;

/* Opens STORE/state.db, making STORE and it if missing, takes the store's lock (-EBUSY: another server
 * has it), and counts the boot epoch up. -ENOTSUP: newer format. */
int statedb_open(const char *store, struct statedb **out);
/* Opens an existing STORE/state.db to look at users and volumes only: takes no lock, counts nothing, works
 * beside a running server. -ENOENT: no store there. Only the list functions may be called on it. */
int statedb_open_readonly(const char *store, struct statedb **out);
void statedb_close(struct statedb *db);
uint64_t statedb_epoch(const struct statedb *db);
/* 16 bytes, made with the store. */
const uint8_t *statedb_handle_key(const struct statedb *db);

#define USER_NAME_MAX   63
#define VOLUME_NAME_MAX 127
/* 0 or -EINVAL: 1..max bytes of [A-Za-z0-9._-], not starting with '.' or '-'. */
int statedb_check_user_name(const char *name, size_t len);
int statedb_check_volume_name(const char *name, size_t len);

struct user_row {
    uint64_t id; /* >= 1, never used again */
    char name[USER_NAME_MAX + 1];
    int64_t created;
};
struct volume_row {
    uint64_t id; /* >= 1, never used again; also its folder STORE/volumes/<16 hex digits> */
    uint64_t user;
    char name[VOLUME_NAME_MAX + 1];
    int64_t created;
};
/* Lists call fn with the database locked: it must not call back. They stop when fn returns non-zero, and
 * return that. -EUCLEAN: a row that cannot be right. */
int statedb_list_users(struct statedb *db, int (*fn)(void *arg, const struct user_row *u), void *arg);
int statedb_list_volumes(struct statedb *db, int (*fn)(void *arg, const struct volume_row *r),
                         void *arg);
int statedb_add_user(struct statedb *db, const char *name, struct user_row *out); /* -EEXIST */
/* -ENOENT: there is none, or it has volumes. */
int statedb_del_user(struct statedb *db, uint64_t id);
/* Reserves an id; the folder is made by the caller, then statedb_add_volume makes the name visible. A
 * folder without a row is left from a crash: volume_create was not finished, or the row of a destroyed
 * volume went first. Both are removed at start by the namespace. */
int statedb_next_volume_id(struct statedb *db, uint64_t *id);
int statedb_add_volume(struct statedb *db, const struct volume_row *r); /* -EEXIST; -ENOENT: user */
int statedb_del_volume(struct statedb *db, uint64_t id);
int statedb_rename_volume(struct statedb *db, uint64_t id, const char *name); /* -EEXIST */

/* Grants: who may reach what, and how. What they mean is server/grant's business; here they are rows. */
enum grant_subject {
    GRANT_NETWORK = 1, /* net, prefix */
    GRANT_TOKEN = 2,   /* salt, hash */
    /* 3 and 4 are kept for certificates and Kerberos principals, in `principal`. */
};
enum grant_object { GRANT_SERVER, GRANT_USER, GRANT_VOLUME, GRANT_SNAPSHOT, GRANT_SUBPATH };
enum grant_squash { GRANT_SQUASH_NONE, GRANT_SQUASH_ROOT, GRANT_SQUASH_ALL };
enum { GRANT_MAY_WRITE = 1, GRANT_MAY_CREATE = 2 };
#define GRANT_PATH_MAX  1023 /* bytes of a subpath */
#define GRANT_LABEL_MAX 127
#define GRANT_NOBODY    65534u
struct grant_row {
    uint64_t id; /* >= 1, never used again: it is in file handles */
    enum grant_subject subject;
    uint8_t net[16]; /* IPv4 as ::ffff:a.b.c.d; bits behind the prefix are zero */
    unsigned prefix; /* 0..128; of IPv4 at least 96 */
    uint8_t salt[16], hash[32];
    char principal[1]; /* no subject has one yet */
    enum grant_object object;
    uint64_t user;     /* of all but GRANT_SERVER */
    uint64_t volume;   /* of GRANT_VOLUME, _SNAPSHOT, _SUBPATH */
    uint64_t snapshot; /* of GRANT_SNAPSHOT */
    char path[GRANT_PATH_MAX + 1]; /* of GRANT_SUBPATH: relative, no empty part, no "." or ".." */
    unsigned rights;   /* GRANT_MAY_ */
    enum grant_squash squash;
    bool has_anon;     /* anon_uid and anon_gid are meant, not the default of the squash */
    uint32_t anon_uid, anon_gid;
    int64_t expires;   /* seconds since 1970; 0: never */
    int64_t created;
    char label[GRANT_LABEL_MAX + 1]; /* for people */
};
int statedb_list_grants(struct statedb *db, int (*fn)(void *arg, const struct grant_row *g), void *arg);
/* Gives g an id. A grant to the same network on the same object is replaced by g, which gets its id. */
int statedb_add_grant(struct statedb *db, struct grant_row *g);
int statedb_del_grant(struct statedb *db, uint64_t id); /* -ENOENT */
/* Removes grants on users, volumes that are not there (any more), and tokens that expired before `before`. The number
 * of them. */
int statedb_clean_grants(struct statedb *db, int64_t before);

/* Clients that may reclaim. owner: the client's own id string (up to 1024 bytes), unique with minor.
 * principal: who it was (state's business). */
struct client_row {
    uint32_t minor; /* 0, or 1 for 4.1 and later */
    const void *owner;
    size_t owner_len;
    char principal[64];
};
int statedb_put_client(struct statedb *db, const struct client_row *c);
int statedb_del_client(struct statedb *db, uint32_t minor, const void *owner, size_t owner_len);
/* All of them or none, in one transaction; the principals do not matter, and those that are not there neither. */
int statedb_del_clients(struct statedb *db, const struct client_row *rows, unsigned n);
int statedb_list_clients(struct statedb *db, int (*fn)(void *arg, const struct client_row *c),
                         void *arg);

#endif
