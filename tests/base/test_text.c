#include "base/text.h"

#include "base/plain.h"
#include "test.h"

TEST(utf8_is_decoded_as_the_standard_says)
{
    static const struct { const char *bytes; size_t length; uint32_t rune; size_t took; } cases[] = {
        { "a", 1, 'a', 1 }, { "\xC3\xA9", 2, 0xE9, 2 }, { "\xE8\x8B\xB9", 3, 0x82F9, 3 }, { "\xF0\x9F\x98\x80", 4, 0x1F600, 4 },
        { "\xC0\x80", 2, 0xFFFD, 1 }, { "\xED\xA0\x80", 3, 0xFFFD, 1 }, { "\xE8\x8B", 2, 0xFFFD, 1 }, { "\x80", 1, 0xFFFD, 1 },
        { "\xF4\x90\x80\x80", 4, 0xFFFD, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t rune;
        size_t took = utf8_decode(cases[i].bytes, cases[i].length, &rune);
        CHECK(rune == cases[i].rune && took == cases[i].took, "case %zu: %x in %zu", i, rune, took);
        char back[4];
        if (took > 1)
            CHECK(utf8_encode(rune, back) == took && !memcmp(back, cases[i].bytes, took), "case %zu back", i);
    }
}

TEST(what_others_chose_is_told_on_one_line_and_in_letters)
{
    char out[40];
    CHECK(!strcmp(plain_line(out, sizeof out, "a\n\x1b[2J\x7f\tb \xC2\x9B\xC2\xA0猫"), "a  [2J  b  \xC2\xA0猫"), "%s", out);
    CHECK(!strcmp(plain_line(out, 3, "abc"), "ab") && !strcmp(plain_line(out, 3, NULL), ""), "%s", out);
    CHECK(!strcmp(plain_utf8(out, sizeof out, "a\xff猫\xe7\x8c"), "a\\xff猫\\xe7\\x8c"), "%s", out);
    CHECK(!strcmp(plain_utf8(out, 5, "ab猫"), "ab") && !strcmp(plain_utf8(out, 6, "ab猫"), "ab猫"), "%s", out);
}

TEST(a_text_stops_at_its_largest_size)
{
    struct err e = { 0 };
    struct text t;
    text_init(&t, 10);
    text_add(&t, "12345");
    text_addf(&t, "%d", 67890);
    REQUIRE(text_ok(&t, &e));
    text_add(&t, "x");
    CHECK_FAILS(text_ok(&t, &e), ERR_LIMIT, "10 bytes");
    CHECK(!strcmp(text_string(&t), "1234567890"), "%s", text_string(&t));
    text_release(&t);
}
