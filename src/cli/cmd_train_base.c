#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/progress_bar.h"
#include "cli/train_common.h"
#include "generate/generate.h"
#include "train/train_text.h"

struct base_args {
    struct run_args run;
    const char *vae, *tokenizer;
    struct option_texts prompts;
    int64_t pool, pool_seed, held_out, places;
    double caption_dropout, min_snr, min_weight, timestep_shift;
};

#define AT(member) offsetof(struct base_args, member)
/* The rows that both commands have. */
#define ROWS_PARTS                                                                                                     \
    { "vae", 0, OPTION_TEXT, AT(vae), .value = "FOLDER", .help = "a trained VAE (config.json and weights)", .group = "Model" }, \
    { "tokenizer", 0, OPTION_TEXT, AT(tokenizer), .value = "FOLDER", .help = "the text encoder's tokenizer" }
#define ROWS_OBJECTIVE                                                                                                 \
    { "scenes", 0, OPTION_INT, AT(pool), "60000", .min = 1, .max = 1e7,                                                \
      .help = "scenes whose latents are made once and kept in latents.safetensors", .group = "Objective" },            \
    { "scenes-seed", 0, OPTION_INT, AT(pool_seed), "0", .min = 0, .max = 4294967295.0, .help = "of their choice" },    \
    { "held-out-scenes", 0, OPTION_INT, AT(held_out), "512", .min = 1, .max = 1e6,                                     \
      .help = "of held-out pictures, whose loss is measured; they are kept in held-out.safetensors" },                 \
    { "caption-dropout", 0, OPTION_FLOAT, AT(caption_dropout), "0.1", .min = 0, .max = 1,                              \
      .help = "share of samples with an empty caption: what guidance needs" }

static const struct option base_options[] = {
    OPTION_ROWS_RUN(struct base_args, "128", "20000", "128", "1e-3", "500", "0.01", "0.9995"),
    ROWS_PARTS,
    { "prompt", 0, OPTION_TEXTS, AT(prompts), .value = "TEXT",
      .help = "words to draw in samples/, in place of some of the dataset's" },
    ROWS_OBJECTIVE,
    { "min-snr", 0, OPTION_FLOAT, AT(min_snr), "5", .min = 0, .max = 1e6,
      .help = "gamma of min-SNR weighting; 0: every timestep counts alike" },
    { "min-weight", 0, OPTION_FLOAT, AT(min_weight), "0.25", .min = 0, .max = 1,
      .help = "no timestep counts less: with zero terminal SNR the last would count nothing" },
    { "timestep-shift", 0, OPTION_FLOAT, AT(timestep_shift), "1", .min = 0.01, .max = 100,
      .help = "which timesteps are trained: 1 all alike; 3 the noisiest, where the words decide, three times as often" },
    { 0 },
};

static const struct option text_options[] = {
    OPTION_ROWS_RUN(struct base_args, "128", "5000", "256", "1e-3", "100", "0.01", "0.999"),
    ROWS_PARTS,
    ROWS_OBJECTIVE,
    { "places", 0, OPTION_INT, AT(places), "4", .min = 1, .max = 64,
      .help = "the picture's patches along a side: a text's last tokens each have one to tell of" },
    { 0 },
};

/* <folder>/<part>/<name>, and the part's weights if they are there. */
static bool part_files(const char *folder, const char *part, const char *name, char *json, const char *weights_name,
                       struct weights **stored, struct err *e)
{
    char inside[PATH_MAX_BYTES], weights[PATH_MAX_BYTES];
    if (!path_join(inside, folder, part, e) || !path_join(json, inside, name, e))
        return false;
    if (!weights_name)
        return true;
    if (!path_join(weights, inside, weights_name, e))
        return false;
    *stored = path_exists(weights) ? weights_open(weights, e) : NULL;
    return *stored || !path_exists(weights);
}

/* Everything that a run borrows. */
struct parts {
    const struct backend *backend;
    struct dataset *dataset;
    struct clip_tokenizer *tokenizer;
    struct weights *text, *unet, *vae;
    struct vae_config vae_config;
    struct latents latents, held_out;
};

/* A pool of latents: several processes let one make it. */
struct pool_work {
    struct latents *latents;
    const char *path;
    const struct latents_options *options;
    const struct backend *backend;
    const struct progress *progress;
};

static bool open_pool(void *self, struct err *e)
{
    const struct pool_work *w = self;
    return latents_open(w->latents, w->path, w->options, w->backend, w->progress, e);
}

