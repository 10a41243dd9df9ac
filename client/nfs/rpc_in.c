/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a stream become replies. */
#include "client/nfs/rpc_in.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "client/nfs/heap.h"
#include "client/nfs/sys.h"

#define IN_VERF_MAX 400 /* RFC 5531, 8.2 */
#define IN_WHOLE_MS 200
#define IN_PAGE 4096ul
#define IN_LAST 0x80000000u

static uint32_t in_word(const uint8_t *buf, int i)
{
    uint32_t word;

    memcpy(&word, buf + 4 * i, 4);
    return ntohl(word);
}

/* Record mark, xid, REPLY, accepted or denied; then flavor and length of the verifier of an accepted one, and its
 * status. Returns where that ends, or 0. */
static size_t in_head(const uint8_t *msg, size_t size)
{
    uint32_t verf;

    if (size < 24 || in_word(msg, 2) != 1 || in_word(msg, 3) > 1)
        return 0;
    if (in_word(msg, 3) == 1)
        return 24;
    verf = in_word(msg, 5);
    if (verf > IN_VERF_MAX || 24 + ((verf + 3) & ~3u) + 4 > size)
        return 0;
    return 24 + ((verf + 3) & ~3u) + 4;
}

void rpc_in_expect(struct rpc_in *in, struct rpc_call *call)
{
    call->placed = 0; /* a reply that broke off counts no more */
    call->next = in->calls;
    in->calls = call;
}

void rpc_in_forget(struct rpc_in *in, const struct rpc_call *call)
{
    struct rpc_call **at = &in->calls;

    while (*at != NULL && *at != call)
        at = &(*at)->next;
    if (*at != NULL)
        *at = call->next;
    if (in->call == call) { /* gone before its reply was here: that has no place any more */
        in->call = NULL;
        in->left = 0;
    }
}

void rpc_in_reset(struct rpc_in *in)
{
    struct rpc_call *calls = in->calls;

    heap_free(in->msg);
    memset(in, 0, sizeof(*in));
    in->calls = calls;
}

int rpc_in_before_poll(struct rpc_in *in, int fd, int ms)
{
    size_t low = in->left > 0 && !in->slow ? in->left : 1;
    int value = (int)low; /* RPC_MESSAGE_MAX at most */

    if (low != (in->low > 0 ? in->low : 1) &&
        sys5(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof(value)) == 0)
        in->low = low;
    return in->low > 1 && ms > IN_WHOLE_MS ? IN_WHOLE_MS : ms;
}

void rpc_in_after_poll(struct rpc_in *in, int n, struct pollfd *p)
{
    if (n != 0 || in->low <= 1)
        return;
    in->slow = true;
    p->revents = POLLIN;
}

/* Has the bytes of a message of `size`, mark included, received where its call wants them. */
static bool in_place(struct rpc_in *in, const uint8_t *msg, size_t size)
{
    size_t head = in_head(msg, RPC_IN_LOOK), before, run = 0;
    struct rpc_call *call = in->calls;
    uint8_t *to = NULL;

    if (head == 0 || in_word(msg, 3) != 0 || in_word(msg + head - 4, 0) != 0)
        return false;
    while (call != NULL && call->xid != in_word(msg, 1))
        call = call->next;
    if (call == NULL)
        return false;
    before = head + call->place(call, msg + head, RPC_IN_LOOK - head, size - head, &to, &run);
    if (before == head || before > RPC_IN_LOOK || run == 0 || before + run + (-run & 3) != size)
        return false;
    memcpy(in->look, msg, before);
    in->nlook = before;
    in->call = call;
    call->placed = run;
    in->to = to;
    in->left = run;
    in->fill = -run & 3;
    in->start += before;
    return true;
}

