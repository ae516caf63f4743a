/* What reads the words of others: percent-encoding, queries, names below a folder, ranges, dates, forms. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "serve/multipart.h"
#include "serve/paths.h"
#include "serve/range.h"
#include "test.h"

TEST(percent_encoding_is_decoded_once_and_zero_bytes_are_refused)
{
    struct err e = { 0 };
    char out[32];
    static const struct { const char *text; bool form; const char *want; } cases[] = {
        { "a%20b", false, "a b" }, { "a+b", false, "a+b" }, { "a+b", true, "a b" }, { "%2e%2E%2f", false, "../" }, { "50%", false, "50%" },
        { "%zz", false, "%zz" }, { "%252e", false, "%2e" }, { "%e4%b8%ad", false, "中" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REQUIRE(percent_decode(cases[i].text, strlen(cases[i].text), cases[i].form, out, sizeof out, &e));
        CHECK(!strcmp(out, cases[i].want), "%s gave %s", cases[i].text, out);
    }
    CHECK_FAILS(percent_decode("a%00b", 5, false, out, sizeof out, &e), ERR_FORMAT, "zero byte");
    CHECK_FAILS(percent_decode("%ff", 3, false, out, sizeof out, &e), ERR_FORMAT, "UTF-8");
    CHECK_FAILS(percent_decode("aaaaaaaa", 8, false, out, 8, &e), ERR_LIMIT, "7 bytes");
}

TEST(a_query_gives_the_first_value_of_a_name)
{
    struct err e = { 0 };
    char out[32];
    bool found;
    REQUIRE(query_value("a=1&b=x%26y&b=2&c", "b", out, sizeof out, &found, &e));
    CHECK(found && !strcmp(out, "x&y"), "%s", out);
    REQUIRE(query_value("a=1&c", "c", out, sizeof out, &found, &e));
    CHECK(found && !*out, "%s", out);
    REQUIRE(query_value("aa=1", "a", out, sizeof out, &found, &e));
    CHECK(!found, "%s", out);
    REQUIRE(query_value(NULL, "a", out, sizeof out, &found, &e));
    CHECK(!found, "there is none");
}

TEST(names_cannot_leave_their_folder)
{
    struct err e = { 0 };
    static const char *const bad[] = { "", "/etc/passwd", "..", "a/../../b", "./a", "a/..", "a\\b", "c:/x", "a\nb", "../a" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(path_name_safe(bad[i], &e), ERR_ARG, "");
    static const char *const good[] = { "a", "a/b.png", "..a", "a..b/c", "名.json", ".index.json", "a//b" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        REQUIRE(path_name_safe(good[i], &e));
}

TEST(links_cannot_lead_out_of_a_folder)
{
    struct err e = { 0 };
    char out[PATH_MAX_BYTES], root[PATH_MAX_BYTES], link[PATH_MAX_BYTES];
    snprintf(root, sizeof root, "%s", test_scratch("root"));
    REQUIRE(folder_make(test_scratch("root/in"), &e));
    REQUIRE(folder_make(test_scratch("root-other"), &e));
    snprintf(link, sizeof link, "%s", test_scratch("root/out"));
    assert_int_equal(symlink(test_scratch("root-other"), link), 0);
    snprintf(link, sizeof link, "%s", test_scratch("root/inside"));
    assert_int_equal(symlink("in", link), 0);
    REQUIRE(path_below(out, root, "in/x", &e));
    REQUIRE(path_below(out, root, "inside/new/file", &e));
    REQUIRE(path_below(out, root, "", &e));
    CHECK_FAILS(path_below(out, root, "out/x", &e), ERR_ARG, "link");
    CHECK_FAILS(path_below(out, root, "out", &e), ERR_ARG, "link");
    CHECK_FAILS(path_below(out, root, "../root-other", &e), ERR_ARG, "leaves");
}

TEST(ranges_are_read_as_rfc_9110_says)
{
    static const struct { const char *header; int64_t bytes; enum range_kind kind; int64_t first, last; } cases[] = {
        { NULL, 10, RANGE_WHOLE, 0, 0 }, { "bytes=0-3", 10, RANGE_PART, 0, 3 }, { "bytes=4-", 10, RANGE_PART, 4, 9 },
        { "bytes=-3", 10, RANGE_PART, 7, 9 }, { "bytes=-30", 10, RANGE_PART, 0, 9 }, { "bytes=5-100", 10, RANGE_PART, 5, 9 },
        { "bytes=10-", 10, RANGE_NONE, 0, 0 }, { "bytes=-0", 10, RANGE_NONE, 0, 0 }, { "bytes=5-4", 10, RANGE_WHOLE, 0, 0 },
        { "bytes=0-1,3-4", 10, RANGE_WHOLE, 0, 0 }, { "lines=0-1", 10, RANGE_WHOLE, 0, 0 }, { "bytes=", 10, RANGE_WHOLE, 0, 0 },
        { "bytes=0-", 0, RANGE_NONE, 0, 0 }, { "bytes=99999999999999999999-", 10, RANGE_WHOLE, 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t first = 0, last = 0;
        enum range_kind kind = range_parse(cases[i].header, cases[i].bytes, &first, &last);
        CHECK(kind == cases[i].kind && (kind != RANGE_PART || (first == cases[i].first && last == cases[i].last)), "case %zu: %d %lld-%lld", i,
              (int)kind, (long long)first, (long long)last);
    }
}

TEST(dates_and_tags_are_read_back)
{
    char date[HTTP_DATE_BYTES];
    http_date(784111777, date);
    CHECK(!strcmp(date, "Sun, 06 Nov 1994 08:49:37 GMT"), "%s", date); /* RFC 9110's example */
    CHECK(http_date_parse(date) == 784111777, "%lld", (long long)http_date_parse(date));
    CHECK(http_date_parse("Sunday, 06-Nov-94 08:49:37 GMT") == -1 && http_date_parse("") == -1, "old forms");
    CHECK(tag_listed("\"a\", W/\"b\"", "\"b\"") && tag_listed("*", "\"x\"") && !tag_listed("\"ab\"", "\"a\""), "tags");
    CHECK(gzip_accepted("gzip") && gzip_accepted("br, GZIP;q=0.1") && gzip_accepted(" deflate,gzip ;q=1, *;q=0") && !gzip_accepted("br;q=1, gzip;q=0") &&
          !gzip_accepted("gzip; q=0.000") && !gzip_accepted("xgzip, gzipx") && !gzip_accepted("") && !gzip_accepted(NULL), "gzip");
}

