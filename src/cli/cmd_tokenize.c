/* limn tokenize: how a model's tokenizer cuts a text. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/engine.h"

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

/* One of the two. */
struct tokenizer {
    struct clip_tokenizer *clip;
    struct chatglm_tokenizer *chatglm;
};

static bool holds(const char *folder, const char *name)
{
    char path[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    return path_join(path, folder, name, &ignored) && path_exists(path);
}

/* A model folder's tokenizer, or a tokenizer's folder itself. A SentencePiece model is ChatGLM's, and may lie beside its
 * weights. */
static bool open_tokenizer(struct tokenizer *t, const struct tokenize_args *a, struct err *e)
{
    char folder[PATH_MAX_BYTES], tokenizer[PATH_MAX_BYTES], encoder[PATH_MAX_BYTES];
    *t = (struct tokenizer){ 0 };
    if (!engine_find_only_model(folder, a->comfyui, a->extra_model_paths, a->model, e) ||
        !path_join(tokenizer, folder, "tokenizer", e) || !path_join(encoder, folder, "text_encoder", e))
        return false;
    const char *at = path_is_folder(tokenizer) ? tokenizer : folder, *pieces = "tokenizer.model";
    if (holds(at, "vocab.json") || holds(at, "tokenizer.json") || (!holds(at, pieces) && !holds(encoder, pieces)))
        t->clip = clip_tokenizer_open(at, e);
    else
        t->chatglm = chatglm_tokenizer_open(holds(at, pieces) ? at : encoder, e);
    return t->clip || t->chatglm;
}

static const char *token_of(const struct tokenizer *t, int32_t id)
{
    const char *token = t->clip ? clip_tokenizer_token(t->clip, id) : chatglm_tokenizer_token(t->chatglm, id);
    return token ? token : "";
}

static bool print_json(const struct tokenizer *t, const int32_t *ids, size_t count, struct err *e)
{
    json_t *tokens = json_array(), *numbers = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(tokens, json_string(token_of(t, ids[i])));
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
    struct tokenizer t;
    int32_t *ids = NULL;
    size_t count = 0;
    bool good = open_tokenizer(&t, a, e) &&
                (t.clip ? clip_tokenizer_encode_all(t.clip, a->words.items[0], &ids, &count, e)
                        : chatglm_tokenizer_encode_all(t.chatglm, a->words.items[0], &ids, &count, e));
    if (good && a->json)
        good = print_json(&t, ids, count, e);
    for (size_t i = 0; good && !a->json && i < count; i++)
        printf("%6d  %s\n", (int)ids[i], token_of(&t, ids[i]));
    mem_free(ids);
    clip_tokenizer_free(t.clip);
    chatglm_tokenizer_free(t.chatglm);
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
