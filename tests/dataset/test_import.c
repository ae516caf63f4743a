/* Real pictures (tests/data/pictures) come in from folders, lists and zip files, and go out again. */
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/zip.h"
#include "dataset/export.h"
#include "dataset/import.h"
#include "dataset/manifest.h"

#define CAT "7f6fefd85983230fe79bfe6ae9d335ac987771cb354abbb51ef768d55ca3e254" /* sha256sum cat.png */

static const char *in_scratch(const char *folder, const char *name)
{
    static char path[4][PATH_MAX_BYTES];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, PATH_MAX_BYTES, "%s/%s", test_scratch(folder), name);
    return out;
}

/* Writes bytes to folder/name; folders are made. */
static void put(const char *folder, const char *name, const void *data, size_t bytes)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s", in_scratch(folder, name));
    *strrchr(path, '/') = 0;
    REQUIRE(folder_make(path, &e) && file_write_whole(in_scratch(folder, name), data, bytes, &e));
}

static void put_text(const char *folder, const char *name, const char *text)
{
    put(folder, name, text, strlen(text));
}

/* A copy of a test picture, cut to `bytes` if that is not 0. */
static void put_picture(const char *folder, const char *name, const char *picture, size_t cut)
{
    struct err e = { 0 };
    char *data, path[PATH_MAX_BYTES];
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", test_data("pictures"), picture);
    REQUIRE(file_read(path, 1 << 20, &data, &bytes, &e));
    put(folder, name, data, cut ? cut : bytes);
    mem_free(data);
}

static struct import_result import_of(const struct import_options *o)
{
    struct err e = { 0 };
    struct import_result r;
    REQUIRE(dataset_import(o, &r, NULL, &e));
    json_decref(r.reasons);
    return r;
}

static struct manifest *manifest_of(const char *folder)
{
    struct err e = { 0 };
    struct manifest *m = manifest_open(folder, MANIFEST_READ, &e);
    REQUIRE(m != NULL);
    return m;
}

static const struct manifest_picture *picture_of(const struct manifest *m, const char *file)
{
    long i = manifest_find_file(m, file);
    CHECK(i >= 0, "no %s", file);
    return manifest_picture(m, (size_t)i);
}

static void fill_folder(const char *folder)
{
    put_picture(folder, "cat.png", "cat.png", 0);
    put_text(folder, "cat.txt", "\xEF\xBB\xBF a cat,\nlooking \r\n");
    put_picture(folder, "deep/er/coffee.jpg", "coffee.jpg", 0);
    put_text(folder, "deep/er/coffee.caption", "coffee");
    put_picture(folder, "astronaut.webp", "astronaut.webp", 0);
    put_picture(folder, "rocket.jpg", "rocket.jpg", 0);
    put_picture(folder, "cut-in-its-middle.png", "cat.png", 5000);
    put_picture(folder, "cut-in-its-head.png", "cat.png", 20);
    put_text(folder, "words.png", "not a picture");
    put_picture(folder, "bad-words.png", "coffee.jpg", 0);
    put_text(folder, "bad-words.txt", "\xFF\xFE");
    put_picture(folder, ".hidden.png", "cat.png", 0);
    put_text(folder, "notes.md", "no picture");
}

