#include "serve/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"

struct serve_log {
    pthread_mutex_t lock; /* of all that follows */
    bool quiet;
    void (*told)(void *self, const json_t *entry);
    void *self;
    size_t next, count;
    struct {
        char time[24], text[LOG_LINE_BYTES];
    } lines[LOG_LINES];
};

struct serve_log *serve_log_new(bool quiet, void (*told)(void *self, const json_t *entry), void *self, struct err *e)
{
    struct serve_log *l = mem_zeroed(1, sizeof *l);
    if (!l) {
        err_nomem(e, "the log");
        return NULL;
    }
    pthread_mutex_init(&l->lock, NULL);
    l->quiet = quiet;
    l->told = told;
    l->self = self;
    return l;
}

void serve_log_free(struct serve_log *l)
{
    if (l)
        pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

static json_t *entry(const char *time, const char *text)
{
    return json_pack("{s:s,s:s+}", "t", time, "m", text, "\n");
}

static void make_plain(char *text)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 32 && *c != '\t')
            *c = ' '; /* what came from outside ends no line and moves no cursor */
    while (!utf8_valid(text, strlen(text)))
        text[strlen(text) - 1] = 0;
}

void serve_log_aside(struct serve_log *l, const char *line)
{
    char text[LOG_LINE_BYTES];
    snprintf(text, sizeof text, "%s", line);
    make_plain(text);
    pthread_mutex_lock(&l->lock);
    if (!l->quiet)
        fprintf(stderr, "%s\n", text);
    pthread_mutex_unlock(&l->lock);
}

void serve_log_line(struct serve_log *l, const char *format, ...)
{
    char text[LOG_LINE_BYTES], time[24];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_plain(text);
    clock_utc(time);
    pthread_mutex_lock(&l->lock);
    snprintf(l->lines[l->next].time, sizeof l->lines[0].time, "%s", time);
    snprintf(l->lines[l->next].text, sizeof l->lines[0].text, "%s", text);
    l->next = (l->next + 1) % LOG_LINES;
    l->count += l->count < LOG_LINES;
    if (!l->quiet)
        fprintf(stderr, "%s\n", text);
    pthread_mutex_unlock(&l->lock);
    json_t *j = l->told ? entry(time, text) : NULL;
    if (j)
        l->told(l->self, j);
    json_decref(j);
}

json_t *serve_log_entries(struct serve_log *l, struct err *e)
{
    json_t *all = json_array();
    bool good = all != NULL;
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->count && good; i++) {
        size_t at = (l->next + LOG_LINES - l->count + i) % LOG_LINES;
        good = !json_array_append_new(all, entry(l->lines[at].time, l->lines[at].text));
    }
    pthread_mutex_unlock(&l->lock);
    if (!good) {
        err_nomem(e, "the log");
        json_decref(all);
        return NULL;
    }
    return all;
}
