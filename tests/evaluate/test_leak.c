/* Planted copies of training pictures are found, whatever was done to them; other pictures are not accused. */
#include "evaluate/leak.h"

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "test.h"

static const char *const copied[] = { "astronaut-0", "chelsea-0", "coffee-0", "rocket-1", "stereo_motorcycle-0" };
enum { COPIED = sizeof copied / sizeof *copied };

/* What a model might do to a picture that it repeats. */
static bool exact(struct image *out, const struct image *from, struct err *e)
{
    return image_copy(out, from, e);
}

static bool resized(struct image *out, const struct image *from, struct err *e)
{
    return image_resize(out, from, 70, 70, IMAGE_LANCZOS, e);
}

/* Three quarters of the side. */
static bool cropped(struct image *out, const struct image *from, struct err *e)
{
    struct image part;
    bool good = image_crop(&part, from, 13, 4, 72, 72, e) && image_resize(out, &part, from->width, from->height, IMAGE_LANCZOS, e);
    image_release(&part);
    return good;
}

static bool flipped(struct image *out, const struct image *from, struct err *e)
{
    bool good = image_copy(out, from, e);
    image_mirror(out);
    return good;
}

/* Channels change places, and contrast falls. */
static bool recoloured(struct image *out, const struct image *from, struct err *e)
{
    bool good = image_copy(out, from, e);
    for (int i = 0; good && i < out->width * out->height; i++)
        for (int c = 0; c < 3; c++)
            out->pixels[3 * i + c] = (uint8_t)(20 + 0.7 * from->pixels[3 * i + (c + 1) % 3]);
    return good;
}

static const struct { const char *name; bool (*make)(struct image *, const struct image *, struct err *); } ways[] = {
    { "exact", exact }, { "resized", resized }, { "cropped", cropped }, { "flipped", flipped }, { "recoloured", recoloured },
};
enum { WAYS = sizeof ways / sizeof *ways };

static const char *photos(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "evaluate/photos/%s", name);
    return test_data(path);
}

/* The folder of planted copies, made once. */
static const char *planted(void)
{
    static char folder[4096];
    struct err e = { 0 };
    if (*folder)
        return folder;
    snprintf(folder, sizeof folder, "%s", test_scratch("planted"));
    REQUIRE(folder_make(folder, &e));
    for (int i = 0; i < COPIED; i++) {
        struct image from, copy;
        char path[5000], name[100];
        snprintf(name, sizeof name, "trained/%s.jpg", copied[i]);
        REQUIRE(image_load(&from, photos(name), IMAGE_FLATTEN, 0, &e));
        for (int w = 0; w < WAYS; w++) {
            snprintf(path, sizeof path, "%s/%s-%s.png", folder, copied[i], ways[w].name);
            REQUIRE(ways[w].make(&copy, &from, &e) && image_save_png(path, &copy, NULL, 0, &e));
            image_release(&copy);
        }
        image_release(&from);
    }
    return folder;
}

static void open_sets(struct picture_set *drawn, const char *folder, struct picture_set *trained)
{
    struct err e = { 0 };
    REQUIRE(picture_set_open(drawn, folder, PICTURES_ALL, &e));
    REQUIRE(picture_set_open(trained, photos("trained"), PICTURES_ALL, &e));
}

