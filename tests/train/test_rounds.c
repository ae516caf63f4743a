/* Which entries come in which batch. */
#include "train/rounds.h"

#include "test.h"

enum { ENTRIES = 23, SHAPES = 3, BATCH = 4, BATCHES = 3 + 1 + 3 };
static int32_t shapes[ENTRIES]; /* 10 of the first, 3 of the second, 10 of the third */

static void fill(void)
{
    for (int i = 0; i < ENTRIES; i++)
        shapes[i] = i % 7 == 6 ? 1 : i % 2 ? 0 : 2;
}

TEST(a_round_has_every_entry_and_a_batch_has_one_shape)
{
    struct err e = { 0 };
    struct rounds r;
    int64_t count[SHAPES] = { 0 }, batches = 0;
    fill();
    for (int i = 0; i < ENTRIES; i++)
        count[shapes[i]]++;
    for (int s = 0; s < SHAPES; s++)
        batches += (count[s] + BATCH - 1) / BATCH;
    REQUIRE(rounds_init(&r, shapes, ENTRIES, SHAPES, BATCH, false, 5, &e));
    CHECK((int64_t)r.batches == batches, "%zu batches", r.batches);
    int changes = 0;
    size_t before = rounds_shape(&r, 0);
    for (int64_t round = 0; round < 5; round++) {
        int seen[ENTRIES] = { 0 }, all = 0;
        for (int64_t b = round * batches; b < (round + 1) * batches; b++) {
            size_t s = rounds_shape(&r, b);
            changes += s != before;
            before = s;
            for (int64_t i = 0; i < BATCH; i++) {
                size_t entry = rounds_entry(&r, b, i);
                CHECK(shapes[entry] == (int32_t)s, "round %lld: entry %zu of shape %d in a batch of %zu", (long long)round, entry,
                      shapes[entry], s);
                all += !seen[entry]++;
            }
        }
        CHECK(all == ENTRIES, "round %lld: %d of the entries", (long long)round, all);
        for (int i = 0; i < ENTRIES; i++) /* what fills up the last batch of a shape comes twice */
            CHECK(seen[i] <= 2, "round %lld: entry %d comes %d times", (long long)round, i, seen[i]);
    }
    CHECK(changes > 10, "shapes come one after the other: %d changes", changes);
    rounds_release(&r);
}

/* A run that goes on asks for its first batch somewhere in the middle. */
TEST(a_batch_is_a_function_of_seed_and_number)
{
    struct err e = { 0 };
    struct rounds forward, backward;
    fill();
    for (int draws = 0; draws < 2; draws++) {
        REQUIRE(rounds_init(&forward, shapes, ENTRIES, SHAPES, BATCH, draws, 7, &e));
        REQUIRE(rounds_init(&backward, shapes, ENTRIES, SHAPES, BATCH, draws, 7, &e));
        size_t came[40][BATCH], others = 0;
        for (int64_t b = 0; b < 40; b++)
            for (int64_t i = 0; i < BATCH; i++)
                came[b][i] = rounds_entry(&forward, b, i);
        for (int64_t b = 40; b-- > 0;)
            for (int64_t i = BATCH; i-- > 0;)
                CHECK(rounds_entry(&backward, b, i) == came[b][i], "draws %d, batch %lld, entry %lld", draws, (long long)b, (long long)i);
        rounds_release(&backward);
        REQUIRE(rounds_init(&backward, shapes, ENTRIES, SHAPES, BATCH, draws, 8, &e));
        for (int64_t b = 0; b < 40; b++)
            others += rounds_entry(&backward, b, 0) != came[b][0];
        CHECK(others > 20, "another seed gives the same batches but for %zu", others);
        rounds_release(&forward);
        rounds_release(&backward);
    }
}

TEST(drawn_batches_have_one_shape_and_every_entry_as_often)
{
    struct err e = { 0 };
    struct rounds r;
    enum { MANY = 6000 };
    int count[ENTRIES] = { 0 };
    fill();
    REQUIRE(rounds_init(&r, shapes, ENTRIES, SHAPES, BATCH, true, 1, &e));
    for (int64_t b = 0; b < MANY; b++)
        for (int64_t i = 0; i < BATCH; i++) {
            size_t entry = rounds_entry(&r, b, i);
            CHECK(shapes[entry] == (int32_t)rounds_shape(&r, b), "batch %lld", (long long)b);
            count[entry]++;
        }
    for (int i = 0; i < ENTRIES; i++) /* 1043 each; batches of four share a shape, so the deviation is at most twice 32 */
        CHECK_NEAR(count[i], (double)MANY * BATCH / ENTRIES, 250, "entry %d", i);
    rounds_release(&r);
}
