/* The arithmetic of every kind: shapes, the change of a weight in full, DoRA's factors.
 * source  Hu et al. 2021 (LoRA); Yeh et al. 2023, "Navigating Text-To-Image Customization: from LyCORIS fine-tuning to model
 *         evaluation", section 3 (LoCon, LoHa, LoKr and the Tucker forms); Liu et al. 2024 (DoRA), with PEFT's reading of scale and
 *         norm: over all inputs of an output channel. */
#include <math.h>

#include "base/mem.h"
#include "model/lora/lora_internal.h"

/* A weight as a matrix: out x (in * area). */
struct size {
    int64_t out, in, area;
};

static struct size size_of(const struct lora_module *m)
{
    struct size s = { m->shape.dim[0], m->shape.rank > 1 ? m->shape.dim[1] : 1, 1 };
    for (int i = 2; i < m->shape.rank; i++)
        s.area *= m->shape.dim[i];
    return s;
}

static size_t elements(const struct lora_module *m)
{
    return (size_t)shape_count(m->shape);
}

float *lora_tensor_f32(const struct weight *w, struct err *e)
{
    size_t count = (size_t)shape_count(w->shape);
    float *f = mem_aligned(count * sizeof *f);
    if (!f) {
        err_nomem(e, w->name);
    } else if (!dtype_convert(f, DTYPE_F32, w->data, w->type, count)) {
        err_set(e, ERR_TYPE, "%s is %s", w->name, dtype_name(w->type));
        mem_free(f);
        f = NULL;
    }
    return f;
}

/* --- shapes --- */

/* Dimension i; 1 beyond the rank. */
static int64_t dim(const struct weight *w, int i)
{
    return i < w->shape.rank ? w->shape.dim[i] : 1;
}

/* What lies behind the first two dimensions: a kernel's pixels. */
static int64_t area(const struct weight *w)
{
    int64_t n = 1;
    for (int i = 2; i < w->shape.rank; i++)
        n *= w->shape.dim[i];
    return n;
}

static bool wrong(const struct lora_target *t, enum lora_role role, const char *wanted, struct err *e)
{
    return err_set(e, ERR_SHAPE, "%s is %s; the model's %s is %s, so %s is wanted", t->tensor[role]->name,
                   shape_text(t->tensor[role]->shape).s, t->module->name, shape_text(t->module->shape).s, wanted);
}

/* The tensor must be a x b with this many pixels behind. */
static bool fits(const struct lora_target *t, enum lora_role role, int64_t a, int64_t b, int64_t pixels, struct err *e)
{
    const struct weight *w = t->tensor[role];
    if (dim(w, 0) == a && dim(w, 1) == b && area(w) == pixels)
        return true;
    struct path wanted = pixels == 1 ? path_of("[%lld, %lld]", (long long)a, (long long)b)
                                     : path_of("[%lld, %lld] with %lld pixels", (long long)a, (long long)b, (long long)pixels);
    return wrong(t, role, wanted.s, e);
}

static bool there(const struct lora_target *t, enum lora_role role, const char *name, const char *beside, struct err *e)
{
    return t->tensor[role] || err_set(e, ERR_MISSING, "%s has no %s beside it", beside, name);
}

static bool check_pair(struct lora_target *t, struct size s, struct err *e)
{
    const struct weight *down = t->tensor[LORA_DOWN], *up = t->tensor[LORA_UP], *mid = t->tensor[LORA_MID];
    if (!there(t, LORA_DOWN, "lora_down (lora_A)", up ? up->name : t->module->name, e) ||
        !there(t, LORA_UP, "lora_up (lora_B)", down->name, e))
        return false;
    t->rank = dim(down, 0);
    return fits(t, LORA_DOWN, t->rank, s.in, mid ? 1 : s.area, e) && fits(t, LORA_UP, s.out, t->rank, 1, e) &&
           (!mid || fits(t, LORA_MID, t->rank, t->rank, s.area, e));
}

