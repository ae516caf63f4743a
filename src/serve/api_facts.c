/* What the page asks beside flows: how a model likes to be drawn with, and how alike two pictures are. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/similarity.h"
#include "model/family/folder.h"
#include "serve/paths.h"
#include "serve/server_internal.h"

/* The names that KSampler has for how the model's makers draw. */
static json_t *facts_of(const struct model_found *found, const struct model_folder *f)
{
    const struct scheduler_config *s = &f->scheduler;
    int64_t side = model_folder_side(f);
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:f,s:s,s:s}", "name", found->name, "width", (json_int_t)side, "height", (json_int_t)side, "cell",
                     (json_int_t)vae_factor(&f->parts.vae), "steps", (json_int_t)(f->default_steps ? f->default_steps : 20), "cfg",
                     f->default_cfg > 0 ? f->default_cfg : 7.5, "sampler", s->class == SCHEDULER_LCM ? "lcm" : "euler", "schedule",
                     s->spacing == SPACING_TRAILING ? "sgm_uniform" : "normal");
}

static bool add_facts(void *self, const struct model_found *found, struct err *e)
{
    struct model_folder f;
    struct err why = { 0 }; /* what is no model of ours is left out: it is in the lists of files */
    if (!model_folder_open(&f, found->path, &why))
        return why.code != ERR_NOMEM || err_nomem(e, "a model's facts");
    json_t *facts = facts_of(found, &f);
    model_folder_release(&f);
    return (facts && !json_array_append_new(self, facts)) || err_nomem(e, "a model's facts");
}

bool get_model_facts(struct exchange *x, struct err *e)
{
    json_t *all = json_array();
    bool good = all || err_nomem(e, "the models' facts");
    struct runner_place place;
    static const enum model_kind kinds[] = { MODELS_CHECKPOINTS, MODELS_DIFFUSERS };
    good = runner_place_init(&place, &x->server->runner_options, owner_of(x), e) && good;
    for (size_t i = 0; good && i < sizeof kinds / sizeof *kinds; i++)
        good = model_places_walk(&place.models, kinds[i], add_facts, all, e);
    runner_place_release(&place);
    if (good)
        return answer_json(x, 200, all, e);
    json_decref(all);
    return false;
}

/* The picture that the query's <which>, <which>_subfolder and <which>_type mean. */
static bool load_picture(struct exchange *x, const char *which, struct image *out, struct err *e)
{
    char key[32], name[1024], subfolder[1024] = "", type[16] = "", root[PATH_MAX_BYTES], folder[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    bool found, ignored;
    if (!exchange_query(x, which, name, sizeof name, &found, e))
        return false;
    if (!found)
        return err_set(e, ERR_ARG, "the query has no %s", which);
    snprintf(key, sizeof key, "%s_subfolder", which);
    if (!exchange_query(x, key, subfolder, sizeof subfolder, &ignored, e))
        return false;
    snprintf(key, sizeof key, "%s_type", which);
    if (!exchange_query(x, key, type, sizeof type, &ignored, e) || !exchange_folder(x, type, root, e) ||
        !path_below(folder, root, subfolder, e) || !path_below(path, folder, name, e))
        return false;
    if (!path_exists(path) || path_is_folder(path))
        return err_set(e, ERR_MISSING, "there is no picture %.200s", name);
    return image_load(out, path, IMAGE_FLATTEN, 0xffffff, e);
}

bool get_similarity(struct exchange *x, struct err *e)
{
    struct image a = { 0 }, b = { 0 };
    json_t *all = json_object();
    bool good = (all || err_nomem(e, "measures")) && load_picture(x, "a", &a, e) && load_picture(x, "b", &b, e);
    if (good && (a.width != b.width || a.height != b.height))
        good = err_set(e, ERR_ARG, "the pictures are of %dx%d and %dx%d: only those of one size can be compared", a.width, a.height, b.width,
                       b.height);
    for (const struct similarity_metric *m = similarity_metrics; good && m->name; m++) {
        double value;
        if (a.width < m->least_px || a.height < m->least_px)
            continue;
        good = similarity_measure(m, &a, &b, &value, e) &&
               (!json_object_set_new(all, m->name, isinf(value) ? json_string("inf") : json_real(value)) || err_nomem(e, "measures"));
    }
    image_release(&a);
    image_release(&b);
    if (good)
        return answer_json(x, 200, all, e);
    json_decref(all);
    return false;
}
