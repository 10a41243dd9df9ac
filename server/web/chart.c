/* SPDX-License-Identifier: Apache-2.0
 * chart: draws plots as SVG (see chart.h). All coordinates are in a box of W x H.
 */
#include "server/web/chart.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "server/metrics/metrics.h"
#include "server/web/text.h"

#define W      460.0
#define H      190.0
#define LEFT   62.0
#define RIGHT  10.0
#define TOP    10.0
#define BOTTOM 26.0
#define HOUR   3600.0

struct axis {
    enum chart_scale scale;
    double low, high, step;
};

/* The next of 1, 2, 5, 10, 20 ... times unit. */
static double round_up(double n, double unit)
{
    double p = unit;
    if (n <= unit)
        return unit;
    for (;;) {
        if (n <= p)
            return p;
        if (n <= 2 * p)
            return 2 * p;
        if (n <= 5 * p)
            return 5 * p;
        p *= 10;
    }
}

static struct axis axis_for(enum chart_scale scale, double low, double high)
{
    struct axis a = {.scale = scale};
    double unit = 1;
    if (scale == CHART_TIME) {
        a.low = low > 0 ? pow(10, floor(log10(low))) : 0.01;
        a.high = high > 0 ? pow(10, ceil(log10(high))) : 10;
        if (a.high / a.low < 99)
            a.high = a.low * 100;
        return a;
    }
    while (scale == CHART_BYTES && high >= unit * 1024)
        unit *= 1024;
    if (high <= 0)
        high = scale == CHART_BYTES ? 1024 * 1024 : 10;
    if (scale == CHART_BYTES && unit == 1 && high >= 1024)
        unit = 1024;
    a.step = round_up(high / 4, scale == CHART_BYTES && unit > 1 ? unit / 10 : 1);
    if (scale == CHART_BYTES && a.step / unit > 200) /* 256, 512 are as round as it gets there */
        a.step = a.step / unit > 256 ? 512 * unit : 256 * unit;
    a.high = a.step * ceil(high / a.step);
    return a;
}

static double y_of(const struct axis *a, double v)
{
    double part = a->scale == CHART_TIME ? (v > 0 ? log(v / a->low) / log(a->high / a->low) : 0) : v / a->high;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return TOP + (H - TOP - BOTTOM) * (1 - part);
}

/* i of n samples, the last of which is now. */
static double x_of(unsigned i, unsigned n)
{
    return W - RIGHT - (W - LEFT - RIGHT) * (n - 1 - i) * METRICS_STEP / HOUR;
}

static const char *value_text(enum chart_scale scale, double v, char out[TEXT_MAX])
{
    return scale == CHART_TIME ? text_ms(v, out) : scale == CHART_BYTES ? text_bytes(v, out) : text_count(v, out);
}

/* For an axis: "5 k", not "5.00 k". */
static const char *tick_text(enum chart_scale scale, double v, char out[TEXT_MAX])
{
    char *point, *end;
    value_text(scale, v, out);
    point = strchr(out, '.');
    end = point ? point + 1 + strspn(point + 1, "0123456789") : NULL;
    if (end) {
        char *cut = end;
        while (cut[-1] == '0')
            cut--;
        cut -= cut[-1] == '.';
        memmove(cut, end, strlen(end) + 1);
    }
    return out;
}

