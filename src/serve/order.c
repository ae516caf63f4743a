#include "serve/order.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "image/image.h"
#include "serve/json_io.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

#define SHOWN_MODEL "limn-emoji"

uint64_t order_seed(void)
{
    uint32_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (uint32_t)time(NULL);
    return seed;
}

/* --- pictures that are sent along --- */

bool order_put(struct exchange *x, const void *data, size_t bytes, char name[ORDER_NAME_BYTES], struct err *e)
{
    static atomic_ulong number;
    char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES], file[100];
    struct image image;
    if (!image_decode(&image, data, bytes, "the picture", IMAGE_KEEP_ALPHA, 0, e)) /* before a job is made of it */
        return false;
    image_release(&image);
    snprintf(file, sizeof file, "sent-%ld-%lu.png", (long)getpid(), atomic_fetch_add(&number, 1));
    if (!user_place(x->server, x->user, x->server->o->temp, folder, e) || !folder_make(folder, e) || !path_join(path, folder, file, e) ||
        !file_write_whole(path, data, bytes, e))
        return false;
    snprintf(name, ORDER_NAME_BYTES, "%s [temp]", file);
    return true;
}

bool order_put_base64(struct exchange *x, const char *text, char name[ORDER_NAME_BYTES], struct err *e)
{
    const char *comma = !strncmp(text, "data:", 5) ? strchr(text, ',') : NULL;
    gsize bytes = 0;
    guchar *data = g_base64_decode(comma ? comma + 1 : text, &bytes);
    bool good = data && bytes ? order_put(x, data, bytes, name, e) : err_set(e, ERR_ARG, "a picture that was sent along is no base64");
    g_free(data);
    return good;
}

/* --- the flow --- */

/* {id: {"class_type", "inputs"}}; takes inputs. */
static bool put(json_t *flow, const char *id, const char *class, json_t *inputs)
{
    return inputs && !json_object_set_new(flow, id, json_pack("{s:s,s:o}", "class_type", class, "inputs", inputs));
}

static json_t *seed_json(uint64_t seed)
{
    return json_integer((json_int_t)(seed & INT64_MAX));
}

static bool put_start(json_t *flow, const struct order *d, int64_t width, int64_t height)
{
    if (!*d->picture)
        return put(flow, "start", "EmptyLatentImage", json_pack("{s:I,s:I,s:i}", "width", (json_int_t)width, "height", (json_int_t)height, "batch_size", 1));
    bool sized = d->width && d->height;
    bool good = put(flow, "picture", "LoadImage", json_pack("{s:s}", "image", d->picture));
    if (sized)
        good = good && put(flow, "sized", "ImageScale", json_pack("{s:[s,i],s:s,s:I,s:I,s:s}", "image", "picture", 0, "upscale_method", "lanczos", "width",
                                                                  (json_int_t)width, "height", (json_int_t)height, "crop", "disabled"));
    const char *pixels = sized ? "sized" : "picture";
    good = good && put(flow, *d->mask ? "encoded" : "start", "VAEEncode", json_pack("{s:[s,i],s:[s,i]}", "pixels", pixels, 0, "vae", "model", 2));
    if (*d->mask)
        good = good && put(flow, "mask", "LoadImageMask", json_pack("{s:s,s:s}", "image", d->mask, "channel", d->mask_alpha ? "alpha" : "red")) &&
               put(flow, "start", "SetLatentNoiseMask", json_pack("{s:[s,i],s:[s,i]}", "samples", "encoded", 0, "mask", "mask", 0));
    return good;
}

