#include "train/targets.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* Lists what a part's graph asks for; nothing is run. */
static bool list_part(struct lora_modules *modules, struct model_folder *f, enum model_part part, struct err *e)
{
    const struct model_parts *m = &f->parts;
    const struct weights *stored = model_folder_weights(f, part, e);
    struct graph g;
    struct params params;
    if (!stored)
        return false;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = model_part_names[part], .stored = stored, .params = &params };
    if (part == PART_UNET) {
        int64_t side = 8 * vae_factor(&m->vae);
        struct unet_extra extra = { .pooled = VALUE_NONE };
        float ids[FAMILY_MAX_TIME_IDS];
        if (m->unet.text_time) {
            int64_t count = (int64_t)m->family->time_ids(&m->settings, &(struct picture_facts){ 0 }, false, ids);
            extra.pooled = graph_input(&g, "pooled", DTYPE_F32, SHAPE(1, model_pooled_width(m)));
            extra.time_ids = graph_input(&g, "time_ids", DTYPE_F32, SHAPE(1, count));
        }
        if (m->unet.guidance_dim)
            extra.guidance = graph_input(&g, "guidance", DTYPE_F32, SHAPE(1));
        unet(&n, &m->unet, graph_input(&g, "latent", DTYPE_F32, SHAPE(1, side, side, m->unet.in_channels)),
             graph_input(&g, "timestep", DTYPE_F32, SHAPE(1)),
             graph_input(&g, "text", DTYPE_F32, SHAPE(1, 8, unet_text_width(&m->unet))), &extra);
    } else {
        bool pools = m->family->pools && part == model_pooling_part(m);
        m->text[part].kind->graph(&n, &m->text[part], m->family->states, 0, pools ? TEXT_POOLED : 0);
    }
    bool good = graph_ok(&g, e) && lora_modules_add(modules, model_part_names[part], &params, e);
    params_release(&params);
    graph_release(&g);
    return good;
}

static bool ends_in(const char *name, const char *end, size_t length)
{
    size_t n = strlen(name);
    return n >= length && !strncmp(name + n - length, end, length) && (n == length || name[n - length - 1] == '.' ||
                                                                       name[n - length - 1] == '/');
}

static bool has_end(const char *name, const char *end, size_t length)
{
    char inner[100];
    if (ends_in(name, end, length))
        return true;
    return length + 3 < sizeof inner && snprintf(inner, sizeof inner, "%.*s.0", (int)length, end) > 0 &&
           ends_in(name, inner, length + 2); /* "to_out" is what people call to_out.0 */
}

static const char *const attention[] = { "to_q", "to_k", "to_v", "to_out", "q_proj", "k_proj", "v_proj", "out_proj",
                                         "query_key_value", NULL };

/* Whether a name, or one of a list, takes the module; *used[i] tells which of the list did. */
static bool chosen(const struct lora_module *m, const char *names, bool *used)
{
    if (!m->branch)
        return false;
    if (!strcmp(names, "all"))
        return true;
    if (!strcmp(names, "linear"))
        return m->shape.rank == 2;
    if (!strcmp(names, "attention")) {
        for (size_t i = 0; attention[i]; i++)
            if (has_end(m->name, attention[i], strlen(attention[i])))
                return true;
        return false;
    }
    bool any = false;
    for (size_t i = 0; *names; i++) {
        size_t length = strcspn(names, ",");
        if (length && has_end(m->name, names, length))
            used[i] = any = true;
        names += length + (names[length] == ',');
    }
    return any;
}

/* Every name of a list must take something: a name that is mistyped teaches nothing. */
static bool all_used(const char *names, const bool *used, struct err *e)
{
    bool words = !strcmp(names, "all") || !strcmp(names, "linear") || !strcmp(names, "attention");
    for (size_t i = 0; !words && *names; i++) {
        size_t length = strcspn(names, ",");
        if (length && !used[i])
            return err_set(e, ERR_ARG, "no module that learns is called %.*s; there are attention, linear, all, or names such as "
                           "to_q,to_k,to_v,to_out", (int)length, names);
        names += length + (names[length] == ',');
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct adapter *)a)->name, ((const struct adapter *)b)->name);
}

static bool add(struct targets *t, const char *name, int64_t rank, double scale, bool gain)
{
    t->list[t->adapters.count++] = (struct adapter){ .name = name, .rank = rank, .scale = scale, .gain = gain };
    for (int part = 0; part < PART_COUNT; part++) {
        size_t n = strlen(model_part_names[part]);
        t->learns[part] |= !strncmp(name, model_part_names[part], n) && name[n] == '/';
    }
    return true;
}

