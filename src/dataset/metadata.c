/* The list of a dataset: metadata.jsonl or metadata.csv. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataset/csv.h"
#include "dataset/dataset_internal.h"

/* Where in which list we are, for errors. */
struct reader {
    struct dataset *d;
    const char *path;
    long line;
};

static bool bad(const struct reader *r, enum err_code code, const char *what, struct err *e)
{
    return err_set(e, code, "%s, line %ld: %s", r->path, r->line, what);
}

/* Copies a word of the list. A 0 byte inside would cut it silently, so it is an error. */
static bool keep(const struct reader *r, const char *key, const char *text, size_t bytes, size_t max_bytes,
                 const char **out, struct err *e)
{
    if (bytes > max_bytes)
        return err_set(e, ERR_LIMIT, "%s, line %ld: %s has %zu bytes, the limit is %zu", r->path, r->line, key, bytes,
                       max_bytes);
    if (memchr(text, 0, bytes) || !utf8_valid(text, bytes))
        return err_set(e, ERR_FORMAT, "%s, line %ld: %s is not UTF-8 text", r->path, r->line, key);
    *out = strings_copy(&r->d->strings, text, bytes);
    return *out || err_nomem(e, "the words of a dataset");
}

bool dataset_line_blank(const char *line, size_t bytes)
{
    while (bytes > 0 && strchr(" \t\r", line[bytes - 1]) && line[bytes - 1])
        bytes--;
    return bytes == 0;
}

bool dataset_name_inside(const char *name)
{
    if (*name == 0 || *name == '/' || strchr(name, '\\'))
        return false;
    for (const char *at = name; at; at = strchr(at, '/')) {
        at += *at == '/';
        size_t part = strcspn(at, "/");
        if (part == 0 || (part == 2 && at[0] == '.' && at[1] == '.'))
            return false;
    }
    return true;
}

static struct dataset_picture *add_picture(const struct reader *r, struct err *e)
{
    struct dataset *d = r->d;
    if (d->count >= DATASET_MAX_PICTURES) {
        err_set(e, ERR_LIMIT, "%s: more than %d pictures", r->path, DATASET_MAX_PICTURES);
        return NULL;
    }
    struct dataset_picture *more = mem_grow(d->pictures, &d->cap, d->count + 1, sizeof *more);
    if (!more) {
        err_nomem(e, "the list of a dataset");
        return NULL;
    }
    d->pictures = more;
    struct dataset_picture *p = &more[d->count];
    *p = (struct dataset_picture){ .repeats = 1, .file_name = "", .text = "", .hexcode = "", .style = "", .group = "", .article = "",
                                   .counter = "", .label = { "", "" }, .style_phrase = { "", "" },
                                   .concept_index = -1, .style_index = -1 };
    return p;
}

/* The checks that both kinds of list share; then the picture counts. */
static bool finish_picture(const struct reader *r, struct dataset_picture *p, struct err *e)
{
    if (!*p->file_name)
        return bad(r, ERR_MISSING, "no file_name", e);
    if (!dataset_name_inside(p->file_name))
        return err_set(e, ERR_FORMAT, "%s, line %ld: file_name \"%.200s\" is not a path inside the folder", r->path,
                       r->line, p->file_name);
    p->worded = *p->label[0] && *p->label[1] && *p->style_phrase[0] && *p->style_phrase[1];
    r->d->count++;
    return true;
}

static bool read_tags(const struct reader *r, const json_t *line, const char *key, const char *const **tags, int *count,
                      struct err *e)
{
    const json_t *list = json_object_get(line, key);
    if (!list || json_is_null(list))
        return true;
    if (!json_is_array(list))
        return err_set(e, ERR_FORMAT, "%s, line %ld: %s is not an array", r->path, r->line, key);
    size_t n = json_array_size(list);
    n = n > DATASET_MAX_TAGS ? DATASET_MAX_TAGS : n;
    const char **out = strings_take(&r->d->strings, (n ? n : 1) * sizeof *out);
    if (!out)
        return err_nomem(e, "the words of a dataset");
    for (size_t i = 0; i < n; i++) {
        const json_t *tag = json_array_get(list, i);
        if (!json_is_string(tag))
            return err_set(e, ERR_FORMAT, "%s, line %ld: %s holds something that is not a text", r->path, r->line, key);
        if (!keep(r, key, json_string_value(tag), json_string_length(tag), DATASET_MAX_WORD_BYTES, &out[i], e))
            return false;
    }
    *tags = out;
    *count = (int)n;
    return true;
}

