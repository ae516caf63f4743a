#include "dataset/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataset/csv.h"
#include "dataset/dataset_internal.h"
#include "image/image.h"

enum { BATCH = 64 };
#define MOST_LIST_BYTES DATASET_MAX_BYTES

struct exporter {
    const struct manifest *m;
    const struct export_options *o;
    const char *concept;
    char **names; /* [manifest_count] below `to`; NULL: stays behind */
    struct text list;
};

static bool is_wanted(const struct exporter *x, const struct manifest_picture *p)
{
    bool held_out = *p->split == 'h';
    return !*p->excluded && (x->o->split == EXPORT_ALL || held_out == (x->o->split == EXPORT_HELD_OUT));
}

static bool has_texts(const struct exporter *x)
{
    return x->o->layout == EXPORT_KOHYA || x->o->layout == EXPORT_FOLDER;
}

/* ---- names ---- */

/* "10_cat/a_b.png": kohya's trainers look into no folder deeper than that. A part "N_.." of the name itself is left out. */
static bool kohya_name(const struct exporter *x, size_t i, char *out, struct err *e)
{
    const struct manifest_picture *p = manifest_picture(x->m, i);
    json_t *object = manifest_object(x->m, i, e);
    if (!object)
        return false;
    const char *concept = json_string_value(json_object_get(object, "concept")), *name = p->file_name;
    char own[80];
    if (!concept || !*concept)
        concept = x->concept;
    int length = snprintf(own, sizeof own, "%lld_%s/", (long long)p->repeats, concept);
    if (length < (int)sizeof own && !strncmp(name, own, (size_t)length))
        name += length;
    int n = snprintf(out, PATH_MAX_BYTES, "%lld_%s/%s", (long long)p->repeats, concept, name);
    if (n < PATH_MAX_BYTES) {
        size_t at = (size_t)snprintf(own, sizeof own, "%lld_", (long long)p->repeats);
        for (char *c = out + at, *end = out + at + strlen(concept); *c; c++)
            if (*c == '/' && c != end)
                *c = '_';
    }
    json_decref(object);
    return n < PATH_MAX_BYTES || err_set(e, ERR_LIMIT, "a path of more than %d bytes: %.60s...", PATH_MAX_BYTES, p->file_name);
}

/* Bytes of a name without its ending. */
static size_t stem_of(const char *name)
{
    const char *dot = strrchr(path_name(name), '.');
    return dot && dot != path_name(name) ? (size_t)(dot - name) : strlen(name);
}

static int by_stem(const void *a, const void *b)
{
    const char *x = **(char **const *)a, *y = **(char **const *)b;
    size_t x_bytes = stem_of(x), y_bytes = stem_of(y);
    int order = memcmp(x, y, x_bytes < y_bytes ? x_bytes : y_bytes);
    return order ? order : (x_bytes > y_bytes) - (x_bytes < y_bytes);
}

static bool rename_to_number(char **name, size_t number, struct err *e)
{
    struct text t;
    size_t stem = stem_of(*name);
    text_init(&t, PATH_MAX_BYTES - 1);
    text_addf(&t, "%.*s-%zu%s", (int)stem, *name, number, *name + stem);
    char *fresh = text_ok(&t, e) ? mem_string(text_string(&t)) : NULL;
    bool good = fresh || err_nomem(e, "the names of pictures");
    text_release(&t);
    if (fresh) {
        mem_free(*name);
        *name = fresh;
    }
    return good;
}

