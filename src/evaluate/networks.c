#include "evaluate/networks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "graph/passes.h"
#include "model/vision/inception.h"
#include "tensor/resample.h"

enum { SHOWN = 40 };

/* The program of a graph that is written: g is taken over. */
static struct program *make(struct graph *g, struct value output, struct params *params, const struct weights *weights,
                            const struct backend *backend, struct err *e)
{
    graph_output(g, output);
    if (!graph_ok(g, e)) {
        graph_release(g);
        return NULL;
    }
    graph_fuse(g, true);
    graph_prune(g);
    struct program *p = program_new(backend, g, e);
    if (p && !params_bind(params, p, weights, e)) {
        program_free(p);
        p = NULL;
    }
    return p;
}

/* --- Inception --- */

bool inception_net_open(struct inception_net *n, const char *weights, const struct backend *backend, struct err *e)
{
    struct graph g;
    *n = (struct inception_net){ 0 };
    params_init(&n->params);
    n->input = mem_zeroed((size_t)INCEPTION_SIDE * INCEPTION_SIDE * 3, sizeof *n->input);
    if (!n->input)
        return err_nomem(e, "a picture");
    if (!(n->weights = weights_open(weights, e)))
        return false;
    graph_init(&g);
    struct net net = { .g = &g, .type = DTYPE_F32, .part = "inception", .stored = n->weights, .params = &n->params };
    n->output = inception(&net, graph_input(&g, "picture", DTYPE_F32, SHAPE(1, INCEPTION_SIDE, INCEPTION_SIDE, 3)));
    n->features = n->output.id ? shape_last(graph_shape(&g, n->output)) : 0;
    n->program = make(&g, n->output, &n->params, n->weights, backend, e);
    return n->program ? program_set_input(n->program, "picture", n->input, e) : err_add(e, "%s", weights);
}

void inception_net_release(struct inception_net *n)
{
    program_free(n->program);
    params_release(&n->params);
    weights_free(n->weights);
    mem_free(n->input);
    *n = (struct inception_net){ 0 };
}

bool inception_net_see(struct inception_net *n, const struct image *image, float *out, struct err *e)
{
    enum { SIDE = INCEPTION_SIDE };
    size_t area = (size_t)image->width * (size_t)image->height;
    float *planes = mem_aligned(3 * (area + SIDE * SIDE) * sizeof *planes), *small = planes ? planes + 3 * area : NULL;
    if (!planes)
        return err_nomem(e, "a picture");
    for (size_t i = 0; i < area; i++)
        for (size_t c = 0; c < 3; c++)
            planes[c * area + i] = (float)image->pixels[i * (size_t)image->channels + c] / 255;
    bool good = tensor_resample(small, planes, 1, 3, image->height, image->width, SIDE, SIDE, RESAMPLE_BILINEAR, e);
    for (size_t i = 0; good && i < SIDE * SIDE; i++)
        for (size_t c = 0; c < 3; c++)
            n->input[3 * i + c] = 2 * small[c * SIDE * SIDE + i] - 1;
    mem_free(planes);
    good = good && program_run_stoppable(n->program, e);
    if (good)
        memcpy(out, program_output(n->program, n->output), (size_t)n->features * sizeof *out);
    return good;
}

/* --- CLIP --- */

static bool read_configs(struct clip_net *n, const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES];
    if (!path_join(path, folder, "config.json", e))
        return false;
    json_t *j = json_read(path, e), *text = json_object_get(j, "text_config"), *vision = json_object_get(j, "vision_config");
    int64_t width = 512;
    bool good = j && json_get_int(j, path, "projection_dim", 1, 1 << 20, &width, e);
    if (good && (!json_is_object(text) || !json_is_object(vision)))
        good = err_set(e, ERR_TYPE, "%s: no text_config and vision_config: CLIP scores need a CLIPModel's folder", path);
    good = good && clip_vision_config_from_json(&n->vision, vision, width, path, e);
    /* Each tower's own projection_dim is not the model's. */
    if (good && json_object_set_new(text, "projection_dim", json_integer(width)))
        good = err_nomem(e, "a config");
    struct clip_tokenizer *tokenizer = good ? clip_tokenizer_open(folder, e) : NULL;
    good = tokenizer && text_clip_open(&n->text, "CLIPTextModelWithProjection", text, path, tokenizer, folder, e);
    json_decref(j);
    return good;
}

