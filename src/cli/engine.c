#include "cli/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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

int engine_places(char places[ENGINE_PLACES][PATH_MAX_BYTES])
{
    char program[PATH_MAX_BYTES] = "";
    int count = 0;
    struct err ignored = { 0 };
    if (engine_pull_place(places[count], &ignored))
        count++;
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    char *slash = length > 0 ? strrchr(program, '/') : NULL;
    if (slash) {
        *slash = 0;
        count += path_join(places[count], program, "../models", &ignored);
        count += path_join(places[count], program, "../share/limn/models", &ignored);
    }
    return count;
}

bool engine_find_model(char *out, const char *name, struct err *e)
{
    char places[ENGINE_PLACES][PATH_MAX_BYTES];
    bool given = name != NULL;
    name = given ? name : default_model;
    if (given && (strchr(name, '/') || path_exists(name)))
        return path_join(out, "", name, e);
    int count = engine_places(places);
    for (int i = 0; i < count; i++)
        if (!path_join(out, places[i], name, e) || path_is_folder(out))
            return !e->code;
    err_set(e, ERR_MISSING, "no model called %.100s in", name);
    for (int i = 0; i < count; i++) {
        size_t used = strlen(e->text);
        snprintf(e->text + used, sizeof e->text - used, "%s %s", i ? "," : "", places[i]);
    }
    return err_add(e, "--model names a folder or a file anywhere");
}

bool engine_find_embeddings(char *out, const char *name, const char *model, struct err *e)
{
    char beside[PATH_MAX_BYTES];
    const char *environment = getenv("LIMN_MODELS");
    if (!path_join(beside, model, path_is_folder(model) ? ".." : "", e))
        return false;
    if (!path_is_folder(model)) /* a file: its folder */
        beside[strlen(beside) - strlen(path_name(beside))] = 0;
    const char *const named[][2] = { { name, "models/embeddings" }, { name, "embeddings" }, { name, "." } };
    const char *const unnamed[][2] = { { beside, "embeddings" }, { beside, "../embeddings" }, { environment, "embeddings" } };
    for (int i = 0; i < 3; i++) {
        const char *const *place = name ? named[i] : unnamed[i];
        if (!place[0])
            continue;
        if (!path_join(out, place[0], place[1], e))
            return false;
        if (path_is_folder(out))
            return true;
    }
    *out = 0;
    return !name || err_set(e, ERR_MISSING, "--embeddings %s: there is no such folder", name);
}

void engine_print_plan(const char *const *names, const size_t *bytes)
{
    for (int i = 0; names[i]; i++)
        fprintf(stderr, "plan: %-12s %10.1f MiB\n", names[i], ldexp((double)bytes[i], -20));
}
