/* Evaluations as nodes: `limn eval run`, `compare`, `images`, `leak` and `limn train compare`, each a process of its own (spawn.h). What they
 * find is in output/evaluations: a page, a table and, where there are pictures, a sheet of them. */
#include <stdio.h>

#include "flow/nodes/nodes.h"
#include "flow/nodes/place.h"
#include "flow/nodes/spawn.h"

struct evaluate_args {
    const char *name, *run, *runs, *models, *prompts, *set, *first, *second, *drawn, *metrics, *vae;
    int64_t count, held_out, steps, calibrate;
    uint64_t seed;
    double cfg, share;
    bool fit;
};
#define AT(member) offsetof(struct evaluate_args, member)
#define NAME(what) { "name", "STRING", AT(name), what, .help = "of the report: output/evaluations/NAME.html; one that is there is written anew" }
#define TEST                                                                                                                            \
    { "prompts", "STRING", AT(prompts), "", .flags = NODE_MULTILINE, .help = "words to draw, a line each" },                            \
    { "count", "INT", AT(count), "1", .min = 1, .max = 1000, .help = "seeds for each of the words" },                                   \
    { "seed", "INT", AT(seed), .flags = NODE_SEED, .help = "of the first picture" },                                                    \
    { "held_out", "INT", AT(held_out), "16", .min = 0, .max = 1000000, .help = "held-out pictures of the data set; 0: all" },           \
    { "steps", "INT", AT(steps), "0", .min = 0, .max = 10000, .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "denoising steps; 0: the model's" },      \
    { "cfg", "FLOAT", AT(cfg), "0", .min = 0, .max = 1000, .step = 0.1, .round = 0.01, .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "how closely the words are followed; 0: the model's" }

static const struct node_input run_inputs[] = {
    NAME("run"),
    { "run", "STRING", AT(run), "style", .help = "a training's name: all of its checkpoints are put to the same test" },
    TEST,
    { 0 },
};
static const struct node_input compare_inputs[] = {
    NAME("models"),
    { "models", "STRING", AT(models), "", .flags = NODE_MULTILINE,
      .help = "a line each: NAME=MODEL, or with LoRAs NAME=MODEL+LORA:0.8; the first is what the others are compared with" },
    { "folder", "COMBO", AT(set), .folder = "input/", .help = "a data set whose held-out pictures are drawn from their words" },
    TEST,
    { 0 },
};
static const struct node_input runs_inputs[] = {
    NAME("runs"),
    { "runs", "STRING", AT(runs), "", .flags = NODE_MULTILINE, .help = "names of trainings, a line each" },
    { 0 },
};
static const struct node_input images_inputs[] = {
    NAME("images"),
    { "folder1", "STRING", AT(first), "", .help = "a folder or picture of output; \"name [input]\": of input" },
    { "folder2", "STRING", AT(second), "", .help = "pictures of the same names" },
    { "metrics", "STRING", AT(metrics), "psnr,ssim", .help = "of psnr, ssim, ssim-uniform, ms-ssim, gmsd" },
    { "fit", "BOOLEAN", AT(fit), "false", .help = "resize the second where it is not as large as the first" },
    { 0 },
};
static const struct node_input leak_inputs[] = {
    NAME("leak"),
    { "drawn", "STRING", AT(drawn), "", .help = "a folder or picture of output; \"name [input]\": of input" },
    { "folder", "COMBO", AT(set), .folder = "input/", .help = "the data set that the model was trained on" },
    { "share", "FLOAT", AT(share), "0.01", .min = 0.000001, .max = 0.5, .step = 0.001, .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "of pictures that pass by chance: smaller is more careful to accuse" },
    { "calibrate", "INT", AT(calibrate), "300", .min = 3, .max = 100000, .flags = NODE_OPTIONAL | NODE_ADVANCED, .help = "so many training pictures say how alike they are among themselves" },
    { 0 },
};
static const struct node_output report_outputs[] = { { .type = "STRING", .name = "report", .help = "facts and tables in Markdown" }, { 0 } };

/* Where an evaluation's files go. */
struct report {
    char html[PATH_MAX_BYTES], csv[PATH_MAX_BYTES], markdown[PATH_MAX_BYTES], sheet[PATH_MAX_BYTES], log[PATH_MAX_BYTES], words[PATH_MAX_BYTES];
};

static bool report_init(struct report *r, const struct node_call *call, const char *name, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    const struct { char *out; const char *ending; } files[] = { { r->html, "html" }, { r->csv, "csv" }, { r->markdown, "md" }, { r->sheet, "png" },
                                                                { r->log, "log" }, { r->words, "words.txt" } };
    if (!spawn_is_name(name))
        return err_set(e, ERR_ARG, "%s: want a plain name, without slashes", name);
    if (!path_join(folder, call_host(call)->output, "evaluations", e) || !folder_make(folder, e))
        return false;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!path_join(files[i].out, folder, path_of("%s.%s", name, files[i].ending).s, e))
            return false;
    return true;
}

