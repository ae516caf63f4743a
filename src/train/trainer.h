/* The training loop: batch -> loss and gradients (one program) -> optimizer (another) -> log, save, look; and again.
 *
 * A run is a folder:  config.json       what was asked for (the caller's)
 *                     metrics.jsonl     a line per logged step
 *                     events.out.tfevents.limn   the same numbers, for TensorBoard
 *                     curve.png         the loss over the steps
 *                     checkpoint.safetensors   weights, optimizer state, EMA and the step; written whole or not at all
 *                     samples/step-*.png       the caller's previews
 *                     model/            the caller's export: the last
 *                     best/             that with the lowest loss on what is held out
 *                     kept/step-...     those of some steps
 * Everything random in step i is a function of (seed, i), so a run that is stopped at any moment and resumed from its last
 * checkpoint ends in the same bits as one never stopped (same machine kind and thread count). */
#ifndef LIMN_TRAIN_TRAINER_H
#define LIMN_TRAIN_TRAINER_H

#include "base/progress.h"
#include "base/json.h"
#include "base/ranks.h"
#include "graph/passes.h"
#include "train/optimizer.h"
#include "train/rate.h"

struct train_options {
    const char *folder;
    bool resume;            /* go on from the checkpoint if there is one; otherwise the folder must not have one */
    int64_t steps;          /* of the whole run */
    int64_t warmup;         /* steps in which the rate rises linearly */
    int64_t accumulate;     /* batches per step; several processes share them evenly */
    int64_t batch;          /* pictures per batch: for rates */
    enum optimizer_kind optimizer;
    const struct train_group *groups; /* weights with rates of their own; borrowed */
    size_t group_count;
    double rate, beta1, beta2, eps, decay;
    double clip;            /* largest norm of all gradients together; 0: none */
    double ema;             /* decay of the running mean; in early steps (1 + step) / (10 + step) if that is less; 0: no mean
                               is kept, and the weights themselves stand for it */
    enum rate_schedule schedule;
    double final_rate, cycles, power; /* of the schedule (rate.h) */
    int64_t log_every, save_every, sample_every; /* steps; 0: only at the end */
    int64_t validate_every; /* the same, of the loss on what is held out (metrics: "held_out") */
    int64_t keep_every;     /* steps whose export stays; 0: none */
    int64_t patience;       /* end the run after so many validations without a new best; 0: not */
    int64_t stop_at;        /* stop (saved, resumable) after this step; 0: not. For tests and time limits */
    double minutes;         /* stop (saved, resumable) after so long; 0: not */
    struct ranks *ranks;    /* the processes of this run; borrowed; NULL: one. All make the same steps, number 0 writes the files */
    bool profile;           /* tell at the end where the time went, by kind of op */
};

/* The rate at step (0 is the first): the warm-up, then the schedule. */
double train_rate(const struct train_options *o, int64_t step);

/* What is trained. Functions may be NULL but for fill. */
struct train_task {
    void *self;
    const char *what;          /* "vae": shown in progress */
    /* Which of the trainer's programs (trainer_add) micro-batch `index` runs in, and a batch of what is held out. NULL: all in the first. */
    size_t (*shape)(void *self, int64_t index);
    size_t (*held_out_shape)(void *self, int64_t index);
    /* Gives the inputs of micro-batch `index` (step * accumulate + i) to the program. */
    bool (*fill)(void *self, int64_t index, struct program *program, struct err *e);
    /* A preview of the EMA weights, as a PNG. May add numbers to metrics (a JSON object) such as "psnr". */
    bool (*sample)(void *self, const struct train_state *state, int64_t step, const char *png, json_t *metrics,
                   struct err *e);
    /* The EMA weights as a model folder: RUN/model, RUN/best, RUN/kept/step-00000500. */
    bool (*export)(void *self, const struct train_state *state, const char *folder, struct err *e);
    /* Gives the inputs of batch `index` < held_out of what is held out: the same pictures, noise and timesteps every time. The program
     * then runs its loss alone, with the EMA weights. NULL: nothing is held out. */
    bool (*fill_held_out)(void *self, int64_t index, struct program *program, struct err *e);
    int64_t held_out;
};

struct trainer;

/* What is to become small: `loss`, one number. With `rival` set the weights of the part `rival_part` learn that loss, in the same
 * steps, and `loss` all others: each sees the other's weights as they are. */
struct trainer_goal {
    struct value loss, rival;
    const char *rival_part; /* borrowed for the call */
};

/* Takes over params and g. What is trained are the weights of params; other weights of g must be bound by the caller through
 * trainer_program(t, 0). Of o the optimizer, the groups and whether there is a running mean count here. recompute (graph/passes.h): less memory, more
 * work. */
MUST_USE struct trainer *trainer_new(const struct backend *backend, struct graph *g, const struct trainer_goal *goal,
                                     struct params *params, const struct train_options *o, enum recompute recompute, uint64_t seed,
                                     struct err *e);
void trainer_free(struct trainer *t);
/* Batches of another size: g asks for the same weights, and its program, the next in number, learns into the same state in the room of
 * the others. Takes over g. Before the first step. */
MUST_USE bool trainer_add(struct trainer *t, struct graph *g, const struct trainer_goal *goal, enum recompute recompute, struct err *e);
struct train_state *trainer_state(struct trainer *t);
size_t trainer_programs(const struct trainer *t);
struct program *trainer_program(struct trainer *t, size_t shape);
/* Activations (of the program that needs most), gradients and state, for --plan. */
struct train_memory {
    size_t activations, packed, weights, optimizer;
};
struct train_memory trainer_memory(const struct trainer *t);

/* One step: `accumulate` batches, then the optimizer. *loss is the mean of their losses, *norm the gradients' norm before
 * clipping. ERR_FORMAT if the loss is not finite: the state is then as before the step. */
MUST_USE bool trainer_step(struct trainer *t, const struct train_task *task, const struct train_options *o, int64_t step,
                           double *loss, double *norm, struct err *e);

/* The mean loss over what is held out, whose batches the processes share. */
MUST_USE bool trainer_validate(struct trainer *t, const struct train_task *task, struct ranks *ranks, double *loss, struct err *e);

/* The loop. Ends with ERR_STOPPED, after saving, if the user asks for it (Ctrl-C). */
MUST_USE bool trainer_run(struct trainer *t, const struct train_task *task, const struct train_options *o,
                          const struct progress *progress, struct err *e);

#endif
