/* FID's network, CLIP and what is measured with them, against pytorch-fid, transformers and the formulas (tests/reference/make_networks.py,
 * make_evaluate.py). */
#include "evaluate/networks.h"

#include <unistd.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "test.h"

static const struct backend *cpu(void)
{
    static const struct backend *made;
    struct err e = { 0 };
    if (!made)
        made = backend_cpu_new(0, NULL, &e);
    REQUIRE(made != NULL);
    return made;
}

static json_t *expected(const char *name, const char *key)
{
    struct err e = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/%s", test_data("evaluate"), name);
    json_t *all = json_read(path, &e);
    REQUIRE(all);
    json_t *out = json_incref(json_object_get(all, key));
    json_decref(all);
    return out;
}

static void load(struct image *out, const char *name)
{
    struct err e = { 0 };
    REQUIRE(image_load(out, test_data(name), IMAGE_FLATTEN, 0xFFFFFF, &e));
}

/* Numbers in 0..1 of tensor k: make_networks.py's made_up. */
static void made_up(float *out, int64_t count, uint64_t k, double scale, double shift)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t v = ((uint64_t)i * 2654435761 + k * 40503) & 0xFFFFFFFF;
        v ^= v >> 15;
        v = v * 2246822519 & 0xFFFFFFFF;
        v ^= v >> 13;
        out[i] = (float)((double)v / 4294967296 * scale + shift);
    }
}

enum { OF_EACH = 5, MOST = 600 };

/* The whole network, 22 million weights, as a file. */
static const char *made_up_inception(json_t *kernels)
{
    static char path[4096];
    static const char *const names[OF_EACH] = { "conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var" };
    static const double scales[OF_EACH] = { 0, 0.4, 0.2, 0.2, 1 }, shifts[OF_EACH] = { 0, 0.8, -0.1, -0.1, 0.5 };
    struct err e = { 0 };
    struct weights_entry entries[MOST];
    const void *data[MOST];
    size_t count = 0;
    snprintf(path, sizeof path, "%s", test_scratch("inception.safetensors"));
    for (size_t i = 0; i < json_array_size(kernels); i++) {
        const json_t *k = json_array_get(kernels, i);
        int64_t dim[4];
        for (size_t d = 0; d < 4; d++)
            dim[d] = json_integer_value(json_array_get(k, d + 1));
        double fan = (double)(dim[1] * dim[2] * dim[3]);
        for (int part = 0; part < OF_EACH; part++) {
            int64_t n = dim[0] * (part ? 1 : (int64_t)fan);
            float *x = mem_aligned((size_t)n * sizeof *x);
            char *name = mem_zeroed(200, 1);
            made_up(x, n, 5 * i + (uint64_t)part, part ? scales[part] : 2 * sqrt(6 / fan), part ? shifts[part] : -sqrt(6 / fan));
            snprintf(name, 200, "%s.%s", json_string_value(json_array_get(k, 0)), names[part]);
            entries[count] = (struct weights_entry){ name, DTYPE_F32, part ? SHAPE(n) : SHAPE(dim[0], dim[1], dim[2], dim[3]) };
            data[count++] = x;
        }
    }
    REQUIRE(weights_save(path, entries, data, count, NULL, 0, &e));
    for (size_t i = 0; i < count; i++) {
        mem_free((void *)data[i]);
        mem_free((void *)entries[i].name);
    }
    return path;
}

TEST(the_network_of_fid_sees_what_pytorch_fid_sees)
{
    struct err e = { 0 };
    json_t *wanted = expected("networks.json", "inception"), *some = json_object_get(wanted, "every_16th");
    struct inception_net net;
    struct image image;
    float out[2048];
    REQUIRE(inception_net_open(&net, made_up_inception(json_object_get(wanted, "kernels")), cpu(), &e));
    CHECK(net.features == 2048 && json_integer_value(json_object_get(wanted, "width")) == 2048, "%lld features", (long long)net.features);
    load(&image, "evaluate/photos/trained/astronaut-0.jpg");
    REQUIRE(inception_net_see(&net, &image, out, &e));
    double off = 0, size = 0;
    for (size_t i = 0; i < json_array_size(some); i++) {
        double w = json_number_value(json_array_get(some, i));
        off = fmax(off, fabs(out[16 * i] - w));
        size = fmax(size, w);
    }
    /* 94 convolutions in f32, summed in another order; the decoders of the JPEG file may round a pixel the other way */
    CHECK(off < 2e-3 * size, "off by %g of %g", off, size);
    image_release(&image);
    inception_net_release(&net);
    json_decref(wanted);
    CHECK_FAILS(inception_net_open(&net, test_data("lora/kohya.safetensors"), cpu(), &e), ERR_MISSING, "not the Inception network");
    inception_net_release(&net);
}

