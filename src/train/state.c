#include "train/state.h"

#include <fnmatch.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/random.h"

static const char *const kind_names[] = { "value", "ema" };
enum { SAVED_KINDS = 2, CLASSES = 8 };
#define NUMBERS_NAME "optimizer/numbers"

static size_t array_bytes(const struct train_state *s)
{
    return s->count * sizeof(float);
}

static size_t align_of(const struct state_plan *plan, int class)
{
    return plan->blocks >> class & 1 ? STATE_BLOCK : STATE_ALIGN;
}

static size_t padded(size_t count, size_t to)
{
    return (count + to - 1) / to * to;
}

static bool matches(const char *pattern, const char *name)
{
    size_t length = strlen(pattern);
    return (!strncmp(name, pattern, length) && name[length] == '/') || fnmatch(pattern, name, 0) == 0;
}

static int group_of(const struct state_options *o, const char *name)
{
    for (size_t i = 0; i < o->group_count; i++)
        if (matches(o->groups[i].pattern, name))
            return (int)i + 1;
    return 0;
}

/* The weights of a class, group and kind of decay, one behind the other. */
static void place(struct train_state *s, const struct state_plan *plan, const int *group, size_t *ordered, struct state_stretch like)
{
    bool begun = false;
    like.apart = plan->apart >> like.class & 1;
    for (size_t i = 0; i < s->params.count; i++) {
        const struct param *p = &s->params.at[i];
        if (s->class[i] != like.class || group[i] != like.group || p->decay != like.decay)
            continue;
        if (!begun || like.apart) {
            like.begin = s->count;
            like.first = *ordered;
            s->stretch[s->stretches++] = like;
            begun = true;
        }
        s->offset[i] = s->count;
        s->order[(*ordered)++] = i;
        s->count += padded((size_t)shape_count(p->shape), align_of(plan, like.class));
        s->stretch[s->stretches - 1].end = s->count;
        s->stretch[s->stretches - 1].last = *ordered;
    }
}

static bool place_all(struct train_state *s, const struct state_options *o, struct err *e)
{
    size_t n = s->params.count, ordered = 0;
    int *group = mem_zeroed(n, sizeof *group);
    size_t *members = mem_zeroed(o->group_count + 1, sizeof *members);
    bool good = (group && members) || err_nomem(e, "the state of a training");
    for (size_t i = 0; good && i < n; i++) {
        group[i] = group_of(o, s->params.at[i].name);
        members[group[i]]++;
        s->class[i] = o->plan->class_of ? o->plan->class_of(&s->params.at[i]) : 0;
    }
    for (size_t k = 0; good && k < o->group_count; k++)
        if (!members[k + 1])
            good = err_set(e, ERR_ARG, "no weight that is trained is called %s and has no rate of its own yet: the first one is %s",
                           o->groups[k].pattern, n ? s->params.at[0].name : "none");
    for (int class = 0; good && class < CLASSES; class++)
        for (int k = 0; k <= (int)o->group_count; k++)
            for (int decay = 1; decay >= 0; decay--)
                place(s, o->plan, group, &ordered, (struct state_stretch){ .class = class, .group = k, .decay = decay });
    mem_free(group);
    mem_free(members);
    return good;
}

static bool has_slot(const struct train_state *s, int slot, int class)
{
    return s->slot[slot].desc.classes >> class & 1;
}

/* The shape of a weight's numbers in a slot. */
static struct shape slot_shape(enum slot_extent extent, struct shape s)
{
    int last = s.rank - 1;
    switch (extent) {
    case SLOT_BLOCK: return SHAPE((shape_count(s) + STATE_BLOCK - 1) / STATE_BLOCK);
    case SLOT_ROW: s.rank--; return s;
    case SLOT_COLUMN:
        s.dim[last - 1] = s.dim[last];
        s.rank--;
        return s;
    default: return s;
    }
}

static size_t slot_bytes(const struct state_slot *slot)
{
    return slot->count * dtype_bytes(slot->desc.type);
}

static bool make_slots(struct train_state *s, const struct state_plan *plan)
{
    while (s->slots < STATE_SLOTS_MAX && plan->slot[s->slots].name) {
        struct state_slot *slot = &s->slot[s->slots];
        slot->desc = plan->slot[s->slots];
        s->slots++;
        if (!(slot->offset = mem_zeroed(s->params.count, sizeof *slot->offset)))
            return false;
        for (size_t k = 0; k < s->params.count; k++) {
            size_t i = s->order[k], align = align_of(plan, s->class[i]);
            if (!has_slot(s, s->slots - 1, s->class[i]))
                continue;
            slot->offset[i] = slot->count;
            if (slot->desc.extent == SLOT_BLOCK)
                align = 1;
            slot->count += padded((size_t)shape_count(slot_shape(slot->desc.extent, s->params.at[i].shape)), align);
        }
        if (!(slot->data = mem_pages(slot_bytes(slot))))
            return false;
    }
    return true;
}

