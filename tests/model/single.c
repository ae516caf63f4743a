#include "single.h"

#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "test.h"

json_t *single_list(const char *model)
{
    static char text[1 << 20];
    char path[100];
    snprintf(path, sizeof path, "single/%s.json.gz", model);
    gzFile f = gzopen(test_data(path), "rb");
    assert_non_null(f);
    int n = gzread(f, text, sizeof text);
    gzclose(f);
    json_t *list = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
    CHECK(list, "%s", path);
    return list;
}

const char *single_hollow(const char *model, void (*change)(json_t *))
{
    char name[100];
    snprintf(name, sizeof name, "%s.safetensors", model);
    const char *path = test_scratch(name);
    json_t *list = single_list(model), *tensors = json_object_get(list, "tensors"), *header = json_object(), *row;
    if (change)
        change(tensors);
    size_t at = 0, i, k;
    json_array_foreach(tensors, i, row) {
        json_t *shape = json_array_get(row, 1), *dim;
        size_t bytes = 2;
        json_array_foreach(shape, k, dim)
            bytes *= (size_t)json_integer_value(dim);
        json_object_set_new(header, json_string_value(json_array_get(row, 0)),
                            json_pack("{s:s, s:O, s:[I, I]}", "dtype", "F16", "shape", shape, "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    uint64_t written = strlen(text), length = (written + 7) & ~(uint64_t)7; /* tensors at odd places would be copied */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(&length, 8, 1, f);
    fprintf(f, "%s%*s", text, (int)(length - written), "");
    fflush(f);
    assert_int_equal(ftruncate(fileno(f), (off_t)(8 + length + at)), 0);
    fclose(f);
    free(text);
    json_decref(header);
    json_decref(list);
    return path;
}

/* The folder's tensor under its present or its older names. */
static const struct weight *stored(const struct weights *w, const char *name)
{
    static const struct { const char *now, *before; } spellings[] = {
        { "", "" }, { "to_q", "query" }, { "to_k", "key" }, { "to_v", "value" }, { "to_out.0", "proj_attn" },
    };
    const struct weight *t = weights_find(w, strncmp(name, "text_model.", 11) || weights_find(w, name) ? name : name + 11);
    for (size_t i = 1; !t && i < sizeof spellings / sizeof *spellings; i++) {
        const char *at = strstr(name, spellings[i].now);
        char old[300];
        if (at) {
            snprintf(old, sizeof old, "%.*s%s%s", (int)(at - name), name, spellings[i].before,
                     at + strlen(spellings[i].now));
            t = weights_find(w, old);
        }
    }
    CHECK(t, "%s has no %s", weights_path(w), name);
    return t;
}

/* A matrix, its rows as columns. */
static void transpose(char *out, struct shape *shape, const struct weight *t)
{
    size_t rows = (size_t)t->shape.dim[0], columns = (size_t)t->shape.dim[1], one = weight_bytes(t) / (rows * columns);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            memcpy(out + (c * rows + r) * one, (const char *)t->data + (r * columns + c) * one, one);
    *shape = shape_of(2, (int64_t[]){ t->shape.dim[1], t->shape.dim[0] });
}

const char *single_of_folder(const char *model, const char *file)
{
    enum { MOST = 2000 };
    static struct weights_entry entries[MOST];
    static void *data[MOST];
    struct err e = { 0 };
    struct weights *parts[4] = { NULL };
    size_t count = 0, opened = 0, i;
    json_t *list = single_list(model), *rows, *row;
    const char *part;
    json_object_foreach(json_object_get(list, "parts"), part, rows) {
        char folder[200];
        snprintf(folder, sizeof folder, "models/%s/%s", model, part);
        struct weights *w = parts[opened++] = weights_open(test_data(folder), &e);
        REQUIRE(w);
        json_array_foreach(rows, i, row) {
            const struct weight *t = stored(w, json_string_value(json_array_get(row, 0)));
            const char *outer = json_string_value(json_array_get(row, 1)), *how = json_string_value(json_array_get(row, 2));
            size_t at = 0, bytes = weight_bytes(t);
            bool third = *how && *how != 't';
            while (at < count && strcmp(entries[at].name, outer))
                at++;
            if (at == count) {
                entries[count++] = (struct weights_entry){ outer, t->type, t->shape };
                data[at] = mem_zeroed(third ? 3 * bytes : bytes, 1);
                if (third)
                    entries[at].shape.dim[0] *= 3;
            }
            if (*how == 't')
                transpose(data[at], &entries[at].shape, t);
            else
                memcpy((char *)data[at] + (third ? (size_t)(*how - '0') * bytes : 0), t->data, bytes);
        }
    }
    const char *path = test_scratch(file);
    REQUIRE(weights_save(path, entries, (const void *const *)data, count, NULL, 0, &e));
    for (size_t k = 0; k < count; k++)
        mem_free(data[k]);
    for (size_t k = 0; k < opened; k++)
        weights_free(parts[k]);
    json_decref(list);
    return path;
}

void single_keep(json_t *tensors, const char *prefix)
{
    size_t n = strlen(prefix);
    for (size_t i = json_array_size(tensors); i-- > 0;) {
        json_t *row = json_array_get(tensors, i), *name = json_incref(json_array_get(row, 0));
        if (strncmp(json_string_value(name), prefix, n))
            json_array_remove(tensors, i);
        else
            json_array_set_new(row, 0, json_string(json_string_value(name) + n));
        json_decref(name);
    }
}
