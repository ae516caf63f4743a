#include "cli/train_look.h"

#include <math.h>

#include "base/mem.h"

enum { MOST_PICTURES = 64, COLUMNS = 4, FILE_MOST_BYTES = 1 << 20 };

static bool add(struct train_look *l, const char *words, size_t length, struct err *e)
{
    if (l->count == MOST_PICTURES)
        return err_set(e, ERR_LIMIT, "--sample-prompts: at most %d pictures", MOST_PICTURES);
    char *copy = mem_zeroed(length + 1, 1);
    if (!copy)
        return err_nomem(e, "sample prompts");
    memcpy(copy, words, length);
    l->seeds[l->count] = l->count;
    l->prompts[l->count++] = copy;
    return true;
}

static bool add_file(struct train_look *l, const char *path, struct err *e)
{
    char *text;
    size_t bytes;
    bool good = file_read(path, FILE_MOST_BYTES, &text, &bytes, e);
    for (char *line = good ? text : NULL; good && line && *line;) {
        size_t length = strcspn(line, "\r\n");
        good = !length || add(l, line, length, e);
        line += length + strspn(line + length, "\r\n");
    }
    if (text)
        mem_free(text);
    return good;
}

bool train_look_init(struct train_look *l, const struct model_files *files, const struct engine *engine, const struct option_texts *words,
                     int64_t steps, int64_t width, int64_t height, struct err *e)
{
    *l = (struct train_look){ .files = files, .engine = engine, .steps = steps, .alpha = NAN, .width = width,
                              .height = height, .prompts = mem_zeroed(MOST_PICTURES, sizeof *l->prompts),
                              .seeds = mem_zeroed(MOST_PICTURES, sizeof *l->seeds) };
    bool good = (l->prompts && l->seeds) || err_nomem(e, "sample prompts");
    for (int i = 0; good && i < words->count; i++)
        good = path_exists(words->items[i]) && !path_is_folder(words->items[i])
                   ? add_file(l, words->items[i], e)
                   : add(l, words->items[i], strlen(words->items[i]), e);
    return good;
}

void train_look_release(struct train_look *l)
{
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->prompts[i]);
    mem_free(l->prompts);
    mem_free(l->seeds);
    *l = (struct train_look){ 0 };
}

/* One picture after another: a look must not need more memory than the training. */
bool train_look_draw(void *self, const char *made, int64_t step, const char *png, json_t *metrics, struct err *e)
{
    const struct train_look *l = self;
    struct image *pictures = mem_zeroed(l->count, sizeof *pictures), sheet = { 0 };
    bool whole = path_is_folder(made);
    struct model_files model = { .path = made }, *files = whole ? &model : NULL;
    struct pipeline *p = pictures ? pipeline_open_files(files ? files : l->files, l->engine->backend, l->engine->type, e) : NULL;
    struct draw_lora use = { p && !whole ? pipeline_lora(p, made, l->alpha, e) : NULL, 1, 1, false };
    bool good = p && (whole || use.lora);
    if (!pictures)
        err_nomem(e, "sample pictures");
    (void)step;
    (void)metrics;
    for (size_t i = 0; good && i < l->count; i++) {
        struct drawing drawing = { 0 };
        struct draw_request r = draw_request_defaults(p);
        r.prompt = l->prompts[i];
        r.seed = l->seeds[i];
        r.width = l->width;
        r.height = l->height;
        r.steps = l->steps ? l->steps : r.steps;
        r.loras = &use;
        r.lora_count = whole ? 0 : 1;
        good = pipeline_draw(p, &r, NULL, &drawing, e) && image_copy(&pictures[i], &drawing.images[0], e);
        drawing_release(&drawing);
    }
    good = good && image_grid(&sheet, pictures, l->count, COLUMNS, 2, 0xFFFFFF, e) && image_save_png(png, &sheet, NULL, 0, e);
    image_release(&sheet);
    for (size_t i = 0; pictures && i < l->count; i++)
        image_release(&pictures[i]);
    mem_free(pictures);
    pipeline_free(p);
    return good;
}
