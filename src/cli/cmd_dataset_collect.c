/* limn dataset collect: pictures by their addresses. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/progress_bar.h"
#include "dataset/collect.h"

struct collect_args {
    struct option_texts words;
    const char *output, *url_column, *text_column;
    double delay;
    int64_t max_size, jobs, tries;
    bool again, json, quiet;
};

#define AT(member) offsetof(struct collect_args, member)

static const struct option collect_options_table[] = {
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FOLDER", .help = "the data set's folder" },
    { "delay", 0, OPTION_FLOAT, AT(delay), "1", .min = 0, .max = 3600, .help = "seconds of rest behind each picture of a host" },
    { "jobs", 'j', OPTION_INT, AT(jobs), "8", .min = 1, .max = 16, .help = "hosts at a time" },
    { "max-size", 0, OPTION_SIZE, AT(max_size), "64M", .min = 1, .max = 512.0 * (1 << 20), .help = "the largest file that is taken" },
    { "tries", 0, OPTION_INT, AT(tries), "3", .min = 1, .max = 100, .help = "tries of a picture" },
    { "again", 0, OPTION_FLAG, AT(again), .help = "also those that failed in an earlier run (" COLLECT_FAILED_FILE ")" },
    { "url-column", 0, OPTION_TEXT, AT(url_column), .value = "NAME", .help = "of a .csv or .jsonl list: where the address is",
      .initial_help = "url, image_url or link" },
    { "text-column", 0, OPTION_TEXT, AT(text_column), .value = "NAME", .help = "where the caption is",
      .initial_help = "text, caption or prompt" },
    OPTION_ROW_JSON(struct collect_args),
    OPTION_ROW_QUIET(struct collect_args),
    { 0 },
};

static bool print_result(const struct collect_result *r, bool json, struct err *e)
{
    if (!json) {
        printf("%ld pictures taken, %ld were there, %ld failed, %ld failed before\n", r->taken, r->there, r->failed, r->failed_before);
        return true;
    }
    json_t *j = json_pack("{s:I,s:I,s:I,s:I,s:O}", "taken", (json_int_t)r->taken, "there", (json_int_t)r->there, "failed",
                          (json_int_t)r->failed, "failed_before", (json_int_t)r->failed_before, "reasons", r->reasons);
    return json_line(j, JSON_COMPACT, e);
}

static bool collect_run(const void *args, struct err *e)
{
    const struct collect_args *a = args;
    const struct collect_options o = { .list = a->words.items[0], .to = a->output, .url_column = a->url_column,
                                       .text_column = a->text_column, .host_seconds = a->delay, .max_bytes = a->max_size,
                                       .jobs = (int)a->jobs, .tries = (int)a->tries, .again = a->again };
    if (!a->output)
        return err_set(e, ERR_ARG, "--output is missing: the data set's folder");
    struct collect_result r;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = dataset_collect(&o, &r, &progress, e);
    progress_bar_end(&bar);
    good = good && print_result(&r, a->json, e);
    if (good && !r.taken && !r.there)
        good = err_set(e, ERR_MISSING, "%s: not one picture came", o.list);
    json_decref(r.reasons);
    return good;
}

const struct command command_dataset_collect = {
    .name = "dataset collect",
    .help = "Gets pictures by a list of addresses: one at a time from a host, with a rest behind each.",
    .details = "The list has an address a line, or is a .csv or .jsonl file with captions. Make sure that you may use the pictures. The same "
               "command goes on after a stop; what is there, and what is not to be had, is not asked for again.",
    .words = "FILE", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = collect_options_table, .args_bytes = sizeof(struct collect_args), .run = collect_run,
};
