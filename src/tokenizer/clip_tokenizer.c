#include "tokenizer/clip_tokenizer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/clip_internal.h"

enum { DEFAULT_MAX_LENGTH = 77 };

struct clip_tokenizer {
    char **tokens; /* by id; NULL where there is none */
    int32_t size;
    int32_t vocabulary_count; /* entries of the vocabulary alone: where the ids of added tokens begin */
    struct clip_merges merges;
    struct clip_specials specials;
    int32_t byte_ids[2][256]; /* of each byte inside a word [0] and at its end [1] */
    int32_t start, end, pad, unknown; /* unknown: -1 if the vocabulary lacks it */
    int32_t max_length;
};

json_t *clip_json(const char *text, size_t bytes, const char *where, struct err *e)
{
    json_error_t cause;
    json_t *j = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &cause);
    if (j && json_is_object(j))
        return j;
    if (j)
        err_set(e, ERR_FORMAT, "%s: must be a JSON object", where);
    else
        err_set(e, ERR_FORMAT, "%s: not valid JSON at line %d, column %d: %s", where, cause.line, cause.column, cause.text);
    json_decref(j);
    return NULL;
}

/* Puts a copy of the token at its id. */
static bool set_token(struct clip_tokenizer *t, const char *token, int32_t id, const char *folder, struct err *e)
{
    if (t->tokens[id])
        return err_set(e, ERR_FORMAT, "%s: \"%.100s\" and \"%.100s\" both have the id %d", folder, t->tokens[id], token, id);
    t->tokens[id] = mem_string(token);
    return t->tokens[id] || err_nomem(e, folder);
}

static bool read_vocabulary(struct clip_tokenizer *t, const json_t *vocabulary, size_t added, const char *folder,
                            struct err *e)
{
    if (!json_is_object(vocabulary) || !json_object_size(vocabulary))
        return err_set(e, ERR_FORMAT, "%s: the vocabulary must be an object of tokens and ids", folder);
    if (json_object_size(vocabulary) > CLIP_VOCABULARY_MAX)
        return err_set(e, ERR_LIMIT, "%s: %zu tokens, at most %d are read", folder, json_object_size(vocabulary),
                       CLIP_VOCABULARY_MAX);
    const char *token;
    json_t *value;
    double most = 0;
    json_object_foreach((json_t *)(uintptr_t)vocabulary, token, value) {
        double id = json_is_real(value) ? json_real_value(value) : -1;
        if (!(id >= 0 && id < CLIP_VOCABULARY_MAX && id == (int32_t)id))
            return err_set(e, ERR_FORMAT, "%s: the token \"%.100s\" must have an id from 0 to %d", folder, token,
                           CLIP_VOCABULARY_MAX - 1);
        most = id > most ? id : most;
    }
    t->vocabulary_count = (int32_t)json_object_size(vocabulary);
    t->size = (int32_t)most + 1;
    size_t room = (size_t)(t->size > t->vocabulary_count ? t->size : t->vocabulary_count) + added;
    if (!(t->tokens = mem_zeroed(room, sizeof *t->tokens)))
        return err_nomem(e, folder);
    json_object_foreach((json_t *)(uintptr_t)vocabulary, token, value)
        if (!set_token(t, token, (int32_t)json_real_value(value), folder, e))
            return false;
    return true;
}

static int32_t id_of(const json_t *vocabulary, const char *token)
{
    const json_t *id = json_object_get(vocabulary, token);
    return id ? (int32_t)json_real_value(id) : -1;
}

/* "left right" of so many bytes. */
static bool add_merge(struct clip_tokenizer *t, const json_t *vocabulary, const char *left, size_t left_bytes,
                      const char *right, size_t right_bytes, size_t rank, const char *folder, struct err *e)
{
    char a[1024], b[1024], both[2048];
    if (left_bytes >= sizeof a || right_bytes >= sizeof b)
        return err_set(e, ERR_LIMIT, "%s: merge %zu has a token of more than %zu bytes", folder, rank + 1, sizeof a);
    snprintf(a, sizeof a, "%.*s", (int)left_bytes, left);
    snprintf(b, sizeof b, "%.*s", (int)right_bytes, right);
    snprintf(both, sizeof both, "%s%s", a, b);
    const char *parts[] = { a, b, both };
    int32_t ids[3];
    for (int i = 0; i < 3; i++)
        if ((ids[i] = id_of(vocabulary, parts[i])) < 0)
            return err_set(e, ERR_FORMAT, "%s: merge %zu, \"%.80s %.80s\": the vocabulary has no \"%.160s\"", folder,
                           rank + 1, a, b, parts[i]);
    clip_merges_set(&t->merges, ids[0], ids[1], (int32_t)rank, ids[2]);
    return true;
}

