/* The attention kernels of the CPU backend, every kind that this machine can run, against a plain loop in
 * double. */
#include "backend/cpu/kernels/attention.h"

#include "backend/cpu/cpu.h"
#include "base/mem.h"
#include "base/random.h"
#include "tensor/tensor.h"
#include "test.h"

struct kind {
    const struct attention_kernels *kernels;
    bool here; /* this machine runs it */
    bool f32;  /* works in f32 too */
};

enum { KINDS = 7 };

static size_t kinds(struct kind out[KINDS])
{
    bool amx = backend_cpu_supports("amx");
    out[0] = (struct kind){ &attention_v2, backend_cpu_supports("v2"), true };
    out[1] = (struct kind){ &attention_v3, backend_cpu_supports("v3"), true };
    out[2] = (struct kind){ &attention_v4, backend_cpu_supports("v4"), true };
    out[3] = (struct kind){ &attention_bf16, backend_cpu_supports("bf16"), true };
    out[4] = (struct kind){ &attention_amx, amx, true };
    out[5] = (struct kind){ &attention_tiles_amx, amx, false };
    out[6] = (struct kind){ &attention_tiles_bf16, backend_cpu_supports("bf16"), false };
    return KINDS;
}

/* Inputs and results as f32; what a bf16 kernel gets is these numbers, rounded beforehand. */
struct problem {
    struct attention_shape s;
    int64_t n_q, n_k, n_lse;
    float *q, *k, *v, *dy, *y, *lse, *dq, *dk, *dv;
};

static float *numbers(int64_t count)
{
    float *p = mem_zeroed((size_t)count, sizeof(float));
    assert_non_null(p);
    return p;
}

static void problem_init(struct problem *p, struct attention_shape s, uint64_t seed, float spread)
{
    p->s = s;
    p->n_q = s.n * s.tq * s.heads * s.d;
    p->n_k = s.n * s.tk * s.heads * s.d;
    p->n_lse = s.n * s.heads * s.tq;
    float **arrays[] = { &p->q, &p->dy, &p->y, &p->dq, &p->k, &p->v, &p->dk, &p->dv, &p->lse };
    for (int i = 0; i < 9; i++)
        *arrays[i] = numbers(i < 4 ? p->n_q : i < 8 ? p->n_k : p->n_lse);
    struct random r = random_of(seed, 0);
    random_normals(&r, p->q, (size_t)p->n_q);
    random_normals(&r, p->k, (size_t)p->n_k);
    random_normals(&r, p->v, (size_t)p->n_k);
    random_normals(&r, p->dy, (size_t)p->n_q);
    for (int64_t i = 0; i < p->n_q; i++)
        p->q[i] *= spread;
    if (s.bf16) {
        float *inputs[] = { p->q, p->dy, p->k, p->v };
        for (int a = 0; a < 4; a++)
            for (int64_t i = 0; i < (a < 2 ? p->n_q : p->n_k); i++)
                inputs[a][i] = bf16_to_f32(f32_to_bf16(inputs[a][i]));
    }
}

static void problem_release(struct problem *p)
{
    float *arrays[] = { p->q, p->dy, p->y, p->dq, p->k, p->v, p->dk, p->dv, p->lse };
    for (int i = 0; i < 9; i++)
        mem_free(arrays[i]);
}

/* The definition, row by row:  P = softmax(scale q k'),  y = P v,  dS = P (dP - sum(P dP)),  dP = dy v'. */
static void by_definition(struct problem *p)
{
    const struct attention_shape *s = &p->s;
    int64_t row = s->heads * s->d, d = s->d;
    double *prob = mem_zeroed((size_t)s->tk, sizeof(double)),
           *dprob = mem_zeroed((size_t)s->tk, sizeof(double));
    double *dk = mem_zeroed((size_t)p->n_k, sizeof(double)), *dv = mem_zeroed((size_t)p->n_k, sizeof(double));
    assert_true(prob && dprob && dk && dv);
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t h = 0; h < s->heads; h++)
            for (int64_t i = 0; i < s->tq; i++) {
                int64_t at = (n * s->tq + i) * row + h * d, keys = n * s->tk * row + h * d;
                int64_t token = i + s->tk - s->tq, pads = s->pads ? s->pads[n] : 0;
                bool pad = s->pads && token < pads; /* it sees everything */
                int64_t from = pad ? 0 : pads, seen = s->causal && !pad ? token + 1 : s->tk;
                double most = -INFINITY, sum = 0, mean = 0;
                if (seen <= 0)
                    p->lse[(n * s->heads + h) * s->tq + i] = -INFINITY;
                if (seen <= 0)
                    continue;
                for (int64_t j = from; j < seen; j++) {
                    prob[j] = dprob[j] = 0;
                    for (int64_t c = 0; c < d; c++) {
                        prob[j] += (double)s->scale * (double)p->q[at + c] * (double)p->k[keys + j * row + c];
                        dprob[j] += (double)p->dy[at + c] * (double)p->v[keys + j * row + c];
                    }
                    most = fmax(most, prob[j]);
                }
                for (int64_t j = from; j < seen; j++)
                    sum += prob[j] = exp(prob[j] - most);
                p->lse[(n * s->heads + h) * s->tq + i] = (float)(most + log(sum));
                for (int64_t j = from; j < seen; j++)
                    mean += (prob[j] /= sum) * dprob[j];
                for (int64_t c = 0; c < d; c++) {
                    double y = 0, dq = 0;
                    for (int64_t j = from; j < seen; j++) {
                        double ds = prob[j] * (dprob[j] - mean) * (double)s->scale;
                        y += prob[j] * (double)p->v[keys + j * row + c];
                        dq += ds * (double)p->k[keys + j * row + c];
                        dk[keys + j * row + c] += ds * (double)p->q[at + c];
                        dv[keys + j * row + c] += prob[j] * (double)p->dy[at + c];
                    }
                    p->y[at + c] = (float)y;
                    p->dq[at + c] = (float)dq;
                }
            }
    for (int64_t i = 0; i < p->n_k; i++) {
        p->dk[i] = (float)dk[i];
        p->dv[i] = (float)dv[i];
    }
    mem_free(prob);
    mem_free(dprob);
    mem_free(dk);
    mem_free(dv);
}

