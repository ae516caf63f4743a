/* libsentencepiece, which is C++, for C: sentencepiece.cc. And what is checked before it sees a file. */
#ifndef LIMN_TOKENIZER_SENTENCEPIECE_INTERNAL_H
#define LIMN_TOKENIZER_SENTENCEPIECE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#else
#include "base/err.h"

/* Whether the bytes are a SentencePiece model whose tables point inside themselves: the library follows them unchecked.
 * errors  ERR_FORMAT, ERR_LIMIT; the text begins with `where`. */
MUST_USE bool sentencepiece_check(const void *model, size_t bytes, const char *where, struct err *e);
#endif

struct piece_model;

/* What went wrong: a text of the library; empty: memory. */
struct sentencepiece_cause {
    char text[200];
};

/* NULL with the cause. No exception and no message of the library leaves these functions. */
struct piece_model *sentencepiece_load(const void *model, size_t bytes, struct sentencepiece_cause *cause);
void sentencepiece_free(struct piece_model *s);
/* The ids of the first `max` pieces of the text; *count: how many pieces it has. Zero with the cause. */
int sentencepiece_encode(const struct piece_model *s, const char *text, size_t bytes, int32_t *ids, size_t max,
                         size_t *count, struct sentencepiece_cause *cause);
int32_t sentencepiece_size(const struct piece_model *s);
/* The id of what is unknown. */
int32_t sentencepiece_unknown(const struct piece_model *s);
/* The piece with this id, which must be there; borrowed. */
const char *sentencepiece_piece(const struct piece_model *s, int32_t id);

#ifdef __cplusplus
}
#endif

#endif
