#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/near.h"
#include "base/text.h"
#include "base/toml.h"
#include "cli/options_internal.h"

static void *member(void *args, const struct option *o)
{
    return (char *)args + o->place;
}

static const void *member_const(const void *args, const struct option *o)
{
    return (const char *)args + o->place;
}

bool option_is_no(const struct option *o)
{
    return o->kind == OPTION_FLAG && o->initial && strcmp(o->initial, "yes") == 0;
}

void option_range(const struct option *o, char *out, size_t bytes)
{
    out[0] = 0;
    if (o->min == 0 && o->max == 0)
        return;
    char low[32], high[32];
    snprintf(low, sizeof low, "%.10g", o->min);
    snprintf(high, sizeof high, "%.10g", o->max);
    bool no_low = o->min <= (double)INT64_MIN, no_high = o->max >= (double)INT64_MAX;
    if (no_low && no_high)
        return;
    if (no_high)
        snprintf(out, bytes, "%s or more", low);
    else if (no_low)
        snprintf(out, bytes, "at most %s", high);
    else
        snprintf(out, bytes, "%s to %s", low, high);
}

static bool out_of_range(const struct option *o, double v)
{
    return !(o->min == 0 && o->max == 0) && !(v >= o->min && v <= o->max);
}

static bool bad_range(const struct option *o, const char *value, struct err *e)
{
    char range[80];
    option_range(o, range, sizeof range);
    return err_set(e, ERR_ARG, "--%s %.200s: the value must be %s", o->name, value, range);
}

static bool set_int(const struct option *o, const char *value, bool check, int64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    long long v = strtoll(value, &end, 10);
    if (end == value || *end || isspace((unsigned char)*value))
        return err_set(e, ERR_ARG, "--%s %.200s: not a whole number", o->name, value);
    if (errno == ERANGE && o->min == 0 && o->max == 0)
        return err_set(e, ERR_ARG, "--%s %.200s: the number is too large", o->name, value);
    if (check && (errno == ERANGE || out_of_range(o, (double)v)))
        return bad_range(o, value, e);
    *out = v;
    return true;
}

static bool set_float(const struct option *o, const char *value, bool check, double *out, struct err *e)
{
    char *end;
    double v = strtod(value, &end);
    if (end == value || *end || isspace((unsigned char)*value) || !isfinite(v))
        return err_set(e, ERR_ARG, "--%s %.200s: not a number", o->name, value);
    if (check && out_of_range(o, v))
        return bad_range(o, value, e);
    *out = v;
    return true;
}

static bool set_size(const struct option *o, const char *value, bool check, int64_t *out, struct err *e)
{
    static const char letters[] = "KMGT";
    char *end;
    double v = strtod(value, &end);
    bool good = end != value && isfinite(v) && v >= 0 && !isspace((unsigned char)*value);
    const char *letter = good && *end ? strchr(letters, toupper((unsigned char)*end)) : NULL;
    if (letter) {
        v = ldexp(v, 10 * (int)(letter - letters + 1));
        end++;
    }
    if (!good || *end)
        return err_set(e, ERR_ARG, "--%s %.200s: not a size such as 512M or 2G", o->name, value);
    if (v >= (double)INT64_MAX)
        return err_set(e, ERR_ARG, "--%s %.200s: the size is too large", o->name, value);
    if (check && out_of_range(o, v))
        return bad_range(o, value, e);
    *out = (int64_t)v;
    return true;
}

static const char *choice_name(const void *names, int index)
{
    return ((const struct option *)names)->choices(index);
}

