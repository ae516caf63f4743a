/* A full disk and a database that is gone, as callers see them: an answer in words, nothing that was accepted is lost, and work goes on
 * when the fault ends. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "client.h"
#include "image/image.h"
#include "postgresql.h"
#include "site.h"

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

/* --- jobs --- */

/* Saves noise of 16, 256 or 512 pixels a side, that no PNG makes small; the number makes the picture another one. */
static void saving_job(char *out, size_t cap, int side, int number)
{
    snprintf(out, cap, "{\"client_id\":\"me\",\"prompt\":{\"1\":{\"class_type\":\"LoadImage\",\"inputs\":{\"image\":\"%d.png\"}},"
                       "\"2\":{\"class_type\":\"SaveImage\",\"inputs\":{\"filename_prefix\":\"job%d\",\"images\":[\"1\",0]}}}}", side, number);
}

/* The site, with the pictures in its input folder. */
static void start(void)
{
    struct image image;
    struct err e = { 0 };
    site_start();
    for (int side = 16; side <= 512; side = side == 16 ? 256 : 2 * side) {
        uint8_t *png;
        char name[40];
        size_t bytes;
        uint32_t state = (uint32_t)side;
        REQUIRE(image_make(&image, side, side, 3, &e));
        for (int i = 0; i < 3 * side * side; i++)
            image.pixels[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
        REQUIRE(image_encode_png(&image, NULL, 0, &png, &bytes, &e));
        snprintf(name, sizeof name, "input/%d.png", side);
        site_write(name, png, bytes);
        image_release(&image);
        mem_free(png);
    }
}

/* POST /prompt; the status, with the answer's id or its message into out. */
static int post(const char *text, char *out, size_t cap)
{
    struct answer a = ask_full(site_port, "POST", "/prompt", "", text, strlen(text));
    json_t *j = a.body ? json_loads(a.body, 0, NULL) : NULL;
    const char *id = json_string_value(json_object_get(j, "prompt_id"));
    const char *message = json_string_value(json_object_get(json_object_get(j, "error"), "message"));
    snprintf(out, cap, "%s", id ? id : message ? message : "");
    int status = a.status;
    json_decref(j);
    answer_release(&a);
    return status;
}

/* The entry of the history, when it is there; the caller drops it. */
static json_t *finished(const char *id, double seconds)
{
    char path[100];
    snprintf(path, sizeof path, "/history/%s", id);
    for (double begin = clock_seconds(); clock_seconds() - begin < seconds; pause_ms(50)) {
        struct answer a = ask_full(site_port, "GET", path, "", NULL, 0);
        json_t *j = a.status == 200 ? json_loads(a.body, 0, NULL) : NULL, *entry = json_incref(json_object_get(j, id));
        answer_release(&a);
        json_decref(j);
        if (entry)
            return entry;
    }
    fail_msg("%s does not end", id);
    return NULL;
}

static const char *state_of(const json_t *entry)
{
    return json_string_value(json_object_get(json_object_get(entry, "status"), "status_str"));
}

static void check_success(const char *id)
{
    json_t *entry = finished(id, 60);
    char *text = json_dumps(json_object_get(entry, "status"), JSON_COMPACT);
    CHECK(!strcmp(state_of(entry), "success"), "%s: %s", id, text);
    free(text);
    json_decref(entry);
}

static int in_gallery(void)
{
    json_t *j = get_json(site_port, "/limn/gallery?limit=1000", 200);
    int n = (int)json_array_size(json_object_get(j, "pictures"));
    json_decref(j);
    return n;
}

/* Waits for a "status" message with a fault, or without one; what it says into out. */
static bool told_of(int s, bool fault, char *out, size_t cap)
{
    for (json_t *j; (j = ws_wait(s, "status"));) {
        const char *text = json_string_value(json_object_get(json_object_get(json_object_get(j, "data"), "status"), "fault"));
        bool found = (text != NULL) == fault;
        snprintf(out, cap, "%s", text ? text : "");
        json_decref(j);
        if (found)
            return true;
    }
    return false;
}

/* --- a small disk --- */

/* Mounted over a folder of the site. False: no right to. It goes with the process at the latest. */
static bool mount_small(const char *folder, const char *size)
{
    static bool apart;
    struct err e = { 0 };
    char options[40];
    snprintf(options, sizeof options, "size=%s", size);
    REQUIRE(folder_make(folder, &e));
    if (!apart) {
        if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
            print_message("no right to mount a small disk: %s\n", strerror(errno));
            return false;
        }
        apart = true;
    }
    if (!mount("limn-test", folder, "tmpfs", 0, options))
        return true;
    print_message("no right to mount a small disk: %s\n", strerror(errno));
    return false;
}

