#include "cli/train_common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/json.h"

const char *rate_schedule_choice(int index)
{
    return index >= 0 && index < RATE_SCHEDULES ? rate_schedule_names[index] : NULL;
}

OPTION_CHOICES(precision_choice, "auto", "f32", "bf16")

const char *train_precision_choice(int index)
{
    return precision_choice(index);
}

OPTION_CHOICES(export_choice, "bf16", "f32", "f16")

const char *train_export_choice(int index)
{
    return export_choice(index);
}

enum dtype run_export_type(const struct run_args *a)
{
    static const enum dtype types[] = { DTYPE_BF16, DTYPE_F32, DTYPE_F16 };
    return types[a->export];
}

bool run_args_check(const struct run_args *a, struct err *e)
{
    const struct { const char *name, *value; } needed[] = {
        { "--dataset", a->dataset }, { "--output", a->output }, { "--config", a->config },
    };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!needed[i].value)
            return err_set(e, ERR_ARG, "%s is missing", needed[i].name);
    if (a->pair + a->placed > 1)
        return err_set(e, ERR_ARG, "--pair %g and --placed %g are more than 1 together", a->pair, a->placed);
    return true;
}

/* "text_encoder=1e-5" */
static bool read_group(struct run_groups *groups, const char *text, struct err *e)
{
    const char *equal = strrchr(text, '=');
    size_t i = groups->count, length = equal ? (size_t)(equal - text) : 0;
    char *end = NULL;
    double rate = equal ? strtod(equal + 1, &end) : 0;
    if (!length || length >= sizeof groups->pattern[i] || end == equal + 1 || *end || !(rate >= 0 && rate <= 1))
        return err_set(e, ERR_ARG, "--rate-of %.200s: want NAME=RATE with a rate from 0 to 1, such as text_encoder=1e-5", text);
    memcpy(groups->pattern[i], text, length);
    groups->pattern[i][length] = 0;
    groups->at[i] = (struct train_group){ groups->pattern[i], rate };
    groups->count++;
    return true;
}

bool run_groups_read(struct run_groups *groups, const struct option_texts *rates, struct err *e)
{
    groups->count = 0;
    for (int i = 0; i < rates->count; i++)
        if (!read_group(groups, rates->items[i], e))
            return false;
    return true;
}

bool run_options(const struct run_args *a, struct run_groups *groups, struct train_options *o, struct err *e)
{
    if (!run_groups_read(groups, &a->rates, e))
        return false;
    *o = (struct train_options){
        .folder = a->output, .resume = a->resume, .steps = a->steps, .warmup = a->warmup, .accumulate = a->accumulate,
        .batch = a->batch, .rate = a->rate, .beta1 = a->beta1, .beta2 = a->beta2, .eps = a->eps, .decay = a->decay,
        .clip = a->clip, .ema = a->ema, .schedule = (enum rate_schedule)a->schedule, .final_rate = a->final_rate,
        .log_every = a->log_every, .save_every = a->save_every, .sample_every = a->sample_every, .stop_at = a->stop_at,
        .minutes = a->minutes, .profile = a->profile, .optimizer = (enum optimizer_kind)a->optimizer, .groups = groups->at,
        .group_count = groups->count, .cycles = (double)a->cycles, .power = a->power,
        .validate_every = a->validate_every, .keep_every = a->keep_every, .patience = a->patience,
    };
    return true;
}

struct scene_options run_scenes(const struct run_args *a)
{
    struct scene_options o = scene_defaults;
    o.pair = (float)a->pair;
    o.placed = (float)a->placed;
    o.coloured = (float)a->coloured;
    return o;
}

enum dtype run_type(const struct run_args *a, const struct backend *backend)
{
    if (a->precision)
        return a->precision == 1 ? DTYPE_F32 : DTYPE_BF16;
    const char *isa = backend_cpu_isa(backend);
    return !strcmp(isa, "amx") || !strcmp(isa, "bf16") ? DTYPE_BF16 : DTYPE_F32;
}

bool run_write_config(const struct command *command, const void *args, const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES];
    json_t *j = folder_make(folder, e) && path_join(path, folder, "config.json", e) ? options_json(command, args, e) : NULL;
    if (j)
        json_object_set_new(j, "command", json_string(command->name));
    bool good = j && json_write(j, path, e);
    json_decref(j);
    return good;
}

void run_print_plan(const struct train_memory *m)
{
    const struct { const char *kind; size_t bytes; } rows[] = {
        { "weights", m->weights + m->packed }, { "activations", m->activations }, { "optimizer", m->optimizer },
        { "together", m->weights + m->packed + m->activations + m->optimizer },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        printf("%-12s %10.1f MiB\n", rows[i].kind, (double)rows[i].bytes / (1 << 20));
}
