/* CLIP's text encoder with CLIP's tokenizer, as a kind of struct text_encoder. */
#include "base/file.h"
#include "model/text/text.h"

static const char *const tokenizers[] = { "CLIPTokenizer", "CLIPTokenizerFast", NULL };

struct text_encoder text_clip_of(const struct clip_config *c, const struct clip_tokenizer *tokenizer)
{
    int64_t most = clip_tokenizer_max_length(tokenizer);
    return (struct text_encoder){
        .kind = &text_clip, .tokens = most < c->positions ? most : c->positions, .width = c->hidden_size,
        .pooled = c->projects ? c->projection_dim : c->hidden_size, .layers = c->layers, .clip = *c, .tokenizer = tokenizer,
    };
}

/* What the two folders must agree on. */
static bool agree(const struct clip_config *c, const struct clip_tokenizer *t, const char *config, const char *tokenizer,
                  struct err *e)
{
    if (clip_tokenizer_size(t) > c->vocab_size)
        return err_set(e, ERR_FORMAT, "%s: the tokenizer has %d tokens, %s has \"vocab_size\" %lld", tokenizer,
                       (int)clip_tokenizer_size(t), config, (long long)c->vocab_size);
    if (clip_tokenizer_max_length(t) > c->positions)
        return err_set(e, ERR_FORMAT, "%s/tokenizer_config.json has \"model_max_length\" %d, %s has "
                       "\"max_position_embeddings\" %lld", tokenizer, (int)clip_tokenizer_max_length(t), config,
                       (long long)c->positions);
    return true;
}

bool text_clip_open(struct text_encoder *t, const char *class, const json_t *config, const char *config_place,
                    struct clip_tokenizer *tokenizer, const char *tokenizer_place, struct err *e)
{
    struct clip_config c;
    if (!clip_config_from_json(&c, config, config_place, e) || !agree(&c, tokenizer, config_place, tokenizer_place, e)) {
        clip_tokenizer_free(tokenizer);
        return false;
    }
    c.projects = !strcmp(class, "CLIPTextModelWithProjection");
    *t = text_clip_of(&c, tokenizer);
    t->owned = true;
    return true;
}

static bool clip_open(struct text_encoder *t, const char *class, const char *encoder, const char *tokenizer, struct err *e)
{
    char place[PATH_MAX_BYTES];
    json_t *config = path_join(place, encoder, "config.json", e) ? json_read(place, e) : NULL;
    struct clip_tokenizer *words = config ? clip_tokenizer_open(tokenizer, e) : NULL;
    bool good = words && text_clip_open(t, class, config, place, words, tokenizer, e);
    json_decref(config);
    return good;
}

static void clip_release(struct text_encoder *t)
{
    clip_tokenizer_free((struct clip_tokenizer *)(uintptr_t)t->tokenizer);
}

static bool clip_ids(const struct text_encoder *t, const char *words, int32_t *ids, struct err *e)
{
    size_t count;
    return clip_tokenizer_encode(t->tokenizer, words, true, ids, (size_t)t->tokens, &count, e);
}

static struct text_values clip_graph(struct net *n, const struct text_encoder *t, enum text_states take, int64_t skip,
                                     unsigned has)
{
    const struct clip_config *c = &t->clip;
    struct text_values out = { .states = VALUE_NONE };
    int64_t layers = c->layers - (take == TEXT_LAST ? 0 : 1); /* below the states that are taken without skip */
    struct value ids = graph_input(n->g, "ids", DTYPE_I32, SHAPE(1, t->tokens)), keep = VALUE_NONE, vectors = VALUE_NONE;
    if (has & TEXT_VECTORS) {
        keep = graph_input(n->g, "keep", DTYPE_F32, SHAPE(1, t->tokens, 1));
        vectors = graph_input(n->g, "vectors", DTYPE_F32, SHAPE(1, t->tokens, c->hidden_size));
    }
    struct value x = clip_embed(n, c, ids, keep, vectors);
    x = clip_layers(n, c, x, 0, layers - skip);
    out.states = take == TEXT_LAST ? clip_norm(n, c, x) : x;
    if (skip) {
        x = clip_layers(n, c, x, layers - skip, layers);
        out.unskipped = take == TEXT_LAST ? clip_norm(n, c, x) : x;
    }
    if (has & TEXT_POOLED) {
        x = clip_norm(n, c, clip_layers(n, c, x, layers, c->layers));
        out.pooled = clip_pool(n, c, x, graph_input(n->g, "place", DTYPE_I32, SHAPE(1)));
    }
    return out;
}

static bool clip_run(const struct text_encoder *t, struct program *p, const int32_t *ids, struct err *e)
{
    int32_t place = clip_pooled_place(&t->clip, ids, t->tokens);
    bool pools = graph_find(program_graph(p), VALUE_INPUT, "place").id != 0;
    return program_set_input(p, "ids", ids, e) && (!pools || program_set_input(p, "place", &place, e)) && program_run_stoppable(p, e);
}

const struct text_kind text_clip = { tokenizers, clip_open, clip_release, clip_ids, clip_graph, clip_run, true };

void text_encoder_release(struct text_encoder *t)
{
    if (t->kind && t->owned)
        t->kind->release(t);
    *t = (struct text_encoder){ 0 };
}
