/* limn generate: pictures from words. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/engine.h"
#include "cli/gallery_place.h"
#include "cli/control_args.h"
#include "cli/lora_args.h"
#include "cli/progress_bar.h"
#include "generate/edit.h"
#include "generate/record.h"
#include "jobs/keep.h"

struct generate_args {
    struct option_texts words, loras, controls;
    const char *prompts, *model, *config, *vae, *text_encoder, *negative, *output, *latents, *save_latents, *embeddings, *comfyui, *extra_model_paths;
    const char *original_size, *crop, *target_size, *init_image, *mask, *outpaint, *hires, *refiner;
    int64_t width, height, steps, seed, subseed, count, batch, clip_skip, mask_grow, feather, vae_tile, hires_steps, threads;
    double refiner_start, cfg, cfg_rescale, eta, score, negative_score, lora_alpha, subseed_strength, strength, mask_blur, hires_strength;
    int sampler, schedule, precision, prediction, syntax, rng, alpha, mask_fill, hires_method;
    bool plan, json, quiet, profile, paste, gallery, control_guess;
    const char *database, *gallery_folder;
};

#define AT(member) offsetof(struct generate_args, member)

static const char *sampler_choice(int index)
{
    return sampler_names[index].name;
}

/* The first stands for "not given": samplers that take the model's schedule must not get one. */
static const char *schedule_choice(int index)
{
    return index == 0 ? "default" : schedule_names[index - 1].name;
}

/* The first stands for "not given". */
static const char *syntax_choice(int index)
{
    return index == 0 ? "auto" : index <= PROMPT_SYNTAX_COUNT ? prompt_syntax_names[index - 1] : NULL;
}

static const char *rng_choice(int index)
{
    static const char *const names[] = { "cpu", "philox", NULL };
    return names[index];
}

static const char *hires_choice(int index)
{
    return hires_methods[index];
}

OPTION_CHOICES(alpha_choice, "mask", "white", "ignore") /* in the order of edit_alpha */
OPTION_CHOICES(fill_choice, "picture", "grey")

