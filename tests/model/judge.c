#include "judge.h"

#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/file.h"
#include "base/mem.h"

const char *const judge_models[3] = { "tiny-sd1", "tiny-sd2", "tiny-emoji" };

const struct judge_way *judge_ways(void)
{
    static struct judge_way ways[4];
    if (!ways[0].backend) {
        struct err e = { 0 };
        const struct backend *cpu = backend_cpu_new(0, NULL, &e);
        if (!cpu)
            fail_msg("%s", e.text);
        ways[0] = (struct judge_way){ "ref", backend_ref(), false };
        ways[1] = (struct judge_way){ "ref fused", backend_ref(), true };
        ways[2] = (struct judge_way){ "cpu fused", cpu, true };
    }
    return ways;
}

const char *judge_path(const char *model, const char *part, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "models/%s/%s%s%s", model, part, name ? "/" : "", name ? name : "");
    return test_data(path);
}

struct weights *judge_expected(const char *model)
{
    char path[200];
    struct err e = { 0 };
    snprintf(path, sizeof path, "expected/%s.safetensors", model);
    struct weights *w = weights_open(test_data(path), &e);
    if (!w)
        fail_msg("%s", e.text);
    return w;
}

json_t *judge_info(const char *model)
{
    char path[200];
    struct err e = { 0 };
    snprintf(path, sizeof path, "expected/%s.json", model);
    json_t *j = json_read(test_data(path), &e);
    if (!j)
        fail_msg("%s", e.text);
    return j;
}

static const struct weight *need(const struct weights *from, const char *name)
{
    struct err e = { 0 };
    const struct weight *w = weights_need(from, name, &e);
    if (!w)
        fail_msg("%s", e.text);
    return w;
}

float *judge_floats(const struct weights *from, const char *name, bool nhwc, struct shape *shape)
{
    const struct weight *w = need(from, name);
    int64_t count = shape_count(w->shape);
    float *plain = mem_zeroed((size_t)count, sizeof *plain);
    assert_non_null(plain);
    assert_true(dtype_convert(plain, DTYPE_F32, w->data, w->type, (size_t)count));
    struct shape s = w->shape;
    if (nhwc) {
        assert_int_equal(s.rank, 4);
        float *turned = mem_zeroed((size_t)count, sizeof *turned);
        assert_non_null(turned);
        tensor_nchw_to_nhwc(turned, plain, s.dim[0], s.dim[1], s.dim[2], s.dim[3]);
        mem_free(plain);
        plain = turned;
        s = SHAPE(s.dim[0], s.dim[2], s.dim[3], s.dim[1]);
    }
    if (shape)
        *shape = s;
    return plain;
}

int32_t *judge_ids(const struct weights *from, const char *name, struct shape *shape)
{
    const struct weight *w = need(from, name);
    int64_t count = shape_count(w->shape);
    int32_t *ids = mem_zeroed((size_t)count, sizeof *ids);
    assert_non_null(ids);
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)dtype_load(w->data, w->type, i);
    *shape = w->shape;
    return ids;
}

const char *judge_copy_of(const char *model, const char *name)
{
    char command[4 * PATH_MAX_BYTES], source[200];
    snprintf(source, sizeof source, "models/%s", model);
    const char *to = test_scratch(name);
    snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", to, test_data(source), to);
    assert_int_equal(system(command), 0);
    return to;
}

void judge_change(const char *folder, const char *file, const char *key, const char *value)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    REQUIRE(path_join(path, folder, file, &e));
    json_t *j = json_read(path, &e);
    REQUIRE(j != NULL);
    if (*value)
        assert_int_equal(json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
    else
        assert_int_equal(json_object_del(j, key), 0);
    REQUIRE(json_write(j, path, &e));
    json_decref(j);
}

float *judge_run(const struct judge_way *way, struct graph *g, struct params *params, const struct weights *stored,
                 struct value out, ...)
{
    struct err e = { 0 };
    REQUIRE(graph_ok(g, &e));
    graph_output(g, out);
    graph_prune(g);
    if (way->fused)
        graph_fuse(g, true);
    struct program *p = program_new(way->backend, g, &e);
    REQUIRE(p != NULL);
    REQUIRE(params_bind(params, p, stored, &e));
    va_list inputs;
    va_start(inputs, out);
    for (const char *name; (name = va_arg(inputs, const char *));)
        REQUIRE(program_set_input(p, name, va_arg(inputs, const void *), &e));
    va_end(inputs);
    REQUIRE(program_run(p, &e));
    const struct value_info *info = graph_value(program_graph(p), out);
    size_t count = (size_t)shape_count(info->shape);
    float *came = mem_zeroed(count, sizeof *came);
    assert_non_null(came);
    assert_true(dtype_convert(came, DTYPE_F32, program_output(p, out), info->type, count));
    program_free(p);
    params_release(params);
    return came;
}

void judge_near(const float *came, const float *wanted, int64_t count, double max, double relative, const char *format,
                ...)
{
    char name[200];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    struct difference d = tensor_difference(came, wanted, count);
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("%-44s max %.2e  relative %.2e\n", name, d.max, d.relative);
    CHECK(d.max <= max && d.relative <= relative, "%s: max %.3e (limit %.0e) at %lld: %.6g, wanted %.6g; relative %.3e",
          name, d.max, max, (long long)d.worst, (double)came[d.worst], (double)wanted[d.worst], d.relative);
}
