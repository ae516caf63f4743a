#include "cli/finetune_work.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/lora_facts.h"
#include "cli/progress_bar.h"
#include "cli/train_look.h"
#include "train/replay.h"

/* Everything that a run is made of, in the order of making. */
struct work {
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

/* Batches from a file. */
static bool begin_replay(struct work *w, const struct finetune_args *a, struct finetune_options *o, struct err *e)
{
    bool good = replay_open(&w->replay, a->replay, &w->model.parts, w->objective.noise.count, w->targets.learns, &w->encoders, e);
    if (!good)
        return false;
    o->sizes = w->replay.sizes;
    o->source = (struct batch_source){ .self = &w->replay, .fill = replay_fill };
    good = finetune_train_options(a, a->steps ? a->steps : w->replay.steps / a->accumulate, text_learns(w), &w->groups, &o->run, e);
    o->run.batch = o->sizes.n;
    return good;
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

/* Batches from a data set. */
static bool begin_samples(struct work *w, const struct finetune_args *a, struct finetune_options *o, const struct progress *progress,
                          struct err *e)
{
    if (!open_samples(w, a, progress, e))
        return false;
    int64_t steps = a->steps ? a->steps : 1000;
    if (a->epochs && a->epoch_steps)
        steps = a->epochs * a->epoch_steps;
    else if (a->epochs)
        steps = (a->epochs * samples_round(&w->samples) + a->accumulate - 1) / a->accumulate;
    o->sizes = w->samples.sizes;
    o->source = samples_source(&w->samples);
    return finetune_train_options(a, steps, text_learns(w), &w->groups, &o->run, e);
}

static size_t together(const struct train_memory *m)
{
    return m->weights + m->packed + m->activations + m->optimizer;
}

/* Makes the programs; where they would take more than there is, those that recompute. */
static bool make(struct work *w, const struct finetune_args *a, struct finetune_options *o, const struct progress *progress,
                 struct err *e)
{
    size_t most = a->memory ? (size_t)a->memory : mem_available(), rss = mem_rss(), room = a->memory && rss > most ? 0 : most;
    room = a->memory && room ? most - rss : room; /* what is free does not hold what the process has already */
    if (!(w->finetune = finetune_new(o, w->engine.backend, e)))
        return false;
    struct train_memory m = finetune_memory(w->finetune);
    if (most && together(&m) > room && !o->recompute) {
        finetune_free(w->finetune);
        o->recompute = true;
        if (!(w->finetune = finetune_new(o, w->engine.backend, e)))
            return false;
        m = finetune_memory(w->finetune);
        progress_line(progress, "inner activations are computed twice, so that the run fits into memory");
    }
    if (most && together(&m) > room && !a->plan)
        return err_set(e, ERR_LIMIT, "the run takes %.2f GiB beside the %.2f GiB of the program, and %s %.2f GiB: a smaller --resolution "
                       "or --batch%s takes less", ldexp((double)together(&m), -30), ldexp((double)rss, -30),
                       a->memory ? "--memory gives" : "there are free", ldexp((double)most, -30),
                       a->full ? ", --optimizer adamw8bit or --blocks" : "");
    return true;
}

/* The aspect buckets that pictures have, each with a program of its own. */
static json_t *buckets_json(const struct work *w, const struct finetune_options *o)
{
    const struct samples *s = &w->samples;
    json_t *all = json_array();
    for (size_t i = 0; all && o->source.shapes && i < s->shape_count; i++)
        json_array_append_new(all, json_pack("{s:i, s:i, s:I, s:I}", "width", s->buckets[i].width, "height", s->buckets[i].height, "pictures",
                                             (json_int_t)samples_of_shape(s, i), "activations",
                                             (json_int_t)finetune_activations(w->finetune, i)));
    return all;
}

static void print_plan(const struct work *w, const struct finetune_options *o)
{
    struct train_memory m = finetune_memory(w->finetune);
    const struct samples *s = &w->samples;
    run_print_plan(&m);
    for (size_t i = 0; o->source.shapes && s->shape_count > 1 && i < s->shape_count; i++)
        printf("bucket %4dx%-4d %6.1f MiB of activations, %zu pictures a round\n", s->buckets[i].width, s->buckets[i].height,
               ldexp((double)finetune_activations(w->finetune, i), -20), samples_of_shape(s, i));
}

/* One line of facts: the plan, or the run. */
static bool print_json(const struct work *w, const struct finetune_args *a, const struct finetune_options *o, struct err *e)
{
    struct train_memory m = finetune_memory(w->finetune);
    json_t *j = json_pack("{s:s, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:o*}", "output", a->output, "steps", (json_int_t)o->run.steps, "learns",
                          (json_int_t)finetune_learns(w->finetune), "gradient_checkpointing", o->recompute, "weights",
                          (json_int_t)(m.weights + m.packed), "activations", (json_int_t)m.activations, "optimizer",
                          (json_int_t)m.optimizer, "together", (json_int_t)together(&m), "peak_rss", (json_int_t)mem_peak_rss(), "buckets",
                          buckets_json(w, o));
    char *line = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!line)
        return err_nomem(e, "a line of JSON");
    puts(line);
    free(line);
    return true;
}

static void tell(const struct work *w, const struct finetune_options *o, const struct progress *progress)
{
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

static bool prepare(struct work *w, const struct command *command, const struct finetune_args *a, struct finetune_options *o,
                    const struct progress *progress, struct err *e)
{
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
    *o = (struct finetune_options){ .model = &w->model, .targets = a->full ? NULL : &w->targets, .objective = &w->objective,
                                    .type = w->engine.type, .recompute = a->checkpointing, .in_place = !a->packed, .seed = (uint64_t)a->seed,
                                    .epoch_steps = a->epoch_steps, .blocks = a->blocks, .files = &w->files,
                                    .learns = { w->targets.learns[PART_TEXT], w->targets.learns[PART_TEXT_2] },
                                    .export_type = weights_type_of_choice(a->export),
                                    .output = { (enum lora_layout)a->format, types[a->type], w->model.parts.family, NULL, 0 } };
    if (!(a->replay ? begin_replay(w, a, o, e) : begin_samples(w, a, o, progress, e)))
        return false;
    o->run.ranks = w->ranks;
    int64_t width = o->sizes.w * vae_factor(&w->model.parts.vae), height = o->sizes.h * vae_factor(&w->model.parts.vae);
    if (a->prompts.count && ((a->buckets && !finetune_resolution(a->resolution, model_folder_side(&w->model), &width, &height, e)) ||
                             !train_look_init(&w->look, &w->files, &w->engine, &a->prompts, a->sample_steps, width, height, e)))
        return false;
    o->look = a->prompts.count ? train_look_draw : NULL;
    o->look_self = &w->look;
    if (a->full)
        return make(w, a, o, progress, e);
    const struct adapter *first = &w->targets.list[0];
    w->look.alpha = a->format == LORA_DIFFSYNTH ? first->scale * (double)first->rank : NAN; /* its files do not tell it */
    /* what changes nothing of what is learnt stays out: a run that was stopped writes what an unbroken one writes */
    static const char *const aside[] = { "output", "cache", "resume", "stop_at", "minutes", "plan", "json", "quiet", "profile", "threads",
                                         "memory", "config" };
    json_t *settings = options_json(command, a, e);
    for (size_t i = 0; settings && i < sizeof aside / sizeof *aside; i++)
        json_object_del(settings, aside[i]);
    bool good = settings && lora_facts_make(&w->facts, o, a->replay ? NULL : &w->samples, settings, e);
    json_decref(settings);
    o->output.facts = w->facts.pairs;
    o->output.fact_count = w->facts.count;
    return good && make(w, a, o, progress, e);
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

bool finetune_command(const struct command *command, const struct finetune_args *a, struct err *e)
{
    struct finetune_options o;
    struct progress_bar bar;
    struct work *w = check(a, e) ? mem_zeroed(1, sizeof *w) : NULL;
    if (!w)
        return e->code ? false : err_nomem(e, "a training");
    if (!ranks_new(&w->ranks, e)) {
        mem_free(w);
        return false;
    }
    progress_bar_init(&bar, a->quiet || ranks_mine(w->ranks));
    struct progress progress = progress_bar_steps(&bar);
    bool good = prepare(w, command, a, &o, &progress, e);
    if (good && a->plan) {
        if (a->json)
            good = print_json(w, a, &o, e);
        else
            print_plan(w, &o);
    } else if (good) {
        struct encoding encoding = { &w->samples, o.run.steps * o.run.accumulate, &progress };
        if (!ranks_mine(w->ranks))
            tell(w, &o, &progress);
        good = (ranks_mine(w->ranks) || run_write_config(command, a, a->output, e)) &&
               (a->replay || ranks_first(w->ranks, encode, &encoding, e));
        encoders_release(&w->encoders);
        encoders_init(&w->encoders, &w->model, w->engine.backend, w->engine.type);
        good = good && finetune_run(w->finetune, &progress, e) && (!a->json || print_json(w, a, &o, e));
    }
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
