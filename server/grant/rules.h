/* SPDX-License-Identifier: Apache-2.0
 * rules: the compiled set of grants, and what of it counts for one address (see grant.h). Private to grant/.
 */
#ifndef VOLNFS_GRANT_RULES_H
#define VOLNFS_GRANT_RULES_H

#include "server/grant/grant.h"

/* Never changes; its rules and their texts are its own. */
struct ruleset {
    int refs; /* atomic */
    uint64_t generation;
    struct grants *grants;
    unsigned count;
    struct grant_rule *rules;
    uint32_t *by_id; /* open addressing; 0 = empty, else index + 1 */
    uint64_t mask;
    char *texts;
};

/* Copies count rules. -ENOMEM. */
int ruleset_new(struct grants *g, const struct grant_rule *const *rules, unsigned count, struct ruleset **out);
struct ruleset *ruleset_ref(struct ruleset *s);
void ruleset_unref(struct ruleset *s);
const struct grant_rule *ruleset_find(const struct ruleset *s, uint64_t id);

/* What counts for one address: entries by (what, first, second). */
enum view_key { KEY_USER = 1, KEY_VOLUME, KEY_SNAPSHOT, KEY_SEEN, KEY_FOLDERS };
struct view_entry {
    enum view_key key; /* 0: empty */
    uint64_t a, b;
    const struct grant_rule *rule;
};
struct grant_view {
    int refs; /* atomic */
    struct ruleset *set;
    uint8_t address[16];
    int64_t until; /* seconds: some rule ends then; INT64_MAX never */
    const struct grant_rule *server;
    struct view_entry *entries; /* NULL: none */
    uint64_t mask;
    const struct grant_rule **folders; /* by volume, then by length of the network */
    unsigned nfolders;
};
/* Takes over the reference to set (also when it fails). -ENOMEM. */
int view_new(struct ruleset *set, const uint8_t address[16], int64_t now, struct grant_view **out);

bool rule_fits(const struct grant_rule *r, const uint8_t address[16]);
/* Has it ended? Asks the clock only if it has an end. */
bool rule_over(const struct grant_rule *r);

/* tokens.c: the hash that is kept of a secret. */
void token_hash(const uint8_t salt[16], const char *secret, size_t len, uint8_t out[32]);
/* A new secret, without the number before it. */
#define TOKEN_TEXT_SIZE 48
void token_text(char out[TOKEN_TEXT_SIZE]);
struct guesses;
int guesses_new(struct guesses **out);
void guesses_free(struct guesses *q);
/* May this address try a secret? */
bool guesses_may(struct guesses *q, const uint8_t address[16]);
/* It tried a wrong one. Says so in the log, once per burst. */
void guesses_wrong(struct guesses *q, const uint8_t address[16]);

/* grants.c */
struct guesses *grants_guesses(struct grants *g);

#endif