static const struct option generate_options[] = {
    { "model", 'm', OPTION_TEXT, AT(model), .value = "FILE", .group = "What",
      .help = "a model folder or file, or the name of an installed one", .initial_help = "limn-emoji" },
    OPTION_ROWS_MODEL_PARTS(struct generate_args),
    { "negative", 'n', OPTION_TEXT, AT(negative), .help = "what should not be in the picture" },
    { "prompts", 0, OPTION_TEXT, AT(prompts), .value = "FILE", .help = "draw every line of a file, in place of words" },
    OPTION_ROW_LORA(struct generate_args),
    OPTION_ROW_LORA_ALPHA(struct generate_args),
    { "prompt-syntax", 0, OPTION_CHOICE, AT(syntax), "auto", .choices = syntax_choice,
      .help = "how weights, embeddings and long words are read: (a:1.2) as ComfyUI or stable-diffusion-webui, or as plain words",
      .initial_help = "plain with --sampler model, else comfy" },
    { "embeddings", 0, OPTION_TEXT, AT(embeddings), .value = "FOLDER",
      .help = "textual inversions that the words may name: this folder, or the one called embeddings in it or its models",
      .initial_help = "the model's neighbour of that name, and every folder of embeddings that is known" },
    OPTION_ROWS_PLACES(struct generate_args),
    { "width", 'W', OPTION_INT, AT(width), "0", .min = 1, .max = IMAGE_MAX_SIDE, .group = "Picture",
      .help = "pixels, a multiple of the model's latent cell (8 for Stable Diffusion)", .initial_help = "the model's" },
    { "height", 'H', OPTION_INT, AT(height), "0", .min = 1, .max = IMAGE_MAX_SIDE, .help = "pixels",
      .initial_help = "the model's" },
    { "seed", 's', OPTION_INT, AT(seed), "0", .min = 0, .max = (double)INT64_MAX,
      .help = "same seed, same picture: the noise of PyTorch's CPU generator" },
    { "subseed", 0, OPTION_INT, AT(subseed), "0", .min = 0, .max = (double)INT64_MAX,
      .help = "with --subseed-strength: vary the picture of --seed; --count then goes through subseeds" },
    { "subseed-strength", 0, OPTION_FLOAT, AT(subseed_strength), "0", .min = 0, .max = 1,
      .help = "how far the noise turns from that of the seed to that of the subseed" },
    { "rng", 0, OPTION_CHOICE, AT(rng), "cpu", .choices = rng_choice,
      .help = "whose noise a seed means: PyTorch's on the CPU (diffusers, ComfyUI), or philox, PyTorch's on a GPU" },
    { "count", 'c', OPTION_INT, AT(count), "1", .min = 1, .max = 100000,
      .help = "pictures, with seeds seed, seed + 1, ..." },
    { "batch", 'b', OPTION_INT, AT(batch), "1", .min = 1, .max = 256,
      .help = "pictures drawn together from one noise stream, for each seed" },
    { "steps", 0, OPTION_INT, AT(steps), "0", .min = 1, .max = SAMPLER_MAX_STEPS, .group = "Sampling",
      .help = "denoising steps", .initial_help = "the model's, or 20" },
    { "cfg", 0, OPTION_FLOAT, AT(cfg), "-1", .min = 0, .max = 1000,
      .help = "how closely the words are followed; 1 follows the model alone and takes half the time",
      .initial_help = "the model's, or 7.5" },
    { "cfg-rescale", 0, OPTION_FLOAT, AT(cfg_rescale), "0", .min = 0, .max = 1,
      .help = "takes back what a large --cfg does to contrast; 0.7 suits models with v-prediction" },
    { "sampler", 0, OPTION_CHOICE, AT(sampler), "model", .choices = sampler_choice,
      .help = "how a step is taken; model: as the folder's scheduler config says" },
    { "schedule", 0, OPTION_CHOICE, AT(schedule), "default", .choices = schedule_choice,
      .help = "which noise levels the steps go through" },
    { "eta", 0, OPTION_FLOAT, AT(eta), "-1", .min = 0, .max = 10, .help = "noise added in the steps of samplers that do",
      .initial_help = "the sampler's" },
    { "clip-skip", 0, OPTION_INT, AT(clip_skip), "0", .min = 0, .max = 100,
      .help = "last layers of the text encoder left out; ComfyUI's stop_at_clip_layer is -1 - X (SDXL: -2 - X), "
              "stable-diffusion-webui's Clip skip X + 1" },
    { "original-size", 0, OPTION_TEXT, AT(original_size), .value = "WxH", .group = "What SDXL is told of the picture",
      .help = "the size it had before it was scaled: smaller looks blurred", .initial_help = "the picture's" },
    { "crop", 0, OPTION_TEXT, AT(crop), .value = "X,Y", .help = "what was cut off at the left and above",
      .initial_help = "0,0" },
    { "target-size", 0, OPTION_TEXT, AT(target_size), .value = "WxH", .help = "the size it shall have",
      .initial_help = "the picture's" },
    { "aesthetic-score", 0, OPTION_FLOAT, AT(score), "0", .min = 0, .max = 100,
      .help = "for a refiner: how beautiful it is, about 1 to 10", .initial_help = "6" },
    { "negative-aesthetic-score", 0, OPTION_FLOAT, AT(negative_score), "0", .min = 0, .max = 100,
      .help = "the same for what should not be in it", .initial_help = "2.5" },
    { "refiner", 0, OPTION_TEXT, AT(refiner), .value = "FILE", .group = "A second model",
      .help = "a model that takes the last steps, as SDXL's refiner; LoRAs and VAE are those of --model" },
    { "refiner-start", 0, OPTION_FLOAT, AT(refiner_start), "0.8", .min = 0.001, .max = 0.999,
      .help = "the part of the run after which it takes over: diffusers' denoising_end and denoising_start with --sampler model, else that part "
              "of the steps, as two KSamplerAdvanced of ComfyUI" },
    OPTION_ROWS_CONTROL(struct generate_args),
    { "init-image", 'i', OPTION_TEXT, AT(init_image), .value = "FILE", .group = "Editing",
      .help = "begin with this picture; its size is that of the drawing, unless width or height is given" },
    { "strength", 0, OPTION_FLOAT, AT(strength), "0", .min = 0.0001, .max = 1, .help = "how much of the picture is drawn anew",
      .initial_help = "0.75, or 1 where a mask says what" },
    { "mask", 0, OPTION_TEXT, AT(mask), .value = "FILE", .help = "draw only what is white in this picture; grey mixes" },
    { "mask-grow", 0, OPTION_INT, AT(mask_grow), "0", .min = 0, .max = 512, .help = "pixels by which the mask grows" },
    { "mask-blur", 0, OPTION_FLOAT, AT(mask_blur), "0", .min = 0, .max = 512,
      .help = "softens the mask's edge, a standard deviation in pixels" },
    { "mask-fill", 0, OPTION_CHOICE, AT(mask_fill), "picture", .choices = fill_choice,
      .help = "what the drawing finds below the mask; grey wants strength 1" },
    { "alpha", 0, OPTION_CHOICE, AT(alpha), "mask", .choices = alpha_choice,
      .help = "transparency of the init image: mask draws there, if no mask is given; white lays it over white" },
    { "outpaint", 0, OPTION_TEXT, AT(outpaint), .value = "LEFT,TOP,RIGHT,BOTTOM",
      .help = "pixels to add to the init image and draw" },
    { "feather", 0, OPTION_INT, AT(feather), "40", .min = 0, .max = 4096,
      .help = "pixels over which what was there gives way to what outpainting adds" },
    { "paste", 0, OPTION_FLAG, AT(paste), "yes",
      .help = "leave also what the mask keeps as the VAE gives it back, which is what diffusers and ComfyUI do" },
    { "hires", 0, OPTION_TEXT, AT(hires), .value = "SCALE|WxH", .group = "Second pass",
      .help = "draw the picture again, larger: so many times, or of this size" },
    { "hires-method", 0, OPTION_CHOICE, AT(hires_method), "pixel-lanczos", .choices = hires_choice,
      .help = "how it becomes larger: through the VAE, or as latents, which want more strength" },
    { "hires-strength", 0, OPTION_FLOAT, AT(hires_strength), "0.5", .min = 0.0001, .max = 1,
      .help = "how much the second pass draws anew" },
    { "hires-steps", 0, OPTION_INT, AT(hires_steps), "0", .min = 1, .max = SAMPLER_MAX_STEPS,
      .help = "steps of the second pass", .initial_help = "those of the first" },
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FILE", .group = "Files",
      .help = "a PNG file, or a folder; several pictures get numbers", .initial_help = "limn-SEED.png" },
    { "gallery", 'g', OPTION_FLAG, AT(gallery), .help = "put the pictures into the gallery, too" },
    OPTION_ROWS_GALLERY(struct generate_args),
    { "latents", 0, OPTION_TEXT, AT(latents), .value = "FILE",
      .help = "start noise from a safetensors file, key latents, [batch, channels, height, width]" },
    { "save-latents", 0, OPTION_TEXT, AT(save_latents), .value = "FILE", .help = "write the final latents of all pictures" },
    OPTION_ROW_PRECISION(struct generate_args),
    OPTION_ROW_THREADS(struct generate_args),
    { "vae-tile", 0, OPTION_INT, AT(vae_tile), "0", .min = 0, .max = IMAGE_MAX_SIDE,
      .help = "pixels of the pieces in which pictures go through the VAE: less memory, a little less exact",
      .initial_help = "none, unless the whole does not fit" },
    OPTION_ROW_PLAN(struct generate_args),
    { "profile", 0, OPTION_FLAG, AT(profile), .help = "print where the time went, by kind of op" },
    OPTION_ROW_JSON(struct generate_args),
    OPTION_ROW_QUIET(struct generate_args),
    { 0 },
};

