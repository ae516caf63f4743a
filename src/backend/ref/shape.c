#include <string.h>

#include "backend/ref/ref_internal.h"

/* An array around one axis: [before, size, after]. */
struct around {
    int64_t before, size, after;
};

static struct around around(struct shape s, int64_t axis)
{
    if (axis < 0)
        axis += s.rank;
    struct around r = { 1, s.dim[axis], 1 };
    for (int i = 0; i < s.rank; i++)
        if (i < axis)
            r.before *= s.dim[i];
        else if (i > axis)
            r.after *= s.dim[i];
    return r;
}

/* Copies `count` entries along the axis, from entry `from` of src to entry `to` of dst. */
static void copy_along(double *dst, struct around d, int64_t to, const double *src, struct around s, int64_t from,
                       int64_t count)
{
    for (int64_t i = 0; i < d.before; i++)
        memcpy(dst + (i * d.size + to) * d.after, src + (i * s.size + from) * s.after,
               (size_t)(count * d.after) * sizeof *dst);
}

bool ref_concat(const struct ref_args *a, struct err *e)
{
    int64_t axis = a->attr->axis;
    struct around first = around(ref_in_shape(a, 0), axis), second = around(ref_in_shape(a, 1), axis);
    struct around whole = around(ref_out_shape(a, 0), axis);
    copy_along(a->out[0], whole, 0, a->in[0], first, 0, first.size);
    copy_along(a->out[0], whole, first.size, a->in[1], second, 0, second.size);
    return true;
}

bool ref_slice(const struct ref_args *a, struct err *e)
{
    struct around part = around(ref_out_shape(a, 0), a->attr->axis), whole = around(ref_in_shape(a, 0), a->attr->axis);
    copy_along(a->out[0], part, 0, a->in[0], whole, a->attr->begin, part.size);
    return true;
}

bool ref_place(const struct ref_args *a, struct err *e)
{
    struct around part = around(ref_in_shape(a, 0), a->attr->axis), whole = around(ref_out_shape(a, 0), a->attr->axis);
    memset(a->out[0], 0, (size_t)shape_count(ref_out_shape(a, 0)) * sizeof(double));
    copy_along(a->out[0], whole, a->attr->begin, a->in[0], part, 0, part.size);
    return true;
}

/* reshape and cast: the same numbers; ref.c writes them in the new type. */
bool ref_copy(const struct ref_args *a, struct err *e)
{
    memcpy(a->out[0], a->in[0], (size_t)shape_count(ref_in_shape(a, 0)) * sizeof(double));
    return true;
}

bool ref_sum_to(const struct ref_args *a, struct err *e)
{
    struct shape large = ref_in_shape(a, 0), small = ref_out_shape(a, 0);
    int64_t count = shape_count(large);
    memset(a->out[0], 0, (size_t)shape_count(small) * sizeof(double));
    for (int64_t i = 0; i < count; i++)
        a->out[0][ref_broadcast_index(large, small, i)] += a->in[0][i];
    return true;
}

bool ref_expand(const struct ref_args *a, struct err *e)
{
    struct shape large = ref_out_shape(a, 0), small = ref_in_shape(a, 0);
    int64_t count = shape_count(large);
    for (int64_t i = 0; i < count; i++)
        a->out[0][i] = a->in[0][ref_broadcast_index(large, small, i)];
    return true;
}