static json_t *flow_of(const struct order *d, const char *model)
{
    json_t *flow = json_object();
    int64_t width = d->width ? d->width / 8 * 8 : 512, height = d->height ? d->height / 8 * 8 : 512;
    bool good = flow && put(flow, "model", "CheckpointLoaderSimple", json_pack("{s:s}", "ckpt_name", model)) &&
                put(flow, "words", "CLIPTextEncode", json_pack("{s:s,s:[s,i]}", "text", d->words, "clip", "model", 1)) &&
                put(flow, "negative", "CLIPTextEncode", json_pack("{s:s,s:[s,i]}", "text", d->negative ? d->negative : "", "clip", "model", 1)) &&
                put_start(flow, d, width, height);
    for (int64_t i = 0; good && i < (d->count ? d->count : 1); i++) {
        char sampled[24], decoded[24], saved[24];
        snprintf(sampled, sizeof sampled, "sampled%d", (int)i);
        snprintf(decoded, sizeof decoded, "decoded%d", (int)i);
        snprintf(saved, sizeof saved, "saved%d", (int)i);
        good = put(flow, sampled, "KSampler",
                   json_pack("{s:[s,i],s:o,s:I,s:f,s:s,s:s,s:[s,i],s:[s,i],s:[s,i],s:f}", "model", "model", 0, "seed", seed_json(d->seed + (uint64_t)i), "steps",
                             (json_int_t)(d->steps ? d->steps : 20), "cfg", d->cfg > 0 ? d->cfg : 7.0, "sampler_name", d->sampler ? d->sampler : "euler",
                             "scheduler", d->schedule ? d->schedule : "normal", "positive", "words", 0, "negative", "negative", 0, "latent_image", "start", 0,
                             "denoise", *d->picture ? d->strength : 1.0)) &&
               put(flow, decoded, "VAEDecode", json_pack("{s:[s,i],s:[s,i]}", "samples", sampled, 0, "vae", "model", 2)) &&
               put(flow, saved, "SaveImage", json_pack("{s:[s,i],s:s}", "images", decoded, 0, "filename_prefix", "limn"));
    }
    if (good)
        return flow;
    json_decref(flow);
    return NULL;
}

/* --- its model --- */

json_t *server_checkpoints(struct exchange *x, struct err *e)
{
    struct runner_place place;
    const struct node *loader = node_find("CheckpointLoaderSimple", false);
    const struct node_input *input = loader ? node_input_find(loader, "ckpt_name") : NULL;
    if (!input) {
        err_set(e, ERR_MISSING, "there is no node that loads checkpoints");
        return NULL;
    }
    json_t *names = runner_place_init(&place, &x->server->runner_options, owner_of(x), e) ? node_choices(input, &place.host, e) : NULL;
    runner_place_release(&place);
    return names;
}

bool order_default_model(struct exchange *x, char out[ORDER_NAME_BYTES], struct err *e)
{
    json_t *all = server_checkpoints(x, e), *one;
    size_t i;
    if (!all)
        return false;
    const char *name = json_string_value(json_array_get(all, 0));
    json_array_foreach(all, i, one)
        if (!strcmp(json_string_value(one), SHOWN_MODEL))
            name = SHOWN_MODEL;
    snprintf(out, ORDER_NAME_BYTES, "%s", name ? name : "");
    json_decref(all);
    return true;
}

/* The whole name of a model by its name without ending, in any case. */
static bool find_model(struct exchange *x, const char *asked, char out[ORDER_NAME_BYTES], struct err *e)
{
    if (!asked || !*asked)
        return order_default_model(x, out, e) && (*out || err_set(e, ERR_MISSING, "there is no model: limn pull fetches one"));
    json_t *all = server_checkpoints(x, e), *one;
    size_t i, n = strcspn(asked, "["); /* A1111's titles end in a hash */
    while (n && asked[n - 1] == ' ')
        n--;
    *out = 0;
    json_array_foreach(all, i, one) {
        const char *name = json_string_value(one), *dot = strrchr(name, '.');
        size_t stem = dot ? (size_t)(dot - name) : strlen(name);
        if (!*out && ((strlen(name) == n && !strncasecmp(name, asked, n)) || (stem == n && !strncasecmp(name, asked, n))))
            snprintf(out, ORDER_NAME_BYTES, "%s", name);
    }
    json_decref(all);
    return all && (*out || err_set(e, ERR_ARG, "there is no model \"%.100s\"; GET /models/checkpoints and /models/diffusers list them", asked));
}

/* --- the job --- */

static bool refused(const struct flow_checked *checked, struct err *e)
{
    struct text t;
    text_init(&t, 1 << 16);
    flow_checked_text(checked, &t);
    err_set(e, ERR_ARG, "%.800s", text_string(&t));
    text_release(&t);
    return false;
}

