/* Every seed of the corpus goes through its target, and so do its cuts. */
#include "base/file.h"
#include "fuzz/targets.h"
#include "test.h"

static void replay(const struct fuzz_target *target)
{
    struct err e = { 0 };
    char folder[100], path[PATH_MAX_BYTES], **names, *data;
    size_t count, bytes;
    snprintf(folder, sizeof folder, "../fuzz/corpus/%s", target->name);
    REQUIRE(folder_names(test_data(folder), NULL, &names, &count, &e));
    CHECK(count > 0, "no seeds for %s", target->name);
    for (size_t i = 0; i < count; i++) {
        REQUIRE(path_join(path, test_data(folder), names[i], &e));
        REQUIRE(file_read(path, 1 << 20, &data, &bytes, &e));
        target->run(data, bytes);
        for (size_t cut = 1; cut < 16; cut++) {
            char *exact = mem_aligned(bytes * cut / 16); /* so that a sanitizer sees a read past the end */
            assert_non_null(exact);
            memcpy(exact, data, bytes * cut / 16);
            target->run(exact, bytes * cut / 16);
            mem_free(exact);
        }
        mem_free(data);
    }
    folder_names_free(names, count);
}

TEST(every_seed_comes_back)
{
    for (size_t i = 0; i < sizeof fuzz_targets / sizeof *fuzz_targets; i++)
        replay(&fuzz_targets[i]);
}
