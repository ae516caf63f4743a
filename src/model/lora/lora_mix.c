/* Several loras together, as the adapters of one part's graph. */
#include <stdlib.h>

#include "base/mem.h"
#include "model/lora/lora_internal.h"

/* The targets of one module: of how many loras, and where the first is in lora_mix.parts. */
struct mixed {
    size_t first, count;
};

struct piece {
    struct lora_target *target;
    size_t use; /* whose scale it has */
};

struct lora_mix {
    struct lora_use *uses; /* those of a scale other than 0 that touch the part */
    size_t use_count;
    char *part;
    struct adapter *at;
    struct mixed *mixed;   /* beside `at` */
    struct piece *pieces;
    size_t count;
    struct adapters adapters;
};

static bool in_use(const struct lora_use *u, const char *part)
{
    return u->scale != 0 && lora_touches(u->lora, part);
}

static const struct weight *magnitude(const struct piece *p)
{
    return p->target->tensor[LORA_MAGNITUDE];
}

/* What a module's pieces need together. */
static struct adapter adapter_of(const struct lora_module *module, const struct piece *pieces, size_t count)
{
    struct adapter a = { .name = module->name };
    bool branch = true;
    for (size_t i = 0; i < count; i++) {
        const struct lora_target *t = pieces[i].target;
        branch = branch && lora_target_is_branch(t);
        a.bias = a.bias || t->tensor[LORA_UP_BIAS] || t->tensor[LORA_DIFF_BIAS];
        if (t->kind == LORA_KIND_PAIR)
            a.rank += t->rank;
        a.gain = a.gain || t->tensor[LORA_MAGNITUDE];
    }
    if (!branch) {
        a.rank = 0;
        a.gain = false;
        a.weight = true;
    }
    return a;
}

/* --- filling --- */

static double scale_of(const struct lora_mix *m, const struct piece *p)
{
    return m->uses[p->use].scale;
}

/* DoRA's factors of a piece, or NULL with *e clear if it has none. Free with mem_free. */
static double *gain_of(const struct lora_mix *m, const struct piece *p, const struct weight *base, struct err *e)
{
    if (!magnitude(p))
        return NULL;
    double *gain = mem_zeroed((size_t)p->target->module->shape.dim[0], sizeof *gain);
    if (!gain) {
        err_nomem(e, "DoRA's factors");
    } else if (!lora_target_gain(p->target, base, scale_of(m, p), gain, e)) {
        mem_free(gain);
        gain = NULL;
    }
    return gain;
}

/* Rows of A after each other. */
static bool fill_down(const struct mixed *x, const struct piece *pieces, float *out, struct err *e)
{
    for (size_t i = 0; i < x->count; i++) {
        const struct lora_target *t = pieces[i].target;
        if (t->kind != LORA_KIND_PAIR)
            continue;
        if (!lora_target_down(t, out, e))
            return false;
        out += t->rank * (shape_count(t->module->shape) / t->module->shape.dim[0]);
    }
    return true;
}

/* Columns of B beside each other, with every factor in them: the user's scale, alpha / rank, DoRA's. */
static bool fill_up(const struct lora_mix *m, const struct adapter *a, const struct mixed *x, const struct piece *pieces,
                    const struct weight *base, float *out, struct err *e)
{
    int64_t column = 0;
    for (size_t i = 0; i < x->count; i++) {
        const struct lora_target *t = pieces[i].target;
        if (t->kind != LORA_KIND_PAIR)
            continue;
        double *gain = gain_of(m, &pieces[i], base, e), scale = scale_of(m, &pieces[i]) * t->scale;
        float *up = e->code ? NULL : lora_tensor_f32(t->tensor[LORA_UP], e);
        for (int64_t o = 0; up && o < t->module->shape.dim[0]; o++)
            for (int64_t r = 0; r < t->rank; r++)
                out[o * a->rank + column + r] = (float)(scale * (gain ? gain[o] : 1) * up[o * t->rank + r]);
        mem_free(gain);
        mem_free(up);
        if (!up)
            return false;
        column += t->rank;
    }
    return true;
}

