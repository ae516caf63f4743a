#include "model/layer/net.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "model/layer/adapter.h"

void params_init(struct params *p)
{
    *p = (struct params){ 0 };
}

void params_release(struct params *p)
{
    for (size_t i = 0; i < p->count; i++) {
        mem_free((char *)(uintptr_t)p->at[i].name);
        mem_free(p->at[i].made);
    }
    mem_free(p->at);
    params_init(p);
}

const struct param *params_find(const struct params *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (!strcmp(p->at[i].name, name))
            return &p->at[i];
    return NULL;
}

struct path path_of(const char *format, ...)
{
    struct path p;
    va_list args;
    va_start(args, format);
    vsnprintf(p.s, sizeof p.s, format, args);
    va_end(args);
    return p;
}

/* Spellings of the same weight: files written before diffusers 0.18 name the VAE's attention otherwise, and text
 * encoders are written with and without their first word (ChatGLM's own files have "transformer."). */
const struct weight *net_stored(const struct weights *stored, const char *name)
{
    const struct weight *w = weights_find(stored, name);
    static const struct { const char *now, *before; } spellings[] = {
        { ".to_q.", ".query." }, { ".to_k.", ".key." }, { ".to_v.", ".value." }, { ".to_out.0.", ".proj_attn." },
    };
    for (size_t i = 0; !w && i < sizeof spellings / sizeof *spellings; i++) {
        const char *at = strstr(name, spellings[i].now);
        if (at)
            w = weights_find(stored, path_of("%.*s%s%s", (int)(at - name), name, spellings[i].before,
                                             at + strlen(spellings[i].now)).s);
    }
    if (!w && !strncmp(name, "text_model.", 11))
        w = weights_find(stored, name + 11);
    if (!w && (!strncmp(name, "encoder.layers.", 15) || !strncmp(name, "embedding.", 10)))
        w = weights_find(stored, path_of("transformer.%s", name).s);
    return w;
}

/* Equal when dimensions of 1 are left out: a linear layer may be kept as a 1x1 convolution. */
static bool same_but_ones(struct shape a, struct shape b)
{
    struct shape kept[2] = { { 0 }, { 0 } };
    const struct shape *from[2] = { &a, &b };
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < from[k]->rank; i++)
            if (from[k]->dim[i] != 1)
                kept[k].dim[kept[k].rank++] = from[k]->dim[i];
    return shape_same(kept[0], kept[1]);
}

bool params_add(struct params *p, const char *name, const struct param *what, struct err *e)
{
    if (params_find(p, name))
        return true;
    struct param *grown = mem_grow(p->at, &p->cap, p->count + 1, sizeof *p->at);
    if (grown)
        p->at = grown;
    char *copy = grown ? mem_string(name) : NULL;
    if (!copy)
        return err_nomem(e, "the list of weights");
    p->at[p->count] = *what;
    p->at[p->count++].name = copy;
    return true;
}

/* Whether the weight of this name changes. */
static bool learns(const struct net *n, const char *name)
{
    if (!n->trained || !n->only)
        return n->trained;
    for (const char *at = n->only; *at;) {
        size_t length = strcspn(at, ",");
        if (!fnmatch(path_of("%.*s", (int)length, at).s, name, 0))
            return true;
        at += length + (at[length] == ',');
    }
    return false;
}

struct value net_weight(struct net *n, const char *prefix, const char *name, struct shape shape, enum init init,
                        double scale, bool decay)
{
    struct path file_name = path_of("%s%s%s", prefix, prefix[0] ? "." : "", name);
    struct path whole = path_of("%s/%s", n->part, file_name.s);
    const struct weight *stored = NULL;
    enum dtype type = n->type == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    bool changes = learns(n, file_name.s);
    if (n->g->err.code)
        return VALUE_NONE;
    if (n->stored) {
        stored = net_stored(n->stored, file_name.s);
        if (!stored)
            return graph_fail(n->g, ERR_MISSING, "%s has no %s, which its config asks for", weights_path(n->stored),
                              file_name.s);
        if (!same_but_ones(stored->shape, shape))
            return graph_fail(n->g, ERR_SHAPE, "%s: %s is %s, its config asks for %s", weights_path(n->stored),
                              file_name.s, shape_text(stored->shape).s, shape_text(shape).s);
        type = changes ? type : stored->type;
    } else if (!n->trained && n->kept != DTYPE_F32) {
        type = n->kept;
    }
    struct param p = { .shape = shape, .init = init, .scale = scale, .decay = decay, .stored = stored, .adapters = n->adapters };
    p.role = (int)net_changed(n, whole.s, &p.adapter);
    if (p.role)
        type = DTYPE_F32;
    if (!params_add(n->trained && !changes ? n->rest : n->params, whole.s, &p, &n->g->err))
        return VALUE_NONE;
    return graph_weight(n->g, whole.s, type, shape, changes || n->in_place);
}

bool params_bind(const struct params *p, struct program *program, const struct weights *stored, struct err *e)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct param *param = &p->at[i];
        if (param->role)
            continue;
        if (!param->stored)
            return err_set(e, ERR_MISSING, "%s is in no file", param->name);
        struct tensor src = { param->stored->type, param->shape, (void *)(uintptr_t)param->stored->data };
        bool kept;
        if (!weights_check_finite(param->stored, e) || !program_bind_weight(program, param->name, &src, &kept, e))
            return err_add(e, "in %s", weights_path(stored));
        /* A kept one was only looked at: what is read of it (of a table a few rows) comes again when it is read. */
        weights_forget(stored, param->stored);
    }
    return true;
}

/* What an adapter's weight is made from: the module's own, as stored. */
static const struct weight *base_of(const struct params *p, const struct param *param)
{
    if (param->role == ADAPTER_WEIGHT || param->role == ADAPTER_BIAS)
        return param->stored;
    const struct param *own = params_find(p, path_of("%s.weight", param->adapters->at[param->adapter].name).s);
    return own ? own->stored : NULL;
}

bool params_bind_adapted(struct params *p, struct program *program, bool again, struct err *e)
{
    for (size_t i = 0; i < p->count; i++) {
        struct param *param = &p->at[i];
        if (!param->role || param->adapters->trained || (again && param->role == ADAPTER_DOWN))
            continue;
        float *numbers = param->made ? param->made : mem_aligned((size_t)shape_count(param->shape) * sizeof *numbers);
        param->made = numbers; /* so that it is freed whatever happens */
        if (!numbers)
            return err_nomem(e, param->name);
        struct tensor src = { DTYPE_F32, param->shape, numbers };
        bool kept;
        if (!param->adapters->fill(param->adapters->self, param->adapter, (enum adapter_role)param->role, base_of(p, param),
                                   numbers, e) ||
            !program_bind_weight(program, param->name, &src, &kept, e))
            return err_add(e, "in %s", param->name);
        if (!kept) {
            mem_free(numbers);
            param->made = NULL;
        }
    }
    return true;
}
