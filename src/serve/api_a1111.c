/* /sdapi/v1/...: what programs made for A1111's web UI ask for. */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/text.h"
#include "image/image.h"
#include "serve/order.h"
#include "serve/server_internal.h"

#define SETTING "limn.sdapi"

/* Names as A1111 shows them and what they are here. Its older names carry the schedule ("DPM++ 2M Karras"): they are read as sampler
 * and schedule. */
static const struct { const char *name, *sampler; } samplers[] = {
    { "Euler", "euler" }, { "Euler a", "euler_ancestral" }, { "DPM++ 2M", "dpmpp_2m" }, { "DPM++ SDE", "dpmpp_sde" }, { "DPM++ 2M SDE", "dpmpp_2m_sde" },
    { "DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun" }, { "DPM++ 2S a", "dpmpp_2s_ancestral" }, { "DPM++ 3M SDE", "dpmpp_3m_sde" }, { "LMS", "lms" },
    { "Heun", "heun" }, { "DPM2", "dpm_2" }, { "DPM2 a", "dpm_2_ancestral" }, { "DPM fast", "dpm_fast" }, { "DPM adaptive", "dpm_adaptive" },
    { "DDIM", "ddim" }, { "UniPC", "uni_pc" }, { "LCM", "lcm" },
};
static const struct { const char *label, *schedule; } schedules[] = {
    { "Automatic", "normal" }, { "Uniform", "normal" }, { "Karras", "karras" }, { "Exponential", "exponential" }, { "SGM Uniform", "sgm_uniform" },
    { "KL Optimal", "kl_optimal" }, { "Simple", "simple" }, { "Normal", "normal" }, { "DDIM", "ddim_uniform" }, { "Beta", "beta" },
};
enum { SAMPLERS = sizeof samplers / sizeof *samplers, SCHEDULES = sizeof schedules / sizeof *schedules };

static const char *schedule_of(const char *label)
{
    for (int i = 0; i < SCHEDULES; i++)
        if (!strcasecmp(schedules[i].label, label) || !strcasecmp(schedules[i].schedule, label))
            return schedules[i].schedule;
    return NULL;
}

/* Sampler and, where the name carries one, schedule. */
static bool read_sampler(const char *name, struct order *d, struct err *e)
{
    for (int i = 0; i < SAMPLERS; i++) {
        size_t n = strlen(samplers[i].name);
        if (!strcasecmp(samplers[i].sampler, name))
            d->sampler = samplers[i].sampler;
        if (strncasecmp(samplers[i].name, name, n) || (name[n] && name[n] != ' '))
            continue;
        const char *schedule = name[n] ? schedule_of(name + n + 1) : NULL;
        if (!name[n] || schedule) {
            d->sampler = samplers[i].sampler;
            d->schedule = schedule ? schedule : d->schedule;
        }
    }
    return d->sampler || err_set(e, ERR_ARG, "there is no sampler \"%.60s\"; GET /sdapi/v1/samplers lists them", name);
}

static int64_t whole(const json_t *body, const char *name, int64_t otherwise)
{
    const json_t *v = json_object_get(body, name);
    return json_is_number(v) ? (int64_t)json_number_value(v) : otherwise;
}

static bool in_range(const char *name, int64_t v, int64_t min, int64_t max, struct err *e)
{
    return (v >= min && v <= max) ||
           err_set(e, ERR_ARG, "%s is %lld, want %lld to %lld", name, (long long)v, (long long)min, (long long)max);
}

static const char *text_of(const json_t *body, const char *name)
{
    const char *s = json_string_value(json_object_get(body, name));
    return s && *s ? s : NULL;
}

/* The fields that drawing from words and over a picture share. */
static bool read_request(struct exchange *x, struct order *d, json_t *options, struct err *e)
{
    const json_t *b = x->json;
    const char *sampler = text_of(b, "sampler_name"), *schedule = text_of(b, "scheduler");
    int64_t seed = whole(b, "seed", -1), batch = whole(b, "batch_size", 1), turns = whole(b, "n_iter", 1);
    sampler = sampler ? sampler : text_of(b, "sampler_index");
    d->words = json_string_value(json_object_get(b, "prompt"));
    d->words = d->words ? d->words : "";
    d->negative = text_of(b, "negative_prompt");
    d->steps = whole(b, "steps", 20);
    d->cfg = json_is_number(json_object_get(b, "cfg_scale")) ? json_number_value(json_object_get(b, "cfg_scale")) : 7;
    d->width = whole(b, "width", 512);
    d->height = whole(b, "height", 512);
    d->model = text_of(json_object_get(b, "override_settings"), "sd_model_checkpoint");
    d->model = d->model ? d->model : text_of(options, "sd_model_checkpoint");
    if (!in_range("steps", d->steps, 1, 1000, e) || !in_range("width", d->width, 64, 4096, e) || !in_range("height", d->height, 64, 4096, e) ||
        !in_range("batch_size", batch, 1, ORDER_MOST, e) || !in_range("n_iter", turns, 1, ORDER_MOST, e) || !in_range("seed", seed, -1, UINT32_MAX, e))
        return false;
    d->count = batch * turns;
    d->seed = seed < 0 ? order_seed() : (uint64_t)seed;
    if (sampler && !read_sampler(sampler, d, e))
        return false;
    if (schedule && strcasecmp(schedule, "automatic") && !(d->schedule = schedule_of(schedule)))
        return err_set(e, ERR_ARG, "there is no scheduler \"%.60s\"; GET /sdapi/v1/schedulers lists them", schedule);
    return true;
}

