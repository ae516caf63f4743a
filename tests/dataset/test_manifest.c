#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataset/manifest.h"

/* A fresh folder with this list in it. */
static const char *folder_with(const char *name, const char *list, const char *content)
{
    static char folder[PATH_MAX_BYTES];
    char path[PATH_MAX_BYTES];
    struct err e = { 0 };
    snprintf(folder, sizeof folder, "%s", test_scratch(name));
    REQUIRE(folder_make(folder, &e));
    REQUIRE(path_join(path, folder, list, &e));
    REQUIRE(file_write_whole(path, content, strlen(content), &e));
    return folder;
}

static char *list_of(const char *folder)
{
    char path[PATH_MAX_BYTES], *data;
    size_t bytes;
    struct err e = { 0 };
    REQUIRE(path_join(path, folder, "metadata.jsonl", &e) && file_read(path, DATASET_MAX_BYTES, &data, &bytes, &e));
    return data;
}

TEST(what_is_not_changed_is_written_again_byte_for_byte)
{
    struct err e = { 0 };
    static const char list[] = "{\"file_name\":\"a.png\",\"text\":\"猫\",\"mine\":{\"z\":1,\"a\":[1.5,null,true]}}\n"
                               "{\"file_name\":\"b.png\",\"text\":\"b\",\"big\":9007199254740993}\n";
    const char *folder = folder_with("same", "metadata.jsonl", list);
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
    REQUIRE(m != NULL);
    REQUIRE(manifest_change(m, 0, json_pack("{s:s}", "excluded", "blurred"), NULL, NULL, &e));
    REQUIRE(manifest_save(m, &e));
    char *now = list_of(folder);
    CHECK(strstr(now, "\"mine\":{\"z\":1,\"a\":[1.5,null,true]},\"excluded\":\"blurred\"}"), "%s", now);
    mem_free(now);
    REQUIRE(manifest_change(m, 0, json_pack("{s:n}", "excluded"), NULL, NULL, &e));
    REQUIRE(manifest_save(m, &e));
    now = list_of(folder);
    assert_string_equal(now, list);
    mem_free(now);
    manifest_free(m);
}

TEST(an_excluded_picture_is_left_out_of_training_and_comes_back)
{
    struct err e = { 0 };
    const char *folder = folder_with("excluded", "metadata.jsonl",
                                     "{\"file_name\":\"a.png\",\"text\":\"a\"}\n{\"file_name\":\"b.png\",\"text\":\"b\"}\n");
    struct dataset *d = dataset_open(folder, &e);
    REQUIRE(d != NULL);
    uint64_t first = dataset_fingerprint(d);
    dataset_free(d);
    for (int out = 1; out >= 0; out--) {
        struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
        REQUIRE(m != NULL);
        REQUIRE(manifest_change(m, 0, out ? json_pack("{s:s}", "excluded", "too small") : json_pack("{s:n}", "excluded"), "clean",
                                json_pack("{s:s}", "reason", "too small"), &e));
        REQUIRE(manifest_save(m, &e));
        manifest_free(m);
        REQUIRE((d = dataset_open(folder, &e)) != NULL);
        assert_int_equal(dataset_count(d), out ? 1 : 2);
        assert_string_equal(dataset_picture(d, 0)->file_name, out ? "b.png" : "a.png");
        CHECK(out == (dataset_fingerprint(d) != first), "the fingerprint, excluded %d", out);
        dataset_free(d);
    }
}

/* Caches and checkpoints go by the fingerprint. */
TEST(history_does_not_change_the_fingerprint)
{
    struct err e = { 0 };
    const char *folder = folder_with("print", "metadata.jsonl", "{\"file_name\":\"a.png\",\"text\":\"a\"}\n");
    uint64_t print[2];
    for (int i = 0; i < 2; i++) {
        struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
        REQUIRE(m != NULL);
        REQUIRE(manifest_change(m, 0, json_object(), "looked at", json_pack("{s:i}", "times", i), &e));
        REQUIRE(manifest_save(m, &e));
        manifest_free(m);
        struct dataset *d = dataset_open(folder, &e);
        REQUIRE(d != NULL);
        print[i] = dataset_fingerprint(d);
        dataset_free(d);
    }
    assert_true(print[0] == print[1]);
}

