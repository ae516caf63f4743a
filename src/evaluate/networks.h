/* Measures by networks that the user brings: FID, KID and CLIP score. Neither network comes with limn.
 *
 *   Inception  pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or the same tensors as safetensors
 *   CLIP       a CLIPModel's folder as transformers keeps it (openai/clip-vit-base-patch32 and the like): config.json, model.safetensors or
 *              pytorch_model.bin, vocab.json, merges.txt
 *
 * FID   Heusel et al. 2017, as pytorch-fid: pictures at 299x299 by bilinear interpolation without smoothing, in -1..1; the squared Frechet
 *       distance of the features
 * KID   Binkowski et al. 2018, "Demystifying MMD GANs", as torch-fidelity: the mean over random subsets (kid.h)
 * CLIP score  Hessel et al. 2021, "CLIPScore", as torchmetrics: 100 times the cosine between a picture and its words, at least 0 */
#ifndef LIMN_EVALUATE_NETWORKS_H
#define LIMN_EVALUATE_NETWORKS_H

#include "evaluate/findings.h"
#include "evaluate/gaussian.h"
#include "evaluate/kid.h"
#include "evaluate/picture_set.h"
#include "graph/program.h"
#include "model/text/text.h"
#include "model/vision/clip_vision.h"

struct inception_net {
    struct weights *weights;
    struct params params;
    struct program *program;
    struct value output;
    int64_t features; /* 2048 */
    float *input;     /* [299, 299, 3] */
};
/* weights: a file. backend is borrowed. Release with inception_net_release (also after a failure). */
MUST_USE bool inception_net_open(struct inception_net *n, const char *weights, const struct backend *backend, struct err *e);
void inception_net_release(struct inception_net *n);
/* out [features] */
MUST_USE bool inception_net_see(struct inception_net *n, const struct image *image, float *out, struct err *e);

struct clip_net {
    struct weights *weights;
    struct clip_vision_config vision;
    struct text_encoder text;
    struct params params;
    struct program *see, *read;
    struct value seen, said;
    float *input; /* [image_size, image_size, 3] */
};
MUST_USE bool clip_net_open(struct clip_net *n, const char *folder, const struct backend *backend, struct err *e);
void clip_net_release(struct clip_net *n);
int64_t clip_net_width(const struct clip_net *n);
/* Vectors of length 1, [clip_net_width]. */
MUST_USE bool clip_net_see(struct clip_net *n, const struct image *image, float *out, struct err *e);
MUST_USE bool clip_net_read(struct clip_net *n, const char *words, float *out, struct err *e);

/* Facts "fid", "kid" and "kid_..." of two sets; at most `most` pictures of each, 0: all. Of `subsets` only subsets and size are read, as
 * kid_of has them. errors  ERR_ARG for fewer than 2 pictures, and for fewer than a subset's. */
MUST_USE bool networks_distance(struct findings *f, struct inception_net *n, const struct picture_set *drawn,
                                const struct picture_set *reference, int64_t most, const struct kid *subsets,
                                const struct progress *progress, struct err *e);
/* Fact "clip_score" and a table "words", the worst first, of pictures that tell what they were drawn from.
 * errors  ERR_MISSING if none does. */
MUST_USE bool networks_clip_score(struct findings *f, struct clip_net *n, const struct picture_set *drawn, int64_t most, bool pictures,
                                  const struct progress *progress, struct err *e);

#endif
