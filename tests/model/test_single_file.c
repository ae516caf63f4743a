/* Models in single files: recognised by their tensors, seen under the names that the models ask for. The lists of
 * tests/data/single say where diffusers finds each tensor. */
#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/file.h"
#include "base/mem.h"
#include "generate/generate.h"
#include "model/family/single_file.h"
#include "single.h"
#include "test.h"

static const struct {
    const char *model;
    enum single_kind kind;
    bool inpaints;
} kinds[] = {
    { "sd1", KIND_SD1, false },   { "sd1-inpaint", KIND_SD1, true },          { "sd2", KIND_SD2, false },
    { "sdxl", KIND_SDXL, false }, { "sdxl-refiner", KIND_SDXL_REFINER, false },
    { "kolors", KIND_KOLORS, false },
};

static enum single_part part_of(const char *name)
{
    for (int i = 0; i < SINGLE_PARTS; i++)
        if (!strcmp(single_part_names[i], name))
            return (enum single_part)i;
    fail_msg("no part %s", name);
    return SINGLE_PARTS;
}

TEST(every_tensor_of_every_family_is_where_diffusers_finds_it)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *model = kinds[i].model, *part;
        struct err e = { 0 };
        struct single_file *f = single_file_open(single_hollow(model, NULL), &e);
        REQUIRE(f);
        CHECK(single_file_kind(f) == kinds[i].kind && single_file_inpaints(f) == kinds[i].inpaints, "%s is a %s", model,
              single_kind_names[single_file_kind(f)]);
        json_t *list = single_list(model), *rows, *row;
        json_object_foreach(json_object_get(list, "parts"), part, rows) {
            struct weights *view = single_file_weights(f, part_of(part), &e);
            REQUIRE(view);
            size_t k;
            json_array_foreach(rows, k, row) {
                const char *inner = json_string_value(json_array_get(row, 0)), *how = json_string_value(json_array_get(row, 2));
                const struct weight *t = weights_find(view, inner);
                const struct weight *from = weights_find(single_file_all(f), json_string_value(json_array_get(row, 1)));
                CHECK(t && from, "%s: %s: no %s", model, part, inner);
                size_t offset = *how >= '0' && *how <= '2' ? (size_t)(*how - '0') * weight_bytes(t) : 0;
                CHECK(*how == 't' || t->data == (const char *)from->data + offset, "%s: %s: %s lies elsewhere", model, part, inner);
                CHECK(weight_bytes(t) * (*how >= '0' && *how <= '2' ? 3 : 1) == weight_bytes(from), "%s: %s", model, inner);
            }
            /* nothing else, but a layer and a projection of SD 2 that nobody asks for */
            size_t more = weights_count(view) - json_array_size(rows);
            CHECK(more == 0 || (strstr(part, "text_encoder") && more < 20), "%s: %s has %zu more", model, part, more);
            weights_free(view);
        }
        json_decref(list);
        single_file_free(f);
    }
}

/* The text of a value of a config; "" if the key is not there. */
static void config_is(struct single_file *f, const char *model, const char *part, const char *key, const char *want)
{
    struct err e = { 0 };
    json_t *j = single_file_json(f, part, PREDICTS_AUTO, &e);
    REQUIRE(j);
    json_t *v = json_object_get(j, key);
    char came[200] = "";
    size_t n = v ? json_dumpb(v, came, sizeof came - 1, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9)) : 0;
    came[n < sizeof came ? n : 0] = 0;
    CHECK(!strcmp(came, want), "%s: %s: %s is %s, wanted %s", model, part, key, came, want);
    json_decref(j);
}

