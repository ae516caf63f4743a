/* A full disk and a database that is gone: told in words, nothing half done, and work goes on when they end. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_text.h"
#include "jobs/fake_work.h"
#include "store/picture_files.h"
#include "test.h"

#define ANSWER_BYTES ((size_t)64 << 20)

struct bench {
    char root[300], folder[320], path[320];
    struct store *store;
    struct queue *queue;
    struct fake fake;
    pthread_mutex_t lock;
    char faults[4000];
};

static void hear(void *self, const struct queue_event *event)
{
    struct bench *b = self;
    if (strcmp(event->type, "fault"))
        return;
    const char *message = json_string_value(json_object_get(event->data, "message"));
    pthread_mutex_lock(&b->lock);
    size_t used = strlen(b->faults);
    snprintf(b->faults + used, sizeof b->faults - used, "[%s]", message ? message : "over");
    pthread_mutex_unlock(&b->lock);
}

static bool heard(struct bench *b, const char *what, double seconds)
{
    bool found = false;
    for (double begin = clock_seconds(); !found && clock_seconds() - begin < seconds; usleep(2000)) {
        pthread_mutex_lock(&b->lock);
        found = strstr(b->faults, what) != NULL;
        pthread_mutex_unlock(&b->lock);
    }
    return found;
}

static void bench_open(struct bench *b, const char *root)
{
    struct err e = { 0 };
    snprintf(b->root, sizeof b->root, "%s", root);
    snprintf(b->folder, sizeof b->folder, "%s/pictures", root);
    snprintf(b->path, sizeof b->path, "%s/limn.db", root);
    pthread_mutex_init(&b->lock, NULL);
    b->fake.folder = b->folder;
    REQUIRE(b->store = store_open(b->path, &e));
    struct queue_options options = { .store = b->store, .workers = 1, .run = fake_run, .run_self = &b->fake, .listen = hear, .listen_self = b,
                                     .poll_ms = 20 };
    REQUIRE(b->queue = queue_open(&options, &e));
}

/* Every accepted job is done, each once, and nothing else is there. */
static void check_all(struct bench *b, int accepted)
{
    struct err e = { 0 };
    struct text all;
    int64_t pictures;
    CHECK(fake_wait(b->queue, 60), "they did not end: %s", b->faults);
    text_init(&all, ANSWER_BYTES);
    REQUIRE(queue_history(b->queue, NULL, -1, -1, &all, &e));
    json_t *history = json_text_tree(text_string(&all), "history", &e), *one;
    const char *id;
    CHECK((int)json_object_size(history) == accepted, "%zu of %d accepted", json_object_size(history), accepted);
    json_object_foreach(history, id, one)
        CHECK(json_is_true(json_object_get(json_object_get(one, "status"), "completed")), "%s: %s", id, text_string(&all));
    REQUIRE(gallery_count(b->store, &(struct gallery_query){ 0 }, &pictures, &e));
    assert_int_equal(pictures, accepted);
    CHECK(atomic_load(&b->fake.runs) == accepted, "%d runs for %d jobs", atomic_load(&b->fake.runs), accepted);
    json_decref(history);
    text_release(&all);
}

static bool add(struct bench *b, int n, int ms, struct err *e)
{
    static char padding[20001];
    char id[20], prompt[21000];
    memset(padding, 'x', sizeof padding - 1);
    snprintf(id, sizeof id, "j%d", n);
    snprintf(prompt, sizeof prompt, "{\"n\":%d,\"ms\":%d,\"padding\":\"%s\"}", n, ms, padding);
    return queue_add(b->queue, &(struct job){ .id = id, .prompt = prompt }, NULL, e);
}

TEST(files_that_may_not_grow_are_told_and_work_goes_on_when_they_may)
{
    struct bench b = { 0 };
    struct err e = { 0 };
    struct rlimit before, small;
    char root[300];
    int accepted = 0;
    fake_folder(root, "limit");
    bench_open(&b, root);
    for (; accepted < 5; accepted++)
        REQUIRE(add(&b, accepted, 1, &e));
    CHECK(fake_wait(b.queue, 20), "no end");
    /* one runs while room ends */
    REQUIRE(add(&b, accepted++, 600, &e));
    for (double begin = clock_seconds(); atomic_load(&b.fake.runs) < accepted; usleep(1000))
        CHECK(clock_seconds() - begin < 20, "not taken");
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 30000; /* a few pages; less than the log has already */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool refused = !add(&b, accepted, 1, &e);
    bool told = heard(&b, "make room", 20);
    bool readable = gallery_count(b.store, &(struct gallery_query){ 0 }, &(int64_t){ 0 }, &(struct err){ 0 });
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    CHECK(refused && e.code == ERR_IO && strstr(e.text, "make room") && strstr(e.text, "not accepted"), "%d: %s", refused, e.text);
    CHECK(told, "the worker's fault: %s", b.faults);
    CHECK(readable, "looking still works");
    err_clear(&e);
    CHECK(heard(&b, "[over]", 20), "it does not go on: %s", b.faults);
    REQUIRE(add(&b, accepted, 1, &e));
    accepted++;
    check_all(&b, accepted);
    queue_close(b.queue, true);
    store_close(b.store);
    fake_folder_remove(root);
}

