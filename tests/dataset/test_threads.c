/* Pictures are spread over the threads that were asked for: progress is told by the thread that has done a picture. */
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "dataset/import.h"
#include "dataset/reshape.h"
#include "dataset/survey.h"
#include "image/image.h"
#include "test.h"

enum { PICTURES = 48, MOST_THREADS = 8, SIDE = 240 };

struct workers {
    int id[MOST_THREADS], pictures[MOST_THREADS], count;
};

static void note_thread(void *self, const char *what, long done, long total, const char *note)
{
    struct workers *w = self;
    int i = 0;
    (void)what, (void)done, (void)total, (void)note;
    while (i < w->count && w->id[i] != gettid())
        i++;
    if (i == MOST_THREADS)
        return;
    w->id[i] = gettid();
    w->count += i == w->count;
    w->pictures[i]++;
}

static void check_shares(const struct workers *w, int threads, const char *what)
{
    CHECK(w->count == threads, "%s: %d threads worked, not %d", what, w->count, threads);
    for (int i = 0; i < w->count; i++)
        CHECK(w->pictures[i] >= PICTURES / threads / 3, "%s: one of %d threads did %d of %d pictures", what, threads, w->pictures[i], PICTURES);
}

/* The cat, larger, in files that differ behind their last byte. */
static void fill(const char *folder)
{
    struct err e = { 0 };
    struct image cat, large;
    char path[PATH_MAX_BYTES + 10], *data;
    size_t bytes;
    REQUIRE(folder_make(folder, &e) && image_init(&e) && image_load(&cat, test_data("similarity/cat.png"), IMAGE_FLATTEN, 0, &e));
    REQUIRE(image_resize(&large, &cat, SIDE, SIDE, IMAGE_BICUBIC, &e));
    snprintf(path, sizeof path, "%s", test_scratch("large.png"));
    REQUIRE(image_save_png(path, &large, NULL, 0, &e) && file_read(path, 1 << 24, &data, &bytes, &e));
    image_release(&cat);
    image_release(&large);
    for (int i = 0; i < PICTURES; i++) {
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        data[bytes] = (char)i; /* in place of the 0 behind the file's bytes */
        REQUIRE(file_write_whole(path, data, bytes + 1, &e));
    }
    mem_free(data);
}

TEST(every_thread_that_is_asked_for_does_a_share_of_the_pictures)
{
    struct err e = { 0 };
    char set[PATH_MAX_BYTES];
    snprintf(set, sizeof set, "%s", test_scratch("set"));
    fill(set);
    struct import_result imported;
    REQUIRE(dataset_import(&(struct import_options){ .from = set }, &imported, NULL, &e));
    json_decref(imported.reasons);
    for (int threads = 1; threads <= 3; threads++) {
        struct workers looked = { .count = 0 }, cut = { .count = 0 };
        struct progress looking = { .self = &looked, .step = note_thread }, cutting = { .self = &cut, .step = note_thread };
        struct survey survey;
        struct reshape_result made;
        char into[20];
        snprintf(into, sizeof into, "cut-%d", threads);
        struct manifest *m = manifest_open(set, MANIFEST_CHANGE, &e);
        REQUIRE(m && survey_make(&survey, m, false, false, threads, &looking, &e));
        survey_release(&survey);
        check_shares(&looked, threads, "a survey");
        const struct reshape_options o = { .kind = RESHAPE_SHORTER, .side = SIDE - 20 * threads, .multiple = 1, .into = into, .format = IMAGE_JPEG,
                                           .quality = 90, .threads = threads };
        REQUIRE(dataset_reshape(m, &o, &made, &cutting, &e));
        assert_int_equal(made.made, PICTURES);
        reshape_release(&made);
        check_shares(&cut, threads, "scaling");
        manifest_free(m);
    }
}
