/* SPDX-License-Identifier: Apache-2.0
 * webpages: the status page and the metrics from made-up reports: hostile names, nothing at all, huge numbers.
 * With VOLNFS_PAGE=DIR in the environment a page of a busy hour and its style sheet are left there, to be looked at.
 */
#include "server/web/pages.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "server/web/text.h"

static char *text_of(void (*page)(FILE *to, const control_status *s), const control_status *s)
{
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    assert_non_null(to);
    page(to, s);
    fclose(to);
    assert_int_equal(strlen(text), len);
    return text;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    while ((text = strstr(text, what))) {
        n++;
        text += strlen(what);
    }
    return n;
}

static void fill_names(control_status *s)
{
    s->info.release = (char *)"0.1.0";
    s->info.store = (char *)"/srv/<volumes>";
    s->info.listen = (char *)"127.0.0.1:2049";
    s->now = 1790000000;
}

/* Every tag that is opened is closed, and no number is one that cannot be drawn. */
static void check_page(const char *page)
{
    static const char *const tags[] = {"table", "tr", "section", "figure", "svg", "div", "ul", "dl", "main", "body", "html"};
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        char open[16], open2[16], end[16];
        snprintf(open, sizeof(open), "<%s>", tags[i]);
        snprintf(open2, sizeof(open2), "<%s ", tags[i]);
        snprintf(end, sizeof(end), "</%s>", tags[i]);
        assert_int_equal(count(page, open) + count(page, open2), count(page, end));
    }
    assert_null(strstr(page, "nan"));
    assert_null(strstr(page, "inf\""));
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "style=\""));
    assert_null(strstr(page, "http://"));
    assert_null(strstr(page, "https://"));
}

static void test_empty(void **state)
{
    control_status s = {0};
    char *page;
    fill_names(&s);
    page = text_of(pages_status, &s);
    check_page(page);
    assert_non_null(strstr(page, "There are no volumes yet"));
    assert_non_null(strstr(page, "No client"));
    assert_int_equal(count(page, "the first point comes"), 3);
    assert_non_null(strstr(page, "/srv/&lt;volumes&gt;"));
    free(page);
    page = text_of(pages_metrics, &s);
    assert_int_equal(count(page, "# HELP "), count(page, "# TYPE "));
    assert_int_equal(count(page, "\nvolnfs_uptime_seconds 0\n"), 1);
    free(page);
}

static void test_hostile_names(void **state)
{
    control_client c = {.name = (char *)"<script>alert(\"1\")&'\n\x1b", .principal = (char *)"p",
                        .address = (char *)"10.0.0.1"};
    control_vstatus v = {.volume = {.name = (char *)"a/\\\"<b>\n"}};
    control_gstatus g = {.grant = {.id = 7, .subject = (char *)"10.0.0.0/8", .object = (char *)"a/b/<i>\"\\",
                                   .label = (char *)"<x>", .expires = 1, .squash = 2}};
    control_status s = {.client_list = {1, &c}, .volumes = {1, &v}, .grants = {1, &g}};
    char *page;
    fill_names(&s);
    page = text_of(pages_status, &s);
    check_page(page);
    assert_non_null(strstr(page, "a/b/&lt;i&gt;"));
    assert_non_null(strstr(page, ">over<"));
    assert_non_null(strstr(page, "&lt;script&gt;alert(&quot;1&quot;)&amp;&#39;??"));
    free(page);
    page = text_of(pages_metrics, &s);
    assert_non_null(strstr(page, "\nvolnfs_grant_operations_total{grant=\"7\",subject=\"10.0.0.0/8\",object=\"a/b/<i>\\\"\\\\\",} 0\n"));
    assert_non_null(strstr(page, "\nvolnfs_volume_files{volume=\"a/\\\\\\\"<b>\\n\"} 0\n"));
    free(page);
}

static control_sample busy[CONTROL_SAMPLES_MAX];
static control_vstatus volumes[7];
static control_client clients[3];
static control_gstatus grants[2];
static control_op ops[] = {
    {(char *)"SEQUENCE", 1893112, 0}, {(char *)"PUTFH", 1810440, 3}, {(char *)"WRITE", 731201, 12},
    {(char *)"READ", 654120, 0},      {(char *)"GETATTR", 502511, 1}, {(char *)"LOOKUP", 201772, 4401},
    {(char *)"OPEN", 101022, 812},    {(char *)"CLOSE", 100211, 0},  {(char *)"READDIR", 9120, 0},
};
static control_op errors[] = {{(char *)"NOENT", 4401, 0}, {(char *)"DELAY", 812, 0}, {(char *)"EXIST", 15, 0}};

