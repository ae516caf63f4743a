/* The words of a request -> rows of tokens for each text encoder, before anything runs: how long they are decides the denoiser's
 * shape. */
#include "base/mem.h"
#include "base/text.h"
#include "generate/generate_internal.h"

enum { MOST_ROWS = 128 }; /* that texts of different lengths are repeated to */

static const char *words(const char *s)
{
    return s ? s : "";
}

bool negative_is_zero(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s)
{
    return p->source.model->settings.force_zeros && !r->negative && !s->comfy;
}

bool draw_request_syntax(const struct draw_request *r, enum prompt_syntax *out, struct err *e)
{
    bool model = !r->sampler || sampler_find(r->sampler) == sampler_names;
    *out = model ? PROMPT_PLAIN : PROMPT_COMFY;
    for (int i = 0; r->prompt_syntax && i <= PROMPT_SYNTAX_COUNT; i++) {
        if (i == PROMPT_SYNTAX_COUNT)
            return err_set(e, ERR_ARG, "no prompt syntax \"%s\": there are plain, comfy and a1111", r->prompt_syntax);
        *out = (enum prompt_syntax)i;
        if (!strcmp(r->prompt_syntax, prompt_syntax_names[i]))
            break;
    }
    return true;
}

bool texts_syntax(const struct pipeline *p, const struct draw_request *r, enum prompt_syntax *out, struct err *e)
{
    const struct model_parts *m = p->source.model;
    bool rows = true;
    for (int i = 0; i < TEXT_PARTS; i++)
        rows &= !m->text[i].kind || m->text[i].kind->rows;
    if (!draw_request_syntax(r, out, e))
        return false;
    if (!rows && *out != PROMPT_PLAIN && r->prompt_syntax)
        return err_set(e, ERR_ARG, "prompt syntax %s: this model's text encoder knows no weights; plain is its syntax",
                       r->prompt_syntax);
    *out = rows ? *out : PROMPT_PLAIN;
    return true;
}

/* Says which words of a plain text the row of an encoder has no room for. */
static bool tell_cut(const struct text_encoder *t, const char *text, const char *what, const struct progress *progress,
                     struct err *e)
{
    int32_t *ids;
    size_t count, room = (size_t)t->tokens - 1;
    if (!progress || !t->tokenizer)
        return true;
    if (!clip_tokenizer_encode_all(t->tokenizer, text, &ids, &count, e))
        return false;
    struct text cut;
    text_init(&cut, CLIP_TEXT_MAX_BYTES * 4);
    for (size_t i = room; i + 1 < count; i++) {
        char token[200];
        clip_tokenizer_token_text(t->tokenizer, ids[i], token, sizeof token);
        text_add(&cut, token);
    }
    if (cut.length)
        progress_line(progress, "%s has %zu tokens, and the text encoder reads %lld of them: \"%s\" is left out. --prompt-syntax "
                      "comfy reads all", what, count - 2, (long long)t->tokens - 2, text_string(&cut));
    bool good = text_ok(&cut, e);
    text_release(&cut);
    mem_free(ids);
    return good;
}

/* The one row of a plain text. */
static bool plain_row(struct chunk_rows *out, const struct text_encoder *t, const char *text, struct err *e)
{
    size_t tokens = (size_t)t->tokens;
    *out = (struct chunk_rows){ .count = 1, .length = t->tokens, .ids = mem_zeroed(tokens, sizeof *out->ids),
                                .weights = mem_zeroed(tokens, sizeof *out->weights),
                                .vectors = mem_zeroed(tokens, sizeof *out->vectors) };
    for (size_t i = 0; out->weights && i < tokens; i++)
        out->weights[i] = 1;
    bool there = out->ids && out->weights && out->vectors;
    return there ? t->kind->ids(t, text, out->ids, e) : err_nomem(e, "the words' tokens");
}

static const char negative_words[] = "the negative prompt";

