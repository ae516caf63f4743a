/* limn eval compare: a model, a LoRA for it and a fine-tuned model side by side. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/trial_args.h"

struct compare_args {
    struct option_texts words;
    struct trial_args trial;
};

#define AT(member) offsetof(struct compare_args, member)

static const struct option compare_options[] = {
    OPTION_ROWS_TRIAL(struct compare_args, "style", "2"),
    { 0 },
};

/* NAME=MODEL+LORA+LORA; MODEL may be empty: limn's own. */
static bool add_variant(struct trial_work *w, const char *word, struct err *e)
{
    char copy[2 * PATH_MAX_BYTES], *at = copy;
    struct trial_variant *v;
    const char *equals = strchr(word, '=');
    if (!equals || equals == word || strlen(word) >= sizeof copy)
        return err_set(e, ERR_ARG, "%.200s: want NAME=MODEL or NAME=MODEL+LORA:0.8", word);
    strcpy(copy, word);
    char *name = strsep(&at, "="), *model = strsep(&at, "+");
    if (!trial_work_add(w, name, (double)w->options.count, *model ? model : NULL, &v, e))
        return false;
    for (char *lora; (lora = strsep(&at, "+"));)
        if (!trial_work_lora(w, v, lora, e))
            return false;
    return true;
}

static bool compare_run(const void *args, struct err *e)
{
    const struct compare_args *a = args;
    struct findings f;
    struct trial_work *w;
    if (!a->trial.prompts && !a->trial.dataset)
        return err_set(e, ERR_ARG, "limn eval compare needs words to draw: --prompts FILE, or --dataset FOLDER with its captions");
    if (!(w = mem_zeroed(1, sizeof *w)))
        return err_nomem(e, "a trial");
    findings_init(&f, "Models side by side");
    bool good = trial_work_open(w, &a->trial, e);
    for (int i = 0; good && i < a->words.count; i++) {
        good = add_variant(w, a->words.items[i], e);
        findings_text(&f, "model", w->variants[i].name, "%s", strchr(a->words.items[i], '=') ? strchr(a->words.items[i], '=') + 1 : "");
    }
    good = good && trial_work_run(w, &a->trial, &f, "eval compare", NULL, e);
    trial_work_release(w);
    mem_free(w);
    findings_release(&f);
    return good;
}

const struct command command_eval_compare = {
    .name = "eval compare",
    .help = "Puts models and LoRAs to the same test, side by side: style, held-out loss, diversity, time, memory, size of files.",
    .details = "Each is NAME=MODEL, with LoRAs behind it NAME=MODEL+FILE:0.8. The first one is what the others are compared with: a base, "
               "then its LoRA, then its full fine-tuning. NAME=+FILE stands for the model that limn brings.",
    .words = "NAME=FOLDER[+FILE]...", .words_place = AT(words), .words_min = 1, .words_max = OPTION_TEXTS_MAX,
    .options = compare_options, .args_bytes = sizeof(struct compare_args), .run = compare_run,
};
