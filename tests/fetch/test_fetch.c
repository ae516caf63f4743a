/* Downloads from a server on the loopback that breaks connections, knows no ranges, tells lies and refuses. */
#include "fetch/hub.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "loopback.h"
#include "test.h"

enum { BYTES = 300000 };

static unsigned char content[BYTES];
static char sha256[65];

/* What the server does with a path that begins so. */
enum manner { WHOLE, BREAKS, NO_RANGES, LIES, LIES_ONCE, TOO_LONG, MISSING, CLOSED, BUSY, REDIRECTS, LISTS, STALLS };
static const struct { const char *begins; enum manner manner; } manners[] = {
    { "/whole", WHOLE }, { "/breaks", BREAKS }, { "/noranges", NO_RANGES }, { "/lies-once", LIES_ONCE }, { "/lies", LIES },
    { "/long", TOO_LONG }, { "/closed", CLOSED }, { "/busy", BUSY }, { "/redirect", REDIRECTS }, { "/api/", LISTS },
    { "/stalls", STALLS }, { "/owner/model/resolve/main/", WHOLE }, { "/models/owner/model/resolve/master/", WHOLE }, { "", MISSING },
};

struct server {
    struct loopback net;
    int asked[STALLS + 1]; /* requests by manner: written by its thread, read when a download has ended */
    int ranges;            /* requests for a range */
    int tokens_here, tokens_elsewhere; /* requests with a token, by host: 127.0.0.1 or another name */
    int64_t sent;
};

static void lists(struct server *v, int s, const char *path)
{
    char text[2048], link[200] = "";
    if (!strncmp(path, "/api/v1/", 8)) {
        snprintf(text, sizeof text, "{\"Code\": 200, \"Data\": {\"Files\": [{\"Type\": \"tree\", \"Path\": \"unet\"}, {\"Type\": \"blob\", "
                 "\"Path\": \"unet/config.json\", \"Size\": %d, \"Sha256\": \"%s\"}]}}", BYTES, sha256);
    } else if (strstr(path, "escape")) {
        snprintf(text, sizeof text, "[{\"type\": \"file\", \"path\": \"unet/../../config.json\", \"size\": 1}]");
    } else if (strstr(path, "page=2")) {
        snprintf(text, sizeof text, "[{\"type\": \"file\", \"path\": \"unet/model.safetensors\", \"size\": %d, \"lfs\": {\"oid\": \"%s\"}}]",
                 BYTES, sha256);
    } else {
        snprintf(text, sizeof text, "[{\"type\": \"directory\", \"path\": \"unet\"}, {\"type\": \"file\", \"path\": \"model_index.json\", "
                 "\"size\": %d}]", BYTES);
        snprintf(link, sizeof link, "Link: <http://127.0.0.1:%d/api/models/owner/model/tree/main?page=2>; rel=\"next\"\r\n", v->net.port);
    }
    loopback_put_text(s, "200 OK", text, link);
}

