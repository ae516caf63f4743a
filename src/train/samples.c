#include "train/samples.h"

#include <glib.h>
#include <math.h>
#include <stdio.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include "image/image.h"

/* Streams of random numbers, apart from each other and from those of other trainings; rounds.c has those before them. */
enum { STREAM_CUT = 103, STREAM_WORDS, STREAM_NOISE, STREAM_TIMESTEP, STREAM_HELD_OUT };

enum { HELD_OUT_LOOKS = 4, HELD_OUT_MOST = 64 }; /* timesteps of a held-out picture; batches at most */

enum { WORDS_BYTES = DATASET_MAX_TEXT_BYTES + 1 };

struct sample_picture {
    char *path, *mask;
    char id[DIGEST_TEXT_BYTES];
    const char *words;      /* borrowed from the manifest */
    int64_t width, height;  /* of the file */
    size_t shape;
};

struct sample_set {
    struct manifest *manifest;
    struct sample_picture *pictures;
    size_t count;
    uint32_t *entries;      /* a picture's number, as often as it comes in a round */
    size_t entry_count;
    int32_t *shape;         /* of each entry */
    struct rounds rounds;   /* of the entries */
    /* Of a set that is held out: its pictures by shape, and how many batches of each are looked at. */
    uint32_t *by_shape;
    size_t *first, *looks;  /* [shapes + 1], [shapes] */
};

/* One sample: what it is made of, and the numbers that remain to be drawn. */
struct sample {
    const struct sample_picture *picture;
    struct picture_cut cut;
    char words[WORDS_BYTES];
};

static void set_free(struct sample_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; set->pictures && i < set->count; i++) {
        mem_free(set->pictures[i].path);
        mem_free(set->pictures[i].mask);
    }
    mem_free(set->pictures);
    mem_free(set->entries);
    mem_free(set->shape);
    mem_free(set->by_shape);
    mem_free(set->first);
    mem_free(set->looks);
    rounds_release(&set->rounds);
    manifest_free(set->manifest);
    mem_free(set);
}

/* The folder itself, or train/ in it where only that has a list. *none: there is no list at all. */
static struct manifest *open_list(const char *folder, bool *none, struct err *e)
{
    char list[PATH_MAX_BYTES], inner[PATH_MAX_BYTES];
    static const char *const names[] = { "metadata.jsonl", "metadata.csv" };
    bool here = false, there = false;
    if (!path_join(inner, folder, "train", e))
        return NULL;
    for (int i = 0; i < 2; i++) {
        if (!path_join(list, folder, names[i], e))
            return NULL;
        here |= path_exists(list);
        if (!path_join(list, inner, names[i], e))
            return NULL;
        there |= path_exists(list);
    }
    *none = !here && !there;
    return *none ? NULL : manifest_open(there && !here ? inner : folder, MANIFEST_READ, e);
}

static bool read_size(struct sample_picture *p, struct err *e)
{
    struct image_facts facts;
    struct file_map map;
    if (p->width && p->height)
        return true;
    if (!file_map(&map, p->path, e))
        return false;
    bool good = image_probe(&facts, map.data, map.bytes, p->path, e);
    file_unmap(&map);
    p->width = good ? facts.width : 0;
    p->height = good ? facts.height : 0;
    return good;
}

static bool find_mask(struct sample_picture *p, const char *masks, struct err *e)
{
    char path[PATH_MAX_BYTES], stem[PATH_MAX_BYTES];
    if (!masks)
        return true;
    if (!strcmp(masks, "alpha"))
        return (p->mask = mem_string("")) || err_nomem(e, p->path);
    snprintf(stem, sizeof stem, "%s", path_name(p->path));
    if (strrchr(stem, '.'))
        *strrchr(stem, '.') = 0;
    if (!path_join(path, masks, path_name(p->path), e))
        return false;
    if (!path_exists(path) && !path_join(path, masks, path_of("%.150s.png", stem).s, e))
        return false;
    if (!path_exists(path))
        return err_set(e, ERR_MISSING, "%s has no mask for %s", masks, p->path);
    return (p->mask = mem_string(path)) || err_nomem(e, p->path);
}

/* Room for so many pictures that come so often in all. */
static bool set_room(struct sample_set *set, size_t pictures, size_t entries, struct err *e)
{
    set->pictures = mem_zeroed(pictures + 1, sizeof *set->pictures);
    set->entries = mem_zeroed(entries + 1, sizeof *set->entries);
    set->shape = mem_zeroed(entries + 1, sizeof *set->shape);
    return (set->pictures && set->entries && set->shape) || err_nomem(e, "a data set");
}

