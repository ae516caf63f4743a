/* The report on a model: how well it draws what a dataset taught it, with fixed seeds and questions chosen by a hash.
 *
 *   a  what the autoencoder loses: PSNR of the held-out pictures on white
 *   b  the right thing: the training picture (of the asked style) nearest to the drawn one shows the asked concept
 *   c  the right style: of all pictures of the asked concept the nearest has the asked style
 *   d  concept and style that were never shown together: as b, with the held-out pictures added
 *   e  two things side by side: as b for each half; right if both are
 *   f  the named background colour is the nearest to the border's
 *   g  a sheet of prompts without a right answer, to be looked at
 *
 * Question i of a part is drawn with seed + i, alone in its noise, so a part's figures do not depend on which others are asked
 * for; those of --count n are the first n of the whole. */
#ifndef LIMN_EVALUATE_REPORT_H
#define LIMN_EVALUATE_REPORT_H

#include "base/json.h"
#include "evaluate/judge.h"
#include "evaluate/questions.h"
#include "generate/generate.h"

enum report_part { PART_A, PART_B, PART_C, PART_D, PART_E, PART_F, PART_G, REPORT_PARTS };
/* What a figure is, and what was asked of the model: dB for a, a share for the others, 0: none. */
struct report_goal {
    const char *name, *short_name;
    double wanted;
};
extern const struct report_goal report_goals[REPORT_PARTS];

struct report_options {
    /* All borrowed. */
    struct dataset *dataset;       /* loaded here, at the model's size, if it is not */
    const char *folder;            /* of the model; only vae/ is needed for part a alone */
    const struct backend *backend;
    enum dtype type;
    const char *parts;             /* letters; NULL: all */
    int64_t count;                 /* at most so many questions a part; 0: all */
    int64_t batch;                 /* pictures in a denoiser call */
    int64_t steps;                 /* 0: the model's */
    double cfg;                    /* negative: the model's */
    const char *sampler;           /* NULL: the model's */
    uint64_t seed;
};

/* A question and what came of it. */
struct answer {
    struct question question;
    struct image image;
    struct verdict thing[2];  /* b, d; e: left, right */
    struct verdict style;     /* c */
    uint32_t border;          /* f: 0xRRGGBB */
    bool right;               /* b, d, e, f */
};

struct report_share {
    long asked, right;
};

struct report {
    const struct dataset *dataset; /* borrowed */
    char model[PATH_MAX_BYTES];
    int side_px;
    bool asked[REPORT_PARTS];
    struct answer *answers;        /* [count], kind by kind */
    size_t count, first[QUESTION_KINDS + 1]; /* kind k: answers first[k] to first[k + 1] */
    /* a */
    long reconstructed;
    double psnr, psnr_pooled, psnr_least; /* mean over pictures; of the mean squared error of all; of the worst picture */
    struct report_share ceiling;          /* pictures of part b that are still nearest to themselves after reconstruction */
    struct image reconstructions;         /* a sheet: the first held-out questions' pictures, each above its own */
    /* b to f */
    struct report_share share[REPORT_PARTS], by_language[REPORT_PARTS][DATASET_LANGUAGES];
    struct report_share (*by_style)[REPORT_PARTS]; /* [styles] b, c, d */
    struct report_share either_half;               /* e: of all halves */
    /* What was drawn with. */
    int64_t steps, denoiser_calls;
    double cfg;
    const char *sampler, *precision;
    uint64_t seed;
    int64_t batch;
    double draw_seconds, seconds; /* drawing; everything */
};

/* Measures. On failure r holds nothing. errors  those of the files, of drawing, ERR_ARG (an unknown part), ERR_STOPPED. */
MUST_USE bool report_run(struct report *r, const struct report_options *o, const struct progress *progress, struct err *e);
void report_release(struct report *r);

/* {"a": {"psnr": ..}, "b": {"right": .., "asked": .., "share": ..}, ...}; NULL without memory. */
json_t *report_json(const struct report *r);
/* One line a part for people. */
void report_table(const struct report *r, struct text *out);

/* Writes the page, and its pictures into the folder "pictures" beside it, named <page's name without end>-<letter>.png.
 * notes: Markdown added at the end, or NULL. name: of the model. */
MUST_USE bool report_page(const struct report *r, const char *path, const char *name, const char *machine, const char *notes,
                          struct err *e);

#endif
