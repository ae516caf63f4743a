#include "dataset/survey.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"

/* --- One picture --- */

static bool has_alpha(const struct image *image)
{
    if (image->channels != 4)
        return false;
    for (size_t i = 3; i < image_bytes(image); i += 4)
        if (image->pixels[i] < 255)
            return true;
    return false;
}

/* The picture over white, as libvips lays it. */
static bool flatten(struct image *out, const struct image *from, struct err *e)
{
    if (!image_make(out, from->width, from->height, 3, e))
        return false;
    const uint8_t *p = from->pixels;
    uint8_t *q = out->pixels;
    for (size_t i = 0; i < (size_t)from->width * (size_t)from->height; i++, p += 4, q += 3)
        for (int k = 0; k < 3; k++)
            q[k] = (uint8_t)((p[k] * p[3] + 255 * (255 - p[3])) / 255);
    return true;
}

static bool measure(struct survey_picture *p, const struct image *whole, struct err *e)
{
    struct image small = { 0 }, cells = { 0 };
    int least = whole->width < whole->height ? whole->width : whole->height;
    bool shrink = least > SURVEY_SIDE_PX;
    int width = shrink ? (int)lround((double)whole->width * SURVEY_SIDE_PX / least) : whole->width;
    int height = shrink ? (int)lround((double)whole->height * SURVEY_SIDE_PX / least) : whole->height;
    bool good = (!shrink || image_resize(&small, whole, width, height, IMAGE_AREA, e)) &&
                image_measure(&p->measures, shrink ? &small : whole, e) && phash_of(&p->phash, whole, e) &&
                image_resize(&cells, shrink ? &small : whole, SURVEY_CELLS, SURVEY_CELLS, IMAGE_AREA, e);
    if (good)
        memcpy(p->colours, cells.pixels, sizeof p->colours);
    for (int side = 0; good && side < IMAGE_SIDES; side++)
        p->border[side] = (float)p->measures.border_px[side] / (float)(side == IMAGE_LEFT || side == IMAGE_RIGHT ? width : height);
    image_release(&small);
    image_release(&cells);
    return good;
}

/* name: the file, in what is wrong with it. False is a failure of ours; what is wrong with the picture is in p->state. */
static bool look(struct survey_picture *p, const char *path, const char *name, struct err *e)
{
    struct err cause = { 0 };
    struct image image = { 0 }, flat = { 0 };
    char *data = NULL;
    size_t bytes = 0;
    *p = (struct survey_picture){ .state = SURVEY_SEEN };
    if (!file_read(path, IMAGE_FILE_MAX_BYTES, &data, &bytes, &cause)) {
        p->state = cause.code == ERR_LIMIT ? SURVEY_BROKEN : SURVEY_MISSING;
    } else if (!digest_bytes(data, bytes, p->id)) {
        err_nomem(&cause, "the hash of a file");
    } else if (!image_decode(&image, data, bytes, name, IMAGE_KEEP_ALPHA, 0, &cause)) {
        p->state = SURVEY_BROKEN;
    } else {
        p->width = image.width;
        p->height = image.height;
        p->alpha = has_alpha(&image);
    }
    mem_free(data);
    p->bytes = (int64_t)bytes;
    bool good = cause.code != ERR_NOMEM && cause.code != ERR_BACKEND;
    if (!good)
        *e = cause;
    else if (cause.code && !(p->why = mem_string(cause.text)))
        good = err_nomem(e, "a survey");
    else if (!cause.code && image.channels == 4)
        good = flatten(&flat, &image, e);
    if (good && !cause.code)
        good = measure(p, flat.pixels ? &flat : &image, e);
    image_release(&image);
    image_release(&flat);
    return good || err_add(e, "looking at %s", path);
}

double survey_colour_distance(const struct survey_picture *a, const struct survey_picture *b)
{
    const uint8_t *x = a->colours[0][0], *y = b->colours[0][0];
    int sum = 0;
    for (size_t i = 0; i < sizeof a->colours; i++)
        sum += abs(x[i] - y[i]);
    return (double)sum / sizeof a->colours;
}

