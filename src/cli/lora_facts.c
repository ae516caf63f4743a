#include "cli/lora_facts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/commands.h"

static void add(struct lora_facts_list *l, const char *key, const char *format, ...) PRINTF_LIKE(3, 4);
static void add(struct lora_facts_list *l, const char *key, const char *format, ...)
{
    char text[1000];
    va_list args;
    if (l->count == LORA_FACTS_MOST)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    l->owned[l->count] = mem_string(text);
    l->pairs[l->count] = (struct weights_pair){ key, l->owned[l->count] };
    l->count++;
}

/* A text of any length; false if there is none. */
static bool add_text(struct lora_facts_list *l, const char *key, char *text)
{
    if (text && l->count < LORA_FACTS_MOST) {
        l->owned[l->count] = mem_string(text);
        l->pairs[l->count] = (struct weights_pair){ key, l->owned[l->count] };
        l->count++;
    }
    free(text);
    return text != NULL;
}

/* The aspect buckets and how many pictures each has, as sd-scripts tells them. */
static bool add_buckets(struct lora_facts_list *l, const struct samples *s)
{
    json_t *all = json_object();
    for (size_t i = 0; i < s->shape_count; i++)
        json_object_set_new(all, path_of("%zu", i).s, json_pack("{s:[i, i], s:I}", "resolution", s->buckets[i].width, s->buckets[i].height,
                                                                "count", (json_int_t)samples_of_shape(s, i)));
    json_t *info = json_pack("{s:o}", "buckets", all);
    add(l, "ss_enable_bucket", "%s", s->shape_count > 1 ? "True" : "False");
    bool good = add_text(l, "ss_bucket_info", info ? json_dumps(info, JSON_COMPACT) : NULL);
    json_decref(info);
    return good;
}

/* What sd-scripts and the model specification call the model's line. */
static void add_base(struct lora_facts_list *l, const struct model_parts *m, enum prediction prediction)
{
    bool sdxl = m->family == &family_sdxl, kolors = m->family == &family_kolors, second = !sdxl && !kolors && m->text[0].width > 768;
    add(l, "ss_base_model_version", "%s", kolors ? "kolors" : sdxl ? "sdxl_base_v1-0" : second ? "sd_v2" : "sd_v1");
    add(l, "ss_v2", "%s", second ? "True" : "False");
    add(l, "modelspec.sai_model_spec", "1.0.0");
    add(l, "modelspec.architecture", "%s/lora", kolors   ? "kolors"
                                                : sdxl   ? "stable-diffusion-xl-v1-base"
                                                : second ? "stable-diffusion-v2-512"
                                                         : "stable-diffusion-v1");
    add(l, "modelspec.implementation", "diffusers");
    add(l, "modelspec.prediction_type", "%s", prediction == PREDICTION_V ? "v" : prediction_name(prediction));
}

bool lora_facts_make(struct lora_facts_list *l, const struct finetune_options *o, const struct samples *samples, const json_t *settings,
                     struct err *e)
{
    const struct train_options *run = &o->run;
    const struct adapter *first = &o->targets->list[0];
    int64_t factor = vae_factor(&o->model->parts.vae);
    *l = (struct lora_facts_list){ .count = 0 };
    add_base(l, &o->model->parts, o->objective->noise.prediction);
    add(l, "modelspec.resolution", "%lldx%lld", (long long)(o->sizes.w * factor), (long long)(o->sizes.h * factor));
    add(l, "ss_sd_model_name", "%s", path_name(o->model->path));
    add(l, "ss_network_module", "networks.lora");
    add(l, "ss_network_dim", "%lld", (long long)first->rank);
    add(l, "ss_network_alpha", "%g", first->scale * (double)first->rank);
    add(l, "ss_learning_rate", "%g", run->rate);
    add(l, "ss_unet_lr", "%g", run->rate);
    for (size_t i = 0; i < run->group_count; i++)
        if (!strcmp(run->groups[i].pattern, "text_encoder*"))
            add(l, "ss_text_encoder_lr", "%g", run->groups[i].rate);
    add(l, "ss_optimizer", "%s", optimizer_name((int)run->optimizer));
    add(l, "ss_lr_scheduler", "%s", rate_schedule_names[run->schedule]);
    add(l, "ss_lr_warmup_steps", "%lld", (long long)run->warmup);
    add(l, "ss_max_train_steps", "%lld", (long long)run->steps);
    add(l, "ss_batch_size_per_device", "%lld", (long long)run->batch);
    add(l, "ss_gradient_accumulation_steps", "%lld", (long long)run->accumulate);
    add(l, "ss_gradient_checkpointing", "%s", o->recompute ? "True" : "False");
    add(l, "ss_max_grad_norm", "%g", run->clip);
    add(l, "ss_mixed_precision", "%s", o->type == DTYPE_BF16 ? "bf16" : "no");
    add(l, "ss_seed", "%llu", (unsigned long long)o->seed);
    add(l, "ss_resolution", "(%lld, %lld)", (long long)(o->sizes.w * factor), (long long)(o->sizes.h * factor));
    add(l, "ss_noise_offset", "%g", o->objective->o.noise_offset);
    add(l, "ss_min_snr_gamma", "%g", o->objective->o.min_snr);
    add(l, "ss_zero_terminal_snr", "%s", o->objective->noise.zero_snr ? "True" : "False");
    add(l, "ss_loss_type", "%s", objective_loss_names[o->objective->o.loss]);
    bool good = true;
    if (samples) {
        good = add_buckets(l, samples);
        add(l, "ss_num_train_images", "%zu", samples_count(samples));
        add(l, "ss_num_batches_per_epoch", "%lld", (long long)samples_round(samples));
        add(l, "ss_caption_dropout_rate", "%g", samples->o.caption_dropout);
        add(l, "ss_shuffle_caption", "%s", samples->o.shuffle ? "True" : "False");
        add(l, "ss_dataset_dirs", "{\"%s\": {\"img_count\": %zu}}", path_name(samples->o.dataset), samples_count(samples));
        add(l, "limn.dataset", "%016llx", (unsigned long long)samples_print(samples));
    }
    add(l, "limn.version", "%s", LIMN_VERSION);
    good = add_text(l, "limn.settings", json_dumps(settings, JSON_COMPACT)) && good;
    for (size_t i = 0; i < l->count; i++)
        good = good && l->owned[i];
    return good || err_nomem(e, "a LoRA's metadata");
}

void lora_facts_release(struct lora_facts_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->owned[i]);
    *l = (struct lora_facts_list){ .count = 0 };
}
