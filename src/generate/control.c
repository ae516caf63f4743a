#include "generate/control.h"

#include <math.h>

#include "base/mem.h"
#include "generate/generate_internal.h"
#include "graph/passes.h"
#include "sampler/noise_schedule.h"

struct control_net *control_net_open(const char *path, struct err *e)
{
    struct control_net *c = mem_zeroed(1, sizeof *c);
    if (!c)
        err_nomem(e, "a ControlNet");
    if (c && control_file_open(&c->file, path, e)) {
        c->holders = 1;
        return c;
    }
    mem_free(c);
    return NULL;
}

struct control_net *control_net_keep(struct control_net *c)
{
    c->holders++;
    return c;
}

void control_net_drop(struct control_net *c)
{
    if (!c || --c->holders)
        return;
    control_file_release(&c->file);
    mem_free(c);
}

bool controls_check(const struct model_parts *m, const struct draw_control *list, size_t count, struct err *e)
{
    if (count > CONTROL_MOST)
        return err_set(e, ERR_ARG, "%zu ControlNets: at most %d", count, CONTROL_MOST);
    for (size_t i = 0; i < count; i++) {
        const struct draw_control *c = &list[i];
        if (!isfinite(c->strength) || !(c->start >= 0 && c->start <= 1 && c->end >= 0 && c->end <= 1))
            return err_set(e, ERR_ARG, "%s: strength %g from %g to %g: a number, and parts of the run from 0 to 1", path_name(c->net->file.path),
                           c->strength, c->start, c->end);
        if (!control_file_fits(&c->net->file, m, e))
            return false;
    }
    return true;
}

/* --- programs --- */

static void stage_release(struct control_stage *s)
{
    program_free(s->program);
    params_release(&s->params);
    mem_free(s->picture);
    control_net_drop(s->net);
    *s = (struct control_stage){ 0 };
}

void controls_release(struct controls *c)
{
    for (size_t i = 0; i < c->count; i++)
        stage_release(&c->at[i]);
    for (size_t i = 0; i < CONTROLNET_MOST; i++)
        mem_free(c->residual[i]);
    mem_free(c->sum);
    *c = (struct controls){ 0 };
}

static bool make_stage(struct control_stage *s, struct pipeline *p, struct control_net *net, const struct draw_sizes *z, struct err *e)
{
    const struct controlnet_config *config = &net->file.config;
    int64_t cell = controlnet_cell(config);
    struct graph g;
    graph_init(&g);
    params_init(&s->params);
    s->net = control_net_keep(net);
    struct net n = { .g = &g, .type = p->type, .part = "controlnet", .stored = net->file.weights, .params = &s->params };
    struct value latent = graph_input(&g, "latent", n.type, SHAPE(z->rows, z->h, z->w, z->channels));
    struct value timestep = graph_input(&g, "timestep", DTYPE_F32, SHAPE(z->rows));
    struct value text = graph_input(&g, "text", n.type, SHAPE(z->rows, z->tokens, z->text_width));
    struct value picture = graph_input(&g, "picture", n.type, SHAPE(z->rows, z->h * cell, z->w * cell, config->picture_channels));
    struct unet_extra extra = { .pooled = VALUE_NONE };
    if (config->unet.text_time)
        add_text_time(p, &n, z, &extra);
    s->count = controlnet(&n, config, latent, picture, timestep, text, &extra, s->out);
    for (size_t i = 0; i < s->count; i++)
        graph_output(&g, s->out[i]);
    if (graph_ok(&g, e)) {
        graph_fuse(&g, true);
        graph_prune(&g);
        s->program = program_new(p->backend, &g, e);
    } else {
        graph_release(&g);
    }
    return s->program || err_add(e, "making the program of %s", path_name(net->file.path));
}

/* Whether the programs are those of these ControlNets at these sizes. */
static bool serves(const struct controls *c, const struct draw_control *list, size_t count, const int64_t key[STAGE_KEYS])
{
    bool same = c->count == count && !memcmp(c->key, key, sizeof c->key);
    for (size_t i = 0; same && i < count; i++)
        same = c->at[i].net == list[i].net;
    return same;
}

bool controls_make(struct controls *c, struct pipeline *p, const struct draw_control *list, size_t count, const struct draw_sizes *s, struct err *e)
{
    const int64_t key[STAGE_KEYS] = { s->rows, s->h, s->w, s->tokens };
    if (serves(c, list, count, key))
        return true;
    controls_release(c);
    memcpy(c->key, key, sizeof c->key);
    while (c->count < count) {
        c->count++; /* whatever there is of it is released */
        if (!make_stage(&c->at[c->count - 1], p, list[c->count - 1].net, s, e)) {
            controls_release(c);
            return false;
        }
    }
    return true;
}

