/* Teaching a model a LoRA from what a flow has made: latents and words. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "flow/nodes/nodes.h"
#include "flow/nodes/place.h"
#include "image/plot.h"
#include "train/finetune.h"
#include "weights/weights.h"

struct train_args {
    const struct datum *model, *latents, *positive;
    int64_t batch, accumulate, steps, rank;
    double rate;
    const char *optimizer, *loss, *training_type, *lora_type, *algorithm, *existing;
    uint64_t seed;
    bool checkpointing;
};
struct save_args {
    const struct datum *lora;
    const char *prefix;
    int64_t steps;
};
struct load_args {
    const struct datum *model, *lora;
    double strength;
};
struct graph_args {
    const struct datum *loss;
    const char *prefix;
};

/* --- what goes along the links --- */

/* LORA_MODEL: a file of its own in a folder of its own, which goes with it. */
struct trained_lora {
    char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
};
/* LOSS_MAP: the loss of each step. */
struct losses {
    double *at;
    size_t count;
};

static void remove_folder(const char *path)
{
    char **names, below[PATH_MAX_BYTES];
    size_t count;
    struct err ignored = { 0 };
    if (folder_names(path, NULL, &names, &count, &ignored)) {
        for (size_t i = 0; i < count; i++)
            if (path_join(below, path, names[i], &ignored))
                path_is_folder(below) ? (void)rmdir(below) : (void)unlink(below);
        folder_names_free(names, count);
    }
    rmdir(path);
}

static void trained_free(void *lora)
{
    struct trained_lora *l = lora;
    remove_folder(l->folder);
    mem_free(l);
}

static void losses_free(void *losses)
{
    struct losses *l = losses;
    mem_free(l->at);
    mem_free(l);
}

const struct datum_type type_lora_model = { "LORA_MODEL", trained_free, NULL };
const struct datum_type type_loss_map = { "LOSS_MAP", losses_free, NULL };

/* --- the table --- */

static const char *const optimizers[] = { "AdamW", "Adam", "AdamW8bit", "Lion", "Adafactor", "Prodigy", NULL };
static const char *const loss_names[] = { "MSE", "L1", "Huber", NULL };
static const char *const types[] = { "bf16", "fp32", NULL };
static const char *const algorithms[] = { "LoRA", "DoRA", NULL };

#define AT(member) offsetof(struct train_args, member)
static const struct node_input train_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct train_args, model),
    { "latents", "LATENT", AT(latents), .help = "the pictures to learn from" },
    { "positive", "CONDITIONING", AT(positive), .help = "words for them: one text for all, or one for each" },
    { "batch_size", "INT", AT(batch), "1", .min = 1, .max = 10000, .step = 1, .help = "pictures of a step" },
    { "grad_accumulation_steps", "INT", AT(accumulate), "1", .min = 1, .max = 1024, .step = 1, .help = "batches of a step" },
    { "steps", "INT", AT(steps), "16", .min = 1, .max = 100000 },
    { "learning_rate", "FLOAT", AT(rate), "0.0005", .min = 1e-7, .max = 1, .step = 1e-6 },
    { "rank", "INT", AT(rank), "8", .min = 1, .max = 128, .help = "how much the LoRA can hold" },
    { "optimizer", "COMBO", AT(optimizer), .choices = optimizers },
    { "loss_function", "COMBO", AT(loss), .choices = loss_names },
    { "seed", "INT", AT(seed), .flags = NODE_SEED },
    { "training_dtype", "COMBO", AT(training_type), .choices = types, .help = "what is computed in; what learns is fp32" },
    { "lora_dtype", "COMBO", AT(lora_type), .choices = types, .help = "of the LoRA's file" },
    { "algorithm", "COMBO", AT(algorithm), .choices = algorithms },
    { "gradient_checkpointing", "BOOLEAN", AT(checkpointing), .initial = "true", .help = "less memory, a third more work" },
    { "existing_lora", "COMBO", AT(existing), .folder = "loras", .folder_first = "[None]", .help = "go on from this LoRA" },
    { 0 },
};
static const struct node_output train_outputs[] = { { .type = "MODEL", .name = "model_with_lora" }, { .type = "LORA_MODEL", .name = "lora" },
                                                    { .type = "LOSS_MAP", .name = "loss" }, { .type = "INT", .name = "steps" }, { 0 } };
