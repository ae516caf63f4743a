#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/engine.h"
#include "cli/lora_facts.h"
#include "cli/progress_bar.h"
#include "cli/train_common.h"
#include "cli/train_look.h"
#include "train/replay.h"

struct lora_args {
    const char *model, *vae, *comfyui, *extra_model_paths, *dataset, *output, *replay, *init_lora, *targets, *resolution,
        *cache, *masks, *regular;
    struct option_texts prompts;
    int prediction, format, init, type, schedule, precision, loss, timesteps;
    int64_t rank, steps, epochs, keep_tokens, sample_every, sample_steps, batch, accumulate, warmup, seed, log_every, save_every, threads, stop_at;
    double alpha, rate, text_rate, decay, beta1, beta2, eps, clip, ema, minutes, final_rate;
    double caption_dropout, regular_weight;
    double huber, min_snr, noise_offset, least, most, logit_mean, logit_deviation;
    bool center_crop, random_crop, flip, shuffle, sampled;
    bool dora, checkpointing, packed, resume, plan, json, quiet, profile, zero_snr;
};

static const char *format_choice(int index)
{
    return index >= 0 && index < LORA_LAYOUTS ? lora_layout_names[index] : NULL;
}

static const char *loss_choice(int index)
{
    return index >= 0 && index < LOSS_KINDS ? objective_loss_names[index] : NULL;
}

static const char *timesteps_choice(int index)
{
    return index >= 0 && index < TIMESTEPS_KINDS ? objective_timesteps_names[index] : NULL;
}

OPTION_CHOICES(init_choice, "kaiming", "gaussian")
OPTION_CHOICES(type_choice, "f32", "bf16", "f16")

