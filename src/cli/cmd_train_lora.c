#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/engine.h"
#include "cli/progress_bar.h"
#include "cli/train_common.h"
#include "train/finetune.h"
#include "train/replay.h"

struct lora_args {
    const char *model, *vae, *comfyui, *extra_model_paths, *dataset, *output, *replay, *init_lora, *targets;
    int prediction, format, init, type, schedule, precision, loss, timesteps;
    int64_t rank, steps, batch, accumulate, warmup, seed, log_every, save_every, threads, stop_at;
    double alpha, rate, text_rate, decay, beta1, beta2, eps, clip, ema, minutes, final_rate;
    double huber, min_snr, noise_offset, least, most, logit_mean, logit_deviation;
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
    { "steps", 0, OPTION_INT, AT(steps), "0", .min = 1, .max = 1e9, .help = "optimizer steps", .initial_help = "1000, or --replay's",
      .group = "Run" },
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
        .final_rate = a->final_rate, .log_every = a->replay ? 1 : a->log_every, .save_every = a->save_every, .stop_at = a->stop_at,
        .minutes = a->minutes, .profile = a->profile,
    };
}

/* Everything that a run is made of, in the order of making. */
struct work {
    struct engine engine;
    struct model_places places;
    struct model_folder model;
    struct targets targets;
    struct objective objective;
    struct encoders encoders;
    struct replay replay;
    struct finetune *finetune;
};

static void work_release(struct work *w)
{
    finetune_free(w->finetune);
    replay_release(&w->replay);
    encoders_release(&w->encoders);
    objective_release(&w->objective);
    targets_release(&w->targets);
    model_folder_release(&w->model);
    model_places_release(&w->places);
    engine_release(&w->engine);
}

static bool open_model(struct work *w, const struct lora_args *a, struct err *e)
{
    char path[PATH_MAX_BYTES], vae_path[PATH_MAX_BYTES];
    const char *vae = a->vae;
    return engine_init(&w->engine, a->threads, a->precision, e) && engine_places(&w->places, a->comfyui, a->extra_model_paths, e) &&
           engine_find_model(path, &w->places, a->model, e) && engine_find_vae(vae_path, &w->places, &vae, e) &&
           model_folder_open_files(&w->model, &(struct model_files){ .path = path, .vae = vae,
                                                                      .predicts = (enum predicts)a->prediction }, e);
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

static bool run(const void *args, struct err *e)
{
    const struct lora_args *a = args;
    static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };
    if (!a->output || !(a->dataset || a->replay))
        return err_set(e, ERR_ARG, "%s is missing", a->output ? "--dataset" : "--output");
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    struct work w = { 0 };
    struct objective_options objective = objective_of(a);
    struct target_options targets = { .names = a->targets, .text = a->text_rate > 0, .rank = a->rank, .alpha = a->alpha,
                                      .dora = a->dora, .gaussian = a->init == 1, .init = a->init_lora };
    bool good = open_model(&w, a, e) && objective_init(&w.objective, &objective, &w.model.scheduler, e) &&
                targets_init(&w.targets, &w.model, &targets, e);
    struct finetune_options o = { .model = &w.model, .targets = &w.targets, .objective = &w.objective, .type = w.engine.type,
                                  .recompute = a->checkpointing, .in_place = !a->packed, .seed = (uint64_t)a->seed,
                                  .output = { (enum lora_layout)a->format, types[a->type], w.model.parts.family, NULL, 0 } };
    if (good) {
        encoders_init(&w.encoders, &w.model, w.engine.backend, w.engine.type);
        good = replay_open(&w.replay, a->replay, &w.model.parts, w.objective.noise.count, w.targets.learns, &w.encoders, e);
        encoders_release(&w.encoders);
        o.sizes = w.replay.sizes;
        o.source = (struct batch_source){ &w.replay, replay_fill };
        o.run = run_of(a, a->steps ? a->steps : w.replay.steps);
        o.run.batch = o.sizes.n;
    }
    good = good && (w.finetune = finetune_new(&o, w.engine.backend, e)) != NULL;
    if (good && a->plan) {
        struct train_memory m = finetune_memory(w.finetune);
        run_print_plan(&m);
    } else if (good) {
        tell(&w, &o, &progress);
        good = run_write_config(&command_train_lora, a, a->output, e) && finetune_run(w.finetune, &progress, e);
    }
    progress_bar_end(&bar);
    work_release(&w);
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
