#include "serve/connections.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"

struct connection {
    struct connection *before, *next;
    struct sockaddr_in peer;
    double deadline;  /* of clock_seconds; INFINITY: none */
    bool owned;       /* a head came, so connection_close will be called */
    bool seen, cut;
};

/* lock guards the list and everything in it. */
struct connections {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t watcher;
    struct connection *first;
    size_t count, cut;
    int seconds, port;
    bool stop;
};

/* --- the list, under the lock --- */

static struct connection *find(struct connections *all, const struct sockaddr_in *peer)
{
    struct connection *c = all->first;
    while (c && (c->peer.sin_port != peer->sin_port || c->peer.sin_addr.s_addr != peer->sin_addr.s_addr))
        c = c->next;
    return c;
}

static struct connection *add(struct connections *all, const struct sockaddr_in *peer)
{
    struct connection *c = mem_zeroed(1, sizeof *c);
    if (!c)
        return NULL;
    c->peer = *peer;
    c->deadline = clock_seconds() + all->seconds;
    c->next = all->first;
    if (c->next)
        c->next->before = c;
    all->first = c;
    all->count++;
    return c;
}

static void take_out(struct connections *all, struct connection *c)
{
    if (c->before)
        c->before->next = c->next;
    else
        all->first = c->next;
    if (c->next)
        c->next->before = c->before;
    all->count--;
    mem_free(c);
}

/* Goes through the open descriptors, since civetweb tells neither them nor who has connected before a head has come. Those of our
 * port are noted as seen; the one of `wanted` (may be NULL) is shut down. */
static void look(struct connections *all, const struct sockaddr_in *wanted)
{
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        struct sockaddr_in here, there;
        socklen_t here_bytes = sizeof here, there_bytes = sizeof there;
        int fd = atoi(entry->d_name);
        if (fd < 3 || getsockname(fd, (struct sockaddr *)&here, &here_bytes) || here.sin_family != AF_INET ||
            ntohs(here.sin_port) != all->port || getpeername(fd, (struct sockaddr *)&there, &there_bytes) || there.sin_family != AF_INET)
            continue;
        if (wanted) {
            if (there.sin_port == wanted->sin_port && there.sin_addr.s_addr == wanted->sin_addr.s_addr)
                shutdown(fd, SHUT_RDWR);
            continue;
        }
        struct connection *c = find(all, &there);
        c = c ? c : add(all, &there);
        if (c)
            c->seen = true;
    }
    closedir(d);
}

static void watch_once(struct connections *all)
{
    for (struct connection *c = all->first; c; c = c->next)
        c->seen = false;
    look(all, NULL);
    double now = clock_seconds();
    for (struct connection *c = all->first, *next; c; c = next) {
        next = c->next;
        if (!c->seen && !c->owned) {
            take_out(all, c);
        } else if (now > c->deadline && !c->cut) {
            c->cut = true;
            all->cut++;
            look(all, &c->peer);
        }
    }
}

static void *watch(void *self)
{
    struct connections *all = self;
    pthread_mutex_lock(&all->lock);
    while (!all->stop) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 500000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&all->wake, &all->lock, &until);
        if (all->port && !all->stop)
            watch_once(all);
    }
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

struct connections *connections_new(int seconds, struct err *e)
{
    struct connections *all = mem_zeroed(1, sizeof *all);
    if (!all) {
        err_nomem(e, "the list of connections");
        return NULL;
    }
    all->seconds = seconds;
    pthread_mutex_init(&all->lock, NULL);
    pthread_cond_init(&all->wake, NULL);
    if (pthread_create(&all->watcher, NULL, watch, all)) {
        err_set(e, ERR_NOMEM, "no thread can be started to watch over connections");
        mem_free(all);
        return NULL;
    }
    return all;
}

void connections_free(struct connections *all)
{
    if (!all)
        return;
    pthread_mutex_lock(&all->lock);
    all->stop = true;
    pthread_cond_signal(&all->wake);
    pthread_mutex_unlock(&all->lock);
    pthread_join(all->watcher, NULL);
    while (all->first)
        take_out(all, all->first);
    pthread_cond_destroy(&all->wake);
    pthread_mutex_destroy(&all->lock);
    mem_free(all);
}

void connections_of_port(struct connections *all, int port)
{
    pthread_mutex_lock(&all->lock);
    all->port = port;
    pthread_mutex_unlock(&all->lock);
}

struct connection *connection_open(struct connections *all, const char *address, int port)
{
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    if (inet_pton(AF_INET, address, &peer.sin_addr) != 1)
        return NULL;
    pthread_mutex_lock(&all->lock);
    struct connection *c = find(all, &peer);
    c = c ? c : add(all, &peer);
    if (c)
        c->owned = true;
    pthread_mutex_unlock(&all->lock);
    return c;
}

void connection_close(struct connections *all, struct connection *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&all->lock);
    take_out(all, c);
    pthread_mutex_unlock(&all->lock);
}

void connection_stage(struct connections *all, struct connection *c, enum connection_stage stage, int64_t bytes)
{
    if (!c)
        return;
    pthread_mutex_lock(&all->lock);
    bool free = stage == CONNECTION_WORK || stage == CONNECTION_SOCKET;
    c->deadline = free ? INFINITY : clock_seconds() + all->seconds + (double)bytes / CONNECTION_LEAST_BYTES;
    pthread_mutex_unlock(&all->lock);
}

void connection_cut(struct connections *all, struct connection *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&all->lock);
    if (!c->cut) {
        c->cut = true;
        look(all, &c->peer);
    }
    pthread_mutex_unlock(&all->lock);
}

size_t connections_count(struct connections *all)
{
    pthread_mutex_lock(&all->lock);
    size_t n = all->count;
    pthread_mutex_unlock(&all->lock);
    return n;
}

size_t connections_cut(struct connections *all)
{
    pthread_mutex_lock(&all->lock);
    size_t n = all->cut;
    pthread_mutex_unlock(&all->lock);
    return n;
}
