#include "sampler/scheduler_config.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#define BIT(class) (1u << (class))
#define DPM (BIT(SCHEDULER_DPM_MULTISTEP) | BIT(SCHEDULER_DPM_SINGLESTEP))
#define SOLVERS (DPM | BIT(SCHEDULER_UNIPC) | BIT(SCHEDULER_DEIS))
#define EULER_UNIPC (BIT(SCHEDULER_EULER) | BIT(SCHEDULER_UNIPC))
#define ON_SIGMAS                                                                                            \
    (SOLVERS | BIT(SCHEDULER_EULER) | BIT(SCHEDULER_HEUN) | BIT(SCHEDULER_LMS) | BIT(SCHEDULER_KDPM2) |      \
     BIT(SCHEDULER_KDPM2_ANCESTRAL))
#define DDIM_PNDM (BIT(SCHEDULER_DDIM) | BIT(SCHEDULER_PNDM))
#define FEW_STEPS (BIT(SCHEDULER_LCM) | BIT(SCHEDULER_TCD))
#define CLIPS (BIT(SCHEDULER_DDIM) | BIT(SCHEDULER_HEUN) | BIT(SCHEDULER_DDPM) | BIT(SCHEDULER_LCM))
#define THRESHOLDS (BIT(SCHEDULER_DDIM) | BIT(SCHEDULER_DDPM) | BIT(SCHEDULER_LCM) | SOLVERS)
#define ZERO_SNR                                                                                             \
    (BIT(SCHEDULER_DDIM) | BIT(SCHEDULER_DDPM) | FEW_STEPS | BIT(SCHEDULER_EULER) |                          \
     BIT(SCHEDULER_EULER_ANCESTRAL) | BIT(SCHEDULER_DPM_MULTISTEP) | BIT(SCHEDULER_UNIPC))
#define NO_SAMPLE_PREDICTION                                                                                 \
    (BIT(SCHEDULER_PNDM) | BIT(SCHEDULER_EULER_ANCESTRAL) | BIT(SCHEDULER_KDPM2) | BIT(SCHEDULER_KDPM2_ANCESTRAL))

/* What stands for an infinity in a file once scheduler_config_read has made its text JSON. */
#define INFINITE_FROM 1e300

struct word {
    const char *word;
    int value;
};

static const struct word classes[] = { { "DDIMScheduler", SCHEDULER_DDIM },
                                       { "PNDMScheduler", SCHEDULER_PNDM },
                                       { "EulerDiscreteScheduler", SCHEDULER_EULER },
                                       { "EulerAncestralDiscreteScheduler", SCHEDULER_EULER_ANCESTRAL },
                                       { "HeunDiscreteScheduler", SCHEDULER_HEUN },
                                       { "DPMSolverMultistepScheduler", SCHEDULER_DPM_MULTISTEP },
                                       { "LMSDiscreteScheduler", SCHEDULER_LMS },
                                       { "UniPCMultistepScheduler", SCHEDULER_UNIPC },
                                       { "DPMSolverSinglestepScheduler", SCHEDULER_DPM_SINGLESTEP },
                                       { "KDPM2DiscreteScheduler", SCHEDULER_KDPM2 },
                                       { "KDPM2AncestralDiscreteScheduler", SCHEDULER_KDPM2_ANCESTRAL },
                                       { "DEISMultistepScheduler", SCHEDULER_DEIS },
                                       { "DDPMScheduler", SCHEDULER_DDPM },
                                       { "LCMScheduler", SCHEDULER_LCM },
                                       { "TCDScheduler", SCHEDULER_TCD },
                                       { 0 } };
/* The first word of a value is the one we write. */
static const struct word predictions[] = { { "epsilon", PREDICTION_EPSILON },
                                           { "v_prediction", PREDICTION_V },
                                           { "sample", PREDICTION_SAMPLE },
                                           { 0 } };
