/* SPDX-License-Identifier: Apache-2.0
 * statusview: how volnfs status and volnfs top show a server's report.
 */
#ifndef VOLNFS_CLI_STATUSVIEW_H
#define VOLNFS_CLI_STATUSVIEW_H

#include <jansson.h>
#include <stdio.h>

#include "client/cli/connect.h"

/* Asks for a report; false after a message. control_free it (CONTROL_STATUS) in any case. A refusal (-EPERM) is no failure:
 * s->result.err says so. */
bool statusview_get(CLIENT *c, unsigned with, control_status *s);

/* What the server is and does in all, then a line for each kind of request with its latency. */
void statusview_head(FILE *to, const control_status *s);
/* The volumes with most work first, then by name; at most max lines. */
void statusview_volumes(FILE *to, const control_status *s, unsigned max);
/* The users, by id. */
void statusview_users(FILE *to, const control_status *s);
void statusview_clients(FILE *to, const control_status *s, unsigned max);
/* NULL: out of memory. */
json_t *statusview_json(const control_status *s);

#endif
