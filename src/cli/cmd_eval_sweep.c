/* limn eval sweep: a LoRA at several strengths. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/trial_args.h"

struct sweep_args {
    const char *model, *lora, *strengths;
    struct trial_args trial;
};

#define AT(member) offsetof(struct sweep_args, member)

static const struct option sweep_options[] = {
    OPTION_ROW_MODEL(struct sweep_args),
    { "lora", 'l', OPTION_TEXT, AT(lora), .value = "FILE", .help = "the LoRA, also by its name in a folder of loras" },
    { "strengths", 0, OPTION_TEXT, AT(strengths), "0,0.25,0.5,0.75,1", .value = "LIST",
      .help = "with commas between; \"0,1\" shows before and after" },
    OPTION_ROWS_TRIAL(struct sweep_args, "style", "2"),
    { 0 },
};

static bool add_strengths(struct trial_work *w, const struct sweep_args *a, struct err *e)
{
    for (const char *at = a->strengths;; at++) {
        char *end, name[40], word[PATH_MAX_BYTES + 40];
        double strength = strtod(at, &end);
        struct trial_variant *v;
        if (end == at || (*end && *end != ',') || !(strength >= -100 && strength <= 100))
            return err_set(e, ERR_ARG, "--strengths %s: want numbers with commas between, such as 0,0.5,1", a->strengths);
        snprintf(name, sizeof name, "%g", strength);
        if (snprintf(word, sizeof word, "%s:%.17g", a->lora, strength) >= (int)sizeof word)
            return err_set(e, ERR_LIMIT, "--lora: the path is too long");
        if (!trial_work_add(w, name, strength, a->model, &v, e) || !trial_work_lora(w, v, word, e))
            return false;
        at = end;
        if (!*at)
            return true;
    }
}

static bool sweep_run(const void *args, struct err *e)
{
    const struct sweep_args *a = args;
    struct findings f;
    struct trial_work *w;
    if (!a->lora)
        return err_set(e, ERR_ARG, "limn eval sweep needs --lora FILE");
    if (!a->trial.prompts && !a->trial.dataset)
        return err_set(e, ERR_ARG, "limn eval sweep needs words to draw: --prompts FILE, or --dataset FOLDER with its captions");
    if (!(w = mem_zeroed(1, sizeof *w)))
        return err_nomem(e, "a trial");
    findings_init(&f, "A LoRA at several strengths");
    findings_text(&f, NULL, "lora", "%s", a->lora);
    bool good = trial_work_open(w, &a->trial, e) && add_strengths(w, a, e) &&
                trial_work_run(w, &a->trial, &f, "eval sweep", "strength", e);
    trial_work_release(w);
    mem_free(w);
    findings_release(&f);
    return good;
}

const struct command command_eval_sweep = {
    .name = "eval sweep",
    .help = "Draws with a LoRA at several strengths and measures what it does: style, diversity, how much pictures change.",
    .options = sweep_options, .args_bytes = sizeof(struct sweep_args), .run = sweep_run,
};
