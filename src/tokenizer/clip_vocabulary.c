/* CLIP's vocabulary as its makers wrote it: a list of merges, from which the tokens follow. */
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/clip_internal.h"

static const char file_name[] = "bpe_simple_vocab_16e6.txt.gz";

enum {
    MERGES = 49152 - 256 - 2,    /* the file has more; CLIP's vocabulary ends here */
    TEXT_MAX_BYTES = 16 << 20,   /* of the list, unpacked */
    TOKEN_MAX_BYTES = 1024,
};

/* Where other programs and ours keep it: first what the user says, then beside our program, then in Python's packages. */
static const char *const places[] = {
    "$LIMN_MODELS/", "$HOME/.local/share/limn/", "", "/usr/local/share/limn/", "/usr/share/limn/",
    "$VIRTUAL_ENV/lib/python3*/site-packages/open_clip/", "$VIRTUAL_ENV/lib/python3*/site-packages/clip/",
    "$HOME/.local/lib/python3*/site-packages/open_clip/", "$HOME/.local/lib/python3*/site-packages/clip/",
    "/usr/local/lib/python3*/dist-packages/open_clip/", "/usr/local/lib/python3*/dist-packages/clip/",
    "/usr/lib/python3/dist-packages/open_clip/", "/usr/lib/python3/dist-packages/clip/",
};

/* The pattern of a place with the environment's word in it; false if there is none. "" stands for our program's own place. */
static bool pattern_of(char out[PATH_MAX_BYTES], const char *place)
{
    int length;
    if (!*place) {
        char program[PATH_MAX_BYTES];
        ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
        program[n > 0 ? n : 0] = 0;
        char *slash = strrchr(program, '/');
        if (!slash)
            return false;
        *slash = 0;
        length = snprintf(out, PATH_MAX_BYTES, "%.*s/../share/limn/%s", PATH_MAX_BYTES - 80, program, file_name);
    } else if (*place == '$') {
        const char *rest = strchr(place, '/');
        char name[40];
        snprintf(name, sizeof name, "%.*s", (int)(rest - place - 1), place + 1);
        const char *value = getenv(name);
        if (!value || !*value)
            return false;
        length = snprintf(out, PATH_MAX_BYTES, "%s%s%s", value, rest, file_name);
    } else {
        length = snprintf(out, PATH_MAX_BYTES, "%s%s", place, file_name);
    }
    return length < PATH_MAX_BYTES;
}

bool clip_vocabulary_find(char *out, struct err *e)
{
    const char *said = getenv("LIMN_CLIP_VOCABULARY");
    if (said && *said)
        return path_join(out, "", said, e);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        glob_t found;
        if (!pattern_of(out, places[i]) || glob(out, 0, NULL, &found))
            continue;
        bool good = path_join(out, "", found.gl_pathv[0], e);
        globfree(&found);
        return good;
    }
    return err_set(e, ERR_MISSING, "a single file carries no vocabulary, and CLIP's (%s) is not installed: the Python package "
                   "open_clip_torch brings it (./setup vocabulary fetches it alone); LIMN_CLIP_VOCABULARY=FILE names it "
                   "anywhere, and --config FOLDER takes the tokenizer of a folder", file_name);
}

static bool add_token(json_t *vocabulary, const char *token, struct err *e)
{
    double id = (double)json_object_size(vocabulary);
    return !json_object_set_new(vocabulary, token, json_real(id)) || err_nomem(e, "a vocabulary");
}

/* 256 bytes, the same at the end of a word, every merge, start and end: CLIP's order. */
static bool add_tokens(json_t *vocabulary, struct text *merges, const char *lines, const char *stop, size_t most,
                       const char *where, struct err *e)
{
    char token[TOKEN_MAX_BYTES];
    for (int order = 0; order < 512; order++) {
        size_t n = clip_byte_symbol(clip_byte_at(order % 256), token);
        snprintf(token + n, sizeof token - n, "%s", order < 256 ? "" : CLIP_WORD_END);
        if (!add_token(vocabulary, token, e))
            return false;
    }
    size_t number = 0;
    for (const char *line = lines; line < stop && number < most;) {
        const char *newline = memchr(line, '\n', (size_t)(stop - line)), *end = newline ? newline : stop;
        const char *space = memchr(line, ' ', (size_t)(end - line));
        size_t bytes = (size_t)(end - line);
        number++;
        if (!space || bytes >= TOKEN_MAX_BYTES || memchr(space + 1, ' ', (size_t)(end - space - 1)))
            return err_set(e, ERR_FORMAT, "%s: line %zu must be two tokens with a space between: \"%.*s\"", where, number + 1,
                           (int)(bytes < 100 ? bytes : 100), line);
        snprintf(token, sizeof token, "%.*s%.*s", (int)(space - line), line, (int)(end - space - 1), space + 1);
        if (!add_token(vocabulary, token, e))
            return false;
        text_add_bytes(merges, line, bytes);
        text_add(merges, "\n");
        line = newline ? newline + 1 : stop;
    }
    return add_token(vocabulary, CLIP_START, e) && add_token(vocabulary, CLIP_END, e) && text_ok(merges, e);
}

