#include "cli/lora_args.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Cuts a number behind the last colon off the word. */
static bool take_number(char *word, double *out)
{
    char *colon = strrchr(word, ':'), *end;
    if (!colon || !colon[1])
        return false;
    double v = strtod(colon + 1, &end);
    if (*end)
        return false;
    *out = v;
    *colon = 0;
    return true;
}

static bool find_file(char *out, const struct model_places *places, const char *name, struct err *e)
{
    if (path_exists(name))
        return path_join(out, "", name, e);
    return model_places_find(places, 1U << MODELS_LORAS, "LoRA", name, out, e) || err_add(e, "--lora names a file anywhere");
}

bool lora_word_read(struct lora_word *out, const struct model_places *places, const char *word, struct err *e)
{
    char name[PATH_MAX_BYTES];
    double last, first;
    out->unet = out->text = 1;
    if (snprintf(name, sizeof name, "%s", word) >= (int)sizeof name)
        return err_set(e, ERR_LIMIT, "--lora: the path is too long");
    if (!path_exists(name) && take_number(name, &last)) {
        bool two = !path_exists(name) && take_number(name, &first);
        out->unet = two ? first : last;
        out->text = last;
    }
    if (!isfinite(out->unet) || !isfinite(out->text))
        return err_set(e, ERR_ARG, "--lora %s: a scale must be a number", word);
    if (!name[0])
        return err_set(e, ERR_ARG, "--lora %s: no file is named", word);
    return find_file(out->path, places, name, e);
}

static void tell(const struct lora_facts *f)
{
    enum { MOST_NAMED = 20 };
    if (f->alpha_assumed > 0)
        fprintf(stderr, "%s does not tell its alpha: %g is taken (--lora-alpha)\n", f->path, f->alpha_assumed);
    if (!f->unused_count)
        return;
    fprintf(stderr, "%s: %zu key%s not for this model:", f->path, f->unused_count, f->unused_count == 1 ? " is" : "s are");
    for (size_t i = 0; i < f->unused_count && i < MOST_NAMED; i++)
        fprintf(stderr, "%s %s", i ? "," : "", f->unused[i]);
    if (f->unused_count > MOST_NAMED)
        fprintf(stderr, " and %zu more", f->unused_count - MOST_NAMED);
    fputc('\n', stderr);
}

static bool add(struct pipeline *p, const struct lora_word *w, double alpha, bool in_words, struct draw_lora *loras,
                size_t *count, struct err *e)
{
    if (*count == LORA_MOST)
        return err_set(e, ERR_ARG, "--lora: at most %d", LORA_MOST);
    const struct lora *l = pipeline_lora(p, w->path, alpha > 0 ? alpha : NAN, e);
    if (!l)
        return false;
    struct lora_facts f = lora_facts(l);
    tell(&f);
    loras[(*count)++] = (struct draw_lora){ .lora = l, .unet = w->unet, .text = w->text, .in_words = in_words };
    return true;
}

bool lora_words_add(struct pipeline *p, const struct model_places *places, const char *name, double unet, double text, double alpha,
                    struct draw_lora *loras, size_t *count, struct err *e)
{
    struct lora_word w = { .unet = unet, .text = text };
    return (find_file(w.path, places, name, e) && add(p, &w, alpha, true, loras, count, e)) || err_add(e, "in the prompt");
}

bool lora_words_open(struct pipeline *p, const struct model_places *places, const struct option_texts *words, double alpha,
                     struct draw_lora *loras, size_t *count, struct err *e)
{
    struct lora_word w;
    *count = 0;
    for (int i = 0; i < words->count; i++) {
        if (!lora_word_read(&w, places, words->items[i], e) || !add(p, &w, alpha, false, loras, count, e))
            return false;
    }
    return true;
}

json_t *lora_words_json(const struct draw_lora *loras, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        struct lora_facts f = lora_facts(loras[i].lora);
        json_t *unused = json_array();
        for (size_t k = 0; k < f.unused_count; k++)
            json_array_append_new(unused, json_string(f.unused[k]));
        json_t *one = json_pack("{s:s,s:s,s:f,s:f,s:I,s:I,s:o}", "path", f.path, "name", f.name, "unet", loras[i].unet, "text",
                                loras[i].text, "modules", (json_int_t)f.modules, "rank", (json_int_t)f.most_rank, "unused",
                                unused);
        if (!one || json_array_append_new(list, one)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}
