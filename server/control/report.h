/* SPDX-License-Identifier: Apache-2.0
 * report: everything an operator may want to know of the server at one moment, as proto/control.x has it. The same
 * report feeds volnfs status, volnfs top, the metrics and the status page, so they agree.
 */
#ifndef VOLNFS_CONTROL_REPORT_H
#define VOLNFS_CONTROL_REPORT_H

#include "proto/control_gen.h"
#include "server/control/control.h"

/* Fills out; with: CONTROL_WITH_*. Blocks; not on a loop's thread; only while the server runs. Volumes that are not
 * open are opened for their sizes if there are few (REPORT_OPEN_MAX), else they come with err -EAGAIN. -ENOMEM: out is
 * empty. Release with report_release in any case. */
#define REPORT_OPEN_MAX 256u
int report_collect(struct control *c, unsigned with, control_status *out);
void report_release(control_status *s);

#endif
