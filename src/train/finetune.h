/* Fine-tuning: a model that exists learns from a batch at a time, in pairs of low rank beside its weights (LoRA, DoRA) or in the
 * weights themselves. The model's graphs are those that draw; frozen weights stay in their file's type, and what learns is f32.
 *
 * A run is a folder (trainer.h). At every save it gets lora.safetensors (in DiffSynth's layout lora.ckpt) and, so that runs can be
 * compared and looked through, lora-step<8 digits>.safetensors; where pictures are held out lora-best.safetensors; with epochs told, at the end of each,
 * checkpoints/epoch=<from 0>-step=<steps>, as Lightning names them. Where whole weights learn it gets model/, a diffusers folder. */
#ifndef LIMN_TRAIN_FINETUNE_H
#define LIMN_TRAIN_FINETUNE_H

#include "train/lora_write.h"
#include "train/model_write.h"
#include "train/objective.h"
#include "train/trainer.h"

struct finetune_options {
    struct model_folder *model;     /* borrowed, as all pointers here; its weights are opened */
    const struct targets *targets;  /* the pairs that learn; NULL: whole weights do */
    bool learns[TEXT_PARTS];        /* without targets: which text encoders learn beside the denoiser */
    const char *blocks;             /* without targets: the denoiser's weights that learn, as net.only; NULL: all */
    const struct model_files *files; /* without targets: what model/ is made from */
    enum dtype export_type;         /* of model/; DTYPE_COUNT: as the files have it */
    struct batch_sizes sizes;       /* of every batch, of the largest where the source has several shapes; ids says which encoders are run in the step: those that learn, at least */
    struct batch_source source;
    const struct objective *objective;
    struct lora_output output;
    enum dtype type;                /* of activations */
    enum recompute recompute;
    bool in_place;                  /* frozen weights are read where they lie: slower, and no second copy of the model */
    uint64_t seed;                  /* of the pairs' beginning */
    int64_t epoch_steps;            /* steps of an epoch, whose ends are then what is kept; 0: every save is */
    struct train_options run;
    /* Draws sample pictures with the LoRA file or the model folder; NULL: none. */
    bool (*look)(void *self, const char *made, int64_t step, const char *png, json_t *metrics, struct err *e);
    void *look_self;
};

struct finetune;
/* Makes the programs and plans their memory; reads no weights but those of the init. Free with finetune_free.
 * errors  ERR_TYPE: a denoiser that this cannot teach (for inpainting, or told its guidance). */
MUST_USE struct finetune *finetune_new(const struct finetune_options *o, const struct backend *backend, struct err *e);
void finetune_free(struct finetune *f);
/* Weights are the frozen ones, in place or packed, and those that learn. */
struct train_memory finetune_memory(const struct finetune *f);
/* Activations of the program of one of the source's shapes alone, in bytes. */
size_t finetune_activations(const struct finetune *f, size_t shape);
/* Operations of one batch of a shape, forwards and backwards: those of convolutions (conv), or the others. */
double finetune_flops(const struct finetune *f, size_t shape, bool conv);
/* Numbers that learn. */
int64_t finetune_learns(const struct finetune *f);
/* The run. */
MUST_USE bool finetune_run(struct finetune *f, const struct progress *progress, struct err *e);

#endif
