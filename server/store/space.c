/* SPDX-License-Identifier: Apache-2.0
 * space: the room on the store's disk (see space.h).
 */
#include "server/store/space.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/log.h"
#include "server/store/volume_int.h"

#define LOW_MOST (UINT64_C(1) << 30)

int space_read(const char *dir, struct space *out)
{
    struct statvfs st;

    memset(out, 0, sizeof(*out));
    if (statvfs(dir, &st) < 0)
        return -errno;
    out->size = (uint64_t)st.f_blocks * st.f_frsize;
    out->free = (uint64_t)st.f_bavail * st.f_frsize;
    out->reserve = vol_reserve(out->size);
    return 0;
}

uint64_t space_low(const struct space *s)
{
    uint64_t low = s->size / 20 < LOW_MOST ? s->size / 20 : LOW_MOST, least = s->reserve + s->reserve / 2;

    return low > least ? low : least;
}

bool space_watch_step(struct space_watch *w, const struct space *now, uint64_t pending, uint64_t refused)
{
    enum space_state was = w->state;
    uint64_t low = space_low(now);
    bool again = refused != w->refused;

    w->refused = refused;
    if (again && now->free < low + pending)
        w->state = SPACE_FULL;
    else if (w->state == SPACE_ROOM && now->free < low)
        w->state = SPACE_LOW;
    w->calm = again || now->free < low + low / 4 ? 0 : w->calm + 1;
    if (w->calm >= SPACE_CALM)
        w->state = SPACE_ROOM;
    return w->state != was;
}

/* As the volnfs command shows sizes. */
static const char *size_text(uint64_t bytes, char out[16])
{
    static const char units[] = "MGTPE";
    double n = (double)bytes / (1 << 20);
    unsigned unit = 0;

    while (n >= 999.5 && units[unit + 1]) {
        n /= 1024;
        unit++;
    }
    snprintf(out, 16, n < 9.95 ? "%.1f%c" : "%.0f%c", n, units[unit]);
    return out;
}

void space_watch_log(const struct space_watch *w, const struct space *now, const char *store)
{
    char a[16], b[16], c[16];

    size_text(now->free, a);
    size_text(now->size, b);
    size_text(now->reserve, c);
    switch (w->state) {
    case SPACE_ROOM:
        log_info("store %s: there is room again: %s of %s are free", store, a, b);
        break;
    case SPACE_LOW:
        log_warn("store %s: its disk is filling up: %s of %s are free, and with less than %s writes are refused; remove files, "
                 "old snapshots or volumes, or give it a larger disk", store, a, b, c);
        break;
    case SPACE_FULL:
        log_error("store %s: its disk is full: %s of %s are free, and clients' writes are refused; remove files, old snapshots "
                  "or volumes, or give it a larger disk", store, a, b);
        break;
    }
}