static bool add_merge_line(struct clip_tokenizer *t, const json_t *vocabulary, const char *line, size_t bytes, size_t rank,
                           const char *folder, struct err *e)
{
    const char *space = memchr(line, ' ', bytes);
    const char *right = space ? space + 1 : NULL;
    size_t right_bytes = space ? (size_t)(line + bytes - right) : 0;
    if (!space || memchr(right, ' ', right_bytes))
        return err_set(e, ERR_FORMAT, "%s: merge %zu must be two tokens with a space between: \"%.*s\"", folder, rank + 1,
                       (int)(bytes < 100 ? bytes : 100), line);
    return add_merge(t, vocabulary, line, (size_t)(space - line), right, right_bytes, rank, folder, e);
}

static bool read_merges(struct clip_tokenizer *t, const json_t *vocabulary, const char *text, const char *folder,
                        struct err *e)
{
    size_t lines = 1, rank = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    if (lines > CLIP_VOCABULARY_MAX)
        return err_set(e, ERR_LIMIT, "%s: merges.txt has %zu lines, at most %d are read", folder, lines,
                       CLIP_VOCABULARY_MAX);
    if (!clip_merges_init(&t->merges, lines, e))
        return false;
    for (const char *line = text; *line;) {
        const char *end = line + strcspn(line, "\n");
        size_t bytes = (size_t)(end - line);
        if (bytes && line[bytes - 1] == '\r')
            bytes--;
        if (bytes && !(bytes >= 8 && !memcmp(line, "#version", 8)) &&
            !add_merge_line(t, vocabulary, line, bytes, rank++, folder, e))
            return false;
        line = *end ? end + 1 : end;
    }
    return true;
}

/* The merges of tokenizer.json: "left right", or ["left", "right"] since 2024. */
static bool read_merge_list(struct clip_tokenizer *t, const json_t *vocabulary, const json_t *list, const char *folder,
                            struct err *e)
{
    if (!json_is_array(list) || json_array_size(list) > CLIP_VOCABULARY_MAX)
        return err_set(e, ERR_FORMAT, "%s: tokenizer.json: \"merges\" must be a list of at most %d", folder,
                       CLIP_VOCABULARY_MAX);
    if (!clip_merges_init(&t->merges, json_array_size(list) + 1, e))
        return false;
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        const json_t *left = json_array_get(v, 0), *right = json_array_get(v, 1);
        bool good;
        if (json_is_string(v))
            good = add_merge_line(t, vocabulary, json_string_value(v), json_string_length(v), i, folder, e);
        else if (json_is_string(left) && json_is_string(right) && json_array_size(v) == 2)
            good = add_merge(t, vocabulary, json_string_value(left), json_string_length(left), json_string_value(right),
                             json_string_length(right), i, folder, e);
        else
            good = err_set(e, ERR_FORMAT, "%s: tokenizer.json: merge %zu must be two tokens", folder, i + 1);
        if (!good)
            return false;
    }
    return true;
}

/* Gives every special token its id: the vocabulary's, or the next free one. */
static bool place_specials(struct clip_tokenizer *t, const json_t *vocabulary, const char *folder, struct err *e)
{
    int32_t next = t->vocabulary_count;
    int32_t highest = -1; /* of the added tokens so far */
    for (size_t i = 0; i < t->specials.count; i++) {
        struct clip_special *s = &t->specials.list[i];
        if (!s->content[0])
            continue;
        s->id = id_of(vocabulary, s->content);
        if (s->id < 0) {
            s->id = highest >= next ? highest + 1 : next;
            if (!set_token(t, s->content, s->id, folder, e))
                return false;
            if (s->id >= t->size)
                t->size = s->id + 1;
        }
        highest = s->id > highest ? s->id : highest;
    }
    return true;
}

