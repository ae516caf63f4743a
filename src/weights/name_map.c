#include "weights/name_map.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void name_map_init(struct name_map *m)
{
    *m = (struct name_map){ 0 };
}

void name_map_release(struct name_map *m)
{
    for (size_t i = 0; i < m->count; i++) {
        mem_free(m->at[i].outer);
        mem_free(m->at[i].inner);
    }
    mem_free(m->at);
    name_map_init(m);
}

bool name_map_add(struct name_map *m, enum name_how how, const char *outer, const char *inner, struct err *e)
{
    struct name_pair *grown = mem_grow(m->at, &m->cap, m->count + 1, sizeof *grown);
    if (grown)
        m->at = grown;
    char *a = mem_string(outer), *b = mem_string(inner);
    if (!grown || !a || !b) {
        mem_free(a);
        mem_free(b);
        return err_nomem(e, "a map of names");
    }
    grown[m->count++] = (struct name_pair){ a, b, how };
    return true;
}

static const char *side(const struct name_pair *p, bool outer)
{
    return outer ? p->outer : p->inner;
}

/* How many bytes of the name the beginning covers, or -1. */
static int covers(const char *beginning, const char *name)
{
    size_t n = strlen(beginning);
    if (strncmp(beginning, name, n) || (n && name[n] && name[n] != '.'))
        return -1;
    return (int)n;
}

/* The pairs whose beginning fits best, each with the other side's name. */
static size_t other_names(const struct name_map *m, const char *name, bool from_outer, struct renamed *out, size_t most)
{
    int best = -1;
    size_t count = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct name_pair *p = &m->at[i];
        int n = covers(side(p, from_outer), name);
        if (n < 0 || n < best)
            continue;
        if (n > best)
            count = 0;
        best = n;
        if (count == most)
            continue;
        const char *other = side(p, !from_outer), *rest = name + n;
        rest += *other == 0 && *rest == '.';
        int length = snprintf(out[count].name, NAME_MAX_BYTES, "%s%s%s", other, n == 0 && *other ? "." : "", rest);
        out[count].how = p->how;
        if (length < NAME_MAX_BYTES)
            count++;
    }
    return count;
}

size_t name_map_inner(const struct name_map *m, const char *outer, struct renamed out[NAME_MOST])
{
    return other_names(m, outer, true, out, NAME_MOST);
}

bool name_map_outer(const struct name_map *m, const char *inner, struct renamed *out)
{
    return other_names(m, inner, false, out, 1) == 1;
}

static bool add(struct weights *view, const struct renamed *r, const struct weight *t, struct err *e)
{
    switch (r->how) {
    case NAME_WHOLE: return weights_view_add(view, r->name, t, e);
    case NAME_TURNED: return weights_view_turned(view, r->name, t, e);
    default: return weights_view_part(view, r->name, t, (int)r->how - NAME_FIRST, NAME_MOST, e);
    }
}

struct weights *name_map_view(const struct name_map *m, const struct weights *file, const char *prefix, struct err *e)
{
    struct weights *view = weights_view_new(file, e);
    struct renamed names[NAME_MOST];
    size_t cut = strlen(prefix);
    bool good = view != NULL;
    for (size_t i = 0; good && i < weights_count(file); i++) {
        const struct weight *t = weights_at(file, i);
        size_t count = strncmp(t->name, prefix, cut) ? 0 : name_map_inner(m, t->name + cut, names);
        for (size_t k = 0; good && k < count; k++)
            good = add(view, &names[k], t, e);
    }
    if (good && weights_view_end(view, e))
        return view;
    weights_free(view);
    return NULL;
}
