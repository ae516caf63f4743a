#include "serve/helper.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/mem.h"

enum { STACK_BYTES = 1 << 20 };

struct helper {
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    pthread_t thread;
    bool started, stop;
    void (*work)(void *self); /* NULL: nothing to do */
    void *self;
};

struct helper *helper_new(void)
{
    struct helper *h = mem_zeroed(1, sizeof *h);
    if (!h)
        return NULL;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    pthread_cond_init(&h->done, NULL);
    return h;
}

void helper_free(struct helper *h)
{
    if (!h)
        return;
    if (h->started) {
        pthread_mutex_lock(&h->lock);
        h->stop = true;
        pthread_cond_signal(&h->wake);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->thread, NULL);
    }
    pthread_cond_destroy(&h->wake);
    pthread_cond_destroy(&h->done);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

static void *help(void *self)
{
    struct helper *h = self;
    pthread_mutex_lock(&h->lock);
    while (!h->stop) {
        if (h->work) {
            pthread_mutex_unlock(&h->lock);
            h->work(h->self);
            pthread_mutex_lock(&h->lock);
            h->work = NULL;
            pthread_cond_signal(&h->done);
        } else {
            pthread_cond_wait(&h->wake, &h->lock);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

_Bool helper_do(struct helper *h, void (*work)(void *self), void *self)
{
    if (!h->started) {
        pthread_attr_t roomy;
        pthread_attr_init(&roomy);
        pthread_attr_setstacksize(&roomy, STACK_BYTES);
        h->started = !pthread_create(&h->thread, &roomy, help, h);
        pthread_attr_destroy(&roomy);
        if (!h->started)
            return false;
    }
    pthread_mutex_lock(&h->lock);
    h->work = work;
    h->self = self;
    pthread_cond_signal(&h->wake);
    while (h->work)
        pthread_cond_wait(&h->done, &h->lock);
    pthread_mutex_unlock(&h->lock);
    return true;
}
