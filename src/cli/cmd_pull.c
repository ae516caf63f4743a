/* limn pull: models from a hub, files from an address. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/engine.h"
#include "cli/json_line.h"
#include "cli/progress_bar.h"
#include "fetch/hub.h"

struct pull_args {
    struct option_texts words, include;
    const char *output, *endpoint, *revision, *variant, *sha256;
    int64_t jobs;
    int hub;
    bool list, json, quiet;
};

#define AT(member) offsetof(struct pull_args, member)

static const char *hub_choice(int index)
{
    return hubs[index].name;
}

static const struct option pull_options[] = {
    { "output", 'o', OPTION_TEXT, AT(output), .value = "FOLDER", .help = "where the files go",
      .initial_help = "the model's name in $LIMN_MODELS or ~/.local/share/limn/models; of an address: this folder", .group = "What" },
    { "hub", 0, OPTION_CHOICE, AT(hub), "hf", .choices = hub_choice, .help = "whose repositories names mean" },
    { "endpoint", 0, OPTION_TEXT, AT(endpoint), .value = "URL", .help = "a mirror that speaks as the hub does",
      .initial_help = "$HF_ENDPOINT or $MODELSCOPE_ENDPOINT, or the hub" },
    { "revision", 0, OPTION_TEXT, AT(revision), .help = "a branch, tag or commit", .initial_help = "main or master" },
    { "variant", 0, OPTION_TEXT, AT(variant), .help = "of the weights where there are several: fp16", .initial_help = "the plain ones" },
    { "include", 0, OPTION_TEXTS, AT(include), .value = "PATTERN",
      .help = "only files whose path matches, as \"unet/*\", whatever they are" },
    { "sha256", 0, OPTION_TEXT, AT(sha256), .value = "HEX", .help = "what the file at an address must have" },
    { "list", 0, OPTION_FLAG, AT(list), .help = "say what would be fetched and fetch nothing" },
    { "jobs", 'j', OPTION_INT, AT(jobs), "4", .min = 1, .max = 16, .help = "files at a time" },
    OPTION_ROW_JSON(struct pull_args),
    OPTION_ROW_QUIET(struct pull_args),
    { 0 },
};

static bool is_address(const char *name)
{
    return !strncmp(name, "http://", 7) || !strncmp(name, "https://", 8);
}

/* The last part of an address without its query. */
static bool name_of_address(const char *url, char *out, size_t bytes, struct err *e)
{
    size_t length = strcspn(url, "?#");
    const char *begin = strstr(url, "://") + 3, *last = begin;
    for (const char *c = begin; c < url + length; c++)
        last = *c == '/' ? c + 1 : last;
    size_t n = (size_t)(url + length - last);
    if (last == begin || n == 0 || n >= bytes || !strncmp(last, ".", n) || !strncmp(last, "..", n))
        return err_set(e, ERR_ARG, "%s does not end in a file's name", url);
    snprintf(out, bytes, "%.*s", (int)n, last);
    return true;
}

/* A token goes to its own hub and to nobody else. */
static bool is_of_hub(const struct hub_place *place, const char *url)
{
    const char *endpoint = hub_endpoint(place);
    size_t n = strlen(endpoint);
    while (n && endpoint[n - 1] == '/')
        n--;
    return !strncmp(url, endpoint, n) && url[n] == '/';
}

static bool pull_address(const struct pull_args *a, const char *url, const struct progress *progress, char *where, struct err *e)
{
    char name[256];
    struct hub_place place = { .hub = &hubs[a->hub], .endpoint = a->endpoint };
    struct download_options o = { .jobs = 1 };
    if (is_of_hub(&place, url)) {
        o.token = hub_token(place.hub);
        o.token_help = place.hub->token_variable;
    }
    if (!name_of_address(url, name, sizeof name, e) || !path_join(where, a->output ? a->output : "", name, e))
        return false;
    struct download file = { url, where, -1, a->sha256 };
    return a->list || download_files(&file, 1, &o, progress, e);
}

/* The chosen files of a list as downloads below `where`. */
struct plan {
    struct download *files;
    char (*paths)[PATH_MAX_BYTES], (*urls)[PATH_MAX_BYTES];
    size_t count;
    int64_t bytes;
};