static void *as_type(const struct problem *p, const float *x, int64_t count)
{
    struct err e = { 0 };
    void *out = mem_aligned((size_t)count * sizeof(float));
    if (!out)
        fail_msg("memory: %s", e.text);
    assert_true(dtype_convert(out, p->s.bf16 ? DTYPE_BF16 : DTYPE_F32, x, DTYPE_F32, (size_t)count));
    return out;
}

static float *as_f32(const struct problem *p, void *x, int64_t count)
{
    float *out = numbers(count);
    assert_true(dtype_convert(out, DTYPE_F32, x, p->s.bf16 ? DTYPE_BF16 : DTYPE_F32, (size_t)count));
    mem_free(x);
    return out;
}

enum { GUARD = 64 };

static char *guarded(size_t bytes)
{
    char *p = mem_aligned(bytes + GUARD);
    assert_non_null(p);
    memset(p, 0xff, bytes + GUARD); /* NaN in every type: what is not written shows */
    return p;
}

static void check_guard(const char *p, size_t bytes, const char *what, const char *kind)
{
    for (int i = 0; i < GUARD; i++)
        CHECK(p[bytes + (size_t)i] == (char)0xff, "%s wrote behind %s", kind, what);
}

/* Runs a kernel on the problem; outputs as f32 in a second problem whose inputs are not set. */
static void run(const struct attention_kernels *kernels, const struct problem *p, int threads,
                struct problem *out)
{
    const struct attention_shape *s = &p->s;
    size_t each = s->bf16 ? 2 : 4, q_bytes = (size_t)p->n_q * each, k_bytes = (size_t)p->n_k * each;
    void *q = as_type(p, p->q, p->n_q), *k = as_type(p, p->k, p->n_k), *v = as_type(p, p->v, p->n_k);
    void *dy = as_type(p, p->dy, p->n_q);
    char *y = guarded(q_bytes), *dq = guarded(q_bytes), *dk = guarded(k_bytes), *dv = guarded(k_bytes);
    char *lse = guarded((size_t)p->n_lse * 4);
    size_t bytes = kernels->forward_scratch(s, threads);
    char *scratch = guarded(bytes);
    kernels->forward(s, q, k, v, y, (float *)lse, scratch, threads);
    check_guard(scratch, bytes, "scratch", kernels->name);
    mem_free(scratch);
    bytes = kernels->backward_scratch(s, threads);
    scratch = guarded(bytes);
    kernels->backward(s, q, k, v, y, (const float *)lse, dy, dq, dk, dv, scratch, threads);
    check_guard(scratch, bytes, "scratch", kernels->name);
    mem_free(scratch);
    check_guard(y, q_bytes, "y", kernels->name);
    check_guard(dq, q_bytes, "dq", kernels->name);
    check_guard(dk, k_bytes, "dk", kernels->name);
    check_guard(dv, k_bytes, "dv", kernels->name);
    check_guard(lse, (size_t)p->n_lse * 4, "lse", kernels->name);
    *out = (struct problem){ .s = *s, .n_q = p->n_q, .n_k = p->n_k, .n_lse = p->n_lse };
    out->y = as_f32(p, y, p->n_q);
    out->dq = as_f32(p, dq, p->n_q);
    out->dk = as_f32(p, dk, p->n_k);
    out->dv = as_f32(p, dv, p->n_k);
    out->lse = numbers(p->n_lse);
    memcpy(out->lse, lse, (size_t)p->n_lse * 4);
    mem_free(lse);
    mem_free(q);
    mem_free(k);
    mem_free(v);
    mem_free(dy);
}