static void serve(void *self, int s, const char *path, const char *request)
{
    struct server *v = self;
    char range[100] = "", more[200], byte;
    size_t i = 0;
    while (strncmp(path, manners[i].begins, strlen(manners[i].begins)) != 0)
        i++;
    enum manner m = manners[i].manner;
    int before = v->asked[m]++;
    const char *asks = strstr(request, "Range: bytes=");
    long from = asks ? atol(asks + 13) : 0;
    v->ranges += asks != NULL;
    if (strstr(request, "Authorization: Bearer secret"))
        (strstr(request, "Host: 127.0.0.1") ? (v->tokens_here++) : (v->tokens_elsewhere++));
    if (from > 0)
        snprintf(range, sizeof range, "Content-Range: bytes %ld-%d/%d\r\n", from, BYTES - 1, BYTES);
    const char *status = from > 0 ? "206 Partial Content" : "200 OK";
    unsigned char *lie = NULL;
    switch (m) {
    case WHOLE:
        loopback_put_head(s, status, (size_t)(BYTES - from), range);
        loopback_put(s, content + from, (size_t)(BYTES - from));
        break;
    case BREAKS: /* a third of the file each time */
        loopback_put_head(s, status, (size_t)(BYTES - from), range);
        loopback_put(s, content + from, (size_t)(BYTES - from < BYTES / 3 ? BYTES - from : BYTES / 3));
        break;
    case NO_RANGES:
        loopback_put_head(s, "200 OK", BYTES, "");
        loopback_put(s, content, before ? BYTES : BYTES / 2);
        break;
    case LIES:
    case LIES_ONCE:
        lie = malloc(BYTES);
        memcpy(lie, content, BYTES);
        lie[BYTES / 2] ^= m == LIES || !before;
        loopback_put_head(s, status, (size_t)(BYTES - from), range);
        loopback_put(s, lie + from, (size_t)(BYTES - from));
        free(lie);
        break;
    case TOO_LONG:
        loopback_put_head(s, "200 OK", BYTES + 1, "");
        loopback_put(s, content, BYTES);
        loopback_put(s, "x", 1);
        break;
    case CLOSED:
        loopback_put_text(s, "401 Unauthorized", "no", "");
        break;
    case BUSY:
        if (before < 2) {
            loopback_put_text(s, "503 Service Unavailable", "later", "");
        } else {
            loopback_put_head(s, "200 OK", BYTES, "");
            loopback_put(s, content, BYTES);
        }
        break;
    case REDIRECTS:
        snprintf(more, sizeof more, "Location: http://localhost:%d/whole\r\n", v->net.port);
        loopback_put_text(s, "302 Found", "", more);
        break;
    case LISTS:
        lists(v, s, path);
        break;
    case STALLS: /* some bytes, then nothing: until the other side has had enough */
        loopback_put_head(s, "200 OK", BYTES, "");
        loopback_put(s, content, 1000);
        recv(s, &byte, 1, 0);
        break;
    default:
        loopback_put_text(s, "404 Not Found", "nothing here", "");
    }
    v->sent++;
}

static void server_begin(struct server *v)
{
    *v = (struct server){ 0 };
    loopback_begin(&v->net, serve, v);
}

static void server_end(struct server *v)
{
    loopback_end(&v->net);
}

static const struct download_options quick = { .token = "secret", .token_help = "HF_TOKEN", .wait_seconds = 0.01, .stall_seconds = 1 };

/* content, and its SHA-256 by a file. */
static void make_content(void)
{
    struct err e = { 0 };
    for (int i = 0; i < BYTES; i++)
        content[i] = (unsigned char)(i * 2654435761u >> 24);
    REQUIRE(file_write_whole(test_scratch("content"), content, BYTES, &e));
    REQUIRE(file_sha256(test_scratch("content"), sha256, NULL, &e));
}

static bool get(const struct server *v, const char *path, const char *file, int64_t bytes, const char *hash, struct err *e)
{
    char url[300];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", v->net.port, path);
    struct download d = { url, test_scratch(file), bytes, hash };
    return download_files(&d, 1, &quick, NULL, e);
}

static void check_whole(const char *file)
{
    struct err e = { 0 };
    char *data, part[PATH_MAX_BYTES];
    size_t bytes;
    REQUIRE(file_read(test_scratch(file), BYTES + 10, &data, &bytes, &e));
    CHECK(bytes == BYTES && !memcmp(data, content, BYTES), "%s: %zu bytes", file, bytes);
    mem_free(data);
    snprintf(part, sizeof part, "%s.part", test_scratch(file));
    CHECK(!path_exists(part), "%s is left", part);
}

