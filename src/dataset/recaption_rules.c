/* What a caption becomes: templates, and rules about tags. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/random.h"
#include "dataset/recaption.h"

enum { MOST_TAGS = 1024, MOST_KEY = 200 };

/* ---- templates ---- */

static bool is_number(const char *s, size_t bytes)
{
    return bytes > 0 && strspn(s, "0123456789") >= bytes;
}

/* The words of a file's or folder's name: what is between '_', '-', '.' and spaces, without a number at the end, and without the
 * "10_" of a folder of kohya's. */
static void add_words(struct text *out, const char *name, size_t bytes, bool is_folder)
{
    size_t from = 0;
    if (is_folder && strspn(name, "0123456789") > 0 && strspn(name, "0123456789") < bytes && name[strspn(name, "0123456789")] == '_')
        from = strspn(name, "0123456789") + 1;
    size_t end = bytes;
    for (size_t at = bytes; at > from; at--) /* "apple_01": the number's place in a series says nothing */
        if (strchr("_-. ", name[at - 1])) {
            end = is_number(name + at, bytes - at) ? at - 1 : bytes;
            break;
        }
    bool space = false, some = false;
    for (size_t i = from; i < end; i++) {
        if (strchr("_-. ", name[i])) {
            space = some;
            continue;
        }
        if (space)
            text_add(out, " ");
        text_add_bytes(out, name + i, 1);
        space = false;
        some = true;
    }
}

static void add_value(struct text *out, const json_t *value)
{
    if (json_is_string(value))
        text_add(out, json_string_value(value));
    else if (json_is_integer(value))
        text_addf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        text_addf(out, "%g", json_real_value(value));
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
        const char *s = json_string_value(json_array_get(value, i));
        if (s)
            text_addf(out, "%s%s", i ? ", " : "", s);
    }
}

static void add_field(struct text *out, const char *key, const json_t *picture)
{
    const char *file = json_string_value(json_object_get(picture, "file_name"));
    const char *name = path_name(file), *dot = strrchr(name, '.');
    if (!strcmp(key, "name")) {
        add_words(out, name, dot && dot != name ? (size_t)(dot - name) : strlen(name), false);
    } else if (!strcmp(key, "folder")) {
        const char *end = name > file ? name - 1 : file, *begin = end;
        while (begin > file && begin[-1] != '/')
            begin--;
        add_words(out, begin, (size_t)(end - begin), true);
    } else {
        add_value(out, json_object_get(picture, key));
    }
}

/* Takes back a comma and spaces at the end, at most to `from`. */
static void trim_end(struct text *t, size_t from)
{
    while (t->length > from && strchr(", \n\t\r", t->s[t->length - 1]))
        t->s[--t->length] = 0;
}

bool recaption_template(const char *template, const json_t *picture, struct text *out, struct err *e)
{
    for (const char *at = template; *at;) {
        size_t plain = strcspn(at, "{}");
        text_add_bytes(out, at, plain);
        at += plain;
        if (at[0] && at[1] == at[0]) {
            text_add_bytes(out, at, 1);
            at += 2;
        } else if (*at == '{') {
            char key[MOST_KEY];
            size_t length = strcspn(at + 1, "{}"), before = out->length;
            if (at[1 + length] != '}' || length == 0 || length >= sizeof key)
                return err_set(e, ERR_ARG, "the template \"%.200s\": a { without its }, or {} without a word; {{ is a brace", template);
            memcpy(key, at + 1, length);
            key[length] = 0;
            add_field(out, key, picture);
            if (out->length == before)
                trim_end(out, 0);
            at += length + 2;
        } else if (*at == '}') {
            return err_set(e, ERR_ARG, "the template \"%.200s\": a } without its {; }} is a brace", template);
        }
    }
    /* a field that was not there may have left a comma at the beginning */
    size_t lead = out->length ? strspn(out->s, ", ") : 0;
    if (lead) {
        memmove(out->s, out->s + lead, out->length - lead + 1);
        out->length -= lead;
    }
    return text_ok(out, e);
}

/* ---- tags ---- */

/* Tags as pieces of one buffer, 0-ended. */
struct tags {
    char *at[MOST_TAGS];
    size_t count;
};

static bool add_tag(struct tags *t, char *tag, struct err *e)
{
    if (t->count == MOST_TAGS)
        return err_set(e, ERR_LIMIT, "a caption of more than %d tags", MOST_TAGS);
    t->at[t->count++] = tag;
    return true;
}