static void check_array(const float *came, const float *wanted, int64_t count, double tolerance,
                        const char *what, const char *kind, const struct attention_shape *s)
{
    struct difference d = tensor_difference(came, wanted, count);
    CHECK(d.relative <= tolerance || d.max <= tolerance * 1e-3,
          "%s of %s, %s, n %lld tq %lld tk %lld heads %lld d %lld causal %d: relative error %g (largest %g "
          "at %lld)",
          what, kind, s->bf16 ? "bf16" : "f32", (long long)s->n, (long long)s->tq, (long long)s->tk,
          (long long)s->heads, (long long)s->d, s->causal, d.relative, d.max, (long long)d.worst);
}

static void check_problem(struct problem *p, double f32_tolerance)
{
    const struct attention_shape s = p->s;
    struct problem got;
    struct kind all[KINDS];
    size_t count = kinds(all);
    by_definition(p);
    /* f32: sums of up to 700 products and exp2 within 1e-7. bf16: y, P and dS are rounded to 8 bits, 2^-9
     * each; the sums average that out, the subtraction dP - delta brings it back. */
    double tolerance = s.bf16 ? 1.5e-2 : f32_tolerance;
    for (size_t i = 0; i < count; i++) {
        if (!all[i].here || (!s.bf16 && !all[i].f32))
            continue;
        const char *name = all[i].kernels->name;
        run(all[i].kernels, p, 2, &got);
        double lse_tolerance = all[i].f32 ? 2e-5 : 1e-4; /* the tiles' exp2 is right to 7.5e-5 */
        for (int64_t j = 0; j < p->n_lse; j++)
            if (p->lse[j] != got.lse[j]) /* both may be -infinity */
                CHECK_NEAR(got.lse[j], p->lse[j], lse_tolerance * (1 + fabs((double)p->lse[j])),
                           "%s lse %lld", name, (long long)j);
        check_array(got.y, p->y, p->n_q, s.bf16 ? 5e-3 : tolerance, "y", name, &s);
        check_array(got.dq, p->dq, p->n_q, tolerance, "dq", name, &s);
        check_array(got.dk, p->dk, p->n_k, tolerance, "dk", name, &s);
        check_array(got.dv, p->dv, p->n_k, tolerance, "dv", name, &s);
        problem_release(&got);
    }
}

static void check_shape(struct attention_shape s, float spread, double f32_tolerance)
{
    struct problem p;
    problem_init(&p, s, 77, spread);
    check_problem(&p, f32_tolerance);
    problem_release(&p);
}