static bool add_picture(struct sample_set *set, const char *path, const struct manifest_picture *from, const char *words,
                        const char *masks, struct err *e)
{
    struct sample_picture *p = &set->pictures[set->count];
    *p = (struct sample_picture){ .path = mem_string(path), .words = words ? words : from->text, .width = from->width,
                                  .height = from->height };
    set->count++;
    if (!p->path)
        return err_nomem(e, path);
    snprintf(p->id, sizeof p->id, "%s", from->id);
    if (!*p->id && !digest_file(path, 0, p->id, NULL, NULL, e))
        return false;
    for (int64_t k = 0; k < from->repeats; k++)
        set->entries[set->entry_count++] = (uint32_t)(set->count - 1);
    return find_mask(p, masks, e) && read_size(p, e);
}

/* The pictures of a list that are held out, or those that are not; none that is excluded. */
static bool take_list(struct sample_set *set, bool held_out, const char *words, const char *masks,
                      const struct progress *progress, struct err *e)
{
    size_t all = manifest_count(set->manifest), entries = 0;
    char path[PATH_MAX_BYTES];
    for (size_t i = 0; i < all; i++)
        entries += (size_t)manifest_picture(set->manifest, i)->repeats;
    bool good = set_room(set, all, entries, e);
    for (size_t i = 0; good && i < all; i++) {
        const struct manifest_picture *p = manifest_picture(set->manifest, i);
        progress_step(progress, "looking at pictures", (long)i + 1, (long)all, NULL);
        if (!*p->excluded && held_out == !strcmp(p->split, "held-out"))
            good = stop_check(e) && manifest_path(set->manifest, i, path, e) && add_picture(set, path, p, words, masks, e);
    }
    return good;
}

/* All pictures in a folder without a list. */
static bool take_folder(struct sample_set *set, const char *folder, const char *words, const char *masks, struct err *e)
{
    static const struct manifest_picture unknown = { "", "", "", "", "", "", "", 0, 0, 0, 1 };
    char **names, path[PATH_MAX_BYTES];
    size_t count;
    if (!folder_names(folder, NULL, &names, &count, e))
        return false;
    bool good = set_room(set, count, count, e);
    for (size_t i = 0; good && i < count; i++)
        if (image_is_picture_name(names[i]))
            good = stop_check(e) && path_join(path, folder, names[i], e) && add_picture(set, path, &unknown, words, masks, e);
    folder_names_free(names, count);
    return good;
}

/* held_out: only those; then there may be none. */
static struct sample_set *set_open(const char *folder, bool held_out, const char *words, const char *masks,
                                   const struct progress *progress, struct err *e)
{
    struct sample_set *set = mem_zeroed(1, sizeof *set);
    bool none = false;
    if (!set) {
        err_nomem(e, "a data set");
        return NULL;
    }
    set->manifest = open_list(folder, &none, e);
    bool good = set->manifest ? take_list(set, held_out, words, masks, progress, e)
              : !e->code && none && held_out ? set_room(set, 0, 0, e)
              : !e->code && none && words ? take_folder(set, folder, words, masks, e)
                                          : (e->code ? false : err_set(e, ERR_MISSING, "%s has no metadata.jsonl or metadata.csv that "
                                                                       "says what its pictures show", folder));
    if (good && !set->count && !held_out)
        good = err_set(e, ERR_MISSING, "%s has no picture to learn from", folder);
    if (good)
        return set;
    set_free(set);
    return NULL;
}

/* Which of the used buckets a picture has; one that was not used yet is added. */
static size_t shape_index(struct samples *s, const struct sample_picture *p)
{
    struct bucket mine = bucket_nearest(s->o.buckets, p->width, p->height);
    for (size_t i = 0; i < s->shape_count; i++)
        if (s->buckets[i].width == mine.width && s->buckets[i].height == mine.height)
            return i;
    s->buckets[s->shape_count] = mine;
    return s->shape_count++;
}

