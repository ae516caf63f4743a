/* Text encoder, UNet and VAE against what transformers and diffusers compute with the same weights in f32. Reference and
 * f64 differ by about 3e-6; the worst seen here is a third of the limits. A norm with eps 1e-5 for 1e-6 costs five times them. */
#include "base/mem.h"
#include "judge.h"
#include "model/denoiser/unet.h"
#include "model/text/clip.h"
#include "model/vae/vae.h"

static struct weights *open_part(const char *model, const char *part)
{
    struct err e = { 0 };
    struct weights *w = weights_open(judge_path(model, part, NULL), &e);
    if (!w)
        fail_msg("%s", e.text);
    return w;
}

static void text_case(const char *model, const struct judge_way *way, int64_t skip)
{
    struct err e = { 0 };
    struct clip_config c;
    REQUIRE(clip_config_read(&c, judge_path(model, "text_encoder", "config.json"), &e));
    struct weights *expected = judge_expected(model), *stored = open_part(model, "text_encoder");
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct shape s;
    int32_t *ids = judge_ids(expected, "text.ids", &s);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "text_encoder", .stored = stored, .params = &params };
    struct value out = clip_text(&n, &c, graph_input(&g, "ids", DTYPE_I32, s), skip);
    float *came = judge_run(way, &g, &params, stored, out, "ids", ids, NULL);
    float *wanted = judge_floats(expected, skip ? "text.skip1" : "text.last", false, &s);
    judge_near(came, wanted, shape_count(s), 1e-5, 1e-6, "%s, %s, text skip %d", model, way->name, (int)skip);
    mem_free(came);
    mem_free(wanted);
    mem_free(ids);
    weights_free(expected);
    weights_free(stored);
}

TEST(text_states_are_those_of_transformers)
{
    for (size_t m = 0; m < sizeof judge_models / sizeof *judge_models; m++)
        for (const struct judge_way *way = judge_ways(); way->backend; way++)
            for (int64_t skip = 0; skip < 2; skip++)
                text_case(judge_models[m], way, skip);
}

static void unet_case(const char *model, const struct judge_way *way)
{
    struct err e = { 0 };
    struct unet_config c;
    REQUIRE(unet_config_read(&c, judge_path(model, "unet", "config.json"), &e));
    struct weights *expected = judge_expected(model), *stored = open_part(model, "unet");
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct shape latent, time, text;
    float *x = judge_floats(expected, "unet.sample", true, &latent);
    float *t = judge_floats(expected, "unet.timesteps", false, &time);
    float *states = judge_floats(expected, "unet.states", false, &text);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "unet", .stored = stored, .params = &params };
    struct value out = unet(&n, &c, graph_input(&g, "latent", DTYPE_F32, latent),
                            graph_input(&g, "timestep", DTYPE_F32, time), graph_input(&g, "text", DTYPE_F32, text), NULL);
    float *came = judge_run(way, &g, &params, stored, out, "latent", x, "timestep", t, "text", states, NULL);
    float *wanted = judge_floats(expected, "unet.out", true, &latent);
    judge_near(came, wanted, shape_count(latent), 4e-6, 1e-6, "%s, %s, unet", model, way->name);
    mem_free(came);
    mem_free(wanted);
    mem_free(x);
    mem_free(t);
    mem_free(states);
    weights_free(expected);
    weights_free(stored);
}

TEST(one_unet_call_is_that_of_diffusers)
{
    for (size_t m = 0; m < sizeof judge_models / sizeof *judge_models; m++)
        for (const struct judge_way *way = judge_ways(); way->backend; way++)
            unet_case(judge_models[m], way);
}

static void vae_case(const char *model, const struct judge_way *way, bool decode)
{
    struct err e = { 0 };
    struct vae_config c;
    REQUIRE(vae_config_read(&c, judge_path(model, "vae", "config.json"), &e));
    struct weights *expected = judge_expected(model), *stored = open_part(model, "vae");
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct shape s;
    float *x = judge_floats(expected, decode ? "vae.latent" : "vae.picture", true, &s);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "vae", .stored = stored, .params = &params };
    struct value in = graph_input(&g, "x", DTYPE_F32, s);
    struct value out = decode ? vae_decode(&n, &c, in) : vae_encode(&n, &c, in);
    float *came = judge_run(way, &g, &params, stored, out, "x", x, NULL);
    float *wanted = judge_floats(expected, decode ? "vae.decoded" : "vae.moments", true, &s);
    judge_near(came, wanted, shape_count(s), 2e-5, 1e-6, "%s, %s, vae %s", model, way->name, decode ? "decode" : "encode");
    mem_free(came);
    mem_free(wanted);
    mem_free(x);
    weights_free(expected);
    weights_free(stored);
}

TEST(a_tiny_autoencoder_encodes_and_decodes_as_that_of_diffusers)
{
    for (const struct judge_way *way = judge_ways(); way->backend; way++) {
        vae_case("tiny-taesd", way, false);
        vae_case("tiny-taesd", way, true);
    }
}

TEST(the_vae_encodes_and_decodes_as_that_of_diffusers)
{
    for (size_t m = 0; m < sizeof judge_models / sizeof *judge_models; m++)
        for (const struct judge_way *way = judge_ways(); way->backend; way++)
            for (int decode = 0; decode < 2; decode++)
                vae_case(judge_models[m], way, decode);
}
