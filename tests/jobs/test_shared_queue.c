/* Many workers on one database, in processes of their own: on PostgreSQL, and what holds there holds for a SQLite file, too. */
#include <pthread.h>
#include <signal.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_text.h"
#include "base/mem.h"
#include "jobs/fake_work.h"
#include "postgresql.h"
#include "store/picture_files.h"

#define ANSWER_BYTES ((size_t)64 << 20)
enum { LEASE_MS = 600 };

/* A worker process; it tells of every run in `log`, an appended line each: "id pid". */
struct elsewhere {
    struct fake fake;
    const char *log;
};

static bool logged_run(void *self, struct job_run *run, struct err *e)
{
    struct elsewhere *w = self;
    char line[100];
    snprintf(line, sizeof line, "%s %ld %d", job_run_id(run), (long)getpid(), job_run_attempt(run));
    return file_append_line(w->log, line, e) && fake_run(&w->fake, run, e);
}

static pid_t start_worker(const char *where, const char *folder, const char *log, int threads)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    static struct elsewhere w;
    struct err e = { 0 };
    w.fake.folder = folder;
    w.log = log;
    struct store *store = store_open(where, &e);
    struct queue_options options = { .store = store, .workers = threads, .run = logged_run, .run_self = &w,
                                     .lease_ms = LEASE_MS, .poll_ms = 20, .others = true };
    struct queue *queue = store ? queue_open(&options, &e) : NULL;
    if (!queue) {
        fprintf(stderr, "worker: %s\n", e.text);
        _exit(5);
    }
    for (;;)
        pause();
}

