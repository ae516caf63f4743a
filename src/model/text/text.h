/* A text encoder of any kind together with its tokenizer: words -> a row of ids -> states, and a pooled vector where the kind
 * has one. What a kind does is in its struct text_kind (text_clip is in clip_encoder.c, text_chatglm in
 * chatglm_encoder.c); whoever draws knows only what is here.
 *
 *     t->kind->ids(t, "a red apple", ids, e);              one row of t->tokens ids
 *     v = t->kind->graph(n, t, TEXT_LAST, skip, TEXT_POOLED);  the program, made once
 *     t->kind->run(t, program, ids, e);                    once for each row */
#ifndef LIMN_MODEL_TEXT_TEXT_H
#define LIMN_MODEL_TEXT_TEXT_H

#include "model/text/chatglm3.h"
#include "model/text/clip.h"
#include "tokenizer/chatglm_tokenizer.h"
#include "tokenizer/clip_tokenizer.h"

/* Which states a denoiser was trained with. */
enum text_states {
    TEXT_LAST,        /* of the last layer, after the final norm: SD 1 and 2 */
    TEXT_PENULTIMATE, /* of the last layer but one, as it is: SDXL, Kolors */
};

/* What a graph has beside states. */
enum {
    TEXT_POOLED = 1,  /* the pooled vector */
    TEXT_VECTORS = 2, /* inputs "keep" f32 [1, tokens, 1] and "vectors" f32 [1, tokens, width], which the caller sets: an id's own
                         vector counts keep times (0 or 1), and what is in `vectors` is added. Kinds with `rows` only */
};

/* What a kind's graph gives. */
struct text_values {
    struct value states;   /* [1, tokens, width], `skip` layers before those of enum text_states */
    struct value unskipped; /* the same without skip; VALUE_NONE with skip 0: `states` is it */
    struct value pooled;   /* [1, pooled]; VALUE_NONE unless TEXT_POOLED */
};

struct text_kind;

struct text_encoder {
    const struct text_kind *kind; /* NULL: the model has none in this place; then all is 0 */
    int64_t tokens;   /* ids of a row */
    int64_t width;    /* of a state */
    int64_t pooled;   /* of the pooled vector */
    int64_t layers;   /* those that can be skipped are fewer */
    struct clip_config clip;                /* of text_clip */
    const struct clip_tokenizer *tokenizer; /* of text_clip */
    struct chatglm_config chatglm;          /* of text_chatglm */
    const struct chatglm_tokenizer *pieces; /* of text_chatglm */
    bool owned;                             /* the tokenizer is freed by text_encoder_release */
};

struct text_kind {
    const char *const *tokenizers; /* transformers' classes that it can read; ends with NULL */
    /* Reads encoder/config.json and the tokenizer's folder. class: transformers', which a family asks for (a kind may stand for
     * several). Nothing to release if it fails.
     * errors  those of the readers, and contradictions between the two: ERR_FORMAT. */
    bool (*open)(struct text_encoder *t, const char *class, const char *encoder, const char *tokenizer, struct err *e);
    void (*release)(struct text_encoder *t);
    /* One row, filled up to t->tokens; what is longer is cut. ERR_FORMAT: not UTF-8; ERR_LIMIT. */
    bool (*ids)(const struct text_encoder *t, const char *words, int32_t *ids, struct err *e);
    /* Inputs are the kind's own: `run` sets them. skip < t->layers (with TEXT_PENULTIMATE one less). */
    struct text_values (*graph)(struct net *n, const struct text_encoder *t, enum text_states take, int64_t skip, unsigned has);
    /* Runs the program of that graph for one row. */
    bool (*run)(const struct text_encoder *t, struct program *p, const int32_t *ids, struct err *e);
    /* A text may have several rows, and its states weights: CLIP's (generate/chunk.h). */
    bool rows;
};
extern const struct text_kind text_clip, text_chatglm;

/* An encoder of CLIP's kind from a parsed config; config and tokenizer are named by the two places in errors. The tokenizer
 * becomes the encoder's, also on failure. errors  as text_kind's open. */
MUST_USE bool text_clip_open(struct text_encoder *t, const char *class, const json_t *config, const char *config_place,
                             struct clip_tokenizer *tokenizer, const char *tokenizer_place, struct err *e);

/* The same of ChatGLM's kind. */
MUST_USE bool text_chatglm_open(struct text_encoder *t, const json_t *config, const char *config_place,
                                struct chatglm_tokenizer *words, const char *tokenizer_place, struct err *e);

/* An encoder of CLIP's kind from parts that the caller has and keeps. */
struct text_encoder text_clip_of(const struct clip_config *c, const struct clip_tokenizer *tokenizer);

/* Accepts one that is all 0. */
void text_encoder_release(struct text_encoder *t);

#endif
