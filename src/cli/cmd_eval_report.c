/* limn eval report: how well a model draws what its dataset taught it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/engine.h"
#include "cli/json_line.h"
#include "cli/progress_bar.h"
#include "evaluate/report.h"

struct evaluate_args {
    const char *model, *dataset, *output, *notes, *parts, *comfyui, *extra_model_paths;
    int64_t count, steps, seed, batch, threads;
    double cfg;
    int sampler, precision;
    bool json, quiet;
};

#define AT(member) offsetof(struct evaluate_args, member)

static const char *sampler_choice(int index)
{
    return sampler_names[index].name;
}

static const struct option evaluate_options[] = {
    OPTION_ROW_MODEL(struct evaluate_args),
    OPTION_ROWS_PLACES(struct evaluate_args),
    { "dataset", 'd', OPTION_TEXT, AT(dataset), .value = "FOLDER", .help = "the pictures it was trained with, worded" },
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FILE",
      .help = "write a page (Markdown), and its pictures into the folder \"pictures\" beside it" },
    { "notes", 0, OPTION_TEXT, AT(notes), .value = "FILE", .help = "Markdown that is put behind the page's figures" },
    { "parts", 0, OPTION_TEXT, AT(parts), .help = "only these, by their letters a to g", .initial_help = "all" },
    { "count", 'c', OPTION_INT, AT(count), "0", .min = 1, .max = 100000, .help = "at most so many questions a part",
      .initial_help = "all" },
    { "seed", 's', OPTION_INT, AT(seed), "0", .min = 0, .max = 4294967295.0, .help = "of the first question of a part" },
    { "batch", 'b', OPTION_INT, AT(batch), "16", .min = 1, .max = 256, .help = "pictures in a denoiser call" },
    { "steps", 0, OPTION_INT, AT(steps), "0", .min = 1, .max = SAMPLER_MAX_STEPS, .help = "denoising steps",
      .initial_help = "the model's, or 20" },
    { "cfg", 0, OPTION_FLOAT, AT(cfg), "-1", .min = 0, .max = 1000, .help = "how closely the words are followed",
      .initial_help = "the model's, or 7.5" },
    { "sampler", 0, OPTION_CHOICE, AT(sampler), "model", .choices = sampler_choice, .help = "how a step is taken" },
    OPTION_ROW_PRECISION(struct evaluate_args),
    OPTION_ROW_THREADS(struct evaluate_args),
    OPTION_ROW_JSON(struct evaluate_args),
    OPTION_ROW_QUIET(struct evaluate_args),
    { 0 },
};

static bool print_json(const struct report *r, struct err *e)
{
    json_t *facts = report_json(r);
    return json_line(facts, JSON_COMPACT | JSON_REAL_PRECISION(6), e);
}

static bool print_table(const struct report *r, struct err *e)
{
    struct text table;
    text_init(&table, 1 << 16);
    report_table(r, &table);
    bool good = text_ok(&table, e);
    fputs(text_string(&table), stdout);
    text_release(&table);
    return good;
}

static bool write_page(const struct evaluate_args *a, const struct report *r, const struct engine *engine, struct err *e)
{
    char machine[128], *notes = NULL;
    size_t bytes;
    snprintf(machine, sizeof machine, "%d thread%s, %s", engine->threads, engine->threads == 1 ? "" : "s", engine->isa);
    if (a->notes && !file_read(a->notes, 1 << 18, &notes, &bytes, e))
        return false;
    bool good = report_page(r, a->output, path_name(r->model), machine, notes, e);
    mem_free(notes);
    return good;
}

static bool evaluate_run(const void *args, struct err *e)
{
    const struct evaluate_args *a = args;
    char model[PATH_MAX_BYTES];
    struct engine engine = { 0 };
    struct progress_bar bar;
    struct report report;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    if (!a->dataset)
        return err_set(e, ERR_ARG, "limn eval report needs --dataset FOLDER");
    struct dataset *dataset = NULL;
    bool good = engine_find_only_model(model, a->comfyui, a->extra_model_paths, a->model, e) && (dataset = dataset_open(a->dataset, e)) &&
                engine_init(&engine, a->threads, a->precision, e);
    struct report_options options = { .dataset = dataset, .folder = model, .backend = engine.backend, .type = engine.type,
                                      .parts = a->parts, .count = a->count, .batch = a->batch, .steps = a->steps,
                                      .cfg = a->cfg, .sampler = sampler_names[a->sampler].name, .seed = (uint64_t)a->seed };
    good = good && report_run(&report, &options, &progress, e);
    progress_bar_end(&bar);
    if (good) {
        good = (!a->output || write_page(a, &report, &engine, e)) && (a->json ? print_json(&report, e)
                                                                              : print_table(&report, e));
        report_release(&report);
    }
    dataset_free(dataset);
    engine_release(&engine);
    return good;
}

const struct command command_eval_report = {
    .name = "eval report",
    .help = "Measures how well a model draws what its dataset taught it.",
    .details = "a: what the autoencoder loses. b: the asked thing. c: the asked style. d: things in styles they were never shown "
               "in. e: two things side by side. f: the named background. g: a sheet of prompts to look at.\n"
               "Questions are chosen by a hash; the settings are the model's own unless given.",
    .options = evaluate_options, .args_bytes = sizeof(struct evaluate_args), .run = evaluate_run,
};