TEST(configs_follow_from_shapes_and_family)
{
    static const struct { const char *model, *part, *key, *value; } cases[] = {
        { "sd1", "", "_class_name", "\"StableDiffusionPipeline\"" },
        { "sd1", "unet", "block_out_channels", "[320,640,1280,1280]" },
        { "sd1", "unet", "attention_head_dim", "8" },
        { "sd1", "unet", "layers_per_block", "2" },
        { "sd1", "unet", "cross_attention_dim", "768" },
        { "sd1", "unet", "use_linear_projection", "false" },
        { "sd1", "unet", "down_block_types", "[\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"DownBlock2D\"]" },
        { "sd1", "unet", "up_block_types", "[\"UpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\"]" },
        { "sd1", "unet", "sample_size", "64" },
        { "sd1", "unet", "transformer_layers_per_block", "" },
        { "sd1", "vae", "block_out_channels", "[128,256,512,512]" },
        { "sd1", "vae", "layers_per_block", "2" },
        { "sd1", "vae", "scaling_factor", "0.18215" },
        { "sd1", "text_encoder", "num_hidden_layers", "12" },
        { "sd1", "text_encoder", "hidden_act", "\"quick_gelu\"" },
        { "sd1", "text_encoder", "num_attention_heads", "12" },
        { "sd1", "text_encoder", "vocab_size", "49408" },
        { "sd1", "scheduler", "_class_name", "\"PNDMScheduler\"" },
        { "sd1", "scheduler", "prediction_type", "\"epsilon\"" },
        { "sd1-inpaint", "", "_class_name", "\"StableDiffusionInpaintPipeline\"" },
        { "sd1-inpaint", "unet", "in_channels", "9" },
        { "sd2", "unet", "attention_head_dim", "[5,10,20,20]" },
        { "sd2", "unet", "use_linear_projection", "true" },
        { "sd2", "unet", "cross_attention_dim", "1024" },
        { "sd2", "text_encoder", "num_hidden_layers", "23" },
        { "sd2", "text_encoder", "hidden_act", "\"gelu\"" },
        { "sd2", "text_encoder", "intermediate_size", "4096" },
        { "sd2", "tokenizer", "pad_token", "\"!\"" },
        { "sdxl", "", "_class_name", "\"StableDiffusionXLPipeline\"" },
        { "sdxl", "unet", "transformer_layers_per_block", "[1,2,10]" },
        { "sdxl", "unet", "attention_head_dim", "[5,10,20]" },
        { "sdxl", "unet", "addition_embed_type", "\"text_time\"" },
        { "sdxl", "unet", "projection_class_embeddings_input_dim", "2816" },
        { "sdxl", "unet", "sample_size", "128" },
        { "sdxl", "vae", "scaling_factor", "0.13025" },
        { "sdxl", "text_encoder", "hidden_act", "\"quick_gelu\"" },
        { "sdxl", "text_encoder_2", "hidden_act", "\"gelu\"" },
        { "sdxl", "text_encoder_2", "architectures", "[\"CLIPTextModelWithProjection\"]" },
        { "sdxl", "text_encoder_2", "num_hidden_layers", "32" },
        { "sdxl", "text_encoder_2", "projection_dim", "1280" },
        { "sdxl", "tokenizer_2", "pad_token", "\"!\"" },
        { "sdxl", "scheduler", "_class_name", "\"EulerDiscreteScheduler\"" },
        { "sdxl-refiner", "", "text_encoder", "[null,null]" },
        { "sdxl-refiner", "unet", "block_out_channels", "[384,768,1536,1536]" },
        { "sdxl-refiner", "unet", "transformer_layers_per_block", "[1,4,4,4]" },
        { "sdxl-refiner", "unet", "down_block_types", "[\"DownBlock2D\",\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"DownBlock2D\"]" },
        { "sdxl-refiner", "unet", "projection_class_embeddings_input_dim", "2560" },
    };
    struct single_file *f = NULL;
    const char *open = "";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        if (strcmp(open, cases[i].model)) {
            single_file_free(f);
            f = single_file_open(single_hollow(open = cases[i].model, NULL), &e);
            REQUIRE(f);
        }
        config_is(f, cases[i].model, cases[i].part, cases[i].key, cases[i].value);
    }
    single_file_free(f);
}