bool clip_net_open(struct clip_net *n, const char *folder, const struct backend *backend, struct err *e)
{
    struct graph g;
    *n = (struct clip_net){ 0 };
    params_init(&n->params);
    if (!read_configs(n, folder, e) || !(n->weights = weights_open(folder, e)))
        return false;
    int64_t side = n->vision.image_size;
    n->input = mem_zeroed((size_t)(side * side * 3), sizeof *n->input);
    if (!n->input)
        return err_nomem(e, "a picture");
    graph_init(&g);
    struct net net = { .g = &g, .type = DTYPE_F32, .part = "clip", .stored = n->weights, .params = &n->params };
    n->seen = clip_vision(&net, &n->vision, graph_input(&g, "picture", DTYPE_F32, SHAPE(1, side, side, 3)));
    n->see = make(&g, n->seen, &n->params, n->weights, backend, e);
    if (!n->see || !program_set_input(n->see, "picture", n->input, e))
        return err_add(e, "%s", folder);
    params_release(&n->params);
    params_init(&n->params);
    graph_init(&g);
    n->said = n->text.kind->graph(&net, &n->text, TEXT_LAST, 0, TEXT_POOLED).pooled;
    n->read = make(&g, n->said, &n->params, n->weights, backend, e);
    return n->read || err_add(e, "%s", folder);
}

void clip_net_release(struct clip_net *n)
{
    program_free(n->see);
    program_free(n->read);
    params_release(&n->params);
    text_encoder_release(&n->text);
    weights_free(n->weights);
    mem_free(n->input);
    *n = (struct clip_net){ 0 };
}

int64_t clip_net_width(const struct clip_net *n)
{
    return n->vision.tower.projection_dim;
}

static void to_length_one(float *v, const float *from, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)from[i] * (double)from[i];
    for (int64_t i = 0; i < count; i++)
        v[i] = (float)((double)from[i] / sqrt(sum > 0 ? sum : 1));
}

/* As CLIPImageProcessor: the shorter side to the network's, cubic; the middle; OpenAI's means and deviations. */
bool clip_net_see(struct clip_net *n, const struct image *image, float *out, struct err *e)
{
    static const double mean[3] = { 0.48145466, 0.4578275, 0.40821073 }, deviation[3] = { 0.26862954, 0.26130258, 0.27577711 };
    int side = (int)n->vision.image_size, w = side, h = side;
    struct image small = { 0 }, square = { 0 };
    if (image->width < image->height)
        h = (int)((int64_t)side * image->height / image->width);
    else
        w = (int)((int64_t)side * image->width / image->height);
    bool good = image_resize(&small, image, w, h, IMAGE_BICUBIC, e) &&
                image_crop(&square, &small, (w - side) / 2, (h - side) / 2, side, side, e);
    for (int i = 0; good && i < side * side; i++)
        for (int c = 0; c < 3; c++)
            n->input[3 * i + c] = (float)((square.pixels[3 * i + c] / 255.0 - mean[c]) / deviation[c]);
    image_release(&small);
    image_release(&square);
    good = good && program_run_stoppable(n->see, e);
    if (good)
        to_length_one(out, program_output(n->see, n->seen), clip_net_width(n));
    return good;
}

bool clip_net_read(struct clip_net *n, const char *words, float *out, struct err *e)
{
    int32_t *ids = mem_zeroed((size_t)n->text.tokens, sizeof *ids);
    bool good = (ids || err_nomem(e, "words")) && n->text.kind->ids(&n->text, words, ids, e) &&
                n->text.kind->run(&n->text, n->read, ids, e);
    if (good)
        to_length_one(out, program_output(n->read, n->said), clip_net_width(n));
    mem_free(ids);
    return good;
}

/* --- figures --- */

/* [count, features] of a set; NULL with e set. */
static float *features_of(struct inception_net *n, const struct picture_set *set, int64_t most, const struct progress *progress,
                          struct err *e)
{
    size_t count = picture_set_thinned(set, most), width = (size_t)n->features;
    float *out = mem_pages(count * width * sizeof *out);
    bool good = out || err_nomem(e, "features");
    for (size_t k = 0; good && k < count; k++) {
        struct image image = { 0 };
        progress_step(progress, "looking at pictures", (long)k, (long)count, NULL);
        good = stop_check(e) && picture_set_load(set, picture_set_nth(set, most, k), &image, e) &&
               inception_net_see(n, &image, out + k * width, e);
        image_release(&image);
    }
    if (!good && out) {
        mem_pages_free(out, count * width * sizeof *out);
        out = NULL;
    }
    return out;
}