/* One run of the command. */
struct run {
    const struct generate_args *args;
    struct engine engine;
    struct pipeline *pipeline, *refiner; /* refiner NULL: none */
    struct draw_request request;
    struct draw_lora loras[LORA_MOST]; /* of the command line, then those of the prompt's words */
    size_t lora_count;                 /* of the command line */
    struct draw_control controls[CONTROL_MOST];
    size_t control_count;
    struct progress_bar bar;
    struct progress progress;
    struct model_places places;
    char model[PATH_MAX_BYTES], vae[PATH_MAX_BYTES], text_encoder[PATH_MAX_BYTES], refiner_path[PATH_MAX_BYTES];
    char *text;      /* of --prompts */
    const char **prompts;
    size_t prompt_count, pictures, done; /* pictures in all; written so far */
    float *noise;    /* of --latents */
    struct edit edit; /* of --init-image */
    float *latents;  /* of --save-latents, all pictures */
    struct shape latent_shape;
    struct draw_plan plan;
    struct drawing sums; /* seconds and calls added up */
    json_t *files;
    struct gallery_place gallery; /* of --gallery */
};

/* --- the words --- */

static bool read_prompts(struct run *run, struct err *e)
{
    const struct generate_args *a = run->args;
    size_t bytes, cap = 0;
    if (!a->prompts == !a->words.count)
        return err_set(e, ERR_ARG, "limn generate needs words in quotes%s", a->prompts ? " or --prompts FILE, not both"
                                                                                     : ", or --prompts FILE");
    if (!a->prompts) {
        run->prompts = mem_zeroed(1, sizeof *run->prompts);
        if (!run->prompts)
            return err_nomem(e, "the words");
        run->prompts[run->prompt_count++] = a->words.items[0];
        return true;
    }
    if (!file_read(a->prompts, (size_t)16 << 20, &run->text, &bytes, e))
        return false;
    for (char *rest = run->text, *line; (line = strsep(&rest, "\n"));) {
        size_t length = strlen(line);
        if (length && line[length - 1] == '\r')
            line[length - 1] = 0;
        if (!*line)
            continue;
        const char **grown = mem_grow(run->prompts, &cap, run->prompt_count + 1, sizeof *grown);
        if (!grown)
            return err_nomem(e, "the prompts");
        run->prompts = grown;
        run->prompts[run->prompt_count++] = line;
    }
    return run->prompt_count || err_set(e, ERR_FORMAT, "%s holds no prompt", a->prompts);
}

/* --- the files --- */

static bool has_end(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcasecmp(s + n - m, end);
}

/* A mistake in a path must show before the work, not after it. */
static bool check_writable(const char *path, struct err *e)
{
    char folder[PATH_MAX_BYTES];
    if (!path_join(folder, "", path, e))
        return false;
    if (path_is_folder(path))
        return err_set(e, ERR_IO, "%s is a folder", path);
    char *slash = strrchr(folder, '/');
    if (!slash)
        strcpy(folder, ".");
    else
        slash[slash == folder] = 0;
    if (access(folder, F_OK))
        return err_errno(e, "cannot write %s: the folder %s", path, folder);
    if (!path_is_folder(folder))
        return err_set(e, ERR_IO, "cannot write %s: %s is not a folder", path, folder);
    return !access(folder, W_OK | X_OK) || err_errno(e, "cannot write %s", path);
}

static bool is_folder_name(const char *output)
{
    return has_end(output, "/") || path_is_folder(output);
}

