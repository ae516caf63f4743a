#include "evaluate/trial.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/random.h"
#include "evaluate/judge.h"
#include "evaluate/similarity.h"
#include "sampler/noise_schedule.h"
#include "tensor/tensor.h"

enum { STREAM_NOISE = 21 };

/* What stays while the variants come and go. */
struct bench {
    const struct trial_options *o;
    struct trial *trial;
    struct vae_files files; /* the first variant's, for all */
    struct reconstruction vae;
    struct style reference;
    struct pipeline *pipeline; /* of the last variant */
    struct model_files opened;
    const struct progress *progress;
    size_t variant;
    uint8_t *looks; /* [held-out pictures, LOOK]: all of the set */
};
enum { LOOK = LOOK_SIDE * LOOK_SIDE * 3 };

/* Bytes of all files of weights in a folder of a model, or of a file. */
static int64_t bytes_of_weights(const char *path)
{
    static const char *const endings[] = { ".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".gguf" };
    struct stat s;
    struct err ignored = { 0 };
    char **names, below[PATH_MAX_BYTES];
    size_t count;
    int64_t sum = 0;
    if (!path_is_folder(path))
        return stat(path, &s) ? 0 : (int64_t)s.st_size;
    if (!folder_names(path, NULL, &names, &count, &ignored))
        return 0;
    for (size_t i = 0; i < count; i++) {
        const char *dot = strrchr(names[i], '.');
        if (!path_join(below, path, names[i], &ignored))
            continue;
        bool weights = path_is_folder(below);
        for (size_t k = 0; dot && k < sizeof endings / sizeof *endings; k++)
            weights = weights || !strcmp(dot, endings[k]);
        sum += weights ? bytes_of_weights(below) : 0;
    }
    folder_names_free(names, count);
    return sum;
}

/* --- what is drawn --- */

static void add_words(struct trial *t, const char *words, uint64_t seed, long held_out, int kind)
{
    t->words[t->drawn++] = (struct trial_words){ .words = words, .seed = seed, .held_out = held_out, .kind = (unsigned)kind };
}

static bool list_words(struct trial *t, const struct trial_options *o, struct err *e)
{
    size_t captions = o->held_out ? picture_set_thinned(o->held_out, o->held_out_most) : 0;
    size_t seeds = o->seeds > 0 ? (size_t)o->seeds : 1;
    t->words = mem_zeroed(o->prompt_count * seeds + captions + o->unrelated_count + 1, sizeof *t->words);
    if (!t->words)
        return err_nomem(e, "what is drawn");
    for (size_t i = 0; i < o->prompt_count; i++)
        for (size_t k = 0; k < seeds; k++)
            add_words(t, o->prompts[i], o->seed + k, -1, TRIAL_PROMPT);
    for (size_t k = 0; k < captions; k++) {
        size_t i = picture_set_nth(o->held_out, o->held_out_most, k);
        if (*o->held_out->at[i].caption)
            add_words(t, o->held_out->at[i].caption, o->seed + k, (long)i, TRIAL_HELD_OUT);
    }
    for (size_t i = 0; i < o->unrelated_count; i++)
        add_words(t, o->unrelated[i], o->seed + i, -1, TRIAL_UNRELATED);
    return t->drawn || (captions && o->timesteps) || err_set(e, ERR_ARG, "there are no words to draw and no pictures to measure with");
}

/* --- a variant --- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

/* The pipeline of a variant; that of the one before serves if it is of the same files. */
static bool open_variant(struct bench *b, const struct trial_variant *v, struct draw_request *r, struct draw_lora *loras, struct err *e)
{
    const struct trial_options *o = b->o;
    const struct model_files *m = &v->model, *had = &b->opened;
    if (b->pipeline && !(same_text(m->path, had->path) && same_text(m->config, had->config) && same_text(m->vae, had->vae) &&
                         m->predicts == had->predicts)) {
        pipeline_free(b->pipeline);
        b->pipeline = NULL;
    }
    if (!b->pipeline && !(b->pipeline = pipeline_open_files(m, o->backend, o->type, e)))
        return false;
    b->opened = *m;
    pipeline_keep(b->pipeline, true);
    *r = draw_request_defaults(b->pipeline);
    r->steps = o->steps ? o->steps : r->steps;
    r->cfg = o->cfg >= 0 ? o->cfg : r->cfg;
    r->sampler = o->sampler;
    r->width = r->height = o->side ? o->side : model_folder_side(pipeline_folder(b->pipeline));
    r->batch = o->batch > 0 ? o->batch : 1;
    r->loras = loras;
    for (size_t i = 0; i < v->lora_count; i++) {
        loras[i] = (struct draw_lora){ .lora = pipeline_lora(b->pipeline, v->loras[i].path, NAN, e), .unet = v->loras[i].unet,
                                       .text = v->loras[i].text };
        if (!loras[i].lora)
            return false;
    }
    r->lora_count = v->lora_count;
    return true;
}

static void tell(struct bench *b, const char *what, size_t done, size_t total)
{
    char note[120];
    snprintf(note, sizeof note, "%s, %zu of %zu", b->o->variants[b->variant].name, b->variant + 1, b->o->count);
    progress_step(b->progress, what, (long)done, (long)total, note);
}

/* --- held-out loss --- */

/* Latents of one held-out picture, [c, h, w], as the denoiser has them. */
static bool held_out_latents(struct bench *b, size_t i, float *out, struct err *e)
{
    struct image square = { 0 };
    int64_t cells = reconstruction_cells(&b->vae), channels = reconstruction_channels(&b->vae);
    float *nhwc = mem_aligned((size_t)(cells * cells * channels) * sizeof *nhwc);
    bool good = (nhwc || err_nomem(e, "a picture's latent")) &&
                picture_set_square(b->o->held_out, i, (int)b->vae.side, &square, e) &&
                reconstruction_encode(&b->vae, square.pixels, 1, nhwc, e);
    if (good)
        tensor_nhwc_to_nchw(out, nhwc, 1, channels, cells, cells);
    image_release(&square);
    mem_free(nhwc);
    return good;
}

/* The k-th of all pairs of picture and timestep: timesteps follow the golden ratio, so any number of them lies evenly. */
static int64_t timestep_of(const struct noise_schedule *s, size_t k)
{
    double u = fmod(0.5 + (double)k * 0.6180339887498949, 1);
    return noise_schedule_draw(s, 1, u);
}

static bool measure_loss(struct bench *b, const struct draw_request *request, double *out, struct err *e)
{
    const struct trial_options *o = b->o;
    struct noise_schedule noise = { 0 };
    size_t pictures = picture_set_thinned(o->held_out, o->held_out_most), each = (size_t)(reconstruction_cells(&b->vae) *
                      reconstruction_cells(&b->vae) * reconstruction_channels(&b->vae)), n = (size_t)o->timesteps;
    float *memory = mem_aligned((each * (1 + 3 * n)) * sizeof *memory), *x0 = memory, *x = x0 + each, *target = x + n * each,
          *said = target + n * each;
    double *timesteps = mem_zeroed(n, sizeof *timesteps), sum = 0;
    const char **prompts = mem_zeroed(n, sizeof *prompts);
    uint64_t *seeds = mem_zeroed(n, sizeof *seeds);
    struct draw_request r = *request;
    bool good = (memory && timesteps && prompts && seeds) || err_nomem(e, "the held-out loss");
    good = good && noise_schedule_init(&noise, &pipeline_folder(b->pipeline)->scheduler, e);
    r.batch = (int64_t)n;
    r.prompts = prompts;
    r.seeds = seeds;
    for (size_t p = 0; good && p < pictures; p++) {
        size_t i = picture_set_nth(o->held_out, o->held_out_most, p);
        tell(b, "held-out loss", p, pictures);
        good = stop_check(e) && held_out_latents(b, i, x0, e);
        for (size_t k = 0; good && k < n; k++) {
            struct random random = random_of(o->seed + STREAM_NOISE, p * n + k);
            int64_t t = timestep_of(&noise, p * n + k);
            timesteps[k] = (double)t;
            prompts[k] = o->held_out->at[i].caption;
            random_normals(&random, said, each); /* room that is free until the answer comes */
            noise_schedule_target(&noise, t, x0, said, target + k * each, each);
            noise_schedule_add(&noise, t, x0, said, x + k * each, each);
        }
        good = good && pipeline_predict(b->pipeline, &r, x, timesteps, said, NULL, e);
        for (size_t k = 0; good && k < n * each; k++)
            sum += ((double)said[k] - (double)target[k]) * ((double)said[k] - (double)target[k]);
    }
    *out = sum / (double)(pictures * n * each);
    noise_schedule_release(&noise);
    mem_free(memory);
    mem_free(timesteps);
    mem_free(prompts);
    mem_free(seeds);
    return good;
}

/* --- drawing --- */

static bool keep_picture(const struct bench *b, size_t k, const struct image *image, struct err *e)
{
    char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES], name[64], variant[100];
    const struct trial_words *w = &b->trial->words[k];
    struct image_text text = { "parameters", w->words };
    snprintf(variant, sizeof variant, "%s", b->o->variants[b->variant].name);
    for (char *c = variant; *c; c++)
        if (*c == '/' || *c == ' ')
            *c = '-';
    snprintf(name, sizeof name, "%04zu-%llu.png", k, (unsigned long long)w->seed);
    return path_join(folder, b->o->kept, variant, e) && folder_make(folder, e) && path_join(path, folder, name, e) &&
           image_save_png(path, image, &text, 1, e);
}

