/* Styles of several sets beside each other. */
#ifndef LIMN_EVALUATE_STYLES_H
#define LIMN_EVALUATE_STYLES_H

#include "evaluate/findings.h"
#include "evaluate/style.h"

/* A table of the distances of `count` sets, with their names, to a reference: the nearest
 * marked; and the facts of group "floor". most: pictures of a set that are looked at, 0: all. pictures: for a page.
 * errors  those of style_add_set. */
MUST_USE bool styles_compare(struct findings *f, const struct picture_set *reference, const struct picture_set *sets,
                             const char *const *names, size_t count, struct reconstruction *vae, int64_t most, bool pictures,
                             const struct progress *progress, struct err *e);

/* A set whose list names styles, each style against each: half of its pictures is held against the other half of all styles' pictures.
 * Table "styles": a row for each style (its first half), a column for each reference (second half); the nearest reference is told. Facts:
 * "styles", "recognised": how many are nearest to themselves. errors  ERR_MISSING if the list names fewer than two. */
MUST_USE bool styles_matrix(struct findings *f, const struct picture_set *set, struct reconstruction *vae, int64_t most,
                            const struct progress *progress, struct err *e);

#endif