#define AT(member) offsetof(struct lora_args, member)
static const struct option lora_options[] = {
    OPTION_ROW_MODEL(struct lora_args),
    { "dataset", 'd', OPTION_TEXT, AT(dataset), .value = "FOLDER", .help = "pictures with metadata.jsonl or metadata.csv" },
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FOLDER", .help = "the run's folder; the LoRA is lora.safetensors in it" },
    { "vae", 0, OPTION_TEXT, AT(vae), .value = "FILE", .help = "a file or folder whose VAE is taken in place of the model's" },
    { "prediction", 0, OPTION_CHOICE, AT(prediction), "auto", .choices = prediction_choice,
      .help = "what the denoiser predicts, where a file does not tell it truly" },
    OPTION_ROWS_PLACES(struct lora_args),
    { "lora-rank", 0, OPTION_INT, AT(rank), "0", .min = 1, .max = LORA_MAX_RANK, .help = "of each pair",
      .initial_help = "16, or --init-lora's", .group = "LoRA" },
    { "lora-alpha", 0, OPTION_FLOAT, AT(alpha), "0", .min = 1e-6, .max = 1e6, .help = "a pair counts alpha / rank",
      .initial_help = "the rank, or --init-lora's" },
    { "lora-targets", 0, OPTION_TEXT, AT(targets), .value = "NAMES",
      .help = "attention, linear, all (linear layers and convolutions), or ends of modules' names with commas between them",
      .initial_help = "attention, or --init-lora's modules" },
    { "dora", 0, OPTION_FLAG, AT(dora), .help = "learn magnitudes, too (DoRA)" },
    { "init-lora", 0, OPTION_TEXT, AT(init_lora), .value = "FILE", .help = "begin with this LoRA" },
    { "init-lora-weights", 0, OPTION_CHOICE, AT(init), "kaiming", .choices = init_choice, .help = "how pairs begin that begin anew" },
    { "lora-format", 0, OPTION_CHOICE, AT(format), "kohya", .choices = format_choice, .help = "names in the file" },
    { "lora-type", 0, OPTION_CHOICE, AT(type), "f32", .choices = type_choice, .help = "type of the tensors in the file" },
    { "resolution", 0, OPTION_TEXT, AT(resolution), .value = "PIXELS",
      .help = "pictures are scaled to cover so many pixels and cut to them: 512, or 768x512", .initial_help = "the model's own",
      .group = "Pictures and words" },
    { "center-crop", 0, OPTION_FLAG, AT(center_crop), .help = "cut around the middle: the default" },
    { "random-crop", 0, OPTION_FLAG, AT(random_crop), .help = "cut somewhere, each time elsewhere" },
    { "random-flip", 0, OPTION_FLAG, AT(flip), .help = "mirror half of the samples" },
    { "sample-latents", 0, OPTION_FLAG, AT(sampled), .help = "draw latents from the VAE's distribution in place of its mean" },
    { "caption-dropout", 0, OPTION_FLOAT, AT(caption_dropout), "0", .min = 0, .max = 1, .help = "share of samples without words" },
    { "shuffle-caption", 0, OPTION_FLAG, AT(shuffle), .help = "words between commas in another order each time" },
    { "keep-tokens", 0, OPTION_INT, AT(keep_tokens), "0", .min = 0, .max = 100, .help = "so many of them stay at the beginning" },
    { "masks", 0, OPTION_TEXT, AT(masks), .value = "FOLDER",
      .help = "masks of the pictures' names, white where a place counts; \"alpha\": the pictures' own transparency" },
    { "regular", 0, OPTION_TEXT, AT(regular), .value = "FOLDER",
      .help = "a data set of pictures of the same kind, learnt beside so that the kind stays what it is" },
    { "regular-weight", 0, OPTION_FLOAT, AT(regular_weight), "1", .min = 0, .max = 100, .help = "how much those count" },
    { "cache", 0, OPTION_TEXT, AT(cache), .value = "FOLDER", .help = "where latents and text states are kept, for other runs too",
      .initial_help = "cache in the run's folder" },
    { "steps", 0, OPTION_INT, AT(steps), "0", .min = 1, .max = 1e9, .help = "optimizer steps",
      .initial_help = "1000, or --epochs', or --replay's", .group = "Run" },
    { "epochs", 0, OPTION_INT, AT(epochs), "0", .min = 1, .max = 1e6, .help = "rounds through the data set, in place of --steps",
      .initial_help = "--steps" },
    { "batch", 'b', OPTION_INT, AT(batch), "1", .min = 1, .max = 4096, .help = "pictures at once" },
    { "accumulate", 0, OPTION_INT, AT(accumulate), "1", .min = 1, .max = 65536, .help = "batches per step" },
    { "learning-rate", 0, OPTION_FLOAT, AT(rate), "1e-4", .min = 0, .max = 10, .help = "AdamW's rate" },
    { "text-learning-rate", 0, OPTION_FLOAT, AT(text_rate), "0", .min = 0, .max = 10,
      .help = "that of the text encoders; 0: they stay as they are" },
    { "weight-decay", 0, OPTION_FLOAT, AT(decay), "0.01", .min = 0, .max = 10, .help = "AdamW's" },
    { "beta1", 0, OPTION_FLOAT, AT(beta1), "0.9", .min = 0, .max = 0.9999, .help = "AdamW's" },
    { "beta2", 0, OPTION_FLOAT, AT(beta2), "0.999", .min = 0, .max = 0.999999, .help = "AdamW's" },
    { "epsilon", 0, OPTION_FLOAT, AT(eps), "1e-8", .min = 0, .max = 1, .help = "AdamW's" },
    { "max-grad-norm", 0, OPTION_FLOAT, AT(clip), "-1", .min = 0, .max = 1e9,
      .help = "longer gradients are shortened to it; 0: off", .initial_help = "1, with --replay 0" },
    { "lr-schedule", 0, OPTION_CHOICE, AT(schedule), "constant", .choices = rate_schedule_choice,
      .help = "how the rate falls after the warm-up" },
    { "final-rate", 0, OPTION_FLOAT, AT(final_rate), "0", .min = 0, .max = 1, .help = "where it ends, as a share of the rate" },
    { "warmup", 0, OPTION_INT, AT(warmup), "0", .min = 0, .max = 1e9, .help = "steps" },
    { "ema", 0, OPTION_FLOAT, AT(ema), "0", .min = 0, .max = 0.999999,
      .help = "decay of a running mean of what is learnt, which is then what is kept; 0: none" },
    { "seed", 0, OPTION_INT, AT(seed), "0", .min = 0, .max = 4294967295.0, .help = "of everything random" },
    { "save-every", 0, OPTION_INT, AT(save_every), "500", .min = 1, .max = 1e9, .help = "steps; each is kept" },
    { "log-every", 0, OPTION_INT, AT(log_every), "10", .min = 1, .max = 1e9, .help = "steps" },
    { "sample-every", 0, OPTION_INT, AT(sample_every), "500", .min = 1, .max = 1e9,
      .help = "steps between sample pictures, with the same noise each time" },
    { "sample-prompts", 0, OPTION_TEXTS, AT(prompts), .value = "TEXT",
      .help = "words of a sample picture, or a file with a line for each; without it there are none" },
    { "sample-steps", 0, OPTION_INT, AT(sample_steps), "0", .min = 1, .max = 1000, .help = "denoiser steps of a sample picture",
      .initial_help = "the model's own" },
    { "resume", 0, OPTION_FLAG, AT(resume), .help = "go on from the run's checkpoint, in the same bits" },
    { "stop-at", 0, OPTION_INT, AT(stop_at), "0", .min = 0, .max = 1e9, .help = "save and stop after this step; 0: not" },
    { "minutes", 0, OPTION_FLOAT, AT(minutes), "0", .min = 0, .max = 1e6, .help = "save and stop after so long; 0: not" },
    { "replay", 0, OPTION_TEXT, AT(replay), .value = "FILE",
      .help = "learn from the batches in this file in place of a dataset: latents, noise, timesteps, text states" },
    { "loss", 0, OPTION_CHOICE, AT(loss), "mse", .choices = loss_choice, .help = "how a mistake counts", .group = "Objective" },
    { "huber-c", 0, OPTION_FLOAT, AT(huber), "0.1", .min = 1e-6, .max = 1e6, .help = "where the Huber loss turns from square to straight" },
    { "min-snr", 0, OPTION_FLOAT, AT(min_snr), "0", .min = 0, .max = 1e6, .help = "gamma of min-SNR weighting; 0: off" },
    { "noise-offset", 0, OPTION_FLOAT, AT(noise_offset), "0", .min = 0, .max = 10, .help = "of the noise's mean in each channel; 0: off" },
    { "zero-terminal-snr", 0, OPTION_FLAG, AT(zero_snr), .help = "rescale the noise schedule so that the last timestep is all noise" },
    { "timesteps", 0, OPTION_CHOICE, AT(timesteps), "uniform", .choices = timesteps_choice, .help = "how often each is learnt" },
    { "logit-mean", 0, OPTION_FLOAT, AT(logit_mean), "0", .min = -20, .max = 20, .help = "of logit-normal: above 0 noisier timesteps" },
    { "logit-deviation", 0, OPTION_FLOAT, AT(logit_deviation), "1", .min = 1e-3, .max = 20, .help = "of logit-normal" },
    { "least-timestep", 0, OPTION_FLOAT, AT(least), "0", .min = 0, .max = 1, .help = "none below this share of all is learnt" },
    { "most-timestep", 0, OPTION_FLOAT, AT(most), "1", .min = 0, .max = 1, .help = "none above" },
    { "precision", 0, OPTION_CHOICE, AT(precision), "auto", .choices = precision_choice,
      .help = "what the model computes in; auto is bf16 where the processor has it", .group = "Memory and time" },
    { "gradient-checkpointing", 0, OPTION_FLAG, AT(checkpointing),
      .help = "compute inner activations twice instead of keeping them: less memory, a third more work" },
    { "packed", 0, OPTION_FLAG, AT(packed),
      .help = "keep a second copy of the model's weights in the order that the processor likes: faster where memory is no concern" },
    { "profile", 0, OPTION_FLAG, AT(profile), .help = "print at the end where the time went, by kind of op" },
    OPTION_ROW_THREADS(struct lora_args), OPTION_ROW_PLAN(struct lora_args), OPTION_ROW_JSON(struct lora_args),
    OPTION_ROW_QUIET(struct lora_args),
    { 0 },
};

