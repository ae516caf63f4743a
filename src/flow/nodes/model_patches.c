/* MODEL -> MODEL: how it is sampled. */
#include "flow/nodes/nodes.h"

struct rescale_args {
    const struct datum *model;
    double multiplier;
};
static const struct node_input rescale_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct rescale_args, model),
    { "multiplier", "FLOAT", offsetof(struct rescale_args, multiplier), "0.7", .min = 0, .max = 1, .step = 0.01,
      .help = "how much of guidance's change in contrast is taken back" },
    { 0 },
};

struct discrete_args {
    const struct datum *model;
    const char *sampling;
    bool zsnr;
};
static const char *const samplings[] = { "eps", "v_prediction", "x0", NULL };
static const struct node_input discrete_inputs[] = {
    NODE_SOCKET("model", "MODEL", struct discrete_args, model),
    { "sampling", "COMBO", offsetof(struct discrete_args, sampling), .choices = samplings, .help = "what the denoiser predicts: noise, velocity or picture" },
    { "zsnr", "BOOLEAN", offsetof(struct discrete_args, zsnr), "false", .help = "the last step of training had no signal left (zero terminal SNR)" },
    { 0 },
};

static bool rescale_run(struct node_call *call, const void *args, struct err *e)
{
    const struct rescale_args *a = args;
    struct flow_model *m = flow_model_copy(model_of(a->model), e);
    if (m)
        m->cfg_rescale = a->multiplier;
    return node_give(call, 0, datum_of_object(&type_model, m, e), e);
}

static bool discrete_run(struct node_call *call, const void *args, struct err *e)
{
    const struct discrete_args *a = args;
    struct flow_model *m = flow_model_copy(model_of(a->model), e);
    int which = 0;
    while (samplings[which + 1] && strcmp(samplings[which], a->sampling))
        which++;
    if (m) {
        m->samples = true;
        m->predicts = (enum prediction[]){ PREDICTION_EPSILON, PREDICTION_V, PREDICTION_SAMPLE }[which];
        m->zero_snr = a->zsnr;
    }
    return node_give(call, 0, datum_of_object(&type_model, m, e), e);
}

const struct node nodes_model_patches[] = {
    { "ModelSamplingDiscrete", NULL, "Says what the denoiser predicts, where its file does not.", "advanced/model", discrete_inputs, model_output,
      .args_bytes = sizeof(struct discrete_args), .run = discrete_run, .aliases = "v-prediction, zsnr" },
    { "RescaleCFG", NULL, "Takes back some of the contrast that guidance adds: for models of v-prediction above all.", "advanced/model",
      rescale_inputs, model_output, .args_bytes = sizeof(struct rescale_args), .run = rescale_run, .aliases = "cfg rescale, guidance" },
    { 0 },
};
