/* Whole trainings as nodes: `limn train lora`, `vae`, `base` and `tokenizer`, each a process of its own (spawn.h) that goes on from its
 * checkpoint when the node runs again. */
#include <stdio.h>

#include "flow/nodes/nodes.h"
#include "flow/nodes/spawn.h"

struct train_run_args {
    const char *name, *model, *folder, *targets, *prompts;
    int64_t steps, rank, batch, resolution, save_every, sample_every;
    double rate, text_rate;
    bool recompute, plan;
};
#define AT(member) offsetof(struct train_run_args, member)
static const char *const target_names[] = { "attention", "linear", "all", NULL };
static const struct node_input inputs[] = {
    { "name", "STRING", AT(name), "style", .help = "of the training and its LoRA; one that is there goes on where it was stopped" },
    { "model", "COMBO", AT(model), .folder = "checkpoints", .help = "what is taught" },
    { "folder", "COMBO", AT(folder), .folder = "input/", .help = "a data set in the input folder" },
    { "steps", "INT", AT(steps), "500", .min = 1, .max = 1000000, .help = "optimizer steps" },
    { "learning_rate", "FLOAT", AT(rate), "0.0001", .min = 0, .max = 1, .step = 0.00001, .round = 0.0000001, .help = "how far a step goes" },
    { "rank", "INT", AT(rank), "16", .min = 1, .max = 1024, .help = "of each pair of matrices: how much can be learnt" },
    { "plan", "BOOLEAN", AT(plan), "false", .help = "only tell what memory it will take" },
    { "sample_prompts", "STRING", AT(prompts), "", .flags = NODE_MULTILINE, .help = "words of sample pictures, a line for each" },
    { "sample_every", "INT", AT(sample_every), "100", .min = 1, .max = 1000000, .flags = NODE_ADVANCED, .help = "steps between sample pictures" },
    { "save_every", "INT", AT(save_every), "100", .min = 1, .max = 1000000, .flags = NODE_ADVANCED, .help = "steps between checkpoints" },
    { "batch", "INT", AT(batch), "1", .min = 1, .max = 1024, .flags = NODE_ADVANCED, .help = "pictures at once" },
    { "resolution", "INT", AT(resolution), "0", .min = 0, .max = 4096, .flags = NODE_ADVANCED, .help = "pixels of a side; 0: the model's own" },
    { "targets", "COMBO", AT(targets), .choices = target_names, .flags = NODE_ADVANCED, .help = "which layers learn" },
    { "text_learning_rate", "FLOAT", AT(text_rate), "0", .min = 0, .max = 1, .step = 0.00001, .round = 0.0000001, .flags = NODE_ADVANCED,
      .help = "of the text encoders; 0: they stay as they are" },
    { "recompute", "BOOLEAN", AT(recompute), "false", .flags = NODE_ADVANCED, .help = "less memory, a little more work" },
    { 0 },
};
static const struct node_output outputs[] = { { .type = "STRING", .name = "lora", .help = "the LoRA's name in loaders" }, { 0 } };

/* The LoRA where loaders find it: output/loras/NAME.safetensors. */
static bool publish(struct node_call *call, const char *run, const char *name, struct err *e)
{
    char from[PATH_MAX_BYTES], folder[PATH_MAX_BYTES], to[PATH_MAX_BYTES], *data = NULL;
    size_t bytes;
    bool good = path_join(from, run, "lora.safetensors", e) && path_join(folder, call_host(call)->output, "loras", e) && folder_make(folder, e) &&
                path_join(to, folder, path_of("%s.safetensors", name).s, e) && file_read(from, (size_t)8 << 30, &data, &bytes, e) &&
                file_write_whole(to, data, bytes, e);
    mem_free(data);
    return good;
}

/* The places of a run: its folder, its curve and what it says; with a plan a log of its own, so that the run's stays. */
struct run_places {
    char run[PATH_MAX_BYTES], metrics[PATH_MAX_BYTES], log[PATH_MAX_BYTES], set[PATH_MAX_BYTES];
};

