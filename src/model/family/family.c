#include "model/family/family.h"

const char *const model_part_names[PART_COUNT] = { "text_encoder", "text_encoder_2", "unet", "vae" };

const struct family *const families[] = { &family_sd, &family_sdxl, &family_kolors, NULL };

const struct family *family_of(const char *class, const struct family_pipeline **pipeline)
{
    for (const struct family *const *f = families; *f; f++)
        for (const struct family_pipeline *p = (*f)->pipelines; p->class; p++)
            if (!strcmp(p->class, class)) {
                *pipeline = p;
                return *f;
            }
    return NULL;
}

int64_t model_text_width(const struct model_parts *m)
{
    int64_t width = 0;
    for (int i = 0; i < TEXT_PARTS; i++)
        width += m->text[i].width;
    return width;
}

enum model_part model_pooling_part(const struct model_parts *m)
{
    int part = TEXT_PARTS - 1;
    while (part > 0 && !m->text[part].kind)
        part--;
    return (enum model_part)part;
}

int64_t model_pooled_width(const struct model_parts *m)
{
    return m->family->pools ? m->text[model_pooling_part(m)].pooled : 0;
}

int64_t model_extra_channels(const struct model_parts *m)
{
    return m->unet.in_channels - m->vae.latent_channels;
}

static bool text_agrees(const struct model_parts *m, const char *where, struct err *e)
{
    const struct text_encoder *first = NULL;
    for (int i = 0; i < TEXT_PARTS; i++) {
        const struct text_encoder *t = &m->text[i];
        if (!t->kind)
            continue;
        if (m->family->states == TEXT_PENULTIMATE && t->layers < 2)
            return err_set(e, ERR_FORMAT, "%s: %s has one layer, the denoiser wants the states before the last", where,
                           model_part_names[i]);
        first = first ? first : t;
        if (t->tokens != first->tokens)
            return err_set(e, ERR_FORMAT, "%s: one text encoder takes %lld tokens, the other %lld: they must be equal", where,
                           (long long)first->tokens, (long long)t->tokens);
    }
    if (!first)
        return err_set(e, ERR_MISSING, "%s: no text encoder", where);
    if (unet_text_width(&m->unet) == model_text_width(m))
        return true;
    char of[100] = "text_encoder/config.json has \"hidden_size\"";
    if (!m->text[0].kind)
        strcpy(of, "text_encoder_2/config.json has \"hidden_size\"");
    else if (m->text[1].kind)
        strcpy(of, "\"hidden_size\" of both text encoders is together");
    return err_set(e, ERR_FORMAT, "%s: unet/config.json has \"%s\" %lld, %s %lld: they must be equal", where,
                   m->unet.text_dim ? "encoder_hid_dim" : "cross_attention_dim", (long long)unet_text_width(&m->unet), of,
                   (long long)model_text_width(m));
}

/* What the pipelines do not apply is refused: the picture would not be diffusers'. */
static bool vae_agrees(const struct model_parts *m, const char *where, struct err *e)
{
    const char *pipeline = m->family->pipelines[0].class;
    if (m->vae.out_channels != 3)
        return err_set(e, ERR_TYPE, "%s: vae/config.json has \"out_channels\" %lld: pictures have 3", where,
                       (long long)m->vae.out_channels);
    if (m->vae.shift_factor != 0)
        return err_set(e, ERR_TYPE, "%s: vae/config.json has \"shift_factor\" %g: %s has none", where, m->vae.shift_factor,
                       pipeline);
    if (m->vae.normed && !m->family->norms)
        return err_set(e, ERR_TYPE, "%s: vae/config.json has \"latents_mean\": %s has none", where, pipeline);
    return true;
}

static bool channels_agree(const struct model_parts *m, const char *where, struct err *e)
{
    int64_t extra = model_extra_channels(m);
    if (extra && !(m->settings.fills_in && extra == m->vae.latent_channels + 1))
        return err_set(e, ERR_FORMAT, "%s: unet/config.json has \"in_channels\" %lld, vae/config.json has "
                       "\"latent_channels\" %lld: they must be equal%s", where, (long long)m->unet.in_channels,
                       (long long)m->vae.latent_channels,
                       m->settings.fills_in ? ", or there must be as many again and one for a mask" : "");
    if (m->unet.out_channels != m->vae.latent_channels)
        return err_set(e, ERR_FORMAT, "%s: unet/config.json has \"in_channels\" %lld and \"out_channels\" %lld: they must "
                       "be equal", where, (long long)m->unet.in_channels, (long long)m->unet.out_channels);
    return true;
}

bool model_parts_agree(const struct model_parts *m, const char *where, struct err *e)
{
    return text_agrees(m, where, e) && channels_agree(m, where, e) && vae_agrees(m, where, e) &&
           (!m->family->agree || m->family->agree(m, where, e));
}
