#include "serve/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { BUFFER = 16384, IDLE_SECONDS = 300, STACK_BYTES = 256 << 10 };

/* One connection: bytes of the outside wait in `in` for the server, the server's in `out` for the outside. */
struct passage {
    struct passage *before, *next;
    struct tls *tls;
    int outer, inner; /* -1: not yet */
    int inner_port;
    char peer[48];
    SSL *ssl;
    struct buffer {
        char data[BUFFER];
        size_t begin, end;
        bool eof;
    } in, out;
};
/* lock guards the list, and that descriptors of its passages are open. */
struct tls {
    struct tls_options o;
    SSL_CTX *context;
    int listener, port;
    pthread_t accepting;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct passage *first;
    int count;
    bool stop;
};

bool tls_peer(struct tls *t, int inner_port, char out[48])
{
    bool found = false;
    pthread_mutex_lock(&t->lock);
    for (struct passage *p = t->first; p && !found; p = p->next)
        if (p->inner_port == inner_port) {
            memcpy(out, p->peer, sizeof p->peer);
            found = true;
        }
    pthread_mutex_unlock(&t->lock);
    return found;
}

int tls_port(const struct tls *t)
{
    return t->port;
}

/* Waits for what OpenSSL wants of the outer side. */
static bool wait_for(struct passage *p, int result, double until)
{
    int why = SSL_get_error(p->ssl, result);
    struct pollfd f = { .fd = p->outer, .events = why == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN };
    int ms = (int)(1000 * (until - clock_seconds()));
    return (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) && ms > 0 && poll(&f, 1, ms) > 0;
}

static bool shake_hands(struct passage *p)
{
    double until = clock_seconds() + p->tls->o.seconds;
    int result;
    if (!(p->ssl = SSL_new(p->tls->context)) || !SSL_set_fd(p->ssl, p->outer))
        return false;
    while ((result = SSL_accept(p->ssl)) != 1)
        if (!wait_for(p, result, until))
            return false;
    return true;
}

/* A connection to the server, which is told apart by its port. */
static bool reach_server(struct passage *p)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)p->tls->o.inner_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, mine;
    socklen_t bytes = sizeof mine;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (s < 0 || bind(s, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, sizeof to) ||
        getsockname(s, (struct sockaddr *)&mine, &bytes)) {
        if (s >= 0)
            close(s);
        return false;
    }
    pthread_mutex_lock(&p->tls->lock);
    p->inner = s;
    p->inner_port = ntohs(mine.sin_port); /* before the server can ask */
    pthread_mutex_unlock(&p->tls->lock);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return !connect(s, (struct sockaddr *)&to, sizeof to) && !fcntl(s, F_SETFL, O_NONBLOCK);
}

/* What a step did. */
enum step { STEP_DONE, STEP_WAITS, STEP_ENDS };

/* Fills an empty buffer from one side. */
static enum step fill(struct buffer *b, ssize_t n, bool waits)
{
    if (n > 0) {
        b->begin = 0;
        b->end = (size_t)n;
        return STEP_DONE;
    }
    if (n == 0) {
        b->eof = true;
        return STEP_DONE;
    }
    return waits ? STEP_WAITS : STEP_ENDS;
}

static enum step drain(struct buffer *b, ssize_t n, bool waits)
{
    if (n > 0) {
        b->begin += (size_t)n;
        return STEP_DONE;
    }
    return waits ? STEP_WAITS : STEP_ENDS;
}