TEST(a_change_is_written_into_the_history_and_the_first_id_is_kept)
{
    struct err e = { 0 };
    struct manifest *m = manifest_open(test_scratch("history"), MANIFEST_MAKE, &e);
    REQUIRE(m != NULL);
    REQUIRE(manifest_add(m, json_pack("{s:s,s:s,s:s}", "file_name", "a.png", "id", "11", "source", "/there/a.png"), "import", NULL, &e));
    REQUIRE(manifest_change(m, 0, json_pack("{s:s,s:i,s:i}", "id", "22", "width", 512, "height", 384), "crop",
                            json_pack("{s:[iiii]}", "box", 1, 2, 3, 4), &e));
    REQUIRE(manifest_change(m, 0, json_pack("{s:s,s:s}", "id", "33", "text", "cat"), "resize", NULL, &e));
    const struct manifest_picture *p = manifest_picture(m, 0);
    assert_string_equal(p->id, "33");
    assert_string_equal(p->origin, "11");
    assert_string_equal(p->text, "cat");
    assert_int_equal(p->width, 512);
    assert_int_equal(p->repeats, 1);
    assert_int_equal(manifest_find_id(m, "33"), 0);
    assert_int_equal(manifest_find_id(m, "11"), -1);
    assert_int_equal(manifest_find_source(m, "/there/a.png"), 0);
    assert_int_equal(manifest_find_file(m, "b.png"), -1);
    json_t *j = manifest_object(m, 0, &e), *history = json_object_get(j, "history");
    assert_int_equal(json_array_size(history), 3);
    json_t *crop = json_array_get(history, 1);
    assert_string_equal(json_string_value(json_object_get(crop, "op")), "crop");
    assert_string_equal(json_string_value(json_object_get(crop, "time")), manifest_time(m));
    assert_int_equal(json_array_size(json_object_get(crop, "box")), 4);
    json_decref(j);
    manifest_free(m);
}

TEST(a_change_that_makes_no_sense_leaves_the_picture_as_it_was)
{
    struct err e = { 0 };
    struct manifest *m = manifest_open(test_scratch("sense"), MANIFEST_MAKE, &e);
    REQUIRE(m != NULL);
    REQUIRE(manifest_add(m, json_pack("{s:s,s:s}", "file_name", "a.png", "text", "a"), "import", NULL, &e));
    REQUIRE(manifest_add(m, json_pack("{s:s}", "file_name", "b.png"), "import", NULL, &e));
    CHECK_FAILS(manifest_change(m, 0, json_pack("{s:s}", "file_name", "../a.png"), NULL, NULL, &e), ERR_FORMAT, "not a path inside");
    CHECK_FAILS(manifest_change(m, 0, json_pack("{s:s}", "file_name", "b.png"), NULL, NULL, &e), ERR_FORMAT, "another picture");
    CHECK_FAILS(manifest_change(m, 0, json_pack("{s:i}", "text", 1), NULL, NULL, &e), ERR_FORMAT, "text");
    CHECK_FAILS(manifest_change(m, 0, json_pack("{s:i}", "repeats", 0), NULL, NULL, &e), ERR_FORMAT, "repeats");
    CHECK_FAILS(manifest_change(m, 0, json_pack("{s:s}", "split", "test"), NULL, NULL, &e), ERR_FORMAT, "split");
    CHECK_FAILS(manifest_change(m, 0, json_pack("{s:s}", "text", "\xFF"), NULL, NULL, &e), ERR_NOMEM, "");
    CHECK_FAILS(manifest_add(m, json_pack("{s:s}", "text", "no name"), "import", NULL, &e), ERR_MISSING, "no file_name");
    CHECK_FAILS(manifest_add(m, json_pack("{s:s}", "file_name", "b.png"), "import", NULL, &e), ERR_FORMAT, "twice");
    assert_int_equal(manifest_count(m), 2);
    assert_string_equal(manifest_picture(m, 0)->text, "a");
    assert_string_equal(manifest_picture(m, 1)->text, "");
    manifest_free(m);
}

