#include "cli/finetune_work.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/finetune_fit.h"
#include "cli/finetune_time.h"
#include "cli/json_line.h"
#include "cli/lora_facts.h"
#include "cli/progress_bar.h"
#include "cli/train_look.h"
#include "train/replay.h"

/* Everything that a run is made of, in the order of making. */
struct work {
    const struct command *command;
    struct finetune_args asked, a; /* a: but for what the run gives up so that it fits (finetune_fit.h) */
    struct finetune_options o;
    struct fit fit;
    bool recalled;             /* that was chosen when the run began */
    struct ranks *ranks; /* the processes of this run */
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
    struct run_groups groups;
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

static bool open_model(struct work *w, const struct finetune_args *a, struct err *e)
{
    const char *vae = a->vae_path ? a->vae_path : a->vae;
    bool apart = a->unet_path || a->text_path; /* then the VAE's path is one of three */
    if (!engine_init(&w->engine, a->threads, finetune_precision(a->precision), e) ||
        !engine_places(&w->places, a->comfyui, a->extra_model_paths, e) ||
        (!apart && (!engine_find_model(w->model_path, &w->places, a->model, e) ||
                    !engine_find_vae(w->vae_path, &w->places, &vae, e))))
        return false;
    w->files = (struct model_files){ .path = apart ? NULL : w->model_path, .unet = a->unet_path, .text_encoder = a->text_path,
                                     .config = apart ? NULL : a->model_config,
                                     .vae = vae, .predicts = (enum predicts)a->prediction };
    return model_folder_open_files(&w->model, &w->files, e);
}

static bool text_learns(const struct work *w)
{
    return w->targets.learns[PART_TEXT] || w->targets.learns[PART_TEXT_2];
}

/* Where what frozen parts make of a data set is kept: beside it if limn dataset cache has begun that, else in the run's folder. */
static bool cache_folder(const struct finetune_args *a, char *folder, struct err *e)
{
    if (a->cache)
        return path_join(folder, "", a->cache, e);
    return path_join(folder, a->dataset, "cache", e) &&
           (!a->output || path_is_folder(folder) || path_join(folder, a->output, "cache", e));
}

static bool open_samples(struct work *w, const struct finetune_args *a, const struct progress *progress, struct err *e)
{
    struct sample_options s = finetune_samples(a);
    struct buckets buckets;
    char cache[PATH_MAX_BYTES];
    s.buckets = &buckets;
    return finetune_buckets(a, model_folder_side(&w->model), &buckets, e) && cache_folder(a, cache, e) &&
           features_open(&w->features, cache, &w->encoders, e) &&
           samples_open(&w->samples, &s, &w->features, &w->objective, w->targets.learns, progress, e);
}

static bool begin_replay(struct work *w, struct err *e)
{
    const struct finetune_args *a = &w->a;
    return replay_open(&w->replay, a->replay, &w->model.parts, w->objective.noise.count, w->targets.learns, &w->encoders, e);
}

static int64_t steps_of(const struct work *w)
{
    const struct finetune_args *a = &w->a;
    if (a->replay)
        return a->steps ? a->steps : w->replay.steps / a->accumulate;
    if (a->epochs && a->epoch_steps)
        return a->epochs * a->epoch_steps;
    if (a->epochs)
        return (a->epochs * samples_round(&w->samples) + a->accumulate - 1) / a->accumulate;
    return a->steps ? a->steps : 1000;
}

/* Facts of a LoRA file. What changes nothing of what is learnt stays out: a run that was stopped writes what an unbroken one writes. */
static bool make_facts(struct work *w, struct err *e)
{
    static const char *const aside[] = { "output", "cache", "resume", "stop_at", "minutes", "plan", "json", "quiet", "profile", "threads",
                                         "memory", "config" };
    json_t *settings = options_json(w->command, &w->a, e);
    for (size_t i = 0; settings && i < sizeof aside / sizeof *aside; i++)
        json_object_del(settings, aside[i]);
    lora_facts_release(&w->facts);
    bool good = settings && lora_facts_make(&w->facts, &w->o, w->a.replay ? NULL : &w->samples, settings, e);
    json_decref(settings);
    w->o.output.facts = w->facts.pairs;
    w->o.output.fact_count = w->facts.count;
    return good;
}

static size_t together(const struct train_memory *m)
{
    return m->weights + m->packed + m->activations + m->optimizer;
}

/* Makes the programs as the arguments now say. */
static bool make(void *self, size_t *bytes, struct err *e)
{
    struct work *w = self;
    struct finetune_options *o = &w->o;
    const struct finetune_args *a = &w->a;
    finetune_free(w->finetune);
    w->finetune = NULL;
    if (!a->full && !model_folder_cast(&w->model, PART_UNET, a->frozen ? weights_type_of_choice(a->frozen) : DTYPE_COUNT, e))
        return false;
    if (!a->replay && !samples_set_batch(&w->samples, a->batch, e))
        return false;
    o->recompute = a->checkpoints_all ? RECOMPUTE_ALL : a->checkpointing ? RECOMPUTE_CHEAP : RECOMPUTE_NONE;
    o->sizes = a->replay ? w->replay.sizes : w->samples.sizes;
    o->source = a->replay ? (struct batch_source){ .self = &w->replay, .fill = replay_fill } : samples_source(&w->samples);
    if (!finetune_train_options(a, steps_of(w), text_learns(w), &w->groups, &o->run, e))
        return false;
    o->run.ranks = w->ranks;
    o->run.batch = a->replay ? o->sizes.n : a->batch;
    if ((!a->full && !make_facts(w, e)) || !(w->finetune = finetune_new(o, w->engine.backend, e)))
        return false;
    struct train_memory m = finetune_memory(w->finetune);
    *bytes = together(&m);
    return true;
}

/* The type of most of the denoiser's numbers in its file. */
static bool frozen_type(struct work *w, enum dtype *out, struct err *e)
{
    size_t bytes[DTYPE_COUNT] = { 0 };
    const struct weights *file = model_folder_weights(&w->model, PART_UNET, e);
    if (!file)
        return false;
    *out = DTYPE_F32;
    for (size_t i = 0; i < weights_count(file); i++)
        bytes[weights_at(file, i)->type] += weight_bytes(weights_at(file, i));
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (bytes[t] > bytes[*out])
            *out = (enum dtype)t;
    return true;
}

/* Makes the programs; where they would take more than there is, those of a run that gives something up. */
static bool make_to_fit(struct work *w, const struct progress *progress, struct err *e)
{
    struct finetune_args *a = &w->a;
    size_t most = a->memory ? (size_t)a->memory : mem_available(), rss = mem_rss();
    bool fits = true;
    struct fit_options fit = { .batches = !a->replay && !a->epoch_steps, .lora = !a->full, .computes = w->engine.type, .asked = a->memory > 0,
                               .ranks = w->ranks, .room = !a->memory ? most : most > rss ? most - rss : 1 }; /* what is free does not hold
                                                                                         what the process has already */
    if ((a->resume && !fit_recall(a, a->output, &w->recalled, e)) || !frozen_type(w, &fit.frozen, e))
        return false;
    fit.batches &= !w->recalled;
    fit.asked &= !w->recalled;
    if (!fit_choose(&w->fit, a, &fit, make, w, &fits, e))
        return false;
    for (int i = 0; i < w->fit.count && !a->plan; i++)
        progress_line(progress, "so that it fits, %s", w->fit.said[i]);
    struct train_memory m = finetune_memory(w->finetune);
    size_t need = together(&m);
    if (!fits && !a->plan)
        return err_set(e, ERR_LIMIT, "the run takes %.2f GiB beside the %.2f GiB of the program%s, and %s %.2f GiB: a smaller --resolution%s "
                       "takes less", ldexp((double)need, -30), ldexp((double)rss, -30),
                       w->fit.count ? ", with all given up that can be" : "", a->memory ? "--memory gives" : "there are free",
                       ldexp((double)most, -30), a->full ? ", --blocks or --optimizer adamw8bit" : a->memory ? " or --lora-rank" : " or --memory "
                       "with that size");
    return true;
}

/* The aspect buckets that pictures have, each with a program of its own. */
static json_t *buckets_json(const struct work *w)
{
    const struct samples *s = &w->samples;
    json_t *all = json_array();
    for (size_t i = 0; all && w->o.source.shapes && i < s->shape_count; i++)
        json_array_append_new(all, json_pack("{s:i, s:i, s:I, s:I}", "width", s->buckets[i].width, "height", s->buckets[i].height, "pictures",
                                             (json_int_t)samples_of_shape(s, i), "activations",
                                             (json_int_t)finetune_activations(w->finetune, i)));
    return all;
}

static bool print_plan(const struct work *w, struct err *e)
{
    double step;
    if (!finetune_time(w->finetune, &w->o, w->a.replay ? NULL : &w->samples, w->engine.backend, &step, e))
        return false;
    struct train_memory m = finetune_memory(w->finetune);
    const struct samples *s = &w->samples;
    run_print_plan(&m);
    printf("%-12s %10.2f s a step, %.1f min for %lld steps: about\n", "time", step, step * (double)w->o.run.steps / 60,
           (long long)w->o.run.steps);
    for (int i = 0; i < w->fit.count; i++)
        printf("so that it fits, %s\n", w->fit.said[i]);
    for (size_t i = 0; w->o.source.shapes && s->shape_count > 1 && i < s->shape_count; i++)
        printf("bucket %4dx%-4d %6.1f MiB of activations, %zu pictures a round\n", s->buckets[i].width, s->buckets[i].height,
               ldexp((double)finetune_activations(w->finetune, i), -20), samples_of_shape(s, i));
    return true;
}

/* One line of facts: the plan, or the run. */
static bool print_json(const struct work *w, struct err *e)
{
    const struct finetune_options *o = &w->o;
    struct train_memory m = finetune_memory(w->finetune);
    double step = 0;
    if (w->a.plan && !finetune_time(w->finetune, o, w->a.replay ? NULL : &w->samples, w->engine.backend, &step, e))
        return false;
    json_t *given_up = json_array();
    for (int i = 0; given_up && i < w->fit.count; i++)
        json_array_append_new(given_up, json_string(w->fit.said[i]));
    json_t *j = json_pack("{s:s, s:I, s:I, s:b, s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o*, s:o*}", "output", w->a.output, "steps",
                          (json_int_t)o->run.steps, "learns", (json_int_t)finetune_learns(w->finetune), "gradient_checkpointing", o->recompute != RECOMPUTE_NONE,
                          "batch", (json_int_t)o->run.batch, "accumulate", (json_int_t)o->run.accumulate, "optimizer",
                          optimizer_name((int)o->run.optimizer), "frozen_type", weights_type_choice(w->a.frozen), "weights",
                          (json_int_t)(m.weights + m.packed), "activations", (json_int_t)m.activations, "optimizer_state",
                          (json_int_t)m.optimizer, "together", (json_int_t)together(&m), "peak_rss", (json_int_t)mem_peak_rss(), "given_up",
                          given_up, "buckets", buckets_json(w));
    if (w->a.plan && j)
        json_object_set_new(j, "seconds_per_step", json_real(step));
    return json_line(j, JSON_COMPACT, e);
}

static void tell(const struct work *w, const struct progress *progress)
{
    const struct finetune_options *o = &w->o;
    progress_line(progress, "%.2f million numbers learn%s; %lld steps", (double)finetune_learns(w->finetune) * 1e-6,
                  o->targets ? path_of(", in %zu modules", w->targets.adapters.count).s : "", (long long)o->run.steps);
    for (size_t i = 0; o->source.shapes && w->samples.shape_count > 1 && i < w->samples.shape_count; i++)
        progress_line(progress, "bucket %dx%d: %zu pictures a round", w->samples.buckets[i].width, w->samples.buckets[i].height,
                      samples_of_shape(&w->samples, i));
}

static bool check(const struct finetune_args *a, struct err *e)
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

static bool prepare(struct work *w, const struct progress *progress, struct err *e)
{
    const struct finetune_args *a = &w->a;
    struct objective_options objective = finetune_objective(a);
    struct target_options targets = { .names = a->targets, .text = a->text_rate > 0, .rank = a->rank, .alpha = a->alpha,
                                      .dora = a->dora, .gaussian = a->init == 1, .init = a->init_lora };
    if (!open_model(w, a, e) || !objective_init(&w->objective, &objective, &w->model.scheduler, e) ||
        (!a->full && !targets_init(&w->targets, &w->model, &targets, e)))
        return false;
    static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };
    w->targets.learns[PART_UNET] |= a->full;
    for (int i = 0; a->full && i < TEXT_PARTS; i++)
        w->targets.learns[i] = a->text_rate > 0 && w->model.parts.text[i].kind;
    encoders_init(&w->encoders, &w->model, w->engine.backend, w->engine.type);
    w->o = (struct finetune_options){ .model = &w->model, .targets = a->full ? NULL : &w->targets, .objective = &w->objective,
                                      .type = w->engine.type, .in_place = !a->packed, .seed = (uint64_t)a->seed,
                                      .epoch_steps = a->epoch_steps, .blocks = a->blocks, .files = &w->files,
                                      .learns = { w->targets.learns[PART_TEXT], w->targets.learns[PART_TEXT_2] },
                                      .export_type = weights_type_of_choice(a->export),
                                      .output = { (enum lora_layout)a->format, types[a->type], w->model.parts.family, NULL, 0 } };
    if (!(a->replay ? begin_replay(w, e) : open_samples(w, a, progress, e)))
        return false;
    const struct batch_sizes *sizes = a->replay ? &w->replay.sizes : &w->samples.sizes;
    int64_t width = sizes->w * vae_factor(&w->model.parts.vae), height = sizes->h * vae_factor(&w->model.parts.vae);
    if (a->prompts.count && ((a->buckets && !finetune_resolution(a->resolution, model_folder_side(&w->model), &width, &height, e)) ||
                             !train_look_init(&w->look, &w->files, &w->engine, &a->prompts, a->sample_steps, width, height, e)))
        return false;
    w->o.look = a->prompts.count ? train_look_draw : NULL;
    w->o.look_self = &w->look;
    const struct adapter *first = &w->targets.list[0];
    if (!a->full)
        w->look.alpha = a->format == LORA_DIFFSYNTH ? first->scale * (double)first->rank : NAN; /* its files do not tell it */
    return make_to_fit(w, progress, e);
}

