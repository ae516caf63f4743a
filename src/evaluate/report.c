#include "evaluate/report.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "evaluate/reconstruct.h"

enum { RECONSTRUCT_BATCH = 8, SHEET_COLUMNS = 8, SHEET_RECONSTRUCTED = 2 * SHEET_COLUMNS };

const struct report_goal report_goals[REPORT_PARTS] = {
    [PART_A] = { "held-out pictures through the autoencoder, PSNR", "autoencoder", 28 },
    [PART_B] = { "the asked thing", "thing", 0.60 },
    [PART_C] = { "the asked style", "style", 0.80 },
    [PART_D] = { "a thing in a style it was never shown in", "held out", 0.20 },
    [PART_E] = { "two things side by side, both right", "pair", 0.30 },
    [PART_F] = { "the named background colour", "background", 0.70 },
    [PART_G] = { "a sheet of 48 prompts", "sheet", 0 },
};

static bool read_parts(struct report *r, const char *parts, struct err *e)
{
    for (const char *c = parts && *parts ? parts : "abcdefg"; *c; c++) {
        if (*c < 'a' || *c >= 'a' + REPORT_PARTS)
            return err_set(e, ERR_ARG, "parts \"%s\": there are a to g", parts);
        r->asked[*c - 'a'] = true;
    }
    return true;
}

static bool kind_is_asked(const struct report *r, enum question_kind kind)
{
    const bool *a = r->asked;
    const bool asked[QUESTION_KINDS] = {
        [QUESTION_TRAINED] = a[PART_B] || a[PART_C], [QUESTION_HELD_OUT] = a[PART_D], [QUESTION_PAIR] = a[PART_E],
        [QUESTION_COLOUR] = a[PART_F], [QUESTION_FREE] = a[PART_G],
    };
    return asked[kind];
}

static bool make_questions(struct report *r, const struct report_options *o, struct err *e)
{
    struct question *list = NULL;
    size_t count = 0;
    bool good = true;
    for (int kind = 0; good && kind < QUESTION_KINDS; kind++) {
        r->first[kind] = count;
        good = !kind_is_asked(r, (enum question_kind)kind) ||
               questions_add(o->dataset, (enum question_kind)kind, (long)o->count, &list, &count, e);
    }
    r->first[QUESTION_KINDS] = count;
    r->answers = good ? mem_zeroed(count + 1, sizeof *r->answers) : NULL;
    if (good && !r->answers)
        good = err_nomem(e, "the answers");
    if (!good) {
        questions_free(list, count);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        r->answers[i].question = list[i];
    r->count = count;
    mem_free(list);
    return true;
}

/* --- drawing --- */

/* Every batch is full, so that one program does them all: the last one draws its last question again and again. */
static bool draw_batch(struct report *r, struct pipeline *p, struct draw_request *request, size_t from, struct err *e)
{
    enum { MOST = 256 };
    const char *prompts[MOST];
    uint64_t seeds[MOST];
    struct drawing d;
    for (size_t k = 0; k < (size_t)request->batch; k++) {
        const struct question *q = &r->answers[from + k < r->count ? from + k : r->count - 1].question;
        prompts[k] = q->prompt;
        seeds[k] = r->seed + (uint64_t)q->number;
    }
    request->prompts = prompts;
    request->seeds = seeds;
    if (!pipeline_draw(p, request, NULL, &d, e))
        return false;
    for (size_t k = 0; k < (size_t)d.batch && from + k < r->count; k++) {
        r->answers[from + k].image = d.images[k];
        d.images[k] = (struct image){ 0 };
    }
    r->denoiser_calls += d.calls;
    drawing_release(&d);
    return true;
}

static bool draw_all(struct report *r, struct pipeline *p, const struct report_options *o, const struct progress *progress,
                     struct err *e)
{
    double begun = clock_seconds();
    struct draw_request request = draw_request_defaults(p);
    request.steps = o->steps ? o->steps : request.steps;
    request.cfg = o->cfg >= 0 ? o->cfg : request.cfg;
    request.sampler = o->sampler;
    request.width = request.height = r->side_px;
    request.batch = o->batch;
    r->steps = request.steps;
    r->cfg = request.cfg;
    r->sampler = o->sampler ? o->sampler : "model";
    pipeline_keep(p, true);
    for (size_t i = 0; i < r->count; i += (size_t)o->batch) {
        progress_step(progress, "drawing", (long)i, (long)r->count, NULL);
        if (!stop_check(e) || !draw_batch(r, p, &request, i, e))
            return false;
    }
    if (r->count)
        progress_step(progress, "drawing", (long)r->count, (long)r->count, NULL);
    r->draw_seconds = clock_seconds() - begun;
    return true;
}

/* --- judging --- */

static void count_one(struct report *r, enum report_part part, const struct question *q, bool right)
{
    int style = dataset_picture(r->dataset, q->facts.picture[0])->style_index;
    struct report_share *all[] = { &r->share[part], &r->by_language[part][q->facts.language], &r->by_style[style][part] };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        all[i]->asked++;
        all[i]->right += right;
    }
}