static bool find_places(const struct node_call *call, const char *name, const char *folder, bool plan, struct run_places *p, struct err *e)
{
    if (!spawn_is_name(folder))
        return err_set(e, ERR_ARG, "%s: want a plain name, without slashes", folder);
    return spawn_folder(call, name, p->run, e) && path_join(p->set, call_host(call)->input, folder, e) &&
           path_join(p->metrics, p->run, "metrics.jsonl", e) &&
           path_join(p->log, call_host(call)->output, path_of("runs/%s%s.log", name, plan ? "-plan" : "").s, e);
}

/* Each line of `lines` as a value of an option; lines are cut in place. Returns how many there were. */
static int add_lines(struct spawn_line *l, const char *option, char *lines)
{
    int count = 0;
    char *save = NULL;
    for (char *line = strtok_r(lines, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save), count++)
        spawn_add(l, option, line);
    return count;
}

/* Runs it, shows what it said (`done` in place of that, if given) and gives `result`. */
static bool finish(struct node_call *call, const struct spawn_line *l, const struct run_places *p, int64_t steps, const char *done,
                   const char *result, struct err *e)
{
    struct text words;
    text_init(&words, 2 << 20);
    bool good = spawn_run(call, l, p->log, steps ? p->metrics : NULL, steps, &words, e) &&
                node_show(call, "text", json_pack("[s]", done ? done : text_string(&words)), e) &&
                node_give(call, 0, datum_of_text(result, e), e);
    text_release(&words);
    return good;
}

static bool train_run(struct node_call *call, const void *args, struct err *e)
{
    const struct train_run_args *a = args;
    char model[PATH_MAX_BYTES];
    struct run_places p;
    if (!model_places_find(call_host(call)->models, 1U << MODELS_CHECKPOINTS | 1U << MODELS_DIFFUSERS, "model", a->model, model, e) ||
        !find_places(call, a->name, a->folder, a->plan, &p, e))
        return false;
    struct spawn_line l = { 0 };
    spawn_add(&l, "limn", NULL);
    spawn_add(&l, "train", "lora");
    spawn_add(&l, "--model", model);
    spawn_add(&l, "--dataset", p.set);
    spawn_add(&l, "--output", p.run);
    spawn_add_number(&l, "--steps", (double)a->steps);
    spawn_add_number(&l, "--lora-rank", (double)a->rank);
    spawn_add_number(&l, "--learning-rate", a->rate);
    spawn_add_number(&l, "--text-learning-rate", a->text_rate);
    spawn_add_number(&l, "--batch", (double)a->batch);
    spawn_add_number(&l, "--save-every", (double)a->save_every);
    spawn_add(&l, "--lora-targets", a->targets);
    spawn_add(&l, "--log-every", "1");
    if (a->resolution)
        spawn_add_number(&l, "--resolution", (double)a->resolution);
    if (a->recompute)
        spawn_add(&l, "--gradient-checkpointing", NULL);
    char *prompts = mem_string(a->prompts ? a->prompts : "");
    if (!prompts)
        return err_nomem(e, "a training's words");
    if (add_lines(&l, "--sample-prompts", prompts))
        spawn_add_number(&l, "--sample-every", (double)a->sample_every);
    spawn_add(&l, a->plan ? "--plan" : "--resume", NULL);
    spawn_add(&l, "--quiet", NULL);
    struct path done = path_of("%.80s: %lld steps; the LoRA is loras/%.80s.safetensors", a->name, (long long)a->steps, a->name);
    bool good = finish(call, &l, &p, a->steps, a->plan ? NULL : done.s, a->plan ? "" : path_of("%s.safetensors", a->name).s, e) &&
                (a->plan || publish(call, p.run, a->name, e));
    mem_free(prompts);
    return good;
}