static const struct word beta_schedules[] = { { "linear", BETAS_LINEAR },
                                              { "scaled_linear", BETAS_SCALED_LINEAR },
                                              { "squaredcos_cap_v2", BETAS_SQUAREDCOS },
                                              { "exp", BETAS_EXP },
                                              { 0 } };
static const struct word spacings[] = {
    { "leading", SPACING_LEADING }, { "linspace", SPACING_LINSPACE }, { "trailing", SPACING_TRAILING }, { 0 }
};
static const struct word algorithms[] = {
    { "dpmsolver++", DPM_PLUS },        { "dpmsolver", DPM_PLAIN }, { "sde-dpmsolver++", DPM_SDE_PLUS },
    { "sde-dpmsolver", DPM_SDE_PLAIN }, { "deis", DPM_PLUS },       { 0 }
};
/* Each class reads the other's words as its own default. */
static const struct word dpm_solvers[] = { { "midpoint", SOLVER_MIDPOINT }, { "heun", SOLVER_HEUN },
                                           { "logrho", SOLVER_MIDPOINT },   { "bh1", SOLVER_MIDPOINT },
                                           { "bh2", SOLVER_MIDPOINT },      { 0 } };
static const struct word unipc_solvers[] = { { "bh2", SOLVER_BH2 },      { "bh1", SOLVER_BH1 },
                                             { "midpoint", SOLVER_BH2 }, { "heun", SOLVER_BH2 },
                                             { "logrho", SOLVER_BH2 },   { 0 } };
static const struct word variances[] = { { "fixed_small", false }, { "fixed_large", true }, { "fixed_small_log", false },
                                         { 0 } };
static const struct word final_sigmas[] = { { "zero", false }, { "sigma_min", true }, { 0 } };
static const struct word interpolations[] = { { "linear", false }, { "log_linear", true }, { 0 } };
static const struct word timestep_types[] = { { "discrete", false }, { "continuous", true }, { 0 } };

static const char *word_of(const struct word *words, int value)
{
    for (; words->word; words++)
        if (words->value == value)
            return words->word;
    return "?";
}

const char *scheduler_class_name(enum scheduler_class class)
{
    return word_of(classes, (int)class);
}

const char *prediction_name(enum prediction p)
{
    return word_of(predictions, (int)p);
}

static bool knows(const struct scheduler_config *c, unsigned classes_of_key)
{
    return classes_of_key >> c->class & 1;
}

void scheduler_config_defaults(struct scheduler_config *c, enum scheduler_class class)
{
    *c = (struct scheduler_config){
        .class = class,
        .train_steps = 1000,
        .beta_start = 0.0001,
        .beta_end = 0.02,
        .beta_schedule = BETAS_LINEAR,
        .prediction = PREDICTION_EPSILON,
        .spacing = BIT(class) & (DDIM_PNDM | FEW_STEPS | BIT(SCHEDULER_DDPM)) ? SPACING_LEADING : SPACING_LINSPACE,
        .set_alpha_to_one = class == SCHEDULER_DDIM || BIT(class) & FEW_STEPS,
        .original_steps = 50,
        .timestep_scaling = 10,
        .clip_sample = class == SCHEDULER_DDIM || class == SCHEDULER_DDPM,
        .clip_range = 1,
        .threshold_ratio = 0.995,
        .threshold_max = 1,
        .sigma_min = -1,
        .sigma_max = -1,
        .solver_order = 2,
        .solver = class == SCHEDULER_UNIPC ? SOLVER_BH2 : SOLVER_MIDPOINT,
        .lower_order_final = class != SCHEDULER_DPM_SINGLESTEP,
        .final_sigma_min = class == SCHEDULER_DEIS,
        .algorithm = DPM_PLUS,
        .lambda_min_clipped = -INFINITY,
        .predict_x0 = true,
    };
    if (BIT(class) & (BIT(SCHEDULER_HEUN) | BIT(SCHEDULER_KDPM2) | BIT(SCHEDULER_KDPM2_ANCESTRAL) | FEW_STEPS)) {
        c->beta_start = 0.00085;
        c->beta_end = 0.012;
    }
    if (BIT(class) & FEW_STEPS)
        c->beta_schedule = BETAS_SCALED_LINEAR;
}