static void begin_weight(const struct param *p, float *out, uint64_t seed, size_t i)
{
    size_t elements = (size_t)shape_count(p->shape);
    struct random r = random_of(seed, 0x77656967687400 + i);
    if (p->stored) {
        dtype_convert(out, DTYPE_F32, p->stored->data, p->stored->type, elements);
        return;
    }
    for (size_t k = 0; k < elements; k++)
        switch (p->init) {
        case INIT_FAN_IN: out[k] = (float)p->scale * (2 * random_uniform(&r) - 1); break;
        case INIT_NORMAL: out[k] = (float)p->scale * random_normal(&r); break;
        case INIT_LOGVAR: out[k] = k < elements / 2 ? 0 : (float)p->scale; break;
        case INIT_ONES: out[k] = 1; break;
        case INIT_ZEROS: out[k] = 0; break;
        }
}

bool state_init(struct train_state *s, struct params *p, const struct state_options *o, struct err *e)
{
    *s = (struct train_state){ .params = *p, .ema = o->ema };
    params_init(p);
    size_t n = s->params.count;
    s->offset = mem_zeroed(n, sizeof *s->offset);
    s->order = mem_zeroed(n, sizeof *s->order);
    s->class = mem_zeroed(n, sizeof *s->class);
    s->stretch = mem_zeroed(n, sizeof *s->stretch); /* none is empty */
    if (!s->offset || !s->order || !s->class || !s->stretch)
        goto nomem;
    if (!place_all(s, o, e)) {
        state_release(s);
        return false;
    }
    for (int k = 0; k < STATE_KINDS; k++)
        if ((k != STATE_EMA || o->ema) && !(s->array[k] = mem_pages(array_bytes(s))))
            goto nomem;
    if (!make_slots(s, o->plan))
        goto nomem;
    for (size_t i = 0; i < n; i++)
        begin_weight(&s->params.at[i], s->array[STATE_VALUE] + s->offset[i], o->seed, i);
    if (o->ema)
        memcpy(s->array[STATE_EMA], s->array[STATE_VALUE], array_bytes(s));
    else
        s->array[STATE_EMA] = s->array[STATE_VALUE];
    return true;
nomem:
    err_nomem(e, "the state of a training");
    state_release(s);
    return false;
}

void state_release(struct train_state *s)
{
    for (int k = 0; k < STATE_KINDS; k++)
        if (k != STATE_EMA || s->ema)
            mem_pages_free(s->array[k], array_bytes(s));
    for (int k = 0; k < s->slots; k++) {
        mem_free(s->slot[k].offset);
        mem_pages_free(s->slot[k].data, slot_bytes(&s->slot[k]));
    }
    mem_free(s->offset);
    mem_free(s->order);
    mem_free(s->class);
    mem_free(s->stretch);
    params_release(&s->params);
    *s = (struct train_state){ 0 };
}

size_t state_weight_bytes(const struct train_state *s)
{
    return array_bytes(s);
}

size_t state_other_bytes(const struct train_state *s)
{
    size_t bytes = (s->ema ? 2 : 1) * array_bytes(s);
    for (int k = 0; k < s->slots; k++)
        bytes += slot_bytes(&s->slot[k]);
    return bytes;
}

struct tensor state_tensor(const struct train_state *s, enum state_kind kind, size_t i)
{
    return (struct tensor){ DTYPE_F32, s->params.at[i].shape, s->array[kind] + s->offset[i] };
}

static void *slot_at(const struct train_state *s, int slot, size_t i)
{
    const struct state_slot *of = &s->slot[slot];
    return has_slot(s, slot, s->class[i]) ? (char *)of->data + of->offset[i] * dtype_bytes(of->desc.type) : NULL;
}

struct tensor state_slot_tensor(const struct train_state *s, int slot, size_t i)
{
    const struct slot_desc *d = &s->slot[slot].desc;
    struct tensor none = { .type = d->type };
    return has_slot(s, slot, s->class[i])
               ? (struct tensor){ d->type, slot_shape(d->extent, s->params.at[i].shape), slot_at(s, slot, i) }
               : none;
}

struct tensor state_slot_stretch(const struct train_state *s, int slot, const struct state_stretch *stretch)
{
    const struct slot_desc *d = &s->slot[slot].desc;
    struct tensor t = state_slot_tensor(s, slot, s->order[stretch->first]);
    if (!stretch->apart)
        t.shape = SHAPE((int64_t)((stretch->end - stretch->begin) / (d->extent == SLOT_BLOCK ? STATE_BLOCK : 1)));
    return t;
}

bool state_bind(const struct train_state *s, enum state_kind kind, struct program *program, struct err *e)
{
    for (size_t i = 0; i < s->params.count; i++) {
        const char *name = s->params.at[i].name;
        struct tensor t = state_tensor(s, kind, i);
        bool kept;
        if (graph_find(program_graph(program), VALUE_WEIGHT, name).id &&
            !program_bind_weight(program, name, &t, &kept, e))
            return false;
    }
    return true;
}

