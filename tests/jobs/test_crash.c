/* A program that is killed at any moment: what was accepted is done, once. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_text.h"
#include "base/random.h"
#include "jobs/fake_work.h"
#include "store/picture_files.h"
#include "test.h"

enum { WORKERS = 2, CLIENTS = 4, MOST_JOBS = 20000 };
#define ANSWER_BYTES ((size_t)64 << 20)

/* What the child tells its parent through a pipe: a line of 16 bytes each, written at once. "a" a job was accepted, "d" one was done. */
enum { LINE = 16 };

static void tell(int fd, char what, int n)
{
    char line[LINE + 1];
    snprintf(line, sizeof line, "%c%*d\n", what, LINE - 2, n);
    if (write(fd, line, LINE) != LINE)
        _exit(3);
}

struct child {
    struct queue *queue;
    struct fake fake;
    int fd, number, from;
};

static void done(void *self, const char *id)
{
    struct child *c = self;
    tell(c->fd, 'd', atoi(id + 1));
}

/* Adds jobs from - 0, from - 1, ... until the process ends. An id is told behind its acknowledgement, so the parent knows of no job
 * that was not accepted. */
static void *add_for_ever(void *self)
{
    struct child *c = self;
    for (int n = c->from + c->number;; n += CLIENTS) {
        struct err e = { 0 };
        char id[20], prompt[60];
        snprintf(id, sizeof id, "j%d", n);
        snprintf(prompt, sizeof prompt, "{\"n\":%d,\"ms\":%d}", n, n % 3);
        struct job job = { .id = id, .prompt = prompt };
        if (!queue_add(c->queue, &job, NULL, &e)) {
            fprintf(stderr, "add: %s\n", e.text);
            _exit(4);
        }
        tell(c->fd, 'a', n);
        usleep(2000);
    }
    return NULL;
}

static void child(const char *path, const char *folder, int fd, int from)
{
    static struct child clients[CLIENTS];
    struct err e = { 0 };
    struct store *store = store_open(path, &e);
    clients[0] = (struct child){ .fd = fd, .fake = { .folder = folder, .done = done, .done_self = &clients[0] } };
    struct queue_options options = { .store = store, .workers = WORKERS, .run = fake_run, .run_self = &clients[0].fake, .poll_ms = 10 };
    struct queue *queue = store ? queue_open(&options, &e) : NULL;
    if (!queue) {
        fprintf(stderr, "child: %s\n", e.text);
        _exit(5);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_t thread;
        clients[i].queue = queue;
        clients[i].fd = fd;
        clients[i].number = i;
        clients[i].from = from;
        if (pthread_create(&thread, NULL, add_for_ever, &clients[i]))
            _exit(6);
    }
    for (;;)
        pause();
}

/* Reads what is in the pipe until `done` jobs were done, or its end. */
static void listen_to(int fd, int want, bool *accepted, int *jobs)
{
    char line[LINE + 1] = "";
    for (int count = 0; count < want;) {
        ssize_t got = read(fd, line, LINE);
        if (got != LINE)
            return;
        int n = atoi(line + 1);
        CHECK(n >= 0 && n < MOST_JOBS, "%s", line);
        if (line[0] == 'a') {
            *jobs += !accepted[n];
            accepted[n] = true;
        } else {
            count++;
        }
    }
}

