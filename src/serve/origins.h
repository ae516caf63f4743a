/* What a job's pictures come from, by hash: the files of their LoRAs and model, the pictures that they were drawn over. And trainings, whose runs
 * are noted in the gallery when somebody asks where something comes from. */
#ifndef LIMN_SERVE_ORIGINS_H
#define LIMN_SERVE_ORIGINS_H

#include <jansson.h>

#include "flow/node.h"
#include "store/gallery.h"

/* Hashes of files that were read once, by path, size and time; and which runs are noted. Any thread. */
struct origins;
MUST_USE struct origins *origins_new(struct err *e);
void origins_free(struct origins *o); /* accepts NULL */

/* Texts that facts point to. */
struct origin_texts {
    char hash[2 * GALLERY_MOST_LORAS + 1][GALLERY_HASH_BYTES];
    size_t count;
};
/* Fills in what f does not tell yet: the hashes of its LoRAs and of its model, if that is not above 512 MiB (beyond, its name must do), and the
 * pictures that the flow loads. What cannot be found or read is left out. errors  ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool origins_add(struct origins *o, struct gallery_facts *f, const json_t *flow, const struct flow_host *host, struct origin_texts *texts,
                          struct err *e);

/* Notes the runs of a folder that are new or have changed since (jobs/learn.h). One that cannot be read is left out. */
MUST_USE bool origins_learn(struct origins *o, struct store *s, const char *runs, struct err *e);

#endif
