#include "dataset/reshape.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include "dataset/dataset_internal.h"
#include "image/measure.h"

static const char *op_of(enum reshape_kind kind)
{
    return kind == RESHAPE_CROP ? "crop" : "resize";
}

bool reshape_size(const struct reshape_options *o, int width, int height, struct bucket *scaled, struct bucket *cut)
{
    if (o->kind == RESHAPE_CROP) {
        *cut = bucket_nearest(o->buckets, width, height);
        *scaled = bucket_cover(width, height, cut->width, cut->height);
    } else {
        double now = o->kind == RESHAPE_AREA      ? sqrt((double)width * height)
                     : o->kind == RESHAPE_SHORTER ? fmin(width, height)
                                                  : fmax(width, height);
        double w = floor(width * (o->side / now) + 0.5), h = floor(height * (o->side / now) + 0.5);
        *scaled = (struct bucket){ w > 1 ? (int)w : 1, h > 1 ? (int)h : 1 };
        *cut = (struct bucket){ scaled->width / o->multiple * o->multiple, scaled->height / o->multiple * o->multiple };
    }
    bool larger = scaled->width > width || scaled->height > height;
    return (o->enlarge || !larger) && cut->width > 0 && cut->height > 0 && scaled->width <= IMAGE_MAX_SIDE &&
           scaled->height <= IMAGE_MAX_SIDE;
}

/* What decides how a picture is made: a picture that was made by other settings is made anew from what it is now. */
static void settings_of(const struct reshape_options *o, char out[256])
{
    static const char *const kinds[] = { "crop", "shorter", "longer", "area" };
    uint64_t print = 0xCBF29CE484222325;
    for (int i = 0; o->kind == RESHAPE_CROP && i < o->buckets->count; i++)
        print = ((print ^ (uint64_t)o->buckets->at[i].width) * 0x100000001B3 ^ (uint64_t)o->buckets->at[i].height) * 0x100000001B3;
    if (o->kind == RESHAPE_CROP && o->buckets->count == 1)
        snprintf(out, 256, "%dx%d %s", o->buckets->at[0].width, o->buckets->at[0].height, image_part_names[o->part]);
    else if (o->kind == RESHAPE_CROP)
        snprintf(out, 256, "%d buckets %016llx %s", o->buckets->count, (unsigned long long)print, image_part_names[o->part]);
    else
        snprintf(out, 256, "%s %d multiple %d", kinds[o->kind], o->side, o->multiple);
    size_t n = strlen(out);
    snprintf(out + n, 256 - n, "%s%s %s", o->trim ? " trimmed" : "", o->enlarge ? " enlarged" : "", image_format_ending(o->format) + 1);
    n = strlen(out);
    if (o->format != IMAGE_PNG)
        snprintf(out + n, 256 - n, " %d", o->quality);
}

/* --- What is planned --- */

struct item {
    size_t picture;
    bool made;    /* by an earlier run with these settings */
    bool there;   /* and the file is there */
    char *source; /* the file that it is made of; owned */
    bool twin;    /* another picture's source differs in its ending only: the ending must stay in the new name */
};

