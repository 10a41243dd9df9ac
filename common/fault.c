/* SPDX-License-Identifier: Apache-2.0
 * fault: counts passings of named points and fails the chosen one.
 */
#include "common/fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fault_armed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char armed_name[64]; /* these five: under lock */
static void (*watcher)(const char *name, int hit);
static unsigned armed_nth, passed;
static enum fault_mode armed_mode;

int fault_hit(const char *name)
{
    int err = 0;

    pthread_mutex_lock(&lock);
    if (fault_armed && (!armed_name[0] || strcmp(armed_name, name) == 0)) {
        int hit = ++passed == armed_nth;
        if (watcher)
            watcher(name, hit);
        if (hit && armed_mode == FAULT_CRASH)
            _exit(99);
        err = hit ? -EIO : 0;
    }
    pthread_mutex_unlock(&lock);
    return err;
}

void fault_arm(const char *name, unsigned nth, enum fault_mode mode)
{
    pthread_mutex_lock(&lock);
    snprintf(armed_name, sizeof(armed_name), "%s", name);
    armed_nth = nth;
    armed_mode = mode;
    passed = 0;
    __atomic_store_n(&fault_armed, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&lock);
}

void fault_watch(void (*seen)(const char *name, int hit))
{
    pthread_mutex_lock(&lock);
    watcher = seen;
    pthread_mutex_unlock(&lock);
}

unsigned fault_disarm(void)
{
    unsigned n;

    pthread_mutex_lock(&lock);
    n = passed;
    passed = 0;
    __atomic_store_n(&fault_armed, 0, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&lock);
    return n;
}

int fault_arm_text(const char *text)
{
    const char *colon = strchr(text, ':');
    enum fault_mode mode = FAULT_FAIL;
    char name[sizeof(armed_name)] = "", *end;
    unsigned long n;

    if (!colon || (size_t)(colon - text) >= sizeof(name) || colon[1] < '0' || colon[1] > '9')
        return -EINVAL;
    memcpy(name, text, (size_t)(colon - text));
    errno = 0;
    n = strtoul(colon + 1, &end, 10);
    if (errno || n == 0 || n > 1000000000ul)
        return -EINVAL;
    if (strcmp(end, ":crash") == 0)
        mode = FAULT_CRASH;
    else if (*end)
        return -EINVAL;
    fault_arm(name, (unsigned)n, mode);
    return 0;
}