/* What a checkpoint holds: calls `one` for each array of each weight, in a fixed order. */
static bool each_saved(const struct train_state *s, bool (*one)(void *self, const char *name, struct tensor t, struct err *e),
                       void *self, struct err *e)
{
    size_t n = s->params.count;
    for (int k = 0; k < SAVED_KINDS; k++)
        for (size_t i = 0; i < n && (k != STATE_EMA || s->ema); i++)
            if (!one(self, path_of("%s/%s", kind_names[k], s->params.at[i].name).s, state_tensor(s, (enum state_kind)k, i), e))
                return false;
    for (int k = 0; k < s->slots; k++)
        for (size_t i = 0; i < n; i++) {
            struct tensor t = state_slot_tensor(s, k, i);
            if (t.data && !one(self, path_of("%s/%s", s->slot[k].desc.name, s->params.at[i].name).s, t, e))
                return false;
        }
    return one(self, NUMBERS_NAME, (struct tensor){ DTYPE_F64, SHAPE(STATE_NUMBERS), (void *)(uintptr_t)s->number }, e);
}

struct saving {
    struct weights_entry *entries;
    const void **data;
    struct path *names;
    size_t count;
};

static bool save_one(void *self, const char *name, struct tensor t, struct err *e)
{
    struct saving *w = self;
    w->names[w->count] = path_of("%s", name);
    w->entries[w->count] = (struct weights_entry){ w->names[w->count].s, t.type, t.shape };
    w->data[w->count++] = t.data;
    return true;
}

bool state_save(const struct train_state *s, const char *path, const struct weights_pair *facts, size_t count,
                struct err *e)
{
    size_t most = (size_t)(SAVED_KINDS + s->slots) * s->params.count + 1;
    struct saving w = { mem_zeroed(most, sizeof *w.entries), mem_zeroed(most, sizeof *w.data),
                        mem_zeroed(most, sizeof *w.names), 0 };
    bool good = (w.entries && w.data && w.names) || err_nomem(e, "a checkpoint");
    good = good && each_saved(s, save_one, &w, e) && weights_save(path, w.entries, w.data, w.count, facts, count, e);
    mem_free(w.entries);
    mem_free(w.data);
    mem_free(w.names);
    return good;
}

static bool load_one(void *self, const char *name, struct tensor t, struct err *e)
{
    const struct weights *file = self;
    const struct weight *w = weights_find(file, name);
    if (!w && !strcmp(name, NUMBERS_NAME))
        return true; /* a checkpoint from before there were any */
    if (!w)
        return weights_need(file, name, e) != NULL;
    if (w->type != t.type || !shape_same(w->shape, t.shape))
        return err_set(e, ERR_SHAPE, "%s: %s is %s %s, this training has %s %s", weights_path(file), name, dtype_name(w->type),
                       shape_text(w->shape).s, dtype_name(t.type), shape_text(t.shape).s);
    memcpy(t.data, w->data, weight_bytes(w));
    return true;
}

bool state_load(struct train_state *s, const struct weights *file, struct err *e)
{
    return each_saved(s, load_one, (void *)(uintptr_t)file, e);
}

bool state_export(const struct train_state *s, enum state_kind kind, const char *part, const char *path,
                  enum dtype type, struct err *e)
{
    size_t n = 0, length = strlen(part);
    struct weights_entry *entries = mem_zeroed(s->params.count, sizeof *entries);
    size_t *which = mem_zeroed(s->params.count, sizeof *which);
    float *converted = mem_aligned(array_bytes(s));
    struct weights_writer *w = NULL;
    bool good = entries && which && converted;
    if (!good)
        err_nomem(e, "a model file");
    for (size_t i = 0; good && i < s->params.count; i++) {
        const struct param *p = &s->params.at[i];
        if (!strncmp(p->name, part, length) && p->name[length] == '/') {
            which[n] = i;
            entries[n++] = (struct weights_entry){ p->name + length + 1, type, p->shape };
        }
    }
    static const struct weights_pair format = { "format", "pt" }; /* transformers asks for it */
    good = good && (w = weights_write_begin(path, entries, n, &format, 1, e));
    for (size_t k = 0; good && k < n; k++) {
        size_t entry = weights_writer_at(w, k);
        struct tensor t = state_tensor(s, kind, which[entry]);
        dtype_convert(converted, type, t.data, DTYPE_F32, (size_t)shape_count(t.shape));
        good = weights_write_tensor(w, entry, converted, e);
    }
    if (good)
        good = weights_write_commit(w, e);
    else
        weights_write_abandon(w);
    mem_free(entries);
    mem_free(which);
    mem_free(converted);
    return good;
}