struct work {
    struct manifest *m;
    const struct reshape_options *o;
    struct reshape_result *r;
    char settings[256];
    struct item *items;
    size_t count;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

/* The newest crop or resize in a picture's history that was not taken back, borrowed from *object, which must be released; NULL if
 * there is none. */
static const json_t *last_reshape(const struct manifest *m, size_t i, json_t **object, struct err *e)
{
    *object = manifest_object(m, i, e);
    const json_t *history = *object ? json_object_get(*object, "history") : NULL;
    int undone = 0;
    for (size_t k = json_array_size(history); k > 0; k--) {
        const json_t *entry = json_array_get(history, k - 1);
        const char *op = text_of(entry, "op");
        if (!strcmp(op, "crop undone") || !strcmp(op, "resize undone"))
            undone++;
        else if ((!strcmp(op, "crop") || !strcmp(op, "resize")) && undone-- == 0)
            return entry;
    }
    return NULL;
}

static size_t stem_length(const char *file_name)
{
    const char *dot = strrchr(file_name, '.'), *slash = strrchr(file_name, '/');
    return dot && dot != file_name && (!slash || dot > slash + 1) ? (size_t)(dot - file_name) : strlen(file_name);
}

static bool plan_item(struct work *w, struct item *item, struct err *e)
{
    json_t *object;
    const json_t *last = last_reshape(w->m, item->picture, &object, e);
    if (!object)
        return false;
    const char *name = manifest_picture(w->m, item->picture)->file_name;
    char path[PATH_MAX_BYTES];
    item->made = !strcmp(text_of(last, "op"), op_of(w->o->kind)) && !strcmp(text_of(last, "settings"), w->settings) &&
                 dataset_name_inside(text_of(last, "from"));
    bool good = !item->made || manifest_path(w->m, item->picture, path, e);
    item->there = good && item->made && path_exists(path);
    if (good && !(item->source = mem_string(item->made ? text_of(last, "from") : name)))
        good = err_nomem(e, "the name of a picture");
    json_decref(object);
    return good;
}

static int by_stem(const void *a, const void *b, void *items)
{
    const char *x = ((const struct item *)items)[*(const size_t *)a].source, *y = ((const struct item *)items)[*(const size_t *)b].source;
    size_t n = stem_length(x), k = stem_length(y);
    int order = memcmp(x, y, n < k ? n : k);
    return order ? order : (n > k) - (n < k);
}

static bool find_twins(struct work *w, struct err *e)
{
    size_t *order = mem_zeroed(w->count, sizeof *order);
    if (!order)
        return err_nomem(e, "the names of pictures");
    for (size_t k = 0; k < w->count; k++)
        order[k] = k;
    qsort_r(order, w->count, sizeof *order, by_stem, w->items);
    for (size_t k = 1; k < w->count; k++)
        if (!by_stem(&order[k - 1], &order[k], w->items))
            w->items[order[k - 1]].twin = w->items[order[k]].twin = true;
    mem_free(order);
    return true;
}

static bool plan(struct work *w, struct err *e)
{
    size_t count = manifest_count(w->m);
    if (!(w->items = mem_zeroed(count, sizeof *w->items)))
        return err_nomem(e, "a plan");
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        if (*manifest_picture(w->m, i)->excluded)
            continue;
        w->items[w->count].picture = i;
        good = plan_item(w, &w->items[w->count++], e);
    }
    return good && find_twins(w, e);
}

static void plan_release(struct work *w)
{
    for (size_t k = 0; w->items && k < w->count; k++)
        mem_free(w->items[k].source);
    mem_free(w->items);
}

/* --- One picture --- */

struct made {
    struct bucket was, scaled, cut;
    int x, y, trim_x, trim_y; /* trimmed: .width 0 if there was no frame */
    struct bucket trimmed;
    char from_id[DIGEST_TEXT_BYTES], id[DIGEST_TEXT_BYTES], name[PATH_MAX_BYTES];
    size_t bytes;
    enum { MADE, LEFT_SMALL, LEFT_SAME } outcome;
};

/* The name of the new file, inside the data set's folder: into/stem.ending. */
static bool new_name(const struct work *w, const struct item *item, char *out, struct err *e)
{
    size_t kept = item->twin ? strlen(item->source) : stem_length(item->source);
    if (item->made)
        snprintf(out, PATH_MAX_BYTES, "%s", manifest_picture(w->m, item->picture)->file_name);
    else if (snprintf(out, PATH_MAX_BYTES, "%s/%.*s%s", w->o->into, (int)kept, item->source, image_format_ending(w->o->format)) >=
             PATH_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "%s: a path of more than %d bytes", item->source, PATH_MAX_BYTES);
    return true;
}

/* Whether a file is there already, and whether it is this picture: from a run whose manifest was not saved any more. */
static bool look_there(const char *path, const struct made *made, bool *there, bool *same, struct err *e)
{
    char id[DIGEST_TEXT_BYTES];
    *there = path_exists(path);
    *same = false;
    if (*there && !digest_file(path, 0, id, NULL, NULL, e))
        return false;
    *same = *there && !strcmp(id, made->id);
    return true;
}

/* No file is written over: where the name is taken by another picture (an original, or what was made and taken back), the new one
 * carries the beginning of its id, too. */