TEST(a_form_gives_its_files_and_fields)
{
    struct err e = { 0 };
    struct multipart m;
    char boundary[71], text[16];
    static const char body[] = "--XX\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a \\\"b\\\".png\"\r\nContent-Type: image/png\r\n\r\n"
                               "\x89PNG\r\n--X\r\n\r\n--XX\r\nContent-Disposition: form-data; name=type\r\n\r\ninput\r\n--XX\r\n"
                               "content-disposition: form-data; name=\"none\"\r\n\r\n\r\n--XX--\r\n";
    CHECK(multipart_boundary("multipart/form-data; charset=x; boundary=\"XX\"", boundary) && !strcmp(boundary, "XX"), "%s", boundary);
    CHECK(!multipart_boundary("application/json", boundary) && !multipart_boundary("multipart/form-data", boundary) && !multipart_boundary(NULL, boundary),
          "no boundary");
    REQUIRE(multipart_parse(&m, body, sizeof body - 1, "XX", &e));
    CHECK(m.count == 3, "%zu parts", m.count);
    const struct part *image = multipart_find(&m, "image");
    CHECK(image && image->bytes == 11 && !memcmp(image->data, "\x89PNG\r\n--X\r\n", 11) && !strcmp(image->filename, "a \"b\".png"), "%s", image->filename);
    REQUIRE(multipart_text(&m, "type", text, sizeof text, &e));
    CHECK(!strcmp(text, "input"), "%s", text);
    CHECK(multipart_find(&m, "none")->bytes == 0 && !multipart_find(&m, "more"), "an empty field");
    CHECK_FAILS(multipart_text(&m, "type", text, 3, &e), ERR_LIMIT, "at most 2");
    multipart_release(&m);
    for (size_t cut = 0; cut < sizeof body - 4; cut++) { /* every beginning is cut off */
        err_clear(&e);
        CHECK(!multipart_parse(&m, body, cut, "XX", &e) && e.code == ERR_FORMAT, "cut at %zu: %s", cut, e.text);
        multipart_release(&m);
    }
}
