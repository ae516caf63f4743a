/* limn dataset caption: new captions from names, fields, tags or another program. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "dataset/recaption.h"

struct caption_args {
    struct option_texts words, remove, replace;
    const char *template, *command, *prefix, *suffix;
    double drop, limit;
    int64_t keep, seed, jobs, show;
    bool only_missing, again, spaces, unique, shuffle, dry_run, undo, json, quiet;
};

#define AT(member) offsetof(struct caption_args, member)

static const struct option caption_options[] = {
    { "template", 0, OPTION_TEXT, AT(template), .value = "TEXT",
      .help = "a caption with {text} (the one that is there), {name}, {folder} or any field of the list in it", .initial_help = "{text}",
      .group = "Where captions come from" },
    { "command", 0, OPTION_TEXT, AT(command), .value = "COMMAND",
      .help = "a line of shell that is run with the picture's path behind it; what it writes to stdout is the caption" },
    { "time-limit", 0, OPTION_FLOAT, AT(limit), "120", .min = 0.1, .max = 86400, .help = "seconds for one command" },
    { "jobs", 'j', OPTION_INT, AT(jobs), "1", .min = 1, .max = 64, .help = "commands at a time" },
    { "only-missing", 0, OPTION_FLAG, AT(only_missing), .help = "only pictures without a caption" },
    { "spaces", 0, OPTION_FLAG, AT(spaces), .help = "\"red_hair\" becomes \"red hair\"", .group = "Rules, in this order, on tags with commas between" },
    { "replace", 0, OPTION_TEXTS, AT(replace), .value = "TAG=OTHER", .help = "put another tag, or several, in a tag's place" },
    { "remove", 0, OPTION_TEXTS, AT(remove), .value = "TAG", .help = "leave a tag out; * stands for anything" },
    { "unique", 0, OPTION_FLAG, AT(unique), .help = "leave out tags that were there before" },
    { "keep", 0, OPTION_INT, AT(keep), "0", .min = 0, .max = 1024, .help = "the first tags, which are neither dropped nor moved" },
    { "drop", 0, OPTION_FLOAT, AT(drop), "0", .min = 0, .max = 1, .help = "the chance of each other tag to be left out" },
    { "shuffle", 0, OPTION_FLAG, AT(shuffle), .help = "the others in another order" },
    { "prefix", 0, OPTION_TEXT, AT(prefix), .help = "put before, as a tag of its own: a trigger word" },
    { "suffix", 0, OPTION_TEXT, AT(suffix), .help = "put behind" },
    { "seed", 0, OPTION_INT, AT(seed), "0", .min = 0, .max = 9007199254740992.0, .help = "of what is dropped and shuffled" },
    { "dry-run", 0, OPTION_FLAG, AT(dry_run), .help = "only show what would be", .group = "The work" },
    { "show", 0, OPTION_INT, AT(show), "5", .min = 0, .max = 1e9, .help = "captions to show, before and after" },
    { "again", 0, OPTION_FLAG, AT(again), .help = "also pictures that this very change was made to already" },
    { "undo", 0, OPTION_FLAG, AT(undo), .help = "take every picture's last change of caption back" },
    OPTION_ROW_JSON(struct caption_args),
    OPTION_ROW_QUIET(struct caption_args),
    { 0 },
};

struct shower {
    long left;
    struct progress_bar *bar;
};

static void show(void *self, const char *file_name, const char *was, const char *now)
{
    struct shower *s = self;
    if (s->left-- <= 0)
        return;
    progress_bar_end(s->bar);
    printf("%s\n  - %s\n  + %s\n", file_name, was, now);
}

static bool undo(struct manifest *m, bool json, struct err *e)
{
    long count;
    if (!recaption_undo(m, &count, e))
        return false;
    printf(json ? "{\"undone\":%ld}\n" : "%ld captions are as they were before their last change\n", count);
    return true;
}

static bool change(struct manifest *m, const struct caption_args *a, struct err *e)
{
    const struct recaption_options o = { .template = a->template, .command = a->command, .only_missing = a->only_missing,
                                         .again = a->again, .spaces = a->spaces, .unique = a->unique, .remove = a->remove.items,
                                         .removes = (size_t)a->remove.count, .replace = a->replace.items,
                                         .replaces = (size_t)a->replace.count, .keep = a->keep, .drop = a->drop, .shuffle = a->shuffle,
                                         .prefix = a->prefix, .suffix = a->suffix, .seed = (uint64_t)a->seed, .limit_seconds = a->limit,
                                         .jobs = (int)a->jobs };
    struct recaption_result r;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    struct shower shower = { a->json ? 0 : a->show, &bar };
    bool good = dataset_recaption(m, &o, a->dry_run, show, &shower, &r, &progress, e);
    progress_bar_end(&bar);
    if (good)
        printf(a->json ? "{\"changed\":%ld,\"same\":%ld,\"done_before\":%ld,\"failed\":%ld}\n"
                       : "%ld captions changed, %ld stay the same, %ld were done before, %ld failed\n",
               r.changed, r.same, r.done_before, r.failed);
    return good;
}

static bool caption_run(const void *args, struct err *e)
{
    const struct caption_args *a = args;
    struct manifest *m = manifest_open(a->words.items[0], a->dry_run ? MANIFEST_READ : MANIFEST_CHANGE, e);
    bool good = m && (a->undo ? undo(m, a->json, e) : change(m, a, e));
    manifest_free(m);
    return good;
}

const struct command command_dataset_caption = {
    .name = "dataset caption",
    .help = "Writes captions: from names and fields, by another program, with rules for tags.",
    .details = "Every caption that was there is kept in the picture's history. What was done already is not done again, so the same command "
               "goes on after a stop.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = caption_options, .args_bytes = sizeof(struct caption_args), .run = caption_run,
};
