/* Looking at pictures and finding those with faults: real ones, damaged ones, broken files. */
#include "dataset/clean.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "test.h"

static const char *in_folder(const char *name)
{
    static char path[PATH_MAX_BYTES];
    struct err e = { 0 };
    REQUIRE(path_join(path, test_scratch("set"), name, &e));
    return path;
}

static void copy_part(const char *from, const char *to, double part)
{
    struct err e = { 0 };
    char *data;
    size_t bytes;
    REQUIRE(file_read(test_data(from), 1 << 20, &data, &bytes, &e));
    REQUIRE(file_write_whole(in_folder(to), data, (size_t)((double)bytes * part), &e));
    mem_free(data);
}

static void save(const char *name, const struct image *image)
{
    struct err e = { 0 };
    REQUIRE(image_save_png(in_folder(name), image, NULL, 0, &e));
}

/* What each picture of the set must be told. */
static const struct {
    const char *name, *text;
    int check; /* CLEAN_CHECKS: none */
    const char *twin;
} set[] = {
    { "astronaut.png", "an astronaut", CLEAN_CHECKS, NULL },
    { "cat.png", "a cat", CLEAN_CHECKS, NULL },
    { "cat-again.png", "a cat again", CLEAN_DUPLICATE, "cat.png" },
    { "cat-jpeg.png", "a cat as a JPEG", CLEAN_NEAR, "cat.png" },
    { "cat-small.png", "a small cat", CLEAN_NEAR, "cat.png" },
    { "cat-mirrored.png", "a cat", CLEAN_SAME_CAPTION, "cat.png" },
    { "cut.png", "the file ends early", CLEAN_BROKEN, NULL },
    { "empty.png", "nothing", CLEAN_BROKEN, NULL },
    { "words.png", "no picture", CLEAN_BROKEN, NULL },
    { "gone.png", "no file", CLEAN_BROKEN, NULL },
    { "tiny.png", "a thumbnail", CLEAN_SMALL, NULL },
    { "banner.png", "long and low", CLEAN_ELONGATED, NULL },
    { "plain.png", "one colour", CLEAN_FLAT, NULL },
    { "soft.png", "out of focus", CLEAN_BLURRED, NULL },
    { "letterbox.png", "from a film", CLEAN_BORDERED, NULL },
    { "wordless.png", "  ", CLEAN_NO_CAPTION, NULL },
    { "red.png", "a red disc", CLEAN_CHECKS, NULL },
    { "green.png", "a green disc", CLEAN_CHECKS, NULL },
};
enum { SET = sizeof set / sizeof *set };

/* A disc on white: of one luma, whatever its colour. */
static void disc(const char *name, int r, int g, int b)
{
    struct image image;
    struct err e = { 0 };
    REQUIRE(image_make(&image, 128, 128, 3, &e));
    image_fill(&image, 0xFFFFFF);
    for (int y = 0; y < 128; y++)
        for (int x = 0; x < 128; x++)
            if ((x - 60) * (x - 60) + (y - 70) * (y - 70) < 45 * 45)
                memcpy(image.pixels + 3 * (y * 128 + x), (uint8_t[]){ (uint8_t)r, (uint8_t)g, (uint8_t)b }, 3);
    save(name, &image);
    image_release(&image);
}

static void make_set(void)
{
    struct err e = { 0 };
    struct image cat, rocket, made, other;
    REQUIRE(folder_make(test_scratch("set"), &e));
    copy_part("measure/astronaut.png", "astronaut.png", 1);
    copy_part("similarity/cat.png", "cat.png", 1);
    copy_part("similarity/cat.png", "cat-again.png", 1);
    copy_part("similarity/jpeg.png", "cat-jpeg.png", 1);
    copy_part("measure/coffee.png", "cut.png", 0.6);
    copy_part("measure/coffee.png", "empty.png", 0);
    copy_part("measure/coffee.png", "wordless.png", 1);
    REQUIRE(file_write_whole(in_folder("words.png"), "not a picture", 13, &e));
    REQUIRE(image_load(&cat, test_data("similarity/cat.png"), IMAGE_FLATTEN, 0, &e));
    REQUIRE(image_load(&rocket, test_data("measure/rocket.png"), IMAGE_FLATTEN, 0, &e));
    REQUIRE(image_resize(&made, &cat, 120, 113, IMAGE_LANCZOS, &e));
    save("cat-small.png", &made);
    image_release(&made);
    REQUIRE(image_resize(&made, &cat, 40, 38, IMAGE_LANCZOS, &e));
    save("tiny.png", &made);
    REQUIRE(image_resize(&other, &made, 178, 167, IMAGE_BILINEAR, &e));
    save("soft.png", &other);
    image_release(&other);
    image_release(&made);
    REQUIRE(image_crop(&made, &cat, 0, 30, 178, 70, &e));
    save("banner.png", &made);
    image_release(&made);
    REQUIRE(image_make(&made, 120, 110, 3, &e));
    image_paste(&made, &rocket, 0, 15);
    save("letterbox.png", &made);
    image_fill(&made, 0x80A0C0);
    save("plain.png", &made);
    image_release(&made);
    image_mirror(&cat);
    save("cat-mirrored.png", &cat);
    disc("red.png", 220, 40, 40);
    disc("green.png", 20, 140, 40);
    image_release(&cat);
    image_release(&rocket);
    struct text list;
    text_init(&list, 1 << 16);
    for (int i = 0; i < SET; i++)
        text_addf(&list, "{\"file_name\":\"%s\",\"text\":\"%s\"}\n", set[i].name, set[i].text);
    REQUIRE(file_write_whole(in_folder("metadata.jsonl"), text_string(&list), list.length, &e));
    text_release(&list);
    unlink(in_folder(SURVEY_FILE));
}

