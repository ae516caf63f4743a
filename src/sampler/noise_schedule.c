#include "sampler/noise_schedule.h"

#include <math.h>

#include "base/mem.h"

/* Nichol and Dhariwal 2021, eq. 17; "exp" is diffusers' own. */
static double alpha_bar(enum beta_schedule kind, double t)
{
    if (kind == BETAS_EXP)
        return exp(t * -12.0);
    double c = cos((t + 0.008) / 1.008 * 3.141592653589793 / 2);
    return c * c;
}

static double curved_beta(enum beta_schedule kind, int64_t i, int64_t count)
{
    double n = (double)count;
    double beta = 1 - alpha_bar(kind, (double)(i + 1) / n) / alpha_bar(kind, (double)i / n);
    return fmin(beta, 0.999);
}

/* torch.linspace in f32: from the front in the first half, from the back in the second. */
static float linspace_f32(float first, float last, int64_t i, int64_t count)
{
    if (count == 1)
        return first;
    float step = (last - first) / (float)(count - 1);
    return i < count / 2 ? fmaf(step, (float)i, first) : fmaf(-step, (float)(count - 1 - i), last);
}

static float beta_f32(const struct scheduler_config *c, int64_t i)
{
    if (c->trained_betas)
        return c->trained_betas[i];
    switch (c->beta_schedule) {
    case BETAS_LINEAR:
        return linspace_f32((float)c->beta_start, (float)c->beta_end, i, c->train_steps);
    case BETAS_SCALED_LINEAR: {
        float root = linspace_f32((float)sqrt(c->beta_start), (float)sqrt(c->beta_end), i, c->train_steps);
        return root * root;
    }
    case BETAS_SQUAREDCOS:
    case BETAS_EXP:
        break;
    }
    return (float)curved_beta(c->beta_schedule, i, c->train_steps);
}

static double beta_f64(const struct scheduler_config *c, int64_t i)
{
    if (c->trained_betas)
        return (double)c->trained_betas[i];
    double part = c->train_steps > 1 ? (double)i / (double)(c->train_steps - 1) : 0;
    switch (c->beta_schedule) {
    case BETAS_LINEAR:
        return c->beta_start + part * (c->beta_end - c->beta_start);
    case BETAS_SCALED_LINEAR: {
        double first = sqrt(c->beta_start), root = first + part * (sqrt(c->beta_end) - first);
        return root * root;
    }
    case BETAS_SQUAREDCOS:
    case BETAS_EXP:
        break;
    }
    return curved_beta(c->beta_schedule, i, c->train_steps);
}

/* abar as the running product of the f32 alphas, in f64, each value rounded to f32: torch.cumprod on the CPU.
 */
static void cumulate(const float *alphas, double *abar, int64_t count)
{
    double product = 1;
    for (int64_t i = 0; i < count; i++) {
        product *= (double)alphas[i];
        abar[i] = (double)(float)product;
    }
}

/* Lin et al. 2024, algorithm 1, with diffusers' order of f32 roundings: through alphas back to betas and to
 * alphas again. */
static void rescale_f32(float *alphas, double *abar, int64_t count)
{
    float first = sqrtf((float)abar[0]), last = sqrtf((float)abar[count - 1]), scale = first / (first - last);
    float before = 1;
    for (int64_t i = 0; i < count; i++) {
        float root = (sqrtf((float)abar[i]) - last) * scale, square = root * root;
        float alpha = i ? square / before : square;
        float beta = 1 - alpha;
        alphas[i] = 1 - beta;
        before = square;
    }
    cumulate(alphas, abar, count);
}

/* ComfyUI's sigmas, in f64, stored as f32. */
static void fill_sigmas(struct noise_schedule *s, const struct scheduler_config *c)
{
    double product = 1, first = 0, last = 0;
    for (int64_t i = 0; i < s->count; i++) {
        product *= 1 - beta_f64(c, i);
        s->sigmas[i] = product;
    }
    first = sqrt(s->sigmas[0]);
    last = sqrt(s->sigmas[s->count - 1]);
    for (int64_t i = 0; i < s->count; i++) {
        double abar = s->sigmas[i];
        if (s->zero_snr) {
            double root = (sqrt(abar) - last) * (first / (first - last));
            abar = i == s->count - 1 ? 4.8973451890853435e-08 : root * root;
        }
        s->sigmas[i] = (double)(float)sqrt((1 - abar) / abar);
    }
}

