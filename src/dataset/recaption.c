#include "dataset/recaption.h"

#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { MOST_JOBS = 64, MOST_FAILED = 10, MOST_LINES = 20 };

struct captioner {
    struct manifest *m;
    const struct recaption_options *o;
    char *by; /* what is done, in words: equal for equal options */
    struct recaption_result *r;
    const struct progress *progress;
    int failed_in_a_row;
    struct err first_failure;
};

/* One picture in hand. */
struct caption_job {
    size_t picture;
    struct text answer; /* of the command */
    struct err why;
};

/* The options as a line of JSON, without what does not change a caption. */
static char *describe(const struct recaption_options *o)
{
    json_t *remove = json_array(), *replace = json_array();
    bool good = remove && replace;
    for (size_t i = 0; good && i < o->removes; i++)
        good = !json_array_append_new(remove, json_string(o->remove[i]));
    for (size_t i = 0; good && i < o->replaces; i++)
        good = !json_array_append_new(replace, json_string(o->replace[i]));
    json_t *all = good ? json_pack("{s:s*,s:s*,s:b,s:b,s:O,s:O,s:I,s:f,s:b,s:s*,s:s*,s:I}", "template", o->template, "command", o->command,
                                   "spaces", o->spaces, "unique", o->unique, "remove", remove, "replace", replace, "keep",
                                   (json_int_t)o->keep, "drop", o->drop, "shuffle", o->shuffle, "prefix", o->prefix, "suffix", o->suffix,
                                   "seed", (json_int_t)o->seed)
                       : NULL;
    char *text = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(all);
    json_decref(remove);
    json_decref(replace);
    return text;
}

/* The place of the last change of caption in a picture's history, or -1. */
static long last_change(const json_t *history)
{
    for (size_t i = json_array_size(history); i > 0; i--) {
        const char *op = json_string_value(json_object_get(json_array_get(history, i - 1), "op"));
        if (op && !strcmp(op, "caption"))
            return (long)i - 1;
    }
    return -1;
}

static bool is_done(const struct captioner *w, const json_t *object)
{
    const json_t *history = json_object_get(object, "history");
    long last = last_change(history);
    const char *by = last < 0 ? NULL : json_string_value(json_object_get(json_array_get(history, (size_t)last), "by"));
    return by && !strcmp(by, w->by);
}

static bool note_failure(struct captioner *w, const struct err *why, struct err *e)
{
    if (why->code == ERR_NOMEM || why->code == ERR_STOPPED)
        return err_set(e, why->code, "%s", why->text);
    if (w->r->failed++ < MOST_LINES)
        progress_line(w->progress, "%s", why->text);
    if (w->failed_in_a_row++ == 0)
        w->first_failure = *why;
    return w->failed_in_a_row < MOST_FAILED ||
           err_set(e, ERR_IO, "%d failed one behind the other, the first: %s", MOST_FAILED, w->first_failure.text);
}

/* What the source says, then the rules, into now. */
static bool make_caption(const struct captioner *w, const struct caption_job *job, const json_t *object, struct text *now, struct err *e)
{
    const struct manifest_picture *p = manifest_picture(w->m, job->picture);
    struct text source;
    text_init(&source, DATASET_MAX_TEXT_BYTES);
    bool good = true;
    if (w->o->template) {
        good = recaption_template(w->o->template, object, &source, e);
    } else if (w->o->command) {
        const char *answer = text_string(&job->answer), *from = answer + strspn(answer, " \t\r\n");
        size_t bytes = strlen(from);
        while (bytes && strchr(" \t\r\n", from[bytes - 1]))
            bytes--;
        if (strlen(answer) != job->answer.length || !utf8_valid(answer, job->answer.length))
            good = err_set(e, ERR_FORMAT, "%s: the answer is not UTF-8 text", p->file_name);
        text_add_bytes(&source, from, bytes);
    } else {
        text_add(&source, p->text);
    }
    good = good && text_ok(&source, e) &&
           recaption_rules(w->o, text_string(&source), *p->origin ? p->origin : *p->id ? p->id : p->file_name, now, e);
    text_release(&source);
    return good;
}

