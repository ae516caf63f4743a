/* Buckets against sd-scripts' own, and pictures scaled and cut: what is kept, what is recorded, going on, going back. */
#include "dataset/reshape.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "test.h"

TEST(buckets_are_those_of_sd_scripts)
{
    struct err e = { 0 };
    json_t *all = json_read(test_data("dataset/buckets.json"), &e), *one, *pair;
    REQUIRE(all);
    size_t i, k, checked = 0;
    json_array_foreach(json_object_get(all, "buckets"), i, one) {
        struct buckets b;
        int64_t args[4];
        size_t count = 4;
        REQUIRE(json_get_ints(one, "buckets.json", "of", 1, 16384, args, &count, &e));
        REQUIRE(buckets_kohya(&b, (int)args[0], (int)args[1], (int)args[2], (int)args[3], &e));
        json_t *sizes = json_object_get(one, "sizes"), *nearest = json_object_get(one, "nearest");
        CHECK(json_array_size(sizes) == (size_t)b.count, "case %zu: %d buckets", i, b.count);
        json_array_foreach(sizes, k, pair)
            CHECK(json_integer_value(json_array_get(pair, 0)) == b.at[k].width && json_integer_value(json_array_get(pair, 1)) == b.at[k].height,
                  "case %zu, bucket %zu: %dx%d", i, k, b.at[k].width, b.at[k].height);
        json_array_foreach(nearest, k, pair) {
            int64_t n[6];
            for (size_t j = 0; j < 6; j++)
                n[j] = json_integer_value(json_array_get(pair, j));
            struct bucket got = bucket_nearest(&b, n[0], n[1]), scaled = bucket_cover(n[0], n[1], got.width, got.height);
            CHECK(got.width == n[2] && got.height == n[3], "case %zu, %dx%d: %dx%d", i, (int)n[0], (int)n[1], got.width, got.height);
            CHECK(scaled.width == n[4] && scaled.height == n[5], "case %zu, %dx%d: scaled to %dx%d", i, (int)n[0], (int)n[1], scaled.width,
                  scaled.height);
            checked++;
        }
    }
    CHECK(checked > 100, "%zu pictures", checked);
    json_decref(all);
}

TEST(sdxls_buckets_come_both_ways_round)
{
    struct buckets b;
    buckets_sdxl(&b);
    CHECK(b.count == 41, "%d", b.count);
    for (int i = 0; i < b.count; i++) {
        int w = b.at[i].width, h = b.at[i].height;
        struct bucket turned = bucket_nearest(&b, h, w);
        CHECK(turned.width == h && turned.height == w && w % 64 == 0 && h % 64 == 0, "%dx%d", w, h);
        CHECK(w * h <= 1024 * 1024 * 105 / 100 && w * h > 1024 * 1024 * 9 / 10, "%dx%d", w, h);
        CHECK(i == 0 || b.at[i - 1].width < w || (b.at[i - 1].width == w && b.at[i - 1].height < h), "%d is in order", i);
    }
    struct bucket film = bucket_nearest(&b, 1920, 1080);
    CHECK(film.width == 1344 && film.height == 768, "%dx%d", film.width, film.height);
}

TEST(impossible_buckets_are_refused)
{
    struct buckets b;
    struct err e = { 0 };
    CHECK_FAILS(buckets_kohya(&b, 512, 100, 1024, 64, &e), ERR_ARG, "multiple of the step");
    CHECK_FAILS(buckets_kohya(&b, 128, 256, 1024, 64, &e), ERR_ARG, "");
    CHECK_FAILS(buckets_kohya(&b, 512, 256, 1024, 0, &e), ERR_ARG, "");
    CHECK_FAILS(buckets_kohya(&b, 4096, 1, 16384, 1, &e), ERR_LIMIT, "larger step");
}

static char folder[PATH_MAX_BYTES];

