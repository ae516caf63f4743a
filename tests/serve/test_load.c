/* Many clients at once, and a server that is killed again and again: no accepted job is lost, none is done twice, the order is kept, memory
 * stays. Small numbers unless LIMN_LOAD_CLIENTS, LIMN_LOAD_JOBS (of all clients together) and LIMN_LOAD_KILLS say otherwise. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "client.h"
#include "site.h"
#include "test.h"

enum { MOST_CLIENTS = 256, MOST_JOBS = 20000 };

static int setting(const char *name, int otherwise, int most)
{
    const char *text = getenv(name);
    int n = text ? atoi(text) : otherwise;
    return n < 1 ? 1 : n > most ? most : n;
}

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

/* A job that takes a moment: a picture of one colour, another one for each number. */
static void job_text(char *out, size_t cap, int number, const char *client)
{
    snprintf(out, cap, "{\"client_id\":\"%s\",\"prompt\":{\"1\":{\"class_type\":\"EmptyImage\",\"inputs\":{\"width\":16,\"height\":16,\"batch_size\":1,\"color\":%d}},"
                       "\"2\":{\"class_type\":\"SaveImage\",\"inputs\":{\"filename_prefix\":\"load/%s\",\"images\":[\"1\",0]}}}}", client, number + 1, client);
}

struct load_client {
    int index, jobs, port;
    char (*ids)[64];
    int accepted, succeeded, strange; /* strange: of another client, told twice, or out of order */
    pthread_t thread;
};

/* Listens until all of its own jobs have succeeded. */
static void *hear(void *self)
{
    struct load_client *c = self;
    char path[64];
    int status, next = 0;
    snprintf(path, sizeof path, "/ws?clientId=c%d", c->index);
    int s = ws_connect(c->port, path, "", &status);
    json_decref(ws_wait(s, "status"));
    char text[1000];
    for (int i = 0; i < c->jobs; i++) {
        snprintf(path, sizeof path, "c%d", c->index);
        job_text(text, sizeof text, c->index * c->jobs + i, path);
        struct answer a = ask_full(c->port, "POST", "/prompt", "", text, strlen(text));
        json_t *j = a.body ? json_loads(a.body, 0, NULL) : NULL;
        const char *id = json_string_value(json_object_get(j, "prompt_id"));
        if (a.status == 200 && id)
            snprintf(c->ids[c->accepted++], 64, "%s", id);
        json_decref(j);
        answer_release(&a);
    }
    while (next < c->accepted) {
        json_t *j = ws_wait(s, "execution_success");
        const char *id = json_string_value(json_object_get(json_object_get(j, "data"), "prompt_id"));
        if (!id)
            break;
        if (strcmp(id, c->ids[next])) /* one's own jobs run in the order in which they were accepted */
            c->strange++;
        next++;
        json_decref(j);
    }
    c->succeeded = next;
    close(s);
    return NULL;
}

TEST(many_clients_at_once_lose_nothing)
{
    int clients = setting("LIMN_LOAD_CLIENTS", 8, MOST_CLIENTS), jobs = setting("LIMN_LOAD_JOBS", 64, MOST_JOBS) / clients;
    struct load_client *all = mem_zeroed((size_t)clients, sizeof *all);
    int status, watchers[4];
    site_defaults();
    site_options.connections = 4 * clients + 32;
    site_start();
    for (int i = 0; i < 4; i++) /* others who look on: two of them never read */
        watchers[i] = ws_connect(site_port, "/ws", "", &status);
    json_decref(post_json(site_port, "/free", "{}", 200));
    for (int i = 0; i < clients; i++) {
        all[i] = (struct load_client){ .index = i, .jobs = jobs, .port = site_port, .ids = mem_zeroed((size_t)jobs, sizeof *all[i].ids) };
        assert_int_equal(pthread_create(&all[i].thread, NULL, hear, &all[i]), 0);
    }
    size_t early = 0;
    for (int i = 0; i < clients; i++) {
        pthread_join(all[i].thread, NULL);
        early = early ? early : mem_rss();
        CHECK(all[i].accepted == jobs && all[i].succeeded == jobs && !all[i].strange, "client %d: %d of %d accepted, %d told, %d strange", i, all[i].accepted, jobs,
              all[i].succeeded, all[i].strange);
    }
    /* the history: each once, in the order of numbers */
    json_t *history = get_json(site_port, "/history", 200), *entry;
    const char *id;
    double before = -1;
    CHECK((int)json_object_size(history) == clients * jobs, "%zu in the history", json_object_size(history));
    json_object_foreach(history, id, entry) {
        double number = json_number_value(json_array_get(json_object_get(entry, "prompt"), 0));
        CHECK(number > before && !strcmp(json_string_value(json_object_get(json_object_get(entry, "status"), "status_str")), "success"), "%s: number %g behind %g", id,
              number, before);
        before = number;
    }
    json_decref(history);
    CHECK(mem_rss() < early + ((size_t)64 << 20), "memory grew from %zu to %zu MiB", early >> 20, mem_rss() >> 20);
    for (int i = 0; i < clients; i++)
        mem_free(all[i].ids);
    for (int i = 0; i < 4; i++)
        close(watchers[i]);
    mem_free(all);
    site_stop();
}

