/* Which tokens are cut out of a text whole. transformers gathers them from up to five files, with rules of precedence that
 * have grown; what is read here is what it reads, in its order. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/clip_internal.h"

enum { MOST_SPECIALS = 2000 };

struct described { /* an entry of an added-tokens table */
    int64_t id;
    struct clip_special token;
};

static bool flag(const json_t *o, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

/* A token given as a string or as an object with flags. content is copied. */
static bool read_token(const json_t *v, bool special, struct clip_special *out, const char *folder, const char *key,
                       struct err *e)
{
    bool plain = json_is_string(v);
    const char *content = plain ? json_string_value(v) : json_string_value(json_object_get(v, "content"));
    if (!content)
        return err_set(e, ERR_FORMAT, "%s: \"%s\" is not a token", folder, key);
    if (flag(v, "single_word", false))
        return err_set(e, ERR_FORMAT, "%s: the token \"%.100s\" wants \"single_word\", which is not supported", folder,
                       content);
    special = plain || flag(v, "special", special);
    *out = (struct clip_special){ .content = mem_string(content), .id = -1, .special = special, .plain = plain,
                                  .normalized = !plain && flag(v, "normalized", !special) };
    return out->content || err_nomem(e, content);
}

static bool same(const struct clip_special *a, const struct clip_special *b)
{
    return !strcmp(a->content, b->content) && a->plain == b->plain && a->normalized == b->normalized &&
           a->special == b->special;
}

/* Appends a token, which it takes over. */
static bool append(struct clip_specials *s, struct clip_special t, const char *folder, struct err *e)
{
    struct clip_special *grown = NULL;
    if (s->count == MOST_SPECIALS)
        err_set(e, ERR_LIMIT, "%s: more than %d special tokens", folder, MOST_SPECIALS);
    else if (!(grown = mem_grow(s->list, &s->cap, s->count + 1, sizeof *grown)))
        err_nomem(e, "special tokens");
    if (!grown) {
        mem_free(t.content);
        return false;
    }
    s->list = grown;
    grown[s->count++] = t;
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct described *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* One entry of a table; a later one with the same id replaces the earlier. */
static bool describe(struct described *table, size_t *count, double id, struct clip_special t, const char *folder,
                     struct err *e)
{
    if (!(id >= 0 && id < CLIP_VOCABULARY_MAX)) {
        err_set(e, ERR_FORMAT, "%s: the added token \"%.100s\" has the id %g", folder, t.content, id);
        mem_free(t.content);
        return false;
    }
    for (size_t i = 0; i < *count; i++)
        if (table[i].id == (int64_t)id) {
            mem_free(table[i].token.content);
            table[i].token = t;
            return true;
        }
    table[(*count)++] = (struct described){ (int64_t)id, t };
    return true;
}

static const json_t *token_value(const struct clip_files *f, const char *key)
{
    const json_t *from_map = json_object_get(f->config, "added_tokens_decoder") ? NULL : json_object_get(f->special, key);
    const json_t *v = from_map ? from_map : json_object_get(f->config, key);
    return json_is_null(v) ? NULL : v;
}

static const char *content_of(const json_t *v)
{
    const char *s = json_is_string(v) ? json_string_value(v) : json_string_value(json_object_get(v, "content"));
    return s ? s : "";
}

/* The tokens of added_tokens.json that one of the names stands for are special. */
static bool is_named(const struct clip_files *f, const char *content)
{
    static const char *const names[] = { "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
                                         "mask_token" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(content_of(token_value(f, names[i])), content))
            return true;
    return false;
}

/* The tables of added tokens: tokenizer_config.json's, or else added_tokens.json's and tokenizer.json's. */
static bool read_tables(const struct clip_files *f, struct described *table, size_t *count, struct err *e)
{
    const json_t *decoder = json_object_get(f->config, "added_tokens_decoder");
    struct clip_special t;
    const char *key;
    json_t *value;
    if (decoder) {
        json_object_foreach((json_t *)(uintptr_t)decoder, key, value) {
            char *end;
            double id = strtod(key, &end);
            if (!*key || *end)
                return err_set(e, ERR_FORMAT, "%s: \"added_tokens_decoder\": \"%.50s\" is no id", f->folder, key);
            if (!read_token(value, false, &t, f->folder, "added_tokens_decoder", e) ||
                !describe(table, count, id, t, f->folder, e))
                return false;
        }
        return true;
    }
    json_object_foreach(f->added, key, value) {
        bool special = is_named(f, key);
        t = (struct clip_special){ .content = mem_string(key), .id = -1, .special = special, .normalized = !special };
        if (!t.content)
            return err_nomem(e, key);
        if (!describe(table, count, json_is_number(value) ? json_number_value(value) : -1, t, f->folder, e))
            return false;
    }
    size_t i;
    json_array_foreach(json_object_get(f->tokenizer, "added_tokens"), i, value) {
        const json_t *id = json_object_get(value, "id");
        if (!read_token(value, false, &t, f->folder, "added_tokens", e) ||
            !describe(table, count, json_is_number(id) ? json_number_value(id) : -1, t, f->folder, e))
            return false;
    }
    return true;
}

static bool in_list(const struct clip_specials *s, size_t from_table, const struct clip_special *t)
{
    for (size_t i = 0; i < s->count; i++)
        if (i < from_table ? !strcmp(s->list[i].content, t->content) : same(&s->list[i], t))
            return true;
    return false;
}

/* Adds a named or extra token unless a table has it or the same one was added. */
static bool add_unless_there(struct clip_specials *s, size_t from_table, const json_t *v, const struct clip_files *f,
                             const char *key, struct err *e)
{
    bool from_map = v == json_object_get(f->special, key);
    struct clip_special t;
    if (!read_token(v, from_map, &t, f->folder, key, e))
        return false;
    if (!in_list(s, from_table, &t))
        return append(s, t, f->folder, e);
    mem_free(t.content);
    return true;
}

static bool add_named(struct clip_specials *s, const struct clip_files *f, struct err *e)
{
    struct {
        const char *key, *otherwise;
        char **content;
    } names[] = {
        { "bos_token", CLIP_START, &s->start }, { "eos_token", CLIP_END, &s->end }, { "unk_token", CLIP_END, &s->unknown },
        { "sep_token", NULL, NULL },            { "pad_token", CLIP_END, &s->pad }, { "cls_token", NULL, NULL },
        { "mask_token", NULL, NULL },
    };
    size_t from_table = s->count;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *v = token_value(f, names[i].key);
        json_t *made = NULL;
        if (!v && names[i].otherwise && !(v = made = json_string(names[i].otherwise)))
            return err_nomem(e, "special tokens");
        bool good = !v || add_unless_there(s, from_table, v, f, names[i].key, e);
        if (good && names[i].content && !(*names[i].content = mem_string(content_of(v))))
            good = err_nomem(e, "special tokens");
        if (good && names[i].content && !**names[i].content)
            good = err_set(e, ERR_FORMAT, "%s: \"%s\" is empty", f->folder, names[i].key);
        json_decref(made);
        if (!good)
            return false;
    }
    static const char *const extras[] = { "extra_special_tokens", "additional_special_tokens" };
    for (size_t k = 0; k < 2; k++) {
        size_t i;
        json_t *v;
        json_array_foreach(token_value(f, extras[k]), i, v)
            if (!add_unless_there(s, from_table, v, f, extras[k], e))
                return false;
    }
    return true;
}

/* What is looked for. Those without content are never found. */
static bool set_pattern(struct clip_special *t, struct err *e)
{
    struct text normal;
    text_init(&normal, CLIP_TEXT_MAX_BYTES);
    bool good = !t->normalized || clip_normalize(t->content, strlen(t->content), &normal, e);
    if (good && !(t->pattern = mem_string(t->normalized ? text_string(&normal) : t->content)))
        good = err_nomem(e, "special tokens");
    if (good)
        t->pattern_bytes = strlen(t->pattern);
    text_release(&normal);
    return good;
}

/* Of tokens with the same content the first keeps its place and gets the flags of the last. */
static void unite(struct clip_specials *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t k = 0;
        while (k < kept && strcmp(s->list[k].content, s->list[i].content))
            k++;
        if (k < kept)
            mem_free(s->list[k].content);
        else
            kept++;
        s->list[k] = s->list[i];
    }
    s->count = kept;
}