static void draw_axes(FILE *to, const struct axis *a, uint64_t now)
{
    char t[TEXT_MAX];
    double v = a->scale == CHART_TIME ? a->low : 0;
    while (v <= a->high * 1.001) {
        double y = y_of(a, v);
        fprintf(to, "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, W - RIGHT, y, y);
        fprintf(to, "<text class=\"tick\" text-anchor=\"end\" x=\"%.0f\" y=\"%.1f\">%s</text>\n", LEFT - 7, y + 4,
                tick_text(a->scale, v, t));
        v = a->scale == CHART_TIME ? v * 10 : v + a->step;
    }
    for (uint64_t at = now - now % 600; at + 3600 > now; at -= 600) {
        double x = W - RIGHT - (W - LEFT - RIGHT) * (double)(now - at) / HOUR;
        time_t when = (time_t)at;
        struct tm tm;
        if (x > W - RIGHT - 2 || x < LEFT + 12)
            continue;
        localtime_r(&when, &tm);
        fprintf(to, "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>"
                "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.0f\">%02d:%02d</text>\n",
                x, x, H - BOTTOM, H - BOTTOM + 4, x, H - 8, tm.tm_hour, tm.tm_min);
    }
}

static bool shown(const struct chart *c, double v)
{
    return c->scale != CHART_TIME || v > 0;
}

/* One path; a gap where there is no value, a dot where one stands alone. */
static void draw_line(FILE *to, const struct chart *c, const struct chart_series *se, const struct axis *a,
                      const control_sample *s, unsigned n)
{
    bool pen = false;
    fprintf(to, "<path class=\"line %s%s\" d=\"", se->class, se->dashed ? " thin" : "");
    for (unsigned i = 0; i < n; i++) {
        double v = se->get(&s[i]);
        if (!shown(c, v)) {
            pen = false;
            continue;
        }
        fprintf(to, "%s%.1f %.1f", pen ? "L" : "M", x_of(i, n), y_of(a, v));
        if (!pen)
            fputs("h.01", to);
        pen = true;
    }
    fputs("\"/>\n", to);
}

static void draw_area(FILE *to, const struct chart_series *se, const struct axis *a, const control_sample *s,
                      unsigned n)
{
    fprintf(to, "<path class=\"area %s\" d=\"M%.1f %.1f", se->class, x_of(0, n), H - BOTTOM);
    for (unsigned i = 0; i < n; i++)
        fprintf(to, "L%.1f %.1f", x_of(i, n), y_of(a, se->get(&s[i])));
    fprintf(to, "L%.1f %.1fZ\"/>\n", x_of(n - 1, n), H - BOTTOM);
}

static void draw_legend(FILE *to, const struct chart *c, const control_sample *s, unsigned n)
{
    fputs("<ul class=\"legend\">", to);
    for (unsigned k = 0; k < c->nseries; k++) {
        const struct chart_series *se = &c->series[k];
        char now[TEXT_MAX], most[TEXT_MAX];
        double last = 0, peak = 0;
        if (se->dashed)
            continue;
        for (unsigned i = 0; i < n; i++) {
            double v = se->get(&s[i]);
            if (shown(c, v))
                last = v;
            peak = v > peak ? v : peak;
        }
        fprintf(to, "<li><svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><rect class=\"%s\" y=\"4\" "
                "width=\"12\" height=\"4\" rx=\"2\"/></svg>%s", se->class, se->name);
        if (n && (peak > 0 || c->scale != CHART_TIME))
            fprintf(to, " <b>%s%s</b> <span>peak %s%s</span>", value_text(c->scale, last, now),
                    c->scale == CHART_TIME ? "" : "/s", value_text(c->scale, peak, most),
                    c->scale == CHART_TIME ? "" : "/s");
        fputs("</li>", to);
    }
    fputs("</ul>\n", to);
}

void chart_draw(FILE *to, const struct chart *c, const control_sample *s, unsigned n, uint64_t now)
{
    double high = 0, low = 0;
    struct axis a;
    for (unsigned k = 0; k < c->nseries; k++)
        for (unsigned i = 0; i < n; i++) {
            double v = c->series[k].get(&s[i]);
            high = v > high ? v : high;
            if (v > 0 && (low <= 0 || v < low))
                low = v;
        }
    a = axis_for(c->scale, low, high);
    fprintf(to, "<figure class=\"card\"><figcaption><h2>%s</h2><p>%s</p></figcaption>\n", c->title, c->what);
    fprintf(to, "<svg class=\"chart\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n", W, H, c->title);
    draw_axes(to, &a, now);
    if (n > 1)
        for (unsigned k = 0; k < c->nseries; k++)
            if (c->series[k].area)
                draw_area(to, &c->series[k], &a, s, n);
    for (unsigned k = 0; n && k < c->nseries; k++)
        draw_line(to, c, &c->series[k], &a, s, n);
    if (!n || high <= 0)
        fprintf(to, "<text class=\"empty\" text-anchor=\"middle\" x=\"%.0f\" y=\"%.0f\">%s</text>\n",
                (LEFT + W - RIGHT) / 2, (TOP + H - BOTTOM) / 2,
                n ? "nothing in the last hour" : "the first point comes ten seconds after the start");
    fputs("</svg>\n", to);
    draw_legend(to, c, s, n);
    fputs("</figure>\n", to);
}

void chart_spark(FILE *to, const control_sample *s, unsigned n, double (*get)(const control_sample *s))
{
    double most = 0;
    for (unsigned i = 0; i < n; i++)
        most = get(&s[i]) > most ? get(&s[i]) : most;
    fputs("<svg class=\"spark\" viewBox=\"0 0 120 24\" preserveAspectRatio=\"none\" aria-hidden=\"true\">", to);
    fputs("<line class=\"grid\" x1=\"0\" x2=\"120\" y1=\"23.5\" y2=\"23.5\"/>", to);
    if (n > 1 && most > 0) {
        fputs("<path class=\"line s1\" d=\"", to);
        for (unsigned i = 0; i < n; i++)
            fprintf(to, "%s%.1f %.1f", i ? "L" : "M", 120 - 120.0 * (n - 1 - i) * METRICS_STEP / HOUR,
                    23 - 21 * get(&s[i]) / most);
        fputs("\"/>", to);
    }
    fputs("</svg>", to);
}
