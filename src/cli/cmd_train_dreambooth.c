#include <stdio.h>

#include "base/mem.h"
#include "cli/finetune_work.h"
#include "cli/progress_bar.h"

/* Types that a folder's weights can have. */
static const char *export_choice(int index)
{
    return index >= 0 && index < 4 ? weights_type_choice(index) : NULL;
}

static const struct option dreambooth_options[] = {
    OPTION_ROWS_FINETUNE_MODEL,
    { "prompt", 0, OPTION_TEXT, FINETUNE_AT(words), .value = "TEXT",
      .help = "words of every picture of the thing, with a rare word for it: \"a photo of sks dog\"", .initial_help = "the data set's",
      .group = "The thing and its kind" },
    { "class-prompt", 0, OPTION_TEXT, FINETUNE_AT(class_words), .value = "TEXT",
      .help = "words of its kind, \"a photo of a dog\": pictures of the kind are learnt beside, so that it stays what it is" },
    { "prior-pictures", 0, OPTION_INT, FINETUNE_AT(prior_pictures), "100", .min = 1, .max = 100000,
      .help = "so many of them are drawn by the model itself, into prior/ of the run, unless --regular has some" },
    { "whole", 0, OPTION_FLAG, FINETUNE_AT(full), .help = "teach the model's own weights and not a LoRA" },
    { "export", 0, OPTION_CHOICE, FINETUNE_AT(export), "keep", .choices = export_choice, .help = "type of the weights in model/" },
    OPTION_ROWS_FINETUNE_LORA,
    OPTION_ROWS_FINETUNE_DATA,
    OPTION_ROWS_FINETUNE_RUN,
    OPTION_ROWS_FINETUNE_OBJECTIVE,
    OPTION_ROWS_FINETUNE_MEMORY,
    { 0 },
};

/* Draws what is not there yet of the pictures of the kind: each with a seed of its own, so a run that was stopped goes on. */
static bool draw_prior(const struct finetune_args *a, const char *folder, const char *model, const char *vae, const struct engine *engine,
                       const struct progress *progress, struct err *e)
{
    struct model_files files = { .path = model, .config = a->model_config, .vae = vae, .predicts = (enum predicts)a->prediction };
    struct pipeline *p = NULL;
    bool good = folder_make(folder, e);
    for (int64_t i = 0; good && i < a->prior_pictures; i++) {
        char path[PATH_MAX_BYTES];
        struct drawing drawing = { 0 };
        if (!path_join(path, folder, path_of("%05lld.png", (long long)i).s, e))
            return false;
        if (path_exists(path))
            continue;
        if (!p) {
            if (!(p = pipeline_open_files(&files, engine->backend, engine->type, e)))
                return false;
            pipeline_keep(p, true);
        }
        struct draw_request r = draw_request_defaults(p);
        int64_t side = model_folder_side(pipeline_folder(p));
        r.prompt = a->class_words;
        r.seed = (uint64_t)(a->seed + i);
        r.steps = a->sample_steps ? a->sample_steps : r.steps;
        good = finetune_resolution(a->resolution, side, &r.width, &r.height, e) && pipeline_draw(p, &r, NULL, &drawing, e) &&
               image_save_png(path, &drawing.images[0], NULL, 0, e);
        drawing_release(&drawing);
        progress_step(progress, "drawing pictures of the kind", (long)i + 1, (long)a->prior_pictures, NULL);
    }
    pipeline_free(p);
    return good;
}

static bool prior(const struct finetune_args *a, char *folder, struct err *e)
{
    char model[PATH_MAX_BYTES], vae_path[PATH_MAX_BYTES];
    const char *vae = a->vae;
    struct engine engine = { 0 };
    struct model_places places = { 0 };
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = path_join(folder, a->output, "prior", e) && engine_init(&engine, a->threads, finetune_precision(a->precision), e) &&
                engine_places(&places, a->comfyui, a->extra_model_paths, e) && engine_find_model(model, &places, a->model, e) &&
                engine_find_vae(vae_path, &places, &vae, e) && draw_prior(a, folder, model, vae, &engine, &progress, e);
    progress_bar_end(&bar);
    model_places_release(&places);
    engine_release(&engine);
    return good || err_add(e, "drawing pictures of the kind");
}

static bool run(const void *args, struct err *e)
{
    struct finetune_args a = *(const struct finetune_args *)args;
    char folder[PATH_MAX_BYTES];
    if (!a.output || !a.dataset)
        return err_set(e, ERR_ARG, "%s is missing", a.output ? "--dataset" : "--output");
    a.regular_planned = a.class_words && !a.regular && a.plan;
    if (a.class_words && !a.regular && !a.plan) {
        if (!prior(&a, folder, e))
            return false;
        a.regular = folder;
    }
    return finetune_command(&command_train_dreambooth, &a, e);
}

const struct command command_train_dreambooth = {
    .name = "train dreambooth",
    .help = "Teaches a model one thing from a few pictures of it, by a word of its own.",
    .details = "Ruiz et al. 2023: with --class-prompt, pictures of the thing's kind, which the model draws itself, are learnt beside, and "
               "count --regular-weight, so that the kind is not forgotten. The data set is a folder of pictures; it needs no list where "
               "--prompt says what they show. What comes of it is a LoRA, with --whole a model folder.",
    .options = dreambooth_options,
    .args_bytes = sizeof(struct finetune_args),
    .run = run,
};