static void only_unet(json_t *tensors)
{
    single_keep(tensors, "model.diffusion_model.");
}
static void only_vae(json_t *tensors)
{
    single_keep(tensors, "first_stage_model.");
}
static void only_openclip(json_t *tensors)
{
    single_keep(tensors, "conditioner.embedders.1.model.");
}
static void only_clip(json_t *tensors)
{
    single_keep(tensors, "cond_stage_model.transformer.");
}

TEST(a_file_with_one_part_is_known_too)
{
    static const struct {
        const char *model;
        void (*change)(json_t *);
        enum single_part part;
        enum single_kind kind;
    } cases[] = {
        { "sd1", only_unet, SINGLE_UNET, KIND_SD1 },   { "sd2", only_unet, SINGLE_UNET, KIND_SD2 },
        { "sdxl", only_unet, SINGLE_UNET, KIND_SDXL }, { "sdxl-refiner", only_unet, SINGLE_UNET, KIND_SDXL_REFINER },
        { "sd1", only_vae, SINGLE_VAE, KIND_NONE },    { "sdxl", only_openclip, SINGLE_TEXT, KIND_NONE },
        { "sd1", only_clip, SINGLE_TEXT, KIND_NONE },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct single_file *f = single_file_open(single_hollow(cases[i].model, cases[i].change), &e);
        REQUIRE(f);
        CHECK(single_file_kind(f) == cases[i].kind, "case %zu: %s", i, single_kind_names[single_file_kind(f)]);
        for (int part = 0; part < SINGLE_PARTS; part++)
            CHECK(single_file_has(f, (enum single_part)part) == (part == (int)cases[i].part), "case %zu: part %d", i, part);
        json_t *config = single_file_json(f, single_part_names[cases[i].part], PREDICTS_AUTO, &e);
        REQUIRE(config);
        json_decref(config);
        single_file_free(f);
    }
}

static void flux(json_t *tensors)
{
    json_array_clear(tensors);
    json_array_append_new(tensors, json_pack("[s, [i]]", "double_blocks.0.img_attn.qkv.weight", 4));
}
static void lora(json_t *tensors)
{
    json_array_clear(tensors);
    json_array_append_new(tensors, json_pack("[s, [i]]", "lora_unet_down_blocks_0.lora_up.weight", 4));
}
static void nothing(json_t *tensors)
{
    json_array_clear(tensors);
    json_array_append_new(tensors, json_pack("[s, [i]]", "weight", 4));
}
static void without(json_t *tensors, const char *part_of_name)
{
    for (size_t i = json_array_size(tensors); i-- > 0;)
        if (strstr(json_string_value(json_array_get(json_array_get(tensors, i), 0)), part_of_name))
            json_array_remove(tensors, i);
}
static void no_middle(json_t *tensors)
{
    without(tensors, "middle_block.1.");
}
static void no_way_up(json_t *tensors)
{
    without(tensors, "output_blocks.5.0.in_layers");
}
static void no_first_attention(json_t *tensors)
{
    without(tensors, "input_blocks.2.1.");
}

