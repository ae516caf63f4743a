/* Classifier-free guidance (Ho and Salimans 2022): what the model says for the words, pushed away from what it says without. */
#ifndef LIMN_GENERATE_GUIDANCE_H
#define LIMN_GENERATE_GUIDANCE_H

#include <stddef.h>

/* out = unguided + cfg (guided - unguided), for `pictures` arrays of `each` numbers; out may be one of the others.
 * rescale in [0, 1] (Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", section 3.4, diffusers'
 * guidance_rescale): each picture is blended, by this part, with itself scaled to the standard deviation of `guided`, which keeps
 * colours from burning at a large cfg. 0 leaves it out. */
void guidance_mix(float *out, const float *unguided, const float *guided, size_t pictures, size_t each, double cfg,
                  double rescale);

#endif
