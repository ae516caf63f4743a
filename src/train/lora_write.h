/* Writes what a LoRA training has learnt, in a layout that other programs read.
 *   kohya  lora_unet_<module>.lora_down.weight, .lora_up.weight, .alpha (and .dora_scale): sd-scripts, ComfyUI, webui, diffusers. The
 *          UNet's modules have diffusers' names in files for SD 1 and 2, and those of single files in files for SDXL and Kolors, as
 *          sd-scripts writes them; text encoders are lora_te_ (SD), lora_te1_ and lora_te2_ (SDXL)
 *   peft   <part>.<module>.lora_A.weight, .lora_B.weight (and .lora_magnitude_vector): diffusers' pytorch_lora_weights, with what
 *          PEFT wants to know (rank, alpha, modules) in the metadata "lora_adapter_metadata"
 *   diffsynth  blocks.<number>.<module>.lora_A.default.weight, .lora_B.default.weight in a torch.save file: DiffSynth-Studio 1's
 *          Kolors trainer. It holds attention layers only, and no alpha: whoever reads it must be told */
#ifndef LIMN_TRAIN_LORA_WRITE_H
#define LIMN_TRAIN_LORA_WRITE_H

#include "train/state.h"
#include "train/targets.h"

enum lora_layout { LORA_KOHYA, LORA_PEFT, LORA_DIFFSYNTH, LORA_LAYOUTS };
extern const char *const lora_layout_names[LORA_LAYOUTS + 1];

struct lora_output {
    enum lora_layout layout;
    enum dtype type;             /* of the tensors: f32, bf16, f16 */
    const struct family *family;
    const struct weights_pair *facts; /* metadata beside what the layout itself wants; borrowed */
    size_t fact_count;
};

/* Atomically. kind: the values, or their running mean. ERR_TYPE where a layout has no name for a module. */
MUST_USE bool lora_write(const struct train_state *s, enum state_kind kind, const struct targets *t, const struct lora_output *o,
                         const char *path, struct err *e);

#endif