/* "info": a JSON text in the JSON. */
static json_t *info_of(const struct order *d, const struct drawn *drawn)
{
    json_t *seeds = json_array(), *prompts = json_array(), *texts = json_array();
    for (size_t i = 0; i < drawn->count; i++) {
        struct text t;
        text_init(&t, 1 << 18);
        text_addf(&t, "%s\n", d->words);
        if (d->negative)
            text_addf(&t, "Negative prompt: %s\n", d->negative);
        text_addf(&t, "Steps: %lld, Sampler: %s, CFG scale: %g, Seed: %llu, Size: %lldx%lld", (long long)d->steps, d->sampler ? d->sampler : "euler", d->cfg,
                  (unsigned long long)(d->seed + i), (long long)d->width, (long long)d->height);
        json_array_append_new(seeds, json_integer((json_int_t)(d->seed + i)));
        json_array_append_new(prompts, json_string(d->words));
        json_array_append_new(texts, json_string(text_string(&t)));
        text_release(&t);
    }
    json_t *info = json_pack("{s:s,s:o,s:s,s:I,s:o,s:I,s:I,s:s,s:f,s:I,s:i,s:o,s:i}", "prompt", d->words, "all_prompts", prompts, "negative_prompt",
                             d->negative ? d->negative : "", "seed", (json_int_t)d->seed, "all_seeds", seeds, "width", (json_int_t)d->width, "height",
                             (json_int_t)d->height, "sampler_name", d->sampler ? d->sampler : "euler", "cfg_scale", d->cfg, "steps", (json_int_t)d->steps,
                             "batch_size", (int)drawn->count, "infotexts", texts, "index_of_first_image", 0);
    char *text = info ? json_dumps(info, JSON_COMPACT) : NULL;
    json_t *out = text ? json_string(text) : NULL;
    free(text);
    json_decref(info);
    return out;
}

static bool draw(struct exchange *x, const struct order *d, struct err *e)
{
    struct drawn drawn;
    if (!order_make(x, d, &drawn, e))
        return false;
    const json_t *wanted = json_object_get(x->json, "send_images");
    json_t *images = json_array(), *parameters = json_copy(x->json);
    bool good = images && parameters;
    for (size_t i = 0; good && i < drawn.count && !json_is_false(wanted); i++) {
        char *data;
        size_t bytes;
        if (!file_read(drawn.paths[i], IMAGE_FILE_MAX_BYTES, &data, &bytes, e)) {
            good = false;
            break;
        }
        gchar *text = g_base64_encode((const guchar *)data, bytes);
        good = !json_array_append_new(images, json_string(text));
        g_free(text);
        mem_free(data);
    }
    json_object_del(parameters, "init_images"); /* they are large, and the caller has them */
    json_object_del(parameters, "mask");
    json_t *info = info_of(d, &drawn);
    drawn_release(&drawn);
    if (good && info)
        return answer_json(x, 200, json_pack("{s:o,s:o,s:o}", "images", images, "parameters", parameters, "info", info), e);
    json_decref(images);
    json_decref(parameters);
    json_decref(info);
    return e->code ? false : err_nomem(e, "an answer");
}

static bool txt2img(struct exchange *x, json_t *options, struct err *e)
{
    struct order d = { 0 };
    return read_request(x, &d, options, e) && draw(x, &d, e);
}

/* The mask of a request, turned round if it says so. */
static bool put_mask(struct exchange *x, const char *text, bool invert, char name[ORDER_NAME_BYTES], struct err *e)
{
    struct image image;
    uint8_t *png;
    size_t bytes;
    const char *comma = !strncmp(text, "data:", 5) ? strchr(text, ',') : NULL;
    if (!invert)
        return order_put_base64(x, text, name, e);
    gsize count = 0;
    guchar *data = g_base64_decode(comma ? comma + 1 : text, &count);
    bool good = image_decode(&image, data, count, "the mask", IMAGE_FLATTEN, 0, e);
    g_free(data);
    if (!good)
        return false;
    for (size_t i = 0; i < image_bytes(&image); i++)
        image.pixels[i] = (uint8_t)(255 - image.pixels[i]);
    good = image_encode_png(&image, NULL, 0, &png, &bytes, e);
    image_release(&image);
    good = good && order_put(x, png, bytes, name, e);
    if (good)
        mem_free(png);
    return good;
}