static bool open_parts(struct parts *p, const struct base_args *a, struct train_base_options *o,
                       const struct progress *progress, struct err *e)
{
    char text[PATH_MAX_BYTES], unet[PATH_MAX_BYTES], scheduler[PATH_MAX_BYTES], vae[PATH_MAX_BYTES];
    const char *folder = a->run.config;
    p->backend = backend_cpu_new((int)a->run.threads, NULL, e);
    if (!p->backend || !part_files(folder, "text_encoder", "config.json", text, "model.safetensors", &p->text, e) ||
        !part_files(folder, "unet", "config.json", unet, "diffusion_pytorch_model.safetensors", &p->unet, e) ||
        !part_files(folder, "scheduler", "scheduler_config.json", scheduler, NULL, NULL, e) ||
        !clip_config_read(&o->text, text, e) || !unet_config_read(&o->unet, unet, e) ||
        !scheduler_config_read(&o->scheduler, scheduler, e) || !path_join(vae, a->vae, "config.json", e) ||
        !vae_config_read(&p->vae_config, vae, e) || !(p->vae = weights_open(a->vae, e)) ||
        !(p->tokenizer = clip_tokenizer_open(a->tokenizer, e)) || !(p->dataset = dataset_open(a->run.dataset, e)) ||
        !dataset_load(p->dataset, (int)a->run.size, true, progress, e))
        return false;
    o->type = run_type(&a->run, p->backend);
    struct latents_options pool = { .dataset = p->dataset, .scenes = o->scenes, .vae = &p->vae_config, .weights = p->vae,
                                    .size = a->run.size, .count = a->pool, .seed = (uint64_t)a->pool_seed, .type = o->type };
    char path[PATH_MAX_BYTES];
    if (!folder_make(a->run.output, e) || !path_join(path, a->run.output, "latents.safetensors", e) ||
        !ranks_first(o->run.ranks, open_pool, &(struct pool_work){ &p->latents, path, &pool, p->backend, progress }, e))
        return false;
    size_t held_out;
    dataset_split(p->dataset, true, -1, &held_out);
    if (held_out) {
        pool.scenes.held_out = true;
        pool.count = a->held_out;
        if (!path_join(path, a->run.output, "held-out.safetensors", e) ||
            !ranks_first(o->run.ranks, open_pool, &(struct pool_work){ &p->held_out, path, &pool, p->backend, progress }, e))
            return false;
        o->held_out = &p->held_out;
    }
    o->dataset = p->dataset;
    o->latents = &p->latents;
    o->tokenizer = p->tokenizer;
    o->stored_text = p->text;
    o->stored_unet = p->unet;
    return true;
}

static void release_parts(struct parts *p)
{
    latents_release(&p->latents);
    latents_release(&p->held_out);
    clip_tokenizer_free(p->tokenizer);
    dataset_free(p->dataset);
    weights_free(p->text);
    weights_free(p->unet);
    weights_free(p->vae);
    backend_cpu_free(p->backend);
}

enum { LOOK_PICTURES = 16, LOOK_COLUMNS = 8 };

/* What every preview shows: the same words, the same noise. */
struct look {
    const struct backend *backend;
    enum dtype type;
    char *prompts[LOOK_PICTURES];
    uint64_t seeds[LOOK_PICTURES];
};

/* The words given, or else canonical captions of pictures far apart in the list, English and Chinese in turn. */
static bool choose_prompts(struct look *l, const struct option_texts *given, const struct dataset *d, struct err *e)
{
    size_t count;
    const uint32_t *trained = dataset_split(d, false, -1, &count);
    for (int i = 0; i < LOOK_PICTURES; i++) {
        char caption[SCENE_CAPTION_BYTES] = "";
        if (!given->count && count) {
            struct scene_facts facts = scene_of(trained[count * (size_t)i / LOOK_PICTURES], (enum dataset_language)(i % 2));
            scene_caption(d, &facts, caption);
        }
        l->seeds[i] = (uint64_t)i;
        l->prompts[i] = mem_string(given->count ? given->items[i % given->count] : caption);
        if (!l->prompts[i])
            return err_nomem(e, "prompts");
    }
    return true;
}

