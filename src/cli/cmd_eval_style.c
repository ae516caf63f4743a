/* limn eval style: how far the look of pictures is from that of a reference. */
#include "cli/engine.h"
#include "cli/eval_output.h"
#include "cli/progress_bar.h"
#include "evaluate/styles.h"

struct style_args {
    struct option_texts words;
    const char *model, *comfyui, *extra_model_paths;
    int64_t count, size, threads;
    int precision, split;
    struct eval_output_args out;
};

#define AT(member) offsetof(struct style_args, member)

static const struct option style_options[] = {
    OPTION_ROW_MODEL(struct style_args),
    OPTION_ROWS_PLACES(struct style_args),
    { "split", 0, OPTION_CHOICE, AT(split), "all", .choices = eval_split_choice, .help = "which pictures of a data set are the reference" },
    { "count", 'c', OPTION_INT, AT(count), "0", .min = 2, .max = 1000000, .help = "only so many pictures of a folder (or style), spread over it",
      .initial_help = "all" },
    { "size", 0, OPTION_INT, AT(size), "0", .min = 1, .max = 4096, .help = "pixels of a side at which pictures are looked at",
      .initial_help = "what the VAE was made for" },
    OPTION_ROW_PRECISION(struct style_args),
    OPTION_ROW_THREADS(struct style_args),
    OPTION_ROWS_EVAL_OUTPUT(struct style_args),
    { 0 },
};

static bool measure(struct findings *f, const struct style_args *a, struct picture_set *sets, struct reconstruction *vae,
                    const struct progress *progress, struct err *e)
{
    size_t count = (size_t)a->words.count;
    for (size_t i = 0; i < count; i++)
        if (!picture_set_open(&sets[i], a->words.items[i], i ? PICTURES_ALL : eval_split(a->split), e))
            return false;
    findings_text(f, NULL, "reference", "%s", a->words.items[0]);
    return count == 1 ? styles_matrix(f, &sets[0], vae, a->count, progress, e)
                      : styles_compare(f, &sets[0], sets + 1, a->words.items + 1, count - 1, vae, a->count, a->out.html != NULL,
                                       progress, e);
}

static bool style_run(const void *args, struct err *e)
{
    const struct style_args *a = args;
    char model[PATH_MAX_BYTES];
    struct engine engine = { 0 };
    struct picture_set sets[OPTION_TEXTS_MAX] = { { 0 } };
    struct vae_files files = { 0 };
    struct reconstruction vae = { 0 };
    struct findings f;
    struct progress_bar bar;
    progress_bar_init(&bar, a->out.quiet);
    struct progress progress = progress_bar_steps(&bar);
    findings_init(&f, "Distances of style");
    bool good = engine_find_only_model(model, a->comfyui, a->extra_model_paths, a->model, e) &&
                engine_init(&engine, a->threads, a->precision, e) &&
                vae_files_open(&files, &(struct model_files){ .path = model }, e) &&
                reconstruction_init(&vae, &files, a->size ? a->size : files.config.sample_size, 1, false, engine.type, engine.backend,
                                    e) &&
                measure(&f, a, sets, &vae, &progress, e);
    progress_bar_end(&bar);
    good = good && eval_output(&f, &a->out, "eval style", e);
    for (int i = 0; i < a->words.count; i++)
        picture_set_release(&sets[i]);
    reconstruction_release(&vae);
    vae_files_release(&files);
    findings_release(&f);
    engine_release(&engine);
    return good;
}

const struct command command_eval_style = {
    .name = "eval style",
    .help = "Measures how far the look of pictures is from that of a reference, whatever they show.",
    .details = "The first folder is the reference. The distance is that of Frechet between what lies at any place of the pictures: cells of "
               "VAE latents, colours, and how steep these are.\nWith a data set alone, whose list names styles, each of them is held against each.",
    .words = "FOLDER [FOLDER...]", .words_place = AT(words), .words_min = 1, .words_max = OPTION_TEXTS_MAX,
    .options = style_options, .args_bytes = sizeof(struct style_args), .run = style_run,
};