static bool set_choice(const struct option *o, const char *value, int *out, struct err *e)
{
    const char *name;
    for (int i = 0; (name = o->choices(i)); i++)
        if (text_same_name(name, value)) {
            *out = i;
            return true;
        }
    struct text all;
    text_init(&all, 700);
    for (int i = 0; (name = o->choices(i)); i++)
        text_addf(&all, "%s%s", i ? ", " : "", name);
    const char *near = text_nearest(value, choice_name, o);
    err_set(e, ERR_ARG, "--%s %.100s: not one of %s%s%s%s", o->name, value, text_string(&all),
            near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    text_release(&all);
    return false;
}

/* `check`: the range counts (a default may lie outside it). */
static bool set_value(const struct option *o, const char *value, bool check, void *args, struct err *e)
{
    void *place = member(args, o);
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)place = strcmp(value, "yes") == 0;
        return true;
    case OPTION_INT:
        return set_int(o, value, check, place, e);
    case OPTION_FLOAT:
        return set_float(o, value, check, place, e);
    case OPTION_SIZE:
        return set_size(o, value, check, place, e);
    case OPTION_CHOICE:
        return set_choice(o, value, place, e);
    case OPTION_TEXT:
        *(const char **)place = value;
        return true;
    case OPTION_SETTINGS:
        ((struct option_settings *)place)->path = value;
        return true;
    case OPTION_TEXTS: {
        struct option_texts *texts = place;
        if (texts->count == OPTION_TEXTS_MAX)
            return err_set(e, ERR_ARG, "--%s may be given at most %d times", o->name, OPTION_TEXTS_MAX);
        texts->items[texts->count++] = value;
        return true;
    }
    }
    return err_set(e, ERR_ARG, "--%s: a kind of option that is not known", o->name);
}

bool options_defaults(const struct command *command, void *args, struct err *e)
{
    if (command->args_bytes)
        memset(args, 0, command->args_bytes);
    for (const struct option *o = command->options; o && o->name; o++)
        if (o->initial && !set_value(o, o->initial, false, args, e))
            return err_add(e, "the default of limn %s", command->name);
    return true;
}

static const char *nth_option(const void *names, int index)
{
    const struct option *options = names;
    return options ? options[index].name : NULL;
}

/* The option called name[0..bytes), *no set if it is the "no-" form of a flag. */
static const struct option *find_option(const struct command *command, const char *name, size_t bytes,
                                        bool *no)
{
    char typed[64];
    if (bytes == 0 || bytes >= sizeof typed)
        return NULL;
    memcpy(typed, name, bytes);
    typed[bytes] = 0;
    *no = false;
    for (const struct option *o = command->options; o && o->name; o++)
        if (text_same_name(o->name, typed))
            return o;
    if (strncmp(typed, "no", 2) != 0 || (typed[2] != '-' && typed[2] != '_'))
        return NULL;
    for (const struct option *o = command->options; o && o->name; o++)
        if (option_is_no(o) && text_same_name(o->name, typed + 3)) {
            *no = true;
            return o;
        }
    return NULL;
}