static const struct node_input save_inputs[] = {
    NODE_SOCKET("lora", "LORA_MODEL", struct save_args, lora),
    { "prefix", "STRING", offsetof(struct save_args, prefix), "loras/ComfyUI_trained_lora", .help = "what the file's name begins with" },
    { "steps", "INT", offsetof(struct save_args, steps), .flags = NODE_OPTIONAL | NODE_FORCE_INPUT, .help = "to be in the file's name" },
    { 0 },
};
static const struct node_input load_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct load_args, model),
    NODE_SOCKET("lora", "LORA_MODEL", struct load_args, lora),
    { "strength_model", "FLOAT", offsetof(struct load_args, strength), "1.0", .min = -100, .max = 100, .step = 0.01 },
    { 0 },
};
static const struct node_input graph_inputs[] = {
    NODE_SOCKET("loss", "LOSS_MAP", struct graph_args, loss),
    { "filename_prefix", "STRING", offsetof(struct graph_args, prefix), .initial = "loss_graph" },
    { 0 },
};

/* --- batches --- */

/* What the training is fed from: all pictures and texts of the flow, in memory. */
struct feed {
    const struct flow_latent *latents;
    const struct flow_conditioning *words;
    const struct model_parts *parts;
    const struct objective *objective;
    float *pictures; /* [n, h, w, c], as the denoiser has them */
    uint64_t seed;
};

static bool fill(void *self, int64_t index, struct batch *b, struct err *e)
{
    const struct feed *f = self;
    const struct batch_sizes *z = &b->sizes;
    size_t each = (size_t)(z->h * z->w * z->channels), states = (size_t)(z->tokens * z->text_width);
    for (int64_t i = 0; i < z->n; i++) {
        struct random r = random_of(f->seed, (uint64_t)(index * z->n + i));
        int64_t k = (int64_t)random_below(&r, (uint64_t)f->latents->n);
        const struct stage_condition *words = &f->words->at[f->words->count > 1 ? (size_t)k % f->words->count : 0];
        memcpy(b->latent + (size_t)i * each, f->pictures + (size_t)k * each, each * sizeof(float));
        for (size_t at = 0; at < states; at++) /* a shorter text is repeated, which attention does not see */
            b->states[(size_t)i * states + at] = words->states[at % (size_t)(words->tokens * words->width)];
        if (b->pooled)
            memcpy(b->pooled + i * z->pooled_width, words->pooled, (size_t)z->pooled_width * sizeof(float));
        if (b->time_ids) {
            struct draw_request told = { .facts = words->facts };
            int64_t cell = vae_factor(&f->parts->vae);
            struct picture_facts facts = draw_request_facts(&told, z->w * cell, z->h * cell, false);
            f->parts->family->time_ids(&f->parts->settings, &facts, false, b->time_ids + i * z->time_ids);
        }
        objective_noise(f->objective, &r, b->noise + (size_t)i * each, z->h * z->w, z->channels);
        b->timestep[i] = objective_timestep(f->objective, &r);
    }
    return true;
}

static bool check_words(const struct flow_conditioning *words, int64_t pictures, struct batch_sizes *z, struct err *e)
{
    if (!words->count || (words->count > 1 && (int64_t)words->count != pictures))
        return err_set(e, ERR_ARG, "%zu texts for %lld pictures: one for all, or one for each", words->count, (long long)pictures);
    for (size_t i = 0; i < words->count; i++) {
        const struct stage_condition *c = &words->at[i];
        if (c->width != z->text_width || c->pooled_width < z->pooled_width)
            return err_set(e, ERR_SHAPE, "words of width %lld for a denoiser that wants %lld: they are of different models", (long long)c->width,
                           (long long)z->text_width);
        z->tokens = c->tokens > z->tokens ? c->tokens : z->tokens;
    }
    for (size_t i = 0; i < words->count; i++)
        if (z->tokens % words->at[i].tokens)
            return err_set(e, ERR_SHAPE, "texts of %lld and %lld tokens cannot be learnt together", (long long)z->tokens,
                           (long long)words->at[i].tokens);
    return true;
}

