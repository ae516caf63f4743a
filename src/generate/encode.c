/* Words -> states and pooled text. Each text is rows of token ids for each text encoder (texts.c); a row is a run of the
 * encoder; rows' states lie behind each other along the tokens, encoders' beside each other along the width, and the pooled
 * vector is the first row's. */
#include "base/mem.h"
#include "generate/generate_internal.h"

static const char *words(const char *s)
{
    return s ? s : "";
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
        w->syntax != s->syntax || strcmp(w->prompt, words(r->prompt)) != 0)
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
    texts_release(&w->texts);
    *w = (struct words){ 0 };
}

bool pipeline_encode_begin(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s,
                           const struct progress *progress, struct err *e)
{
    struct words *w = &p->words;
    bool encodes_negative = s->guided && !negative_is_zero(p, r, s);
    pipeline_forget_words(p);
    w->prompt_count = r->prompts ? r->batch : 1;
    w->guided = s->guided;
    w->skip = r->clip_skip;
    w->lora_count = stage_loras(PART_TEXT, r, w->loras);
    w->tokens = s->tokens;
    w->syntax = s->syntax;
    if (!texts_make(&w->texts, p, r, s, progress, e)) {
        pipeline_forget_words(p);
        return false;
    }
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

/* What one encoder needs for all its texts. */
struct encoding {
    struct pipeline *p;
    enum model_part part;
    const struct draw_sizes *sizes;
    const struct text_encoder *encoder;
    int64_t column;       /* where its states begin in those of all encoders */
    float *keep, *vectors; /* [tokens], [tokens, width]: inputs of TEXT_VECTORS */
    float *states, *empty; /* [tokens, width]: a row being weighed; what the encoder makes of no words */
};

static bool encoding_init(struct encoding *c, struct pipeline *p, enum model_part part, const struct draw_sizes *s, struct err *e)
{
    const struct text_encoder *t = &p->source.model->text[part];
    *c = (struct encoding){ .p = p, .part = part, .sizes = s, .encoder = t };
    for (int i = 0; i < (int)part; i++)
        c->column += p->source.model->text[i].width;
    size_t numbers = (size_t)(t->tokens * t->width);
    c->states = mem_aligned(numbers * sizeof(float));
    c->empty = mem_aligned(numbers * sizeof(float));
    if (s->given[part]) {
        c->keep = mem_aligned((size_t)t->tokens * sizeof(float));
        c->vectors = mem_aligned(numbers * sizeof(float));
    }
    return (c->states && c->empty && (!s->given[part] || (c->keep && c->vectors))) || err_nomem(e, "the text states");
}

static void encoding_release(struct encoding *c)
{
    mem_free(c->keep);
    mem_free(c->vectors);
    mem_free(c->states);
    mem_free(c->empty);
}

/* Runs one row; vectors may be NULL: none. */
static bool run_row(struct encoding *c, const int32_t *ids, const float *const *vectors, struct err *e)
{
    const struct text_encoder *t = c->encoder;
    struct program *program = c->p->stages[c->part].program;
    size_t width = (size_t)t->width;
    for (size_t i = 0; c->vectors && i < (size_t)t->tokens; i++) {
        const float *given = vectors ? vectors[i] : NULL;
        c->keep[i] = given == NULL;
        if (given)
            memcpy(c->vectors + i * width, given, width * sizeof(float));
        else
            memset(c->vectors + i * width, 0, width * sizeof(float));
    }
    if (c->vectors && (!program_set_input(program, "keep", c->keep, e) || !program_set_input(program, "vectors", c->vectors, e)))
        return false;
    return t->kind->run(t, program, ids, e);
}

static const void *states_of(const struct encoding *c, bool skips)
{
    const struct stage *stage = &c->p->stages[c->part];
    return program_output(stage->program, stage->out[!skips && stage->out[1].id ? 1 : 0]);
}

/* The states of no words, which ComfyUI's weights begin from. */
static bool encode_empty(struct encoding *c, struct err *e)
{
    const struct text_encoder *t = c->encoder;
    int32_t *ids = mem_zeroed((size_t)t->tokens, sizeof *ids);
    if (!ids)
        return err_nomem(e, "the text states");
    chunk_empty_row(&(struct chunk_source){ .tokenizer = t->tokenizer, .length = t->tokens }, ids);
    bool good = run_row(c, ids, NULL, e);
    if (good)
        dtype_convert(c->empty, DTYPE_F32, states_of(c, true), c->p->type, (size_t)(t->tokens * t->width));
    mem_free(ids);
    return good;
}

/* Row i of text `index`, whose states went to c->states or lie in the program's output, to its place. */
static void put_row(const struct encoding *c, int64_t index, int64_t i, const void *states, enum dtype type)
{
    const struct pipeline *p = c->p;
    int64_t tokens = c->encoder->tokens, width = c->encoder->width, text_width = c->sizes->text_width;
    size_t bytes = dtype_bytes(p->type);
    char *to = (char *)p->words.states + (size_t)((index * c->sizes->tokens + i * tokens) * text_width + c->column) * bytes;
    for (int64_t k = 0; k < tokens; k++)
        dtype_convert(to + (size_t)(k * text_width) * bytes, p->type,
                      (const char *)states + (size_t)(k * width) * dtype_bytes(type), type, (size_t)width);
}

/* Text `index` of the words. skips: without the last layers. */
static bool encode_text(struct encoding *c, int64_t index, bool skips, struct err *e)
{
    struct pipeline *p = c->p;
    const struct stage *stage = &p->stages[c->part];
    const struct text_encoder *t = c->encoder;
    const struct chunk_rows *rows = &p->words.texts.rows[index][c->part];
    bool weighs = rows->weighted;
    if (weighs && p->words.syntax == PROMPT_COMFY && !encode_empty(c, e))
        return false;
    for (int64_t i = 0; i < rows->count; i++) {
        const float *weights = rows->weights + i * t->tokens;
        if (!run_row(c, rows->ids + i * t->tokens, rows->vectors + i * t->tokens, e))
            return false;
        const void *states = states_of(c, skips);
        if (weighs) {
            dtype_convert(c->states, DTYPE_F32, states, p->type, (size_t)(t->tokens * t->width));
            chunk_weigh(c->states, c->empty, weights, t->tokens, t->width, p->words.syntax);
        }
        /* as often as fits: repeated keys and values leave attention as it was */
        for (int64_t at = i; at * t->tokens < c->sizes->tokens; at += rows->count)
            put_row(c, index, at, weighs ? c->states : states, weighs ? DTYPE_F32 : p->type);
        size_t each = (size_t)c->sizes->pooled_width * dtype_bytes(p->type);
        if (stage->out[2].id && i == 0)
            memcpy((char *)p->words.pooled + (size_t)index * each, program_output(stage->program, stage->out[2]), each);
    }
    return true;
}

bool pipeline_encode(struct pipeline *p, enum model_part part, const struct draw_sizes *s, struct err *e)
{
    const struct words *w = &p->words;
    struct encoding c;
    bool good = encoding_init(&c, p, part, s, e);
    if (good && w->negative) /* diffusers skips layers for the prompt only, the others for both */
        good = encode_text(&c, w->prompt_count, s->syntax != PROMPT_PLAIN, e);
    for (int64_t i = 0; good && i < w->prompt_count; i++)
        good = encode_text(&c, i, true, e);
    encoding_release(&c);
    if (!good)
        pipeline_forget_words(p);
    return good;
}
