/* A small client of HTTP and WebSocket for tests: it can also send what no good client would. 127.0.0.1 only. */
#ifndef LIMN_TESTS_SERVE_CLIENT_H
#define LIMN_TESTS_SERVE_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Connects; reads of it give up after so many seconds. */
int client_connect(int port, int seconds);
bool client_send(int s, const void *data, size_t bytes);
/* What comes until the other side closes or the time is over, at most cap - 1 bytes, with a 0 behind. *closed: whether it closed. */
size_t client_read_all(int s, char *out, size_t cap, bool *closed);

/* An answer. Release with answer_release. */
struct answer {
    int status; /* 0: none came */
    char *all, *head, *body; /* one block; head ends with its empty line */
    size_t body_bytes;
};
/* method, path with query, more header lines ("" or "A: b\r\n"), body (may be NULL). */
struct answer ask_full(int port, const char *method, const char *path, const char *headers, const void *body, size_t bytes);
void answer_release(struct answer *a);
/* The value of a header into out; false if it is not there. */
bool answer_header(const struct answer *a, const char *name, char *out, size_t cap);

/* The body as JSON of GET, and of POST with a text; fails the test where the status is another. The caller drops it. */
json_t *get_json(int port, const char *path, int status);
json_t *post_json(int port, const char *path, const char *text, int status);
/* The status alone. */
int status_of(int port, const char *method, const char *path, const char *headers, const char *body);

/* A WebSocket; -1: refused, with *status. */
int ws_connect(int port, const char *path, const char *headers, int *status);
/* The next text or binary message (pings are answered); its opcode, 0 where the time is over, 8 at a close or the end. out has a 0 behind. */
int ws_read(int s, char *out, size_t cap, size_t *bytes);
bool ws_send(int s, int opcode, const char *data, size_t bytes);
/* The next text message of a type; what comes before is left out. NULL: none came. The caller drops it. */
json_t *ws_wait(int s, const char *type);

#endif
