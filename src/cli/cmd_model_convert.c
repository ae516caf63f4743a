/* limn model convert: a model in another layout or type. */
#include "cli/engine.h"
#include "cli/progress_bar.h"
#include "model/family/convert.h"

struct convert_args {
    struct option_texts words;
    const char *config, *vae, *text_encoder;
    int type, layout, prediction;
    bool quiet;
};

#define AT(member) offsetof(struct convert_args, member)
OPTION_CHOICES(layout_choice, "auto", "single", "folder")

static const struct option convert_options[] = {
    { "type", 0, OPTION_CHOICE, AT(type), "keep", .choices = weights_type_choice,
      .help = "of the floating-point numbers; keep: each as it is; quantised types are for GGUF" },
    { "layout", 0, OPTION_CHOICE, AT(layout), "auto", .choices = layout_choice,
      .help = "one file or a folder of diffusers; auto: a file if OUT has an ending" },
    OPTION_ROWS_MODEL_PARTS(struct convert_args),
    OPTION_ROW_QUIET(struct convert_args),
    { 0 },
};

static bool convert_run(const void *args, struct err *e)
{
    const struct convert_args *a = args;
    const char *in = a->words.items[0], *out = a->words.items[1];
    bool single = a->layout ? a->layout == 1 : strchr(path_name(out), '.') != NULL;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    struct convert convert = {
        .files = { .path = in, .config = a->config, .vae = a->vae, .text_encoder = a->text_encoder,
                   .predicts = (enum predicts)a->prediction },
        .output = out, .type = weights_type_of_choice(a->type), .layout = single ? CONVERT_SINGLE : CONVERT_FOLDER,
    };
    bool good = model_convert(&convert, &progress, e);
    progress_bar_end(&bar);
    return good;
}

const struct command command_model_convert = {
    .name = "model convert",
    .help = "Writes a model in another layout or type.",
    .details = "From a folder in diffusers' layout to one file as other programs have it, and back; any file of weights to another "
               "type; to GGUF if OUT ends so. Little of the model is in memory at a time.",
    .words = "FILE OUT", .words_place = AT(words), .words_min = 2, .words_max = 2,
    .options = convert_options, .args_bytes = sizeof(struct convert_args), .run = convert_run,
};
