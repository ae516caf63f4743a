/* ControlNets beside diffusers' ControlNetModel (tests/reference/make_control.py). */
#include "backend/ref/ref.h"
#include "base/file.h"
#include "base/mem.h"
#include "judge.h"
#include "model/family/control_file.h"
#include "model/family/folder.h"
#include "single.h"
#include "test.h"

static const char *control_path(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "control/%s", name);
    return test_data(path);
}

/* Inputs of one call in a graph. */
struct call {
    struct value latent, timestep, text, picture;
    struct unet_extra extra;
};

static struct shape nhwc_of(const struct weights *w, const char *name)
{
    struct shape s = weights_find(w, name)->shape;
    return SHAPE(s.dim[0], s.dim[2], s.dim[3], s.dim[1]);
}

static struct call call_inputs(struct graph *g, const struct weights *w)
{
    struct call c = { graph_input(g, "latent", DTYPE_F32, nhwc_of(w, "sample")), graph_input(g, "timestep", DTYPE_F32, SHAPE(2)),
                      graph_input(g, "text", DTYPE_F32, weights_find(w, "states")->shape), graph_input(g, "picture", DTYPE_F32, nhwc_of(w, "picture")),
                      { .pooled = VALUE_NONE } };
    if (weights_find(w, "pooled")) {
        c.extra.pooled = graph_input(g, "pooled", DTYPE_F32, weights_find(w, "pooled")->shape);
        c.extra.time_ids = graph_input(g, "time_ids", DTYPE_F32, weights_find(w, "time_ids")->shape);
    }
    return c;
}

/* A graph with these outputs as a program with its weights and the inputs that it has of the call. */
static struct program *program_of(const struct judge_way *way, struct graph *g, struct params *params, const struct weights *stored,
                                  const struct value *out, size_t count, float *const *inputs)
{
    static const char *const names[] = { "latent", "timestep", "text", "picture", "pooled", "time_ids" };
    struct err e = { 0 };
    for (size_t i = 0; i < count; i++)
        graph_output(g, out[i]);
    REQUIRE(graph_ok(g, &e));
    if (way->fused)
        graph_fuse(g, true);
    graph_prune(g);
    struct program *p = program_new(way->backend, g, &e);
    REQUIRE(p && params_bind(params, p, stored, &e));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (graph_find(program_graph(p), VALUE_INPUT, names[i]).id)
            REQUIRE(program_set_input(p, names[i], inputs[i], &e));
    return p;
}

static void judge_call(const struct judge_way *way, const char *model, const struct control_file *control, const struct model_parts *parts,
                       const struct weights *unet_weights, const struct weights *w)
{
    struct err e = { 0 };
    struct graph g;
    struct params params, unet_params;
    struct value out[CONTROLNET_MOST];
    struct shape shape;
    bool told = weights_find(w, "pooled") != NULL;
    float *inputs[] = { judge_floats(w, "sample", true, &shape), judge_floats(w, "timesteps", false, &shape), judge_floats(w, "states", false, &shape),
                        judge_floats(w, "picture", true, &shape), told ? judge_floats(w, "pooled", false, &shape) : NULL,
                        told ? judge_floats(w, "time_ids", false, &shape) : NULL };
    graph_init(&g);
    params_init(&params);
    struct net n = { .g = &g, .type = DTYPE_F32, .part = "controlnet", .stored = control->weights, .params = &params };
    struct call c = call_inputs(&g, w);
    size_t count = controlnet(&n, &control->config, c.latent, c.picture, c.timestep, c.text, &c.extra, out);
    struct program *p = program_of(way, &g, &params, control->weights, out, count, inputs);
    REQUIRE(program_run(p, &e));

    struct graph ug;
    graph_init(&ug);
    params_init(&unet_params);
    struct net un = { .g = &ug, .type = DTYPE_F32, .part = "unet", .stored = unet_weights, .params = &unet_params };
    c = call_inputs(&ug, w);
    c.extra.controlled = true;
    struct value said = unet(&un, &parts->unet, c.latent, c.timestep, c.text, &c.extra);
    struct program *up = program_of(way, &ug, &unet_params, unet_weights, &said, 1, inputs);
    for (size_t i = 0; i < count; i++) {
        char name[40];
        snprintf(name, sizeof name, "residual.%zu", i);
        const struct weight *there = weights_find(w, name);
        REQUIRE(there != NULL);
        float *wanted = judge_floats(w, name, true, &shape);
        judge_near(program_output(p, out[i]), wanted, shape_count(shape), 1e-4, 1e-4, "%s %s: %s", model, way->name, name);
        REQUIRE(program_set_input(up, name, program_output(p, out[i]), &e));
        mem_free(wanted);
    }
    char beyond[40];
    snprintf(beyond, sizeof beyond, "residual.%zu", count);
    CHECK(!weights_find(w, beyond), "%s: diffusers has more residuals than %zu", model, count);
    REQUIRE(program_run(up, &e));
    float *wanted = judge_floats(w, "unet.out", true, &shape);
    judge_near(program_output(up, said), wanted, shape_count(shape), 1e-4, 1e-4, "%s %s: the denoiser", model, way->name);
    mem_free(wanted);
    program_free(up);
    program_free(p);
    params_release(&params);
    params_release(&unet_params);
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        mem_free(inputs[i]);
}

