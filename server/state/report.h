/* SPDX-License-Identifier: Apache-2.0
 * report: what there is to know of the clients, for the operator's eyes.
 */
#ifndef VOLNFS_STATE_REPORT_H
#define VOLNFS_STATE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state;

#define REPORT_CONNS 16
struct state_client_report {
    uint64_t id;
    uint32_t minor; /* 0, or 1 for 4.1 and later */
    char name[256]; /* as the client calls itself: bytes that do not print are replaced by '?' */
    char principal[64];
    uint8_t from[16]; /* where it came from last, as in client.h */
    bool expired;
    uint64_t idle_ms;
    unsigned sessions, opens, locks, delegs, waits;
    unsigned nconns; /* of its sessions; ids of the first ones */
    uint64_t conns[REPORT_CONNS];
};
/* Copies the confirmed clients, at most max, into out; returns how many there are. Any thread, does not block on a
 * disk. */
size_t state_clients(struct state *s, struct state_client_report *out, size_t max);

#endif
