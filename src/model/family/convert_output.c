/* The stream of convert.c: a plan of tensors, written piece by piece. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/file.h"
#include "model/family/convert_internal.h"

enum { PIECE = 1 << 20 }; /* numbers at a time */

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

void output_init(struct output *o, const char *path, enum dtype type)
{
    *o = (struct output){ .format = ends_in(path, ".gguf") ? WEIGHTS_GGUF : WEIGHTS_SAFETENSORS, .type = type };
}

void output_release(struct output *o)
{
    for (size_t i = 0; i < o->count; i++)
        mem_free((char *)(uintptr_t)o->entries[i].name);
    mem_free(o->entries);
    mem_free(o->tensors);
    while (o->kept_count)
        weights_free(o->kept[--o->kept_count]);
    *o = (struct output){ .format = o->format, .type = o->type };
}

bool output_keep(struct output *o, struct weights *w, struct err *e)
{
    if (o->kept_count == sizeof o->kept / sizeof *o->kept)
        return err_set(e, ERR_LIMIT, "%s: too many files at a time", weights_path(w));
    o->kept[o->kept_count++] = w;
    return true;
}

bool output_is_number(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F64 || t == DTYPE_F8_E4M3 || t == DTYPE_F8_E5M2 ||
           dtype_is_quantised(t);
}

bool output_may_be_quantised(const char *name, const struct weight *t, enum dtype type)
{
    static const char *const kept[] = { "embedding", "input_blocks.0.0.", "out.2.", "conv_in.", "conv_out." };
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strstr(name, kept[i]))
            return false;
    return t->shape.rank >= 2 && ends_in(name, "weight") && shape_count(t->shape) % dtype_block(type) == 0;
}

static enum dtype type_of(const struct output *o, const char *name, const struct weight *t)
{
    enum dtype type = !output_is_number(t->type) || o->type == DTYPE_COUNT ? t->type : o->type;
    if (o->type != DTYPE_COUNT && dtype_is_quantised(type) && output_is_number(t->type) && !output_may_be_quantised(name, t, type))
        type = t->type;
    /* safetensors has no word for a quantised tensor of the input, and one that is turned is plain */
    bool keeps = o->type == DTYPE_COUNT || type != o->type;
    return dtype_is_quantised(type) && keeps && o->format == WEIGHTS_SAFETENSORS ? DTYPE_F16 : type;
}

static struct output_tensor *append(struct output *o, const char *name, const struct weight *t, int ones, struct err *e)
{
    struct weights_entry *entries = mem_grow(o->entries, &o->entries_cap, o->count + 1, sizeof *entries);
    if (entries)
        o->entries = entries;
    struct output_tensor *tensors = mem_grow(o->tensors, &o->tensors_cap, o->count + 1, sizeof *tensors);
    if (tensors)
        o->tensors = tensors;
    char *copy = mem_string(name);
    if (!entries || !tensors || !copy) {
        mem_free(copy);
        err_nomem(e, "a list of tensors");
        return NULL;
    }
    struct shape shape = t->shape;
    for (; ones > 0 && shape.rank < SHAPE_MAX_RANK; ones--)
        shape.dim[shape.rank++] = 1;
    for (; ones < 0 && shape.rank && shape.dim[shape.rank - 1] == 1; ones++)
        shape.rank--;
    entries[o->count] = (struct weights_entry){ copy, type_of(o, name, t), shape };
    tensors[o->count] = (struct output_tensor){ .count = 0 };
    return &tensors[o->count++];
}

bool output_add(struct output *o, const char *name, const struct weight *t, enum name_how how, int ones, struct err *e)
{
    struct output_tensor *out = NULL;
    bool third = how == NAME_FIRST || how == NAME_SECOND || how == NAME_THIRD;
    size_t at = third ? o->count : 0;
    while (at-- > 0)
        if (!strcmp(o->entries[at].name, name)) {
            out = &o->tensors[at];
            break;
        }
    if (!out) {
        if (!(out = append(o, name, t, ones, e)))
            return false;
        at = o->count - 1;
        if (third)
            o->entries[at].shape.dim[0] *= NAME_MOST;
        if (how == NAME_TURNED) {
            if (t->shape.rank != 2)
                return err_set(e, ERR_SHAPE, "\"%.200s\" is %s, want two dimensions", t->name, shape_text(t->shape).s);
            out->turned = true;
            if (dtype_is_quantised(o->entries[at].type))
                o->entries[at].type = DTYPE_F16;
            o->entries[at].shape = SHAPE(t->shape.dim[1], t->shape.dim[0]);
        }
        out->count = third ? NAME_MOST : 1;
    }
    int place = third ? (int)how - NAME_FIRST : 0;
    if (out->from[place])
        return err_set(e, ERR_FORMAT, "two tensors would both be \"%.200s\"", name);
    out->from[place] = t;
    return true;
}

/* What one piece needs on its way. */
struct work {
    float *numbers;  /* [PIECE] */
    char *typed;     /* [PIECE] of the widest type */
};

