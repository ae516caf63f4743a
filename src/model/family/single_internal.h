/* What recognising a file and making its configs share. */
#ifndef LIMN_MODEL_FAMILY_SINGLE_INTERNAL_H
#define LIMN_MODEL_FAMILY_SINGLE_INTERNAL_H

#include "model/family/ldm_names.h"
#include "model/family/single_file.h"

/* How a part's names are written. */
enum single_naming { NAMING_LDM, NAMING_OPENCLIP, NAMING_DIFFUSERS, NAMING_GLM, NAMING_GLM_GGML, NAMING_TINY, NAMING_TINY_DECODER };

/* Where a part lies in the file. */
struct single_place {
    bool there;
    const char *prefix;
    enum single_naming naming;
};

struct single_file {
    struct weights *all;
    struct single_place place[SINGLE_PARTS];
    enum single_kind kind;
    bool control;                           /* the UNet is a ControlNet: without a way up, with a picture */
    struct ldm_unet unet;                   /* of LDM's names */
    struct ldm_vae vae;
    int64_t text_layers[SINGLE_PARTS];      /* of OpenCLIP's names */
};

/* The part's tensor with this name behind its prefix, or NULL. */
const struct weight *single_find(const struct single_file *f, enum single_part part, const char *name);

#endif
