#include "model/places/places.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/progress.h"

enum { MOST_FOLDERS = 2 };

/* Keys, and the folders below models/ that ComfyUI looks at for them. */
static const struct kind_row {
    const char *alias, *folders[MOST_FOLDERS];
} kinds[MODELS_KINDS] = {
    [MODELS_CHECKPOINTS] = { NULL, { "checkpoints" } },
    [MODELS_DIFFUSERS] = { NULL, { "diffusers" } },
    [MODELS_DIFFUSION_MODELS] = { "unet", { "unet", "diffusion_models" } },
    [MODELS_TEXT_ENCODERS] = { "clip", { "text_encoders", "clip" } },
    [MODELS_VAE] = { NULL, { "vae" } },
    [MODELS_VAE_APPROX] = { NULL, { "vae_approx" } },
    [MODELS_LORAS] = { NULL, { "loras" } },
    [MODELS_EMBEDDINGS] = { NULL, { "embeddings" } },
    [MODELS_CONTROLNET] = { NULL, { "controlnet", "t2i_adapter" } },
    [MODELS_UPSCALE_MODELS] = { NULL, { "upscale_models" } },
    [MODELS_CLIP_VISION] = { NULL, { "clip_vision" } },
    [MODELS_STYLE_MODELS] = { NULL, { "style_models" } },
    [MODELS_GLIGEN] = { NULL, { "gligen" } },
    [MODELS_HYPERNETWORKS] = { NULL, { "hypernetworks" } },
    [MODELS_PHOTOMAKER] = { NULL, { "photomaker" } },
    [MODELS_CLASSIFIERS] = { NULL, { "classifiers" } },
    [MODELS_MODEL_PATCHES] = { NULL, { "model_patches" } },
    [MODELS_AUDIO_ENCODERS] = { NULL, { "audio_encoders" } },
};

const char *const model_kind_names[MODELS_KINDS] = {
    [MODELS_CHECKPOINTS] = "checkpoints",       [MODELS_DIFFUSERS] = "diffusers",
    [MODELS_DIFFUSION_MODELS] = "diffusion_models", [MODELS_TEXT_ENCODERS] = "text_encoders",
    [MODELS_VAE] = "vae",                       [MODELS_VAE_APPROX] = "vae_approx",
    [MODELS_LORAS] = "loras",                   [MODELS_EMBEDDINGS] = "embeddings",
    [MODELS_CONTROLNET] = "controlnet",         [MODELS_UPSCALE_MODELS] = "upscale_models",
    [MODELS_CLIP_VISION] = "clip_vision",       [MODELS_STYLE_MODELS] = "style_models",
    [MODELS_GLIGEN] = "gligen",                 [MODELS_HYPERNETWORKS] = "hypernetworks",
    [MODELS_PHOTOMAKER] = "photomaker",         [MODELS_CLASSIFIERS] = "classifiers",
    [MODELS_MODEL_PATCHES] = "model_patches",   [MODELS_AUDIO_ENCODERS] = "audio_encoders",
};

