/* The shape rules that op.def names. Each reads c->in and c->node->attr and fills c->out. */
#include "graph/graph_internal.h"
#include "graph/ops.h"

static const struct op_attr *attr_of(const struct shape_call *c)
{
    return &c->node->attr;
}

static bool set_out(struct shape_call *c, int slot, struct shape shape, enum dtype type)
{
    c->out[slot].shape = shape;
    c->out[slot].type = type;
    return true;
}

static bool want_rank(const struct shape_call *c, int index, int rank, struct err *e)
{
    if (!c->in[index] || c->in[index]->shape.rank == rank)
        return true;
    return err_set(e, ERR_SHAPE, "input %d must have rank %d, has %s", index, rank,
                   shape_text(c->in[index]->shape).s);
}

static bool want_shape(const struct shape_call *c, int index, struct shape want, struct err *e)
{
    if (!c->in[index] || shape_same(c->in[index]->shape, want))
        return true;
    return err_set(e, ERR_SHAPE, "input %d must be %s, is %s", index, shape_text(want).s,
                   shape_text(c->in[index]->shape).s);
}

/* Input 0 is what is computed with; those behind it may be weights of types for storage. */
static bool want_floating(const struct shape_call *c, struct err *e)
{
    for (int i = 0; i < c->node->n_in; i++)
        if (c->in[i] && !(i ? is_readable(c->in[i]->type) : is_floating(c->in[i]->type)))
            return err_set(e, ERR_TYPE, "input %d has the type %s", i, dtype_name(c->in[i]->type));
    return true;
}

static bool want_type(const struct shape_call *c, int index, enum dtype type, struct err *e)
{
    if (!c->in[index] || c->in[index]->type == type)
        return true;
    return err_set(e, ERR_TYPE, "input %d must be %s, is %s", index, dtype_name(type), dtype_name(c->in[index]->type));
}

bool shape_matmul(struct shape_call *c, struct err *e)
{
    const struct op_attr *at = attr_of(c);
    struct shape a = c->in[0]->shape, b = c->in[1]->shape;
    if (!want_floating(c, e))
        return false;
    if (a.rank < 1 || b.rank < 1)
        return err_set(e, ERR_SHAPE, "a matrix has rank 1 or more");
    int64_t k = at->trans_a ? shape_rows(a) : shape_last(a), kb = at->trans_b ? shape_last(b) : shape_rows(b);
    int64_t n = at->trans_b ? shape_rows(b) : shape_last(b);
    if (k != kb)
        return err_set(e, ERR_SHAPE, "inner sizes %lld and %lld differ", (long long)k, (long long)kb);
    struct shape y = a;
    if (at->trans_a)
        y = SHAPE(shape_last(a), n);
    else
        y.dim[y.rank - 1] = n;
    if (c->node->n_in > 2 && !want_shape(c, 2, SHAPE(n), e))
        return false;
    if (c->node->n_in > 3 && (!want_shape(c, 3, y, e) || !want_type(c, 3, at->type, e)))
        return false;
    return set_out(c, 0, y, at->type);
}

bool shape_conv2d(struct shape_call *c, struct err *e)
{
    const struct op_attr *at = attr_of(c);
    if (!want_floating(c, e) || !want_rank(c, 0, 4, e) || !want_rank(c, 1, 4, e))
        return false;
    struct shape x = c->in[0]->shape, w = c->in[1]->shape;
    if (x.dim[3] != w.dim[1])
        return err_set(e, ERR_SHAPE, "the image has %lld channels, the weight wants %lld", (long long)x.dim[3],
                       (long long)w.dim[1]);
    if (at->stride < 1)
        return err_set(e, ERR_ARG, "stride %lld", (long long)at->stride);
    int64_t h = x.dim[1] + at->pad[0] + at->pad[2] - w.dim[2], width = x.dim[2] + at->pad[1] + at->pad[3] - w.dim[3];
    if (h < 0 || width < 0)
        return err_set(e, ERR_SHAPE, "the image is smaller than the kernel");
    struct shape y = SHAPE(x.dim[0], h / at->stride + 1, width / at->stride + 1, w.dim[0]);
    if (c->node->n_in > 2 && !want_shape(c, 2, SHAPE(w.dim[0]), e))
        return false;
    if (c->node->n_in > 3 && (!want_shape(c, 3, y, e) || !want_type(c, 3, c->in[0]->type, e)))
        return false;
    return set_out(c, 0, y, c->in[0]->type);
}