TEST(kill_9_at_any_moment_loses_nothing_and_shows_nothing_twice)
{
    enum { ROUNDS = 25, DONE_BEFORE = 4, MOST_US = 40000 };
    static bool accepted[MOST_JOBS];
    char root[300], path[320], folder[320];
    int jobs = 0;
    struct random random = random_of(20261124, 1);
    fake_folder(root, "crash");
    snprintf(path, sizeof path, "%s/limn.db", root);
    snprintf(folder, sizeof folder, "%s/pictures", root);
    for (int round = 0; round < ROUNDS; round++) {
        int fds[2], status;
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (!pid) {
            close(fds[0]);
            child(path, folder, fds[1], round * (MOST_JOBS / ROUNDS));
        }
        close(fds[1]);
        /* what ran when the last one died has had its turn: no job dies so often that it is given up */
        listen_to(fds[0], DONE_BEFORE, accepted, &jobs);
        usleep((useconds_t)random_below(&random, MOST_US));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        CHECK(WIFSIGNALED(status), "round %d: the child ended by itself with %d", round, WEXITSTATUS(status));
        listen_to(fds[0], MOST_JOBS, accepted, &jobs);
        close(fds[0]);
    }
    CHECK(jobs > ROUNDS * DONE_BEFORE, "only %d jobs", jobs);

    /* The last start does the rest. */
    struct err e = { 0 };
    struct fake fake = { .folder = folder };
    struct store *store;
    struct queue *queue;
    REQUIRE(store = store_open(path, &e));
    struct queue_options options = { .store = store, .workers = WORKERS, .run = fake_run, .run_self = &fake, .poll_ms = 10 };
    REQUIRE(queue = queue_open(&options, &e));
    CHECK(fake_wait(queue, 120), "the rest did not end");
    struct text all;
    text_init(&all, ANSWER_BYTES);
    REQUIRE(queue_history(queue, NULL, -1, -1, &all, &e));
    json_t *history = json_text_tree(text_string(&all), "history", &e);
    REQUIRE(history);
    int missing = 0, unfinished = 0, pictures_missing = 0, files_missing = 0;
    for (int n = 0; n < MOST_JOBS; n++) {
        char id[20], hash[GALLERY_HASH_BYTES], file[PATH_MAX_BYTES];
        snprintf(id, sizeof id, "j%d", n);
        const json_t *h = json_object_get(history, id);
        missing += accepted[n] && !h;
        if (!h)
            continue;
        unfinished += !json_is_true(json_object_get(json_object_get(h, "status"), "completed"));
        json_t *picture = NULL;
        fake_hash(n, hash);
        if (!gallery_get(store, "", hash, &picture, &e) || strcmp(json_string_value(json_object_get(picture, "job")), id))
            pictures_missing++;
        err_clear(&e);
        json_decref(picture);
        REQUIRE(picture_file_path(file, folder, hash, "txt", &e));
        files_missing += !path_exists(file);
    }
    CHECK(!missing && !unfinished && !pictures_missing && !files_missing,
          "of %d accepted jobs %d are lost, %d are not completed, %d have no picture, %d no file", jobs, missing, unfinished, pictures_missing,
          files_missing);
    /* a job whose acknowledgement was cut off may be there; a picture without a job may not */
    int64_t pictures;
    struct gallery_query query = { 0 };
    REQUIRE(gallery_count(store, &query, &pictures, &e));
    CHECK((size_t)pictures == json_object_size(history) && (size_t)pictures >= (size_t)jobs, "%d pictures, %zu jobs in history, %d accepted",
          (int)pictures, json_object_size(history), jobs);
    print_message("%d kills, %d jobs accepted, %d runs in the last start\n", ROUNDS, jobs, atomic_load(&fake.runs));
    json_decref(history);
    text_release(&all);
    queue_close(queue, true);
    store_close(store);
    fake_folder_remove(root);
}

/* A child that takes the first job and is killed while it runs. */
static void die_with_the_job(const char *path, const char *folder)
{
    int fds[2], status;
    char byte;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (!pid) {
        struct err e = { 0 };
        static struct fake fake;
        fake.folder = folder;
        struct store *store = store_open(path, &e);
        struct queue_options options = { .store = store, .workers = 1, .run = fake_run, .run_self = &fake, .poll_ms = 10 };
        struct queue *queue = store ? queue_open(&options, &e) : NULL;
        while (queue && !atomic_load(&fake.runs))
            usleep(500);
        if (write(fds[1], queue ? "r" : "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    CHECK(byte == 'r', "the child did not start");
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

TEST(a_job_that_ends_the_program_again_and_again_is_given_up)
{
    char root[300], path[320], folder[320];
    struct err e = { 0 };
    fake_folder(root, "deadly");
    snprintf(path, sizeof path, "%s/limn.db", root);
    snprintf(folder, sizeof folder, "%s/pictures", root);
    struct store *store;
    struct queue *queue;
    struct queue_options options = { 0 };
    REQUIRE(options.store = store = store_open(path, &e));
    REQUIRE(queue = queue_open(&options, &e));
    REQUIRE(queue_add(queue, &(struct job){ .id = "deadly", .prompt = "{\"n\":1,\"ms\":60000}" }, NULL, &e));
    REQUIRE(queue_add(queue, &(struct job){ .id = "good", .prompt = "{\"n\":2}" }, NULL, &e));
    queue_close(queue, true);
    store_close(store);
    for (int i = 0; i < JOB_MOST_ATTEMPTS; i++)
        die_with_the_job(path, folder);
    struct fake fake = { .folder = folder };
    REQUIRE(options.store = store = store_open(path, &e));
    options.workers = 1;
    options.run = fake_run;
    options.run_self = &fake;
    REQUIRE(queue = queue_open(&options, &e));
    CHECK(fake_wait(queue, 20), "no end");
    struct text all;
    text_init(&all, ANSWER_BYTES);
    REQUIRE(queue_job(queue, NULL, "deadly", &all, &e));
    CHECK(strstr(text_string(&all), "\"status\":\"failed\"") && strstr(text_string(&all), "the program ended 3 times"), "%s", text_string(&all));
    text_clear(&all);
    REQUIRE(queue_job(queue, NULL, "good", &all, &e));
    CHECK(strstr(text_string(&all), "\"status\":\"completed\""), "%s", text_string(&all));
    assert_int_equal(atomic_load(&fake.runs), 1);
    text_release(&all);
    queue_close(queue, true);
    store_close(store);
    fake_folder_remove(root);
}
