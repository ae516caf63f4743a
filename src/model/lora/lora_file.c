/* From a file's keys to targets: who they belong to, what they lack, what alpha is. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/lora/lora_internal.h"

/* What else a file says about its scales: PEFT's adapter_config.json, or diffusers' copy of it in the metadata, where every key has
 * its part before it ("unet.lora_alpha"). */
struct settings {
    json_t *json; /* NULL: nothing was said */
    bool by_part;
    char where[PATH_MAX_BYTES + 40];
};

static const json_t *setting(const struct settings *s, const char *part, const char *key)
{
    return json_object_get(s->json, s->by_part ? path_of("%s.%s", part, key).s : key);
}

/* A pattern of PEFT names modules by their whole name or its end. */
static const json_t *in_pattern(const json_t *pattern, const char *module)
{
    const char *key;
    json_t *value;
    size_t length = strlen(module);
    json_object_foreach((json_t *)(uintptr_t)pattern, key, value) {
        size_t n = strlen(key);
        bool end = n <= length && !strcmp(module + length - n, key) && (n == length || module[length - n - 1] == '.');
        if (n && end)
            return value;
    }
    return NULL;
}

static bool settings_read(struct settings *s, const struct weights *file, struct err *e)
{
    const char *metadata = weights_metadata(file, "lora_adapter_metadata"), *path = weights_path(file), *name = path_name(path);
    *s = (struct settings){ .by_part = true };
    if (metadata) {
        snprintf(s->where, sizeof s->where, "%s: lora_adapter_metadata", path);
        s->json = json_parse(metadata, strlen(metadata), s->where, e);
        return s->json != NULL;
    }
    s->by_part = false;
    int folder = (int)(name - path);
    if (strncmp(name, "adapter_model.", 14) ||
        snprintf(s->where, sizeof s->where, "%.*sadapter_config.json", folder, path) >= (int)sizeof s->where || !path_exists(s->where))
        return true;
    s->json = json_read(s->where, e);
    return s->json != NULL;
}

/* alpha / rank of a target as the settings say; *scale stays where they say nothing. */
static bool settings_scale(const struct settings *s, const struct lora_target *t, double *scale, struct err *e)
{
    const char *slash = strchr(t->module->name, '/'), *module = slash + 1;
    struct path part = path_of("%.*s", (int)(slash - t->module->name), t->module->name);
    const json_t *alpha = setting(s, part.s, "lora_alpha"), *own = in_pattern(setting(s, part.s, "alpha_pattern"), module);
    const json_t *root = setting(s, part.s, "use_rslora"), *turned = setting(s, part.s, "fan_in_fan_out");
    alpha = own ? own : alpha;
    if (!alpha)
        return true;
    if (!json_is_number(alpha) || !isfinite(json_number_value(alpha)))
        return err_set(e, ERR_FORMAT, "%s: \"lora_alpha\" must be a number", s->where);
    if (json_is_true(turned))
        return err_set(e, ERR_TYPE, "%s: \"fan_in_fan_out\" is not known here", s->where);
    double rank = (double)(t->rank ? t->rank : 1);
    *scale = json_number_value(alpha) / (json_is_true(root) ? sqrt(rank) : rank);
    return true;
}

/* --- keys --- */

static bool add_unused(struct lora *l, const char *name, struct err *e)
{
    const char **grown = mem_grow(l->unused, &l->unused_cap, l->unused_count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "the list of unused keys");
    l->unused = grown;
    l->unused[l->unused_count++] = name;
    return true;
}

/* A key that does not say its part belongs to the first one that has such a module of this size: bare text encoders of SDXL have
 * the same names in two widths. */
static bool could_be(const struct lora_module *m, enum lora_role role, const struct weight *w)
{
    if (role == LORA_DOWN && w->shape.rank > 1 && m->shape.rank > 1)
        return w->shape.dim[1] == m->shape.dim[1];
    if (role == LORA_UP && w->shape.rank > 0)
        return w->shape.dim[0] == m->shape.dim[0];
    return true;
}