static bool make_small(struct image *out, struct image *from, struct err *e)
{
    int longest = from->width > from->height ? from->width : from->height, most = FINDINGS_PICTURE_PX;
    if (longest > most)
        return image_resize(out, from, from->width * most / longest, from->height * most / longest, IMAGE_AREA, e);
    *out = *from;
    *from = (struct image){ 0 };
    return true;
}

struct sums {
    double psnr, ssim;
    size_t pairs, right;
    struct style drawn;
};

static bool similarity(const char *name, const struct image *a, const struct image *b, double *out, struct err *e)
{
    const struct similarity_metric *m = similarity_find(name, strlen(name), e);
    return m && similarity_measure(m, a, b, out, e);
}

static bool make_looks(struct bench *b, struct err *e)
{
    const struct picture_set *set = b->o->held_out;
    if (!set)
        return true;
    if (!(b->looks = mem_aligned(set->count * LOOK)))
        return err_nomem(e, "held-out pictures");
    for (size_t i = 0; i < set->count; i++) {
        struct image small;
        progress_step(b->progress, "looking at held-out pictures", (long)i, (long)set->count, NULL);
        if (!stop_check(e) || !picture_set_square(set, i, LOOK_SIDE, &small, e))
            return false;
        memcpy(b->looks + i * LOOK, small.pixels, LOOK);
        image_release(&small);
    }
    return true;
}