/* Names that differ in their ending only, or met when they became flat, would share a caption's file: the second gets a number. */
static bool part_names(struct exporter *x, struct err *e)
{
    size_t count = manifest_count(x->m), n = 0;
    char ***order = mem_zeroed(count ? count : 1, sizeof *order);
    if (!order)
        return err_nomem(e, "the names of pictures");
    for (size_t i = 0; i < count; i++)
        if (x->names[i])
            order[n++] = &x->names[i];
    bool good = true;
    for (bool again = n > 1; good && again;) { /* the new name may be another's: sort and look again */
        again = false;
        qsort(order, n, sizeof *order, by_stem);
        for (size_t k = 1, first = 0; good && k < n; k++) {
            if (by_stem(&order[k], &order[first])) {
                first = k;
                continue;
            }
            good = rename_to_number(order[k], k - first + 1, e);
            again = true;
        }
    }
    mem_free(order);
    return good;
}

static bool choose_names(struct exporter *x, long *count, struct err *e)
{
    char name[PATH_MAX_BYTES];
    *count = 0;
    for (size_t i = 0; i < manifest_count(x->m); i++) {
        const struct manifest_picture *p = manifest_picture(x->m, i);
        if (!is_wanted(x, p))
            continue;
        bool good = x->o->layout == EXPORT_KOHYA ? kohya_name(x, i, name, e)
                                                 : path_join(name, x->o->layout == EXPORT_DIFFSYNTH ? "train" : "", p->file_name, e);
        if (!good)
            return false;
        if (!(x->names[i] = mem_string(name)))
            return err_nomem(e, "the names of pictures");
        ++*count;
    }
    if (!*count)
        return err_set(e, ERR_MISSING, "%s: no pictures to export%s", manifest_folder(x->m),
                       x->o->split == EXPORT_HELD_OUT ? ": none is held out; limn dataset split chooses some" : "");
    return !has_texts(x) || part_names(x, e);
}

/* ---- files ---- */

static bool same_bytes(const char *data, size_t bytes, const char *path)
{
    struct stat s;
    struct file_map map;
    struct err ignored = { 0 };
    if (stat(path, &s) || (size_t)s.st_size != bytes || !file_map(&map, path, &ignored))
        return false;
    bool same = map.bytes == bytes && !memcmp(map.data, data, bytes);
    file_unmap(&map);
    return same;
}

static bool put_picture(const struct exporter *x, size_t i, struct err *e)
{
    char from[PATH_MAX_BYTES], to[PATH_MAX_BYTES], folder[PATH_MAX_BYTES];
    struct stat a, b;
    if (!manifest_path(x->m, i, from, e) || !path_join(to, x->o->to, x->names[i], e))
        return false;
    snprintf(folder, sizeof folder, "%.*s", (int)(path_name(to) - to), to);
    if (!folder_make(folder, e))
        return false;
    bool there = stat(to, &b) == 0;
    if (stat(from, &a) != 0)
        return err_errno(e, "%s", from);
    if (there && a.st_dev == b.st_dev && a.st_ino == b.st_ino) /* the same file: a link of an earlier run */
        return true;
    if (x->o->link && (!there || unlink(to) == 0) && link(from, to) == 0)
        return true;
    char *data;
    size_t bytes;
    if (!file_read(from, IMAGE_FILE_MAX_BYTES, &data, &bytes, e))
        return false;
    bool good = same_bytes(data, bytes, to) || file_write_whole(to, data, bytes, e);
    mem_free(data);
    return good;
}

/* The caption beside the picture. */
static bool put_text(const struct exporter *x, size_t i, struct err *e)
{
    char to[PATH_MAX_BYTES], name[PATH_MAX_BYTES];
    const char *text = manifest_picture(x->m, i)->text;
    if (snprintf(name, sizeof name, "%.*s.txt", (int)stem_of(x->names[i]), x->names[i]) >= (int)sizeof name)
        return err_set(e, ERR_LIMIT, "a path of more than %d bytes: %.60s...", PATH_MAX_BYTES, x->names[i]);
    return path_join(to, x->o->to, name, e) && (same_bytes(text, strlen(text), to) || file_write_whole(to, text, strlen(text), e));
}

static bool put_one(const struct exporter *x, size_t i, struct err *e)
{
    return put_picture(x, i, e) && (!has_texts(x) || put_text(x, i, e));
}

