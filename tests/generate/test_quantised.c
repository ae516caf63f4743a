/* A model of quantised weights draws what the same weights draw once they are unpacked, with a LoRA, too: only the order of sums
 * differs. */
#include <math.h>
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

/* A LoRA of every kind that meets a base weight otherwise: beside it (pairs), in its place (differences, LoHa), by its norm (DoRA); on
 * modules whose weights convert() quantises. Numbers from a small generator. */
struct lora_made {
    struct weights_entry entries[64];
    void *data[64];
    char names[64][160];
    size_t count;
    uint32_t random;
};

static void lora_tensor(struct lora_made *m, const char *module, const char *key, double scale, double mean, int rank, int64_t a,
                        int64_t b, int64_t kernel)
{
    struct shape shape = rank == 4 ? SHAPE(a, b, kernel, kernel) : SHAPE(a, b);
    float *x = m->data[m->count] = mem_aligned((size_t)shape_count(shape) * sizeof *x);
    for (int64_t i = 0; i < shape_count(shape); i++) {
        m->random = m->random * 1664525 + 1013904223;
        x[i] = (float)(mean + scale * (m->random / 2147483648.0 - 1));
    }
    snprintf(m->names[m->count], sizeof m->names[0], "%s.%s", module, key);
    m->entries[m->count] = (struct weights_entry){ m->names[m->count], DTYPE_F32, shape };
    m->count++;
}

static const char *lora_of_every_kind(void)
{
    enum { WIDTH = 32, WORDS = 48, RANK = 3 };
    static struct lora_made m;
    struct err e = { 0 };
    m.random = 7;
    const char *at = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q";
    lora_tensor(&m, at, "lora_down.weight", 0.5, 0, 2, RANK, WIDTH, 0);
    lora_tensor(&m, at, "lora_up.weight", 0.3, 0, 2, WIDTH, RANK, 0);
    at = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v"; /* DoRA */
    lora_tensor(&m, at, "lora_down.weight", 0.5, 0, 2, RANK, WIDTH, 0);
    lora_tensor(&m, at, "lora_up.weight", 0.3, 0, 2, WIDTH, RANK, 0);
    lora_tensor(&m, at, "dora_scale", 0.3, 1, 2, WIDTH, 1, 0);
    at = "lora_unet_up_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"; /* LoHa */
    lora_tensor(&m, at, "hada_w1_a", 0.5, 0, 2, WIDTH, RANK, 0);
    lora_tensor(&m, at, "hada_w1_b", 0.5, 0, 2, RANK, WIDTH, 0);
    lora_tensor(&m, at, "hada_w2_a", 0.5, 0, 2, WIDTH, RANK, 0);
    lora_tensor(&m, at, "hada_w2_b", 0.5, 0, 2, RANK, WIDTH, 0);
    lora_tensor(&m, "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_k", "diff", 0.05, 0, 2, WIDTH, WIDTH, 0);
    at = "lora_unet_mid_block_resnets_0_conv1"; /* LoCon */
    lora_tensor(&m, at, "lora_down.weight", 0.2, 0, 4, RANK, WIDTH, 3);
    lora_tensor(&m, at, "lora_up.weight", 0.2, 0, 4, WIDTH, RANK, 1);
    const char *path = test_scratch("every.safetensors");
    REQUIRE(weights_save(path, m.entries, (const void *const *)m.data, m.count, NULL, 0, &e));
    for (size_t i = 0; i < m.count; i++)
        mem_free(m.data[i]);
    m.count = 0;
    return path;
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
        struct drawing d[2][2]; /* without and with LoRAs, from both */
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
            REQUIRE(pipeline_draw(p, &r, NULL, &d[0][i], &e));
            struct draw_lora lora = { pipeline_lora(p, lora_of_every_kind(), NAN, &e), 0.8, 0.8, false };
            REQUIRE(lora.lora);
            struct lora_facts facts = lora_facts(lora.lora);
            CHECK(facts.unused_count == 0, "%zu keys are not used: %s", facts.unused_count, facts.unused[0]);
            r.loras = &lora;
            r.lora_count = 1;
            REQUIRE(pipeline_draw(p, &r, NULL, &d[1][i], &e));
            pipeline_free(p);
        }
        for (int with = 0; with < 2; with++) {
            struct difference off = tensor_difference(d[with][0].latents, d[with][1].latents, shape_count(d[0][0].shape));
            if (getenv("LIMN_TEST_VERBOSE"))
                print_message("%s: %d weights, %s LoRA latents off by %.1e\n", dtype_name(types[k]), quantised,
                              with ? "with" : "without", off.max);
            CHECK(off.max < 5e-5, "%s, %s LoRA: latents are off by %g", dtype_name(types[k]), with ? "with" : "without", off.max);
        }
        struct difference does = tensor_difference(d[1][0].latents, d[0][0].latents, shape_count(d[0][0].shape));
        CHECK(does.max > 1e-2, "%s: the LoRA changes %g", dtype_name(types[k]), does.max);
        for (int i = 0; i < 2; i++) {
            drawing_release(&d[0][i]);
            drawing_release(&d[1][i]);
            for (int part = 0; part < PART_COUNT; part++)
                weights_free(made[i].of[part]);
        }
    }
    model_folder_release(&f);
    backend_cpu_free(cpu);
}