TEST(two_programs_do_not_change_one_data_set)
{
    struct err e = { 0 };
    const char *folder = folder_with("locked", "metadata.jsonl", "{\"file_name\":\"a\",\"text\":\"\"}");
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
    REQUIRE(m != NULL);
    CHECK_FAILS(manifest_open(folder, MANIFEST_CHANGE, &e) != NULL, ERR_IO, "another program");
    struct manifest *reader = manifest_open(folder, MANIFEST_READ, &e);
    REQUIRE(reader != NULL);
    manifest_free(reader);
    manifest_free(m);
    REQUIRE((m = manifest_open(folder, MANIFEST_CHANGE, &e)) != NULL);
    manifest_free(m);
}

TEST(a_csv_list_becomes_a_manifest_with_all_its_columns)
{
    struct err e = { 0 };
    const char *folder = folder_with("csv", "metadata.csv", "text,file_name,artist\r\n\"a, b\",x.png,Me\r\n");
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
    REQUIRE(m != NULL);
    assert_string_equal(manifest_picture(m, 0)->text, "a, b");
    REQUIRE(manifest_save(m, &e));
    manifest_free(m);
    char *now = list_of(folder);
    assert_string_equal(now, "{\"text\":\"a, b\",\"file_name\":\"x.png\",\"artist\":\"Me\"}\n");
    mem_free(now);
}

TEST(a_list_in_train_is_found_and_changed_there)
{
    struct err e = { 0 };
    char folder[PATH_MAX_BYTES];
    folder_with("diffsynth/train", "metadata.csv", "text,file_name\ncat,x.png\n");
    snprintf(folder, sizeof folder, "%s", test_scratch("diffsynth"));
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
    REQUIRE(m != NULL);
    REQUIRE(manifest_change(m, 0, json_pack("{s:s}", "split", "held-out"), "split", NULL, &e) && manifest_save(m, &e));
    manifest_free(m);
    assert_true(path_exists(test_scratch("diffsynth/train/metadata.jsonl")));
    struct dataset *d = dataset_open(folder, &e);
    REQUIRE(d != NULL);
    assert_true(dataset_picture(d, 0)->held_out);
    dataset_free(d);
    REQUIRE((m = manifest_open(folder, MANIFEST_MAKE, &e)) != NULL);
    assert_int_equal(manifest_count(m), 0);
    manifest_free(m);
}

TEST(a_broken_manifest_is_refused_with_its_line)
{
    static const struct {
        const char *list, *content;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "metadata.jsonl", "{\"file_name\":\"a\"}\n{\"file_name\"", ERR_FORMAT, "line 2" },
        { "metadata.jsonl", "\n[]", ERR_FORMAT, "line 2: not a JSON object" },
        { "metadata.jsonl", "{\"text\":\"\"}", ERR_MISSING, "line 1: no file_name" },
        { "metadata.jsonl", "{\"file_name\":\"/etc/passwd\"}", ERR_FORMAT, "not a path inside" },
        { "metadata.jsonl", "{\"file_name\":\"a\"}\n{\"file_name\":\"a\"}", ERR_FORMAT, "line 2: the list has a twice" },
        { "metadata.jsonl", "{\"file_name\":\"a\",\"text\":5}", ERR_FORMAT, "text" },
        { "metadata.jsonl", "{\"file_name\":\"a\",\"repeats\":-1}", ERR_FORMAT, "repeats" },
        { "metadata.csv", "text\nb\n", ERR_MISSING, "no file_name" },
        { "metadata.csv", "file_name,text\na,\xFF\n", ERR_FORMAT, "line 2: field 2 is not UTF-8" },
        { "other", "", ERR_MISSING, "limn dataset import" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        char name[32];
        snprintf(name, sizeof name, "broken-%zu", i);
        CHECK_FAILS(manifest_open(folder_with(name, cases[i].list, cases[i].content), MANIFEST_READ, &e) != NULL, cases[i].code,
                    cases[i].part);
    }
}

