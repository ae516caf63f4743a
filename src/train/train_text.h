/* A text encoder's first training, before there is a denoiser: it learns to say what the picture of its words looks like.
 *
 * A CLIP text is filled up with end tokens, and the denoiser's cross-attention reads them as it reads words. Here each of the last
 * places^2 tokens is given a place of its own in the picture, and one linear layer (the "eye", which no model keeps) must read the
 * latent's patch at that place out of the token's state, by least squares: the state comes to hold the mean of all pictures that these
 * words may mean. Teaching words by what their pictures look like is Radford et al. 2021; that a denoiser draws better once text was
 * turned into a picture's code first is Ramesh et al. 2022 (section 2.1), who need a model of its own between the two.
 * A sample costs a tenth of one of train_base.h, and no noise hides what is asked. */
#ifndef LIMN_TRAIN_TRAIN_TEXT_H
#define LIMN_TRAIN_TRAIN_TEXT_H

#include "train/train_base.h"

/* Of o's, objective, vae_folder and preview do not count; of the denoiser and the scheduler only the configs, which are written beside
 * the text encoder: run.folder/model is what train_base can begin with. places: patches along a side; it must divide the latents' sides, and
 * places^2 be at most half of the tokens. */
MUST_USE bool train_text_plan(const struct train_base_options *o, int64_t places, const struct backend *backend,
                              struct train_memory *memory, struct err *e);
MUST_USE bool train_text(const struct train_base_options *o, int64_t places, const struct backend *backend,
                         const struct progress *progress, struct err *e);

#endif