/* The tokens and ids of a list, a new reference, and its merges. */
static json_t *read_list(const char *text, size_t bytes, struct text *merges, const char *where, struct err *e)
{
    const char *lines = memchr(text, '\n', bytes);
    if (!lines || !utf8_valid(text, bytes) || memchr(text, 0, bytes)) {
        err_set(e, ERR_FORMAT, "%s: not a list of merges", where);
        return NULL;
    }
    json_t *vocabulary = json_object();
    if (!vocabulary)
        err_nomem(e, where);
    else if (add_tokens(vocabulary, merges, lines + 1, text + bytes, MERGES, where, e)) /* the first line is a title */
        return vocabulary;
    json_decref(vocabulary);
    return NULL;
}

struct clip_tokenizer *clip_tokenizer_of_list(const char *text, size_t bytes, const json_t *config, const char *where,
                                              struct err *e)
{
    struct text merges;
    text_init(&merges, TEXT_MAX_BYTES + 1);
    json_t *vocabulary = read_list(text, bytes, &merges, where, e);
    struct clip_files files = { .folder = where, .vocabulary = vocabulary, .config = (json_t *)(uintptr_t)config,
                                .merges = text_string(&merges) };
    struct clip_tokenizer *t = vocabulary ? clip_tokenizer_build(&files, e) : NULL;
    json_decref(vocabulary);
    text_release(&merges);
    return t;
}

/* The unpacked text, with a 0 behind it. A file that is not packed is read as it is. */
static char *unpack(const char *path, size_t *bytes, struct err *e)
{
    gzFile f = gzopen(path, "rb");
    if (!f) {
        err_errno(e, "cannot read %s", path);
        return NULL;
    }
    char *text = mem_zeroed(TEXT_MAX_BYTES + 1, 1);
    int n = text ? gzread(f, text, TEXT_MAX_BYTES) : 0, code = Z_OK;
    const char *why = gzerror(f, &code);
    if (!text)
        err_nomem(e, path);
    else if (n < 0 || (code != Z_OK && code != Z_STREAM_END))
        err_set(e, ERR_FORMAT, "%s: cannot be unpacked: %.200s", path, why);
    else if (n == TEXT_MAX_BYTES)
        err_set(e, ERR_LIMIT, "%s: more than %d bytes unpacked", path, TEXT_MAX_BYTES);
    gzclose(f);
    *bytes = n > 0 ? (size_t)n : 0;
    if (!e->code)
        return text;
    mem_free(text);
    return NULL;
}

struct clip_tokenizer *clip_tokenizer_open_vocabulary(const char *path, const json_t *config, struct err *e)
{
    size_t bytes;
    char *text = unpack(path, &bytes, e);
    struct clip_tokenizer *t = text ? clip_tokenizer_of_list(text, bytes, config, path, e) : NULL;
    mem_free(text);
    return t;
}

/* ids are whole numbers in the file */
static json_t *whole_ids(const json_t *vocabulary)
{
    json_t *out = json_object(), *id;
    const char *token;
    json_object_foreach((json_t *)(uintptr_t)vocabulary, token, id)
        json_object_set_new(out, token, json_integer((json_int_t)json_real_value(id)));
    return out;
}

bool clip_vocabulary_write(const char *path, const json_t *config, const char *folder, struct err *e)
{
    size_t bytes;
    struct text merges;
    char *text = unpack(path, &bytes, e), place[PATH_MAX_BYTES];
    text_init(&merges, TEXT_MAX_BYTES + 100);
    text_add(&merges, "#version: 0.2\n");
    json_t *vocabulary = text ? read_list(text, bytes, &merges, path, e) : NULL, *ids = vocabulary ? whole_ids(vocabulary) : NULL;
    bool good = vocabulary && (ids || err_nomem(e, path)) && folder_make(folder, e) && path_join(place, folder, "vocab.json", e) &&
                json_write(ids, place, e) && path_join(place, folder, "merges.txt", e) &&
                file_write_whole(place, text_string(&merges), merges.length, e) &&
                path_join(place, folder, "tokenizer_config.json", e) && json_write(config, place, e);
    json_decref(vocabulary);
    json_decref(ids);
    text_release(&merges);
    mem_free(text);
    return good;
}
