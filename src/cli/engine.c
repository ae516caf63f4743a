#include "cli/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"
#include "tensor/quant.h"

static const char default_model[] = "limn-emoji";

OPTION_CHOICES(precision_names, "auto", "f32", "bf16")

const char *precision_choice(int index)
{
    return precision_names(index);
}

enum dtype weights_type_of_choice(int index)
{
    static const enum dtype plain[] = { DTYPE_COUNT, DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
    enum { PLAIN = sizeof plain / sizeof *plain };
    if (index < PLAIN)
        return plain[index];
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (dtype_is_quantised((enum dtype)t) && quant_can_pack((enum dtype)t) && index-- == PLAIN)
            return (enum dtype)t;
    return DTYPE_COUNT;
}

const char *weights_type_choice(int index)
{
    enum dtype type = index < 0 ? DTYPE_COUNT : weights_type_of_choice(index);
    return index == 0 ? "keep" : type == DTYPE_COUNT ? NULL : dtype_name(type);
}

const char *prediction_choice(int index)
{
    return index >= 0 && index < PREDICTS_COUNT ? predicts_names[index] : NULL;
}

bool engine_init(struct engine *engine, int64_t threads, int precision, struct err *e)
{
    engine->backend = backend_cpu_new((int)threads, NULL, e);
    if (!engine->backend)
        return false;
    engine->isa = backend_cpu_isa(engine->backend);
    engine->threads = backend_cpu_threads(engine->backend);
    bool fast = !strcmp(engine->isa, "bf16") || !strcmp(engine->isa, "amx");
    engine->type = precision == PRECISION_BF16 || (precision == PRECISION_AUTO && fast) ? DTYPE_BF16 : DTYPE_F32;
    return true;
}

void engine_release(struct engine *engine)
{
    backend_cpu_free(engine->backend);
}

bool engine_pull_place(char *out, struct err *e)
{
    const char *environment = getenv("LIMN_MODELS"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (environment && *environment)
        return path_join(out, "", environment, e);
    if (data && *data)
        return path_join(out, data, "limn/models", e);
    if (home && *home)
        return path_join(out, home, ".local/share/limn/models", e);
    return err_set(e, ERR_MISSING, "neither LIMN_MODELS nor HOME is set: say where with --output");
}

/* The folder of the running program; false where the system does not tell. */
static bool program_folder(char out[PATH_MAX_BYTES])
{
    ssize_t length = readlink("/proc/self/exe", out, PATH_MAX_BYTES - 1);
    if (length <= 0)
        return false;
    out[length] = 0;
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = 0;
    return slash != NULL;
}

bool engine_page(char *out)
{
    static const char *const places[] = { "web/index.html", "../share/limn/web/index.html" };
    char program[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (program_folder(program) && path_join(out, program, places[i], &ignored) && path_exists(out)) {
            *strrchr(out, '/') = 0;
            return true;
        }
    return false;
}

static const char *or_environment(const char *given, const char *variable)
{
    const char *value = given ? given : getenv(variable);
    return value && *value ? value : NULL;
}

bool engine_places(struct model_places *places, const char *comfyui, const char *extra, struct err *e)
{
    char path[PATH_MAX_BYTES], program[PATH_MAX_BYTES];
    const char *loras = or_environment(NULL, "LIMN_LORAS");
    struct err ignored = { 0 };
    *places = (struct model_places){ 0 };
    comfyui = or_environment(comfyui, "LIMN_COMFYUI");
    extra = or_environment(extra, "LIMN_EXTRA_MODEL_PATHS");
    if ((loras && !model_places_add(places, MODELS_LORAS, loras, false, e)) ||
        (engine_pull_place(path, &ignored) && !model_places_add_own(places, path, e)))
        return false;
    if (program_folder(program)) {
        if (!path_join(path, program, "../models", e) || !model_places_add_own(places, path, e) ||
            !path_join(path, program, "../share/limn/models", e) || !model_places_add_own(places, path, e))
            return false;
    }
    bool good = (!comfyui || model_places_add_comfyui(places, comfyui, e)) && (!extra || model_places_add_file(places, extra, e));
    fputs(text_string(&places->notes), stderr);
    return good;
}

static bool is_path(const char *name)
{
    return name[0] == '/' || !strncmp(name, "./", 2) || !strncmp(name, "../", 3) || path_exists(name);
}

bool engine_find_model(char *out, const struct model_places *places, const char *name, struct err *e)
{
    if (name && is_path(name))
        return path_join(out, "", name, e);
    return model_places_find(places, 1U << MODELS_DIFFUSERS | 1U << MODELS_CHECKPOINTS, "model", name ? name : default_model, out, e) ||
           err_add(e, "--model names a folder or a file anywhere");
}

bool engine_find_only_model(char *out, const char *comfyui, const char *extra, const char *name, struct err *e)
{
    struct model_places places;
    bool good = engine_places(&places, comfyui, extra, e) && engine_find_model(out, &places, name, e);
    model_places_release(&places);
    return good;
}

static bool find_part(char *out, const struct model_places *places, unsigned kinds, const char *what, const char *option,
                      const char **name, struct err *e)
{
    if (!*name)
        return true;
    if (is_path(*name) ? !path_join(out, "", *name, e) : !model_places_find(places, kinds, what, *name, out, e))
        return err_add(e, "--%s", option);
    *name = out;
    return true;
}

bool engine_find_vae(char *out, const struct model_places *places, const char **name, struct err *e)
{
    return find_part(out, places, 1U << MODELS_VAE | 1U << MODELS_VAE_APPROX, "VAE", "vae", name, e);
}

bool engine_find_text(char *out, const struct model_places *places, const char **name, struct err *e)
{
    return find_part(out, places, 1U << MODELS_TEXT_ENCODERS, "text encoder", "text-encoder", name, e);
}

/* The first of folder/names that is a folder, into out; "" if there is none. */
static bool first_folder(char *out, const char *folder, const char *const names[3], struct err *e)
{
    for (int i = 0; i < 3 && names[i]; i++) {
        if (!path_join(out, folder, names[i], e))
            return false;
        if (path_is_folder(out))
            return true;
    }
    *out = 0;
    return true;
}

static bool add_named(struct pipeline *p, const struct model_places *places, const char *name, struct err *e)
{
    char path[PATH_MAX_BYTES], looked[600] = "";
    if (!first_folder(path, name, (const char *const[3]){ "models/embeddings", "embeddings", "." }, e))
        return false;
    for (size_t i = 0; !*path && i < places->count; i++) {
        size_t used = strlen(looked);
        if (places->items[i].kind != MODELS_EMBEDDINGS)
            continue;
        if (!first_folder(path, places->items[i].path, (const char *const[3]){ name }, e))
            return false;
        snprintf(looked + used, sizeof looked - used, "%s%s", used ? ", " : "", places->items[i].path);
    }
    return *path ? pipeline_embeddings(p, path, e)
                 : err_set(e, ERR_MISSING, "--embeddings %s: there is no such folder, nor one in %s", name, looked);
}

static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool engine_add_embeddings(struct pipeline *p, const struct model_places *places, const char *name, const char *model, struct err *e)
{
    char beside[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    if (name)
        return add_named(p, places, name, e);
    if (!path_join(beside, model, path_is_folder(model) ? ".." : "", e))
        return false;
    if (!path_is_folder(model)) /* a file: its folder */
        beside[strlen(beside) - strlen(path_name(beside))] = 0;
    if (!first_folder(path, *beside ? beside : ".", (const char *const[3]){ "embeddings", "../embeddings" }, e) ||
        (*path && !pipeline_embeddings(p, path, e)))
        return false;
    for (size_t i = 0; i < places->count; i++) {
        const struct model_place *place = &places->items[i];
        if (place->kind == MODELS_EMBEDDINGS && path_is_folder(place->path) && !same_folder(place->path, path) &&
            !pipeline_embeddings(p, place->path, e))
            return false;
    }
    return true;
}

void engine_print_plan(const char *const *names, const size_t *bytes)
{
    for (int i = 0; names[i]; i++)
        fprintf(stderr, "plan: %-12s %10.1f MiB\n", names[i], ldexp((double)bytes[i], -20));
}
