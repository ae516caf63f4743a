/* The whole report with a tiny model of random weights and the small dataset: what it asks, that its figures are those of its
 * answers, and that its page is written whole. */
#include "evaluate/report.h"

#include "backend/cpu/cpu.h"
#include "base/mem.h"
#include "evaluate/reconstruct.h"
#include "test.h"

static const struct backend *cpu(void)
{
    static const struct backend *made;
    struct err e = { 0 };
    if (!made)
        made = backend_cpu_new(0, NULL, &e);
    if (!made)
        fail_msg("%s", e.text);
    return made;
}

static struct dataset *mini(void)
{
    struct err e = { 0 };
    struct dataset *d = dataset_open(test_data("emoji-mini"), &e);
    REQUIRE(d != NULL);
    return d;
}

static struct report_options options_of(struct dataset *d)
{
    char model[200];
    static char folder[4096];
    snprintf(model, sizeof model, "models/%s", "tiny-emoji");
    snprintf(folder, sizeof folder, "%s", test_data(model));
    return (struct report_options){ .dataset = d, .folder = folder, .backend = cpu(), .type = DTYPE_F32, .batch = 3,
                                    .steps = 2, .cfg = 2 };
}

TEST(questions_are_fixed_half_chinese_and_of_their_kind)
{
    struct err e = { 0 };
    struct dataset *d = mini();
    struct question *q = NULL, *again = NULL;
    size_t count = 0, first[QUESTION_KINDS + 1], other = 0;
    for (int kind = 0; kind < QUESTION_KINDS; kind++) {
        first[kind] = count;
        REQUIRE(questions_add(d, (enum question_kind)kind, 0, &q, &count, &e));
    }
    first[QUESTION_KINDS] = count;
    size_t trained, held_out;
    dataset_split(d, false, -1, &trained);
    dataset_split(d, true, -1, &held_out);
    CHECK(first[QUESTION_TRAINED + 1] - first[QUESTION_TRAINED] == trained, "one for each training picture");
    CHECK(first[QUESTION_HELD_OUT + 1] - first[QUESTION_HELD_OUT] == held_out, "one for each held-out picture");
    CHECK(first[QUESTION_FREE + 1] - first[QUESTION_FREE] == FREE_PROMPTS, "all free prompts");
    CHECK(first[QUESTION_PAIR + 1] > first[QUESTION_PAIR], "no pairs");
    for (size_t i = 0; i < count; i++) {
        const struct scene_facts *f = &q[i].facts;
        CHECK(q[i].prompt && *q[i].prompt, "question %zu has no words", i);
        CHECK(q[i].number == (long)(i - first[q[i].kind]), "question %zu has number %ld", i, q[i].number);
        if (q[i].kind == QUESTION_FREE)
            continue;
        const struct dataset_picture *p = dataset_picture(d, f->picture[0]), *o = dataset_picture(d, f->picture[1]);
        CHECK(f->language == (q[i].number % 2 ? DATASET_CHINESE : DATASET_ENGLISH), "question %zu", i);
        CHECK(p->held_out == (q[i].kind == QUESTION_HELD_OUT), "question %zu: %s", i, p->file_name);
        CHECK(strstr(q[i].prompt, p->style_phrase[f->language]), "\"%s\" names no style", q[i].prompt);
        if (q[i].kind == QUESTION_PAIR)
            CHECK(!o->held_out && o->style_index == p->style_index && o->concept_index != p->concept_index, "\"%s\"",
                  q[i].prompt);
        if (q[i].kind == QUESTION_COLOUR)
            CHECK(strstr(q[i].prompt, scene_colours[q[i].number % SCENE_COLOURS].name[f->language]), "\"%s\"", q[i].prompt);
    }
    /* The first two are the first two of the whole. */
    REQUIRE(questions_add(d, QUESTION_TRAINED, 2, &again, &other, &e));
    CHECK(other == 2 && !strcmp(again[0].prompt, q[0].prompt) && !strcmp(again[1].prompt, q[1].prompt), "another order");
    questions_free(q, count);
    questions_free(again, other);
    dataset_free(d);
}

static long lines_with(const char *text, const char *word)
{
    long n = 0;
    for (const char *c = text; (c = strstr(c, word)); c++)
        n++;
    return n;
}

