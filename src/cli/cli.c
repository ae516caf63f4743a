/* From argv to an exit status. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/near.h"
#include "base/plain.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/options_internal.h"

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_STOPPED = 130 };

static int exit_status(const struct err *e)
{
    return e->code == ERR_ARG ? EXIT_USAGE : e->code == ERR_STOPPED ? EXIT_STOPPED : EXIT_FAILED;
}

static int complain(const struct err *e)
{
    char plain[sizeof e->text];
    fprintf(stderr, "limn: %s\n", plain_line(plain, sizeof plain, e->text));
    return exit_status(e);
}

const struct command *command_find(const struct command *const *table, int argc, const char *const *argv,
                                   int *used)
{
    char two[80] = "";
    if (argc > 1)
        snprintf(two, sizeof two, "%s %s", argv[0], argv[1]);
    for (int words = 2; words >= 1; words--)
        for (const struct command *const *c = table; argc >= words && *c; c++)
            if (text_same_name((*c)->name, words == 2 ? two : argv[0])) {
                *used = words;
                return *c;
            }
    return NULL;
}

static const char *nth_command(const void *names, int index)
{
    const struct command *c = ((const struct command *const *)names)[index];
    return c ? c->name : NULL;
}

/* No command has this name: "train" alone, or a mistyped one. */
static int unknown(const struct command *const *table, int argc, const char *const *argv)
{
    struct text text;
    text_init(&text, 4096);
    struct err e = { 0 };
    bool wants_help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    char typed[80], part[16] = "";
    snprintf(typed, sizeof typed, "%s%s%s", argv[0], argc > 1 && argv[1][0] != '-' ? " " : "",
             argc > 1 && argv[1][0] != '-' ? argv[1] : "");
    int family = help_family(&text, table, argv[0]);
    if (family) {
        fprintf(wants_help ? stdout : stderr, "%s", text_string(&text));
        text_release(&text);
        if (wants_help)
            return EXIT_GOOD;
    }
    text_release(&text);
    const char *near = text_nearest(typed, nth_command, table);
    if (!near)
        near = text_nearest(argv[0], nth_command, table);
    snprintf(part, sizeof part, "%s", near ? "; did you mean " : "; see ");
    err_set(&e, ERR_ARG, "no command %s%slimn %s%s", typed, part, near ? near : "help", near ? "?" : "");
    if (family && strcmp(typed, argv[0]) == 0) {
        err_clear(&e);
        err_set(&e, ERR_ARG, "limn %s needs one more word, see above", argv[0]);
    }
    return complain(&e);
}

static int run_command(const struct command *command, int argc, const char *const *argv)
{
    struct err e = { 0 };
    struct text text;
    bool help;
    void *args = mem_zeroed(command->args_bytes ? command->args_bytes : 1, 1);
    if (!args) {
        err_nomem(&e, "the arguments");
        return complain(&e);
    }
    int status = EXIT_GOOD;
    if (!options_parse(command, argc, argv, args, &help, &e)) {
        status = complain(&e);
        fprintf(stderr, "limn: see limn help %s\n", command->name);
    } else if (help) {
        text_init(&text, 1 << 20);
        help_command(&text, command);
        fputs(text_string(&text), stdout);
        text_release(&text);
    } else if (!command->run(args, &e)) {
        status = complain(&e);
    }
    options_release(command, args);
    mem_free(args);
    return status;
}

static int dispatch(const struct command *const *table, int argc, const char *const *argv)
{
    if (argc < 1) {
        struct text text;
        text_init(&text, 1 << 20);
        help_overview(&text, table);
        fputs(text_string(&text), stderr);
        text_release(&text);
        return EXIT_USAGE;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)
        return run_command(&command_help, argc - 1, argv + 1);
    if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0)
        return run_command(&command_version, argc - 1, argv + 1);
    int used = 0;
    const struct command *command = command_find(table, argc, argv, &used);
    return command ? run_command(command, argc - used, argv + used) : unknown(table, argc, argv);
}

int cli_run(const struct command *const *table, int argc, const char *const *argv)
{
    int status = dispatch(table, argc - 1, argv + 1);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        struct err e = { 0 };
        clearerr(stdout);
        err_errno(&e, "cannot write to standard output");
        int failed = complain(&e);
        return status ? status : failed;
    }
    return status;
}

int cli_main(int argc, char **argv)
{
    stop_on_signals();
    return argc < 1 ? EXIT_USAGE : cli_run(commands, argc, (const char *const *)argv);
}
