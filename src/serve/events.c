#include "serve/events.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "serve/http.h"
#include "serve/json_io.h"
#include "serve/runner.h"

enum { MOST_RUNNING = 64, NODE_BYTES = 200 };

/* Which node runs of which job, for clients that connect again meanwhile. lock guards all of it. */
struct events {
    struct sockets *sockets;
    pthread_mutex_t lock;
    pthread_cond_t told;
    int64_t remaining;
    char fault[1000]; /* "": none */
    struct running {
        char job[JOB_ID_MOST_BYTES + 1], client[SOCKET_ID_BYTES], owner[USER_ID_BYTES], node[NODE_BYTES], display[NODE_BYTES];
        int64_t value, total; /* steps of the node */
    } running[MOST_RUNNING];
};

struct events *events_new(struct sockets *sockets, struct err *e)
{
    struct events *v = mem_zeroed(1, sizeof *v);
    if (!v) {
        err_nomem(e, "the events of jobs");
        return NULL;
    }
    v->sockets = sockets;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->told, NULL);
    return v;
}

void events_free(struct events *v)
{
    if (v) {
        pthread_cond_destroy(&v->told);
        pthread_mutex_destroy(&v->lock);
    }
    mem_free(v);
}

static struct running *running_of(struct events *v, const char *job)
{
    for (int i = 0; i < MOST_RUNNING; i++)
        if (!strcmp(v->running[i].job, job))
            return &v->running[i];
    return NULL;
}

static void note_steps(struct events *v, const struct queue_event *event)
{
    pthread_mutex_lock(&v->lock);
    struct running *mine = running_of(v, event->job);
    if (mine) {
        mine->value = json_integer_value(json_object_get(event->data, "value"));
        mine->total = json_integer_value(json_object_get(event->data, "max"));
    }
    pthread_mutex_unlock(&v->lock);
}

/* Notes the node that an "executing" message names; null: the job has ended. */
static void note(struct events *v, const struct queue_event *event)
{
    const char *node = json_string_value(json_object_get(event->data, "node"));
    const char *display = json_string_value(json_object_get(event->data, "display_node"));
    pthread_mutex_lock(&v->lock);
    struct running *mine = running_of(v, event->job);
    if (mine && !node) {
        memset(mine, 0, sizeof *mine);
    } else if (node && (mine = mine ? mine : running_of(v, "")) && strlen(node) < NODE_BYTES) {
        mine->value = mine->total = 0;
        snprintf(mine->job, sizeof mine->job, "%s", event->job);
        snprintf(mine->client, sizeof mine->client, "%s", event->client ? event->client : "");
        snprintf(mine->owner, sizeof mine->owner, "%s", event->owner ? event->owner : "");
        snprintf(mine->node, sizeof mine->node, "%s", node);
        snprintf(mine->display, sizeof mine->display, "%s", display ? display : node);
    }
    pthread_mutex_unlock(&v->lock);
}

/* Those who may hear of a job: its client, if it is its owner's. */
static struct audience audience_of(const struct queue_event *event)
{
    return (struct audience){ .client = event->client, .user = event->owner && *event->owner ? event->owner : NULL };
}

static void send_picture(struct events *v, const struct queue_event *event)
{
    const char *metadata;
    const void *picture;
    size_t metadata_bytes, picture_bytes;
    bool whole = !strcmp(event->type, RUNNER_PICTURE);
    if (!event->client || !runner_picture_split(event->bytes, event->byte_count, &metadata, &metadata_bytes, &picture, &picture_bytes))
        return;
    char *text = mem_zeroed(metadata_bytes + 1, 1);
    if (text)
        memcpy(text, metadata, metadata_bytes);
    /* a whole picture is the node's result: clients read it behind 8 bytes, whatever they have said of metadata */
    sockets_send_picture(v->sockets, audience_of(event), whole ? NULL : text, whole ? "image/png" : "image/jpeg",
                         picture, picture_bytes, !whole);
    mem_free(text);
}