/* --- from nothing: a tokenizer, an autoencoder, text encoder and denoiser --- */

struct tokenizer_args {
    const char *name, *folder;
    int64_t vocab, length;
};
static const struct node_input tokenizer_inputs[] = {
    { "name", "STRING", offsetof(struct tokenizer_args, name), "tokenizer", .help = "of the run, for the training of a base" },
    { "folder", "COMBO", offsetof(struct tokenizer_args, folder), .folder = "input/", .help = "a data set in the input folder: its words" },
    { "vocab", "INT", offsetof(struct tokenizer_args, vocab), "4096", .min = 514, .max = 2000000, .help = "tokens at most" },
    { "length", "INT", offsetof(struct tokenizer_args, length), "77", .min = 8, .max = 4096, .help = "ids of a text: the encoder's positions" },
    { 0 },
};
static const struct node_output tokenizer_outputs[] = { { .type = "STRING", .name = "tokenizer", .help = "the run's name" }, { 0 } };

struct base_args {
    const char *name, *config, *folder, *vae, *tokenizer, *prompts;
    int64_t steps, batch, size, save_every, sample_every, scenes;
    double rate, minutes;
    bool fresh, plan, recompute;
};
#define BASE_AT(member) offsetof(struct base_args, member)
#define BASE_FIRST(what)                                                                                                                \
    { "name", "STRING", BASE_AT(name), what, .help = "of the training; one that is there goes on where it was stopped" },               \
    { "config", "COMBO", BASE_AT(config), .folder = "checkpoints", .help = "a model's folder: what is trained is made as its parts are" }, \
    { "folder", "COMBO", BASE_AT(folder), .folder = "input/", .help = "a data set in the input folder" },                               \
    { "from_nothing", "BOOLEAN", BASE_AT(fresh), "true", .help = "begin with random weights, not with those of the model" }
#define BASE_SIZES(steps_, batch_)                                                                                                      \
    { "steps", "INT", BASE_AT(steps), steps_, .min = 1, .max = 1000000000, .help = "optimizer steps" },                                 \
    { "batch", "INT", BASE_AT(batch), batch_, .min = 1, .max = 65536, .help = "pictures at once" },                                     \
    { "size", "INT", BASE_AT(size), "128", .min = 8, .max = 2048, .help = "pixels of a side" },                                         \
    { "learning_rate", "FLOAT", BASE_AT(rate), "0.001", .min = 0, .max = 1, .step = 0.0001, .round = 0.0000001, .help = "how far a step goes" }, \
    { "plan", "BOOLEAN", BASE_AT(plan), "false", .help = "only tell what memory it will take" }
#define BASE_LAST                                                                                                                      \
    { "minutes", "FLOAT", BASE_AT(minutes), "0", .min = 0, .max = 1000000, .step = 1, .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "save and stop after so long; 0: not" }, \
    { "sample_every", "INT", BASE_AT(sample_every), "500", .min = 1, .max = 1000000000, .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "steps between sample pictures" }, \
    { "save_every", "INT", BASE_AT(save_every), "500", .min = 1, .max = 1000000000, .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "steps between checkpoints" }, \
    { "recompute", "BOOLEAN", BASE_AT(recompute), "false", .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "less memory, more work" }
static const struct node_input vae_inputs[] = { BASE_FIRST("vae"), BASE_SIZES("10000", "16"), BASE_LAST, { 0 } };
static const struct node_input base_inputs[] = {
    BASE_FIRST("base"),
    { "vae", "STRING", BASE_AT(vae), "", .help = "the run of an autoencoder; empty: the model's" },
    { "tokenizer", "STRING", BASE_AT(tokenizer), "", .help = "the run of a tokenizer; empty: the model's" },
    BASE_SIZES("20000", "128"),
    { "sample_prompts", "STRING", BASE_AT(prompts), "", .flags = NODE_MULTILINE, .help = "words of sample pictures, a line for each" },
    { "scenes", "INT", BASE_AT(scenes), "60000", .min = 1, .max = 10000000, .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "pictures whose latents are made once and kept" },
    BASE_LAST,
    { 0 },
};
static const struct node_output vae_outputs[] = { { .type = "STRING", .name = "vae", .help = "its name in loaders, and the run's" }, { 0 } };
static const struct node_output base_outputs[] = { { .type = "STRING", .name = "model", .help = "its name in loaders, and the run's" }, { 0 } };

