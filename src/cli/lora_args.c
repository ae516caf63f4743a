#include "cli/lora_args.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "generate/prompt.h"

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

static bool there(char *out, const char *folder, const char *name, struct err *e)
{
    static const char *const endings[] = { "", ".safetensors", ".ckpt", ".pt", ".bin" };
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (!path_join(out, folder, path_of("%s%s", name, endings[i]).s, e) || path_exists(out))
            return !e->code;
    return false;
}

static bool find_file(char *out, const char *name, struct err *e)
{
    char places[ENGINE_PLACES + 1][PATH_MAX_BYTES];
    const char *own = getenv("LIMN_LORAS");
    int count = 0;
    if (path_exists(name))
        return path_join(out, "", name, e);
    if (strlen(name) >= sizeof(struct path) - 16)
        return err_set(e, ERR_MISSING, "no LoRA file %s", name);
    if (own && *own)
        snprintf(places[count++], PATH_MAX_BYTES, "%s", own);
    int from = count;
    count += engine_places(places + count);
    for (int i = from; i < count; i++)
        if (strlen(places[i]) + 7 < PATH_MAX_BYTES)
            strcat(places[i], "/loras");
    for (int i = 0; i < count; i++)
        if (there(out, places[i], name, e) || e->code)
            return !e->code;
    err_set(e, ERR_MISSING, "no LoRA file %s, and none of that name in", name);
    for (int i = 0; i < count; i++) {
        size_t used = strlen(e->text);
        snprintf(e->text + used, sizeof e->text - used, "%s %s", i ? "," : "", places[i]);
    }
    return false;
}

bool lora_word_read(struct lora_word *out, const char *word, struct err *e)
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
    return find_file(out->path, name, e);
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

static bool add(struct pipeline *p, const struct lora_word *w, bool in_words, double alpha, struct draw_lora *loras, size_t *count,
                struct err *e)
{
    if (*count == LORA_MOST)
        return err_set(e, ERR_ARG, "more than %d LoRAs", LORA_MOST);
    const struct lora *l = pipeline_lora(p, w->path, alpha > 0 ? alpha : NAN, e);
    if (l)
        loras[(*count)++] = (struct draw_lora){ l, w->unet, w->text, in_words };
    return l != NULL;
}

bool lora_words_open(struct pipeline *p, const struct option_texts *words, double alpha, struct draw_lora *loras, size_t *count,
                     struct err *e)
{
    struct lora_word w;
    *count = 0;
    for (int i = 0; i < words->count; i++) {
        if (!lora_word_read(&w, words->items[i], e) || !add(p, &w, false, alpha, loras, count, e))
            return false;
        struct lora_facts f = lora_facts(loras[*count - 1].lora);
        tell(&f);
    }
    return true;
}

bool lora_prompt_open(struct pipeline *p, const struct draw_request *r, double alpha, struct draw_lora *loras, size_t *count,
                      struct err *e)
{
    enum prompt_syntax syntax;
    struct prompt prompt;
    if (!draw_request_syntax(r, &syntax, e))
        return false;
    if (syntax == PROMPT_PLAIN || !r->prompt || !strstr(r->prompt, "<lora:"))
        return true;
    if (!prompt_parse(&prompt, syntax, r->prompt, e))
        return err_add(e, "in the prompt");
    bool good = true;
    for (size_t i = 0; good && i < prompt.lora_count; i++) {
        struct lora_word w = { .unet = prompt.loras[i].unet, .text = prompt.loras[i].text };
        bool known = false;
        good = find_file(w.path, prompt.loras[i].name, e);
        for (size_t k = 0; good && k < *count; k++)
            known = known || !strcmp(lora_facts(loras[k].lora).path, w.path);
        good = good && add(p, &w, true, alpha, loras, count, e);
        if (good && !known) {
            struct lora_facts f = lora_facts(loras[*count - 1].lora);
            tell(&f);
        }
    }
    prompt_release(&prompt);
    return good;
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
