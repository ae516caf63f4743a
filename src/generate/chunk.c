#include "generate/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

enum {
    COMFY_LARGE = 8,      /* tokens of a piece that may be cut */
    A1111_BACKTRACK = 20, /* tokens behind a comma that may move to the next row */
};

struct slot {
    int32_t id;
    float weight;
    const float *vector;
};

/* An embedding's name as tokens: how a1111 finds it among the words. */
struct name {
    int32_t *ids;
    size_t count, file;
};

struct chunker {
    const struct chunk_source *source;
    struct chunk_rows *out;
    size_t rows_cap[3];
    struct slot *row; /* [room] */
    size_t used, room;
    int32_t start, end, pad;
    /* a1111 only */
    int32_t comma;
    long last_comma; /* place in the row, or -1 */
    struct name *names; /* longest first */
    size_t name_count;
    struct err *e;
};

/* Ends the row that is gathered and begins the next. */
static bool end_row(struct chunker *c)
{
    struct chunk_rows *o = c->out;
    size_t length = (size_t)o->length, at = (size_t)o->count * length, need = at + length;
    if (o->count == CHUNK_MAX_ROWS)
        return err_set(c->e, ERR_LIMIT, "the prompt has more than %d tokens", CHUNK_MAX_ROWS * (int)c->room);
    int32_t *ids = mem_grow(o->ids, &c->rows_cap[0], need, sizeof *ids);
    o->ids = ids ? ids : o->ids;
    float *weights = mem_grow(o->weights, &c->rows_cap[1], need, sizeof *weights);
    o->weights = weights ? weights : o->weights;
    const float **vectors = mem_grow(o->vectors, &c->rows_cap[2], need, sizeof *vectors);
    o->vectors = vectors ? vectors : o->vectors;
    if (!ids || !weights || !vectors)
        return err_nomem(c->e, "the words' tokens");
    for (size_t i = 0; i < length; i++) {
        bool word = i > 0 && i <= c->used;
        ids[at + i] = i == 0 ? c->start : word ? c->row[i - 1].id : i == c->used + 1 ? c->end : c->pad;
        weights[at + i] = word ? c->row[i - 1].weight : 1;
        vectors[at + i] = word ? c->row[i - 1].vector : NULL;
        o->weighted |= weights[at + i] != 1;
        o->given |= vectors[at + i] != NULL;
    }
    o->count++;
    c->used = 0;
    c->last_comma = -1;
    return true;
}

/* --- ComfyUI --- */

static bool comfy_add(struct chunker *c, const struct slot *slots, size_t count)
{
    bool large = count >= COMFY_LARGE || count > c->room;
    while (count > 0) {
        size_t left = c->room - c->used, take = count <= left ? count : large ? left : 0;
        memcpy(c->row + c->used, slots, take * sizeof *slots);
        c->used += take;
        slots += take;
        count -= take;
        if (count > 0 && !end_row(c))
            return false;
    }
    return true;
}

static bool comfy_words(struct chunker *c, const char *text, double weight)
{
    int32_t *ids;
    size_t count;
    if (!clip_tokenizer_encode_words(c->source->tokenizer, text, &ids, &count, c->e))
        return false;
    struct slot *slots = mem_zeroed(count + 1, sizeof *slots);
    for (size_t i = 0; slots && i < count; i++)
        slots[i] = (struct slot){ ids[i], (float)weight, NULL };
    bool good = slots ? comfy_add(c, slots, count) : err_nomem(c->e, "the words' tokens");
    mem_free(slots);
    mem_free(ids);
    return good;
}

/* The vectors of file i; *v is NULL if they are for another text encoder. */
static bool get_vectors(struct chunker *c, size_t i, const struct inversion **v)
{
    const struct chunk_source *s = c->source;
    struct err here = { 0 };
    *v = inversions_get(s->inversions, i, s->width, s->key, &here);
    if (*v)
        return true;
    if (here.code != ERR_SHAPE)
        return err_set(c->e, here.code, "%s", here.text);
    progress_line(s->progress, "%s: it is left out", here.text);
    return true;
}