static bool preview(void *self, const char *model, int64_t step, const char *png, json_t *metrics, struct err *e)
{
    const struct look *l = self;
    struct pipeline *p = pipeline_open(model, l->backend, l->type, e);
    struct drawing drawing = { 0 };
    struct image sheet = { 0 };
    bool good = p != NULL;
    if (good) {
        struct draw_request r = draw_request_defaults(p);
        r.batch = LOOK_PICTURES;
        r.prompts = (const char *const *)l->prompts;
        r.seeds = l->seeds;
        good = pipeline_draw(p, &r, NULL, &drawing, e);
    }
    good = good && image_grid(&sheet, drawing.images, LOOK_PICTURES, LOOK_COLUMNS, 2, 0xFFFFFF, e) &&
           image_save_png(png, &sheet, NULL, 0, e);
    image_release(&sheet);
    drawing_release(&drawing);
    pipeline_free(p);
    return good;
}

/* Both commands: places 0 trains the text encoder and the denoiser together, more the text encoder alone. */
static bool run_of(const struct command *command, const struct base_args *a, struct err *e)
{
    if (!run_args_check(&a->run, e))
        return false;
    if (!a->vae || !a->tokenizer)
        return err_set(e, ERR_ARG, "%s is missing", a->vae ? "--tokenizer" : "--vae");
    struct train_base_options o = {
        .scenes = run_scenes(&a->run), .pool_seed = (uint64_t)a->pool_seed, .vae_folder = a->vae,
        .tokenizer_folder = a->tokenizer,
        .export_type = run_export_type(&a->run),
        .recompute = a->run.recompute, .seed = (uint64_t)a->run.seed, .caption_dropout = a->caption_dropout,
        .min_snr = a->min_snr, .min_weight = a->min_weight, .timestep_shift = a->timestep_shift,
    };
    struct run_groups groups;
    if (!run_options(&a->run, &groups, &o.run, e))
        return false;
    struct ranks *ranks;
    if (!ranks_new(&ranks, e))
        return false;
    o.run.ranks = ranks;
    struct progress_bar bar;
    progress_bar_init(&bar, a->run.quiet || ranks_mine(ranks));
    struct progress progress = progress_bar_steps(&bar);
    struct parts p = { 0 };
    struct look look = { 0 };
    bool good = open_parts(&p, a, &o, &progress, e);
    if (good && a->run.plan) {
        struct train_memory m;
        good = a->places ? train_text_plan(&o, a->places, p.backend, &m, e) : train_base_plan(&o, p.backend, &m, e);
        if (good)
            run_print_plan(&m);
    } else if (good) {
        look = (struct look){ .backend = p.backend, .type = o.type };
        o.preview = preview;
        o.preview_self = &look;
        good = choose_prompts(&look, &a->prompts, p.dataset, e) &&
               (ranks_mine(ranks) || run_write_config(command, a, a->run.output, e)) &&
               (a->places ? train_text(&o, a->places, p.backend, &progress, e) : train_base(&o, p.backend, &progress, e));
    }
    progress_bar_end(&bar);
    for (int i = 0; i < LOOK_PICTURES; i++)
        mem_free(look.prompts[i]);
    scheduler_config_release(&o.scheduler);
    release_parts(&p);
    ranks_free(ranks, good);
    return good;
}

static bool run_base(const void *args, struct err *e)
{
    return run_of(&command_train_base, args, e);
}

static bool run_text(const void *args, struct err *e)
{
    return run_of(&command_train_text, args, e);
}

const struct command command_train_base = {
    .name = "train base",
    .help = "Trains a text encoder and a denoiser together, from nothing or on from weights.",
    .details = "The run's folder gets config.json, metrics.jsonl, curve.png, samples/, checkpoint.safetensors, latents.safetensors, "
               "model/, a whole diffusers folder, best/ (that with the lowest loss on held-out pictures) and events for TensorBoard. Ctrl-C saves; --resume goes on in the same bits.",
    .options = base_options,
    .args_bytes = sizeof(struct base_args),
    .run = run_base,
};

const struct command command_train_text = {
    .name = "train text",
    .help = "Trains a text encoder alone, before a denoiser: to say what the picture of its words looks like.",
    .details = "A short training that saves a long one: train base --config RUN/model then begins with words that mean something. "
               "--config is the folder of train base's configs; the VAE and the tokenizer are its too. The run's folder gets config.json, "
               "metrics.jsonl, curve.png, checkpoint.safetensors, latents.safetensors (train base can take them over), model/ and best/.",
    .options = text_options,
    .args_bytes = sizeof(struct base_args),
    .run = run_text,
};