/* 1 + sum of (factor - 1). */
static bool fill_gain(const struct lora_mix *m, const struct mixed *x, const struct piece *pieces, const struct weight *base,
                      float *out, struct err *e)
{
    int64_t count = pieces[0].target->module->shape.dim[0];
    for (int64_t o = 0; o < count; o++)
        out[o] = 1;
    for (size_t i = 0; i < x->count; i++) {
        double *gain = gain_of(m, &pieces[i], base, e);
        if (e->code)
            return false;
        for (int64_t o = 0; gain && o < count; o++)
            out[o] += (float)(gain[o] - 1);
        mem_free(gain);
    }
    return true;
}

static bool add_all(const struct lora_mix *m, const struct mixed *x, const struct piece *pieces, enum adapter_role role,
                    const float *base, float *out, struct err *e)
{
    for (size_t i = 0; i < x->count; i++)
        if (role == ADAPTER_BIAS ? !lora_target_add_bias(pieces[i].target, scale_of(m, &pieces[i]), out, e)
                                 : !lora_target_add(pieces[i].target, base, scale_of(m, &pieces[i]), out, e))
            return false;
    return true;
}

static bool fill_changed(const struct lora_mix *m, const struct mixed *x, const struct piece *pieces, enum adapter_role role,
                         const struct weight *own, float *out, struct err *e)
{
    if (!own)
        return err_set(e, ERR_MISSING, "a LoRA of this kind needs the model's weights in a file");
    float *base = lora_tensor_f32(own, e);
    bool good = base != NULL;
    if (good)
        memcpy(out, base, (size_t)shape_count(own->shape) * sizeof *out);
    good = good && add_all(m, x, pieces, role, base, out, e);
    mem_free(base);
    return good;
}

static bool fill(void *self, size_t index, enum adapter_role role, const struct weight *base, float *out, struct err *e)
{
    const struct lora_mix *m = self;
    const struct mixed *x = &m->mixed[index];
    const struct piece *pieces = m->pieces + x->first;
    switch (role) {
    case ADAPTER_DOWN: return fill_down(x, pieces, out, e);
    case ADAPTER_UP: return fill_up(m, &m->at[index], x, pieces, base, out, e);
    case ADAPTER_GAIN: return fill_gain(m, x, pieces, base, out, e);
    default: return fill_changed(m, x, pieces, role, base, out, e);
    }
}

/* --- making --- */

static int by_module(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    const struct lora_module *p = x->target->module, *q = y->target->module;
    return p == q ? (x->use > y->use) - (x->use < y->use) : (p > q) - (p < q);
}

static bool collect(struct lora_mix *m, struct err *e)
{
    size_t pieces = 0, length = strlen(m->part);
    for (int turn = 0; turn < 2; turn++) {
        if (turn && !(m->pieces = mem_zeroed(pieces, sizeof *m->pieces)))
            return err_nomem(e, "a mix of LoRAs");
        pieces = 0;
        for (size_t u = 0; u < m->use_count; u++)
            for (size_t i = 0; i < m->uses[u].lora->count; i++) {
                struct lora_target *t = &m->uses[u].lora->targets[i];
                if (strncmp(t->module->name, m->part, length) || t->module->name[length] != '/')
                    continue;
                if (turn)
                    m->pieces[pieces] = (struct piece){ t, u };
                pieces++;
            }
    }
    if (pieces)
        qsort(m->pieces, pieces, sizeof *m->pieces, by_module);
    m->at = mem_zeroed(pieces, sizeof *m->at);
    m->mixed = mem_zeroed(pieces, sizeof *m->mixed);
    if (!m->at || !m->mixed)
        return err_nomem(e, "a mix of LoRAs");
    for (size_t i = 0, next; i < pieces; i = next) {
        for (next = i + 1; next < pieces && m->pieces[next].target->module == m->pieces[i].target->module;)
            next++;
        m->at[m->count] = adapter_of(m->pieces[i].target->module, m->pieces + i, next - i);
        m->mixed[m->count++] = (struct mixed){ i, next - i };
    }
    return true;
}

