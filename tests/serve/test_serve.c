/* The server over the loopback: routes that need no flow, files, limits, and what bad callers send. */
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include "client.h"
#include "image/image.h"
#include "serve/routes.h"
#include "site.h"
#include "test.h"

static const char *text_at(json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

TEST(every_route_finds_itself)
{
    struct err e = { 0 };
    for (size_t i = 0; i < route_count; i++) {
        const struct route *r = &routes[i];
        char path[256], api[300], allow[64], *params[EXCHANGE_PARAMS] = { 0 };
        size_t n = 0;
        int status;
        for (const char *c = r->path; *c; c++) /* {name} and {name...} become "x" */
            if (*c == '{') {
                path[n++] = 'x';
                c = strchr(c, '}');
            } else {
                path[n++] = *c;
            }
        path[n] = 0;
        const struct route *found = route_find(r->method, path, params, allow, &status, &e);
        CHECK(found == r, "%s %s: status %d", r->method, path, status);
        CHECK(!strchr(r->path, '{') || (params[0] && *params[0] == 'x'), "%s: its part", r->path);
        for (int k = 0; k < EXCHANGE_PARAMS; k++) {
            mem_free(params[k]);
            params[k] = NULL;
        }
        snprintf(api, sizeof api, "/api%s", path);
        found = route_find(r->method, api, params, allow, &status, &e);
        bool also = r->flags & ROUTE_ALSO_API || !strcmp(r->path, "/{file...}");
        CHECK(!strcmp(r->path, "/{file...}") || (found == r) == also, "%s %s", r->method, api);
        for (int k = 0; k < EXCHANGE_PARAMS; k++)
            mem_free(params[k]);
        CHECK(r->help && strlen(r->help) > 10 && r->tag && r->answer && r->codes, "%s: its row", r->path);
    }
}

TEST(the_first_questions_of_clients_are_answered_at_both_addresses)
{
    site_defaults();
    site_start();
    static const char *const objects[] = { "/users", "/settings", "/system_stats", "/features", "/i18n", "/global_subgraphs", "/workflow_templates" };
    static const char *const arrays[] = { "/models", "/models/loras", "/embeddings", "/extensions", "/experiment/models", "/experiment/models/unet" };
    for (int api = 0; api < 2; api++) {
        char path[100];
        for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
            snprintf(path, sizeof path, "%s%s", api ? "/api" : "", objects[i]);
            json_t *j = get_json(site_port, path, 200);
            CHECK(json_is_object(j), "%s", path);
            json_decref(j);
        }
        for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
            snprintf(path, sizeof path, "%s%s", api ? "/api" : "", arrays[i]);
            json_t *j = get_json(site_port, path, 200);
            CHECK(json_is_array(j), "%s", path);
            json_decref(j);
        }
    }
    json_t *j = get_json(site_port, "/system_stats", 200), *system = json_object_get(j, "system");
    CHECK(json_is_array(json_object_get(system, "argv")) && !strcmp(text_at(system, "comfyui_version"), SERVE_VERSION_OF_COMFYUI) &&
          json_array_size(json_object_get(j, "devices")) == 1, "system_stats");
    json_decref(j);
    json_decref(get_json(site_port, "/models/nothing", 404));
    json_decref(get_json(site_port, "/api/none/such", 404));
    CHECK(status_of(site_port, "OPTIONS", "/prompt", "", NULL) == 200, "OPTIONS");
    CHECK(status_of(site_port, "DELETE", "/users", "", NULL) == 405, "another method");
    struct answer a = ask_full(site_port, "HEAD", "/users", "", NULL, 0);
    CHECK(a.status == 200 && a.body_bytes == 0, "HEAD: %d, %zu bytes", a.status, a.body_bytes);
    answer_release(&a);
    site_stop();
}

TEST(openapi_lists_every_route_of_the_table)
{
    site_defaults();
    site_start();
    json_t *j = get_json(site_port, "/openapi.json", 200), *paths = json_object_get(j, "paths");
    size_t listed = 0, wanted = 0;
    const char *path, *method;
    json_t *item, *operation;
    json_object_foreach(paths, path, item)
        json_object_foreach(item, method, operation) {
            listed++;
            CHECK(json_object_get(json_object_get(operation, "responses"), "400"), "%s", path);
        }
    for (size_t i = 0; i < route_count; i++)
        wanted += !(routes[i].flags & ROUTE_QUIET);
    CHECK(listed == wanted, "%zu listed, %zu in the table", listed, wanted);
    json_decref(j);
    struct answer a = ask_full(site_port, "GET", "/metrics", "", NULL, 0);
    CHECK(a.status == 200 && strstr(a.body, "# TYPE limn_http_requests_total counter\n") && strstr(a.body, "limn_http_requests_total{status=\"2xx\"} 1\n"),
          "%s", a.body);
    answer_release(&a);
    site_stop();
}