static const struct clean_options strict = {
    .check = { true, true, true, true, true, true, true, true, true, true }, .min_side_px = 64, .elongated = 2, .flat = 4, .blur = 0.6,
    .border = 0.02, .border_edge = 0.9, .near_bits = 6, .near_colour = 12,
};

static struct manifest *open_set(enum manifest_use use)
{
    struct err e = { 0 };
    struct manifest *m = manifest_open(test_scratch("set"), use, &e);
    REQUIRE(m);
    return m;
}

static void check_report(const struct manifest *m, const struct survey *s, const struct clean_report *r)
{
    size_t k = 0;
    for (size_t i = 0; i < SET; i++) {
        struct text words;
        text_init(&words, 4096);
        bool found = k < r->count && r->faults[k].picture == i;
        const struct clean_fault *f = found ? &r->faults[k++] : NULL;
        if (f)
            clean_fault_words(f, m, s, &words);
        CHECK((f ? (int)f->check : CLEAN_CHECKS) == set[i].check, "%s: %s: %s (blur %g)", set[i].name,
              f ? clean_checks[f->check].name : "nothing", text_string(&words), s->pictures[i].measures.blur);
        CHECK(!f || (f->twin >= 0) == (set[i].twin != NULL), "%s", set[i].name);
        CHECK(!f || !set[i].twin || !strcmp(manifest_picture(m, (size_t)f->twin)->file_name, set[i].twin), "%s: of %s", set[i].name,
              manifest_picture(m, (size_t)f->twin)->file_name);
        CHECK(!f || f->check == CLEAN_NO_CAPTION || words.length > 5, "%s: %s", set[i].name, text_string(&words));
        text_release(&words);
    }
    CHECK(k == r->count && r->looked_at == SET, "%zu of %zu faults, %zu pictures", k, r->count, r->looked_at);
}

TEST(each_picture_is_told_its_fault)
{
    struct err e = { 0 };
    make_set();
    struct manifest *m = open_set(MANIFEST_READ);
    struct survey s;
    struct clean_report r;
    REQUIRE(survey_make(&s, m, false, true, 2, NULL, &e));
    REQUIRE(clean_find(&r, m, &s, &strict, &e));
    check_report(m, &s, &r);
    CHECK(!strcmp(s.pictures[1].id, s.pictures[2].id) && strlen(s.pictures[1].id) == 64, "%s", s.pictures[1].id);
    CHECK(s.pictures[0].width == 160 && s.pictures[0].height == 160 && !s.pictures[0].alpha && s.pictures[0].bytes > 40000, "astronaut");
    CHECK(s.pictures[9].state == SURVEY_MISSING && s.pictures[8].state == SURVEY_BROKEN, "gone and words");
    clean_release(&r);
    /* without the comparison of colours the two discs are one picture */
    struct clean_options blind = strict;
    blind.near_colour = 255;
    REQUIRE(clean_find(&r, m, &s, &blind, &e));
    CHECK(r.of_check[CLEAN_NEAR] == 3, "%zu near duplicates", r.of_check[CLEAN_NEAR]);
    clean_release(&r);
    struct clean_options none = { .near_bits = 6 };
    REQUIRE(clean_find(&r, m, &s, &none, &e));
    CHECK(r.count == 0 && r.same_caption > 0, "%zu faults, %zu with the same caption", r.count, r.same_caption);
    clean_release(&r);
    survey_release(&s);
    manifest_free(m);
}