bool shape_attr(struct shape_call *c, struct err *e)
{
    return set_out(c, 0, attr_of(c)->shape, attr_of(c)->type);
}

bool shape_broadcast(struct shape_call *c, struct err *e)
{
    struct shape a = c->in[0]->shape, b = c->in[1]->shape;
    bool fits = a.rank == b.rank;
    for (int i = 0; fits && i < a.rank; i++)
        fits = b.dim[i] == a.dim[i] || b.dim[i] == 1;
    if (!fits)
        return err_set(e, ERR_SHAPE, "the second cannot be repeated to the first's shape");
    return want_floating(c, e) && set_out(c, 0, a, c->in[0]->type);
}

bool shape_same_as_input(struct shape_call *c, struct err *e)
{
    if (c->node->n_in > 1 && c->node->op != OP_GATED_GRAD &&
        (!want_shape(c, 1, c->in[0]->shape, e) || !want_type(c, 1, c->in[0]->type, e)))
        return false;
    return want_floating(c, e) && set_out(c, 0, c->in[0]->shape, c->in[0]->type);
}

bool shape_clamp(struct shape_call *c, struct err *e)
{
    const struct op_attr *at = attr_of(c);
    if (!(at->alpha <= at->beta))
        return err_set(e, ERR_ARG, "nothing lies between %g and %g", at->alpha, at->beta);
    return shape_same_as_input(c, e);
}

bool shape_gated(struct shape_call *c, struct err *e)
{
    struct shape y = c->in[0]->shape;
    if (!y.rank || shape_last(y) % 2)
        return err_set(e, ERR_SHAPE, "the last dimension must be even");
    if (attr_of(c)->fn != UNARY_GELU && attr_of(c)->fn != UNARY_SILU)
        return err_set(e, ERR_ARG, "a gate is gelu or silu, not %s", unary_name(attr_of(c)->fn));
    y.dim[y.rank - 1] /= 2;
    return want_floating(c, e) && set_out(c, 0, y, c->in[0]->type);
}

static bool norm_outputs(struct shape_call *c, struct shape statistics)
{
    enum dtype sums = sum_type(c->in[0]->type);
    set_out(c, 1, statistics, sums);
    set_out(c, 2, statistics, sums);
    return set_out(c, 0, c->in[0]->shape, c->in[0]->type);
}

bool shape_group_norm(struct shape_call *c, struct err *e)
{
    struct shape x = c->in[0]->shape;
    int64_t groups = attr_of(c)->groups;
    if (x.rank < 2 || groups < 1 || shape_last(x) % groups)
        return err_set(e, ERR_SHAPE, "%lld groups do not divide the channels", (long long)groups);
    return want_floating(c, e) && want_shape(c, 1, SHAPE(shape_last(x)), e) &&
           want_shape(c, 2, SHAPE(shape_last(x)), e) && norm_outputs(c, SHAPE(x.dim[0], groups));
}

bool shape_layer_norm(struct shape_call *c, struct err *e)
{
    struct shape x = c->in[0]->shape;
    return want_floating(c, e) && want_shape(c, 1, SHAPE(shape_last(x)), e) &&
           want_shape(c, 2, SHAPE(shape_last(x)), e) && norm_outputs(c, SHAPE(shape_rows(x)));
}

bool shape_norm_grad(struct shape_call *c, struct err *e)
{
    struct shape x = c->in[0]->shape;
    enum dtype sums = sum_type(c->in[0]->type);
    set_out(c, 1, SHAPE(shape_last(x)), sums);
    set_out(c, 2, SHAPE(shape_last(x)), sums);
    return want_shape(c, 5, x, e) && want_type(c, 5, c->in[0]->type, e) && set_out(c, 0, x, c->in[0]->type);
}