static bool finish(struct captioner *w, struct caption_job *job, bool dry_run,
                   void (*show)(void *self, const char *file_name, const char *was, const char *now), void *self, struct err *e)
{
    const struct manifest_picture *p = manifest_picture(w->m, job->picture);
    if (job->why.code)
        return note_failure(w, &job->why, e);
    json_t *object = manifest_object(w->m, job->picture, e);
    struct text now;
    struct err why = { 0 };
    text_init(&now, DATASET_MAX_TEXT_BYTES);
    if (!object)
        return false;
    bool good = make_caption(w, job, object, &now, &why), changes = good && strcmp(p->text, text_string(&now)) != 0;
    json_decref(object);
    if (!good) {
        text_release(&now);
        err_add(&why, "the caption of %s", p->file_name);
        return why.code == ERR_ARG ? err_set(e, ERR_ARG, "%s", why.text) : note_failure(w, &why, e);
    }
    w->failed_in_a_row = 0;
    changes ? w->r->changed++ : w->r->same++;
    if (changes && show)
        show(self, p->file_name, p->text, text_string(&now));
    if (!dry_run && (changes || w->o->command)) /* a command that says the same again was asked, and need not be asked again */
        good = manifest_change(w->m, job->picture, json_pack("{s:s}", "text", text_string(&now)), "caption",
                               json_pack("{s:s,s:s}", "was", p->text, "by", w->by), e);
    text_release(&now);
    return good;
}

static void run_command(const struct captioner *w, struct caption_job *job)
{
    char path[PATH_MAX_BYTES];
    double limit = w->o->limit_seconds > 0 ? w->o->limit_seconds : 120;
    if (!manifest_path(w->m, job->picture, path, &job->why) || !command_ask(w->o->command, path, limit, &job->answer, &job->why))
        err_add(&job->why, "for %s", manifest_picture(w->m, job->picture)->file_name);
}

/* Fills jobs with the next pictures that are to be done, from *at on. */
static bool next_jobs(struct captioner *w, struct caption_job *jobs, size_t most, size_t *at, size_t *n, struct err *e)
{
    for (*n = 0; *n < most && *at < manifest_count(w->m); ++*at) {
        const struct manifest_picture *p = manifest_picture(w->m, *at);
        if (*p->excluded || (w->o->only_missing && *p->text))
            continue;
        json_t *object = manifest_object(w->m, *at, e);
        if (!object)
            return false;
        bool done = !w->o->again && is_done(w, object);
        json_decref(object);
        if (done) {
            w->r->done_before++;
            continue;
        }
        jobs[*n] = (struct caption_job){ .picture = *at };
        text_init(&jobs[(*n)++].answer, (size_t)1 << 16);
    }
    return true;
}

static bool check(const struct recaption_options *o, struct err *e)
{
    if (o->template && o->command)
        return err_set(e, ERR_ARG, "a template and a command: captions come from one of them");
    if (!(o->drop >= 0 && o->drop <= 1))
        return err_set(e, ERR_ARG, "a chance of %g to drop a tag; want 0 to 1", o->drop);
    return true;
}

bool dataset_recaption(struct manifest *m, const struct recaption_options *o, bool dry_run,
                       void (*show)(void *self, const char *file_name, const char *was, const char *now), void *self,
                       struct recaption_result *r, const struct progress *progress, struct err *e)
{
    struct captioner w = { .m = m, .o = o, .r = r, .progress = progress };
    struct caption_job jobs[MOST_JOBS];
    size_t most = o->jobs < 1 || !o->command ? 1 : o->jobs < MOST_JOBS ? (size_t)o->jobs : MOST_JOBS, n;
    *r = (struct recaption_result){ 0 };
    if (!check(o, e))
        return false;
    if (!(w.by = describe(o)))
        return err_set(e, ERR_ARG, "the options are not UTF-8 text, or out of memory");
    bool good = true;
    for (size_t at = 0; good && at < manifest_count(m);) {
        good = stop_check(e) && next_jobs(&w, jobs, most, &at, &n, e);
        if (!good)
            break;
        if (o->command) {
#pragma omp parallel for schedule(dynamic) num_threads((int)most)
            for (size_t k = 0; k < n; k++)
                run_command(&w, &jobs[k]);
        }
        for (size_t k = 0; k < n; k++) {
            good = good && finish(&w, &jobs[k], dry_run, show, self, e);
            text_release(&jobs[k].answer);
        }
        good = good && (dry_run || manifest_checkpoint(m, e));
        progress_step(progress, "captions", (long)at, (long)manifest_count(m), NULL);
    }
    free(w.by);
    struct err ignored = { 0 }; /* the first cause stays */
    return (dry_run || manifest_save(m, good ? e : &ignored)) && good;
}

bool recaption_undo(struct manifest *m, long *count, struct err *e)
{
    *count = 0;
    for (size_t i = 0; i < manifest_count(m); i++) {
        json_t *object = manifest_object(m, i, e), *history = json_object_get(object, "history");
        if (!object)
            return false;
        long last = last_change(history);
        bool good = true;
        if (last >= 0) {
            const char *was = json_string_value(json_object_get(json_array_get(history, (size_t)last), "was"));
            json_t *text = json_string(was ? was : "");
            json_array_remove(history, (size_t)last);
            good = manifest_change(m, i, text ? json_pack("{s:o,s:O}", "text", text, "history", history) : NULL, NULL, NULL, e);
            ++*count;
        }
        json_decref(object);
        if (!good)
            return false;
    }
    return manifest_save(m, e);
}
