/* ComfyUI's extra_model_paths.yaml: sections with an optional base_path and is_default, and kinds with a path or, behind '|', a path
 * a line. libyaml gives the events; anything else than two levels of texts is refused with its line. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/near.h"
#include "model/places/places.h"

enum { MOST_KEYS = 512 };

struct entry {
    char *key, *value; /* owned */
    size_t line, value_line; /* value_line: of the first path */
};
struct reader {
    yaml_parser_t parser;
    const char *path;
    char folder[PATH_MAX_BYTES]; /* that the file is in, ends with '/' or is empty */
    struct model_places *places;
    struct entry entries[MOST_KEYS]; /* of the section in hand */
    int count;
};

static bool next(struct reader *r, yaml_event_t *event, struct err *e)
{
    if (yaml_parser_parse(&r->parser, event))
        return true;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return err_nomem(e, r->path);
    return err_set(e, ERR_FORMAT, "%.300s, line %zu: %s", r->path, p->problem_mark.line + 1, p->problem ? p->problem : "not YAML");
}

static bool refuse(const struct reader *r, size_t line, const char *wanted, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%.300s, line %zu: want %s", r->path, line + 1, wanted);
}

/* The text of a scalar; a plain "" or "~" or null is nothing. */
static bool take(const struct reader *r, const yaml_event_t *event, char **out, const char *wanted, struct err *e)
{
    const char *s = (const char *)event->data.scalar.value;
    if (event->type != YAML_SCALAR_EVENT || memchr(s, 0, event->data.scalar.length))
        return refuse(r, event->start_mark.line, wanted, e);
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    *out = mem_string(plain && (!strcmp(s, "~") || !strcasecmp(s, "null")) ? "" : s);
    return *out || err_nomem(e, r->path);
}

/* ${NAME} and $NAME become the environment's; what is not in it stays. A "~" at the begin is the home folder. */
static bool expand(const struct reader *r, size_t line, const char *s, char *out, struct err *e)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    size_t used = 0;
    const char *home = getenv("HOME");
    if (s[0] == '~' && (!s[1] || s[1] == '/') && home && strlen(home) < PATH_MAX_BYTES) {
        used = (size_t)snprintf(out, PATH_MAX_BYTES, "%s", home);
        s++;
    }
    while (*s) {
        bool braces = s[0] == '$' && s[1] == '{';
        const char *name = s + 1 + braces, *value = NULL;
        size_t bytes = *s == '$' ? strspn(name, letters) : 0, whole = 1;
        char variable[128];
        if (bytes && bytes < sizeof variable && (!braces || name[bytes] == '}')) {
            snprintf(variable, sizeof variable, "%.*s", (int)bytes, name);
            value = getenv(variable);
            whole = value ? 1 + bytes + 2 * braces : 1;
        }
        size_t more = value ? strlen(value) : 1;
        if (used + more >= PATH_MAX_BYTES)
            return refuse(r, line, "a shorter path", e);
        memcpy(out + used, value ? value : s, more);
        used += more;
        s += whole;
    }
    out[used] = 0;
    return true;
}

static bool read_yes(const struct reader *r, const struct entry *entry, bool *out, struct err *e)
{
    static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(entry->value, words[i])) {
            *out = i & 1;
            return true;
        }
    return refuse(r, entry->line, "true or false", e);
}

PRINTF_LIKE(3, 4) static void note(struct reader *r, size_t line, const char *format, ...)
{
    enum { MOST_BYTES = 4096, MOST_LINE = 700 };
    struct text *notes = &r->places->notes;
    char text[MOST_LINE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!notes->max_bytes)
        text_init(notes, MOST_BYTES);
    if (notes->length + strlen(text) + 400 < MOST_BYTES) /* the rest is more of the same */
        text_addf(notes, "%.300s, line %zu: %s\n", r->path, line + 1, text);
}

static const char *nth_key(const void *unused, int index)
{
    static const char *const others[] = { "base_path", "is_default", "unet", "clip", NULL };
    return index < MODELS_KINDS ? model_kind_names[index] : others[index - MODELS_KINDS];
}

/* A key of a plug-in, or a slip of the pen. */
static void note_key(struct reader *r, const struct entry *entry)
{
    if (!strcmp(entry->key, "base_path") || !strcmp(entry->key, "is_default"))
        return;
    const char *near = text_nearest_within(entry->key, strlen(entry->key) < 5 ? 1 : 2, nth_key, NULL);
    if (near)
        note(r, entry->line, "\"%.60s\" is no kind of folder that is known; did you mean %s?", entry->key, near);
}