static void stop_worker(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

static int lines_with(const char *log, const char *word)
{
    struct err e = { 0 };
    char *text;
    size_t bytes;
    int count = 0;
    if (!path_exists(log))
        return 0;
    REQUIRE(file_read(log, ANSWER_BYTES, &text, &bytes, &e));
    for (const char *p = text; (p = strstr(p, word)); p++)
        count++;
    mem_free(text);
    return count;
}

struct place {
    char root[300], folder[320], log[320], where[320];
    struct store *store;
    struct queue *queue; /* adds and looks only */
};

/* False: PostgreSQL is not here. */
static bool place_open(struct place *p, const char *name, bool postgresql)
{
    fake_folder(p->root, name);
    snprintf(p->folder, sizeof p->folder, "%s/pictures", p->root);
    snprintf(p->log, sizeof p->log, "%s/log", p->root);
    const char *url = postgresql ? pg_database() : NULL;
    if (postgresql && !url) {
        fake_folder_remove(p->root);
        return false;
    }
    snprintf(p->where, sizeof p->where, "%s%s", postgresql ? url : p->root, postgresql ? "" : "/limn.db");
    return true;
}

/* After the workers were started: a process that holds connections is not forked. */
static void place_start(struct place *p)
{
    struct err e = { 0 };
    REQUIRE(p->store = store_open(p->where, &e));
    struct queue_options options = { .store = p->store, .lease_ms = LEASE_MS, .poll_ms = 20 };
    REQUIRE(p->queue = queue_open(&options, &e));
}

static void place_close(struct place *p)
{
    queue_close(p->queue, true);
    store_close(p->store);
    fake_folder_remove(p->root);
}

static void check_all_done(struct place *p, int jobs)
{
    struct err e = { 0 };
    struct text all;
    int64_t pictures;
    struct gallery_query query = { 0 };
    text_init(&all, ANSWER_BYTES);
    REQUIRE(queue_history(p->queue, NULL, -1, -1, &all, &e));
    json_t *history = json_text_tree(text_string(&all), "history", &e), *one;
    const char *id;
    CHECK((int)json_object_size(history) == jobs, "%zu of %d", json_object_size(history), jobs);
    json_object_foreach(history, id, one)
        CHECK(json_is_true(json_object_get(json_object_get(one, "status"), "completed")), "%s", id);
    REQUIRE(gallery_count(p->store, &query, &pictures, &e));
    assert_int_equal(pictures, jobs);
    json_decref(history);
    text_release(&all);
}

static void many_workers(bool postgresql)
{
    enum { WORKERS = 4, JOBS = 120 };
    struct place p;
    struct err e = { 0 };
    pid_t workers[WORKERS];
    if (!place_open(&p, "many", postgresql)) {
        skip();
        return;
    }
    for (int i = 0; i < WORKERS; i++)
        workers[i] = start_worker(p.where, p.folder, p.log, 2);
    place_start(&p);
    for (int i = 0; i < JOBS; i++) {
        char id[20], prompt[40];
        snprintf(id, sizeof id, "j%d.", i);
        snprintf(prompt, sizeof prompt, "{\"n\":%d,\"ms\":%d}", i, i % 4);
        REQUIRE(queue_add(p.queue, &(struct job){ .id = id, .prompt = prompt }, NULL, &e));
    }
    CHECK(fake_wait(p.queue, 60), "no end");
    for (int i = 0; i < WORKERS; i++)
        stop_worker(workers[i]);
    for (int i = 0; i < JOBS; i++) {
        char word[20];
        snprintf(word, sizeof word, "j%d. ", i);
        CHECK(lines_with(p.log, word) == 1, "job %d ran %d times", i, lines_with(p.log, word));
    }
    check_all_done(&p, JOBS);
    place_close(&p);
}

TEST(every_job_of_a_shared_database_is_taken_by_one_worker)
{
    many_workers(true);
}

TEST(every_job_of_a_shared_file_is_taken_by_one_worker)
{
    many_workers(false);
}

static void takeover(bool postgresql)
{
    struct place p;
    struct err e = { 0 };
    if (!place_open(&p, "takeover", postgresql)) {
        skip();
        return;
    }
    pid_t first = start_worker(p.where, p.folder, p.log, 1);
    place_start(&p);
    REQUIRE(queue_add(p.queue, &(struct job){ .id = "x", .prompt = "{\"n\":1,\"ms\":1500}" }, NULL, &e));
    for (double begin = clock_seconds(); !lines_with(p.log, "x "); usleep(2000))
        CHECK(clock_seconds() - begin < 20, "the first worker did not take it");
    stop_worker(first);
    /* three others, each ready to take it: place_start's own connections are in this process, so they are opened again */
    queue_close(p.queue, true);
    store_close(p.store);
    pid_t others[3];
    for (int i = 0; i < 3; i++)
        others[i] = start_worker(p.where, p.folder, p.log, 1);
    place_start(&p);
    CHECK(fake_wait(p.queue, 60), "nobody took it over");
    for (int i = 0; i < 3; i++)
        stop_worker(others[i]);
    CHECK(lines_with(p.log, "x ") == 2, "it ran %d times", lines_with(p.log, "x "));
    check_all_done(&p, 1);
    place_close(&p);
}

TEST(a_dead_workers_job_is_taken_over_once)
{
    takeover(true);
}

/* A worker that hangs (stopped, so it sends no signs of life) loses its job; what it brings later is not taken. */
TEST(a_silent_workers_job_is_taken_over_once_and_its_late_result_is_not_taken)
{
    struct place p;
    struct err e = { 0 };
    if (!place_open(&p, "silent", true)) {
        skip();
        return;
    }
    pid_t first = start_worker(p.where, p.folder, p.log, 1), second = 0;
    place_start(&p);
    REQUIRE(queue_add(p.queue, &(struct job){ .id = "x", .prompt = "{\"n\":1,\"ms\":300}" }, NULL, &e));
    for (double begin = clock_seconds(); !lines_with(p.log, "x "); usleep(2000))
        CHECK(clock_seconds() - begin < 20, "the first worker did not take it");
    kill(first, SIGSTOP);
    queue_close(p.queue, true);
    store_close(p.store);
    second = start_worker(p.where, p.folder, p.log, 1);
    place_start(&p);
    double begin = clock_seconds();
    CHECK(fake_wait(p.queue, 60), "nobody took it over");
    CHECK(clock_seconds() - begin > 0.2, "before its lease ran out: %.3f s", clock_seconds() - begin);
    kill(first, SIGCONT);
    usleep(LEASE_MS * 1000);
    CHECK(lines_with(p.log, "x ") == 2, "it ran %d times", lines_with(p.log, "x "));
    check_all_done(&p, 1);
    /* the first is alive and takes the next when the second is gone */
    stop_worker(second);
    REQUIRE(queue_add(p.queue, &(struct job){ .id = "y", .prompt = "{\"n\":2}" }, NULL, &e));
    CHECK(fake_wait(p.queue, 60), "the first worker did not go on");
    stop_worker(first);
    check_all_done(&p, 2);
    place_close(&p);
}

TEST(a_job_is_interrupted_from_another_process)
{
    struct place p;
    struct err e = { 0 };
    if (!place_open(&p, "interrupt", true)) {
        skip();
        return;
    }
    pid_t worker = start_worker(p.where, p.folder, p.log, 1);
    place_start(&p);
    REQUIRE(queue_add(p.queue, &(struct job){ .id = "x", .prompt = "{\"n\":1,\"ms\":60000}" }, NULL, &e));
    for (double begin = clock_seconds(); !lines_with(p.log, "x "); usleep(2000))
        CHECK(clock_seconds() - begin < 20, "not taken");
    REQUIRE(queue_interrupt(p.queue, NULL, "x", &e));
    double begin = clock_seconds();
    CHECK(fake_wait(p.queue, 20), "it went on");
    CHECK(clock_seconds() - begin < 1, "%.3f s", clock_seconds() - begin);
    struct text job;
    text_init(&job, ANSWER_BYTES);
    REQUIRE(queue_job(p.queue, NULL, "x", &job, &e));
    CHECK(strstr(text_string(&job), "\"status\":\"cancelled\""), "%s", text_string(&job));
    text_release(&job);
    stop_worker(worker);
    place_close(&p);
}

struct heard {
    pthread_mutex_t lock;
    char faults[4000];
};

static void hear(void *self, const struct queue_event *event)
{
    struct heard *h = self;
    if (strcmp(event->type, "fault"))
        return;
    const char *message = json_string_value(json_object_get(event->data, "message"));
    pthread_mutex_lock(&h->lock);
    size_t used = strlen(h->faults);
    snprintf(h->faults + used, sizeof h->faults - used, "[%s]", message ? message : "over");
    pthread_mutex_unlock(&h->lock);
}

TEST(a_server_that_is_gone_is_told_and_work_goes_on_when_it_is_back)
{
    struct place p;
    struct err e = { 0 };
    if (!place_open(&p, "gone", true)) {
        skip();
        return;
    }
    struct fake fake = { .folder = p.folder };
    struct heard heard = { .lock = PTHREAD_MUTEX_INITIALIZER };
    REQUIRE(p.store = store_open(p.where, &e));
    struct queue_options options = { .store = p.store, .workers = 1, .run = fake_run, .run_self = &fake, .listen = hear, .listen_self = &heard,
                                     .poll_ms = 20 };
    REQUIRE(p.queue = queue_open(&options, &e));
    /* the job ends while the server is away: its result is kept until it is back */
    REQUIRE(queue_add(p.queue, &(struct job){ .id = "x", .prompt = "{\"n\":1,\"ms\":700}" }, NULL, &e));
    for (double begin = clock_seconds(); !atomic_load(&fake.runs); usleep(2000))
        CHECK(clock_seconds() - begin < 20, "not taken");
    pg_end(SIGQUIT);
    CHECK_FAILS(queue_add(p.queue, &(struct job){ .id = "y", .prompt = "{\"n\":2}" }, NULL, &e), ERR_IO, "the job was not accepted");
    CHECK_FAILS(queue_add(p.queue, &(struct job){ .id = "y", .prompt = "{\"n\":2}" }, NULL, &e), ERR_IO, "database t");
    usleep(1200000);
    pg_start();
    for (double begin = clock_seconds(); !strstr(heard.faults, "[over]"); usleep(20000))
        CHECK(clock_seconds() - begin < 20, "it did not go on: %s", heard.faults);
    REQUIRE(queue_add(p.queue, &(struct job){ .id = "y", .prompt = "{\"n\":2}" }, NULL, &e));
    CHECK(fake_wait(p.queue, 20), "no end");
    CHECK(atomic_load(&fake.runs) == 2, "x was done %d times", atomic_load(&fake.runs) - 1);
    CHECK(strstr(heard.faults, "gone") || strstr(heard.faults, "no connection"), "%s", heard.faults);
    check_all_done(&p, 2);
    place_close(&p);
}

/* What a worker elsewhere tells comes to the listener here, in its order. */
static void hear_all(void *self, const struct queue_event *event)
{
    struct heard *h = self;
    pthread_mutex_lock(&h->lock);
    size_t used = strlen(h->faults);
    if (strcmp(event->type, "status") || !event->remaining)
        snprintf(h->faults + used, sizeof h->faults - used, "%s%s%s%s%s ", event->job ? event->job : "", event->job ? ":" : "", event->type,
                 event->client ? "@" : "", event->client ? event->client : "");
    pthread_mutex_unlock(&h->lock);
}

static void told_elsewhere(bool postgresql)
{
    struct place p;
    struct err e = { 0 };
    struct heard heard = { .lock = PTHREAD_MUTEX_INITIALIZER };
    if (!place_open(&p, "told", postgresql)) {
        skip();
        return;
    }
    pid_t worker = start_worker(p.where, p.folder, p.log, 1);
    REQUIRE(p.store = store_open(p.where, &e));
    struct queue_options options = { .store = p.store, .listen = hear_all, .listen_self = &heard, .poll_ms = 20, .others = true };
    REQUIRE(p.queue = queue_open(&options, &e));
    REQUIRE(queue_add(p.queue, &(struct job){ .id = "x", .client = "me", .prompt = "{\"n\":1,\"ms\":300}" }, NULL, &e));
    CHECK(fake_wait(p.queue, 20), "no end");
    for (double begin = clock_seconds(); !strstr(heard.faults, "executing"); usleep(5000))
        CHECK(clock_seconds() - begin < 5, "heard: %s", heard.faults);
    stop_worker(worker);
    pthread_mutex_lock(&heard.lock);
    assert_string_equal(heard.faults, "x:execution_start@me x:execution_success@me status x:executing@me ");
    pthread_mutex_unlock(&heard.lock);
    place_close(&p);
}

TEST(what_a_worker_tells_is_heard_in_another_process)
{
    told_elsewhere(true);
}

TEST(what_a_worker_tells_is_heard_in_another_process_through_a_file)
{
    told_elsewhere(false);
}