bool shape_rms_norm(struct shape_call *c, struct err *e)
{
    struct shape x = c->in[0]->shape;
    if (!want_floating(c, e) || !want_shape(c, 1, SHAPE(shape_last(x)), e))
        return false;
    set_out(c, 1, SHAPE(shape_rows(x)), sum_type(c->in[0]->type));
    return set_out(c, 0, x, c->in[0]->type);
}

bool shape_rms_norm_grad(struct shape_call *c, struct err *e)
{
    struct shape x = c->in[0]->shape;
    set_out(c, 1, SHAPE(shape_last(x)), sum_type(c->in[0]->type));
    return want_shape(c, 3, x, e) && want_type(c, 3, c->in[0]->type, e) && set_out(c, 0, x, c->in[0]->type);
}

bool shape_rotary(struct shape_call *c, struct err *e)
{
    const struct op_attr *at = attr_of(c);
    if (!want_rank(c, 0, 3, e) || !want_type(c, 1, DTYPE_I32, e))
        return false;
    struct shape x = c->in[0]->shape;
    if (at->heads < 1 || x.dim[2] % at->heads)
        return err_set(e, ERR_SHAPE, "%lld heads do not divide the width %lld", (long long)at->heads, (long long)x.dim[2]);
    if (at->count < 0 || at->count % 2 || at->count > x.dim[2] / at->heads)
        return err_set(e, ERR_ARG, "%lld numbers of a head cannot be turned: want an even number, at most %lld",
                       (long long)at->count, (long long)(x.dim[2] / at->heads));
    if (!(at->beta > 0) || !is_floating(c->in[0]->type))
        return err_set(e, ERR_ARG, "base %g of %s", at->beta, dtype_name(c->in[0]->type));
    return want_shape(c, 1, SHAPE(x.dim[0], x.dim[1]), e) && set_out(c, 0, x, c->in[0]->type);
}

/* The pads of attention and its gradient, the optional input `index`. */
static bool want_pads(const struct shape_call *c, int index, struct err *e)
{
    return c->node->n_in <= index ||
           (want_type(c, index, DTYPE_I32, e) && want_shape(c, index, SHAPE(c->in[0]->shape.dim[0]), e));
}

bool shape_attention(struct shape_call *c, struct err *e)
{
    if (!is_floating(c->in[0]->type))
        return err_set(e, ERR_TYPE, "input 0 has the type %s", dtype_name(c->in[0]->type));
    if (!want_rank(c, 0, 3, e) || !want_rank(c, 1, 3, e) || !want_pads(c, 3, e))
        return false;
    struct shape q = c->in[0]->shape, k = c->in[1]->shape;
    int64_t heads = attr_of(c)->heads;
    if (q.dim[0] != k.dim[0] || q.dim[2] != k.dim[2] || heads < 1 || q.dim[2] % heads)
        return err_set(e, ERR_SHAPE, "queries and keys disagree, or %lld heads do not divide them", (long long)heads);
    if (!want_shape(c, 2, k, e) || !want_type(c, 1, c->in[0]->type, e) || !want_type(c, 2, c->in[0]->type, e))
        return false;
    if (c->node->n_in > 3 && q.dim[1] > k.dim[1])
        return err_set(e, ERR_SHAPE, "with padding every query is the token of a key: there are %lld for %lld keys",
                       (long long)q.dim[1], (long long)k.dim[1]);
    set_out(c, 1, SHAPE(q.dim[0], heads, q.dim[1]), sum_type(c->in[0]->type));
    return set_out(c, 0, q, c->in[0]->type);
}

bool shape_attention_grad(struct shape_call *c, struct err *e)
{
    for (int i = 0; i < 3; i++)
        set_out(c, i, c->in[i]->shape, c->in[i]->type);
    return want_shape(c, 5, c->in[0]->shape, e) && want_type(c, 5, c->in[0]->type, e) && want_pads(c, 6, e);
}

bool shape_upsample(struct shape_call *c, struct err *e)
{
    if (!want_floating(c, e) || !want_rank(c, 0, 4, e))
        return false;
    struct shape y = c->in[0]->shape;
    if (attr_of(c)->factor < 1)
        return err_set(e, ERR_ARG, "factor %lld", (long long)attr_of(c)->factor);
    y.dim[1] *= attr_of(c)->factor;
    y.dim[2] *= attr_of(c)->factor;
    return set_out(c, 0, y, c->in[0]->type);
}

