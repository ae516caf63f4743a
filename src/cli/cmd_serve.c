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
    const char *listen, *token, *cors, *base, *input, *output, *temp, *user, *front_end, *comfyui, *extra_model_paths, *database, *gallery, *certificate, *key;
    struct option_texts hosts;
    int64_t port, max_upload, connections, rate, head_seconds, threads, cache_results, preview_side, workers;
    int precision, cache;
    bool users, metadata, test_nodes, quiet;
};
#define AT(member) offsetof(struct serve_args, member)

OPTION_CHOICES(cache_choice, "classic", "recent", "none")

static const struct option serve_options[] = {
    { "port", 'p', OPTION_INT, AT(port), "8188", .min = 0, .max = 65535, .help = "0 takes a free one", .group = "Where" },
    { "listen", 0, OPTION_TEXT, AT(listen), "127.0.0.1", .value = "ADDRESS", .help = "an IPv4 address of this machine; 0.0.0.0: all of them" },
    { "token", 0, OPTION_TEXT, AT(token), .help = "what callers must know; made and printed where --listen is not this machine alone",
      .initial_help = "$LIMN_TOKEN" },
    { "allow-host", 0, OPTION_TEXTS, AT(hosts), .value = "NAME", .help = "another name by which this machine is called" },
    { "cors", 0, OPTION_TEXT, AT(cors), .value = "ORIGIN", .help = "whose pages may call, as https://example.org; *: everybody's" },
    { "certificate", 0, OPTION_TEXT, AT(certificate), .value = "FILE", .help = "HTTPS with this chain of certificates, in PEM" },
    { "key", 0, OPTION_TEXT, AT(key), .value = "FILE", .help = "its key", .initial_help = "in the certificate's file" },
    { "users", 0, OPTION_FLAG, AT(users), .help = "several users, each with settings, files, queue and gallery of their own" },
    { "max-upload", 0, OPTION_SIZE, AT(max_upload), "100M", .min = 1024, .max = 17179869184.0, .help = "the largest file that may be sent", .group = "Limits" },
    { "connections", 0, OPTION_INT, AT(connections), "256", .min = 8, .max = 4096, .help = "at a time; a thread each" },
    { "rate", 0, OPTION_INT, AT(rate), "0", .min = 0, .max = 1000000, .help = "jobs a minute from one address; 0: any number" },
    { "patience", 0, OPTION_INT, AT(head_seconds), "30", .min = 1, .max = 3600, .help = "seconds that a caller may take for what it sends or reads" },
    { "base-directory", 0, OPTION_TEXT, AT(base), .value = "FOLDER", .help = "where all that follows lies", .initial_help = "limn/serve in the user's data folder",
      .group = "Folders" },
    { "input-directory", 0, OPTION_TEXT, AT(input), .value = "FOLDER", .help = "uploaded pictures", .initial_help = "BASE/input" },
    { "output-directory", 0, OPTION_TEXT, AT(output), .value = "FOLDER", .help = "drawn pictures", .initial_help = "BASE/output" },
    { "temp-directory", 0, OPTION_TEXT, AT(temp), .value = "FOLDER", .help = "where temp lies, the folder of previews, which is emptied at start and end",
      .initial_help = "BASE" },
    { "user-directory", 0, OPTION_TEXT, AT(user), .value = "FOLDER", .help = "settings and saved flows", .initial_help = "BASE/user" },
    { "front-end", 0, OPTION_TEXT, AT(front_end), .value = "FOLDER", .help = "another page to serve at /, as that of the PyPI package comfyui_frontend_package",
      .initial_help = "limn's own, where it was built" },
    { "database", 0, OPTION_TEXT, AT(database), .value = "FILE", .help = "queue, history and gallery; or postgresql://..., which several servers share",
      .initial_help = "BASE/limn.db" },
    { "gallery", 0, OPTION_TEXT, AT(gallery), .value = "FOLDER", .help = "the gallery's pictures, by content", .initial_help = "BASE/gallery" },
    OPTION_ROWS_PLACES(struct serve_args),
    OPTION_ROW_THREADS(struct serve_args),
    OPTION_ROW_PRECISION(struct serve_args),
    { "workers", 0, OPTION_INT, AT(workers), "1", .min = 0, .max = 64, .help = "jobs at a time; 0: none here" },
    { "cache", 0, OPTION_CHOICE, AT(cache), "classic", .choices = cache_choice, .help = "which results are kept: those of the last flow, the latest ones, none" },
    { "cache-results", 0, OPTION_INT, AT(cache_results), "100", .min = 1, .max = 100000, .help = "how many the latest ones are" },
    { "preview", 0, OPTION_INT, AT(preview_side), "0", .min = 0, .max = 2048, .value = "PX",
      .help = "the longest side of previews for clients that do not ask for them; 0: none" },
    { "metadata", 0, OPTION_FLAG, AT(metadata), "yes", .help = "do not write into pictures how they were made", .group = "Other" },
    { "test-nodes", 0, OPTION_FLAG, AT(test_nodes), .help = "nodes that tests of other programs need" },
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
    printf("%s://%s:%d/\n", o->certificate ? "https" : "http", !strcmp(o->listen, "0.0.0.0") ? "localhost" : o->listen, server_port(server));
    fflush(stdout);
    while (!stop_requested())
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    server_stop(server, 5);
    return true;
}