/* Where picture `index` (from 0) goes. */
static bool output_path(const struct run *run, size_t index, uint64_t seed, char *out, struct err *e)
{
    const char *output = run->args->output;
    char name[64];
    if (!output) {
        snprintf(out, PATH_MAX_BYTES, "limn-%llu.png", (unsigned long long)seed);
        for (int turn = 2; path_exists(out); turn++)
            snprintf(out, PATH_MAX_BYTES, "limn-%llu-%d.png", (unsigned long long)seed, turn);
        return true;
    }
    if (is_folder_name(output)) {
        snprintf(name, sizeof name, "%04zu.png", index + 1);
        return path_join(out, output, name, e);
    }
    if (run->pictures == 1)
        return path_join(out, "", output, e);
    int stem = (int)(strlen(output) - (has_end(output, ".png") ? 4 : 0));
    if (snprintf(out, PATH_MAX_BYTES, "%.*s-%04zu.png", stem, output, index + 1) >= PATH_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "--output: the path is too long");
    return true;
}

static bool check_outputs(const struct run *run, struct err *e)
{
    const struct generate_args *a = run->args;
    char path[PATH_MAX_BYTES];
    const char *dot = a->output ? strrchr(path_name(a->output), '.') : NULL;
    if (a->output && dot && !is_folder_name(a->output) && !has_end(dot, ".png"))
        return err_set(e, ERR_ARG, "--output %s: pictures are written as PNG files", a->output);
    if (a->output && has_end(a->output, "/") && !folder_make(a->output, e))
        return false;
    return output_path(run, 0, (uint64_t)a->seed, path, e) && check_writable(path, e) &&
           (!a->save_latents || check_writable(a->save_latents, e));
}

/* "8,0,8,0" */
static bool read_sides(const char *text, struct edit_options *o, struct err *e)
{
    int64_t *const sides[] = { &o->left, &o->top, &o->right, &o->bottom };
    const char *at = text;
    for (int i = 0; i < 4; i++) {
        char *end;
        errno = 0;
        long long v = strtoll(at, &end, 10);
        if (end == at || errno || v < 0 || v > IMAGE_MAX_SIDE || *end != (i < 3 ? ',' : 0))
            return err_set(e, ERR_ARG, "--outpaint %s: want four whole numbers, LEFT,TOP,RIGHT,BOTTOM", text);
        *sides[i] = v;
        at = end + 1;
    }
    return true;
}

static bool read_edit(struct run *run, struct err *e)
{
    const struct generate_args *a = run->args;
    struct draw_request *r = &run->request;
    bool comfy = a->sampler != 0;
    struct edit_options o = { .cell = vae_factor(&pipeline_folder(run->pipeline)->parts.vae), .width = a->width,
                              .height = a->height, .cut = comfy, .alpha = (enum edit_alpha)a->alpha, .feather = a->feather,
                              .grow = a->mask_grow, .blur = a->mask_blur, .grey = a->mask_fill == 1 };
    struct image picture = { 0 }, mask = { 0 };
    if (!a->init_image) {
        if (a->mask || a->outpaint || a->strength > 0)
            return err_set(e, ERR_ARG, "--%s says how a picture is drawn anew: --init-image FILE gives it",
                           a->mask ? "mask" : a->outpaint ? "outpaint" : "strength");
        return true;
    }
    bool good = (!a->outpaint || read_sides(a->outpaint, &o, e)) &&
                image_load(&picture, a->init_image, IMAGE_KEEP_ALPHA, 0, e) &&
                (!a->mask || image_load(&mask, a->mask, IMAGE_FLATTEN, 0, e)) &&
                edit_prepare(&run->edit, &picture, a->mask ? &mask : NULL, &o, e);
    image_release(&picture);
    image_release(&mask);
    if (!good)
        return err_add(e, "--init-image %s", a->init_image);
    r->picture = run->edit.pixels;
    r->mask = run->edit.mask;
    r->picture_name = path_name(a->init_image);
    r->mask_name = a->mask ? path_name(a->mask) : NULL;
    r->width = run->edit.picture.width;
    r->height = run->edit.picture.height;
    r->strength = a->strength > 0 ? a->strength : r->mask ? 1 : r->strength;
    return true;
}

/* "1.5" or "1024x768" */
static bool read_hires(struct run *run, struct err *e)
{
    const struct generate_args *a = run->args;
    struct draw_request *r = &run->request;
    const struct model_folder *f = pipeline_folder(run->pipeline);
    int64_t cell = vae_factor(&f->parts.vae), side = model_folder_side(f);
    if (!a->hires)
        return true;
    char *end, *last = NULL;
    double first = strtod(a->hires, &end), second = *end == 'x' ? strtod(end + 1, &last) : 0;
    bool size = *end == 'x' && last != end + 1 && !*last;
    if (end == a->hires || (!size && *end) || !(first > 0) || first > IMAGE_MAX_SIDE || (size && !(second > 0)) ||
        second > IMAGE_MAX_SIDE)
        return err_set(e, ERR_ARG, "--hires %s: want a number, as 1.5, or a size, as 1024x768", a->hires);
    r->width = r->width ? r->width : side;
    r->height = r->height ? r->height : side;
    double width = size ? first : first * (double)r->width;
    double height = size ? second : first * (double)r->height;
    r->hires = (struct draw_hires){ .width = (int64_t)(size ? width : rint(width / (double)cell) * (double)cell),
                                    .height = (int64_t)(size ? height : rint(height / (double)cell) * (double)cell),
                                    .method = hires_methods[a->hires_method], .strength = a->hires_strength,
                                    .steps = a->hires_steps };
    return true;
}

