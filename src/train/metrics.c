#include "train/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/plot.h"
#include "train/events.h"

enum { LINE_MAX_BYTES = 1 << 16 };

static bool keep(struct metrics *m, const struct metric *one, struct err *e)
{
    struct metric *grown = mem_grow(m->at, &m->cap, m->count + 1, sizeof *m->at);
    if (!grown)
        return err_nomem(e, "metrics");
    m->at = grown;
    m->at[m->count++] = *one;
    return true;
}

/* Reads one line; NULL (without an error) if it is not a whole one of ours. */
static json_t *read_line(const char *line, size_t bytes, struct metric *one)
{
    struct err ignored = { 0 };
    json_t *j = json_parse(line, bytes, "metrics", &ignored);
    if (!json_is_integer(json_object_get(j, "step"))) {
        json_decref(j);
        return NULL;
    }
    const json_t *held_out = json_object_get(j, "held_out");
    *one = (struct metric){ json_integer_value(json_object_get(j, "step")),
                            json_number_value(json_object_get(j, "loss")),
                            json_number_value(json_object_get(j, "rate")),
                            json_number_value(json_object_get(j, "grad_norm")),
                            json_number_value(json_object_get(j, "seconds")),
                            json_number_value(json_object_get(j, "pictures_per_second")),
                            json_is_number(held_out) ? json_number_value(held_out) : NAN };
    return j;
}

/* Keeps the lines of the file up to `step`; lines and events (NULL: not wanted) get what is to be written. */
static bool read_all(struct metrics *m, int64_t step, struct text *lines, struct text *events, struct err *e)
{
    char *data;
    size_t bytes;
    if (!file_read(m->jsonl, (size_t)1 << 30, &data, &bytes, e))
        return false;
    bool good = true;
    for (size_t at = 0; good && at < bytes;) {
        const char *end = memchr(data + at, '\n', bytes - at);
        struct metric one;
        if (!end)
            break;
        size_t length = (size_t)(end - (data + at));
        json_t *j = read_line(data + at, length, &one);
        if (j && one.step <= step) {
            good = keep(m, &one, e);
            if (lines) {
                text_add_bytes(lines, data + at, length + 1);
                events_scalars(events, m->epoch + one.seconds, one.step, j);
            }
        }
        json_decref(j);
        at += length + 1;
    }
    mem_free(data);
    return good;
}

static bool paths(struct metrics *m, const char *folder, struct err *e)
{
    *m = (struct metrics){ .epoch = (double)time(NULL) };
    return path_join(m->jsonl, folder, "metrics.jsonl", e) && path_join(m->events, folder, EVENTS_NAME, e) &&
           path_join(m->curve, folder, "curve.png", e);
}

bool metrics_read(struct metrics *m, const char *folder, struct err *e)
{
    if (paths(m, folder, e) && read_all(m, INT64_MAX, NULL, NULL, e))
        return true;
    metrics_close(m);
    return false;
}

bool metrics_open(struct metrics *m, const char *folder, int64_t step, double seconds, struct err *e)
{
    struct text lines, events;
    text_init(&lines, (size_t)1 << 30);
    text_init(&events, (size_t)1 << 30);
    bool good = paths(m, folder, e), there = good && path_exists(m->jsonl);
    m->epoch -= seconds;
    events_begin(&events, m->epoch);
    good = good && (!there || read_all(m, step, &lines, &events, e)) && text_ok(&lines, e) && text_ok(&events, e) &&
           (!there || file_write_whole(m->jsonl, text_string(&lines), lines.length, e)) &&
           file_write_whole(m->events, text_string(&events), events.length, e);
    text_release(&lines);
    text_release(&events);
    if (!good)
        metrics_close(m);
    return good;
}

void metrics_close(struct metrics *m)
{
    mem_free(m->at);
    m->at = NULL;
    m->count = m->cap = 0;
}

/* One record behind the others. */
static bool add_event(const struct metrics *m, const struct metric *one, const json_t *j, struct err *e)
{
    struct text record;
    text_init(&record, 1 << 16);
    events_scalars(&record, m->epoch + one->seconds, one->step, j);
    bool good = text_ok(&record, e) && file_append(m->events, text_string(&record), record.length, e);
    text_release(&record);
    return good;
}

bool metrics_add(struct metrics *m, const struct metric *one, const json_t *more, struct err *e)
{
    json_t *j = json_pack("{s:I,s:f,s:f,s:f,s:f,s:f}", "step", (json_int_t)one->step, "loss", one->loss, "rate", one->rate,
                          "grad_norm", one->grad_norm, "seconds", one->seconds, "pictures_per_second",
                          one->pictures_per_second);
    if (j && !isnan(one->held_out))
        json_object_set_new(j, "held_out", json_real(one->held_out));
    if (j && more)
        json_object_update(j, (json_t *)(uintptr_t)more);
    char *line = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    bool good = line ? keep(m, one, e) && file_append_line(m->jsonl, line, e) && add_event(m, one, j, e)
                     : err_nomem(e, "metrics");
    free(line);
    json_decref(j);
    return good;
}

const struct metric *metrics_last(const struct metrics *m)
{
    return m->count ? &m->at[m->count - 1] : NULL;
}

bool metrics_plot(const struct metrics *m, struct err *e)
{
    double *x = mem_zeroed(m->count, sizeof *x), *y = mem_zeroed(m->count, sizeof *y), *z = mem_zeroed(m->count, sizeof *z);
    bool good = x && y && z, measured = false;
    for (size_t i = 0; good && i < m->count; i++) {
        x[i] = (double)m->at[i].step;
        y[i] = m->at[i].loss;
        z[i] = m->at[i].held_out;
        measured |= !isnan(z[i]);
    }
    struct plot_series series[] = { { "loss", x, y, m->count, 0.9 }, { "held-out loss", x, z, m->count, 0 } };
    struct plot plot = { .title = "training", .x_label = "step", .y_label = "loss", .log_y = true, .series = series,
                         .series_count = measured ? 2 : 1 };
    good = good ? plot_save_png(m->curve, &plot, e) : err_nomem(e, "a curve");
    mem_free(x);
    mem_free(y);
    mem_free(z);
    return good;
}
