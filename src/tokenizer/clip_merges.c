/* Byte pair merging of one word: a heap of the pairs that may merge, lowest rank first, then leftmost. */
#include <string.h>

#include "base/mem.h"
#include "tokenizer/clip_internal.h"

struct clip_symbol {
    int32_t id;
    int32_t previous, next; /* indices, -1: none */
    bool gone;              /* became a part of the symbol before it */
};
struct clip_candidate {
    int32_t rank, at, id; /* symbols[at] and the next become id */
};

static size_t hash(uint64_t pair)
{
    pair *= 0x9E3779B97F4A7C15u;
    return (size_t)(pair ^ pair >> 32);
}

bool clip_merges_init(struct clip_merges *m, size_t count, struct err *e)
{
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    m->mask = slots - 1;
    m->slots = mem_zeroed(slots, sizeof *m->slots);
    if (!m->slots)
        return err_nomem(e, "the merges of a tokenizer");
    for (size_t i = 0; i < slots; i++)
        m->slots[i].id = -1;
    return true;
}

void clip_merges_release(struct clip_merges *m)
{
    mem_free(m->slots);
    *m = (struct clip_merges){ 0 };
}

static struct clip_merge *slot_of(const struct clip_merges *m, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t at = hash(pair) & m->mask;
    while (m->slots[at].id >= 0 && m->slots[at].pair != pair)
        at = (at + 1) & m->mask;
    return &m->slots[at];
}

void clip_merges_set(struct clip_merges *m, int32_t left, int32_t right, int32_t rank, int32_t id)
{
    *slot_of(m, left, right) = (struct clip_merge){ (uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank, id };
}

const struct clip_merge *clip_merges_get(const struct clip_merges *m, int32_t left, int32_t right)
{
    const struct clip_merge *slot = slot_of(m, left, right);
    return slot->id >= 0 ? slot : NULL;
}

bool clip_ids_add(struct clip_ids *out, int32_t id, struct err *e)
{
    int32_t *grown = mem_grow(out->ids, &out->cap, out->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "the ids of a text");
    out->ids = grown;
    grown[out->count++] = id;
    return true;
}

void clip_scratch_release(struct clip_scratch *s)
{
    mem_free(s->symbols);
    mem_free(s->heap);
    *s = (struct clip_scratch){ 0 };
}

static bool sooner(const struct clip_candidate *a, const struct clip_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(struct clip_scratch *s, struct clip_candidate c)
{
    size_t i = s->heap_count++;
    for (; i && sooner(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
}

static struct clip_candidate pop(struct clip_scratch *s)
{
    struct clip_candidate first = s->heap[0], last = s->heap[--s->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->heap_count; i = child) {
        if (child + 1 < s->heap_count && sooner(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!sooner(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return first;
}

/* Offers the pair that begins at symbol `at`, if there is one. */
static void offer(const struct clip_merges *m, struct clip_scratch *s, int32_t at)
{
    if (at < 0 || s->symbols[at].next < 0)
        return;
    const struct clip_merge *merge = clip_merges_get(m, s->symbols[at].id, s->symbols[s->symbols[at].next].id);
    if (merge)
        push(s, (struct clip_candidate){ merge->rank, at, merge->id });
}

static void merge_all(const struct clip_merges *m, struct clip_scratch *s)
{
    while (s->heap_count) {
        struct clip_candidate c = pop(s);
        struct clip_symbol *left = &s->symbols[c.at];
        if (left->gone || left->next < 0)
            continue;
        struct clip_symbol *right = &s->symbols[left->next];
        const struct clip_merge *now = clip_merges_get(m, left->id, right->id);
        if (!now || now->id != c.id) /* one of the two has changed since the pair was offered */
            continue;
        left->id = c.id;
        left->next = right->next;
        right->gone = true;
        if (right->next >= 0)
            s->symbols[right->next].previous = c.at;
        offer(m, s, left->previous);
        offer(m, s, c.at);
    }
}

bool clip_merge_word(const struct clip_merges *m, const int32_t *symbols, size_t count, struct clip_scratch *s,
                     struct clip_ids *out, struct err *e)
{
    struct clip_symbol *list = mem_grow(s->symbols, &s->symbols_cap, count, sizeof *list);
    if (list)
        s->symbols = list;
    /* each pair once at first, and two with every merge, of which there are fewer than symbols */
    struct clip_candidate *heap = list ? mem_grow(s->heap, &s->heap_cap, 3 * count, sizeof *heap) : NULL;
    if (!heap)
        return err_nomem(e, "merging a word");
    s->heap = heap;
    s->heap_count = 0;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct clip_symbol){ symbols[i], (int32_t)i - 1, i + 1 < count ? (int32_t)i + 1 : -1, false };
    for (size_t i = 0; i + 1 < count; i++)
        offer(m, s, (int32_t)i);
    merge_all(m, s);
    for (int32_t i = 0; i >= 0 && count; i = list[i].next)
        if (!clip_ids_add(out, list[i].id, e))
            return false;
    return true;
}