static void unmount_small(const char *folder)
{
    CHECK(!umount2(folder, MNT_DETACH), "%s: %s", folder, strerror(errno));
}

/* Fills the disk of a folder to the last byte; the file's removal makes room. */
static void fill(const char *ballast)
{
    static char zeros[4096];
    int fd = open(ballast, O_WRONLY | O_CREAT, 0600);
    for (size_t piece = sizeof zeros; piece; piece /= 2)
        while (write(fd, zeros, piece) == (ssize_t)piece)
            ;
    close(fd);
}

TEST(a_disk_that_is_full_of_pictures_fails_the_job_in_words_and_the_next_one_succeeds)
{
    char text[2000], id[64];
    int status;
    site_defaults();
    if (!mount_small(site_path("output"), "3m")) {
        skip();
        return;
    }
    start();
    saving_job(text, sizeof text, 256, 1);
    CHECK(post(text, id, sizeof id) == 200, "%s", id);
    check_success(id);
    fill(site_path("output/ballast"));
    int s = ws_connect(site_port, "/ws?clientId=me", "", &status);
    saving_job(text, sizeof text, 512, 2);
    CHECK(post(text, id, sizeof id) == 200, "the queue's disk has room: %s", id);
    json_t *error = ws_wait(s, "execution_error"), *data = json_object_get(error, "data");
    const char *message = json_string_value(json_object_get(data, "exception_message"));
    CHECK(message && strstr(message, "No space left on device") && strstr(message, "make room"), "%s", message ? message : "nothing is told");
    const char *type = json_string_value(json_object_get(data, "node_type"));
    CHECK(type && !strcmp(type, "SaveImage"), "at %s", type);
    json_decref(error);
    json_t *entry = finished(id, 60);
    CHECK(!strcmp(state_of(entry), "error"), "%s", state_of(entry));
    json_decref(entry);
    CHECK(in_gallery() == 1, "%d pictures", in_gallery());
    /* nothing half written lies there, and what was there is still served */
    json_t *names = get_json(site_port, "/internal/files/output", 200);
    CHECK(json_array_size(names) == 2, "%zu files: a picture and the ballast", json_array_size(names));
    json_decref(names);
    CHECK(status_of(site_port, "GET", "/view?filename=job1_00001_.png", "", NULL) == 200, "the first picture");
    unlink(site_path("output/ballast"));
    CHECK(post(text, id, sizeof id) == 200, "again");
    check_success(id);
    CHECK(in_gallery() == 2, "%d pictures", in_gallery());
    close(s);
    site_stop();
    unmount_small(site_path("output"));
}

TEST(a_full_gallery_is_an_error_of_the_job_and_not_of_the_server)
{
    char text[2000], id[64];
    site_defaults();
    if (!mount_small(site_path("gallery"), "1m")) {
        skip();
        return;
    }
    start();
    fill(site_path("gallery/ballast"));
    saving_job(text, sizeof text, 256, 1);
    CHECK(post(text, id, sizeof id) == 200, "%s", id);
    json_t *entry = finished(id, 60);
    char *all = json_dumps(json_object_get(entry, "status"), JSON_COMPACT);
    CHECK(!strcmp(state_of(entry), "error") && strstr(all, "No space left on device") && strstr(all, "keeping job1_00001_.png"), "%s", all);
    free(all);
    json_decref(entry);
    unlink(site_path("gallery/ballast"));
    saving_job(text, sizeof text, 256, 2);
    CHECK(post(text, id, sizeof id) == 200, "%s", id);
    check_success(id);
    CHECK(in_gallery() == 1, "%d pictures", in_gallery());
    site_stop();
    unmount_small(site_path("gallery"));
}