/* The shapes of the data set's pictures and of those that are held out, the largest of them, and room for its moments. */
static bool find_shapes(struct samples *s, int64_t factor, struct err *e)
{
    s->buckets = mem_zeroed((size_t)s->o.buckets->count, sizeof *s->buckets);
    s->shapes = mem_zeroed((size_t)s->o.buckets->count, sizeof *s->shapes);
    if (!s->buckets || !s->shapes)
        return err_nomem(e, "aspect buckets");
    for (int k = 0; k <= 2; k += 2)
        for (size_t i = 0; i < s->set[k]->count; i++)
            s->set[k]->pictures[i].shape = shape_index(s, &s->set[k]->pictures[i]);
    for (size_t i = 0; i < s->shape_count; i++) {
        const struct bucket *b = &s->buckets[i];
        struct batch_shape *z = &s->shapes[i];
        if (b->width % factor || b->height % factor)
            return err_set(e, ERR_ARG, "%dx%d pixels: sides must be multiples of %lld", b->width, b->height, (long long)factor);
        *z = (struct batch_shape){ b->height / factor, b->width / factor };
        if (z->h * z->w > s->sizes.h * s->sizes.w) {
            s->sizes.h = z->h;
            s->sizes.w = z->w;
        }
    }
    s->moments = mem_aligned((size_t)(2 * s->sizes.h * s->sizes.w * s->sizes.channels) * sizeof *s->moments);
    return s->moments || err_nomem(e, "a latent");
}

/* A set's pictures get their places in rounds. Regular ones have the shape of the batch that they come in. */
static bool plan_rounds(const struct samples *s, struct sample_set *set, bool shaped, struct err *e)
{
    rounds_release(&set->rounds);
    for (size_t i = 0; shaped && i < set->entry_count; i++)
        set->shape[i] = (int32_t)set->pictures[set->entries[i]].shape;
    return rounds_init(&set->rounds, set->shape, set->entry_count, shaped ? s->shape_count : 1, s->o.batch, s->o.draws, s->o.seed, e);
}

/* What is held out by shape, and how often each shape is looked at. */
static bool plan_held_out(struct samples *s, struct sample_set *set, struct err *e)
{
    size_t n = (size_t)s->sizes.n, all = 0;
    mem_free(set->by_shape);
    mem_free(set->first);
    mem_free(set->looks);
    set->by_shape = mem_zeroed(set->count + 1, sizeof *set->by_shape);
    set->first = mem_zeroed(s->shape_count + 1, sizeof *set->first);
    set->looks = mem_zeroed(s->shape_count, sizeof *set->looks);
    if (!set->by_shape || !set->first || !set->looks)
        return err_nomem(e, "what is held out");
    for (size_t shape = 0, at = 0; shape < s->shape_count; shape++) {
        for (size_t i = 0; i < set->count; i++)
            if (set->pictures[i].shape == shape)
                set->by_shape[at++] = (uint32_t)i;
        set->first[shape + 1] = at;
        set->looks[shape] = ((at - set->first[shape]) * HELD_OUT_LOOKS + n - 1) / n;
        all += set->looks[shape];
    }
    for (size_t shape = 0; all > HELD_OUT_MOST && shape < s->shape_count; shape++)
        if (set->looks[shape] && !(set->looks[shape] = set->looks[shape] * HELD_OUT_MOST / all))
            set->looks[shape] = 1;
    return true;
}

bool samples_open(struct samples *s, const struct sample_options *o, struct features *features, const struct objective *objective,
                  const bool learns[TEXT_PARTS], const struct progress *progress, struct err *e)
{
    const struct model_parts *m = &features->encoders->model->parts;
    float ids[FAMILY_MAX_TIME_IDS];
    *s = (struct samples){ .o = *o, .features = features, .objective = objective, .model = m };
    s->sizes = (struct batch_sizes){ .channels = m->vae.latent_channels,
                                     .text_width = model_text_width(m), .pooled_width = model_pooled_width(m), .mask = o->masks != NULL };
    for (int i = 0; i < TEXT_PARTS; i++) {
        s->sizes.tokens = m->text[i].kind ? m->text[i].tokens : s->sizes.tokens;
        s->sizes.ids[i] = learns[i];
    }
    if (m->family->time_ids)
        s->sizes.time_ids = (int64_t)m->family->time_ids(&m->settings, &(struct picture_facts){ 0 }, false, ids);
    s->set[0] = set_open(o->dataset, false, o->words, o->masks, progress, e);
    if (!s->set[0] || !(s->set[2] = set_open(o->dataset, true, o->words, o->masks, progress, e)))
        return false;
    s->set[1] = o->regular ? set_open(o->regular, false, o->regular_words, NULL, progress, e) : NULL;
    return (s->set[1] || !o->regular) && find_shapes(s, vae_factor(&m->vae), e) && samples_set_batch(s, o->batch, e);
}