static const struct attention_shape shapes[] = {
    { .n = 1, .tq = 1, .tk = 1, .heads = 1, .d = 1, .scale = 1 },
    { .n = 2, .tq = 3, .tk = 5, .heads = 2, .d = 7, .scale = 0.5f },
    { .n = 1, .tq = 64, .tk = 64, .heads = 3, .d = 64, .scale = 0.125f },
    { .n = 2, .tq = 64, .tk = 77, .heads = 2, .d = 64, .scale = 0.125f },
    { .n = 1, .tq = 64, .tk = 48, .heads = 2, .d = 64, .scale = 0.125f },
    { .n = 1, .tq = 64, .tk = 32, .heads = 5, .d = 32, .scale = 0.17f },
    { .n = 3, .tq = 77, .tk = 77, .heads = 1, .d = 40, .scale = 0.158f },
    { .n = 1, .tq = 130, .tk = 300, .heads = 1, .d = 40, .scale = 0.158f },
    { .n = 1, .tq = 257, .tk = 129, .heads = 2, .d = 80, .scale = 0.11f },
    { .n = 1, .tq = 33, .tk = 700, .heads = 1, .d = 160, .scale = 0.08f },
    { .n = 1, .tq = 49, .tk = 31, .heads = 1, .d = 256, .scale = 0.0625f },
    { .n = 1, .tq = 20, .tk = 17, .heads = 1, .d = 131, .scale = 0.09f },
    { .n = 1, .tq = 600, .tk = 1100, .heads = 1, .d = 17, .scale = 0.25f },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

TEST(f32_attention_and_its_gradient_are_those_of_the_definition)
{
    for (int i = 0; i < SHAPES; i++)
        check_shape(shapes[i], 1, 2e-5);
}

TEST(bf16_attention_and_its_gradient_are_those_of_the_definition)
{
    for (int i = 0; i < SHAPES; i++) {
        struct attention_shape s = shapes[i];
        s.bf16 = true;
        check_shape(s, 1, 2e-5);
    }
}

TEST(causal_attention_sees_only_keys_that_are_not_later)
{
    static const int64_t tokens[][2] = { { 1, 1 },   { 77, 77 }, { 64, 64 }, { 300, 300 },
                                         { 20, 60 }, { 60, 20 }, { 5, 600 } };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        for (int bf16 = 0; bf16 < 2; bf16++)
            check_shape((struct attention_shape){ .n = 2,
                                                  .tq = tokens[i][0],
                                                  .tk = tokens[i][1],
                                                  .heads = 2,
                                                  .d = 24,
                                                  .scale = 0.2f,
                                                  .causal = true,
                                                  .bf16 = bf16 },
                        1, 2e-5);
}

TEST(tokens_see_no_padding_and_padding_sees_everything)
{
    /* Borders of the blocks (16, 32, 48, 64, 128, 256) from both sides, no padding, and nothing but padding. */
    static const int32_t pads[][4] = { { 0, 1, 76, 77 },      { 0, 15, 16, 17 },     { 31, 32, 33, 47 }, { 48, 49, 63, 64 },
                                       { 65, 127, 128, 129 }, { 255, 256, 257, 299 } };
    static const int64_t tokens[][2] = { { 77, 77 }, { 300, 300 }, { 1, 300 }, { 70, 300 } };
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
        for (size_t i = 0; i < sizeof pads / sizeof *pads; i++)
            for (int kind = 0; kind < 4; kind++)
                if (pads[i][3] <= tokens[t][1])
                    check_shape((struct attention_shape){ .n = 4,
                                                          .tq = tokens[t][0],
                                                          .tk = tokens[t][1],
                                                          .heads = 2,
                                                          .d = 24,
                                                          .scale = 0.2f,
                                                          .causal = kind & 1,
                                                          .bf16 = kind & 2,
                                                          .pads = pads[i] },
                                1, 2e-5);
}

TEST(large_scores_do_not_overflow)
{
    /* Scores of 126 times a normal number: exp of them is far outside f32, and an f32 score of 500 is only
     * right to 3e-5. */
    for (int64_t tk = 40; tk <= 700; tk += 660)
        check_shape((struct attention_shape){ .n = 1, .tq = 50, .tk = tk, .heads = 2, .d = 40, .scale = 4 },
                    5, 1e-4);
}

TEST(keys_that_only_fill_a_tile_up_stay_out)
{
    /* A score of 0, as a padded key has, is e^200 times as likely as the others here: it must not even be inf
     * * 0. */
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int causal = 0; causal < 2; causal++) {
            struct problem p;
            problem_init(&p,
                         (struct attention_shape){ .n = 1,
                                                   .tq = 37,
                                                   .tk = 41,
                                                   .heads = 1,
                                                   .d = 24,
                                                   .scale = 1,
                                                   .causal = causal,
                                                   .bf16 = bf16 },
                         3, 0.25f);
            for (int64_t i = 0; i < p.n_q; i += 24)
                p.q[i] = 128;
            for (int64_t i = 0; i < p.n_k; i += 24)
                p.k[i] = -2;
            check_problem(&p, 1e-4);
            problem_release(&p);
        }
}

TEST(results_do_not_depend_on_the_number_of_threads)
{
    struct kind all[KINDS];
    size_t count = kinds(all);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct problem p, one, more;
        problem_init(&p,
                     (struct attention_shape){
                         .n = 1, .tq = 450, .tk = 300, .heads = 3, .d = 40, .scale = 0.16f, .bf16 = bf16 },
                     5, 1);
        for (size_t i = 0; i < count; i++) {
            if (!all[i].here || (!bf16 && !all[i].f32))
                continue;
            run(all[i].kernels, &p, 1, &one);
            for (int threads = 2; threads <= 7; threads += 5) {
                run(all[i].kernels, &p, threads, &more);
                CHECK(!memcmp(one.y, more.y, sizeof(float) * (size_t)p.n_q), "%s y", all[i].kernels->name);
                CHECK(!memcmp(one.dq, more.dq, sizeof(float) * (size_t)p.n_q), "%s dq", all[i].kernels->name);
                CHECK(!memcmp(one.dk, more.dk, sizeof(float) * (size_t)p.n_k), "%s dk", all[i].kernels->name);
                CHECK(!memcmp(one.dv, more.dv, sizeof(float) * (size_t)p.n_k), "%s dv", all[i].kernels->name);
                problem_release(&more);
            }
            problem_release(&one);
        }
        problem_release(&p);
    }
}

TEST(kinds_that_this_machine_lacks_are_named)
{
    struct kind all[KINDS];
    size_t count = kinds(all);
    for (size_t i = 0; i < count; i++)
        if (!all[i].here)
            print_message("not tested here: attention_%s\n", all[i].kernels->name);
}
