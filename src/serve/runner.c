#include "serve/runner.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json_text.h"
#include "base/mem.h"
#include "flow/flow.h"
#include "image/image.h"
#include "jobs/keep.h"
#include "serve/origins.h"
#include "serve/paths.h"
#include "store/picture_files.h"

enum { MOST_ENGINES = 64, PREVIEW_QUALITY = 95 };
#define RESULT_MAX_BYTES ((size_t)256 << 20)

/* One engine. lock guards the flags of all of them. */
struct seat {
    struct flow_engine *engine; /* NULL: not made yet */
    bool taken, drop_models, drop_results;
};
struct runner {
    struct runner_options o;
    struct origins *origins;
    pthread_mutex_t lock;
    struct seat seats[MOST_ENGINES];
};

struct runner *runner_new(const struct runner_options *options, struct err *e)
{
    struct runner *r = mem_zeroed(1, sizeof *r);
    if (!r) {
        err_nomem(e, "what runs jobs");
        return NULL;
    }
    r->o = *options;
    if (!(r->origins = origins_new(e))) {
        mem_free(r);
        return NULL;
    }
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void runner_free(struct runner *r)
{
    if (!r)
        return;
    for (int i = 0; i < MOST_ENGINES; i++)
        flow_engine_free(r->seats[i].engine);
    pthread_mutex_destroy(&r->lock);
    origins_free(r->origins);
    mem_free(r);
}

/* The first engine that nobody uses: it has the models of the last job. */
static struct seat *take_seat(struct runner *r, struct err *e)
{
    struct seat *s = NULL;
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < MOST_ENGINES && !s; i++)
        if (!r->seats[i].taken)
            s = &r->seats[i];
    if (s)
        s->taken = true;
    pthread_mutex_unlock(&r->lock);
    if (!s) {
        err_set(e, ERR_LIMIT, "more than %d jobs at a time", MOST_ENGINES);
        return NULL;
    }
    if (!s->engine && !(s->engine = flow_engine_new(&r->o.engine, e))) {
        s->taken = false;
        return NULL;
    }
    return s;
}

static void leave_seat(struct runner *r, struct seat *s)
{
    for (;;) {
        pthread_mutex_lock(&r->lock);
        bool models = s->drop_models, results = s->drop_results;
        s->drop_models = s->drop_results = false;
        if (!models && !results)
            s->taken = false;
        pthread_mutex_unlock(&r->lock);
        if (!models && !results)
            return;
        flow_engine_unload(s->engine, results);
    }
}

struct origins *runner_origins(const struct runner *r)
{
    return r->origins;
}

void runner_let_go(struct runner *r, bool results)
{
    for (int i = 0; i < MOST_ENGINES; i++) {
        struct seat *s = &r->seats[i];
        pthread_mutex_lock(&r->lock);
        bool running = s->taken, there = s->engine != NULL;
        if (there) {
            s->drop_models = true;
            s->drop_results = s->drop_results || results;
            s->taken = true; /* so that no job begins meanwhile */
        }
        pthread_mutex_unlock(&r->lock);
        if (there && !running)
            leave_seat(r, s);
    }
}

bool runner_place_init(struct runner_place *place, const struct runner_options *o, const char *owner, struct err *e)
{
    bool apart = o->users && owner && *owner;
    const char *const folders[] = { o->input, o->output, o->temp };
    place->models = (struct model_places){ 0 };
    for (int i = 0; i < 3; i++)
        if (!(apart ? path_below(place->folders[i], folders[i], owner, e) : path_join(place->folders[i], "", folders[i], e)))
            return false;
    place->host = (struct flow_host){ .models = &place->models, .input = place->folders[0], .output = place->folders[1], .temp = place->folders[2],
                                      .user = apart ? owner : NULL, .version = o->version, .test_nodes = o->test_nodes, .no_metadata = o->no_metadata };
    return (!o->places || model_places_add_all(&place->models, o->places, e)) && model_places_add_output(&place->models, place->folders[1], e);
}

void runner_place_release(struct runner_place *place)
{
    model_places_release(&place->models);
}

/* --- events --- */

struct telling {
    struct runner *runner;
    struct job_run *run;
};

static void on_message(void *self, const char *type, const json_t *data)
{
    const struct telling *t = self;
    job_run_event(t->run, type, json_deep_copy(data)); /* the receiver may keep it */
}

static void on_line(void *self, const char *text)
{
    const struct telling *t = self;
    if (t->runner->o.line)
        t->runner->o.line(t->runner->o.self, text);
}