static bool read_noise(struct run *run, struct err *e)
{
    const struct generate_args *a = run->args;
    struct draw_request *r = &run->request;
    if (!a->latents)
        return true;
    if (a->count > 1)
        return err_set(e, ERR_ARG, "--latents gives the start noise, so --count %lld would draw one picture again and again",
                       (long long)a->count);
    struct weights *file = weights_open(a->latents, e);
    const struct weight *w = file ? weights_need(file, "latents", e) : NULL;
    const struct model_folder *f = pipeline_folder(run->pipeline);
    int64_t factor = vae_factor(&f->parts.vae);
    bool good = w != NULL;
    if (good && w->shape.rank == 4 && w->shape.dim[0] > 0 && !r->width && !r->height) {
        r->height = w->shape.dim[2] * factor;
        r->width = w->shape.dim[3] * factor;
    }
    struct shape want = SHAPE(r->batch, f->parts.vae.latent_channels, (r->height ? r->height : model_folder_side(f)) / factor,
                              (r->width ? r->width : model_folder_side(f)) / factor);
    if (good && !shape_same(w->shape, want))
        good = err_set(e, ERR_SHAPE, "%s: latents is %s, this picture needs %s", a->latents, shape_text(w->shape).s,
                       shape_text(want).s);
    size_t count = good ? (size_t)shape_count(want) : 0;
    good = good && weights_check_finite(w, e);
    run->noise = good ? mem_aligned(count * sizeof *run->noise) : NULL;
    if (good && !run->noise)
        good = err_nomem(e, "the start noise");
    if (good && !dtype_convert(run->noise, DTYPE_F32, w->data, w->type, count))
        good = err_set(e, ERR_TYPE, "%s: latents is %s", a->latents, dtype_name(w->type));
    r->noise = run->noise;
    weights_free(file);
    return good;
}

static bool keep_latents(struct run *run, const struct drawing *d, struct err *e)
{
    size_t each = (size_t)(shape_count(d->shape) / d->batch);
    if (!run->args->save_latents)
        return true;
    if (!run->latents) {
        run->latents = mem_zeroed(run->pictures * each, sizeof *run->latents);
        run->latent_shape = d->shape;
        run->latent_shape.dim[0] = (int64_t)run->pictures;
    }
    if (!run->latents)
        return err_nomem(e, "the latents to save");
    memcpy(run->latents + run->done * each, d->latents, (size_t)d->batch * each * sizeof *d->latents);
    return true;
}

/* --- drawing --- */

/* Prompt i is the next to be drawn: with the LoRAs that it names, behind those of the command line. */
static bool take_prompt(struct run *run, size_t i, struct err *e)
{
    struct draw_request *r = &run->request;
    struct prompt read;
    enum prompt_syntax syntax;
    r->prompt = run->prompts[i];
    r->lora_count = run->lora_count;
    if (!draw_request_syntax(r, &syntax, e))
        return false;
    bool plain = syntax == PROMPT_PLAIN, weighs = false, good = true;
    struct err ignored = { 0 };
    if (!prompt_parse(&read, plain ? PROMPT_COMFY : syntax, r->prompt, plain ? &ignored : e)) {
        if (!plain)
            return err_add(e, "in the prompt");
        /* plain words may look like anything */
        return ignored.code != ERR_NOMEM || err_nomem(e, "a prompt");
    }
    for (size_t k = 0; good && !plain && k < read.lora_count; k++)
        good = lora_words_add(run->pipeline, &run->places, read.loras[k].name, read.loras[k].unet, read.loras[k].text,
                              run->args->lora_alpha, run->loras, &r->lora_count, e);
    for (size_t k = 0; k < read.count; k++)
        weighs |= read.pieces[k].kind == PROMPT_EMBEDDING || (read.pieces[k].weight != 1 && strchr(r->prompt, ':'));
    if (plain && (weighs || read.lora_count))
        progress_line(&run->progress, "\"%.100s\" is read as plain words; --prompt-syntax comfy reads weights, embeddings and LoRAs",
                      r->prompt);
    prompt_release(&read);
    return good;
}

