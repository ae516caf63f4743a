#include "evaluate/reconstruct.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "graph/passes.h"

bool vae_files_open(struct vae_files *v, const struct model_files *files, struct err *e)
{
    char where[PATH_MAX_BYTES];
    *v = (struct vae_files){ 0 };
    if (!model_source_open(&v->source, files, e))
        return false;
    json_t *j = model_source_json(&v->source, "vae", where, e);
    bool good = j && vae_config_from_json(&v->config, j, where, e);
    json_decref(j);
    if (good && (v->config.in_channels != 3 || v->config.out_channels != 3))
        good = err_set(e, ERR_TYPE, "%s: from %lld to %lld channels: pictures have 3", where, (long long)v->config.in_channels,
                       (long long)v->config.out_channels);
    return good && (v->weights = model_source_weights(&v->source, "vae", e));
}

void vae_files_release(struct vae_files *v)
{
    weights_free(v->weights);
    model_source_release(&v->source);
    *v = (struct vae_files){ 0 };
}

static bool make_program(struct reconstruction *r, const struct weights *weights, const struct backend *backend, struct err *e)
{
    struct graph g;
    graph_init(&g);
    struct net n = { .g = &g, .type = r->type, .part = "vae", .stored = weights, .params = &r->params };
    struct value picture = graph_input(&g, "picture", r->type, SHAPE(r->batch, r->side, r->side, 3));
    r->mean = op_slice(&g, vae_encode(&n, &r->config, picture), -1, 0, r->config.latent_channels);
    r->output = r->decodes ? vae_decode(&n, &r->config, r->mean) : VALUE_NONE;
    graph_output(&g, r->mean);
    if (r->decodes)
        graph_output(&g, r->output);
    if (!graph_ok(&g, e)) {
        graph_release(&g);
        return false;
    }
    graph_fuse(&g, true);
    graph_prune(&g);
    r->program = program_new(backend, &g, e);
    return r->program && params_bind(&r->params, r->program, weights, e);
}

int64_t reconstruction_cells(const struct reconstruction *r)
{
    return r->side / vae_factor(&r->config);
}

int64_t reconstruction_channels(const struct reconstruction *r)
{
    return r->config.latent_channels;
}

bool reconstruction_init(struct reconstruction *r, const struct vae_files *vae, int64_t side, int64_t batch, bool decodes,
                         enum dtype type, const struct backend *backend, struct err *e)
{
    int64_t factor = vae_factor(&vae->config);
    *r = (struct reconstruction){ .config = vae->config, .side = side, .batch = batch, .type = type, .decodes = decodes };
    params_init(&r->params);
    if (side < 1 || side % factor)
        return err_set(e, ERR_ARG, "%lld pixels are no multiple of the VAE's factor %lld", (long long)side, (long long)factor);
    size_t count = (size_t)(batch * side * side * 3), cells = (size_t)(side / factor);
    size_t latents = (size_t)batch * cells * cells * (size_t)vae->config.latent_channels;
    r->input = mem_aligned(count * sizeof *r->input);
    r->decoded = mem_aligned((count > latents ? count : latents) * sizeof *r->decoded);
    r->typed = mem_aligned(count * dtype_bytes(type));
    if (!r->input || !r->decoded || !r->typed)
        return err_nomem(e, "pictures");
    memset(r->input, 0, count * sizeof *r->input);
    return make_program(r, vae->weights, backend, e) && program_set_input(r->program, "picture", r->typed, e);
}

void reconstruction_release(struct reconstruction *r)
{
    program_free(r->program);
    params_release(&r->params);
    mem_free(r->input);
    mem_free(r->decoded);
    mem_free(r->typed);
    *r = (struct reconstruction){ 0 };
}

/* Runs the program; what came of `output`, `used` numbers of `all`, into r->decoded. */
static bool run(struct reconstruction *r, const uint8_t *rgb, int64_t count, struct value output, size_t used, size_t all,
                struct err *e)
{
    size_t pixels = (size_t)(count * r->side * r->side * 3);
    for (size_t i = 0; i < pixels; i++)
        r->input[i] = (float)rgb[i] * (2.0f / 255) - 1;
    dtype_convert(r->typed, r->type, r->input, DTYPE_F32, (size_t)(r->batch * r->side * r->side * 3));
    if (!program_run_stoppable(r->program, e))
        return false;
    dtype_convert(r->decoded, DTYPE_F32, program_output(r->program, output), r->type, all);
    for (size_t i = 0; i < used; i++)
        if (!isfinite(r->decoded[i]))
            return err_set(e, ERR_FORMAT, "the VAE gives %f", (double)r->decoded[i]);
    return true;
}

bool reconstruction_run(struct reconstruction *r, const uint8_t *rgb, int64_t count, uint8_t *out, struct err *e)
{
    size_t used = (size_t)(count * r->side * r->side * 3), all = (size_t)(r->batch * r->side * r->side * 3);
    if (!run(r, rgb, count, r->output, used, all, e))
        return false;
    for (size_t i = 0; i < used; i++)
        out[i] = (uint8_t)nearbyintf(fminf(fmaxf(r->decoded[i] / 2 + 0.5f, 0), 1) * 255);
    return true;
}

bool reconstruction_encode(struct reconstruction *r, const uint8_t *rgb, int64_t count, float *latents, struct err *e)
{
    int64_t cells = reconstruction_cells(r), pixel = reconstruction_channels(r), each = cells * cells * pixel;
    if (!run(r, rgb, count, r->mean, (size_t)(count * each), (size_t)(r->batch * each), e))
        return false;
    memcpy(latents, r->decoded, (size_t)(count * each) * sizeof *latents);
    vae_scale(&r->config, latents, count * cells * cells, 1); /* a pixel's channels are one picture of one cell */
    return true;
}