static bool check_hadamard(struct lora_target *t, struct size s, struct err *e)
{
    bool tucker = t->tensor[LORA_HADA_T1] != NULL;
    const char *first = NULL;
    for (int r = LORA_HADA_1A; r <= LORA_HADA_T2 && !first; r++)
        first = t->tensor[r] ? t->tensor[r]->name : NULL;
    if (!there(t, LORA_HADA_1A, "hada_w1_a", first, e) || !there(t, LORA_HADA_1B, "hada_w1_b", first, e) ||
        !there(t, LORA_HADA_2A, "hada_w2_a", first, e) || !there(t, LORA_HADA_2B, "hada_w2_b", first, e) ||
        (tucker && !there(t, LORA_HADA_T2, "hada_t2", first, e)) ||
        (t->tensor[LORA_HADA_T2] && !there(t, LORA_HADA_T1, "hada_t1", first, e)))
        return false;
    t->rank = dim(t->tensor[LORA_HADA_1B], 0);
    int64_t other = dim(t->tensor[LORA_HADA_2B], 0);
    if (tucker)
        return fits(t, LORA_HADA_T1, t->rank, t->rank, s.area, e) && fits(t, LORA_HADA_T2, other, other, s.area, e) &&
               fits(t, LORA_HADA_1A, t->rank, s.out, 1, e) && fits(t, LORA_HADA_2A, other, s.out, 1, e) &&
               fits(t, LORA_HADA_1B, t->rank, s.in, 1, e) && fits(t, LORA_HADA_2B, other, s.in, 1, e);
    /* the matrix [rank, in kh kw] is kept flat or as a kernel */
    for (int r = LORA_HADA_1B; r <= LORA_HADA_2B; r += 2)
        if (dim(t->tensor[r], 1) * area(t->tensor[r]) != s.in * s.area)
            return wrong(t, (enum lora_role)r, path_of("[rank, %lld]", (long long)(s.in * s.area)).s, e);
    return fits(t, LORA_HADA_1A, s.out, t->rank, 1, e) && fits(t, LORA_HADA_2A, s.out, other, 1, e);
}

/* The second factor in full is out2 x in2 (x area); *in2 and *out2 from its pieces. */
static bool kron_second(struct lora_target *t, struct size s, int64_t *out2, int64_t *in2, struct err *e)
{
    const struct weight *whole = t->tensor[LORA_KRON_2], *a = t->tensor[LORA_KRON_2A], *b = t->tensor[LORA_KRON_2B];
    if (whole) {
        *out2 = dim(whole, 0);
        *in2 = dim(whole, 1);
        return area(whole) == s.area || wrong(t, LORA_KRON_2, "a kernel of the model's size", e);
    }
    const char *beside = a ? a->name : b ? b->name : t->module->name;
    if (!there(t, LORA_KRON_2A, "lokr_w2 or lokr_w2_a", beside, e) || !there(t, LORA_KRON_2B, "lokr_w2_b", beside, e))
        return false;
    t->rank = dim(b, 0);
    if (t->tensor[LORA_KRON_T2]) {
        *out2 = dim(a, 1);
        *in2 = dim(b, 1);
        return fits(t, LORA_KRON_T2, t->rank, t->rank, s.area, e) && fits(t, LORA_KRON_2A, t->rank, *out2, 1, e) &&
               fits(t, LORA_KRON_2B, t->rank, *in2, 1, e);
    }
    *out2 = dim(a, 0);
    int64_t flat = dim(b, 1) * area(b);
    *in2 = flat / s.area;
    if (flat % s.area)
        return wrong(t, LORA_KRON_2B, "[rank, in x kernel]", e);
    return fits(t, LORA_KRON_2A, *out2, t->rank, 1, e);
}

static bool check_kronecker(struct lora_target *t, struct size s, struct err *e)
{
    const struct weight *whole = t->tensor[LORA_KRON_1], *a = t->tensor[LORA_KRON_1A], *b = t->tensor[LORA_KRON_1B];
    int64_t out2, in2, out1, in1;
    bool whole_second = t->tensor[LORA_KRON_2] != NULL;
    if (!kron_second(t, s, &out2, &in2, e))
        return false;
    if (!whole) {
        const char *beside = a ? a->name : b ? b->name : t->module->name;
        if (!there(t, LORA_KRON_1A, "lokr_w1 or lokr_w1_a", beside, e) || !there(t, LORA_KRON_1B, "lokr_w1_b", beside, e))
            return false;
        int64_t rank = dim(b, 0);
        t->rank = whole_second ? rank : t->rank; /* they are equal in LyCORIS' files */
        if (!fits(t, LORA_KRON_1A, dim(a, 0), rank, 1, e) || !fits(t, LORA_KRON_1B, rank, dim(b, 1), 1, e))
            return false;
    }
    out1 = dim(whole ? whole : a, 0);
    in1 = dim(whole ? whole : b, 1);
    if (out2 < 1 || in2 < 1 || out1 != s.out / out2 || s.out % out2 || in1 != s.in / in2 || s.in % in2)
        return wrong(t, whole ? LORA_KRON_1 : LORA_KRON_1A,
                     path_of("a product with [%lld, %lld] to the model's size", (long long)out2, (long long)in2).s, e);
    return !whole || fits(t, LORA_KRON_1, out1, in1, 1, e);
}