void scheduler_config_release(struct scheduler_config *c)
{
    mem_free(c->trained_betas);
    c->trained_betas = NULL;
}

/* Leaves *out as it is if the key is missing or null. */
MUST_USE static bool get_word(const json_t *json, const char *where, const char *key,
                              const struct word *words, int *out, struct err *e)
{
    const char *came = NULL;
    if (!json_get_string(json, where, key, &came, e))
        return false;
    if (!came)
        return true;
    for (const struct word *w = words; w->word; w++)
        if (!strcmp(w->word, came)) {
            *out = w->value;
            return true;
        }
    err_set(e, ERR_FORMAT, "%s: %s is \"%s\", which we do not run; we run:", where, key, came);
    for (const struct word *w = words; w->word; w++) {
        size_t used = strlen(e->text);
        snprintf(e->text + used, sizeof e->text - used, " %s", w->word);
    }
    return false;
}

/* get_word into an enum or a bool, whose sizes are the compiler's choice. */
#define GET_WORD(key, words, place)                                                                          \
    do {                                                                                                     \
        int value_ = (int)(place);                                                                           \
        if (!get_word(json, where, key, words, &value_, e))                                                  \
            return false;                                                                                    \
        (place) = value_;                                                                                    \
    } while (0)
#define GET(call)                                                                                            \
    do {                                                                                                     \
        if (!(call))                                                                                         \
            return false;                                                                                    \
    } while (0)

/* Keys that ask for another process, or a model with another output, than we run. */
MUST_USE static bool refuse_other_processes(const json_t *json, const char *where, struct err *e)
{
    static const char *const flags[] = { "use_flow_sigmas", "use_dynamic_shifting" };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool on = false;
        GET(json_get_bool(json, where, flags[i], &on, e));
        if (on)
            return err_set(e, ERR_TYPE, "%s: %s is true: flow matching is not run here", where, flags[i]);
    }
    static const char *const objects[] = { "variance_type", "solver_p", "shift_terminal" };
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        const json_t *v = json_object_get(json, objects[i]);
        if (v && !json_is_null(v) && !json_is_false(v)) {
            const char *text = json_is_string(v) ? json_string_value(v) : "set";
            /* DDPM's words for a variance that is not learned; the multistep classes look only for
             * "learned..." */
            if (!strncmp(text, "fixed", 5))
                continue;
            return err_set(e, ERR_TYPE, "%s: %s is %s, which we do not run", where, objects[i], text);
        }
    }
    return true;
}

MUST_USE static bool get_trained_betas(struct scheduler_config *c, const json_t *json, const char *where,
                                       struct err *e)
{
    const json_t *list = json_object_get(json, "trained_betas");
    if (!list || json_is_null(list))
        return true;
    if (!json_is_array(list))
        return err_set(e, ERR_FORMAT, "%s: trained_betas is no list of numbers", where);
    if ((int64_t)json_array_size(list) != c->train_steps)
        return err_set(e, ERR_FORMAT, "%s: trained_betas has %zu numbers, num_train_timesteps is %lld", where,
                       json_array_size(list), (long long)c->train_steps);
    c->trained_betas = mem_aligned(sizeof(float) * (size_t)c->train_steps);
    if (!c->trained_betas)
        return err_nomem(e, "trained_betas");
    for (int64_t i = 0; i < c->train_steps; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        if (!json_is_number(v))
            return err_set(e, ERR_FORMAT, "%s: trained_betas[%lld] is no number", where, (long long)i);
        c->trained_betas[i] = (float)json_number_value(v);
    }
    return true;
}

