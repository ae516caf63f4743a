/* limn eval leak: which training pictures a model repeats. */
#include "cli/engine.h"
#include "cli/eval_output.h"
#include "cli/progress_bar.h"
#include "evaluate/leak.h"

struct leak_args {
    struct option_texts words;
    const char *dataset, *model, *comfyui, *extra_model_paths;
    int64_t calibrate, threads;
    double share;
    int precision;
    struct eval_output_args out;
};

#define AT(member) offsetof(struct leak_args, member)

static const struct option leak_options[] = {
    { "dataset", 'd', OPTION_TEXT, AT(dataset), .value = "FOLDER",
      .help = "what the model was trained on: a data set (without its held-out pictures) or any folder" },
    { "model", 'm', OPTION_TEXT, AT(model), .value = "FILE",
      .help = "compare latents, too, of this model's VAE", .initial_help = "pixels and edges only" },
    OPTION_ROWS_PLACES(struct leak_args),
    { "calibrate", 0, OPTION_INT, AT(calibrate), "300", .min = 3, .max = 100000,
      .help = "so many training pictures say how alike they are among themselves" },
    { "share", 0, OPTION_FLOAT, AT(share), "0.01", .min = 1e-6, .max = 0.5,
      .help = "of pictures of this kind pass a threshold by chance: smaller is more careful to accuse" },
    OPTION_ROW_PRECISION(struct leak_args),
    OPTION_ROW_THREADS(struct leak_args),
    OPTION_ROWS_EVAL_OUTPUT(struct leak_args),
    { 0 },
};

/* For one picture at a time, at the size the VAE was made for. */
static bool open_vae(struct vae_files *files, struct reconstruction *vae, const struct leak_args *a, const struct engine *engine,
                     struct err *e)
{
    char model[PATH_MAX_BYTES];
    return engine_find_only_model(model, a->comfyui, a->extra_model_paths, a->model, e) &&
           vae_files_open(files, &(struct model_files){ .path = model }, e) &&
           reconstruction_init(vae, files, files->config.sample_size, 1, false, engine->type, engine->backend, e);
}

static bool leak_run(const void *args, struct err *e)
{
    const struct leak_args *a = args;
    struct engine engine = { 0 };
    struct picture_set drawn = { 0 }, trained = { 0 };
    struct vae_files files = { 0 };
    struct reconstruction vae = { 0 };
    struct leak leak = { 0 };
    struct findings f;
    struct progress_bar bar;
    if (!a->dataset)
        return err_set(e, ERR_ARG, "limn eval leak needs --dataset FOLDER");
    progress_bar_init(&bar, a->out.quiet);
    struct progress progress = progress_bar_steps(&bar);
    findings_init(&f, "What is repeated of the training pictures");
    bool good = engine_init(&engine, a->threads, a->precision, e) && image_init(e) &&
                picture_set_open(&drawn, a->words.items[0], PICTURES_ALL, e) &&
                picture_set_open(&trained, a->dataset, PICTURES_TRAINED, e) &&
                (!a->model || open_vae(&files, &vae, a, &engine, e));
    struct leak_options o = { .drawn = &drawn, .trained = &trained, .vae = a->model ? &vae : NULL, .calibrate = a->calibrate,
                              .share = a->share };
    if (good) {
        findings_text(&f, NULL, "drawn", "%s", a->words.items[0]);
        findings_text(&f, NULL, "dataset", "%s", a->dataset);
        good = leak_find(&leak, &o, &progress, e) && leak_findings(&f, &leak, &o, a->out.html != NULL, e);
    }
    progress_bar_end(&bar);
    good = good && eval_output(&f, &a->out, "eval leak", e);
    leak_release(&leak);
    reconstruction_release(&vae);
    vae_files_release(&files);
    picture_set_release(&drawn);
    picture_set_release(&trained);
    findings_release(&f);
    engine_release(&engine);
    return good;
}

const struct command command_eval_leak = {
    .name = "eval leak",
    .help = "Tells which training pictures a model repeats: for each drawn picture the training pictures most like it.",
    .details = "A drawn picture is found again though it was resized, cut out, mirrored or coloured anew. It counts as a copy if it is more "
               "like a training picture than training pictures are like each other; how alike those are is measured first.\n"
               "Give a folder of drawn pictures, or one picture.",
    .words = "FOLDER|FILE", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = leak_options, .args_bytes = sizeof(struct leak_args), .run = leak_run,
};