static long distance(const uint8_t *a, const uint8_t *b)
{
    long sum = 0;
    for (int i = 0; i < LOOK; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

/* Whether no picture of the set is nearer than the one that was asked for. */
static bool is_right(const struct bench *b, const struct image *image, size_t asked, bool *right, struct err *e)
{
    struct image small;
    if (!picture_square(image, LOOK_SIDE, &small, e))
        return false;
    long wanted = distance(small.pixels, b->looks + asked * LOOK);
    *right = true;
    for (size_t i = 0; *right && i < b->o->held_out->count; i++)
        *right = distance(small.pixels, b->looks + i * LOOK) >= wanted;
    image_release(&small);
    return true;
}

/* One picture that was drawn: measured at full size, kept small. */
static bool take_picture(struct bench *b, size_t k, struct image *image, struct sums *s, struct err *e)
{
    const struct trial_words *w = &b->trial->words[k];
    bool good = !b->o->kept || keep_picture(b, k, image, e);
    if (good && w->held_out >= 0) {
        struct image wanted = { 0 };
        double psnr, ssim;
        bool right;
        good = picture_set_square(b->o->held_out, (size_t)w->held_out, image->width, &wanted, e) &&
               similarity("psnr", image, &wanted, &psnr, e) && similarity("ssim", image, &wanted, &ssim, e) &&
               is_right(b, image, (size_t)w->held_out, &right, e);
        image_release(&wanted);
        if (good) {
            s->psnr += psnr;
            s->ssim += ssim;
            s->right += right;
            s->pairs++;
        }
    }
    if (good && b->trial->has_style && w->kind != TRIAL_UNRELATED)
        good = style_add(&s->drawn, &b->vae, image, e);
    return good && make_small(&b->trial->results[b->variant].pictures[k], image, e);
}

/* Every batch is full, so that one program does them all. */
static bool draw_all(struct bench *b, struct draw_request *r, struct sums *s, double *seconds, struct err *e)
{
    const struct trial *t = b->trial;
    size_t n = (size_t)r->batch;
    const char **prompts = mem_zeroed(n, sizeof *prompts);
    uint64_t *seeds = mem_zeroed(n, sizeof *seeds);
    bool good = (prompts && seeds) || err_nomem(e, "words to draw");
    double sum = 0;
    r->prompts = prompts;
    r->seeds = seeds;
    for (size_t i = 0; good && i < t->drawn; i += n) {
        struct drawing d = { 0 };
        tell(b, "drawing", i, t->drawn);
        for (size_t k = 0; k < n; k++) {
            prompts[k] = t->words[i + k < t->drawn ? i + k : t->drawn - 1].words;
            seeds[k] = t->words[i + k < t->drawn ? i + k : t->drawn - 1].seed;
        }
        good = stop_check(e) && pipeline_draw(b->pipeline, r, NULL, &d, e);
        sum += d.seconds - d.load_seconds;
        for (size_t k = 0; good && k < n && i + k < t->drawn; k++)
            good = take_picture(b, i + k, &d.images[k], s, e);
        drawing_release(&d);
    }
    *seconds = sum / (double)((t->drawn + n - 1) / n * n);
    mem_free(prompts);
    mem_free(seeds);
    r->prompts = NULL;
    r->seeds = NULL;
    return good;
}

/* --- comparing what was drawn --- */

/* 1 - SSIM, the mean over pictures of a kind and the same ones of the first variant. */
static bool differences(const struct trial *t, const struct trial_result *r, bool unrelated, double *out, struct err *e)
{
    double sum = 0;
    size_t count = 0;
    for (size_t k = 0; k < t->drawn; k++) {
        double ssim;
        if ((t->words[k].kind == TRIAL_UNRELATED) != unrelated)
            continue;
        if (!similarity("ssim", &r->pictures[k], &t->results[0].pictures[k], &ssim, e))
            return false;
        sum += 1 - ssim;
        count++;
    }
    *out = count ? sum / (double)count : NAN;
    return true;
}

static bool diversity(const struct trial *t, const struct trial_result *r, int64_t seeds, double *out, struct err *e)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < t->drawn && t->words[i].kind == TRIAL_PROMPT; i++)
        for (size_t k = i + 1; k < t->drawn && k / (size_t)seeds == i / (size_t)seeds; k++) {
            double ssim;
            if (!similarity("ssim", &r->pictures[i], &r->pictures[k], &ssim, e))
                return false;
            sum += 1 - ssim;
            count++;
        }
    *out = count ? sum / (double)count : NAN;
    return true;
}

