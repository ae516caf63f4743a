/* limn model info: what a file or folder of weights is. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "model/family/model_facts.h"

struct info_args {
    struct option_texts words;
    bool hash, json, quiet;
};

#define AT(member) offsetof(struct info_args, member)
static const struct option info_options[] = {
    { "hash", 0, OPTION_FLAG, AT(hash), "yes", .help = "do not read the whole files for their SHA-256" },
    OPTION_ROW_JSON(struct info_args),
    OPTION_ROW_QUIET(struct info_args),
    { 0 },
};

static const char *text(const json_t *facts, const char *key)
{
    return json_string_value(json_object_get(facts, key));
}

/* "f16", or "f16 685, f32 12" */
static void print_types(const json_t *types)
{
    const char *name, *before = "";
    json_t *count;
    json_object_foreach((json_t *)(uintptr_t)types, name, count) {
        printf("%s%s", before, name);
        if (json_object_size(types) > 1)
            printf(" %lld", (long long)json_integer_value(count));
        before = ", ";
    }
}

static void print_sums(const char *name, const json_t *s)
{
    printf("  %-15s %5lld tensors %14lld parameters %9.1f MiB  ", name, (long long)json_integer_value(json_object_get(s, "tensors")),
           (long long)json_integer_value(json_object_get(s, "parameters")),
           ldexp((double)json_integer_value(json_object_get(s, "bytes")), -20));
    print_types(json_object_get(s, "types"));
    putchar('\n');
}

/* {"unet": 192, "text_encoder": 72} or [4, 16] on one line. */
static void print_value(const char *name, const json_t *v)
{
    char *line = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    if (line && !json_is_null(v))
        printf("  %-15s %s\n", name, line);
    free(line);
}

static void print_lora(const json_t *lora)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)lora, key, value) {
        if (json_is_string(value))
            printf("  %-15s %s\n", key, json_string_value(value));
        else
            print_value(key, value);
    }
}

/* Long values (training settings, previews) are for --json. */
static void print_metadata(const json_t *metadata)
{
    enum { MOST = 200 };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value) {
        const char *s = json_string_value(value);
        size_t bytes = strlen(s);
        if (bytes <= MOST)
            printf("  %s: %s\n", key, s);
        else
            printf("  %s: %zu bytes\n", key, bytes);
    }
}

static void print_facts(const json_t *facts)
{
    const char *title = text(facts, "title"), *family = text(facts, "family"), *format = text(facts, "format");
    printf("%s\n  %-15s %s%s%s", text(facts, "path"), "what", text(facts, "kind"), title || family ? ", " : "",
           title ? title : family ? family : "");
    if (json_is_true(json_object_get(facts, "inpaints")))
        printf(", for inpainting");
    printf("\n  %-15s %s%s%s\n", "layout", text(facts, "layout"), format ? ", " : "", format ? format : "");
    if (text(facts, "why"))
        printf("  %-15s %s\n", "why", text(facts, "why"));
    if (text(facts, "pipeline"))
        printf("  %-15s %s\n", "pipeline", text(facts, "pipeline"));
    if (text(facts, "predicts"))
        printf("  %-15s %s (%s)\n", "predicts", text(facts, "predicts"), text(facts, "predicts_how"));
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(facts, "parts"), name, value)
        print_sums(name, value);
    print_sums("all", facts);
    print_lora(json_object_get(facts, "lora"));
    size_t i;
    json_array_foreach(json_object_get(facts, "files"), i, value) {
        if (json_array_size(json_object_get(facts, "files")) > 1)
            printf("  %-15s %s\n", "file", text(value, "path"));
        printf("  %-15s %s\n  %-15s %s\n", "sha256", text(value, "sha256"), "short hash", text(value, "short"));
        if (text(value, "weights_sha256"))
            printf("  %-15s %s\n", "of the weights", text(value, "weights_sha256"));
    }
    print_metadata(json_object_get(facts, "metadata"));
}

static bool info_run(const void *args, struct err *e)
{
    const struct info_args *a = args;
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet || a->json);
    struct progress progress = progress_bar_steps(&bar);
    json_t *facts = model_facts(a->words.items[0], a->hash, &progress, e);
    progress_bar_end(&bar);
    if (facts && a->json) {
        char *line = json_dumps(facts, JSON_COMPACT | JSON_REAL_PRECISION(6));
        if (line)
            puts(line);
        else
            err_nomem(e, "a line of JSON");
        free(line);
    } else if (facts) {
        print_facts(facts);
    }
    json_decref(facts);
    return !e->code;
}

const struct command command_model_info = {
    .name = "model info",
    .help = "Says what a file or folder of weights is.",
    .details = "Known are models in single files and in folders, their parts alone, LoRAs and embeddings; family, parts, types and "
               "sizes come from the tensors themselves.",
    .words = "FILE", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = info_options, .args_bytes = sizeof(struct info_args), .run = info_run,
};