struct program_memory controls_memory(const struct controls *c)
{
    struct program_memory all = { 0 };
    for (size_t i = 0; i < c->count; i++) {
        struct program_memory m = program_memory(c->at[i].program);
        all.arena += m.arena;
        all.packed += m.packed;
        all.borrowed += m.borrowed;
        for (size_t k = 0; k < c->at[i].count; k++) /* the sum, and what the denoiser reads of it */
            all.arena += i ? 0 : (size_t)shape_count(graph_shape(program_graph(c->at[i].program), c->at[i].out[k])) * (sizeof(float) + sizeof(float));
    }
    return all;
}

/* --- the picture --- */

/* Picture i of a control at this size into out[h, w, 3]. */
static bool fit_picture(const struct draw_control *c, int64_t i, int64_t h, int64_t w, bool comfy, float *out, struct err *e)
{
    size_t numbers = (size_t)(c->picture_h * c->picture_w) * 3;
    const float *from = c->picture + (size_t)(i % c->picture_n) * numbers;
    if (c->picture_h == h && c->picture_w == w) {
        memcpy(out, from, numbers * sizeof *out);
        return true;
    }
    if (!comfy) {
        struct image a = { 0 }, b = { 0 };
        bool good = image_make(&a, (int)c->picture_w, (int)c->picture_h, 3, e);
        for (size_t k = 0; good && k < numbers; k++)
            a.pixels[k] = (uint8_t)rintf(255 * fminf(fmaxf(from[k], 0), 1));
        good = good && image_resize(&b, &a, (int)w, (int)h, IMAGE_LANCZOS, e);
        for (size_t k = 0; good && k < image_bytes(&b); k++)
            out[k] = (float)b.pixels[k] / 255;
        image_release(&a);
        image_release(&b);
        return good;
    }
    /* the middle with the new proportions; each new pixel is the old one below its middle */
    double is = (double)c->picture_w / (double)c->picture_h, wanted = (double)w / (double)h;
    int64_t left = is > wanted ? (int64_t)rint(((double)c->picture_w - (double)c->picture_w * (wanted / is)) / 2) : 0;
    int64_t top = is < wanted ? (int64_t)rint(((double)c->picture_h - (double)c->picture_h * (is / wanted)) / 2) : 0;
    int64_t rows = c->picture_h - 2 * top, columns = c->picture_w - 2 * left;
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            int64_t from_y = top + (int64_t)(((double)y + 0.5) * (double)rows / (double)h);
            int64_t from_x = left + (int64_t)(((double)x + 0.5) * (double)columns / (double)w);
            memcpy(out + (y * w + x) * 3, from + (from_y * c->picture_w + from_x) * 3, 3 * sizeof *out);
        }
    return true;
}

static bool set_picture(struct control_stage *s, const struct pipeline *p, const struct draw_control *c, const struct controls_feed *f, struct err *e)
{
    const struct controlnet_config *config = &s->net->file.config;
    int64_t h = f->sizes->h * controlnet_cell(config), w = f->sizes->w * controlnet_cell(config);
    size_t each = (size_t)(h * w) * 3, bytes = dtype_bytes(p->type);
    float *one = mem_aligned(each * sizeof *one);
    s->picture = s->picture ? s->picture : mem_aligned((size_t)f->sizes->rows * each * bytes);
    bool good = (one && s->picture) || err_nomem(e, "a ControlNet's picture");
    for (int64_t i = 0; good && i < f->sizes->rows; i++) {
        if (i && c->picture_n == 1) {
            memcpy((char *)s->picture + (size_t)i * each * bytes, s->picture, each * bytes);
            continue;
        }
        good = fit_picture(c, i % f->batch, h, w, f->comfy, one, e);
        for (size_t k = 0; good && config->bgr && k < each; k += 3) {
            float red = one[k];
            one[k] = one[k + 2];
            one[k + 2] = red;
        }
        if (good)
            dtype_convert((char *)s->picture + (size_t)i * each * bytes, p->type, one, DTYPE_F32, each);
    }
    mem_free(one);
    return good && program_set_input(s->program, "picture", s->picture, e);
}

/* --- a run --- */

double sigma_of_part(const struct noise_schedule *n, double part)
{
    return part <= 0 ? INFINITY : part >= 1 ? 0 : schedule_sigma_at(n, (1 - part) * (double)(n->count - 1));
}

