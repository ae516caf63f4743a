#include "model/text/inversion.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "weights/weights.h"

/* In the order in which they are looked for. */
static const char *const endings[] = { ".safetensors", ".pt", ".bin" };
enum { ENDINGS = sizeof endings / sizeof *endings };

static bool fits(const struct weight *w, int64_t width)
{
    return (w->shape.rank == 1 || w->shape.rank == 2) && shape_last(w->shape) == width;
}

/* How good a name is: the higher, the better. */
static int rank_of(const char *name, const char *key)
{
    return key && !strcmp(name, key) ? 3 : !strncmp(name, "string_to_param.", 16) ? 2 : !strcmp(name, "emb_params") ? 1 : 0;
}

static const struct weight *choose(const struct weights *file, int64_t width, const char *key, struct err *e)
{
    const struct weight *best = NULL;
    int rank = -1;
    bool several = false;
    struct text others;
    text_init(&others, 300);
    for (size_t i = 0; i < weights_count(file); i++) {
        const struct weight *w = weights_at(file, i);
        if (!fits(w, width)) {
            text_addf(&others, "%s%.60s %s", others.length ? ", " : "", w->name, shape_text(w->shape).s);
            continue;
        }
        int r = rank_of(w->name, key);
        several = r == rank || (several && r < rank);
        best = r > rank ? w : best;
        rank = r > rank ? r : rank;
    }
    if (!best)
        err_set(e, ERR_SHAPE, "%s has no vectors of width %lld, which this text encoder takes; it has %s%s", weights_path(file),
                (long long)width, others.length ? text_string(&others) : "nothing", others.failed ? ", ..." : "");
    else if (several)
        err_set(e, ERR_FORMAT, "%s has several tensors of width %lld, and none is called \"%s\"", weights_path(file),
                (long long)width, key ? key : "emb_params");
    text_release(&others);
    return several ? NULL : best;
}

bool inversion_read(struct inversion *v, const char *path, int64_t width, const char *key, struct err *e)
{
    *v = (struct inversion){ 0 };
    struct weights *file = weights_open(path, e);
    if (!file)
        return false;
    const struct weight *w = choose(file, width, key, e);
    bool good = w && weights_check_finite(w, e);
    int64_t count = good && w->shape.rank == 2 ? w->shape.dim[0] : 1;
    if (good && (count < 1 || count > INVERSION_MAX_VECTORS))
        good = err_set(e, ERR_LIMIT, "%s: %s has %lld vectors, 1 to %d are read", path, w->name, (long long)count,
                       INVERSION_MAX_VECTORS);
    *v = (struct inversion){ count, width, good ? mem_aligned((size_t)(count * width) * sizeof *v->vectors) : NULL };
    if (good && !v->vectors)
        good = err_nomem(e, path);
    if (good && !dtype_convert(v->vectors, DTYPE_F32, w->data, w->type, (size_t)(count * width)))
        good = err_set(e, ERR_TYPE, "%s: %s is %s", path, w->name, dtype_name(w->type));
    weights_free(file);
    if (!good)
        inversion_release(v);
    return good;
}

void inversion_release(struct inversion *v)
{
    mem_free(v->vectors);
    *v = (struct inversion){ 0 };
}

/* Vectors that were read, for one kind of text encoder. */
struct reading {
    size_t file;
    const char *key; /* borrowed: of the program's text */
    struct inversion *vectors; /* owned; stays in its place */
};

struct inversions {
    struct entry {
        char *path, *name;
        size_t folder_bytes; /* of path: the folder that was added, with its '/' */
        int ending;
    } *files;
    size_t count, cap;
    struct reading *readings;
    size_t reading_count, reading_cap;
};

struct inversions *inversions_new(struct err *e)
{
    struct inversions *s = mem_zeroed(1, sizeof *s);
    if (!s)
        err_nomem(e, "embeddings");
    return s;
}

void inversions_free(struct inversions *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        mem_free(s->files[i].path);
        mem_free(s->files[i].name);
    }
    for (size_t i = 0; i < s->reading_count; i++) {
        inversion_release(s->readings[i].vectors);
        mem_free(s->readings[i].vectors);
    }
    mem_free(s->files);
    mem_free(s->readings);
    mem_free(s);
}

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && !strcmp(name + n - m, ending);
}