/* A block of a quantised type has a scale for all of its numbers: one that is not finite would spoil them. */
static bool check_finite(const struct output *o, size_t index, const float *x, enum dtype type, size_t count, struct err *e)
{
    for (size_t i = 0; dtype_is_quantised(type) && i < count; i++)
        if (!isfinite(x[i]))
            return err_set(e, ERR_FORMAT, "\"%.200s\" holds %g, which %s cannot", o->entries[index].name, (double)x[i],
                           dtype_name(type));
    return true;
}

/* Numbers that were finite and are not after rounding are beyond f16's range. */
static bool check_range(const struct output *o, size_t index, const float *x, enum dtype type, const void *typed, size_t count,
                        struct err *e)
{
    for (size_t i = 0; type == DTYPE_F16 && i < count; i++)
        if (isfinite(x[i]) && !isfinite(f16_to_f32(((const uint16_t *)typed)[i])))
            return err_set(e, ERR_FORMAT, "\"%.200s\" holds %g, which f16 cannot: --type bf16 or f32 can", o->entries[index].name,
                           (double)x[i]);
    return true;
}

static bool write_numbers(const struct output *o, struct weights_writer *w, size_t index, const struct weight *t, size_t before,
                          struct work *work, struct err *e)
{
    const struct weights_entry *entry = &o->entries[index];
    size_t count = (size_t)shape_count(t->shape);
    if (t->type == entry->type && (!o->change || !output_is_number(t->type)))
        return weights_write_piece(w, index, t->data, weight_bytes(t), e);
    if (count == 0)
        return weights_write_piece(w, index, t->data, 0, e);
    for (size_t at = 0; at < count; at += PIECE) {
        size_t n = count - at < PIECE ? count - at : PIECE;
        const char *from = (const char *)t->data + dtype_span(t->type, (int64_t)at);
        if (!dtype_convert(work->numbers, DTYPE_F32, from, t->type, n))
            return err_set(e, ERR_TYPE, "\"%.200s\" is of the type %s, which is not converted", t->name, dtype_name(t->type));
        if ((o->change && !o->change(o->self, index, before + at, work->numbers, n, e)) ||
            !check_finite(o, index, work->numbers, entry->type, n, e) ||
            !dtype_convert(work->typed, entry->type, work->numbers, DTYPE_F32, n) ||
            !check_range(o, index, work->numbers, entry->type, work->typed, n, e) ||
            !weights_write_piece(w, index, work->typed, dtype_span(entry->type, (int64_t)n), e) || !stop_check(e))
            return e->code ? false : err_set(e, ERR_TYPE, "\"%.200s\": no way from %s to %s", t->name, dtype_name(t->type),
                                             dtype_name(entry->type));
    }
    return true;
}

static bool write_one(const struct output *o, struct weights_writer *w, size_t index, struct work *work, struct err *e)
{
    const struct output_tensor *t = &o->tensors[index];
    size_t before = 0;
    for (int k = 0; k < t->count; k++) {
        const struct weight *from = t->from[k];
        if (!from)
            return err_set(e, ERR_FORMAT, "\"%.200s\" is put together of three, and one is missing", o->entries[index].name);
        if (t->turned) { /* a small matrix: turned as a whole */
            struct weights *view = weights_view_new(o->kept[0], e);
            bool good = view && weights_view_turned(view, from->name, from, e) &&
                        write_numbers(o, w, index, weights_at(view, 0), 0, work, e);
            weights_free(view);
            if (!good)
                return false;
        } else if (!write_numbers(o, w, index, from, before, work, e)) {
            return false;
        }
        before += (size_t)shape_count(from->shape);
        for (size_t i = 0; i < o->kept_count; i++)
            weights_forget(o->kept[i], from); /* those that it does not lie in do nothing */
    }
    return true;
}

bool output_write(struct output *o, const char *path, const struct weights_pair *pairs, size_t pair_count,
                  const struct progress *progress, struct err *e)
{
    struct work work = { mem_aligned(PIECE * sizeof(float)), mem_aligned(PIECE * sizeof(double)) };
    struct weights_writer *w = NULL;
    bool good = (work.numbers && work.typed) || err_nomem(e, path);
    good = good && (w = weights_write_begin_as(o->format, path, o->entries, o->count, pairs, pair_count, e));
    for (size_t i = 0; good && i < o->count; i++) {
        progress_step(progress, "writing", (long)i, (long)o->count, path_name(path));
        good = stop_check(e) && write_one(o, w, weights_writer_at(w, i), &work, e);
    }
    if (good) {
        progress_step(progress, "writing", (long)o->count, (long)o->count, path_name(path));
        good = weights_write_commit(w, e);
    } else {
        weights_write_abandon(w);
        if (e->code)
            err_add(e, "writing %s", path);
    }
    mem_free(work.numbers);
    mem_free(work.typed);
    return good;
}