MUST_USE static bool get_sigma_spacing(struct scheduler_config *c, const json_t *json, const char *where,
                                       struct err *e)
{
    static const struct {
        const char *key;
        enum sigma_spacing spacing;
    } flags[] = { { "use_karras_sigmas", SIGMAS_KARRAS },
                  { "use_exponential_sigmas", SIGMAS_EXPONENTIAL },
                  { "use_beta_sigmas", SIGMAS_BETA } };
    int set = 0;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool on = false;
        GET(json_get_bool(json, where, flags[i].key, &on, e));
        if (on) {
            c->sigmas = flags[i].spacing;
            set++;
        }
    }
    if (set > 1)
        return err_set(e, ERR_FORMAT,
                       "%s: of use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas only one may "
                       "be true, %d are",
                       where, set);
    return true;
}

MUST_USE static bool get_solver(struct scheduler_config *c, const json_t *json, const char *where,
                                struct err *e)
{
    bool unipc = c->class == SCHEDULER_UNIPC, multistep = c->class == SCHEDULER_DPM_MULTISTEP;
    int64_t order = c->solver_order;
    GET(json_get_int(json, where, "solver_order", 1, unipc ? UNIPC_MAX_ORDER : 3, &order, e));
    c->solver_order = (int)order;
    GET(json_get_bool(json, where, "lower_order_final", &c->lower_order_final, e));
    if (c->class == SCHEDULER_DEIS)
        return true; /* its other words stand for one value each */
    GET_WORD("solver_type", unipc ? unipc_solvers : dpm_solvers, c->solver);
    const char *last = c->final_sigma_min ? "sigma_min" : "zero";
    if (!unipc) {
        GET_WORD("algorithm_type", algorithms, c->algorithm);
        if (multistep)
            GET(json_get_bool(json, where, "euler_at_final", &c->euler_at_final, e));
        if (multistep)
            GET(json_get_bool(json, where, "use_lu_lambdas", &c->lu_lambdas, e));
        GET(json_get_double(json, where, "lambda_min_clipped", -INFINITY, 1e6, &c->lambda_min_clipped, e));
        if (c->lambda_min_clipped <= -INFINITE_FROM)
            c->lambda_min_clipped = -INFINITY;
        bool plus = c->algorithm == DPM_PLUS || c->algorithm == DPM_SDE_PLUS;
        const char *algorithm = word_of(algorithms, (int)c->algorithm);
        if (!multistep && c->algorithm == DPM_SDE_PLAIN)
            return err_set(e, ERR_FORMAT, "%s: algorithm_type is \"%s\", which %s does not know", where, algorithm,
                           scheduler_class_name(c->class));
        if (!plus && !c->final_sigma_min)
            return err_set(e, ERR_FORMAT, "%s: algorithm_type %s needs final_sigmas_type sigma_min, it is %s",
                           where, algorithm, last);
        if (c->algorithm == DPM_SDE_PLAIN && c->solver_order == 3)
            return err_set(e, ERR_FORMAT, "%s: algorithm_type %s has no solver_order 3", where, algorithm);
        return true;
    }
    GET(json_get_bool(json, where, "predict_x0", &c->predict_x0, e));
    c->disable_corrector_count = sizeof c->disable_corrector / sizeof *c->disable_corrector;
    size_t room = c->disable_corrector_count;
    const json_t *list = json_object_get(json, "disable_corrector");
    if (!list || json_is_null(list))
        room = 0;
    else
        GET(json_get_ints(json, where, "disable_corrector", 0, SCHEDULER_MAX_TIMESTEPS, c->disable_corrector,
                          &room, e));
    c->disable_corrector_count = room;
    if (!c->final_sigma_min && !c->predict_x0)
        return err_set(e, ERR_FORMAT, "%s: predict_x0 false cannot end at final_sigmas_type zero", where);
    if (!c->lower_order_final && c->solver_order > 1 && (!c->final_sigma_min || c->sigmas != SIGMAS_PLAIN))
        return err_set(e, ERR_FORMAT,
                       "%s: lower_order_final false with solver_order %d divides by zero at the end of "
                       "these sigmas (final_sigmas_type %s)",
                       where, c->solver_order, last);
    return true;
}