/* Cuts buffer at its commas; spaces around are left out, empty tags too. */
static bool cut(struct tags *t, char *buffer, struct err *e)
{
    for (char *at = buffer, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = 0;
        at += strspn(at, " \t\r\n");
        size_t bytes = strlen(at);
        while (bytes && strchr(" \t\r\n", at[bytes - 1]))
            at[--bytes] = 0;
        if (bytes && !add_tag(t, at, e))
            return false;
    }
    return true;
}

static void remove_tags(struct tags *t, const struct recaption_options *o)
{
    size_t n = 0;
    for (size_t i = 0; i < t->count; i++) {
        bool out = false;
        for (size_t k = 0; k < o->removes && !out; k++)
            out = fnmatch(o->remove[k], t->at[i], FNM_CASEFOLD | FNM_NOESCAPE) == 0;
        for (size_t k = 0; o->unique && k < n && !out; k++)
            out = strcasecmp(t->at[k], t->at[i]) == 0;
        if (!out)
            t->at[n++] = t->at[i];
    }
    t->count = n;
}

static void drop_and_shuffle(struct tags *t, const struct recaption_options *o, const char *own)
{
    uint64_t stream = 0xCBF29CE484222325;
    for (; *own; own++)
        stream = (stream ^ (unsigned char)*own) * 0x100000001B3;
    struct random r = random_of(o->seed, stream);
    size_t keep = o->keep < 0 ? 0 : (size_t)o->keep < t->count ? (size_t)o->keep : t->count, n = keep;
    for (size_t i = keep; i < t->count; i++)
        if (!(o->drop > 0) || random_uniform(&r) >= o->drop)
            t->at[n++] = t->at[i];
    t->count = n;
    for (size_t left = o->shuffle ? n - keep : 0; left > 1; left--) {
        size_t k = keep + (size_t)random_below(&r, left), last = keep + left - 1;
        char *tag = t->at[k];
        t->at[k] = t->at[last];
        t->at[last] = tag;
    }
}

static bool by_rules(const struct recaption_options *o, char *text, char *const *replaced, const char *own, struct text *out,
                     struct err *e)
{
    struct tags first = { 0 }, all = { 0 };
    for (char *c = text; *c && o->spaces; c++)
        *c = *c == '_' ? ' ' : *c;
    if (!cut(&first, text, e))
        return false;
    for (size_t i = 0; i < first.count; i++) {
        size_t k = 0;
        while (k < o->replaces && strcasecmp(replaced[2 * k], first.at[i]))
            k++;
        /* what stands on the right is put in whole, commas and all: it is cut no more */
        char *tag = k < o->replaces ? replaced[2 * k + 1] : first.at[i];
        if (*tag && !add_tag(&all, tag, e))
            return false;
    }
    remove_tags(&all, o);
    drop_and_shuffle(&all, o, own);
    const char *before = "";
    if (o->prefix && *o->prefix) {
        text_add(out, o->prefix);
        before = ", ";
    }
    for (size_t i = 0; i < all.count; i++, before = ", ")
        text_addf(out, "%s%s", before, all.at[i]);
    if (o->suffix && *o->suffix)
        text_addf(out, "%s%s", before, o->suffix);
    return text_ok(out, e);
}

bool recaption_rules(const struct recaption_options *o, const char *text, const char *own, struct text *out, struct err *e)
{
    bool tags = o->spaces || o->unique || o->removes || o->replaces || o->keep || o->drop > 0 || o->shuffle || o->prefix || o->suffix;
    if (!tags) { /* nothing is asked: not even a space is moved */
        text_add(out, text);
        return text_ok(out, e);
    }
    char **replaced = mem_zeroed(2 * o->replaces + 1, sizeof *replaced), *copy = mem_string(text);
    bool good = (replaced && copy) || err_nomem(e, "a caption");
    for (size_t k = 0; good && k < o->replaces; k++) {
        char *pair = mem_string(o->replace[k]), *sign = pair ? strchr(pair, '=') : NULL;
        replaced[2 * k] = pair;
        if (!pair)
            good = err_nomem(e, "a caption");
        else if (!sign || sign == pair)
            good = err_set(e, ERR_ARG, "\"%.100s\": want TAG=OTHER", pair);
        if (good) {
            *sign = 0;
            replaced[2 * k + 1] = sign + 1;
        }
    }
    good = good && by_rules(o, copy, replaced, own, out, e);
    for (size_t k = 0; replaced && k < o->replaces; k++)
        mem_free(replaced[2 * k]);
    mem_free(replaced);
    mem_free(copy);
    return good;
}
