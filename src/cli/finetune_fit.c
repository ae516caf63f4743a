#include "cli/finetune_fit.h"

#include <stdio.h>

#include "base/file.h"

/* A type by its number among the choices of --frozen-type. */
static int choice_of(enum dtype type)
{
    for (int i = 1; weights_type_choice(i); i++)
        if (weights_type_of_choice(i) == type)
            return i;
    return 0;
}

static enum dtype frozen_type(const struct finetune_args *a, const struct fit_options *o)
{
    return a->frozen ? weights_type_of_choice(a->frozen) : o->frozen;
}

static double bits(enum dtype type)
{
    return 8.0 * (double)dtype_block_bytes(type) / (double)dtype_block(type);
}

/* Each changes a, and says what it has done; false: it has nothing to give. */
static bool compute_twice(struct finetune_args *a, const struct fit_options *o, char *said, size_t bytes)
{
    (void)o;
    if (a->checkpoints_all)
        return false;
    snprintf(said, bytes, "%sinner activations are computed twice (--gradient-checkpointing%s)", a->checkpointing ? "all " : "cheap ",
             a->checkpointing ? "-all" : "");
    a->checkpoints_all = a->checkpointing;
    a->checkpointing = true;
    return true;
}

static bool split_batches(struct finetune_args *a, const struct fit_options *o, char *said, size_t bytes)
{
    int64_t parts = 2;
    if (!o->batches || a->batch == 1)
        return false;
    while (a->batch % parts)
        parts++;
    a->batch /= parts;
    a->accumulate *= parts;
    snprintf(said, bytes, "a step takes %lld batches of %lld (--batch, --accumulate)", (long long)a->accumulate, (long long)a->batch);
    return true;
}

static bool freeze_as(struct finetune_args *a, const struct fit_options *o, enum dtype type, char *said, size_t bytes)
{
    if (!o->asked || !o->lora || bits(frozen_type(a, o)) <= bits(type))
        return false;
    a->frozen = choice_of(type);
    snprintf(said, bytes, "frozen weights are kept in %s (--frozen-type)", dtype_name(type));
    return true;
}

static bool freeze_bf16(struct finetune_args *a, const struct fit_options *o, char *said, size_t bytes)
{
    return o->computes == DTYPE_BF16 && freeze_as(a, o, DTYPE_BF16, said, bytes);
}

static bool freeze_q8(struct finetune_args *a, const struct fit_options *o, char *said, size_t bytes)
{
    return freeze_as(a, o, DTYPE_Q8_0, said, bytes);
}

static bool freeze_q4(struct finetune_args *a, const struct fit_options *o, char *said, size_t bytes)
{
    return freeze_as(a, o, DTYPE_Q4_0, said, bytes);
}

static bool shrink_state(struct finetune_args *a, const struct fit_options *o, char *said, size_t bytes)
{
    if (!o->asked || a->optimizer != OPTIMIZER_ADAMW)
        return false;
    a->optimizer = OPTIMIZER_ADAMW8BIT;
    snprintf(said, bytes, "the optimizer keeps its state in 8 bits (--optimizer adamw8bit)");
    return true;
}

/* In the order of the header. */
static bool (*const measures[])(struct finetune_args *, const struct fit_options *, char *, size_t) = {
    compute_twice, split_batches, freeze_bf16, shrink_state, freeze_q8, freeze_q4,
};