static bool unknown(const struct command *command, const char *typed, size_t bytes, struct err *e)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(bytes < 63 ? bytes : 63), typed);
    const char *near = text_nearest(name, nth_option, command->options);
    return err_set(e, ERR_ARG, "limn %s has no option --%s%s%s%s", command->name, name,
                   near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

static const struct option *settings_of(const struct command *command)
{
    for (const struct option *o = command->options; o && o->name; o++)
        if (o->kind == OPTION_SETTINGS)
            return o;
    return NULL;
}

static bool ends(const char *text, const char *with)
{
    size_t length = strlen(text), tail = strlen(with);
    return length > tail && !strcmp(text + length - tail, with);
}

/* --config is --settings where it can be nothing else. */
static const struct option *instead(const struct command *command, const struct option *o, const char *name, size_t bytes,
                                    const char *value)
{
    const struct option *settings = settings_of(command);
    bool is_config = bytes == 6 && !strncmp(name, "config", bytes);
    return settings && is_config && (!o || (value && (ends(value, ".toml") || ends(value, ".json")))) ? settings : o;
}

/* One long option at argv[*i]. */
static bool parse_long(const struct command *command, int argc, const char *const *argv, int *i, void *args,
                       struct err *e)
{
    const char *name = argv[*i] + 2, *equal = strchr(name, '=');
    size_t bytes = equal ? (size_t)(equal - name) : strlen(name);
    bool no = false;
    const struct option *o = find_option(command, name, bytes, &no);
    o = instead(command, o, name, bytes, equal ? equal + 1 : *i + 1 < argc ? argv[*i + 1] : NULL);
    if (!o)
        return unknown(command, name, bytes, e);
    if (o->kind == OPTION_FLAG) {
        if (equal)
            return err_set(e, ERR_ARG, "--%s takes no value", o->name);
        return set_value(o, no ? "no" : "yes", true, args, e);
    }
    if (!equal && ++*i == argc)
        return err_set(e, ERR_ARG, "--%s needs a value", o->name);
    return set_value(o, equal ? equal + 1 : argv[*i], true, args, e);
}

/* Letters at argv[*i]: flags may stand together; the first that takes a value takes the rest or the next
 * word. */
static bool parse_letters(const struct command *command, int argc, const char *const *argv, int *i,
                          void *args, struct err *e)
{
    for (const char *letter = argv[*i] + 1; *letter; letter++) {
        const struct option *o = command->options;
        while (o && o->name && o->letter != *letter)
            o++;
        if (!o || !o->name)
            return err_set(e, ERR_ARG, "limn %s has no option -%c", command->name, *letter);
        if (o->kind == OPTION_FLAG) {
            if (!set_value(o, "yes", true, args, e))
                return false;
            continue;
        }
        if (!letter[1] && ++*i == argc)
            return err_set(e, ERR_ARG, "-%c (--%s) needs a value", o->letter, o->name);
        return set_value(o, letter[1] ? letter + 1 : argv[*i], true, args, e);
    }
    return true;
}

/* A word that may be a negative number is a word, not letters: no option's letter is a digit. */
static bool is_letters(const char *word)
{
    return word[0] == '-' && word[1] && word[1] != '.' && !isdigit((unsigned char)word[1]);
}

static bool add_word(const struct command *command, const char *word, void *args, struct err *e)
{
    if (!command->words)
        return err_set(e, ERR_ARG, "limn %s takes no words, only options: %.200s", command->name, word);
    struct option_texts *words = (struct option_texts *)((char *)args + command->words_place);
    if (words->count >= command->words_max || words->count == OPTION_TEXTS_MAX)
        return err_set(e, ERR_ARG, "limn %s takes at most %d %s (%s): one too many is %.200s", command->name,
                       command->words_max, command->words_max == 1 ? "word or quoted text" : "words",
                       command->words, word);
    words->items[words->count++] = word;
    return true;
}

static bool from_json(const struct option *o, const json_t *j, const char *where, const char *key, void *args, struct err *e);

static bool parse_words(const struct command *command, int argc, const char *const *argv, void *args, struct err *e)
{
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!ended && strcmp(word, "--") == 0) {
            ended = true;
            continue;
        }
        bool good = !ended && strncmp(word, "--", 2) == 0 ? parse_long(command, argc, argv, &i, args, e)
                    : !ended && is_letters(word)          ? parse_letters(command, argc, argv, &i, args, e)
                                                          : add_word(command, word, args, e);
        if (!good)
            return false;
    }
    return true;
}

