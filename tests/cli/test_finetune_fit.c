/* What a fine-tuning gives up so that it fits, in which order. */
#include "cli/finetune_fit.h"

#include "test.h"

/* A run whose memory can be written down, in units. */
struct toy {
    struct finetune_args *a;
    int made;
};

static bool make(void *self, size_t *bytes, struct err *e)
{
    struct toy *t = self;
    (void)e;
    enum dtype frozen = t->a->frozen ? weights_type_of_choice(t->a->frozen) : DTYPE_F32;
    size_t weights = frozen == DTYPE_F32 ? 4000 : frozen == DTYPE_BF16 ? 2000 : frozen == DTYPE_Q8_0 ? 1060 : 560;
    *bytes = weights + (size_t)t->a->batch * (t->a->checkpoints_all ? 250 : t->a->checkpointing ? 300 : 1000) + (t->a->optimizer == OPTIMIZER_ADAMW8BIT ? 100 : 400);
    t->made++;
    return true;
}

TEST(what_changes_least_is_given_up_first_and_no_more_than_needed)
{
    /* room, whether --memory says it, then what is left: recomputed, batch, accumulate, type, optimizer, and whether it fits */
    enum { NONE, CHEAP, ALL };
    static const struct { size_t room; bool asked, computes_bf16; int twice; int64_t batch, accumulate; const char *frozen, *optimizer; bool fits; } cases[] = {
        { 0, false, true, NONE, 6, 2, "keep", "adamw", true },
        { 10400, true, true, NONE, 6, 2, "keep", "adamw", true },
        { 10399, true, true, CHEAP, 6, 2, "keep", "adamw", true },
        { 6199, true, true, ALL, 6, 2, "keep", "adamw", true },
        { 5899, true, true, ALL, 3, 4, "keep", "adamw", true },
        { 5149, true, true, ALL, 1, 12, "keep", "adamw", true },
        { 4649, true, true, ALL, 1, 12, "bf16", "adamw", true },
        { 2649, true, true, ALL, 1, 12, "bf16", "adamw8bit", true },
        { 2349, true, true, ALL, 1, 12, "q8_0", "adamw8bit", true },
        { 1409, true, true, ALL, 1, 12, "q4_0", "adamw8bit", true },
        { 909, true, true, ALL, 1, 12, "q4_0", "adamw8bit", false },
        { 4649, true, false, ALL, 1, 12, "keep", "adamw8bit", true },   /* bf16 would be less than f32 computes with */
        { 4349, true, false, ALL, 1, 12, "q8_0", "adamw8bit", true },
        { 4649, false, true, ALL, 1, 12, "keep", "adamw", false },      /* nobody asked for another result */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct finetune_args a = { .batch = 6, .accumulate = 2, .optimizer = OPTIMIZER_ADAMW };
        struct fit_options o = { .batches = true, .lora = true, .frozen = DTYPE_F32, .room = cases[i].room, .asked = cases[i].asked,
                                 .computes = cases[i].computes_bf16 ? DTYPE_BF16 : DTYPE_F32 };
        struct toy toy = { &a, 0 };
        struct fit fit;
        bool fits;
        REQUIRE(fit_choose(&fit, &a, &o, make, &toy, &fits, &e));
        CHECK(fits == cases[i].fits && a.checkpointing + a.checkpoints_all == cases[i].twice && a.batch == cases[i].batch && a.accumulate == cases[i].accumulate &&
                  !strcmp(weights_type_choice(a.frozen), cases[i].frozen) && !strcmp(optimizer_name(a.optimizer), cases[i].optimizer),
              "case %zu: fits %d, twice %d, %lld x %lld, %s, %s", i, fits, a.checkpointing + a.checkpoints_all, (long long)a.batch, (long long)a.accumulate,
              weights_type_choice(a.frozen), optimizer_name(a.optimizer));
        CHECK(fit.count == toy.made - 1, "case %zu: %d things said, %d plans", i, fit.count, toy.made);
    }
}

/* Whole weights learn: none is frozen; Lion has no state in 8 bits; batches are a file's. Recomputing saves next to nothing here. */
TEST(what_a_run_has_not_or_saves_nothing_stays)
{
    struct err e = { 0 };
    struct finetune_args a = { .batch = 1, .accumulate = 1, .optimizer = OPTIMIZER_LION, .frozen = 0 };
    struct fit_options o = { .lora = false, .frozen = DTYPE_F32, .room = 1, .asked = true, .computes = DTYPE_BF16 };
    struct toy toy = { &a, 0 };
    struct fit fit;
    bool fits;
    a.batch = 0; /* activations of nothing */
    REQUIRE(fit_choose(&fit, &a, &o, make, &toy, &fits, &e));
    CHECK(!fits && !fit.count && !a.checkpointing && a.optimizer == OPTIMIZER_LION && !a.frozen, "%d things given up", fit.count);
}

TEST(choices_are_kept_and_taken_over)
{
    struct err e = { 0 };
    struct finetune_args asked = { .batch = 6, .accumulate = 2, .optimizer = OPTIMIZER_ADAMW }, chosen = asked, again = asked;
    bool recalled;
    chosen.checkpointing = true;
    chosen.batch = 2;
    chosen.accumulate = 6;
    chosen.optimizer = OPTIMIZER_ADAMW8BIT;
    for (chosen.frozen = 1; strcmp(weights_type_choice(chosen.frozen), "q4_0") != 0;)
        chosen.frozen++;
    REQUIRE(fit_recall(&again, test_scratch("run"), &recalled, &e));
    CHECK(!recalled && again.batch == 6, "%s", "there is no run");
    REQUIRE(fit_keep(&asked, &chosen, test_scratch("run"), &e) && fit_recall(&again, test_scratch("run"), &recalled, &e));
    CHECK(recalled && again.checkpointing && again.batch == 2 && again.accumulate == 6 && again.optimizer == OPTIMIZER_ADAMW8BIT &&
              again.frozen == chosen.frozen, "%lld x %lld", (long long)again.batch, (long long)again.accumulate);
    REQUIRE(fit_recall(&again, test_scratch("run"), &recalled, &e)); /* as in the settings that the run wrote */
    struct finetune_args other = { .batch = 5, .accumulate = 2 };
    CHECK_FAILS(fit_recall(&other, test_scratch("run"), &recalled, &e), ERR_FORMAT, "--batch");
    REQUIRE(fit_keep(&asked, &asked, test_scratch("run"), &e));
    other.optimizer = OPTIMIZER_LION;
    REQUIRE(fit_recall(&other, test_scratch("run"), &recalled, &e)); /* nothing was given up: what is asked for counts */
    CHECK(other.optimizer == OPTIMIZER_LION && other.batch == 5, "%s", "it was taken over");
}