bool networks_distance(struct findings *f, struct inception_net *n, const struct picture_set *drawn, const struct picture_set *reference,
                       int64_t most, const struct kid *subsets, const struct progress *progress, struct err *e)
{
    const struct picture_set *sets[2] = { drawn, reference };
    size_t count[2], bytes[2];
    float *x[2] = { NULL, NULL };
    struct cloud clouds[2] = { { 0 } };
    struct kid kid = { 0 };
    double squared = 0;
    bool good = true;
    for (int i = 0; good && i < 2; i++) {
        count[i] = picture_set_thinned(sets[i], most);
        bytes[i] = count[i] * (size_t)n->features * sizeof **x;
        good = count[i] >= 2 || err_set(e, ERR_ARG, "%zu picture: FID and KID need at least 2 of each set, and mean something from thousands on",
                                        count[i]);
        good = good && (x[i] = features_of(n, sets[i], most, progress, e)) && cloud_init(&clouds[i], n->features, e);
        if (good)
            cloud_add(&clouds[i], x[i], (int64_t)count[i]);
    }
    good = good && cloud_distance(&clouds[0], &clouds[1], false, &squared, e) &&
           kid_of(&kid, x[0], (int64_t)count[0], x[1], (int64_t)count[1], n->features, subsets->subsets, subsets->size, progress, e);
    if (good) {
        findings_number(f, NULL, "drawn_pictures", (double)count[0], 0);
        findings_number(f, NULL, "reference_pictures", (double)count[1], 0);
        findings_number(f, NULL, "fid", squared, 3);
        findings_number(f, NULL, "kid", kid.mean, 5);
        findings_number(f, NULL, "kid_deviation", kid.deviation, 5);
        findings_number(f, NULL, "kid_subsets", (double)kid.subsets, 0);
        findings_number(f, NULL, "kid_subset_size", (double)kid.size, 0);
    }
    for (int i = 0; i < 2; i++) {
        cloud_release(&clouds[i]);
        if (x[i])
            mem_pages_free(x[i], bytes[i]);
    }
    return good;
}

struct scored {
    size_t picture;
    double score;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score) - (x->score < y->score) : (x->picture > y->picture) - (x->picture < y->picture);
}

static bool score_one(struct clip_net *n, const struct picture_set *set, size_t i, float *room, double *out, struct err *e)
{
    struct image image = { 0 };
    int64_t width = clip_net_width(n);
    bool good = picture_set_load(set, i, &image, e) && clip_net_see(n, &image, room, e) &&
                clip_net_read(n, set->at[i].caption, room + width, e);
    double dot = 0;
    for (int64_t k = 0; good && k < width; k++)
        dot += (double)room[k] * (double)room[width + k];
    *out = 100 * fmax(dot, 0);
    image_release(&image);
    return good;
}

bool networks_clip_score(struct findings *f, struct clip_net *n, const struct picture_set *drawn, int64_t most, bool pictures,
                         const struct progress *progress, struct err *e)
{
    size_t all = picture_set_thinned(drawn, most), count = 0;
    struct scored *scores = mem_zeroed(all + 1, sizeof *scores);
    float *room = mem_aligned(2 * (size_t)clip_net_width(n) * sizeof *room);
    double sum = 0;
    bool good = (scores && room) || err_nomem(e, "scores");
    for (size_t k = 0; good && k < all; k++) {
        size_t i = picture_set_nth(drawn, most, k);
        progress_step(progress, "comparing with words", (long)k, (long)all, NULL);
        if (!*drawn->at[i].caption)
            continue;
        scores[count].picture = i;
        good = stop_check(e) && score_one(n, drawn, i, room, &scores[count].score, e);
        sum += scores[count++].score;
    }
    if (good && !count)
        good = err_set(e, ERR_MISSING, "no picture tells what words it was drawn from: limn's PNG files do, and lists (metadata.jsonl)");
    if (good) {
        qsort(scores, count, sizeof *scores, by_score);
        findings_number(f, NULL, "clip_score", sum / (double)count, 3);
        findings_number(f, NULL, "clip_pictures", (double)count, 0);
        findings_table(f, "words", "Pictures and their words, the worst first", SHOWN);
        findings_column(f, "name", "", 0);
        findings_column(f, "clip_score", "100 times the cosine", 3);
        findings_column(f, "words", "", 0);
        if (pictures)
            findings_column(f, "picture", "", 0);
    }
    for (size_t k = 0; good && k < count; k++) {
        const struct picture_entry *p = &drawn->at[scores[k].picture];
        struct image image = { 0 };
        findings_row(f);
        findings_cell_text(f, "%s", p->name);
        findings_cell_number(f, scores[k].score);
        findings_cell_text(f, "%s", p->caption);
        if (pictures && findings_row_is_shown(f) && (good = picture_set_load(drawn, scores[k].picture, &image, e)))
            findings_cell_picture(f, &image, NULL);
        image_release(&image);
    }
    mem_free(scores);
    mem_free(room);
    return good && findings_ok(f, e);
}