bool noise_schedule_init(struct noise_schedule *s, const struct scheduler_config *c, struct err *e)
{
    *s = (struct noise_schedule){ .count = c->train_steps,
                                  .zero_snr = c->rescale_zero_snr,
                                  .prediction = c->prediction };
    size_t n = (size_t)s->count;
    float *alphas = mem_aligned(sizeof(float) * n);
    s->alphas_cumprod = mem_aligned(sizeof(double) * n);
    s->sigmas = mem_aligned(sizeof(double) * n);
    if (!alphas || !s->alphas_cumprod || !s->sigmas) {
        mem_free(alphas);
        noise_schedule_release(s);
        return err_nomem(e, "a noise schedule");
    }
    for (int64_t i = 0; i < s->count; i++) {
        float beta = beta_f32(c, i);
        if (!(beta > 0 && beta < 1)) {
            mem_free(alphas);
            noise_schedule_release(s);
            return err_set(e, ERR_FORMAT,
                           "beta %g at timestep %lld of the noise schedule is not between 0 and 1",
                           (double)beta, (long long)i);
        }
        alphas[i] = 1 - beta;
    }
    cumulate(alphas, s->alphas_cumprod, s->count);
    bool falls = s->count > 1 && s->alphas_cumprod[s->count - 1] > 0;
    if (s->zero_snr && !falls) {
        mem_free(alphas);
        noise_schedule_release(s);
        return err_set(e, ERR_FORMAT, "these betas leave nothing to rescale to zero terminal SNR");
    }
    if (s->zero_snr)
        rescale_f32(alphas, s->alphas_cumprod, s->count);
    mem_free(alphas);
    fill_sigmas(s, c);
    return true;
}

void noise_schedule_release(struct noise_schedule *s)
{
    mem_free(s->alphas_cumprod);
    mem_free(s->sigmas);
    *s = (struct noise_schedule){ 0 };
}

double noise_schedule_snr(const struct noise_schedule *s, int64_t t)
{
    double abar = s->alphas_cumprod[t];
    return abar / (1 - abar);
}

static void mix(float *out, double a, const float *x, double b, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(a * (double)x[i] + b * (double)y[i]);
}

void noise_schedule_add(const struct noise_schedule *s, int64_t t, const float *x0, const float *noise,
                        float *out, size_t count)
{
    double abar = s->alphas_cumprod[t];
    mix(out, sqrt(abar), x0, sqrt(1 - abar), noise, count);
}

void noise_schedule_target(const struct noise_schedule *s, int64_t t, const float *x0, const float *noise,
                           float *out, size_t count)
{
    double abar = s->alphas_cumprod[t];
    switch (s->prediction) {
    case PREDICTION_EPSILON:
        mix(out, 0, x0, 1, noise, count);
        break;
    case PREDICTION_V:
        mix(out, -sqrt(1 - abar), x0, sqrt(abar), noise, count);
        break;
    case PREDICTION_SAMPLE:
        mix(out, 1, x0, 0, noise, count);
        break;
    }
}

double noise_schedule_min_snr_weight(const struct noise_schedule *s, int64_t t, double gamma)
{
    double snr = noise_schedule_snr(s, t), least = fmin(snr, gamma);
    switch (s->prediction) {
    case PREDICTION_EPSILON:
        return snr > 0 ? least / snr : 1;
    case PREDICTION_V:
        return least / (snr + 1);
    case PREDICTION_SAMPLE:
        break;
    }
    return least;
}

int64_t noise_schedule_draw(const struct noise_schedule *s, double shift, double uniform)
{
    int64_t t = (int64_t)(shift * uniform / (1 + (shift - 1) * uniform) * (double)s->count);
    return t < s->count ? t : s->count - 1;
}
