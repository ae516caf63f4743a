/* limn eval vae: what a model's autoencoder loses of pictures. */
#include "base/clock.h"
#include "cli/engine.h"
#include "cli/eval_output.h"
#include "cli/progress_bar.h"
#include "evaluate/compare.h"

struct vae_args {
    const char *model, *vae, *dataset, *metrics, *comfyui, *extra_model_paths;
    int64_t size, count, batch, threads;
    int precision, split;
    struct eval_output_args out;
};

#define AT(member) offsetof(struct vae_args, member)

static const struct option vae_options[] = {
    OPTION_ROW_MODEL(struct vae_args),
    { "vae", 0, OPTION_TEXT, AT(vae), .value = "FILE", .help = "a file or folder whose VAE is taken in place of the model's" },
    OPTION_ROWS_PLACES(struct vae_args),
    { "dataset", 'd', OPTION_TEXT, AT(dataset), .value = "FOLDER", .help = "the pictures: a data set or any folder" },
    { "split", 0, OPTION_CHOICE, AT(split), "all", .choices = eval_split_choice, .help = "which pictures of a data set" },
    { "size", 0, OPTION_INT, AT(size), "0", .min = 1, .max = 4096,
      .help = "pixels of a side: pictures are cut to squares and resized to it", .initial_help = "what the VAE was made for" },
    { "count", 'c', OPTION_INT, AT(count), "0", .min = 1, .max = 4000000, .help = "only so many pictures, spread over the set",
      .initial_help = "all" },
    { "metrics", 0, OPTION_TEXT, AT(metrics), "psnr,ssim", .value = "LIST",
      .help = "as of limn eval images; the first says what is worst" },
    { "batch", 'b', OPTION_INT, AT(batch), "1", .min = 1, .max = 64, .help = "pictures at once" },
    OPTION_ROW_PRECISION(struct vae_args),
    OPTION_ROW_THREADS(struct vae_args),
    OPTION_ROWS_EVAL_OUTPUT(struct vae_args),
    { 0 },
};

static bool measure(struct findings *f, const struct vae_args *a, const char *model, const struct engine *engine,
                    const struct progress *progress, struct err *e)
{
    struct compare_metrics metrics;
    struct picture_set set = { 0 };
    struct vae_files files = { 0 };
    struct reconstruction vae = { 0 };
    double begun = clock_seconds();
    bool good = (similarity_list(a->metrics, metrics.at, &metrics.count, e) || err_add(e, "in --metrics")) &&
                picture_set_open(&set, a->dataset, eval_split(a->split), e) &&
                vae_files_open(&files, &(struct model_files){ .path = model, .vae = a->vae }, e) &&
                reconstruction_init(&vae, &files, a->size ? a->size : files.config.sample_size, a->batch, true, engine->type,
                                    engine->backend, e);
    if (good) {
        findings_text(f, NULL, "vae", "%s", a->vae ? a->vae : model);
        findings_text(f, NULL, "dataset", "%s", a->dataset);
        good = compare_reconstructed(f, &set, &vae, a->count, &metrics, a->out.html != NULL, progress, e);
        findings_number(f, NULL, "seconds", clock_seconds() - begun, 1);
    }
    reconstruction_release(&vae);
    vae_files_release(&files);
    picture_set_release(&set);
    return good;
}

static bool vae_run(const void *args, struct err *e)
{
    const struct vae_args *a = args;
    char model[PATH_MAX_BYTES];
    struct engine engine = { 0 };
    struct findings f;
    struct progress_bar bar;
    if (!a->dataset)
        return err_set(e, ERR_ARG, "limn eval vae needs --dataset FOLDER");
    progress_bar_init(&bar, a->out.quiet);
    struct progress progress = progress_bar_steps(&bar);
    findings_init(&f, "Pictures through the autoencoder");
    bool good = engine_find_only_model(model, a->comfyui, a->extra_model_paths, a->model, e) &&
                engine_init(&engine, a->threads, a->precision, e) && measure(&f, a, model, &engine, &progress, e);
    progress_bar_end(&bar);
    good = good && eval_output(&f, &a->out, "eval vae", e);
    findings_release(&f);
    engine_release(&engine);
    return good;
}

const struct command command_eval_vae = {
    .name = "eval vae",
    .help = "Measures what a model's autoencoder loses of the pictures of a data set.",
    .details = "Each picture goes to the mean of its latent and back. What a denoiser draws cannot be nearer to its training pictures than "
               "this.",
    .options = vae_options, .args_bytes = sizeof(struct vae_args), .run = vae_run,
};
