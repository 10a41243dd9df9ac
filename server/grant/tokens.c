/* SPDX-License-Identifier: Apache-2.0
 * tokens: secrets, and what holds up those who guess them.
 *
 * A secret is "ID.TEXT": the grant's number and 32 random bytes in base64url. Of it the server keeps SHA-256(salt, text).
 * With 256 random bits there is nothing to stretch: whoever steals the table cannot find a secret, and a look-up stays
 * one hash. SHA-256 is nettle's, which needs no set-up, allocates nothing and cannot fail.
 *
 * Each address (of IPv6: each /64) has GUESSES wrong secrets at once and gets one back every GUESS_MS. Who has none left
 * is told to come later, without a look at the secret, right or wrong.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <nettle/base64.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/htab.h"
#include "common/log.h"
#include "server/grant/rules.h"

#define GUESSES      10u
#define GUESS_MS     2000u
#define GUESSERS     1024u /* addresses that are remembered; a power of two */
#define GUESSER_WAYS 8u    /* places that an address may have; the one that is quiet longest is taken over */
#define SECRET_BYTES 32u

void token_hash(const uint8_t salt[16], const char *secret, size_t len, uint8_t out[32])
{
    struct sha256_ctx ctx;

    sha256_init(&ctx);
    sha256_update(&ctx, 16, salt);
    sha256_update(&ctx, len, (const uint8_t *)secret);
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, out);
}

void token_text(char out[TOKEN_TEXT_SIZE])
{
    _Static_assert(BASE64_ENCODE_RAW_LENGTH(SECRET_BYTES) < TOKEN_TEXT_SIZE, "a secret fits");
    uint8_t raw[SECRET_BYTES];
    struct base64_encode_ctx ctx;
    size_t n;

    clock_random(raw, sizeof(raw));
    base64url_encode_init(&ctx);
    n = base64_encode_update(&ctx, out, sizeof(raw), raw);
    n += base64_encode_final(&ctx, out + n);
    while (n && out[n - 1] == '=')
        n--;
    out[n] = 0;
}

/* --- guesses --- */

struct guesser {
    uint8_t address[16];
    unsigned wrong;    /* 0: free */
    uint64_t since_ms; /* one is taken back GUESS_MS after this */
    bool said;
};

struct guesses {
    pthread_mutex_t lock;
    struct guesser all[GUESSERS];
};

int guesses_new(struct guesses **out)
{
    struct guesses *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    pthread_mutex_init(&q->lock, NULL);
    *out = q;
    return 0;
}

void guesses_free(struct guesses *q)
{
    if (!q)
        return;
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* IPv4 whole, of IPv6 the network that one customer usually has. */
static void guesser_key(const uint8_t address[16], uint8_t key[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

    memcpy(key, address, 16);
    if (memcmp(address, mapped, sizeof(mapped)) != 0)
        memset(key + 8, 0, 8);
}

static void forgive(struct guesser *e, uint64_t now)
{
    uint64_t n = (now - e->since_ms) / GUESS_MS;

    if (!e->wrong || !n)
        return;
    e->wrong = n < e->wrong ? e->wrong - (unsigned)n : 0;
    e->since_ms += n * GUESS_MS;
    if (!e->wrong)
        e->said = false;
}

/* The address's own place, else the one to take over. */
static struct guesser *guesser_find(struct guesses *q, const uint8_t key[16], uint64_t now, bool *own)
{
    uint64_t at = htab_hash_bytes(key, 16, 0x9e3779b97f4a7c15u) & (GUESSERS - 1) & ~(uint64_t)(GUESSER_WAYS - 1);
    struct guesser *best = NULL;

    for (unsigned i = 0; i < GUESSER_WAYS; i++) {
        struct guesser *e = &q->all[at + i];

        forgive(e, now);
        if (e->wrong && !memcmp(e->address, key, 16)) {
            *own = true;
            return e;
        }
        if (!best || e->wrong < best->wrong || (e->wrong == best->wrong && e->since_ms < best->since_ms))
            best = e;
    }
    *own = false;
    return best;
}

bool guesses_may(struct guesses *q, const uint8_t address[16])
{
    uint8_t key[16];
    bool own, may;

    guesser_key(address, key);
    pthread_mutex_lock(&q->lock);
    const struct guesser *e = guesser_find(q, key, clock_mono_ms(), &own);
    may = !own || e->wrong < GUESSES;
    pthread_mutex_unlock(&q->lock);
    return may;
}

void guesses_wrong(struct guesses *q, const uint8_t address[16])
{
    uint64_t now = clock_mono_ms();
    char text[INET6_ADDRSTRLEN] = "?";
    uint8_t key[16];
    bool own, say = false;

    guesser_key(address, key);
    pthread_mutex_lock(&q->lock);
    struct guesser *e = guesser_find(q, key, now, &own);
    if (!own) {
        memset(e, 0, sizeof(*e));
        memcpy(e->address, key, 16);
        e->since_ms = now;
    }
    if (e->wrong < GUESSES)
        e->wrong++;
    if (e->wrong == GUESSES && !e->said)
        say = e->said = true;
    pthread_mutex_unlock(&q->lock);
    if (!say)
        return;
    if (key[10] == 0xff && key[11] == 0xff)
        inet_ntop(AF_INET, key + 12, text, sizeof(text));
    else
        inet_ntop(AF_INET6, address, text, sizeof(text));
    log_warn("%s tries tokens that do not exist: %u in a row; it may try one every %u s now", text, GUESSES,
             GUESS_MS / 1000);
}

/* --- looking up --- */

/* "12.TEXT": the number, and where the text begins. */
static bool split(const char *secret, size_t len, uint64_t *id, size_t *text)
{
    uint64_t n = 0;
    size_t i = 0;

    for (; i < len && secret[i] >= '0' && secret[i] <= '9' && i < 18; i++)
        n = n * 10 + (uint64_t)(secret[i] - '0');
    if (!i || i == len || secret[i] != '.' || secret[0] == '0')
        return false;
    *id = n;
    *text = i + 1;
    return true;
}

int grant_token(const struct grant_view *v, const char *secret, size_t len, const struct grant_rule **rule)
{
    struct guesses *q = grants_guesses(v->set->grants);
    const struct grant_rule *r = NULL;
    uint8_t hash[32];
    uint64_t id;
    size_t text;

    *rule = NULL;
    if (!guesses_may(q, v->address))
        return -EBUSY;
    if (split(secret, len, &id, &text))
        r = ruleset_find(v->set, id);
    if (r && r->subject == GRANT_TOKEN) {
        token_hash(r->salt, secret + text, len - text, hash);
        if (memeql_sec(hash, r->hash, sizeof(hash))) {
            if (rule_over(r))
                return -EKEYEXPIRED;
            *rule = r;
            return 0;
        }
    }
    guesses_wrong(q, v->address);
    return -ENOENT;
}
