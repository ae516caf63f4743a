/* Pictures are collected from a server on the loopback that is busy, tells lies, and knows how often it was asked. */
#include "dataset/collect.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataset/manifest.h"
#include "loopback.h"

enum { MOST_ASKED = 200 };

struct stranger {
    struct loopback net;
    struct {
        char path[64];
        bool by_name;  /* as localhost, not 127.0.0.1 */
        double when;
    } asked[MOST_ASKED];
    int count;
};

static int times_asked(const struct stranger *v, const char *path)
{
    int n = 0;
    for (int i = 0; i < v->count; i++)
        n += !strcmp(v->asked[i].path, path);
    return n;
}

static void put_file(int s, const char *name, const char *type, const char *request)
{
    char path[PATH_MAX_BYTES], *data, more[200];
    size_t bytes;
    struct err e = { 0 };
    snprintf(path, sizeof path, "%s/%s", test_data("pictures"), name);
    if (!file_read(path, 1 << 20, &data, &bytes, &e))
        return;
    const char *range = strstr(request, "Range: bytes=");
    size_t from = range ? (size_t)atol(range + 13) : 0;
    snprintf(more, sizeof more, "Content-Type: %s\r\nContent-Range: bytes %zu-%zu/%zu\r\n", type, from, bytes - 1, bytes);
    loopback_put_head(s, range ? "206 Partial Content" : "200 OK", bytes - from, more);
    loopback_put(s, data + from, bytes - from);
    mem_free(data);
}

static void answer(void *self, int s, const char *path, const char *request)
{
    struct stranger *v = self;
    if (v->count < MOST_ASKED) {
        snprintf(v->asked[v->count].path, sizeof v->asked[0].path, "%s", path);
        v->asked[v->count].by_name = strstr(request, "Host: localhost") != NULL;
        v->asked[v->count++].when = clock_seconds();
    }
    if (!strncmp(path, "/cat", 4))
        put_file(s, "cat.png", "image/png", request);
    else if (!strncmp(path, "/photo", 6)) /* no ending, and a type that says nothing */
        put_file(s, "coffee.jpg", "application/octet-stream", request);
    else if (!strcmp(path, "/breaks.webp") && times_asked(v, path) == 1)
        loopback_put_head(s, "200 OK", 1788, "Content-Type: image/webp\r\n"); /* and then nothing */
    else if (!strcmp(path, "/breaks.webp"))
        put_file(s, "astronaut.webp", "image/webp", request);
    else if (!strcmp(path, "/busy.jpg") && times_asked(v, path) == 1)
        loopback_put_text(s, "429 Too Many Requests", "", "Retry-After: 1\r\n");
    else if (!strcmp(path, "/busy.jpg"))
        put_file(s, "rocket.jpg", "image/jpeg", request);
    else if (!strcmp(path, "/later.jpg"))
        loopback_put_text(s, "503 Service Unavailable", "", "Retry-After: 9999\r\n");
    else if (!strcmp(path, "/page.png"))
        loopback_put_text(s, "200 OK", "<html>", "Content-Type: text/html\r\n");
    else if (!strcmp(path, "/words.png"))
        loopback_put_text(s, "200 OK", "no picture", "Content-Type: image/png\r\n");
    else if (!strcmp(path, "/large.png"))
        loopback_put_head(s, "200 OK", 100000000, "Content-Type: image/png\r\n"), loopback_put(s, "x", 1);
    else if (!strcmp(path, "/endless.png")) {
        static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\n", some[10000] = "";
        loopback_put(s, head, sizeof head - 1);
        for (int i = 0; i < 20; i++)
            loopback_put(s, some, sizeof some);
    } else
        loopback_put_text(s, "404 Not Found", "", "");
}

static void begin(struct stranger *v)
{
    *v = (struct stranger){ 0 };
    loopback_begin(&v->net, answer, v);
}

/* Writes a list; "@" in it is http://127.0.0.1:port, "&" the same by name. */
static const char *list_of(const struct stranger *v, const char *name, const char *text)
{
    struct err e = { 0 };
    struct text out;
    const char *path = test_scratch(name);
    text_init(&out, 1 << 20);
    for (const char *c = text; *c; c++) {
        if (*c == '@' || *c == '&')
            text_addf(&out, "http://%s:%d", *c == '@' ? "127.0.0.1" : "localhost", v->net.port);
        else
            text_add_bytes(&out, c, 1);
    }
    REQUIRE(text_ok(&out, &e) && file_write_whole(path, text_string(&out), out.length, &e));
    text_release(&out);
    return path;
}

