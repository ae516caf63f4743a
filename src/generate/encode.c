/* Words -> states and pooled text. Each text is rows of token ids for each text encoder (text_rows); a row is a run of the
 * encoder; rows' states lie behind each other along the tokens, encoders' beside each other along the width, and the pooled
 * vector is the first row's. */
#include "base/mem.h"
#include "generate/generate_internal.h"

static const char *words(const char *s)
{
    return s ? s : "";
}

/* Where diffusers takes zeros in place of the states of negative words that were not given. ComfyUI always encodes. */
static bool negative_is_zero(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s)
{
    return p->source.model->settings.force_zeros && !r->negative && !s->comfy;
}

bool pipeline_knows(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s)
{
    const struct words *w = &p->words;
    struct lora_use uses[LORA_MOST];
    size_t count = stage_loras(PART_TEXT, r, uses);
    if (count != w->lora_count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (w->loras[i].lora != uses[i].lora || w->loras[i].scale != uses[i].scale)
            return false;
    if (!w->states || !w->prompt || r->prompts || w->skip != r->clip_skip || w->tokens != s->tokens ||
        strcmp(w->prompt, words(r->prompt)) != 0)
        return false;
    if (!s->guided)
        return true;
    if (negative_is_zero(p, r, s))
        return w->guided && !w->negative;
    return w->guided && w->negative && !strcmp(w->negative, words(r->negative));
}

void pipeline_forget_words(struct pipeline *p)
{
    struct words *w = &p->words;
    mem_free(w->prompt);
    mem_free(w->negative);
    mem_free(w->states);
    mem_free(w->pooled);
    *w = (struct words){ 0 };
}

bool pipeline_encode_begin(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, struct err *e)
{
    struct words *w = &p->words;
    bool encodes_negative = s->guided && !negative_is_zero(p, r, s);
    pipeline_forget_words(p);
    w->prompt_count = r->prompts ? r->batch : 1;
    w->guided = s->guided;
    w->skip = r->clip_skip;
    w->lora_count = stage_loras(PART_TEXT, r, w->loras);
    w->tokens = s->tokens;
    size_t texts = (size_t)w->prompt_count + s->guided, bytes = dtype_bytes(p->type);
    size_t states = texts * (size_t)(s->tokens * s->text_width) * bytes, pooled = texts * (size_t)s->pooled_width * bytes;
    w->prompt = r->prompts ? NULL : mem_string(words(r->prompt));
    w->negative = encodes_negative ? mem_string(words(r->negative)) : NULL;
    w->states = mem_aligned(states);
    w->pooled = pooled ? mem_aligned(pooled) : NULL;
    if ((!w->prompt && !r->prompts) || (!w->negative && encodes_negative) || !w->states || (!w->pooled && pooled)) {
        pipeline_forget_words(p);
        return err_nomem(e, "the text states");
    }
    memset(w->states, 0, states);
    if (pooled)
        memset(w->pooled, 0, pooled);
    return true;
}

/* A text as the rows of ids that one encoder runs: [count, t->tokens]. Today there is one, which cuts what is longer. */
struct token_rows {
    int64_t count;
    int32_t *ids;
};

static bool text_rows(const struct text_encoder *t, const char *text, struct token_rows *out, struct err *e)
{
    out->ids = mem_zeroed((size_t)t->tokens, sizeof *out->ids);
    out->count = 1;
    return out->ids ? t->kind->ids(t, text, out->ids, e) : err_nomem(e, "the words' ids");
}

/* Text `index` of w. The encoder's states begin at `column` of each token's. */
static bool encode_text(struct pipeline *p, enum model_part part, const struct draw_sizes *s, int64_t column, const char *text,
                        int64_t index, bool skips, struct err *e)
{
    struct stage *stage = &p->stages[part];
    const struct text_encoder *t = &p->source.model->text[part];
    size_t bytes = dtype_bytes(p->type), width = (size_t)t->width * bytes, row = (size_t)s->text_width * bytes;
    char *to = (char *)p->words.states + (size_t)(index * s->tokens) * row + (size_t)column * bytes;
    struct token_rows rows = { 0 };
    bool good = text_rows(t, text, &rows, e);
    for (int64_t i = 0; good && i < rows.count; i++) {
        good = t->kind->run(t, stage->program, rows.ids + i * t->tokens, e);
        if (!good)
            break;
        struct value states = stage->out[!skips && stage->out[1].id ? 1 : 0], pooled = stage->out[2];
        const char *from = program_output(stage->program, states);
        for (int64_t k = 0; k < t->tokens; k++)
            memcpy(to + (size_t)(i * t->tokens + k) * row, from + (size_t)k * width, width);
        size_t each = (size_t)s->pooled_width * bytes;
        if (pooled.id && i == 0)
            memcpy((char *)p->words.pooled + (size_t)index * each, program_output(stage->program, pooled), each);
    }
    mem_free(rows.ids);
    return good;
}

bool pipeline_encode(struct pipeline *p, enum model_part part, const struct draw_request *r, const struct draw_sizes *s,
                     struct err *e)
{
    const struct words *w = &p->words;
    int64_t column = 0;
    bool good = true;
    for (int i = 0; i < (int)part; i++)
        column += p->source.model->text[i].width;
    if (w->negative) /* layers are skipped for the prompt only */
        good = encode_text(p, part, s, column, w->negative, w->prompt_count, false, e) ||
               err_add(e, "in the negative prompt");
    for (int64_t i = 0; good && i < w->prompt_count; i++)
        good = encode_text(p, part, s, column, words(r->prompts ? r->prompts[i] : r->prompt), i, true, e) ||
               err_add(e, "in the prompt");
    if (!good)
        pipeline_forget_words(p);
    return good;
}