/* make_evaluate.py's cloud(n, dims, seed). */
static float *cloud_of(int64_t n, int64_t dims, int seed)
{
    float *x = mem_aligned((size_t)(n * dims) * sizeof *x);
    for (int64_t p = 0; p < n; p++)
        for (int64_t j = 0; j < dims; j++)
            x[p * dims + j] = (float)(sin(1.7 * (double)((p + seed) * (j + 1)) + 0.3 * (double)(j * j)) * (double)(1 + j % 3) +
                                      0.2 * (double)(j * seed));
    return x;
}

static int64_t whole(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

TEST(the_distance_of_all_points_is_the_unbiased_estimate)
{
    json_t *all = expected("expected.json", "distances"), *one;
    size_t i;
    json_array_foreach(all, i, one) {
        int64_t n = whole(one, "n1"), m = whole(one, "n2"), dims = whole(one, "dims");
        float *a = cloud_of(n, dims, 1), *b = cloud_of(m, dims, 2);
        double wanted = json_number_value(json_object_get(one, "kid"));
        CHECK_NEAR(kernel_distance(a, n, b, m, dims), wanted, 1e-6 * fabs(wanted), "case %zu", i);
        mem_free(a);
        mem_free(b);
    }
    json_decref(all);
}

TEST(kid_is_torch_fidelitys_with_the_same_pictures_in_each_subset)
{
    json_t *all = expected("expected.json", "kid"), *one;
    struct err e = { 0 };
    struct kid kid;
    size_t i;
    json_array_foreach(all, i, one) {
        int64_t n = whole(one, "n1"), m = whole(one, "n2"), dims = whole(one, "dims");
        float *a = cloud_of(n, dims, 1), *b = cloud_of(m, dims, 2);
        double mean = json_number_value(json_object_get(one, "mean")), deviation = json_number_value(json_object_get(one, "deviation"));
        REQUIRE(kid_of(&kid, a, n, b, m, dims, whole(one, "subsets"), whole(one, "size"), NULL, &e));
        CHECK_NEAR(kid.mean, mean, 1e-6 * fabs(mean), "case %zu", i);
        CHECK_NEAR(kid.deviation, deviation, 1e-6 * deviation, "case %zu", i);
        mem_free(a);
        mem_free(b);
    }
    CHECK(i == 4, "%zu cases", i);
    json_decref(all);
}

TEST(subsets_of_small_sets_are_half_of_them)
{
    struct err e = { 0 };
    struct kid kid;
    float *a = cloud_of(1200, 3, 1), *b = cloud_of(1200, 3, 2);
    static const struct {
        int64_t n, m, size;
    } cases[] = { { 1200, 1200, 1000 }, { 1200, 999, 499 }, { 5, 1200, 2 }, { 2, 2, 2 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(kid_of(&kid, a, cases[i].n, b, cases[i].m, 3, i ? 0 : 2, 0, NULL, &e));
        CHECK(kid.size == cases[i].size && kid.subsets == (i ? KID_SUBSETS : 2), "case %zu: %lld of %lld", i, (long long)kid.subsets,
              (long long)kid.size);
        CHECK(i != 2 || kid.deviation > 0, "subsets that are all the same");
    }
    CHECK_FAILS(kid_of(&kid, a, 1, b, 9, 3, 0, 0, NULL, &e), ERR_ARG, "the smaller set's 1");
    CHECK_FAILS(kid_of(&kid, a, 10, b, 9, 3, 0, 10, NULL, &e), ERR_ARG, "the smaller set's 9");
    mem_free(a);
    mem_free(b);
}

/* The model's folder with the tokenizer of another one's, which it was made for. */
static const char *clip_folder(void)
{
    static char folder[4096];
    static const char *const files[][2] = { { "config.json", "evaluate/clip/config.json" },
                                            { "model.safetensors", "evaluate/clip/model.safetensors" },
                                            { "vocab.json", "models/tiny-sd1/tokenizer/vocab.json" },
                                            { "merges.txt", "models/tiny-sd1/tokenizer/merges.txt" },
                                            { "tokenizer_config.json", "models/tiny-sd1/tokenizer/tokenizer_config.json" },
                                            { "special_tokens_map.json", "models/tiny-sd1/tokenizer/special_tokens_map.json" } };
    struct err e = { 0 };
    snprintf(folder, sizeof folder, "%s", test_scratch("clip"));
    REQUIRE(folder_make(folder, &e));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[5000];
        snprintf(path, sizeof path, "%s/%s", folder, files[i][0]);
        unlink(path);
        if (path_exists(test_data(files[i][1])))
            assert_int_equal(symlink(test_data(files[i][1]), path), 0);
    }
    return folder;
}

TEST(clip_sees_and_reads_as_transformers)
{
    struct err e = { 0 };
    json_t *wanted = expected("networks.json", "clip"), *one;
    struct clip_net net;
    const char *key;
    REQUIRE(clip_net_open(&net, clip_folder(), cpu(), &e));
    CHECK(clip_net_width(&net) == 16, "width %lld", (long long)clip_net_width(&net));
    json_object_foreach(wanted, key, one) {
        float out[16];
        struct image image = { 0 };
        bool photo = strstr(key, ".jpg"), picture = photo || strstr(key, ".png");
        if (picture) {
            load(&image, photo ? "evaluate/photos/trained/astronaut-0.jpg" : "similarity/cat.png");
            REQUIRE(clip_net_see(&net, &image, out, &e));
            image_release(&image);
        } else {
            REQUIRE(clip_net_read(&net, key, out, &e));
        }
        /* sums of f32 in another order; the decoder of a JPEG file may round a pixel the other way */
        for (size_t i = 0; i < 16; i++)
            CHECK_NEAR(out[i], json_number_value(json_array_get(one, i)), photo ? 2e-3 : 1e-4, "%s, number %zu", key, i);
    }
    json_decref(wanted);
    clip_net_release(&net);
    CHECK_FAILS(clip_net_open(&net, test_data("models/tiny-sd1/text_encoder"), cpu(), &e), ERR_TYPE, "vision_config");
    clip_net_release(&net);
}

TEST(scores_are_cosines_and_the_worst_is_first)
{
    struct err e = { 0 };
    struct clip_net net;
    struct picture_set set;
    struct findings f;
    REQUIRE(clip_net_open(&net, clip_folder(), cpu(), &e));
    REQUIRE(picture_set_open(&set, test_data("emoji-mini"), PICTURES_ALL, &e));
    findings_init(&f, "");
    REQUIRE(networks_clip_score(&f, &net, &set, 0, true, NULL, &e));
    json_t *j = findings_json(&f), *rows = json_object_get(j, "words"), *row;
    CHECK(json_array_size(rows) == set.count, "%zu rows", json_array_size(rows));
    double sum = 0, last = -1;
    size_t r;
    json_array_foreach(rows, r, row) {
        struct image image;
        float seen[16], said[16];
        double dot = 0, score = json_number_value(json_object_get(row, "clip_score"));
        size_t i = 0;
        while (strcmp(set.at[i].name, json_string_value(json_object_get(row, "name"))))
            i++;
        REQUIRE(picture_set_load(&set, i, &image, &e));
        REQUIRE(clip_net_see(&net, &image, seen, &e) && clip_net_read(&net, set.at[i].caption, said, &e));
        for (int k = 0; k < 16; k++)
            dot += seen[k] * said[k];
        CHECK_NEAR(score, 100 * fmax(dot, 0), 1e-3, "row %zu", r);
        CHECK(score >= last, "row %zu", r);
        last = score;
        sum += score;
        image_release(&image);
    }
    CHECK_NEAR(json_number_value(json_object_get(j, "clip_score")), sum / (double)set.count, 1e-9, "mean");
    json_decref(j);
    findings_release(&f);
    picture_set_release(&set);
    REQUIRE(picture_set_open(&set, test_data("evaluate/photos/other"), PICTURES_ALL, &e));
    CHECK_FAILS(networks_clip_score(&f, &net, &set, 0, false, NULL, &e), ERR_MISSING, "what words");
    picture_set_release(&set);
    clip_net_release(&net);
}
