/* Repositories of models: what one holds, and which of its files a program like ours needs. Two kinds of hubs are known, and
 * mirrors that speak as they do.
 *
 *   Hugging Face  GET E/api/models/R/tree/V?recursive=true -> [{"type": "file", "path", "size", "lfs": {"oid": sha256}}, ..], pages
 *                 by a Link header; a file is at E/R/resolve/V/P
 *   ModelScope    GET E/api/v1/models/R/repo/files?Revision=V&Recursive=true -> {"Data": {"Files": [{"Type": "blob", "Path", "Size",
 *                 "Sha256"}, ..]}}; a file is at E/models/R/resolve/V/P */
#ifndef LIMN_FETCH_HUB_H
#define LIMN_FETCH_HUB_H

#include "fetch/download.h"

struct hub {
    const char *name;     /* "hf", "modelscope": for flags */
    const char *endpoint; /* where it is */
    const char *endpoint_variable, *token_variable; /* environment: another place; a token */
    const char *revision; /* its usual one */
};
/* Ends with a NULL name. */
extern const struct hub hubs[];

#define HUB_MOST_FILES 4096

struct hub_file {
    char *path;     /* inside the repository: relative, without "..", printable; owned */
    int64_t bytes;
    char sha256[65]; /* "" unknown */
    bool wanted, dropped; /* dropped: hub_choose's own */
};
struct hub_list {
    struct hub_file *at;
    size_t count, cap;
};
void hub_list_release(struct hub_list *l);

struct hub_place {
    const struct hub *hub;
    const char *endpoint;   /* NULL: of the environment, or the hub's own */
    const char *repository; /* "owner/name" */
    const char *revision;   /* NULL: the hub's usual one */
};
/* What the repository holds, every file `wanted`. Release also after a failure.
 * errors  as download_text; ERR_FORMAT for an answer that makes no sense or a path that would leave the folder, ERR_LIMIT for more
 *         than HUB_MOST_FILES files. */
MUST_USE bool hub_list(struct hub_list *out, const struct hub_place *place, const struct download_options *o, struct err *e);

/* Leaves `wanted` what a program like ours reads.
 *   patterns  (any): shell patterns ("*.json", "unet*") over whole paths; then nothing else is looked at
 *   otherwise a folder in diffusers' layout (with a model_index.json) without the single files beside it; of weights that
 *             lie there in several formats one, safetensors first; of variants ("fp16") the asked one where a folder has it, else the
 *             plain one, else what there is; no other frameworks' weights (ONNX, Flax, TensorFlow, OpenVINO), no pictures. */
void hub_choose(struct hub_list *l, const char *const *patterns, size_t count, const char *variant);

/* The URL of a file, into out. ERR_LIMIT if it is too long. */
MUST_USE bool hub_url(const struct hub_place *place, const char *path, char *out, size_t out_bytes, struct err *e);
/* Where the place is: its own endpoint, the environment's, or the hub's. Borrowed. */
const char *hub_endpoint(const struct hub_place *place);
/* The token for this place from the environment, or NULL. */
const char *hub_token(const struct hub *hub);

#endif
