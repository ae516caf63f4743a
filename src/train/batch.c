#include "train/batch.h"

#include "base/mem.h"

bool batch_init(struct batch *b, const struct batch_sizes *s, struct err *e)
{
    *b = (struct batch){ .sizes = *s };
    size_t n = (size_t)s->n, cells = n * (size_t)(s->h * s->w), tokens = n * (size_t)s->tokens;
    b->latent = mem_zeroed(cells * (size_t)s->channels, sizeof(float));
    b->noise = mem_zeroed(cells * (size_t)s->channels, sizeof(float));
    b->timestep = mem_zeroed(n, sizeof(int64_t));
    b->weight = mem_zeroed(n, sizeof(float));
    b->states = mem_zeroed(tokens * (size_t)s->text_width, sizeof(float));
    bool good = b->latent && b->noise && b->timestep && b->weight && b->states;
    if (s->mask)
        good = (b->mask = mem_zeroed(cells, sizeof(float))) && good;
    if (s->pooled_width)
        good = (b->pooled = mem_zeroed(n * (size_t)s->pooled_width, sizeof(float))) && good;
    if (s->time_ids)
        good = (b->time_ids = mem_zeroed(n * (size_t)s->time_ids, sizeof(float))) && good;
    for (int i = 0; i < TEXT_PARTS; i++)
        if (s->ids[i])
            good = (b->ids[i] = mem_zeroed(tokens, sizeof(int32_t))) && good;
    for (int64_t i = 0; good && i < s->n; i++)
        b->weight[i] = 1;
    return good || err_nomem(e, "a batch");
}

void batch_release(struct batch *b)
{
    mem_free(b->latent);
    mem_free(b->noise);
    mem_free(b->timestep);
    mem_free(b->weight);
    mem_free(b->mask);
    mem_free(b->states);
    mem_free(b->pooled);
    mem_free(b->time_ids);
    for (int i = 0; i < TEXT_PARTS; i++)
        mem_free(b->ids[i]);
    *b = (struct batch){ 0 };
}