/* --- What is kept of it --- */

/* Numbers of a line, by name: one list for writing and reading. */
static const struct figure {
    const char *key;
    size_t place;
    double max;
} figures[] = {
#define FIGURE(name, max) { #name, offsetof(struct survey_picture, measures.name), max }
    FIGURE(sharpness, 1e7),
    FIGURE(blur, 1),
    FIGURE(entropy, 8),
    FIGURE(deviation, 128),
    FIGURE(colourfulness, 1000),
#undef FIGURE
};
enum { FIGURES = sizeof figures / sizeof *figures };

static void hex(char *out, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static bool unhex(uint8_t *out, size_t count, const char *text)
{
    if (strlen(text) != 2 * count || strspn(text, "0123456789abcdef") != 2 * count)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char two[3] = { text[2 * i], text[2 * i + 1], 0 };
        out[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return true;
}

char *survey_line(const struct survey_picture *p, const char *file_name, int64_t time_ns)
{
    json_t *j = json_pack("{s:s,s:I,s:I,s:s}", "file_name", file_name, "time", (json_int_t)time_ns, "bytes", (json_int_t)p->bytes,
                          "id", p->id);
    bool good = j != NULL;
    if (good && p->state == SURVEY_BROKEN) {
        good = !json_object_set_new(j, "broken", json_string(p->why));
    } else if (good) {
        char phash[PHASH_TEXT_BYTES], colours[2 * sizeof p->colours + 1];
        const struct image_measures *m = &p->measures;
        phash_text(p->phash, phash);
        hex(colours, p->colours[0][0], sizeof p->colours);
        json_t *more = json_pack("{s:i,s:i,s:b,s:[fff],s:[iiii],s:[ffff],s:[ffff],s:s,s:s}", "width", p->width, "height", p->height,
                                 "alpha", (int)p->alpha, "mean", m->mean[0], m->mean[1], m->mean[2], "border_px",
                                 m->border_px[0], m->border_px[1], m->border_px[2], m->border_px[3], "border",
                                 (double)p->border[0], (double)p->border[1], (double)p->border[2], (double)p->border[3],
                                 "border_edge", m->border_edge[0], m->border_edge[1], m->border_edge[2], m->border_edge[3],
                                 "phash", phash, "colours", colours);
        for (int i = 0; more && i < FIGURES; i++)
            good = good && !json_object_set_new(more, figures[i].key, json_real(*(const double *)((const char *)p + figures[i].place)));
        good = good && more && !json_object_update(j, more);
        json_decref(more);
    }
    char *text = good ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    return text;
}

static bool numbers(double *out, const json_t *j, const char *key, size_t count, double max)
{
    const json_t *list = json_object_get(j, key);
    bool good = json_is_array(list) && json_array_size(list) == count;
    for (size_t i = 0; good && i < count; i++) {
        const json_t *v = json_array_get(list, i);
        good = json_is_number(v) && (out[i] = json_number_value(v)) >= 0 && out[i] <= max;
    }
    return good;
}

static bool read_seen(struct survey_picture *p, const json_t *j)
{
    struct err e = { 0 };
    struct image_measures *m = &p->measures;
    int64_t width = 0, height = 0;
    const char *phash = "", *colours = "";
    double border[IMAGE_SIDES], border_px[IMAGE_SIDES];
    bool good = json_get_int(j, "", "width", 1, IMAGE_MAX_SIDE, &width, &e) &&
                json_get_int(j, "", "height", 1, IMAGE_MAX_SIDE, &height, &e) && width && height &&
                json_get_bool(j, "", "alpha", &p->alpha, &e) && json_get_string(j, "", "phash", &phash, &e) &&
                phash_read(&p->phash, phash) && json_get_string(j, "", "colours", &colours, &e) &&
                unhex(p->colours[0][0], sizeof p->colours, colours) && numbers(m->mean, j, "mean", 3, 255) &&
                numbers(border_px, j, "border_px", IMAGE_SIDES, IMAGE_MAX_SIDE) && numbers(border, j, "border", IMAGE_SIDES, 1) &&
                numbers(m->border_edge, j, "border_edge", IMAGE_SIDES, 1);
    for (int i = 0; good && i < FIGURES; i++) {
        double v = -1;
        good = json_get_double(j, "", figures[i].key, 0, figures[i].max, &v, &e) && v >= 0;
        *(double *)((char *)p + figures[i].place) = v;
    }
    for (int i = 0; good && i < IMAGE_SIDES; i++) {
        p->border[i] = (float)border[i];
        m->border_px[i] = (int)border_px[i];
    }
    p->width = (int)width;
    p->height = (int)height;
    return good;
}

bool survey_line_read(struct survey_picture *p, const char *line, size_t bytes, char **file_name, int64_t *time_ns)
{
    struct err e = { 0 };
    const char *name = "", *id = "", *broken = "";
    *p = (struct survey_picture){ 0 };
    *file_name = NULL;
    *time_ns = INT64_MIN;
    json_t *j = json_parse(line, bytes, "", &e);
    bool good = json_is_object(j) && json_get_string(j, "", "file_name", &name, &e) && *name &&
                json_get_string(j, "", "id", &id, &e) && strlen(id) < DIGEST_TEXT_BYTES &&
                json_get_string(j, "", "broken", &broken, &e) &&
                json_get_int(j, "", "time", INT64_MIN + 1, INT64_MAX, time_ns, &e) && *time_ns != INT64_MIN &&
                json_get_int(j, "", "bytes", 0, INT64_MAX, &p->bytes, &e) && (*broken || read_seen(p, j));
    if (good) {
        strcpy(p->id, id);
        p->state = *broken ? SURVEY_BROKEN : SURVEY_SEEN;
        p->why = *broken ? mem_string(broken) : NULL;
        *file_name = mem_string(name);
        good = *file_name && (p->why || !*broken);
    }
    json_decref(j);
    if (!good) {
        mem_free(p->why);
        mem_free(*file_name);
        *file_name = NULL;
        p->why = NULL;
    }
    return good;
}

/* --- All of them --- */

struct work {
    struct survey *survey;
    const struct manifest *manifest;
    char file[PATH_MAX_BYTES]; /* survey.jsonl, or "" */
    int64_t *times;            /* [count]: the file's time; INT64_MIN: it is not there */
    int64_t *sizes;            /* [count] */
    size_t lines;              /* in the file */
};

/* Takes over what the file says of pictures whose size and time are still the same; of several lines the last. */
static bool recall(struct work *w, struct err *e)
{
    char *data;
    size_t bytes;
    if (!w->file[0] || !path_exists(w->file))
        return true;
    if (!file_read(w->file, DATASET_MAX_BYTES, &data, &bytes, e))
        return false;
    for (const char *at = data, *end = data + bytes; at < end; w->lines++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        struct survey_picture p;
        char *name;
        int64_t time_ns;
        if (survey_line_read(&p, at, length, &name, &time_ns)) {
            long i = manifest_find_file(w->manifest, name);
            if (i >= 0 && w->times[i] == time_ns && w->sizes[i] == p.bytes) {
                mem_free(w->survey->pictures[i].why);
                w->survey->pictures[i] = p;
                p.why = NULL;
            }
            mem_free(p.why);
            mem_free(name);
        }
        at += length + 1;
    }
    mem_free(data);
    return true;
}

static bool remember(const struct work *w, size_t i, struct err *e)
{
    if (!w->file[0] || w->survey->pictures[i].state == SURVEY_MISSING)
        return true;
    char *line = survey_line(&w->survey->pictures[i], manifest_picture(w->manifest, i)->file_name, w->times[i]);
    bool good = line ? file_append_line(w->file, line, e) : err_nomem(e, "a line of a survey");
    free(line);
    return good;
}

/* Written anew once most of its lines speak of files that have changed or are gone. */
static bool tidy(const struct work *w, size_t looked, struct err *e)
{
    size_t known = 0;
    for (size_t i = 0; i < w->survey->count; i++)
        known += w->survey->pictures[i].state == SURVEY_SEEN || w->survey->pictures[i].state == SURVEY_BROKEN;
    if (!w->file[0] || w->lines + looked <= 2 * known + 100)
        return true;
    struct file_write out;
    if (!file_begin(&out, w->file, e))
        return false;
    bool good = true;
    for (size_t i = 0; good && i < w->survey->count; i++) {
        const struct survey_picture *p = &w->survey->pictures[i];
        if (p->state != SURVEY_SEEN && p->state != SURVEY_BROKEN)
            continue;
        char *line = survey_line(p, manifest_picture(w->manifest, i)->file_name, w->times[i]);
        good = (line || err_nomem(e, "a line of a survey")) && file_put(&out, line, strlen(line), e) && file_put(&out, "\n", 1, e);
        free(line);
    }
    if (!good)
        file_abandon(&out);
    return good && file_commit(&out, e);
}

static bool find_files(struct work *w, struct err *e)
{
    for (size_t i = 0; i < w->survey->count; i++) {
        char path[PATH_MAX_BYTES];
        struct stat s;
        if (!manifest_path(w->manifest, i, path, e))
            return false;
        bool there = stat(path, &s) == 0;
        w->times[i] = there ? (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec : INT64_MIN;
        w->sizes[i] = there ? (int64_t)s.st_size : -1;
    }
    return true;
}

/* The numbers of the pictures that must be looked at; NULL without memory. */
static size_t *left_over(const struct work *w, bool excluded, size_t *count)
{
    size_t *list = mem_zeroed(w->survey->count, sizeof *list);
    *count = 0;
    for (size_t i = 0; list && i < w->survey->count; i++)
        if (w->survey->pictures[i].state == SURVEY_NOT_YET && (excluded || !*manifest_picture(w->manifest, i)->excluded))
            list[(*count)++] = i;
    return list;
}

static bool look_at_all(struct work *w, const size_t *list, size_t count, int threads, const struct progress *progress,
                        struct err *e)
{
    bool stopped = false;
    size_t done = 0;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t k = 0; k < count; k++) {
        struct err own = { 0 };
        struct survey_picture *p = &w->survey->pictures[list[k]];
        char path[PATH_MAX_BYTES];
        bool end;
#pragma omp atomic read
        end = stopped;
        if (end)
            continue;
        bool good = stop_check(&own) && manifest_path(w->manifest, list[k], path, &own) &&
                    look(p, path, manifest_picture(w->manifest, list[k])->file_name, &own);
#pragma omp critical(survey)
        {
            good = good && remember(w, list[k], &own);
            if (!good) {
                err_set(e, own.code, "%s", own.text);
#pragma omp atomic write
                stopped = true;
            } else {
                progress_step(progress, "looking at pictures", (long)++done, (long)count, NULL);
            }
        }
    }
    return !stopped;
}

bool survey_make(struct survey *out, const struct manifest *m, bool excluded, bool keep, int threads,
                 const struct progress *progress, struct err *e)
{
    size_t count = manifest_count(m), left = 0;
    *out = (struct survey){ mem_zeroed(count, sizeof *out->pictures), count };
    struct work w = { .survey = out, .manifest = m, .times = mem_zeroed(count, sizeof *w.times),
                      .sizes = mem_zeroed(count, sizeof *w.sizes) };
    size_t *list = NULL;
    bool good = (out->pictures && w.times && w.sizes) || err_nomem(e, "a survey");
    good = good && (!keep || path_join(w.file, manifest_folder(m), SURVEY_FILE, e)) && find_files(&w, e) && recall(&w, e);
    if (good && !(list = left_over(&w, excluded, &left)))
        good = err_nomem(e, "a survey");
    good = good && image_init(e) && look_at_all(&w, list, left, threads > 0 ? threads : omp_get_max_threads(), progress, e) &&
           tidy(&w, left, e);
    mem_free(list);
    mem_free(w.times);
    mem_free(w.sizes);
    if (!good)
        survey_release(out);
    return good;
}

void survey_release(struct survey *s)
{
    for (size_t i = 0; s->pictures && i < s->count; i++)
        mem_free(s->pictures[i].why);
    mem_free(s->pictures);
    *s = (struct survey){ 0 };
}