/* With the rights to mount a small file system: a disk that is really full. */
TEST(a_full_disk_is_told_and_work_goes_on_when_there_is_room)
{
    struct bench b = { 0 };
    struct err e = { 0 };
    char root[300], disk[320], ballast[340];
    int accepted = 0;
    fake_folder(root, "full");
    snprintf(disk, sizeof disk, "%s/disk", root);
    assert_int_equal(mkdir(disk, 0700), 0);
    if (mount("limn-test", disk, "tmpfs", 0, "size=2m")) {
        print_message("no right to mount a small disk: %s\n", strerror(errno));
        fake_folder_remove(root);
        skip();
        return;
    }
    bench_open(&b, disk);
    for (; accepted < 3; accepted++)
        REQUIRE(add(&b, accepted, 1, &e));
    CHECK(fake_wait(b.queue, 20), "no end");
    snprintf(ballast, sizeof ballast, "%s/ballast", disk);
    int fd = open(ballast, O_WRONLY | O_CREAT, 0600);
    static char zeros[4096];
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    close(fd);
    /* the log has room it used before, so some may still be accepted */
    while (accepted < 200 && add(&b, accepted, 1, &e))
        accepted++;
    CHECK(e.code == ERR_IO && strstr(e.text, "is full: make room there"), "%d jobs: %s", accepted, e.text);
    CHECK(strstr(e.text, "not accepted"), "%s", e.text);
    err_clear(&e);
    unlink(ballast);
    REQUIRE(add(&b, accepted, 1, &e));
    accepted++;
    queue_close(b.queue, true);
    struct queue_options options = { .store = b.store, .workers = 1, .run = fake_run, .run_self = &b.fake, .poll_ms = 20 };
    int before = atomic_load(&b.fake.runs);
    REQUIRE(b.queue = queue_open(&options, &e));
    CHECK(fake_wait(b.queue, 60), "no end");
    CHECK(before <= accepted, "%d runs", before);
    struct text all;
    text_init(&all, ANSWER_BYTES);
    REQUIRE(queue_history(b.queue, NULL, -1, -1, &all, &e));
    json_t *history = json_text_tree(text_string(&all), "history", &e);
    CHECK((int)json_object_size(history) == accepted, "%zu of %d accepted jobs ended", json_object_size(history), accepted);
    json_decref(history);
    text_release(&all);
    queue_close(b.queue, true);
    store_close(b.store);
    assert_int_equal(umount(disk), 0);
    fake_folder_remove(root);
}

TEST(a_database_that_was_removed_is_told_and_work_goes_on_when_it_is_back)
{
    struct bench b = { 0 };
    struct err e = { 0 };
    char root[300], away[340];
    int64_t count;
    fake_folder(root, "away");
    bench_open(&b, root);
    snprintf(away, sizeof away, "%s.away", b.path);
    REQUIRE(add(&b, 0, 300, &e));
    for (double begin = clock_seconds(); !atomic_load(&b.fake.runs); usleep(1000))
        CHECK(clock_seconds() - begin < 20, "not taken");
    assert_int_equal(rename(b.path, away), 0);
    CHECK_FAILS(add(&b, 1, 1, &e), ERR_IO, "limn.db is gone");
    CHECK_FAILS(queue_remaining(b.queue, NULL, &count, &e), ERR_IO, "is gone");
    CHECK(access(b.path, F_OK) != 0, "another one was made in its place");
    CHECK(heard(&b, "is gone", 20), "the worker's fault: %s", b.faults);
    usleep(500000);
    assert_int_equal(rename(away, b.path), 0);
    CHECK(heard(&b, "[over]", 20), "it does not go on: %s", b.faults);
    REQUIRE(add(&b, 1, 1, &e));
    check_all(&b, 2);
    queue_close(b.queue, true);
    store_close(b.store);
    fake_folder_remove(root);
}