/* Pictures from, from + 1, ... by all threads; the error is that of the first one that fails. */
static bool put_batch(const struct exporter *x, size_t from, size_t count, struct err *e)
{
    size_t failed = SIZE_MAX;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = from; i < from + count; i++) {
        struct err mine = { 0 };
        if (x->names[i] && !put_one(x, i, &mine)) {
#pragma omp critical(dataset_export_batch)
            if (i < failed) {
                failed = i;
                *e = mine;
            }
        }
    }
    return failed == SIZE_MAX;
}

/* ---- the list ---- */

static bool add_line(struct exporter *x, size_t i, struct err *e)
{
    const struct manifest_picture *p = manifest_picture(x->m, i);
    if (x->o->layout != EXPORT_JSONL) {
        csv_add(&x->list, p->file_name);
        text_add(&x->list, ",");
        csv_add(&x->list, p->text);
        text_add(&x->list, "\n");
        return true;
    }
    json_t *line = json_pack("{s:s,s:s}", "file_name", p->file_name, "text", p->text);
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text)
        return err_nomem(e, "a list of pictures");
    text_add(&x->list, text);
    text_add(&x->list, "\n");
    free(text);
    return true;
}

static bool put_list(struct exporter *x, struct err *e)
{
    static const char *const names[] = { [EXPORT_DIFFSYNTH] = "train/metadata.csv", [EXPORT_CSV] = "metadata.csv",
                                         [EXPORT_JSONL] = "metadata.jsonl", [EXPORT_KOHYA] = NULL, [EXPORT_FOLDER] = NULL };
    char path[PATH_MAX_BYTES];
    if (!names[x->o->layout])
        return true;
    if (x->o->layout != EXPORT_JSONL)
        text_add(&x->list, "file_name,text\n");
    for (size_t i = 0; i < manifest_count(x->m); i++)
        if (x->names[i] && !add_line(x, i, e))
            return false;
    return text_ok(&x->list, e) && path_join(path, x->o->to, names[x->o->layout], e) &&
           file_write_whole(path, text_string(&x->list), x->list.length, e);
}

static bool is_own_folder(const struct manifest *m, const char *to)
{
    struct stat a, b;
    return stat(manifest_folder(m), &a) == 0 && stat(to, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool dataset_export(const struct manifest *m, const struct export_options *o, long *count, const struct progress *progress,
                    struct err *e)
{
    char concept[DATASET_MAX_WORD_BYTES + 1], real[PATH_MAX_BYTES];
    struct exporter x = { .m = m, .o = o, .concept = concept };
    size_t all = manifest_count(m);
    if (is_own_folder(m, o->to))
        return err_set(e, ERR_ARG, "%s is the data set itself: export to another folder", o->to);
    bool named = realpath(manifest_folder(m), real) != NULL;
    snprintf(concept, sizeof concept, "%.255s", o->concept ? o->concept : named && *path_name(real) ? path_name(real) : "pictures");
    for (char *c = concept; *c; c++)
        *c = *c == '/' ? '_' : *c;
    if (!folder_make(o->to, e))
        return false;
    if (!(x.names = mem_zeroed(all ? all : 1, sizeof *x.names)))
        return err_nomem(e, "the names of pictures");
    text_init(&x.list, MOST_LIST_BYTES);
    bool good = choose_names(&x, count, e);
    for (size_t i = 0; good && i < all; i += BATCH) {
        size_t n = all - i < BATCH ? all - i : BATCH;
        good = stop_check(e) && put_batch(&x, i, n, e);
        if (good)
            progress_step(progress, "exporting pictures", (long)(i + n), (long)all, NULL);
    }
    good = good && put_list(&x, e);
    for (size_t i = 0; i < all; i++)
        mem_free(x.names[i]);
    mem_free(x.names);
    text_release(&x.list);
    return good;
}
