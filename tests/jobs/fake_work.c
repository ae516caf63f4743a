#include "jobs/fake_work.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_text.h"
#include "store/picture_files.h"
#include "test.h"

static int picture_bytes(int n, char out[40])
{
    return snprintf(out, 40, "the picture of job %d", n);
}

void fake_hash(int n, char out[GALLERY_HASH_BYTES])
{
    char bytes[40];
    char *digits = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)bytes, (gsize)picture_bytes(n, bytes));
    strcpy(out, digits);
    g_free(digits);
}

bool fake_run(void *self, struct job_run *run, struct err *e)
{
    struct fake *fake = self;
    json_t *prompt = json_text_tree(job_run_prompt(run), "prompt", e);
    int n = (int)json_integer_value(json_object_get(prompt, "n")), ms = (int)json_integer_value(json_object_get(prompt, "ms"));
    bool fails = json_is_true(json_object_get(prompt, "fails"));
    json_decref(prompt);
    atomic_fetch_add(&fake->runs, 1);
    if (strlen(fake->order) + strlen(job_run_id(run)) + 2 < sizeof fake->order && !fake->done) {
        strcat(fake->order, job_run_id(run));
        strcat(fake->order, " ");
    }
    job_run_event(run, "execution_start", json_pack("{s:s}", "prompt_id", job_run_id(run)));
    for (double begin = clock_seconds(); clock_seconds() - begin < ms * 1e-3; usleep(1000))
        if (!job_run_check(run, e))
            return false;
    if (fails)
        return err_set(e, ERR_SHAPE, "the work of \"%d\" fails", n);
    char bytes[40], hash[GALLERY_HASH_BYTES], prompt_text[40];
    int count = picture_bytes(n, bytes);
    snprintf(prompt_text, sizeof prompt_text, "fake %d", n);
    struct gallery_facts facts = { .hash = hash, .type = "txt", .bytes = count, .prompt = prompt_text };
    if (!picture_file_put(fake->folder, bytes, (size_t)count, "txt", hash, e) || !job_run_picture(run, &facts, e) ||
        !job_run_result(run, "{\"9\":{\"images\":[{\"filename\":\"a.png\",\"subfolder\":\"\",\"type\":\"output\"}]}}", "{\"9\":{\"node_id\":\"9\"}}",
                        "[[\"execution_start\",{}],[\"execution_success\",{}]]", NULL, e))
        return false;
    job_run_event_at_end(run, "executing", json_pack("{s:n}", "node"), false);
    job_run_event_at_end(run, "execution_success", json_object(), true);
    if (fake->done)
        fake->done(fake->done_self, job_run_id(run));
    return true;
}

/* What a failed test leaves behind, in the process that made it. */
static pid_t folders_owner;
static void remove_folders(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf -- /dev/shm/limn-test-%ld-*", (long)getpid());
    if (getpid() == folders_owner && system(command))
        fprintf(stderr, "folders of the test are left in /dev/shm\n");
}

void fake_folder(char *out, const char *name)
{
    if (!folders_owner) {
        folders_owner = getpid();
        atexit(remove_folders);
    }
    if (access("/dev/shm", W_OK) == 0)
        snprintf(out, 300, "/dev/shm/limn-test-%ld-%s", (long)getpid(), name);
    else
        snprintf(out, 300, "%s", test_scratch(name));
    fake_folder_remove(out);
    assert_int_equal(mkdir(out, 0700), 0);
}

void fake_folder_remove(const char *folder)
{
    char command[400];
    snprintf(command, sizeof command, "rm -rf -- '%s'", folder);
    assert_int_equal(system(command), 0);
}

bool fake_wait(struct queue *q, double seconds)
{
    int64_t count = 1;
    for (double begin = clock_seconds(); clock_seconds() - begin < seconds; usleep(2000)) {
        struct err e = { 0 };
        if (queue_remaining(q, NULL, &count, &e) && !count)
            return true;
    }
    return false;
}