static void plan_release(struct plan *p)
{
    mem_free(p->files);
    mem_free(p->paths);
    mem_free(p->urls);
}

static bool make_plan(struct plan *p, const struct hub_list *l, const struct hub_place *place, const char *where, struct err *e)
{
    p->files = mem_zeroed(l->count + 1, sizeof *p->files);
    p->paths = mem_zeroed(l->count + 1, sizeof *p->paths);
    p->urls = mem_zeroed(l->count + 1, sizeof *p->urls);
    if (!p->files || !p->paths || !p->urls)
        return err_nomem(e, "a list of files");
    for (size_t i = 0; i < l->count; i++) {
        const struct hub_file *f = &l->at[i];
        if (!f->wanted)
            continue;
        if (!path_join(p->paths[p->count], where, f->path, e) || !hub_url(place, f->path, p->urls[p->count], PATH_MAX_BYTES, e))
            return false;
        p->files[p->count] = (struct download){ p->urls[p->count], p->paths[p->count], f->bytes, *f->sha256 ? f->sha256 : NULL };
        p->bytes += f->bytes > 0 ? f->bytes : 0;
        p->count++;
    }
    return p->count || err_set(e, ERR_MISSING, "%s has no file that is wanted; --include chooses, --list shows", place->repository);
}

static bool pull_repository(const struct pull_args *a, const char *name, const struct progress *progress, char *where, struct plan *plan,
                            struct hub_list *list, struct err *e)
{
    const struct hub *hub = &hubs[a->hub];
    struct hub_place place = { hub, a->endpoint, name, a->revision };
    struct download_options o = { .jobs = (int)a->jobs, .token = hub_token(hub), .token_help = hub->token_variable };
    char models[PATH_MAX_BYTES];
    if (a->output ? !path_join(where, "", a->output, e) : !engine_pull_place(models, e) || !path_join(where, models, path_name(name), e))
        return false;
    if (!hub_list(list, &place, &o, e))
        return false;
    hub_choose(list, a->include.items, (size_t)a->include.count, a->variant);
    return make_plan(plan, list, &place, where, e) && (a->list || download_files(plan->files, plan->count, &o, progress, e));
}

static bool say(const struct pull_args *a, const struct plan *plan, const char *where, struct err *e)
{
    if (!a->json) {
        for (size_t i = 0; a->list && i < plan->count; i++)
            printf("%12lld  %s\n", (long long)plan->files[i].bytes, plan->paths[i]);
        printf("%s\n", where);
        return true;
    }
    json_t *j = json_pack("{s:s,s:I,s:I}", "path", where, "files", (json_int_t)plan->count, "bytes", (json_int_t)plan->bytes);
    return json_line(j, JSON_COMPACT, e);
}

static bool pull_run(const void *args, struct err *e)
{
    const struct pull_args *a = args;
    const char *name = a->words.items[0];
    char where[PATH_MAX_BYTES];
    struct progress_bar bar;
    struct plan plan = { 0 };
    struct hub_list list = { 0 };
    progress_bar_init(&bar, a->quiet);
    struct progress progress = progress_bar_steps(&bar);
    bool good = is_address(name) ? pull_address(a, name, &progress, where, e)
                                 : pull_repository(a, name, &progress, where, &plan, &list, e);
    progress_bar_end(&bar);
    good = good && say(a, &plan, where, e);
    plan_release(&plan);
    hub_list_release(&list);
    return good;
}

const struct command command_pull = {
    .name = "pull",
    .help = "Gets a model from a hub, or a file by its address.",
    .details = "Of a repository only what is needed is taken: one format and variant of each weight. What was broken off goes on with the "
               "same command; sizes and SHA-256 are checked.\n"
               "HF_TOKEN and MODELSCOPE_API_TOKEN are sent to their hubs, HF_ENDPOINT and MODELSCOPE_ENDPOINT name mirrors.",
    .words = "OWNER/NAME|URL", .words_place = AT(words), .words_min = 1, .words_max = 1,
    .options = pull_options, .args_bytes = sizeof(struct pull_args), .run = pull_run,
};
