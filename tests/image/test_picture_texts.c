/* Pictures of other programs tell how they were made. The files are tests/reference/make_told.py's. */
#include "image/picture_texts.h"

#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "image/image.h"
#include "test.h"

static bool same(const char *came, const char *wanted)
{
    return came && wanted ? !strcmp(came, wanted) : came == wanted;
}

TEST(files_of_other_programs_tell_how_they_were_made)
{
    static const struct {
        const char *file, *parameters, *prompt, *workflow; /* keys of told.json */
    } cases[] = {
        { "a1111.jpg", "parameters", NULL, NULL },   { "a1111.webp", "parameters", NULL, NULL }, { "ascii.jpg", "ascii", NULL, NULL },
        { "comfy.webp", NULL, "prompt", "workflow" }, { "description.jpg", "ascii", NULL, NULL }, { "xmp.jpg", "parameters", NULL, NULL },
        { "xmp.webp", "parameters", NULL, NULL },    { "comment.jpg", "parameters", NULL, NULL }, { "exif.png", "parameters", NULL, NULL },
        { "camera.jpg", NULL, NULL, NULL },
    };
    json_t *want = json_load_file(test_data("told/told.json"), 0, NULL);
    assert_non_null(want);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[100], *data;
        size_t bytes;
        struct err e = { 0 };
        struct picture_texts t;
        snprintf(name, sizeof name, "told/%s", cases[i].file);
        REQUIRE(file_read(test_data(name), 1 << 20, &data, &bytes, &e));
        REQUIRE(picture_texts_read(&t, data, bytes, &e));
        const char *const keys[] = { cases[i].parameters, cases[i].prompt, cases[i].workflow }, *const came[] = { t.parameters, t.prompt, t.workflow };
        for (int k = 0; k < 3; k++) {
            const char *text = keys[k] ? json_string_value(json_object_get(want, keys[k])) : NULL;
            CHECK(same(came[k], text), "%s, text %d: came\n%s\nwanted\n%s", cases[i].file, k, came[k] ? came[k] : "none", text ? text : "none");
        }
        picture_texts_release(&t);
        /* whatever is cut off is left out, and nothing is read behind the end */
        for (size_t cut = 0; cut < bytes; cut += 1 + bytes / 97) {
            char *part = mem_zeroed(cut + 1, 1);
            memcpy(part, data, cut);
            REQUIRE(picture_texts_read(&t, part, cut, &e));
            picture_texts_release(&t);
            mem_free(part);
        }
        mem_free(data);
    }
    json_decref(want);
}

TEST(utf16_in_either_order_is_read)
{
    for (int big = 0; big < 2; big++)
        for (int tiff_big = 0; tiff_big < 2; tiff_big++) {
            /* a TIFF file of one directory that has the XP comment or leads to a UserComment */
            static const char words[] = "Steps: 5, Seed: 1";
            unsigned char file[200] = { 0 }, *at = file + 60;
            memcpy(file, tiff_big ? "MM\0*\0\0\0\x08" : "II*\0\x08\0\0\0", 8);
            size_t text = 8 + 2 * (sizeof words - 1);
            const unsigned entry[] = { 1, 0x9286, 7, (unsigned)text, 60 }, size[] = { 2, 2, 2, 4, 4 };
            unsigned char *p = file + 8;
            for (int i = 0; i < 5; i++)
                for (unsigned k = 0; k < size[i]; k++)
                    *p++ = (unsigned char)(entry[i] >> 8 * (tiff_big ? size[i] - 1 - k : k));
            memcpy(at, "UNICODE", 8);
            for (size_t i = 0; i < sizeof words - 1; i++)
                at[8 + 2 * i + (size_t)big] = (unsigned char)words[i];
            unsigned char jpeg[300] = { 0xFF, 0xD8, 0xFF, 0xE1, 0, 208, 'E', 'x', 'i', 'f', 0, 0 };
            memcpy(jpeg + 12, file, sizeof file);
            struct picture_texts t;
            struct err e = { 0 };
            REQUIRE(picture_texts_read(&t, jpeg, 12 + sizeof file, &e));
            CHECK(t.parameters && !strcmp(t.parameters, words), "big %d in TIFF %d: %s", big, tiff_big, t.parameters ? t.parameters : "none");
            picture_texts_release(&t);
        }
}
