/* Kolors in single files, as people share its parts: told by their tensors, and drawing what the folder draws, bit for bit. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "generate/generate.h"
#include "judge.h"
#include "model/family/convert.h"
#include "model/family/glm_file.h"
#include "model/family/model_facts.h"
#include "single.h"

static const struct backend *cpu(void)
{
    static const struct backend *made;
    struct err e = { 0 };
    if (!made)
        made = backend_cpu_new(1, NULL, &e);
    REQUIRE(made != NULL);
    return made;
}

/* A path in the scratch folder that stays valid. */
static const char *place(const char *name)
{
    static char paths[24][PATH_MAX_BYTES];
    static int turn;
    char *out = paths[turn++ % 24];
    snprintf(out, PATH_MAX_BYTES, "%s", test_scratch(name));
    return out;
}

static struct drawing draw(const struct model_files *files)
{
    struct err e = { 0 };
    struct drawing d;
    struct pipeline *p = pipeline_open_files(files, cpu(), DTYPE_F32, &e);
    REQUIRE(p);
    struct draw_request r = draw_request_defaults(p);
    r.prompt = "a red circle on a blue ground, 红苹果";
    r.negative = "绿色条纹";
    r.steps = 2;
    r.seed = 7;
    REQUIRE(pipeline_draw(p, &r, NULL, &d, &e));
    pipeline_free(p);
    return d;
}

static struct drawing *of_folder(void)
{
    static struct drawing d;
    if (!d.latents)
        d = draw(&(struct model_files){ .path = judge_path("tiny-kolors", "", NULL) });
    return &d;
}

static void draws_the_same(const struct model_files *files, const char *what)
{
    struct drawing d = draw(files), *want = of_folder();
    CHECK(shape_same(d.shape, want->shape) && !memcmp(d.latents, want->latents, (size_t)shape_count(d.shape) * sizeof *d.latents) &&
              !memcmp(d.images[0].pixels, want->images[0].pixels, image_bytes(&d.images[0])), "%s: another picture", what);
    drawing_release(&d);
}

static const char *whole_file(void)
{
    static char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s", single_of_folder("tiny-kolors", "whole.safetensors"));
    return path;
}

/* Whether the tensor is wanted, and what it is called in the file. */
typedef bool rename_fn(const char *name, struct path *out);

/* A file of some tensors of another, or of a folder; type: of what is floating, DTYPE_COUNT: as it is. */
static const char *file_of(const char *from, const char *name, rename_fn *rename, enum dtype type)
{
    enum { MOST = 1000 };
    static struct weights_entry entries[MOST];
    static const struct weight *tensors[MOST];
    static struct path names[MOST];
    struct err e = { 0 };
    size_t count = 0;
    const char *path = place(name);
    struct weights *w = weights_open(from, &e);
    REQUIRE(w);
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        if (!rename(t->name, &names[count]))
            continue;
        entries[count] = (struct weights_entry){ names[count].s, type == DTYPE_COUNT ? t->type : type, t->shape };
        tensors[count++] = t;
    }
    bool gguf = strstr(name, ".gguf") != NULL;
    struct weights_writer *writer = weights_write_begin_as(gguf ? WEIGHTS_GGUF : WEIGHTS_SAFETENSORS, path, entries, count, NULL, 0, &e);
    REQUIRE(writer);
    for (size_t i = 0; i < count; i++) {
        size_t k = weights_writer_at(writer, i);
        REQUIRE(weights_write_converted(writer, k, tensors[k]->data, tensors[k]->type, &e));
    }
    REQUIRE(weights_write_commit(writer, &e));
    weights_free(w);
    return path;
}

static bool as_it_is(const char *name, struct path *out)
{
    *out = path_of("%s", name);
    return true;
}
static bool without_first(const char *name, struct path *out, const char *first)
{
    if (strncmp(name, first, strlen(first)))
        return false;
    *out = path_of("%s", name + strlen(first));
    return true;
}
static bool ldm_unet(const char *name, struct path *out)
{
    return without_first(name, out, "model.diffusion_model.");
}
static bool ldm_vae(const char *name, struct path *out)
{
    return without_first(name, out, "first_stage_model.");
}
static bool with_transformer(const char *name, struct path *out)
{
    *out = path_of("transformer.%s", name);
    return true;
}

