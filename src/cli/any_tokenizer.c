#include "cli/any_tokenizer.h"

#include "base/file.h"

static bool holds(const char *folder, const char *name)
{
    char path[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    return path_join(path, folder, name, &ignored) && path_exists(path);
}

bool any_tokenizer_open(struct any_tokenizer *t, const char *folder, struct err *e)
{
    char tokenizer[PATH_MAX_BYTES], encoder[PATH_MAX_BYTES];
    *t = (struct any_tokenizer){ 0 };
    if (!path_join(tokenizer, folder, "tokenizer", e) || !path_join(encoder, folder, "text_encoder", e))
        return false;
    const char *at = path_is_folder(tokenizer) ? tokenizer : folder, *pieces = "tokenizer.model";
    if (holds(at, "vocab.json") || holds(at, "tokenizer.json") || (!holds(at, pieces) && !holds(encoder, pieces)))
        t->clip = clip_tokenizer_open(at, e);
    else
        t->chatglm = chatglm_tokenizer_open(holds(at, pieces) ? at : encoder, e);
    return t->clip || t->chatglm;
}

void any_tokenizer_close(struct any_tokenizer *t)
{
    clip_tokenizer_free(t->clip);
    chatglm_tokenizer_free(t->chatglm);
    *t = (struct any_tokenizer){ 0 };
}

bool any_tokenizer_encode(const struct any_tokenizer *t, const char *text, int32_t **ids, size_t *count, struct err *e)
{
    return t->clip ? clip_tokenizer_encode_all(t->clip, text, ids, count, e)
                   : chatglm_tokenizer_encode_all(t->chatglm, text, ids, count, e);
}

int any_tokenizer_room(const struct any_tokenizer *t)
{
    enum { KOLORS_LENGTH = 256 }; /* what Kolors' pipelines cut to */
    return (t->clip ? clip_tokenizer_max_length(t->clip) : KOLORS_LENGTH) - ANY_TOKENIZER_AROUND;
}

const char *any_tokenizer_token(const struct any_tokenizer *t, int32_t id)
{
    const char *token = t->clip ? clip_tokenizer_token(t->clip, id) : chatglm_tokenizer_token(t->chatglm, id);
    return token ? token : "";
}
