#include "fetch/hub.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

enum { MOST_PAGES = 100, MOST_LIST_BYTES = 32 << 20, MOST_PATH = 1024, MOST_URL = 4096 };

const struct hub hubs[] = {
    { "hf", "https://huggingface.co", "HF_ENDPOINT", "HF_TOKEN", "main" },
    { "modelscope", "https://www.modelscope.cn", "MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN", "master" },
    { 0 },
};

static bool is_modelscope(const struct hub *hub)
{
    return hub == &hubs[1];
}

void hub_list_release(struct hub_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->at[i].path);
    mem_free(l->at);
    *l = (struct hub_list){ 0 };
}

const char *hub_token(const struct hub *hub)
{
    const char *token = getenv(hub->token_variable);
    return token && *token ? token : NULL;
}

const char *hub_endpoint(const struct hub_place *p)
{
    const char *other = getenv(p->hub->endpoint_variable);
    return p->endpoint ? p->endpoint : other && *other ? other : p->hub->endpoint;
}

static const char *revision_of(const struct hub_place *p)
{
    return p->revision && *p->revision ? p->revision : p->hub->revision;
}

/* Adds text with everything but letters, digits and -._~ and those of `keep` as %XX. */
static void add_escaped(struct text *t, const char *s, const char *keep)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c) || strchr(keep, c);
        if (plain)
            text_add_bytes(t, s, 1);
        else
            text_addf(t, "%%%02X", c);
    }
}

static void begin_url(struct text *t, const struct hub_place *p)
{
    const char *e = hub_endpoint(p);
    size_t n = strlen(e);
    text_init(t, MOST_URL);
    text_add_bytes(t, e, n && e[n - 1] == '/' ? n - 1 : n);
}

static bool end_url(struct text *t, char *out, size_t out_bytes, struct err *e)
{
    bool good = text_ok(t, e) && (t->length < out_bytes || err_set(e, ERR_LIMIT, "an address of more than %zu bytes", out_bytes));
    if (good)
        memcpy(out, text_string(t), t->length + 1);
    text_release(t);
    return good;
}

bool hub_url(const struct hub_place *p, const char *path, char *out, size_t out_bytes, struct err *e)
{
    struct text t;
    begin_url(&t, p);
    text_add(&t, is_modelscope(p->hub) ? "/models/" : "/");
    add_escaped(&t, p->repository, "/");
    text_add(&t, "/resolve/");
    add_escaped(&t, revision_of(p), "");
    text_add(&t, "/");
    add_escaped(&t, path, "/");
    return end_url(&t, out, out_bytes, e);
}

static bool list_url(const struct hub_place *p, char *out, size_t out_bytes, struct err *e)
{
    struct text t;
    begin_url(&t, p);
    text_add(&t, is_modelscope(p->hub) ? "/api/v1/models/" : "/api/models/");
    add_escaped(&t, p->repository, "/");
    if (is_modelscope(p->hub)) {
        text_add(&t, "/repo/files?Recursive=true&Revision=");
        add_escaped(&t, revision_of(p), "");
    } else {
        text_add(&t, "/tree/");
        add_escaped(&t, revision_of(p), "");
        text_add(&t, "?recursive=true");
    }
    return end_url(&t, out, out_bytes, e);
}

/* A server may not write outside the folder, nor play tricks with names. */
static bool is_safe(const char *path)
{
    if (!*path || *path == '/' || strlen(path) > MOST_PATH || !utf8_valid(path, strlen(path)))
        return false;
    for (const char *at = path; *at;) {
        size_t n = strcspn(at, "/");
        if (n == 0 || (n <= 2 && !strncmp(at, "..", n)))
            return false;
        at += n + (at[n] == '/');
    }
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127 || *c == '\\' || *c == ':')
            return false;
    return path[strlen(path) - 1] != '/';
}

static bool add_file(struct hub_list *l, const char *path, json_int_t bytes, const char *sha256, const char *where, struct err *e)
{
    if (!is_safe(path))
        return err_set(e, ERR_FORMAT, "%s: the repository names a file \"%.100s\", which could leave its folder", where, path);
    if (l->count == HUB_MOST_FILES)
        return err_set(e, ERR_LIMIT, "%s: more than %d files", where, HUB_MOST_FILES);
    struct hub_file *grown = mem_grow(l->at, &l->cap, l->count + 1, sizeof *grown);
    char *copy = grown ? mem_string(path) : NULL;
    if (grown)
        l->at = grown;
    if (!copy)
        return err_nomem(e, "a list of files");
    struct hub_file *f = &l->at[l->count++];
    *f = (struct hub_file){ .path = copy, .bytes = bytes >= 0 ? (int64_t)bytes : -1, .wanted = true };
    if (sha256 && strlen(sha256) == 64 && strspn(sha256, "0123456789abcdefABCDEF") == 64)
        memcpy(f->sha256, sha256, 65);
    return true;
}

