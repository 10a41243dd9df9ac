/* SPDX-License-Identifier: Apache-2.0
 * grant: who may reach which users and volumes, and how; evaluated in memory.
 *
 * A grant gives a subject (a network, or who knows a token) rights on an object (the server, a user, a volume, a snapshot,
 * a folder of a volume). What no grant gives does not exist for a client.
 *
 *  1. Of the grants that fit a client's address, the one on the closest object counts (snapshot, volume, user, server),
 *     among those the one of the longest network. One grant counts, rights are not added up.
 *  2. A grant on a folder counts by its own: it gives a way to the folder and what is below, under file handles that
 *     carry its id, to those whose address has no grant on the volume as a whole. So does a token, from /token/SECRET on.
 *     Under such a handle nothing but its grant counts, and above its object there is nothing.
 *  3. A grant that is revoked, or whose time is over, is not there for the next request.
 *
 * Rules are compiled into a set that never changes; a change makes a new one. Who has a struct grant_view keeps the set
 * that it was made from. A view holds what counts for one address; evaluating takes a hash look-up or three, whatever
 * the number of rules, and no lock.
 */
#ifndef VOLNFS_GRANT_GRANT_H
#define VOLNFS_GRANT_GRANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "server/store/statedb.h"

#define GRANT_MAX 100000u /* grants a server may have */

enum grant_level {
    GRANT_NOTHING,
    GRANT_WAY, /* only the way to folders: look up and list what leads there */
    GRANT_READ,
    GRANT_WRITE,
};

/* A compiled grant; belongs to the view it was had from. */
struct grant_rule {
    uint64_t id;
    enum grant_subject subject;
    enum grant_object object;
    uint64_t user, volume, snapshot;
    enum grant_level level; /* READ or WRITE */
    bool create;            /* volumes (and users) may be made, renamed and removed */
    enum grant_squash squash;
    bool has_anon;
    uint32_t anon_uid, anon_gid;
    int64_t expires;
    uint8_t net[16];
    unsigned prefix;
    uint8_t salt[16], hash[32];
    const char *path;       /* of GRANT_SUBPATH; else "" */
};

struct grants;
struct grant_view;

/* Reads the table. db is borrowed. Forgets what is about users and volumes that are gone, and tokens that expired a month
 * ago. -EUCLEAN, -ENOMEM, … */
int grants_new(struct statedb *db, struct grants **out);
/* All views must be gone. */
void grants_free(struct grants *g);

/* --- changing; durable when they return 0; block --- */

/* Adds or replaces, and gives row its id. The object is of ids that exist (the caller's business). -EINVAL: what no
 * grant may be (a subpath with "..", create on a volume, …). -E2BIG: GRANT_MAX. */
int grants_add(struct grants *g, struct grant_row *row);
/* As grants_add for a new token. secret gets GRANT_SECRET_SIZE bytes of text: it is nowhere else. */
#define GRANT_SECRET_SIZE 72
int grants_add_token(struct grants *g, struct grant_row *row, char secret[GRANT_SECRET_SIZE]);
int grants_del(struct grants *g, uint64_t id); /* -ENOENT */
/* A user or volume (0: none) was removed: so are the grants on it. */
void grants_object_gone(struct grants *g, uint64_t user, uint64_t volume);
/* A grant from the server's start options: on names, in memory only, has an id of its text. object as in grant_text.h. Takes
 * effect with the next grants_resolve(). */
int grants_add_fixed(struct grants *g, const struct grant_row *row, const char *object);
/* Forgets those there are; takes effect likewise. */
void grants_drop_fixed(struct grants *g);
/* Fills object and ids of the row from the text of an object. 0, or -errno: there is no such thing (now). */
typedef int (*grants_resolver)(void *arg, const char *object, struct grant_row *row);
/* Looks the names of the fixed grants up. Cheap when there are none. Call it again when users or volumes got a name. */
int grants_resolve(struct grants *g, grants_resolver fn, void *arg);
/* Calls fn (never under a lock) whenever a network's grant that was made, or a grant that was taken back or has ended, may
 * give somebody less than before: on this volume, or 0: anywhere. To be said before anything is served. */
void grants_tell(struct grants *g, void (*fn)(void *arg, uint64_t volume), void *arg);
/* Once a second: sees which have ended. */
void grants_tick(struct grants *g);
/* The rows in the order of ids, fixed ones last; object: its text, of fixed ones only. fn must not call back. */
int grants_list(struct grants *g, int (*fn)(void *arg, const struct grant_row *row, const char *object), void *arg);
/* Is there a grant for a network other than this machine's? */
bool grants_only_local(struct grants *g);

/* --- evaluating --- */

/* The peer's address as the rules have it; what is not IP is this machine. */
void grant_address(const struct sockaddr_storage *ss, uint8_t out[16]);

/* Brings *view (NULL at first) up to date for the peer: the only call a request makes that may take a lock, and only
 * after a change of the rules or the end of one. One thread at a time per *view. -ENOMEM: *view is NULL. */
int grant_view_renew(struct grants *g, const struct sockaddr_storage *peer, struct grant_view **view);
/* Does any grant fit the view's address? */
bool grant_view_any(const struct grant_view *v);
struct grant_view *grant_view_ref(struct grant_view *v);
void grant_view_unref(struct grant_view *v); /* NULL is fine */

/* What a client may do with an object: user 0 = the root of the tree, volume 0 = the user, else what is in the volume
 * (snap 0: live). id: the grant the handle names, 0 none. *rule (may be NULL): the grant that counts; NULL with NOTHING,
 * with WAY, and for a root or user that is there only for what is below. A rule with a path says nothing of where in the
 * volume the object is: see grant_folder(). The root, and users that can be seen, are WRITE: what may be made in them is
 * grant_may_create()'s. */
enum grant_level grant_eval(const struct grant_view *v, uint64_t id, uint64_t user, uint64_t volume, uint64_t snap,
                            const struct grant_rule **rule);
/* May names be made and removed: users in the root (user 0), volumes of the user. */
bool grant_may_create(const struct grant_view *v, uint64_t id, uint64_t user);
/* The i-th grant on a folder of the volume that fits the view's address; NULL at the end. Longest networks first. */
const struct grant_rule *grant_folder(const struct grant_view *v, uint64_t volume, unsigned i);

/* --- tokens --- */

/* The token of this secret. -ENOENT: there is none. -EKEYEXPIRED: its time is over. -EBUSY: too many wrong ones came
 * from this address; it was not looked at. *rule belongs to the view. */
int grant_token(const struct grant_view *v, const char *secret, size_t len, const struct grant_rule **rule);

#endif