bool clip_specials_read(struct clip_specials *s, const struct clip_files *f, struct err *e)
{
    size_t room = json_object_size(json_object_get(f->config, "added_tokens_decoder")) + json_object_size(f->added) +
                  json_array_size(json_object_get(f->tokenizer, "added_tokens")), count = 0;
    if (room > MOST_SPECIALS)
        return err_set(e, ERR_LIMIT, "%s: more than %d added tokens", f->folder, MOST_SPECIALS);
    struct described *table = mem_zeroed(room, sizeof *table);
    if (!table)
        return err_nomem(e, "special tokens");
    bool good = read_tables(f, table, &count, e);
    if (count)
        qsort(table, count, sizeof *table, by_id);
    for (size_t i = 0; i < count; i++)
        if (good)
            good = append(s, table[i].token, f->folder, e);
        else
            mem_free(table[i].token.content);
    mem_free(table);
    good = good && add_named(s, f, e);
    unite(s);
    for (size_t i = 0; good && i < s->count; i++)
        good = set_pattern(&s->list[i], e);
    return good;
}

void clip_specials_release(struct clip_specials *s)
{
    for (size_t i = 0; i < s->count; i++) {
        mem_free(s->list[i].content);
        mem_free(s->list[i].pattern);
    }
    mem_free(s->list);
    mem_free(s->start);
    mem_free(s->end);
    mem_free(s->unknown);
    mem_free(s->pad);
    *s = (struct clip_specials){ 0 };
}

const struct clip_special *clip_specials_find(const struct clip_specials *s, bool normalized, int32_t but, const char *text,
                                              size_t bytes, size_t *at)
{
    bool first[256] = { false }; /* which bytes begin a pattern: most places are passed by one look */
    for (size_t k = 0; k < s->count; k++)
        if (s->list[k].normalized == normalized && s->list[k].id != but && s->list[k].pattern_bytes)
            first[(unsigned char)s->list[k].pattern[0]] = true;
    for (size_t i = 0; i < bytes; i++) {
        if (!first[(unsigned char)text[i]])
            continue;
        const struct clip_special *best = NULL;
        for (size_t k = 0; k < s->count; k++) {
            const struct clip_special *t = &s->list[k];
            if (t->normalized == normalized && t->id != but && t->pattern_bytes && t->pattern_bytes <= bytes - i &&
                !memcmp(text + i, t->pattern, t->pattern_bytes) && (!best || t->pattern_bytes > best->pattern_bytes))
                best = t;
        }
        if (best) {
            *at = i;
            return best;
        }
    }
    return NULL;
}
