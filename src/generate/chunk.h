/* A prompt as rows of tokens for a CLIP text encoder, and the weights' effect on its states.
 *
 * A row is start, at most length - 2 tokens, end, padding. What is longer goes on in the next row; the denoiser sees the states
 * of all rows behind each other.
 *   comfy   a row ends where the next piece (prompt.h) does not fit; a piece of 8 tokens and more is cut where the row is full.
 *   a1111   a row ends where it is full; if there was a comma among its last 20 tokens, what follows the comma moves along. An
 *           embedding is never cut; BREAK ends a row. (There, an embedding behind such a comma loses its vectors; here not.) */
#ifndef LIMN_GENERATE_CHUNK_H
#define LIMN_GENERATE_CHUNK_H

#include "base/progress.h"
#include "generate/prompt.h"
#include "model/text/inversion.h"
#include "tokenizer/clip_tokenizer.h"

enum { CHUNK_MAX_ROWS = 64 };

/* For whom. */
struct chunk_source {
    const struct clip_tokenizer *tokenizer; /* all borrowed */
    int64_t length, width;                  /* tokens of a row, at least 3; numbers of a token's vector */
    const char *key;                        /* of the encoder's vectors in files that hold several: "clip_l", "clip_g", NULL */
    struct inversions *inversions;          /* NULL: no embeddings are known */
    const struct progress *progress;        /* is told what was left out; NULL: nobody */
    bool again;                             /* another encoder read the same prompt: names that are nowhere were told */
};

struct chunk_rows {
    int64_t count, length;
    int32_t *ids;           /* [count, length] */
    float *weights;         /* [count, length]; 1 at start, end and padding */
    const float **vectors;  /* [count, length]: what stands in place of the id's own vector, borrowed from the inversions; NULL: none */
    bool weighted, given;   /* there are weights other than 1; there are vectors */
};

/* syntax: as p was read, PROMPT_COMFY or PROMPT_A1111. A comfy embedding that is not there, or has vectors of another width, is left
 * out with a line of progress; a file that cannot be read is an error. Among a1111's words such a name stays a word.
 * errors  ERR_LIMIT (more than CHUNK_MAX_ROWS rows), ERR_NOMEM, those of the tokenizer and of inversion_read. */
MUST_USE bool chunk_rows_make(struct chunk_rows *out, const struct prompt *p, enum prompt_syntax syntax,
                              const struct chunk_source *source, struct err *e);
void chunk_rows_release(struct chunk_rows *c);

/* The row of no words, into ids [length]. */
void chunk_empty_row(const struct chunk_source *source, int32_t *ids);

/* Applies the weights of one row to its states [length, width].
 *   comfy   z = (z - empty) weight + empty, where empty is what the encoder makes of chunk_empty_row.
 *   a1111   z = z weight, then all of the row times what restores its mean. empty is not used. */
void chunk_weigh(float *states, const float *empty, const float *weights, int64_t length, int64_t width,
                 enum prompt_syntax syntax);

#endif