static bool save_picture(struct run *run, const struct image *image, struct err *e)
{
    const struct draw_request *r = &run->request;
    char path[PATH_MAX_BYTES];
    struct text parameters, graph;
    text_init(&parameters, 1 << 20);
    text_init(&graph, 1 << 20);
    const char *model = path_name(run->model);
    record_parameters(&parameters, r, image->width, image->height, model, LIMN_VERSION);
    bool good = text_ok(&parameters, e) && record_graph(&graph, run->pipeline, r, image->width, image->height, model, e) &&
                output_path(run, run->done, r->seed, path, e);
    struct image_text texts[] = { { "parameters", text_string(&parameters) }, { "prompt", text_string(&graph) } };
    good = good && image_save_png(path, image, texts, 2, e) &&
           (!run->gallery.store || keep_file(run->gallery.store, run->gallery.folder, path, "generate", e));
    text_release(&parameters);
    text_release(&graph);
    if (!good)
        return false;
    progress_bar_end(&run->bar);
    if (run->args->json) {
        json_t *file = json_pack("{s:s,s:I,s:s}", "path", path, "seed", (json_int_t)r->seed, "prompt", r->prompt);
        if (file && r->subseed_strength > 0)
            json_object_set_new(file, "subseed", json_integer((json_int_t)r->subseed));
        json_array_append_new(run->files, file);
    } else {
        puts(path);
    }
    enum { MOST_SHOWN = 4 };
    struct err ignored = { 0 };
    if (!run->args->quiet && !run->args->json && run->done < MOST_SHOWN) {
        fflush(stdout);
        if (!image_show(image, 0, &ignored))
            progress_line(&run->progress, "the picture cannot be shown here: %s", ignored.text);
    }
    run->done++;
    return true;
}

static void add_seconds(struct drawing *sum, const struct drawing *d)
{
    if (sum->calls == 0)
        sum->first_call_seconds = d->first_call_seconds;
    sum->calls += d->calls;
    sum->load_seconds += d->load_seconds;
    sum->text_seconds += d->text_seconds;
    sum->encode_seconds += d->encode_seconds;
    sum->sample_seconds += d->sample_seconds;
    sum->decode_seconds += d->decode_seconds;
    sum->seconds += d->seconds;
}

static bool draw_all(struct run *run, struct err *e)
{
    for (size_t i = 0; i < run->prompt_count; i++)
        for (int64_t k = 0; k < run->args->count; k++) {
            struct drawing d;
            if (i > 0 && k == 0 && !take_prompt(run, i, e)) /* the first was taken for the plan */
                return false;
            bool varies = run->args->subseed_strength > 0;
            run->request.seed = (uint64_t)(run->args->seed + (varies ? 0 : k));
            run->request.subseed = (uint64_t)(run->args->subseed + k);
            if (!pipeline_draw(run->pipeline, &run->request, &run->progress, &d, e))
                return false;
            bool good = keep_latents(run, &d, e);
            for (int64_t b = 0; good && run->args->paste && run->edit.mask && b < d.batch; b++)
                edit_paste(&d.images[b], &run->edit);
            for (int64_t b = 0; good && b < d.batch; b++)
                good = save_picture(run, &d.images[b], e);
            add_seconds(&run->sums, &d);
            drawing_release(&d);
            if (!good)
                return false;
        }
    if (!run->args->save_latents)
        return true;
    struct weights_entry entry = { "latents", DTYPE_F32, run->latent_shape };
    return weights_save(run->args->save_latents, &entry, (const void *const[]){ run->latents }, 1, NULL, 0, e);
}

static void keep(struct run *run, bool stay)
{
    pipeline_keep(run->pipeline, stay);
    if (run->refiner)
        pipeline_keep(run->refiner, stay);
}

/* Programs and packed weights stay from picture to picture if all of them take at most half of what is free. */
static bool make_plan(struct run *run, struct err *e)
{
    size_t drawings = run->prompt_count * (size_t)run->args->count;
    if (!take_prompt(run, 0, e))
        return false;
    if (drawings > 1 || run->args->profile) {
        keep(run, true);
        if (!pipeline_plan(run->pipeline, &run->request, &run->plan, e))
            return false;
        keep(run, run->args->profile || run->plan.peak < mem_available() / 2);
    }
    if (!pipeline_plan(run->pipeline, &run->request, &run->plan, e))
        return false;
    if (run->args->plan) {
        static const char *const names[] = { "weights", "activations", "optimizer", "caches", "process", "peak", NULL };
        const struct draw_plan *p = &run->plan;
        if (p->vae_tile)
            fprintf(stderr, "the VAE works in tiles of %lld pixels\n", (long long)p->vae_tile);
        engine_print_plan(names, (size_t[]){ p->weights, p->activations, 0, p->caches, p->process, p->peak });
    }
    return true;
}