static struct objective_options objective_of(const struct lora_args *a)
{
    return (struct objective_options){
        .loss = (enum objective_loss)a->loss, .huber = a->huber, .timesteps = (enum objective_timesteps)a->timesteps,
        .logit_mean = a->logit_mean, .logit_deviation = a->logit_deviation, .least = a->least, .most = a->most,
        .min_snr = a->min_snr, .noise_offset = a->noise_offset, .zero_snr = a->zero_snr,
    };
}

static struct train_options run_of(const struct lora_args *a, int64_t steps)
{
    return (struct train_options){
        .folder = a->output, .resume = a->resume, .steps = steps, .warmup = a->warmup, .accumulate = a->accumulate,
        .batch = a->batch, .rate = a->rate, .beta1 = a->beta1, .beta2 = a->beta2, .eps = a->eps, .decay = a->decay,
        .clip = a->clip < 0 ? (a->replay ? 0 : 1) : a->clip, .ema = a->ema, .schedule = (enum rate_schedule)a->schedule,
        .final_rate = a->final_rate, .sample_every = a->sample_every, .log_every = a->replay ? 1 : a->log_every, .save_every = a->save_every, .stop_at = a->stop_at,
        .minutes = a->minutes, .profile = a->profile,
    };
}

/* Everything that a run is made of, in the order of making. */
struct work {
    struct engine engine;
    struct model_places places;
    char model_path[PATH_MAX_BYTES], vae_path[PATH_MAX_BYTES];
    struct model_files files;
    struct model_folder model;
    struct targets targets;
    struct objective objective;
    struct encoders encoders;
    struct features features;
    struct samples samples;
    struct replay replay;
    struct train_look look;
    struct lora_facts_list facts;
    struct finetune *finetune;
};

