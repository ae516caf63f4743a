/* A model of quantised weights draws what the same weights draw once they are unpacked: only the order of sums differs. */
#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "base/mem.h"
#include "generate/generate.h"
#include "test.h"

/* Weights of a part by where they come from. */
struct parts {
    struct weights *of[PART_COUNT];
};

static const struct weights *weights_from(void *self, enum model_part part, struct err *e)
{
    const struct weights *w = ((struct parts *)self)->of[part];
    if (!w)
        err_set(e, ERR_MISSING, "part %d was not made", (int)part);
    return w;
}

/* Whether a weight can be kept in blocks: whole rows of them, or a kernel, whose blocks may run over rows. */
static bool takes(const struct weight *t, enum dtype type)
{
    int64_t count = t->shape.rank == 4 ? shape_count(t->shape) : shape_last(t->shape);
    return t->shape.rank > 1 && count % dtype_block(type) == 0;
}

/* The weights in a GGUF file of this type, and what that unpacks to in a safetensors file. Returns how many are quantised. */
static int convert(const struct weights *from, enum dtype type, struct weights **quantised, struct weights **plain)
{
    struct err e = { 0 };
    size_t count = weights_count(from);
    const char *packed_path = test_scratch("packed");
    int made = 0;
    struct weights_entry *entries = mem_zeroed(count, sizeof *entries);
    void **data = mem_zeroed(count, sizeof *data);
    assert_true(entries && data);
    for (size_t i = 0; i < count; i++) {
        const struct weight *t = weights_at(from, i);
        entries[i] = (struct weights_entry){ t->name, takes(t, type) ? type : DTYPE_F32, t->shape };
        made += takes(t, type);
    }
    struct weights_writer *w = weights_write_begin_as(WEIGHTS_GGUF, packed_path, entries, count, NULL, 0, &e);
    REQUIRE(w);
    for (size_t i = 0; i < count; i++)
        REQUIRE(weights_write_converted(w, i, weights_at(from, i)->data, weights_at(from, i)->type, &e));
    REQUIRE(weights_write_commit(w, &e));
    *quantised = weights_open(packed_path, &e);
    REQUIRE(*quantised);
    for (size_t i = 0; i < count; i++) {
        const struct weight *t = weights_need(*quantised, entries[i].name, &e);
        REQUIRE(t);
        CHECK(t->type == entries[i].type && shape_same(t->shape, entries[i].shape), "%s", t->name);
        entries[i].type = DTYPE_F32;
        data[i] = mem_aligned((size_t)shape_count(t->shape) * sizeof(float));
        assert_true(data[i] && dtype_convert(data[i], DTYPE_F32, t->data, t->type, (size_t)shape_count(t->shape)));
    }
    const char *plain_path = test_scratch("plain");
    REQUIRE(weights_save(plain_path, entries, (const void *const *)data, count, NULL, 0, &e));
    *plain = weights_open(plain_path, &e);
    REQUIRE(*plain);
    for (size_t i = 0; i < count; i++)
        mem_free(data[i]);
    mem_free(data);
    mem_free(entries);
    return made;
}

TEST(quantised_weights_draw_what_they_unpack_to)
{
    static const enum dtype types[] = { DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_K };
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(0, NULL, &e);
    struct model_folder f;
    REQUIRE(cpu && model_folder_open(&f, test_data("models/tiny-emoji"), &e));
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        struct parts made[2] = { 0 };
        struct drawing d[2];
        int quantised = 0;
        static const enum model_part parts[] = { PART_TEXT, PART_UNET, PART_VAE };
        for (int i = 0; i < 3; i++) {
            const struct weights *from = model_folder_weights(&f, parts[i], &e);
            REQUIRE(from);
            quantised += convert(from, types[k], &made[0].of[parts[i]], &made[1].of[parts[i]]);
        }
        CHECK(quantised >= (types[k] == DTYPE_Q4_K ? 15 : 100), "only %d weights are %s", quantised, dtype_name(types[k]));
        for (int i = 0; i < 2; i++) {
            struct pipeline_source source = { &f.parts, &f.scheduler, weights_from, NULL, &made[i] };
            struct pipeline *p = pipeline_new(&source, cpu, DTYPE_F32, &e);
            REQUIRE(p);
            struct draw_request r = draw_request_defaults(p);
            r.prompt = "a red circle on a blue ground";
            r.seed = 5;
            r.steps = 2;
            REQUIRE(pipeline_draw(p, &r, NULL, &d[i], &e));
            pipeline_free(p);
        }
        struct difference off = tensor_difference(d[0].latents, d[1].latents, shape_count(d[0].shape));
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("%s: %d weights, latents off by %.1e\n", dtype_name(types[k]), quantised, off.max);
        CHECK(off.max < 5e-5, "%s: latents are off by %g", dtype_name(types[k]), off.max);
        for (int i = 0; i < 2; i++) {
            drawing_release(&d[i]);
            for (int part = 0; part < PART_COUNT; part++)
                weights_free(made[i].of[part]);
        }
    }
    model_folder_release(&f);
    backend_cpu_free(cpu);
}
