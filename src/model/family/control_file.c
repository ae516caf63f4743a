#include "model/family/control_file.h"

#include <stdio.h>
#include <string.h>

#include "model/family/apart.h"

static bool read_config(struct control_file *c, struct err *e)
{
    char where[PATH_MAX_BYTES];
    json_t *j = apart_config(c->path, "_class_name", "ControlNetModel", where, e);
    if (!j && !e->code && c->file) {
        j = single_file_json(c->file, "unet", PREDICTS_AUTO, e);
        snprintf(where, sizeof where, "%s", c->path);
        /* nothing in the file says that of its residuals only the means count: ComfyUI goes by its maker's name, too */
        if (j && strstr(path_name(c->path), "shuffle") && json_object_set_new(j, "global_pool_conditions", json_true()))
            err_nomem(e, c->path);
    } else if (!j && !e->code) {
        err_set(e, ERR_MISSING, "%s: no config.json of a ControlNetModel", where);
    }
    bool good = j && !e->code && controlnet_config_from_json(&c->config, j, where, e);
    json_decref(j);
    return good;
}

bool control_file_open(struct control_file *c, const char *path, struct err *e)
{
    *c = (struct control_file){ 0 };
    bool good = path_join(c->path, "", path, e) && (path_exists(path) || err_set(e, ERR_MISSING, "%s: no such folder or file, for a ControlNet", path));
    if (good && !path_is_folder(path))
        good = (c->file = single_control_open(path, e)) != NULL;
    good = good && read_config(c, e) && (c->weights = c->file ? single_file_weights(c->file, SINGLE_UNET, e) : weights_open(path, e));
    if (!good)
        control_file_release(c);
    return good;
}

void control_file_release(struct control_file *c)
{
    weights_free(c->weights);
    single_file_free(c->file);
    *c = (struct control_file){ 0 };
}

static bool differs(const struct control_file *c, const char *what, int64_t mine, int64_t theirs, struct err *e)
{
    return err_set(e, ERR_TYPE, "%s is a ControlNet for another denoiser: its %s is %lld, the denoiser's %lld", c->path, what, (long long)mine,
                   (long long)theirs);
}

bool control_file_fits(const struct control_file *c, const struct model_parts *m, struct err *e)
{
    const struct unet_config *a = &c->config.unet, *b = &m->unet;
    int64_t cell = controlnet_cell(&c->config);
    if (a->blocks != b->blocks)
        return differs(c, "number of levels", (int64_t)a->blocks, (int64_t)b->blocks, e);
    for (size_t i = 0; i < a->blocks; i++) {
        if (a->width[i] != b->width[i])
            return differs(c, path_of("width of level %zu", i).s, a->width[i], b->width[i], e);
        if (a->layers[i] != b->layers[i])
            return differs(c, path_of("number of layers of level %zu", i).s, a->layers[i], b->layers[i], e);
    }
    if (unet_text_width(a) != unet_text_width(b))
        return differs(c, "width of a text", unet_text_width(a), unet_text_width(b), e);
    if (a->in_channels != m->vae.latent_channels)
        return differs(c, "number of channels", a->in_channels, m->vae.latent_channels, e);
    if (a->addition_width != b->addition_width || a->time_ids_dim != b->time_ids_dim)
        return differs(c, "pooled text with sizes", a->addition_width, b->addition_width, e);
    if (cell != vae_factor(&m->vae))
        return differs(c, "number of pixels for a cell", cell, vae_factor(&m->vae), e);
    if (c->config.picture_channels != 3)
        return err_set(e, ERR_TYPE, "%s sees a picture of %lld channels; pictures have 3", c->path, (long long)c->config.picture_channels);
    return true;
}
