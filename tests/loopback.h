/* A server on the loopback for tests: one connection at a time, each answered by the test's function and then closed. */
#ifndef LIMN_TESTS_LOOPBACK_H
#define LIMN_TESTS_LOOPBACK_H

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

struct loopback {
    int socket, port;
    pthread_t thread;
    /* Called from the server's thread; path is what stands behind GET, request its whole head. */
    void (*answer)(void *self, int s, const char *path, const char *request);
    void *self;
};

static inline void loopback_put(int s, const void *data, size_t bytes)
{
    for (const char *at = data; bytes > 0;) {
        ssize_t n = send(s, at, bytes, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += n;
        bytes -= (size_t)n;
    }
}

/* more: further lines of the head, each with its "\r\n". */
static inline void loopback_put_head(int s, const char *status, size_t length, const char *more)
{
    char head[1024];
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", status, length, more);
    loopback_put(s, head, strlen(head));
}

static inline void loopback_put_text(int s, const char *status, const char *text, const char *more)
{
    loopback_put_head(s, status, strlen(text), more);
    loopback_put(s, text, strlen(text));
}

static inline void *loopback_run(void *self)
{
    struct loopback *v = self;
    int s;
    while ((s = accept(v->socket, NULL, NULL)) >= 0) {
        char request[8192] = "", path[512] = "";
        size_t have = 0;
        ssize_t n;
        while (have < sizeof request - 1 && !strstr(request, "\r\n\r\n") && (n = recv(s, request + have, sizeof request - 1 - have, 0)) > 0)
            request[have += (size_t)n] = 0;
        sscanf(request, "GET %511s", path);
        v->answer(v->self, s, path, request);
        shutdown(s, SHUT_RDWR);
        close(s);
    }
    return NULL;
}

static inline void loopback_begin(struct loopback *v, void (*answer)(void *self, int s, const char *path, const char *request), void *self)
{
    *v = (struct loopback){ .socket = socket(AF_INET, SOCK_STREAM, 0), .answer = answer, .self = self };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t bytes = sizeof a;
    CHECK(v->socket >= 0 && !bind(v->socket, (struct sockaddr *)&a, sizeof a) && !listen(v->socket, 16) &&
              !getsockname(v->socket, (struct sockaddr *)&a, &bytes), "%s", "a server");
    v->port = ntohs(a.sin_port);
    CHECK(!pthread_create(&v->thread, NULL, loopback_run, v), "%s", "a thread");
}

static inline void loopback_end(struct loopback *v)
{
    shutdown(v->socket, SHUT_RDWR);
    close(v->socket);
    pthread_join(v->thread, NULL);
}

#endif
