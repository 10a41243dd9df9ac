/* SPDX-License-Identifier: Apache-2.0
 * log: messages for the operator, on stderr, one line each.
 *
 * Levels: error (something is lost or refused that should not be), warn (works, but look), info
 * (start, stop, volumes created), debug (anything a client can trigger at will; off by default).
 * Safe from any thread. A line is at most 1 KiB and control characters in it are escaped, so that a
 * file name from the network cannot forge a line.
 */
#ifndef VOLNFS_COMMON_LOG_H
#define VOLNFS_COMMON_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The most verbose level that is printed; LOG_INFO at start. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* Prints "volnfsd: LEVEL: message\n" (the name is set by log_set_name, default "volnfs"). */
void log_set_name(const char *name);
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_get_level() >= LOG_DEBUG)                                                          \
            log_msg(LOG_DEBUG, __VA_ARGS__);                                                       \
    } while (0)

#endif