/* A record begins in buf. 1: go on; 0: more must arrive; -1: nonsense. */
static int in_begin(struct rpc_in *in, int (*deliver)(void *arg, uint8_t *msg, size_t size), void *arg)
{
    uint8_t *at = in->buf + in->start, *msg;
    size_t have = in->end - in->start, size, old = in->msg != NULL ? in->size : 4;
    bool last;

    if (have < 4)
        return 0;
    last = (in_word(at, 0) & IN_LAST) != 0;
    size = in_word(at, 0) & ~IN_LAST;
    if (size > RPC_MESSAGE_MAX + 4 - old)
        return -1;
    if (in->msg == NULL && last && size + 4 <= RPC_IN_BUF) {
        if (have < size + 4)
            return 0;
        in->start += size + 4;
        return in_head(at, size + 4) == 0 || deliver(arg, at, size + 4) < 0 ? -1 : 1;
    }
    if (in->msg == NULL && last) {
        if (have < RPC_IN_LOOK)
            return 0;
        if (in_place(in, at, size + 4))
            return 1;
    }
    msg = heap_realloc(in->msg, old + size);
    if (msg == NULL)
        return -1;
    in->msg = msg;
    in->size = old + size;
    in->more = !last;
    in->to = msg + old;
    in->left = size;
    in->start += 4;
    return 1;
}

/* The message under way is complete. */
static int in_end(struct rpc_in *in, int (*deliver)(void *arg, uint8_t *msg, size_t size), void *arg)
{
    const uint32_t mark = htonl(IN_LAST | (uint32_t)(in->size - 4));
    uint8_t *msg = in->msg;
    int ret;

    if (in->call != NULL) {
        in->call = NULL;
        return deliver(arg, in->look, in->nlook);
    }
    in->msg = NULL;
    memcpy(msg, &mark, 4);
    ret = in_head(msg, in->size) == 0 ? -1 : deliver(arg, msg, in->size);
    heap_free(msg);
    return ret;
}

/* Uses what is in buf. 1: there may be more in it; 0: more must arrive; -1: nonsense. *ended: a long message did. */
static int in_step(struct rpc_in *in, int (*deliver)(void *arg, uint8_t *msg, size_t size), void *arg, bool *ended)
{
    size_t have = in->end - in->start, part = have < in->left ? have : in->left;

    if (part > 0) {
        memcpy(in->to, in->buf + in->start, part);
        in->to += part;
        in->left -= part;
        in->start += part;
    }
    if (in->left > 0)
        return 0;
    part = have - part < in->fill ? have - part : in->fill;
    in->fill -= part;
    in->start += part;
    if (in->fill > 0)
        return 0;
    if (in->call == NULL && (in->msg == NULL || in->more))
        return in_begin(in, deliver, arg);
    *ended = true;
    return in_end(in, deliver, arg) < 0 ? -1 : 1;
}

/* Memory of the program that is not there yet: whoever fills it on a fault does so now, or it is the program's fault. */
static void in_touch(uint8_t *at, size_t size)
{
    uint8_t *end = at + size;

    for (; at < end; at = (uint8_t *)(((uintptr_t)at | (IN_PAGE - 1)) + 1))
        __asm__ volatile("lock orb $0, %0" : "+m"(*at) : : "memory", "cc");
}

/* What recvmsg returns; *full: there was not more room for it. */
static long in_receive(struct rpc_in *in, int fd, bool *full)
{
    struct iovec iov[2] = {{in->to, in->left}, {in->buf, RPC_IN_BUF}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    size_t part;
    long n;

    if (in->left == 0) {
        memmove(in->buf, in->buf + in->start, in->end - in->start);
        in->end -= in->start;
        in->start = 0;
        msg.msg_iov = &iov[1];
        msg.msg_iovlen = 1;
        iov[1] = (struct iovec){in->buf + in->end, RPC_IN_BUF - in->end};
    }
    n = sys3(SYS_recvmsg, fd, &msg, MSG_DONTWAIT);
    if (n == -EFAULT && in->left > 0) {
        in_touch(in->to, in->left);
        n = sys3(SYS_recvmsg, fd, &msg, MSG_DONTWAIT);
    }
    if (n <= 0)
        return n;
    *full = (size_t)n == in->left + iov[1].iov_len;
    part = (size_t)n < in->left ? (size_t)n : in->left;
    if (part > 0) {
        in->to += part;
        in->left -= part;
        in->start = in->end = 0;
    }
    in->end += (size_t)n - part;
    return n;
}

int rpc_in_serve(struct rpc_in *in, int fd, int (*deliver)(void *arg, uint8_t *msg, size_t size), void *arg)
{
    bool full = true, ended = false;

    while (full && !ended) {
        long n = in_receive(in, fd, &full);
        int more;

        if (n == -EAGAIN || n == -EINTR)
            return 0;
        if (n <= 0)
            return -1;
        do
            more = in_step(in, deliver, arg, &ended);
        while (more > 0);
        if (more < 0)
            return -1;
    }
    return 0;
}
