/* limn upscale: a picture made larger by a network. */
#include <math.h>

#include "base/mem.h"
#include "cli/engine.h"
#include "cli/progress_bar.h"
#include "generate/upscale.h"
#include "image/image.h"

struct upscale_args {
    struct option_texts files;
    const char *model, *output, *comfyui, *extra_model_paths;
    int64_t tile, threads;
    int precision;
    bool quiet;
};
#define AT(member) offsetof(struct upscale_args, member)
static const struct option upscale_options[] = {
    { "model", 'm', OPTION_TEXT, AT(model), .value = "FILE", .help = "an ESRGAN or Real-ESRGAN, a file or a name in a folder of upscale_models" },
    OPTION_ROWS_PLACES(struct upscale_args),
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FILE", .help = "a PNG file", .initial_help = "the picture's name with the size behind it" },
    { "tile", 0, OPTION_INT, AT(tile), "256", .min = 32, .max = IMAGE_MAX_SIDE, .help = "pixels of the pieces in which it works: less memory, a little less exact" },
    OPTION_ROW_PRECISION(struct upscale_args),
    OPTION_ROW_THREADS(struct upscale_args),
    OPTION_ROW_QUIET(struct upscale_args),
    { 0 },
};

static bool find_model(char *out, const struct upscale_args *a, struct err *e)
{
    struct model_places places = { 0 };
    if (path_exists(a->model))
        return path_join(out, "", a->model, e);
    bool good = engine_places(&places, a->comfyui, a->extra_model_paths, e) &&
                model_places_find(&places, 1U << MODELS_UPSCALE_MODELS, "upscale model", a->model, out, e);
    model_places_release(&places);
    return good;
}

/* "cat.jpg" -> "cat-512x512.png" beside it. */
static bool name_output(char *out, const char *file, int width, int height, struct err *e)
{
    const char *name = path_name(file), *dot = strrchr(name, '.');
    int length = (int)(dot && dot > name ? dot - file : (long)strlen(file));
    if (snprintf(out, PATH_MAX_BYTES, "%.*s-%dx%d.png", length, file, width, height) < PATH_MAX_BYTES)
        return true;
    return err_set(e, ERR_LIMIT, "%s: too long a name", file);
}

static bool enlarge(struct upscaler *u, const struct upscale_args *a, const struct engine *engine, const struct image *from, struct image *to,
                    const struct progress *progress, struct err *e)
{
    int64_t scale = upscaler_scale(u);
    size_t count = image_bytes(from), made = count * (size_t)(scale * scale);
    float *pixels = mem_aligned(count * sizeof *pixels), *larger = mem_aligned(made * sizeof *larger);
    bool good = (pixels && larger) || err_nomem(e, "a larger picture");
    for (size_t i = 0; good && i < count; i++)
        pixels[i] = (float)from->pixels[i] / 255;
    good = good && upscaler_run(u, engine->backend, engine->type, pixels, from->height, from->width, a->tile, progress, larger, e) &&
           image_make(to, (int)(from->width * scale), (int)(from->height * scale), 3, e);
    for (size_t i = 0; good && i < made; i++)
        to->pixels[i] = (uint8_t)rintf(255 * fminf(fmaxf(larger[i], 0), 1));
    mem_free(pixels);
    mem_free(larger);
    return good;
}

static bool upscale_run(const void *args, struct err *e)
{
    const struct upscale_args *a = args;
    char model[PATH_MAX_BYTES], output[PATH_MAX_BYTES];
    struct engine engine = { 0 };
    struct image from = { 0 }, to = { 0 };
    struct progress_bar bar;
    struct upscaler *u = NULL;
    const char *file = a->files.items[0];
    if (!a->model)
        return err_set(e, ERR_ARG, "limn upscale needs --model FILE");
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = image_init(e) && image_load(&from, file, IMAGE_FLATTEN, 0xFFFFFF, e) && find_model(model, a, e) && (u = upscaler_open(model, e)) &&
                engine_init(&engine, a->threads, a->precision, e) && enlarge(u, a, &engine, &from, &to, &progress, e) &&
                (a->output ? path_join(output, "", a->output, e) : name_output(output, file, to.width, to.height, e)) &&
                image_save_png(output, &to, NULL, 0, e);
    progress_bar_end(&bar);
    if (good)
        puts(output);
    upscaler_free(u);
    image_release(&from);
    image_release(&to);
    engine_release(&engine);
    return good;
}

const struct command command_upscale = {
    .name = "upscale",
    .words = "FILE", .words_place = AT(files), .words_min = 1, .words_max = 1,
    .help = "Makes a picture larger by a network: ESRGAN or Real-ESRGAN.",
    .details = "The model's file is .safetensors or .pth, in the names of its makers. Transparency is laid over white.",
    .options = upscale_options, .args_bytes = sizeof(struct upscale_args), .run = upscale_run,
};