/* ComfyUI's, and GGUF. The order in which a name without an ending is tried. */
static const char *const endings[] = { ".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".pt2", ".pkl" };
enum { ENDINGS = sizeof endings / sizeof *endings };

enum model_kind model_kind_of(const char *key)
{
    int kind = 0;
    while (kind < MODELS_KINDS && strcmp(key, model_kind_names[kind]) && !(kinds[kind].alias && !strcmp(key, kinds[kind].alias)))
        kind++;
    return (enum model_kind)kind;
}

/* --- which folders --- */

void model_places_release(struct model_places *p)
{
    for (size_t i = 0; i < p->count; i++)
        mem_free(p->items[i].path);
    mem_free(p->items);
    text_release(&p->notes);
    *p = (struct model_places){ 0 };
}

static bool add(struct model_places *p, enum model_kind kind, const char *path, bool first, enum place_form form, struct err *e)
{
    size_t at = 0, length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    while (at < p->count && (p->items[at].kind != kind || strlen(p->items[at].path) != length ||
                             memcmp(p->items[at].path, path, length)))
        at++;
    if (at == p->count) {
        if (p->count == PLACES_MOST)
            return err_set(e, ERR_LIMIT, "more than %d folders of models", PLACES_MOST);
        struct model_place *grown = mem_grow(p->items, &p->cap, p->count + 1, sizeof *grown);
        char *copy = grown ? mem_string(path) : NULL;
        p->items = grown ? grown : p->items;
        if (!copy)
            return err_nomem(e, "the folders of models");
        copy[length] = 0;
        grown[p->count++] = (struct model_place){ kind, copy, form };
    }
    if (first) {
        struct model_place moved = p->items[at];
        memmove(p->items + 1, p->items, at * sizeof *p->items);
        p->items[0] = moved;
    }
    return true;
}

bool model_places_add(struct model_places *p, enum model_kind kind, const char *path, bool first, struct err *e)
{
    return add(p, kind, path, first, PLACE_PLAIN, e);
}

bool model_places_add_models(struct model_places *p, const char *folder, struct err *e)
{
    char path[PATH_MAX_BYTES];
    for (int kind = 0; kind < MODELS_KINDS; kind++)
        for (int i = 0; i < MOST_FOLDERS && kinds[kind].folders[i]; i++)
            if (!path_join(path, folder, kinds[kind].folders[i], e) || !add(p, (enum model_kind)kind, path, false, PLACE_PLAIN, e))
                return false;
    return true;
}

bool model_places_add_own(struct model_places *p, const char *folder, struct err *e)
{
    return add(p, MODELS_DIFFUSERS, folder, false, PLACE_ROOT, e) && add(p, MODELS_CHECKPOINTS, folder, false, PLACE_ROOT, e) &&
           model_places_add_models(p, folder, e);
}

bool model_places_add_output(struct model_places *p, const char *folder, struct err *e)
{
    static const char *const written[] = { "checkpoints", "clip", "vae", "diffusion_models", "loras", "diffusers" };
    char path[PATH_MAX_BYTES];
    for (size_t i = 0; i < sizeof written / sizeof *written; i++)
        if (!path_join(path, folder, written[i], e) || !add(p, model_kind_of(written[i]), path, false, PLACE_PLAIN, e))
            return false;
    return path_join(path, folder, "runs", e) && add(p, MODELS_LORAS, path, false, PLACE_RUNS, e);
}

bool model_places_add_all(struct model_places *p, const struct model_places *from, struct err *e)
{
    for (size_t i = 0; i < from->count; i++)
        if (!add(p, from->items[i].kind, from->items[i].path, false, from->items[i].form, e))
            return false;
    return true;
}

bool model_places_add_comfyui(struct model_places *p, const char *folder, struct err *e)
{
    char models[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    if (!path_join(models, folder, "models", e))
        return false;
    if (!path_is_folder(models))
        return err_set(e, ERR_MISSING, "%s is no installation of ComfyUI: there is no folder models in it", folder);
    if (!model_places_add_models(p, models, e) || !path_join(path, folder, "output", e) || !model_places_add_output(p, path, e))
        return false;
    return path_join(path, folder, "extra_model_paths.yaml", e) && (!path_exists(path) || model_places_add_file(p, path, e));
}

bool model_places_add_file(struct model_places *p, const char *path, struct err *e)
{
    char *text;
    size_t bytes;
    if (!path_exists(path))
        return err_set(e, ERR_MISSING, "%s: no such file of model paths", path);
    if (!file_read(path, (size_t)1 << 20, &text, &bytes, e))
        return false;
    bool good = model_places_add_yaml(p, text, bytes, path, e);
    mem_free(text);
    return good;
}

/* --- what is in them --- */

/* The bytes of its known ending; 0: none. */
static size_t ending_bytes(const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < ENDINGS; i++) {
        size_t m = strlen(endings[i]);
        if (n > m && !strcasecmp(name + n - m, endings[i]))
            return m;
    }
    return 0;
}

static bool is_kind_folder(const char *name)
{
    for (int kind = 0; kind < MODELS_KINDS; kind++)
        for (int i = 0; i < MOST_FOLDERS && kinds[kind].folders[i]; i++)
            if (!strcmp(name, kinds[kind].folders[i]))
                return true;
    return false;
}

struct walk {
    const struct model_place *place;
    size_t place_bytes; /* of its path with a '/' */
    bool (*visit)(void *self, const struct model_found *found, struct err *e);
    bool (*enter)(void *self, const char *folder, struct err *e); /* or NULL: called for each folder, before it is looked into */
    void *self;
    size_t *files;
    int64_t sum; /* of the bytes in a model's folder */
};

/* The folders above, so that a link to one of them ends. */
struct above {
    const struct above *next;
    dev_t device;
    ino_t node;
    int depth;
};

static bool is_model_folder(const char *path)
{
    char index[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    return path_join(index, path, "model_index.json", &ignored) && path_exists(index);
}

static bool tell(const struct walk *w, const char *path, int64_t bytes, bool folder, const char *why, struct err *e)
{
    const char *name = strlen(path) > w->place_bytes ? path + w->place_bytes : ".";
    struct model_found found = { w->place->kind, name, path, bytes, folder, why };
    return w->visit(w->self, &found, e);
}

/* Only adds up what is in a model's folder if `inside`. */
static bool walk_folder(struct walk *w, const char *folder, const struct above *above, bool inside, struct err *e);

static bool walk_entry(struct walk *w, const char *path, const char *name, const struct above *above, bool inside, struct err *e)
{
    struct stat s;
    bool whole = w->place->kind == MODELS_DIFFUSERS;
    if (name[0] == '.')
        return true;
    if (++*w->files > PLACES_MOST_FILES)
        return err_set(e, ERR_LIMIT, "%s: more than %d files", w->place->path, PLACES_MOST_FILES);
    if (stat(path, &s))
        return inside || whole || !ending_bytes(name) || tell(w, path, 0, false, "a link to nothing", e);
    if (S_ISREG(s.st_mode)) {
        w->sum += inside ? s.st_size : 0;
        return inside || whole || !ending_bytes(name) || tell(w, path, s.st_size, false, NULL, e);
    }
    if (!S_ISDIR(s.st_mode) || (w->place->form == PLACE_ROOT && above->depth == 1 && is_kind_folder(name)))
        return true;
    struct above here = { above, s.st_dev, s.st_ino, above->depth + 1 };
    for (const struct above *a = above; a; a = a->next)
        if (a->device == s.st_dev && a->node == s.st_ino)
            return true;
    if (w->enter && !w->enter(w->self, path, e))
        return false;
    if (here.depth > PLACES_MAX_DEPTH)
        return inside || tell(w, path, 0, true, "a folder too deep", e);
    if (inside || !is_model_folder(path))
        return walk_folder(w, path, &here, inside, e);
    if (!whole)
        return true;
    w->sum = 0;
    return walk_folder(w, path, &here, true, e) && tell(w, path, w->sum, true, NULL, e);
}

static bool walk_folder(struct walk *w, const char *folder, const struct above *above, bool inside, struct err *e)
{
    char path[PATH_MAX_BYTES], **names;
    size_t count;
    struct err why = { 0 };
    if (!stop_check(e))
        return false;
    if (!folder_names(folder, NULL, &names, &count, &why)) {
        if (why.code == ERR_NOMEM)
            return err_nomem(e, folder);
        return inside || tell(w, folder, 0, true, why.text, e);
    }
    bool good = true;
    for (size_t i = 0; good && i < count; i++)
        good = path_join(path, folder, names[i], e) && walk_entry(w, path, names[i], above, inside, e);
    folder_names_free(names, count);
    return good;
}

static bool walk_runs(const struct walk *w, struct err *e)
{
    char path[PATH_MAX_BYTES], name[PATH_MAX_BYTES], **names;
    size_t count;
    struct err why = { 0 };
    if (!folder_names(w->place->path, NULL, &names, &count, &why))
        return why.code == ERR_NOMEM ? err_nomem(e, w->place->path) : tell(w, w->place->path, 0, true, why.text, e);
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        struct stat s;
        if (names[i][0] == '.' || !path_join(path, w->place->path, names[i], &why) || !path_is_folder(path))
            continue;
        if (w->enter && !w->enter(w->self, path, e)) {
            good = false;
        } else if (snprintf(name, sizeof name, "%s/" RUN_LORA, names[i]) < (int)sizeof name && path_join(path, w->place->path, name, &why) &&
                   !stat(path, &s) && S_ISREG(s.st_mode)) {
            snprintf(name, sizeof name, "%s.safetensors", names[i]);
            good = w->visit(w->self, &(struct model_found){ w->place->kind, name, path, s.st_size, false, NULL }, e);
        }
    }
    folder_names_free(names, count);
    return good;
}

/* wanted: visit, enter and self. */
static bool walk_places(const struct model_places *p, enum model_kind kind, const struct walk *wanted, struct err *e)
{
    size_t files = 0;
    bool good = true;
    for (size_t i = 0; good && i < p->count; i++) {
        const struct model_place *place = &p->items[i];
        struct stat s;
        if (place->kind != kind)
            continue;
        if (wanted->enter && !wanted->enter(wanted->self, place->path, e))
            return false;
        if (stat(place->path, &s) || !S_ISDIR(s.st_mode))
            continue;
        struct above here = { NULL, s.st_dev, s.st_ino, 1 };
        size_t length = strlen(place->path);
        struct walk w = { place, length + (place->path[length - 1] != '/'), wanted->visit, wanted->enter, wanted->self, &files, 0 };
        good = place->form == PLACE_RUNS ? walk_runs(&w, e) : walk_folder(&w, place->path, &here, false, e);
    }
    return good;
}

bool model_places_walk(const struct model_places *p, enum model_kind kind,
                       bool (*visit)(void *self, const struct model_found *found, struct err *e), void *self, struct err *e)
{
    return walk_places(p, kind, &(struct walk){ .visit = visit, .self = self }, e);
}

static bool pass(void *self, const struct model_found *found, struct err *e)
{
    (void)self, (void)found, (void)e;
    return true;
}

bool model_places_folders(const struct model_places *p, bool (*enter)(void *self, const char *folder, struct err *e), void *self, struct err *e)
{
    for (int kind = 0; kind < MODELS_KINDS; kind++)
        if (!walk_places(p, (enum model_kind)kind, &(struct walk){ .visit = pass, .enter = enter, .self = self }, e))
            return false;
    return true;
}

/* --- the one of a name --- */

struct search {
    const char *name;
    char *out;
    size_t count;
    char others[700]; /* all that were found, for the error */
};

static void append(char *s, size_t room, const char *before, const char *path)
{
    size_t used = strlen(s);
    snprintf(s + used, room - used, "%s%s", used ? before : "", path);
}

/* Keeps models whose last part is the name. */
static bool keep_same(void *self, const struct model_found *found, struct err *e)
{
    struct search *search = self;
    const char *last = path_name(found->name);
    size_t n = strlen(search->name), length = strlen(last);
    bool same = !strncmp(last, search->name, n) && (n == length || (!found->folder && n + ending_bytes(last) == length));
    if (found->why || !same || !strcmp(search->out, found->path))
        return true;
    if (!search->count++)
        snprintf(search->out, PATH_MAX_BYTES, "%s", found->path);
    append(search->others, sizeof search->others, ", ", found->path);
    return true;
}

/* A run's LoRA by the run's name, with or without the ending. */
static bool is_run(const struct model_place *place, const char *name, char *out, struct err *e)
{
    char run[PATH_MAX_BYTES];
    size_t n = strlen(name), ending = strlen(".safetensors");
    n -= n > ending && !strcmp(name + n - ending, ".safetensors") ? ending : 0;
    return !strchr(name, '/') && snprintf(run, sizeof run, "%.*s/" RUN_LORA, (int)n, name) < (int)sizeof run &&
           path_join(out, place->path, run, e) && path_exists(out);
}

/* Takes what lies at the name's place. */
static bool is_there(const struct model_place *place, const char *name, char *out, struct err *e)
{
    if (place->form == PLACE_RUNS)
        return is_run(place, name, out, e);
    bool folders = place->kind == MODELS_DIFFUSERS || place->kind == MODELS_VAE;
    char longer[PATH_MAX_BYTES];
    for (int i = -1; i < ENDINGS; i++) {
        if (snprintf(longer, sizeof longer, "%s%s", name, i < 0 ? "" : endings[i]) >= (int)sizeof longer)
            return false;
        if (!path_join(out, place->path, longer, e))
            return false;
        if (path_exists(out) && (path_is_folder(out) ? folders && i < 0 : place->kind != MODELS_DIFFUSERS))
            return true;
    }
    return false;
}

static bool leaves(const char *name)
{
    size_t n = strlen(name);
    return name[0] == '/' || !strcmp(name, "..") || !strncmp(name, "../", 3) || strstr(name, "/../") ||
           (n > 3 && !strcmp(name + n - 3, "/.."));
}

static bool missing(const struct model_places *p, unsigned set, const char *what, const char *name, struct err *e)
{
    char looked[700] = "";
    for (size_t i = 0; i < p->count; i++) {
        bool told = !(set >> p->items[i].kind & 1);
        for (size_t k = 0; k < i && !told; k++)
            told = (set >> p->items[k].kind & 1) && !strcmp(p->items[k].path, p->items[i].path);
        if (!told)
            append(looked, sizeof looked, ", ", p->items[i].path);
    }
    return err_set(e, ERR_MISSING, "no %s called %.100s in %s", what, name, *looked ? looked : "any folder: none is known");
}

bool model_places_find(const struct model_places *p, unsigned set, const char *what, const char *name, char *out, struct err *e)
{
    char slashed[PATH_MAX_BYTES];
    if (snprintf(slashed, sizeof slashed, "%s", name) >= (int)sizeof slashed)
        return err_set(e, ERR_LIMIT, "a name of more than %d bytes", PATH_MAX_BYTES);
    for (char *s = slashed; (s = strchr(s, '\\'));)
        *s = '/';
    if (!*slashed || leaves(slashed))
        return err_set(e, ERR_ARG, "%s %.200s: no file is there, and it is no name below a folder of models", what, name);
    for (size_t i = 0; i < p->count; i++)
        if (set >> p->items[i].kind & 1 && is_there(&p->items[i], slashed, out, e))
            return true;
    if (e->code)
        return false;
    *out = 0;
    struct search search = { .name = slashed, .out = out };
    for (int kind = 0; kind < MODELS_KINDS && !strchr(slashed, '/'); kind++)
        if (set >> kind & 1 && !model_places_walk(p, (enum model_kind)kind, keep_same, &search, e))
            return false;
    if (search.count > 1)
        return err_set(e, ERR_ARG, "several are a %s called %.100s: %s", what, name, search.others);
    return search.count == 1 || missing(p, set, what, name, e);
}