MUST_USE static bool fill(struct scheduler_config *c, const json_t *json, const char *where, struct err *e)
{
    GET(refuse_other_processes(json, where, e));
    GET(json_get_int(json, where, "num_train_timesteps", 1, SCHEDULER_MAX_TIMESTEPS, &c->train_steps, e));
    GET(json_get_double(json, where, "beta_start", 0, 1, &c->beta_start, e));
    GET(json_get_double(json, where, "beta_end", 0, 1, &c->beta_end, e));
    GET(get_trained_betas(c, json, where, e));
    if (!c->trained_betas)
        GET_WORD("beta_schedule", beta_schedules, c->beta_schedule);
    if (c->beta_schedule == BETAS_EXP && c->class != SCHEDULER_HEUN)
        return err_set(e, ERR_FORMAT, "%s: beta_schedule is \"exp\", which %s does not know", where,
                       scheduler_class_name(c->class));
    const char *prediction = NULL;
    GET(json_get_string(json, where, "prediction_type", &prediction, e));
    if (prediction && !strcmp(prediction, "original_sample") && c->class == SCHEDULER_EULER)
        c->prediction = PREDICTION_SAMPLE;
    else
        GET_WORD("prediction_type", predictions, c->prediction);
    if (c->prediction == PREDICTION_SAMPLE && knows(c, NO_SAMPLE_PREDICTION))
        return err_set(e, ERR_FORMAT, "%s: prediction_type is \"sample\", which %s does not know", where,
                       scheduler_class_name(c->class));
    if (c->class != SCHEDULER_DPM_SINGLESTEP)
        GET_WORD("timestep_spacing", spacings, c->spacing);
    GET(json_get_int(json, where, "steps_offset", 0, c->train_steps, &c->steps_offset, e));
    if (knows(c, ZERO_SNR))
        GET(json_get_bool(json, where, "rescale_betas_zero_snr", &c->rescale_zero_snr, e));
    if (knows(c, DDIM_PNDM))
        GET(json_get_bool(json, where, "set_alpha_to_one", &c->set_alpha_to_one, e));
    if (c->class == SCHEDULER_PNDM)
        GET(json_get_bool(json, where, "skip_prk_steps", &c->skip_prk_steps, e));
    if (c->class == SCHEDULER_DDPM)
        GET_WORD("variance_type", variances, c->large_variance);
    if (knows(c, FEW_STEPS)) {
        GET(json_get_int(json, where, "original_inference_steps", 1, SCHEDULER_MAX_TIMESTEPS, &c->original_steps, e));
        GET(json_get_double(json, where, "timestep_scaling", 0, 1e6, &c->timestep_scaling, e));
    }
    if (knows(c, CLIPS)) {
        GET(json_get_bool(json, where, "clip_sample", &c->clip_sample, e));
        GET(json_get_double(json, where, "clip_sample_range", 0, 1e6, &c->clip_range, e));
    }
    if (knows(c, THRESHOLDS)) {
        GET(json_get_bool(json, where, "thresholding", &c->thresholding, e));
        GET(json_get_double(json, where, "dynamic_thresholding_ratio", 0, 1, &c->threshold_ratio, e));
        GET(json_get_double(json, where, "sample_max_value", 0, 1e6, &c->threshold_max, e));
    }
    if (knows(c, ON_SIGMAS)) {
        GET(get_sigma_spacing(c, json, where, e));
        GET(json_get_double(json, where, "sigma_min", 1e-6, 1e6, &c->sigma_min, e));
        GET(json_get_double(json, where, "sigma_max", 1e-6, 1e6, &c->sigma_max, e));
    }
    if (c->class == SCHEDULER_EULER) {
        GET_WORD("interpolation_type", interpolations, c->log_linear);
        GET_WORD("timestep_type", timestep_types, c->continuous_timesteps);
    }
    if (knows(c, EULER_UNIPC | DPM))
        GET_WORD("final_sigmas_type", final_sigmas, c->final_sigma_min);
    if (knows(c, SOLVERS))
        GET(get_solver(c, json, where, e));
    return true;
}