static int32_t special_id(const struct clip_tokenizer *t, const char *content)
{
    for (size_t i = 0; i < t->specials.count; i++)
        if (!strcmp(t->specials.list[i].content, content))
            return t->specials.list[i].id;
    return -1;
}

static void place_bytes(struct clip_tokenizer *t, const json_t *vocabulary)
{
    for (int b = 0; b < 256; b++) {
        char symbol[4 + sizeof CLIP_WORD_END];
        size_t n = clip_byte_symbol((unsigned char)b, symbol);
        symbol[n] = 0;
        t->byte_ids[0][b] = id_of(vocabulary, symbol);
        memcpy(symbol + n, CLIP_WORD_END, sizeof CLIP_WORD_END);
        t->byte_ids[1][b] = id_of(vocabulary, symbol);
    }
}

static bool read_config(struct clip_tokenizer *t, const json_t *config, const char *folder, struct err *e)
{
    t->max_length = DEFAULT_MAX_LENGTH;
    const json_t *v = json_object_get(config, "model_max_length");
    if (v && !json_is_null(v)) {
        double n = json_is_real(v) ? json_real_value(v) : 0;
        if (!(n >= 2 && (n > 1e6 || n == (int64_t)n)))
            return err_set(e, ERR_FORMAT, "%s/tokenizer_config.json: \"model_max_length\" must be a number from 2 on", folder);
        if (n <= 1e6) /* more is transformers' way to say that there is none */
            t->max_length = (int32_t)n;
    }
    static const char *const sides[] = { "padding_side", "truncation_side" };
    for (size_t i = 0; i < 2; i++) {
        const char *side = json_string_value(json_object_get(config, sides[i]));
        if (side && strcmp(side, "right"))
            return err_set(e, ERR_FORMAT, "%s/tokenizer_config.json: \"%s\" is \"%.20s\"; only \"right\" is supported",
                           folder, sides[i], side);
    }
    return true;
}

static bool build(struct clip_tokenizer *t, const struct clip_files *f, struct err *e)
{
    const json_t *model = json_object_get(f->tokenizer, "model");
    const json_t *vocabulary = f->tokenizer ? json_object_get(model, "vocab") : f->vocabulary;
    if (!clip_specials_read(&t->specials, f, e) ||
        !read_vocabulary(t, vocabulary, t->specials.count, f->folder, e))
        return false;
    if (f->tokenizer ? !read_merge_list(t, vocabulary, json_object_get(model, "merges"), f->folder, e)
                     : !read_merges(t, vocabulary, f->merges, f->folder, e))
        return false;
    if (!place_specials(t, vocabulary, f->folder, e) || !read_config(t, f->config, f->folder, e))
        return false;
    place_bytes(t, vocabulary);
    t->start = special_id(t, t->specials.start);
    t->end = special_id(t, t->specials.end);
    t->pad = special_id(t, t->specials.pad);
    t->unknown = id_of(vocabulary, t->specials.unknown);
    return true;
}

struct clip_tokenizer *clip_tokenizer_build(const struct clip_files *files, struct err *e)
{
    struct clip_tokenizer *t = mem_zeroed(1, sizeof *t);
    if (!t) {
        err_nomem(e, files->folder);
        return NULL;
    }
    if (!build(t, files, e)) {
        clip_tokenizer_free(t);
        return NULL;
    }
    return t;
}

/* A file of the folder, parsed, into *out; one that is not there is NULL. */
static bool read_json(const char *folder, const char *name, json_t **out, struct err *e)
{
    char path[PATH_MAX_BYTES], *text;
    size_t bytes;
    *out = NULL;
    if (!path_join(path, folder, name, e))
        return false;
    if (!path_exists(path))
        return true;
    if (!file_read(path, JSON_FILE_MAX_BYTES, &text, &bytes, e))
        return false;
    *out = clip_json(text, bytes, path, e);
    mem_free(text);
    return *out;
}

/* merges.txt, as text without a 0 inside. */
static bool read_merges_file(const char *folder, char **out, struct err *e)
{
    char path[PATH_MAX_BYTES];
    size_t bytes;
    if (!path_join(path, folder, "merges.txt", e))
        return false;
    if (!path_exists(path))
        return err_set(e, ERR_MISSING, "%s is not there", path);
    if (!file_read(path, JSON_FILE_MAX_BYTES, out, &bytes, e))
        return false;
    if (strlen(*out) == bytes && utf8_valid(*out, bytes))
        return true;
    mem_free(*out);
    *out = NULL;
    return err_set(e, ERR_FORMAT, "%s is not UTF-8 text", path);
}