static bool free_name(const struct work *w, struct made *made, char *path, bool *same, struct err *e)
{
    bool there;
    if (!path_join(path, manifest_folder(w->m), made->name, e) || !look_there(path, made, &there, same, e))
        return false;
    if (!there || *same)
        return true;
    char name[PATH_MAX_BYTES];
    size_t stem = stem_length(made->name);
    int n = snprintf(name, sizeof name, "%.*s-%.8s%s", (int)stem, made->name, made->id, made->name + stem);
    if (n >= (int)sizeof name)
        return err_set(e, ERR_LIMIT, "%s: a path of more than %d bytes", made->name, PATH_MAX_BYTES);
    strcpy(made->name, name);
    return path_join(path, manifest_folder(w->m), made->name, e) && look_there(path, made, &there, same, e) &&
           (!there || *same || err_set(e, ERR_IO, "%s is there and is another picture: choose another folder", made->name));
}

static bool write_picture(const struct work *w, const struct image *image, struct made *made, struct err *e)
{
    char path[PATH_MAX_BYTES], folder[PATH_MAX_BYTES];
    uint8_t *data;
    bool same = false;
    if (!image_encode(image, w->o->format, w->o->quality, &data, &made->bytes, e))
        return false;
    bool good = (digest_bytes(data, made->bytes, made->id) || err_nomem(e, "the hash of a file")) &&
                free_name(w, made, path, &same, e);
    if (good && !same) {
        snprintf(folder, sizeof folder, "%s", path);
        *strrchr(folder, '/') = 0;
        good = folder_make(folder, e) && file_write_whole(path, data, made->bytes, e);
    }
    mem_free(data);
    return good;
}

/* Cuts a frame away: *out, or nothing if there is none or it would leave nothing. */
static bool trim(const struct image *whole, struct image *out, struct made *made, struct err *e)
{
    enum { SOFT_PX = 2 };
    struct image_measures m;
    int px[IMAGE_SIDES];
    if (!image_measure(&m, whole, e))
        return false;
    if (!image_frame(&m, 0.9, px))
        return true;
    for (int side = 0; side < IMAGE_SIDES; side++)
        px[side] += px[side] ? SOFT_PX : 0;
    int width = whole->width - px[IMAGE_LEFT] - px[IMAGE_RIGHT], height = whole->height - px[IMAGE_TOP] - px[IMAGE_BOTTOM];
    if (width < 1 || height < 1)
        return true;
    made->trimmed = (struct bucket){ width, height };
    made->trim_x = px[IMAGE_LEFT];
    made->trim_y = px[IMAGE_TOP];
    return image_crop(out, whole, px[IMAGE_LEFT], px[IMAGE_TOP], width, height, e);
}

/* The picture, or its part inside of a frame, as large as it is cut from: *from is whole, *part or *scaled. */
static bool shape_find(const struct reshape_options *o, const struct image *whole, struct image *part, struct image *scaled,
                       const struct image **from, struct made *made, struct err *e)
{
    made->was = (struct bucket){ whole->width, whole->height };
    if (o->trim && !trim(whole, part, made, e))
        return false;
    *from = part->pixels ? part : whole;
    int width = (*from)->width, height = (*from)->height;
    if (!reshape_size(o, width, height, &made->scaled, &made->cut)) {
        made->outcome = LEFT_SMALL;
        return true;
    }
    bool same = made->scaled.width == width && made->scaled.height == height;
    if (same && !made->trimmed.width && made->cut.width == width && made->cut.height == height) {
        made->outcome = LEFT_SAME;
        return true;
    }
    if (!same && !image_resize(scaled, *from, made->scaled.width, made->scaled.height, IMAGE_LANCZOS, e))
        return false;
    *from = same ? *from : scaled;
    return image_find_cut(*from, made->cut.width, made->cut.height, o->kind == RESHAPE_CROP ? o->part : IMAGE_START, &made->x, &made->y, e);
}

static bool shape(const struct work *w, const struct image *whole, struct made *made, struct err *e)
{
    struct image part = { 0 }, scaled = { 0 }, cut = { 0 };
    const struct image *from;
    bool good = shape_find(w->o, whole, &part, &scaled, &from, made, e);
    if (good && made->outcome == MADE)
        good = image_crop(&cut, from, made->x, made->y, made->cut.width, made->cut.height, e) && write_picture(w, &cut, made, e);
    image_release(&part);
    image_release(&scaled);
    image_release(&cut);
    return good;
}

