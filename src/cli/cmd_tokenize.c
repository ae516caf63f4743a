/* limn tokenize: how a model's tokenizer cuts a text. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/any_tokenizer.h"
#include "cli/engine.h"
#include "cli/json_line.h"

struct tokenize_args {
    struct option_texts words;
    const char *model, *comfyui, *extra_model_paths;
    bool json;
};

#define AT(member) offsetof(struct tokenize_args, member)

static const struct option tokenize_options[] = {
    OPTION_ROW_MODEL(struct tokenize_args),
    OPTION_ROWS_PLACES(struct tokenize_args),
    { "json", 0, OPTION_FLAG, AT(json), .help = "one JSON line: {\"tokens\": [...], \"ids\": [...]}" },
    { 0 },
};

static bool print_json(const struct any_tokenizer *t, const int32_t *ids, size_t count, struct err *e)
{
    json_t *tokens = json_array(), *numbers = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(tokens, json_string(any_tokenizer_token(t, ids[i])));
        json_array_append_new(numbers, json_integer(ids[i]));
    }
    json_t *facts = json_pack("{s:o,s:o}", "tokens", tokens, "ids", numbers);
    return json_line(facts, 0, e);
}

static bool tokenize_run(const void *args, struct err *e)
{
    const struct tokenize_args *a = args;
    char folder[PATH_MAX_BYTES];
    struct any_tokenizer t = { 0 };
    int32_t *ids = NULL;
    size_t count = 0;
    bool good = engine_find_only_model(folder, a->comfyui, a->extra_model_paths, a->model, e) &&
                any_tokenizer_open(&t, folder, e) && any_tokenizer_encode(&t, a->words.items[0], &ids, &count, e);
    if (good && a->json)
        good = print_json(&t, ids, count, e);
    for (size_t i = 0; good && !a->json && i < count; i++)
        printf("%6d  %s\n", (int)ids[i], any_tokenizer_token(&t, ids[i]));
    mem_free(ids);
    any_tokenizer_close(&t);
    return good;
}

const struct command command_tokenize = {
    .name = "tokenize",
    .help = "Shows how a model's tokenizer cuts a text.",
    .details = "Prints the ids and tokens of the text with start and end, without padding and uncut. A token is written as "
               "the vocabulary has it: CLIP's \"</w>\" ends a word, ChatGLM's U+2581 begins one.",
    .words = "\"TEXT\"", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = tokenize_options, .args_bytes = sizeof(struct tokenize_args), .run = tokenize_run,
};
