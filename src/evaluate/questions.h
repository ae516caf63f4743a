/* What a report asks of a model: prompts from a dataset, chosen by a hash of their names, so that the list neither moves nor
 * suits anybody. The i-th question of a kind is English for even i, Chinese for odd i. */
#ifndef LIMN_EVALUATE_QUESTIONS_H
#define LIMN_EVALUATE_QUESTIONS_H

#include "dataset/scene.h"

enum question_kind {
    QUESTION_TRAINED,  /* a training picture, canonical caption */
    QUESTION_HELD_OUT, /* a held-out one: concept and style are known, but not together */
    QUESTION_PAIR,     /* two training pictures of one style side by side, of different concepts */
    QUESTION_COLOUR,   /* a training picture on a background of a named colour: the colours in turn */
    QUESTION_FREE,     /* a prompt of free_prompts: there is no right answer */
    QUESTION_KINDS,
};
/* How many of each kind a whole report has; QUESTION_HELD_OUT: 0, all there are. */
extern const long question_counts[QUESTION_KINDS];

enum { FREE_PROMPTS = 48 };
extern const char *const free_prompts[FREE_PROMPTS];

struct question {
    enum question_kind kind;
    long number;              /* from 0, among its kind */
    struct scene_facts facts; /* not for QUESTION_FREE */
    char *prompt;             /* owned */
};

/* The first `most` questions (0: as question_counts says) of a kind, added to *list (base/mem.h; *count of them). Fewer if the
 * dataset has no more. Only pictures that are worded are asked for. errors  ERR_NOMEM. */
MUST_USE bool questions_add(const struct dataset *d, enum question_kind kind, long most, struct question **list, size_t *count,
                            struct err *e);
void questions_free(struct question *list, size_t count);

#endif
