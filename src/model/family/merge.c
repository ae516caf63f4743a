#include "model/family/merge.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/family/convert_internal.h"

/* What a tensor of the output is made of, beside a's. */
struct mixed {
    const struct weight *b, *c; /* b NULL: a's alone */
    float weight;
};

struct mixer {
    struct mixed *at; /* by index of the output */
    bool difference;
    float *b, *c;     /* room for a piece */
    size_t room;
    const struct weights *files[2];
};

static bool numbers(const struct weight *t, size_t begin, float *out, size_t count, struct err *e)
{
    return dtype_convert(out, DTYPE_F32, (const char *)t->data + dtype_span(t->type, (int64_t)begin), t->type, count) ||
           err_set(e, ERR_TYPE, "\"%.200s\" is of the type %s, which cannot be merged", t->name, dtype_name(t->type));
}

static bool mix(void *self, size_t index, size_t begin, float *x, size_t count, struct err *e)
{
    struct mixer *m = self;
    const struct mixed *with = &m->at[index];
    if (!with->b)
        return true;
    if (count > m->room)
        return err_set(e, ERR_LIMIT, "a piece of %zu numbers", count);
    if (!numbers(with->b, begin, m->b, count, e) || (with->c && !numbers(with->c, begin, m->c, count, e)))
        return false;
    float w = with->weight;
    if (m->difference)
        for (size_t i = 0; i < count; i++)
            x[i] += w * (m->b[i] - m->c[i]);
    else
        for (size_t i = 0; i < count; i++)
            x[i] = x[i] * (1 - w) + m->b[i] * w;
    if (begin + count == (size_t)shape_count(with->b->shape)) {
        weights_forget(m->files[0], with->b);
        if (with->c)
            weights_forget(m->files[1], with->c);
    }
    return true;
}

/* "…input_blocks.7.…" -> 7; -1: another name. */
static int number_behind(const char *name, const char *word)
{
    const char *at = strstr(name, word);
    if (!at || (at != name && at[-1] != '.') || !isdigit((unsigned char)at[strlen(word)]))
        return -1;
    int n = atoi(at + strlen(word));
    return n < 1000 ? n : -1;
}

/* The block of a tensor's name, or -1; ins and outs: how many blocks there are on the way down and up. */
static int block_of(const char *name, int ins, int outs)
{
    int n = number_behind(name, "input_blocks.");
    if (n >= 0 && n < ins)
        return n;
    if (strstr(name, "middle_block."))
        return ins;
    n = number_behind(name, "output_blocks.");
    return n >= 0 && n < outs ? ins + 1 + n : -1;
}

static bool count_blocks(const struct merge *m, const struct weights *a, int *ins, int *outs, struct err *e)
{
    *ins = *outs = 0;
    for (size_t i = 0; i < weights_count(a); i++) {
        const char *name = weights_at(a, i)->name;
        int in = number_behind(name, "input_blocks.") + 1, out = number_behind(name, "output_blocks.") + 1;
        *ins = in > *ins ? in : *ins;
        *outs = out > *outs ? out : *outs;
    }
    if (!m->block_count)
        return true;
    if (*ins == 0)
        return err_set(e, ERR_ARG, "%s has no numbered blocks: weights for blocks are for UNets in single files", m->a);
    return m->block_count == (size_t)(*ins + 1 + *outs) ||
           err_set(e, ERR_ARG, "%zu weights for blocks; %s has %d: %d on the way down, 1 in the middle, %d on the way up",
                   m->block_count, m->a, *ins + 1 + *outs, *ins, *outs);
}

static bool is_number(const struct weight *t)
{
    return t->type == DTYPE_F32 || t->type == DTYPE_F16 || t->type == DTYPE_BF16 || t->type == DTYPE_F64 ||
           t->type == DTYPE_F8_E4M3 || t->type == DTYPE_F8_E5M2 || dtype_is_quantised(t->type);
}

static bool same_size(const struct weight *a, const struct weight *other, const char *path, struct err *e)
{
    return !other || shape_same(a->shape, other->shape) ||
           err_set(e, ERR_SHAPE, "\"%.200s\" is %s, in %s it is %s: models of one family can be merged", a->name,
                   shape_text(a->shape).s, path, shape_text(other->shape).s);
}

static bool plan(const struct merge *m, struct output *out, struct mixer *mixer, const struct weights *a, const struct progress *progress,
                 struct err *e)
{
    const struct weights *b = mixer->files[0], *c = mixer->files[1];
    size_t alone = 0, all = 0;
    int ins, outs;
    if (!count_blocks(m, a, &ins, &outs, e))
        return false;
    for (size_t i = 0; i < weights_count(a); i++) {
        const struct weight *t = weights_at(a, i), *in_b = weights_find(b, t->name), *in_c = c ? weights_find(c, t->name) : NULL;
        int block = m->block_count ? block_of(t->name, ins, outs) : -1;
        if (!output_add(out, t->name, t, NAME_WHOLE, 0, e))
            return false;
        struct mixed *with = &mixer->at[i];
        with->weight = (float)(block >= 0 ? m->blocks[block] : m->weight);
        if (!is_number(t))
            continue;
        all++;
        if (!in_b || (c && !in_c)) {
            alone++;
            continue;
        }
        if (!same_size(t, in_b, m->b, e) || !same_size(t, in_c, m->c ? m->c : "", e))
            return false;
        with->b = in_b;
        with->c = in_c;
    }
    if (alone == all)
        return err_set(e, ERR_MISSING, "%s has none of the tensors of %s: convert both to one layout", m->b, m->a);
    if (alone)
        progress_line(progress, "%zu of %zu tensors are not in every file and stay as in %s", alone, all, m->a);
    return true;
}

bool model_merge(const struct merge *m, const struct progress *progress, struct err *e)
{
    if (path_exists(m->output))
        return err_set(e, ERR_ARG, "%s is there already", m->output);
    struct output out;
    struct weights *a = weights_open(m->a, e), *b = a ? weights_open(m->b, e) : NULL, *c = b && m->c ? weights_open(m->c, e) : NULL;
    enum { ROOM = 1 << 20 };
    struct mixer mixer = { .difference = m->c, .room = ROOM, .files = { b, c } };
    size_t pairs = 0;
    output_init(&out, m->output, m->type);
    bool good = b && (c || !m->c);
    if (good) {
        mixer.b = mem_aligned(ROOM * sizeof *mixer.b);
        mixer.c = mem_aligned(ROOM * sizeof *mixer.c);
        mixer.at = mem_zeroed(weights_count(a) + 1, sizeof *mixer.at);
        good = (mixer.b && mixer.c && mixer.at) || err_nomem(e, m->output);
    }
    good = good && output_keep(&out, a, e);
    bool kept = good;
    out.change = mix;
    out.self = &mixer;
    good = good && plan(m, &out, &mixer, a, progress, e);
    const struct weights_pair *said = good ? weights_pairs(a, &pairs) : NULL;
    good = good && output_write(&out, m->output, said, pairs, progress, e);
    output_release(&out);
    if (!kept)
        weights_free(a);
    weights_free(b);
    weights_free(c);
    mem_free(mixer.at);
    mem_free(mixer.b);
    mem_free(mixer.c);
    return good;
}
