/* Words -> text states. */
#include "base/mem.h"
#include "generate/generate_internal.h"

static const char *words(const char *s)
{
    return s ? s : "";
}

bool pipeline_knows(const struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s)
{
    return p->states && p->prompt && !r->prompts && p->skip == r->clip_skip && !strcmp(p->prompt, words(r->prompt)) &&
           (s->guided ? p->guided && !strcmp(p->negative, words(r->negative)) : true);
}

void pipeline_forget_words(struct pipeline *p)
{
    mem_free(p->prompt);
    mem_free(p->negative);
    mem_free(p->states);
    p->prompt = p->negative = p->states = NULL;
}

/* One run of the text encoder: a prompt's states, and the negative ones unless `negative` is NULL. ids: of both. */
static bool encode_one(struct pipeline *p, const char *prompt, int32_t *ids, void *states, void *negative, size_t bytes,
                       struct err *e)
{
    struct stage *stage = &p->stages[PART_TEXT];
    size_t tokens = (size_t)pipeline_tokens(p), count;
    if (!clip_tokenizer_encode(p->source.tokenizer, prompt, true, ids, tokens, &count, e))
        return err_add(e, "in the prompt");
    if (!program_set_input(stage->program, "ids", ids, e) ||
        (stage->out[1].id && !program_set_input(stage->program, "negative", ids + tokens, e)) ||
        !program_run_stoppable(stage->program, e))
        return false;
    const char *out = program_output(stage->program, stage->out[0]);
    memcpy(states, out, bytes);
    if (negative)
        memcpy(negative, stage->out[1].id ? program_output(stage->program, stage->out[1]) : out + bytes, bytes);
    return true;
}

bool pipeline_encode(struct pipeline *p, const struct draw_request *r, const struct draw_sizes *s, struct err *e)
{
    size_t tokens = (size_t)s->tokens, prompts = r->prompts ? (size_t)r->batch : 1, count;
    size_t bytes = tokens * (size_t)s->text_width * dtype_bytes(p->type);
    int32_t *ids = mem_zeroed(2 * tokens, sizeof *ids);
    pipeline_forget_words(p);
    p->prompt_count = (int64_t)prompts;
    p->guided = s->guided;
    p->skip = r->clip_skip;
    p->prompt = r->prompts ? NULL : mem_string(words(r->prompt));
    p->negative = mem_string(words(r->negative));
    p->states = mem_aligned((prompts + s->guided) * bytes);
    bool good = (ids && (p->prompt || r->prompts) && p->negative && p->states) || err_nomem(e, "the text states");
    good = good && (!s->guided ||
                    clip_tokenizer_encode(p->source.tokenizer, p->negative, true, ids + tokens, tokens, &count, e) ||
                    err_add(e, "in the negative prompt"));
    for (size_t i = 0; good && i < prompts; i++)
        good = encode_one(p, words(r->prompts ? r->prompts[i] : r->prompt), ids, (char *)p->states + i * bytes,
                          s->guided ? (char *)p->states + prompts * bytes : NULL, bytes, e);
    mem_free(ids);
    if (!good)
        pipeline_forget_words(p);
    return good;
}