TEST(what_is_no_model_of_ours_is_told)
{
    static const struct {
        void (*change)(json_t *);
        const char *part;
    } cases[] = {
        { flux, "looks like a Flux model" },
        { lora, "this is a LoRA (\"lora_unet_down_blocks_0.lora_up.weight\")" },
        { nothing, "the first is \"weight\"" },
        { no_middle, "no attention at model.diffusion_model.middle_block.1" },
        { no_way_up, "nothing at model.diffusion_model.output_blocks.5.0" },
        { no_first_attention, "no attention at model.diffusion_model.input_blocks.2.1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        const char *path = single_hollow("sd1", cases[i].change);
        CHECK_FAILS(single_file_open(path, &e), ERR_TYPE, cases[i].part);
    }
}

TEST(a_file_of_unusual_sizes_asks_for_configs)
{
    struct err e = { 0 };
    const char *path = single_of_folder("tiny-sd1", "odd.safetensors");
    struct single_file *f = single_file_open(path, &e);
    REQUIRE(f);
    CHECK(single_file_kind(f) == KIND_SD1, "%s", single_kind_names[single_file_kind(f)]);
    CHECK_FAILS(single_file_json(f, "unet", PREDICTS_AUTO, &e), ERR_TYPE, "--config FOLDER");
    single_file_free(f);
    f = single_file_open(single_of_folder("tiny-sd2", "odd.safetensors"), &e);
    REQUIRE(f);
    CHECK(single_file_kind(f) == KIND_SD2, "%s", single_kind_names[single_file_kind(f)]);
    single_file_free(f);
}

/* Every tensor is there in the shape that the models ask for: programs of all parts are made, without reading a weight. */
TEST(models_of_full_size_fit_their_graphs)
{
    FILE *list = fopen(test_scratch("list.txt"), "w");
    assert_non_null(list);
    fputs("a title\na p\n", list);
    fclose(list);
    char *kept = getenv("LIMN_CLIP_VOCABULARY") ? mem_string(getenv("LIMN_CLIP_VOCABULARY")) : NULL;
    setenv("LIMN_CLIP_VOCABULARY", test_scratch("list.txt"), 1);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct err e = { 0 };
        if (kinds[i].inpaints || kinds[i].kind == KIND_KOLORS)
            continue; /* drawing takes a picture and a mask; it differs from sd1 in one tensor. Kolors: test_kolors_files.c */
        struct model_files files = { .path = single_hollow(kinds[i].model, NULL) };
        struct pipeline *p = pipeline_open_files(&files, backend_ref(), DTYPE_F32, &e);
        REQUIRE(p);
        struct draw_request r = draw_request_defaults(p);
        struct draw_plan plan;
        r.prompt = "apple";
        r.width = r.height = 64;
        CHECK(pipeline_plan(p, &r, &plan, &e) && plan.weights > 0, "%s: %s", kinds[i].model, e.text);
        pipeline_free(p);
    }
    if (kept)
        setenv("LIMN_CLIP_VOCABULARY", kept, 1);
    else
        unsetenv("LIMN_CLIP_VOCABULARY");
    mem_free(kept);
}

static struct drawing draw(const struct model_files *files, const struct backend *backend)
{
    struct err e = { 0 };
    struct drawing d;
    struct pipeline *p = pipeline_open_files(files, backend, DTYPE_F32, &e);
    REQUIRE(p);
    struct draw_request r = draw_request_defaults(p);
    r.prompt = "a red apple on a blue ground";
    r.negative = "green";
    r.steps = 3;
    r.seed = 7;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    pipeline_free(p);
    return d;
}

static void same_bits(const struct drawing *a, const struct drawing *b, const char *what)
{
    CHECK(shape_same(a->shape, b->shape) &&
              !memcmp(a->latents, b->latents, (size_t)shape_count(a->shape) * sizeof *a->latents), "%s: other latents", what);
    CHECK(image_bytes(&a->images[0]) == image_bytes(&b->images[0]) &&
              !memcmp(a->images[0].pixels, b->images[0].pixels, image_bytes(&a->images[0])), "%s: another picture", what);
}

TEST(the_picture_of_a_file_is_the_folders_bit_for_bit)
{
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(1, NULL, &e);
    REQUIRE(cpu);
    static const char *const models[] = { "tiny-sd1", "tiny-sd2", "tiny-sdxl" };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char name[100];
        snprintf(name, sizeof name, "models/%s", models[i]);
        const char *folder = test_data(name), *file = single_of_folder(models[i], "model.safetensors");
        struct drawing want = draw(&(struct model_files){ .path = folder }, cpu);
        struct drawing came = draw(&(struct model_files){ .path = file, .config = folder }, cpu);
        same_bits(&came, &want, models[i]);
        drawing_release(&came);
        drawing_release(&want);
    }
    backend_cpu_free(cpu);
}

