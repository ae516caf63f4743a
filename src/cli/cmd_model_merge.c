/* limn model merge: one model out of two or three. */
#include <math.h>
#include <stdlib.h>

#include "cli/engine.h"
#include "cli/progress_bar.h"
#include "model/family/merge.h"

struct merge_args {
    struct option_texts words;
    const char *difference, *blocks, *output;
    double weight;
    int type;
    bool quiet;
};

#define AT(member) offsetof(struct merge_args, member)
static const struct option merge_options[] = {
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FILE", .help = "where the merged model goes" },
    { "weight", 'w', OPTION_FLOAT, AT(weight), "0.5", .min = -10, .max = 10,
      .help = "how much of the second model: 0 is the first alone, 1 the second" },
    { "difference", 'd', OPTION_TEXT, AT(difference), .value = "FILE",
      .help = "add to the first what the second learnt since this model: A + weight (B - this)" },
    { "blocks", 0, OPTION_TEXT, AT(blocks), .value = "W,W,...",
      .help = "a weight for each block of the UNet, in place of --weight: way down, middle, way up (25 for Stable Diffusion 1 and 2, "
              "19 for XL)" },
    { "type", 0, OPTION_CHOICE, AT(type), "keep", .choices = weights_type_choice,
      .help = "of the floating-point numbers; keep: as in the first model" },
    OPTION_ROW_QUIET(struct merge_args),
    { 0 },
};

static bool read_blocks(struct merge *m, const char *text, struct err *e)
{
    for (const char *at = text; at;) {
        char *end;
        double v = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !isfinite(v) || fabs(v) > 10)
            return err_set(e, ERR_ARG, "--blocks: \"%.30s\" must begin with a number from -10 to 10", at);
        if (m->block_count == MERGE_MOST_BLOCKS)
            return err_set(e, ERR_ARG, "--blocks: more than %d weights", MERGE_MOST_BLOCKS);
        m->blocks[m->block_count++] = v;
        at = *end ? end + 1 : NULL;
    }
    return true;
}

static bool merge_run(const void *args, struct err *e)
{
    const struct merge_args *a = args;
    if (!a->output)
        return err_set(e, ERR_ARG, "--output is missing");
    struct merge merge = { .a = a->words.items[0], .b = a->words.items[1], .c = a->difference, .output = a->output,
                           .weight = a->weight, .type = weights_type_of_choice(a->type) };
    if (a->blocks && !read_blocks(&merge, a->blocks, e))
        return false;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = model_merge(&merge, &progress, e);
    progress_bar_end(&bar);
    return good;
}

const struct command command_model_merge = {
    .name = "model merge",
    .help = "Makes one model out of two or three.",
    .details = "The weighted sum of two models in single files, or with --difference what one has learnt added to another. Little of "
               "the models is in memory at a time.",
    .words = "FILE FILE", .words_place = AT(words), .words_min = 2, .words_max = 2,
    .options = merge_options, .args_bytes = sizeof(struct merge_args), .run = merge_run,
};