bool samples_set_batch(struct samples *s, int64_t batch, struct err *e)
{
    s->o.batch = batch;
    s->sizes.n = batch * (s->o.regular || s->o.regular_planned ? 2 : 1);
    return plan_rounds(s, s->set[0], true, e) && plan_held_out(s, s->set[2], e) && (!s->set[1] || plan_rounds(s, s->set[1], false, e));
}

void samples_release(struct samples *s)
{
    set_free(s->set[0]);
    set_free(s->set[1]);
    set_free(s->set[2]);
    mem_free(s->buckets);
    mem_free(s->shapes);
    mem_free(s->moments);
    *s = (struct samples){ 0 };
}

int64_t samples_round(const struct samples *s)
{
    return (int64_t)s->set[0]->rounds.batches;
}

size_t samples_of_shape(const struct samples *s, size_t shape)
{
    return s->set[0]->rounds.first[shape + 1] - s->set[0]->rounds.first[shape];
}

size_t samples_count(const struct samples *s)
{
    return s->set[0]->count;
}

uint64_t samples_print(const struct samples *s)
{
    uint64_t h = 0xCBF29CE484222325;
    for (size_t i = 0; i < s->set[0]->count; i++) {
        const struct sample_picture *p = &s->set[0]->pictures[i];
        for (const char *c = p->id; *c; c++)
            h = (h ^ (unsigned char)*c) * 0x100000001B3;
        for (const char *c = p->words; *c; c++)
            h = (h ^ (unsigned char)*c) * 0x100000001B3;
    }
    return h;
}

/* Words between commas in another order, behind the first `keep`. */
static void shuffle_words(char *words, int64_t keep, struct random *r)
{
    enum { MOST = 200 };
    char copy[WORDS_BYTES], *piece[MOST];
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *at = copy; at && count < MOST;) {
        char *comma = count + 1 < MOST ? strchr(at, ',') : NULL;
        if (comma)
            *comma = 0;
        while (*at == ' ')
            at++;
        piece[count++] = at;
        at = comma ? comma + 1 : NULL;
    }
    for (size_t i = count; i > (size_t)keep + 1; i--) {
        size_t k = (size_t)keep + (size_t)random_below(r, i - (size_t)keep);
        char *kept = piece[i - 1];
        piece[i - 1] = piece[k];
        piece[k] = kept;
    }
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(words + used, WORDS_BYTES - used, "%s%s", i ? ", " : "", piece[i]);
}

static void cut_of(const struct samples *s, const struct sample_picture *p, size_t shape, uint64_t index, struct picture_cut *out)
{
    struct random r = random_of(s->o.seed + STREAM_CUT, index);
    const struct bucket *size = &s->buckets[shape];
    double wide = (double)size->width / (double)p->width, high = (double)size->height / (double)p->height;
    double scale = wide > high ? wide : high;
    int64_t w = llrint((double)p->width * scale), h = llrint((double)p->height * scale);
    *out = (struct picture_cut){ .path = p->path, .id = p->id, .mask = p->mask, .width = size->width, .height = size->height,
                                 .scaled_width = w > size->width ? w : size->width, .scaled_height = h > size->height ? h : size->height };
    int64_t left = out->scaled_width - out->width, top = out->scaled_height - out->height;
    float turn = random_uniform(&r);
    out->left = s->o.random_crop ? (int64_t)random_below(&r, (uint64_t)left + 1) : llrint((double)left / 2);
    out->top = s->o.random_crop ? (int64_t)random_below(&r, (uint64_t)top + 1) : llrint((double)top / 2);
    out->flip = s->o.flip && turn < 0.5f;
}

/* Sample i of the batch; those behind the data set's are regular pictures. */
static void sample_of(const struct samples *s, int64_t batch, int64_t i, struct sample *out)
{
    bool regular = i >= s->o.batch;
    struct sample_set *set = s->set[regular];
    uint64_t index = (uint64_t)(batch * s->o.batch + i % s->o.batch), stream = 2 * index + regular;
    struct random r = random_of(s->o.seed + STREAM_WORDS, stream);
    out->picture = &set->pictures[set->entries[rounds_entry(&set->rounds, batch, i % s->o.batch)]];
    cut_of(s, out->picture, rounds_shape(&s->set[0]->rounds, batch), stream, &out->cut);
    snprintf(out->words, sizeof out->words, "%s", out->picture->words);
    if (random_uniform(&r) < (float)s->o.caption_dropout)
        out->words[0] = 0;
    if (s->o.shuffle && out->words[0])
        shuffle_words(out->words, s->o.keep, &r);
}

