#include "cli/control_args.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "image/image.h"

/* Takes a last ":NUMBER" off; false: there is none. */
static bool take_number(char *word, double *out)
{
    char *colon = strrchr(word, ':'), *end;
    if (!colon || !colon[1])
        return false;
    errno = 0;
    *out = strtod(colon + 1, &end);
    if (*end || errno || !isfinite(*out))
        return false;
    *colon = 0;
    return true;
}

/* "image:0.8" -> the name and what follows it: a strength, or a strength, a start and an end. */
static bool read_numbers(char *word, struct draw_control *c, struct err *e)
{
    double v[3];
    int count = 0;
    while (count < 3 && take_number(word, &v[count]))
        count++;
    if (count == 2)
        return err_set(e, ERR_ARG, "--control %s: want a strength, or a strength, a start and an end", word);
    c->strength = count ? v[count - 1] : 1;
    c->start = count == 3 ? v[1] : 0;
    c->end = count == 3 ? v[0] : 1;
    return true;
}

/* Colours as they are in the file, whatever is transparent: so do diffusers and ComfyUI. */
static bool load_picture(struct draw_control *c, const char *path, struct err *e)
{
    struct image image = { 0 };
    if (!image_load(&image, path, IMAGE_KEEP_ALPHA, 0, e))
        return false;
    size_t count = (size_t)image.width * (size_t)image.height * 3;
    c->picture = mem_aligned(count * sizeof *c->picture);
    c->picture_n = 1;
    c->picture_h = image.height;
    c->picture_w = image.width;
    for (size_t i = 0; c->picture && i < count; i++)
        c->picture[i] = (float)image.pixels[i / 3 * (size_t)image.channels + i % 3] / 255;
    image_release(&image);
    return c->picture || err_nomem(e, path);
}

static bool open_one(const struct model_places *places, const char *given, struct draw_control *c, struct err *e)
{
    char word[2 * PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    char *image = snprintf(word, sizeof word, "%s", given) < (int)sizeof word ? strchr(word, '=') : NULL;
    if (!image || image == word || !image[1])
        return err_set(e, ERR_ARG, "--control %.200s: want MODEL=IMAGE", given);
    *image++ = 0;
    if (!read_numbers(image, c, e) || !(path_exists(word) ? path_join(path, "", word, e)
                                                          : model_places_find(places, 1U << MODELS_CONTROLNET, "ControlNet", word, path, e)) ||
        !(c->net = control_net_open(path, e)) || !load_picture(c, image, e))
        return false;
    const char *name = path_name(strchr(given, '=') + 1); /* what follows the picture's name there is cut off in a copy */
    char *copy = mem_string(name);
    if (copy)
        copy[strlen(path_name(image))] = 0;
    c->picture_name = copy;
    return copy || err_nomem(e, given);
}

bool control_words_open(const struct model_places *places, const struct option_texts *words, struct draw_control *controls, size_t *count,
                        struct err *e)
{
    if (words->count > CONTROL_MOST)
        return err_set(e, ERR_ARG, "--control: at most %d", CONTROL_MOST);
    for (int i = 0; i < words->count; i++)
        if (!open_one(places, words->items[i], &controls[(*count)++], e))
            return false;
    return true;
}

void control_words_release(struct draw_control *controls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        control_net_drop(controls[i].net);
        mem_free(controls[i].picture);
        mem_free((char *)(uintptr_t)controls[i].picture_name);
    }
}

json_t *control_words_json(const struct draw_control *controls, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, json_pack("{s:s,s:s,s:f,s:f,s:f}", "path", controls[i].net->file.path, "image", controls[i].picture_name,
                                                  "strength", controls[i].strength, "start", controls[i].start, "end", controls[i].end))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}
