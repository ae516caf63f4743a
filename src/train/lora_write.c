#include "train/lora_write.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "weights/torch_write.h"

const char *const lora_layout_names[] = { "kohya", "peft", "diffsynth", NULL };

enum { PER_MODULE = 4 };

/* The list being made. Names and alphas live here. */
struct list {
    struct weights_entry *entries;
    const void **data;
    struct path *names;
    float *alphas;
    size_t count;
};

static const char *text_prefix(const struct family *family, const char *part)
{
    bool two = family->text[PART_TEXT_2].kind != NULL;
    return !two ? "lora_te" : !strcmp(part, "text_encoder") ? "lora_te1" : "lora_te2";
}

/* The name of a module, without what its tensor is. */
static struct path stem_of(const struct targets *t, const struct lora_module *m, const struct lora_output *o)
{
    const char *slash = strchr(m->name, '/'), *module = slash + 1;
    struct path part = path_of("%.*s", (int)(slash - m->name), m->name);
    if (o->layout == LORA_PEFT)
        return path_of("%s.%s", part.s, module);
    if (o->layout == LORA_DIFFSYNTH)
        return lora_module_diffsynth_name(&t->modules, m);
    bool unet = !strcmp(part.s, "unet");
    struct path ldm = unet && o->family != &family_sd ? lora_module_ldm_name(&t->modules, m) : path_of("%s", "");
    struct path out = path_of("%s_%s", unet ? "lora_unet" : text_prefix(o->family, part.s), ldm.s[0] ? ldm.s : module);
    for (char *c = out.s; *c; c++)
        *c = *c == '.' ? '_' : *c;
    return out;
}

static void put(struct list *l, struct path name, enum dtype type, struct shape shape, const void *data)
{
    l->names[l->count] = name;
    l->entries[l->count] = (struct weights_entry){ l->names[l->count].s, type, shape };
    l->data[l->count++] = data;
}

static const char *end_of(enum lora_layout layout, int role)
{
    static const char *const ends[LORA_LAYOUTS][3] = {
        { "lora_down.weight", "lora_up.weight", "dora_scale" }, { "lora_A.weight", "lora_B.weight", "lora_magnitude_vector" },
        { "lora_A.default.weight", "lora_B.default.weight", "lora_magnitude_vector.default.weight" },
    };
    return ends[layout][role == ADAPTER_DOWN ? 0 : role == ADAPTER_UP ? 1 : 2];
}

static void list_all(struct list *l, const struct train_state *s, enum state_kind kind, const struct targets *t,
                     const struct lora_output *o)
{
    for (size_t i = 0; i < s->params.count; i++) {
        const struct param *p = &s->params.at[i];
        if (!p->role)
            continue;
        const struct adapter *a = &t->list[p->adapter];
        const struct lora_module *m = targets_module(t, p->adapter);
        struct path stem = stem_of(t, m, o);
        struct shape shape = p->shape;
        bool kernel = m->shape.rank == 4;
        if (p->role == ADAPTER_UP && kernel)
            shape = SHAPE(shape.dim[0], shape.dim[1], 1, 1);
        if (p->role == ADAPTER_GAIN && (o->layout == LORA_KOHYA || kernel)) {
            struct shape tall = kernel ? SHAPE(p->shape.dim[0], 1, 1, 1) : SHAPE(p->shape.dim[0], 1);
            shape = o->layout == LORA_PEFT ? SHAPE(1, p->shape.dim[0], 1, 1) : tall;
        }
        put(l, path_of("%s.%s", stem.s, end_of(o->layout, p->role)), o->type, shape, state_tensor(s, kind, i).data);
        if (p->role == ADAPTER_DOWN && o->layout == LORA_KOHYA) {
            l->alphas[p->adapter] = (float)(a->scale * (double)a->rank);
            put(l, path_of("%s.alpha", stem.s), DTYPE_F32, (struct shape){ 0 }, &l->alphas[p->adapter]);
        }
    }
}