int64_t samples_held_out(const struct samples *s)
{
    size_t all = 0;
    for (size_t shape = 0; shape < s->shape_count; shape++)
        all += s->set[2]->looks[shape];
    return (int64_t)all;
}

/* The shape of a batch of what is held out; *batch becomes its number among those of its shape. */
static size_t held_out_shape(const struct samples *s, int64_t *batch)
{
    size_t shape = 0;
    for (; *batch >= (int64_t)s->set[2]->looks[shape]; shape++)
        *batch -= (int64_t)s->set[2]->looks[shape];
    return shape;
}

/* Look i of a batch at what is held out: whole words, the middle of the picture. *where: how far among the looks at its shape, in (0, 1). */
static void held_out_sample(const struct samples *s, int64_t batch, int64_t i, struct sample *out, double *where)
{
    struct samples plain = *s;
    const struct sample_set *set = s->set[2];
    plain.o.random_crop = plain.o.flip = false;
    size_t shape = held_out_shape(s, &batch), look = (size_t)(batch * s->sizes.n + i), first = set->first[shape];
    out->picture = &set->pictures[set->by_shape[first + look % (set->first[shape + 1] - first)]];
    *where = ((double)look + 0.5) / (double)(set->looks[shape] * (size_t)s->sizes.n);
    cut_of(&plain, out->picture, shape, 0, &out->cut);
    snprintf(out->words, sizeof out->words, "%s", out->picture->words);
}

/* Whether this is the first time that the key is seen. */
static bool first_time(GHashTable *seen, const struct feature_key *key)
{
    return g_hash_table_add(seen, g_strdup(key->s));
}

static bool prepare_one(struct samples *s, const struct sample *one, GHashTable *seen, long *made, struct err *e)
{
    struct features *f = s->features;
    struct feature_key key;
    if (!features_key_of_picture(f, &one->cut, &key, e))
        return false;
    if (first_time(seen, &key) && !features_have(f, &key)) {
        (*made)++;
        if (!features_make_picture(f, &one->cut, &key, e))
            return false;
    }
    if (!features_key_of_words(f, one->words, &key, e))
        return false;
    return !first_time(seen, &key) || features_have(f, &key) || features_make_words(f, one->words, &key, e);
}

bool samples_prepare(struct samples *s, int64_t count, const struct progress *progress, struct err *e)
{
    GHashTable *seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    long made = 0;
    bool good = true;
    for (int64_t batch = 0; good && batch < count; batch++)
        for (int64_t i = 0; good && i < s->sizes.n; i++) {
            struct sample one;
            long before = made;
            sample_of(s, batch, i, &one);
            good = stop_check(e) && prepare_one(s, &one, seen, &made, e);
            if (made != before || batch + 1 == count)
                progress_step(progress, "encoding pictures and words", (long)batch + 1, (long)count, NULL);
        }
    for (int64_t look = 0; good && look < samples_held_out(s) * s->sizes.n; look++) {
        struct sample one;
        double where;
        held_out_sample(s, look / s->sizes.n, look % s->sizes.n, &one, &where);
        good = stop_check(e) && prepare_one(s, &one, seen, &made, e);
    }
    g_hash_table_unref(seen);
    return good;
}

static void time_ids(const struct samples *s, const struct sample *one, float *out)
{
    const struct picture_cut *c = &one->cut;
    struct picture_facts facts = { .original_width = one->picture->width, .original_height = one->picture->height,
                                   .crop_left = c->flip ? c->scaled_width - c->width - c->left : c->left, .crop_top = c->top,
                                   .target_width = c->width, .target_height = c->height, .score = 6 };
    if (s->o.size_ids) {
        facts.original_width = c->width;
        facts.original_height = c->height;
        facts.crop_left = facts.crop_top = 0;
    }
    s->model->family->time_ids(&s->model->settings, &facts, false, out);
}

