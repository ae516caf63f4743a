#include "weights/weights_view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "weights/weights_internal.h"

struct weights *weights_view_new(const struct weights *file, struct err *e)
{
    struct weights *w = mem_zeroed(1, sizeof *w);
    if (!w || !(w->path = mem_string(weights_path(file)))) {
        mem_free(w);
        err_nomem(e, weights_path(file));
        return NULL;
    }
    w->base = file;
    return w;
}

/* Keeps a block of memory until the view is freed. */
static bool own(struct weights *view, void *block, struct err *e)
{
    void **grown = block ? mem_grow(view->owned, &view->owned_cap, view->owned_count + 1, sizeof *grown) : NULL;
    if (!grown) {
        mem_free(block);
        return err_nomem(e, view->path);
    }
    view->owned = grown;
    grown[view->owned_count++] = block;
    return true;
}

bool weights_view_add(struct weights *view, const char *name, const struct weight *t, struct err *e)
{
    char *copy = mem_string(name);
    struct weight *grown = mem_grow(view->list, &view->cap, view->count + 1, sizeof *grown);
    if (grown)
        view->list = grown;
    if (!own(view, copy, e))
        return false;
    if (!grown)
        return err_nomem(e, view->path);
    grown[view->count] = *t;
    grown[view->count++].name = copy;
    return true;
}

bool weights_view_part(struct weights *view, const char *name, const struct weight *t, int part, int parts, struct err *e)
{
    struct weight piece = *t;
    if (t->shape.rank < 1 || t->shape.dim[0] % parts)
        return err_set(e, ERR_SHAPE, "%s: \"%.200s\" is %s, which has no %d equal parts", view->path, t->name,
                       shape_text(t->shape).s, parts);
    piece.shape.dim[0] /= parts;
    if (shape_count(piece.shape) % dtype_block(t->type))
        return err_set(e, ERR_SHAPE, "%s: \"%.200s\" is %s, whose %d parts are no whole blocks of %s", view->path, t->name,
                       shape_text(t->shape).s, parts, dtype_name(t->type));
    piece.data = (const char *)t->data + (size_t)part * weight_bytes(&piece);
    return weights_view_add(view, name, &piece, e);
}

bool weights_view_turned(struct weights *view, const char *name, const struct weight *t, struct err *e)
{
    if (t->shape.rank != 2)
        return err_set(e, ERR_SHAPE, "%s: \"%.200s\" is %s, want two dimensions", view->path, t->name,
                       shape_text(t->shape).s);
    size_t rows = (size_t)t->shape.dim[0], columns = (size_t)t->shape.dim[1];
    struct weight turned = { t->name, dtype_is_quantised(t->type) ? DTYPE_F32 : t->type, SHAPE(t->shape.dim[1], t->shape.dim[0]),
                             NULL };
    size_t each = dtype_bytes(turned.type);
    char *to = mem_aligned(weight_bytes(&turned) + 1);
    turned.data = to;
    if (!own(view, to, e))
        return false;
    char *plain = dtype_is_quantised(t->type) ? mem_aligned(weight_bytes(&turned)) : NULL;
    if (dtype_is_quantised(t->type) && !plain)
        return err_nomem(e, view->path);
    if (plain)
        (void)dtype_convert(plain, DTYPE_F32, t->data, t->type, rows * columns);
    const char *from = plain ? plain : t->data;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < columns; k++)
            memcpy(to + (k * rows + i) * each, from + (i * columns + k) * each, each);
    mem_free(plain);
    return weights_view_add(view, name, &turned, e);
}

/* Whether an f16 is the same number. */
static bool is_half(double x)
{
    return (double)f16_to_f32(f32_to_f16((float)x)) == x;
}

static int signed_at(const uint8_t *row, int64_t i, int bits)
{
    if (bits == 8)
        return (int8_t)row[i];
    int nibble = i % 2 ? row[i / 2] & 15 : row[i / 2] >> 4;
    return nibble < 8 ? nibble : nibble - 16;
}

/* A row of a scale as blocks of 32. */
static void pack_row(char *to, const uint8_t *row, int64_t columns, uint16_t scale, int bits)
{
    for (int64_t at = 0; at < columns; at += 32) {
        memcpy(to, &scale, sizeof scale);
        to += sizeof scale;
        if (bits == 8) {
            memcpy(to, row + at, 32);
            to += 32;
            continue;
        }
        for (int64_t k = 0; k < 16; k++)
            *to++ = (char)((signed_at(row, at + k, 4) + 8) | (signed_at(row, at + 16 + k, 4) + 8) << 4);
    }
}