TEST(a_folder_comes_in_with_the_captions_beside_and_without_what_is_no_picture)
{
    struct err e = { 0 };
    fill_folder("folder");
    const struct import_options o = { .from = test_scratch("folder"), .to = test_scratch("folder-set") };
    struct import_result r;
    REQUIRE(dataset_import(&o, &r, NULL, &e));
    assert_int_equal(r.taken, 5);
    assert_int_equal(r.skipped, 3);
    assert_int_equal(json_array_size(r.reasons), 3);
    const char *first = json_string_value(json_object_get(json_array_get(r.reasons, 0), "reason"));
    CHECK(strstr(first, "bad-words.png: its caption is not UTF-8"), "%s", first);
    json_decref(r.reasons);
    struct manifest *m = manifest_of(o.to);
    const struct manifest_picture *cat = picture_of(m, "cat.png");
    assert_string_equal(cat->text, "a cat,\nlooking");
    assert_string_equal(cat->id, CAT);
    assert_int_equal(cat->width, 96);
    assert_int_equal(cat->height, 64);
    assert_int_equal(cat->bytes, 12669);
    char *real = realpath(in_scratch("folder", "cat.png"), NULL);
    assert_string_equal(cat->source, real);
    free(real);
    assert_string_equal(picture_of(m, "deep/er/coffee.jpg")->text, "coffee");
    assert_string_equal(picture_of(m, "astronaut.webp")->text, "");
    assert_int_equal(picture_of(m, "rocket.jpg")->width, 80); /* its EXIF says that the camera lay on its side */
    assert_int_equal(picture_of(m, "rocket.jpg")->height, 53);
    manifest_free(m);
    struct import_result again = import_of(&o);
    assert_int_equal(again.taken, 0);
    assert_int_equal(again.there, 5);
}

TEST(the_list_can_be_written_beside_the_pictures)
{
    struct err e = { 0 };
    put_picture("beside", "a/cat.png", "cat.png", 0);
    put_picture("beside", "b/cat.png", "cat.png", 0);
    const struct import_options o = { .from = test_scratch("beside") };
    assert_int_equal(import_of(&o).taken, 2);
    struct dataset *d = dataset_open(o.from, &e); /* as it stands */
    REQUIRE(d != NULL && dataset_load(d, 32, false, NULL, &e));
    assert_string_equal(dataset_picture(d, 1)->file_name, "b/cat.png");
    dataset_free(d);
    assert_int_equal(import_of(&o).there, 2);
    put_picture("beside", "c/coffee.jpg", "coffee.jpg", 0);
    /* metadata.jsonl is there now, but it is not what was meant */
    const struct import_options more = { .from = o.from, .layout = IMPORT_FOLDER };
    assert_int_equal(import_of(&more).taken, 1);
    const struct import_options inside = { .from = o.from, .to = in_scratch("beside", "set"), .layout = IMPORT_FOLDER };
    struct import_result r;
    CHECK_FAILS(dataset_import(&inside, &r, NULL, &e), ERR_ARG, "is inside");
    json_decref(r.reasons);
}

TEST(folders_of_kohya_bring_repeats_and_a_word)
{
    put_picture("kohya", "img/10_a cat/cat.png", "cat.png", 0);
    put_picture("kohya", "img/3_cup/coffee.jpg", "coffee.jpg", 0);
    put_text("kohya", "img/3_cup/coffee.txt", "black coffee");
    put_picture("kohya", "img/cup/other.jpg", "coffee.jpg", 0);
    const struct import_options o = { .from = test_scratch("kohya"), .to = test_scratch("kohya-set") };
    assert_int_equal(import_of(&o).taken, 2);
    struct manifest *m = manifest_of(o.to);
    assert_string_equal(picture_of(m, "img/10_a cat/cat.png")->text, "a cat");
    assert_int_equal(picture_of(m, "img/10_a cat/cat.png")->repeats, 10);
    assert_string_equal(picture_of(m, "img/3_cup/coffee.jpg")->text, "black coffee");
    manifest_free(m);
    struct err e = { 0 };
    struct dataset *d = dataset_open(o.to, &e);
    REQUIRE(d != NULL);
    assert_int_equal(dataset_picture(d, 0)->repeats, 10);
    dataset_free(d);
}