/* limn COMMAND KIND, and where its report goes. */
static void begin(struct spawn_line *l, const struct report *r, const char *command, const char *kind)
{
    spawn_add(l, "limn", NULL);
    spawn_add(l, command, kind);
    spawn_add(l, "--html", r->html);
    spawn_add(l, "--csv", r->csv);
    spawn_add(l, "--markdown", r->markdown);
}

/* Runs it; gives and shows the report, and the sheet if there is one. */
static bool finish(struct node_call *call, const struct spawn_line *l, const struct report *r, bool sheet, struct err *e)
{
    char *data = NULL;
    size_t bytes;
    bool good = spawn_run(call, l, r->log, NULL, 0, NULL, e) && file_read(r->markdown, 1 << 22, &data, &bytes, e) &&
                node_show(call, "text", json_pack("[s]", data), e) &&
                (!sheet || !path_exists(r->sheet) || node_show(call, "images", json_pack("[{s:s, s:s, s:s}]", "filename", path_name(r->sheet),
                                                                  "subfolder", "evaluations", "type", "output"), e)) &&
                node_give(call, 0, datum_of_text(data, e), e);
    mem_free(data);
    return good;
}

/* A data set of the input folder. */
static bool find_set(const struct node_call *call, const char *name, char *out, struct err *e)
{
    return (spawn_is_name(name) || err_set(e, ERR_ARG, "%s: want a plain name, without slashes", name)) &&
           path_join(out, call_host(call)->input, name, e);
}

static bool add_test(struct spawn_line *l, const struct evaluate_args *a, const struct report *r, struct err *e)
{
    if (a->prompts && *a->prompts) {
        if (!file_write_whole(r->words, a->prompts, strlen(a->prompts), e))
            return false;
        spawn_add(l, "--prompts", r->words);
    }
    spawn_add_number(l, "--count", (double)a->count);
    spawn_add_number(l, "--seed", (double)(a->seed % UINT32_MAX)); /* the command's are of 32 bits */
    spawn_add_number(l, "--held-out", (double)a->held_out);
    if (a->steps)
        spawn_add_number(l, "--steps", (double)a->steps);
    if (a->cfg > 0)
        spawn_add_number(l, "--cfg", a->cfg);
    spawn_add(l, "--sheet", r->sheet);
    return true;
}

static bool run_run(struct node_call *call, const void *args, struct err *e)
{
    const struct evaluate_args *a = args;
    struct report r;
    char run[PATH_MAX_BYTES];
    struct spawn_line l = { 0 };
    if (!report_init(&r, call, a->name, e) || !spawn_folder(call, a->run, run, e))
        return false;
    begin(&l, &r, "eval", "run");
    if (!add_test(&l, a, &r, e))
        return false;
    spawn_add(&l, run, NULL);
    return finish(call, &l, &r, true, e);
}

/* A line "NAME=MODEL+LORA:0.8" with the files that its names mean. */
static bool contender(const struct node_call *call, char *line, struct text *out, struct err *e)
{
    const struct model_places *places = call_host(call)->models;
    char path[PATH_MAX_BYTES], *save = NULL, *equals = strchr(line, '=');
    if (!equals || equals == line || *line == '-')
        return err_set(e, ERR_ARG, "%s: want NAME=MODEL, or NAME=MODEL+LORA:0.8", line);
    *equals = 0;
    text_addf(out, "%s=", line);
    int part = 0;
    for (char *word = strtok_r(equals + 1, "+", &save); word; word = strtok_r(NULL, "+", &save), part++) {
        char *scale = part ? strrchr(word, ':') : NULL;
        if (scale)
            *scale++ = 0;
        unsigned kinds = part ? 1U << MODELS_LORAS : 1U << MODELS_CHECKPOINTS | 1U << MODELS_DIFFUSERS;
        if (!model_places_find(places, kinds, part ? "LoRA" : "model", word, path, e))
            return false;
        text_addf(out, "%s%s%s%s", part ? "+" : "", path, scale ? ":" : "", scale ? scale : "");
    }
    return part || err_set(e, ERR_ARG, "%s= names no model", line);
}

static bool compare_run(struct node_call *call, const void *args, struct err *e)
{
    enum { MOST = 16 };
    const struct evaluate_args *a = args;
    struct report r;
    char set[PATH_MAX_BYTES], *save = NULL;
    struct spawn_line l = { 0 };
    struct text words[MOST];
    int count = 0;
    char *models = mem_string(a->models);
    bool good = (models || err_nomem(e, "models to compare")) && report_init(&r, call, a->name, e) && find_set(call, a->set, set, e);
    begin(&l, &r, "eval", "compare");
    spawn_add(&l, "--dataset", set);
    good = good && add_test(&l, a, &r, e);
    for (char *line = good ? strtok_r(models, "\r\n", &save) : NULL; good && line; line = strtok_r(NULL, "\r\n", &save)) {
        if (count == MOST) {
            good = err_set(e, ERR_LIMIT, "more than %d models", MOST);
            break;
        }
        text_init(&words[count], 1 << 16);
        good = contender(call, line, &words[count], e) && text_ok(&words[count], e);
        spawn_add(&l, text_string(&words[count++]), NULL);
    }
    good = good && (count || err_set(e, ERR_ARG, "no models to compare")) && finish(call, &l, &r, true, e);
    while (count)
        text_release(&words[--count]);
    mem_free(models);
    return good;
}