static bool comfy_vectors(struct chunker *c, size_t file, double weight)
{
    const struct inversion *v;
    if (!get_vectors(c, file, &v))
        return false;
    if (!v)
        return true;
    struct slot *slots = mem_zeroed((size_t)v->count, sizeof *slots);
    for (int64_t i = 0; slots && i < v->count; i++)
        slots[i] = (struct slot){ 0, (float)weight, v->vectors + i * v->width };
    bool good = slots ? comfy_add(c, slots, (size_t)v->count) : err_nomem(c->e, "an embedding's tokens");
    mem_free(slots);
    return good;
}

/* A name that is not there is tried without the commas around it, and then they are words. */
static bool comfy_embedding(struct chunker *c, const struct prompt_piece *piece)
{
    const struct chunk_source *s = c->source;
    size_t file, bytes = strlen(piece->text), from = strspn(piece->text, ","), to = bytes;
    while (to > from && piece->text[to - 1] == ',')
        to--;
    struct text bare, rest;
    text_init(&bare, PROMPT_MAX_BYTES);
    text_init(&rest, PROMPT_MAX_BYTES + 1);
    bool there = s->inversions && inversions_find(s->inversions, piece->text, &file);
    if (!there && to - from < bytes) {
        text_add_bytes(&bare, piece->text + from, to - from);
        text_addf(&rest, "%s ", piece->text + (to - from)); /* not `to`: as it is there */
        there = s->inversions && inversions_find(s->inversions, text_string(&bare), &file);
    }
    text_add(&rest, piece->rest);
    bool good = (text_ok(&bare, c->e) && text_ok(&rest, c->e) && (!there || comfy_vectors(c, file, piece->weight)));
    if (good && !there && !s->again)
        progress_line(s->progress, "there is no embedding \"%.100s\"%s: it is left out", piece->text,
                      s->inversions ? "" : ", because there is no folder of them (--embeddings)");
    good = good && (!rest.length || comfy_words(c, text_string(&rest), piece->weight));
    text_release(&bare);
    text_release(&rest);
    return good;
}

static bool make_comfy(struct chunker *c, const struct prompt *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (!(p->pieces[i].kind == PROMPT_EMBEDDING ? comfy_embedding(c, &p->pieces[i])
                                                    : comfy_words(c, p->pieces[i].text, p->pieces[i].weight)))
            return false;
    return end_row(c);
}

/* --- stable-diffusion-webui --- */

static int longest_first(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return x->file < y->file ? -1 : x->file > y->file;
}

static bool read_names(struct chunker *c)
{
    const struct chunk_source *s = c->source;
    size_t count = s->inversions ? inversions_count(s->inversions) : 0;
    if (!count)
        return true;
    c->names = mem_zeroed(count, sizeof *c->names);
    if (!c->names)
        return err_nomem(c->e, "the embeddings' names");
    for (size_t i = 0; i < count; i++) {
        struct name *n = &c->names[c->name_count];
        struct err here = { 0 };
        if (!clip_tokenizer_encode_words(s->tokenizer, inversions_name(s->inversions, i), &n->ids, &n->count, &here)) {
            if (here.code == ERR_FORMAT) /* not UTF-8: no prompt can say it */
                continue;
            return err_set(c->e, here.code, "%s", here.text);
        }
        n->file = i;
        if (n->count)
            c->name_count++;
        else
            mem_free(n->ids);
    }
    qsort(c->names, c->name_count, sizeof *c->names, longest_first);
    return true;
}

/* The embedding whose name these tokens begin with, or NULL; *taken is how many of them its name has. */
static const struct inversion *find_name(struct chunker *c, const int32_t *ids, size_t count, size_t *taken)
{
    const struct chunk_source *s = c->source;
    for (size_t i = 0; i < c->name_count; i++) {
        const struct name *n = &c->names[i];
        if (n->count > count || memcmp(n->ids, ids, n->count * sizeof *ids))
            continue;
        struct err here = { 0 };
        const struct inversion *v = inversions_get(s->inversions, n->file, s->width, s->key, &here);
        *taken = n->count;
        if (v && v->count <= (int64_t)c->room)
            return v;
        progress_line(s->progress, "%s: its name stays a word", v ? "an embedding of more vectors than a row has tokens" : here.text);
    }
    return NULL;
}

/* The row is full, and a word follows: what stands behind its last comma moves along if that is near. */
static bool end_at_comma(struct chunker *c)
{
    size_t from = c->last_comma < 0 ? c->used : (size_t)c->last_comma + 1;
    if (c->last_comma < 0 || c->used - (size_t)c->last_comma > A1111_BACKTRACK)
        return true;
    size_t moved = c->used - from;
    c->used = from;
    if (!end_row(c))
        return false;
    memmove(c->row, c->row + from, moved * sizeof *c->row);
    c->used = moved;
    return true;
}

