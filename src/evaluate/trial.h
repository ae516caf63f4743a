/* Variants of a model put to the same test: the same words with the same noise, the same held-out pictures. A variant is a model with
 * LoRAs at scales: a base and its fine-tunings, one LoRA at several strengths, the checkpoints of a run.
 *
 *   style      distance of what it draws to reference pictures (style.h)
 *   psnr, ssim of what it draws from the words of held-out pictures to these pictures
 *   thing      share of those drawn from the words of held-out pictures that show the right thing: of all pictures of the set none is nearer
 *              (squared distance at 32x32, as judge.h) than the one whose words they are
 *   loss       mean squared error of the denoiser on held-out pictures at fixed noise and timesteps, without weights
 *   diversity  how different pictures of the same words and another seed are: 1 - SSIM, mean over pairs
 *   change     how different its pictures are from the first variant's: 1 - SSIM, same words and seed
 *   drift      the same on words that have nothing to do with what was taught
 *   seconds    a picture; memory: the plan's peak of weights, activations and caches, bytes; bytes: of the files that make the variant
 *
 * Figures that were not asked for, or for which there is nothing to measure, are NAN. */
#ifndef LIMN_EVALUATE_TRIAL_H
#define LIMN_EVALUATE_TRIAL_H

#include "evaluate/findings.h"
#include "evaluate/picture_set.h"
#include "evaluate/style.h"
#include "generate/generate.h"

enum { TRIAL_LORAS = 4, TRIAL_MOST = 256 /* variants */ };

struct trial_lora {
    const char *path; /* borrowed */
    double unet, text;
};
struct trial_variant {
    char name[100];
    double at;                /* where it stands on a curve: a strength, a step */
    struct model_files model; /* all borrowed */
    struct trial_lora loras[TRIAL_LORAS];
    size_t lora_count;
};

struct trial_options {
    /* All borrowed. */
    const struct trial_variant *variants;
    size_t count;
    const struct backend *backend;
    enum dtype type;
    const char *const *prompts; /* words of your own, drawn with `seeds` seeds each; may be none */
    size_t prompt_count;
    int64_t seeds;
    const struct picture_set *held_out; /* its captions are drawn once each; loss, psnr and ssim. NULL: none */
    int64_t held_out_most;      /* pictures of it; 0: all */
    int64_t timesteps;          /* of each picture, for the loss; 0: no loss */
    const char *const *unrelated;
    size_t unrelated_count;
    const struct picture_set *style; /* reference; NULL: no style */
    int64_t style_most;
    int64_t steps;              /* 0: the model's */
    double cfg;                 /* negative: the model's */
    const char *sampler;        /* NULL: the model's */
    int64_t side;               /* pixels; 0: the model's */
    int64_t batch;
    uint64_t seed;
    const char *kept;           /* a folder for the pictures at full size: <variant>/<number>-<seed>.png; NULL: they are not kept */
};

enum trial_measure {
    TRIAL_STYLE, TRIAL_THING, TRIAL_LOSS, TRIAL_PSNR, TRIAL_SSIM, TRIAL_DIVERSITY, TRIAL_CHANGE, TRIAL_DRIFT, TRIAL_SECONDS, TRIAL_MEMORY,
    TRIAL_BYTES, TRIAL_MEASURES
};
struct trial_measure_facts {
    const char *name, *help;
    int decimals;
    double scale;        /* shown is value times scale */
    int best;            /* -1: the least is best, 1: the most, 0: neither */
};
extern const struct trial_measure_facts trial_measures[TRIAL_MEASURES];

/* What one variant drew, small (FINDINGS_PICTURE_PX at most). */
struct trial_result {
    struct image *pictures; /* [drawn] */
    double measure[TRIAL_MEASURES];
    struct style_distance style;
};
/* Everything that is drawn, in this order: prompts (seed by seed), captions of held-out pictures, unrelated words. */
struct trial_words {
    const char *words;
    uint64_t seed;
    long held_out; /* index in the set, or -1 */
    enum { TRIAL_PROMPT, TRIAL_HELD_OUT, TRIAL_UNRELATED } kind;
};
struct trial {
    struct trial_words *words; /* [drawn] */
    size_t drawn;
    struct trial_result *results; /* [variants] */
    size_t count;
    struct style_distance floor;
    bool has_style;
    int64_t side;
};

/* errors  those of drawing, files, ERR_ARG (nothing to draw and nothing to measure; too many variants). After a failure t holds
 * nothing. */
MUST_USE bool trial_run(struct trial *t, const struct trial_options *o, const struct progress *progress, struct err *e);
void trial_release(struct trial *t);

/* The variant that is best by a measure; -1 if it was not measured. */
long trial_best(const struct trial *t, enum trial_measure by);
/* The measure of this name. ERR_ARG lists them. */
MUST_USE bool trial_measure_of(const char *name, enum trial_measure *out, struct err *e);

/* The grid as one picture, at most `rows` rows of the words, spread over them: a column for each variant, before them the held-out picture
 * where there is one. */
MUST_USE bool trial_sheet(struct image *out, const struct trial *t, const struct trial_options *o, size_t rows, struct err *e);

/* The table "variants", curves over `at` (x_label; NULL: none) and, on a page, a grid of pictures: a row for each of the words, a column for
 * each variant. The best by `by` is marked. */
MUST_USE bool trial_findings(struct findings *f, const struct trial *t, const struct trial_options *o, enum trial_measure by,
                             const char *x_label, bool pictures, struct err *e);

#endif