bool shape_avg_pool(struct shape_call *c, struct err *e)
{
    if (!want_floating(c, e) || !want_rank(c, 0, 4, e))
        return false;
    struct shape y = c->in[0]->shape;
    int64_t factor = attr_of(c)->factor;
    if (factor < 1 || y.dim[1] % factor || y.dim[2] % factor)
        return err_set(e, ERR_SHAPE, "height and width are not multiples of %lld", (long long)factor);
    y.dim[1] /= factor;
    y.dim[2] /= factor;
    return set_out(c, 0, y, c->in[0]->type);
}

bool shape_concat(struct shape_call *c, struct err *e)
{
    struct shape a = c->in[0]->shape, b = c->in[1]->shape;
    int64_t axis = attr_of(c)->axis;
    bool fits = a.rank == b.rank && axis >= 0 && axis < a.rank;
    for (int i = 0; fits && i < a.rank; i++)
        fits = i == axis || a.dim[i] == b.dim[i];
    if (!fits)
        return err_set(e, ERR_SHAPE, "cannot be joined along dimension %lld", (long long)axis);
    a.dim[axis] += b.dim[axis];
    return want_type(c, 1, c->in[0]->type, e) && set_out(c, 0, a, c->in[0]->type);
}

bool shape_slice(struct shape_call *c, struct err *e)
{
    struct shape x = c->in[0]->shape;
    const struct op_attr *at = attr_of(c);
    if (at->axis < 0 || at->axis >= x.rank || at->begin < 0 || at->count < 1 ||
        at->begin > x.dim[at->axis] - at->count)
        return err_set(e, ERR_SHAPE, "no %lld entries from %lld along dimension %lld", (long long)at->count,
                       (long long)at->begin, (long long)at->axis);
    x.dim[at->axis] = at->count;
    return set_out(c, 0, x, c->in[0]->type);
}

bool shape_place(struct shape_call *c, struct err *e)
{
    struct shape x = c->in[0]->shape, y = attr_of(c)->shape;
    int64_t axis = attr_of(c)->axis, begin = attr_of(c)->begin;
    bool fits = x.rank == y.rank && axis >= 0 && axis < x.rank && begin >= 0 && begin <= y.dim[axis] - x.dim[axis];
    for (int i = 0; fits && i < x.rank; i++)
        fits = i == axis || x.dim[i] == y.dim[i];
    if (!fits)
        return err_set(e, ERR_SHAPE, "does not fit into %s at %lld", shape_text(y).s, (long long)begin);
    return set_out(c, 0, y, c->in[0]->type);
}

bool shape_reshape(struct shape_call *c, struct err *e)
{
    struct shape y = attr_of(c)->shape;
    if (shape_count(y) != shape_count(c->in[0]->shape))
        return err_set(e, ERR_SHAPE, "cannot become %s", shape_text(y).s);
    return set_out(c, 0, y, c->in[0]->type);
}

bool shape_cast(struct shape_call *c, struct err *e)
{
    if (!is_floating(attr_of(c)->type))
        return err_set(e, ERR_TYPE, "cannot become %s", dtype_name(attr_of(c)->type));
    if (!is_readable(c->in[0]->type)) /* also what is only stored becomes something to compute with */
        return err_set(e, ERR_TYPE, "input 0 has the type %s", dtype_name(c->in[0]->type));
    return set_out(c, 0, c->in[0]->shape, attr_of(c)->type);
}

/* Whether each dimension of `small` is large's or 1. */
static bool repeats_to(struct shape small, struct shape large)
{
    bool fits = small.rank == large.rank;
    for (int i = 0; fits && i < small.rank; i++)
        fits = small.dim[i] == large.dim[i] || small.dim[i] == 1;
    return fits;
}

bool shape_sum_to(struct shape_call *c, struct err *e)
{
    if (!repeats_to(attr_of(c)->shape, c->in[0]->shape))
        return err_set(e, ERR_SHAPE, "cannot be summed to %s", shape_text(attr_of(c)->shape).s);
    return want_floating(c, e) && set_out(c, 0, attr_of(c)->shape, attr_of(c)->type);
}

