/* From the queue's events to the sockets' messages, and what a socket that comes late is told. */
#ifndef LIMN_SERVE_EVENTS_H
#define LIMN_SERVE_EVENTS_H

#include "jobs/queue.h"
#include "serve/sockets.h"

struct events;
/* sockets is borrowed. */
MUST_USE struct events *events_new(struct sockets *sockets, struct err *e);
void events_free(struct events *v); /* accepts NULL */

/* A queue_listener (self: the struct events). */
void events_listen(void *self, const struct queue_event *event);
/* The last number of jobs that was told of. */
int64_t events_remaining(struct events *v);
/* Whether the database or the disk refuses. */
bool events_fault(struct events *v);
/* The data of a "status" message, for a socket of this id (NULL: without one): {"status": {"exec_info": {"queue_remaining"}, "fault": text,
 * while there is one}, "sid"}. A new reference, NULL without memory. */
json_t *events_status(struct events *v, const char *id);
/* Waits until something is told, or so many milliseconds. */
void events_wait(struct events *v, int ms);
/* Steps of the node that runs (of several jobs: of one of them), of an owner's job; NULL: of anybody's. False: nothing runs; then all are 0. */
bool events_progress(struct events *v, const char *owner, char job[JOB_ID_MOST_BYTES + 1], int64_t *value, int64_t *total);
/* {"type": "executing", ...} of what runs for this client of the owner (NULL: of anybody), as text into out; "" if nothing does. */
void events_running(struct events *v, const char *owner, const char *client, char *out, size_t cap);

#endif
