#include "base/toml.h"

#include "test.h"

TEST(toml_says_what_its_json_says)
{
    static const struct { const char *toml, *json; } cases[] = {
        { "", "{}" },
        { "# only words\n\r\n\t# more", "{}" },
        { "steps = 100 # so many\nrate = 1e-4\ntext = \"a\\tb \\u00e4\"\nplain = 'C:\\new'\nyes = true\nno=false",
          "{\"steps\":100,\"rate\":1e-4,\"text\":\"a\\tb \\u00e4\",\"plain\":\"C:\\\\new\",\"yes\":true,\"no\":false}" },
        { "a = -1_000\nb = +0\nc = 0xDEAD_beef\nd = 0o17\ne = 0b101\nf = -2.5E+3\ng = 6.0",
          "{\"a\":-1000,\"b\":0,\"c\":3735928559,\"d\":15,\"e\":5,\"f\":-2500.0,\"g\":6.0}" },
        { "list = [ 1, 2.5, # two\n 'three', [ ], ]\n", "{\"list\":[1,2.5,\"three\",[]]}" },
        { "text = \"\"\"\none \\\n   two\nthree\"\"\"\"\nraw = '''\na\\b\r\nc'''", "{\"text\":\"one two\\nthree\\\"\",\"raw\":\"a\\\\b\\nc\"}" },
        { "[run]\nsteps = 3\n[run.deep]\nx = 1\n['q\"']\n\"y z\" = 2", "{\"run\":{\"steps\":3,\"deep\":{\"x\":1}},\"q\\\"\":{\"y z\":2}}" },
        { "a.b.c = 1\na.b.d = { e = 2, f.g = [3] }\nh = {}", "{\"a\":{\"b\":{\"c\":1,\"d\":{\"e\":2,\"f\":{\"g\":[3]}}}},\"h\":{}}" },
        { "[[p]]\nx = 1\n[[p]]\nx = 2\n[p.q]\ny = 3", "{\"p\":[{\"x\":1},{\"x\":2,\"q\":{\"y\":3}}]}" },
        { "\xEF\xBB\xBFwords = \"红苹果\"", "{\"words\":\"红苹果\"}" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        json_t *came = toml_parse(cases[i].toml, strlen(cases[i].toml), "case", &e), *wanted = json_loads(cases[i].json, 0, NULL);
        CHECK(came && wanted, "case %zu: %s", i, e.text);
        CHECK(json_equal(came, wanted), "case %zu: %s", i, json_dumps(came, 0));
        json_decref(came);
        json_decref(wanted);
    }
}

TEST(what_is_no_toml_is_told_with_its_line)
{
    static const struct { const char *toml, *part; } cases[] = {
        { "a = 1\nb = ", "line 2" },         { "a", "'='" },                  { "= 1", "key" },
        { "a = 1\na = 2", "a is given twice" }, { "a = \"x", "without an end" }, { "a = \"x\ny\"", "without an end" },
        { "a = 01", "01" },                  { "a = 1_", "1_" },              { "a = 1.", "1." },
        { "a = 1979-05-27", "1979-05-27" },  { "a = inf", "inf" },            { "a = 1e999", "1e999" },
        { "a = 99999999999999999999", "99999999999999999999" },              { "a = 0x", "0x" },
        { "a = [1 2]", "','" },              { "a = [1,", "line 1" },         { "a = {b = 1", "'}'" },
        { "[a\nb = 1", "']'" },              { "a = 1 b = 2", "behind" },     { "a = \"\\q\"", "escape" },
        { "a = \"\\ud800\"", "escape" },     { "a = 1\n[a]\nb = 1", "used as a table" }, { "a = '\x01'", "control" },
        { "a = '\xFF'", "UTF-8" },           { "a = 1\n[[a]]", "array of tables" },
        { "a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]", "too deep" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        CHECK_FAILS(toml_parse(cases[i].toml, strlen(cases[i].toml), "case", &e) != NULL, ERR_FORMAT, cases[i].part);
        (void)i;
    }
    struct err e = { 0 };
    CHECK_FAILS(toml_parse("a = '\0'", 7, "zero", &e) != NULL, ERR_FORMAT, "byte 0");
}
