/* What gallery.c, gallery_search.c and gallery_words.c share. */
#ifndef LIMN_STORE_GALLERY_INTERNAL_H
#define LIMN_STORE_GALLERY_INTERNAL_H

#include "base/text.h"
#include "store/gallery.h"

enum { LABEL_TAG, LABEL_COLLECTION };

/* --- gallery_words.c --- */
/* Adds a text in small letters. */
void words_fold(struct text *out, const char *text);
/* Adds a text's words in small letters, a space behind each; a Chinese character (and others of scripts without spaces) is a word.
 * Returns how many. */
size_t words_split(struct text *out, const char *text);
/* A term of a search. */
struct term {
    bool without;      /* must not be there */
    bool words;        /* text is words with spaces between, to be found behind each other; else a part in small letters */
    bool begins;       /* words: the last is the beginning of one */
    char *text;        /* owned */
};
/* Cuts what people typed. Release with terms_release. errors  ERR_ARG (a quote that does not end, more than GALLERY_MOST_TERMS),
 * ERR_NOMEM. */
MUST_USE bool terms_read(struct term terms[GALLERY_MOST_TERMS], size_t *count, const char *typed, struct err *e);
void terms_release(struct term *terms, size_t count);

/* --- gallery.c --- */
/* `which` as hexadecimal digits in small letters, 4 to 64; false if it is none. */
bool hash_digits(char out[GALLERY_HASH_BYTES], const char *which);
/* The first text that no hash that begins with `begin` comes before: for ranges. */
void hash_end(char out[GALLERY_HASH_BYTES + 1], const char *begin);

/* --- gallery_search.c --- */
/* A picture's row as an object. everything: with its long texts. NULL: e. */
json_t *picture_json(struct db *db, int64_t id, bool everything, struct err *e);

#endif