static bool any_of(const struct lora_target *t, int first, int last)
{
    for (int r = first; r <= last; r++)
        if (t->tensor[r])
            return true;
    return false;
}

static bool check_magnitude(struct lora_target *t, struct size s, struct err *e)
{
    const struct weight *m = t->tensor[LORA_MAGNITUDE];
    if (!m)
        return true;
    int64_t count = shape_count(m->shape);
    /* LyCORIS writes [out, 1] or, by input channel, [1, in]; PEFT's magnitudes of a convolution are [1, out, 1, 1] */
    t->per_input = strstr(m->name, ".dora_scale") && m->shape.rank > 1 && dim(m, 0) == 1 && dim(m, 1) == s.in && count == s.in && (s.in != 1 || s.out == 1);
    if (t->kind == LORA_KIND_NONE)
        return err_set(e, ERR_MISSING, "%s has nothing beside it that changes the weight", m->name);
    return t->per_input || count == s.out ||
           wrong(t, LORA_MAGNITUDE, path_of("a number for each of %lld outputs", (long long)s.out).s, e);
}

bool lora_target_check(struct lora_target *t, struct err *e)
{
    struct size s = size_of(t->module);
    bool pair = t->tensor[LORA_DOWN] || t->tensor[LORA_UP] || t->tensor[LORA_MID];
    bool hadamard = any_of(t, LORA_HADA_1A, LORA_HADA_T2), kronecker = any_of(t, LORA_KRON_1, LORA_KRON_T2);
    if (pair + hadamard + kronecker + (t->tensor[LORA_DIFF] != NULL) > 1)
        return err_set(e, ERR_FORMAT, "%s is changed in two ways at once (%s, %s)", t->module->name,
                       pair ? "low rank" : hadamard ? "Hadamard" : "Kronecker", kronecker ? "Kronecker" : hadamard ? "Hadamard" : "difference");
    t->kind = pair ? LORA_KIND_PAIR : hadamard ? LORA_KIND_HADAMARD : kronecker ? LORA_KIND_KRONECKER
              : t->tensor[LORA_DIFF] ? LORA_KIND_DIFF : LORA_KIND_NONE;
    bool good = t->kind == LORA_KIND_PAIR        ? check_pair(t, s, e)
                : t->kind == LORA_KIND_HADAMARD  ? check_hadamard(t, s, e)
                : t->kind == LORA_KIND_KRONECKER ? check_kronecker(t, s, e)
                : t->kind == LORA_KIND_DIFF      ? fits(t, LORA_DIFF, s.out, s.in, s.area, e)
                                                 : true;
    bool ranked = pair || hadamard || t->tensor[LORA_KRON_1B] || t->tensor[LORA_KRON_2B];
    if (good && ranked && (t->rank < 1 || t->rank > LORA_MAX_RANK))
        return err_set(e, ERR_LIMIT, "%s: rank %lld; 1 to %d are known", t->module->name, (long long)t->rank, LORA_MAX_RANK);
    for (int r = LORA_UP_BIAS; good && r <= LORA_DIFF_BIAS; r++)
        if ((r == LORA_UP_BIAS || r == LORA_DIFF_BIAS) && t->tensor[r] && shape_count(t->tensor[r]->shape) != s.out)
            good = wrong(t, (enum lora_role)r, path_of("[%lld]", (long long)s.out).s, e);
    return good && check_magnitude(t, s, e);
}

bool lora_target_is_branch(const struct lora_target *t)
{
    return t->kind == LORA_KIND_NONE || (t->kind == LORA_KIND_PAIR && t->module->branch && !t->per_input);
}

