/* The loops under the cpu backend: functions over their whole range, roundings, ends of arrays, for every kind of
 * processor that this machine can be. */
#include "test.h"

#include "backend/cpu/cpu.h"
#include "backend/cpu/kernels/kernels.h"
#include "tensor/tensor.h"

static const struct kind {
    const char *name;
    const struct elementwise_kernels *elementwise;
    const struct convert_kernels *convert;
    const struct update_kernels *update;
    const struct norm_kernels *norm;
} kinds[] = {
#define KIND(isa) { #isa, &elementwise_##isa, &convert_##isa, &update_##isa, &norm_##isa }
    KIND(v2), KIND(v3), KIND(v4), KIND(bf16), KIND(amx),
#undef KIND
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static double normal(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Value (slope = 0) or slope of the functions that are more than an instruction. */
static double exact(enum unary fn, bool slope, double x)
{
    double s = sigmoid(x), q = sigmoid(1.702 * x), t;
    switch (fn) {
    case UNARY_SILU: return slope ? s * (1 + x * (1 - s)) : x * s;
    case UNARY_GELU: return slope ? normal(x) + x * exp(-0.5 * x * x) / sqrt(2 * M_PI) : x * normal(x);
    case UNARY_GELU_TANH:
        t = sigmoid(2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
        return slope ? t + x * t * (1 - t) * 2 * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x) : x * t;
    case UNARY_QUICK_GELU: return slope ? q * (1 + 1.702 * x * (1 - q)) : x * q;
    case UNARY_SIGMOID: return slope ? s * (1 - s) : s;
    case UNARY_TANH: return slope ? 1 - tanh(x) * tanh(x) : tanh(x);
    case UNARY_EXP: return exp(x);
    case UNARY_LOG: return slope ? 1 / x : log(x);
    case UNARY_SQRT: return slope ? 0.5 / sqrt(x) : sqrt(x);
    case UNARY_SOFTPLUS: return slope ? s : x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    default: return NAN;
    }
}

/* Error allowed: relative * |exact| + absolute. 1.2e-7 is one unit in the last place of f32. */
static const struct claim {
    enum unary fn;
    double from, to, relative, absolute;
} claims[] = {
    { UNARY_SILU, -30, 30, 3e-6, 1e-12 },
    { UNARY_SILU, -1e4, 1e4, 3e-6, 1e-30 },
    { UNARY_GELU, -30, 30, 5e-7, 1.3e-7 }, /* beyond -6 the tail counts as Phi(-6) = 1e-9 */
    { UNARY_GELU_TANH, -30, 30, 3e-6, 2e-7 },
    { UNARY_QUICK_GELU, -30, 30, 3e-6, 1e-12 },
    { UNARY_SIGMOID, -80, 80, 5e-6, 0 },
    { UNARY_TANH, -20, 20, 4e-7, 0 },
    { UNARY_TANH, -0.01, 0.01, 3e-7, 0 },
    { UNARY_EXP, -86, 88.7, 3e-7, 0 },
    { UNARY_EXP, -1, 1, 3e-7, 0 },
    { UNARY_EXP, -2000, 2000, 3e-7, 1.5e-45 },
    { UNARY_LOG, 1e-30, 1e30, 3e-7, 0 },
    { UNARY_LOG, 0.5, 2, 4e-7, 0 },
    { UNARY_LOG, 1e-44, 1e-38, 3e-7, 0 },
    { UNARY_SQRT, 0, 1e6, 2e-7, 0 },
    { UNARY_SOFTPLUS, -80, 80, 1e-6, 0 },
};

TEST(functions_are_near_the_exact_ones_over_their_range)
{
    enum { N = 20011 };
    static float x[N], y[N], one[N];
    for (int i = 0; i < N; i++)
        one[i] = 1;
    for (size_t k = 0; k < KINDS; k++) {
        if (!backend_cpu_supports(kinds[k].name))
            continue;
        for (size_t c = 0; c < sizeof claims / sizeof *claims; c++) {
            const struct claim *claim = &claims[c];
            for (int i = 0; i < N; i++)
                x[i] = (float)(claim->from + (claim->to - claim->from) * i / (N - 1));
            kinds[k].elementwise->unary[0][claim->fn](y, x, N);
            for (int i = 0; i < N; i++) {
                double want = exact(claim->fn, false, x[i]);
                CHECK((float)want == y[i] || fabs(y[i] - want) <= claim->relative * fabs(want) + claim->absolute,
                      "%s: %s(%.9g) came %.9g, wanted %.9g", kinds[k].name, unary_name(claim->fn), x[i], y[i], want);
            }
            if (claim->from < -100 || claim->fn == UNARY_LOG || claim->fn == UNARY_SQRT)
                continue;
            kinds[k].elementwise->unary_grad[0][claim->fn](y, x, one, N);
            for (int i = 0; i < N; i++) {
                double want = exact(claim->fn, true, x[i]);
                CHECK(fabs(y[i] - want) <= 3e-7 * fabs(want) + 5e-7, "%s: slope of %s at %.9g came %.9g, wanted %.9g",
                      kinds[k].name, unary_name(claim->fn), x[i], y[i], want);
            }
        }
    }
}

TEST(nan_goes_through_every_function_and_infinity_stays)
{
    static const enum unary rising[] = { UNARY_SILU, UNARY_GELU, UNARY_GELU_TANH, UNARY_QUICK_GELU, UNARY_RELU,
                                         UNARY_LEAKY_RELU, UNARY_EXP, UNARY_LOG, UNARY_SQRT, UNARY_SQUARE, UNARY_ABS,
                                         UNARY_SOFTPLUS };
    for (size_t k = 0; k < KINDS; k++) {
        if (!backend_cpu_supports(kinds[k].name))
            continue;
        for (int n = 1; n <= 33; n += 16) {
            float x[33], y[33];
            for (int fn = UNARY_NONE; fn < UNARY_COUNT; fn++) {
                for (int i = 0; i < n; i++)
                    x[i] = NAN;
                kinds[k].elementwise->unary[0][fn](y, x, n);
                CHECK(isnan(y[0]) && isnan(y[n - 1]), "%s: %s loses NaN", kinds[k].name, unary_name((enum unary)fn));
            }
            for (size_t f = 0; f < sizeof rising / sizeof *rising; f++) {
                for (int i = 0; i < n; i++)
                    x[i] = INFINITY;
                kinds[k].elementwise->unary[0][rising[f]](y, x, n);
                CHECK(isinf(y[n - 1]), "%s: %s of infinity is %g", kinds[k].name, unary_name(rising[f]), y[n - 1]);
            }
        }
        float x[4] = { -INFINITY, 0, -1, 1e-42f }, y[4], zero[4] = { 0 }, row[20], work[20];
        kinds[k].elementwise->unary[0][UNARY_LOG](y, x, 4);
        CHECK(isnan(y[0]) && y[1] == -INFINITY && isnan(y[2]), "%s: log", kinds[k].name);
        kinds[k].elementwise->unary[0][UNARY_EXP](y, x, 1);
        CHECK(y[0] == 0, "%s: exp", kinds[k].name);
        kinds[k].elementwise->same[0][KERNEL_DIV](y, (const float[]){ 1, -1, 0, INFINITY }, zero, 4);
        CHECK(y[0] == INFINITY && y[1] == -INFINITY && isnan(y[2]) && y[3] == INFINITY, "%s: division by 0", kinds[k].name);
        kinds[k].elementwise->same[0][KERNEL_DIV](y, (const float[]){ 1, 2, 3, 4 },
                                                  (const float[]){ INFINITY, -INFINITY, 1e38f, 3e38f }, 4);
        CHECK(y[0] == 0 && y[1] == 0, "%s: division by infinity", kinds[k].name);
        for (int i = 0; i < 20; i++)
            row[i] = i % 2 ? -INFINITY : (float)i;
        kinds[k].norm->softmax[0](row, row, work, 20);
        CHECK(row[1] == 0 && row[19] == 0 && fabsf(row[18] - 0.864665f) < 1e-5f, "%s: masked softmax", kinds[k].name);
    }
}

TEST(conversions_round_to_the_nearest_even)
{
    enum { N = 4099 };
    static float x[N], back[N];
    static uint16_t b[N], h[N];
    static const uint32_t special[] = { 0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x3F808000, 0x3F818000,
                                        0x3F808001, 0x477FEFFF, 0x477FF000, 0x33000000, 0x33000001, 0x38800000, 0x387FE000 };
    for (size_t k = 0; k < KINDS; k++) {
        if (!backend_cpu_supports(kinds[k].name))
            continue;
        uint64_t bits = 88172645463325252u;
        for (int round = 0; round < 50; round++) {
            for (int i = 0; i < N; i++) {
                bits ^= bits << 13;
                bits ^= bits >> 7;
                bits ^= bits << 17;
                uint32_t u = (uint32_t)(bits >> 20);
                if (round == 0 && i < (int)(sizeof special / sizeof *special))
                    u = special[i];
                if ((u & 0x7F800000) == 0 || ((u & 0x7F800000) == 0x7F800000 && (u & 0x7FFFFF)))
                    u &= 0x80000000; /* no subnormal numbers (AVX512-BF16 drops them); NaN is for the next test */
                memcpy(x + i, &u, 4);
            }
            kinds[k].convert->f32_to_bf16(b, x, N);
            kinds[k].convert->bf16_to_f32(back, b, N);
            for (int i = 0; i < N; i++)
                CHECK(b[i] == f32_to_bf16(x[i]) && back[i] == bf16_to_f32(b[i]), "%s: bf16 of %a", kinds[k].name, x[i]);
            if (!kinds[k].convert->f32_to_f16)
                continue;
            kinds[k].convert->f32_to_f16(h, x, N);
            kinds[k].convert->f16_to_f32(back, h, N);
            for (int i = 0; i < N; i++)
                CHECK(h[i] == f32_to_f16(x[i]) && back[i] == f16_to_f32(h[i]), "%s: f16 of %a", kinds[k].name, x[i]);
        }
        float nan = NAN;
        kinds[k].convert->f32_to_bf16(b, &nan, 1);
        CHECK(isnan(bf16_to_f32(b[0])), "%s", kinds[k].name);
    }
}

TEST(nothing_is_written_behind_the_end)
{
    for (size_t k = 0; k < KINDS; k++) {
        if (!backend_cpu_supports(kinds[k].name))
            continue;
        for (int n = 0; n < 70; n++) {
            float x[80], y[80], one[80];
            uint16_t bx[80] = { 0 }, by[80];
            for (int i = 0; i < 80; i++) {
                x[i] = one[i] = 1;
                y[i] = 7;
                by[i] = 7;
            }
            kinds[k].elementwise->same[0][KERNEL_ADD](y, x, one, n);
            kinds[k].elementwise->unary[1][UNARY_SILU](by, bx, n);
            for (int i = 0; i < 80; i++)
                CHECK(y[i] == (i < n ? 2 : 7) && by[i] == (i < n ? 0 : 7), "%s: n %d, at %d", kinds[k].name, n, i);
        }
    }
}

TEST(moments_that_have_decayed_do_not_stay_subnormal)
{
    for (size_t k = 0; k < KINDS; k++) {
        if (!backend_cpu_supports(kinds[k].name))
            continue;
        float p[20], m[20], v[20], g[20] = { 0 };
        for (int i = 0; i < 20; i++) {
            p[i] = 1;
            m[i] = v[i] = 1e-37f;
        }
        struct adamw_step step = { .beta1 = 0.9f, .beta2 = 0.9f, .eps = 1e-8f, .keep = 1, .rate = 1e-3f, .correction2 = 1,
                                   .grad_scale = 1 };
        for (int i = 0; i < 100; i++)
            kinds[k].update->adamw(p, m, v, g, 20, &step);
        volatile float tiny = 1e-39f;
        CHECK(m[0] == 0 && m[19] == 0 && v[19] == 0, "%s: m %g", kinds[k].name, m[0]);
        CHECK(tiny * 0.5f > 0, "%s: the mode is not restored", kinds[k].name);
    }
}
