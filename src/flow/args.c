/* Data -> the struct of arguments that a node's functions get. */
#include <string.h>

#include "base/mem.h"
#include "flow/flow_internal.h"
#include "flow/types.h"

static const char *kind_name(const struct datum *d)
{
    static const char *const names[] = { "nothing", "INT", "FLOAT", "BOOLEAN", "STRING", "JSON", "an object", "a blocker" };
    return d->kind == DATUM_OBJECT ? d->type->name : names[d->kind];
}

static bool mismatch(const struct node *n, const struct node_input *i, const struct datum *d, struct err *e)
{
    return err_set(e, ERR_TYPE, "%s: input %s wants %s and was given %s", n->name, i->name, i->type, kind_name(d));
}

static bool is_number(const struct datum *d)
{
    return d->kind == DATUM_INT || d->kind == DATUM_FLOAT || d->kind == DATUM_BOOL;
}

static bool fill_one(const struct node *n, const struct node_input *i, char *place, const struct datum *d, struct err *e)
{
    if (!strcmp(i->type, "INT")) {
        if (!is_number(d))
            return mismatch(n, i, d, e);
        *(int64_t *)(void *)place = d->kind == DATUM_FLOAT ? (int64_t)d->real : d->whole;
    } else if (!strcmp(i->type, "FLOAT")) {
        if (!is_number(d))
            return mismatch(n, i, d, e);
        *(double *)(void *)place = d->kind == DATUM_FLOAT ? d->real : (double)d->whole;
    } else if (!strcmp(i->type, "BOOLEAN")) {
        *(bool *)place = d->kind == DATUM_FLOAT ? d->real != 0 : d->kind == DATUM_TEXT ? *d->text != 0 : d->whole != 0;
    } else if (!strcmp(i->type, "STRING") || node_is_choice(i)) {
        if (d->kind != DATUM_TEXT)
            return mismatch(n, i, d, e);
        *(const char **)(void *)place = d->text;
    } else {
        const struct datum_type *wanted = type_find(i->type);
        if (wanted && (d->kind != DATUM_OBJECT || d->type != wanted) && !(i->flags & NODE_RAW_LINK))
            return mismatch(n, i, d, e);
        *(const struct datum **)(void *)place = d;
    }
    return true;
}

/* What stands where nothing was given. */
static void fill_default(const struct node_input *i, char *place)
{
    json_t *initial = node_default(i);
    if (!strcmp(i->type, "INT"))
        *(int64_t *)(void *)place = json_integer_value(initial);
    else if (!strcmp(i->type, "FLOAT"))
        *(double *)(void *)place = json_real_value(initial);
    else if (!strcmp(i->type, "BOOLEAN"))
        *(bool *)place = json_is_true(initial);
    else if (!strcmp(i->type, "STRING"))
        *(const char **)(void *)place = i->initial ? i->initial : "";
    else if (node_is_choice(i))
        *(const char **)(void *)place = i->initial ? i->initial : i->folder_first ? i->folder_first : i->choices ? i->choices[0]
                                                                                                  : i->choice   ? i->choice(0)
                                                                                                                : NULL;
    json_decref(initial);
}

bool args_fill(const struct node *n, void *args, const struct datum_list *const *inputs, size_t index, struct err *e)
{
    size_t k = 0;
    for (const struct node_input *i = n->inputs; i && i->name; i++, k++) {
        char *place = (char *)args + i->place;
        const struct datum_list *given = inputs[k];
        if (n->flags & NODE_INPUT_LISTS) {
            union { int64_t whole; double real; const void *pointer; bool truth; } unused; /* only the types are looked at */
            for (size_t m = 0; given && m < given->count; m++)
                if (!fill_one(n, i, (char *)&unused, given->at[m], e))
                    return false;
            if (!given && !(i->flags & NODE_OPTIONAL))
                return err_set(e, ERR_MISSING, "%s: input %s is missing", n->name, i->name);
            *(const struct datum_list **)(void *)place = given;
            continue;
        }
        if (!given || !given->count) {
            if (type_find(i->type) && !(i->flags & (NODE_OPTIONAL | NODE_LAZY)))
                return err_set(e, ERR_MISSING, "%s: input %s is missing", n->name, i->name);
            fill_default(i, place);
            continue;
        }
        const struct datum *d = given->at[index < given->count ? index : given->count - 1];
        if (d->kind == DATUM_NOTHING && i->flags & NODE_OPTIONAL)
            fill_default(i, place);
        else if (!fill_one(n, i, place, d, e))
            return false;
    }
    return true;
}

struct datum *datum_of_constant(const json_t *value, const struct node_input *input, struct err *e)
{
    int64_t bits;
    bool large;
    if (flow_json_is_whole(value, &bits, &large)) /* a number stays what the flow says where a socket takes several types */
        return input && !strcmp(input->type, "FLOAT") ? datum_of_float(large ? (double)(uint64_t)bits : (double)bits, e)
                                                      : datum_of_int(bits, e);
    if (json_is_real(value))
        return datum_of_float(json_real_value(value), e);
    if (json_is_boolean(value))
        return datum_of_bool(json_is_true(value), e);
    if (json_is_string(value))
        return datum_of_text(json_string_value(value), e);
    if (!value || json_is_null(value))
        return datum_of_nothing(e);
    json_t *copy = json_deep_copy(value);
    struct datum *d = copy ? datum_of_json(copy, e) : NULL;
    json_decref(copy);
    if (!copy)
        err_nomem(e, "an input");
    return d;
}

bool args_of_constants(const struct node *n, const json_t *inputs, void *args, struct datum_list *held, struct err *e)
{
    size_t k = 0;
    *held = (struct datum_list){ 0 };
    for (const struct node_input *i = n->inputs; i && i->name; i++, k++) {
        const json_t *value = json_object_get(inputs, i->name);
        if (!value || json_is_array(value))
            continue;
        struct datum *d = datum_of_constant(value, i, e);
        if (!datum_list_add(held, d, e))
            return false;
        if (!(n->flags & NODE_INPUT_LISTS) && type_find(i->type) == NULL && !fill_one(n, i, (char *)args + i->place, d, e))
            return false;
    }
    return true;
}
