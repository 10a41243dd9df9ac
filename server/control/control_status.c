/* SPDX-License-Identifier: Apache-2.0
 * control_status: what volnfs status and volnfs top ask for.
 */
#include <rpc/rpc.h>
#include <string.h>

#include "server/control/control_impl.h"
#include "server/control/report.h"

static bool put_refusal(struct proc_call *pc, control_result *r)
{
    char none[] = "";
    control_status s = {.result = *r, .info = {.release = none, .store = none, .listen = none}};
    return xdr_control_status(pc->out, &s);
}

static bool do_status(struct proc_call *pc, void *args)
{
    const control_status_args *a = args;
    control_status s;
    control_result r;
    int err = report_collect(pc->c, a->with, &s);
    bool ok;
    if (err) {
        say(&r, pc->text, err, "the status cannot be told: %s", strerror(-err));
        return put_refusal(pc, &r);
    }
    ok = xdr_control_status(pc->out, &s);
    report_release(&s);
    return ok;
}

const struct control_proc control_status_procs[] = {
    {CONTROL_STATUS, false, true, do_status, CONTROL_ARGS(control_status_args), put_refusal},
    {0},
};