/* --- products --- */

/* c[m, n] = a[m, k] b[k, n]; with turned, a is kept as [k, m]. */
static void product(float *c, const float *a, bool turned, const float *b, int64_t m, int64_t k, int64_t n)
{
#pragma omp parallel for if (m * k * n > 1 << 16)
    for (int64_t i = 0; i < m; i++) {
        float *row = c + i * n;
        memset(row, 0, (size_t)n * sizeof *row);
        for (int64_t p = 0; p < k; p++) {
            float f = turned ? a[p * m + i] : a[i * k + p];
            const float *from = b + p * n;
#pragma omp simd
            for (int64_t j = 0; j < n; j++)
                row[j] += f * from[j];
        }
    }
}

/* out[p, c, area] = sum over i, j of t[i, j, area] a[i, p] b[j, c] (LyCORIS, the Tucker form). a is [rank, rows], or with
 * by_rows [rows, rank]; a NULL: the unit matrix, rows = rank. */
static bool tucker(float *out, const float *t, const float *a, bool by_rows, const float *b, int64_t rank, int64_t rows,
                   int64_t columns, int64_t pixels, struct err *e)
{
    float *half = mem_zeroed((size_t)(rank * columns * pixels), sizeof *half); /* [i, c, area] */
    if (!half)
        return err_nomem(e, "a Tucker product");
    for (int64_t i = 0; i < rank; i++)
        for (int64_t j = 0; j < rank; j++)
            for (int64_t c = 0; c < columns; c++)
                for (int64_t k = 0; k < pixels; k++)
                    half[(i * columns + c) * pixels + k] += t[(i * rank + j) * pixels + k] * b[j * columns + c];
    if (a)
        product(out, a, !by_rows, half, rows, rank, columns * pixels);
    else
        memcpy(out, half, (size_t)(rank * columns * pixels) * sizeof *out);
    mem_free(half);
    return true;
}

/* Up to eight tensors of a target in f32. */
struct floats {
    float *at[LORA_ROLES];
};

static void floats_release(struct floats *f)
{
    for (int r = 0; r < LORA_ROLES; r++)
        mem_free(f->at[r]);
}

static bool floats_init(struct floats *f, const struct lora_target *t, int first, int last, struct err *e)
{
    *f = (struct floats){ 0 };
    for (int r = first; r <= last; r++)
        if (t->tensor[r] && r != LORA_ALPHA && !(f->at[r] = lora_tensor_f32(t->tensor[r], e))) {
            floats_release(f);
            return false;
        }
    return true;
}

bool lora_target_down(const struct lora_target *t, float *out, struct err *e)
{
    struct size s = size_of(t->module);
    struct floats f;
    if (!floats_init(&f, t, LORA_DOWN, LORA_MID, e))
        return false;
    bool good = true;
    if (f.at[LORA_MID])
        good = tucker(out, f.at[LORA_MID], NULL, false, f.at[LORA_DOWN], t->rank, t->rank, s.in, s.area, e);
    else
        memcpy(out, f.at[LORA_DOWN], (size_t)(t->rank * s.in * s.area) * sizeof *out);
    floats_release(&f);
    return good;
}

static bool pair_delta(const struct lora_target *t, struct size s, float *delta, struct err *e)
{
    float *down = mem_aligned((size_t)(t->rank * s.in * s.area) * sizeof *down), *up = lora_tensor_f32(t->tensor[LORA_UP], e);
    bool good = up && (down || err_nomem(e, "a low-rank product")) && lora_target_down(t, down, e);
    if (good)
        product(delta, up, false, down, s.out, t->rank, s.in * s.area);
    mem_free(down);
    mem_free(up);
    return good;
}