static bool print_facts(const struct run *run, struct err *e)
{
    const struct generate_args *a = run->args;
    const struct draw_request *r = &run->request;
    const struct drawing *s = &run->sums;
    const struct model_folder *f = pipeline_folder(run->pipeline);
    int64_t side = model_folder_side(f);
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:s,s:s?,s:f,s:I,s:I,s:I,s:s,s:i,s:s}", "program", "limn", "version",
                          LIMN_VERSION, "model", run->model, "negative", r->negative ? r->negative : "", "width",
                          (json_int_t)(r->width ? r->width : side), "height", (json_int_t)(r->height ? r->height : side),
                          "steps", (json_int_t)r->steps, "sampler", r->sampler ? r->sampler : "model", "schedule",
                          r->schedule, "cfg", r->cfg, "batch", (json_int_t)r->batch, "clip_skip", (json_int_t)r->clip_skip,
                          "seed", (json_int_t)a->seed, "precision", dtype_name(run->engine.type), "threads",
                          run->engine.threads, "isa", run->engine.isa);
    json_t *seconds = json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "load", s->load_seconds, "text", s->text_seconds,
                                "encode", s->encode_seconds, "sample", s->sample_seconds, "first_call", s->first_call_seconds, "call",
                                s->calls ? s->sample_seconds / (double)s->calls : 0, "decode", s->decode_seconds, "total",
                                s->seconds);
    const struct draw_plan *p = &run->plan;
    json_t *memory = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "weights", (json_int_t)p->weights, "activations",
                               (json_int_t)p->activations, "caches", (json_int_t)p->caches, "process",
                               (json_int_t)p->process, "planned_peak", (json_int_t)p->peak, "peak_rss",
                               (json_int_t)mem_peak_rss());
    json_t *loras = lora_words_json(r->loras, r->lora_count), *controls = control_words_json(r->controls, r->control_count);
    bool good = j && seconds && memory && loras && controls && !json_object_set(j, "loras", loras) && !json_object_set(j, "controls", controls) &&
                !json_object_set_new(j, "denoiser_calls", json_integer(s->calls)) &&
                !json_object_set_new(j, "rng", json_string(rng_choice(a->rng))) &&
                !json_object_set_new(j, "subseed_strength", json_real(a->subseed_strength)) &&
                !json_object_set_new(j, "cfg_rescale", json_real(a->cfg_rescale));
    if (good && run->refiner)
        good = !json_object_set_new(j, "refiner", json_string(run->refiner_path)) &&
               !json_object_set_new(j, "refiner_start", json_real(a->refiner_start));
    if (good)
        good = !json_object_set(j, "images", run->files) && !json_object_set(j, "seconds", seconds) &&
               !json_object_set(j, "memory", memory);
    char *line = good ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(j);
    json_decref(seconds);
    json_decref(memory);
    json_decref(loras);
    json_decref(controls);
    if (!line)
        return err_nomem(e, "a line of JSON");
    puts(line);
    free(line);
    return true;
}

/* Two whole numbers with `between` between them, as in 1024x768; text NULL leaves both. */
static bool read_pair(const char *option, const char *text, char between, int64_t *first, int64_t *second, struct err *e)
{
    enum { MOST = 1 << 20 };
    char *middle, *end;
    if (!text)
        return true;
    errno = 0;
    long long a = strtoll(text, &middle, 10), b = *middle == between ? strtoll(middle + 1, &end, 10) : -1;
    if (!isdigit((unsigned char)*text) || *middle != between || !isdigit((unsigned char)middle[1]) || *end || errno || a > MOST ||
        b > MOST)
        return err_set(e, ERR_ARG, "--%s %s: want two numbers up to %d, as in 640%c480", option, text, MOST, between);
    *first = a;
    *second = b;
    return true;
}

static bool read_facts(const struct run *run, struct picture_facts *f, struct err *e)
{
    const struct generate_args *a = run->args;
    const struct family *family = pipeline_folder(run->pipeline)->parts.family;
    bool told = a->original_size || a->crop || a->target_size || a->score > 0 || a->negative_score > 0;
    if (told && !family->time_ids)
        return err_set(e, ERR_ARG, "%s is a model that is told nothing of a picture's sizes: --original-size, --crop, "
                       "--target-size and the aesthetic scores are for SDXL", run->model);
    f->score = a->score;
    return read_pair("original-size", a->original_size, 'x', &f->original_width, &f->original_height, e) &&
           read_pair("crop", a->crop, ',', &f->crop_left, &f->crop_top, e) &&
           read_pair("target-size", a->target_size, 'x', &f->target_width, &f->target_height, e);
}

static bool open_refiner(struct run *run, struct err *e)
{
    const struct generate_args *a = run->args;
    if (!a->refiner)
        return true;
    if (!engine_find_model(run->refiner_path, &run->places, a->refiner, e))
        return err_add(e, "--refiner");
    run->refiner = pipeline_open(run->refiner_path, run->engine.backend, run->engine.type, e);
    if (!run->refiner || !engine_add_embeddings(run->refiner, &run->places, a->embeddings, run->refiner_path, e))
        return err_add(e, "--refiner %s", a->refiner);
    run->request.refiner = run->refiner;
    run->request.refiner_start = a->refiner_start;
    run->request.refiner_name = path_name(run->refiner_path);
    return true;
}