static bool a1111_words(struct chunker *c, const int32_t *ids, size_t count, float weight)
{
    for (size_t i = 0; i < count;) {
        if (ids[i] == c->comma)
            c->last_comma = (long)c->used;
        else if (c->used == c->room && !end_at_comma(c))
            return false;
        if (c->used == c->room && !end_row(c))
            return false;
        size_t taken;
        const struct inversion *v = find_name(c, ids + i, count - i, &taken);
        if (!v) {
            c->row[c->used++] = (struct slot){ ids[i++], weight, NULL };
            continue;
        }
        if (c->used + (size_t)v->count > c->room && !end_row(c))
            return false;
        for (int64_t k = 0; k < v->count; k++)
            c->row[c->used++] = (struct slot){ 0, weight, v->vectors + k * v->width };
        i += taken;
    }
    return true;
}

static bool make_a1111(struct chunker *c, const struct prompt *p)
{
    c->comma = clip_tokenizer_find(c->source->tokenizer, ",</w>");
    if (!read_names(c))
        return false;
    for (size_t i = 0; i < p->count; i++) {
        const struct prompt_piece *piece = &p->pieces[i];
        int32_t *ids;
        size_t count;
        if (piece->kind == PROMPT_BREAK) {
            if (!end_row(c))
                return false;
            continue;
        }
        if (!clip_tokenizer_encode_words(c->source->tokenizer, piece->text, &ids, &count, c->e))
            return false;
        bool good = a1111_words(c, ids, count, (float)piece->weight);
        mem_free(ids);
        if (!good)
            return false;
    }
    return (!c->used && c->out->count) || end_row(c);
}

/* --- both --- */

bool chunk_rows_make(struct chunk_rows *out, const struct prompt *p, enum prompt_syntax syntax,
                     const struct chunk_source *source, struct err *e)
{
    const struct clip_tokenizer *t = source->tokenizer;
    *out = (struct chunk_rows){ .length = source->length };
    struct chunker c = { .source = source, .out = out, .room = (size_t)source->length - 2, .start = clip_tokenizer_start(t),
                         .end = clip_tokenizer_end(t), .pad = clip_tokenizer_pad(t), .last_comma = -1, .e = e };
    if (source->length < 3)
        return err_set(e, ERR_ARG, "rows of %lld tokens: at least 3", (long long)source->length);
    c.row = mem_zeroed(c.room, sizeof *c.row);
    bool good = c.row ? syntax == PROMPT_A1111 ? make_a1111(&c, p) : make_comfy(&c, p) : err_nomem(e, "a row of tokens");
    for (size_t i = 0; i < c.name_count; i++)
        mem_free(c.names[i].ids);
    mem_free(c.names);
    mem_free(c.row);
    if (!good)
        chunk_rows_release(out);
    return good;
}

void chunk_rows_release(struct chunk_rows *c)
{
    mem_free(c->ids);
    mem_free(c->weights);
    mem_free(c->vectors);
    *c = (struct chunk_rows){ 0 };
}

void chunk_empty_row(const struct chunk_source *source, int32_t *ids)
{
    for (int64_t i = 0; i < source->length; i++)
        ids[i] = clip_tokenizer_pad(source->tokenizer);
    ids[0] = clip_tokenizer_start(source->tokenizer);
    ids[1] = clip_tokenizer_end(source->tokenizer);
}

static double mean_of(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum / (double)count;
}

void chunk_weigh(float *states, const float *empty, const float *weights, int64_t length, int64_t width,
                 enum prompt_syntax syntax)
{
    double before = mean_of(states, length * width);
    for (int64_t i = 0; i < length; i++) {
        float *z = states + i * width, w = weights[i];
        if (w == 1)
            continue;
        for (int64_t k = 0; k < width; k++)
            z[k] = syntax == PROMPT_COMFY ? (z[k] - empty[i * width + k]) * w + empty[i * width + k] : z[k] * w;
    }
    if (syntax == PROMPT_COMFY)
        return;
    float restore = (float)(before / mean_of(states, length * width));
    for (int64_t i = 0; i < length * width; i++)
        states[i] *= restore;
}
