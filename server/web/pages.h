/* SPDX-License-Identifier: Apache-2.0
 * pages: what web.c serves, made from one report.
 */
#ifndef VOLNFS_WEB_PAGES_H
#define VOLNFS_WEB_PAGES_H

#include <stdio.h>

#include "proto/control_gen.h"

/* The Prometheus text format, version 0.0.4. The report has buckets, operations and volumes. */
void pages_metrics(FILE *to, const control_status *s);
/* The status page. The report has history, operations, volumes and clients. */
void pages_status(FILE *to, const control_status *s);
extern const char pages_style[], pages_favicon[];

#endif
