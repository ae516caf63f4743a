/* The tokenizer of a model's folder, whichever kind it is. */
#ifndef LIMN_CLI_ANY_TOKENIZER_H
#define LIMN_CLI_ANY_TOKENIZER_H

#include "tokenizer/chatglm_tokenizer.h"
#include "tokenizer/clip_tokenizer.h"

/* One of the two. */
struct any_tokenizer {
    struct clip_tokenizer *clip;
    struct chatglm_tokenizer *chatglm;
};

/* A model folder's tokenizer, or a tokenizer's folder itself. A SentencePiece model is ChatGLM's, and may lie beside its weights. */
MUST_USE bool any_tokenizer_open(struct any_tokenizer *t, const char *folder, struct err *e);
void any_tokenizer_close(struct any_tokenizer *t);
/* All ids, uncut, with what the kind puts around them (two ids in both). *ids is freed with mem_free. */
MUST_USE bool any_tokenizer_encode(const struct any_tokenizer *t, const char *text, int32_t **ids, size_t *count, struct err *e);
enum { ANY_TOKENIZER_AROUND = 2 };
/* Ids of a text that the model can see: its length, without those around. */
int any_tokenizer_room(const struct any_tokenizer *t);
/* The token as the vocabulary writes it, or "". */
const char *any_tokenizer_token(const struct any_tokenizer *t, int32_t id);

#endif