static bool ssl_waits(struct passage *p, int result, short *events)
{
    int why = SSL_get_error(p->ssl, result);
    *events |= why == SSL_ERROR_WANT_READ ? POLLIN : why == SSL_ERROR_WANT_WRITE ? POLLOUT : 0;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

/* Reads or writes each side once where there is room or something to say. False: the passage ends. */
static bool step(struct passage *p, bool *moved, short *outer, short *inner)
{
    enum step s = STEP_WAITS;
    *moved = false;
    *outer = *inner = 0;
    if (p->in.begin == p->in.end && !p->in.eof) {
        int n = SSL_read(p->ssl, p->in.data, BUFFER);
        bool end = n <= 0 && SSL_get_error(p->ssl, n) == SSL_ERROR_ZERO_RETURN;
        s = fill(&p->in, end ? 0 : n > 0 ? n : -1, n <= 0 && !end && ssl_waits(p, n, outer));
        if (p->in.eof)
            shutdown(p->inner, SHUT_WR);
        *moved |= s == STEP_DONE;
    }
    if (s != STEP_ENDS && p->in.begin < p->in.end) {
        ssize_t n = send(p->inner, p->in.data + p->in.begin, p->in.end - p->in.begin, MSG_NOSIGNAL);
        s = drain(&p->in, n, n < 0 && (errno == EAGAIN || errno == EINTR));
        *inner |= s == STEP_WAITS ? POLLOUT : 0;
        *moved |= s == STEP_DONE;
    }
    if (s != STEP_ENDS && p->out.begin == p->out.end && !p->out.eof) {
        ssize_t n = recv(p->inner, p->out.data, BUFFER, 0);
        s = fill(&p->out, n, n < 0 && (errno == EAGAIN || errno == EINTR));
        *inner |= s == STEP_WAITS ? POLLIN : 0;
        *moved |= s == STEP_DONE;
    }
    if (s != STEP_ENDS && p->out.begin < p->out.end) {
        int n = SSL_write(p->ssl, p->out.data + p->out.begin, (int)(p->out.end - p->out.begin));
        s = drain(&p->out, n, n <= 0 && ssl_waits(p, n, outer));
        *moved |= s == STEP_DONE;
    }
    return s != STEP_ENDS && !(p->out.eof && p->out.begin == p->out.end);
}

static void carry(struct passage *p)
{
    bool moved;
    short outer, inner;
    while (step(p, &moved, &outer, &inner)) {
        struct pollfd f[2] = { { .fd = p->outer, .events = outer }, { .fd = p->inner, .events = inner } };
        if (!moved && poll(f, 2, IDLE_SECONDS * 1000) <= 0)
            return;
    }
    SSL_shutdown(p->ssl);
}

static void *pass(void *self)
{
    struct passage *p = self;
    struct tls *t = p->tls;
    if (shake_hands(p) && reach_server(p))
        carry(p);
    ERR_clear_error();
    SSL_free(p->ssl);
    pthread_mutex_lock(&t->lock);
    if (p->before)
        p->before->next = p->next;
    else
        t->first = p->next;
    if (p->next)
        p->next->before = p->before;
    close(p->outer);
    if (p->inner >= 0)
        close(p->inner);
    t->count--;
    pthread_cond_signal(&t->ended);
    pthread_mutex_unlock(&t->lock);
    mem_free(p);
    return NULL;
}

/* Takes the descriptor in any case. */
static void open_passage(struct tls *t, int outer, const struct sockaddr_in *from)
{
    struct passage *p = mem_zeroed(1, sizeof *p);
    pthread_attr_t attributes;
    pthread_t thread;
    bool started = false;
    if (p) {
        *p = (struct passage){ .tls = t, .outer = outer, .inner = -1 };
        inet_ntop(AF_INET, &from->sin_addr, p->peer, sizeof p->peer);
        int one = 1;
        setsockopt(outer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_mutex_lock(&t->lock);
        if (t->count < t->o.connections && !t->stop && !fcntl(outer, F_SETFL, O_NONBLOCK) && !pthread_create(&thread, &attributes, pass, p)) {
            started = true;
            p->next = t->first;
            if (p->next)
                p->next->before = p;
            t->first = p;
            t->count++;
        }
        pthread_mutex_unlock(&t->lock);
        pthread_attr_destroy(&attributes);
    }
    if (!started) {
        mem_free(p);
        close(outer);
    }
}

static void *accept_all(void *self)
{
    struct tls *t = self;
    for (;;) {
        struct sockaddr_in from;
        socklen_t bytes = sizeof from;
        int s = accept4(t->listener, (struct sockaddr *)&from, &bytes, SOCK_CLOEXEC);
        if (s >= 0) {
            open_passage(t, s, &from);
            continue;
        }
        if (errno == EINVAL || errno == EBADF) /* it was shut down */
            return NULL;
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
}

static bool ssl_refuses(struct err *e, const char *what, const char *path)
{
    char reason[200];
    ERR_error_string_n(ERR_peek_error(), reason, sizeof reason);
    ERR_clear_error();
    return err_set(e, ERR_ARG, "%s %s cannot be used (PEM is wanted): %s", what, path, reason);
}

static bool make_context(struct tls *t, struct err *e)
{
    t->context = SSL_CTX_new(TLS_server_method());
    if (!t->context)
        return err_nomem(e, "TLS");
    SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION);
    SSL_CTX_set_options(t->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(t->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_use_certificate_chain_file(t->context, t->o.certificate) != 1)
        return ssl_refuses(e, "the certificate", t->o.certificate);
    if (SSL_CTX_use_PrivateKey_file(t->context, t->o.key, SSL_FILETYPE_PEM) != 1)
        return ssl_refuses(e, "the key", t->o.key);
    return SSL_CTX_check_private_key(t->context) == 1 || err_set(e, ERR_ARG, "%s is not the key of %s", t->o.key, t->o.certificate);
}

static bool listen_here(struct tls *t, struct err *e)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((uint16_t)t->o.port) };
    socklen_t bytes = sizeof here;
    int one = 1;
    if (inet_pton(AF_INET, t->o.listen, &here.sin_addr) != 1)
        return err_set(e, ERR_ARG, "%s is no IPv4 address", t->o.listen);
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (t->listener < 0 || setsockopt(t->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) || bind(t->listener, (struct sockaddr *)&here, sizeof here) ||
        listen(t->listener, 512) || getsockname(t->listener, (struct sockaddr *)&here, &bytes))
        return err_errno(e, "cannot listen on %s:%d; --port takes another one", t->o.listen, t->o.port);
    t->port = ntohs(here.sin_port);
    return true;
}

struct tls *tls_start(const struct tls_options *options, struct err *e)
{
    struct tls *t = mem_zeroed(1, sizeof *t);
    if (!t) {
        err_nomem(e, "TLS");
        return NULL;
    }
    t->o = *options;
    t->listener = -1;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->ended, NULL);
    if (make_context(t, e) && listen_here(t, e)) {
        if (!pthread_create(&t->accepting, NULL, accept_all, t))
            return t;
        err_set(e, ERR_NOMEM, "no thread can be started for TLS");
    }
    if (t->listener >= 0)
        close(t->listener);
    SSL_CTX_free(t->context);
    mem_free(t);
    return NULL;
}

void tls_stop(struct tls *t)
{
    if (!t)
        return;
    shutdown(t->listener, SHUT_RDWR);
    pthread_join(t->accepting, NULL);
    close(t->listener);
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    for (struct passage *p = t->first; p; p = p->next) {
        shutdown(p->outer, SHUT_RDWR);
        if (p->inner >= 0)
            shutdown(p->inner, SHUT_RDWR);
    }
    while (t->count)
        pthread_cond_wait(&t->ended, &t->lock);
    pthread_mutex_unlock(&t->lock);
    pthread_cond_destroy(&t->ended);
    pthread_mutex_destroy(&t->lock);
    SSL_CTX_free(t->context);
    mem_free(t);
}
