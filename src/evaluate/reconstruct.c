#include "evaluate/reconstruct.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "graph/passes.h"

static bool make_program(struct reconstruction *r, const struct vae_config *c, const struct backend *backend, struct err *e)
{
    struct graph g;
    graph_init(&g);
    struct net n = { .g = &g, .type = r->type, .part = "vae", .stored = r->weights, .params = &r->params };
    struct value picture = graph_input(&g, "picture", r->type, SHAPE(r->batch, r->side, r->side, 3));
    struct value mean = op_slice(&g, vae_encode(&n, c, picture), -1, 0, c->latent_channels);
    r->output = vae_decode(&n, c, mean);
    graph_output(&g, r->output);
    if (!graph_ok(&g, e)) {
        graph_release(&g);
        return false;
    }
    graph_fuse(&g, true);
    graph_prune(&g);
    r->program = program_new(backend, &g, e);
    return r->program && params_bind(&r->params, r->program, r->weights, e);
}

bool reconstruction_init(struct reconstruction *r, const char *folder, int64_t side, int64_t batch, enum dtype type,
                         const struct backend *backend, struct err *e)
{
    struct vae_config c;
    char vae[PATH_MAX_BYTES], config[PATH_MAX_BYTES];
    *r = (struct reconstruction){ .side = side, .batch = batch, .type = type };
    params_init(&r->params);
    if (!path_join(vae, folder, "vae", e) || !path_join(config, vae, "config.json", e) || !vae_config_read(&c, config, e))
        return false;
    if (c.in_channels != 3 || c.out_channels != 3)
        return err_set(e, ERR_TYPE, "%s: from %lld to %lld channels: pictures have 3", config, (long long)c.in_channels,
                       (long long)c.out_channels);
    if (side < 1 || side % vae_factor(&c))
        return err_set(e, ERR_ARG, "%lld pixels are no multiple of the VAE's factor %lld", (long long)side,
                       (long long)vae_factor(&c));
    size_t count = (size_t)(batch * side * side * 3);
    r->input = mem_aligned(count * sizeof *r->input);
    r->decoded = mem_aligned(count * sizeof *r->decoded);
    r->typed = mem_aligned(count * dtype_bytes(type));
    if (!r->input || !r->decoded || !r->typed)
        return err_nomem(e, "pictures");
    memset(r->input, 0, count * sizeof *r->input);
    r->weights = weights_open(vae, e);
    return r->weights && make_program(r, &c, backend, e) && program_set_input(r->program, "picture", r->typed, e);
}

void reconstruction_release(struct reconstruction *r)
{
    program_free(r->program);
    params_release(&r->params);
    weights_free(r->weights);
    mem_free(r->input);
    mem_free(r->decoded);
    mem_free(r->typed);
    *r = (struct reconstruction){ 0 };
}

bool reconstruction_run(struct reconstruction *r, const uint8_t *rgb, int64_t count, uint8_t *out, struct err *e)
{
    size_t used = (size_t)(count * r->side * r->side * 3), all = (size_t)(r->batch * r->side * r->side * 3);
    for (size_t i = 0; i < used; i++)
        r->input[i] = (float)rgb[i] * (2.0f / 255) - 1;
    dtype_convert(r->typed, r->type, r->input, DTYPE_F32, all);
    if (!program_run_stoppable(r->program, e))
        return false;
    dtype_convert(r->decoded, DTYPE_F32, program_output(r->program, r->output), r->type, all);
    for (size_t i = 0; i < used; i++) {
        if (!isfinite(r->decoded[i]))
            return err_set(e, ERR_FORMAT, "the VAE gives %f", (double)r->decoded[i]);
        out[i] = (uint8_t)nearbyintf(fminf(fmaxf(r->decoded[i] / 2 + 0.5f, 0), 1) * 255);
    }
    return true;
}
