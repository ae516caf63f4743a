#include "cli/finetune_args.h"

#include <stdio.h>

const char *finetune_loss_choice(int index)
{
    return index >= 0 && index < LOSS_KINDS ? objective_loss_names[index] : NULL;
}

const char *finetune_timesteps_choice(int index)
{
    return index >= 0 && index < TIMESTEPS_KINDS ? objective_timesteps_names[index] : NULL;
}

const char *finetune_format_choice(int index)
{
    return index >= 0 && index < LORA_LAYOUTS ? lora_layout_names[index] : NULL;
}

OPTION_CHOICES(init_names, "kaiming", "gaussian")
OPTION_CHOICES(type_names, "f32", "bf16", "f16")

const char *finetune_init_choice(int index)
{
    return init_names(index);
}

const char *finetune_type_choice(int index)
{
    return type_names(index);
}

enum { BUCKETS_NONE, BUCKETS_KOHYA, BUCKETS_SDXL };
OPTION_CHOICES(bucket_lists, "none", "kohya", "sdxl")

const char *finetune_buckets_choice(int index)
{
    return bucket_lists(index);
}

OPTION_CHOICES(precision_names, "auto", "f32", "bf16", "32", "16", "16-mixed", "bf16-mixed")

const char *finetune_precision_choice(int index)
{
    return precision_names(index);
}

enum precision finetune_precision(int choice)
{
    /* nothing is computed in f16: what asks for it wants half of the memory and speed, which bf16 gives where there is any */
    static const enum precision meant[] = { PRECISION_AUTO, PRECISION_F32,  PRECISION_BF16, PRECISION_F32,
                                            PRECISION_AUTO, PRECISION_AUTO, PRECISION_BF16 };
    return meant[choice];
}

struct objective_options finetune_objective(const struct finetune_args *a)
{
    return (struct objective_options){
        .loss = (enum objective_loss)a->loss, .huber = a->huber, .timesteps = (enum objective_timesteps)a->timesteps,
        .logit_mean = a->logit_mean, .logit_deviation = a->logit_deviation, .least = a->least, .most = a->most,
        .min_snr = a->min_snr, .noise_offset = a->noise_offset, .zero_snr = a->zero_snr,
        .one_timestep = a->one_timestep,
    };
}

bool finetune_train_options(const struct finetune_args *a, int64_t steps, bool text, struct run_groups *groups,
                            struct train_options *o, struct err *e)
{
    if (!run_groups_read(groups, &a->rates, e))
        return false;
    if (text && a->text_rate > 0 && groups->count < OPTION_TEXTS_MAX)
        groups->at[groups->count++] = (struct train_group){ "text_encoder*", a->text_rate };
    double rate = a->rate >= 0 ? a->rate : a->optimizer == OPTIMIZER_PRODIGY ? 1 : a->full ? 1e-5 : 1e-4;
    *o = (struct train_options){
        .folder = a->output, .resume = a->resume, .steps = steps, .warmup = a->warmup, .accumulate = a->accumulate,
        .batch = a->batch, .rate = rate, .beta1 = a->beta1, .beta2 = a->beta2, .eps = a->eps, .decay = a->decay,
        .clip = a->clip < 0 ? (a->replay ? 0 : 1) : a->clip, .ema = a->ema, .schedule = (enum rate_schedule)a->schedule,
        .final_rate = a->final_rate, .sample_every = a->sample_every, .log_every = a->replay ? 1 : a->log_every,
        .save_every = a->save_every, .validate_every = a->validate_every, .patience = a->patience, .stop_at = a->stop_at, .minutes = a->minutes, .profile = a->profile,
        .optimizer = (enum optimizer_kind)a->optimizer, .groups = groups->at, .group_count = groups->count,
        .cycles = (double)a->cycles, .power = a->power,
    };
    return true;
}

bool finetune_resolution(const char *text, int64_t side, int64_t *width, int64_t *height, struct err *e)
{
    char end = 0;
    long long w, h;
    *width = *height = side;
    if (!text)
        return true;
    int count = sscanf(text, "%lldx%lld%c", &w, &h, &end);
    if (count == 1)
        count = sscanf(text, "%lld%c", &w, &end) == 1 ? 1 : 0;
    if ((count != 1 && count != 2) || w < 8 || w > 8192 || (count == 2 && (h < 8 || h > 8192)))
        return err_set(e, ERR_ARG, "--resolution %s: want pixels from 8 to 8192, such as 512 or 768x512", text);
    *width = w;
    *height = count == 2 ? h : w;
    return true;
}

bool finetune_buckets(const struct finetune_args *a, int64_t side, struct buckets *out, struct err *e)
{
    int64_t width, height;
    if (!finetune_resolution(a->resolution, side, &width, &height, e))
        return false;
    buckets_one(out, (int)width, (int)height);
    if (a->buckets == BUCKETS_SDXL && a->resolution)
        return err_set(e, ERR_ARG, "--buckets sdxl has sizes of its own: leave --resolution out");
    if (a->buckets == BUCKETS_SDXL)
        buckets_sdxl(out);
    if (a->buckets == BUCKETS_KOHYA && width != height)
        return err_set(e, ERR_ARG, "--buckets kohya wants one number for --resolution, not %s", a->resolution);
    return a->buckets != BUCKETS_KOHYA ||
           buckets_kohya(out, (int)width, (int)a->bucket_least, (int)a->bucket_most, (int)a->bucket_step, e);
}

struct sample_options finetune_samples(const struct finetune_args *a)
{
    return (struct sample_options){
        .dataset = a->dataset, .random_crop = a->random_crop, .flip = a->flip, .sampled = a->sampled,
        .caption_dropout = a->caption_dropout, .shuffle = a->shuffle, .keep = a->keep_tokens, .masks = a->masks, .regular = a->regular,
        .regular_weight = a->regular_weight, .draws = a->draws, .size_ids = a->size_ids, .words = a->words,
        .regular_words = a->class_words, .batch = a->batch, .seed = (uint64_t)a->seed, .regular_planned = a->regular_planned,
    };
}
