/* SPDX-License-Identifier: Apache-2.0
 * log: formats one line and hands it to the kernel in one write, so that threads do not mix lines.
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static int max_level = LOG_INFO; /* atomic */
static char prog_name[32] = "volnfs";

void log_set_level(enum log_level level)
{
    __atomic_store_n(&max_level, (int)level, __ATOMIC_RELAXED);
}

enum log_level log_get_level(void)
{
    return (enum log_level)__atomic_load_n(&max_level, __ATOMIC_RELAXED);
}

void log_set_name(const char *name)
{
    snprintf(prog_name, sizeof(prog_name), "%s", name);
}

/* C0 controls and DEL, and in UTF-8 the C1 controls (c2 80 to c2 9f). */
static int is_control(const unsigned char *s)
{
    return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    int saved = errno;
    size_t at;
    va_list ap;

    if (level > log_get_level())
        return;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
        text[0] = 0;
    va_end(ap);
    at = (size_t)snprintf(line, sizeof(line), "%s: %s: ", prog_name, names[level & 3]);
    for (const unsigned char *s = (const unsigned char *)text; *s && at < sizeof(line) - 5; s++) {
        if (is_control(s))
            at += (size_t)snprintf(line + at, 5, "\\x%02x", *s);
        else
            line[at++] = (char)*s;
    }
    line[at++] = '\n';
    if (write(STDERR_FILENO, line, at) < 0) {
        /* nowhere left to say so */
    }
    errno = saved;
}
