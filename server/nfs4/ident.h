/* SPDX-License-Identifier: Apache-2.0
 * ident: who sent a request and over which connection, in the state layer's words.
 */
#ifndef VOLNFS_NFS4_IDENT_H
#define VOLNFS_NFS4_IDENT_H

#include "server/nfs4/compound.h"

#define IDENT_PRINCIPAL 64
/* The principal of the request: flavor and user. The groups and the machine name are not part of it. */
void ident_principal(const struct request *req, char out[IDENT_PRINCIPAL]);
/* The address it came from, as client.h has them. */
void ident_from(const struct request *req, uint8_t out[CLIENT_FROM]);
/* A reference to the request's connection for session_bind() and session_create(). */
void ident_conn(struct request *req, bool back, struct session_conn *out);
/* The principal and the rest of a compound from its read position on, as a number: tells a false retry. */
uint64_t ident_digest(struct request *req);

#endif