static void work_release(struct work *w)
{
    finetune_free(w->finetune);
    lora_facts_release(&w->facts);
    train_look_release(&w->look);
    replay_release(&w->replay);
    samples_release(&w->samples);
    encoders_release(&w->encoders);
    objective_release(&w->objective);
    targets_release(&w->targets);
    model_folder_release(&w->model);
    model_places_release(&w->places);
    engine_release(&w->engine);
}

static bool open_model(struct work *w, const struct lora_args *a, struct err *e)
{
    const char *vae = a->vae;
    if (!engine_init(&w->engine, a->threads, a->precision, e) || !engine_places(&w->places, a->comfyui, a->extra_model_paths, e) ||
        !engine_find_model(w->model_path, &w->places, a->model, e) || !engine_find_vae(w->vae_path, &w->places, &vae, e))
        return false;
    w->files = (struct model_files){ .path = w->model_path, .vae = vae, .predicts = (enum predicts)a->prediction };
    return model_folder_open_files(&w->model, &w->files, e);
}

/* "512" or "768x512" -> width and height. */
static bool read_resolution(const char *text, int64_t side, int64_t *width, int64_t *height, struct err *e)
{
    char end = 0;
    long long w, h;
    *width = *height = side;
    if (!text)
        return true;
    int count = sscanf(text, "%lldx%lld%c", &w, &h, &end);
    if (count == 1)
        count = sscanf(text, "%lld%c", &w, &end) == 1 ? 1 : 0;
    if ((count != 1 && count != 2) || w < 8 || w > 8192 || (count == 2 && (h < 8 || h > 8192)))
        return err_set(e, ERR_ARG, "--resolution %s: want pixels from 8 to 8192, such as 512 or 768x512", text);
    *width = w;
    *height = count == 2 ? h : w;
    return true;
}

/* Batches from a file. */
static bool begin_replay(struct work *w, const struct lora_args *a, struct finetune_options *o, struct err *e)
{
    bool good = replay_open(&w->replay, a->replay, &w->model.parts, w->objective.noise.count, w->targets.learns, &w->encoders, e);
    if (!good)
        return false;
    o->sizes = w->replay.sizes;
    o->source = (struct batch_source){ &w->replay, replay_fill };
    o->run = run_of(a, a->steps ? a->steps : w->replay.steps / a->accumulate);
    o->run.batch = o->sizes.n;
    return true;
}

static struct sample_options samples_of(const struct lora_args *a)
{
    return (struct sample_options){
        .dataset = a->dataset, .random_crop = a->random_crop, .flip = a->flip, .sampled = a->sampled,
        .caption_dropout = a->caption_dropout, .shuffle = a->shuffle, .keep = a->keep_tokens, .masks = a->masks, .regular = a->regular,
        .regular_weight = a->regular_weight, .batch = a->batch, .seed = (uint64_t)a->seed,
    };
}

/* Batches from a data set. */
static bool begin_samples(struct work *w, const struct lora_args *a, struct finetune_options *o, const struct progress *progress,
                          struct err *e)
{
    struct sample_options s = samples_of(a);
    char cache[PATH_MAX_BYTES];
    if (!read_resolution(a->resolution, model_folder_side(&w->model), &s.width, &s.height, e) ||
        !(a->cache ? path_join(cache, "", a->cache, e) : path_join(cache, a->output, "cache", e)) ||
        !features_open(&w->features, cache, &w->encoders, e) ||
        !samples_open(&w->samples, &s, &w->features, &w->objective, w->targets.learns, progress, e))
        return false;
    int64_t steps = a->steps ? a->steps : 1000;
    if (a->epochs)
        steps = (a->epochs * samples_round(&w->samples) + a->accumulate - 1) / a->accumulate;
    o->sizes = w->samples.sizes;
    o->source = (struct batch_source){ &w->samples, samples_fill };
    o->run = run_of(a, steps);
    return true;
}

static void tell(const struct work *w, const struct finetune_options *o, const struct progress *progress)
{
    int64_t numbers = 0;
    for (size_t i = 0; i < w->targets.adapters.count; i++) {
        const struct lora_module *m = targets_module(&w->targets, i);
        int64_t out = m->shape.dim[0], in = shape_count(m->shape) / out;
        numbers += w->targets.list[i].rank * (in + out) + (w->targets.list[i].gain ? out : 0);
    }
    progress_line(progress, "%zu modules learn, %.2f million numbers; %lld steps", w->targets.adapters.count, (double)numbers * 1e-6,
                  (long long)o->run.steps);
}