/* One value of a settings file, or a table of them. */
static bool take_setting(const struct command *command, const char *key, const json_t *j, const char *where, int depth, void *args,
                         struct err *e)
{
    bool no;
    const struct option *o = find_option(command, key, strlen(key), &no);
    if (json_is_object(j) && depth < 8) { /* also one that is called as an option is: [optimizer] */
        const char *inner;
        const json_t *value;
        json_object_foreach((json_t *)(uintptr_t)j, inner, value)
            if (!take_setting(command, inner, value, where, depth + 1, args, e))
                return false;
        return true;
    }
    if (!o && !strcmp(key, "command")) {
        if (json_is_string(j) && !strcmp(json_string_value(j), command->name))
            return true;
        return err_set(e, ERR_FORMAT, "%s: these are settings of limn %.40s, not of limn %s", where,
                       json_is_string(j) ? json_string_value(j) : "another command", command->name);
    }
    if (!o || no || o->kind == OPTION_SETTINGS) {
        const char *near = text_nearest(key, nth_option, command->options);
        return err_set(e, ERR_FORMAT, "%s: limn %s has no setting %.60s%s%s%s", where, command->name, key, near ? "; did you mean " : "",
                       near ? near : "", near ? "?" : "");
    }
    /* "8G" is a size, and one text a list of one */
    if (json_is_string(j) && (o->kind == OPTION_SIZE || o->kind == OPTION_TEXTS))
        return set_value(o, json_string_value(j), true, args, e) || err_add(e, "in %s", where);
    return from_json(o, j, where, key, args, e);
}

static json_t *read_settings(const char *path, struct err *e)
{
    char *text;
    size_t bytes;
    if (!file_read(path, JSON_FILE_MAX_BYTES, &text, &bytes, e))
        return NULL;
    size_t first = strspn(text, " \t\r\n");
    json_t *j = text[first] == '{' ? json_parse(text, bytes, path, e) : toml_parse(text, bytes, path, e);
    mem_free(text);
    return j;
}

/* The arguments once more: defaults, then the file, then the line, whose lists replace those of the file. */
static bool parse_with_settings(const struct command *command, const struct option *settings, int argc, const char *const *argv,
                                void *args, struct err *e)
{
    const char *path = ((struct option_settings *)member(args, settings))->path;
    void *line = mem_zeroed(command->args_bytes, 1);
    json_t *values = line ? read_settings(path, e) : NULL;
    bool good = values || (!line && err_nomem(e, "the arguments"));
    if (line)
        memcpy(line, args, command->args_bytes);
    good = good && options_defaults(command, args, e);
    *(struct option_settings *)member(args, settings) = (struct option_settings){ path, values };
    const char *key;
    const json_t *j;
    if (good)
        json_object_foreach(values, key, j)
            good = good && take_setting(command, key, j, path, 0, args, e);
    for (const struct option *o = command->options; good && o->name; o++)
        if (o->kind == OPTION_TEXTS && ((const struct option_texts *)member_const(line, o))->count)
            ((struct option_texts *)member(args, o))->count = 0;
    mem_free(line);
    return good && parse_words(command, argc, argv, args, e);
}

bool options_parse(const struct command *command, int argc, const char *const *argv, void *args, bool *help,
                   struct err *e)
{
    *help = false;
    if (!options_defaults(command, args, e))
        return false;
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *help = true;
            return true;
        }
    const struct option *settings = settings_of(command);
    if (!parse_words(command, argc, argv, args, e))
        return false;
    if (settings && ((struct option_settings *)member(args, settings))->path &&
        !parse_with_settings(command, settings, argc, argv, args, e))
        return false;
    if (command->words) {
        const struct option_texts *words = (const void *)((char *)args + command->words_place);
        if (words->count < command->words_min)
            return err_set(e, ERR_ARG, "limn %s needs %s", command->name, command->words);
    }
    return true;
}

void options_release(const struct command *command, void *args)
{
    const struct option *settings = settings_of(command);
    if (settings)
        json_decref(((struct option_settings *)member(args, settings))->values);
}

/* The option's name as a JSON key: underscores. */
static void json_name(const struct option *o, char out[64])
{
    snprintf(out, 64, "%s", o->name);
    for (char *p = out; *p; p++)
        if (*p == '-')
            *p = '_';
}

