/* ChatGLM3's tokenizer: a SentencePiece model (`tokenizer.model`) with nine more tokens behind its pieces, and padding on
 * the left. Kolors encodes its words with it.
 *
 * source  Kudo and Richardson 2018, "SentencePiece"; the model's own file says normalisation, pieces and how they are found
 *         (BPE with bytes for what has no piece); behaviour judged against diffusers' ChatGLMTokenizer.
 * ids     the pieces, then [MASK] [gMASK] [sMASK] sop eop <|system|> <|user|> <|assistant|> <|observation|>. Their text inside
 *         a prompt is plain text.
 * A tokenizer is read-only after opening: any number of threads may encode with it. */
#ifndef LIMN_TOKENIZER_CHATGLM_TOKENIZER_H
#define LIMN_TOKENIZER_CHATGLM_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CHATGLM_TEXT_MAX_BYTES ((size_t)1 << 16)  /* the longest text that is encoded */
#define CHATGLM_MODEL_MAX_BYTES ((size_t)1 << 26) /* the largest tokenizer.model that is read */
#define CHATGLM_VOCABULARY_MAX 2000000            /* pieces of a model */

struct chatglm_tokenizer;

/* Reads folder/tokenizer.model.
 * errors  ERR_MISSING, ERR_IO, ERR_LIMIT, ERR_FORMAT (no SentencePiece model, or one whose tables point outside themselves),
 *         ERR_NOMEM; the text names the file. */
MUST_USE struct chatglm_tokenizer *chatglm_tokenizer_open(const char *folder, struct err *e);
/* The same from the bytes of such a file; where: what errors call it. */
MUST_USE struct chatglm_tokenizer *chatglm_tokenizer_parse(const void *model, size_t bytes, const char *where, struct err *e);
/* Accepts NULL. */
void chatglm_tokenizer_free(struct chatglm_tokenizer *t);

/* [gMASK], sop and the pieces of `text`, cut to `max` ids in all (the head is kept) and padded on the left, as
 * tokenizer(text, padding="max_length", max_length=max, truncation=True) gives them.
 * in      text valid UTF-8 of at most CHATGLM_TEXT_MAX_BYTES; max >= 2.
 * out     ids[max].
 * errors  ERR_ARG (max < 2), ERR_FORMAT (not UTF-8), ERR_LIMIT, ERR_NOMEM. */
MUST_USE bool chatglm_tokenizer_encode(const struct chatglm_tokenizer *t, const char *text, int32_t *ids, size_t max,
                                       struct err *e);
/* [gMASK], sop and all the pieces, neither cut nor padded. *ids is freed with mem_free. */
MUST_USE bool chatglm_tokenizer_encode_all(const struct chatglm_tokenizer *t, const char *text, int32_t **ids, size_t *count,
                                           struct err *e);
/* Where the tokens of a padded row stand: places[count], 0 for every pad, then 0, 1, 2, ... from [gMASK] on. Returns how many
 * pads there are. */
int32_t chatglm_tokenizer_places(const struct chatglm_tokenizer *t, const int32_t *ids, size_t count, int32_t *places);

/* The piece as the model writes it ("▁apple", "<0x0A>"), the name of an added token, or NULL for an id that is not there.
 * Borrowed. */
const char *chatglm_tokenizer_token(const struct chatglm_tokenizer *t, int32_t id);
/* One more than the highest id: what an embedding table must have. */
int32_t chatglm_tokenizer_size(const struct chatglm_tokenizer *t);

#endif