TEST(files_arrive_whole_over_bad_connections)
{
    struct err e = { 0 };
    struct server v;
    make_content();
    server_begin(&v);
    REQUIRE(get(&v, "/whole", "new/folder/a", BYTES, sha256, &e));
    check_whole("new/folder/a");
    REQUIRE(get(&v, "/whole", "new/folder/a", BYTES, sha256, &e));
    CHECK(v.asked[WHOLE] == 1, "what is there is not asked for again: %d requests", v.asked[WHOLE]);
    REQUIRE(get(&v, "/breaks", "b", BYTES, sha256, &e));
    check_whole("b");
    CHECK(v.asked[BREAKS] == 3 && v.ranges == 2, "%d requests, %d for a range", v.asked[BREAKS], v.ranges);
    REQUIRE(get(&v, "/noranges", "c", BYTES, sha256, &e));
    check_whole("c");
    REQUIRE(get(&v, "/lies-once", "d", BYTES, sha256, &e));
    check_whole("d");
    REQUIRE(get(&v, "/busy", "e", -1, NULL, &e));
    check_whole("e");
    server_end(&v);
}

/* What an earlier program left is gone on with; what is longer than the file is not. */
TEST(parts_are_gone_on_with)
{
    struct err e = { 0 };
    struct server v;
    make_content();
    server_begin(&v);
    REQUIRE(file_write_whole(test_scratch("half.part"), content, BYTES / 2, &e));
    REQUIRE(get(&v, "/whole", "half", BYTES, sha256, &e));
    check_whole("half");
    CHECK(v.ranges == 1, "%d requests for a range", v.ranges);
    unsigned char *more = mem_zeroed(BYTES + 1, 1);
    REQUIRE(file_write_whole(test_scratch("more.part"), more, BYTES + 1, &e));
    REQUIRE(get(&v, "/whole", "more", BYTES, sha256, &e));
    check_whole("more");
    /* Other bytes than the file's: the hash tells, and it is fetched anew. */
    REQUIRE(file_write_whole(test_scratch("other.part"), more, BYTES / 2, &e));
    REQUIRE(get(&v, "/whole", "other", BYTES, sha256, &e));
    check_whole("other");
    mem_free(more);
    server_end(&v);
}

