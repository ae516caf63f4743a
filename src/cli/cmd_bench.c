/* limn bench: how fast this machine is, a JSON line per subject. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/near.h"
#include "cli/bench.h"
#include "cli/json_line.h"

struct bench_args {
    const char *shape;
    struct option_texts subjects;
    int64_t runs, threads;
    int precision;
    bool json, profile;
};

#define AT(member) offsetof(struct bench_args, member)

enum { BOTH, F32, BF16 };
OPTION_CHOICES(bench_precision, "both", "f32", "bf16")

static const struct option bench_options[] = {
    { "shape", 0, OPTION_TEXT, AT(shape), "sd15", .value = "FOLDER",
      .help = "sd15 (Stable Diffusion 1.5 at 512x512), sdxl (at 1024x1024), or a folder with the configs of a model" },
    { "subject", 0, OPTION_TEXTS, AT(subjects), .value = "NAME", .help = "measure this only; may be given again" },
    { "precision", 0, OPTION_CHOICE, AT(precision), "both", .choices = bench_precision,
      .help = "what the models compute in; both leaves out bf16 where the processor has none" },
    { "runs", 0, OPTION_INT, AT(runs), "5", .min = 1, .max = 1000, .help = "timed runs; the median counts" },
    OPTION_ROW_THREADS(struct bench_args),
    { "profile", 0, OPTION_FLAG, AT(profile), .help = "print where the time went, by kind of op, on stderr" },
    OPTION_ROW_JSON(struct bench_args),
    { 0 },
};

static const char *subject_name(const void *names, int index)
{
    return bench_subjects[index].name;
}

static bool check_subjects(const struct bench_args *a, struct err *e)
{
    for (int i = 0; i < a->subjects.count; i++) {
        int k = 0;
        while (bench_subjects[k].name && !text_same_name(bench_subjects[k].name, a->subjects.items[i]))
            k++;
        if (bench_subjects[k].name)
            continue;
        const char *near = text_nearest(a->subjects.items[i], subject_name, NULL);
        err_set(e, ERR_ARG, "--subject %.50s: there are", a->subjects.items[i]);
        for (k = 0; bench_subjects[k].name; k++) {
            size_t used = strlen(e->text);
            snprintf(e->text + used, sizeof e->text - used, " %s", bench_subjects[k].name);
        }
        return near ? err_add(e, "did you mean %s?", near) : false;
    }
    return true;
}

static bool wanted(const struct bench_args *a, const char *name)
{
    for (int i = 0; i < a->subjects.count; i++)
        if (text_same_name(a->subjects.items[i], name))
            return true;
    return a->subjects.count == 0;
}

/* "model name" of the first processor in /proc/cpuinfo. */
static void processor_name(char *out, size_t room)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    snprintf(out, room, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, room, "%s", colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

static bool print_result(const struct bench_args *a, const struct bench_subject *subject, const struct bench_options *o,
                         const struct engine *engine, const struct bench_result *r, struct err *e)
{
    char processor[200];
    double rate = r->seconds > 0 ? 1e-9 * r->flops / r->seconds : 0;
    if (!a->json) {
        printf("%-14s %-5s %10.2f ms", subject->name, dtype_name(o->type), 1e3 * r->seconds);
        printf("%10.1f GFLOP/s", rate);
        if (r->trains)
            printf("%10.2f pictures/s", (double)r->batch / r->seconds);
        puts("");
        fflush(stdout);
        return true;
    }
    processor_name(processor, sizeof processor);
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:I,s:f,s:I,s:i,s:f,s:I,s:s,s:s,s:s}", "program", "limn", "subject", subject->name,
                          "shape", o->shape->name, "precision", dtype_name(o->type), "batch", (json_int_t)r->batch, "seconds",
                          r->seconds, "runs", (json_int_t)o->runs, "threads", engine->threads, "gflops_per_second", rate,
                          "peak_rss", (json_int_t)mem_peak_rss(), "isa", engine->isa, "processor", processor, "version", LIMN_VERSION);
    if (j && r->trains)
        json_object_set_new(j, "pictures_per_second", json_real((double)r->batch / r->seconds));
    return json_line(j, JSON_COMPACT | JSON_REAL_PRECISION(6), e);
}

static bool measure(const struct bench_args *a, const struct bench_options *o, const struct engine *engine, struct err *e)
{
    for (const struct bench_subject *s = bench_subjects; s->name; s++) {
        if (!wanted(a, s->name))
            continue;
        struct bench_result r = { 0 };
        text_init(&r.profile, 1 << 16);
        bool ran = s->run(o, &r, e);
        bool good = ran ? print_result(a, s, o, engine, &r, e) : !e->code;
        if (ran && a->profile)
            fprintf(stderr, "%s, %s\n%s", s->name, dtype_name(o->type), text_string(&r.profile));
        text_release(&r.profile);
        if (!good)
            return err_add(e, "measuring %s", s->name);
    }
    return true;
}

static bool bench_run(const void *args, struct err *e)
{
    const struct bench_args *a = args;
    struct bench_shape shape;
    struct engine engine = { 0 };
    if (!check_subjects(a, e) || !bench_shape_read(&shape, a->shape, e) || !engine_init(&engine, a->threads, PRECISION_AUTO, e))
        return false;
    struct bench_options o = { .shape = &shape, .backend = engine.backend, .runs = a->runs, .profile = a->profile };
    bool fast = engine.type == DTYPE_BF16, good = true;
    if (a->precision == BF16 || (a->precision == BOTH && fast)) {
        o.type = DTYPE_BF16;
        good = measure(a, &o, &engine, e);
    }
    if (good && a->precision != BF16) {
        o.type = DTYPE_F32;
        good = measure(a, &o, &engine, e);
    }
    engine_release(&engine);
    return good;
}

const struct command command_bench = {
    .name = "bench",
    .help = "Measures how fast this machine runs a model's parts and training steps.",
    .details = "Weights are random, nothing is read but configs. The subjects are matmul, conv, attention, norm, text_encoder, "
               "unet_step, vae_decode, train_vae, train_unet, lora_step, lora_recompute and full_step. peak_rss in --json is the process's: measure "
               "one subject and type in a run for its memory.",
    .options = bench_options, .args_bytes = sizeof(struct bench_args), .run = bench_run,
};
