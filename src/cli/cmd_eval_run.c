/* limn eval run: all checkpoints of a training run. */
#include <stdio.h>

#include "base/mem.h"
#include "cli/trial_args.h"
#include "evaluate/run_folder.h"

struct run_args {
    struct option_texts words;
    const char *model;
    struct trial_args trial;
};

#define AT(member) offsetof(struct run_args, member)

static const struct option run_options[] = {
    { "model", 'm', OPTION_TEXT, AT(model), .value = "FILE", .help = "the model that was taught, a folder, file or name",
      .initial_help = "the run's own" },
    OPTION_ROWS_TRIAL(struct run_args, "loss", "1"),
    { 0 },
};

/* The model as it was, then every checkpoint. */
static bool add_checkpoints(struct trial_work *w, const struct run_folder *run, const char *model, struct err *e)
{
    struct trial_variant *v;
    if (run->teaches && !trial_work_add(w, "base", 0, model, &v, e))
        return false;
    for (size_t i = 0; i < run->count; i++) {
        const struct run_checkpoint *c = &run->checkpoints[i];
        char name[40];
        snprintf(name, sizeof name, "step %lld", (long long)c->step);
        if (!trial_work_add(w, name, (double)c->step, c->whole ? c->path : model, &v, e) ||
            (!c->whole && !trial_work_lora(w, v, c->path, e)))
            return false;
    }
    /* A VAE of the run's own counts for all of them. */
    for (size_t i = 0; run->vae && i < w->options.count; i++)
        if (!w->variants[i].model.vae)
            w->variants[i].model.vae = run->vae;
    return true;
}

static bool run_run(const void *args, struct err *e)
{
    const struct run_args *a = args;
    struct trial_args trial = a->trial;
    struct run_folder run;
    struct findings f;
    struct trial_work *w = mem_zeroed(1, sizeof *w);
    findings_init(&f, "A training run, checkpoint by checkpoint");
    bool good = (w || err_nomem(e, "a trial")) && run_folder_open(&run, a->words.items[0], e);
    if (!good) {
        if (w)
            run_folder_release(&run);
        mem_free(w);
        findings_release(&f);
        return false;
    }
    if (!trial.dataset)
        trial.dataset = run.dataset;
    findings_text(&f, NULL, "run", "%s", a->words.items[0]);
    if (trial.dataset)
        findings_text(&f, NULL, "dataset", "%s", trial.dataset);
    good = (trial.dataset || trial.prompts ||
            err_set(e, ERR_ARG, "the run does not name its data set: say --dataset FOLDER or --prompts FILE")) &&
           trial_work_open(w, &trial, e) && add_checkpoints(w, &run, a->model ? a->model : run.model, e);
    if (good) {
        run_folder_curve(&run, &f);
        good = trial_work_run(w, &trial, &f, "eval run", "step", e);
    }
    trial_work_release(w);
    mem_free(w);
    run_folder_release(&run);
    findings_release(&f);
    return good;
}

const struct command command_eval_run = {
    .name = "eval run",
    .help = "Puts all checkpoints of a training run to the same test and tells which is best.",
    .details = "On the held-out pictures of the run's data set: the denoiser's loss at fixed noise; what is drawn from their words, against them "
               "(PSNR, SSIM) and against their look (style). On words that have nothing to do with it: how far pictures drift from the "
               "model's own. The best checkpoint is marked.",
    .words = "FOLDER", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = run_options, .args_bytes = sizeof(struct run_args), .run = run_run,
};
