/* SPDX-License-Identifier: Apache-2.0
 * cbaddr: universal addresses of 4.0 clients: "192.0.2.1.3.233" is port 3 * 256 + 233.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "server/nfs4/callback.h"

/* Takes ".NUMBER" of 0..255 from the end of text; -1: there is none. */
static int take_byte(char *text)
{
    char *dot = strrchr(text, '.');
    int n = 0;

    if (!dot || !dot[1] || strlen(dot + 1) > 3 || strspn(dot + 1, "0123456789") != strlen(dot + 1))
        return -1;
    for (const char *p = dot + 1; *p; p++)
        n = n * 10 + (*p - '0');
    *dot = 0;
    return n < 256 ? n : -1;
}

/* The IPv4 address in a, also in its IPv6 form; false: it is none. */
static bool as_v4(const struct sockaddr_storage *a, struct in_addr *out)
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)a;

    if (a->ss_family == AF_INET) {
        *out = ((const struct sockaddr_in *)a)->sin_addr;
        return true;
    }
    if (a->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        return false;
    memcpy(out, (const char *)&six->sin6_addr + 12, 4);
    return true;
}

bool callback_address(const char *netid, size_t netid_len, const char *addr, size_t addr_len,
                      const struct sockaddr_storage *peer, struct sockaddr_storage *out)
{
    bool v4 = netid_len == 3 && !memcmp(netid, "tcp", 3);
    bool v6 = netid_len == 4 && !memcmp(netid, "tcp6", 4);
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
    struct sockaddr_in *four = (struct sockaddr_in *)out;
    struct in_addr mine;
    char text[80];
    int low, high;

    memset(out, 0, sizeof *out);
    out->ss_family = AF_UNSPEC;
    if (!(v4 || v6) || !addr_len || addr_len >= sizeof text || memchr(addr, 0, addr_len))
        return false;
    memcpy(text, addr, addr_len);
    text[addr_len] = 0;
    low = take_byte(text);
    high = take_byte(text);
    if (low < 0 || high < 0 || !(high | low))
        return false;
    if (v4) {
        struct in_addr a;

        if (inet_pton(AF_INET, text, &a) != 1 || !as_v4(peer, &mine) || a.s_addr != mine.s_addr)
            return false;
        four->sin_addr = a;
        four->sin_port = htons((uint16_t)(high << 8 | low));
        out->ss_family = AF_INET;
    } else {
        const struct sockaddr_in6 *from = (const struct sockaddr_in6 *)peer;
        struct in6_addr a;

        if (inet_pton(AF_INET6, text, &a) != 1 || peer->ss_family != AF_INET6 ||
            memcmp(&a, &from->sin6_addr, sizeof a) != 0)
            return false;
        six->sin6_addr = a;
        six->sin6_scope_id = from->sin6_scope_id;
        six->sin6_port = htons((uint16_t)(high << 8 | low));
        out->ss_family = AF_INET6;
    }
    return true;
}
