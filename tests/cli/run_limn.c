#include "cli/run_limn.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/commands.h"
#include "test.h"

enum { MOST_WORDS = 40 };

char said[1 << 16], complained[1 << 16];

static void read_back(const char *path, char *out, size_t room)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    out[fread(out, 1, room - 1, f)] = 0;
    fclose(f);
}

int limn(const char *first, ...)
{
    const char *argv[MOST_WORDS] = { "limn", first };
    int argc = 2;
    va_list args;
    va_start(args, first);
    for (const char *word; argc < MOST_WORDS && (word = va_arg(args, const char *));)
        argv[argc++] = word;
    va_end(args);
    /* asked once: test_scratch keeps a few paths, and the words may be some of them */
    const char *out = test_scratch("stdout"), *err = test_scratch("stderr");
    fflush(stdout);
    fflush(stderr);
    int keep_out = dup(1), keep_err = dup(2);
    assert_true(freopen(out, "w", stdout) && freopen(err, "w", stderr));
    int status = cli_run(commands, argc, argv);
    fflush(stdout);
    fflush(stderr);
    dup2(keep_out, 1);
    dup2(keep_err, 2);
    close(keep_out);
    close(keep_err);
    read_back(out, said, sizeof said);
    read_back(err, complained, sizeof complained);
    return status;
}
