/* SPDX-License-Identifier: Apache-2.0
 * grant_text: grants as people write them.
 */
#ifndef VOLNFS_GRANT_GRANT_TEXT_H
#define VOLNFS_GRANT_GRANT_TEXT_H

#include "server/store/statedb.h"

/* "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "any". NULL, or what is wrong (in buf or static). */
const char *grant_parse_network(const char *text, struct grant_row *row, char *buf, size_t size);
/* The opposite. At least 64 bytes. */
void grant_print_network(const struct grant_row *row, char *buf, size_t size);
/* "none", "root", "all"; -EINVAL. */
int grant_parse_squash(const char *text, enum grant_squash *out);

/* "/" the server, "alice", "alice/mydata", "alice/mydata@snap", "alice/mydata/runs/42". The parts point into or copy from
 * text. -EINVAL: not of these forms, names too long, "." or "..", an empty part. */
struct grant_names {
    enum grant_object object;
    char user[USER_NAME_MAX + 1], volume[VOLUME_NAME_MAX + 1], snapshot[STORE_SNAP_NAME_MAX + 1];
    char path[GRANT_PATH_MAX + 1];
};
int grant_parse_object(const char *text, struct grant_names *out);
/* True for a relative path of names without "." and "..". */
bool grant_path_ok(const char *path);

/* "NETWORK OBJECT [ro|rw] [create] [squash=none|root|all] [anon=UID:GID]", as in a start option. row gets everything but
 * the object, which is copied to object (size bytes). NULL, or what is wrong. */
const char *grant_parse_rule(const char *text, struct grant_row *row, char *object, size_t object_size, char *buf,
                             size_t size);
/* "UID:GID". -EINVAL. */
int grant_parse_anon(const char *text, struct grant_row *row);

#endif