TEST(a_full_disk_of_the_queue_refuses_jobs_in_words_keeps_those_it_has_and_goes_on)
{
    enum { MOST = 400 };
    static char ids[MOST][64];
    static char database[PATH_MAX_BYTES];
    char text[30000], said[1200];
    int accepted = 0, status;
    site_defaults();
    if (!mount_small(site_path("disk"), "2m")) {
        skip();
        return;
    }
    snprintf(database, sizeof database, "%s", site_path("disk/limn.db"));
    site_options.database = database;
    start();
    fill(site_path("disk/ballast"));
    /* a request of 20 KB a job: what room the log has is soon used up */
    do {
        saving_job(text, sizeof text, 16, accepted);
        size_t n = strlen(text);
        snprintf(text + n - 1, sizeof text - n, ",\"extra_data\":{\"extra_pnginfo\":{\"workflow\":{\"x\":\"%020000d\"}}}}", 7);
        status = post(text, said, sizeof said);
        if (status == 200)
            g_strlcpy(ids[accepted++], said, sizeof ids[0]);
    } while (status == 200 && accepted < MOST);
    CHECK(status == 503 && strstr(said, "full: make room there") && strstr(said, "the job was not accepted"), "%d jobs, then %d: %s", accepted, status, said);
    json_decref(get_json(site_port, "/queue", 200)); /* looking still works */
    json_decref(get_json(site_port, "/limn/gallery", 200));
    unlink(site_path("disk/ballast"));
    saving_job(text, sizeof text, 16, MOST);
    CHECK(post(text, ids[accepted], sizeof ids[0]) == 200, "%s", ids[accepted]);
    accepted++;
    for (int i = 0; i < accepted; i++)
        check_success(ids[i]);
    CHECK(status_of(site_port, "GET", "/healthz", "", NULL) == 200, "healthz");
    CHECK(in_gallery() == accepted, "%d pictures of %d jobs", in_gallery(), accepted);
    site_stop();
    unmount_small(site_path("disk"));
}

/* --- a database that is gone --- */

TEST(a_postgresql_that_is_stopped_is_told_and_every_accepted_job_is_done_once_when_it_is_back)
{
    enum { JOBS = 6 };
    char text[2000], ids[JOBS + 1][64], said[1200];
    int status;
    const char *where = pg_database();
    if (!where) {
        skip();
        return;
    }
    site_defaults();
    site_options.database = where;
    start();
    int s = ws_connect(site_port, "/ws?clientId=me", "", &status);
    CHECK(told_of(s, false, said, sizeof said), "the first message");
    for (int i = 0; i < JOBS; i++) {
        saving_job(text, sizeof text, 512, i);
        CHECK(post(text, ids[i], sizeof ids[0]) == 200, "%s", ids[i]);
    }
    json_decref(ws_wait(s, "execution_start"));
    pg_end(SIGQUIT); /* as in a crash */
    saving_job(text, sizeof text, 16, JOBS);
    status = post(text, said, sizeof said);
    CHECK(status == 503 && strstr(said, "the job was not accepted") && strstr(said, "database t"), "%d: %s", status, said);
    struct answer a = ask_full(site_port, "GET", "/queue", "", NULL, 0);
    CHECK(a.status == 503 && strstr(a.body, "database t"), "%d: %s", a.status, a.body ? a.body : "");
    answer_release(&a);
    static const char openai[] = "{\"prompt\":\"a red apple\",\"model\":\"limn-emoji\",\"size\":\"64x64\"}";
    a = ask_full(site_port, "POST", "/v1/images/generations", "", openai, strlen(openai));
    CHECK(a.status == 503 && strstr(a.body, "\"message\""), "%d: %s", a.status, a.body ? a.body : "");
    answer_release(&a);
    CHECK(told_of(s, true, said, sizeof said), "sockets are told");
    CHECK(status_of(site_port, "GET", "/healthz", "", NULL) == 503, "healthz");
    CHECK(status_of(site_port, "GET", "/object_info", "", NULL) == 200, "what needs no database is answered");
    json_t *log = get_json(site_port, "/internal/logs/raw", 200);
    char *lines = json_dumps(log, JSON_COMPACT);
    CHECK(strstr(lines, "database t"), "the log: %s", lines);
    free(lines);
    json_decref(log);
    pause_ms(1500);
    pg_start();
    CHECK(told_of(s, false, said, sizeof said), "its end is told");
    saving_job(text, sizeof text, 16, JOBS);
    CHECK(post(text, ids[JOBS], sizeof ids[0]) == 200, "%s", ids[JOBS]);
    for (int i = 0; i <= JOBS; i++)
        check_success(ids[i]);
    json_t *history = get_json(site_port, "/history", 200);
    CHECK(json_object_size(history) == JOBS + 1, "%zu jobs", json_object_size(history));
    json_decref(history);
    CHECK(in_gallery() == JOBS + 1, "%d pictures", in_gallery());
    CHECK(status_of(site_port, "GET", "/healthz", "", NULL) == 200, "healthz");
    close(s);
    site_stop();
}