bool reshape_look(const struct reshape_options *o, const struct image *image, struct reshape_part *part, struct err *e)
{
    struct image inside = { 0 }, scaled = { 0 };
    const struct image *from;
    struct made m = { 0 };
    bool good = shape_find(o, image, &inside, &scaled, &from, &m, e);
    int width = inside.pixels ? inside.width : image->width, height = inside.pixels ? inside.height : image->height;
    *part = (struct reshape_part){ .outcome = m.outcome == LEFT_SMALL ? RESHAPE_TOO_SMALL : RESHAPE_AS_IT_IS };
    if (good && m.outcome == MADE) {
        double across = (double)width / m.scaled.width, down = (double)height / m.scaled.height;
        *part = (struct reshape_part){ .outcome = RESHAPE_IS_CUT, .x = m.trim_x + (int)(m.x * across), .y = m.trim_y + (int)(m.y * down),
                                       .width = (int)(m.cut.width * across + 0.5), .height = (int)(m.cut.height * down + 0.5), .becomes = m.cut };
    }
    image_release(&inside);
    image_release(&scaled);
    return good;
}

static bool make(const struct work *w, const struct item *item, struct made *made, struct err *e)
{
    char path[PATH_MAX_BYTES], *data = NULL;
    size_t bytes;
    struct image whole;
    *made = (struct made){ 0 };
    bool good = new_name(w, item, made->name, e) && path_join(path, manifest_folder(w->m), item->source, e) &&
                file_read(path, IMAGE_FILE_MAX_BYTES, &data, &bytes, e) &&
                (digest_bytes(data, bytes, made->from_id) || err_nomem(e, "the hash of a file")) &&
                image_decode(&whole, data, bytes, item->source, w->o->format == IMAGE_JPEG ? IMAGE_FLATTEN : IMAGE_KEEP_ALPHA, 0xFFFFFF, e);
    mem_free(data);
    if (!good)
        return false;
    good = shape(w, &whole, made, e);
    image_release(&whole);
    return good;
}

/* --- All of them --- */

static bool count_size(struct reshape_result *r, int width, int height, struct err *e)
{
    char key[32];
    snprintf(key, sizeof key, "%dx%d", width, height);
    json_int_t before = json_integer_value(json_object_get(r->sizes, key));
    return !json_object_set_new(r->sizes, key, json_integer(before + 1)) || err_nomem(e, "the sizes of pictures");
}

/* A picture that cannot be made is passed over; what stops everything is false. */
static bool passed_over(struct work *w, size_t picture, const struct err *why, struct err *e)
{
    if (why->code == ERR_STOPPED || why->code == ERR_NOMEM || why->code == ERR_BACKEND) {
        *e = *why;
        return false;
    }
    w->r->failed++;
    if (json_array_size(w->r->reasons) >= RESHAPE_MOST_REASONS)
        return true;
    return !json_array_append_new(w->r->reasons, json_pack("{s:s,s:s}", "file", manifest_picture(w->m, picture)->file_name, "reason",
                                                           why->text)) ||
           err_nomem(e, "the reasons");
}

/* Writes what was made into the manifest. */
static bool enter(struct work *w, const struct item *item, const struct made *made, struct err *e)
{
    const struct manifest_picture *p = manifest_picture(w->m, item->picture);
    if (made->outcome != MADE) {
        *(made->outcome == LEFT_SMALL ? &w->r->small : &w->r->same) += 1;
        return true;
    }
    struct err own = { 0 };
    if (item->made) { /* the file was lost: it is the same again */
        w->r->made++;
        return count_size(w->r, made->cut.width, made->cut.height, e) &&
               (!strcmp(p->id, made->id) || manifest_change(w->m, item->picture, json_pack("{s:s}", "id", made->id), NULL, NULL, e));
    }
    json_t *details = json_pack("{s:s,s:s,s:s,s:[ii],s:[ii],s:[iiii]}", "settings", w->settings, "from", p->file_name, "from_id",
                                made->from_id, "from_size", made->was.width, made->was.height, "scaled", made->scaled.width,
                                made->scaled.height, "cut", made->x, made->y, made->cut.width, made->cut.height);
    if (!details || (made->trimmed.width && json_object_set_new(details, "trimmed",
                                                                json_pack("[iiii]", made->trim_x, made->trim_y, made->trimmed.width,
                                                                          made->trimmed.height)))) {
        json_decref(details);
        return err_nomem(e, "a history");
    }
    if (!*p->id && !manifest_change(w->m, item->picture, json_pack("{s:s}", "id", made->from_id), NULL, NULL, e)) {
        json_decref(details);
        return false;
    }
    json_t *fields = json_pack("{s:s,s:s,s:i,s:i,s:I}", "file_name", made->name, "id", made->id, "width", made->cut.width, "height",
                               made->cut.height, "bytes", (json_int_t)made->bytes);
    if (!manifest_change(w->m, item->picture, fields, op_of(w->o->kind), details, &own))
        return passed_over(w, item->picture, &own, e);
    w->r->made++;
    return count_size(w->r, made->cut.width, made->cut.height, e) && manifest_checkpoint(w->m, e);
}