static bool make_buffers(struct controls *c, const struct pipeline *p, struct program *unet, struct err *e)
{
    struct control_stage *first = &c->at[0];
    for (size_t i = 0; i < first->count; i++) {
        size_t count = (size_t)shape_count(graph_shape(program_graph(first->program), first->out[i]));
        c->most = count > c->most ? count : c->most;
        if (!c->residual[i] && !(c->residual[i] = mem_zeroed(count, dtype_bytes(p->type))))
            return err_nomem(e, "what ControlNets say");
        if (!program_set_input(unet, path_of("residual.%zu", i).s, c->residual[i], e))
            return false;
    }
    if (!c->sum)
        c->sum = mem_aligned(2 * c->most * sizeof *c->sum);
    return c->sum || err_nomem(e, "what ControlNets say");
}

bool controls_begin(struct controls *c, struct pipeline *p, const struct draw_control *list, const struct controls_feed *f, struct err *e)
{
    struct noise_schedule n;
    if (!noise_schedule_init(&n, f->scheduler, e))
        return false;
    for (size_t i = 0; i < c->count; i++) {
        c->at[i].first_sigma = sigma_of_part(&n, list[i].start);
        c->at[i].last_sigma = sigma_of_part(&n, list[i].end);
    }
    noise_schedule_release(&n);
    bool good = make_buffers(c, p, f->unet, e);
    for (size_t i = 0; good && i < c->count; i++) {
        struct control_stage *s = &c->at[i];
        if (!s->bound && !params_bind(&s->params, s->program, s->net->file.weights, e))
            return false;
        s->bound = true;
        good = program_set_input(s->program, "latent", f->latent, e) && program_set_input(s->program, "timestep", f->timestep, e) &&
               program_set_input(s->program, "text", f->text, e) &&
               (!s->net->file.config.unet.text_time || (program_set_input(s->program, "pooled", f->pooled, e) &&
                                                        program_set_input(s->program, "time_ids", f->time_ids, e))) &&
               set_picture(s, p, &list[i], f, e);
    }
    return good;
}

/* Every row and channel becomes its mean over the picture. */
static void take_means(float *x, struct shape s)
{
    int64_t area = s.dim[1] * s.dim[2], channels = s.dim[3];
    for (int64_t row = 0; row < s.dim[0]; row++)
        for (int64_t ch = 0; ch < channels; ch++) {
            float *at = x + row * area * channels + ch;
            double sum = 0;
            for (int64_t i = 0; i < area; i++)
                sum += at[i * channels];
            for (int64_t i = 0; i < area; i++)
                at[i * channels] = (float)(sum / (double)area);
        }
}

bool controls_run(struct controls *c, const struct pipeline *p, const struct draw_control *list, const struct controls_feed *f,
                  const struct controls_time *t, struct err *e)
{
    bool active[CONTROL_MOST], any = false;
    for (size_t i = 0; i < c->count; i++) {
        double done = (double)t->call / (double)t->calls, then = (double)(t->call + 1) / (double)t->calls;
        active[i] = list[i].strength != 0 && (f->comfy || t->calls < 1 ? t->sigma <= c->at[i].first_sigma && t->sigma >= c->at[i].last_sigma
                                                                      : !(done < list[i].start || then > list[i].end));
        any = any || active[i];
        if (active[i] && !program_run_stoppable(c->at[i].program, e))
            return false;
    }
    size_t count = c->at[0].count;
    for (size_t k = 0; k < count && (any || !c->silent); k++) {
        struct shape shape = graph_shape(program_graph(c->at[0].program), c->at[0].out[k]);
        size_t numbers = (size_t)shape_count(shape);
        float *sum = c->sum, *one = c->sum + c->most;
        memset(sum, 0, numbers * sizeof *sum);
        for (size_t i = 0; i < c->count; i++) {
            if (!active[i])
                continue;
            bool means = c->at[i].net->file.config.means;
            dtype_convert(one, DTYPE_F32, program_output(c->at[i].program, c->at[i].out[k]), p->type, numbers);
            if (means)
                take_means(one, shape);
            /* without words to follow, the fine levels say less: from a tenth at the first to all at the last */
            double scale = list[i].strength * (f->guess && !means ? pow(10, (double)k / (double)(count - 1) - 1) : 1);
            for (size_t j = f->guess && f->guided ? numbers / 2 : 0; j < numbers; j++)
                sum[j] += (float)scale * one[j];
        }
        dtype_convert(c->residual[k], p->type, sum, DTYPE_F32, numbers);
    }
    c->silent = !any;
    return true;
}
