/* Fine-tuning steps at the shape's size, batch 1, without the model's other parts: latents and text states come from a cache. */
#include <stdlib.h>

#include "base/mem.h"
#include "cli/bench.h"
#include "model/layer/adapter.h"
#include "train/objective.h"

enum { RANK = 16 };

static struct value step_graph(struct net *n, const struct bench_options *o)
{
    const struct bench_shape *s = o->shape;
    struct graph *g = n->g;
    struct shape latents = SHAPE(1, s->side, s->side, s->unet.in_channels);
    struct value latent = graph_input(g, "latent", o->type, latents);
    struct value text = graph_input(g, "text", o->type, SHAPE(1, s->text.positions, unet_text_width(&s->unet)));
    struct value said = bench_denoiser(n, s, 1, latent, text);
    return objective_graph(&objective_plain, g, said, graph_input(g, "target", DTYPE_F32, latents),
                           graph_input(g, "weight", DTYPE_F32, SHAPE(1)), VALUE_NONE);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct adapter *)a)->name, ((const struct adapter *)b)->name);
}

/* Queries, keys, values and what follows them. */
static bool is_target(const char *name)
{
    static const char *const ends[] = { ".to_q.weight", ".to_k.weight", ".to_v.weight", ".to_out.0.weight" };
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i]))
            return true;
    return false;
}

/* The adapters of all targets among the weights that a graph asked for. Names are owned. */
static bool list_targets(struct adapters *out, const struct params *listed, struct err *e)
{
    struct adapter *at = mem_zeroed(listed->count + 1, sizeof *at);
    out->at = at;
    for (size_t i = 0; at && i < listed->count; i++) {
        const char *name = listed->at[i].name;
        if (!is_target(name))
            continue;
        char *module = mem_string(name);
        if (!module)
            return err_nomem(e, "the list of targets");
        module[strlen(module) - strlen(".weight")] = 0;
        at[out->count++] = (struct adapter){ .name = module, .rank = RANK, .scale = 1 };
    }
    if (out->count)
        qsort(at, out->count, sizeof *at, by_name);
    return at || err_nomem(e, "the list of targets");
}

static void release_targets(struct adapters *a)
{
    for (size_t i = 0; i < a->count; i++)
        mem_free((char *)(uintptr_t)a->at[i].name);
    mem_free((struct adapter *)(uintptr_t)a->at);
}

static bool lora(const struct bench_options *o, enum recompute recompute, struct bench_result *out, struct err *e)
{
    struct graph g, listing;
    struct params learnt, frozen, listed;
    struct adapters adapters = { .trained = true, .params = &learnt };
    graph_init(&listing);
    params_init(&listed);
    step_graph(&(struct net){ .g = &listing, .type = o->type, .part = "unet", .params = &listed }, o);
    bool good = graph_ok(&listing, e) && list_targets(&adapters, &listed, e);
    graph_release(&listing);
    params_release(&listed);
    if (good) {
        graph_init(&g);
        params_init(&learnt);
        params_init(&frozen);
        struct net n = { .g = &g, .type = o->type, .part = "unet", .params = &frozen, .kept = o->type, .in_place = true,
                         .adapters = &adapters };
        struct value loss = step_graph(&n, o);
        good = bench_train(o, &(struct bench_training){ .g = &g, .params = &learnt, .frozen = &frozen, .loss = loss, .batch = 1,
                                                        .recompute = recompute }, out, e);
        params_release(&frozen);
    }
    release_targets(&adapters);
    return good;
}

bool bench_lora(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    return lora(o, RECOMPUTE_NONE, out, e);
}

bool bench_lora_recompute(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    return lora(o, RECOMPUTE_CHEAP, out, e);
}

bool bench_full(const struct bench_options *o, struct bench_result *out, struct err *e)
{
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = o->type, .part = "unet", .trained = true, .params = &params };
    struct value loss = step_graph(&n, o);
    return bench_train(o, &(struct bench_training){ .g = &g, .params = &params, .loss = loss, .batch = 1,
                                                    .optimizer = OPTIMIZER_ADAMW8BIT }, out, e);
}
