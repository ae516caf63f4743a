#include "tokenizer/chatglm_tokenizer.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "tokenizer/sentencepiece_internal.h"

/* Behind the pieces, in this order. */
static const char *const added[] = { "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop",
                                     "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>" };
enum { ADDED_GMASK = 1, ADDED_SOP = 3, ADDED_COUNT = sizeof added / sizeof *added, HEAD = 2 };

struct chatglm_tokenizer {
    struct piece_model *model;
    int32_t pieces, pad;
};

/* The library's words for an error, or its lack of memory. */
static void fail(const struct sentencepiece_cause *cause, const char *where, struct err *e)
{
    if (cause->text[0])
        err_set(e, ERR_FORMAT, "%s: %s", where, cause->text);
    else
        err_nomem(e, where);
}

struct chatglm_tokenizer *chatglm_tokenizer_parse(const void *model, size_t bytes, const char *where, struct err *e)
{
    struct sentencepiece_cause cause;
    if (!sentencepiece_check(model, bytes, where, e))
        return NULL;
    struct chatglm_tokenizer *t = mem_zeroed(1, sizeof *t);
    if (!t) {
        err_nomem(e, where);
        return NULL;
    }
    t->model = sentencepiece_load(model, bytes, &cause);
    if (!t->model) {
        fail(&cause, where, e);
        chatglm_tokenizer_free(t);
        return NULL;
    }
    t->pieces = sentencepiece_size(t->model);
    t->pad = sentencepiece_unknown(t->model);
    return t;
}

struct chatglm_tokenizer *chatglm_tokenizer_open(const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES], *data;
    size_t bytes;
    if (!path_join(path, folder, "tokenizer.model", e))
        return NULL;
    if (!path_exists(path)) {
        err_set(e, ERR_MISSING, "%s: not there; it is the SentencePiece model that makes a text's ids", path);
        return NULL;
    }
    if (!file_read(path, CHATGLM_MODEL_MAX_BYTES, &data, &bytes, e))
        return NULL;
    struct chatglm_tokenizer *t = chatglm_tokenizer_parse(data, bytes, path, e);
    mem_free(data);
    return t;
}

void chatglm_tokenizer_free(struct chatglm_tokenizer *t)
{
    if (t && t->model)
        sentencepiece_free(t->model);
    mem_free(t);
}

/* The text's first `max` pieces; *count: how many it has. */
static bool pieces_of(const struct chatglm_tokenizer *t, const char *text, int32_t *ids, size_t max, size_t *count,
                      struct err *e)
{
    struct sentencepiece_cause cause;
    size_t bytes = strlen(text);
    if (bytes > CHATGLM_TEXT_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "a text of %zu bytes; at most %zu are encoded", bytes, CHATGLM_TEXT_MAX_BYTES);
    if (!utf8_valid(text, bytes))
        return err_set(e, ERR_FORMAT, "the text is not valid UTF-8");
    if (sentencepiece_encode(t->model, text, bytes, ids, max, count, &cause))
        return true;
    fail(&cause, "encoding a text", e);
    return false;
}

static void put_head(const struct chatglm_tokenizer *t, int32_t *ids)
{
    ids[0] = t->pieces + ADDED_GMASK;
    ids[1] = t->pieces + ADDED_SOP;
}

bool chatglm_tokenizer_encode(const struct chatglm_tokenizer *t, const char *text, int32_t *ids, size_t max, struct err *e)
{
    size_t count;
    if (max < HEAD || max > INT32_MAX)
        return err_set(e, ERR_ARG, "room for %zu ids: [gMASK] and sop alone are %d", max, HEAD);
    /* the pieces go to the front of the room behind the head, then everything to its end */
    if (!pieces_of(t, text, ids + HEAD, max - HEAD, &count, e))
        return false;
    put_head(t, ids);
    count = HEAD + (count < max - HEAD ? count : max - HEAD);
    memmove(ids + max - count, ids, count * sizeof *ids);
    for (size_t i = 0; i < max - count; i++)
        ids[i] = t->pad;
    return true;
}

bool chatglm_tokenizer_encode_all(const struct chatglm_tokenizer *t, const char *text, int32_t **ids, size_t *count,
                                  struct err *e)
{
    size_t pieces;
    *ids = NULL;
    *count = 0;
    if (!pieces_of(t, text, NULL, 0, &pieces, e))
        return false;
    if (!(*ids = mem_zeroed(HEAD + pieces, sizeof **ids)))
        return err_nomem(e, "a text's ids");
    put_head(t, *ids);
    *count = HEAD + pieces;
    return pieces_of(t, text, *ids + HEAD, pieces, &pieces, e);
}

int32_t chatglm_tokenizer_places(const struct chatglm_tokenizer *t, const int32_t *ids, size_t count, int32_t *places)
{
    size_t pads = 0;
    while (pads < count && ids[pads] != t->pieces + ADDED_GMASK) /* no text makes it, so the first one is the head */
        pads++;
    for (size_t i = 0; i < count; i++)
        places[i] = i < pads ? 0 : (int32_t)(i - pads);
    return (int32_t)pads;
}

const char *chatglm_tokenizer_token(const struct chatglm_tokenizer *t, int32_t id)
{
    if (id < 0 || id >= chatglm_tokenizer_size(t))
        return NULL;
    return id < t->pieces ? sentencepiece_piece(t->model, id) : added[id - t->pieces];
}

int32_t chatglm_tokenizer_size(const struct chatglm_tokenizer *t)
{
    return t->pieces + ADDED_COUNT;
}