TEST(one_call_says_what_diffusers_says_and_the_denoiser_hears_it)
{
    static const char *const nets[][2] = { { "sd1", "tiny-sd1" }, { "sdxl", "tiny-sdxl" } };
    for (size_t i = 0; i < 2; i++) {
        struct err e = { 0 };
        struct control_file control;
        struct model_folder f;
        char expected[100];
        snprintf(expected, sizeof expected, "%s.safetensors", nets[i][1]);
        struct weights *w = weights_open(control_path(expected), &e);
        REQUIRE(w && control_file_open(&control, control_path(nets[i][0]), &e) && model_folder_open(&f, judge_path(nets[i][1], "", NULL), &e) &&
                control_file_fits(&control, &f.parts, &e));
        const struct weights *unet_weights = model_folder_weights(&f, PART_UNET, &e);
        REQUIRE(unet_weights != NULL);
        for (const struct judge_way *way = judge_ways(); way->backend; way++)
            judge_call(way, nets[i][1], &control, &f.parts, unet_weights, w);
        control_file_release(&control);
        model_folder_release(&f);
        weights_free(w);
    }
}

/* The folder's numbers in a file with its maker's names, and the folder's config beside it. */
TEST(a_file_in_its_makers_names_is_the_folder)
{
    struct err e = { 0 };
    struct control_file folder, file;
    json_t *list = single_list("control-tiny-sd1"), *row;
    const json_t *tensors = json_object_get(list, "tensors"), *inner = json_object_get(list, "inner");
    REQUIRE(control_file_open(&folder, control_path("sd1"), &e));
    enum { MOST = 500 };
    struct weights_entry entries[MOST];
    const void *numbers[MOST];
    size_t i, count = json_array_size(tensors);
    REQUIRE(count <= MOST);
    json_array_foreach(tensors, i, row) {
        const struct weight *from = weights_find(folder.weights, json_string_value(json_array_get(inner, i)));
        REQUIRE(from != NULL);
        entries[i] = (struct weights_entry){ json_string_value(json_array_get(row, 0)), from->type, from->shape };
        numbers[i] = from->data;
    }
    char path[PATH_MAX_BYTES], config[PATH_MAX_BYTES], from[PATH_MAX_BYTES], *data;
    size_t bytes;
    REQUIRE(path_join(path, test_scratch("cldm"), "control_v11.safetensors", &e) && folder_make(test_scratch("cldm"), &e) &&
            path_join(config, test_scratch("cldm"), "config.json", &e) && path_join(from, control_path("sd1"), "config.json", &e) &&
            file_read(from, 1 << 20, &data, &bytes, &e) && file_write_whole(config, data, bytes, &e) && weights_save(path, entries, numbers, count, NULL, 0, &e));
    mem_free(data);
    REQUIRE(control_file_open(&file, path, &e));
    CHECK(!memcmp(&file.config, &folder.config, sizeof file.config), "another config");
    for (i = 0; i < weights_count(folder.weights); i++) {
        const struct weight *a = weights_at(folder.weights, i), *b = weights_find(file.weights, a->name);
        CHECK(b && shape_same(a->shape, b->shape) && !memcmp(a->data, b->data, (size_t)shape_count(a->shape) * dtype_bytes(a->type)), "%s", a->name);
    }
    control_file_release(&file);
    control_file_release(&folder);
    json_decref(list);
}

/* diffusers' names and sizes, from the tensors alone. */
TEST(names_and_configs_of_published_files_follow_from_their_tensors)
{
    static const char *const kinds[] = { "control-sd1", "control-sd2", "control-sdxl" };
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct err e = { 0 };
        struct control_file file;
        struct controlnet_config wanted;
        json_t *list = single_list(kinds[k]), *row;
        size_t i;
        REQUIRE(control_file_open(&file, single_hollow(kinds[k], NULL), &e) &&
                controlnet_config_from_json(&wanted, json_object_get(list, "config"), kinds[k], &e));
        json_array_foreach(json_object_get(list, "tensors"), i, row) {
            const char *name = json_string_value(json_array_get(json_object_get(list, "inner"), i));
            const struct weight *t = weights_find(file.weights, name);
            bool same = t && t->shape.rank == (int)json_array_size(json_array_get(row, 1));
            for (int d = 0; same && d < t->shape.rank; d++)
                same = t->shape.dim[d] == json_integer_value(json_array_get(json_array_get(row, 1), (size_t)d));
            CHECK(same, "%s: %s", kinds[k], name);
        }
        wanted.unet.sample_size = file.config.unet.sample_size; /* a ControlNet has none */
        CHECK(!memcmp(&wanted, &file.config, sizeof wanted), "%s: another config", kinds[k]);
        control_file_release(&file);
        json_decref(list);
    }
}

TEST(what_is_no_control_net_or_anothers_is_told)
{
    struct err e = { 0 };
    struct control_file file;
    struct model_folder f;
    CHECK_FAILS(control_file_open(&file, judge_path("tiny-sd1", "unet", "diffusion_pytorch_model.safetensors"), &e), ERR_TYPE, "is no ControlNet");
    CHECK_FAILS(control_file_open(&file, judge_path("tiny-sd1", "unet", NULL), &e), ERR_MISSING, "no config.json of a ControlNetModel");
    CHECK_FAILS(control_file_open(&file, control_path("none"), &e), ERR_MISSING, "no such folder or file");
    CHECK_FAILS(single_file_open(single_hollow("control-sd1", NULL), &e), ERR_TYPE, "looks like a ControlNet");
    REQUIRE(control_file_open(&file, control_path("sdxl"), &e) && model_folder_open(&f, judge_path("tiny-sd1", "", NULL), &e));
    CHECK_FAILS(control_file_fits(&file, &f.parts, &e), ERR_TYPE, "for another denoiser: its width of level 0 is 6, the denoiser's 10");
    control_file_release(&file);
    model_folder_release(&f);
}