bool weights_view_scaled(struct weights *view, const char *name, const struct weight *t, const struct weight *scale, int bits,
                         struct err *e)
{
    if (t->shape.rank != 2 || scale->shape.rank != 1 || scale->shape.dim[0] != t->shape.dim[0])
        return err_set(e, ERR_SHAPE, "%s: \"%.200s\" is %s with scales %s, want a scale for each row", view->path, t->name,
                       shape_text(t->shape).s, shape_text(scale->shape).s);
    if (t->type != DTYPE_I8 || (scale->type != DTYPE_F16 && scale->type != DTYPE_BF16 && scale->type != DTYPE_F32))
        return err_set(e, ERR_TYPE, "%s: \"%.200s\" is %s with scales of %s, want i8 and floating scales", view->path, t->name,
                       dtype_name(t->type), dtype_name(scale->type));
    int64_t rows = t->shape.dim[0], bytes = t->shape.dim[1], columns = bytes * (8 / bits);
    bool blocks = columns % 32 == 0;
    for (int64_t i = 0; blocks && i < rows; i++)
        blocks = is_half(dtype_load(scale->data, scale->type, i));
    struct weight w = { t->name, !blocks ? DTYPE_F32 : bits == 8 ? DTYPE_Q8_0 : DTYPE_Q4_0, SHAPE(rows, columns), NULL };
    char *to = mem_aligned(weight_bytes(&w) + 1);
    w.data = to;
    if (!own(view, to, e))
        return false;
    size_t row_bytes = rows ? weight_bytes(&w) / (size_t)rows : 0;
    for (int64_t i = 0; i < rows; i++, to += row_bytes) {
        const uint8_t *row = (const uint8_t *)t->data + i * bytes;
        double one = dtype_load(scale->data, scale->type, i);
        if (blocks)
            pack_row(to, row, columns, f32_to_f16((float)one), bits);
        for (int64_t k = 0; !blocks && k < columns; k++)
            ((float *)(void *)to)[k] = (float)(signed_at(row, k, bits) * one);
    }
    return weights_view_add(view, name, &w, e);
}

bool weights_view_typed(struct weights *view, const struct weight *t, enum dtype type, struct err *e)
{
    struct weight typed = { t->name, type, t->shape, NULL };
    size_t bytes;
    if (!dtype_convert(NULL, type, NULL, t->type, 0) || !weight_size(type, &t->shape, &bytes))
        return err_set(e, ERR_TYPE, "%s: \"%.200s\" %s cannot become %s", view->path, t->name, shape_text(t->shape).s, dtype_name(type));
    void *numbers = mem_zeroed(bytes, 1);
    typed.data = numbers;
    return own(view, numbers, e) && weights_view_add(view, t->name, &typed, e);
}

/* `count` numbers by way of f32, in pieces. */
static bool convert(char *to, const struct weight *typed, const struct weight *from, const char *path, struct err *e)
{
    enum { PIECE = 1 << 16 };
    int64_t count = shape_count(from->shape);
    size_t block = (size_t)dtype_block(typed->type), from_block = (size_t)dtype_block(from->type);
    size_t block_bytes = dtype_block_bytes(typed->type), from_bytes = dtype_block_bytes(from->type);
    float *numbers = mem_aligned(PIECE * sizeof *numbers);
    bool good = numbers || err_nomem(e, path);
    for (int64_t at = 0; good && at < count; at += PIECE) {
        size_t n = (size_t)(count - at < PIECE ? count - at : PIECE);
        const char *source = (const char *)from->data + (size_t)at / from_block * from_bytes;
        good = dtype_convert(numbers, DTYPE_F32, source, from->type, n);
        for (size_t i = 0; good && i < n; i++)
            if (!isfinite(numbers[i]))
                good = err_set(e, ERR_FORMAT, "%s: \"%.200s\" holds %g, which %s cannot", path, from->name, (double)numbers[i],
                               dtype_name(typed->type));
        good = good && dtype_convert(to + (size_t)at / block * block_bytes, typed->type, numbers, DTYPE_F32, n);
    }
    mem_free(numbers);
    return good;
}

bool weights_view_fill(struct weights *view, const struct progress *progress, struct err *e)
{
    bool good = true;
    for (size_t i = 0; good && i < view->count; i++) {
        const struct weight *t = &view->list[i], *from = weights_find(view->base, t->name);
        if (!from || from->type == t->type)
            continue;
        good = stop_check(e) && convert((char *)(uintptr_t)t->data, t, from, view->path, e);
        weights_forget(view->base, from);
        progress_step(progress, "weights in another type", (long)i + 1, (long)view->count, NULL);
    }
    return good;
}

bool weights_view_end(struct weights *view, struct err *e)
{
    return weights_make_slots(view, e);
}