/* The backend is named here and only handed down. */
static bool serve_with_engine(const struct serve_args *a, struct serve_options *o, struct err *e)
{
    struct engine engine;
    if (!engine_init(&engine, a->threads, a->precision, e))
        return false;
    o->backend = engine.backend;
    o->type = engine.type;
    bool good = serve(o, e);
    engine_release(&engine);
    return good;
}

static bool serve_run(const void *args, struct err *e)
{
    const struct serve_args *a = args;
    char base[PATH_MAX_BYTES], input[PATH_MAX_BYTES], output[PATH_MAX_BYTES], temp[PATH_MAX_BYTES], user[PATH_MAX_BYTES], gallery[PATH_MAX_BYTES], database[PATH_MAX_BYTES], made[44];
    const char *hosts[OPTION_TEXTS_MAX + 1] = { 0 }, *secret = getenv("LIMN_TOKEN");
    struct model_places places = { 0 };
    if (!base_folder(a, base, e))
        return false;
    memcpy(hosts, a->hosts.items, (size_t)a->hosts.count * sizeof *hosts);
    struct serve_options o = {
        .listen = a->listen, .port = (int)a->port, .token = a->token ? a->token : secret && *secret ? secret : NULL, .cors = a->cors,
        .hosts = hosts, .base = base, .page = a->front_end, .foreign_page = a->front_end != NULL, .places = &places, .max_upload_bytes = (size_t)a->max_upload,
        .connections = (int)a->connections, .rate = (int)a->rate, .head_seconds = (int)a->head_seconds, .users = a->users,
        .certificate = a->certificate, .key = a->key, .cache = (enum flow_cache)a->cache, .cache_results = (size_t)a->cache_results, .workers = (int)a->workers,
        .preview_side = (int)a->preview_side, .no_metadata = !a->metadata, .test_nodes = a->test_nodes, .quiet = a->quiet, .version = LIMN_VERSION,
    };
    bool good = true;
    o.input = folder(a->input, base, "input", input, &good, e);
    o.output = folder(a->output, base, "output", output, &good, e);
    good = good && path_join(temp, a->temp ? a->temp : base, "temp", e);
    o.temp = temp;
    o.user = folder(a->user, base, "user", user, &good, e);
    o.gallery = folder(a->gallery, base, "gallery", gallery, &good, e);
    o.database = a->database && strstr(a->database, "://") ? a->database : folder(a->database, base, "limn.db", database, &good, e);
    if (good && !o.token && !guard_is_loopback(o.listen)) {
        good = guard_make_token(made, e);
        o.token = made;
        if (good)
            fprintf(stderr, "limn: callers must know this token: %s\n", made);
    }
    char page[PATH_MAX_BYTES];
    if (good && !a->front_end && engine_page(page))
        o.page = page;
    if (good && a->front_end && !path_is_folder(a->front_end))
        good = err_set(e, ERR_ARG, "--front-end %s is no folder", a->front_end);
    good = good && engine_places(&places, a->comfyui, a->extra_model_paths, e) && model_places_add_written(&places, o.output, e) &&
           serve_with_engine(a, &o, e);
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
