/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to an NFSv4.0 server for load generators: raw compounds in, raw compounds out.
 *
 * What a compound holds is encoded and decoded by libnfs; the socket is ours, because a load generator shares the
 * machine with what it measures, and libnfs makes a send for every call and two receives for every reply. Here the
 * calls that were made since the last look at the socket leave together, and all that has come is taken at once.
 * Single-threaded; not for servers that are not trusted: a broken reply ends the program.
 */
#ifndef TESTS_BENCH_WIRE_H
#define TESTS_BENCH_WIRE_H

#include <stdint.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-nfs4.h>

struct wire;

/* Gets a call's result, which is gone when it returns. It may make further calls. */
typedef void (*wire_reply)(void *arg, COMPOUND4res *res);

/* Connects over TCP, as uid and gid of this process. Never NULL: what fails ends the program with a message. */
struct wire *wire_connect(const char *host, int port);
void wire_close(struct wire *w);

/* Makes a call; it leaves with the next wire_wait. args may change afterwards. At most WIRE_CALLS wait at a time. */
#define WIRE_CALLS 128
void wire_call(struct wire *w, COMPOUND4args *args, wire_reply reply, void *arg);

/* Sends what is to be sent, waits until replies have come, and passes on each that is whole. Nothing for 10 s ends the program. */
void wire_wait(struct wire *w);

/* Ends the program with status 1 and a message. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
