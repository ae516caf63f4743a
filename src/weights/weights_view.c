#include "weights/weights_view.h"

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

bool weights_view_end(struct weights *view, struct err *e)
{
    return weights_make_slots(view, e);
}