/* One text, for all encoders. */
static bool make_text(struct chunk_rows rows[TEXT_PARTS], const struct pipeline *p, enum prompt_syntax syntax, const char *text,
                      const char *what, const struct progress *progress, struct err *e)
{
    static const char *const keys[TEXT_PARTS] = { "clip_l", "clip_g" }; /* SDXL's refiner has the second encoder alone */
    const struct model_parts *m = p->source.model;
    struct prompt prompt;
    int64_t least = INT64_MAX;
    if (!prompt_parse(&prompt, syntax, text, e))
        return err_add(e, "in %s", what);
    bool good = true, told = false;
    if (what == negative_words && prompt.lora_count)
        progress_line(progress, "%s names the LoRA \"%.100s\": it is left out; LoRAs count for the whole picture, and one with a scale below 0 "
                      "in the prompt takes away what it learnt", what, prompt.loras[0].name);
    for (int i = 0; good && i < TEXT_PARTS; i++) {
        const struct text_encoder *t = &m->text[i];
        if (!t->kind)
            continue;
        struct chunk_source source = { t->tokenizer, t->tokens, t->width, keys[i], p->inversions, progress, told };
        good = syntax == PROMPT_PLAIN ? plain_row(&rows[i], t, text, e) : chunk_rows_make(&rows[i], &prompt, syntax, &source, e);
        if (good && syntax == PROMPT_PLAIN && !told)
            good = tell_cut(t, text, what, progress, e);
        told = true;
        least = good && rows[i].count < least ? rows[i].count : least;
    }
    for (int i = 0; good && i < TEXT_PARTS; i++) /* an embedding that one encoder has not can make a difference: as ComfyUI */
        rows[i].count = rows[i].count < least ? rows[i].count : least;
    prompt_release(&prompt);
    return good || err_add(e, "in %s", what);
}

static int64_t common_multiple(int64_t a, int64_t b)
{
    int64_t x = a, y = b;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* What all texts can be repeated to. Lengths of rows are those of the encoders, which agree (model_parts_agree). */
static bool set_length(struct texts *t, const struct model_parts *m, struct err *e)
{
    int64_t rows = 1, length = 0;
    for (int i = 0; i < TEXT_PARTS; i++)
        length = m->text[i].kind ? m->text[i].tokens : length;
    for (int64_t k = 0; k < t->count; k++)
        for (int i = 0; i < TEXT_PARTS; i++) {
            const struct chunk_rows *r = &t->rows[k][i];
            t->given[i] |= r->given;
            if (!r->count)
                continue;
            int64_t both = common_multiple(rows, r->count);
            if (both > MOST_ROWS)
                return err_set(e, ERR_LIMIT, "texts of %lld and %lld times %lld tokens cannot be drawn together: write less in one "
                               "of them, or as much in both", (long long)rows, (long long)r->count, (long long)length - 2);
            rows = both;
        }
    t->tokens = rows * length;
    return true;
}

bool texts_make(struct texts *out, const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                const struct progress *progress, struct err *e)
{
    bool negative = s->guided && !negative_is_zero(p, r, s);
    int64_t prompts = r->prompts ? r->batch : 1;
    *out = (struct texts){ .count = prompts + negative };
    out->rows = mem_zeroed((size_t)out->count, sizeof *out->rows);
    bool good = out->rows || err_nomem(e, "the words' tokens");
    for (int64_t i = 0; good && i < prompts; i++)
        good = make_text(out->rows[i], p, s->syntax, words(r->prompts ? r->prompts[i] : r->prompt), "the prompt", progress, e);
    if (good && negative)
        good = make_text(out->rows[prompts], p, s->syntax, words(r->negative), negative_words, progress, e);
    good = good && set_length(out, p->source.model, e);
    if (!good)
        texts_release(out);
    return good;
}

void texts_release(struct texts *t)
{
    for (int64_t k = 0; t->rows && k < t->count; k++)
        for (int i = 0; i < TEXT_PARTS; i++)
            chunk_rows_release(&t->rows[k][i]);
    mem_free(t->rows);
    *t = (struct texts){ 0 };
}