/* llama.cpp's names, as the gguf package has them for "chatglm". */
static bool ggml_text(const char *name, struct path *out)
{
    static const struct { const char *own, *ggml; } rows[] = {
        { "input_layernorm", "attn_norm" }, { "self_attention.query_key_value", "attn_qkv" },
        { "self_attention.dense", "attn_output" }, { "post_attention_layernorm", "ffn_norm" },
        { "mlp.dense_h_to_4h", "ffn_up" }, { "mlp.dense_4h_to_h", "ffn_down" },
    };
    int layer, at = 0;
    if (!strcmp(name, "embedding.word_embeddings.weight"))
        *out = path_of("token_embd.weight");
    else if (!strcmp(name, "encoder.final_layernorm.weight"))
        *out = path_of("output_norm.weight");
    else if (sscanf(name, "encoder.layers.%d.%n", &layer, &at) != 1 || !at)
        return false;
    for (size_t i = 0; at && i < sizeof rows / sizeof *rows; i++)
        if (!strncmp(name + at, rows[i].own, strlen(rows[i].own)))
            *out = path_of("blk.%d.%s%s", layer, rows[i].ggml, name + at + strlen(rows[i].own));
    return true;
}

/* Configs and tokenizer of the tiny model without a weight. */
static const char *configs(void)
{
    char command[2 * PATH_MAX_BYTES];
    const char *out = place("configs");
    (void)judge_copy_of("tiny-kolors", "configs");
    snprintf(command, sizeof command, "find '%s' -name '*.safetensors*' -delete", out);
    assert_int_equal(system(command), 0);
    return out;
}

static const char *folder_of(const char *part)
{
    static char paths[4][PATH_MAX_BYTES];
    static int turn;
    char *out = paths[turn++ % 4];
    snprintf(out, PATH_MAX_BYTES, "%s", judge_path("tiny-kolors", part, NULL));
    return out;
}

TEST(a_denoiser_alone_takes_the_rest_from_the_config_folder)
{
    const char *folder = folder_of(""), *whole = whole_file();
    const char *unet = file_of(folder_of("unet"), "unet.safetensors", as_it_is, DTYPE_COUNT);
    const char *ldm = file_of(whole, "ldm.safetensors", ldm_unet, DTYPE_COUNT);
    draws_the_same(&(struct model_files){ .path = unet, .config = folder }, "diffusers' names");
    draws_the_same(&(struct model_files){ .path = ldm, .config = folder }, "LDM's names");
    draws_the_same(&(struct model_files){ .path = whole, .config = folder }, "a whole model");
}

TEST(all_parts_may_be_files)
{
    const char *bare = configs(), *whole = whole_file();
    const char *unet = file_of(folder_of("unet"), "unet.safetensors", as_it_is, DTYPE_COUNT);
    const char *vae = file_of(whole, "vae.safetensors", ldm_vae, DTYPE_COUNT);
    const char *text[] = { file_of(folder_of("text_encoder"), "text.safetensors", as_it_is, DTYPE_COUNT),
                           file_of(folder_of("text_encoder"), "first.safetensors", with_transformer, DTYPE_COUNT),
                           file_of(folder_of("text_encoder"), "text.gguf", ggml_text, DTYPE_F16), folder_of("text_encoder"), whole };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        draws_the_same(&(struct model_files){ .path = unet, .config = bare, .text_encoder = text[i], .vae = vae }, text[i]);
    draws_the_same(&(struct model_files){ .path = folder_of(""), .text_encoder = text[2] }, "a folder with another text encoder");
    struct err e = { 0 };
    struct pipeline *p = NULL;
    struct draw_request r;
    struct drawing d;
    struct model_files files = { .path = unet, .config = bare, .vae = vae };
    REQUIRE((p = pipeline_open_files(&files, cpu(), DTYPE_F32, &e)) != NULL);
    r = draw_request_defaults(p);
    r.prompt = "a";
    CHECK_FAILS(pipeline_draw(p, &r, NULL, &d, &e), ERR_MISSING, "--vae and --text-encoder name such a part");
    pipeline_free(p);
    files.text_encoder = vae;
    CHECK_FAILS((p = pipeline_open_files(&files, cpu(), DTYPE_F32, &e)), ERR_TYPE, "holds no text encoder");
}

static void told(const char *path, const char *kind, const char *title)
{
    struct err e = { 0 };
    json_t *facts = model_facts(path, false, NULL, &e);
    REQUIRE(facts);
    const char *family = json_string_value(json_object_get(facts, "family"));
    const char *what = json_string_value(json_object_get(facts, "kind")), *called = json_string_value(json_object_get(facts, "title"));
    CHECK(family && !strcmp(family, "kolors") && what && !strcmp(what, kind) && (!title || (called && !strcmp(called, title))),
          "%s: %s, %s, %s", path, family ? family : "none", what ? what : "none", called ? called : "none");
    json_decref(facts);
}

