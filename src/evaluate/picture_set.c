#include "evaluate/picture_set.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"
#include "dataset/dataset.h"
#include "image/image.h"
#include "image/picture_texts.h"

static bool add(struct picture_set *s, const char *path, const char *name, const char *caption, const char *style, int subject,
                struct err *e)
{
    if (s->count == PICTURE_SET_MOST)
        return err_set(e, ERR_LIMIT, "more than %d pictures", PICTURE_SET_MOST);
    struct picture_entry *grown = mem_grow(s->at, &s->cap, s->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "a list of pictures");
    s->at = grown;
    struct picture_entry *p = &grown[s->count++];
    *p = (struct picture_entry){ mem_string(path), mem_string(name), mem_string(caption), mem_string(style), subject };
    return (p->path && p->name && p->caption && p->style) || err_nomem(e, "a list of pictures");
}

/* The words of the "parameters" that drawing programs write into their files: all before the negative words or the settings. */
static char *drawn_from(const char *path)
{
    struct err ignored = { 0 };
    struct picture_texts told = { 0 };
    char *data, *text = NULL;
    size_t bytes;
    if (file_read(path, IMAGE_FILE_MAX_BYTES, &data, &bytes, &ignored)) {
        if (picture_texts_read(&told, data, bytes, &ignored)) {
            text = told.parameters;
            told.parameters = NULL;
            picture_texts_release(&told);
        }
        mem_free(data);
    }
    static const char *const ends[] = { "\nNegative prompt:", "\nSteps:" };
    for (size_t i = 0; text && i < sizeof ends / sizeof *ends; i++) {
        char *end = strstr(text, ends[i]);
        if (end)
            *end = 0;
    }
    return text;
}

static bool add_file(struct picture_set *s, const char *path, const char *name, struct err *e)
{
    char *words = drawn_from(path);
    bool good = add(s, path, name, words ? words : "", "", -1, e);
    mem_free(words);
    return good;
}

static bool add_folder(struct picture_set *s, const char *folder, const char *below, int depth, struct err *e)
{
    char **names;
    size_t count;
    if (depth > PICTURE_SET_DEPTH)
        return err_set(e, ERR_LIMIT, "%s: folders in folders more than %d deep", folder, PICTURE_SET_DEPTH);
    if (!folder_names(folder, NULL, &names, &count, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        char path[PATH_MAX_BYTES], name[PATH_MAX_BYTES];
        good = path_join(path, folder, names[i], e) && path_join(name, below, names[i], e);
        if (good && names[i][0] != '.' && path_is_folder(path))
            good = add_folder(s, path, name, depth + 1, e);
        else if (good && image_is_picture_name(names[i]))
            good = add_file(s, path, name, e);
    }
    folder_names_free(names, count);
    return good;
}

static bool add_list(struct picture_set *s, const char *folder, enum picture_which which, struct err *e)
{
    struct dataset *d = dataset_open(folder, e);
    if (!d)
        return false;
    bool good = true;
    s->listed = true;
    for (size_t i = 0; good && i < dataset_count(d); i++) {
        const struct dataset_picture *p = dataset_picture(d, i);
        char path[PATH_MAX_BYTES];
        if (which != PICTURES_ALL && p->held_out != (which == PICTURES_HELD_OUT))
            continue;
        good = path_join(path, folder, p->file_name, e) &&
               add(s, path, p->file_name, p->text, p->style, p->concept_index, e);
    }
    dataset_free(d);
    return good;
}

static bool has_list(const char *folder)
{
    static const char *const lists[] = { "metadata.jsonl", "metadata.csv" };
    struct err ignored = { 0 };
    char path[PATH_MAX_BYTES];
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (path_join(path, folder, lists[i], &ignored) && path_exists(path))
            return true;
    return false;
}

bool picture_set_open(struct picture_set *s, const char *path, enum picture_which which, struct err *e)
{
    static const char *const kinds[] = { "", "training ", "held-out " };
    *s = (struct picture_set){ 0 };
    bool good;
    if (!path_exists(path))
        return err_set(e, ERR_MISSING, "%s: no such file or folder", path);
    if (!path_is_folder(path))
        good = add_file(s, path, path_name(path), e);
    else if (has_list(path))
        good = add_list(s, path, which, e);
    else
        good = add_folder(s, path, "", 0, e);
    return good && (s->count || err_set(e, ERR_MISSING, "%s has no %spictures", path, kinds[s->listed ? which : 0]));
}

void picture_set_release(struct picture_set *s)
{
    for (size_t i = 0; i < s->count; i++) {
        mem_free(s->at[i].path);
        mem_free(s->at[i].name);
        mem_free(s->at[i].caption);
        mem_free(s->at[i].style);
    }
    mem_free(s->at);
    *s = (struct picture_set){ 0 };
}

bool picture_set_load(const struct picture_set *s, size_t i, struct image *out, struct err *e)
{
    return image_load(out, s->at[i].path, IMAGE_FLATTEN, 0xFFFFFF, e);
}

bool picture_square(const struct image *from, int side, struct image *out, struct err *e)
{
    int shorter = from->width < from->height ? from->width : from->height;
    struct image cut = { 0 };
    *out = (struct image){ 0 };
    bool good = image_crop(&cut, from, (from->width - shorter) / 2, (from->height - shorter) / 2, shorter, shorter, e) &&
                image_resize(out, &cut, side, side, shorter >= side ? IMAGE_AREA : IMAGE_LANCZOS, e);
    image_release(&cut);
    return good;
}

bool picture_set_square(const struct picture_set *s, size_t i, int side, struct image *out, struct err *e)
{
    struct image whole = { 0 };
    *out = (struct image){ 0 };
    bool good = picture_set_load(s, i, &whole, e) &&
                (picture_square(&whole, side, out, e) || err_add(e, "%s", s->at[i].path));
    image_release(&whole);
    return good;
}

/* The length of a name without its ending. */
static size_t stem(const char *name)
{
    const char *dot = strrchr(name, '.'), *slash = strrchr(name, '/');
    return dot && dot > (slash ? slash : name) ? (size_t)(dot - name) : strlen(name);
}

static bool same_stem(const char *a, const char *b)
{
    size_t n = stem(a);
    return stem(b) == n && !memcmp(a, b, n);
}

long picture_set_partner(const struct picture_set *a, size_t i, const struct picture_set *b)
{
    const char *name = a->at[i].name;
    long found = -1;
    int rank = 3;
    for (size_t k = 0; k < b->count && rank; k++) {
        const char *other = b->at[k].name;
        int now = !strcmp(name, other) ? 0 : same_stem(name, other) ? 1 : same_stem(path_name(name), path_name(other)) ? 2 : 3;
        if (now < rank) {
            rank = now;
            found = (long)k;
        }
    }
    return found;
}

size_t picture_set_thinned(const struct picture_set *s, int64_t most)
{
    return most > 0 && (size_t)most < s->count ? (size_t)most : s->count;
}

size_t picture_set_nth(const struct picture_set *s, int64_t most, size_t k)
{
    return (size_t)((__uint128_t)k * s->count / picture_set_thinned(s, most));
}
