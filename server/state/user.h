/* SPDX-License-Identifier: Apache-2.0
 * user: what the volumes of each user are used for, whoever the clients are: requests under way, opens, locked ranges,
 * connections (that were last used for them), bytes of requests under way and of replies that are not taken yet.
 *
 * 1. A user is there while something of it is in use, and for USER_BURST_MS after it was refused something: so the table
 *    is no larger than what is in use, and a burst of refusals is one line of the log.
 * 2. users.lock guards everything but the bytes, which whoever has a request of the user may add to; it is the innermost
 *    lock, held for memory work only. Any thread.
 */
#ifndef VOLNFS_STATE_USER_H
#define VOLNFS_STATE_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum user_kind { USER_REQUESTS, USER_OPENS, USER_LOCKS, USER_CONNS, USER_BYTES, USER_KINDS };
#define USER_NO_LIMIT UINT64_MAX
#define USER_BURST_MS 60000u

struct users;
struct user;

int users_new(struct users **out); /* -ENOMEM */
/* Nothing may be in use. */
void users_free(struct users *us);
/* 0: the default. */
void users_set_limits(struct users *us, const uint64_t max[USER_KINDS]);
/* Takes one for the user of this id, 0: for nobody (*out is NULL then, which the others take). False: the limit is
 * reached, or memory. */
bool user_take(struct users *us, uint64_t id, enum user_kind kind, struct user **out);
/* A request with so many bytes. Nothing is counted when the result is false. */
bool user_request(struct users *us, uint64_t id, size_t bytes, struct user **out);
/* So many bytes more. The caller's request is not ended yet. */
void user_request_more(struct user *u, size_t bytes);
/* It is, with all the bytes it was given. */
void user_request_end(struct users *us, struct user *u, size_t bytes);
/* Are there an open and two ranges left for the user of this id (0: nobody)? Nothing is counted. */
bool user_fits(struct users *us, uint64_t id);
uint64_t user_id(const struct user *u); /* 0 of NULL */
/* May n more be taken? Counts as a refusal if not. */
bool user_room(struct users *us, struct user *u, enum user_kind kind, unsigned n);
/* Takes n more of what user_room allowed, or gives back -n. u is dead when it has nothing left. */
void user_add(struct users *us, struct user *u, enum user_kind kind, int n);
/* Once in a while: forgets those of whom nothing is in use. */
void users_tick(struct users *us);

struct user_report {
    uint64_t id, refused; /* refused: since the user is in the table */
    uint64_t used[USER_KINDS];
};
/* Copies at most max; returns how many there are. limits may be NULL. */
size_t users_report(struct users *us, struct user_report *out, size_t max, uint64_t limits[USER_KINDS]);

#endif
