/* What reading, encoding and training share: how a text becomes words, and how bytes become the symbols of the vocabulary. */
#ifndef LIMN_TOKENIZER_CLIP_INTERNAL_H
#define LIMN_TOKENIZER_CLIP_INTERNAL_H

#include <jansson.h>

#include "base/text.h"
#include "tokenizer/clip_tokenizer.h"

#define CLIP_START "<|startoftext|>"
#define CLIP_END "<|endoftext|>"
#define CLIP_WORD_END "</w>"

/* ---- clip_text.c ---- */

/* Replaces *out by the text in NFC, runs of white space as one space, lower case (letter by letter: no final sigma). */
MUST_USE bool clip_normalize(const char *text, size_t bytes, struct text *out, struct err *e);

/* The words of a normalised text, one after the other. */
struct clip_words {
    const char *at, *end;
    const char *cut; /* a word that began before here may not pass it; NULL: none */
};
struct clip_words clip_words_of(const char *text, size_t bytes);
/* False at the end. The word is borrowed from the text and is never empty. */
bool clip_words_next(struct clip_words *w, const char **word, size_t *bytes);

/* A byte's place among CLIP's 256 symbols, 0 to 255 ('!' is 0), and back. */
int clip_byte_order(unsigned char byte);
unsigned char clip_byte_at(int order);
/* The symbol of a byte as UTF-8 (no final 0) into out[4]; returns its length. */
size_t clip_byte_symbol(unsigned char byte, char *out);
/* The byte whose symbol the character is, or -1. */
int clip_symbol_byte(uint32_t rune);

/* ---- clip_tokenizer.c ---- */

/* The files of a tokenizer folder, parsed; NULL is one that is not there. All borrowed. */
struct clip_files {
    const char *folder; /* for errors */
    json_t *tokenizer, *vocabulary, *config, *special, *added;
    const char *merges; /* the text of merges.txt */
};
MUST_USE struct clip_tokenizer *clip_tokenizer_build(const struct clip_files *files, struct err *e);
/* ... from the text of the makers' list of merges (clip_vocabulary.c). */
MUST_USE struct clip_tokenizer *clip_tokenizer_of_list(const char *text, size_t bytes, const json_t *config, const char *where,
                                                       struct err *e);
/* JSON of a tokenizer's file; all numbers come as reals, because transformers writes 10^30 for "no bound". */
MUST_USE json_t *clip_json(const char *text, size_t bytes, const char *where, struct err *e);

/* ---- clip_specials.c ---- */

/* A token that is cut out of the text before words are made. */
struct clip_special {
    char *content;
    char *pattern; /* what is looked for: content, normalised if `normalized` */
    size_t pattern_bytes;
    int32_t id;    /* -1 until it has one */
    bool normalized, special, plain; /* plain: a bare string in the files, which has no flags of its own */
};
struct clip_specials {
    struct clip_special *list;
    size_t count, cap;
    char *start, *end, *unknown, *pad; /* contents; owned */
};
/* Gathers the special and added tokens of the files in the order in which transformers adds them: a later one with the same
 * content replaces the flags of the earlier. Ids are not set. */
MUST_USE bool clip_specials_read(struct clip_specials *s, const struct clip_files *files, struct err *e);
void clip_specials_release(struct clip_specials *s);
/* The leftmost, then longest special token of this kind in the text, or NULL; *at is where. Not the one with the id `but`. */
const struct clip_special *clip_specials_find(const struct clip_specials *s, bool normalized, int32_t but, const char *text,
                                              size_t bytes, size_t *at);

/* ---- clip_merges.c ---- */

struct clip_merge {
    uint64_t pair; /* left id << 32 | right id; 0 with id -1 is a free slot */
    int32_t rank, id;
};
/* Which pairs become what, and when: open addressing, mask + 1 is a power of 2. */
struct clip_merges {
    struct clip_merge *slots;
    size_t mask;
};
MUST_USE bool clip_merges_init(struct clip_merges *m, size_t count, struct err *e);
void clip_merges_release(struct clip_merges *m);
/* A pair that is there gets the new rank. At most the promised count of different pairs. */
void clip_merges_set(struct clip_merges *m, int32_t left, int32_t right, int32_t rank, int32_t id);
const struct clip_merge *clip_merges_get(const struct clip_merges *m, int32_t left, int32_t right);

struct clip_ids {
    int32_t *ids;
    size_t count, cap;
};
MUST_USE bool clip_ids_add(struct clip_ids *out, int32_t id, struct err *e);
/* Memory that merging one word needs, kept from word to word. All zeros at first. */
struct clip_scratch {
    struct clip_symbol *symbols;
    struct clip_candidate *heap;
    size_t symbols_cap, heap_cap, heap_count;
};
void clip_scratch_release(struct clip_scratch *s);
/* Merges the word's symbols (ids of its bytes) in order of rank, then place, and appends what is left to out. */
MUST_USE bool clip_merge_word(const struct clip_merges *m, const int32_t *symbols, size_t count, struct clip_scratch *s,
                              struct clip_ids *out, struct err *e);

#endif