static const struct lora_module *module_of(const struct lora_modules *modules, const struct lora_key *key, const struct weight *w)
{
    if (key->part)
        return lora_modules_find(modules, key->part, key->stem);
    const struct lora_module *first = NULL;
    for (size_t i = 0; i < modules->part_count; i++) {
        const struct lora_module *m = lora_modules_find(modules, modules->parts[i], key->stem);
        if (m && could_be(m, key->role, w))
            return m;
        first = first ? first : m;
    }
    return first; /* of a wrong size: its error says so */
}

/* Places of targets by module, while a file is read. */
static struct lora_target *target_of(struct lora *l, uint32_t *places, const struct lora_module *m, struct err *e)
{
    uint32_t *place = &places[m - l->modules->at];
    if (!*place) {
        struct lora_target *grown = mem_grow(l->targets, &l->cap, l->count + 1, sizeof *grown);
        if (!grown) {
            err_nomem(e, "the targets of a LoRA");
            return NULL;
        }
        l->targets = grown;
        l->targets[l->count++] = (struct lora_target){ .module = m };
        *place = (uint32_t)l->count;
    }
    return &l->targets[*place - 1];
}

static bool take_key(struct lora *l, uint32_t *places, const struct weight *w, bool *diffsynth, struct err *e)
{
    struct lora_key key;
    const struct lora_module *m = lora_key_read(w->name, &key) ? module_of(l->modules, &key, w) : NULL;
    bool bias = m && (key.role == LORA_DIFF_BIAS || key.role == LORA_UP_BIAS);
    if (!m || (bias && !m->bias))
        return add_unused(l, w->name, e);
    if (key.role == LORA_ALPHA && shape_count(w->shape) != 1)
        return err_set(e, ERR_SHAPE, "%s is %s; one number is wanted", w->name, shape_text(w->shape).s);
    struct lora_target *t = target_of(l, places, m, e);
    if (!t)
        return false;
    if (t->tensor[key.role])
        return err_set(e, ERR_FORMAT, "%s and %s are both for %s", t->tensor[key.role]->name, w->name, m->name);
    if (!weights_check_finite(w, e))
        return false;
    t->tensor[key.role] = w;
    *diffsynth |= key.diffsynth;
    return true;
}

/* An alpha with nothing beside it is a key without a use. */
static bool drop_empty(struct lora *l, struct err *e)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct lora_target *t = &l->targets[i];
        bool empty = true;
        for (int r = 0; r < LORA_ROLES; r++)
            empty = empty && (r == LORA_ALPHA || !t->tensor[r]);
        if (empty && !add_unused(l, t->tensor[LORA_ALPHA]->name, e))
            return false;
        if (!empty)
            l->targets[kept++] = *t;
    }
    l->count = kept;
    return true;
}

static bool find_scale(struct lora *l, struct lora_target *t, const struct settings *s, double alpha, bool diffsynth, struct err *e)
{
    const double DIFFSYNTH_ALPHA = 4; /* its trainer's default, which its files do not tell */
    const struct weight *own = t->tensor[LORA_ALPHA];
    double rank = (double)(t->rank ? t->rank : 1), said = NAN;
    bool whole_kron = t->kind == LORA_KIND_KRONECKER && !t->rank; /* LyCORIS: alpha is then of no meaning */
    t->scale = 1;
    if (t->kind == LORA_KIND_DIFF || t->kind == LORA_KIND_NONE || whole_kron)
        return true;
    if (own) {
        t->scale = dtype_load(own->data, own->type, 0) / rank;
        return true;
    }
    if (!settings_scale(s, t, &said, e))
        return false;
    if (isnan(said) && (diffsynth || !isnan(alpha))) {
        l->alpha_assumed = isnan(alpha) ? DIFFSYNTH_ALPHA : alpha;
        said = l->alpha_assumed / rank;
    }
    if (!isnan(said))
        t->scale = said;
    return true;
}

static int by_module(const void *a, const void *b)
{
    const struct lora_module *x = ((const struct lora_target *)a)->module, *y = ((const struct lora_target *)b)->module;
    return (x > y) - (x < y); /* both point into one array */
}

