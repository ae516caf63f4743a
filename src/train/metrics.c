#include "train/metrics.h"
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/plot.h"

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

/* Reads one line; false (without an error) if it is not a whole one of ours. */
static bool read_line(const char *line, size_t bytes, struct metric *one)
{
    struct err ignored = { 0 };
    json_t *j = json_parse(line, bytes, "metrics", &ignored);
    bool good = j && json_is_integer(json_object_get(j, "step"));
    if (good)
        *one = (struct metric){ json_integer_value(json_object_get(j, "step")),
                                json_number_value(json_object_get(j, "loss")),
                                json_number_value(json_object_get(j, "rate")),
                                json_number_value(json_object_get(j, "grad_norm")),
                                json_number_value(json_object_get(j, "seconds")),
                                json_number_value(json_object_get(j, "pictures_per_second")) };
    json_decref(j);
    return good;
}

bool metrics_open(struct metrics *m, const char *folder, int64_t step, struct err *e)
{
    *m = (struct metrics){ 0 };
    if (!path_join(m->jsonl, folder, "metrics.jsonl", e) || !path_join(m->curve, folder, "curve.png", e))
        return false;
    if (!path_exists(m->jsonl))
        return true;
    char *data;
    size_t bytes;
    if (!file_read(m->jsonl, (size_t)1 << 30, &data, &bytes, e))
        return false;
    struct text kept;
    text_init(&kept, bytes);
    bool good = true;
    for (size_t at = 0; good && at < bytes;) {
        const char *end = memchr(data + at, '\n', bytes - at);
        struct metric one;
        if (!end)
            break;
        size_t length = (size_t)(end - (data + at));
        if (read_line(data + at, length, &one) && one.step <= step) {
            text_add_bytes(&kept, data + at, length + 1);
            good = keep(m, &one, e);
        }
        at += length + 1;
    }
    good = good && text_ok(&kept, e) && file_write_whole(m->jsonl, text_string(&kept), kept.length, e);
    text_release(&kept);
    mem_free(data);
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

bool metrics_add(struct metrics *m, const struct metric *one, const json_t *more, struct err *e)
{
    json_t *j = json_pack("{s:I,s:f,s:f,s:f,s:f,s:f}", "step", (json_int_t)one->step, "loss", one->loss, "rate", one->rate,
                          "grad_norm", one->grad_norm, "seconds", one->seconds, "pictures_per_second",
                          one->pictures_per_second);
    if (j && more)
        json_object_update(j, (json_t *)(uintptr_t)more);
    char *line = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    bool good = line ? keep(m, one, e) && file_append_line(m->jsonl, line, e) : err_nomem(e, "metrics");
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
    double *x = mem_zeroed(m->count, sizeof *x), *y = mem_zeroed(m->count, sizeof *y);
    bool good = x && y;
    for (size_t i = 0; good && i < m->count; i++) {
        x[i] = (double)m->at[i].step;
        y[i] = m->at[i].loss;
    }
    struct plot_series loss = { "loss", x, y, m->count, 0.9 };
    struct plot plot = { .title = "training", .x_label = "step", .y_label = "loss", .log_y = true, .series = &loss,
                         .series_count = 1 };
    good = good ? plot_save_png(m->curve, &plot, e) : err_nomem(e, "a curve");
    mem_free(x);
    mem_free(y);
    return good;
}