TEST(settings_and_files_of_a_user_are_kept)
{
    site_defaults();
    site_start();
    json_decref(post_json(site_port, "/api/settings", "{\"Comfy.A.b\": {\"c\": [1]}, \"x\": 2}", 200));
    json_decref(post_json(site_port, "/settings/Comfy.Name", "\"中\"", 200));
    site_stop();
    site_start(); /* another server, the same folders */
    json_t *j = get_json(site_port, "/settings", 200);
    CHECK(json_is_true(json_object_get(j, "Comfy.TutorialCompleted")) && json_integer_value(json_object_get(j, "x")) == 2 &&
          !strcmp(text_at(j, "Comfy.Name"), "中"), "settings");
    json_decref(j);
    j = get_json(site_port, "/settings/nothing", 200);
    CHECK(json_is_null(j), "a setting that is not there");
    json_decref(j);
    CHECK(status_of(site_port, "POST", "/settings", "", "[1]") == 400 && status_of(site_port, "POST", "/settings", "", "{") == 400, "no object");

    CHECK(status_of(site_port, "GET", "/userdata?dir=workflows", "", NULL) == 404 && status_of(site_port, "GET", "/userdata", "", NULL) == 400, "no folder");
    j = post_json(site_port, "/userdata/workflows%2Fa%20b.json", "{\"nodes\":[]}", 200);
    CHECK(!strcmp(json_string_value(j), "workflows/a b.json"), "%s", json_string_value(j));
    json_decref(j);
    CHECK(status_of(site_port, "POST", "/userdata/workflows%2Fa%20b.json?overwrite=false", "", "x") == 409, "it is there");
    j = post_json(site_port, "/userdata/workflows%252Fdeep%252Fc.json?full_info=true", "{}", 200); /* encoded twice */
    CHECK(!strcmp(text_at(j, "path"), "workflows/deep/c.json") && json_integer_value(json_object_get(j, "size")) == 2, "full_info");
    json_decref(j);
    j = get_json(site_port, "/userdata?dir=workflows&recurse=true&split=true", 200);
    char *text = json_dumps(j, JSON_COMPACT);
    CHECK(!strcmp(text, "[[\"a b.json\",\"a b.json\"],[\"deep/c.json\",\"deep\",\"c.json\"]]"), "%s", text);
    free(text);
    json_decref(j);
    struct answer a = ask_full(site_port, "GET", "/api/userdata/workflows%2Fa%20b.json", "", NULL, 0);
    CHECK(a.status == 200 && !strcmp(a.body, "{\"nodes\":[]}"), "%s", a.body);
    answer_release(&a);
    CHECK(status_of(site_port, "POST", "/userdata/workflows%2Fa%20b.json/move/workflows%2Fd.json?overwrite=false", "", "") == 200, "moved");
    CHECK(status_of(site_port, "POST", "/userdata/nothing/move/x", "", "") == 404, "nothing to move");
    CHECK(status_of(site_port, "DELETE", "/userdata/workflows%2Fd.json", "", NULL) == 204, "deleted");
    CHECK(status_of(site_port, "GET", "/userdata/workflows%2Fd.json", "", NULL) == 404, "gone");
    static const char *const escapes[] = { "/userdata/..%2F..%2Fx", "/userdata/%2Fetc%2Fpasswd", "/userdata/%252e%252e%252fx", "/userdata?dir=../..", "/userdata/a%5c..%5cb",
                                           "/v2/userdata?path=.." };
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
        CHECK(status_of(site_port, "GET", escapes[i], "", NULL) == 403, "%s", escapes[i]);
    j = get_json(site_port, "/v2/userdata?path=workflows/", 200);
    CHECK(json_array_size(j) == 2 && !strcmp(text_at(json_array_get(j, 0), "type"), "directory") &&
              !strcmp(text_at(json_array_get(j, 1), "path"), "workflows/deep/c.json"), "folders and what is in them");
    json_decref(j);
    json_decref(get_json(site_port, "/v2/userdata?path=nothing", 404));
    json_decref(get_json(site_port, "/v2/userdata?path=workflows/deep/c.json", 400));
    site_stop();
}

TEST(what_users_leave_is_never_shown_as_a_page_of_the_servers)
{
    static const struct { const char *name, *type; } cases[] = {
        { "a.html", "application/octet-stream" }, { "a.svg", "application/octet-stream" }, { "a.js", "application/octet-stream" },
        { "a.xslt", "application/octet-stream" }, { "a.txt", "text/plain; charset=utf-8" }, { "user.css", "text/css; charset=utf-8" },
    };
    char path[100], type[100], how[100], sniff[100];
    site_defaults();
    site_start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(path, sizeof path, "/userdata/%s", cases[i].name);
        CHECK(status_of(site_port, "POST", path, "", "<script>alert(1)</script>") == 200, "%s", path);
        struct answer a = ask_full(site_port, "GET", path, "", NULL, 0);
        CHECK(answer_header(&a, "Content-Type", type, sizeof type) && !strcmp(type, cases[i].type), "%s: %s", path, type);
        CHECK(answer_header(&a, "Content-Disposition", how, sizeof how) && !strcmp(how, "attachment"), "%s: %s", path, how);
        CHECK(answer_header(&a, "X-Content-Type-Options", sniff, sizeof sniff) && !strcmp(sniff, "nosniff"), "%s: %s", path, sniff);
        answer_release(&a);
    }
    site_write("input/a.svg", "<svg/>", 6);
    struct answer a = ask_full(site_port, "GET", "/view?type=input&filename=a.svg", "", NULL, 0);
    CHECK(answer_header(&a, "Content-Type", type, sizeof type) && !strcmp(type, "application/octet-stream"), "%s", type);
    CHECK(answer_header(&a, "Content-Disposition", how, sizeof how) && !strcmp(how, "attachment; filename=\"a.svg\""), "%s", how);
    answer_release(&a);
    site_stop();
}

/* A PNG of one colour. */
static size_t make_png(uint8_t **png, int side, int channels, uint8_t value)
{
    struct err e = { 0 };
    struct image image;
    size_t bytes;
    REQUIRE(image_make(&image, side, side, channels, &e));
    memset(image.pixels, value, image_bytes(&image));
    REQUIRE(image_encode_png(&image, &(struct image_text){ "prompt", "{\"1\":{}}" }, 1, png, &bytes, &e));
    image_release(&image);
    return bytes;
}

/* Uploads bytes as a file with more fields ("" or whole parts). */
static json_t *upload(const char *path, const char *name, const void *data, size_t bytes, const char *fields, int status)
{
    size_t cap = bytes + strlen(fields) + 500;
    char *body = malloc(cap);
    int n = snprintf(body, cap, "%s--BB\r\nContent-Disposition: form-data; name=\"image\"; filename=\"%s\"\r\n\r\n", fields, name);
    memcpy(body + n, data, bytes);
    size_t whole = (size_t)n + bytes + (size_t)snprintf(body + (size_t)n + bytes, cap - (size_t)n - bytes, "\r\n--BB--\r\n");
    struct answer a = ask_full(site_port, "POST", path, "Content-Type: multipart/form-data; boundary=BB\r\n", body, whole);
    free(body);
    CHECK(a.status == status, "%s %s: status %d: %s", path, name, a.status, a.body);
    json_t *j = json_loads(a.body, 0, NULL);
    answer_release(&a);
    return j;
}
#define FIELD(name, value) "--BB\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