static void on_picture(void *self, const char *node_id, const char *display_id, const struct image *image, bool whole)
{
    const struct telling *t = self;
    const struct runner_options *o = &t->runner->o;
    struct err ignored = { 0 };
    uint8_t *picture = NULL;
    size_t bytes = 0;
    if (!o->watched || !o->watched(o->self, job_run_client(t->run)))
        return;
    bool good = whole ? image_encode_png(image, NULL, 0, &picture, &bytes, &ignored)
                      : image_encode_for_web(image, IMAGE_JPEG, PREVIEW_QUALITY, &picture, &bytes, &ignored);
    json_t *j = json_pack("{s:s,s:s,s:s,s:n,s:s,s:s}", "node_id", node_id, "prompt_id", job_run_id(t->run), "display_node_id", display_id,
                          "parent_node_id", "real_node_id", node_id, "image_type", whole ? "image/png" : "image/jpeg");
    struct text all;
    text_init(&all, RESULT_MAX_BYTES);
    if (good && j) {
        struct text words;
        text_init(&words, 1 << 16);
        flow_json_text(&words, j);
        unsigned char length[4] = { (unsigned char)(words.length >> 24), (unsigned char)(words.length >> 16), (unsigned char)(words.length >> 8),
                                    (unsigned char)words.length };
        text_add_bytes(&all, length, 4);
        text_add_bytes(&all, text_string(&words), words.length);
        text_add_bytes(&all, picture, bytes);
        if (text_ok(&words, &ignored) && text_ok(&all, &ignored))
            job_run_bytes(t->run, whole ? RUNNER_PICTURE : RUNNER_PREVIEW, all.s, all.length);
        text_release(&words);
    }
    text_release(&all);
    json_decref(j);
    mem_free(picture);
}

bool runner_picture_split(const void *bytes, size_t count, const char **metadata, size_t *metadata_bytes, const void **picture, size_t *picture_bytes)
{
    const unsigned char *p = bytes;
    if (count < 4)
        return false;
    size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (n > count - 4)
        return false;
    *metadata = (const char *)p + 4;
    *metadata_bytes = n;
    *picture = p + 4 + n;
    *picture_bytes = count - 4 - n;
    return true;
}

/* --- the result --- */

/* One picture of the output folder into the gallery; what is no picture is left out. */
static bool keep_one(struct runner *r, struct job_run *run, const char *path, const json_t *flow, const struct flow_host *host, struct err *e)
{
    struct kept kept;
    struct origin_texts texts;
    struct err unread = { 0 };
    char *data;
    size_t bytes;
    if (!file_read(path, IMAGE_FILE_MAX_BYTES, &data, &bytes, &unread))
        return true; /* it was taken away already */
    bool good = true;
    if (kept_read(&kept, data, bytes, path_name(path), &unread)) {
        kept.facts.hash = kept.hash;
        kept.facts.type = kept.type;
        kept.facts.source = "job";
        good = origins_add(r->origins, &kept.facts, flow, host, &texts, e) &&
               picture_file_put(r->o.gallery, data, bytes, kept.type, kept.hash, e) && job_run_picture(run, &kept.facts, e);
        kept_release(&kept);
    }
    mem_free(data);
    return good;
}

static bool keep_pictures(struct runner *r, struct job_run *run, const json_t *flow, const json_t *outputs, const struct flow_host *host, struct err *e)
{
    const char *id;
    json_t *ui, *file;
    size_t i;
    if (!r->o.gallery)
        return true;
    json_object_foreach((json_t *)outputs, id, ui) {
        json_array_foreach(json_object_get(ui, "images"), i, file) {
            const char *name = json_string_value(json_object_get(file, "filename")), *type = json_string_value(json_object_get(file, "type"));
            const char *subfolder = json_string_value(json_object_get(file, "subfolder"));
            char folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
            if (!name || !type || strcmp(type, "output"))
                continue;
            if (!path_below(folder, host->output, subfolder ? subfolder : "", e) || !path_below(path, folder, name, e) || !keep_one(r, run, path, flow, host, e))
                return err_add(e, "keeping %s", name);
        }
    }
    return true;
}

static bool as_text(struct text *t, const json_t *j, struct err *e)
{
    text_init(t, RESULT_MAX_BYTES);
    flow_json_text(t, j);
    return text_ok(t, e);
}