#define HASH_START 0xCBF29CE484222325

/* FNV-1a, 64 bits; h is what came before. */
static uint64_t hash_more(uint64_t h, const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char)data[i]) * 0x100000001B3;
    return h;
}

/* What was done to a picture is no part of what is learnt from it: the fingerprint leaves the history out. */
static bool hash_line(const struct reader *r, json_t *line, const char *raw, size_t bytes, struct err *e)
{
    if (!json_object_get(line, "history")) {
        r->d->fingerprint = hash_more(r->d->fingerprint, raw, bytes);
        return true;
    }
    json_object_del(line, "history");
    char *text = json_dumps(line, JSON_COMPACT);
    if (!text)
        return err_nomem(e, "a line of a dataset");
    r->d->fingerprint = hash_more(hash_more(r->d->fingerprint, text, strlen(text)), "\n", 1);
    free(text);
    return true;
}

/* A manifest (manifest.h) keeps pictures that are not to be used, with the reason. */
static bool is_excluded(const json_t *line)
{
    const char *reason = json_string_value(json_object_get(line, "excluded"));
    return reason && *reason;
}

static bool read_object(const struct reader *r, const json_t *line, struct err *e)
{
    struct dataset_picture *p = add_picture(r, e);
    if (!p)
        return false;
    const char *split = "train";
    const struct {
        const char *key;
        const char **to;
        size_t max_bytes;
    } words[] = {
        { "file_name", &p->file_name, DATASET_MAX_TEXT_BYTES },
        { "text", &p->text, DATASET_MAX_TEXT_BYTES },
        { "hexcode", &p->hexcode, DATASET_MAX_WORD_BYTES },
        { "style", &p->style, DATASET_MAX_WORD_BYTES },
        { "group", &p->group, DATASET_MAX_WORD_BYTES },
        { "label_en", &p->label[DATASET_ENGLISH], DATASET_MAX_WORD_BYTES },
        { "label_zh", &p->label[DATASET_CHINESE], DATASET_MAX_WORD_BYTES },
        { "style_en", &p->style_phrase[DATASET_ENGLISH], DATASET_MAX_WORD_BYTES },
        { "style_zh", &p->style_phrase[DATASET_CHINESE], DATASET_MAX_WORD_BYTES },
        { "article_en", &p->article, DATASET_MAX_WORD_BYTES },
        { "counter_zh", &p->counter, DATASET_MAX_WORD_BYTES },
        { "split", &split, DATASET_MAX_WORD_BYTES },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const json_t *value = json_object_get(line, words[i].key);
        if (!value || json_is_null(value))
            continue;
        if (!json_is_string(value))
            return err_set(e, ERR_FORMAT, "%s, line %ld: %s is not a text", r->path, r->line, words[i].key);
        if (!keep(r, words[i].key, json_string_value(value), json_string_length(value), words[i].max_bytes,
                  words[i].to, e))
            return false;
    }
    if (!json_object_get(line, "text"))
        return bad(r, ERR_MISSING, "no text", e);
    if (strcmp(split, "train") != 0 && strcmp(split, "held-out") != 0)
        return err_set(e, ERR_FORMAT, "%s, line %ld: split \"%.50s\"; want \"train\" or \"held-out\"", r->path, r->line,
                       split);
    p->held_out = *split == 'h';
    int64_t repeats = 1;
    struct err cause = { 0 };
    if (!json_get_int(line, "this line", "repeats", 1, DATASET_MAX_REPEATS, &repeats, &cause))
        return bad(r, cause.code, cause.text, e);
    p->repeats = (int)repeats;
    return read_tags(r, line, "tags_en", &p->tags[DATASET_ENGLISH], &p->tag_count[DATASET_ENGLISH], e) &&
           read_tags(r, line, "tags_zh", &p->tags[DATASET_CHINESE], &p->tag_count[DATASET_CHINESE], e) &&
           finish_picture(r, p, e);
}

