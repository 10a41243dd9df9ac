/* SPDX-License-Identifier: Apache-2.0
 * control_impl: what the files of server/control share. Procedures come in tables, one a file; control.c finds the
 * row, decodes its arguments, asks whether the caller may, and runs it.
 */
#ifndef VOLNFS_CONTROL_CONTROL_IMPL_H
#define VOLNFS_CONTROL_CONTROL_IMPL_H

#include "proto/control_gen.h"
#include "server/control/control.h"

#define CONTROL_REPLY_MAX (64u << 20) /* CONTROL_LIST_MAX volumes with long names fit */
#define CONTROL_ARGS_MAX  512u        /* bytes of decoded arguments */

struct proc_call {
    struct control *c;
    XDR *out;
    char text[CONTROL_TEXT_MAX + 1]; /* say() puts its text here */
};

struct control_proc {
    uint32_t number;
    bool anybody; /* may call it, not only administrators */
    bool blocks;  /* runs in a worker, where it may wait for a disk */
    /* Gets decoded arguments and encodes its result; false: it did not fit. NULL: the end of a table. */
    bool (*run)(struct proc_call *pc, void *args);
    xdrproc_t args; /* NULL: none */
    size_t args_size;
    /* Encodes a result that is only this refusal; NULL: as a control_result. */
    bool (*refuse)(struct proc_call *pc, control_result *r);
};
#define CONTROL_ARGS(type) (xdrproc_t)xdr_##type, sizeof(type)

extern const struct control_proc control_status_procs[];
extern const struct control_proc control_snap_procs[];
extern const struct control_proc control_grant_procs[];
extern const struct control_proc control_store_procs[];
extern const struct control_proc control_dump_procs[];

/* Fills r; its text is in buf (CONTROL_TEXT_MAX + 1 bytes). */
void say(control_result *r, char *buf, int err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* What an errno means for a volume, for people. */
void say_error(control_result *r, char *buf, int err, const char *name);
void props_to_wire(const struct volume_props *p, control_props *out);
/* Fills v, whose name the caller frees. -ENOMEM. */
int volume_to_wire(const struct vfs_volume_info *info, control_volume *v);

/* All grants, without secrets; *out and its texts are malloc's. -ENOMEM: *out is what there is of them, and *n. */
int grants_to_wire(struct control *c, control_grant **out, u_int *n);

#endif
