#include "cli/trial_args.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "evaluate/questions.h"

enum { OWN_UNRELATED = 8, SHEET_ROWS = 12 };

const char *trial_sampler_choice(int index)
{
    return sampler_names[index].name;
}

/* The lines of a file that hold something. *text is what they lie in. */
static bool read_lines(const char *path, char **text, const char ***lines, size_t *count, struct err *e)
{
    size_t bytes, cap = 0;
    if (!file_read(path, (size_t)16 << 20, text, &bytes, e))
        return false;
    for (char *line = *text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        line[strcspn(line, "\r")] = 0;
        if (!line[strspn(line, " \t")])
            continue;
        const char **grown = mem_grow(*lines, &cap, *count + 1, sizeof *grown);
        if (!grown)
            return err_nomem(e, "words to draw");
        *lines = grown;
        grown[(*count)++] = line;
    }
    return *count || err_set(e, ERR_FORMAT, "%s holds no words", path);
}

static bool open_sets(struct trial_work *w, const struct trial_args *a, struct err *e)
{
    struct trial_options *o = &w->options;
    if (a->dataset) {
        if (!picture_set_open(&w->held_out, a->dataset, eval_split(a->split), e))
            return false;
        o->held_out = o->style = &w->held_out;
    }
    if (a->style) {
        if (!picture_set_open(&w->style, a->style, PICTURES_ALL, e))
            return false;
        o->style = &w->style;
    }
    return true;
}

static bool read_words(struct trial_work *w, const struct trial_args *a, struct err *e)
{
    struct trial_options *o = &w->options;
    if (a->prompts && !read_lines(a->prompts, &w->prompt_text, &w->prompts, &o->prompt_count, e))
        return false;
    o->prompts = w->prompts;
    if (!a->unrelated) {
        o->unrelated = free_prompts;
        o->unrelated_count = OWN_UNRELATED;
    } else if (strcmp(a->unrelated, "none")) {
        if (!read_lines(a->unrelated, &w->unrelated_text, &w->unrelated, &o->unrelated_count, e))
            return false;
        o->unrelated = w->unrelated;
    }
    return true;
}

bool trial_work_open(struct trial_work *w, const struct trial_args *a, struct err *e)
{
    *w = (struct trial_work){ 0 };
    w->options = (struct trial_options){ .variants = w->variants, .seeds = a->count, .held_out_most = a->held_out,
                                         .timesteps = a->timesteps, .steps = a->steps, .cfg = a->cfg,
                                         .sampler = sampler_names[a->sampler].name, .side = a->side, .batch = a->batch,
                                         .seed = (uint64_t)a->seed, .kept = a->pictures };
    if (!engine_init(&w->engine, a->threads, a->precision, e) ||
        !engine_places(&w->places, a->comfyui, a->extra_model_paths, e))
        return false;
    w->options.backend = w->engine.backend;
    w->options.type = w->engine.type;
    return image_init(e) && open_sets(w, a, e) && read_words(w, a, e);
}

void trial_work_release(struct trial_work *w)
{
    for (size_t i = 0; i < w->text_count; i++)
        mem_free(w->texts[i]);
    picture_set_release(&w->held_out);
    picture_set_release(&w->style);
    mem_free(w->prompts);
    mem_free(w->prompt_text);
    mem_free(w->unrelated);
    mem_free(w->unrelated_text);
    model_places_release(&w->places);
    engine_release(&w->engine);
}

static const char *keep_text(struct trial_work *w, const char *s, struct err *e)
{
    char *copy = mem_string(s);
    if (!copy) {
        err_nomem(e, "a path");
        return NULL;
    }
    return w->texts[w->text_count++] = copy;
}

bool trial_work_add(struct trial_work *w, const char *name, double at, const char *model, struct trial_variant **out, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (w->options.count == TRIAL_MOST)
        return err_set(e, ERR_LIMIT, "more than %d variants", TRIAL_MOST);
    if (!engine_find_model(path, &w->places, model, e))
        return false;
    struct trial_variant *v = *out = &w->variants[w->options.count];
    *v = (struct trial_variant){ .at = at, .model.path = keep_text(w, path, e) };
    snprintf(v->name, sizeof v->name, "%s", name);
    if (!v->model.path)
        return false;
    w->options.count++;
    return true;
}

bool trial_work_lora(struct trial_work *w, struct trial_variant *v, const char *word, struct err *e)
{
    struct lora_word lora;
    if (v->lora_count == TRIAL_LORAS)
        return err_set(e, ERR_LIMIT, "%s: more than %d LoRAs", v->name, TRIAL_LORAS);
    if (!lora_word_read(&lora, &w->places, word, e))
        return false;
    const char *path = keep_text(w, lora.path, e);
    if (path)
        v->loras[v->lora_count++] = (struct trial_lora){ path, lora.unet, lora.text };
    return path != NULL;
}

static bool write_sheet(const struct trial *t, const struct trial_options *o, const char *path, struct err *e)
{
    struct image sheet = { 0 };
    bool good = trial_sheet(&sheet, t, o, SHEET_ROWS, e) && image_save_png(path, &sheet, NULL, 0, e);
    image_release(&sheet);
    return good;
}

bool trial_work_run(struct trial_work *w, const struct trial_args *a, struct findings *f, const char *command, const char *x_label,
                    struct err *e)
{
    struct trial trial;
    struct progress_bar bar;
    enum trial_measure by;
    if (!trial_measure_of(a->by, &by, e))
        return err_add(e, "in --best-by");
    progress_bar_init(&bar, a->out.quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = trial_run(&trial, &w->options, &progress, e);
    progress_bar_end(&bar);
    if (!good)
        return false;
    good = trial_findings(f, &trial, &w->options, by, x_label, a->out.html != NULL, e) &&
           (!a->sheet || write_sheet(&trial, &w->options, a->sheet, e)) && eval_output(f, &a->out, command, e);
    trial_release(&trial);
    return good;
}