static bool read_line(const struct reader *r, const char *raw, size_t bytes, size_t bytes_with_end, struct err *e)
{
    struct err cause = { 0 };
    json_t *line = json_parse(raw, bytes, "this line", &cause);
    if (!line)
        return err_set(e, cause.code, "%s, line %ld: %s", r->path, r->line, cause.text);
    bool good = json_is_object(line) || bad(r, ERR_FORMAT, "not a JSON object", e);
    if (good && !is_excluded(line))
        good = hash_line(r, line, raw, bytes_with_end, e) && read_object(r, line, e);
    json_decref(line);
    return good;
}

static bool read_jsonl(struct reader *r, const char *data, size_t bytes, struct err *e)
{
    for (const char *at = data, *end = data + bytes; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at), with_end = length + (stop != NULL);
        r->line++;
        if (dataset_line_blank(at, length))
            r->d->fingerprint = hash_more(r->d->fingerprint, at, with_end);
        else if (!read_line(r, at, length, with_end, e))
            return false;
        at += with_end;
    }
    return true;
}

static bool read_csv_with(struct reader *r, struct csv *c, struct err *e)
{
    int name_at, text_at;
    bool there;
    if (!csv_next(c, &there, e) || !csv_column(c, "file_name", &name_at, e) || !csv_column(c, "text", &text_at, e))
        return false;
    r->line = 1;
    if (name_at < 0 || text_at < 0)
        return bad(r, ERR_MISSING, "the first line must name the columns file_name and text", e);
    for (size_t columns = c->count;;) {
        if (!csv_next(c, &there, e))
            return false;
        if (!there)
            return true;
        r->line = c->line;
        if (c->count != columns)
            return err_set(e, ERR_FORMAT, "%s, line %ld: %zu fields, the first line has %zu", r->path, r->line, c->count,
                           columns);
        const struct text *name = &c->fields[name_at], *text = &c->fields[text_at];
        struct dataset_picture *p = add_picture(r, e);
        if (!p || !keep(r, "file_name", text_string(name), name->length, DATASET_MAX_TEXT_BYTES, &p->file_name, e) ||
            !keep(r, "text", text_string(text), text->length, DATASET_MAX_TEXT_BYTES, &p->text, e) ||
            !finish_picture(r, p, e))
            return false;
    }
}

static bool read_csv(struct reader *r, const char *data, size_t bytes, struct err *e)
{
    struct csv c;
    csv_init(&c, r->path, data, bytes);
    bool good = read_csv_with(r, &c, e);
    csv_release(&c);
    return good;
}

bool dataset_find_list(char *folder, char *path, bool *json, struct err *e)
{
    static const char *const names[] = { "metadata.jsonl", "metadata.csv" };
    char inside[PATH_MAX_BYTES];
    if (!path_join(inside, folder, "train", e))
        return false;
    for (int i = 0; i < 4; i++) {
        if (!path_join(path, i < 2 ? folder : inside, names[i % 2], e))
            return false;
        if (!path_exists(path))
            continue;
        *json = i % 2 == 0;
        if (i >= 2)
            memcpy(folder, inside, sizeof inside);
        return true;
    }
    return err_set(e, ERR_MISSING,
                   "%s: neither metadata.jsonl nor metadata.csv (columns file_name and text) is there, nor in train/: limn dataset import "
                   "makes a data set", folder);
}

bool metadata_read(struct dataset *d, struct err *e)
{
    char path[PATH_MAX_BYTES], *data;
    bool json = false;
    size_t bytes;
    if (!dataset_find_list(d->folder, path, &json, e) || !file_read(path, DATASET_MAX_BYTES, &data, &bytes, e))
        return false;
    struct reader r = { .d = d, .path = path };
    d->fingerprint = HASH_START;
    if (!json)
        d->fingerprint = hash_more(d->fingerprint, data, bytes);
    bool good = json ? read_jsonl(&r, data, bytes, e) : read_csv(&r, data, bytes, e);
    mem_free(data);
    if (good && d->count == 0)
        return err_set(e, ERR_MISSING, "%s: no pictures", path);
    return good;
}