TEST(planted_copies_are_found_with_what_was_done_to_them)
{
    struct err e = { 0 };
    struct picture_set drawn, trained;
    struct leak l;
    open_sets(&drawn, planted(), &trained);
    struct leak_options o = { .drawn = &drawn, .trained = &trained };
    REQUIRE(leak_find(&l, &o, NULL, &e));
    CHECK(l.drawn_count == COPIED * WAYS && l.usual_count == trained.count, "%zu and %zu", l.drawn_count, l.usual_count);
    for (size_t i = 0; i < l.drawn_count; i++) {
        const struct leak_answer *a = &l.drawn[i];
        const char *name = drawn.at[i].name, *dash = strrchr(name, '-'), *nearest = trained.at[a->near[0].trained].name;
        const struct match *m = &a->near[0].match;
        CHECK(!strncmp(name, nearest, (size_t)(dash - name)) && nearest[dash - name] == '.', "%s is said to be like %s", name, nearest);
        CHECK(a->copy, "%s: structure %g of %g, pixels %g of %g", name, a->measure[0], l.threshold[0], a->measure[1],
              l.threshold[1]);
        CHECK(m->mirrored == !strcmp(dash, "-flipped.png"), "%s: mirrored %d", name, m->mirrored);
        struct window wanted = { 0, 0, 1 };
        if (!strcmp(dash, "-cropped.png"))
            wanted = (struct window){ 13 / 96.0, 4 / 96.0, 72 / 96.0 };
        CHECK_NEAR(m->window.side, wanted.side, 0.03, "%s: size", name);
        CHECK_NEAR(m->window.x, wanted.x, 0.02, "%s: left", name);
        CHECK_NEAR(m->window.y, wanted.y, 0.02, "%s: top", name);
        if (!strcmp(dash, "-exact.png") || !strcmp(dash, "-flipped.png"))
            CHECK(m->structure > 0.999 && m->pixels < 0.5, "%s: structure %g, pixels %g", name, m->structure, m->pixels);
    }
    /* Each of them five times, and nothing else. */
    struct findings f;
    findings_init(&f, "");
    REQUIRE(leak_findings(&f, &l, &o, true, &e));
    json_t *j = findings_json(&f), *repeated = json_object_get(j, "repeated"), *row;
    size_t k;
    CHECK(json_array_size(repeated) == COPIED && json_integer_value(json_object_get(j, "copies")) == COPIED * WAYS, "%zu repeated",
          json_array_size(repeated));
    json_array_foreach(repeated, k, row)
        CHECK(json_integer_value(json_object_get(row, "times")) == WAYS, "%s", json_string_value(json_object_get(row, "name")));
    json_decref(j);
    findings_release(&f);
    leak_release(&l);
    picture_set_release(&drawn);
    picture_set_release(&trained);
}

TEST(other_photographs_are_not_accused)
{
    struct err e = { 0 };
    struct picture_set drawn, trained;
    struct leak l;
    open_sets(&drawn, photos("other"), &trained);
    REQUIRE(leak_find(&l, &(struct leak_options){ .drawn = &drawn, .trained = &trained }, NULL, &e));
    for (size_t i = 0; i < l.drawn_count; i++)
        CHECK(!l.drawn[i].copy, "%s: structure %g of %g, pixels %g of %g", drawn.at[i].name, l.drawn[i].measure[0], l.threshold[0],
              l.drawn[i].measure[1], l.threshold[1]);
    leak_release(&l);
    picture_set_release(&drawn);
    picture_set_release(&trained);
}

/* With a real autoencoder: the latents of a copy at its place agree, too. */
TEST(latents_of_copies_agree)
{
    struct err e = { 0 };
    struct picture_set drawn, trained;
    struct leak l;
    struct vae_files files;
    struct reconstruction vae;
    char model[4096];
    snprintf(model, sizeof model, "%s/../../models/limn-emoji", test_data(""));
    const struct backend *cpu = backend_cpu_new(0, NULL, &e);
    REQUIRE(cpu && vae_files_open(&files, &(struct model_files){ .path = model }, &e));
    REQUIRE(reconstruction_init(&vae, &files, 64, 1, false, DTYPE_F32, cpu, &e));
    open_sets(&drawn, planted(), &trained);
    REQUIRE(leak_find(&l, &(struct leak_options){ .drawn = &drawn, .trained = &trained, .vae = &vae }, NULL, &e));
    CHECK(l.latents && l.threshold[LEAK_LATENTS] > 0.2 && l.threshold[LEAK_LATENTS] < 0.95, "threshold %g",
          l.threshold[LEAK_LATENTS]);
    for (size_t i = 0; i < l.drawn_count; i++)
        if (!strstr(drawn.at[i].name, "recoloured"))
            CHECK(l.drawn[i].says[LEAK_LATENTS], "%s: %g of %g", drawn.at[i].name, l.drawn[i].measure[LEAK_LATENTS],
                  l.threshold[LEAK_LATENTS]);
    leak_release(&l);
    picture_set_release(&drawn);
    picture_set_release(&trained);
    reconstruction_release(&vae);
    vae_files_release(&files);
}

