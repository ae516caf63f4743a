/* New captions for the pictures of a data set: from where they come, then what is done to them.
 *
 *   source   a template, a command, or the captions that are there
 *   rules    a caption is seen as tags with commas between them: "1girl, red hair, smile"; a sentence is one tag
 *
 * A template holds {words in braces}: {text} the caption that is there, {name} the words of the file's name ("a_red-apple_01.png":
 * "a red apple"), {folder} those of the folder it is in, {anything} that field of the list (an array: its texts with commas between
 * them); one that is not there is left out, with the comma before it. "{{" is a brace.
 * A command is a line of shell; the picture's path is put behind it as one word, and what it writes to stdout is the caption.
 *
 * Every change is kept in the picture's history with the caption as it was. A picture whose last change of caption was this very one is
 * passed over, so the same call goes on after a stop and does nothing twice. */
#ifndef LIMN_DATASET_RECAPTION_H
#define LIMN_DATASET_RECAPTION_H

#include "base/text.h"
#include "dataset/manifest.h"

struct recaption_options {
    const char *template, *command; /* at most one of them; none: the captions that are there */
    bool only_missing;              /* only pictures that have no caption */
    bool again;                     /* also those that this change was made to already */
    /* Rules, in this order. */
    bool spaces; /* "red_hair" becomes "red hair" */
    bool unique; /* a tag that was there before is left out; case does not count */
    const char *const *remove;  /* tags to leave out; case does not count, '*' at an end stands for anything */
    const char *const *replace; /* "a=b": tag a becomes b, or what is between the commas of b */
    size_t removes, replaces;
    int64_t keep;  /* the first tags stay where and as they are: for the next two rules */
    double drop;   /* the chance of each of the others to be left out, in [0, 1] */
    bool shuffle;  /* the others in another order */
    const char *prefix, *suffix; /* put before and behind, as tags of their own; NULL: none */
    uint64_t seed;
    /* Of a command. */
    double limit_seconds; /* 0: 120 */
    int jobs;             /* at a time; 0: 1 */
};

struct recaption_result {
    long changed, same, done_before, failed; /* failed: the command's; their captions stay */
};

/* Pictures that are excluded are left alone. What it would become is told to `show` (may be NULL) for each picture that changes; with
 * dry_run nothing is changed. Saves the manifest now and then, when it is stopped and at the end.
 * errors  ERR_ARG (the options), ERR_IO (ten commands failed one behind the other: the first cause), ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool dataset_recaption(struct manifest *m, const struct recaption_options *o, bool dry_run,
                                void (*show)(void *self, const char *file_name, const char *was, const char *now), void *self,
                                struct recaption_result *r, const struct progress *progress, struct err *e);

/* Takes the last change of caption back, of every picture; *count: how many had one. */
MUST_USE bool recaption_undo(struct manifest *m, long *count, struct err *e);

/* Parts of it, for tests. A caption by the rules: out of at most DATASET_MAX_TEXT_BYTES. `own` is what the picture's chances hang on. */
MUST_USE bool recaption_rules(const struct recaption_options *o, const char *text, const char *own, struct text *out, struct err *e);
MUST_USE bool recaption_template(const char *template, const json_t *picture, struct text *out, struct err *e);

#endif
