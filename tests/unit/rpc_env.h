/* SPDX-License-Identifier: Apache-2.0
 * rpc_env: what the tests of librpc have in common: a small program over real sockets, a server of it for each test,
 * and a client that sends what it is told to.
 */
#ifndef VOLNFS_TESTS_UNIT_RPC_ENV_H
#define VOLNFS_TESTS_UNIT_RPC_ENV_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/rpc/rpcserver.h"

#define LOAD(v) __atomic_load_n(&(v), __ATOMIC_SEQ_CST)
#define INC(v)  __atomic_add_fetch(&(v), 1, __ATOMIC_SEQ_CST)

/* --- the program --- */

/* Its procedures:
 *   P_NULL      nothing
 *   P_ECHO      opaque data (xdata), returned
 *   P_BLOCK     a word, returned by a worker
 *   P_PARK      parks the request in `parked`
 *   P_REF       a word n: n bytes of `big` by reference
 *   P_DROP      drops the request
 *   P_CALLBACK  a word: calls the client back with xid 77 and so many ms of time; the outcome is in call_*
 *   P_GATE      a worker waits for gate_open, then returns `big` by reference
 *   P_IDS       the ids of the peer, if it has any
 *   P_PARK_NOW  parks and completes at once
 *   P_LATE      runs late; whether all were */
#define PROG 0x20000001u
enum { P_NULL, P_ECHO, P_BLOCK, P_PARK, P_REF, P_DROP, P_CALLBACK, P_GATE, P_IDS, P_PARK_NOW, P_LATE };
extern const struct oncrpc_program program;

extern int dispatched, finished, refs_made, refs_released, conns_closed; /* atomic; since the test began */
extern char big[1048576];

/* Under lock; cond tells of changes. */
extern pthread_mutex_t lock;
extern pthread_cond_t cond;
extern struct request *parked[512];
extern int nparked, gate_open, call_result, call_done;
extern char call_reply[64]; /* the begin of the last answer to a callback */

/* What was taken for the last P_CALLBACK. teardown gives it back. */
extern struct conn_ref *kept_ref;
/* For conn_call: notes the outcome in call_*. */
void on_reply(void *arg, int err, const void *reply, size_t len);
/* Completes all parked requests with their xids; if *(int *)drop, drops every second one. Returns NULL: may be a thread. */
void *complete_parked(void *drop);

/* --- the server --- */

extern struct rpcserver *server;
extern int port;
extern char sock_path[108]; /* it listens there, too */

int setup_conf(const struct rpcserver_conf *conf);
int setup(void **state);
/* One loop, low limits: 8 requests of a connection, 1 MiB to be sent, 20 connections. */
int setup_small(void **state);
/* Whatever a test did: each request was finished once and each reference released once. */
int teardown(void **state);

/* Waits up to a minute for an atomic counter, for any value of it but 0, for one under lock. */
void wait_for(const int *v, int value);
void wait_some(const int *v);
void wait_locked(const int *v, int value);

/* --- the client --- */

/* A connection over TCP that waits no longer than a minute for anything. */
int dial(void);
void send_all(int fd, const void *p, size_t n);
/* The server hung up, rather than answering or waiting. Closes fd. */
void assert_closed(int fd);
/* A call with its record mark into buf (of 44 + n bytes); the size of it. */
size_t make_call(void *buf, uint32_t xid, uint32_t proc, const void *args, size_t n);
/* false: the server hung up. */
bool try_call(int fd, uint32_t xid, uint32_t proc, const void *args, size_t n);
/* Must succeed. */
void call(int fd, uint32_t xid, uint32_t proc, const void *args, size_t n);
/* A reply's words in host order: xid, 1, 0, 0, 0, accept_stat, results. Returns its bytes; 0: the
 * server hung up. */
size_t reply(int fd, uint32_t *w, size_t max);
void expect(int fd, uint32_t xid, uint32_t accept_stat);

#endif