/* Waits until the job has ended; *history is {id: H}. */
static bool wait_for(struct exchange *x, const char *id, json_t **history, struct err *e)
{
    for (;;) {
        struct text t;
        text_init(&t, (size_t)256 << 20);
        bool good = queue_history_of(x->server->queue, owner_of(x), id, &t, e);
        *history = good ? json_io_parse(text_string(&t), t.length, "history", e) : NULL;
        text_release(&t);
        if (!*history || json_object_size(*history))
            return *history != NULL;
        json_decref(*history);
        if (atomic_load(&x->server->stopping))
            return err_set(e, ERR_STOPPED, "the server is ending; the job stays in the queue");
        events_wait(x->server->events, 500);
    }
}

/* What H tells of the pictures. */
static bool collect(struct exchange *x, const json_t *entry, int64_t count, struct drawn *out, struct err *e)
{
    const json_t *outputs = json_object_get(entry, "outputs");
    char root[PATH_MAX_BYTES], folder[PATH_MAX_BYTES];
    out->paths = mem_zeroed((size_t)count, sizeof *out->paths);
    out->files = json_array();
    if (!out->paths || !out->files)
        return err_nomem(e, "a list of pictures");
    if (!user_place(x->server, x->user, x->server->o->output, root, e))
        return false;
    for (int64_t i = 0; i < count; i++) {
        char saved[24];
        snprintf(saved, sizeof saved, "saved%d", (int)i);
        json_t *file = json_array_get(json_object_get(json_object_get(outputs, saved), "images"), 0);
        const char *name = json_string_value(json_object_get(file, "filename")), *subfolder = json_string_value(json_object_get(file, "subfolder"));
        if (!name)
            return err_set(e, ERR_BACKEND, "the job left no picture");
        if (!path_below(folder, root, subfolder ? subfolder : "", e) || !path_below(out->paths[i], folder, name, e) ||
            json_array_append(out->files, file))
            return false;
        out->count++;
    }
    return true;
}

/* An error of a job that has not succeeded. */
static bool explain(const json_t *entry, struct err *e)
{
    json_t *messages = json_object_get(json_object_get(entry, "status"), "messages"), *message;
    size_t i;
    json_array_foreach(messages, i, message) {
        const char *type = json_string_value(json_array_get(message, 0));
        const char *text = json_string_value(json_object_get(json_array_get(message, 1), "exception_message"));
        if (type && !strcmp(type, "execution_interrupted"))
            return err_set(e, ERR_STOPPED, "the job was interrupted");
        if (type && !strcmp(type, "execution_error"))
            return err_set(e, ERR_BACKEND, "%.800s", text ? text : "the job failed");
    }
    return err_set(e, ERR_STOPPED, "the job was cancelled");
}

void drawn_release(struct drawn *d)
{
    mem_free(d->paths);
    json_decref(d->files);
    *d = (struct drawn){ 0 };
}

bool order_make(struct exchange *x, const struct order *d, struct drawn *out, struct err *e)
{
    char model[ORDER_NAME_BYTES];
    struct flow_checked checked;
    struct job_added added;
    bool accepted;
    *out = (struct drawn){ 0 };
    if (d->count < 0 || d->count > ORDER_MOST)
        return err_set(e, ERR_ARG, "%lld pictures at once; 1 to %d can be asked for", (long long)d->count, ORDER_MOST);
    if (!find_model(x, d->model, model, e))
        return false;
    json_t *body = json_pack("{s:o}", "prompt", flow_of(d, model));
    if (!body)
        return err_nomem(e, "a flow");
    bool good = server_accept(x, body, &checked, &added, &accepted, e);
    json_decref(body);
    if (!good)
        return false;
    good = accepted || refused(&checked, e);
    flow_checked_release(&checked);
    json_t *history = NULL;
    if (!good || !wait_for(x, added.id, &history, e))
        return false;
    const json_t *entry = json_object_get(history, added.id);
    bool completed = json_is_true(json_object_get(json_object_get(entry, "status"), "completed"));
    good = completed ? collect(x, entry, d->count ? d->count : 1, out, e) : explain(entry, e);
    json_decref(history);
    if (!good)
        drawn_release(out);
    return good;
}
