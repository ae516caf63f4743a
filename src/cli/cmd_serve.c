/* limn serve: the server, from its options to its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/progress.h"
#include "cli/engine.h"
#include "serve/guard.h"
#include "serve/server.h"

struct serve_args {
    const char *listen, *token, *cors, *base, *input, *output, *temp, *user, *front_end, *comfyui, *extra_model_paths;
    struct option_texts hosts;
    int64_t port, max_upload, connections, rate, head_seconds;
    bool users, metadata, quiet;
};
#define AT(member) offsetof(struct serve_args, member)

static const struct option serve_options[] = {
    { "port", 'p', OPTION_INT, AT(port), "8188", .min = 0, .max = 65535, .help = "0 takes a free one", .group = "Where" },
    { "listen", 0, OPTION_TEXT, AT(listen), "127.0.0.1", .value = "ADDRESS", .help = "an IPv4 address of this machine; 0.0.0.0: all of them" },
    { "token", 0, OPTION_TEXT, AT(token), .help = "what callers must know; made and printed where --listen is not this machine alone",
      .initial_help = "$LIMN_TOKEN" },
    { "allow-host", 0, OPTION_TEXTS, AT(hosts), .value = "NAME", .help = "another name by which this machine is called" },
    { "cors", 0, OPTION_TEXT, AT(cors), .value = "ORIGIN", .help = "whose pages may call, as https://example.org; *: everybody's" },
    { "users", 0, OPTION_FLAG, AT(users), .help = "several users, each with settings, files, queue and gallery of their own" },
    { "max-upload", 0, OPTION_SIZE, AT(max_upload), "100M", .min = 1024, .max = 17179869184.0, .help = "the largest file that may be sent", .group = "Limits" },
    { "connections", 0, OPTION_INT, AT(connections), "256", .min = 8, .max = 4096, .help = "at a time; a thread each" },
    { "rate", 0, OPTION_INT, AT(rate), "0", .min = 0, .max = 1000000, .help = "jobs a minute from one address; 0: any number" },
    { "patience", 0, OPTION_INT, AT(head_seconds), "30", .min = 1, .max = 3600, .help = "seconds that a caller may take for what it sends or reads" },
    { "base-directory", 0, OPTION_TEXT, AT(base), .value = "FOLDER", .help = "where the folders below lie", .initial_help = "limn/serve in the user's data folder",
      .group = "Folders" },
    { "input-directory", 0, OPTION_TEXT, AT(input), .value = "FOLDER", .help = "uploaded pictures", .initial_help = "BASE/input" },
    { "output-directory", 0, OPTION_TEXT, AT(output), .value = "FOLDER", .help = "drawn pictures", .initial_help = "BASE/output" },
    { "temp-directory", 0, OPTION_TEXT, AT(temp), .value = "FOLDER", .help = "previews; emptied at start and end", .initial_help = "BASE/temp" },
    { "user-directory", 0, OPTION_TEXT, AT(user), .value = "FOLDER", .help = "settings and saved flows", .initial_help = "BASE/user" },
    { "front-end", 0, OPTION_TEXT, AT(front_end), .value = "FOLDER", .help = "a page that is served at /, as that of the PyPI package comfyui_frontend_package" },
    OPTION_ROWS_PLACES(struct serve_args),
    { "metadata", 0, OPTION_FLAG, AT(metadata), "yes", .help = "do not write into pictures how they were made", .group = "Other" },
    OPTION_ROW_QUIET(struct serve_args),
    { 0 },
};

static bool base_folder(const struct serve_args *a, char out[PATH_MAX_BYTES], struct err *e)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (a->base)
        return path_join(out, "", a->base, e);
    if (data && *data)
        return path_join(out, data, "limn/serve", e);
    if (home && *home)
        return path_join(out, home, ".local/share/limn/serve", e);
    return err_set(e, ERR_MISSING, "HOME is not set: say where with --base-directory");
}

/* given, or base/name. */
static const char *folder(const char *given, const char *base, const char *name, char out[PATH_MAX_BYTES], bool *good, struct err *e)
{
    *good = *good && path_join(out, given ? "" : base, given ? given : name, e);
    return out;
}

static bool serve(const struct serve_options *o, struct err *e)
{
    struct server *server = server_start(o, e);
    if (!server)
        return false;
    printf("http://%s:%d/\n", !strcmp(o->listen, "0.0.0.0") ? "localhost" : o->listen, server_port(server));
    fflush(stdout);
    while (!stop_requested())
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    server_stop(server, 5);
    return true;
}

static bool serve_run(const void *args, struct err *e)
{
    const struct serve_args *a = args;
    char base[PATH_MAX_BYTES], input[PATH_MAX_BYTES], output[PATH_MAX_BYTES], temp[PATH_MAX_BYTES], user[PATH_MAX_BYTES], made[44];
    const char *hosts[OPTION_TEXTS_MAX + 1] = { 0 }, *secret = getenv("LIMN_TOKEN");
    struct model_places places = { 0 };
    if (!base_folder(a, base, e))
        return false;
    memcpy(hosts, a->hosts.items, (size_t)a->hosts.count * sizeof *hosts);
    struct serve_options o = {
        .listen = a->listen, .port = (int)a->port, .token = a->token ? a->token : secret && *secret ? secret : NULL, .cors = a->cors,
        .hosts = hosts, .base = base, .page = a->front_end, .places = &places, .max_upload_bytes = (size_t)a->max_upload,
        .connections = (int)a->connections, .rate = (int)a->rate, .head_seconds = (int)a->head_seconds, .users = a->users,
        .no_metadata = !a->metadata, .quiet = a->quiet, .version = LIMN_VERSION,
    };
    bool good = true;
    o.input = folder(a->input, base, "input", input, &good, e);
    o.output = folder(a->output, base, "output", output, &good, e);
    o.temp = folder(a->temp, base, "temp", temp, &good, e);
    o.user = folder(a->user, base, "user", user, &good, e);
    if (good && !o.token && !guard_is_loopback(o.listen)) {
        good = guard_make_token(made, e);
        o.token = made;
        if (good)
            fprintf(stderr, "limn: callers must know this token: %s\n", made);
    }
    if (good && a->front_end && !path_is_folder(a->front_end))
        good = err_set(e, ERR_ARG, "--front-end %s is no folder", a->front_end);
    good = good && engine_places(&places, a->comfyui, a->extra_model_paths, e) && serve(&o, e);
    model_places_release(&places);
    return good;
}

const struct command command_serve = {
    .name = "serve",
    .help = "Serves pages and programs: draws what they ask for, as ComfyUI does.",
    .details = "Programs that speak to ComfyUI speak to this server unchanged. It listens to this machine alone unless --listen says otherwise, "
               "and then wants a token: as Authorization: Bearer TOKEN, as the password a browser asks for, or as ?token=TOKEN.\n"
               "SIGINT or SIGTERM end it: what is being answered is answered.",
    .options = serve_options, .args_bytes = sizeof(struct serve_args), .run = serve_run,
};
