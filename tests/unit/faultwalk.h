/* SPDX-License-Identifier: Apache-2.0
 * faultwalk: plays stories in processes of their own, in each of which one passing of a fault point fails or is the
 * process's end, and looks afterwards at what is left.
 *
 *   W1 A story begins with a folder that was made once, without faults, and is copied for each run.
 *   W2 What happens in it is a list of steps. A step that returned was acknowledged: it must be there afterwards. The one
 *      under way may be there or not, but whole, and nothing else may have happened.
 *   W3 For each point that the story passes, its Nth passing fails, and is the end, for N = 1, 2, 3 ... up to as many as
 *      there are without a fault. (Counted by point: threads take turns as they like.) Where there are very many, some
 *      N are left out.
 *   W4 All points that the sources have are failed and crashed at by some run.
 *
 * FAULTWALK=STORY:POINT:N:fail or :crash makes that run alone; FAULTWALK=all (make faultwalk) leaves out
 * no N.
 */
#ifndef VOLNFS_TESTS_FAULTWALK_H
#define VOLNFS_TESTS_FAULTWALK_H

#include <stdbool.h>

struct fault_story {
    const char *name;
    /* Makes in dir, which is empty, what the story begins with. In a process that ends afterwards: nothing has to be
     * closed. */
    void (*prepare)(const struct fault_story *s, const char *dir);
    /* The steps; fault_step after each. Returns when all are done, or at the first that failed. */
    void (*play)(const struct fault_story *s, const char *dir);
    /* `acked` steps were acknowledged. done: the story went to its end, so no step is under way. */
    void (*verify)(const struct fault_story *s, const char *dir, unsigned acked, bool done);
    const void *arg;
    unsigned most; /* passings of a point up to which none is left out; 0: 3 */
    const char *own;   /* points whose names begin so have own_most instead; or NULL */
    unsigned own_most;
};

/* In play: a step is acknowledged; the story is at its end. */
void fault_step(void);
void fault_done(void);
/* In play: has the fault come? (Nothing has to be waited for then that it may have prevented.) */
bool fault_came(void);

/* Plays all of them; prints TAP. What main returns. */
int fault_walk(const struct fault_story *const *stories, unsigned n);

#endif