static bool read_all(struct lora *l, double alpha, struct err *e)
{
    struct settings settings = { 0 };
    bool diffsynth = false, good = true;
    uint32_t *places = mem_zeroed(l->modules->count, sizeof *places);
    if (!places)
        return err_nomem(e, "a LoRA");
    for (size_t i = 0; good && i < weights_count(l->file); i++)
        good = take_key(l, places, weights_at(l->file, i), &diffsynth, e);
    mem_free(places);
    good = good && drop_empty(l, e);
    if (good && !l->count)
        good = err_set(e, ERR_MISSING, "none of its %zu keys is for this model (the first is %.200s)", weights_count(l->file),
                       weights_count(l->file) ? weights_at(l->file, 0)->name : "not there");
    good = good && settings_read(&settings, l->file, e);
    for (size_t i = 0; good && i < l->count; i++)
        good = lora_target_check(&l->targets[i], e) && find_scale(l, &l->targets[i], &settings, alpha, diffsynth, e);
    json_decref(settings.json);
    if (l->count)
        qsort(l->targets, l->count, sizeof *l->targets, by_module);
    return good;
}

/* The weights in a folder as PEFT and diffusers write it. */
static bool in_folder(char *out, const char *folder, struct err *e)
{
    static const char *const names[] = {
        "pytorch_lora_weights.safetensors", "adapter_model.safetensors", "pytorch_lora_weights.bin", "adapter_model.bin",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!path_join(out, folder, names[i], e))
            return false;
        if (path_exists(out))
            return true;
    }
    return err_set(e, ERR_MISSING, "%s has no %s or %s", folder, names[0], names[1]);
}

static char *name_of(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    size_t begin = length;
    while (begin && path[begin - 1] != '/')
        begin--;
    char *name = mem_zeroed(length - begin + 1, 1), *dot;
    if (!name)
        return NULL;
    memcpy(name, path + begin, length - begin);
    if (!path_is_folder(path) && (dot = strrchr(name, '.')) && dot != name)
        *dot = 0;
    return name;
}

struct lora *lora_open(const char *path, const struct lora_modules *modules, double alpha, struct err *e)
{
    char found[PATH_MAX_BYTES];
    struct lora *l = mem_zeroed(1, sizeof *l);
    if (!l) {
        err_nomem(e, path);
        return NULL;
    }
    l->modules = modules;
    bool good = (l->name = name_of(path)) || err_nomem(e, path);
    if (good && path_is_folder(path)) {
        good = in_folder(found, path, e);
        path = found;
    }
    good = good && (l->file = weights_open(path, e)) != NULL;
    if (good && !read_all(l, alpha, e))
        good = err_add(e, "in the LoRA %s", path);
    if (!good) {
        lora_free(l);
        return NULL;
    }
    return l;
}

void lora_free(struct lora *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->targets[i].norms);
    mem_free(l->targets);
    mem_free(l->unused);
    weights_free(l->file);
    mem_free(l->name);
    mem_free(l);
}

struct lora_facts lora_facts(const struct lora *l)
{
    struct lora_facts f = { .path = weights_path(l->file), .name = l->name, .modules = l->count, .unused_count = l->unused_count,
                            .unused = l->unused, .alpha_assumed = l->alpha_assumed };
    for (size_t i = 0; i < l->count; i++) {
        int64_t rank = l->targets[i].rank;
        f.least_rank = rank && (!f.least_rank || rank < f.least_rank) ? rank : f.least_rank;
        f.most_rank = rank > f.most_rank ? rank : f.most_rank;
    }
    return f;
}

bool lora_touches(const struct lora *l, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i < l->count; i++)
        if (!strncmp(l->targets[i].module->name, part, n) && l->targets[i].module->name[n] == '/')
            return true;
    return false;
}

bool lora_pair(const struct lora *l, size_t i, struct lora_pair *out, struct err *e)
{
    const struct lora_target *t = &l->targets[i];
    const struct weight *down = t->tensor[LORA_DOWN], *up = t->tensor[LORA_UP];
    bool more = t->tensor[LORA_MID] || t->tensor[LORA_UP_BIAS] || t->tensor[LORA_DIFF_BIAS] || t->per_input;
    if (t->kind != LORA_KIND_PAIR || more)
        return err_set(e, ERR_TYPE, "%s: %s is changed by more than a pair of low rank, which no training here goes on from",
                       weights_path(l->file), t->module->name);
    *out = (struct lora_pair){ t->module->name, down, up, t->tensor[LORA_MAGNITUDE], t->rank, t->scale };
    return true;
}