struct clip_tokenizer *clip_tokenizer_open(const char *folder, struct err *e)
{
    struct clip_files f = { .folder = folder };
    struct clip_tokenizer *t = NULL;
    char *merges = NULL;
    bool good = read_json(folder, "tokenizer.json", &f.tokenizer, e) &&
                read_json(folder, "tokenizer_config.json", &f.config, e) &&
                read_json(folder, "special_tokens_map.json", &f.special, e) &&
                read_json(folder, "added_tokens.json", &f.added, e);
    if (good && !f.tokenizer) {
        good = read_json(folder, "vocab.json", &f.vocabulary, e) && read_merges_file(folder, &merges, e);
        if (good && !f.vocabulary)
            good = err_set(e, ERR_MISSING, "%s has no vocab.json and no tokenizer.json", folder);
    }
    f.merges = merges;
    if (good)
        t = clip_tokenizer_build(&f, e);
    json_decref(f.tokenizer);
    json_decref(f.config);
    json_decref(f.special);
    json_decref(f.added);
    json_decref(f.vocabulary);
    mem_free(merges);
    return t;
}

void clip_tokenizer_free(struct clip_tokenizer *t)
{
    if (!t)
        return;
    for (int32_t i = 0; t->tokens && i < t->size; i++)
        mem_free(t->tokens[i]);
    mem_free(t->tokens);
    clip_merges_release(&t->merges);
    clip_specials_release(&t->specials);
    mem_free(t);
}

/* What one encoding keeps from word to word. */
struct encoding {
    const struct clip_tokenizer *t;
    struct clip_ids out, word;
    struct clip_scratch scratch;
    struct text normal;
    int32_t but; /* the special token that is not looked for; NO_TOKEN: all are */
};
enum { NO_TOKEN = -2 };

static bool add_word(struct encoding *c, const char *word, size_t bytes, struct err *e)
{
    const struct clip_tokenizer *t = c->t;
    c->word.count = 0;
    for (size_t i = 0; i < bytes; i++) {
        int32_t id = t->byte_ids[i + 1 == bytes][(unsigned char)word[i]];
        if (id < 0 && (id = t->unknown) < 0)
            return err_set(e, ERR_MISSING, "the vocabulary has neither the byte %d%s nor the unknown token \"%.100s\"",
                           (unsigned char)word[i], i + 1 == bytes ? " at a word's end" : "", t->specials.unknown);
        if (!clip_ids_add(&c->word, id, e))
            return false;
    }
    return clip_merge_word(&t->merges, c->word.ids, c->word.count, &c->scratch, &c->out, e);
}

static bool add_words(struct encoding *c, const char *text, size_t bytes, struct err *e)
{
    struct clip_words words = clip_words_of(text, bytes);
    const char *word;
    size_t word_bytes;
    while (clip_words_next(&words, &word, &word_bytes))
        if (!add_word(c, word, word_bytes, e))
            return false;
    return true;
}

/* A piece between the tokens that are looked for in the text as it came. */
static bool add_piece(struct encoding *c, const char *text, size_t bytes, struct err *e)
{
    if (!clip_normalize(text, bytes, &c->normal, e))
        return false;
    const char *at = text_string(&c->normal);
    size_t left = c->normal.length, place;
    const struct clip_special *s;
    while ((s = clip_specials_find(&c->t->specials, true, c->but, at, left, &place))) {
        if (!add_words(c, at, place, e) || !clip_ids_add(&c->out, s->id, e))
            return false;
        at += place + s->pattern_bytes;
        left -= place + s->pattern_bytes;
    }
    return add_words(c, at, left, e);
}

static bool add_text(struct encoding *c, const char *text, size_t bytes, struct err *e)
{
    size_t place;
    const struct clip_special *s;
    while ((s = clip_specials_find(&c->t->specials, false, c->but, text, bytes, &place))) {
        if (!add_piece(c, text, place, e) || !clip_ids_add(&c->out, s->id, e))
            return false;
        text += place + s->pattern_bytes;
        bytes -= place + s->pattern_bytes;
    }
    return add_piece(c, text, bytes, e);
}