bool scheduler_config_from_json(struct scheduler_config *c, const json_t *json, const char *where,
                                struct err *e)
{
    if (!json_is_object(json))
        return err_set(e, ERR_FORMAT, "%s: no JSON object", where);
    const char *name = NULL;
    if (!json_get_string(json, where, "_class_name", &name, e))
        return false;
    if (!name)
        return err_set(e, ERR_MISSING, "%s: no _class_name", where);
    int class = 0;
    if (!get_word(json, where, "_class_name", classes, &class, e)) {
        e->code = ERR_TYPE;
        return false;
    }
    scheduler_config_defaults(c, (enum scheduler_class) class);
    if (!fill(c, json, where, e)) {
        scheduler_config_release(c);
        return false;
    }
    return true;
}

/* Python writes infinities as -Infinity and Infinity, which are no JSON: DPMSolverMultistep files have
 * lambda_min_clipped so. Outside of strings each becomes a number of the same length. */
static void replace_infinities(char *text, size_t bytes)
{
    static const char minus[] = "-Infinity", plus[] = "Infinity";
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\\' && in_string)
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && bytes - i >= sizeof minus - 1 && !memcmp(text + i, minus, sizeof minus - 1))
            memcpy(text + i, "-1.0e+300", sizeof minus - 1);
        else if (!in_string && bytes - i >= sizeof plus - 1 && !memcmp(text + i, plus, sizeof plus - 1))
            memcpy(text + i, "1.0e+300", sizeof plus - 1);
    }
}

bool scheduler_config_read(struct scheduler_config *c, const char *path, struct err *e)
{
    char *text;
    size_t bytes;
    if (!file_read(path, JSON_FILE_MAX_BYTES, &text, &bytes, e))
        return false;
    replace_infinities(text, bytes);
    json_t *json = json_parse(text, bytes, path, e);
    mem_free(text);
    if (!json)
        return false;
    bool ok = scheduler_config_from_json(c, json, path, e);
    json_decref(json);
    return ok;
}