static json_t *json_of(const struct option *o, const void *place)
{
    switch (o->kind) {
    case OPTION_FLAG:
        return json_boolean(*(const bool *)place);
    case OPTION_INT:
    case OPTION_SIZE:
        return json_integer(*(const int64_t *)place);
    case OPTION_FLOAT:
        return json_real(*(const double *)place);
    case OPTION_TEXT:
        return *(const char *const *)place ? json_string(*(const char *const *)place) : json_null();
    case OPTION_CHOICE:
        return json_string(o->choices(*(const int *)place));
    case OPTION_SETTINGS:
        return NULL;
    case OPTION_TEXTS: {
        const struct option_texts *texts = place;
        json_t *list = json_array();
        for (int i = 0; list && i < texts->count; i++)
            if (json_array_append_new(list, json_string(texts->items[i])) != 0) {
                json_decref(list);
                return NULL;
            }
        return list;
    }
    }
    return NULL;
}

json_t *options_json(const struct command *command, const void *args, struct err *e)
{
    json_t *object = json_object();
    for (const struct option *o = command->options; object && o && o->name; o++) {
        char key[64];
        if (o->kind == OPTION_SETTINGS)
            continue; /* what it said is in the others */
        json_name(o, key);
        if (json_object_set_new(object, key, json_of(o, member_const(args, o))) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    if (!object) /* memory, or a text that is not UTF-8 */
        err_set(e, ERR_NOMEM, "the options of limn %s cannot be written as JSON", command->name);
    return object;
}

/* A value of a file must lie in the range or be the default, which may lie outside it. */
static bool json_in_range(const struct option *o, double v, const char *where, const char *key, struct err *e)
{
    char range[80];
    if (!out_of_range(o, v) || v == (o->initial ? strtod(o->initial, NULL) : 0))
        return true;
    option_range(o, range, sizeof range);
    return err_set(e, ERR_FORMAT, "%s: %s is %.10g, it must be %s", where, key, v, range);
}

static bool wrong_kind(const char *where, const char *key, const char *wanted, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: %s must be %s", where, key, wanted);
}

static bool from_json(const struct option *o, const json_t *j, const char *where, const char *key, void *args,
                      struct err *e)
{
    void *place = member(args, o);
    switch (o->kind) {
    case OPTION_FLAG:
        if (!json_is_boolean(j))
            return wrong_kind(where, key, "true or false", e);
        *(bool *)place = json_is_true(j);
        return true;
    case OPTION_INT:
    case OPTION_SIZE:
        if (!json_is_integer(j))
            return wrong_kind(where, key, "a whole number", e);
        *(int64_t *)place = json_integer_value(j);
        return json_in_range(o, (double)json_integer_value(j), where, key, e);
    case OPTION_FLOAT:
        if (!json_is_number(j))
            return wrong_kind(where, key, "a number", e);
        *(double *)place = json_number_value(j);
        return json_in_range(o, json_number_value(j), where, key, e);
    case OPTION_TEXT:
        if (!json_is_string(j) && !json_is_null(j))
            return wrong_kind(where, key, "a text", e);
        *(const char **)place = json_string_value(j);
        return true;
    case OPTION_CHOICE:
        if (!json_is_string(j))
            return wrong_kind(where, key, "a text", e);
        return set_choice(o, json_string_value(j), place, e) || err_add(e, "in %s", where);
    case OPTION_SETTINGS:
        return true;
    case OPTION_TEXTS: {
        struct option_texts *texts = place;
        if (!json_is_array(j) || json_array_size(j) > OPTION_TEXTS_MAX)
            return wrong_kind(where, key, "a list of texts", e);
        texts->count = 0;
        for (size_t i = 0; i < json_array_size(j); i++) {
            if (!json_is_string(json_array_get(j, i)))
                return wrong_kind(where, key, "a list of texts", e);
            texts->items[texts->count++] = json_string_value(json_array_get(j, i));
        }
        return true;
    }
    }
    return false;
}

bool options_from_json(const struct command *command, const json_t *object, const char *where, void *args,
                       struct err *e)
{
    for (const struct option *o = command->options; o && o->name; o++) {
        char key[64];
        json_name(o, key);
        const json_t *j = json_object_get(object, key);
        if (j && !from_json(o, j, where, key, args, e))
            return false;
    }
    return true;
}