TEST(a_file_is_told_to_be_kolors_whatever_it_is_called)
{
    const char *whole = whole_file();
    told(whole, "model", "Kolors");
    told(file_of(folder_of("unet"), "b.safetensors", as_it_is, DTYPE_COUNT), "part", "Kolors");
    told(file_of(whole, "c.safetensors", ldm_unet, DTYPE_COUNT), "part", "Kolors");
    told(file_of(folder_of("text_encoder"), "d.gguf", ggml_text, DTYPE_F16), "part", "ChatGLM3, the text encoder of Kolors");
    told(folder_of(""), "model", NULL);
    const char *first = judge_copy_of("tiny-kolors", "first");
    char kept[PATH_MAX_BYTES];
    snprintf(kept, sizeof kept, "%s", first);
    judge_change(kept, "model_index.json", "_class_name", "\"StableDiffusionXLPipeline\"");
    told(kept, "model", NULL);
}

/* The file that is made has all that drawing takes, the tokenizer too; only this model's unusual sizes need configs. */
TEST(a_kolors_is_written_as_one_file_and_read_back)
{
    struct err e = { 0 };
    const char *one = place("one.safetensors"), *again = place("again"), *packed = place("one.gguf");
    struct convert c = { .files = { .path = folder_of("") }, .output = one, .type = DTYPE_COUNT, .layout = CONVERT_SINGLE };
    REQUIRE(model_convert(&c, NULL, &e));
    struct weights *w = weights_open(one, &e);
    REQUIRE(w);
    const struct weight *words = weights_find(w, GLM_PIECES);
    CHECK(words && words->type == DTYPE_U8 && weights_find(w, "model.diffusion_model.encoder_hid_proj.weight") &&
              weights_find(w, "conditioner.embedders.0.transformer." GLM_WITNESS), "names");
    weights_free(w);
    const char *bare = configs();
    char command[2 * PATH_MAX_BYTES];
    snprintf(command, sizeof command, "rm '%s/tokenizer/tokenizer.model'", bare);
    assert_int_equal(system(command), 0);
    draws_the_same(&(struct model_files){ .path = one, .config = bare }, "one file");
    c = (struct convert){ .files = { .path = one, .config = bare }, .output = again, .type = DTYPE_COUNT, .layout = CONVERT_FOLDER };
    REQUIRE(model_convert(&c, NULL, &e));
    draws_the_same(&(struct model_files){ .path = again }, "a folder of one file");
    c = (struct convert){ .files = { .path = folder_of("") }, .output = packed, .type = DTYPE_Q8_0, .layout = CONVERT_SINGLE };
    REQUIRE(model_convert(&c, NULL, &e));
    struct drawing d = draw(&(struct model_files){ .path = packed, .config = bare }), *want = of_folder();
    double off = 0, most = 0;
    for (int64_t i = 0; i < shape_count(d.shape); i++) {
        off = fmax(off, fabs((double)d.latents[i] - (double)want->latents[i]));
        most = fmax(most, fabs((double)want->latents[i]));
    }
    CHECK(off > 0 && off < 0.015 * most, "8 bit: %g of %g", off, most); /* measured: 0.024 of 3.5 */
    drawing_release(&d);
}

/* What follows from the shapes of the real one. */
TEST(configs_of_full_size_follow_from_shapes)
{
    static const struct { const char *part, *key; int64_t value; } cases[] = {
        { "text_encoder", "num_layers", 28 },          { "text_encoder", "hidden_size", 4096 },
        { "text_encoder", "ffn_hidden_size", 13696 },  { "text_encoder", "num_attention_heads", 32 },
        { "text_encoder", "kv_channels", 128 },        { "text_encoder", "multi_query_group_num", 2 },
        { "text_encoder", "padded_vocab_size", 65024 }, { "unet", "encoder_hid_dim", 4096 },
        { "unet", "cross_attention_dim", 2048 },       { "unet", "projection_class_embeddings_input_dim", 5632 },
        { "scheduler", "num_train_timesteps", 1100 },
    };
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s", single_hollow("kolors", NULL));
    struct single_file *f = single_file_open(path, &e);
    REQUIRE(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *j = single_file_json(f, cases[i].part, PREDICTS_AUTO, &e);
        REQUIRE(j);
        CHECK(json_integer_value(json_object_get(j, cases[i].key)) == cases[i].value, "%s: %s", cases[i].part, cases[i].key);
        json_decref(j);
    }
    single_file_free(f);
    /* with a tokenizer beside it, it can be planned: every tensor has the shape that the graphs ask for */
    char *words;
    size_t bytes;
    struct model_files files = { .path = path };
    struct pipeline *p = NULL;
    CHECK_FAILS((p = pipeline_open_files(&files, cpu(), DTYPE_F32, &e)), ERR_MISSING, "no tokenizer.model");
    REQUIRE(file_read(judge_path("tiny-kolors", "tokenizer", "tokenizer.model"), 1 << 20, &words, &bytes, &e));
    REQUIRE(file_write_whole(test_scratch("tokenizer.model"), words, bytes, &e));
    mem_free(words);
    REQUIRE((p = pipeline_open_files(&files, cpu(), DTYPE_F32, &e)) != NULL);
    struct draw_request r = draw_request_defaults(p);
    struct draw_plan plan;
    r.prompt = "apple";
    r.width = r.height = 64;
    CHECK(pipeline_plan(p, &r, &plan, &e) && plan.weights > 0, "%s", e.text);
    CHECK(r.steps == 25 && r.cfg == 5, "%lld steps, cfg %g", (long long)r.steps, r.cfg);
    pipeline_free(p);
    unlink(test_scratch("tokenizer.model"));
}