static bool feed_init(struct feed *f, struct batch_sizes *z, const struct train_args *a, const struct model_parts *parts,
                      const struct objective *objective, struct err *e)
{
    const struct flow_latent *l = latent_of(a->latents);
    float ids[FAMILY_MAX_TIME_IDS];
    *f = (struct feed){ l, conditioning_of(a->positive), parts, objective, NULL, a->seed };
    *z = (struct batch_sizes){ .n = a->batch, .h = l->h, .w = l->w, .channels = l->c, .text_width = model_text_width(parts),
                               .pooled_width = parts->unet.text_time ? model_pooled_width(parts) : 0 };
    if (parts->unet.text_time)
        z->time_ids = (int64_t)parts->family->time_ids(&parts->settings, &(struct picture_facts){ 0 }, false, ids);
    if (l->c != parts->vae.latent_channels || l->empty)
        return err_set(e, ERR_SHAPE, "latents of %lld channels for a model of %lld: VAE Encode makes them from pictures", (long long)l->c,
                       (long long)parts->vae.latent_channels);
    if (!check_words(f->words, l->n, z, e))
        return false;
    size_t count = (size_t)(l->n * l->c * l->h * l->w);
    float *scaled = mem_aligned(count * sizeof *scaled);
    f->pictures = mem_aligned(count * sizeof *f->pictures);
    bool good = (scaled && f->pictures) || err_nomem(e, "pictures to learn from");
    if (good) {
        memcpy(scaled, l->at, count * sizeof *scaled);
        vae_scale(&parts->vae, scaled, l->n, l->h * l->w);
        tensor_nchw_to_nhwc(f->pictures, scaled, l->n, l->c, l->h, l->w);
    }
    mem_free(scaled);
    return good;
}

/* --- the run --- */

static enum optimizer_kind optimizer_of(const char *name)
{
    for (int i = 0; optimizer_name(i); i++)
        if (!strcasecmp(optimizer_name(i), name))
            return (enum optimizer_kind)i;
    return OPTIMIZER_ADAMW; /* Adam: without decay */
}

/* The losses in the lines of a run's metrics. */
static struct losses *read_losses(const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES], *text = NULL;
    size_t bytes = 0, cap = 0;
    struct losses *l = mem_zeroed(1, sizeof *l);
    if (!l) {
        err_nomem(e, "losses");
        return NULL;
    }
    if (!path_join(path, folder, "metrics.jsonl", e) || !file_read(path, (size_t)1 << 30, &text, &bytes, e)) {
        losses_free(l);
        return NULL;
    }
    for (char *line, *rest = text; !e->code && (line = strsep(&rest, "\n"));) {
        json_t *j = *line ? json_loads(line, 0, NULL) : NULL, *loss = json_object_get(j, "loss");
        double *grown = json_is_number(loss) ? mem_grow(l->at, &cap, l->count + 1, sizeof *grown) : NULL;
        if (grown) {
            l->at = grown;
            l->at[l->count++] = json_number_value(loss);
        } else if (json_is_number(loss)) {
            err_nomem(e, "losses");
        }
        json_decref(j);
    }
    mem_free(text);
    if (!e->code)
        return l;
    losses_free(l);
    return NULL;
}

