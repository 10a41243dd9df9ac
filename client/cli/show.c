/* SPDX-License-Identifier: Apache-2.0
 * show: names for people: no byte of a name may steer their terminal.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/remote.h"

/* The length of the printable UTF-8 character at s, 0 if it is none. C1 controls, overlong forms, surrogates and the
 * marks that turn the direction of writing count as none. */
static unsigned printable(const unsigned char *s)
{
    uint32_t c;
    unsigned n;
    if (*s < 0x80)
        return *s >= 0x20 && *s != 0x7f;
    if (*s >= 0xc2 && *s <= 0xdf)
        n = 2, c = *s & 0x1fu;
    else if (*s >= 0xe0 && *s <= 0xef)
        n = 3, c = *s & 0x0fu;
    else if (*s >= 0xf0 && *s <= 0xf4)
        n = 4, c = *s & 0x07u;
    else
        return 0;
    for (unsigned i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < 0xa0 || (n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
        (c >= 0xd800 && c <= 0xdfff) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
        c == 0x2028 || c == 0x2029)
        return 0;
    return n;
}

char *show_escape(const char *name)
{
    const unsigned char *s = (const unsigned char *)name;
    char *out = need(malloc(strlen(name) * 4 + 1)), *to = out;
    while (*s) {
        unsigned n = printable(s);
        if (*s == '\\') {
            *to++ = '\\';
            *to++ = '\\';
            s++;
        } else if (n) {
            memcpy(to, s, n);
            to += n;
            s += n;
        } else if (*s == '\n' || *s == '\t' || *s == '\r') {
            *to++ = '\\';
            *to++ = *s == '\n' ? 'n' : *s == '\t' ? 't' : 'r';
            s++;
        } else {
            *to++ = '\\';
            *to++ = (char)('0' + (*s >> 6));
            *to++ = (char)('0' + (*s >> 3 & 7));
            *to++ = (char)('0' + (*s & 7));
            s++;
        }
    }
    *to = 0;
    return out;
}

void show_name(FILE *to, const char *name)
{
    char *text;
    if (!isatty(fileno(to))) {
        fputs(name, to);
        return;
    }
    text = show_escape(name);
    fputs(text, to);
    free(text);
}

int show_error(const char *what, const char *path, int err)
{
    char *text = show_escape(path);
    if (what)
        cli_fail("%s %s: %s", what, text, strerror(err < 0 ? -err : err));
    else
        cli_fail("%s: %s", text, strerror(err < 0 ? -err : err));
    free(text);
    return 1;
}