static bool run_variant(struct bench *b, struct err *e)
{
    const struct trial_options *o = b->o;
    const struct trial_variant *v = &o->variants[b->variant];
    struct trial *t = b->trial;
    struct trial_result *result = &t->results[b->variant];
    struct draw_lora loras[TRIAL_LORAS];
    struct draw_request r;
    struct draw_plan plan;
    struct sums s = { 0 };
    for (int m = 0; m < TRIAL_MEASURES; m++)
        result->measure[m] = NAN;
    result->pictures = mem_zeroed(t->drawn + 1, sizeof *result->pictures);
    bool good = (result->pictures || err_nomem(e, "pictures")) && open_variant(b, v, &r, loras, e) &&
                (!t->has_style || style_init(&s.drawn, &b->vae, e));
    if (good && o->held_out && o->timesteps)
        good = measure_loss(b, &r, &result->measure[TRIAL_LOSS], e);
    if (good && t->drawn) {
        good = pipeline_plan(b->pipeline, &r, &plan, e) && draw_all(b, &r, &s, &result->measure[TRIAL_SECONDS], e);
        if (good)
            result->measure[TRIAL_MEMORY] = (double)(plan.weights + plan.activations + plan.caches);
    }
    if (good && s.pairs) {
        result->measure[TRIAL_PSNR] = s.psnr / (double)s.pairs;
        result->measure[TRIAL_SSIM] = s.ssim / (double)s.pairs;
        result->measure[TRIAL_THING] = (double)s.right / (double)s.pairs;
    }
    if (good && s.drawn.pictures) {
        good = style_distance(&s.drawn, &b->reference, &result->style, e);
        result->measure[TRIAL_STYLE] = result->style.style;
    }
    good = good && diversity(t, result, o->seeds > 0 ? o->seeds : 1, &result->measure[TRIAL_DIVERSITY], e) &&
           differences(t, result, false, &result->measure[TRIAL_CHANGE], e) &&
           differences(t, result, true, &result->measure[TRIAL_DRIFT], e);
    int64_t bytes = bytes_of_weights(v->model.path);
    if (v->lora_count)
        bytes = 0; /* what the variant adds to the model */
    for (size_t i = 0; i < v->lora_count; i++)
        bytes += bytes_of_weights(v->loras[i].path);
    result->measure[TRIAL_BYTES] = (double)bytes;
    style_release(&s.drawn);
    return good || err_add(e, "%s", v->name);
}