static bool learn(struct node_call *call, const struct train_args *a, struct model_folder *model, const char *existing, const char *folder,
                  struct err *e)
{
    static const enum objective_loss kinds[] = { LOSS_MSE, LOSS_L1, LOSS_HUBER };
    struct objective_options what = objective_plain;
    struct objective objective = { 0 };
    struct targets targets = { 0 };
    struct feed feed = { 0 };
    struct batch_sizes sizes;
    for (int i = 0; loss_names[i]; i++)
        what.loss = strcmp(loss_names[i], a->loss) ? what.loss : kinds[i];
    what.huber = 1;
    const struct target_options which = { .names = "all", .rank = a->rank, .alpha = existing ? 0 : 1, .dora = *a->algorithm == 'D', .init = existing };
    bool good = objective_init(&objective, &what, &model->scheduler, e), aimed = good && targets_init(&targets, model, &which, e);
    good = aimed && feed_init(&feed, &sizes, a, &model->parts, &objective, e);
    struct finetune_options o = {
        .model = model, .targets = &targets, .sizes = sizes, .source = { &feed, fill }, .objective = &objective,
        .output = { LORA_KOHYA, *a->lora_type == 'b' ? DTYPE_BF16 : DTYPE_F32, model->parts.family, NULL, 0 },
        .type = *a->training_type == 'b' ? DTYPE_BF16 : DTYPE_F32, .recompute = a->checkpointing, .seed = a->seed,
        .run = { .folder = folder, .steps = a->steps, .accumulate = a->accumulate, .batch = a->batch, .optimizer = optimizer_of(a->optimizer),
                 .rate = a->rate, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = strcmp(a->optimizer, "AdamW") ? 0 : 0.01, .log_every = 1 },
    };
    struct finetune *f = good ? finetune_new(&o, call_engine(call)->backend, e) : NULL;
    good = f && finetune_run(f, call_progress(call), e);
    finetune_free(f);
    mem_free(feed.pictures);
    if (aimed)
        targets_release(&targets);
    objective_release(&objective);
    return good;
}

/* A folder of its own below temp. */
static bool make_folder(const struct node_call *call, char out[PATH_MAX_BYTES], struct err *e)
{
    enum { DRAWN = 6 };
    char name[] = "train-......";
    memset(name + strlen(name) - DRAWN, 'X', DRAWN);
    return folder_make(call_host(call)->temp, e) && path_join(out, call_host(call)->temp, name, e) &&
           (mkdtemp(out) || err_errno(e, "cannot make a folder %s", out));
}

static struct datum *model_with(const struct datum *model, const char *path, double strength, struct err *e)
{
    struct flow_model *m = flow_model_copy(model_of(model), e);
    const struct lora *lora = m ? pipeline_lora(m->weights->pipeline, path, 0, e) : NULL;
    if (lora && m->lora_count == LORA_MOST)
        err_set(e, ERR_LIMIT, "more than %d LoRAs", LORA_MOST);
    if (!lora || e->code) {
        flow_model_free(m);
        return NULL;
    }
    m->loras[m->lora_count++] = (struct draw_lora){ .lora = lora, .unet = strength };
    return datum_of_object(&type_model, m, e);
}

static bool train_run(struct node_call *call, const void *args, struct err *e)
{
    const struct train_args *a = args;
    const struct flow_model *m = model_of(a->model);
    struct model_folder *folder = (struct model_folder *)(uintptr_t)pipeline_folder(m->weights->pipeline);
    char existing[PATH_MAX_BYTES];
    bool begins = strcmp(a->existing, "[None]") != 0;
    struct trained_lora *made = mem_zeroed(1, sizeof *made);
    if (!made || !folder || m->lora_count) {
        mem_free(made);
        return !made ? err_nomem(e, "a training") : err_set(e, ERR_ARG, "what learns is a model as it was loaded, without a LoRA");
    }
    bool good = (!begins || model_places_find(call_host(call)->models, 1U << MODELS_LORAS, "LoRA", a->existing, existing, e)) &&
                make_folder(call, made->folder, e);
    if (!good) {
        mem_free(made);
        return false;
    }
    pipeline_rest(m->weights->pipeline); /* the training has the weights in its own way */
    good = learn(call, a, folder, begins ? existing : NULL, made->folder, e) && path_join(made->path, made->folder, "lora.safetensors", e);
    struct losses *losses = good ? read_losses(made->folder, e) : NULL;
    good = losses && node_give(call, 0, model_with(a->model, made->path, 1, e), e);
    if (!good && losses)
        losses_free(losses);
    if (!good) {
        trained_free(made);
        return false;
    }
    good = node_give(call, 1, datum_of_object(&type_lora_model, made, e), e);
    return node_give(call, 2, datum_of_object(&type_loss_map, losses, e), e) && good && node_give(call, 3, datum_of_int(a->steps, e), e);
}

/* --- what becomes of it --- */

