/* SPDX-License-Identifier: Apache-2.0
 * order: the tables of a report, sorted (see order.h).
 */
#include "proto/order.h"

#include <stdlib.h>
#include <string.h>

static int busier(const void *a, const void *b)
{
    const control_vstatus *x = *(control_vstatus *const *)a, *y = *(control_vstatus *const *)b;
    if (x->traffic.ops_rate != y->traffic.ops_rate)
        return x->traffic.ops_rate < y->traffic.ops_rate ? 1 : -1;
    return strcmp(x->volume.name, y->volume.name);
}

const control_vstatus **order_volumes(const control_status *s)
{
    u_int n = s->volumes.volumes_len;
    const control_vstatus **order = calloc(n + 1u, sizeof(*order));
    if (!order)
        return NULL;
    for (u_int i = 0; i < n; i++)
        order[i] = &s->volumes.volumes_val[i];
    qsort(order, n, sizeof(*order), busier);
    return order;
}

static int talkative(const void *a, const void *b)
{
    const control_client *x = *(control_client *const *)a, *y = *(control_client *const *)b;
    if (x->requests != y->requests)
        return x->requests < y->requests ? 1 : -1;
    return strcmp(x->name, y->name);
}

const control_client **order_clients(const control_status *s)
{
    u_int n = s->client_list.client_list_len;
    const control_client **order = calloc(n + 1u, sizeof(*order));
    if (!order)
        return NULL;
    for (u_int i = 0; i < n; i++)
        order[i] = &s->client_list.client_list_val[i];
    qsort(order, n, sizeof(*order), talkative);
    return order;
}
