/* Pictures made larger by a network. */
#include "generate/upscale.h"

#include "flow/nodes/nodes.h"

struct loader_args {
    const char *name;
};
static const struct node_input loader_inputs[] = {
    { "model_name", "COMBO", offsetof(struct loader_args, name), .folder = "upscale_models", .flags = NODE_COMBO_OBJECT, .help = "ESRGAN or Real-ESRGAN" },
    { 0 },
};
static const struct node_output loader_outputs[] = { NODE_OUT("UPSCALE_MODEL"), { 0 } };

struct upscale_args {
    const struct datum *model, *image;
};
static const struct node_input upscale_inputs[] = {
    NODE_SOCKET("upscale_model", "UPSCALE_MODEL", struct upscale_args, model),
    NODE_SOCKET("image", "IMAGE", struct upscale_args, image),
    { 0 },
};

static void model_free(void *model)
{
    upscaler_free(model);
}
const struct datum_type type_upscale_model = { "UPSCALE_MODEL", model_free, NULL };

static bool loader_run(struct node_call *call, const void *args, struct err *e)
{
    const struct loader_args *a = args;
    char path[PATH_MAX_BYTES];
    return model_places_find(call_host(call)->models, 1U << MODELS_UPSCALE_MODELS, "upscale model", a->name, path, e) &&
           node_give(call, 0, datum_of_object(&type_upscale_model, upscaler_open(path, e), e), e);
}

static bool loader_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    const struct loader_args *a = args;
    char path[PATH_MAX_BYTES];
    return a->name && model_places_find(check->host->models, 1U << MODELS_UPSCALE_MODELS, "upscale model", a->name, path, e) && file_token(path, token, e);
}

/* The network's programs are no part of what it says: the datum stays what it was. */
static bool upscale_run(struct node_call *call, const void *args, struct err *e)
{
    const struct upscale_args *a = args;
    const struct flow_image *image = image_of(a->image);
    struct upscaler *u = a->model->object;
    int64_t scale = upscaler_scale(u);
    size_t from = (size_t)(image->h * image->w) * 3, to = from * (size_t)(scale * scale);
    struct flow_image *out = flow_image_new(image->n, image->h * scale, image->w * scale, e);
    struct flow_engine *engine = call_engine(call);
    bool good = out != NULL;
    for (int64_t i = 0; good && i < image->n; i++)
        good = upscaler_run(u, engine->backend, engine->type, image->at + (size_t)i * from, image->h, image->w, 0, call_progress(call),
                            out->at + (size_t)i * to, e);
    for (size_t i = 0; good && i < (size_t)image->n * to; i++)
        out->at[i] = out->at[i] < 0 ? 0 : out->at[i] > 1 ? 1 : out->at[i];
    if (good)
        return node_give(call, 0, datum_of_object(&type_image, out, e), e);
    flow_image_free(out);
    return false;
}

const struct node nodes_upscale[] = {
    { "UpscaleModelLoader", "Load Upscale Model", "Loads a network that makes pictures larger.", "loaders", loader_inputs, loader_outputs,
      .args_bytes = sizeof(struct loader_args), .run = loader_run, .changed = loader_changed, .aliases = "esrgan, super-resolution" },
    { "ImageUpscaleWithModel", "Upscale Image (using Model)", "Makes pictures larger by a network, in tiles.", "image/upscaling", upscale_inputs,
      image_output, .args_bytes = sizeof(struct upscale_args), .run = upscale_run, .aliases = "esrgan, super-resolution, enlarge" },
    { 0 },
};