json_t *scheduler_config_json(const struct scheduler_config *c)
{
    json_t *j = json_pack(
        "{s:s, s:s, s:I, s:f, s:f, s:s, s:s, s:s, s:I}", "_class_name", scheduler_class_name(c->class),
        "_diffusers_version", "0.42.1", "num_train_timesteps", (json_int_t)c->train_steps, "beta_start",
        c->beta_start, "beta_end", c->beta_end, "beta_schedule",
        word_of(beta_schedules, (int)c->beta_schedule), "prediction_type", prediction_name(c->prediction),
        "timestep_spacing", word_of(spacings, (int)c->spacing), "steps_offset", (json_int_t)c->steps_offset);
    if (!j)
        return NULL;
    int bad = 0;
    json_t *betas = json_null();
    if (c->trained_betas) {
        betas = json_array();
        for (int64_t i = 0; i < c->train_steps; i++)
            bad |= json_array_append_new(betas, json_real((double)c->trained_betas[i]));
    }
    bad |= json_object_set_new(j, "trained_betas", betas);
    if (knows(c, ZERO_SNR))
        bad |= json_object_set_new(j, "rescale_betas_zero_snr", json_boolean(c->rescale_zero_snr));
    if (knows(c, DDIM_PNDM))
        bad |= json_object_set_new(j, "set_alpha_to_one", json_boolean(c->set_alpha_to_one));
    if (c->class == SCHEDULER_PNDM)
        bad |= json_object_set_new(j, "skip_prk_steps", json_boolean(c->skip_prk_steps));
    if (c->class == SCHEDULER_DDPM)
        bad |= json_object_set_new(j, "variance_type", json_string(word_of(variances, c->large_variance)));
    if (knows(c, FEW_STEPS)) {
        bad |= json_object_set_new(j, "original_inference_steps", json_integer((json_int_t)c->original_steps));
        bad |= json_object_set_new(j, "timestep_scaling", json_real(c->timestep_scaling));
    }
    if (knows(c, CLIPS)) {
        bad |= json_object_set_new(j, "clip_sample", json_boolean(c->clip_sample));
        bad |= json_object_set_new(j, "clip_sample_range", json_real(c->clip_range));
    }
    if (knows(c, THRESHOLDS)) {
        bad |= json_object_set_new(j, "thresholding", json_boolean(c->thresholding));
        bad |= json_object_set_new(j, "dynamic_thresholding_ratio", json_real(c->threshold_ratio));
        bad |= json_object_set_new(j, "sample_max_value", json_real(c->threshold_max));
    }
    if (knows(c, ON_SIGMAS)) {
        bad |= json_object_set_new(j, "use_karras_sigmas", json_boolean(c->sigmas == SIGMAS_KARRAS));
        bad |=
            json_object_set_new(j, "use_exponential_sigmas", json_boolean(c->sigmas == SIGMAS_EXPONENTIAL));
        bad |= json_object_set_new(j, "use_beta_sigmas", json_boolean(c->sigmas == SIGMAS_BETA));
        bad |= json_object_set_new(j, "sigma_min", c->sigma_min < 0 ? json_null() : json_real(c->sigma_min));
        bad |= json_object_set_new(j, "sigma_max", c->sigma_max < 0 ? json_null() : json_real(c->sigma_max));
    }
    if (c->class == SCHEDULER_EULER) {
        bad |=
            json_object_set_new(j, "interpolation_type", json_string(word_of(interpolations, c->log_linear)));
        bad |= json_object_set_new(j, "timestep_type",
                                   json_string(word_of(timestep_types, c->continuous_timesteps)));
    }
    if (knows(c, EULER_UNIPC | DPM))
        bad |= json_object_set_new(j, "final_sigmas_type",
                                   json_string(word_of(final_sigmas, c->final_sigma_min)));
    if (knows(c, SOLVERS)) {
        bool unipc = c->class == SCHEDULER_UNIPC;
        bad |= json_object_set_new(j, "solver_order", json_integer(c->solver_order));
        const struct word *solvers = unipc ? unipc_solvers : dpm_solvers;
        bad |= json_object_set_new(j, "solver_type", json_string(word_of(solvers, (int)c->solver)));
        bad |= json_object_set_new(j, "lower_order_final", json_boolean(c->lower_order_final));
        if (!unipc) {
            bad |=
                json_object_set_new(j, "algorithm_type", json_string(word_of(algorithms, (int)c->algorithm)));
            bad |= json_object_set_new(j, "euler_at_final", json_boolean(c->euler_at_final));
            bad |= json_object_set_new(j, "use_lu_lambdas", json_boolean(c->lu_lambdas));
            if (isfinite(c->lambda_min_clipped))
                bad |= json_object_set_new(j, "lambda_min_clipped", json_real(c->lambda_min_clipped));
        } else {
            json_t *off = json_array();
            for (size_t i = 0; i < c->disable_corrector_count; i++)
                bad |= json_array_append_new(off, json_integer((json_int_t)c->disable_corrector[i]));
            bad |= json_object_set_new(j, "disable_corrector", off);
            bad |= json_object_set_new(j, "predict_x0", json_boolean(c->predict_x0));
        }
    }
    if (bad) {
        json_decref(j);
        return NULL;
    }
    return j;
}
