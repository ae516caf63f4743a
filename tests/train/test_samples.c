/* Batches from a data set: sizes and what SDXL is told of each picture. */
#include "train/samples.h"

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "image/image.h"
#include "test.h"

/* Cuts of a picture of 96x64, the buckets that they get, and their time ids: original height and width, top and left of the cut in the
 * picture as it was scaled to cover the bucket (80x53, 50x80, 64x64), height and width of the cut. */
static const struct picture { int width; struct bucket bucket; float ids[6]; } pictures[] = {
    { 96, { 80, 48 }, { 64, 96, 2, 0, 48, 80 } },
    { 40, { 48, 80 }, { 64, 40, 0, 1, 80, 48 } },
    { 64, { 64, 64 }, { 64, 64, 0, 0, 64, 64 } },
};
enum { PICTURES = sizeof pictures / sizeof *pictures };

TEST(time_ids_tell_each_pictures_own_size_cut_and_bucket)
{
    struct err e = { 0 };
    FILE *list;
    REQUIRE(folder_make(test_scratch("set"), &e));
    CHECK((list = fopen(test_scratch("set/metadata.jsonl"), "w")), "%s", "no file");
    for (int i = 0; i < PICTURES; i++) {
        struct image cat, cut;
        char name[20];
        REQUIRE(image_load(&cat, test_data("pictures/cat.png"), IMAGE_FLATTEN, 0, &e));
        REQUIRE(image_crop(&cut, &cat, 0, 0, pictures[i].width, cat.height, &e));
        snprintf(name, sizeof name, "set/%d.png", i);
        REQUIRE(image_save_png(test_scratch(name), &cut, NULL, 0, &e));
        image_release(&cat);
        image_release(&cut);
        fprintf(list, "{\"file_name\":\"%d.png\",\"text\":\"a cat\"}\n", i);
    }
    fclose(list);

    struct model_folder model;
    struct encoders encoders;
    struct features features;
    struct objective objective;
    struct samples samples;
    struct batch batch;
    struct buckets buckets;
    const struct backend *backend = backend_cpu_new(1, NULL, &e);
    REQUIRE(backend && model_folder_open(&model, test_data("models/tiny-sdxl"), &e));
    encoders_init(&encoders, &model, backend, DTYPE_F32);
    REQUIRE(objective_init(&objective, &objective_plain, &model.scheduler, &e) && features_open(&features, test_scratch("cache"), &encoders, &e));
    REQUIRE(buckets_kohya(&buckets, 64, 32, 128, 16, &e));
    const struct sample_options o = { .dataset = test_scratch("set"), .buckets = &buckets, .batch = 1 };
    REQUIRE(samples_open(&samples, &o, &features, &objective, (const bool[TEXT_PARTS]){ 0 }, NULL, &e));
    CHECK(samples.shape_count == PICTURES && samples_round(&samples) == PICTURES, "%zu shapes", samples.shape_count);
    REQUIRE(samples_prepare(&samples, PICTURES, NULL, &e) && batch_init(&batch, &samples.sizes, &e));
    for (int64_t b = 0; b < PICTURES; b++) {
        const struct picture *p = pictures;
        REQUIRE(samples_fill(&samples, b, &batch, &e));
        while (p < pictures + PICTURES - 1 && memcmp(batch.time_ids, p->ids, sizeof p->ids) != 0)
            p++;
        for (int i = 0; i < 6; i++)
            CHECK_NEAR(batch.time_ids[i], p->ids[i], 0, "batch %lld, id %d", (long long)b, i);
        int64_t factor = vae_factor(&model.parts.vae);
        CHECK(batch.sizes.w * factor == p->bucket.width && batch.sizes.h * factor == p->bucket.height, "%lldx%lld", (long long)batch.sizes.w,
              (long long)batch.sizes.h);
    }
    batch_release(&batch);
    samples_release(&samples);
    objective_release(&objective);
    encoders_release(&encoders);
    model_folder_release(&model);
    backend_cpu_free(backend);
}