static bool tokenizer_run(struct node_call *call, const void *args, struct err *e)
{
    const struct tokenizer_args *a = args;
    struct run_places p;
    if (!find_places(call, a->name, a->folder, false, &p, e))
        return false;
    struct spawn_line l = { 0 };
    spawn_add(&l, "limn", NULL);
    spawn_add(&l, "train", "tokenizer");
    spawn_add(&l, "--dataset", p.set);
    spawn_add(&l, "--output", p.run);
    spawn_add_number(&l, "--vocab", (double)a->vocab);
    spawn_add_number(&l, "--length", (double)a->length);
    return finish(call, &l, &p, 0, NULL, a->name, e);
}

/* The configs of a model's parts without their weights, in the run's folder: a training that finds no weights begins with random ones. */
static bool configs_alone(const char *model, const char *run, char *out, struct err *e)
{
    static const char *const files[] = { "text_encoder/config.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json" };
    if (!path_join(out, run, "from", e))
        return false;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES], folder[PATH_MAX_BYTES], *data = NULL;
        size_t bytes;
        bool good = path_join(from, model, files[i], e) && path_join(to, out, files[i], e) && path_join(folder, "", to, e);
        if (!good)
            return false;
        *strrchr(folder, '/') = 0;
        good = folder_make(folder, e) && file_read(from, 1 << 20, &data, &bytes, e) && file_write_whole(to, data, bytes, e);
        mem_free(data);
        if (!good)
            return err_add(e, "%s is no folder of a model of Stable Diffusion 1 or 2 in diffusers' layout", model);
    }
    return true;
}

/* What both trainings are told. config gets the folder of the configs. */
static bool add_base(struct node_call *call, const struct base_args *a, const char *kind, struct spawn_line *l, struct run_places *p,
                     char *model, char *config, struct err *e)
{
    if (!model_places_find(call_host(call)->models, 1U << MODELS_DIFFUSERS, "model's folder", a->config, model, e) ||
        !find_places(call, a->name, a->folder, a->plan, p, e) || !(a->fresh ? configs_alone(model, p->run, config, e) : path_join(config, "", model, e)))
        return false;
    spawn_add(l, "limn", NULL);
    spawn_add(l, "train", kind);
    spawn_add(l, "--dataset", p->set);
    spawn_add(l, "--output", p->run);
    spawn_add(l, "--config", config);
    spawn_add_number(l, "--steps", (double)a->steps);
    spawn_add_number(l, "--batch", (double)a->batch);
    spawn_add_number(l, "--size", (double)a->size);
    spawn_add_number(l, "--learning-rate", a->rate);
    spawn_add_number(l, "--minutes", a->minutes);
    spawn_add_number(l, "--save-every", (double)a->save_every);
    spawn_add_number(l, "--sample-every", (double)a->sample_every);
    spawn_add(l, "--log-every", "1");
    if (a->recompute)
        spawn_add(l, "--recompute", NULL);
    spawn_add(l, a->plan ? "--plan" : "--resume", NULL);
    spawn_add(l, "--quiet", NULL);
    return true;
}

