/* SPDX-License-Identifier: Apache-2.0
 * log: formats one line and hands it to the kernel in one write, so that threads do not mix lines.
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define TEXT_MAX 1024
#define LINE_MAX_BYTES (6 * TEXT_MAX + 256) /* every byte escaped, and what is around it */

static int max_level = LOG_INFO; /* atomic, as the next two */
static unsigned topics_on;
static int as_json;
static char prog_name[32] = "volnfs";

void log_set_level(enum log_level level)
{
    __atomic_store_n(&max_level, (int)level, __ATOMIC_RELAXED);
    log_set_topics(level >= LOG_DEBUG ? LOG_ALL : 0);
}

enum log_level log_get_level(void)
{
    return (enum log_level)__atomic_load_n(&max_level, __ATOMIC_RELAXED);
}

void log_set_topics(unsigned topics)
{
    __atomic_store_n(&topics_on, topics, __ATOMIC_RELAXED);
}

unsigned log_get_topics(void)
{
    return __atomic_load_n(&topics_on, __ATOMIC_RELAXED);
}

void log_set_name(const char *name)
{
    snprintf(prog_name, sizeof(prog_name), "%s", name);
}

void log_set_json(bool json)
{
    __atomic_store_n(&as_json, (int)json, __ATOMIC_RELAXED);
}

/* C0 controls and DEL, and in UTF-8 the C1 controls (c2 80 to c2 9f). */
static int is_control(const unsigned char *s)
{
    return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0);
}

static size_t text_line(char *line, const char *level, const char *text)
{
    size_t at = (size_t)snprintf(line, LINE_MAX_BYTES, "%s: %s: ", prog_name, level);
    for (const unsigned char *s = (const unsigned char *)text; *s && at < TEXT_MAX - 5; s++) {
        if (is_control(s))
            at += (size_t)snprintf(line + at, 5, "\\x%02x", *s);
        else
            line[at++] = (char)*s;
    }
    return at;
}

/* The length of the UTF-8 character at s, 0 if it is none (RFC 3629). */
static size_t utf8_len(const unsigned char *s)
{
    static const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : (s[0] & 0xe0) == 0xc0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : (s[0] & 0xf8) == 0xf0 ? 4 : 0;
    unsigned long cp = len < 2 ? s[0] : s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (s[i] & 0x3f);
    }
    return len && cp >= least[len] && cp <= 0x10ffff && (cp < 0xd800 || cp > 0xdfff) ? len : 0;
}

static size_t json_line(char *line, const char *level, const char *topic, const char *text)
{
    struct timespec now = clock_wall();
    struct tm tm;
    char when[32] = "";
    size_t at;
    if (gmtime_r(&now.tv_sec, &tm))
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    at = (size_t)snprintf(line, LINE_MAX_BYTES, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"program\":\"%s\",%s%s%s"
                          "\"message\":\"", when, now.tv_nsec / 1000000, level, prog_name,
                          *topic ? "\"topic\":\"" : "", topic, *topic ? "\"," : "");
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t len = utf8_len(s);
        if (!len)
            at += (size_t)sprintf(line + at, "\\ufffd");
        else if (*s < 0x20 || *s == 0x7f)
            at += (size_t)sprintf(line + at, "\\u%04x", *s);
        else if (*s == '"' || *s == '\\')
            at += (size_t)sprintf(line + at, "\\%c", *s);
        else
            memcpy(line + at, s, len), at += len;
        s += len ? len : 1;
    }
    memcpy(line + at, "\"}", 2);
    return at + 2;
}

static void put(enum log_level level, const char *topic, const char *fmt, va_list ap)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char text[TEXT_MAX], line[LINE_MAX_BYTES];
    int saved = errno;
    size_t at;

    if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
        text[0] = 0;
    if (__atomic_load_n(&as_json, __ATOMIC_RELAXED))
        at = json_line(line, names[level & 3], topic, text);
    else
        at = text_line(line, names[level & 3], text);
    line[at++] = '\n';
    if (write(STDERR_FILENO, line, at) < 0) {
        /* nowhere left to say so */
    }
    errno = saved;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    va_list ap;
    if (level > log_get_level())
        return;
    va_start(ap, fmt);
    put(level, "", fmt, ap);
    va_end(ap);
}

void log_topic_msg(enum log_topic topic, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put(LOG_DEBUG, topic == LOG_RPC ? "rpc" : topic == LOG_OPS ? "ops" : topic == LOG_STATE ? "state" : "store", fmt,
        ap);
    va_end(ap);
}
