/* Batches from a data set: which picture, how it is cut, which words, which timestep and noise. Everything is a function of the seed
 * and of the sample's index in the run, so a run that goes on sees what one never stopped saw. */
#ifndef LIMN_TRAIN_SAMPLES_H
#define LIMN_TRAIN_SAMPLES_H

#include "base/progress.h"
#include "dataset/buckets.h"
#include "dataset/manifest.h"
#include "train/features.h"
#include "train/objective.h"
#include "train/rounds.h"

struct sample_options {
    const char *dataset;        /* a folder with a list (manifest.h), or with train/ that has one. Held-out and excluded pictures are
                                   left out */
    /* Sizes in pixels, multiples of the VAE's factor: each picture is scaled to cover the one of its shape and cut to it. A batch has
     * pictures of one size. Regular pictures are cut to the size of the batch that they come in. Borrowed for samples_open. */
    const struct buckets *buckets;
    bool random_crop;           /* else around the middle */
    bool flip;                  /* half of the samples are mirrored */
    bool draws;                 /* pictures are drawn at random, each time from all; else each comes once a round, in a new order */
    bool size_ids;              /* time ids tell the cut's size and no crop, whatever was cut away (DiffSynth) */
    bool sampled;               /* latents are drawn from the VAE's distribution; else its mean */
    double caption_dropout;     /* share of samples without words */
    bool shuffle;               /* of the words between commas, behind the first `keep` */
    int64_t keep;
    const char *masks;          /* a folder with a mask of each picture, of the same name; "alpha": the picture's own; NULL: none */
    bool regular_planned;       /* there will be regular pictures: their places in a batch are counted already, to plan with */
    const char *regular;        /* a data set of pictures of the same kind, one beside each of the data set's in every batch; NULL */
    double regular_weight;      /* how much those count */
    /* Words of every picture, in place of the list's; such a folder needs no list: all pictures in it count. NULL: the list's. */
    const char *words, *regular_words;
    int64_t batch;              /* pictures of the data set in a batch */
    uint64_t seed;
};

struct sample_set;
struct samples {
    struct sample_options o;
    struct features *features; /* borrowed, as objective and model */
    const struct objective *objective;
    const struct model_parts *model;
    struct sample_set *set[3]; /* the data set, the regular pictures, and those held out of the data set; NULL: none */
    struct batch_sizes sizes;
    struct bucket *buckets;    /* those of the list that some picture has */
    struct batch_shape *shapes; /* the same as latents */
    size_t shape_count;
    float *moments;            /* of one picture */
};

/* learns: text encoders that are run in the step. errors  ERR_MISSING (no picture), ERR_ARG (sizes), those of manifest_open and of
 * reading pictures' sizes. Release with samples_release, also after a failure. */
MUST_USE bool samples_open(struct samples *s, const struct sample_options *o, struct features *features,
                           const struct objective *objective, const bool learns[TEXT_PARTS], const struct progress *progress,
                           struct err *e);
void samples_release(struct samples *s);
/* Another number of pictures in a batch: rounds and what is held out are planned anew. */
MUST_USE bool samples_set_batch(struct samples *s, int64_t batch, struct err *e);
/* Batches of a round: every picture as often as the list says. */
int64_t samples_round(const struct samples *s);
/* Pictures of a shape, as often as they come in a round. */
size_t samples_of_shape(const struct samples *s, size_t shape);
/* Pictures of the data set, and a hash of all of them with their words. */
size_t samples_count(const struct samples *s);
uint64_t samples_print(const struct samples *s);
/* Batches of pictures that the list holds out (its "split"): each several times, at timesteps spread over the range, with the same
 * noise for every run. 0: there are none. samples_fill_held_out is as samples_fill. */
int64_t samples_held_out(const struct samples *s);
MUST_USE bool samples_fill_held_out(void *self, int64_t index, struct batch *b, struct err *e);
/* Encodes what batches [0, count), and those held out, need and is not kept yet. Stoppable. */
MUST_USE bool samples_prepare(struct samples *s, int64_t count, const struct progress *progress, struct err *e);
/* A batch_source of these functions; s is borrowed. */
struct batch_source samples_source(struct samples *s);
MUST_USE bool samples_fill(void *self, int64_t index, struct batch *b, struct err *e);

#endif