static bool store_result(struct job_run *run, const struct flow_result *result, struct err *e)
{
    struct text outputs = { 0 }, meta = { 0 }, messages = { 0 }, error = { 0 };
    bool failed = result->end == FLOW_ERROR;
    bool good = as_text(&outputs, result->outputs, e) && as_text(&meta, result->meta, e) && as_text(&messages, result->messages, e) &&
                (!failed || as_text(&error, result->last_data, e)) &&
                job_run_result(run, text_string(&outputs), text_string(&meta), text_string(&messages), failed ? text_string(&error) : NULL, e);
    text_release(&outputs);
    text_release(&meta);
    text_release(&messages);
    text_release(&error);
    return good;
}

/* Whether the job is completed, by how its flow ended. */
static bool verdict(const struct flow_result *result, struct err *e)
{
    const char *what = json_string_value(json_object_get(result->last_data, "exception_message"));
    switch (result->end) {
    case FLOW_SUCCESS: return true;
    case FLOW_INTERRUPTED: return err_set(e, ERR_STOPPED, "interrupted");
    case FLOW_ERROR: break;
    }
    return err_set(e, ERR_BACKEND, "%.900s", what ? what : "the flow failed");
}

/* The flow ran, but what it made cannot be kept (a full disk): the result is an error. */
static void fail(struct flow_result *result, const char *id, const struct err *why)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *data = json_pack("{s:s,s:s,s:s,s:[],s:s,s:s,s:[],s:{},s:[],s:I}", "prompt_id", id, "node_id", "", "node_type", "", "executed", "exception_message",
                             why->text, "exception_type", "OSError", "traceback", "current_inputs", "current_outputs", "timestamp",
                             (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    json_t *message = data ? json_pack("[s,O]", "execution_error", data) : NULL;
    size_t last = json_array_size(result->messages);
    if (message && last && !json_array_set_new(result->messages, last - 1, message)) {
        result->end = FLOW_ERROR;
        result->last_type = "execution_error";
        result->last_data = data; /* the list holds it, too */
    }
    json_decref(data);
}

static const char *name_before(void *self, const char *key)
{
    return job_run_file_before(self, key);
}

static void name_taken(void *self, const char *key, const char *path)
{
    job_run_file(self, key, path);
}

static bool run_at(const struct runner_place *place, struct runner *r, struct job_run *run, const json_t *flow, const json_t *outputs, const json_t *extra, struct err *e)
{
    struct flow_result result;
    struct telling telling = { r, run };
    struct seat *seat = take_seat(r, e);
    if (!seat)
        return false;
    const struct flow_run_options options = {
        .host = &place->host, .prompt_id = job_run_id(run), .extra_data = extra,
        .events = { .message = on_message, .picture = on_picture, .line = on_line, .self = &telling }, .cancel = job_run_stop(run),
        .preview_side = r->o.preview_side,
    };
    bool good = flow_run(seat->engine, flow, outputs, &options, &result, e);
    if (good) {
        struct err unkept = { 0 };
        if (!keep_pictures(r, run, flow, result.outputs, &place->host, &unkept))
            fail(&result, job_run_id(run), &unkept);
        good = store_result(run, &result, e) && verdict(&result, e);
        job_run_event_at_end(run, result.last_type, json_deep_copy(result.last_data), true);
        flow_result_release(&result);
    }
    leave_seat(r, seat);
    return good;
}

static bool run_flow(struct runner *r, struct job_run *run, const json_t *flow, const json_t *outputs, const json_t *extra, struct err *e)
{
    struct runner_place place;
    bool good = runner_place_init(&place, &r->o, job_run_owner(run), e);
    if (good)
        place.host.names = (struct flow_names){ job_run_id(run), job_run_attempt(run) > 1, name_before, name_taken, run };
    good = good && run_at(&place, r, run, flow, outputs, extra, e);
    runner_place_release(&place);
    return good;
}

static json_t *parse(const char *text, const char *what, struct err *e)
{
    return flow_json_parse(text, strlen(text), what, e);
}

bool runner_run(void *self, struct job_run *run, struct err *e)
{
    struct runner *r = self;
    json_t *flow = parse(job_run_prompt(run), "the job's flow", e);
    json_t *extra = flow ? parse(job_run_extra(run), "the job's extra_data", e) : NULL;
    json_t *targets = extra ? parse(job_run_targets(run), "the job's targets", e) : NULL;
    bool good = targets && run_flow(r, run, flow, targets, extra, e);
    json_t *end = json_pack("{s:n,s:n,s:s}", "node", "display_node", "prompt_id", job_run_id(run));
    if (end)
        job_run_event_at_end(run, "executing", end, false);
    json_decref(flow);
    json_decref(extra);
    json_decref(targets);
    return good;
}
