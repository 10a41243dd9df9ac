/* SPDX-License-Identifier: Apache-2.0
 * text: numbers and names as the status page shows them.
 */
#ifndef VOLNFS_WEB_TEXT_H
#define VOLNFS_WEB_TEXT_H

#include <stdint.h>
#include <stdio.h>

#define TEXT_MAX 32
/* Each fills out and returns it. */
const char *text_bytes(double n, char out[TEXT_MAX]);          /* "1.23 GiB", "812 B" */
const char *text_count(double n, char out[TEXT_MAX]);          /* "1.2 M", "812", "3.4" */
const char *text_ms(double ms, char out[TEXT_MAX]);            /* "1.2 ms", "340 µs", "2.1 s" */
const char *text_span(uint64_t seconds, char out[TEXT_MAX]);   /* "3 d 4 h" */
/* With what HTML needs escaped; control characters become '?'. */
void text_html(FILE *to, const char *s);

#endif
