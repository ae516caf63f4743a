/* limn worker: runs jobs that servers elsewhere accepted. */
#include <stdio.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/progress.h"
#include "cli/engine.h"
#include "cli/gallery_place.h"
#include "serve/runner.h"

struct worker_args {
    const char *database, *gallery_folder, *base, *input, *output, *temp, *comfyui, *extra_model_paths;
    int64_t threads, workers, lease, cache_results, preview_side;
    int precision, cache;
    bool users, metadata, once, test_nodes, quiet;
};
#define AT(member) offsetof(struct worker_args, member)

OPTION_CHOICES(cache_choice, "classic", "recent", "none")

static const struct option worker_options[] = {
    OPTION_ROWS_GALLERY(struct worker_args),
    { "base-directory", 0, OPTION_TEXT, AT(base), .value = "FOLDER", .group = "Folders, which are the servers'",
      .help = "where all that follows lies", .initial_help = "limn serve's" },
    { "input-directory", 0, OPTION_TEXT, AT(input), .value = "FOLDER", .help = "uploaded pictures", .initial_help = "BASE/input" },
    { "output-directory", 0, OPTION_TEXT, AT(output), .value = "FOLDER", .help = "drawn pictures", .initial_help = "BASE/output" },
    { "temp-directory", 0, OPTION_TEXT, AT(temp), .value = "FOLDER", .help = "previews", .initial_help = "BASE/temp" },
    { "users", 0, OPTION_FLAG, AT(users), .help = "the servers have users" },
    OPTION_ROWS_PLACES(struct worker_args),
    OPTION_ROW_THREADS(struct worker_args),
    OPTION_ROW_PRECISION(struct worker_args),
    { "workers", 0, OPTION_INT, AT(workers), "1", .min = 1, .max = 64, .help = "jobs at a time", .group = "Work" },
    { "lease", 0, OPTION_INT, AT(lease), "30", .min = 1, .max = 3600, .value = "S",
      .help = "seconds after which a job is taken over whose worker gives no sign of life" },
    { "once", 0, OPTION_FLAG, AT(once), .help = "end when nothing is left to do" },
    { "cache", 0, OPTION_CHOICE, AT(cache), "classic", .choices = cache_choice, .help = "which results are kept: those of the last flow, the latest ones, none" },
    { "cache-results", 0, OPTION_INT, AT(cache_results), "100", .min = 1, .max = 100000, .help = "how many the latest ones are" },
    { "preview", 0, OPTION_INT, AT(preview_side), "0", .min = 0, .max = 2048, .value = "PX",
      .help = "the longest side of previews for clients that do not ask for them; 0: none" },
    { "metadata", 0, OPTION_FLAG, AT(metadata), "yes", .help = "do not write into pictures how they were made" },
    { "test-nodes", 0, OPTION_FLAG, AT(test_nodes), .help = "nodes that tests of other programs need" },
    OPTION_ROW_QUIET(struct worker_args),
    { 0 },
};

struct run {
    const struct worker_args *args;
    struct gallery_place place;
    struct engine engine;
    struct model_places models;
    char base[PATH_MAX_BYTES], folders[3][PATH_MAX_BYTES];
};

static void say(void *self, const char *text)
{
    const struct run *run = self;
    if (!run->args->quiet)
        fprintf(stderr, "limn: %s\n", text);
}

/* What people at the worker want to know: which jobs, and faults. */
static void hear(void *self, const struct queue_event *event)
{
    char text[1200];
    const char *message = json_string_value(json_object_get(event->data, "message"));
    if (event->elsewhere)
        return;
    if (!strcmp(event->type, "fault")) {
        say(self, message ? message : "the database is back");
    } else if (!strcmp(event->type, "execution_start") || !strncmp(event->type, "execution_error", 15) || !strcmp(event->type, "execution_success")) {
        message = json_string_value(json_object_get(event->data, "exception_message"));
        snprintf(text, sizeof text, "job %s: %s%s%s", event->job, event->type + strlen("execution_"), message ? ": " : "", message ? message : "");
        say(self, text);
    }
}

/* Previews of this worker go to servers, which know who looks. */
static bool anyone(void *self, const char *client)
{
    return client != NULL;
}

static bool make_folders(struct run *run, struct err *e)
{
    const struct worker_args *a = run->args;
    const char *const given[] = { a->input, a->output, a->temp };
    static const char *const names[] = { "input", "output", "temp" };
    if (a->base ? !path_join(run->base, "", a->base, e) : !gallery_place_base(run->base, e))
        return false;
    for (int i = 0; i < 3; i++)
        if (!path_join(run->folders[i], given[i] ? "" : run->base, given[i] ? given[i] : names[i], e) || !folder_make(run->folders[i], e))
            return false;
    return true;
}

/* Until somebody asks to stop; with --once until nothing is left. */
static bool wait_for_end(const struct run *run, struct queue *queue, struct err *e)
{
    while (!stop_requested()) {
        int64_t left = 1;
        struct err away = { 0 };
        if (run->args->once && queue_remaining(queue, NULL, &left, &away) && !left)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
    return run->args->once ? stop_check(e) : true;
}

static bool work(struct run *run, struct err *e)
{
    const struct worker_args *a = run->args;
    const struct runner_options runs = {
        .engine = { .backend = run->engine.backend, .type = run->engine.type, .cache = (enum flow_cache)a->cache, .cache_results = (size_t)a->cache_results },
        .places = &run->models, .input = run->folders[0], .output = run->folders[1], .temp = run->folders[2], .gallery = run->place.folder,
        .version = LIMN_VERSION, .users = a->users, .test_nodes = a->test_nodes, .no_metadata = !a->metadata, .preview_side = (int)a->preview_side,
        .watched = anyone, .line = say, .self = run,
    };
    struct runner *runner = runner_new(&runs, e);
    const struct queue_options options = { .store = run->place.store, .workers = (int)a->workers, .run = runner_run, .run_self = runner,
                                           .listen = hear, .listen_self = run, .lease_ms = (int)a->lease * 1000, .others = true };
    struct queue *queue = runner ? queue_open(&options, e) : NULL;
    char text[PATH_MAX_BYTES + 40];
    snprintf(text, sizeof text, "working for %s", store_where(run->place.store));
    if (queue)
        say(run, text);
    bool good = queue && wait_for_end(run, queue, e);
    queue_close(queue, false);
    runner_free(runner);
    return good;
}

static bool worker_run(const void *args, struct err *e)
{
    struct run run = { .args = args };
    const struct worker_args *a = args;
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error, not an end */
    bool good = make_folders(&run, e) && gallery_place_open(&run.place, a->database, a->gallery_folder, e) &&
                engine_places(&run.models, a->comfyui, a->extra_model_paths, e) &&
                model_places_add_written(&run.models, run.folders[1], e) && engine_init(&run.engine, a->threads, a->precision, e) &&
                work(&run, e);
    if (run.engine.backend)
        engine_release(&run.engine);
    model_places_release(&run.models);
    gallery_place_close(&run.place);
    return good;
}

const struct command command_worker = {
    .name = "worker", .help = "Runs jobs that servers elsewhere accepted.",
    .details = "With --database postgresql://... on as many machines as wanted: each job is taken by one worker, a dead worker's is taken over "
               "once. The folders must be the servers' own, shared between the machines. limn serve --workers 0 only accepts.\n"
               "SIGINT or SIGTERM end it; the job that runs then is done by another.",
    .options = worker_options, .args_bytes = sizeof(struct worker_args), .run = worker_run,
};
