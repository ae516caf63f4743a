/* ControlNets: what a picture says of the shape of things, beside words. */
#include "flow/nodes/nodes.h"

struct loader_args {
    const char *name;
};
static const struct node_input loader_inputs[] = {
    { "control_net_name", "COMBO", offsetof(struct loader_args, name), .folder = "controlnet", .help = "for the denoiser that it will speak to" },
    { 0 },
};
static const struct node_output loader_outputs[] = { NODE_OUT("CONTROL_NET"), { 0 } };

struct apply_args {
    const struct datum *positive, *negative, *net, *image, *vae;
    double strength, start, end;
};
#define AT(member) offsetof(struct apply_args, member)
#define NET NODE_SOCKET("control_net", "CONTROL_NET", struct apply_args, net)
#define IMAGE { "image", "IMAGE", AT(image), .help = "of the kind that it was taught with: edges, depths, poses ..." }
#define STRENGTH { "strength", "FLOAT", AT(strength), "1.0", .min = 0, .max = 10, .step = 0.01, .help = "how much it counts" }
static const struct node_input old_inputs[] = {
    NODE_SOCKET("conditioning", "CONDITIONING", struct apply_args, positive), NET, IMAGE, STRENGTH, { 0 },
};
static const struct node_input apply_inputs[] = {
    NODE_SOCKET("positive", "CONDITIONING", struct apply_args, positive),
    NODE_SOCKET("negative", "CONDITIONING", struct apply_args, negative),
    NET, IMAGE, STRENGTH,
    { "start_percent", "FLOAT", AT(start), "0.0", .min = 0, .max = 1, .step = 0.001, .help = "the part of the run where it begins" },
    { "end_percent", "FLOAT", AT(end), "1.0", .min = 0, .max = 1, .step = 0.001, .help = "the part of the run where it ends" },
    { "vae", "VAE", AT(vae), .flags = NODE_OPTIONAL, .help = "not needed by ControlNets of Stable Diffusion" },
    { 0 },
};
static const struct node_output apply_outputs[] = { { "CONDITIONING", "positive", false, NULL }, { "CONDITIONING", "negative", false, NULL }, { 0 } };

static bool loader_run(struct node_call *call, const void *args, struct err *e)
{
    const struct loader_args *a = args;
    char path[PATH_MAX_BYTES];
    return model_places_find(call_host(call)->models, 1U << MODELS_CONTROLNET, "ControlNet", a->name, path, e) &&
           node_give(call, 0, datum_of_object(&type_control_net, control_net_open(path, e), e), e);
}

static bool loader_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    const struct loader_args *a = args;
    char path[PATH_MAX_BYTES];
    return a->name && model_places_find(check->host->models, 1U << MODELS_CONTROLNET, "ControlNet", a->name, path, e) && file_token(path, token, e);
}

/* Words with one ControlNet more. */
static bool apply(struct node_call *call, int index, const struct datum *from, const struct apply_args *a, bool both, double start, double end,
                  struct err *e)
{
    const struct flow_image *image = image_of(a->image);
    if (a->strength == 0)
        return give_same(call, index, from, e);
    struct flow_conditioning *c = flow_conditioning_copy(conditioning_of(from), e);
    bool good = c != NULL;
    for (size_t i = 0; good && i < c->count; i++) {
        good = stage_condition_control(&c->at[i], control_net_of(a->net), image->at, image->n, image->h, image->w, a->strength, start, end, e);
        c->at[i].controls_both = both;
    }
    if (!good && c)
        flow_conditioning_free(c);
    return good && node_give(call, index, datum_of_object(&type_conditioning, c, e), e);
}

static bool old_run(struct node_call *call, const void *args, struct err *e)
{
    const struct apply_args *a = args;
    return apply(call, 0, a->positive, a, true, 0, 1, e);
}

static bool apply_run(struct node_call *call, const void *args, struct err *e)
{
    const struct apply_args *a = args;
    return apply(call, 0, a->positive, a, false, a->start, a->end, e) && apply(call, 1, a->negative, a, false, a->start, a->end, e);
}

const struct node nodes_control[] = {
    { "ControlNetLoader", "Load ControlNet Model", "Loads a ControlNet, in its maker's layout or diffusers'.", "loaders", loader_inputs, loader_outputs,
      .args_bytes = sizeof(struct loader_args), .run = loader_run, .changed = loader_changed, .aliases = "control net, canny, depth, pose" },
    { "ControlNetApplyAdvanced", "Apply ControlNet", "A picture says where things are, beside the words; several are put behind each other.",
      "conditioning/controlnet", apply_inputs, apply_outputs, .args_bytes = sizeof(struct apply_args), .run = apply_run },
    { "ControlNetApply", "Apply ControlNet (OLD)", "A picture says where things are, for the words and for negative ones that have none.",
      "conditioning/controlnet", old_inputs, conditioning_output, .args_bytes = sizeof(struct apply_args), .run = old_run, .flags = NODE_DEPRECATED },
    { 0 },
};