static bool img2img(struct exchange *x, json_t *options, struct err *e)
{
    struct order d = { 0 };
    const json_t *first = json_array_get(json_object_get(x->json, "init_images"), 0), *strength = json_object_get(x->json, "denoising_strength");
    const char *mask = text_of(x->json, "mask");
    if (!json_is_string(first))
        return err_set(e, ERR_ARG, "init_images has no picture");
    d.strength = json_is_number(strength) ? json_number_value(strength) : 0.75;
    if (!(d.strength >= 0 && d.strength <= 1))
        return err_set(e, ERR_ARG, "denoising_strength is %g, want 0 to 1", d.strength);
    return read_request(x, &d, options, e) && order_put_base64(x, json_string_value(first), d.picture, e) &&
           (!mask || put_mask(x, mask, whole(x->json, "inpainting_mask_invert", 0) != 0, d.mask, e)) && draw(x, &d, e);
}

static bool with_options(struct exchange *x, bool (*work)(struct exchange *x, json_t *options, struct err *e), struct err *e)
{
    json_t *options = setting_read(x, SETTING, e);
    bool good = options && work(x, options, e);
    json_decref(options);
    return good;
}

bool post_txt2img(struct exchange *x, struct err *e)
{
    return with_options(x, txt2img, e);
}

bool post_img2img(struct exchange *x, struct err *e)
{
    return with_options(x, img2img, e);
}

/* --- what it tells --- */

bool get_sd_progress(struct exchange *x, struct err *e)
{
    int64_t value, total, remaining;
    char job[JOB_ID_MOST_BYTES + 1];
    if (!queue_remaining(x->server->queue, owner_of(x), &remaining, e))
        return false;
    bool running = events_progress(x->server->events, owner_of(x), job, &value, &total);
    json_t *state = json_pack("{s:b,s:b,s:s,s:I,s:i,s:I,s:I}", "skipped", 0, "interrupted", 0, "job", running ? job : "", "job_count", (json_int_t)remaining, "job_no",
                              0, "sampling_step", (json_int_t)value, "sampling_steps", (json_int_t)total);
    return answer_json(x, 200, json_pack("{s:f,s:f,s:o,s:n,s:n}", "progress", running && total ? (double)value / (double)total : 0.0, "eta_relative", 0.0, "state",
                                         state, "current_image", "textinfo"), e);
}

static bool tell_options(struct exchange *x, json_t *options, struct err *e)
{
    char model[ORDER_NAME_BYTES];
    json_t *all = json_pack("{s:s,s:b,s:s}", "samples_format", "png", "samples_save", 1, "sd_vae", "Automatic");
    if (!all || !order_default_model(x, model, e)) {
        json_decref(all);
        return all ? false : err_nomem(e, "options");
    }
    json_object_set_new(all, "sd_model_checkpoint", json_string(model));
    json_object_update(all, options);
    return answer_json(x, 200, all, e);
}

bool get_sd_options(struct exchange *x, struct err *e)
{
    return with_options(x, tell_options, e);
}

static bool change_options(struct exchange *x, json_t *options, struct err *e)
{
    json_t *all = json_copy(options);
    bool good = all && !json_object_update(all, x->json) ? setting_write(x, SETTING, all, e) : err_nomem(e, "options");
    json_decref(all);
    return good && answer_json(x, 200, json_object(), e);
}

bool post_sd_options(struct exchange *x, struct err *e)
{
    if (!json_is_object(x->json))
        return err_set(e, ERR_ARG, "options are an object");
    return with_options(x, change_options, e);
}

bool get_sd_samplers(struct exchange *x, struct err *e)
{
    json_t *list = json_array();
    for (int i = 0; list && i < SAMPLERS; i++)
        json_array_append_new(list, json_pack("{s:s,s:[s],s:{}}", "name", samplers[i].name, "aliases", samplers[i].sampler, "options"));
    return answer_json(x, 200, list, e);
}

bool get_sd_schedulers(struct exchange *x, struct err *e)
{
    json_t *list = json_array();
    for (int i = 0; list && i < SCHEDULES; i++)
        json_array_append_new(list, json_pack("{s:s,s:s,s:n,s:f,s:b}", "name", schedules[i].schedule, "label", schedules[i].label, "aliases", "default_rho",
                                              !strcmp(schedules[i].schedule, "karras") ? 7.0 : -1.0, "need_inner_model", 0));
    return answer_json(x, 200, list, e);
}

bool get_sd_models(struct exchange *x, struct err *e)
{
    json_t *list = json_array(), *names = server_checkpoints(x, e), *name;
    size_t i;
    if (!names) {
        json_decref(list);
        return false;
    }
    json_array_foreach(names, i, name) {
        const char *s = json_string_value(name), *dot = strrchr(s, '.');
        json_array_append_new(list, json_pack("{s:O,s:s%,s:n,s:n,s:O,s:n}", "title", name, "model_name", s, dot ? (size_t)(dot - s) : strlen(s), "hash", "sha256",
                                              "filename", name, "config"));
    }
    json_decref(names);
    return answer_json(x, 200, list, e);
}

bool post_sd_interrupt(struct exchange *x, struct err *e)
{
    return queue_interrupt(x->server->queue, owner_of(x), NULL, e) && answer_json(x, 200, json_object(), e);
}
