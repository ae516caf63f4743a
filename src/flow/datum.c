#include "flow/datum.h"

#include <string.h>

#include "base/mem.h"

static struct datum *make(enum datum_kind kind, struct err *e)
{
    struct datum *d = mem_zeroed(1, sizeof *d);
    if (!d) {
        err_nomem(e, "a result");
        return NULL;
    }
    d->kind = kind;
    d->holders = 1;
    return d;
}

struct datum *datum_of_nothing(struct err *e)
{
    return make(DATUM_NOTHING, e);
}

struct datum *datum_of_int(int64_t v, struct err *e)
{
    struct datum *d = make(DATUM_INT, e);
    if (d)
        d->whole = v;
    return d;
}

struct datum *datum_of_float(double v, struct err *e)
{
    struct datum *d = make(DATUM_FLOAT, e);
    if (d)
        d->real = v;
    return d;
}

struct datum *datum_of_bool(bool v, struct err *e)
{
    struct datum *d = make(DATUM_BOOL, e);
    if (d)
        d->whole = v;
    return d;
}

static struct datum *make_text(enum datum_kind kind, const char *v, struct err *e)
{
    struct datum *d = make(kind, e);
    if (!d || !v)
        return d;
    d->text = mem_string(v);
    if (d->text)
        return d;
    mem_free(d);
    err_nomem(e, "a text");
    return NULL;
}

struct datum *datum_of_text(const char *v, struct err *e)
{
    return make_text(DATUM_TEXT, v, e);
}

struct datum *datum_of_blocker(const char *why, struct err *e)
{
    return make_text(DATUM_BLOCKER, why, e);
}

struct datum *datum_of_json(json_t *v, struct err *e)
{
    struct datum *d = make(DATUM_JSON, e);
    if (d)
        d->json = json_incref(v);
    return d;
}

struct datum *datum_of_object(const struct datum_type *type, void *object, struct err *e)
{
    struct datum *d = object ? make(DATUM_OBJECT, e) : NULL;
    if (d) {
        d->type = type;
        d->object = object;
    } else if (object) {
        type->free(object);
    }
    return d;
}

struct datum *datum_keep(struct datum *d)
{
    d->holders++;
    return d;
}

void datum_drop(struct datum *d)
{
    if (!d || --d->holders)
        return;
    if (d->kind == DATUM_OBJECT)
        d->type->free(d->object);
    mem_free(d->text);
    json_decref(d->json);
    mem_free(d);
}

size_t datum_bytes(const struct datum *d)
{
    size_t bytes = sizeof *d + (d->text ? strlen(d->text) : 0);
    return d->kind == DATUM_OBJECT && d->type->bytes ? bytes + d->type->bytes(d->object) : bytes;
}

void datum_list_release(struct datum_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        datum_drop(l->at[i]);
    mem_free(l->at);
    *l = (struct datum_list){ 0 };
}

bool datum_list_add(struct datum_list *l, struct datum *d, struct err *e)
{
    struct datum **grown = d ? mem_grow(l->at, &l->cap, l->count + 1, sizeof *grown) : NULL;
    if (!grown) {
        bool there = d != NULL;
        datum_drop(d);
        return there ? err_nomem(e, "a list of results") : false;
    }
    l->at = grown;
    l->at[l->count++] = d;
    return true;
}