static bool take_init(struct targets *t, const struct target_options *o, struct err *e)
{
    struct lora_facts facts = lora_facts(t->init);
    for (size_t i = 0; i < facts.modules; i++) {
        struct lora_pair pair;
        if (!lora_pair(t->init, i, &pair, e))
            return false;
        if (o->rank && o->rank != pair.rank)
            return err_set(e, ERR_ARG, "%s has rank %lld at %s, and %lld is asked for", facts.path, (long long)pair.rank, pair.module,
                           (long long)o->rank);
        double scale = o->alpha > 0 ? o->alpha / (double)pair.rank : pair.scale;
        add(t, pair.module, pair.rank, scale, pair.magnitude != NULL || o->dora);
    }
    return true;
}

/* A pair of the init for a module, or none. */
static bool pair_of(const struct targets *t, const char *module, struct lora_pair *out)
{
    struct err ignored = { 0 };
    for (size_t i = 0; t->init && i < lora_facts(t->init).modules; i++)
        if (lora_pair(t->init, i, out, &ignored) && !strcmp(out->module, module))
            return true;
    return false;
}

static bool take_names(struct targets *t, const struct target_options *o, struct err *e)
{
    const char *names = o->names ? o->names : "attention";
    bool *used = mem_zeroed(strlen(names) + 1, sizeof *used);
    if (!used)
        return err_nomem(e, "the modules that learn");
    int64_t rank = o->rank ? o->rank : 16;
    for (size_t i = 0; i < t->modules.count; i++) {
        const struct lora_module *m = &t->modules.at[i];
        struct lora_pair pair;
        if (!chosen(m, names, used))
            continue;
        bool begun = pair_of(t, m->name, &pair);
        int64_t r = begun && !o->rank ? pair.rank : rank;
        double scale = o->alpha > 0 ? o->alpha / (double)r : begun ? pair.scale : 1;
        if (begun && pair.rank != r) {
            err_set(e, ERR_ARG, "%s has rank %lld at %s, and %lld is asked for", o->init, (long long)pair.rank, m->name, (long long)r);
            break;
        }
        add(t, m->name, r, scale, o->dora || (begun && pair.magnitude));
    }
    bool good = !e->code && all_used(names, used, e);
    mem_free(used);
    return good;
}

bool targets_init(struct targets *t, struct model_folder *model, const struct target_options *o, struct err *e)
{
    *t = (struct targets){ .adapters = { .trained = true, .gaussian = o->gaussian } };
    lora_modules_init(&t->modules);
    bool good = true;
    for (int part = 0; good && part <= PART_UNET; part++) {
        bool there = part == PART_UNET || model->parts.text[part].kind;
        if (there && (part == PART_UNET || o->text || o->init))
            good = list_part(&t->modules, model, (enum model_part)part, e);
    }
    t->list = good ? mem_zeroed(t->modules.count + 1, sizeof *t->list) : NULL;
    if (good && !t->list)
        good = err_nomem(e, "the modules that learn");
    if (good && o->init)
        good = (t->init = lora_open(o->init, &t->modules, o->alpha > 0 ? o->alpha : NAN, e)) != NULL;
    good = good && (t->init && !o->names ? take_init(t, o, e) : take_names(t, o, e));
    if (good && !t->adapters.count)
        good = err_set(e, ERR_ARG, "no module learns");
    if (good)
        qsort(t->list, t->adapters.count, sizeof *t->list, by_name);
    t->adapters.at = t->list;
    if (!good)
        targets_release(t);
    return good;
}

void targets_release(struct targets *t)
{
    lora_free(t->init);
    mem_free(t->list);
    lora_modules_release(&t->modules);
    *t = (struct targets){ 0 };
}

bool targets_begin(const struct targets *t, struct params *learnt, struct err *e)
{
    for (size_t i = 0; t->init && i < learnt->count; i++) {
        struct param *p = &learnt->at[i];
        struct lora_pair pair;
        if (!p->role || !pair_of(t, t->list[p->adapter].name, &pair))
            continue;
        p->stored = p->role == ADAPTER_DOWN ? pair.down : p->role == ADAPTER_UP ? pair.up : pair.magnitude;
        if (p->stored && shape_count(p->stored->shape) != shape_count(p->shape))
            return err_set(e, ERR_SHAPE, "%s is %s, want %s", p->stored->name, shape_text(p->stored->shape).s,
                           shape_text(p->shape).s);
    }
    return true;
}

const struct lora_module *targets_module(const struct targets *t, size_t i)
{
    for (size_t k = 0; k < t->modules.count; k++)
        if (t->modules.at[k].name == t->list[i].name)
            return &t->modules.at[k];
    return NULL;
}
