/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that does not answer is spoken of once in a run, not by every process: those that wait write down in the
 * run's record since when, and the launcher, which looks once a second, says it. Where there is no launcher the first process says
 * it, with VOLNFS_DEBUG: the stderr of a program is its own.
 *
 * A process counts from the latest of: its call went out, something else came from the server, another process of the
 * run had its answer. So nobody who is the last to connect again takes the same outage for another.
 */
#include "client/shim/shim.h"

void silent_hook(uint64_t since)
{
    struct run *run = shim.run;
    uint64_t now = sys_now_ms(), back = __atomic_load_n(&run->back_ms, __ATOMIC_RELAXED);

    if (since == 0) {
        __atomic_store_n(&run->back_ms, now, __ATOMIC_RELAXED);
        if (__atomic_exchange_n(&run->away, 0, __ATOMIC_RELAXED) && !shim.quiet)
            shim_say("the server (%s, port %u) answers again", shim.host, shim.port);
        return;
    }
    if (now - (since > back ? since : back) < SILENT_MS)
        return;
    __atomic_store_n(&run->away_ms, now, __ATOMIC_RELAXED);
    if (shim.own_run && __atomic_exchange_n(&run->away, 1, __ATOMIC_RELAXED) == 0 && !shim.quiet)
        shim_say("the server (%s, port %u) does not answer; waiting for it", shim.host, shim.port);
}
