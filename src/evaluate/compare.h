/* Many pairs of pictures, measured and summed up: the pictures of two sets by their names, or those of a set and what a VAE makes
 * of them. The worst pair stands first. */
#ifndef LIMN_EVALUATE_COMPARE_H
#define LIMN_EVALUATE_COMPARE_H

#include "evaluate/findings.h"
#include "evaluate/picture_set.h"
#include "evaluate/reconstruct.h"
#include "evaluate/similarity.h"

/* The metrics; the first one says which pair is worst. */
struct compare_metrics {
    const struct similarity_metric *at[SIMILARITY_MOST];
    int count;
};

/* Pairs of the same name (picture_set_partner) of two sets, added to f: facts "pairs", "unpaired" (of both sets together), groups
 * "mean" and "worst", table "images". fit: b's picture is resized to a's size where it has another. pictures: the rows that people see
 * get them (a page is wanted).
 * errors  ERR_MISSING if no pair is there; those of the files and of similarity_measure, with both names. */
MUST_USE bool compare_sets(struct findings *f, const struct picture_set *a, const struct picture_set *b,
                           const struct compare_metrics *m, bool fit, bool pictures, const struct progress *progress,
                           struct err *e);

/* One pair: a fact for each metric. */
MUST_USE bool compare_pair(struct findings *f, const char *a, const char *b, const struct compare_metrics *m, bool fit,
                           struct err *e);

/* At most `most` pictures of the set (0: all), cut to vae->side squares, through the VAE and back; facts and table as above,
 * and "pooled_psnr", that of the mean squared error of all. */
MUST_USE bool compare_reconstructed(struct findings *f, const struct picture_set *s, struct reconstruction *vae, int64_t most,
                                    const struct compare_metrics *m, bool pictures, const struct progress *progress,
                                    struct err *e);

#endif
