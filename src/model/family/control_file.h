/* A ControlNet from where it lies: a folder as diffusers writes it, or a file; with diffusers' config.json beside it, or with sizes from
 * its shapes. */
#ifndef LIMN_MODEL_FAMILY_CONTROL_FILE_H
#define LIMN_MODEL_FAMILY_CONTROL_FILE_H

#include "base/file.h"
#include "model/denoiser/controlnet.h"
#include "model/family/family.h"
#include "model/family/single_file.h"

struct control_file {
    char path[PATH_MAX_BYTES];
    struct controlnet_config config;
    struct single_file *file; /* owned; NULL: a folder */
    struct weights *weights;  /* owned */
};

/* Release with control_file_release.
 * errors  those of single_control_open and of controlnet_config_from_json; ERR_MISSING (a folder without config.json). */
MUST_USE bool control_file_open(struct control_file *c, const char *path, struct err *e);
void control_file_release(struct control_file *c);

/* Whether it is one for this denoiser: as wide and as deep on the way down, with the same words. ERR_TYPE names what differs. */
MUST_USE bool control_file_fits(const struct control_file *c, const struct model_parts *m, struct err *e);

#endif