static void make_busy(control_status *s)
{
    static const char *const names[] = {"alice/training-set", "alice/checkpoints", "bob/home", "carol/scratch",
                                        "genomics/reference-grch38", "genomics/runs-2026", "ops/images"};
    static const char *const hosts[] = {"Linux NFSv4.2 worker-01.cluster.example/co3k2m", "Linux NFSv4.2 worker-02.cluster.example",
                                        "volnfs/f0c05ae8-91d0-4064-a6dc-1bc07e68f197/989fd9d069e0eaee"};
    fill_names(s);
    s->info.store = (char *)"/var/lib/volnfs";
    for (int i = 0; i < CONTROL_SAMPLES_MAX; i++) {
        double wave = 0.5 + 0.5 * sin(i / 23.0), noise = (i * 7919 % 97) / 97.0;
        control_sample *b = &busy[i];
        b->ops = (float)(i > 60 ? 3000 + 9000 * wave + 2500 * noise : 0);
        b->read_bytes = (float)(i > 60 ? 3e7 + 2.2e8 * wave * wave + 4e7 * noise : 0);
        b->written_bytes = (float)(i > 120 ? 1e7 + 9e7 * (1 - wave) + 2e7 * noise : 0);
        for (int c = 0; c < CONTROL_CLASSES; c++) {
            b->p50[c] = (float)(i > 60 && (c != 3 || i > 120) ? (c == 3 ? 1.2 : c == 1 ? 0.03 : 0.9) * (1 + noise) : 0);
            b->p99[c] = (float)(b->p50[c] * (4 + 10 * wave));
        }
    }
    for (unsigned i = 0; i < 7; i++) {
        control_vstatus *v = &volumes[i];
        v->volume.name = (char *)names[i];
        v->volume.files = 12 + i * i * 40231;
        v->volume.logical = (uint64_t)(i + 1) * 37 << 30;
        v->volume.stored = v->volume.logical * 10 / (12 + i * 4);
        v->volume.props.quota_bytes = i == 1 ? (uint64_t)80 << 30 : i == 3 ? (uint64_t)160 << 30 : i == 0 ? (uint64_t)400 << 30 : 0;
        v->volume.props.readonly = i == 4;
        v->volume.err = i == 6 ? -EAGAIN : 0;
        v->traffic.ops_rate = i < 4 ? 4200.0 / (i + 1) : 0;
        v->traffic.read_rate = i < 4 ? 1.1e8 / (i + 1) : 0;
        v->traffic.written_rate = i < 3 ? 4e7 / (i + 1) : 0;
        if (i < 5) {
            v->traffic.history.history_len = CONTROL_SAMPLES_MAX;
            v->traffic.history.history_val = busy;
        }
    }
    for (unsigned i = 0; i < 3; i++)
        clients[i] = (control_client){.minor = i < 2, .name = (char *)hosts[i], .principal = (char *)"u",
                                      .address = (char *)(i < 2 ? "10.20.0.11" : ""), .idle_ms = 3000 + i * 40000,
                                      .opens = 41 - i, .locks = i, .delegations = 12, .connections = i < 2 ? 4 : 0,
                                      .requests = 1201772, .received = 3ull << 30, .sent = 7ull << 30, .expired = i == 2};
    s->uptime_ms = 90061000;
    s->rss_bytes = 1503238553;
    s->clients = 3, s->sessions = 2, s->opens = 120, s->locks = 3, s->delegations = 36;
    s->connections = 9, s->connections_max = 10000;
    s->store = (control_store){.cache_size = 4ull << 30, .cache_used = 3ull << 30, .cache_pinned = 120 << 20, .cache_reads = 1000000,
                               .cache_loads = 31000, .commits = 48112, .commit_us = 61000000};
    s->disk_size = 2000ull << 30, s->disk_free = 500ull << 30;
    s->total = (control_traffic){.ops = 6003509, .errors = 5229, .read_bytes = 812ull << 30, .written_bytes = 240ull << 30,
                                 .ops_rate = 8312.5, .read_rate = 2.1e8, .written_rate = 5.5e7,
                                 .by_op = {sizeof(ops) / sizeof(ops[0]), ops},
                                 .history = {CONTROL_SAMPLES_MAX, busy}};
    s->volumes.volumes_len = 7, s->volumes.volumes_val = volumes;
    s->client_list.client_list_len = 3, s->client_list.client_list_val = clients;
    grants[0] = (control_gstatus){.grant = {.id = 1, .subject = (char *)"10.20.0.0/16", .object = (char *)"/", .label = (char *)"cluster",
                                            .write = 1, .create = 1, .squash = 1},
                                  .traffic = {.ops = 5900112, .read_bytes = 800ull << 30, .written_bytes = 240ull << 30}};
    grants[1] = (control_gstatus){.grant = {.id = 2, .token = 1, .subject = (char *)"token", .object = (char *)"alice/training-set/2026",
                                            .label = (char *)"", .expires = 1790007200}};
    s->grants.grants_len = 2, s->grants.grants_val = grants;
    s->statuses.statuses_len = 3, s->statuses.statuses_val = errors;
}