bool fit_choose(struct fit *f, struct finetune_args *a, const struct fit_options *o, bool (*make)(void *self, size_t *bytes, struct err *e),
                void *self, bool *fits, struct err *e)
{
    enum { MEASURES = sizeof measures / sizeof *measures };
    size_t need;
    double agreed;
    bool stale = false; /* what is made is not what a says */
    *f = (struct fit){ .count = 0 };
    if (!make(self, &need, e))
        return false;
    for (int k = 0; k < MEASURES;) {
        struct finetune_args before = *a;
        char said[sizeof f->said[0]];
        size_t less;
        agreed = !o->room || need <= o->room;
        if (!ranks_broadcast(o->ranks, &agreed, sizeof agreed, e))
            return false;
        if (agreed != 0)
            break;
        if (!measures[k](a, o, said, sizeof said)) {
            k++;
            continue;
        }
        if (!make(self, &less, e))
            return false;
        agreed = (double)less < 0.99 * (double)need;
        if (!ranks_broadcast(o->ranks, &agreed, sizeof agreed, e))
            return false;
        stale = agreed == 0;
        if (stale) {
            *a = before;
            k++;
            continue;
        }
        snprintf(f->said[f->count], sizeof *f->said, "%.120s: %.1f MiB in place of %.1f", said, ldexp((double)less, -20),
                 ldexp((double)need, -20));
        f->count += f->count + 1 < FIT_MOST;
        need = less;
    }
    if (stale && !make(self, &need, e))
        return false;
    *fits = !o->room || need <= o->room;
    return true;
}

static bool path_of_fit(char *path, const char *folder, struct err *e)
{
    return path_join(path, folder, "fit.json", e);
}

bool fit_keep(const struct finetune_args *asked, const struct finetune_args *chosen, const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES];
    json_t *j = json_object();
    if (chosen->checkpointing != asked->checkpointing)
        json_object_set_new(j, "gradient_checkpointing", json_true());
    if (chosen->checkpoints_all != asked->checkpoints_all)
        json_object_set_new(j, "gradient_checkpointing_all", json_true());
    if (chosen->batch != asked->batch) {
        json_object_set_new(j, "batch", json_integer(chosen->batch));
        json_object_set_new(j, "accumulate", json_integer(chosen->accumulate));
    }
    if (chosen->optimizer != asked->optimizer)
        json_object_set_new(j, "optimizer", json_string(optimizer_name(chosen->optimizer)));
    if (chosen->frozen != asked->frozen)
        json_object_set_new(j, "frozen_type", json_string(weights_type_choice(chosen->frozen)));
    bool good = j ? folder_make(folder, e) && path_of_fit(path, folder, e) && json_write(j, path, e) : err_nomem(e, "fit.json");
    json_decref(j);
    return good;
}

/* The number of what is named; `otherwise` where nothing is, -1 for a name that there is not. */
static int named(const char *(*names)(int), const json_t *value, int otherwise)
{
    const char *name = json_string_value(value);
    for (int i = 0; name && names(i); i++)
        if (!strcmp(names(i), name))
            return i;
    return value ? -1 : otherwise;
}

bool fit_recall(struct finetune_args *a, const char *folder, bool *recalled, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (!path_of_fit(path, folder, e))
        return false;
    *recalled = path_exists(path);
    json_t *j = *recalled ? json_read(path, e) : NULL;
    if (!j)
        return !*recalled;
    const json_t *batch = json_object_get(j, "batch"), *accumulate = json_object_get(j, "accumulate");
    struct finetune_args was = *a;
    int optimizer = named(optimizer_name, json_object_get(j, "optimizer"), a->optimizer);
    int frozen = named(weights_type_choice, json_object_get(j, "frozen_type"), a->frozen);
    a->checkpointing |= json_is_true(json_object_get(j, "gradient_checkpointing"));
    a->checkpoints_all |= json_is_true(json_object_get(j, "gradient_checkpointing_all"));
    a->batch = batch ? json_integer_value(batch) : a->batch;
    a->accumulate = accumulate ? json_integer_value(accumulate) : a->accumulate;
    a->optimizer = optimizer;
    a->frozen = frozen;
    json_decref(j);
    int64_t pictures = was.batch * was.accumulate;
    if (a->batch > 0 && pictures / a->batch == a->accumulate && pictures % a->batch == 0 && optimizer >= 0 && frozen >= 0)
        return true;
    *a = was;
    return err_set(e, ERR_FORMAT, "%s does not fit this run: was --batch or --accumulate another?", path);
}