static bool hadamard_delta(const struct lora_target *t, struct size s, float *delta, struct err *e)
{
    struct floats f;
    size_t count = elements(t->module);
    float *other = mem_aligned(count * sizeof *other);
    int64_t rank2 = dim(t->tensor[LORA_HADA_2B], 0);
    bool good = other || err_nomem(e, "a Hadamard product");
    if (!good || !floats_init(&f, t, LORA_HADA_1A, LORA_HADA_T2, e)) {
        mem_free(other);
        return false;
    }
    float *const *a = f.at;
    if (a[LORA_HADA_T1]) {
        good = tucker(delta, a[LORA_HADA_T1], a[LORA_HADA_1A], false, a[LORA_HADA_1B], t->rank, s.out, s.in, s.area, e) &&
               tucker(other, a[LORA_HADA_T2], a[LORA_HADA_2A], false, a[LORA_HADA_2B], rank2, s.out, s.in, s.area, e);
    } else {
        product(delta, a[LORA_HADA_1A], false, a[LORA_HADA_1B], s.out, t->rank, s.in * s.area);
        product(other, a[LORA_HADA_2A], false, a[LORA_HADA_2B], s.out, rank2, s.in * s.area);
    }
    for (size_t i = 0; good && i < count; i++)
        delta[i] *= other[i];
    floats_release(&f);
    mem_free(other);
    return good;
}

static bool kronecker_delta(const struct lora_target *t, struct size s, float *delta, struct err *e)
{
    const struct weight *one = t->tensor[LORA_KRON_1], *two = t->tensor[LORA_KRON_2];
    int64_t out1 = dim(one ? one : t->tensor[LORA_KRON_1A], 0), in1 = dim(one ? one : t->tensor[LORA_KRON_1B], 1);
    int64_t out2 = s.out / out1, in2 = s.in / in1;
    struct floats f;
    if (!floats_init(&f, t, LORA_KRON_1, LORA_KRON_T2, e))
        return false;
    float **a = f.at;
    bool good = true;
    if (!one) {
        good = (a[LORA_KRON_1] = mem_aligned((size_t)(out1 * in1) * sizeof(float))) || err_nomem(e, "a Kronecker product");
        if (good)
            product(a[LORA_KRON_1], a[LORA_KRON_1A], false, a[LORA_KRON_1B], out1, dim(t->tensor[LORA_KRON_1B], 0), in1);
    }
    if (good && !two) {
        int64_t rank = dim(t->tensor[LORA_KRON_2B], 0);
        good = (a[LORA_KRON_2] = mem_aligned((size_t)(out2 * in2 * s.area) * sizeof(float))) ||
               err_nomem(e, "a Kronecker product");
        if (good && a[LORA_KRON_T2])
            good = tucker(a[LORA_KRON_2], a[LORA_KRON_T2], a[LORA_KRON_2A], false, a[LORA_KRON_2B], rank, out2, in2, s.area, e);
        else if (good)
            product(a[LORA_KRON_2], a[LORA_KRON_2A], false, a[LORA_KRON_2B], out2, rank, in2 * s.area);
    }
    for (int64_t o = 0; good && o < s.out; o++)
        for (int64_t i = 0; i < s.in; i++) {
            float factor = a[LORA_KRON_1][o / out2 * in1 + i / in2];
            const float *from = a[LORA_KRON_2] + (o % out2 * in2 + i % in2) * s.area;
            for (int64_t k = 0; k < s.area; k++)
                delta[(o * s.in + i) * s.area + k] = factor * from[k];
        }
    floats_release(&f);
    return good;
}

/* The change of the weight at scale 1, in full, times alpha / rank. Free with mem_free. */
static float *delta_of(const struct lora_target *t, struct err *e)
{
    struct size s = size_of(t->module);
    size_t count = elements(t->module);
    float *delta = mem_aligned(count * sizeof *delta);
    bool good = delta || err_nomem(e, t->module->name);
    if (good && t->kind == LORA_KIND_DIFF)
        good = dtype_convert(delta, DTYPE_F32, t->tensor[LORA_DIFF]->data, t->tensor[LORA_DIFF]->type, count) ||
               err_set(e, ERR_TYPE, "%s is %s", t->tensor[LORA_DIFF]->name, dtype_name(t->tensor[LORA_DIFF]->type));
    else if (good)
        good = t->kind == LORA_KIND_PAIR       ? pair_delta(t, s, delta, e)
               : t->kind == LORA_KIND_HADAMARD ? hadamard_delta(t, s, delta, e)
                                               : kronecker_delta(t, s, delta, e);
    if (!good) {
        mem_free(delta);
        return NULL;
    }
    for (size_t i = 0; t->scale != 1 && i < count; i++)
        delta[i] *= (float)t->scale;
    return delta;
}

