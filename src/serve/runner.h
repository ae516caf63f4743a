/* What a worker does with a job of the queue: reads its flow, runs it, tells of it, keeps its pictures. A server has one, and so has a
 * worker elsewhere (limn worker).
 *
 *     job (jobs/queue.h) -> flow_run (flow/run.h) -> events -> queue's listeners;  result -> history;  pictures -> gallery
 *
 * Threads: runner_run may be called by several workers; each run has an engine of its own, which is kept for the next. */
#ifndef LIMN_SERVE_RUNNER_H
#define LIMN_SERVE_RUNNER_H

#include "flow/run.h"
#include "jobs/queue.h"

struct runner_options {
    struct flow_engine_options engine;
    const struct model_places *places;        /* borrowed, as all that follows */
    const char *input, *output, *temp;        /* folders; with `users` those of user U are input/U and so on */
    const char *gallery;                      /* the gallery's folder; NULL: pictures are not kept there */
    const char *version;                      /* of the program, for a picture's record */
    bool users, test_nodes, no_metadata;
    int preview_side;                         /* as flow_run_options has it */
    /* Whether anyone looks at previews of this client; NULL: nobody. */
    bool (*watched)(void *self, const char *client);
    void (*line)(void *self, const char *text); /* a line for the log; NULL: nowhere */
    void *self;
};

struct runner;
MUST_USE struct runner *runner_new(const struct runner_options *options, struct err *e);
void runner_free(struct runner *r); /* accepts NULL; no run may be going on */

/* A job_runner (self: the runner). */
bool runner_run(void *self, struct job_run *run, struct err *e);
/* Where files and models of an owner ("" or NULL: all) are: `host` borrows from the rest. Models are those of all, and what lies in the
 * owner's output folder. */
struct runner_place {
    struct flow_host host;
    struct model_places models;
    char folders[3][PATH_MAX_BYTES];
};
/* To be released, also after a failure. */
MUST_USE bool runner_place_init(struct runner_place *place, const struct runner_options *o, const char *owner, struct err *e);
void runner_place_release(struct runner_place *place);
/* Where its pictures come from; borrowed. */
struct origins *runner_origins(const struct runner *r);
/* POST /free: models, or everything that is kept; engines that run do it when their run has ended. */
void runner_let_go(struct runner *r, bool results);

/* Bytes of a picture among a job's events (queue_event.bytes, type RUNNER_PREVIEW or RUNNER_PICTURE): u32 big-endian length of the
 * metadata, metadata (JSON), picture: a JPEG or, for RUNNER_PICTURE, a PNG. False: they are not that. */
#define RUNNER_PREVIEW "preview"
#define RUNNER_PICTURE "picture"
bool runner_picture_split(const void *bytes, size_t count, const char **metadata, size_t *metadata_bytes, const void **picture, size_t *picture_bytes);

#endif