static void judge_one(struct report *r, struct answer *a, const struct looks *whole, const struct looks *half)
{
    uint8_t look[2 * LOOK_SIDE * LOOK_SIDE * 3];
    const struct question *q = &a->question;
    const uint8_t *rgb = a->image.pixels;
    const uint32_t *asked = q->facts.picture;
    switch (q->kind) {
    case QUESTION_TRAINED:
        looks_of(whole, rgb, 0, look);
        a->thing[0] = looks_judge(whole, look, asked[0], AMONG_TRAINED);
        a->style = looks_judge(whole, look, asked[0], AMONG_CONCEPT);
        a->right = a->thing[0].right;
        count_one(r, PART_B, q, a->right);
        count_one(r, PART_C, q, a->style.right);
        break;
    case QUESTION_HELD_OUT:
        looks_of(whole, rgb, 0, look);
        a->thing[0] = looks_judge(whole, look, asked[0], AMONG_STYLE);
        a->right = a->thing[0].right;
        count_one(r, PART_D, q, a->right);
        break;
    case QUESTION_PAIR:
        for (int k = 0; k < 2; k++) {
            looks_of(half, rgb, k, look);
            a->thing[k] = looks_judge(half, look, asked[k], AMONG_TRAINED);
            r->either_half.asked++;
            r->either_half.right += a->thing[k].right;
        }
        a->right = a->thing[0].right && a->thing[1].right;
        count_one(r, PART_E, q, a->right);
        break;
    case QUESTION_COLOUR:
        a->border = border_colour(rgb, r->side_px);
        a->right = nearest_scene_colour(a->border) == q->facts.colour;
        count_one(r, PART_F, q, a->right);
        break;
    default:
        break;
    }
}

static bool judge_all(struct report *r, const struct looks *whole, const struct progress *progress, struct err *e)
{
    struct looks half = { 0 };
    bool pairs = r->first[QUESTION_PAIR + 1] > r->first[QUESTION_PAIR];
    bool good = !pairs || looks_init(&half, r->dataset, r->side_px, true, e);
    for (size_t i = 0; good && i < r->count; i++) {
        progress_step(progress, "judging", (long)i, (long)r->count, NULL);
        judge_one(r, &r->answers[i], whole, &half);
    }
    looks_release(&half);
    return good;
}

/* --- the autoencoder --- */

struct reconstructing {
    struct report *report;
    struct reconstruction *vae;
    const struct looks *looks; /* NULL: PSNR is measured; else pictures are judged as those of part b */
    uint8_t *in, *out;         /* [RECONSTRUCT_BATCH, side, side, 3] */
    struct image *sheet;       /* [2 * SHEET_RECONSTRUCTED] */
    double squares;
};

static bool keep_tile(struct image *out, const uint8_t *rgb, int side, struct err *e)
{
    if (!image_make(out, side, side, 3, e))
        return false;
    memcpy(out->pixels, rgb, image_bytes(out));
    return true;
}

