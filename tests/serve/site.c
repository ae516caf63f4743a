#include "site.h"

#include <stdatomic.h>
#include <string.h>

#include "base/file.h"
#include "test.h"

struct serve_options site_options;
int site_port;
static struct server *server;
static struct model_places places;
static char input[PATH_MAX_BYTES], output[PATH_MAX_BYTES], temp[PATH_MAX_BYTES], user[PATH_MAX_BYTES], base[PATH_MAX_BYTES];

const char *site_path(const char *name)
{
    static char path[16][PATH_MAX_BYTES];
    static atomic_uint turn;
    char *out = path[atomic_fetch_add(&turn, 1) % 16];
    struct err e = { 0 };
    REQUIRE(path_join(out, base, name, &e));
    return out;
}

void site_defaults(void)
{
    static int number;
    char name[32];
    struct err e = { 0 };
    snprintf(name, sizeof name, "site%d", ++number);
    snprintf(base, sizeof base, "%s", test_scratch(name));
    snprintf(input, sizeof input, "%s", site_path("input"));
    snprintf(output, sizeof output, "%s", site_path("output"));
    snprintf(temp, sizeof temp, "%s", site_path("temp"));
    snprintf(user, sizeof user, "%s", site_path("user"));
    model_places_release(&places);
    REQUIRE(model_places_add_own(&places, site_path("models"), &e));
    site_options = (struct serve_options){
        .listen = "127.0.0.1", .base = base, .input = input, .output = output, .temp = temp, .user = user, .places = &places,
        .max_upload_bytes = (size_t)8 << 20, .connections = 16, .head_seconds = 20, .quiet = true, .version = "0.0.0",
    };
}

void site_start(void)
{
    struct err e = { 0 };
    server = server_start(&site_options, &e);
    CHECK(server, "%s", e.text);
    site_port = server_port(server);
    CHECK(site_port > 0, "port %d", site_port);
}

void site_stop(void)
{
    server_stop(server, 1);
    server = NULL;
}

void site_write(const char *name, const void *data, size_t bytes)
{
    struct err e = { 0 };
    char folder[PATH_MAX_BYTES];
    snprintf(folder, sizeof folder, "%s", site_path(name));
    *strrchr(folder, '/') = 0;
    REQUIRE(folder_make(folder, &e));
    REQUIRE(file_write_whole(site_path(name), data, bytes, &e));
}
