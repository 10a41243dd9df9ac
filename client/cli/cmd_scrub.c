/* SPDX-License-Identifier: Apache-2.0
 * cmd_scrub: volnfs scrub USER/VOLUME [--status]: lets the server verify all checksums, or says what it found.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/connect.h"
#include "client/cli/format.h"
#include "client/cli/remote.h"

static int print_json(const control_scrub *s)
{
    json_t *files = json_array();
    json_t *o;
    for (u_int i = 0; files && i < s->files.files_len; i++)
        json_array_append_new(files, json_pack("{s:s, s:I}", "path", s->files.files_val[i].path, "offset",
                                               (json_int_t)s->files.files_val[i].offset));
    o = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "running", (int)s->running, "started",
                  (json_int_t)s->started, "finished", (json_int_t)s->finished, "chunks", (json_int_t)s->chunks, "bytes",
                  (json_int_t)s->bytes, "total", (json_int_t)s->total, "damaged", (json_int_t)s->damaged, "files", files);
    return format_print_json(o);
}

static void when(int64_t seconds, char *buf, size_t size)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    if (!localtime_r(&t, &tm) || !strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(buf, size, "?");
}

static void print_text(const char *name, const control_scrub *s)
{
    char bytes[16], total[16], start[32], end[32];
    format_size(s->bytes, bytes, sizeof(bytes));
    format_size(s->total, total, sizeof(total));
    when(s->started, start, sizeof(start));
    when(s->finished, end, sizeof(end));
    if (s->running)
        printf("%s: running since %s: %s of %s verified\n", name, start, bytes, total);
    else if (s->started)
        printf("%s: done at %s: %s verified\n", name, end, bytes);
    else
        printf("%s: never scrubbed\n", name);
    if (s->damaged)
        printf("%s: %llu damaged chunks were found\n", name, (unsigned long long)s->damaged);
    for (u_int i = 0; i < s->files.files_len; i++) {
        char *path = show_escape(s->files.files_val[i].path);
        printf("  %s at %llu\n", path, (unsigned long long)s->files.files_val[i].offset);
        free(path);
    }
}

static int show_status(const struct cli *cli, const void *reply, void *name)
{
    const control_scrub *r = reply;
    int status = 0;
    if (cli->json)
        status = print_json(r);
    else
        print_text(name, r);
    return r->damaged ? 1 : status;
}

int cmd_scrub(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"status", no_argument, NULL, 't'}, {0}};
    control_name_args args;
    bool ask = false;
    int opt, status = 0;
    while ((opt = cli_getopt(cli, argc, argv, "t", longs, &status)) != -1) {
        if (opt != 't')
            return status;
        ask = true;
    }
    if (argc - optind != 1)
        return cli_usage(cli, "one volume is needed");
    args.name = argv[optind];
    if (!strchr(args.name, '/') || strlen(args.name) > CONTROL_NAME_MAX)
        return cli_usage(cli, "'%.80s' is not of the form USER/VOLUME", args.name);
    return ask ? control_once(cli, CONTROL_SCRUB_STATUS, &args, show_status, args.name)
               : control_once(cli, CONTROL_SCRUB, &args, NULL, NULL);
}