TEST(what_other_programs_call_id_and_source_does_no_harm)
{
    struct err e = { 0 };
    const char *folder = folder_with("others", "metadata.jsonl",
                                     "{\"file_name\":\"a\",\"id\":7,\"source\":[1],\"width\":\"wide\",\"bytes\":-1,\"excluded\":false}\n");
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
    REQUIRE(m != NULL);
    const struct manifest_picture *p = manifest_picture(m, 0);
    CHECK(!*p->id && !*p->source && !*p->excluded && p->width == 0 && p->bytes == 0, "%s", p->id);
    REQUIRE(manifest_change(m, 0, json_pack("{s:s}", "text", "b"), NULL, NULL, &e));
    REQUIRE(manifest_change(m, 0, json_pack("{s:s}", "id", "11"), NULL, NULL, &e));
    CHECK_FAILS(manifest_change(m, 0, json_pack("{s:i}", "id", 8), NULL, NULL, &e), ERR_FORMAT, "id");
    json_t *j = manifest_object(m, 0, &e);
    assert_int_equal(json_integer_value(json_object_get(j, "list_id")), 7);
    assert_string_equal(json_string_value(json_object_get(j, "id")), "11");
    assert_true(json_is_array(json_object_get(j, "source")) && !json_object_get(j, "origin"));
    json_decref(j);
    manifest_free(m);
}

TEST(pictures_get_the_hash_of_their_bytes)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    const char *folder = folder_with("ids", "metadata.jsonl", "{\"file_name\":\"a\",\"text\":\"\"}\n{\"file_name\":\"gone\",\"text\":\"\"}\n");
    REQUIRE(path_join(path, folder, "a", &e) && file_write_whole(path, "abc", 3, &e));
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
    size_t missing;
    REQUIRE(m != NULL && manifest_identify(m, NULL, &missing, &e));
    /* FIPS 180-4's own example */
    assert_string_equal(manifest_picture(m, 0)->id, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(manifest_picture(m, 0)->bytes, 3);
    assert_string_equal(manifest_picture(m, 1)->id, "");
    assert_int_equal(missing, 1);
    manifest_free(m);
}

TEST(every_failing_allocation_is_an_error_and_leaves_the_manifest_whole)
{
    struct err e = { 0 };
    const char *folder = folder_with("memory", "metadata.csv", "file_name,text\na,cat\n");
    bool good = false;
    for (size_t n = 1; !good; n++) {
        CHECK(n < 1000, "never succeeds");
        err_clear(&e);
        mem_fail_at(n);
        struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
        good = m && manifest_change(m, 0, json_pack("{s:s}", "text", "dog"), "caption", NULL, &e) &&
               manifest_add(m, json_pack("{s:s}", "file_name", "b"), "import", NULL, &e);
        mem_fail_at(0);
        CHECK(good || strstr(e.text, "memory"), "allocation %zu: %s", n, e.text);
        CHECK(!m || !strcmp(manifest_picture(m, 0)->text, "dog") || !strcmp(manifest_picture(m, 0)->text, "cat"), "allocation %zu", n);
        manifest_free(m);
    }
}

TEST(a_hundred_thousand_pictures_are_quick)
{
    enum { MANY = 100000 };
    struct err e = { 0 };
    double begun = clock_seconds();
    struct manifest *m = manifest_open(test_scratch("many"), MANIFEST_MAKE, &e);
    REQUIRE(m != NULL);
    for (int i = 0; i < MANY; i++) {
        char name[32], id[65];
        snprintf(name, sizeof name, "%06d.png", i);
        snprintf(id, sizeof id, "%064x", i);
        REQUIRE(manifest_add(m, json_pack("{s:s,s:s,s:s,s:i,s:i}", "file_name", name, "text", "a picture of something, of a hundred",
                                          "id", id, "width", 1024, "height", 1024), "import", NULL, &e));
    }
    for (int i = 0; i < MANY; i += 3)
        REQUIRE(manifest_change(m, (size_t)i, json_pack("{s:s}", "excluded", "blurred"), "clean", NULL, &e));
    REQUIRE(manifest_save(m, &e));
    manifest_free(m);
    REQUIRE((m = manifest_open(test_scratch("many"), MANIFEST_READ, &e)) != NULL);
    assert_int_equal(manifest_find_file(m, "099999.png"), MANY - 1);
    assert_string_equal(manifest_picture(m, 99999)->excluded, "blurred");
    manifest_free(m);
    /* 1.6 s on half a core; what grew with the square of the count would take hours */
    CHECK(clock_seconds() - begun < 120, "%.1f s", clock_seconds() - begun);
    print_message("%d pictures: %.1f s\n", MANY, clock_seconds() - begun);
}
