#include "cli/course.h"

#include <stdio.h>

#include "cli/finetune_work.h"

bool course_given(const struct finetune_args *a)
{
    return a->unet_path || a->text_path || a->vae_path || a->course_dataset || a->course_output || a->course_targets ||
           a->course_init || a->strategy || a->hub_model || a->hub_token || a->diary_mode || a->epoch_batches || a->height ||
           a->width || a->course_batch || a->workers >= 0 || a->course_accumulate || a->course_epochs || a->course_checkpointing ||
           a->diary;
}

/* The folder of the next run below output: the first version that is not there. again: the last one that is. */
static bool version_folder(char *out, const char *output, bool again, struct err *e)
{
    char logs[PATH_MAX_BYTES], next[PATH_MAX_BYTES];
    enum { MOST = 100000 };
    if (!path_join(logs, output, "lightning_logs", e))
        return false;
    for (int i = 0; i < MOST; i++) {
        char name[32];
        snprintf(name, sizeof name, "version_%d", i);
        if (!path_join(next, logs, name, e))
            return false;
        bool last = !path_exists(next);
        if (last && (!again || i == 0))
            return path_join(out, "", next, e);
        if (last)
            return true; /* out is the one before */
        if (!path_join(out, "", next, e))
            return false;
    }
    return err_set(e, ERR_LIMIT, "%s holds %d versions", logs, MOST);
}

static bool check(const struct finetune_args *a, int64_t batches, int64_t accumulate, struct err *e)
{
    bool some = a->unet_path || a->text_path, all = a->unet_path && a->text_path && a->vae_path;
    if (some && !all)
        return err_set(e, ERR_ARG, "--pretrained-unet-path, --pretrained-text-encoder-path and --pretrained-fp16-vae-path go together");
    if (some && a->model)
        return err_set(e, ERR_ARG, "--model and --pretrained-unet-path both name a model");
    if (!a->course_dataset && !a->dataset)
        return err_set(e, ERR_ARG, "--dataset-path is missing");
    if (batches % accumulate)
        return err_set(e, ERR_ARG, "--accumulate-grad-batches %lld does not divide --steps-per-epoch %lld", (long long)accumulate,
                       (long long)batches);
    return true;
}

bool course_run(const struct command *command, struct finetune_args *a, struct err *e)
{
    char folder[PATH_MAX_BYTES], size[48];
    int64_t batches = a->epoch_batches ? a->epoch_batches : 500;
    a->accumulate = a->course_accumulate ? a->course_accumulate : a->accumulate;
    if (!check(a, batches, a->accumulate, e))
        return false;
    const char *output = a->course_output ? a->course_output : a->output ? a->output : "./";
    if (!version_folder(folder, output, a->resume, e))
        return false;
    snprintf(size, sizeof size, "%lldx%lld", (long long)(a->width ? a->width : 1024), (long long)(a->height ? a->height : 1024));
    a->output = folder;
    a->resolution = a->resolution ? a->resolution : size;
    a->dataset = a->course_dataset ? a->course_dataset : a->dataset;
    a->targets = a->course_targets ? a->course_targets : a->targets ? a->targets : "to_q,to_k,to_v,to_out";
    a->init_lora = a->course_init ? a->course_init : a->init_lora;
    a->batch = a->course_batch ? a->course_batch : a->batch;
    a->checkpointing |= a->course_checkpointing;
    a->random_crop = !a->center_crop;
    a->rank = a->rank ? a->rank : 4;
    a->alpha = a->alpha > 0 ? a->alpha : 4;
    a->clip = a->clip < 0 ? 0 : a->clip;
    a->epochs = a->course_epochs ? a->course_epochs : a->epochs ? a->epochs : 1;
    a->steps = 0;
    a->epoch_steps = batches / a->accumulate;
    a->save_every = a->epoch_steps;
    a->format = LORA_DIFFSYNTH;
    a->draws = a->size_ids = a->one_timestep = true;
    a->hub_token = NULL; /* a secret has no place in a run's settings */
    return finetune_command(command, a, e);
}