/* Everything that this run's samples need and is not kept yet. */
struct encoding {
    struct samples *samples;
    int64_t batches;
    const struct progress *progress;
};

static bool encode(void *self, struct err *e)
{
    const struct encoding *n = self;
    return samples_prepare(n->samples, n->batches, n->progress, e);
}

static bool work_run(struct work *w, const struct progress *progress, struct err *e)
{
    const struct finetune_args *a = &w->a;
    struct encoding encoding = { &w->samples, w->o.run.steps * w->o.run.accumulate, progress };
    bool first = !ranks_mine(w->ranks);
    if (first)
        tell(w, progress);
    if ((first && !(run_write_config(w->command, a, a->output, e) && (w->recalled || fit_keep(&w->asked, a, a->output, e)))) ||
        (!a->replay && !ranks_first(w->ranks, encode, &encoding, e)) || !model_folder_cast_fill(&w->model, PART_UNET, progress, e))
        return false;
    encoders_release(&w->encoders);
    encoders_init(&w->encoders, &w->model, w->engine.backend, w->engine.type);
    return finetune_run(w->finetune, progress, e) && (!a->json || print_json(w, e));
}

bool finetune_command(const struct command *command, const struct finetune_args *a, struct err *e)
{
    struct progress_bar bar;
    struct work *w = check(a, e) ? mem_zeroed(1, sizeof *w) : NULL;
    if (!w)
        return e->code ? false : err_nomem(e, "a training");
    w->command = command;
    w->a = w->asked = *a;
    if (!ranks_new(&w->ranks, e)) {
        mem_free(w);
        return false;
    }
    progress_bar_init(&bar, a->quiet || ranks_mine(w->ranks));
    struct progress progress = progress_bar_steps(&bar);
    bool good = prepare(w, &progress, e);
    if (good && a->plan && a->json)
        good = print_json(w, e);
    else if (good && a->plan)
        good = print_plan(w, e);
    else if (good)
        good = work_run(w, &progress, e);
    progress_bar_end(&bar);
    struct ranks *ranks = w->ranks;
    work_release(w);
    mem_free(w);
    ranks_free(ranks, good);
    return good;
}