static const struct collect_options quick = { .host_seconds = 0.001, .max_bytes = 100000, .jobs = 4, .tries = 2, .wait_seconds = 0.01 };

TEST(pictures_are_collected_and_what_is_none_is_not_asked_for_again)
{
    struct err e = { 0 };
    struct stranger v;
    struct collect_result r;
    begin(&v);
    struct collect_options o = quick;
    char to[PATH_MAX_BYTES];
    snprintf(to, sizeof to, "%s", test_scratch("set"));
    o.list = list_of(&v, "list.txt", "# mine\n@/cat.png?size=1\n\n  @/photo \n@/breaks.webp\n@/busy.jpg\n@/later.jpg\n@/page.png\n@/words.png\n"
                                     "@/large.png\n@/endless.png\n@/missing.png\n@/cat.png?size=1\n@\n");
    o.to = to;
    REQUIRE(dataset_collect(&o, &r, NULL, &e));
    assert_int_equal(r.taken, 4);
    assert_int_equal(r.there, 1); /* the list has it twice */
    assert_int_equal(r.failed, 7);
    static const char *const reasons[][2] = { { "/later.jpg", "to come again in 9999 s" }, { "/page.png", "text/html" },
                                              { "/words.png", "not a picture" }, { "/large.png", "100000000 bytes, at most 100000" },
                                              { "/endless.png", "more than 100000 bytes" }, { "/missing.png", "404" } };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        bool told = false;
        for (size_t k = 0; k < json_array_size(r.reasons); k++) {
            const json_t *reason = json_array_get(r.reasons, k);
            told |= strstr(json_string_value(json_object_get(reason, "url")), reasons[i][0]) &&
                    strstr(json_string_value(json_object_get(reason, "reason")), reasons[i][1]);
        }
        char *all = json_dumps(r.reasons, 0);
        CHECK(told, "%s is not said to be %s: %s", reasons[i][0], reasons[i][1], all);
        free(all);
    }
    json_decref(r.reasons);
    struct manifest *m = manifest_open(to, MANIFEST_READ, &e);
    REQUIRE(m != NULL);
    assert_int_equal(manifest_count(m), 4);
    for (size_t i = 0; i < 4; i++) {
        const struct manifest_picture *p = manifest_picture(m, i);
        char path[PATH_MAX_BYTES];
        REQUIRE(manifest_path(m, i, path, &e));
        CHECK(path_exists(path) && !strncmp(p->source, "http://127.0.0.1:", 17) && p->width > 0, "%s", p->file_name);
        if (strstr(p->source, "photo"))
            CHECK(!strncmp(p->file_name, "photo-", 6) && strstr(p->file_name, ".jpg"), "%s", p->file_name);
        if (strstr(p->source, "cat"))
            assert_string_equal(p->id, "7f6fefd85983230fe79bfe6ae9d335ac987771cb354abbb51ef768d55ca3e254");
    }
    manifest_free(m);
    int before = v.count;
    REQUIRE(dataset_collect(&o, &r, NULL, &e));
    json_decref(r.reasons);
    assert_int_equal(r.there, 5);
    assert_int_equal(r.failed_before, 6);
    assert_int_equal(r.failed, 1); /* the one that asked for patience is asked again */
    assert_int_equal(v.count, before + 1);
    o.again = true;
    REQUIRE(dataset_collect(&o, &r, NULL, &e));
    json_decref(r.reasons);
    assert_int_equal(r.failed, 7);
    loopback_end(&v.net);
}

TEST(a_host_is_asked_for_one_picture_at_a_time_with_a_rest_between)
{
    struct err e = { 0 };
    struct stranger v;
    struct collect_result r;
    begin(&v);
    struct collect_options o = quick;
    char to[PATH_MAX_BYTES];
    snprintf(to, sizeof to, "%s", test_scratch("polite"));
    o.host_seconds = 0.15;
    o.list = list_of(&v, "polite.txt", "@/cat1.png\n@/cat2.png\n@/cat3.png\n@/busy.jpg\n&/cat4.png\n&/cat5.png\n&/cat6.png\n");
    o.to = to;
    double begun = clock_seconds();
    REQUIRE(dataset_collect(&o, &r, NULL, &e));
    json_decref(r.reasons);
    assert_int_equal(r.taken, 7);
    double last[2] = { 0, 0 };
    for (int i = 0; i < v.count; i++) {
        double gap = v.asked[i].when - last[v.asked[i].by_name];
        bool after_busy = i && !strcmp(v.asked[i].path, "/busy.jpg") && times_asked(&v, "/busy.jpg") == 2 && last[0] && gap > 0.9;
        CHECK(gap >= 0.149 || after_busy, "%s came %g s after the one before", v.asked[i].path, gap);
        last[v.asked[i].by_name] = v.asked[i].when;
    }
    CHECK(times_asked(&v, "/busy.jpg") == 2 && clock_seconds() - begun >= 1, "Retry-After: 1 was obeyed: %g s", clock_seconds() - begun);
    /* two hosts side by side: both had begun before one was done */
    CHECK(v.asked[0].by_name != v.asked[1].by_name, "the second request goes to %s as the first", v.asked[1].by_name ? "localhost" : "127.0.0.1");
    loopback_end(&v.net);
}

