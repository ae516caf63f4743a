#include "site.h"

#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"
#include "base/file.h"
#include "test.h"

struct serve_options site_options;
int site_port;
static struct server *server;
static struct model_places places;
static const struct backend *backend;
static char gallery[PATH_MAX_BYTES], database[PATH_MAX_BYTES], input[PATH_MAX_BYTES], output[PATH_MAX_BYTES], temp[PATH_MAX_BYTES], user[PATH_MAX_BYTES], base[PATH_MAX_BYTES];

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
    snprintf(gallery, sizeof gallery, "%s", site_path("gallery"));
    snprintf(database, sizeof database, "%s", site_path("limn.db"));
    model_places_release(&places);
    REQUIRE(model_places_add_own(&places, site_path("models"), &e) && model_places_add_own(&places, test_data("../../models"), &e));
    if (!backend && !(backend = backend_cpu_new(1, NULL, &e)))
        fail_msg("%s", e.text);
    site_options = (struct serve_options){
        .listen = "127.0.0.1", .base = base, .input = input, .output = output, .temp = temp, .user = user, .gallery = gallery, .database = database,
        .places = &places, .backend = backend, .type = DTYPE_F32, .workers = 1,
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

struct server *site_server(void)
{
    return server;
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

pid_t site_program(const char *const *arguments, FILE **out)
{
    enum { MOST = 40 };
    const char *build = getenv("LIMN_BUILD");
    char program[PATH_MAX_BYTES], *argv[MOST] = { program };
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int ends[2];
    snprintf(program, sizeof program, "%s/limn", build ? build : "build");
    if (!path_exists(program))
        snprintf(program, sizeof program, "%s", test_data("../../build/limn"));
    for (int i = 0; arguments[i]; i++) {
        assert_true(i + 2 < MOST);
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    }
    assert_int_equal(pipe(ends), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    CHECK(!posix_spawn(&pid, program, &actions, NULL, argv, environ), "%s does not start", program);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *out = fdopen(ends[0], "r");
    return pid;
}