TEST(another_vae_is_taken_where_one_is_named)
{
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(1, NULL, &e);
    REQUIRE(cpu);
    const char *sd1 = test_data("models/tiny-sd1"), *sd2 = test_data("models/tiny-sd2");
    struct drawing own = draw(&(struct model_files){ .path = sd1 }, cpu);
    struct drawing same = draw(&(struct model_files){ .path = sd1, .vae = test_data("models/tiny-sd1/vae") }, cpu);
    struct drawing model = draw(&(struct model_files){ .path = sd1, .vae = sd1 }, cpu);
    struct drawing file = draw(&(struct model_files){ .path = sd1, .vae = single_of_folder("tiny-sd1", "v.safetensors") }, cpu);
    struct drawing other = draw(&(struct model_files){ .path = sd1, .vae = sd2 }, cpu);
    same_bits(&same, &own, "its own VAE");
    same_bits(&model, &own, "its own folder");
    same_bits(&file, &own, "its VAE in a single file");
    CHECK(memcmp(other.images[0].pixels, own.images[0].pixels, image_bytes(&own.images[0])), "another VAE, the same picture");
    drawing_release(&own);
    drawing_release(&same);
    drawing_release(&model);
    drawing_release(&file);
    drawing_release(&other);
    struct pipeline *p = NULL;
    struct model_files wrong = { .path = sd1, .config = sd2 };
    CHECK_FAILS((p = pipeline_open_files(&wrong, cpu, DTYPE_F32, &e)), ERR_ARG, "is a folder, which has its own configs");
    backend_cpu_free(cpu);
}

/* The tiny autoencoder in its maker's names: both halves in a file, or the decoder alone. */
static const char *tiny_vae(const char *name, bool whole)
{
    enum { MOST = 200 };
    static char names[MOST][100];
    struct weights_entry entries[MOST];
    const void *data[MOST];
    struct err e = { 0 };
    size_t count = 0;
    struct weights *w = weights_open(test_data("models/tiny-taesd/vae"), &e);
    REQUIRE(w);
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        bool decoder = !strncmp(t->name, "decoder.", 8);
        int layer = atoi(t->name + strlen("decoder.layers."));
        const char *rest = strchr(t->name + strlen("decoder.layers."), '.');
        if (!whole && !decoder)
            continue;
        snprintf(names[count], sizeof names[0], "%s%d%s", !whole ? "" : decoder ? "taesd_decoder." : "taesd_encoder.",
                 layer + decoder, rest);
        entries[count] = (struct weights_entry){ names[count], t->type, t->shape };
        data[count++] = t->data;
    }
    const char *path = test_scratch(name);
    REQUIRE(weights_save(path, entries, data, count, NULL, 0, &e));
    weights_free(w);
    return path;
}

TEST(a_tiny_autoencoder_is_taken_as_a_vae)
{
    struct err e = { 0 };
    const struct backend *cpu = backend_cpu_new(1, NULL, &e);
    REQUIRE(cpu);
    const char *sd1 = test_data("models/tiny-sd1");
    struct drawing own = draw(&(struct model_files){ .path = sd1 }, cpu);
    struct drawing tiny = draw(&(struct model_files){ .path = sd1, .vae = test_data("models/tiny-taesd/vae") }, cpu);
    CHECK(!memcmp(own.latents, tiny.latents, (size_t)shape_count(own.shape) * sizeof *own.latents), "other latents");
    CHECK(memcmp(own.images[0].pixels, tiny.images[0].pixels, image_bytes(&own.images[0])), "the VAE was not taken");
    for (int whole = 0; whole < 2; whole++) {
        const char *path = tiny_vae("taesd.safetensors", whole);
        struct drawing file = draw(&(struct model_files){ .path = sd1, .vae = path }, cpu);
        same_bits(&file, &tiny, whole ? "both halves" : "the decoder alone");
        drawing_release(&file);
        struct single_file *f = single_file_open(path, &e);
        REQUIRE(f);
        config_is(f, "taesd", "vae", "num_decoder_blocks", "[2,1,0,1]");
        config_is(f, "taesd", "vae", "num_encoder_blocks", whole ? "[1,2,1,1]" : "[1,0,1,2]");
        single_file_free(f);
    }
    drawing_release(&own);
    drawing_release(&tiny);
    backend_cpu_free(cpu);
}