/* ChatGLM's own quantisation of the text encoder's matrices: W / (a row's largest / (2^(bits - 1) - 1)), rounded. */
struct packed {
    struct weights_entry entries[1000];
    const void *data[1000];
    struct path names[1000];
    void *made[1000];
    size_t count, made_count;
};

static void add(struct packed *p, struct path name, enum dtype type, struct shape shape, const void *data)
{
    p->names[p->count] = name;
    p->data[p->count] = data;
    p->entries[p->count] = (struct weights_entry){ p->names[p->count].s, type, shape };
    p->count++;
}

static void *room(struct packed *p, size_t bytes)
{
    return p->made[p->made_count++] = mem_zeroed(bytes, 1);
}

/* The matrix as it is packed, and in the plain file as what that means. */
static void pack(struct packed *packed, struct packed *plain, const struct weight *t, int bits)
{
    int64_t rows = t->shape.dim[0], columns = t->shape.dim[1], most = bits == 8 ? 127 : 7;
    int8_t *q = room(packed, (size_t)(rows * columns));
    uint16_t *scales = room(packed, (size_t)rows * 2);
    float *means = room(plain, (size_t)(rows * columns) * sizeof *means);
    for (int64_t i = 0; i < rows; i++) {
        double largest = 0;
        for (int64_t k = 0; k < columns; k++)
            largest = fmax(largest, fabs(dtype_load(t->data, t->type, i * columns + k)));
        scales[i] = f32_to_f16((float)(largest / (double)most));
        double scale = (double)f16_to_f32(scales[i]);
        for (int64_t k = 0; k < columns; k++) {
            int v = (int)fmax(-(double)most, fmin((double)most, rint(dtype_load(t->data, t->type, i * columns + k) / scale)));
            means[i * columns + k] = (float)(v * scale);
            if (bits == 8)
                q[i * columns + k] = (int8_t)v;
            else
                q[(i * columns + k) / 2] |= (int8_t)(k % 2 ? v & 15 : v * 16);
        }
    }
    add(packed, path_of("%s", t->name), DTYPE_I8, SHAPE(rows, bits == 8 ? columns : columns / 2), q);
    add(packed, path_of("%s_scale", t->name), DTYPE_F16, SHAPE(rows), scales);
    add(plain, path_of("%s", t->name), DTYPE_F32, t->shape, means);
}

TEST(chatglms_packed_weights_are_what_they_mean)
{
    static struct packed packed, plain;
    for (int bits = 4; bits <= 8; bits += 4) {
        struct err e = { 0 };
        struct weights *w = weights_open(folder_of("text_encoder"), &e);
        REQUIRE(w);
        packed.count = packed.made_count = plain.count = plain.made_count = 0;
        for (size_t i = 0; i < weights_count(w); i++) {
            const struct weight *t = weights_at(w, i);
            bool matrix = t->shape.rank == 2 && strstr(t->name, "encoder.layers.");
            if (matrix) {
                pack(&packed, &plain, t, bits);
                continue;
            }
            add(&packed, path_of("%s", t->name), t->type, t->shape, t->data);
            add(&plain, path_of("%s", t->name), t->type, t->shape, t->data);
        }
        const char *one = place("packed.safetensors"), *other = place("plain.safetensors");
        REQUIRE(weights_save(one, packed.entries, packed.data, packed.count, NULL, 0, &e));
        REQUIRE(weights_save(other, plain.entries, plain.data, plain.count, NULL, 0, &e));
        const char *folder = folder_of("");
        struct drawing a = draw(&(struct model_files){ .path = folder, .text_encoder = one });
        struct drawing b = draw(&(struct model_files){ .path = folder, .text_encoder = other });
        CHECK(!memcmp(a.latents, b.latents, (size_t)shape_count(a.shape) * sizeof *a.latents), "%d bits: another picture", bits);
        drawing_release(&a);
        drawing_release(&b);
        for (size_t i = 0; i < packed.made_count; i++)
            mem_free(packed.made[i]);
        for (size_t i = 0; i < plain.made_count; i++)
            mem_free(plain.made[i]);
        weights_free(w);
    }
}