TEST(of_pictures_that_are_alike_one_with_a_caption_stays)
{
    static const char list[] = "{\"file_name\":\"bare.png\",\"text\":\" \"}\n{\"file_name\":\"told.png\",\"text\":\"a cat\"}\n"
                               "{\"file_name\":\"last.png\",\"text\":\"\"}\n";
    struct err e = { 0 };
    struct survey s;
    struct clean_report r;
    REQUIRE(folder_make(test_scratch("set"), &e));
    copy_part("similarity/cat.png", "bare.png", 1);
    copy_part("similarity/cat.png", "told.png", 1);
    copy_part("similarity/cat.png", "last.png", 1);
    REQUIRE(file_write_whole(in_folder("metadata.jsonl"), list, sizeof list - 1, &e));
    unlink(in_folder(SURVEY_FILE));
    struct manifest *m = open_set(MANIFEST_READ);
    REQUIRE(survey_make(&s, m, false, true, 1, NULL, &e));
    for (int near = 0; near < 2; near++) { /* as the same bytes, and as pictures that look alike */
        struct clean_options o = strict;
        o.check[CLEAN_NO_CAPTION] = false;
        o.check[CLEAN_DUPLICATE] = !near;
        REQUIRE(clean_find(&r, m, &s, &o, &e));
        CHECK(r.count == 2 && r.faults[0].picture == 0 && r.faults[1].picture == 2, "%zu faults", r.count);
        CHECK(r.faults[0].twin == 1 && r.faults[1].twin == 1, "twins %ld and %ld", r.faults[0].twin, r.faults[1].twin);
        clean_release(&r);
    }
    survey_release(&s);
    manifest_free(m);
}

/* Counts the pictures that are looked at; may stop after some. */
struct looked {
    long seen, stop_at;
};
static void count_step(void *self, const char *what, long done, long total, const char *note)
{
    struct looked *l = self;
    (void)what, (void)total, (void)note;
    l->seen = done;
    if (done == l->stop_at)
        stop_request();
}

TEST(a_survey_goes_on_where_it_was_and_looks_only_at_what_is_new)
{
    struct err e = { 0 };
    struct survey s, again;
    struct looked looked = { 0, 5 };
    struct progress progress = { .step = count_step, .self = &looked };
    make_set();
    struct manifest *m = open_set(MANIFEST_READ);
    CHECK_FAILS(survey_make(&s, m, false, true, 1, &progress, &e), ERR_STOPPED, "");
    stop_forget();
    CHECK(!s.pictures, "nothing is held after a failure");
    looked.stop_at = 0;
    REQUIRE(survey_make(&s, m, false, true, 1, &progress, &e));
    CHECK(looked.seen == SET - 5, "%ld were looked at after five", looked.seen);
    looked.seen = 0;
    REQUIRE(survey_make(&again, m, false, true, 1, &progress, &e));
    CHECK(looked.seen == 1, "only the missing one: %ld", looked.seen);
    for (size_t i = 0; i < s.count; i++) {
        struct survey_picture a = s.pictures[i], b = again.pictures[i];
        CHECK(a.state == b.state && !strcmp(a.why ? a.why : "", b.why ? b.why : "") && !strcmp(a.id, b.id), "%s", set[i].name);
        CHECK(a.width == b.width && a.phash == b.phash && !memcmp(&a.measures, &b.measures, sizeof a.measures) &&
                  !memcmp(a.colours, b.colours, sizeof a.colours) && !memcmp(a.border, b.border, sizeof a.border),
              "%s", set[i].name);
    }
    survey_release(&again);
    disc("words.png", 1, 2, 200); /* another file of this name */
    REQUIRE(survey_make(&again, m, false, true, 1, &progress, &e));
    CHECK(looked.seen == 2 && again.pictures[8].state == SURVEY_SEEN, "%ld were looked at", looked.seen);
    survey_release(&again);
    /* a file of the survey that somebody has spoilt is passed over */
    REQUIRE(file_write_whole(in_folder(SURVEY_FILE), "{\"file_name\":\"cat.png\"}\n\xFF\n[]\n", 29, &e));
    REQUIRE(survey_make(&again, m, false, true, 2, &progress, &e));
    CHECK(looked.seen == SET && again.pictures[1].phash == s.pictures[1].phash, "%ld were looked at", looked.seen);
    survey_release(&again);
    survey_release(&s);
    manifest_free(m);
}

TEST(a_survey_that_is_not_kept_leaves_no_file)
{
    struct err e = { 0 };
    struct survey s;
    make_set();
    struct manifest *m = open_set(MANIFEST_READ);
    REQUIRE(survey_make(&s, m, false, false, 0, NULL, &e));
    CHECK(!path_exists(in_folder(SURVEY_FILE)), "%s", SURVEY_FILE);
    survey_release(&s);
    manifest_free(m);
}

