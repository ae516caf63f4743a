#include "cli/eval_output.h"
#include "evaluate/run_compare.h"

struct compare_args {
    struct option_texts words;
    const char *png;
    struct eval_output_args out;
};

#define AT(member) offsetof(struct compare_args, member)
static const struct option compare_options[] = {
    { "png", 0, OPTION_TEXT, AT(png), .value = "FILE", .help = "write the curves, and below them the last sample of each run" },
    OPTION_ROWS_EVAL_OUTPUT(struct compare_args),
    { 0 },
};

static bool run(const void *args, struct err *e)
{
    const struct compare_args *a = args;
    size_t count = (size_t)a->words.count;
    struct findings f;
    findings_init(&f, "Training runs side by side");
    bool good = run_compare(&f, a->words.items, count, a->out.html != NULL, e) &&
                (!a->png || run_compare_png(a->png, a->words.items, count, e)) && eval_output(&f, &a->out, "train compare", e);
    findings_release(&f);
    return good;
}

const struct command command_train_compare = {
    .name = "train compare",
    .help = "Puts the curves, the settings and the samples of training runs side by side.",
    .details = "Runs may be going on. The one with the lowest loss on held-out pictures is marked; losses can be compared only between runs "
               "that were asked for the same.",
    .words = "FOLDER [FOLDER...]", .words_place = AT(words), .words_min = 1, .words_max = RUN_COMPARE_MOST,
    .options = compare_options, .args_bytes = sizeof(struct compare_args), .run = run,
};