TEST(a_list_has_its_columns_in_any_order_and_keeps_what_else_it_says)
{
    static const struct {
        const char *name, *list;
    } cases[] = {
        { "metadata.csv", "text,file_name,artist,split,repeats,width\n\"a \"\"cat\"\"\",p/cat.png,Me,validation,4,7\n" },
        { "train/metadata.csv", "file_name,text,artist,split,repeats,width\n./p/cat.png,\"a \"\"cat\"\"\",Me,test,4,7\n" },
        { "mine.jsonl", "{\"image\":\"p/cat.png\",\"prompt\":\"a \\\"cat\\\"\",\"artist\":\"Me\",\"split\":\"held-out\",\"repeats\":4,\"id\":7}\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char from[32], to[32], file[PATH_MAX_BYTES];
        struct err e = { 0 };
        snprintf(from, sizeof from, "list-%zu", i);
        snprintf(to, sizeof to, "list-set-%zu", i);
        put_picture(from, i == 1 ? "train/p/cat.png" : "p/cat.png", "cat.png", 0);
        put_text(from, cases[i].name, cases[i].list);
        snprintf(file, sizeof file, "%s", i == 2 ? in_scratch(from, cases[i].name) : test_scratch(from));
        const struct import_options o = { .from = file, .to = test_scratch(to) };
        assert_int_equal(import_of(&o).taken, 1);
        struct manifest *m = manifest_of(o.to);
        const struct manifest_picture *p = picture_of(m, "p/cat.png");
        assert_string_equal(p->text, "a \"cat\"");
        assert_string_equal(p->split, "held-out");
        assert_int_equal(p->repeats, 4);
        assert_int_equal(p->width, 96);
        assert_string_equal(p->id, CAT);
        json_t *j = manifest_object(m, 0, &e);
        assert_string_equal(json_string_value(json_object_get(j, "artist")), "Me");
        json_decref(j);
        manifest_free(m);
    }
}

TEST(a_list_reads_no_files_outside_its_folder_unless_that_is_allowed)
{
    put_picture("elsewhere", "cat.png", "cat.png", 0);
    char list[PATH_MAX_BYTES + 200];
    snprintf(list, sizeof list, "file_name,text\n%s,absolute\n../elsewhere/cat.png,up\ncat.png,inside\n", in_scratch("elsewhere", "cat.png"));
    put_picture("outside", "cat.png", "coffee.jpg", 0);
    put_text("outside", "metadata.csv", list);
    struct import_options o = { .from = test_scratch("outside"), .to = test_scratch("outside-set") };
    struct import_result r = import_of(&o);
    assert_int_equal(r.taken, 1);
    assert_int_equal(r.skipped, 2);
    o.outside = true;
    r = import_of(&o);
    assert_int_equal(r.skipped, 0);
    assert_int_equal(r.there, 2); /* the second path leads to the same bytes */
    struct manifest *m = manifest_of(o.to);
    assert_int_equal(manifest_count(m), 2);
    assert_string_equal(picture_of(m, "cat.png")->text, "inside");
    assert_string_equal(picture_of(m, "cat-2.png")->text, "absolute"); /* its name was another picture's */
    manifest_free(m);
}

TEST(a_broken_list_is_refused_with_its_line)
{
    static const struct {
        const char *name, *list;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "a.csv", "name,text\nx,y\n", ERR_MISSING, "line 2: no picture" },
        { "a.csv", "file_name,text\nx\n", ERR_FORMAT, "line 2: 1 fields" },
        { "a.csv", "file_name,text\n\"x\n", ERR_FORMAT, "line 2: a quote is not closed" },
        { "a.csv", "file_name,text\nx,\xFF\n", ERR_FORMAT, "line 2: field 2 is not UTF-8" },
        { "a.csv", "file_name,text\n", ERR_MISSING, "no pictures" },
        { "a.jsonl", "{\"file_name\":\"a.png\"}\n{", ERR_FORMAT, "line 2" },
        { "a.jsonl", "[1]", ERR_FORMAT, "line 1: not a JSON object" },
        { "a.zip", "PK", ERR_FORMAT, "a zip file without its directory" },
        { "a.txt", "", ERR_ARG, "pictures come from a folder" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct import_result r;
        put_text("bad-list", cases[i].name, cases[i].list);
        const struct import_options o = { .from = in_scratch("bad-list", cases[i].name), .to = test_scratch("bad-list-set") };
        CHECK_FAILS(dataset_import(&o, &r, NULL, &e), cases[i].code, cases[i].part);
        json_decref(r.reasons);
    }
}

TEST(a_zip_file_is_read_as_the_folder_that_was_packed)
{
    char zip[PATH_MAX_BYTES];
    snprintf(zip, sizeof zip, "%s/set.zip", test_data("pictures"));
    const struct import_options o = { .from = zip, .to = test_scratch("zip-set") };
    struct import_result r = import_of(&o);
    assert_int_equal(r.taken, 2); /* one stored, one deflated */
    assert_int_equal(r.skipped, 3);
    struct manifest *m = manifest_of(o.to);
    assert_string_equal(picture_of(m, "cat.png")->id, CAT);
    assert_string_equal(picture_of(m, "cat.png")->text, "a cat, looking");
    assert_string_equal(picture_of(m, "sub/coffee.jpg")->text, "coffee");
    const char *source = picture_of(m, "cat.png")->source;
    CHECK(strstr(source, "/set.zip!/mine/train/cat.png"), "%s", source);
    manifest_free(m);
    assert_int_equal(import_of(&o).there, 2);
}

TEST(nothing_in_a_zip_file_leaves_the_folder)
{
    char zip[PATH_MAX_BYTES];
    struct err e = { 0 };
    snprintf(zip, sizeof zip, "%s/escape.zip", test_data("pictures"));
    const struct import_options o = { .from = zip, .to = in_scratch("zip-in", "set") };
    struct import_result r = import_of(&o);
    assert_int_equal(r.taken, 1);
    assert_int_equal(r.skipped, 2); /* hidden files and those behind ".." are not even looked at */
    struct manifest *m = manifest_of(o.to);
    assert_string_equal(picture_of(m, "cup.jpg")->text, "a cup from a zip");
    manifest_free(m);
    assert_false(path_exists(in_scratch("zip-in", "up.png")) || path_exists("/tmp/limn-up.png"));
    const struct import_options none = { .from = zip };
    CHECK_FAILS(dataset_import(&none, &r, NULL, &e), ERR_ARG, "--output is missing");
    json_decref(r.reasons);
}

/* The first place of these bytes in data, behind `from`. */
static size_t place_of(const char *data, size_t bytes, size_t from, const char *what)
{
    const char *p = memmem(data + from, bytes - from, what, strlen(what));
    CHECK(p, "no %s", what);
    return (size_t)(p - data);
}

TEST(what_a_zip_file_says_wrongly_is_seen)
{
    struct err e = { 0 };
    char path[PATH_MAX_BYTES], *data, *out;
    size_t bytes, got;
    snprintf(path, sizeof path, "%s/set.zip", test_data("pictures"));
    REQUIRE(file_read(path, 1 << 20, &data, &bytes, &e));
    /* in the directory: flags at -38, method -36, CRC -30, unpacked size -22 from the name */
    size_t coffee = place_of(data, bytes, place_of(data, bytes, 0, "PK\1\2"), "mine/train/sub/coffee.jpg");
    static const struct {
        int at;
        unsigned char change;
        enum err_code code;
        const char *part;
    } cases[] = {
        { 0, 0, ERR_NONE, "" },
        { -38, 1, ERR_TYPE, "encrypted" },
        { -36, 4, ERR_TYPE, "only deflate is" },
        { -30, 1, ERR_FORMAT, "is broken" },
        { -22, 1, ERR_FORMAT, "is broken" },
        { -20, 1, ERR_FORMAT, "is broken" }, /* 64 KiB more than there are */
        { -19, 0x40, ERR_LIMIT, "at most 100000 are read" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct zip z;
        data[(long)coffee + cases[i].at] ^= (char)cases[i].change;
        REQUIRE(zip_init(&z, (const unsigned char *)data, bytes, "a zip", &e));
        const struct zip_entry *entry = zip_find(&z, "mine/train/", 11, "sub/coffee.jpg", 14);
        if (cases[i].code)
            CHECK_FAILS(zip_unpack(entry, 100000, &out, &got, &e), cases[i].code, cases[i].part);
        else {
            REQUIRE(zip_unpack(entry, 100000, &out, &got, &e));
            mem_free(out);
        }
        zip_release(&z);
        data[(long)coffee + cases[i].at] ^= (char)cases[i].change;
    }
    data[coffee - 19] = 0x40; /* a gigabyte, of 16 KB */
    put("bomb", "bomb.zip", data, bytes);
    mem_free(data);
    const struct import_options o = { .from = in_scratch("bomb", "bomb.zip"), .to = test_scratch("bomb-set") };
    struct import_result r;
    CHECK_FAILS(dataset_import(&o, &r, NULL, &e), ERR_LIMIT, "not a set of pictures");
    json_decref(r.reasons);
}

static void stop_at_once(void *self, const char *what, long done, long total, const char *note)
{
    (void)self, (void)what, (void)total, (void)note;
    if (done >= 32)
        stop_request();
}

TEST(an_import_that_was_stopped_goes_on_to_the_same_manifest)
{
    enum { PICTURES = 80 };
    struct err e = { 0 };
    char name[32];
    for (int i = 0; i < PICTURES; i++) {
        snprintf(name, sizeof name, "%02d.jpg", i);
        put_picture("many", name, "coffee.jpg", 0);
    }
    struct import_options o = { .from = test_scratch("many"), .to = test_scratch("many-set") };
    struct import_result r;
    const struct progress stops = { .step = stop_at_once };
    CHECK_FAILS(dataset_import(&o, &r, &stops, &e), ERR_STOPPED, "");
    stop_forget();
    json_decref(r.reasons);
    struct manifest *m = manifest_of(o.to);
    assert_int_equal(manifest_count(m), 32);
    manifest_free(m);
    put_text("many-set", "32.jpg", "what a killed run left"); /* a file that no line tells of */
    r = import_of(&o);
    assert_int_equal(r.there, 32);
    assert_int_equal(r.taken, PICTURES - 32);
    m = manifest_of(o.to);
    for (int i = 0; i < PICTURES; i++) {
        snprintf(name, sizeof name, "%02d.jpg", i);
        assert_string_equal(manifest_picture(m, (size_t)i)->file_name, name);
    }
    manifest_free(m);
    char *data;
    size_t bytes;
    REQUIRE(file_read(in_scratch("many-set", "32.jpg"), 1 << 20, &data, &bytes, &e));
    assert_int_equal(bytes, 2897);
    mem_free(data);
}

TEST(links_are_the_same_files)
{
    struct stat a, b;
    put_picture("linked", "cat.png", "cat.png", 0);
    const struct import_options o = { .from = test_scratch("linked"), .to = test_scratch("linked-set"), .link = true };
    assert_int_equal(import_of(&o).taken, 1);
    assert_int_equal(stat(in_scratch("linked", "cat.png"), &a) | stat(in_scratch("linked-set", "cat.png"), &b), 0);
    assert_true(a.st_ino == b.st_ino);
}

/* ---- export ---- */

static void make_set(const char *name)
{
    struct err e = { 0 };
    char folder[PATH_MAX_BYTES];
    snprintf(folder, sizeof folder, "%s", test_scratch(name));
    put_picture("export-in", "2_cup/coffee.jpg", "coffee.jpg", 0);
    put_text("export-in", "2_cup/coffee.txt", "coffee, \"black\"");
    put_picture("export-in", "2_cup/a/cat.png", "cat.png", 0);
    put_picture("export-in", "2_cup/a/cat.webp", "astronaut.webp", 0); /* shares its stem with the one before */
    put_picture("export-in", "1_up/rocket.jpg", "rocket.jpg", 0);
    const struct import_options o = { .from = test_scratch("export-in"), .to = folder };
    import_of(&o);
    struct manifest *m = manifest_open(folder, MANIFEST_CHANGE, &e);
    REQUIRE(m != NULL);
    for (size_t i = 0; i < manifest_count(m); i++) {
        char text[40];
        snprintf(text, sizeof text, "picture %zu", i);
        REQUIRE(*manifest_picture(m, i)->text != 'u' || manifest_change(m, i, json_pack("{s:s}", "split", "held-out"), NULL, NULL, &e));
        if (!strncmp(manifest_picture(m, i)->file_name, "2_cup/a", 7))
            REQUIRE(manifest_change(m, i, json_pack("{s:s}", "text", text), NULL, NULL, &e));
    }
    REQUIRE(manifest_add(m, json_pack("{s:s,s:s,s:s}", "file_name", "gone.png", "text", "", "excluded", "broken"), "import", NULL, &e));
    REQUIRE(manifest_save(m, &e));
    manifest_free(m);
}

TEST(what_is_exported_comes_in_again_with_the_same_bytes_and_captions)
{
    struct err e = { 0 };
    make_set("export-set");
    struct manifest *m = manifest_of(test_scratch("export-set"));
    for (int layout = EXPORT_DIFFSYNTH; layout <= EXPORT_FOLDER; layout++)
        for (int link = 0; link < 2; link++) {
            char out[32], back[32];
            long count;
            snprintf(out, sizeof out, "export-%d-%d", layout, link);
            snprintf(back, sizeof back, "export-%d-%d-back", layout, link);
            const struct export_options o = { .to = test_scratch(out), .layout = (enum export_layout)layout, .link = link };
            REQUIRE(dataset_export(m, &o, &count, NULL, &e));
            REQUIRE(dataset_export(m, &o, &count, NULL, &e)); /* over what is there */
            assert_int_equal(count, 3);
            const struct import_options in = { .from = o.to, .to = test_scratch(back) };
            CHECK(import_of(&in).taken == 3, "layout %d", layout);
            struct manifest *n = manifest_of(in.to);
            for (size_t i = 0; i < manifest_count(m); i++) {
                const struct manifest_picture *p = manifest_picture(m, i);
                long k = manifest_find_id(n, p->id);
                bool wanted = !*p->excluded && !*p->split;
                CHECK((k >= 0) == wanted, "layout %d, %s", layout, p->file_name);
                if (wanted)
                    assert_string_equal(manifest_picture(n, (size_t)k)->text, p->text);
                if (wanted && layout == EXPORT_KOHYA)
                    assert_int_equal(manifest_picture(n, (size_t)k)->repeats, p->repeats);
            }
            manifest_free(n);
        }
    manifest_free(m);
}

TEST(an_export_takes_the_split_that_was_asked_for)
{
    struct err e = { 0 };
    long count;
    make_set("split-set");
    struct manifest *m = manifest_of(test_scratch("split-set"));
    struct export_options o = { .to = test_scratch("split-out"), .layout = EXPORT_KOHYA, .split = EXPORT_HELD_OUT };
    REQUIRE(dataset_export(m, &o, &count, NULL, &e));
    assert_int_equal(count, 1);
    assert_true(path_exists(in_scratch("split-out", "1_up/rocket.txt")));
    o.split = EXPORT_ALL;
    REQUIRE(dataset_export(m, &o, &count, NULL, &e));
    assert_int_equal(count, 4);
    assert_true(path_exists(in_scratch("split-out", "2_cup/a_cat.png")) && path_exists(in_scratch("split-out", "2_cup/a_cat-2.webp")));
    o.to = manifest_folder(m);
    CHECK_FAILS(dataset_export(m, &o, &count, NULL, &e), ERR_ARG, "the data set itself");
    manifest_free(m);
    unlink(in_scratch("split-set", "1_up/rocket.jpg"));
    m = manifest_of(test_scratch("split-set"));
    o.to = test_scratch("split-out-2");
    CHECK_FAILS(dataset_export(m, &o, &count, NULL, &e), ERR_IO, "rocket.jpg");
    assert_false(path_exists(in_scratch("split-out-2", "metadata.csv")));
    manifest_free(m);
}
