/* A training run's folder, as train/trainer.h and train/finetune.h leave it: what was asked for, its checkpoints, its numbers.
 *
 *   config.json                   options by name: model, vae, dataset
 *   lora-step<8 digits>.safetensors   a checkpoint each; lora.safetensors: the last. In DiffSynth's layout the ending is .ckpt
 *   checkpoints/epoch=<n>-step=<n>.*  the same, where an epoch ends
 *   model/, model-step<8 digits>/     whole models, of trainings that make such
 *   metrics.jsonl                 {"step": .., "loss": .., ...} a line */
#ifndef LIMN_EVALUATE_RUN_FOLDER_H
#define LIMN_EVALUATE_RUN_FOLDER_H

#include <stdint.h>

#include "base/err.h"
#include "evaluate/findings.h"

struct run_checkpoint {
    char *path;   /* owned */
    int64_t step; /* of the last one, whose name does not say it: that of the last line of metrics.jsonl, or 0 */
    bool whole;   /* a model; else a LoRA */
};
struct run_folder {
    char *model, *vae, *dataset;  /* owned; NULL where config.json does not say */
    bool teaches; /* it says so: the run began with a model, if only with limn's own (null) */
    struct run_checkpoint *checkpoints; /* by step */
    size_t count, cap;
    double *steps, *losses; /* of metrics.jsonl */
    size_t metric_count;
};
/* Release with run_folder_release (also after a failure).
 * errors  ERR_MISSING: no folder, no config.json, no checkpoint in it; ERR_FORMAT. A last line of metrics.jsonl that was cut off is left
 *         out. */
MUST_USE bool run_folder_open(struct run_folder *r, const char *path, struct err *e);
void run_folder_release(struct run_folder *r);
/* The training's loss as a curve. */
void run_folder_curve(const struct run_folder *r, struct findings *f);

#endif