bool shape_expand(struct shape_call *c, struct err *e)
{
    if (!repeats_to(c->in[0]->shape, attr_of(c)->shape))
        return err_set(e, ERR_SHAPE, "cannot be repeated to %s", shape_text(attr_of(c)->shape).s);
    return want_floating(c, e) && set_out(c, 0, attr_of(c)->shape, attr_of(c)->type);
}

bool shape_sum_squares(struct shape_call *c, struct err *e)
{
    return want_floating(c, e) && set_out(c, 0, SHAPE(1), sum_type(c->in[0]->type));
}

bool shape_embedding(struct shape_call *c, struct err *e)
{
    if (!want_rank(c, 0, 2, e) || !want_type(c, 1, DTYPE_I32, e))
        return false;
    struct shape y = c->in[1]->shape;
    if (y.rank >= SHAPE_MAX_RANK || !is_readable(c->in[0]->type) || !is_floating(attr_of(c)->type))
        return err_set(e, ERR_TYPE, "a table of floating numbers and ids of rank below %d are wanted", SHAPE_MAX_RANK);
    y.dim[y.rank++] = c->in[0]->shape.dim[1];
    return set_out(c, 0, y, attr_of(c)->type);
}

bool shape_timestep(struct shape_call *c, struct err *e)
{
    int64_t dim = attr_of(c)->count;
    if (dim < 2 || dim % 2)
        return err_set(e, ERR_SHAPE, "the width %lld is not even", (long long)dim);
    return want_rank(c, 0, 1, e) && want_floating(c, e) &&
           set_out(c, 0, SHAPE(c->in[0]->shape.dim[0], dim), sum_type(c->in[0]->type));
}

/* What the inputs of an update must be, a letter each: p the first, and all that have its shape and type; x its shape and any
 * floating type; c its shape, codes; b a number for each block of it; r one for each row, k for each column; s the numbers of a step. */
static const char *const update_forms[OP_COUNT] = {
    [OP_ACCUMULATE] = "px",       [OP_ADAMW] = "pppps",        [OP_ADAMW8] = "pccbbps", [OP_LION] = "ppps",
    [OP_ADAFACTOR] = "prkps",     [OP_ADAFACTOR_WHOLE] = "ppps", [OP_PRODIGY_MEASURE] = "pppppps", [OP_PRODIGY] = "ppps",
    [OP_EMA] = "pps",
};

static struct shape update_shape(struct shape p, char letter)
{
    switch (letter) {
    case 'b': return SHAPE((shape_count(p) + UPDATE_BLOCK - 1) / UPDATE_BLOCK);
    case 's': return SHAPE(STEP_COUNT);
    case 'k': p.dim[p.rank - 2] = p.dim[p.rank - 1]; /* fall through */
    case 'r': p.rank--; return p;
    default: return p;
    }
}

bool shape_update(struct shape_call *c, struct err *e)
{
    struct shape p = c->in[0]->shape;
    enum dtype type = c->in[0]->type;
    const char *form = update_forms[c->node->op];
    if (type != sum_type(type))
        return err_set(e, ERR_TYPE, "what is updated must be f32, input 0 is %s", dtype_name(type));
    if (c->node->op == OP_ADAFACTOR && p.rank < 2)
        return err_set(e, ERR_SHAPE, "rows and columns of %s: it has no two dimensions", shape_text(p).s);
    for (int i = 0; form[i]; i++) {
        if (!want_shape(c, i, update_shape(p, form[i]), e))
            return false;
        if (form[i] == 'c' ? !want_type(c, i, DTYPE_U8, e)
                           : form[i] == 'x' || form[i] == 's' ? !is_readable(c->in[i]->type) : c->in[i]->type != type)
            return err_set(e, ERR_TYPE, "input %d must be %s, is %s", i, dtype_name(type), dtype_name(c->in[i]->type));
    }
    for (int i = 0; i < op_desc(c->node->op)->updates; i++)
        set_out(c, i, c->in[i]->shape, c->in[i]->type);
    return c->node->op != OP_PRODIGY_MEASURE || set_out(c, 3, SHAPE(2), type);
}