TEST(what_cannot_be_had_is_told_and_leaves_no_file)
{
    struct err e = { 0 };
    struct server v;
    make_content();
    server_begin(&v);
    CHECK_FAILS(get(&v, "/lies", "lie", BYTES, sha256, &e), ERR_FORMAT, "SHA-256");
    CHECK_FAILS(get(&v, "/long", "long", BYTES, NULL, &e), ERR_FORMAT, "more than the 300000 bytes");
    CHECK_FAILS(get(&v, "/nowhere", "nowhere", -1, NULL, &e), ERR_MISSING, "404");
    CHECK_FAILS(get(&v, "/closed", "closed", -1, NULL, &e), ERR_IO, "set HF_TOKEN to your token");
    CHECK_FAILS(get(&v, "/whole", "short", BYTES + 5, NULL, &e), ERR_IO, "after 5 tries");
    static const char *const files[] = { "lie", "long", "nowhere", "closed", "short" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        CHECK(!path_exists(test_scratch(files[i])), "%s", files[i]);
    struct download odd = { "file:///etc/passwd", test_scratch("passwd"), -1, NULL };
    CHECK_FAILS(download_files(&odd, 1, &quick, NULL, &e), ERR_ARG, "http");
    struct download_options once = quick;
    char url[100];
    once.tries = 1;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/stalls", v.net.port);
    struct download slow = { url, test_scratch("slow"), BYTES, NULL };
    CHECK_FAILS(download_files(&slow, 1, &once, NULL, &e), ERR_IO, "slow");
    stop_request();
    CHECK_FAILS(get(&v, "/whole", "stopped", BYTES, NULL, &e), ERR_STOPPED, "");
    stop_forget();
    server_end(&v);
}

TEST(a_token_is_for_its_host_alone)
{
    struct err e = { 0 };
    struct server v;
    make_content();
    server_begin(&v);
    REQUIRE(get(&v, "/redirect", "there", BYTES, sha256, &e));
    check_whole("there");
    CHECK(v.tokens_here == 1 && v.tokens_elsewhere == 0, "%d here, %d elsewhere", v.tokens_here, v.tokens_elsewhere);
    server_end(&v);
}

TEST(repositories_are_listed_page_by_page_and_fetched)
{
    struct err e = { 0 };
    struct server v;
    make_content();
    server_begin(&v);
    char endpoint[100];
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d/", v.net.port);
    for (int kind = 0; hubs[kind].name; kind++) {
        struct hub_place place = { &hubs[kind], endpoint, "owner/model", NULL };
        struct hub_list list;
        REQUIRE(hub_list(&list, &place, &quick, &e));
        CHECK(list.count == (kind ? 1 : 2), "%s: %zu files", hubs[kind].name, list.count);
        const struct hub_file *f = &list.at[list.count - 1];
        CHECK(!strcmp(f->path, kind ? "unet/config.json" : "unet/model.safetensors") && f->bytes == BYTES && !strcmp(f->sha256, sha256),
              "%s: %s, %lld", hubs[kind].name, f->path, (long long)f->bytes);
        char url[300];
        REQUIRE(hub_url(&place, f->path, url, sizeof url, &e));
        struct download d = { url, test_scratch(path_name(f->path)), f->bytes, f->sha256 };
        REQUIRE(download_files(&d, 1, &quick, NULL, &e));
        check_whole(path_name(f->path));
        hub_list_release(&list);
    }
    struct hub_place bad = { &hubs[0], endpoint, "owner/escape", NULL };
    struct hub_list list;
    CHECK_FAILS(hub_list(&list, &bad, &quick, &e), ERR_FORMAT, "could leave its folder");
    hub_list_release(&list);
    bad.repository = "../owner";
    CHECK_FAILS(hub_list(&list, &bad, &quick, &e), ERR_ARG, "owner/name");
    server_end(&v);
}

TEST(of_a_repository_what_is_needed_is_chosen)
{
    static const struct { const char *path; bool plain, fp16; } files[] = {
        { ".gitattributes", false, false }, { "README.md", true, true }, { "model_index.json", true, true },
        { "picture.png", false, false }, { "v1-5-pruned.safetensors", false, false }, { "v1-5-pruned.ckpt", false, false },
        { "unet/config.json", true, true }, { "unet/diffusion_pytorch_model.safetensors", true, false },
        { "unet/diffusion_pytorch_model.fp16.safetensors", false, true }, { "unet/diffusion_pytorch_model.bin", false, false },
        { "unet/diffusion_pytorch_model.non_ema.safetensors", false, false }, { "unet/model.onnx", false, false },
        { "text_encoder/pytorch_model-00001-of-00002.bin", true, true }, { "text_encoder/pytorch_model.bin.index.json", true, true },
        { "vae/model.fp16.safetensors", true, true }, { "vae/flax_model.msgpack", false, false }, { "tokenizer/vocab.json", true, true },
    };
    enum { COUNT = sizeof files / sizeof *files };
    struct hub_file at[COUNT];
    struct hub_list list = { at, COUNT, COUNT };
    static const char *const patterns[] = { "unet/*", "*.md" };
    for (int pass = 0; pass < 3; pass++) {
        for (int i = 0; i < COUNT; i++)
            at[i] = (struct hub_file){ .path = (char *)(uintptr_t)files[i].path };
        hub_choose(&list, patterns, pass == 2 ? 2 : 0, pass == 1 ? "fp16" : NULL);
        for (int i = 0; i < COUNT; i++) {
            bool matched = !strncmp(files[i].path, "unet/", 5) || !strcmp(files[i].path, "README.md");
            bool want = pass == 0 ? files[i].plain : pass == 1 ? files[i].fp16 : matched;
            CHECK(at[i].wanted == want, "pass %d: %s", pass, files[i].path);
        }
    }
}
