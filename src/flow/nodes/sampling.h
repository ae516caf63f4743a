/* What the sampling nodes have in common: a run of the sampler over latents, told and shown step by step. */
#ifndef LIMN_FLOW_NODES_SAMPLING_H
#define LIMN_FLOW_NODES_SAMPLING_H

#include "flow/nodes/nodes.h"

/* Runs s, whose latents, sizes, mask, LoRAs and callbacks come from `model` and `from`. Outputs: the latents, and where `denoised` is not
 * NULL those that the last step expected. NULL with e set. */
MUST_USE struct flow_latent *sample(struct node_call *call, const struct datum *model, const struct datum *from, struct stage_sampling *s,
                                    struct flow_latent **denoised, struct err *e);

/* COMBO: sampler_names and schedule_names; ours, "model", comes last, so that the first is ComfyUI's default. */
const char *sampler_choice(int index);
const char *scheduler_choice(int index);

static inline struct stage_conditions conditions_of(const struct datum *d)
{
    return d ? (struct stage_conditions){ conditioning_of(d)->at, conditioning_of(d)->count } : (struct stage_conditions){ 0 };
}

#endif