static bool open_pipeline(struct run *run, struct err *e)
{
    const struct generate_args *a = run->args;
    const char *vae = a->vae, *words = a->text_encoder;
    if (!engine_places(&run->places, a->comfyui, a->extra_model_paths, e) || !engine_find_model(run->model, &run->places, a->model, e) ||
        !engine_find_vae(run->vae, &run->places, &vae, e) || !engine_find_text(run->text_encoder, &run->places, &words, e) ||
        !engine_init(&run->engine, a->threads, a->precision, e))
        return false;
    struct model_files files = { .path = run->model, .config = a->config, .vae = vae, .text_encoder = words,
                                 .predicts = (enum predicts)a->prediction };
    run->pipeline = pipeline_open_files(&files, run->engine.backend, run->engine.type, e);
    if (!run->pipeline || !engine_add_embeddings(run->pipeline, &run->places, a->embeddings, run->model, e))
        return false;
    struct draw_request *r = &run->request;
    *r = draw_request_defaults(run->pipeline);
    r->negative = a->negative;
    r->width = a->width;
    r->height = a->height;
    r->steps = a->steps ? a->steps : r->steps;
    r->cfg = a->cfg >= 0 ? a->cfg : r->cfg;
    r->eta = a->eta;
    r->cfg_rescale = a->cfg_rescale;
    r->cuda_noise = a->rng == 1;
    r->subseed = (uint64_t)a->subseed;
    r->subseed_strength = a->subseed_strength;
    r->vae_tile = a->vae_tile;
    r->batch = a->batch;
    r->clip_skip = a->clip_skip;
    r->prompt_syntax = a->syntax ? prompt_syntax_names[a->syntax - 1] : NULL;
    r->sampler = sampler_names[a->sampler].name;
    r->schedule = a->schedule ? schedule_names[a->schedule - 1].name : NULL;
    r->seed = (uint64_t)a->seed;
    r->negative_score = a->negative_score;
    r->loras = run->loras;
    bool controls = control_words_open(&run->places, &a->controls, run->controls, &run->control_count, e);
    r->controls = run->controls;
    r->control_count = run->control_count;
    r->control_guess = a->control_guess;
    return controls && open_refiner(run, e) && read_facts(run, &r->facts, e) &&
           lora_words_open(run->pipeline, &run->places, &a->loras, a->lora_alpha, run->loras, &run->lora_count, e);
}

static void run_release(struct run *run)
{
    progress_bar_end(&run->bar);
    pipeline_free(run->pipeline);
    pipeline_free(run->refiner);
    control_words_release(run->controls, run->control_count);
    engine_release(&run->engine);
    model_places_release(&run->places);
    mem_free(run->text);
    mem_free(run->prompts);
    mem_free(run->noise);
    edit_release(&run->edit);
    mem_free(run->latents);
    json_decref(run->files);
    gallery_place_close(&run->gallery);
}

static void tell(const struct run *run)
{
    const struct drawing *s = &run->sums;
    struct text table;
    if (!run->args->quiet)
        fprintf(stderr, "%zu picture%s in %.2f s: %.2f s to load, %.3f s a denoiser call, %.2f s to decode; %s, %s, %d threads, "
                "peak %.2f GiB\n", run->done, run->done == 1 ? "" : "s", s->seconds, s->load_seconds,
                s->calls ? s->sample_seconds / (double)s->calls : 0, s->decode_seconds, dtype_name(run->engine.type),
                run->engine.isa, run->engine.threads, ldexp((double)mem_peak_rss(), -30));
    if (run->args->profile) {
        text_init(&table, 1 << 16);
        pipeline_profile(run->pipeline, &table);
        fputs(text_string(&table), stderr);
        text_release(&table);
    }
}

static bool generate_run(const void *args, struct err *e)
{
    struct run run = { .args = args, .files = json_array() };
    progress_bar_init(&run.bar, run.args->quiet);
    run.progress = progress_bar_steps(&run.bar);
    bool good = run.files || err_nomem(e, "a list");
    good = good && image_init(e) && read_prompts(&run, e) &&
           (!run.args->gallery || gallery_place_open(&run.gallery, run.args->database, run.args->gallery_folder, e));
    run.pictures = run.prompt_count * (size_t)(run.args->count * run.args->batch);
    good = good && check_outputs(&run, e) && open_pipeline(&run, e) && read_edit(&run, e) && read_noise(&run, e) && read_hires(&run, e) && make_plan(&run, e) &&
           draw_all(&run, e);
    progress_bar_end(&run.bar);
    if (good)
        tell(&run);
    good = good && (!run.args->json || print_facts(&run, e));
    run_release(&run);
    return good;
}

const struct command command_generate = {
    .name = "generate",
    .help = "Draws pictures from words.",
    .details = "The picture is the one that diffusers draws with the same model folder, words, seed and settings; with "
               "--sampler other than model it is ComfyUI's.\n"
               "With --prompt-syntax comfy, (red) counts 1.1 times, (red:1.3) 1.3 times, \\( is a bracket, and embedding:NAME is "
               "a file of --embeddings. With a1111, [red] counts less, nested weights multiply, BREAK begins a new row of 75 "
               "tokens, and embeddings are bare names. Words of any length are read by both.\n"
               "With --init-image a picture is drawn anew, as far as --strength says: with --sampler model that is diffusers' strength (the "
               "last steps are taken), with another sampler ComfyUI's denoise (as many steps as asked for). With --mask, "
               "transparency or --outpaint only a part is; what is kept comes back pixel by pixel, unless --no-paste is given.\n"
               "How it was made is written into the file, under the keys parameters and prompt.",
    .words = "\"TEXT\"", .words_place = AT(words), .words_min = 0, .words_max = 1,
    .options = generate_options, .args_bytes = sizeof(struct generate_args), .run = generate_run,
};