static bool runs_run(struct node_call *call, const void *args, struct err *e)
{
    enum { MOST = 16 };
    const struct evaluate_args *a = args;
    struct report r;
    char folders[MOST][PATH_MAX_BYTES], *save = NULL;
    struct spawn_line l = { 0 };
    int count = 0;
    char *runs = mem_string(a->runs);
    bool good = (runs || err_nomem(e, "runs to compare")) && report_init(&r, call, a->name, e);
    begin(&l, &r, "train", "compare");
    spawn_add(&l, "--png", r.sheet);
    for (char *line = good ? strtok_r(runs, "\r\n", &save) : NULL; good && line; line = strtok_r(NULL, "\r\n", &save)) {
        good = count < MOST ? spawn_folder(call, line, folders[count], e) : err_set(e, ERR_LIMIT, "more than %d runs", MOST);
        if (good)
            spawn_add(&l, folders[count++], NULL);
    }
    good = good && (count || err_set(e, ERR_ARG, "no runs to compare")) && finish(call, &l, &r, true, e);
    mem_free(runs);
    return good;
}

static bool images_run(struct node_call *call, const void *args, struct err *e)
{
    const struct evaluate_args *a = args;
    struct report r;
    char first[PATH_MAX_BYTES], second[PATH_MAX_BYTES];
    struct spawn_line l = { 0 };
    if (!report_init(&r, call, a->name, e) || !place_find(call_host(call), a->first, "output", first, e) ||
        !place_find(call_host(call), a->second, "output", second, e))
        return false;
    begin(&l, &r, "eval", "images");
    spawn_add(&l, "--metrics", a->metrics);
    if (a->fit)
        spawn_add(&l, "--fit", NULL);
    spawn_add(&l, first, NULL);
    spawn_add(&l, second, NULL);
    return finish(call, &l, &r, false, e);
}

static bool leak_run(struct node_call *call, const void *args, struct err *e)
{
    const struct evaluate_args *a = args;
    struct report r;
    char drawn[PATH_MAX_BYTES], set[PATH_MAX_BYTES];
    struct spawn_line l = { 0 };
    if (!report_init(&r, call, a->name, e) || !place_find(call_host(call), a->drawn, "output", drawn, e) || !find_set(call, a->set, set, e))
        return false;
    begin(&l, &r, "eval", "leak");
    spawn_add(&l, "--dataset", set);
    spawn_add_number(&l, "--calibrate", (double)a->calibrate);
    spawn_add_number(&l, "--share", a->share);
    spawn_add(&l, drawn, NULL);
    return finish(call, &l, &r, false, e);
}

/* Runs, models and pictures may be others under the same names. */
static bool changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    *always = true;
    return true;
}

#define EVALUATION(inputs_, run_)                                                                                                       \
    .category = "evaluate", .inputs = inputs_, .outputs = report_outputs, .args_bytes = sizeof(struct evaluate_args),                    \
    .flags = NODE_OUTPUT | NODE_FILES, .run = run_, .changed = changed
const struct node nodes_evaluate[] = {
    { .name = "EvaluateRun", .title = "Evaluate a Training", .help = "Puts all checkpoints of a training to the same test and tells which is best, as `limn eval run` does.",
      EVALUATION(run_inputs, run_run), .aliases = "checkpoints, best, held-out" },
    { .name = "EvaluateModels", .title = "Compare Models", .help = "Puts models and LoRAs to the same test, side by side, as `limn eval compare` does.",
      EVALUATION(compare_inputs, compare_run), .aliases = "style, base, fine-tuning" },
    { .name = "CompareRuns", .title = "Compare Trainings", .help = "Puts curves, settings and samples of trainings side by side, as `limn train compare` does.",
      EVALUATION(runs_inputs, runs_run), .aliases = "loss, curves" },
    { .name = "EvaluateImages", .title = "Compare Folders of Images", .help = "Measures how alike pictures of the same names are, as `limn eval images` does.",
      EVALUATION(images_inputs, images_run), .aliases = "psnr, ssim, similarity" },
    { .name = "EvaluateLeak", .title = "Find Repeated Training Images", .help = "Tells which training pictures a model repeats, as `limn eval leak` does.",
      EVALUATION(leak_inputs, leak_run), .aliases = "memorisation, copies, privacy" },
    { 0 },
};
