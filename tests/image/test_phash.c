/* Searching among hashes, against looking at all of them; and what the hash bears. */
#include "image/phash.h"

#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/random.h"
#include "test.h"

TEST(a_hash_is_written_and_read)
{
    char text[PHASH_TEXT_BYTES];
    uint64_t back;
    phash_text(0x0123456789ABCDEF, text);
    CHECK(!strcmp(text, "0123456789abcdef"), "%s", text);
    CHECK(phash_read(&back, "0123456789ABCDEF") && back == 0x0123456789ABCDEF, "%llx", (unsigned long long)back);
    static const char *const wrong[] = { "", "123", "0123456789abcdef0", "0x23456789abcdef", " 123456789abcdef", "-123456789abcdef" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(!phash_read(&back, wrong[i]), "\"%s\"", wrong[i]);
}

/* What a search found: how often each number, and whether its distance was told rightly. */
struct found {
    const uint64_t *hashes;
    uint64_t asked;
    unsigned char *times;
    size_t count, wrong;
};

static void take(void *self, uint32_t number, int distance)
{
    struct found *f = self;
    f->count++;
    f->times[number]++;
    f->wrong += distance != phash_distance(f->hashes[number], f->asked);
}

/* Hashes in families: some near each other, some equal, most far apart; `flat`: many share most of their bits. */
static void make(uint64_t *hashes, size_t count, bool flat)
{
    struct random r = random_of(3, flat);
    for (size_t i = 0; i < count; i++) {
        uint64_t h = (uint64_t)random_u32(&r) << 32 | random_u32(&r);
        if (flat)
            h &= 0x8000000000F0000F;
        if (i > 0 && random_below(&r, 3) == 0) {
            h = hashes[random_below(&r, i)];
            for (uint64_t flips = random_below(&r, 14); flips > 0; flips--)
                h ^= (uint64_t)1 << random_below(&r, 64);
        }
        hashes[i] = h;
    }
}

TEST(a_search_finds_every_near_hash_once_and_no_other)
{
    enum { COUNT = 3000 };
    static uint64_t hashes[COUNT];
    static unsigned char times[COUNT];
    for (int flat = 0; flat <= 1; flat++) {
        struct err e = { 0 };
        struct phash_index *index = phash_index_new(&e);
        REQUIRE(index);
        make(hashes, COUNT, flat);
        for (uint32_t i = 0; i < COUNT; i++)
            REQUIRE(phash_index_add(index, hashes[i], i, &e));
        CHECK(phash_index_count(index) == COUNT, "%zu", phash_index_count(index));
        size_t pairs = 0;
        for (int distance = 0; distance <= 64; distance += distance < 16 ? 1 : 8)
            for (size_t i = 0; i < COUNT; i += 50) {
                struct found f = { hashes, hashes[i], times, 0, 0 };
                memset(times, 0, sizeof times);
                phash_index_near(index, hashes[i], distance, take, &f);
                CHECK(f.wrong == 0, "flat %d, distance %d, hash %zu: %zu distances are wrong", flat, distance, i, f.wrong);
                for (size_t k = 0; k < COUNT; k++)
                    CHECK(times[k] == (phash_distance(hashes[i], hashes[k]) <= distance), "flat %d, distance %d, hash %zu: %zu came %d times",
                          flat, distance, i, k, times[k]);
                pairs += f.count;
            }
        CHECK(pairs > 1000, "%zu were found", pairs);
        phash_index_free(index);
    }
}

static void count_pair(void *self, uint32_t number, int distance)
{
    (void)number, (void)distance;
    ++*(size_t *)self;
}

TEST(all_near_pairs_of_a_hundred_thousand_hashes_are_found_in_seconds)
{
    enum { COUNT = 100000, DISTANCE = 8 };
    struct err e = { 0 };
    uint64_t *hashes = mem_aligned(COUNT * sizeof *hashes);
    struct phash_index *index = phash_index_new(&e);
    REQUIRE(index && hashes);
    make(hashes, COUNT, false);
    size_t pairs = 0;
    clock_t begun = clock();
    for (uint32_t i = 0; i < COUNT; i++) {
        phash_index_near(index, hashes[i], DISTANCE, count_pair, &pairs);
        REQUIRE(phash_index_add(index, hashes[i], i, &e));
    }
    double seconds = (double)(clock() - begun) / CLOCKS_PER_SEC;
    print_message("%d hashes, distance %d: %zu pairs in %.2f s of processor time\n", COUNT, DISTANCE, pairs, seconds);
    CHECK(pairs > 10000, "%zu pairs", pairs);
    CHECK(seconds < 30, "%.2f s", seconds); /* looking at each of the 5e9 pairs takes longer than this on a slow machine */
    phash_index_free(index);
    mem_free(hashes);
}