static const char *inside(const char *name)
{
    static char path[2 * PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void copy_as(const char *from, const char *to)
{
    struct err e = { 0 };
    char *data;
    size_t bytes;
    REQUIRE(file_read(test_data(from), 1 << 20, &data, &bytes, &e));
    REQUIRE(file_write_whole(inside(to), data, bytes, &e));
    mem_free(data);
}

static void make_set(const char *name)
{
    static const char list[] = "{\"file_name\":\"a/astronaut.png\",\"text\":\"an astronaut\"}\n"
                               "{\"file_name\":\"cat.png\",\"text\":\"a cat\"}\n"
                               "{\"file_name\":\"cat.jpg\",\"text\":\"another cat of this name\"}\n"
                               "{\"file_name\":\"rocket.png\",\"text\":\"small\"}\n"
                               "{\"file_name\":\"broken.png\",\"text\":\"broken\"}\n"
                               "{\"file_name\":\"out.png\",\"text\":\"left out\",\"excluded\":\"by hand\"}\n"
                               "{\"file_name\":\"drawing.png\",\"text\":\"with alpha\"}\n";
    struct err e = { 0 };
    snprintf(folder, sizeof folder, "%s", test_scratch(name));
    REQUIRE(folder_make(inside("a"), &e));
    copy_as("measure/astronaut.png", "a/astronaut.png");
    copy_as("similarity/cat.png", "cat.png");
    copy_as("similarity/noise.png", "cat.jpg"); /* the bytes tell the format, not the ending */
    copy_as("measure/rocket.png", "rocket.png");
    struct image small, drawing;
    REQUIRE(image_load(&small, test_data("emoji-mini/solid-egg.png"), IMAGE_KEEP_ALPHA, 0, &e));
    REQUIRE(image_resize(&drawing, &small, 64, 64, IMAGE_LANCZOS, &e) && image_save_png(inside("drawing.png"), &drawing, NULL, 0, &e));
    image_release(&small);
    image_release(&drawing);
    REQUIRE(file_write_whole(inside("broken.png"), "no", 2, &e));
    REQUIRE(file_write_whole(inside("metadata.jsonl"), list, sizeof list - 1, &e));
}

static struct manifest *opened(enum manifest_use use)
{
    struct err e = { 0 };
    struct manifest *m = manifest_open(folder, use, &e);
    REQUIRE(m);
    return m;
}

static void run(const struct reshape_options *o, struct reshape_result *r)
{
    struct err e = { 0 };
    struct manifest *m = opened(MANIFEST_CHANGE);
    REQUIRE(dataset_reshape(m, o, r, NULL, &e));
    manifest_free(m);
}

static void check_file(const char *name, int width, int height, int channels)
{
    struct err e = { 0 };
    struct image image;
    REQUIRE(image_load(&image, inside(name), IMAGE_KEEP_ALPHA, 0, &e));
    CHECK(image.width == width && image.height == height && image.channels == channels, "%s: %dx%dx%d", name, image.width, image.height,
          image.channels);
    image_release(&image);
}

TEST(a_crop_makes_new_files_and_says_so)
{
    struct err e = { 0 };
    struct buckets b;
    struct reshape_result r;
    struct image astronaut, by_hand, cut, made;
    make_set("crop");
    buckets_one(&b, 96, 128);
    const struct reshape_options o = { .kind = RESHAPE_CROP, .buckets = &b, .into = "cropped", .threads = 2 };
    run(&o, &r);
    CHECK(r.made == 4 - 1 && r.small == 2 && r.failed == 1 && r.there == 0, "made %ld, small %ld, failed %ld", r.made, r.small, r.failed);
    CHECK(json_integer_value(json_object_get(r.sizes, "96x128")) == 3, "sizes");
    CHECK(!strcmp(json_string_value(json_object_get(json_array_get(r.reasons, 0), "file")), "broken.png"), "reasons");
    reshape_release(&r);
    check_file("cropped/a/astronaut.png", 96, 128, 3);
    check_file("cropped/cat.png.png", 96, 128, 3);
    check_file("cropped/cat.jpg.png", 96, 128, 3);
    /* what it is: Pillow's Lanczos, and the middle of that */
    REQUIRE(image_load(&astronaut, test_data("measure/astronaut.png"), IMAGE_FLATTEN, 0, &e));
    REQUIRE(image_resize(&by_hand, &astronaut, 128, 128, IMAGE_LANCZOS, &e) && image_crop(&cut, &by_hand, 16, 0, 96, 128, &e));
    REQUIRE(image_load(&made, inside("cropped/a/astronaut.png"), IMAGE_KEEP_ALPHA, 0, &e));
    CHECK(!memcmp(cut.pixels, made.pixels, image_bytes(&cut)), "the pixels");
    struct manifest *m = opened(MANIFEST_READ);
    const struct manifest_picture *p = manifest_picture(m, 0);
    CHECK(!strcmp(p->file_name, "cropped/a/astronaut.png") && p->width == 96 && p->height == 128 && strlen(p->id) == 64 &&
              strlen(p->origin) == 64 && strcmp(p->id, p->origin), "%s %s %s", p->file_name, p->id, p->origin);
    json_t *object = manifest_object(m, 0, &e);
    json_t *entry = json_array_get(json_object_get(object, "history"), 0), *box = json_object_get(entry, "cut");
    CHECK(!strcmp(json_string_value(json_object_get(entry, "from")), "a/astronaut.png") &&
              json_integer_value(json_array_get(box, 0)) == 16 && json_integer_value(json_array_get(box, 2)) == 96, "the history");
    CHECK(!strcmp(manifest_picture(m, 3)->file_name, "rocket.png") && !strcmp(manifest_picture(m, 5)->file_name, "out.png"), "the others");
    json_decref(object);
    manifest_free(m);
    image_release(&astronaut);
    image_release(&by_hand);
    image_release(&cut);
    image_release(&made);
}

/* Stops the work after some pictures. */
static void stop_after(void *self, const char *what, long done, long total, const char *note)
{
    (void)what, (void)total, (void)note;
    if (done == *(long *)self)
        stop_request();
}

TEST(what_was_stopped_goes_on_and_ends_in_the_same_files)
{
    struct err e = { 0 };
    struct buckets b;
    struct reshape_result r;
    long after = 2;
    struct progress progress = { .step = stop_after, .self = &after };
    make_set("stop");
    REQUIRE(buckets_kohya(&b, 128, 64, 256, 32, &e));
    const struct reshape_options o = { .kind = RESHAPE_CROP, .buckets = &b, .into = "new", .part = IMAGE_ATTENTION, .enlarge = true,
                                       .format = IMAGE_WEBP, .quality = 90, .threads = 1 };
    struct manifest *m = opened(MANIFEST_CHANGE);
    CHECK_FAILS(dataset_reshape(m, &o, &r, &progress, &e), ERR_STOPPED, "");
    stop_forget();
    CHECK(r.made == 2, "%ld", r.made);
    reshape_release(&r);
    manifest_free(m);
    run(&o, &r);
    CHECK(r.made == 3 && r.there == 2 && r.failed == 1, "made %ld, there %ld", r.made, r.there);
    reshape_release(&r);
    run(&o, &r);
    CHECK(r.made == 0 && r.there == 5, "made %ld, there %ld", r.made, r.there);
    reshape_release(&r);
    /* one that is lost is made again, of the original */
    m = opened(MANIFEST_READ);
    char name[PATH_MAX_BYTES], id[100];
    snprintf(name, sizeof name, "%s", manifest_picture(m, 1)->file_name);
    snprintf(id, sizeof id, "%s", manifest_picture(m, 1)->id);
    manifest_free(m);
    CHECK(!strcmp(name, "new/cat.png.webp"), "%s", name);
    unlink(inside(name));
    run(&o, &r);
    CHECK(r.made == 1 && r.there == 4, "made %ld, there %ld", r.made, r.there);
    reshape_release(&r);
    m = opened(MANIFEST_READ);
    CHECK(!strcmp(manifest_picture(m, 1)->id, id) && !strcmp(manifest_picture(m, 1)->file_name, name), "the same bytes again");
    json_t *object = manifest_object(m, 1, &e);
    const json_t *history = json_object_get(object, "history");
    CHECK(!strcmp(json_string_value(json_object_get(json_array_get(history, json_array_size(history) - 1), "from")), "cat.png"), "from");
    json_decref(object);
    manifest_free(m);
}

TEST(undo_goes_back_one_change_and_keeps_the_rest)
{
    struct err e = { 0 };
    struct buckets b;
    struct reshape_result r;
    size_t count;
    make_set("undo");
    buckets_one(&b, 64, 64);
    const struct reshape_options crop = { .kind = RESHAPE_CROP, .buckets = &b, .into = "cropped", .threads = 1 };
    const struct reshape_options smaller = { .kind = RESHAPE_LONGER, .side = 40, .multiple = 1, .into = "small", .threads = 1 };
    run(&crop, &r);
    CHECK(r.made == 4 && r.same == 1, "made %ld, same %ld", r.made, r.same); /* the drawing is 64x64 already */
    reshape_release(&r);
    struct manifest *m = opened(MANIFEST_CHANGE);
    char origin[100];
    snprintf(origin, sizeof origin, "%s", manifest_picture(m, 0)->origin);
    REQUIRE(manifest_change(m, 0, json_pack("{s:s}", "text", "a new caption"), "caption", NULL, &e) && manifest_save(m, &e));
    manifest_free(m);
    run(&crop, &r);
    CHECK(r.made == 0 && r.there == 4, "another change does not hide the crop: made %ld, there %ld", r.made, r.there);
    reshape_release(&r);
    run(&smaller, &r);
    CHECK(r.made == 5, "made %ld", r.made);
    reshape_release(&r);
    check_file("small/cropped/a/astronaut.png", 40, 40, 3);
    check_file("small/drawing.png", 40, 40, 4);
    m = opened(MANIFEST_CHANGE);
    REQUIRE(dataset_reshape_undo(m, "crop", &count, &e));
    CHECK(count == 0, "the last change is a resize: %zu", count);
    REQUIRE(dataset_reshape_undo(m, "resize", &count, &e));
    const struct manifest_picture *p = manifest_picture(m, 0);
    CHECK(count == 5 && !strcmp(p->file_name, "cropped/a/astronaut.png") && p->width == 64, "%zu: %s", count, p->file_name);
    REQUIRE(dataset_reshape_undo(m, "crop", &count, &e));
    p = manifest_picture(m, 0);
    CHECK(count == 4 && !strcmp(p->file_name, "a/astronaut.png") && !strcmp(p->id, origin) && p->width == 160 && p->bytes == 0 &&
              !strcmp(p->text, "a new caption"), "%zu: %s", count, p->file_name);
    REQUIRE(dataset_reshape_undo(m, "crop", &count, &e));
    CHECK(count == 0 && path_exists(inside("cropped/a/astronaut.png")), "nothing is left to be undone, and no file is deleted");
    manifest_free(m);
}

TEST(no_picture_is_written_over)
{
    struct err e = { 0 };
    struct buckets b;
    struct reshape_result r;
    size_t count;
    char *before, *after;
    size_t bytes, bytes_after;
    make_set("over");
    /* an original stands where the crop of another would go */
    REQUIRE(folder_make(inside("new/a"), &e));
    copy_as("measure/coffee.png", "new/a/astronaut.png");
    REQUIRE(file_append_line(inside("metadata.jsonl"), "{\"file_name\":\"new/a/astronaut.png\",\"text\":\"coffee\"}", &e));
    REQUIRE(file_read(inside("new/a/astronaut.png"), 1 << 20, &before, &bytes, &e));
    buckets_one(&b, 64, 64);
    struct reshape_options o = { .kind = RESHAPE_CROP, .buckets = &b, .into = "new", .threads = 1 };
    run(&o, &r);
    CHECK(r.made == 5 && r.failed == 1, "made %ld, failed %ld", r.made, r.failed);
    reshape_release(&r);
    REQUIRE(file_read(inside("new/a/astronaut.png"), 1 << 20, &after, &bytes_after, &e));
    CHECK(bytes == bytes_after && !memcmp(before, after, bytes), "the original");
    mem_free(before);
    mem_free(after);
    struct manifest *m = opened(MANIFEST_CHANGE);
    char first[PATH_MAX_BYTES];
    snprintf(first, sizeof first, "%s", manifest_picture(m, 0)->file_name);
    CHECK(!strncmp(first, "new/a/astronaut-", 16) && strlen(first) == 28, "%s", first);
    check_file(first, 64, 64, 3);
    /* what was taken back stays, too, and the same crop again finds it */
    REQUIRE(dataset_reshape_undo(m, "crop", &count, &e) && manifest_save(m, &e));
    manifest_free(m);
    run(&o, &r);
    CHECK(r.made == 5, "made %ld", r.made);
    reshape_release(&r);
    m = opened(MANIFEST_CHANGE);
    CHECK(!strcmp(manifest_picture(m, 0)->file_name, first), "%s", manifest_picture(m, 0)->file_name);
    REQUIRE(dataset_reshape_undo(m, "crop", &count, &e) && manifest_save(m, &e));
    manifest_free(m);
    o.part = IMAGE_END;
    run(&o, &r);
    CHECK(r.made == 5, "made %ld", r.made);
    reshape_release(&r);
    check_file(first, 64, 64, 3);
}

TEST(a_frame_is_cut_away_first)
{
    struct err e = { 0 };
    struct reshape_result r;
    struct image rocket, framed, part, made;
    make_set("frame");
    REQUIRE(image_load(&rocket, test_data("measure/rocket.png"), IMAGE_FLATTEN, 0, &e));
    REQUIRE(image_make(&framed, 120, 110, 3, &e));
    image_paste(&framed, &rocket, 0, 15);
    REQUIRE(image_save_png(inside("cat.png"), &framed, NULL, 0, &e));
    const struct reshape_options o = { .kind = RESHAPE_LONGER, .side = 120, .multiple = 1, .into = "new", .trim = true, .threads = 1 };
    run(&o, &r);
    reshape_release(&r);
    struct manifest *m = opened(MANIFEST_READ);
    long i = manifest_find_file(m, "new/cat.png.png");
    CHECK(i == 1 && manifest_picture(m, 1)->width == 120 && manifest_picture(m, 1)->height == 76, "%ld", i);
    json_t *object = manifest_object(m, 1, &e), *box = json_object_get(json_array_get(json_object_get(object, "history"), 0), "trimmed");
    CHECK(json_integer_value(json_array_get(box, 1)) == 17 && json_integer_value(json_array_get(box, 3)) == 76, "the history");
    json_decref(object);
    REQUIRE(image_load(&made, inside("new/cat.png.png"), IMAGE_FLATTEN, 0, &e) && image_crop(&part, &rocket, 0, 2, 120, 76, &e));
    CHECK(!memcmp(made.pixels, part.pixels, image_bytes(&part)), "the pixels");
    CHECK(manifest_find_file(m, "rocket.png") == 3, "one without a frame that is of this size is left as it is");
    manifest_free(m);
    image_release(&rocket);
    image_release(&framed);
    image_release(&part);
    image_release(&made);
}

TEST(sizes_are_what_was_asked_for)
{
    static const struct {
        enum reshape_kind kind;
        int side, multiple, width, height;
        bool enlarge, done;
        int scaled_width, scaled_height, cut_width, cut_height;
    } cases[] = {
        { RESHAPE_SHORTER, 512, 1, 1024, 2000, false, true, 512, 1000, 512, 1000 },
        { RESHAPE_LONGER, 512, 1, 1024, 2000, false, true, 262, 512, 262, 512 },
        { RESHAPE_AREA, 512, 1, 2048, 512, false, true, 1024, 256, 1024, 256 },
        { RESHAPE_SHORTER, 512, 64, 1024, 2000, false, true, 512, 1000, 512, 960 },
        { RESHAPE_SHORTER, 512, 1, 300, 200, false, false, 0, 0, 0, 0 },
        { RESHAPE_SHORTER, 512, 1, 300, 200, true, true, 768, 512, 768, 512 },
        { RESHAPE_LONGER, 60, 64, 300, 200, false, false, 0, 0, 0, 0 },
        { RESHAPE_LONGER, 10, 1, 3000, 2, false, true, 10, 1, 10, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bucket scaled, cut;
        const struct reshape_options o = { .kind = cases[i].kind, .side = cases[i].side, .multiple = cases[i].multiple,
                                           .enlarge = cases[i].enlarge };
        bool done = reshape_size(&o, cases[i].width, cases[i].height, &scaled, &cut);
        CHECK(done == cases[i].done, "case %zu", i);
        CHECK(!done || (scaled.width == cases[i].scaled_width && scaled.height == cases[i].scaled_height && cut.width == cases[i].cut_width &&
                        cut.height == cases[i].cut_height), "case %zu: %dx%d, %dx%d", i, scaled.width, scaled.height, cut.width, cut.height);
    }
}

TEST(a_folder_elsewhere_is_refused)
{
    struct err e = { 0 };
    struct reshape_result r;
    make_set("elsewhere");
    const struct reshape_options o = { .kind = RESHAPE_LONGER, .side = 40, .multiple = 1, .into = "../other", .threads = 1 };
    struct manifest *m = opened(MANIFEST_CHANGE);
    CHECK_FAILS(dataset_reshape(m, &o, &r, NULL, &e), ERR_ARG, "inside the data set's");
    reshape_release(&r);
    manifest_free(m);
}

TEST(out_of_memory_is_an_error_or_the_whole_result)
{
    struct err e = { 0 };
    for (size_t n = 1;; n += n < 20 ? 1 : 61) {
        struct reshape_result r;
        make_set("memory");
        const struct reshape_options o = { .kind = RESHAPE_LONGER, .side = 40, .multiple = 1, .into = "small", .threads = 1 };
        struct manifest *m = opened(MANIFEST_CHANGE);
        err_clear(&e);
        mem_fail_at(n);
        bool good = dataset_reshape(m, &o, &r, NULL, &e);
        size_t made = mem_fail_at(0);
        const json_t *why = json_object_get(json_array_get(r.reasons, 0), "reason");
        CHECK(good ? r.made == 5 : e.code == ERR_NOMEM, "n %zu: %ld made, %s; %s", n, r.made, e.text, json_string_value(why));
        for (size_t i = 0; i < manifest_count(m); i++)
            CHECK(!strncmp(manifest_picture(m, i)->file_name, "small/", 6) ? path_exists(inside(manifest_picture(m, i)->file_name)) : true,
                  "n %zu: %s", n, manifest_picture(m, i)->file_name);
        reshape_release(&r);
        manifest_free(m);
        if (made < n)
            break;
    }
}