TEST(captions_and_fields_of_a_list_are_kept)
{
    static const struct {
        const char *name, *list;
    } cases[] = {
        { "list.csv", "text,url,licence\n\"a cat, looking\",@/cat.png,CC0\n" },
        { "list.jsonl", "{\"link\":\"@/cat.png\",\"caption\":\"a cat, looking\",\"licence\":\"CC0\",\"width\":7}\n" },
    };
    struct stranger v;
    begin(&v);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct collect_result r;
        struct collect_options o = quick;
        char to[PATH_MAX_BYTES], set[20];
        snprintf(set, sizeof set, "fields-%zu", i);
        snprintf(to, sizeof to, "%s", test_scratch(set));
        o.list = list_of(&v, cases[i].name, cases[i].list);
        o.to = to;
        REQUIRE(dataset_collect(&o, &r, NULL, &e));
        json_decref(r.reasons);
        struct manifest *m = manifest_open(to, MANIFEST_READ, &e);
        REQUIRE(m != NULL);
        json_t *j = manifest_object(m, 0, &e);
        assert_string_equal(json_string_value(json_object_get(j, "text")), "a cat, looking");
        assert_string_equal(json_string_value(json_object_get(j, "licence")), "CC0");
        assert_int_equal(json_integer_value(json_object_get(j, "width")), 96);
        json_decref(j);
        manifest_free(m);
    }
    loopback_end(&v.net);
}

static void stop_soon(void *self, const char *what, long done, long total, const char *note)
{
    (void)self, (void)what, (void)total, (void)note;
    if (done == 2)
        stop_request();
}

TEST(collecting_goes_on_where_it_was_stopped)
{
    struct err e = { 0 };
    struct stranger v;
    struct collect_result r;
    begin(&v);
    struct collect_options o = quick;
    char to[PATH_MAX_BYTES];
    snprintf(to, sizeof to, "%s", test_scratch("stopped"));
    o.list = list_of(&v, "stopped.txt", "@/cat1.png\n@/cat2.png\n@/cat3.png\n@/cat4.png\n@/cat5.png\n");
    o.to = to;
    const struct progress stops = { .step = stop_soon };
    CHECK_FAILS(dataset_collect(&o, &r, &stops, &e), ERR_STOPPED, "");
    stop_forget();
    json_decref(r.reasons);
    assert_int_equal(r.taken, 2);
    REQUIRE(dataset_collect(&o, &r, NULL, &e));
    json_decref(r.reasons);
    assert_int_equal(r.there, 2);
    assert_int_equal(r.taken, 3);
    char hidden[PATH_MAX_BYTES];
    REQUIRE(path_join(hidden, to, ".collect", &e));
    assert_false(path_exists(hidden));
    for (int i = 1; i <= 5; i++) {
        char path[20];
        snprintf(path, sizeof path, "/cat%d.png", i);
        CHECK(times_asked(&v, path) <= 1 + (i == 3), "%s was asked for %d times", path, times_asked(&v, path));
    }
    loopback_end(&v.net);
}

TEST(a_broken_list_of_addresses_is_refused)
{
    static const struct {
        const char *name, *list;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "a.txt", "http://a/b.png\nftp://a/b.png\n", ERR_FORMAT, "line 2: \"ftp://a/b.png\" is not an address" },
        { "a.txt", "# nothing\n", ERR_MISSING, "no addresses" },
        { "a.csv", "text\nx\n", ERR_MISSING, "line 2: no address" },
        { "a.jsonl", "{\"url\":\"file:///etc/passwd\"}", ERR_FORMAT, "is not an address" },
        { "a.jsonl", "{", ERR_FORMAT, "line 1" },
    };
    struct stranger none = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct collect_result r;
        struct collect_options o = quick;
        o.list = list_of(&none, cases[i].name, cases[i].list);
        o.to = test_scratch("never");
        CHECK_FAILS(dataset_collect(&o, &r, NULL, &e), cases[i].code, cases[i].part);
        json_decref(r.reasons);
        assert_false(path_exists(o.to));
    }
}