static bool check(const struct lora_args *a, struct err *e)
{
    if (!a->output || !(a->dataset || a->replay))
        return err_set(e, ERR_ARG, "%s is missing", a->output ? "--dataset" : "--output");
    if (a->dataset && a->replay)
        return err_set(e, ERR_ARG, "--dataset and --replay: batches come from one of them");
    if (a->center_crop && a->random_crop)
        return err_set(e, ERR_ARG, "--center-crop and --random-crop are two ways to cut");
    if (a->steps && a->epochs)
        return err_set(e, ERR_ARG, "--steps and --epochs both say how long");
    return true;
}

static bool prepare(struct work *w, const struct lora_args *a, struct finetune_options *o, const struct progress *progress,
                    struct err *e)
{
    struct objective_options objective = objective_of(a);
    struct target_options targets = { .names = a->targets, .text = a->text_rate > 0, .rank = a->rank, .alpha = a->alpha,
                                      .dora = a->dora, .gaussian = a->init == 1, .init = a->init_lora };
    if (!open_model(w, a, e) || !objective_init(&w->objective, &objective, &w->model.scheduler, e) ||
        !targets_init(&w->targets, &w->model, &targets, e))
        return false;
    static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };
    encoders_init(&w->encoders, &w->model, w->engine.backend, w->engine.type);
    *o = (struct finetune_options){ .model = &w->model, .targets = &w->targets, .objective = &w->objective, .type = w->engine.type,
                                    .recompute = a->checkpointing, .in_place = !a->packed, .seed = (uint64_t)a->seed,
                                    .output = { (enum lora_layout)a->format, types[a->type], w->model.parts.family, NULL, 0 } };
    if (!(a->replay ? begin_replay(w, a, o, e) : begin_samples(w, a, o, progress, e)))
        return false;
    if (a->prompts.count && !train_look_init(&w->look, &w->files, &w->engine, &a->prompts, a->sample_steps, &o->sizes,
                                             vae_factor(&w->model.parts.vae), e))
        return false;
    o->look = a->prompts.count ? train_look_draw : NULL;
    o->look_self = &w->look;
    /* what changes nothing of what is learnt stays out: a run that was stopped writes what an unbroken one writes */
    static const char *const aside[] = { "output", "cache", "resume", "stop_at", "minutes", "plan", "json", "quiet", "profile", "threads" };
    json_t *settings = options_json(&command_train_lora, a, e);
    for (size_t i = 0; settings && i < sizeof aside / sizeof *aside; i++)
        json_object_del(settings, aside[i]);
    bool good = settings && lora_facts_make(&w->facts, o, a->replay ? NULL : &w->samples, settings, e);
    json_decref(settings);
    o->output.facts = w->facts.pairs;
    o->output.fact_count = w->facts.count;
    return good && (w->finetune = finetune_new(o, w->engine.backend, e)) != NULL;
}

static bool run(const void *args, struct err *e)
{
    const struct lora_args *a = args;
    struct finetune_options o;
    struct progress_bar bar;
    struct work *w = check(a, e) ? mem_zeroed(1, sizeof *w) : NULL;
    if (!w)
        return e->code ? false : err_nomem(e, "a training");
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = prepare(w, a, &o, &progress, e);
    if (good && a->plan) {
        struct train_memory m = finetune_memory(w->finetune);
        run_print_plan(&m);
    } else if (good) {
        tell(w, &o, &progress);
        good = run_write_config(&command_train_lora, a, a->output, e) &&
               (a->replay || samples_prepare(&w->samples, o.run.steps * o.run.accumulate, &progress, e));
        encoders_release(&w->encoders);
        encoders_init(&w->encoders, &w->model, w->engine.backend, w->engine.type);
        good = good && finetune_run(w->finetune, &progress, e);
    }
    progress_bar_end(&bar);
    work_release(w);
    mem_free(w);
    return good;
}

const struct command command_train_lora = {
    .name = "train lora",
    .help = "Teaches a model a style or a thing from a few pictures, as a LoRA.",
    .details = "The run's folder gets config.json, metrics.jsonl, curve.png, checkpoint.safetensors, lora.safetensors and a "
               "lora-step<step>.safetensors for every save. Ctrl-C saves; --resume goes on in the same bits.",
    .options = lora_options,
    .args_bytes = sizeof(struct lora_args),
    .run = run,
};
