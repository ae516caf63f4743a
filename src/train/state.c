#include "train/state.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/random.h"

static const char *const kind_names[] = { "value", "moment1", "moment2", "ema" };
enum { SAVED_KINDS = 4, STEP_ELEMENTS = 16 };

static size_t array_bytes(const struct train_state *s)
{
    return s->count * sizeof(float);
}

static void place(struct train_state *s, bool decay)
{
    for (size_t i = 0; i < s->params.count; i++) {
        if (s->params.at[i].decay != decay)
            continue;
        s->offset[i] = s->count;
        size_t elements = (size_t)shape_count(s->params.at[i].shape);
        s->count += (elements + STEP_ELEMENTS - 1) / STEP_ELEMENTS * STEP_ELEMENTS;
    }
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

bool state_init(struct train_state *s, struct params *p, uint64_t seed, struct err *e)
{
    *s = (struct train_state){ .params = *p };
    params_init(p);
    s->offset = mem_zeroed(s->params.count, sizeof *s->offset);
    if (!s->offset)
        goto nomem;
    place(s, true);
    s->decayed = s->count;
    place(s, false);
    for (int k = 0; k < STATE_KINDS; k++)
        if (!(s->array[k] = mem_pages(array_bytes(s))))
            goto nomem;
    for (size_t i = 0; i < s->params.count; i++)
        begin_weight(&s->params.at[i], s->array[STATE_VALUE] + s->offset[i], seed, i);
    memcpy(s->array[STATE_EMA], s->array[STATE_VALUE], array_bytes(s));
    return true;
nomem:
    err_nomem(e, "the state of a training");
    state_release(s);
    return false;
}

void state_release(struct train_state *s)
{
    for (int k = 0; k < STATE_KINDS; k++)
        mem_pages_free(s->array[k], array_bytes(s));
    mem_free(s->offset);
    params_release(&s->params);
    *s = (struct train_state){ 0 };
}

size_t state_bytes(const struct train_state *s)
{
    return STATE_KINDS * array_bytes(s);
}

struct tensor state_tensor(const struct train_state *s, enum state_kind kind, size_t i)
{
    return (struct tensor){ DTYPE_F32, s->params.at[i].shape, s->array[kind] + s->offset[i] };
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

bool state_save(const struct train_state *s, const char *path, const struct weights_pair *facts, size_t count,
                struct err *e)
{
    size_t n = s->params.count, total = SAVED_KINDS * n;
    struct weights_entry *entries = mem_zeroed(total, sizeof *entries);
    const void **data = mem_zeroed(total, sizeof *data);
    struct path *names = mem_zeroed(total, sizeof *names);
    bool good = entries && data && names;
    for (size_t k = 0; good && k < SAVED_KINDS; k++)
        for (size_t i = 0; i < n; i++) {
            names[k * n + i] = path_of("%s/%s", kind_names[k], s->params.at[i].name);
            entries[k * n + i] = (struct weights_entry){ names[k * n + i].s, DTYPE_F32, s->params.at[i].shape };
            data[k * n + i] = s->array[k] + s->offset[i];
        }
    good = good ? weights_save(path, entries, data, total, facts, count, e) : err_nomem(e, "a checkpoint");
    mem_free(entries);
    mem_free(data);
    mem_free(names);
    return good;
}

bool state_load(struct train_state *s, const struct weights *file, struct err *e)
{
    for (size_t k = 0; k < SAVED_KINDS; k++)
        for (size_t i = 0; i < s->params.count; i++) {
            struct path name = path_of("%s/%s", kind_names[k], s->params.at[i].name);
            const struct weight *w = weights_need(file, name.s, e);
            if (!w)
                return false;
            if (w->type != DTYPE_F32 || !shape_same(w->shape, s->params.at[i].shape))
                return err_set(e, ERR_SHAPE, "%s: %s is %s %s, this training has f32 %s", weights_path(file), name.s,
                               dtype_name(w->type), shape_text(w->shape).s, shape_text(s->params.at[i].shape).s);
            memcpy(s->array[k] + s->offset[i], w->data, weight_bytes(w));
        }
    return true;
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
