/* SPDX-License-Identifier: Apache-2.0
 * text: see text.h.
 */
#include "server/web/text.h"

static const char *scaled(double n, double step, const char *const *units, char out[TEXT_MAX])
{
    int u = 0;
    while (n >= step * 0.9995 && units[u + 1]) {
        n /= step;
        u++;
    }
    if (!u)
        snprintf(out, TEXT_MAX, n < 9.95 && n != (double)(int)n ? "%.1f%s" : "%.0f%s", n, units[u]);
    else
        snprintf(out, TEXT_MAX, n < 9.995 ? "%.2f%s" : n < 99.95 ? "%.1f%s" : "%.0f%s", n, units[u]);
    return out;
}

const char *text_bytes(double n, char out[TEXT_MAX])
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB", NULL};
    return scaled(n, 1024, units, out);
}

const char *text_count(double n, char out[TEXT_MAX])
{
    static const char *const units[] = {"", " k", " M", " G", " T", NULL};
    return scaled(n, 1000, units, out);
}

const char *text_ms(double ms, char out[TEXT_MAX])
{
    if (ms < 0.9995)
        snprintf(out, TEXT_MAX, "%.0f µs", ms * 1000);
    else if (ms < 999.5)
        snprintf(out, TEXT_MAX, ms < 9.95 ? "%.1f ms" : "%.0f ms", ms);
    else
        snprintf(out, TEXT_MAX, ms < 9950 ? "%.1f s" : "%.0f s", ms / 1000);
    return out;
}

const char *text_span(uint64_t s, char out[TEXT_MAX])
{
    unsigned long long n = s;
    if (n >= 86400)
        snprintf(out, TEXT_MAX, "%llu d %llu h", n / 86400, n % 86400 / 3600);
    else if (n >= 3600)
        snprintf(out, TEXT_MAX, "%llu h %llu min", n / 3600, n % 3600 / 60);
    else if (n >= 60)
        snprintf(out, TEXT_MAX, "%llu min", n / 60);
    else
        snprintf(out, TEXT_MAX, "%llu s", n);
    return out;
}

void text_html(FILE *to, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '&':
            fputs("&amp;", to);
            break;
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        case '\'':
            fputs("&#39;", to);
            break;
        default:
            fputc((unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s, to);
        }
    }
}
