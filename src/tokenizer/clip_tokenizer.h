/* CLIP's byte-level BPE tokenizer: text -> ids, id -> token, and training one from captions.
 *
 * source  Radford et al. 2021 (CLIP); Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units";
 *         behaviour judged against transformers' CLIPTokenizer (every character, and 40,000 random texts). Known difference:
 *         the order of several combining marks behind each other, where one is younger than Unicode 9: it does not know them.
 * steps   special tokens are cut out of the raw text; the rest is brought to NFC, runs of white space become one space,
 *         letters lower case; a regular expression makes words ('s 't 're 've 'm 'll 'd, a run of letters, one digit, a
 *         run of other signs); a word's bytes are written as 256 printable characters, the last with "</w>" behind it,
 *         and pairs are merged in the order of merges.txt.
 * A tokenizer is read-only after opening: any number of threads may encode with it. */
#ifndef LIMN_TOKENIZER_CLIP_TOKENIZER_H
#define LIMN_TOKENIZER_CLIP_TOKENIZER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/progress.h"

#define CLIP_TEXT_MAX_BYTES ((size_t)1 << 16)      /* the longest text that is encoded: ordering marks is quadratic */
#define CLIP_VOCABULARY_MAX 2000000                /* ids and merges of a vocabulary file */

struct clip_tokenizer;

/* Reads a tokenizer folder as transformers does: tokenizer.json (its vocabulary, merges and added tokens) or, where it is not
 * there, vocab.json and merges.txt; then tokenizer_config.json, special_tokens_map.json and added_tokens.json where they are
 * there (the start, end, padding and unknown tokens, model_max_length, added tokens).
 * errors  ERR_MISSING, ERR_FORMAT, ERR_LIMIT, ERR_IO, ERR_NOMEM; the text names file and value. */
MUST_USE struct clip_tokenizer *clip_tokenizer_open(const char *folder, struct err *e);
/* CLIP's own vocabulary, for models in single files, which carry none: the list of merges that its makers published
 * (bpe_simple_vocab_16e6.txt.gz, packed or not), and `config` as a tokenizer_config.json (numbers as reals; borrowed).
 * errors  ERR_IO, ERR_FORMAT, ERR_LIMIT, ERR_NOMEM. */
MUST_USE struct clip_tokenizer *clip_tokenizer_open_vocabulary(const char *path, const json_t *config, struct err *e);
/* Writes such a vocabulary as a tokenizer's folder (made if missing): vocab.json, merges.txt, tokenizer_config.json. */
MUST_USE bool clip_vocabulary_write(const char *path, const json_t *config, const char *folder, struct err *e);
/* Where that file is on this machine, into out[PATH_MAX_BYTES]: $LIMN_CLIP_VOCABULARY, $LIMN_MODELS, beside the program, or in a
 * Python package that brings it. ERR_MISSING says what to do. */
MUST_USE bool clip_vocabulary_find(char *out, struct err *e);
/* Accepts NULL. */
void clip_tokenizer_free(struct clip_tokenizer *t);

/* The ids of `text` with start and end around them, as tokenizer(text, truncation=True, max_length=max) gives them: cut to
 * max ids, the end token kept; pad: filled to max ids with the padding token.
 * in      text valid UTF-8 of at most CLIP_TEXT_MAX_BYTES; max >= 2 is the room in ids (the model's positions, usually
 *         clip_tokenizer_max_length).
 * out     ids[0 .. *count); *count <= max, and == max with pad. A `!` whose token is the padding token takes its id: that
 *         is transformers' behaviour too (SD 2, the second tokenizer of SDXL).
 * errors  ERR_ARG (max < 2), ERR_FORMAT (not UTF-8), ERR_LIMIT, ERR_NOMEM. */
MUST_USE bool clip_tokenizer_encode(const struct clip_tokenizer *t, const char *text, bool pad, int32_t *ids, size_t max,
                                    size_t *count, struct err *e);

/* All the ids, uncut, with start and end. *ids is freed with mem_free. */
MUST_USE bool clip_tokenizer_encode_all(const struct clip_tokenizer *t, const char *text, int32_t **ids, size_t *count,
                                        struct err *e);

/* The ids of the words alone, uncut, without start and end. A padding token that is nothing else is not looked for in the
 * text, so that `!` is always a word: programs other than transformers pad by number. *ids is freed with mem_free. */
MUST_USE bool clip_tokenizer_encode_words(const struct clip_tokenizer *t, const char *text, int32_t **ids, size_t *count,
                                          struct err *e);

/* The id of a token as vocab.json writes it (",</w>"), or -1. Looks at every token. */
int32_t clip_tokenizer_find(const struct clip_tokenizer *t, const char *token);

/* The token as vocab.json writes it ("apple</w>"; bytes that are not printable are shifted letters), or NULL for an id that
 * is not there. Borrowed. */
const char *clip_tokenizer_token(const struct clip_tokenizer *t, int32_t id);

/* The token's own words for people: bytes instead of shifted letters, a space for "</w>". Not always whole UTF-8 characters.
 * At most `room` bytes with the final 0; returns the length without it. */
size_t clip_tokenizer_token_text(const struct clip_tokenizer *t, int32_t id, char *out, size_t room);

int32_t clip_tokenizer_start(const struct clip_tokenizer *t);
int32_t clip_tokenizer_end(const struct clip_tokenizer *t);
int32_t clip_tokenizer_pad(const struct clip_tokenizer *t);
/* One more than the highest id: what an embedding table must have. */
int32_t clip_tokenizer_size(const struct clip_tokenizer *t);
/* model_max_length of tokenizer_config.json; 77 where it is missing or has no bound. */
int32_t clip_tokenizer_max_length(const struct clip_tokenizer *t);

/* Learns a vocabulary of at most vocab_size tokens from captions: 256 byte symbols, the same with "</w>", merges by
 * frequency (the more frequent pair first; of equals the one whose left, then right token has the lower id), start and
 * end. Stops earlier when no pair occurs twice. Writes vocab.json, merges.txt, tokenizer_config.json and
 * special_tokens_map.json into `folder` (made if missing); transformers' CLIPTokenizer loads them and gives the same ids.
 * in      captions valid UTF-8, each at most CLIP_TEXT_MAX_BYTES; any language: a run of letters is a word, so the merges of
 *         Chinese captions are phrases. 514 <= vocab_size <= CLIP_VOCABULARY_MAX. max_length: the model's positions.
 * memory  about 60 bytes per byte of different words.
 * errors  ERR_ARG, ERR_FORMAT (names the caption), ERR_IO, ERR_NOMEM, ERR_STOPPED. */
MUST_USE bool clip_tokenizer_train(const char *const *captions, size_t count, int32_t vocab_size, int32_t max_length,
                                   const char *folder, const struct progress *progress, struct err *e);

#endif