TEST(what_is_excluded_comes_back_by_an_undo_and_nothing_else_does)
{
    struct err e = { 0 };
    struct survey s;
    struct clean_report r;
    size_t count;
    make_set();
    struct manifest *m = open_set(MANIFEST_CHANGE);
    REQUIRE(manifest_change(m, 0, json_pack("{s:s}", "excluded", "by hand"), NULL, NULL, &e));
    REQUIRE(survey_make(&s, m, false, true, 0, NULL, &e));
    REQUIRE(clean_find(&r, m, &s, &strict, &e));
    CHECK(r.looked_at == SET - 1 && r.count == 14, "%zu of %zu", r.count, r.looked_at);
    REQUIRE(clean_apply(m, &r, &e));
    REQUIRE(manifest_save(m, &e));
    for (size_t i = 1; i < SET; i++) {
        const char *reason = manifest_picture(m, i)->excluded;
        CHECK(!strcmp(reason, set[i].check == CLEAN_CHECKS ? "" : clean_checks[set[i].check].reason), "%s: %s", set[i].name, reason);
        CHECK(!strcmp(set[i].name, "gone.png") || path_exists(in_folder(set[i].name)), "%s is still there", set[i].name);
    }
    json_t *j = manifest_object(m, 3, &e);
    REQUIRE(j);
    const json_t *entry = json_array_get(json_object_get(j, "history"), 0);
    CHECK(!strcmp(json_string_value(json_object_get(entry, "of")), "cat.png"), "of");
    json_decref(j);
    clean_release(&r);
    /* what is excluded now is not looked at again */
    REQUIRE(clean_find(&r, m, &s, &strict, &e));
    CHECK(r.count == 0 && r.looked_at == 3, "%zu of %zu", r.count, r.looked_at);
    clean_release(&r);
    REQUIRE(manifest_change(m, 10, json_pack("{s:s}", "excluded", "by hand"), NULL, NULL, &e));
    REQUIRE(clean_undo(m, &count, &e));
    CHECK(count == 13, "%zu came back", count);
    for (size_t i = 0; i < SET; i++)
        CHECK(!strcmp(manifest_picture(m, i)->excluded, i == 0 || i == 10 ? "by hand" : ""), "%s", set[i].name);
    REQUIRE(clean_undo(m, &count, &e));
    CHECK(count == 0, "%zu came back again", count);
    /* a reason that reads like ours but is somebody's own stays */
    REQUIRE(manifest_change(m, 13, json_pack("{s:s}", "excluded", "blurred"), NULL, NULL, &e));
    REQUIRE(clean_undo(m, &count, &e));
    CHECK(count == 0, "%zu came back again", count);
    survey_release(&s);
    manifest_free(m);
}

TEST(a_line_of_a_survey_is_read_back_or_refused)
{
    struct survey_picture p = { .state = SURVEY_SEEN, .id = "ab", .bytes = 7, .width = 3, .height = 2, .phash = 1 }, back;
    p.measures.blur = 1.0 / 3;
    p.colours[7][7][2] = 255;
    char *line = survey_line(&p, "x/\xC3\xBC.png", -5), *name;
    int64_t time_ns;
    CHECK(line && survey_line_read(&back, line, strlen(line), &name, &time_ns), "%s", line);
    CHECK(back.measures.blur == p.measures.blur && back.colours[7][7][2] == 255 && time_ns == -5 && !strcmp(name, "x/\xC3\xBC.png"), "%s",
          line);
    mem_free(name);
    for (size_t cut = 0; cut < strlen(line); cut++)
        CHECK(!survey_line_read(&back, line, cut, &name, &time_ns) && !name && !back.why, "cut at %zu", cut);
    free(line);
    static const char *const wrong[] = { "", "[]", "{}", "{\"file_name\":\"a\",\"time\":1,\"bytes\":1}",
                                         "{\"file_name\":\"a\",\"time\":1.5,\"bytes\":1,\"broken\":\"x\"}",
                                         "{\"file_name\":7,\"time\":1,\"bytes\":1,\"broken\":\"x\"}" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(!survey_line_read(&back, wrong[i], strlen(wrong[i]), &name, &time_ns), "%s", wrong[i]);
}

TEST(no_allocation_that_fails_is_taken_for_a_broken_picture)
{
    struct err e = { 0 };
    make_set();
    struct manifest *m = open_set(MANIFEST_READ);
    for (size_t n = 1;; n += n < 40 ? 1 : 23) {
        struct survey s;
        struct clean_report r = { 0 };
        err_clear(&e);
        mem_fail_at(n);
        bool good = survey_make(&s, m, false, true, 1, NULL, &e) && clean_find(&r, m, &s, &strict, &e);
        size_t made = mem_fail_at(0);
        CHECK(good || strstr(e.text, "memory"), "n %zu: %s", n, e.text);
        if (good && made >= n) /* json's memory is not ours: such a line is passed over */
            check_report(m, &s, &r);
        clean_release(&r);
        survey_release(&s);
        unlink(in_folder(SURVEY_FILE));
        if (made < n)
            break;
    }
    manifest_free(m);
}