void events_listen(void *self, const struct queue_event *event)
{
    struct events *v = self;
    struct audience to = audience_of(event);
    bool fault = !strcmp(event->type, "fault");
    if (fault || !strcmp(event->type, "status")) {
        const char *text = json_string_value(json_object_get(event->data, "message"));
        pthread_mutex_lock(&v->lock);
        if (fault)
            snprintf(v->fault, sizeof v->fault, "%s", text ? text : "");
        else
            v->remaining = event->remaining;
        pthread_cond_broadcast(&v->told);
        pthread_mutex_unlock(&v->lock);
        json_t *data = events_status(v, NULL);
        if (data)
            sockets_send(v->sockets, (struct audience){ 0 }, "status", data, false);
        json_decref(data);
        return;
    }
    if (event->bytes) {
        send_picture(v, event);
        return;
    }
    if (!event->data)
        return;
    if (!strcmp(event->type, "executing"))
        note(v, event);
    if (!strcmp(event->type, "progress"))
        note_steps(v, event);
    bool spare = !strcmp(event->type, "progress") || !strcmp(event->type, "progress_state");
    if (event->client || !strcmp(event->type, "execution_interrupted"))
        sockets_send(v->sockets, to, event->type, event->data, spare);
}

json_t *events_status(struct events *v, const char *id)
{
    pthread_mutex_lock(&v->lock);
    json_t *status = json_pack("{s:{s:I}}", "exec_info", "queue_remaining", (json_int_t)v->remaining);
    if (status && *v->fault) /* beside ComfyUI's own members */
        json_object_set_new(status, "fault", json_string(v->fault));
    pthread_mutex_unlock(&v->lock);
    json_t *data = status ? json_pack("{s:o}", "status", status) : NULL;
    if (data && id)
        json_object_set_new(data, "sid", json_string(id));
    return data;
}

bool events_fault(struct events *v)
{
    pthread_mutex_lock(&v->lock);
    bool fault = *v->fault != 0;
    pthread_mutex_unlock(&v->lock);
    return fault;
}

int64_t events_remaining(struct events *v)
{
    pthread_mutex_lock(&v->lock);
    int64_t n = v->remaining;
    pthread_mutex_unlock(&v->lock);
    return n;
}

void events_wait(struct events *v, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&v->lock);
    pthread_cond_timedwait(&v->told, &v->lock, &until);
    pthread_mutex_unlock(&v->lock);
}

bool events_progress(struct events *v, const char *owner, char job[JOB_ID_MOST_BYTES + 1], int64_t *value, int64_t *total)
{
    const struct running *one = NULL;
    *job = 0;
    *value = *total = 0;
    pthread_mutex_lock(&v->lock);
    for (int i = 0; i < MOST_RUNNING && !one; i++)
        if (*v->running[i].job && (!owner || !strcmp(v->running[i].owner, owner)))
            one = &v->running[i];
    if (one) {
        snprintf(job, JOB_ID_MOST_BYTES + 1, "%s", one->job);
        *value = one->value;
        *total = one->total;
    }
    pthread_mutex_unlock(&v->lock);
    return one != NULL;
}

void events_running(struct events *v, const char *owner, const char *client, char *out, size_t cap)
{
    json_t *data = NULL;
    *out = 0;
    pthread_mutex_lock(&v->lock);
    for (int i = 0; i < MOST_RUNNING && !data; i++) {
        const struct running *r = &v->running[i];
        if (*r->job && *client && !strcmp(r->client, client) && (!owner || !strcmp(r->owner, owner)))
            data = json_pack("{s:s,s:{s:s,s:s,s:s}}", "type", "executing", "data", "node", r->node, "display_node", r->display, "prompt_id", r->job);
    }
    pthread_mutex_unlock(&v->lock);
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    if (text && strlen(text) < cap)
        strcpy(out, text);
    free(text);
    json_decref(data);
}
