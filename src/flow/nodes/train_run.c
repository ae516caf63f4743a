/* A whole training as a node: the program runs itself, `limn train lora`, so that a training has memory of its own, ends with a
 * checkpoint when the flow is cancelled or the server goes, and goes on from it when the node runs again. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "base/clock.h"
#include "flow/nodes/nodes.h"

struct train_run_args {
    const char *name, *model, *folder, *targets, *prompts;
    int64_t steps, rank, batch, resolution, save_every, sample_every;
    double rate, text_rate;
    bool recompute, plan;
};
#define AT(member) offsetof(struct train_run_args, member)
static const char *const target_names[] = { "attention", "linear", "all", NULL };
static const struct node_input inputs[] = {
    { "name", "STRING", AT(name), "style", .help = "of the training and its LoRA; one that is there goes on where it was stopped" },
    { "model", "COMBO", AT(model), .folder = "checkpoints", .help = "what is taught" },
    { "folder", "COMBO", AT(folder), .folder = "input/", .help = "a data set in the input folder" },
    { "steps", "INT", AT(steps), "500", .min = 1, .max = 1000000, .help = "optimizer steps" },
    { "learning_rate", "FLOAT", AT(rate), "0.0001", .min = 0, .max = 1, .step = 0.00001, .round = 0.0000001, .help = "how far a step goes" },
    { "rank", "INT", AT(rank), "16", .min = 1, .max = 1024, .help = "of each pair of matrices: how much can be learnt" },
    { "plan", "BOOLEAN", AT(plan), "false", .help = "only tell what memory it will take" },
    { "sample_prompts", "STRING", AT(prompts), "", .flags = NODE_MULTILINE, .help = "words of sample pictures, a line for each" },
    { "sample_every", "INT", AT(sample_every), "100", .min = 1, .max = 1000000, .flags = NODE_ADVANCED, .help = "steps between sample pictures" },
    { "save_every", "INT", AT(save_every), "100", .min = 1, .max = 1000000, .flags = NODE_ADVANCED, .help = "steps between checkpoints" },
    { "batch", "INT", AT(batch), "1", .min = 1, .max = 1024, .flags = NODE_ADVANCED, .help = "pictures at once" },
    { "resolution", "INT", AT(resolution), "0", .min = 0, .max = 4096, .flags = NODE_ADVANCED, .help = "pixels of a side; 0: the model's own" },
    { "targets", "COMBO", AT(targets), .choices = target_names, .flags = NODE_ADVANCED, .help = "which layers learn" },
    { "text_learning_rate", "FLOAT", AT(text_rate), "0", .min = 0, .max = 1, .step = 0.00001, .round = 0.0000001, .flags = NODE_ADVANCED,
      .help = "of the text encoders; 0: they stay as they are" },
    { "recompute", "BOOLEAN", AT(recompute), "false", .flags = NODE_ADVANCED, .help = "less memory, a third more work" },
    { 0 },
};
static const struct node_output outputs[] = { { .type = "STRING", .name = "lora", .help = "the LoRA's name in loaders" }, { 0 } };

/* A name of one folder. */
static bool simple(const char *name)
{
    return name && *name && *name != '.' && *name != '-' && !strpbrk(name, "/\\\n") && strlen(name) < 200;
}

enum { MOST_WORDS = 64, WORD_BYTES = 64 };

struct command_line {
    char *words[MOST_WORDS + 1]; /* borrowed, or of `made` */
    char made[MOST_WORDS][WORD_BYTES];
    int count;
};

static void add(struct command_line *c, const char *option, const char *value)
{
    c->words[c->count++] = (char *)(uintptr_t)option;
    if (value)
        c->words[c->count++] = (char *)(uintptr_t)value;
}

static void add_number(struct command_line *c, const char *option, double value)
{
    char *word = c->made[c->count];
    snprintf(word, WORD_BYTES, "%.10g", value);
    add(c, option, word);
}

/* Starts it, with what it says in the file `log`. -1 with e set. */
static pid_t start(const struct command_line *c, const char *log, struct err *e)
{
    int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t child = out >= 0 && nothing >= 0 ? fork() : -1;
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGINT); /* it saves, when the server dies */
        signal(SIGINT, SIG_DFL);
        dup2(nothing, 0);
        dup2(out, 1);
        dup2(out, 2);
        execv("/proc/self/exe", c->words);
        _exit(127);
    }
    if (child < 0)
        err_set(e, ERR_IO, "the training cannot be started: %s", strerror(errno));
    if (out >= 0)
        close(out);
    if (nothing >= 0)
        close(nothing);
    return child;
}

/* The step in the last whole line of metrics.jsonl; 0: none yet. */
static int64_t step_of(const char *metrics)
{
    enum { TAIL = 4096 };
    char tail[TAIL + 1];
    FILE *f = fopen(metrics, "rb");
    if (!f)
        return 0;
    long size = !fseek(f, 0, SEEK_END) ? ftell(f) : 0;
    size_t n = size > 0 && !fseek(f, size > TAIL ? -TAIL : -size, SEEK_END) ? fread(tail, 1, TAIL, f) : 0;
    fclose(f);
    while (n && tail[n - 1] != '\n')
        n--;
    tail[n ? n - 1 : 0] = 0;
    const char *line = strrchr(tail, '\n'), *step = strstr(line ? line : tail, "\"step\":");
    return step ? strtoll(step + 7, NULL, 10) : 0;
}