static bool measure_one(struct reconstructing *w, const uint8_t *in, const uint8_t *out, uint32_t picture, struct err *e)
{
    struct report *r = w->report;
    size_t bytes = (size_t)r->side_px * (size_t)r->side_px * 3;
    if (w->looks) {
        uint8_t look[LOOK_SIDE * LOOK_SIDE * 3];
        looks_of(w->looks, out, 0, look);
        r->ceiling.asked++;
        r->ceiling.right += looks_judge(w->looks, look, picture, AMONG_TRAINED).right;
        return true;
    }
    double squares = 0;
    for (size_t i = 0; i < bytes; i++)
        squares += (double)((in[i] - out[i]) * (in[i] - out[i]));
    double psnr = psnr_of(squares, (double)bytes);
    long n = r->reconstructed++;
    w->squares += squares;
    r->psnr += (psnr - r->psnr) / (double)(n + 1);
    r->psnr_least = n == 0 || psnr < r->psnr_least ? psnr : r->psnr_least;
    if (n >= SHEET_RECONSTRUCTED)
        return true;
    struct image *tile = &w->sheet[(n / SHEET_COLUMNS) * 2 * SHEET_COLUMNS + n % SHEET_COLUMNS];
    return keep_tile(tile, in, r->side_px, e) && keep_tile(tile + SHEET_COLUMNS, out, r->side_px, e);
}

/* Sends pictures that were asked for through the autoencoder. */
static bool reconstruct_all(struct reconstructing *w, const uint32_t *pictures, size_t count, const struct progress *progress,
                            struct err *e)
{
    struct report *r = w->report;
    size_t bytes = (size_t)r->side_px * (size_t)r->side_px * 3;
    for (size_t i = 0; i < count; i += RECONSTRUCT_BATCH) {
        size_t n = count - i < RECONSTRUCT_BATCH ? count - i : RECONSTRUCT_BATCH;
        progress_step(progress, "reconstructing", (long)i, (long)count, NULL);
        if (!stop_check(e))
            return false;
        for (size_t k = 0; k < n; k++) {
            struct scene_facts facts = scene_of(pictures[i + k], DATASET_ENGLISH);
            if (!scene_paint(r->dataset, &facts, r->side_px, w->in + k * bytes, e))
                return false;
        }
        if (!reconstruction_run(w->vae, w->in, (int64_t)n, w->out, e))
            return false;
        for (size_t k = 0; k < n; k++)
            if (!measure_one(w, w->in + k * bytes, w->out + k * bytes, pictures[i + k], e))
                return false;
    }
    return true;
}

/* The pictures behind the questions of a kind, in their order; *count of them. NULL with e set: no memory. */
static uint32_t *pictures_of(const struct report_options *o, enum question_kind kind, size_t *count, struct err *e)
{
    struct question *list = NULL;
    *count = 0;
    uint32_t *out = NULL;
    if (questions_add(o->dataset, kind, (long)o->count, &list, count, e) && !(out = mem_zeroed(*count + 1, sizeof *out)))
        err_nomem(e, "a list of pictures");
    for (size_t i = 0; out && i < *count; i++)
        out[i] = list[i].facts.picture[0];
    questions_free(list, *count);
    return out;
}

static bool measure_autoencoder(struct report *r, const struct report_options *o, const struct looks *looks,
                                const struct progress *progress, struct err *e)
{
    struct reconstruction vae = { 0 };
    struct vae_files files = { 0 };
    struct image tiles[2 * SHEET_RECONSTRUCTED] = { { 0 } };
    size_t batch = (size_t)RECONSTRUCT_BATCH * (size_t)r->side_px * (size_t)r->side_px * 3, held_out, trained;
    uint32_t *held_out_pictures = pictures_of(o, QUESTION_HELD_OUT, &held_out, e);
    uint32_t *trained_pictures = held_out_pictures ? pictures_of(o, QUESTION_TRAINED, &trained, e) : NULL;
    struct reconstructing w = { .report = r, .vae = &vae, .in = mem_aligned(batch), .out = mem_aligned(batch),
                                .sheet = tiles };
    bool good = trained_pictures && vae_files_open(&files, &(struct model_files){ .path = o->folder }, e) &&
                reconstruction_init(&vae, &files, r->side_px, RECONSTRUCT_BATCH, true, o->type, o->backend, e);
    if (good && (!w.in || !w.out))
        good = err_nomem(e, "pictures");
    good = good && reconstruct_all(&w, held_out_pictures, held_out, progress, e);
    r->psnr_pooled = psnr_of(w.squares, (double)(r->reconstructed * (long)r->side_px * r->side_px * 3));
    w.looks = looks;
    good = good && reconstruct_all(&w, trained_pictures, trained, progress, e);
    /* Of the last row both halves are there, or neither. */
    size_t rows = ((size_t)r->reconstructed + SHEET_COLUMNS - 1) / SHEET_COLUMNS;
    size_t shown = rows < SHEET_RECONSTRUCTED / SHEET_COLUMNS ? rows : SHEET_RECONSTRUCTED / SHEET_COLUMNS;
    for (size_t i = 0; good && i < 2 * shown * SHEET_COLUMNS; i++)
        if (!tiles[i].pixels && (good = image_make(&tiles[i], r->side_px, r->side_px, 3, e)))
            image_fill(&tiles[i], 0xFFFFFF);
    good = good && (!shown || image_grid(&r->reconstructions, tiles, 2 * shown * SHEET_COLUMNS, SHEET_COLUMNS, 2, 0xE4E4E4, e));
    for (size_t i = 0; i < 2 * SHEET_RECONSTRUCTED; i++)
        image_release(&tiles[i]);
    mem_free(held_out_pictures);
    mem_free(trained_pictures);
    mem_free(w.in);
    mem_free(w.out);
    reconstruction_release(&vae);
    vae_files_release(&files);
    return good;
}