static bool work_through(struct work *w, const struct progress *progress, struct err *e)
{
    bool ended = false;
    size_t done = 0;
    int threads = w->o->threads > 0 ? w->o->threads : omp_get_max_threads();
    /* A thread reads the manifest's words of its own picture only; they are changed by one thread at a time. */
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t k = 0; k < w->count; k++) {
        struct item *item = &w->items[k];
        bool end;
#pragma omp atomic read
        end = ended;
        if (end)
            continue;
        struct err own = { 0 };
        struct made made = { 0 };
        bool good = stop_check(&own) && (item->there || make(w, item, &made, &own));
#pragma omp critical(reshape)
        {
            if (!good) {
                good = passed_over(w, item->picture, &own, e);
            } else if (item->there) {
                const struct manifest_picture *p = manifest_picture(w->m, item->picture);
                w->r->there++;
                good = count_size(w->r, (int)p->width, (int)p->height, e);
            } else {
                good = enter(w, item, &made, e);
            }
            if (!good) {
#pragma omp atomic write
                ended = true;
            }
            progress_step(progress, w->o->kind == RESHAPE_CROP ? "cropping" : "resizing", (long)++done, (long)w->count, NULL);
        }
    }
    return !ended;
}

bool dataset_reshape(struct manifest *m, const struct reshape_options *o, struct reshape_result *r,
                     const struct progress *progress, struct err *e)
{
    struct work w = { .m = m, .o = o, .r = r };
    *r = (struct reshape_result){ .sizes = json_object(), .reasons = json_array() };
    if (!r->sizes || !r->reasons)
        return err_nomem(e, "a result");
    if (!dataset_name_inside(o->into))
        return err_set(e, ERR_ARG, "%s: want a folder inside the data set's", o->into);
    settings_of(o, w.settings);
    bool good = plan(&w, e) && image_init(e) && work_through(&w, progress, e);
    plan_release(&w);
    struct err saving = { 0 };
    if (!manifest_save(m, &saving)) { /* what was done stays done, also after a stop */
        err_set(e, saving.code, "%s", saving.text);
        good = false;
    }
    return good;
}

void reshape_release(struct reshape_result *r)
{
    json_decref(r->sizes);
    json_decref(r->reasons);
    *r = (struct reshape_result){ 0 };
}

bool dataset_reshape_undo(struct manifest *m, const char *op, size_t *count, struct err *e)
{
    *count = 0;
    for (size_t i = 0; i < manifest_count(m); i++) {
        json_t *object;
        const json_t *last = last_reshape(m, i, &object, e);
        if (!object)
            return false;
        const json_t *size = json_object_get(last, "from_size");
        const char *from = text_of(last, "from"), *id = text_of(last, "from_id");
        json_t *fields = NULL;
        bool ours = !strcmp(text_of(last, "op"), op) && *from && *id;
        if (ours)
            fields = json_pack("{s:s,s:s,s:I,s:I,s:n}", "file_name", from, "id", id, "width",
                               json_integer_value(json_array_get(size, 0)), "height",
                               json_integer_value(json_array_get(size, 1)), "bytes");
        char undone[64];
        snprintf(undone, sizeof undone, "%s undone", op);
        bool good = !ours || manifest_change(m, i, fields, undone, NULL, e);
        json_decref(object);
        if (!good)
            return false;
        *count += ours;
    }
    return true;
}
