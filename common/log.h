/* SPDX-License-Identifier: Apache-2.0
 * log: messages for the operator, on stderr, one line each.
 *
 * Levels: error (something is lost or refused that should not be), warn (works, but look), info
 * (start, stop, volumes created), debug (anything a client can trigger at will; off by default, and by topics).
 * Safe from any thread. A message is at most 1 KiB and control characters in it are escaped, so that a
 * file name from the network cannot forge a line.
 */
#ifndef VOLNFS_COMMON_LOG_H
#define VOLNFS_COMMON_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
/* What debug messages are about. */
enum log_topic { LOG_RPC = 1, LOG_OPS = 2, LOG_STATE = 4, LOG_STORE = 8, LOG_ALL = 15 };

/* The most verbose level that is printed; LOG_INFO at start. LOG_DEBUG turns all topics on, others turn them off. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* The topics whose debug messages are printed: LOG_RPC | ... */
void log_set_topics(unsigned topics);
unsigned log_get_topics(void);

/* The name in front of messages, copied (31 bytes of it); default "volnfs". Before other threads begin. */
void log_set_name(const char *name);
/* Lines are "volnfsd: LEVEL: message\n" or objects of JSON with time, level, program, topic (of debug messages) and
 * message. */
void log_set_json(bool json);
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_topic_msg(enum log_topic topic, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(topic, ...)                                                                      \
    do {                                                                                           \
        if (log_get_topics() & (topic))                                                            \
            log_topic_msg(topic, __VA_ARGS__);                                                     \
    } while (0)

#endif
