#include <stdio.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "dataset/scene.h"
#include "tokenizer/clip_tokenizer.h"

struct tokenizer_args {
    const char *dataset, *output;
    int64_t vocab, length, scenes, seed;
    bool quiet;
};

#define AT(member) offsetof(struct tokenizer_args, member)
static const struct option tokenizer_options[] = {
    { "dataset", 'd', OPTION_TEXT, AT(dataset), .value = "FOLDER", .help = "pictures with metadata.jsonl or metadata.csv" },
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FOLDER", .help = "where vocab.json, merges.txt and their configs go" },
    { "vocab", 0, OPTION_INT, AT(vocab), "4096", .min = 514, .max = CLIP_VOCABULARY_MAX, .help = "tokens at most" },
    { "length", 0, OPTION_INT, AT(length), "77", .min = 8, .max = 4096, .help = "ids of a text: the encoder's positions" },
    { "scenes", 0, OPTION_INT, AT(scenes), "60000", .min = 1, .max = 1e7, .help = "captions to learn from" },
    { "seed", 0, OPTION_INT, AT(seed), "0", .min = 0, .max = 4294967295.0, .help = "of the captions' choice" },
    OPTION_ROW_QUIET(struct tokenizer_args),
    { 0 },
};

static bool captions_of(const struct dataset *d, const struct tokenizer_args *a, char **captions, struct err *e)
{
    char text[SCENE_CAPTION_BYTES];
    for (int64_t i = 0; i < a->scenes; i++) {
        struct scene_facts facts;
        if (!scene_choose(d, &scene_defaults, (uint64_t)a->seed, (uint64_t)i, &facts, e))
            return false;
        scene_caption(d, &facts, text);
        if (!(captions[i] = mem_string(text)))
            return err_nomem(e, "captions");
    }
    return true;
}

static bool run(const void *args, struct err *e)
{
    const struct tokenizer_args *a = args;
    if (!a->dataset || !a->output)
        return err_set(e, ERR_ARG, "%s is missing", a->dataset ? "--output" : "--dataset");
    struct progress_bar bar;
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    struct dataset *d = dataset_open(a->dataset, e);
    char **captions = d ? mem_zeroed((size_t)a->scenes, sizeof *captions) : NULL;
    bool good = captions || (d && err_nomem(e, "captions"));
    good = good && captions_of(d, a, captions, e) &&
           clip_tokenizer_train((const char *const *)captions, (size_t)a->scenes, (int32_t)a->vocab, (int32_t)a->length,
                                a->output, &progress, e);
    progress_bar_end(&bar);
    for (int64_t i = 0; captions && i < a->scenes; i++)
        mem_free(captions[i]);
    mem_free(captions);
    dataset_free(d);
    return good;
}

const struct command command_train_tokenizer = {
    .name = "train tokenizer",
    .help = "Learns a CLIP-style vocabulary (byte-level BPE) from captions of any language.",
    .options = tokenizer_options,
    .args_bytes = sizeof(struct tokenizer_args),
    .run = run,
};