/* The paths of one key, a line each; there: whether what they are relative to is. */
static bool add_paths(struct reader *r, const struct entry *entry, const char *base, bool there, bool first,
                      struct err *e)
{
    char expanded[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    enum model_kind kind = model_kind_of(entry->key);
    size_t at = entry->value_line;
    if (kind == MODELS_KINDS) {
        note_key(r, entry);
        return true;
    }
    for (char *rest = entry->value, *line; (line = strsep(&rest, "\r\n")); at++) {
        line += strspn(line, " \t");
        size_t length = strlen(line);
        while (length && strchr(" \t", line[length - 1]))
            line[--length] = 0;
        if (*line && (!expand(r, entry->line, line, expanded, e) || !path_join(path, base, expanded, e) ||
                      !model_places_add(r->places, kind, path, first, e)))
            return false;
        if (*line && there && !path_is_folder(path))
            note(r, at, "%.400s is no folder", path);
    }
    return true;
}

/* base_path and is_default count for the whole section, wherever they stand in it. */
static bool add_section(struct reader *r, struct err *e)
{
    char base[PATH_MAX_BYTES], expanded[PATH_MAX_BYTES];
    bool first = false, there = true;
    strcpy(base, r->folder);
    for (int i = 0; i < r->count; i++) {
        const struct entry *entry = &r->entries[i];
        if (!strcmp(entry->key, "is_default") && !read_yes(r, entry, &first, e))
            return false;
        if (!strcmp(entry->key, "base_path") &&
            (!expand(r, entry->line, entry->value, expanded, e) || !path_join(base, r->folder, expanded, e)))
            return false;
        if (!strcmp(entry->key, "base_path") && !(there = path_is_folder(base)))
            note(r, entry->line, "%.400s is no folder", base);
    }
    for (int i = 0; i < r->count; i++)
        if (!add_paths(r, &r->entries[i], base, there, first, e))
            return err_add(e, "%s, line %zu", r->path, r->entries[i].line + 1);
    return true;
}

static void forget_section(struct reader *r)
{
    for (int i = 0; i < r->count; i++) {
        mem_free(r->entries[i].key);
        mem_free(r->entries[i].value);
    }
    r->count = 0;
}

static bool read_entry(struct reader *r, const yaml_event_t *key, struct err *e)
{
    if (r->count == MOST_KEYS)
        return err_set(e, ERR_LIMIT, "%.300s, line %zu: more than %d keys in a section", r->path, key->start_mark.line + 1, MOST_KEYS);
    struct entry *entry = &r->entries[r->count++];
    yaml_event_t value;
    *entry = (struct entry){ .line = key->start_mark.line };
    if (!take(r, key, &entry->key, "a key such as loras", e) || !next(r, &value, e))
        return false;
    bool good = take(r, &value, &entry->value, "a path, or '|' and a path a line", e);
    bool block = good && value.data.scalar.style == YAML_LITERAL_SCALAR_STYLE; /* its lines begin below the '|' */
    entry->value_line = value.start_mark.line + block;
    yaml_event_delete(&value);
    return good;
}

/* What follows a section's name: nothing, or its keys. */
static bool read_section(struct reader *r, struct err *e)
{
    yaml_event_t event;
    if (!next(r, &event, e))
        return false;
    char *nothing = NULL;
    bool map = event.type == YAML_MAPPING_START_EVENT, good = true;
    if (!map) {
        good = take(r, &event, &nothing, "keys with paths below the section's name", e) &&
               (!*nothing || refuse(r, event.start_mark.line, "keys with paths below the section's name", e));
        mem_free(nothing);
    }
    yaml_event_delete(&event);
    while (good && map && (good = next(r, &event, e))) {
        map = event.type != YAML_MAPPING_END_EVENT;
        good = !map || read_entry(r, &event, e);
        yaml_event_delete(&event);
    }
    good = good && add_section(r, e);
    forget_section(r);
    return good;
}

static bool read_file(struct reader *r, struct err *e)
{
    yaml_event_t event;
    bool good = true, inside = false;
    for (bool more = true; good && more && (good = next(r, &event, e));) {
        char *name = NULL;
        switch (event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_STREAM_END_EVENT:
            more = false;
            break;
        case YAML_MAPPING_START_EVENT:
            good = !inside || refuse(r, event.start_mark.line, "the name of a section", e);
            inside = true;
            break;
        case YAML_MAPPING_END_EVENT:
            inside = false;
            break;
        default:
            good = take(r, &event, &name, inside ? "the name of a section" : "sections with paths", e);
            if (good && inside)
                good = read_section(r, e);
            else if (good && *name)
                good = refuse(r, event.start_mark.line, "sections with paths", e);
            mem_free(name);
        }
        yaml_event_delete(&event);
    }
    return good;
}

bool model_places_add_yaml(struct model_places *p, const char *text, size_t bytes, const char *path, struct err *e)
{
    struct reader *r = mem_zeroed(1, sizeof *r);
    if (!r)
        return err_nomem(e, path);
    r->path = path;
    r->places = p;
    bool good = path_join(r->folder, "", path, e);
    if (good && !yaml_parser_initialize(&r->parser))
        good = err_nomem(e, path);
    if (!good) {
        mem_free(r);
        return false;
    }
    r->folder[strlen(path) - strlen(path_name(path))] = 0;
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, bytes);
    good = read_file(r, e);
    yaml_parser_delete(&r->parser);
    forget_section(r);
    mem_free(r);
    return good;
}
