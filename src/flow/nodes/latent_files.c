/* LATENT <-> files, as ComfyUI has them: safetensors with latent_tensor. */
#include <stdio.h>
#include <unistd.h>

#include "flow/nodes/nodes.h"
#include "flow/nodes/place.h"
#include "weights/weights.h"

struct save_args {
    const struct datum *samples;
    const char *prefix;
};
struct load_args {
    const char *latent;
};

static const struct node_input save_inputs[] = {
    NODE_SOCKET("samples", "LATENT", struct save_args, samples),
    { "filename_prefix", "STRING", offsetof(struct save_args, prefix), "latents/ComfyUI", .help = "what the file's name begins with" },
    { 0 },
};
static const struct node_input load_inputs[] = {
    { "latent", "STRING", offsetof(struct load_args, latent), .initial = "", .help = "the name of a .latent file in the input folder" },
    { 0 },
};

static bool save_run(struct node_call *call, const void *args, struct err *e)
{
    const struct save_args *a = args;
    const struct flow_latent *l = latent_of(a->samples);
    const struct weights_entry entries[] = { { "latent_format_version_0", DTYPE_F32, SHAPE(0) },
                                             { "latent_tensor", DTYPE_F32, SHAPE(l->n, l->c, l->h, l->w) } };
    const float nothing = 0;
    struct place *place = mem_zeroed(1, sizeof *place);
    char name[300], path[PATH_MAX_BYTES];
    bool good = (place || err_nomem(e, "a file's name")) && place_init(place, call_host(call)->output, a->prefix, l->w, l->h, e);
    if (good)
        place->call = call;
    good = good && place_take(place, 0, ".latent", name, path, e);
    if (good && !(good = weights_save(path, entries, (const void *const[]){ &nothing, l->at }, 2, NULL, 0, e)))
        unlink(path);
    good = good && node_show(call, "latents", json_pack("[{s:s, s:s, s:s}]", "filename", name, "subfolder", place->subfolder, "type", "output"), e);
    mem_free(place);
    return good;
}

static bool find(const struct flow_host *host, const char *name, char path[PATH_MAX_BYTES], struct err *e)
{
    return place_find(host, name ? name : "", "input", path, e) &&
           ((path_exists(path) && !path_is_folder(path)) || err_set(e, ERR_MISSING, "Invalid latent file: there is no %s", path));
}

static bool load_check(const struct node_check *check, const void *args, char why[400])
{
    char path[PATH_MAX_BYTES];
    struct err e = { 0 };
    if (!check_has(check, "latent") || find(check->host, ((const struct load_args *)args)->latent, path, &e))
        return true;
    snprintf(why, 400, "%.399s", e.text);
    return false;
}

static bool load_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    char path[PATH_MAX_BYTES];
    return find(check->host, ((const struct load_args *)args)->latent, path, e) && digest_file(path, 0, token, NULL, NULL, e);
}

/* Files without the version mark hold latents with Stable Diffusion 1's factor. */
static bool load_run(struct node_call *call, const void *args, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (!find(call_host(call), ((const struct load_args *)args)->latent, path, e))
        return false;
    struct weights *file = weights_open(path, e);
    const struct weight *w = file ? weights_need(file, "latent_tensor", e) : NULL;
    if (w && w->shape.rank != 4)
        err_set(e, ERR_SHAPE, "%s: latent_tensor is %s, want [n, c, h, w]", path, shape_text(w->shape).s);
    bool good = w && !e->code && weights_check_finite(w, e);
    enum { CELL = 8 };
    struct flow_latent *l = good ? flow_latent_new(w->shape.dim[0], w->shape.dim[1], w->shape.dim[2], w->shape.dim[3], CELL, e) : NULL;
    if (l && !dtype_convert(l->at, DTYPE_F32, w->data, w->type, (size_t)shape_count(w->shape)))
        err_set(e, ERR_TYPE, "%s: latent_tensor is %s", path, dtype_name(w->type));
    float factor = file && !weights_find(file, "latent_format_version_0") ? 1 / 0.18215f : 1;
    for (int64_t i = 0; l && i < shape_count(w->shape); i++)
        l->at[i] *= factor;
    weights_free(file);
    if (e->code) {
        flow_latent_free(l);
        return false;
    }
    return node_give(call, 0, datum_of_object(&type_latent, l, e), e);
}

const struct node nodes_latent_files[] = {
    { "SaveLatent", NULL, "Writes latents into the output folder.", "_for_testing", save_inputs, NULL, .args_bytes = sizeof(struct save_args),
      .flags = NODE_OUTPUT | NODE_FILES | NODE_SEES_PROMPT | NODE_SEES_PNG_INFO, .run = save_run },
    { "LoadLatent", NULL, "Latents from a file.", "_for_testing", load_inputs, latent_output, .args_bytes = sizeof(struct load_args),
      .flags = NODE_FILES, .run = load_run, .changed = load_changed, .check = load_check, .checks = "latent" },
    { 0 },
};
