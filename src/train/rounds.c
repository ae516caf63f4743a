#include "train/rounds.h"

#include <string.h>

#include "base/mem.h"
#include "base/random.h"

/* Streams of random numbers; samples.c has those behind them. */
enum { STREAM_ORDER = 101, STREAM_PICTURE };

bool rounds_init(struct rounds *r, const int32_t *shape, size_t count, size_t shapes, int64_t batch, bool draws, uint64_t seed,
                 struct err *e)
{
    *r = (struct rounds){ .seed = seed, .batch = batch, .draws = draws, .count = count, .shape = shape, .shapes = shapes, .round = -1 };
    if (count > UINT32_MAX)
        return err_set(e, ERR_LIMIT, "%zu pictures in a round, more than 2^32", count);
    r->first = mem_zeroed(shapes + 1, sizeof *r->first);
    r->order = mem_zeroed(count, sizeof *r->order);
    r->shuffled = mem_zeroed(count, sizeof *r->shuffled);
    if (!r->first || !r->order || !r->shuffled)
        return err_nomem(e, "a round");
    for (size_t i = 0; i < count; i++)
        r->first[shape[i] + 1]++;
    for (size_t s = 0; s < shapes; s++) {
        r->batches += (r->first[s + 1] + (size_t)batch - 1) / (size_t)batch;
        r->first[s + 1] += r->first[s];
    }
    r->at = mem_zeroed(r->batches, sizeof *r->at);
    return r->at || err_nomem(e, "a round");
}

void rounds_release(struct rounds *r)
{
    mem_free(r->first);
    mem_free(r->order);
    mem_free(r->shuffled);
    mem_free(r->at);
    *r = (struct rounds){ 0 };
}

static size_t below(struct random *r, size_t n)
{
    return (size_t)random_below(r, n);
}

/* All entries in one new order (Fisher and Yates), then each to its shape; then the batches in a new order. */
static void begin(struct rounds *r, int64_t round)
{
    if (r->round == round)
        return;
    struct random random = random_of(r->seed + STREAM_ORDER, (uint64_t)round);
    for (size_t i = 0; i < r->count; i++)
        r->shuffled[i] = (uint32_t)i;
    for (size_t i = r->draws ? 0 : r->count; i > 1; i--) {
        size_t k = below(&random, i);
        uint32_t kept = r->shuffled[i - 1];
        r->shuffled[i - 1] = r->shuffled[k];
        r->shuffled[k] = kept;
    }
    for (size_t i = 0; i < r->count; i++)
        r->order[r->first[r->shape[r->shuffled[i]]]++] = r->shuffled[i];
    memmove(r->first + 1, r->first, r->shapes * sizeof *r->first); /* each is now where the next began */
    r->first[0] = 0;
    size_t n = 0;
    for (size_t s = 0; s < r->shapes; s++)
        for (size_t k = 0; k * (size_t)r->batch < r->first[s + 1] - r->first[s]; k++)
            r->at[n++] = (struct round_batch){ (uint32_t)s, (uint32_t)k };
    for (size_t i = r->shapes > 1 ? n : 0; i > 1; i--) {
        size_t k = below(&random, i);
        struct round_batch kept = r->at[i - 1];
        r->at[i - 1] = r->at[k];
        r->at[k] = kept;
    }
    r->round = round;
}

static struct random drawn(const struct rounds *r, int64_t batch, int64_t i)
{
    return random_of(r->seed + STREAM_PICTURE, (uint64_t)(batch * r->batch + i));
}

static const struct round_batch *batch_at(struct rounds *r, int64_t batch)
{
    begin(r, batch / (int64_t)r->batches);
    return &r->at[(size_t)batch % r->batches];
}

size_t rounds_shape(struct rounds *r, int64_t batch)
{
    struct random first = drawn(r, batch, 0);
    return r->draws ? (size_t)r->shape[below(&first, r->count)] : batch_at(r, batch)->shape;
}

size_t rounds_entry(struct rounds *r, int64_t batch, int64_t i)
{
    if (!r->draws) {
        const struct round_batch *b = batch_at(r, batch);
        size_t first = r->first[b->shape], count = r->first[b->shape + 1] - first;
        return r->order[first + (b->number * (size_t)r->batch + (size_t)i) % count];
    }
    size_t s = rounds_shape(r, batch);
    struct random random = drawn(r, batch, i);
    begin(r, 0); /* as they come, by shape */
    return i == 0 || r->shapes == 1 ? below(&random, r->count) : r->order[r->first[s] + below(&random, r->first[s + 1] - r->first[s])];
}