static bool encode(const struct clip_tokenizer *t, const char *text, bool whole, int32_t **ids, size_t *count, struct err *e)
{
    size_t bytes = strlen(text);
    if (bytes > CLIP_TEXT_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "a text of %zu bytes, at most %zu are read", bytes, CLIP_TEXT_MAX_BYTES);
    if (!utf8_valid(text, bytes))
        return err_set(e, ERR_FORMAT, "the text \"%.60s\" is not valid UTF-8", text);
    struct encoding c = { .t = t, .but = whole || t->pad == t->start || t->pad == t->end ? NO_TOKEN : t->pad };
    text_init(&c.normal, 4 * CLIP_TEXT_MAX_BYTES); /* composing and lower case lengthen a text threefold at most */
    bool good = (!whole || clip_ids_add(&c.out, t->start, e)) && add_text(&c, text, bytes, e) &&
                (!whole || clip_ids_add(&c.out, t->end, e));
    mem_free(c.word.ids);
    clip_scratch_release(&c.scratch);
    text_release(&c.normal);
    if (!good) {
        mem_free(c.out.ids);
        return false;
    }
    *ids = c.out.ids;
    *count = c.out.count;
    return true;
}

bool clip_tokenizer_encode_all(const struct clip_tokenizer *t, const char *text, int32_t **ids, size_t *count,
                               struct err *e)
{
    return encode(t, text, true, ids, count, e);
}

bool clip_tokenizer_encode_words(const struct clip_tokenizer *t, const char *text, int32_t **ids, size_t *count,
                                 struct err *e)
{
    return encode(t, text, false, ids, count, e);
}

bool clip_tokenizer_encode(const struct clip_tokenizer *t, const char *text, bool pad, int32_t *ids, size_t max,
                           size_t *count, struct err *e)
{
    if (max < 2)
        return err_set(e, ERR_ARG, "room for %zu ids: start and end need 2", max);
    int32_t *all;
    size_t n;
    if (!clip_tokenizer_encode_all(t, text, &all, &n, e))
        return false;
    if (n > max) {
        all[max - 1] = all[n - 1];
        n = max;
    }
    memcpy(ids, all, n * sizeof *ids);
    mem_free(all);
    while (pad && n < max)
        ids[n++] = t->pad;
    *count = n;
    return true;
}

int32_t clip_tokenizer_find(const struct clip_tokenizer *t, const char *token)
{
    for (int32_t i = 0; i < t->size; i++)
        if (t->tokens[i] && !strcmp(t->tokens[i], token))
            return i;
    return -1;
}

const char *clip_tokenizer_token(const struct clip_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->size ? t->tokens[id] : NULL;
}

size_t clip_tokenizer_token_text(const struct clip_tokenizer *t, int32_t id, char *out, size_t room)
{
    const char *token = clip_tokenizer_token(t, id);
    size_t n = 0;
    bool special = false;
    for (size_t i = 0; i < t->specials.count; i++)
        special |= t->specials.list[i].id == id;
    for (size_t i = 0, bytes = token ? strlen(token) : 0; i < bytes && n + 1 < room;) {
        uint32_t rune;
        if (!special && !strcmp(token + i, CLIP_WORD_END) && i) {
            out[n++] = ' ';
            break;
        }
        size_t taken = utf8_decode(token + i, bytes - i, &rune);
        int byte = special ? -1 : clip_symbol_byte(rune);
        if (byte >= 0)
            out[n++] = (char)byte;
        else if (n + taken < room) {
            memcpy(out + n, token + i, taken);
            n += taken;
        } else
            break;
        i += taken;
    }
    if (room)
        out[n] = 0;
    return n;
}

int32_t clip_tokenizer_start(const struct clip_tokenizer *t)
{
    return t->start;
}

int32_t clip_tokenizer_end(const struct clip_tokenizer *t)
{
    return t->end;
}

int32_t clip_tokenizer_pad(const struct clip_tokenizer *t)
{
    return t->pad;
}

int32_t clip_tokenizer_size(const struct clip_tokenizer *t)
{
    return t->size;
}

int32_t clip_tokenizer_max_length(const struct clip_tokenizer *t)
{
    return t->max_length;
}