/* Runs it; then what it made is a name for loaders: a link in output/`place` to the run's `made`. */
static bool train_base(struct node_call *call, const struct base_args *a, const struct spawn_line *l, const struct run_places *p,
                       const char *place, const char *made, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    struct path done = path_of("%.80s: trained; it is %s/%.80s", a->name, place, a->name);
    return finish(call, l, p, a->steps, a->plan ? NULL : done.s, a->plan ? "" : a->name, e) &&
           (a->plan || (path_join(folder, p->run, made, e) && spawn_publish(call, place, a->name, folder, e)));
}

static bool vae_run(struct node_call *call, const void *args, struct err *e)
{
    const struct base_args *a = args;
    char model[PATH_MAX_BYTES], config[PATH_MAX_BYTES];
    struct spawn_line l = { 0 };
    struct run_places p;
    return add_base(call, a, "vae", &l, &p, model, config, e) && train_base(call, a, &l, &p, "vae", "model/vae", e);
}

/* The folder of a part that a run made, or the model's own where no run is named. */
static bool part_of(const struct node_call *call, const char *run, const char *inside, const char *model, const char *part, char *out,
                    struct err *e)
{
    char folder[PATH_MAX_BYTES];
    return *run ? spawn_folder(call, run, folder, e) && path_join(out, folder, inside, e) : path_join(out, model, part, e);
}

static bool base_run(struct node_call *call, const void *args, struct err *e)
{
    const struct base_args *a = args;
    char model[PATH_MAX_BYTES], config[PATH_MAX_BYTES], vae[PATH_MAX_BYTES], words[PATH_MAX_BYTES];
    struct spawn_line l = { 0 };
    struct run_places p;
    char *prompts = mem_string(a->prompts ? a->prompts : "");
    bool good = (prompts || err_nomem(e, "a training's words")) && add_base(call, a, "base", &l, &p, model, config, e) &&
                part_of(call, a->vae, "model/vae", model, "vae", vae, e) && part_of(call, a->tokenizer, "", model, "tokenizer", words, e);
    if (good) {
        spawn_add(&l, "--vae", vae);
        spawn_add(&l, "--tokenizer", words);
        spawn_add_number(&l, "--scenes", (double)a->scenes);
        add_lines(&l, "--prompt", prompts);
        good = train_base(call, a, &l, &p, "diffusers", "model", e);
    }
    mem_free(prompts);
    return good;
}

/* The data set may be another, and what is done goes on at once. */
static bool changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    *always = true;
    return true;
}

const struct node nodes_train_run[] = {
    { "TrainLoraRun", "Train a LoRA", "Teaches a model a style or a thing from a data set, as `limn train lora` does, with checkpoints, samples and a curve.", "training",
      inputs, outputs, .args_bytes = sizeof(struct train_run_args), .flags = NODE_OUTPUT | NODE_FILES, .run = train_run, .changed = changed,
      .aliases = "fine-tune, training, dataset" },
    { "TrainTokenizerRun", "Train a Tokenizer", "Learns a vocabulary from the words of a data set, as `limn train tokenizer` does.", "training",
      tokenizer_inputs, tokenizer_outputs, .args_bytes = sizeof(struct tokenizer_args), .flags = NODE_OUTPUT | NODE_FILES, .run = tokenizer_run,
      .changed = changed, .aliases = "pretraining, vocabulary" },
    { "TrainVaeRun", "Train a VAE", "Trains an autoencoder on a data set, from nothing or on from a model's, as `limn train vae` does.", "training",
      vae_inputs, vae_outputs, .args_bytes = sizeof(struct base_args), .flags = NODE_OUTPUT | NODE_FILES, .run = vae_run, .changed = changed,
      .aliases = "pretraining, autoencoder" },
    { "TrainBaseRun", "Train a Base Model", "Trains text encoder and denoiser together on a data set, from nothing or on from a model's, as `limn train base` does.",
      "training", base_inputs, base_outputs, .args_bytes = sizeof(struct base_args), .flags = NODE_OUTPUT | NODE_FILES, .run = base_run,
      .changed = changed, .aliases = "pretraining, denoiser, from scratch" },
    { 0 },
};
