/* ChatGLM3 with its SentencePiece tokenizer, as a kind of struct text_encoder. */
#include "base/file.h"
#include "base/mem.h"
#include "model/text/text.h"

enum { TOKENS = 256 }; /* KolorsPipeline's max_sequence_length: no file says it */

static const char *const tokenizers[] = { "ChatGLMTokenizer", NULL };

/* What the two folders must agree on. */
static bool agree(const struct chatglm_config *c, const struct chatglm_tokenizer *t, const char *config,
                  const char *tokenizer, struct err *e)
{
    if (chatglm_tokenizer_size(t) > c->vocab_size)
        return err_set(e, ERR_FORMAT, "%s: the tokenizer has %d tokens, %s has \"padded_vocab_size\" %lld", tokenizer,
                       (int)chatglm_tokenizer_size(t), config, (long long)c->vocab_size);
    if (TOKENS > c->positions)
        return err_set(e, ERR_FORMAT, "%s: \"seq_length\" is %lld; texts have %d tokens", config, (long long)c->positions,
                       (int)TOKENS);
    return true;
}

bool text_chatglm_open(struct text_encoder *t, const json_t *config, const char *config_place, struct chatglm_tokenizer *words,
                       const char *tokenizer_place, struct err *e)
{
    struct chatglm_config c;
    if (!chatglm_config_from_json(&c, config, config_place, e) || !agree(&c, words, config_place, tokenizer_place, e)) {
        chatglm_tokenizer_free(words);
        return false;
    }
    *t = (struct text_encoder){ .kind = &text_chatglm, .tokens = TOKENS, .width = c.hidden_size, .pooled = c.hidden_size,
                                .layers = c.layers, .chatglm = c, .pieces = words, .owned = true };
    return true;
}

static bool chatglm_open(struct text_encoder *t, const char *class, const char *encoder, const char *tokenizer, struct err *e)
{
    char where[PATH_MAX_BYTES], model[PATH_MAX_BYTES];
    json_t *config = path_join(where, encoder, "config.json", e) ? json_read(where, e) : NULL;
    if (!config || !path_join(model, tokenizer, "tokenizer.model", e)) {
        json_decref(config);
        return false;
    }
    if (!path_exists(model)) /* Kolors' first folder keeps it beside the weights */
        tokenizer = encoder;
    struct chatglm_tokenizer *words = chatglm_tokenizer_open(tokenizer, e);
    bool good = words && text_chatglm_open(t, config, where, words, tokenizer, e);
    json_decref(config);
    return good;
}

static void chatglm_release(struct text_encoder *t)
{
    chatglm_tokenizer_free((struct chatglm_tokenizer *)(uintptr_t)t->pieces);
}

static bool chatglm_ids(const struct text_encoder *t, const char *words, int32_t *ids, struct err *e)
{
    return chatglm_tokenizer_encode(t->pieces, words, ids, (size_t)t->tokens, e);
}

/* TEXT_LAST is the last layer's states without the final norm, which diffusers' pipelines never apply either. */
static struct text_values chatglm_graph(struct net *n, const struct text_encoder *t, enum text_states take, int64_t skip,
                                        unsigned has)
{
    const struct chatglm_config *c = &t->chatglm;
    struct chatglm_input in = { graph_input(n->g, "ids", DTYPE_I32, SHAPE(1, t->tokens)),
                                graph_input(n->g, "places", DTYPE_I32, SHAPE(1, t->tokens)),
                                graph_input(n->g, "pads", DTYPE_I32, SHAPE(1)) };
    struct text_values out = { .states = VALUE_NONE };
    int64_t layers = c->layers - (take == TEXT_LAST ? 0 : 1); /* below the states that are taken without skip */
    struct value x = out.states = chatglm_layers(n, c, &in, chatglm_embed(n, c, &in), 0, layers - skip);
    if (skip)
        x = out.unskipped = chatglm_layers(n, c, &in, x, layers - skip, layers);
    if ((has & TEXT_POOLED) && layers < c->layers)
        out.pooled = chatglm_last_token(n, c, &in, x, layers, c->layers);
    else if (has & TEXT_POOLED)
        out.pooled = op_reshape(n->g, op_slice(n->g, x, 1, t->tokens - 1, 1), SHAPE(1, c->hidden_size));
    return out;
}

static bool chatglm_run(const struct text_encoder *t, struct program *p, const int32_t *ids, struct err *e)
{
    int32_t *places = mem_zeroed((size_t)t->tokens, sizeof *places);
    if (!places)
        return err_nomem(e, "the words' places");
    int32_t pads = chatglm_tokenizer_places(t->pieces, ids, (size_t)t->tokens, places);
    bool good = program_set_input(p, "ids", ids, e) && program_set_input(p, "places", places, e) &&
                program_set_input(p, "pads", &pads, e) && program_run_stoppable(p, e);
    mem_free(places);
    return good;
}

const struct text_kind text_chatglm = { tokenizers, chatglm_open, chatglm_release, chatglm_ids, chatglm_graph,
                                        chatglm_run, false };