TEST(uploads_keep_names_apart_and_are_seen_again)
{
    uint8_t *red, *blue;
    site_defaults();
    site_start();
    size_t red_bytes = make_png(&red, 8, 3, 200), blue_bytes = make_png(&blue, 8, 4, 90);
    static const struct { int which; const char *fields, *want; } steps[] = {
        { 0, "", "a.png" }, { 0, "", "a.png" }, { 1, "", "a (1).png" }, { 1, "", "a (1).png" }, { 1, FIELD("overwrite", "true"), "a.png" },
        { 0, FIELD("subfolder", "deep/er") FIELD("type", "temp"), "a.png" },
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        json_t *j = upload("/upload/image", "a.png", steps[i].which ? blue : red, steps[i].which ? blue_bytes : red_bytes, steps[i].fields, 200);
        CHECK(!strcmp(text_at(j, "name"), steps[i].want), "step %zu: %s", i, text_at(j, "name"));
        json_decref(j);
    }
    struct answer a = ask_full(site_port, "GET", "/api/view?filename=a.png%20%5Binput%5D&rand=0.5", "", NULL, 0);
    char value[200];
    CHECK(a.status == 200 && a.body_bytes == blue_bytes && !memcmp(a.body, blue, blue_bytes), "the bytes: %d", a.status);
    CHECK(answer_header(&a, "Content-Type", value, sizeof value) && !strcmp(value, "image/png"), "%s", value);
    CHECK(answer_header(&a, "Content-Disposition", value, sizeof value) && !strcmp(value, "filename=\"a.png\""), "%s", value);
    char tag[100], headers[300];
    CHECK(answer_header(&a, "ETag", tag, sizeof tag) && answer_header(&a, "Last-Modified", value, sizeof value), "its tag");
    answer_release(&a);
    snprintf(headers, sizeof headers, "If-None-Match: %s\r\n", tag);
    CHECK(status_of(site_port, "GET", "/view?filename=a.png&type=input", headers, NULL) == 304, "its tag is known");
    snprintf(headers, sizeof headers, "If-Modified-Since: %s\r\n", value);
    CHECK(status_of(site_port, "GET", "/view?filename=a.png&type=input", headers, NULL) == 304, "its date is known");
    a = ask_full(site_port, "GET", "/view?filename=a.png&type=input", "Range: bytes=1-3\r\n", NULL, 0);
    CHECK(a.status == 206 && a.body_bytes == 3 && !memcmp(a.body, "PNG", 3), "a range: %d", a.status);
    answer_release(&a);
    CHECK(status_of(site_port, "GET", "/view?filename=a.png&type=input", "Range: bytes=999999-\r\n", NULL) == 416, "behind the end");
    CHECK(status_of(site_port, "GET", "/view?filename=a.png&type=temp&subfolder=deep/er", "", NULL) == 200, "in a folder");
    static const struct { const char *path; int status; } bad[] = {
        { "/view", 404 }, { "/view?filename=", 400 }, { "/view?filename=/etc/passwd", 400 }, { "/view?filename=..%2fa.png&type=input", 400 },
        { "/view?filename=a.png&type=secret", 400 }, { "/view?filename=a.png&type=input&subfolder=..", 403 },
        { "/view?filename=a.png&type=input&subfolder=%2Fetc", 403 }, { "/view?filename=nothing.png", 404 }, { "/view?filename=a.png&type=input&subfolder=%00", 400 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(status_of(site_port, "GET", bad[i].path, "", NULL) == bad[i].status, "%s gave %d", bad[i].path, status_of(site_port, "GET", bad[i].path, "", NULL));
    json_decref(upload("/upload/image", "../x.png", red, red_bytes, "", 400));
    json_decref(upload("/upload/image", "x.png", red, red_bytes, FIELD("subfolder", "../.."), 400));
    json_decref(upload("/upload/image", "x.png", red, red_bytes, FIELD("type", "user"), 400));
    json_decref(upload("/upload/image", "", red, red_bytes, "", 400));
    CHECK(status_of(site_port, "POST", "/upload/image", "", "nothing") == 400, "no form");
    mem_free(red);
    mem_free(blue);
    site_stop();
}

TEST(a_picture_is_shown_in_other_forms)
{
    struct err e = { 0 };
    struct image image;
    uint8_t *png;
    site_defaults();
    size_t bytes = make_png(&png, 16, 4, 90);
    site_write("output/a.png", png, bytes);
    site_start();
    static const struct { const char *query, *type; int channels, first, alpha; } cases[] = {
        { "preview=webp;90", "image/webp", 4, -1, 90 }, { "preview=jpeg;75", "image/jpeg", 3, -1, -1 }, { "preview=gif", "image/webp", 4, -1, 90 },
        { "preview=jpeg&channel=rgba", "image/webp", 4, -1, 90 }, { "preview=jpeg;75&channel=rgb", "image/jpeg", 3, -1, -1 },
        { "channel=rgb", "image/png", 3, 90, -1 }, { "channel=a", "image/png", 4, 0, 90 }, { "channel=rgba", "image/png", 4, 90, 90 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[100], type[60] = "";
        snprintf(path, sizeof path, "/view?filename=a.png&%s", cases[i].query);
        struct answer a = ask_full(site_port, "GET", path, "", NULL, 0);
        CHECK(a.status == 200 && answer_header(&a, "Content-Type", type, sizeof type) && !strcmp(type, cases[i].type), "%s: %d %s", path, a.status, type);
        REQUIRE(image_decode(&image, a.body, a.body_bytes, path, IMAGE_KEEP_ALPHA, 0, &e));
        CHECK(image.width == 16 && image.channels == cases[i].channels, "%s: %d channels", path, image.channels);
        CHECK(cases[i].first < 0 || image.pixels[0] == cases[i].first, "%s: %d", path, image.pixels[0]);
        CHECK(cases[i].alpha < 0 || abs(image.pixels[3] - cases[i].alpha) < 4, "%s: alpha %d", path, image.pixels[3]);
        image_release(&image);
        answer_release(&a);
    }
    site_write("output/no.png", "no picture", 10);
    CHECK(status_of(site_port, "GET", "/view?filename=no.png&preview=webp", "", NULL) == 400, "no picture");
    site_write("output/page.html", "<script>", 8);
    struct answer a = ask_full(site_port, "GET", "/view?filename=page.html", "", NULL, 0);
    char type[60];
    CHECK(answer_header(&a, "Content-Type", type, sizeof type) && !strcmp(type, "application/octet-stream"), "%s", type);
    answer_release(&a);
    mem_free(png);
    site_stop();
}

TEST(a_mask_becomes_the_transparency_of_its_original)
{
    struct err e = { 0 };
    struct image image;
    uint8_t *original, *mask;
    site_defaults();
    size_t bytes = make_png(&original, 16, 3, 50);
    site_write("input/first.png", original, bytes);
    size_t mask_bytes = make_png(&mask, 16, 4, 77);
    site_start();
    json_t *j = upload("/upload/mask", "m.png", mask, mask_bytes, FIELD("original_ref", "{\"filename\": \"first.png\", \"type\": \"input\"}"), 200);
    CHECK(!strcmp(text_at(j, "name"), "m.png"), "%s", text_at(j, "name"));
    json_decref(j);
    REQUIRE(image_load(&image, site_path("input/m.png"), IMAGE_KEEP_ALPHA, 0, &e));
    CHECK(image.channels == 4 && image.pixels[0] == 50 && image.pixels[3] == 77, "%d %d", image.pixels[0], image.pixels[3]);
    image_release(&image);
    char *text = image_png_text(site_path("input/m.png"), "prompt", &e);
    CHECK(text && !strcmp(text, "{\"1\":{}}"), "the original's texts: %s", text ? text : e.text);
    mem_free(text);
    json_decref(upload("/upload/mask", "m.png", mask, mask_bytes, FIELD("originalRef", "{\"filename\": \"first.png\", \"type\": \"input\"}"), 200));
    json_decref(upload("/upload/mask", "m.png", mask, mask_bytes, "", 400));
    json_decref(upload("/upload/mask", "m.png", mask, mask_bytes, FIELD("original_ref", "{\"filename\": \"../first.png\"}"), 400));
    json_decref(upload("/upload/mask", "m.png", mask, mask_bytes, FIELD("original_ref", "[]"), 400));
    json_decref(upload("/upload/mask", "m.png", "rubbish", 7, FIELD("original_ref", "{\"filename\": \"first.png\", \"type\": \"input\"}"), 400));
    mem_free(original);
    mem_free(mask);
    site_stop();
}

TEST(too_much_is_refused_before_it_is_read)
{
    site_defaults();
    site_options.max_upload_bytes = 1000;
    site_start();
    struct answer a = ask_full(site_port, "POST", "/userdata/x", "", "", 0);
    CHECK(a.status == 200, "an empty file: %d", a.status);
    answer_release(&a);
    char big[4000];
    memset(big, 'a', sizeof big);
    a = ask_full(site_port, "POST", "/userdata/x", "", big, sizeof big);
    CHECK(a.status == 413, "%d", a.status);
    answer_release(&a);
    /* the same in pieces of unknown number */
    int s = client_connect(site_port, 10);
    char head[] = "POST /userdata/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", text[2000];
    bool closed;
    client_send(s, head, strlen(head));
    for (int i = 0; i < 3; i++)
        client_send(s, "190\r\n", 5), client_send(s, big, 400), client_send(s, "\r\n", 2);
    client_send(s, "0\r\n\r\n", 5);
    client_read_all(s, text, sizeof text, &closed);
    CHECK(strstr(text, "HTTP/1.1 413"), "%s", text);
    close(s);
    /* a body of another length than it says */
    s = client_connect(site_port, 10);
    const char *cut = "POST /settings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"a\":";
    client_send(s, cut, strlen(cut));
    shutdown(s, 1);
    client_read_all(s, text, sizeof text, &closed);
    CHECK(closed && (strstr(text, "HTTP/1.1 400") || !*text), "%s", text);
    close(s);
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = 0;
    CHECK(status_of(site_port, "POST", "/settings", "", deep) == 400, "deep JSON");
    free(deep);
    static const char *const broken[] = { "GET\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "GET / HTTP/9.9\r\n\r\n", "GET noslash HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                          "GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /settings HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n" };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        s = client_connect(site_port, 10);
        client_send(s, broken[i], strlen(broken[i]));
        shutdown(s, 1);
        client_read_all(s, text, sizeof text, &closed);
        CHECK(closed && !strstr(text, "HTTP/1.1 2"), "case %zu: %s", i, text);
        close(s);
    }
    CHECK(status_of(site_port, "GET", "/healthz", "", NULL) == 200, "it still answers");
    site_stop();
}

TEST(those_who_take_too_long_are_cut_off)
{
    static const char *const begins[] = { "GET /healthz HT", "POST /settings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n{" };
    site_defaults();
    site_options.head_seconds = 1;
    site_start();
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        int s = client_connect(site_port, 1);
        double start = clock_seconds();
        bool closed = false;
        char text[2000];
        client_send(s, begins[i], strlen(begins[i]));
        /* a byte now and then: no pause, but no progress */
        while (!closed && clock_seconds() - start < 15) {
            nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
            if (!client_send(s, "a", 1))
                closed = true;
        }
        CHECK(closed || (client_read_all(s, text, sizeof text, &closed), closed), "case %zu is still there after %.1f s", i, clock_seconds() - start);
        close(s);
    }
    CHECK(status_of(site_port, "GET", "/healthz", "", NULL) == 200, "it still answers");
    site_stop();
}

TEST(an_address_that_asks_too_often_is_told_when_to_come_again)
{
    char after[20] = "";
    site_defaults();
    site_options.rate = 2;
    site_start();
    CHECK(status_of(site_port, "POST", "/prompt", "", "{}") == 400 && status_of(site_port, "POST", "/prompt", "", "{}") == 400, "two a minute");
    struct answer a = ask_full(site_port, "POST", "/prompt", "", "{}", 2);
    CHECK(a.status == 429 && answer_header(&a, "Retry-After", after, sizeof after) && atoi(after) >= 1 && atoi(after) <= 31, "%d: in \"%s\" s: %s", a.status, after, a.body);
    answer_release(&a);
    CHECK(status_of(site_port, "GET", "/queue", "", NULL) == 200, "looking is free");
    site_stop();
}

TEST(a_server_elsewhere_wants_its_token)
{
    struct err e = { 0 };
    site_defaults();
    site_options.listen = "0.0.0.0";
    CHECK_FAILS(server_start(&site_options, &e), ERR_ARG, "needs a token");
    site_options.token = "abc";
    site_start();
    CHECK(status_of(site_port, "GET", "/users", "", NULL) == 401, "no token");
    CHECK(status_of(site_port, "GET", "/users", "Authorization: Bearer abc\r\n", NULL) == 200, "as a header");
    CHECK(status_of(site_port, "GET", "/users?token=abc", "", NULL) == 200, "in the query");
    CHECK(status_of(site_port, "GET", "/users?token=abd", "", NULL) == 401, "a wrong one");
    CHECK(status_of(site_port, "GET", "/healthz", "", NULL) == 200, "health is open");
    int status, s = ws_connect(site_port, "/ws", "", &status);
    CHECK(s < 0 && status == 401, "a socket without: %d", status);
    s = ws_connect(site_port, "/ws?token=abc", "", &status);
    CHECK(s >= 0, "a socket with it: %d", status);
    close(s);
    site_stop();
}

TEST(strange_hosts_and_origins_are_refused)
{
    site_defaults();
    site_start();
    CHECK(status_of(site_port, "GET", "/users", "Host: evil.example\r\n", NULL) == 403, "host");
    CHECK(status_of(site_port, "POST", "/settings", "Origin: https://evil.example\r\n", "{}") == 403, "origin");
    CHECK(status_of(site_port, "POST", "/settings", "Origin: http://127.0.0.1\r\n", "{}") == 200, "its own");
    int status, s = ws_connect(site_port, "/ws", "Origin: https://evil.example\r\n", &status);
    CHECK(s < 0 && status == 403, "a socket: %d", status);
    site_stop();
    site_options.cors = "https://friend.example";
    site_start();
    struct answer a = ask_full(site_port, "GET", "/users", "Origin: https://friend.example\r\n", NULL, 0);
    char value[100];
    CHECK(a.status == 200 && answer_header(&a, "Access-Control-Allow-Origin", value, sizeof value) && !strcmp(value, "https://friend.example"), "cors");
    answer_release(&a);
    site_stop();
}

TEST(a_page_is_served_from_its_folder)
{
    site_defaults();
    site_write("page/index.html", "<p>hello", 8);
    site_write("page/assets/a.mjs", "1", 1);
    site_write("page/extensions/x/y.js", "2", 1);
    site_write("secret", "3", 1);
    assert_int_equal(symlink(site_path("secret"), site_path("page/link")), 0);
    site_options.page = strdup(site_path("page"));
    site_start();
    struct answer a = ask_full(site_port, "GET", "/", "", NULL, 0);
    char value[400];
    CHECK(a.status == 200 && !strcmp(a.body, "<p>hello") && answer_header(&a, "Content-Security-Policy", value, sizeof value) && strstr(value, "default-src 'self'"),
          "%d %s", a.status, a.body);
    answer_release(&a);
    a = ask_full(site_port, "GET", "/assets/a.mjs", "", NULL, 0);
    CHECK(a.status == 200 && answer_header(&a, "Content-Type", value, sizeof value) && strstr(value, "javascript"), "%s", value);
    answer_release(&a);
    CHECK(status_of(site_port, "GET", "/link", "", NULL) == 404 && status_of(site_port, "GET", "/..%2fsecret", "", NULL) == 404 &&
          status_of(site_port, "GET", "/../secret", "", NULL) == 404 && status_of(site_port, "GET", "/nothing", "", NULL) == 404, "what is not the page's");
    json_t *j = get_json(site_port, "/extensions", 200);
    CHECK(json_array_size(j) == 1 && !strcmp(json_string_value(json_array_get(j, 0)), "/extensions/x/y.js"), "extensions");
    json_decref(j);
    free((char *)site_options.page);
    site_stop();
}

TEST(users_have_settings_and_files_of_their_own)
{
    site_defaults();
    site_options.users = true;
    site_start();
    json_t *a = post_json(site_port, "/users", "{\"username\": \"Ann\"}", 200), *b = post_json(site_port, "/users", "{\"username\": \"Bob\"}", 200);
    json_decref(post_json(site_port, "/users", "{\"username\": \"Ann\"}", 400));
    char ann[200], bob[200];
    snprintf(ann, sizeof ann, "Comfy-User: %s\r\n", json_string_value(a));
    snprintf(bob, sizeof bob, "Comfy-User: %s\r\n", json_string_value(b));
    CHECK(status_of(site_port, "POST", "/settings", ann, "{\"mine\": 1}") == 200, "Ann's");
    struct answer x = ask_full(site_port, "GET", "/settings", bob, NULL, 0), y = ask_full(site_port, "GET", "/settings", ann, NULL, 0);
    CHECK(!strstr(x.body, "mine") && strstr(y.body, "mine"), "%s %s", x.body, y.body);
    answer_release(&x);
    answer_release(&y);
    CHECK(status_of(site_port, "GET", "/settings", "", NULL) == 401 && status_of(site_port, "GET", "/settings", "Comfy-User: ../x\r\n", NULL) == 401, "nobody");
    CHECK(status_of(site_port, "GET", "/settings", "Comfy-User: __system\r\n", NULL) == 403, "a name that nobody can have");
    json_decref(post_json(site_port, "/users", "{\"username\": \"__system\"}", 400));
    x = ask_full(site_port, "GET", "/settings", ann, NULL, 0); /* pictures and WebSockets of a page come without a header */
    char cookie[300], line[800];
    CHECK(answer_header(&x, "Set-Cookie", cookie, sizeof cookie) && strstr(cookie, "HttpOnly") && strstr(cookie, "SameSite=Strict"), "%s", cookie);
    answer_release(&x);
    cookie[strcspn(cookie, ";")] = 0;
    snprintf(line, sizeof line, "Cookie: other=1; %s\r\n", cookie);
    x = ask_full(site_port, "GET", "/settings", line, NULL, 0);
    CHECK(x.status == 200 && strstr(x.body, "mine"), "%d %s", x.status, x.body);
    answer_release(&x);
    CHECK(status_of(site_port, "POST", "/settings", line, "{}") == 401, "a cookie changes nothing");
    int status, s = ws_connect(site_port, "/ws", line, &status), none = ws_connect(site_port, "/ws", "", &status);
    CHECK(s >= 0 && none < 0 && status == 401, "%d", status);
    close(s);
    snprintf(line, sizeof line, "%sCookie: %s\r\n", bob, cookie);
    x = ask_full(site_port, "GET", "/settings", line, NULL, 0);
    CHECK(!strstr(x.body, "mine") && strstr(x.head, "limn_user="), "the header counts: %s", x.body);
    answer_release(&x);
    x = ask_full(site_port, "GET", "/users", "", NULL, 0);
    CHECK(strstr(x.body, "\"Ann\"") && strstr(x.body, "\"Bob\""), "%s", x.body);
    answer_release(&x);
    json_decref(a);
    json_decref(b);
    site_stop();
}

TEST(a_data_set_is_made_and_captioned_over_the_net)
{
    site_defaults();
    site_start();
    size_t bytes;
    char *png;
    struct err e = { 0 };
    REQUIRE(file_read(test_data("emoji-mini/ring-ball.png"), 1 << 20, &png, &bytes, &e));
    site_write("input/rings/a.png", png, bytes);
    mem_free(png);
    CHECK(status_of(site_port, "POST", "/limn/datasets/rings", "", "{\"file_name\": \"b.png\"}") == 404, "a picture that is not there");
    CHECK(status_of(site_port, "POST", "/limn/datasets/rings", "", "{\"file_name\": \"../a.png\"}") == 400, "a picture elsewhere");
    CHECK(status_of(site_port, "GET", "/limn/datasets/rings", "", NULL) == 404, "no list yet");
    json_decref(post_json(site_port, "/limn/datasets/rings", "{\"file_name\": \"a.png\", \"text\": \"a ring\"}", 200));
    json_decref(post_json(site_port, "/limn/datasets/rings", "{\"file_name\": \"a.png\", \"excluded\": \"blurred\"}", 200));
    json_t *all = get_json(site_port, "/limn/datasets", 200), *set = json_array_get(json_object_get(all, "datasets"), 0);
    CHECK(!strcmp(text_at(set, "name"), "rings") && json_integer_value(json_object_get(set, "pictures")) == 1 &&
              json_integer_value(json_object_get(set, "excluded")) == 1, "%s", json_dumps(all, 0));
    json_decref(all);
    json_t *one = get_json(site_port, "/limn/datasets/rings?limit=1", 200), *picture = json_array_get(json_object_get(one, "pictures"), 0);
    CHECK(!strcmp(text_at(picture, "text"), "a ring") && !strcmp(text_at(picture, "excluded"), "blurred") &&
              strlen(text_at(picture, "id")) == 64, "%s", json_dumps(one, 0));
    json_decref(one);
    site_stop();
}

/* A form with files, whose bytes may be anything. */
static json_t *send_files(const char *path, const char *const *names, const char *const *data, const size_t *bytes, size_t count, int status)
{
    char *body = calloc(1, 1 << 20), *at = body;
    for (size_t i = 0; i < count; i++) {
        at += sprintf(at, "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\n\r\n", names[i]);
        memcpy(at, data[i], bytes[i]);
        at += bytes[i];
        at += sprintf(at, "\r\n");
    }
    at += sprintf(at, "--B--\r\n");
    struct answer a = ask_full(site_port, "POST", path, "Content-Type: multipart/form-data; boundary=B\r\n", body, (size_t)(at - body));
    CHECK(a.status == status, "%s: %d %s", path, a.status, a.body ? a.body : "");
    json_t *j = a.body ? json_loads(a.body, 0, NULL) : NULL;
    answer_release(&a);
    free(body);
    return j;
}

static json_t *picture_of(const char *path, size_t i)
{
    json_t *all = get_json(site_port, path, 200), *one = json_incref(json_array_get(json_object_get(all, "pictures"), i));
    json_decref(all);
    return one;
}

TEST(a_data_set_is_worked_on_over_the_net)
{
    site_defaults();
    site_start();
    struct err e = { 0 };
    char *png;
    size_t bytes;
    REQUIRE(file_read(test_data("emoji-mini/ring-ball.png"), 1 << 20, &png, &bytes, &e));
    const char *const names[] = { "ball.png", "ball.txt", "none.png", "up/../../x.png" }, *const data[] = { png, "ring, red_ball\n", "no picture", png };
    const size_t sizes[] = { bytes, 15, 10, bytes };
    json_t *said = send_files("/limn/datasets/balls/files", names, data, sizes, 4, 200);
    CHECK(json_integer_value(json_object_get(said, "taken")) == 1 && json_array_size(json_object_get(said, "reasons")) == 2, "%s", json_dumps(said, 0));
    json_decref(said);
    said = send_files("/limn/datasets/balls/files", names, data, sizes, 1, 200);
    CHECK(json_integer_value(json_object_get(said, "there")) == 1 && !path_exists(site_path("input/balls/ball (1).png")), "%s", json_dumps(said, 0));
    json_decref(said);
    json_decref(send_files("/limn/datasets/..%2Fballs/files", names, data, sizes, 1, 400));
    mem_free(png);
    said = post_json(site_port, "/limn/datasets/balls/captions", "{\"prefix\": \"mine\", \"spaces\": true, \"replace\": [\"ring=circle\"], \"dry_run\": true}", 200);
    CHECK(!strcmp(text_at(json_array_get(json_object_get(said, "shown"), 0), "now"), "mine, circle, red ball"), "%s", json_dumps(said, 0));
    json_decref(said);
    json_t *p = picture_of("/limn/datasets/balls", 0);
    CHECK(!strcmp(text_at(p, "text"), "ring, red_ball"), "%s", json_dumps(p, 0));
    json_decref(p);
    json_decref(post_json(site_port, "/limn/datasets/balls/captions", "{\"prefix\": \"mine\", \"remove\": [\"ring\"]}", 200));
    p = picture_of("/limn/datasets/balls?words=MINE&only=used", 0);
    CHECK(!strcmp(text_at(p, "text"), "mine, red_ball"), "%s", json_dumps(p, 0));
    json_decref(p);
    said = post_json(site_port, "/limn/datasets/balls/undo", "{\"what\": \"caption\"}", 200);
    CHECK(json_integer_value(json_object_get(said, "count")) == 1, "%s", json_dumps(said, 0));
    json_decref(said);
    p = picture_of("/limn/datasets/balls/crops?size=16&height=24", 0);
    json_t *cut = json_object_get(p, "cut");
    int64_t w = json_integer_value(json_array_get(cut, 2)), h = json_integer_value(json_array_get(cut, 3));
    CHECK(json_integer_value(json_array_get(json_object_get(p, "becomes"), 1)) == 24 && h == json_integer_value(json_object_get(p, "height")) && llabs(3 * w - 2 * h) <= 3,
          "%s", json_dumps(p, 0));
    json_decref(p);
    p = picture_of("/limn/datasets/balls/crops?size=2000", 0);
    CHECK(!strcmp(text_at(p, "left"), "small"), "%s", json_dumps(p, 0));
    json_decref(p);
    json_decref(post_json(site_port, "/limn/datasets/balls/undo", "{\"what\": \"all\"}", 400));
    json_decref(post_json(site_port, "/limn/datasets/balls/captions", "{\"remove\": [1]}", 400));
    json_decref(get_json(site_port, "/limn/datasets/none/crops", 404));
    site_stop();
}

TEST(a_training_is_looked_at_over_the_net)
{
    site_defaults();
    site_start();
    static const char settings[] = "{\"command\": \"train lora\", \"steps\": 30}";
    static const char numbers[] = "{\"step\": 10, \"loss\": 0.5}\n{\"step\": 20, \"loss\": 0.25}\n{\"step\": 30, \"lo";
    site_write("output/runs/style/config.json", settings, strlen(settings));
    site_write("output/runs/style/metrics.jsonl", numbers, strlen(numbers));
    site_write("output/runs/style/samples/step-20.png", "x", 1);
    json_t *all = get_json(site_port, "/limn/runs", 200), *run = json_array_get(json_object_get(all, "runs"), 0);
    CHECK(!strcmp(text_at(run, "name"), "style") && !strcmp(text_at(run, "kind"), "train lora") &&
              json_integer_value(json_object_get(run, "step")) == 20, "%s", json_dumps(all, 0));
    json_decref(all);
    run = get_json(site_port, "/limn/runs/style", 200);
    CHECK(json_array_size(json_object_get(run, "metrics")) == 2, "a line that is cut off is left out: %s", json_dumps(run, 0));
    CHECK(!strcmp(json_string_value(json_array_get(json_object_get(run, "samples"), 0)), "samples/step-20.png"), "%s", json_dumps(run, 0));
    json_decref(run);
    CHECK(status_of(site_port, "GET", "/limn/runs/style/file?name=samples/step-20.png", "", NULL) == 200, "a sample");
    CHECK(status_of(site_port, "GET", "/limn/runs/style/file?name=../../../input", "", NULL) == 400, "outside");
    CHECK(status_of(site_port, "GET", "/limn/runs/none", "", NULL) == 404, "no training");
    site_stop();
}

TEST(a_training_is_part_of_lineage_once_it_is_asked_for)
{
    site_defaults();
    site_start();
    struct err e = { 0 };
    char *png, settings[4200], picture[DIGEST_TEXT_BYTES], path[200];
    size_t bytes;
    REQUIRE(file_read(test_data("emoji-mini/ring-ball.png"), 1 << 20, &png, &bytes, &e));
    REQUIRE(digest_bytes(png, bytes, picture));
    site_write("input/rings/a.png", png, bytes);
    mem_free(png);
    static const char list[] = "{\"file_name\": \"a.png\", \"text\": \"a ring\"}\n";
    site_write("input/rings/metadata.jsonl", list, strlen(list));
    snprintf(settings, sizeof settings, "{\"command\": \"train lora\", \"dataset\": \"%s\"}", site_path("input/rings"));
    site_write("output/runs/style/config.json", settings, strlen(settings));
    site_write("output/runs/style/lora-step00000020.safetensors", "no header", 9);
    snprintf(path, sizeof path, "/limn/gallery/training:%s/lineage", picture);
    json_t *lineage = get_json(site_port, path, 200);
    const json_t *run = json_array_get(json_object_get(lineage, "to"), 0), *weights = json_array_get(json_object_get(run, "to"), 0);
    CHECK(strstr(text_at((json_t *)(uintptr_t)run, "run"), "runs/style") && json_integer_value(json_object_get(weights, "step")) == 20, "%s", json_dumps(lineage, 0));
    json_decref(lineage);
    /* another checkpoint: the run is read again */
    site_write("output/runs/style/lora-step00000040.safetensors", "no header, too", 14);
    lineage = get_json(site_port, path, 200);
    run = json_array_get(json_object_get(lineage, "to"), 0);
    CHECK(json_array_size(json_object_get(run, "to")) == 2, "%s", json_dumps(lineage, 0));
    json_decref(lineage);
    site_stop();
}

TEST(a_report_is_shown_and_can_do_nothing)
{
    site_defaults();
    site_start();
    site_write("output/evaluations/one.html", "<b>1</b>", 8);
    site_write("output/evaluations/one.csv", "1", 1);
    json_t *all = get_json(site_port, "/limn/reports", 200), *list = json_object_get(all, "reports");
    CHECK(json_array_size(list) == 1 && !strcmp(json_string_value(json_array_get(list, 0)), "one.html"), "%s", json_dumps(all, 0));
    json_decref(all);
    struct answer a = ask_full(site_port, "GET", "/limn/reports/one.html", "", NULL, 0);
    CHECK(a.status == 200 && strstr(a.head, "Content-Security-Policy: sandbox; default-src 'none'") &&
              !strcmp(a.body, "<b>1</b>"), "%d %s", a.status, a.head);
    answer_release(&a);
    CHECK(status_of(site_port, "GET", "/limn/reports/one.csv", "", NULL) == 404 && status_of(site_port, "GET", "/limn/reports/..%2Fa.html", "", NULL) == 400, "others");
    site_stop();
}

TEST(a_pictures_file_is_asked_how_it_was_made)
{
    site_defaults();
    site_start();
    struct err e = { 0 };
    char *data;
    size_t bytes;
    REQUIRE(file_read(test_data("told/a1111.webp"), 1 << 20, &data, &bytes, &e));
    struct answer a = ask_full(site_port, "POST", "/limn/told", "", data, bytes);
    json_t *told = json_loads(a.body, 0, NULL);
    CHECK(a.status == 200 && !strcmp(text_at(told, "sampler"), "euler_ancestral") && json_integer_value(json_object_get(told, "seed")) == 42 &&
              !strncmp(text_at(told, "prompt"), "红苹果", 9), "%d %s", a.status, a.body);
    json_decref(told);
    answer_release(&a);
    a = ask_full(site_port, "POST", "/limn/told", "", data, bytes / 9);
    CHECK(a.status == 400, "a picture that breaks off: %d", a.status);
    answer_release(&a);
    a = ask_full(site_port, "POST", "/limn/told", "", "", 0);
    CHECK(a.status == 400, "nothing: %d", a.status);
    answer_release(&a);
    mem_free(data);
    json_t *page = get_json(site_port, "/limn/gallery/ids", 200);
    CHECK(json_array_size(json_object_get(page, "ids")) == 0, "nothing is kept");
    json_decref(page);
    site_stop();
}

TEST(pictures_are_compared_over_the_net)
{
    site_defaults();
    site_start();
    struct err e = { 0 };
    size_t bytes;
    char *png;
    static const char *const names[] = { "ring-ball.png", "ring-box.png" };
    for (int i = 0; i < 2; i++) {
        char from[100], to[100];
        snprintf(from, sizeof from, "emoji-mini/%s", names[i]);
        snprintf(to, sizeof to, "output/%s", names[i]);
        REQUIRE(file_read(test_data(from), 1 << 20, &png, &bytes, &e));
        site_write(to, png, bytes);
        mem_free(png);
    }
    json_t *same = get_json(site_port, "/limn/similarity?a=ring-ball.png&b=ring-ball.png", 200);
    CHECK(!strcmp(text_at(same, "psnr"), "inf") && json_number_value(json_object_get(same, "ssim")) == 1, "%s", json_dumps(same, 0));
    json_decref(same);
    json_t *other = get_json(site_port, "/limn/similarity?a=ring-ball.png&b=ring-box.png", 200);
    double psnr = json_number_value(json_object_get(other, "psnr"));
    CHECK(psnr > 1 && psnr < 40, "%s", json_dumps(other, 0));
    json_decref(other);
    CHECK(status_of(site_port, "GET", "/limn/similarity?a=none.png&b=ring-box.png", "", NULL) == 404, "a picture that is not there");
    site_stop();
}

TEST(the_temporary_folder_is_empty_at_the_start_and_at_the_end)
{
    site_defaults();
    site_write("temp/deep/old.png", "1", 1);
    site_write("output/kept.png", "1", 1);
    assert_int_equal(symlink(site_path("output"), site_path("temp/link")), 0);
    site_start();
    CHECK(path_is_folder(site_path("temp")) && !path_exists(site_path("temp/deep")) && !path_exists(site_path("temp/link")), "at the start");
    site_write("temp/new.png", "1", 1);
    CHECK(status_of(site_port, "GET", "/view?filename=new.png&type=temp", "", NULL) == 200, "while it runs");
    site_stop();
    CHECK(!path_exists(site_path("temp/new.png")) && path_exists(site_path("output/kept.png")), "at the end, and nothing else");
}

/* The names that LoadImage offers, out of what GET /object_info answers. */
static bool offered(const char *name)
{
    json_t *nodes = get_json(site_port, "/object_info", 200), *node = json_object_get(nodes, "LoadImage");
    json_t *list = json_array_get(json_object_get(json_object_get(json_object_get(node, "input"), "required"), "image"), 0), *item;
    size_t i;
    bool found = false;
    json_array_foreach(list, i, item)
        found = found || !strcmp(json_string_value(item), name);
    json_decref(nodes);
    return found;
}

TEST(the_list_of_nodes_is_kept_until_a_folder_changes_and_is_sent_once)
{
    char tag[100], header[160], text[100];
    struct err e = { 0 };
    site_defaults();
    site_start();
    struct answer a = ask_full(site_port, "GET", "/object_info", "", NULL, 0), packed;
    CHECK(a.status == 200 && answer_header(&a, "ETag", tag, sizeof tag) && !answer_header(&a, "Content-Encoding", text, sizeof text), "%s", a.head);
    snprintf(header, sizeof header, "If-None-Match: %s\r\n", tag);
    CHECK(status_of(site_port, "GET", "/object_info", header, NULL) == 304, "the client has it");
    CHECK(status_of(site_port, "GET", "/api/object_info", header, NULL) == 304, "at the other address, too");
    packed = ask_full(site_port, "GET", "/object_info", "Accept-Encoding: br, gzip;q=0.5\r\n", NULL, 0);
    CHECK(answer_header(&packed, "Content-Encoding", text, sizeof text) && !strcmp(text, "gzip") && packed.body_bytes < a.body_bytes / 4, "%s", packed.head);
    CHECK(packed.body_bytes > 8 && (unsigned char)packed.body[0] == 0x1f && (unsigned char)packed.body[1] == 0x8b, "gzip's first bytes");
    unsigned char *end = (unsigned char *)packed.body + packed.body_bytes - 4; /* its size, RFC 1952 */
    CHECK((end[0] | (size_t)end[1] << 8 | (size_t)end[2] << 16) == a.body_bytes, "of the same bytes");
    answer_release(&packed);
    answer_release(&a);
    for (int turn = 0; turn < 20; turn++) { /* at once behind the change, and after a pause that lets the answer last */
        char name[40], path[60];
        snprintf(name, sizeof name, "p%d.png", turn);
        snprintf(path, sizeof path, "input/%s", name);
        CHECK(!offered(name), "%s is not there", name);
        usleep(turn % 2 ? 70000 : 0);
        CHECK(!offered(name), "%s is not there", name);
        site_write(path, "x", 1);
        CHECK(offered(name), "%s came", name);
        CHECK(offered(name), "%s is kept", name);
        CHECK(remove(site_path(path)) == 0 && !offered(name), "%s went", name);
    }
    CHECK(status_of(site_port, "GET", "/object_info", header, NULL) == 304, "it is as it was");
    json_t *nodes = get_json(site_port, "/object_info", 200);
    json_t *loader = json_object_get(json_object_get(json_object_get(json_object_get(nodes, "LoraLoader"), "input"), "required"), "lora_name");
    CHECK(json_array_size(json_array_get(loader, 0)) == 0, "no LoRA");
    json_decref(nodes);
    usleep(70000);
    CHECK(status_of(site_port, "GET", "/object_info", header, NULL) == 304, "still");
    REQUIRE(folder_make(site_path("models/loras/deep"), &e)); /* none of these folders was there */
    site_write("models/loras/deep/a.safetensors", "x", 1);
    nodes = get_json(site_port, "/object_info", 200);
    loader = json_object_get(json_object_get(json_object_get(json_object_get(nodes, "LoraLoader"), "input"), "required"), "lora_name");
    CHECK(json_array_size(json_array_get(loader, 0)) == 1, "one LoRA");
    json_decref(nodes);
    site_stop();
}