struct lora_mix *lora_mix_new(const struct lora_modules *modules, const char *part, const struct lora_use *uses, size_t count,
                              struct err *e)
{
    struct lora_mix *m = mem_zeroed(1, sizeof *m);
    bool good = m && (m->uses = mem_zeroed(count, sizeof *m->uses)) && (m->part = mem_string(part));
    if (!good)
        err_nomem(e, "a mix of LoRAs");
    for (size_t i = 0; good && i < count; i++) {
        if (uses[i].lora->modules != modules)
            good = err_set(e, ERR_ARG, "%s was read for another model", weights_path(uses[i].lora->file));
        else if (in_use(&uses[i], part))
            m->uses[m->use_count++] = uses[i];
    }
    good = good && collect(m, e);
    if (!good) {
        lora_mix_free(m);
        return NULL;
    }
    m->adapters = (struct adapters){ .at = m->at, .count = m->count, .scale = 1, .fill = fill, .self = m };
    return m;
}

void lora_mix_free(struct lora_mix *m)
{
    if (!m)
        return;
    mem_free(m->uses);
    mem_free(m->part);
    mem_free(m->at);
    mem_free(m->mixed);
    mem_free(m->pieces);
    mem_free(m);
}

const struct adapters *lora_mix_adapters(const struct lora_mix *m)
{
    return m && m->count ? &m->adapters : NULL;
}

bool lora_mix_serves(const struct lora_mix *m, const char *part, const struct lora_use *uses, size_t count)
{
    size_t k = 0, have = m ? m->use_count : 0;
    for (size_t i = 0; i < count; i++)
        if (in_use(&uses[i], part) && (k >= have || m->uses[k++].lora != uses[i].lora))
            return false;
    return k == have;
}

bool lora_mix_rescale(struct lora_mix *m, const struct lora_use *uses, size_t count)
{
    bool changed = false;
    for (size_t i = 0, k = 0; m && i < count; i++)
        if (in_use(&uses[i], m->part)) {
            changed = changed || m->uses[k].scale != uses[i].scale;
            m->uses[k++].scale = uses[i].scale;
        }
    return changed;
}

/* The module that a tensor of a model's file belongs to; NULL if loras cannot change it. */
static const struct lora_module *module_of_tensor(const struct lora_modules *modules, const char *part, const char *name, bool *bias)
{
    const char *dot = strrchr(name, '.');
    if (!dot || (strcmp(dot, ".weight") && strcmp(dot, ".bias")))
        return NULL;
    *bias = !strcmp(dot, ".bias");
    struct path stem = path_of("%.*s", (int)(dot - name), name);
    for (char *p = stem.s; *p; p++)
        if (*p == '.')
            *p = '_';
    return lora_modules_find(modules, part, stem.s);
}

static const struct lora_target *target_of(const struct lora *l, const struct lora_module *module)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->targets[i].module == module)
            return &l->targets[i];
    return NULL;
}

bool lora_bake(const struct lora_use *uses, size_t count, const char *part, const char *name, float *numbers, size_t elements,
               bool *changed, struct err *e)
{
    bool bias = false, good = true;
    const struct lora_module *module = count ? module_of_tensor(uses[0].lora->modules, part, name, &bias) : NULL;
    float *base = NULL;
    *changed = false;
    for (size_t i = 0; good && module && i < count; i++) {
        const struct lora_target *t = target_of(uses[i].lora, module);
        bool changes = t && uses[i].scale != 0 &&
                       (bias ? t->tensor[LORA_UP_BIAS] || t->tensor[LORA_DIFF_BIAS] : t->kind != LORA_KIND_NONE);
        if (!changes)
            continue;
        if (elements != (size_t)(bias ? module->shape.dim[0] : shape_count(module->shape)))
            good = err_set(e, ERR_SHAPE, "%s has %zu numbers; the model's %s is %s", name, elements, module->name,
                           shape_text(module->shape).s);
        if (good && !base) {
            good = (base = mem_aligned(elements * sizeof *base)) || err_nomem(e, name);
            if (good)
                memcpy(base, numbers, elements * sizeof *base);
        }
        good = good && (bias ? lora_target_add_bias(t, uses[i].scale, numbers, e)
                             : lora_target_add(t, base, uses[i].scale, numbers, e));
        *changed = true;
    }
    mem_free(base);
    return good;
}
