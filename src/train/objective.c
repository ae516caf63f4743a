#include "train/objective.h"

#include <math.h>

#include "graph/ops.h"

const char *const objective_loss_names[] = { "mse", "l1", "huber", NULL };
const char *const objective_timesteps_names[] = { "uniform", "logit-normal", NULL };
const struct objective_options objective_plain = { .huber = 0.1, .logit_deviation = 1, .most = 1 };

bool objective_init(struct objective *j, const struct objective_options *o, const struct scheduler_config *scheduler,
                    struct err *e)
{
    *j = (struct objective){ .o = *o };
    struct scheduler_config c = *scheduler; /* trained_betas stay the scheduler's */
    if (!(o->least >= 0 && o->least < o->most && o->most <= 1))
        return err_set(e, ERR_ARG, "timesteps from %g to %g of all are none: want 0 <= least < most <= 1", o->least, o->most);
    c.rescale_zero_snr |= o->zero_snr;
    if (c.rescale_zero_snr && c.prediction == PREDICTION_EPSILON)
        return err_set(e, ERR_ARG, "zero terminal SNR is for a denoiser that says v or the picture; this one says the noise, which is "
                       "all there is at the last timestep");
    return noise_schedule_init(&j->noise, &c, e);
}

void objective_release(struct objective *j)
{
    noise_schedule_release(&j->noise);
}

int64_t objective_timestep(const struct objective *j, struct random *r)
{
    double u = (double)random_uniform(r), count = (double)j->noise.count;
    if (j->o.timesteps == TIMESTEPS_LOGIT_NORMAL)
        u = 1 / (1 + exp(-(j->o.logit_mean + j->o.logit_deviation * (double)random_normal(r))));
    int64_t least = (int64_t)(j->o.least * count), most = (int64_t)ceil(j->o.most * count);
    most = most > least ? most : least + 1;
    int64_t t = least + (int64_t)(u * (double)(most - least));
    return t < most ? t : most - 1;
}

void objective_noise(const struct objective *j, struct random *r, float *noise, int64_t cells, int64_t channels)
{
    random_normals(r, noise, (size_t)(cells * channels));
    for (int64_t c = 0; j->o.noise_offset > 0 && c < channels; c++) {
        float shift = (float)j->o.noise_offset * random_normal(r);
        for (int64_t i = 0; i < cells; i++)
            noise[i * channels + c] += shift;
    }
}

void objective_apply(const struct objective *j, const struct batch *b, float *noisy, float *target, float *timestep, float *weight)
{
    size_t each = (size_t)(b->sizes.h * b->sizes.w * b->sizes.channels);
    for (int64_t i = 0; i < b->sizes.n; i++) {
        const float *x = b->latent + (size_t)i * each, *noise = b->noise + (size_t)i * each;
        int64_t t = b->timestep[i];
        noise_schedule_add(&j->noise, t, x, noise, noisy + (size_t)i * each, each);
        noise_schedule_target(&j->noise, t, x, noise, target + (size_t)i * each, each);
        double counts = j->o.min_snr > 0 ? noise_schedule_min_snr_weight(&j->noise, t, j->o.min_snr) : 1;
        timestep[i] = (float)t;
        weight[i] = (float)(counts * (double)b->weight[i]);
    }
}

struct value objective_graph(const struct objective_options *o, struct graph *g, struct value prediction, struct value target,
                             struct value weight, struct value mask)
{
    struct shape s = graph_shape(g, prediction);
    enum dtype sums = graph_type(g, prediction) == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    struct value d = op_sub(g, op_cast(g, prediction, sums), target);
    if (o->loss == LOSS_L1)
        d = op_unary(g, d, UNARY_ABS);
    else
        d = op_unary(g, d, UNARY_SQUARE);
    if (o->loss == LOSS_HUBER)
        d = op_scale(g, op_unary(g, op_scale(g, d, 1, o->huber * o->huber), UNARY_SQRT), 2 * o->huber, -2 * o->huber * o->huber);
    if (mask.id)
        d = op_mul(g, d, mask);
    return op_mean(g, op_mul(g, d, op_reshape(g, weight, SHAPE(s.dim[0], 1, 1, 1))));
}
