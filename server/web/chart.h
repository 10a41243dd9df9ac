/* SPDX-License-Identifier: Apache-2.0
 * chart: plots of the last hour as SVG, in the colours of the page's style sheet.
 */
#ifndef VOLNFS_WEB_CHART_H
#define VOLNFS_WEB_CHART_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/control_gen.h"

enum chart_scale {
    CHART_COUNT, /* from 0, in thousands */
    CHART_BYTES, /* from 0, in units of 1024 */
    CHART_TIME,  /* milliseconds, logarithmic; 0: no value */
};
struct chart_series {
    const char *name;
    const char *class; /* "s1" to "s4"; its colour */
    bool area, dashed; /* filled below; not in the legend */
    double (*get)(const control_sample *s);
};
struct chart {
    const char *title, *what; /* heading, and the words below it */
    enum chart_scale scale;
    const struct chart_series *series;
    unsigned nseries;
};
/* A <figure>. now: seconds since 1970 of the last sample. */
void chart_draw(FILE *to, const struct chart *c, const control_sample *s, unsigned n, uint64_t now);
/* A small one without axes, scaled to its own maximum. */
void chart_spark(FILE *to, const control_sample *s, unsigned n, double (*get)(const control_sample *s));

#endif