/* Two of fifteen are there twice, so that 4 of 17 have a likeness of 1 to another: fewer than a quarter. */
TEST(pictures_that_are_there_twice_do_not_hide_copies)
{
    struct err e = { 0 };
    struct picture_set drawn, trained, twice;
    struct leak once, l;
    char folder[4096], path[5000];
    open_sets(&drawn, planted(), &trained);
    snprintf(folder, sizeof folder, "%s", test_scratch("twice"));
    REQUIRE(folder_make(folder, &e));
    for (size_t i = 0; i < trained.count; i++)
        for (int k = 0; k < (i % 8 == 0 ? 2 : 1); k++) {
            struct image image;
            REQUIRE(picture_set_load(&trained, i, &image, &e));
            snprintf(path, sizeof path, "%s/%zu-%d.png", folder, i, k);
            REQUIRE(image_save_png(path, &image, NULL, 0, &e));
            image_release(&image);
        }
    REQUIRE(picture_set_open(&twice, folder, PICTURES_ALL, &e));
    REQUIRE(leak_find(&once, &(struct leak_options){ .drawn = &drawn, .trained = &trained }, NULL, &e));
    REQUIRE(leak_find(&l, &(struct leak_options){ .drawn = &drawn, .trained = &twice }, NULL, &e));
    CHECK(twice.count > trained.count && l.threshold[LEAK_STRUCTURE] < 0.99, "threshold %g, before %g", l.threshold[LEAK_STRUCTURE],
          once.threshold[LEAK_STRUCTURE]);
    leak_release(&once);
    leak_release(&l);
    picture_set_release(&drawn);
    picture_set_release(&trained);
    picture_set_release(&twice);
}

TEST(the_same_picture_is_a_copy_however_full_of_twins_the_set_is)
{
    struct err e = { 0 };
    struct picture_set all, drawn, trained;
    struct leak l;
    char folder[4096], path[5000];
    open_sets(&drawn, photos("trained"), &all);
    snprintf(folder, sizeof folder, "%s", test_scratch("twins"));
    REQUIRE(folder_make(folder, &e));
    for (size_t i = 0; i < 12; i++) {
        struct image image;
        REQUIRE(picture_set_load(&all, i / 2, &image, &e));
        snprintf(path, sizeof path, "%s/%zu.png", folder, i);
        REQUIRE(image_save_png(path, &image, NULL, 0, &e));
        image_release(&image);
    }
    REQUIRE(picture_set_open(&trained, folder, PICTURES_ALL, &e));
    REQUIRE(leak_find(&l, &(struct leak_options){ .drawn = &trained, .trained = &trained }, NULL, &e));
    CHECK(l.drawn_count == 12 && l.threshold[LEAK_STRUCTURE] > 0.99, "threshold %g", l.threshold[LEAK_STRUCTURE]);
    for (size_t i = 0; i < l.drawn_count; i++)
        CHECK(l.drawn[i].copy && l.drawn[i].says[LEAK_PIXELS], "picture %zu: structure %g, pixels %g", i, l.drawn[i].measure[LEAK_STRUCTURE],
              l.drawn[i].measure[LEAK_PIXELS]);
    leak_release(&l);
    picture_set_release(&all);
    picture_set_release(&drawn);
    picture_set_release(&trained);
}

/* Whatever is allocated fails in turn. */
TEST(want_of_memory_is_an_error)
{
    struct picture_set drawn, trained;
    open_sets(&drawn, photos("other"), &trained);
    drawn.count = 1; /* one thread and little work: this walks hundreds of runs */
    size_t kept = trained.count, first = drawn.count;
    trained.count = 3;
    for (size_t n = 1; n < 60; n++) {
        struct err e = { 0 };
        struct leak l;
        mem_fail_at(n);
        bool good = leak_find(&l, &(struct leak_options){ .drawn = &drawn, .trained = &trained }, NULL, &e);
        mem_fail_at(0);
        CHECK(good || e.code == ERR_NOMEM, "allocation %zu: %s", n, e.text);
        leak_release(&l);
    }
    trained.count = kept;
    drawn.count = first;
    struct err e = { 0 };
    struct leak l;
    trained.count = 2;
    CHECK_FAILS(leak_find(&l, &(struct leak_options){ .drawn = &drawn, .trained = &trained }, NULL, &e), ERR_ARG, "at least 3");
    trained.count = kept;
    picture_set_release(&trained);
    drawn.count = 6;
    picture_set_release(&drawn);
}
