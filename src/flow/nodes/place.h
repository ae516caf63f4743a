/* Where a node's files go, and what a name of a file means: contract section 7. */
#ifndef LIMN_FLOW_NODES_PLACE_H
#define LIMN_FLOW_NODES_PLACE_H

#include "base/file.h"
#include "flow/node.h"

/* Where the files of one call go. */
struct place {
    char folder[PATH_MAX_BYTES], subfolder[PATH_MAX_BYTES], base[256];
    long counter; /* one more than the highest number there is */
    const struct node_call *call; /* set it behind place_init, and a run that was broken off takes the names that it had; may be NULL */
};

/* Reads a filename_prefix: folders (made if they are not there) and a name, with %year% and the like filled in.
 * errors  ERR_ARG: it leaves the folder; ERR_LIMIT, ERR_IO. */
MUST_USE bool place_init(struct place *p, const char *folder, const char *prefix, int64_t width, int64_t height, struct err *e);
/* Takes the next name, "base_00001_.png", by making a file of it that says whose it is: so two runs at a time never take the same. index (once for each
 * call and ending) stands for %batch_num%. The caller writes the file or unlinks it, and counts on. */
MUST_USE bool place_take(struct place *p, int64_t index, const char *ending, char name[300], char path[PATH_MAX_BYTES], struct err *e);

/* The file of a name of the page, "sub/name.png" or "name.png [output]"; folder: "input" or "output", where nothing else is said.
 * ERR_ARG: it leaves the folder. Nothing is opened. */
MUST_USE bool place_find(const struct flow_host *host, const char *name, const char *folder, char path[PATH_MAX_BYTES], struct err *e);

#endif