/* --- DoRA --- */

/* |W + s D|^2 = |W|^2 + 2 s <W, D> + s^2 |D|^2 per output channel, so that another scale s costs nothing. */
static bool find_norms(struct lora_target *t, const struct weight *base, struct err *e)
{
    struct size s = size_of(t->module);
    int64_t row = s.in * s.area;
    if (t->norms)
        return true;
    if (!base)
        return err_set(e, ERR_MISSING, "%s: DoRA needs the model's weights in a file", t->module->name);
    float *w = lora_tensor_f32(base, e), *delta = w ? delta_of(t, e) : NULL;
    double *norms = delta ? mem_zeroed((size_t)(3 * s.out), sizeof *norms) : NULL;
    for (int64_t o = 0; norms && o < s.out; o++)
        for (int64_t i = o * row; i < (o + 1) * row; i++) {
            norms[o] += (double)w[i] * w[i];
            norms[s.out + o] += (double)w[i] * delta[i];
            norms[2 * s.out + o] += (double)delta[i] * delta[i];
        }
    if (delta && !norms)
        err_nomem(e, "norms");
    t->norms = norms;
    mem_free(w);
    mem_free(delta);
    return norms != NULL;
}

/* A channel whose weights are all zero stays zero. */
static double factor_of(double magnitude, double squares)
{
    return squares > 0 ? magnitude / sqrt(squares) : 0;
}

bool lora_target_gain(struct lora_target *t, const struct weight *base, double scale, double *gain, struct err *e)
{
    const struct weight *m = t->tensor[LORA_MAGNITUDE];
    int64_t out = t->module->shape.dim[0];
    if (!find_norms(t, base, e))
        return false;
    for (int64_t o = 0; o < out; o++)
        gain[o] = factor_of(dtype_load(m->data, m->type, o),
                            t->norms[o] + 2 * scale * t->norms[out + o] + scale * scale * t->norms[2 * out + o]);
    return true;
}

/* weight += f (base + scale delta) - base, f by output or by input channel. */
static bool add_dora(const struct lora_target *t, const float *base, const float *delta, double scale, float *weight,
                     struct err *e)
{
    const struct weight *m = t->tensor[LORA_MAGNITUDE];
    struct size s = size_of(t->module);
    int64_t channels = t->per_input ? s.in : s.out;
    double *squares = mem_zeroed((size_t)channels, sizeof *squares);
    if (!squares)
        return err_nomem(e, "norms");
    for (int turn = 0; turn < 2; turn++)
        for (int64_t o = 0, at = 0; o < s.out; o++)
            for (int64_t i = 0; i < s.in; i++)
                for (int64_t k = 0; k < s.area; k++, at++) {
                    int64_t c = t->per_input ? i : o;
                    double v = base[at] + scale * delta[at];
                    if (turn == 0)
                        squares[c] += v * v;
                    else
                        weight[at] += (float)(factor_of(dtype_load(m->data, m->type, c), squares[c]) * v - base[at]);
                }
    mem_free(squares);
    return true;
}

bool lora_target_add(const struct lora_target *t, const float *base, double scale, float *weight, struct err *e)
{
    size_t count = elements(t->module);
    if (t->kind == LORA_KIND_NONE)
        return true;
    float *delta = delta_of(t, e);
    bool good = delta != NULL;
    if (good && t->tensor[LORA_MAGNITUDE])
        good = add_dora(t, base, delta, scale, weight, e);
    else
        for (size_t i = 0; good && i < count; i++)
            weight[i] += (float)scale * delta[i];
    mem_free(delta);
    return good;
}

bool lora_target_add_bias(const struct lora_target *t, double scale, float *bias, struct err *e)
{
    for (int r = LORA_UP_BIAS; r <= LORA_DIFF_BIAS; r++) {
        const struct weight *w = t->tensor[r];
        double factor = r == LORA_UP_BIAS ? scale * t->scale : scale;
        if (!w || (r != LORA_UP_BIAS && r != LORA_DIFF_BIAS))
            continue;
        float *f = lora_tensor_f32(w, e);
        if (!f)
            return false;
        for (int64_t i = 0; i < t->module->shape.dim[0]; i++)
            bias[i] += (float)factor * f[i];
        mem_free(f);
    }
    return true;
}