/* --- a server of its own process --- */

struct child {
    pid_t pid;
    int port;
};

/* Starts the program on these folders; its first line tells the port. */
static struct child start_child(void)
{
    struct child c = { 0 };
    char line[100] = "", base[PATH_MAX_BYTES];
    FILE *f;
    snprintf(base, sizeof base, "%s", site_path(""));
    c.pid = site_program((const char *const[]){ "serve", "--base-directory", base, "--port", "0", "--quiet", NULL }, &f);
    CHECK(fgets(line, sizeof line, f) && sscanf(line, "http://127.0.0.1:%d/", &c.port) == 1, "it said: %s", line);
    fclose(f);
    return c;
}

/* How many jobs have ended well. */
static int64_t completed(int port)
{
    json_t *j = get_json(port, "/jobs?status=completed&limit=1", 200);
    int64_t n = json_integer_value(json_object_get(json_object_get(j, "pagination"), "total"));
    json_decref(j);
    return n;
}

TEST(a_server_that_is_killed_again_and_again_does_every_accepted_job_once)
{
    int64_t done = -1;
    int kills = setting("LIMN_LOAD_KILLS", 3, 1000), jobs = setting("LIMN_LOAD_JOBS", 64, MOST_JOBS), accepted = 0;
    char (*ids)[64] = mem_zeroed((size_t)jobs, sizeof *ids), text[1000];
    site_defaults();
    struct child server = start_child();
    unsigned random = 12345;
    for (int i = 0, killed = 0; i < jobs || killed < kills; i++) {
        if (i < jobs) {
            job_text(text, sizeof text, i, "k");
            struct answer a = ask_full(server.port, "POST", "/prompt", "", text, strlen(text));
            json_t *j = a.body ? json_loads(a.body, 0, NULL) : NULL;
            const char *id = json_string_value(json_object_get(j, "prompt_id"));
            if (a.status == 200 && id)
                snprintf(ids[accepted++], 64, "%s", id);
            json_decref(j);
            answer_release(&a);
        }
        if (killed < kills && (i >= jobs || i % (jobs / kills + 1) == jobs / kills / 2)) { /* while it draws and stores */
            /* one that is broken off again and again is given up (JOB_MOST_ATTEMPTS): between two kills one ends */
            for (int turn = 0; turn < 600 && completed(server.port) <= done && completed(server.port) < accepted; turn++)
                pause_ms(10);
            done = completed(server.port);
            random = random * 1664525 + 1013904223;
            pause_ms((int)(random >> 24) % 40);
            kill(server.pid, SIGKILL);
            waitpid(server.pid, NULL, 0);
            killed++;
            server = start_child();
        }
    }
    json_t *history = NULL;
    for (int i = 0; i < 600; i++) {
        json_t *q = get_json(server.port, "/prompt", 200);
        int64_t left = json_integer_value(json_object_get(json_object_get(q, "exec_info"), "queue_remaining"));
        json_decref(q);
        if (!left)
            break;
        pause_ms(100);
    }
    history = get_json(server.port, "/history", 200);
    for (int i = 0; i < accepted; i++) {
        json_t *entry = json_object_get(history, ids[i]);
        CHECK(entry, "job %d (%s) is lost", i, ids[i]);
        CHECK(!strcmp(json_string_value(json_object_get(json_object_get(entry, "status"), "status_str")), "success"), "job %d failed", i);
    }
    /* a job whose answer was broken off by a kill may be there, too; each is there once, and so is its picture in the gallery */
    CHECK((int)json_object_size(history) >= accepted && (int)json_object_size(history) <= accepted + kills, "%zu in the history, %d accepted", json_object_size(history),
          accepted);
    /* the output folder: a file for each, whole, and no other; job_text's prefix is load/k */
    json_t *outputs, *file;
    char path[100];
    size_t files = 0, count;
    const char *id;
    json_object_foreach(history, id, outputs) {
        file = json_array_get(json_object_get(json_object_get(json_object_get(outputs, "outputs"), "2"), "images"), 0);
        snprintf(path, sizeof path, "/view?subfolder=load&filename=%s", json_string_value(json_object_get(file, "filename")));
        struct answer a = ask_full(server.port, "GET", path, "", NULL, 0);
        CHECK(a.status == 200 && a.body_bytes > 100, "%s of %s: %d, %zu bytes", path, id, a.status, a.body_bytes);
        answer_release(&a);
        files++;
    }
    char **names;
    struct err e = { 0 };
    REQUIRE(folder_names(site_path("output/load"), ".png", &names, &count, &e));
    CHECK(count == files, "%zu files in the output folder, %zu in the history", count, files);
    folder_names_free(names, count);
    json_decref(history);
    kill(server.pid, SIGTERM);
    int status;
    waitpid(server.pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "SIGTERM ends it with %d", status);
    mem_free(ids);
}