/* What is kept of the sample's picture and words, into row i; its noise from r, its timestep from t. */
static bool fill_row(struct samples *s, const struct sample *one, struct random r, int64_t timestep, int64_t i, struct batch *b,
                     struct err *e)
{
    const struct batch_sizes *z = &b->sizes;
    int64_t cells = z->h * z->w, each = cells * z->channels, state = z->tokens * z->text_width;
    struct feature_key key;
    if (!features_key_of_picture(s->features, &one->cut, &key, e) ||
        !features_read_picture(s->features, &key, s->moments, (size_t)(2 * each), one->cut.mask ? b->mask + i * cells : NULL,
                               (size_t)cells, e) ||
        !features_key_of_words(s->features, one->words, &key, e) ||
        !features_read_words(s->features, &key, b->states + i * state, (size_t)state, b->pooled ? b->pooled + i * z->pooled_width : NULL,
                             (size_t)z->pooled_width, e))
        return false;
    for (int64_t k = 0; b->mask && !one->cut.mask && k < cells; k++)
        b->mask[i * cells + k] = 1; /* a regular picture has none */
    objective_noise(s->objective, &r, b->noise + i * each, cells, z->channels);
    for (int64_t k = 0; k < each; k++)
        b->latent[i * each + k] = s->moments[k] + (s->o.sampled ? s->moments[each + k] * random_normal(&r) : 0);
    b->timestep[i] = timestep;
    if (z->time_ids)
        time_ids(s, one, b->time_ids + i * z->time_ids);
    for (int part = 0; part < TEXT_PARTS; part++)
        if (z->ids[part] && !s->model->text[part].kind->ids(&s->model->text[part], one->words, b->ids[part] + i * z->tokens, e))
            return false;
    return true;
}

static bool fill_one(struct samples *s, int64_t batch, int64_t i, struct batch *b, struct err *e)
{
    uint64_t stream = 2 * (uint64_t)(batch * s->o.batch + i % s->o.batch) + (i >= s->o.batch);
    struct random t = random_of(s->o.seed + STREAM_TIMESTEP, s->objective->o.one_timestep ? (uint64_t)batch : stream);
    struct sample one;
    sample_of(s, batch, i, &one);
    b->weight[i] = !s->o.regular ? 1 : i < s->o.batch ? 2 : (float)(2 * s->o.regular_weight); /* the sum of two means */
    return fill_row(s, &one, random_of(s->o.seed + STREAM_NOISE, stream), objective_timestep(s->objective, &t), i, b, e);
}

static void take_shape(const struct samples *s, size_t shape, struct batch *b)
{
    b->sizes.h = s->shapes[shape].h;
    b->sizes.w = s->shapes[shape].w;
}

static size_t samples_shape(void *self, int64_t index)
{
    struct samples *s = self;
    return rounds_shape(&s->set[0]->rounds, index);
}

static size_t samples_held_out_shape(void *self, int64_t index)
{
    return held_out_shape(self, &index);
}

bool samples_fill_held_out(void *self, int64_t index, struct batch *b, struct err *e)
{
    struct samples *s = self;
    double count = (double)s->objective->noise.count;
    double least = s->objective->o.least * count, most = s->objective->o.most * count;
    take_shape(s, samples_held_out_shape(s, index), b);
    for (int64_t i = 0; i < s->sizes.n; i++) {
        struct sample one;
        double where;
        held_out_sample(s, index, i, &one, &where);
        b->weight[i] = 1;
        if (!fill_row(s, &one, random_of(STREAM_HELD_OUT, (uint64_t)(index * s->sizes.n + i)), (int64_t)(least + (most - least) * where), i, b,
                      e))
            return err_add(e, "in held-out batch %lld", (long long)index);
    }
    return true;
}

bool samples_fill(void *self, int64_t index, struct batch *b, struct err *e)
{
    struct samples *s = self;
    take_shape(s, samples_shape(s, index), b);
    for (int64_t i = 0; i < s->sizes.n; i++)
        if (!fill_one(s, index, i, b, e))
            return err_add(e, "in batch %lld", (long long)index);
    return true;
}

struct batch_source samples_source(struct samples *s)
{
    return (struct batch_source){ .self = s, .fill = samples_fill, .fill_held_out = samples_fill_held_out, .held_out = samples_held_out(s),
                                  .shapes = s->shapes, .shape_count = s->shape_count, .shape = samples_shape,
                                  .held_out_shape = samples_held_out_shape };
}