/* Waits for it; a stop ends it, with 10 seconds to save. */
static bool wait_for(struct node_call *call, pid_t child, const char *metrics, int64_t steps, int *status, struct err *e)
{
    double asked = 0;
    int64_t told = -1;
    pid_t done;
    while (!(done = waitpid(child, status, WNOHANG))) {
        struct err stop = { 0 };
        int64_t step = step_of(metrics);
        bool go = step == told ? stop_check(&stop) : node_progress(call, told = step, steps, NULL, &stop);
        if (!go && !asked) {
            *e = stop;
            asked = clock_seconds();
            kill(child, SIGINT);
        }
        if (asked && clock_seconds() - asked > 10)
            kill(child, SIGKILL);
        nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    }
    return done == child ? !asked : err_set(e, ERR_IO, "the training cannot be waited for: %s", strerror(errno));
}

/* What it said last, for people. */
static void said(const char *log, struct text *out)
{
    char *data;
    size_t bytes;
    struct err ignored = { 0 };
    if (!file_read(log, 1 << 20, &data, &bytes, &ignored))
        return;
    while (bytes && data[bytes - 1] == '\n')
        data[--bytes] = 0;
    text_add(out, data);
    mem_free(data);
}

/* The LoRA where loaders find it: output/loras/NAME.safetensors. */
static bool publish(struct node_call *call, const char *run, const char *name, char *to, struct err *e)
{
    char from[PATH_MAX_BYTES], folder[PATH_MAX_BYTES], *data = NULL;
    size_t bytes;
    bool good = path_join(from, run, "lora.safetensors", e) && path_join(folder, call_host(call)->output, "loras", e) && folder_make(folder, e) &&
                path_join(to, folder, path_of("%s.safetensors", name).s, e) && file_read(from, (size_t)8 << 30, &data, &bytes, e) &&
                file_write_whole(to, data, bytes, e);
    mem_free(data);
    return good;
}

static bool train_run(struct node_call *call, const void *args, struct err *e)
{
    const struct train_run_args *a = args;
    const struct flow_host *host = call_host(call);
    char model[PATH_MAX_BYTES], set[PATH_MAX_BYTES], runs[PATH_MAX_BYTES], run[PATH_MAX_BYTES], metrics[PATH_MAX_BYTES], log[PATH_MAX_BYTES], to[PATH_MAX_BYTES];
    struct text words;
    if (!simple(a->name) || !simple(a->folder))
        return err_set(e, ERR_ARG, "%s: want a plain name, without slashes", simple(a->name) ? a->folder : a->name);
    if (!model_places_find(host->models, 1U << MODELS_CHECKPOINTS | 1U << MODELS_DIFFUSERS, "model", a->model, model, e) ||
        !path_join(set, host->input, a->folder, e) || !path_join(runs, host->output, "runs", e) || !folder_make(runs, e) ||
        !path_join(run, runs, a->name, e) || !path_join(metrics, run, "metrics.jsonl", e) ||
        !path_join(log, runs, path_of("%s%s.log", a->name, a->plan ? "-plan" : "").s, e))
        return false;
    struct command_line c = { 0 };
    add(&c, "limn", NULL);
    add(&c, "train", "lora");
    add(&c, "--model", model);
    add(&c, "--dataset", set);
    add(&c, "--output", run);
    add_number(&c, "--steps", (double)a->steps);
    add_number(&c, "--lora-rank", (double)a->rank);
    add_number(&c, "--learning-rate", a->rate);
    add_number(&c, "--text-learning-rate", a->text_rate);
    add_number(&c, "--batch", (double)a->batch);
    add_number(&c, "--save-every", (double)a->save_every);
    add(&c, "--lora-targets", a->targets);
    add(&c, "--log-every", "1");
    if (a->resolution)
        add_number(&c, "--resolution", (double)a->resolution);
    if (a->recompute)
        add(&c, "--gradient-checkpointing", NULL);
    /* each line is a prompt */
    char *prompts = mem_string(a->prompts ? a->prompts : ""), *save = NULL;
    if (!prompts)
        return err_nomem(e, "a training's words");
    bool samples = false;
    for (char *line = strtok_r(prompts, "\r\n", &save); line && c.count < MOST_WORDS - 8; line = strtok_r(NULL, "\r\n", &save)) {
        add(&c, "--sample-prompts", line);
        samples = true;
    }
    if (samples)
        add_number(&c, "--sample-every", (double)a->sample_every);
    add(&c, a->plan ? "--plan" : "--resume", NULL);
    add(&c, "--quiet", NULL);
    int status = 0;
    pid_t child = start(&c, log, e);
    bool good = child > 0 && wait_for(call, child, metrics, a->steps, &status, e);
    mem_free(prompts);
    text_init(&words, 2 << 20);
    if (good) {
        said(log, &words);
        good = text_ok(&words, e);
    }
    if (good && (!WIFEXITED(status) || WEXITSTATUS(status)))
        good = err_set(e, ERR_BACKEND, "the training failed: %s", text_string(&words));
    if (good && !a->plan) {
        text_clear(&words);
        good = publish(call, run, a->name, to, e);
        text_addf(&words, "%s: %lld steps; the LoRA is loras/%s.safetensors", a->name, (long long)a->steps, a->name);
    }
    good = good && text_ok(&words, e) && node_show(call, "text", json_pack("[s]", text_string(&words)), e) &&
           node_give(call, 0, datum_of_text(a->plan ? "" : path_of("%s.safetensors", a->name).s, e), e);
    text_release(&words);
    return good;
}

/* The data set may be another, and what is done goes on at once. */
static bool changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    *always = true;
    return true;
}

const struct node nodes_train_run[] = {
    { "TrainLoraRun", "Train a LoRA", "Teaches a model a style or a thing from a data set, as `limn train lora` does, with checkpoints, samples and a curve.", "training",
      inputs, outputs, .args_bytes = sizeof(struct train_run_args), .flags = NODE_OUTPUT | NODE_FILES, .run = train_run, .changed = changed,
      .aliases = "fine-tune, training, dataset" },
    { 0 },
};