static bool prepare(struct bench *b, struct err *e)
{
    const struct trial_options *o = b->o;
    struct trial *t = b->trial;
    if (!o->count || o->count > TRIAL_MOST)
        return err_set(e, ERR_ARG, "%zu variants: there must be 1 to %d", o->count, TRIAL_MOST);
    t->count = o->count;
    t->results = mem_zeroed(o->count, sizeof *t->results);
    if (!t->results)
        return err_nomem(e, "results");
    if (!list_words(t, o, e) || !vae_files_open(&b->files, &o->variants[0].model, e))
        return false;
    /* Pictures are drawn, encoded and measured at one size. */
    struct model_folder folder;
    if (o->side) {
        t->side = o->side;
    } else {
        if (!model_folder_open_files(&folder, &o->variants[0].model, e))
            return false;
        t->side = model_folder_side(&folder);
        model_folder_release(&folder);
    }
    t->has_style = o->style != NULL;
    return reconstruction_init(&b->vae, &b->files, t->side, 1, false, o->type, o->backend, e) &&
           (!t->has_style || (style_init(&b->reference, &b->vae, e) &&
                              style_add_set(&b->reference, &b->vae, o->style, o->style_most, -1, b->progress, e) &&
                              style_floor(&b->vae, o->style, o->style_most, &t->floor, b->progress, e)));
}

bool trial_run(struct trial *t, const struct trial_options *o, const struct progress *progress, struct err *e)
{
    struct bench b = { .o = o, .trial = t, .progress = progress };
    *t = (struct trial){ 0 };
    bool good = prepare(&b, e) && make_looks(&b, e);
    for (; good && b.variant < o->count; b.variant++)
        good = run_variant(&b, e);
    if (good)
        progress_step(progress, "drawing", (long)t->drawn, (long)t->drawn, NULL);
    pipeline_free(b.pipeline);
    reconstruction_release(&b.vae);
    vae_files_release(&b.files);
    style_release(&b.reference);
    mem_free(b.looks);
    if (!good)
        trial_release(t);
    return good;
}

void trial_release(struct trial *t)
{
    for (size_t v = 0; v < t->count && t->results; v++) {
        for (size_t k = 0; k < t->drawn && t->results[v].pictures; k++)
            image_release(&t->results[v].pictures[k]);
        mem_free(t->results[v].pictures);
    }
    mem_free(t->results);
    mem_free(t->words);
    *t = (struct trial){ 0 };
}