static const char *string_of(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static json_int_t bytes_of(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static bool read_hf(struct hub_list *l, const json_t *answer, const char *where, struct err *e)
{
    size_t i;
    const json_t *one;
    if (!json_is_array(answer))
        return err_set(e, ERR_FORMAT, "%s: the answer is not a list of files", where);
    json_array_foreach(answer, i, one)
        if (!strcmp(string_of(one, "type"), "file") &&
            !add_file(l, string_of(one, "path"), bytes_of(one, "size"), string_of(json_object_get(one, "lfs"), "oid"), where, e))
            return false;
    return true;
}

static bool read_modelscope(struct hub_list *l, const json_t *answer, const char *where, struct err *e)
{
    size_t i;
    const json_t *one, *files = json_object_get(json_object_get(answer, "Data"), "Files");
    if (!json_is_array(files))
        return err_set(e, ERR_FORMAT, "%s: the answer holds no \"Data\".\"Files\": %.100s", where, string_of(answer, "Message"));
    json_array_foreach(files, i, one)
        if (!strcmp(string_of(one, "Type"), "blob") &&
            !add_file(l, string_of(one, "Path"), bytes_of(one, "Size"), string_of(one, "Sha256"), where, e))
            return false;
    return true;
}

bool hub_list(struct hub_list *out, const struct hub_place *place, const struct download_options *o, struct err *e)
{
    char url[MOST_URL], next[MOST_URL];
    *out = (struct hub_list){ 0 };
    if (!is_safe(place->repository) || !strchr(place->repository, '/'))
        return err_set(e, ERR_ARG, "\"%s\": a repository is called owner/name", place->repository);
    if (!list_url(place, url, sizeof url, e))
        return false;
    for (int page = 0; page < MOST_PAGES; page++) {
        struct text answer;
        json_t *j = NULL;
        bool good = download_text(url, o, MOST_LIST_BYTES, &answer, next, sizeof next, e) &&
                    (j = json_parse(text_string(&answer), answer.length, url, e)) &&
                    (is_modelscope(place->hub) ? read_modelscope : read_hf)(out, j, url, e);
        json_decref(j);
        text_release(&answer);
        if (!good || !*next)
            return good;
        memcpy(url, next, sizeof url);
    }
    return err_set(e, ERR_LIMIT, "%s: more than %d pages of files", place->repository, MOST_PAGES);
}

/* --- choosing --- */

static bool ends_in(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && !strcasecmp(s + n - m, tail);
}

static bool any_ending(const char *path, const char *const *tails)
{
    for (; *tails; tails++)
        if (ends_in(path, *tails))
            return true;
    return false;
}

static const char *const best_weights[] = { ".safetensors", ".safetensors.index.json", NULL };
static const char *const other_weights[] = { ".bin", ".pt", ".pth", ".ckpt", ".bin.index.json", NULL };

static bool is_safetensors(const char *path)
{
    return any_ending(path, best_weights) || (strstr(path, ".safetensors.index.") && ends_in(path, ".json"));
}

static bool is_other_weights(const char *path)
{
    return any_ending(path, other_weights) || (strstr(path, ".bin.index.") && ends_in(path, ".json"));
}

static bool is_useless(const char *path)
{
    static const char *const tails[] = { ".onnx", ".onnx_data", ".pb", ".msgpack", ".h5", ".ot", ".tflite", ".mlmodel", ".png", ".jpg",
                                         ".jpeg", ".webp", ".gif", ".mp4", ".ipynb", ".gitattributes", ".gitignore", NULL };
    const char *name = path_name(path);
    return any_ending(path, tails) || !strncmp(name, "flax_", 5) || !strncmp(name, "tf_", 3) || !strncmp(name, "openvino_", 9);
}

/* The variant in a weight's name ("model.fp16.safetensors", "model.fp16-00001-of-00002.bin", "x.safetensors.index.fp16.json"):
 * its length, 0 for the plain ones. */
static size_t variant_of(const char *path, const char **variant)
{
    static const char *const known[] = { "fp16", "bf16", "fp32", "fp8", "non_ema", "ema", "int8" };
    for (const char *dot = strchr(path_name(path), '.'); dot; dot = strchr(dot + 1, '.')) {
        size_t n = strcspn(dot + 1, ".-");
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strlen(known[i]) == n && !strncmp(dot + 1, known[i], n)) {
                *variant = known[i];
                return n;
            }
    }
    *variant = "";
    return 0;
}

static bool same_folder(const char *a, const char *b)
{
    size_t n = (size_t)(path_name(a) - a);
    return n == (size_t)(path_name(b) - b) && !strncmp(a, b, n);
}

/* Whether another wanted file of the folder is weights with this variant (safe: in safetensors). */
static bool folder_has(const struct hub_list *l, const char *path, bool safe, const char *variant)
{
    for (size_t i = 0; i < l->count; i++) {
        const char *other = l->at[i].path, *its;
        if (!l->at[i].wanted || !same_folder(path, other) || !(is_safetensors(other) || (!safe && is_other_weights(other))))
            continue;
        variant_of(other, &its);
        if (!variant || !strcmp(its, variant))
            return true;
    }
    return false;
}

void hub_choose(struct hub_list *l, const char *const *patterns, size_t count, const char *variant)
{
    bool diffusers = false;
    for (size_t i = 0; i < l->count; i++)
        diffusers = diffusers || !strcmp(l->at[i].path, "model_index.json");
    for (size_t i = 0; i < l->count; i++) {
        const char *path = l->at[i].path;
        bool matches = false, weights = is_safetensors(path) || is_other_weights(path);
        for (size_t k = 0; k < count; k++)
            matches = matches || !fnmatch(patterns[k], path, 0);
        l->at[i].wanted = count ? matches : !is_useless(path) && !(diffusers && weights && !strchr(path, '/'));
    }
    /* Formats, then variants: each looks at what the step before left. */
    for (int step = 0; !count && step < 2; step++) {
        for (size_t i = 0; i < l->count; i++) {
            const char *path = l->at[i].path, *its;
            bool *drop = &l->at[i].dropped;
            if (!l->at[i].wanted || !(is_safetensors(path) || is_other_weights(path)))
                continue;
            variant_of(path, &its);
            if (step == 0)
                *drop = is_other_weights(path) && folder_has(l, path, true, NULL);
            else if (variant && *variant && folder_has(l, path, false, variant))
                *drop = strcmp(its, variant) != 0;
            else
                *drop = *its && folder_has(l, path, false, "");
        }
        for (size_t i = 0; i < l->count; i++)
            l->at[i].wanted = l->at[i].wanted && !l->at[i].dropped;
    }
}
