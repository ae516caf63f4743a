/* What a LoRA file says by itself, without a model: how many modules, which ranks, who wrote it. */
#ifndef LIMN_MODEL_LORA_LORA_NAMES_H
#define LIMN_MODEL_LORA_LORA_NAMES_H

#include "base/json.h"
#include "weights/weights.h"

/* NULL with e clear if it is no LoRA. Else a new reference:
 *   naming       "kohya", "peft", "diffusers", "mixed"
 *   kinds        {"lora": modules, "loha": .., "lokr": .., "diff": .., "dora": ..}, those that are there
 *   modules      how many in all
 *   rank         [least, most]
 *   alpha        [least, most] as written in the file; null: none is there
 *   parts        {"unet": modules, "text_encoder": .., "text_encoder_2": .., "other": ..}
 *   targets      {"attention": .., "feed_forward": .., "conv": .., "other": ..}
 *   base         the model it was trained for, where the sizes tell: "sd1", "sd2", "sdxl"; null
 * errors  ERR_NOMEM. */
MUST_USE json_t *lora_names(const struct weights *w, struct err *e);

#endif