static bool add_file(struct inversions *s, const char *path, size_t folder_bytes, struct err *e)
{
    int ending = 0;
    while (ending < ENDINGS && !ends_with(path_name(path), endings[ending]))
        ending++;
    if (ending == ENDINGS)
        return true;
    if (s->count == INVERSION_MAX_FILES)
        return err_set(e, ERR_LIMIT, "more than %d embeddings", INVERSION_MAX_FILES);
    struct entry *grown = mem_grow(s->files, &s->cap, s->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "embeddings");
    s->files = grown;
    struct entry *f = &grown[s->count];
    *f = (struct entry){ mem_string(path), mem_string(path_name(path)), folder_bytes, ending };
    s->count++;
    if (!f->path || !f->name)
        return err_nomem(e, "embeddings");
    f->name[strlen(f->name) - strlen(endings[ending])] = 0;
    return true;
}

/* Files first, then folders: what lies higher is found first. */
static bool add_folder(struct inversions *s, const char *folder, size_t folder_bytes, int depth, struct err *e)
{
    char path[PATH_MAX_BYTES], **names;
    size_t count;
    if (!folder_names(folder, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (int folders = 0; folders < 2; folders++)
        for (size_t i = 0; good && i < count; i++) {
            good = path_join(path, folder, names[i], e);
            if (!good || path_is_folder(path) != (folders == 1))
                continue;
            if (!folders)
                good = add_file(s, path, folder_bytes, e);
            else if (depth == INVERSION_MAX_DEPTH)
                good = err_set(e, ERR_LIMIT, "%s: folders more than %d deep, or a link to a folder above", path,
                               INVERSION_MAX_DEPTH);
            else
                good = add_folder(s, path, folder_bytes, depth + 1, e);
        }
    folder_names_free(names, count);
    return good;
}

bool inversions_add(struct inversions *s, const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES];
    return path_join(path, folder, "x", e) && add_folder(s, folder, strlen(path) - 1, 1, e);
}

size_t inversions_count(const struct inversions *s)
{
    return s->count;
}

const char *inversions_name(const struct inversions *s, size_t i)
{
    return s->files[i].name;
}

const char *inversions_path(const struct inversions *s, size_t i)
{
    return s->files[i].path;
}

/* Whether the path below its folder is `name` (with this ending), or ends so behind a '/'. */
static bool is_called(const struct entry *f, const char *name, const char *ending)
{
    const char *path = f->path + f->folder_bytes;
    size_t bytes = strlen(path), n = strlen(name), m = strlen(ending);
    if (bytes < n + m || memcmp(path + bytes - m, ending, m) || memcmp(path + bytes - m - n, name, n))
        return false;
    return bytes == n + m || path[bytes - m - n - 1] == '/';
}

bool inversions_find(const struct inversions *s, const char *name, size_t *i)
{
    if (!*name)
        return false;
    for (int ending = -1; ending < ENDINGS; ending++)
        for (size_t k = 0; k < s->count; k++)
            if (is_called(&s->files[k], name, ending < 0 ? "" : endings[ending])) {
                *i = k;
                return true;
            }
    return false;
}

const struct inversion *inversions_get(struct inversions *s, size_t i, int64_t width, const char *key, struct err *e)
{
    for (size_t k = 0; k < s->reading_count; k++) {
        const struct reading *r = &s->readings[k];
        if (r->file == i && r->vectors->width == width && (key && r->key ? !strcmp(r->key, key) : r->key == key))
            return r->vectors;
    }
    struct reading *grown = mem_grow(s->readings, &s->reading_cap, s->reading_count + 1, sizeof *grown);
    if (grown)
        s->readings = grown;
    struct inversion *v = grown ? mem_zeroed(1, sizeof *v) : NULL;
    if (!v) {
        err_nomem(e, s->files[i].path);
        return NULL;
    }
    if (!inversion_read(v, s->files[i].path, width, key, e)) {
        mem_free(v);
        return NULL;
    }
    grown[s->reading_count++] = (struct reading){ i, key, v };
    return v;
}