/* Files of the cache; its folder is made with the first of them. */
static bool count_kept(const char *folder, size_t *count, struct err *e)
{
    char **names;
    *count = 0;
    if (!path_exists(folder))
        return true;
    if (!folder_names(folder, ".safetensors", &names, count, e))
        return false;
    folder_names_free(names, *count);
    return true;
}

bool finetune_cache(const struct finetune_args *a, struct finetune_cached *out, const struct progress *progress, struct err *e)
{
    struct work *w = mem_zeroed(1, sizeof *w);
    size_t before = 0, after = 0;
    if (!w)
        return err_nomem(e, "a cache");
    *out = (struct finetune_cached){ 0 };
    bool good = open_model(w, a, e);
    if (good)
        encoders_init(&w->encoders, &w->model, w->engine.backend, w->engine.type);
    good = good && open_samples(w, a, progress, e) && count_kept(w->features.folder, &before, e) &&
           samples_prepare(&w->samples, a->epochs * samples_round(&w->samples), progress, e) &&
           count_kept(w->features.folder, &after, e);
    if (good) {
        *out = (struct finetune_cached){ .pictures = samples_count(&w->samples), .made = after - before, .there = before };
        snprintf(out->folder, sizeof out->folder, "%s", w->features.folder);
    }
    work_release(w);
    mem_free(w);
    return good;
}
