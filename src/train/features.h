/* What frozen parts make of pictures and words, made once and kept: a file in a folder for each latent and each text, named by a
 * hash of all that decides what is in it (the picture's bytes, how it is cut, the weights that encode it, the type they run in), so
 * a folder can be shared between runs and data sets and is never wrong, only incomplete. A file is written whole or not at all. */
#ifndef LIMN_TRAIN_FEATURES_H
#define LIMN_TRAIN_FEATURES_H

#include "train/encoders.h"

/* A picture as it is trained on. */
struct picture_cut {
    const char *path, *id;  /* the file; the hash of its bytes */
    const char *mask;       /* a picture whose brightness says how much a place counts, "" is the picture's own alpha; NULL: none */
    int64_t width, height;  /* of the cut in pixels: multiples of the VAE's factor */
    int64_t scaled_width, scaled_height; /* of the whole picture, of which the cut is a part */
    int64_t left, top;
    bool flip;              /* left and right exchanged */
};

struct features {
    char folder[4096];
    struct encoders *encoders; /* borrowed */
    uint64_t prints[PART_COUNT]; /* of the weights; 0: not looked at yet */
};
/* The folder is made when something is kept in it. */
MUST_USE bool features_open(struct features *f, const char *folder, struct encoders *encoders, struct err *e);

/* A name of 32 hexadecimal digits for a cut or for words. */
struct feature_key {
    char s[33];
    uint64_t high, low;
};
MUST_USE bool features_key_of_picture(struct features *f, const struct picture_cut *cut, struct feature_key *key, struct err *e);
MUST_USE bool features_key_of_words(struct features *f, const char *words, struct feature_key *key, struct err *e);
bool features_have(const struct features *f, const struct feature_key *key);
/* Encode and keep. errors  those of image_load and encoders.h; ERR_SHAPE for a mask of another form than its picture. */
MUST_USE bool features_make_picture(struct features *f, const struct picture_cut *cut, const struct feature_key *key, struct err *e);
MUST_USE bool features_make_words(struct features *f, const char *words, const struct feature_key *key, struct err *e);
/* Read what is kept: mean and deviation, moments [2, h, w, channels], and mask [h, w] (NULL: not wanted). ERR_FORMAT where the file
 * is not of this size. */
MUST_USE bool features_read_picture(const struct features *f, const struct feature_key *key, float *moments, size_t numbers,
                                    float *mask, size_t cells, struct err *e);
/* states [tokens, text_width], pooled (NULL: none). */
MUST_USE bool features_read_words(const struct features *f, const struct feature_key *key, float *states, size_t numbers, float *pooled,
                                  size_t pooled_numbers, struct err *e);

#endif
