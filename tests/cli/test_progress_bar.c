#include <stdlib.h>

#include "cli/progress_bar.h"
#include "test.h"

static double seconds;

static double test_clock(void)
{
    return seconds;
}

static struct progress_bar bar_on(FILE *f, bool terminal)
{
    struct progress_bar bar;
    progress_bar_init(&bar, true);
    bar.out = f;
    bar.terminal = terminal;
    bar.columns = 90;
    bar.utf8 = false;
    bar.now = test_clock;
    seconds = bar.last = 100;
    return bar;
}

static char *written(FILE *f)
{
    static char text[100000];
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

TEST(a_terminal_is_redrawn_at_most_ten_times_a_second)
{
    FILE *f = tmpfile();
    struct progress_bar bar = bar_on(f, true);
    struct progress p = progress_bar_steps(&bar);
    for (int i = 0; i <= 1000; i++) {
        progress_step(&p, "drawing", i, 1000, "loss 0.12");
        seconds += 0.01;
    }
    char *text = written(f); /* 10 seconds */
    int drawn = count_of(text, "\rdrawing");
    CHECK(drawn >= 90 && drawn <= 102, "drawn %d times", drawn);
    CHECK(strstr(text, "500/1000  100 it/s  0:05 left"), "half way: %.300s", text);
    CHECK(strstr(text, "1000/1000  100 it/s  in 0:10") && strstr(text, "loss 0.12"), "the end");
    CHECK(count_of(text, "\n") == 1 && text[strlen(text) - 1] == '\n', "one line is left");
    for (char *line = strtok(text, "\r"); line; line = strtok(NULL, "\r")) {
        char *end = strstr(line, "\033[K");
        CHECK(end && end - line <= 89, "it does not wrap: %s", line);
    }
}

TEST(a_log_gets_whole_lines_and_few)
{
    FILE *f = tmpfile();
    struct progress_bar bar = bar_on(f, false);
    struct progress p = progress_bar_steps(&bar);
    for (int i = 1; i <= 1000; i++) {
        seconds += 0.1;
        progress_step(&p, "training", i, 1000, NULL);
    }
    char *text = written(f); /* 100 s */
    int lines = count_of(text, "\n");
    CHECK(lines >= 9 && lines <= 12 && !strchr(text, '\r') && !strchr(text, '\033'), "%d lines: %s", lines, text);
    CHECK(strstr(text, "training  1000/1000  10 it/s  in 1:40"), "%s", text);
}

TEST(slow_work_counts_seconds_and_resumed_work_its_own_steps_only)
{
    FILE *f = tmpfile();
    struct progress_bar bar = bar_on(f, false);
    struct progress p = progress_bar_steps(&bar);
    for (int i = 5000; i <= 5010; i++) {
        progress_step(&p, "training", i, 6000, NULL);
        seconds += 4;
    }
    char *text = written(f);
    CHECK(strstr(text, "training  5010/6000  4 s/it  1:06:00 left") || strstr(text, "5009/6000  4 s/it  1:06:04 left"),
          "%s", text);
}

TEST(lines_stand_above_the_bar_and_a_new_work_begins_a_new_line)
{
    FILE *f = tmpfile();
    struct progress_bar bar = bar_on(f, true);
    struct progress p = progress_bar_steps(&bar);
    progress_step(&p, "encoding", 0, 4, NULL);
    progress_line(&p, "saved %s", "a.png");
    progress_step(&p, "sampling", 1, 2, "evil \033[2J note");
    progress_bar_end(&bar);
    char *text = written(f);
    char *saved = strstr(text, "\r\033[Ksaved a.png\n\rencoding"), *second = strstr(text, "\n\rsampling");
    CHECK(saved && second && saved < second, "%s", text);
    CHECK(strstr(text, "evil  [2J note") && text[strlen(text) - 1] == '\n', "%s", text);
}

TEST(a_quiet_bar_writes_nothing)
{
    struct progress_bar bar;
    progress_bar_init(&bar, true);
    struct progress p = progress_bar_steps(&bar);
    progress_step(&p, "x", 1, 2, NULL);
    progress_line(&p, "y");
    progress_bar_end(&bar);
    CHECK(!bar.open && !bar.out, "it wrote");
}
