/* limn tokenize: how a model's tokenizer cuts a text. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/engine.h"

struct tokenize_args {
    struct option_texts words;
    const char *model;
    bool json;
};

#define AT(member) offsetof(struct tokenize_args, member)

static const struct option tokenize_options[] = {
    OPTION_ROW_MODEL(struct tokenize_args),
    { "json", 0, OPTION_FLAG, AT(json), .help = "one JSON line: {\"tokens\": [...], \"ids\": [...]}" },
    { 0 },
};

/* A model folder's tokenizer, or a tokenizer's folder itself. */
static struct clip_tokenizer *open_tokenizer(const char *model, struct err *e)
{
    char folder[PATH_MAX_BYTES], tokenizer[PATH_MAX_BYTES];
    if (!engine_find_model(folder, model, e) || !path_join(tokenizer, folder, "tokenizer", e))
        return NULL;
    return clip_tokenizer_open(path_is_folder(tokenizer) ? tokenizer : folder, e);
}

static bool print_json(const struct clip_tokenizer *t, const int32_t *ids, size_t count, struct err *e)
{
    json_t *tokens = json_array(), *numbers = json_array();
    for (size_t i = 0; i < count; i++) {
        const char *token = clip_tokenizer_token(t, ids[i]);
        json_array_append_new(tokens, json_string(token ? token : ""));
        json_array_append_new(numbers, json_integer(ids[i]));
    }
    json_t *facts = json_pack("{s:o,s:o}", "tokens", tokens, "ids", numbers);
    char *line = facts ? json_dumps(facts, 0) : NULL;
    json_decref(facts);
    if (!line)
        return err_nomem(e, "a line of JSON");
    puts(line);
    free(line);
    return true;
}

static bool tokenize_run(const void *args, struct err *e)
{
    const struct tokenize_args *a = args;
    struct clip_tokenizer *t = open_tokenizer(a->model, e);
    int32_t *ids = NULL;
    size_t count = 0;
    bool good = t && clip_tokenizer_encode_all(t, a->words.items[0], &ids, &count, e);
    if (good && a->json)
        good = print_json(t, ids, count, e);
    for (size_t i = 0; good && !a->json && i < count; i++)
        printf("%6d  %s\n", (int)ids[i], clip_tokenizer_token(t, ids[i]));
    mem_free(ids);
    clip_tokenizer_free(t);
    return good;
}

const struct command command_tokenize = {
    .name = "tokenize",
    .help = "Shows how a model's tokenizer cuts a text.",
    .details = "Prints the ids and tokens of the text with start and end, without padding and uncut. A token is written as "
               "the vocabulary has it: \"</w>\" ends a word.",
    .words = "\"TEXT\"", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = tokenize_options, .args_bytes = sizeof(struct tokenize_args), .run = tokenize_run,
};
