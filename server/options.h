/* SPDX-License-Identifier: Apache-2.0
 * options: what volnfsd is told, on its command line and in its configuration file.
 *
 * The keys are the same in both: --lease-time 30 is "lease-time = 30" in a file. The file is read
 * first, wherever --config stands; the command line then wins. The first "listen" of the command line
 * replaces those of the file.
 */
#ifndef VOLNFS_SERVER_OPTIONS_H
#define VOLNFS_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/vfs/vfs.h"

#define OPTIONS_LISTEN_MAX 32

struct options {
    char *store;
    char *listen[OPTIONS_LISTEN_MAX];
    unsigned nlisten;
    char *metrics;                   /* ADDR:PORT, NULL: none */
    struct option_grant {
        struct grant_row row;
        char object[VFS_OBJECT_TEXT];
    } *grants;
    unsigned ngrants;
    uint32_t lease_time, grace_time; /* seconds; grace 0: as the lease */
    uint64_t cache_size;             /* bytes */
    uint32_t journal_size;           /* bytes, of each volume */
    bool delegations;
    bool stay_awake;
    char *user;    /* to become; NULL: who started it */
    bool sandbox;
    char *config;  /* the file, NULL: none */
    bool log_json;
    unsigned debug; /* LOG_RPC | ... */
    struct {                        /* 0: the layers' own */
        uint32_t conns, client_conns, client_requests, client_opens, client_locks;
        uint64_t user[5]; /* by enum user_kind */
    } max;
    uint32_t slow_time; /* seconds */
    uint32_t idle_time; /* seconds, of volumes */
    uint32_t max_open_volumes;
    bool check_config;
};

/* Fills o from argv. Returns -1 to go on, else the exit status (after --help, or a message on stderr). */
int options_parse(struct options *o, int argc, char **argv);
/* Reads everything again for a server that runs with o: takes over the keys that need no restart, and logs which of
 * the others have changed. 0, or -1 after messages: o is as before. */
int options_reload(struct options *o, int argc, char **argv);
void options_release(struct options *o);

#endif
