/* SPDX-License-Identifier: Apache-2.0
 * order: in which order the tables of a report (control_status) are shown, by the volnfs command and on the status page.
 */
#ifndef VOLNFS_PROTO_ORDER_H
#define VOLNFS_PROTO_ORDER_H

#include "proto/control_gen.h"

/* All volumes of s, those with most operations a second first, then by name. The array is the caller's to free, what
 * it points to stays s's. NULL: out of memory (not for none). */
const control_vstatus **order_volumes(const control_status *s);
/* The same for clients, those with most requests first. */
const control_client **order_clients(const control_status *s);

#endif
