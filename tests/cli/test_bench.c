/* The shapes that limn bench measures are those of the models that they are named after: as many parameters as their files have. */
#include "base/mem.h"
#include "cli/bench.h"
#include "test.h"

static int64_t parameters(const struct params *p)
{
    int64_t sum = 0;
    for (size_t i = 0; i < p->count; i++)
        sum += shape_count(p->at[i].shape);
    return sum;
}

static int64_t denoiser_parameters(const struct unet_config *c)
{
    struct err e = { 0 };
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "unet", .params = &params };
    struct unet_extra extra = { .pooled = VALUE_NONE };
    if (c->text_time) {
        extra.pooled = graph_input(&g, "pooled", DTYPE_F32, SHAPE(1, c->addition_width - 6 * c->time_ids_dim));
        extra.time_ids = graph_input(&g, "time_ids", DTYPE_F32, SHAPE(1, 6));
    }
    (void)unet(&n, c, graph_input(&g, "latent", DTYPE_F32, SHAPE(1, 16, 16, c->in_channels)),
               graph_input(&g, "timestep", DTYPE_F32, SHAPE(1)),
               graph_input(&g, "text", DTYPE_F32, SHAPE(1, 77, c->cross_attention_dim)), &extra);
    REQUIRE(graph_ok(&g, &e));
    int64_t count = parameters(&params);
    graph_release(&g);
    params_release(&params);
    return count;
}

static int64_t text_parameters(const struct clip_config *c)
{
    struct err e = { 0 };
    struct graph g;
    struct params params;
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "text_encoder", .params = &params };
    struct value states = clip_text(&n, c, graph_input(&g, "ids", DTYPE_I32, SHAPE(1, c->positions)), 0);
    (void)clip_pool(&n, c, states, graph_input(&g, "place", DTYPE_I32, SHAPE(1)));
    REQUIRE(graph_ok(&g, &e));
    int64_t count = parameters(&params);
    graph_release(&g);
    params_release(&params);
    return count;
}

TEST(the_shapes_have_as_many_parameters_as_the_models)
{
    static const struct { const char *name; int64_t unet, text; } cases[] = {
        { "sd15", 859520964, 123060480 },
        { "sdxl", 2567463684, 694659840 }, /* the second text encoder, with its projection */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct bench_shape s;
        REQUIRE(bench_shape_read(&s, cases[i].name, &e));
        int64_t unet = denoiser_parameters(&s.unet), text = text_parameters(&s.text);
        CHECK(unet == cases[i].unet && text == cases[i].text, "%s: %lld and %lld parameters", cases[i].name, (long long)unet,
              (long long)text);
    }
}

TEST(a_shape_that_is_neither_name_nor_folder_is_an_error)
{
    struct err e = { 0 };
    struct bench_shape s;
    CHECK_FAILS(bench_shape_read(&s, "sdxxl", &e), ERR_IO, "--shape wants sd15, sdxl or a model folder");
    REQUIRE(bench_shape_read(&s, test_data("models/tiny-refiner"), &e));
    CHECK(s.text.hidden_size == 20 && s.side == 8, "the refiner's");
}