static void leave(const char *dir, const char *name, const char *text)
{
    char path[4096];
    FILE *f;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_non_null(f = fopen(path, "w"));
    fputs(text, f);
    fclose(f);
}

static void test_busy(void **state)
{
    const char *dir = getenv("VOLNFS_PAGE");
    control_status s = {0};
    char *page;
    make_busy(&s);
    page = text_of(pages_status, &s);
    check_page(page);
    assert_int_equal(count(page, "<tr><th scope=\"row\">"), 7 + 9 + 3 + 2);
    assert_int_equal(count(page, "nothing in the last hour"), 0);
    assert_non_null(strstr(page, "<dt>Disk</dt><dd>500 GiB<small></small></dd><p>free of 1.95 TiB, 25 %</p>"));
    if (dir) {
        leave(dir, "index.html", page);
        leave(dir, "style.css", pages_style);
    }
    free(page);
}

/* What is not written yet is no part of a ratio. */
static void test_ratio(void **state)
{
    control_vstatus v = {.volume = {.name = (char *)"a/b", .logical = 8388609, .unwritten = 8388608, .stored = 4}};
    control_status s = {.volumes = {1, &v}};
    char *page;
    fill_names(&s);
    page = text_of(pages_status, &s);
    assert_non_null(strstr(page, "<td>0.25×</td>"));
    assert_non_null(strstr(page, "0.25 to 1"));
    free(page);
    v.volume.unwritten = v.volume.logical;
    page = text_of(pages_status, &s);
    assert_non_null(strstr(page, "<td class=\"none\">–</td>"));
    assert_null(strstr(page, " to 1"));
    free(page);
}

/* The largest numbers there are, and one sample. */
static void test_extremes(void **state)
{
    control_sample one = {.ops = 3e38f, .read_bytes = 3e38f, .written_bytes = 1e-30f};
    control_vstatus v = {.volume = {.name = (char *)"a/b", .logical = UINT64_MAX, .stored = 1, .files = UINT64_MAX,
                                    .props = {.quota_bytes = 1}}};
    control_status s = {.volumes = {1, &v}, .total = {.ops = UINT64_MAX, .history = {1, &one}}};
    char *page;
    for (int c = 0; c < CONTROL_CLASSES; c++) {
        one.p50[c] = 1e-3f;
        one.p99[c] = 1e9f;
    }
    fill_names(&s);
    s.disk_size = s.disk_free = s.uptime_ms = s.rss_bytes = s.store.cache_used = UINT64_MAX;
    for (int i = 0; i < 60; i++) {
        page = text_of(pages_status, &s);
        check_page(page);
        assert_true(strlen(page) < 100000);
        free(page);
        one.ops /= 7;
        one.read_bytes /= 5;
        one.p99[1] /= 3;
    }
}

static void test_texts(void **state)
{
    char t[TEXT_MAX];
    assert_string_equal(text_bytes(0, t), "0 B");
    assert_string_equal(text_bytes(1023, t), "1023 B");
    assert_string_equal(text_bytes(1024, t), "1.00 KiB");
    assert_string_equal(text_bytes(1e9, t), "954 MiB");
    assert_string_equal(text_count(999, t), "999");
    assert_string_equal(text_count(999999, t), "1.00 M");
    assert_string_equal(text_count(0.25, t), "0.2");
    assert_string_equal(text_ms(0.01, t), "10 µs");
    assert_string_equal(text_ms(12.4, t), "12 ms");
    assert_string_equal(text_ms(1500, t), "1.5 s");
    assert_string_equal(text_span(59, t), "59 s");
    assert_string_equal(text_span(90061, t), "1 d 1 h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty), cmocka_unit_test(test_hostile_names), cmocka_unit_test(test_busy),
        cmocka_unit_test(test_ratio),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