TEST(figures_are_those_of_the_answers_and_the_page_is_whole)
{
    struct err e = { 0 };
    struct report r;
    struct dataset *d = mini();
    struct report_options o = options_of(d);
    o.count = 4;
    REQUIRE(report_run(&r, &o, NULL, &e));
    long things = 0, styles = 0, pairs = 0, colours = 0, halves = 0;
    for (size_t i = 0; i < r.count; i++) {
        const struct answer *a = &r.answers[i];
        CHECK(a->image.width == r.side_px && a->image.height == r.side_px, "answer %zu has no picture", i);
        things += a->question.kind == QUESTION_TRAINED && a->thing[0].right;
        styles += a->question.kind == QUESTION_TRAINED && a->style.right;
        halves += a->question.kind == QUESTION_PAIR ? a->thing[0].right + a->thing[1].right : 0;
        pairs += a->question.kind == QUESTION_PAIR && a->thing[0].right && a->thing[1].right;
        colours += a->question.kind == QUESTION_COLOUR && nearest_scene_colour(a->border) == a->question.facts.colour;
    }
    CHECK(r.share[PART_B].right == things && r.share[PART_B].asked == 4, "b");
    CHECK(r.share[PART_C].right == styles && r.share[PART_C].asked == 4, "c");
    CHECK(r.share[PART_E].right == pairs && r.either_half.right == halves && r.either_half.asked == 2 * r.share[PART_E].asked,
          "e");
    CHECK(r.share[PART_F].right == colours && r.share[PART_F].asked == 4, "f");
    CHECK(r.reconstructed > 0 && r.psnr > 3 && r.psnr < 40 && r.psnr_least <= r.psnr, "a: %g dB", r.psnr);
    long by_style = 0;
    for (int s = 0; s < dataset_styles(d); s++)
        by_style += r.by_style[s][PART_B].asked;
    CHECK(by_style == 4 && r.by_language[PART_B][0].asked == 2 && r.by_language[PART_B][1].asked == 2, "breakdown");

    char page[4096], *text;
    size_t bytes;
    snprintf(page, sizeof page, "%s", test_scratch("report/page.md"));
    REQUIRE(report_page(&r, page, "tiny", "one machine", "Why it is bad: its weights are random.\n", &e));
    REQUIRE(file_read(page, 1 << 20, &text, &bytes, &e));
    CHECK(strstr(text, "# What tiny can do") && strstr(text, "weights are random") && strstr(text, "one machine"), "%s", text);
    CHECK(lines_with(text, "| at least ") == 6, "six goals: %s", text);
    CHECK(lines_with(text, "![") == 6, "six sheets: %s", text);
    for (const char *c = "abdefg"; *c; c++) {
        char picture[4200];
        struct image sheet;
        snprintf(picture, sizeof picture, "%.*s/pictures/page-%c.png", (int)(strlen(page) - strlen("/page.md")), page, *c);
        REQUIRE(image_load(&sheet, picture, IMAGE_FLATTEN, 0, &e));
        image_release(&sheet);
    }
    mem_free(text);
    json_t *j = report_json(&r);
    assert_non_null(j);
    CHECK(json_integer_value(json_object_get(json_object_get(j, "b"), "right")) == things, "JSON");
    json_decref(j);
    report_release(&r);
    dataset_free(d);
}

/* Question i has its own noise: neither the batch nor the other parts change a picture. */
TEST(a_part_alone_gives_the_pictures_of_the_whole)
{
    struct err e = { 0 };
    struct report all, alone;
    struct dataset *d = mini();
    struct report_options o = options_of(d);
    o.count = 2;
    o.parts = "bde";
    REQUIRE(report_run(&all, &o, NULL, &e));
    o.parts = "e";
    o.batch = 1;
    o.count = 1;
    REQUIRE(report_run(&alone, &o, NULL, &e));
    CHECK(alone.count == 1, "%zu answers", alone.count);
    double psnr;
    REQUIRE(image_psnr(&alone.answers[0].image, &all.answers[all.first[QUESTION_PAIR]].image, &psnr, &e));
    CHECK(psnr > 60, "%.1f dB apart", psnr);
    REQUIRE(image_psnr(&alone.answers[0].image, &all.answers[all.first[QUESTION_PAIR] + 1].image, &psnr, &e));
    CHECK(psnr < 50, "another question gave the same picture");
    report_release(&all);
    report_release(&alone);
    dataset_free(d);
}

TEST(an_unknown_part_a_wrong_batch_and_a_missing_model_are_errors)
{
    struct err e = { 0 };
    struct report r;
    struct dataset *d = mini();
    struct report_options o = options_of(d);
    o.parts = "bx";
    CHECK_FAILS(report_run(&r, &o, NULL, &e), ERR_ARG, "parts \"bx\"");
    o.parts = "b";
    o.batch = 0;
    CHECK_FAILS(report_run(&r, &o, NULL, &e), ERR_ARG, "batch 0");
    o.batch = 1;
    o.folder = "nowhere";
    CHECK_FAILS(report_run(&r, &o, NULL, &e), ERR_MISSING, "nowhere");
    dataset_free(d);
}
