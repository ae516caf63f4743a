#include "base/command.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/progress.h"
#include "test.h"

TEST(a_command_gets_its_argument_as_one_word_and_answers_on_stdout)
{
    struct err e = { 0 };
    struct text out;
    text_init(&out, 1000);
    REQUIRE(command_ask("printf '[%s]' caption", "a b'; echo \"$HOME\" > $(x).png", 10, &out, &e));
    assert_string_equal(text_string(&out), "[caption][a b'; echo \"$HOME\" > $(x).png]");
    text_clear(&out);
    REQUIRE(command_ask("cat; echo", "done", 10, &out, &e)); /* stdin is empty: it does not wait */
    assert_string_equal(text_string(&out), "done\n");
    text_release(&out);
}

TEST(a_command_that_fails_says_why)
{
    static const struct {
        const char *line;
        double seconds;
        size_t room;
        enum err_code code;
        const char *part;
    } cases[] = {
        { "echo one >&2; echo two >&2; exit 3; :", 10, 100, ERR_IO, "ended with status 3: two" },
        { "kill -9 $$; :", 10, 100, ERR_IO, "ended by signal 9" },
        { "sleep 30 & sleep 30; :", 0.3, 100, ERR_IO, "took more than 0.3 s" },
        { "exec >&- 2>&-; sleep 30; :", 0.3, 100, ERR_IO, "took more than 0.3 s" },
        { "yes; :", 10, 100, ERR_LIMIT, "more than 100 bytes" },
        { "/nowhere/at/all", 10, 100, ERR_IO, "status 127" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        struct text out;
        double begun = clock_seconds();
        text_init(&out, cases[i].room);
        CHECK_FAILS(command_ask(cases[i].line, "x", cases[i].seconds, &out, &e), cases[i].code, cases[i].part);
        CHECK(clock_seconds() - begun < 20, "case %zu", i); /* not as long as its children would live */
        text_release(&out);
    }
}

TEST(what_a_command_left_in_the_background_is_ended_and_not_waited_for)
{
    struct err e = { 0 };
    struct text out;
    char line[PATH_MAX_BYTES + 100];
    double begun = clock_seconds();
    text_init(&out, 100);
    snprintf(line, sizeof line, "(sleep 1; touch %s) & echo here; :", test_scratch("late"));
    REQUIRE(command_ask(line, "x", 10, &out, &e));
    assert_string_equal(text_string(&out), "here\n");
    CHECK(clock_seconds() - begun < 0.9, "%g s", clock_seconds() - begun);
    usleep(1300000);
    assert_false(path_exists(test_scratch("late")));
    text_release(&out);
}

TEST(a_stop_ends_a_command)
{
    struct err e = { 0 };
    struct text out;
    text_init(&out, 100);
    stop_request();
    CHECK_FAILS(command_ask("sleep 30; :", "x", 60, &out, &e), ERR_STOPPED, "");
    stop_forget();
    text_release(&out);
}