/* PEFT's LoraConfig of each part, with the part's name before every key, as diffusers keeps it. */
static char *adapter_metadata(const struct targets *t, struct err *e)
{
    json_t *all = json_object();
    for (int part = 0; part < PART_COUNT; part++) {
        const char *name = model_part_names[part];
        size_t n = strlen(name);
        json_t *modules = json_array(), *ranks = json_object(), *alphas = json_object();
        int64_t rank = 0;
        double alpha = 0;
        bool gain = false;
        for (size_t i = 0; i < t->adapters.count; i++) {
            const struct adapter *a = &t->list[i];
            if (strncmp(a->name, name, n) || a->name[n] != '/')
                continue;
            /* newer transformers have no "text_model." before the encoder; PEFT takes the end of a name for it */
            const char *bare = a->name + n + 1;
            bare += strncmp(bare, "text_model.", 11) ? 0 : 11;
            double own = a->scale * (double)a->rank;
            if (!rank) {
                rank = a->rank;
                alpha = own;
            }
            if (a->rank != rank)
                json_object_set_new(ranks, bare, json_integer(a->rank));
            if (own < alpha || own > alpha)
                json_object_set_new(alphas, bare, json_real(own));
            gain |= a->gain;
            json_array_append_new(modules, json_string(bare));
        }
        if (rank) {
            json_object_set_new(all, path_of("%s.peft_type", name).s, json_string("LORA"));
            json_object_set_new(all, path_of("%s.r", name).s, json_integer(rank));
            json_object_set_new(all, path_of("%s.lora_alpha", name).s, json_real(alpha));
            json_object_set_new(all, path_of("%s.use_dora", name).s, json_boolean(gain));
            json_object_set(all, path_of("%s.target_modules", name).s, modules);
            json_object_set(all, path_of("%s.rank_pattern", name).s, ranks);
            json_object_set(all, path_of("%s.alpha_pattern", name).s, alphas);
        }
        json_decref(modules);
        json_decref(ranks);
        json_decref(alphas);
    }
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    if (!text)
        err_nomem(e, "metadata");
    return text;
}

/* DiffSynth's files are PyTorch's; it has names for what lies in attention blocks. */
static bool save_torch(const struct list *l, const char *path, struct err *e)
{
    void **converted = mem_zeroed(l->count, sizeof *converted);
    bool good = converted || err_nomem(e, path);
    for (size_t i = 0; good && i < l->count; i++) {
        const struct weights_entry *w = &l->entries[i];
        size_t elements = (size_t)shape_count(w->shape);
        if (l->names[i].s[0] == '.')
            good = err_set(e, ERR_TYPE, "%s: DiffSynth's files hold attention layers of the UNet only: take another --lora-format", path);
        else if (!(converted[i] = mem_aligned(elements * dtype_bytes(w->type))))
            good = err_nomem(e, path);
        else
            dtype_convert(converted[i], w->type, l->data[i], DTYPE_F32, elements);
    }
    good = good && torch_save(path, l->entries, (const void *const *)converted, l->count, e);
    for (size_t i = 0; converted && i < l->count; i++)
        mem_free(converted[i]);
    mem_free(converted);
    return good;
}

static bool save(const struct list *l, const struct weights_pair *facts, size_t count, const char *path, struct err *e)
{
    struct weights_writer *w = weights_write_begin(path, l->entries, l->count, facts, count, e);
    bool good = w != NULL;
    for (size_t i = 0; good && i < l->count; i++) {
        size_t at = weights_writer_at(w, i);
        good = weights_write_converted(w, at, l->data[at], DTYPE_F32, e);
    }
    if (good)
        return weights_write_commit(w, e);
    weights_write_abandon(w);
    return false;
}

bool lora_write(const struct train_state *s, enum state_kind kind, const struct targets *t, const struct lora_output *o,
                const char *path, struct err *e)
{
    size_t most = t->adapters.count * PER_MODULE;
    struct list l = { mem_zeroed(most, sizeof *l.entries), mem_zeroed(most, sizeof *l.data), mem_zeroed(most, sizeof *l.names),
                      mem_zeroed(t->adapters.count, sizeof *l.alphas), 0 };
    struct weights_pair *facts = mem_zeroed(o->fact_count + 2, sizeof *facts);
    bool good = (l.entries && l.data && l.names && l.alphas && facts) || err_nomem(e, "a LoRA file");
    char *adapter = good && o->layout == LORA_PEFT ? adapter_metadata(t, e) : NULL;
    good = good && !e->code;
    if (good) {
        size_t count = o->fact_count;
        if (count)
            memcpy(facts, o->facts, count * sizeof *facts);
        facts[count++] = (struct weights_pair){ "format", "pt" };
        if (adapter)
            facts[count++] = (struct weights_pair){ "lora_adapter_metadata", adapter };
        list_all(&l, s, kind, t, o);
        good = o->layout == LORA_DIFFSYNTH ? save_torch(&l, path, e) : save(&l, facts, count, path, e);
    }
    free(adapter);
    mem_free(l.entries);
    mem_free(l.data);
    mem_free(l.names);
    mem_free(l.alphas);
    mem_free(facts);
    return good;
}
