/* What the texts in a picture's file tell, as facts of the gallery. */
#ifndef LIMN_JOBS_TOLD_INTERNAL_H
#define LIMN_JOBS_TOLD_INTERNAL_H

#include "store/gallery.h"

/* Texts that facts point to, until they are released with told_release. */
struct told {
    char **items;
    size_t count, cap;
};
/* A copy of s[0..bytes). NULL: no memory (or what is no UTF-8, which is left out). */
const char *told_keep(struct told *t, const char *s, size_t bytes);
void told_release(struct told *t);

/* Reads the text that AUTOMATIC1111's web UI and limn write under "parameters". What is known already stays; what cannot be read is
 * left out. False: it is no such text. */
bool told_parameters(struct told *t, struct gallery_facts *f, const char *text);
/* The same for a flow as ComfyUI's API has it ("prompt"): from the node that gives pictures back to its sampler, words, model and
 * LoRAs. */
bool told_graph(struct told *t, struct gallery_facts *f, const char *text);

#endif
