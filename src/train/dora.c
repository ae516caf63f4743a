#include "train/dora.h"

#include "base/mem.h"
#include "graph/passes.h"

/* The norms of one module. */
static struct value norm(struct graph *g, const struct adapter *a, const struct lora_module *m, const struct weight *w)
{
    int64_t out = m->shape.dim[0], in = shape_count(m->shape) / out;
    struct value down = graph_weight(g, path_of("%s.lora_A.weight", a->name).s, DTYPE_F32, SHAPE(a->rank, in), true);
    struct value up = graph_weight(g, path_of("%s.lora_B.weight", a->name).s, DTYPE_F32, SHAPE(out, a->rank), true);
    struct value base = graph_weight(g, path_of("%s.weight", a->name).s, w->type, SHAPE(out, in), true);
    struct value change = op_scale(g, op_matmul(g, op_cast(g, up, DTYPE_F32), down, false, false, DTYPE_F32), a->scale, 0);
    struct value whole = op_add(g, change, op_cast(g, base, DTYPE_F32));
    struct value sum = op_sum_to(g, op_unary(g, whole, UNARY_SQUARE), SHAPE(out, 1), DTYPE_F32);
    return op_reshape(g, op_unary(g, sum, UNARY_SQRT), SHAPE(out));
}

static const struct weight *base_of(struct model_folder *model, const struct adapter *a, struct err *e)
{
    for (int part = 0; part < PART_COUNT; part++) {
        size_t n = strlen(model_part_names[part]);
        if (strncmp(a->name, model_part_names[part], n) || a->name[n] != '/')
            continue;
        const struct weights *stored = model_folder_weights(model, (enum model_part)part, e);
        return stored ? net_stored(stored, path_of("%s.weight", a->name + n + 1).s) : NULL;
    }
    return NULL;
}

static bool bind(struct dora *d, const char *name, enum dtype type, struct shape shape, const void *data, struct err *e)
{
    struct tensor src = { type, shape, (void *)(uintptr_t)data };
    bool kept;
    return program_bind_weight(d->program, name, &src, &kept, e);
}

static bool bind_all(struct dora *d, struct model_folder *model, const struct train_state *state, struct err *e)
{
    const struct targets *t = d->targets;
    for (size_t i = 0; i < t->adapters.count; i++) {
        const struct adapter *a = &t->list[i];
        if (!a->gain)
            continue;
        const struct lora_module *m = targets_module(t, i);
        const struct weight *w = base_of(model, a, e);
        int64_t out = m->shape.dim[0], in = shape_count(m->shape) / out;
        if (!w || !bind(d, path_of("%s.weight", a->name).s, w->type, SHAPE(out, in), w->data, e))
            return false;
        for (size_t k = 0; k < state->params.count; k++) {
            const struct param *p = &state->params.at[k];
            bool pair = p->adapter == i && (p->role == ADAPTER_DOWN || p->role == ADAPTER_UP);
            struct shape flat = p->role == ADAPTER_DOWN ? SHAPE(a->rank, in) : SHAPE(out, a->rank);
            if (pair && !bind(d, p->name, DTYPE_F32, flat, state_tensor(state, STATE_VALUE, k).data, e))
                return false;
        }
    }
    return true;
}

bool dora_init(struct dora *d, const struct targets *t, struct model_folder *model, const struct backend *backend,
               const struct train_state *state, struct err *e)
{
    *d = (struct dora){ .targets = t, .norms = mem_zeroed(t->adapters.count, sizeof *d->norms) };
    struct graph g;
    bool any = false;
    if (!d->norms)
        return err_nomem(e, "norms");
    graph_init(&g);
    for (size_t i = 0; i < t->adapters.count; i++) {
        const struct adapter *a = &t->list[i];
        if (!a->gain)
            continue;
        const struct weight *w = base_of(model, a, e);
        if (!w) {
            graph_release(&g);
            return err_set(e, ERR_MISSING, "%s has no weight", a->name);
        }
        d->norms[i] = norm(&g, a, targets_module(t, i), w);
        graph_output(&g, d->norms[i]);
        any = true;
    }
    if (!any || !graph_ok(&g, e)) {
        graph_release(&g);
        return !e->code;
    }
    d->program = program_new(backend, &g, e);
    return d->program && bind_all(d, model, state, e);
}

void dora_release(struct dora *d)
{
    program_free(d->program);
    mem_free(d->norms);
    *d = (struct dora){ 0 };
}

bool dora_step(struct dora *d, struct err *e)
{
    return !d->program || program_run(d->program, e) || err_add(e, "in DoRA's norms");
}

bool dora_give(const struct dora *d, struct program *trains, struct err *e)
{
    for (size_t i = 0; i < (d->program ? d->targets->adapters.count : 0); i++)
        if (d->norms[i].id && !program_set_input(trains, path_of("%s.norm", d->targets->list[i].name).s,
                                                 program_output(d->program, d->norms[i]), e))
            return false;
    return true;
}

bool dora_begin(struct dora *d, struct train_state *state, struct err *e)
{
    if (!d->program)
        return true;
    if (!dora_step(d, e))
        return false;
    for (size_t k = 0; k < state->params.count; k++) {
        const struct param *p = &state->params.at[k];
        if (p->role != ADAPTER_GAIN || p->stored)
            continue;
        size_t bytes = (size_t)shape_count(p->shape) * sizeof(float);
        const float *norms = program_output(d->program, d->norms[p->adapter]);
        memcpy(state_tensor(state, STATE_VALUE, k).data, norms, bytes);
        memcpy(state_tensor(state, STATE_EMA, k).data, norms, bytes);
    }
    return true;
}
