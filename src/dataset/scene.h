/* Training samples: a scene is one or two pictures of a dataset on a background, with a caption that says so. It is a pure
 * function of the dataset, the options, a seed and an index, whatever thread asks for it and in whatever order.
 *
 * Three steps, usable alone (an evaluation fills scene_facts itself): choose -> facts -> caption and pixels. */
#ifndef LIMN_DATASET_SCENE_H
#define LIMN_DATASET_SCENE_H

#include <stdint.h>

#include "dataset/dataset.h"

#define SCENE_CAPTION_BYTES 4096 /* a caption with its final 0 always fits */

struct scene_colour {
    const char *name[DATASET_LANGUAGES]; /* "light blue", "浅蓝色" */
    uint32_t rgb;                        /* 0xRRGGBB */
};
/* The first is white, the background of a scene that names none. */
#define SCENE_COLOURS 13
extern const struct scene_colour scene_colours[SCENE_COLOURS];

enum scene_kind {
    SCENE_ONE,    /* one picture, as large as the canvas */
    SCENE_PLACED, /* one picture, of a named size or at a named place */
    SCENE_PAIR,   /* two pictures side by side */
};
enum scene_scale { SCENE_BIG, SCENE_SMALL, SCENE_TINY };
enum scene_place { /* row by row: place % 3 is the column, place / 3 the row */
    SCENE_TOP_LEFT, SCENE_TOP, SCENE_TOP_RIGHT,
    SCENE_LEFT, SCENE_MIDDLE, SCENE_RIGHT,
    SCENE_BOTTOM_LEFT, SCENE_BOTTOM, SCENE_BOTTOM_RIGHT,
};

struct scene_facts {
    enum scene_kind kind;
    enum dataset_language language;
    uint32_t picture[2];     /* SCENE_PAIR: left, right; else picture[0] */
    int colour;              /* of scene_colours */
    uint32_t background;     /* 0xRRGGBB as painted: the colour, a little moved */
    bool colour_named;       /* false: the background is white and not spoken of */
    bool style_named;        /* true: the caption says the style (of each, where they differ) */
    enum scene_scale scale;  /* SCENE_PLACED */
    enum scene_place place;
    uint32_t wording;        /* which of the ways to say it; 0: the canonical one */
};

/* The chances; each in [0, 1]. The kinds that are left over are SCENE_ONE. */
struct scene_options {
    float pair, placed;      /* of all scenes */
    float coloured;          /* of scenes of each kind: the background has a colour that is named */
    float same_style;        /* of pairs; else each has a style drawn for itself */
    float chinese;           /* of captions */
    float style_named;       /* of captions */
    bool canonical;          /* every caption in its canonical wording */
    bool held_out;           /* draw from the held-out pictures instead of the training ones: evaluation only */
};
extern const struct scene_options scene_defaults;
/* Only whole pictures on white: what an autoencoder's report or a plain folder wants. */
extern const struct scene_options scene_plain;

/* Chooses scene `index`. Its first picture runs through all pictures of the split, each once, in an order of its own for
 * every round; so equally often. A picture that is not worded is always a SCENE_ONE on white, captioned by its text.
 * errors  ERR_MISSING if the split is empty, ERR_ARG if a chance is outside [0, 1]. */
MUST_USE bool scene_choose(const struct dataset *d, const struct scene_options *o, uint64_t seed, uint64_t index,
                           struct scene_facts *facts, struct err *e);

/* The caption of facts, in English in lower case. caption[SCENE_CAPTION_BYTES]. Canonical (wording 0), with styles named:
 *   one     "red apple, 3d style"                         "红苹果，3D风格"
 *   colour  "red apple on a blue background, 3d style"    "蓝色背景上的红苹果，3D风格"
 *   placed  "small red apple in the top left corner, 3d style"   "左上角的小红苹果，3D风格"
 *   pair    "a cat on the left, a dog on the right, 3d style"    "左边是一只猫，右边是一只狗，3D风格" */
void scene_caption(const struct dataset *d, const struct scene_facts *facts, char *caption);

/* Paints facts: rgb[size_px, size_px, 3] u8, rows top down. The dataset must be loaded.
 * errors  ERR_NOMEM. */
MUST_USE bool scene_paint(const struct dataset *d, const struct scene_facts *facts, int size_px, uint8_t *rgb,
                          struct err *e);

/* Where picture `which` (0 or 1) lies on a canvas of size_px: a square, inside the canvas. */
struct scene_box {
    int x, y, side;
};
struct scene_box scene_box(const struct scene_facts *facts, int which, int size_px);

/* All three. `facts` may be NULL. */
MUST_USE bool scene_draw(const struct dataset *d, const struct scene_options *o, uint64_t seed, uint64_t index, int size_px,
                         uint8_t *rgb, char *caption, struct scene_facts *facts, struct err *e);

/* The facts of one whole picture on white, canonical: "red apple, 3d style" / "红苹果，3D风格". */
struct scene_facts scene_of(uint32_t picture, enum dataset_language language);

#endif