/* --- all of it --- */

/* The size of the model's pictures: the whole model's, or its autoencoder's where there is no more than that. */
static bool find_side(const struct report_options *o, const struct pipeline *p, int *side, struct err *e)
{
    char vae[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    struct vae_config c;
    if (p) {
        *side = (int)model_folder_side(pipeline_folder(p));
        return true;
    }
    if (!path_join(vae, o->folder, "vae", e) || !path_join(path, vae, "config.json", e) || !vae_config_read(&c, path, e))
        return false;
    *side = (int)c.sample_size;
    return true;
}

static bool load_dataset(struct report *r, const struct report_options *o, const struct progress *progress, struct err *e)
{
    int size = dataset_size_px(o->dataset);
    if (size && size < r->side_px)
        return err_set(e, ERR_ARG, "%s: loaded at %d pixels, the model draws %d", dataset_folder(o->dataset), size,
                       r->side_px);
    return size || dataset_load(o->dataset, r->side_px, true, progress, e);
}

static bool run(struct report *r, const struct report_options *o, struct pipeline **p, struct looks *whole,
                const struct progress *progress, struct err *e)
{
    bool draws = false;
    if (!read_parts(r, o->parts, e) || !path_join(r->model, "", o->folder, e))
        return false;
    for (int part = PART_B; part < REPORT_PARTS; part++)
        draws = draws || r->asked[part];
    if (o->batch < 1 || o->batch > 256)
        return err_set(e, ERR_ARG, "batch %lld: must be 1 to 256", (long long)o->batch);
    if (draws && !(*p = pipeline_open(o->folder, o->backend, o->type, e)))
        return false;
    r->by_style = mem_zeroed((size_t)dataset_styles(o->dataset) + 1, sizeof *r->by_style);
    if (!r->by_style)
        return err_nomem(e, "a report");
    return find_side(o, *p, &r->side_px, e) && load_dataset(r, o, progress, e) && make_questions(r, o, e) &&
           looks_init(whole, r->dataset, r->side_px, false, e) &&
           (!draws || draw_all(r, *p, o, progress, e)) && judge_all(r, whole, progress, e) &&
           (!r->asked[PART_A] || measure_autoencoder(r, o, whole, progress, e));
}

bool report_run(struct report *r, const struct report_options *o, const struct progress *progress, struct err *e)
{
    double begun = clock_seconds();
    struct pipeline *p = NULL;
    struct looks whole = { 0 };
    *r = (struct report){ .dataset = o->dataset, .seed = o->seed, .batch = o->batch, .precision = dtype_name(o->type) };
    bool good = run(r, o, &p, &whole, progress, e);
    r->seconds = clock_seconds() - begun;
    looks_release(&whole);
    pipeline_free(p);
    if (!good)
        report_release(r);
    return good;
}

void report_release(struct report *r)
{
    for (size_t i = 0; i < r->count; i++) {
        mem_free(r->answers[i].question.prompt);
        image_release(&r->answers[i].image);
    }
    mem_free(r->answers);
    mem_free(r->by_style);
    image_release(&r->reconstructions);
    *r = (struct report){ 0 };
}