static bool save_run(struct node_call *call, const void *args, struct err *e)
{
    const struct save_args *a = args;
    const struct trained_lora *l = a->lora->object;
    struct place *place = mem_zeroed(1, sizeof *place);
    char prefix[PATH_MAX_BYTES], name[300], path[PATH_MAX_BYTES], *bytes = NULL;
    const struct datum_list *steps = call_input(call, "steps");
    size_t count = 0;
    if (steps && steps->count && steps->at[0]->kind == DATUM_INT)
        snprintf(prefix, sizeof prefix, "%.3000s_%lld_steps", a->prefix, (long long)steps->at[0]->whole);
    else
        snprintf(prefix, sizeof prefix, "%.3000s", a->prefix);
    bool good = (place || err_nomem(e, "a file's name")) && place_init(place, call_host(call)->output, prefix, 0, 0, e) &&
                file_read(l->path, (size_t)4 << 30, &bytes, &count, e);
    if (good)
        place->call = call;
    good = good && place_take(place, 0, ".safetensors", name, path, e);
    if (good && !(good = file_write_whole(path, bytes, count, e)))
        unlink(path);
    mem_free(bytes);
    good = good && node_show(call, "loras", json_pack("[{s:s, s:s, s:s}]", "filename", name, "subfolder", place->subfolder, "type", "output"), e);
    mem_free(place);
    return good;
}

static bool load_run(struct node_call *call, const void *args, struct err *e)
{
    const struct load_args *a = args;
    const struct trained_lora *l = a->lora->object;
    return a->strength == 0 ? give_same(call, 0, a->model, e) : node_give(call, 0, model_with(a->model, l->path, a->strength, e), e);
}

static bool graph_run(struct node_call *call, const void *args, struct err *e)
{
    const struct graph_args *a = args;
    const struct losses *l = a->loss->object;
    struct place *place = mem_zeroed(1, sizeof *place);
    char name[300], path[PATH_MAX_BYTES];
    double *steps = mem_zeroed(l->count + 1, sizeof *steps);
    bool good = (place && steps) || err_nomem(e, "a plot");
    for (size_t i = 0; good && i < l->count; i++)
        steps[i] = (double)(i + 1);
    const struct plot_series line = { .name = "loss", .x = steps, .y = l->at, .count = l->count, .smooth = l->count > 20 ? 0.9 : 0 };
    const struct plot plot = { .title = "Loss", .x_label = "step", .y_label = "loss", .series = &line, .series_count = 1 };
    good = good && place_init(place, call_host(call)->temp, a->prefix, 0, 0, e) && place_take(place, 0, ".png", name, path, e) &&
           plot_save_png(path, &plot, e) &&
           node_show(call, "images", json_pack("[{s:s, s:s, s:s}]", "filename", name, "subfolder", place->subfolder, "type", "temp"), e);
    mem_free(place);
    mem_free(steps);
    return good;
}

const struct node nodes_training[] = {
    { "TrainLoraNode", "Train LoRA", "Teaches the denoiser a LoRA from latents and words.", "training", train_inputs, train_outputs,
      .args_bytes = sizeof(struct train_args), .flags = NODE_EXPERIMENTAL | NODE_FILES, .run = train_run },
    { "SaveLoRANode", "Save LoRA Weights", "Writes a LoRA that was taught into the output folder; loaders find it there.", "loaders", save_inputs,
      NULL, .args_bytes = sizeof(struct save_args), .flags = NODE_OUTPUT | NODE_FILES | NODE_EXPERIMENTAL, .run = save_run },
    { "LoraModelLoader", "Load LoRA Model", "Changes a denoiser by a LoRA that was taught.", "loaders", load_inputs, model_output,
      .args_bytes = sizeof(struct load_args), .flags = NODE_EXPERIMENTAL, .run = load_run },
    { "LossGraphNode", "Plot Loss Graph", "Shows how the loss went.", "training", graph_inputs, NULL, .args_bytes = sizeof(struct graph_args),
      .flags = NODE_OUTPUT | NODE_FILES | NODE_EXPERIMENTAL, .run = graph_run },
    { 0 },
};
