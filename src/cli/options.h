/* Commands and their options: one table, many readers (parsing, help, man page, completion, a run's
 * config.json). A default is written here and nowhere else. A command file looks like this:
 *
 *     struct draw_args {
 *         struct option_texts words;
 *         int64_t steps;
 *         int sampler;
 *         const char *output;
 *         bool mark;
 *     };
 *     #define AT(member) offsetof(struct draw_args, member)
 *     OPTION_CHOICES(sampler_choice, "euler", "ddim")
 *     static const struct option draw_options[] = {
 *         { "steps", 's', OPTION_INT, AT(steps), "20", .min = 1, .max = 1000, .help = "denoiser calls",
 *           .group = "Picture" },
 *         { "sampler", 0, OPTION_CHOICE, AT(sampler), "euler", .choices = sampler_choice,
 *           .help = "how a step is taken" },
 *         { "output", 'o', OPTION_TEXT, AT(output), .value = "FILE", .help = "where the picture goes",
 *           .initial_help = "made from the seed" },
 *         { "mark", 0, OPTION_FLAG, AT(mark), "yes", .help = "do not write the settings into the file" },
 *         { 0 },
 *     };
 *     static bool draw_run(const void *args, struct err *e)
 *     {
 *         const struct draw_args *a = args;
 *         ...
 *     }
 *     const struct command command_draw = {
 *         .name = "draw", .help = "Draws a picture from words.",
 *         .words = "\"TEXT\"", .words_place = AT(words), .words_min = 1, .words_max = 1,
 *         .options = draw_options, .args_bytes = sizeof(struct draw_args), .run = draw_run,
 *     };
 *
 * The flag with the default "yes" is written --no-mark, and its help says what that does. */
#ifndef LIMN_CLI_OPTIONS_H
#define LIMN_CLI_OPTIONS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The C type of the member at `place` is behind each kind. */
enum option_kind {
    OPTION_FLAG,   /* bool; --name, and --no-name if its default is "yes" */
    OPTION_INT,    /* int64_t */
    OPTION_FLOAT,  /* double, always finite */
    OPTION_TEXT,   /* const char *, borrowed from argv or the table; NULL without default */
    OPTION_TEXTS,  /* struct option_texts; the option may be given many times; no default */
    OPTION_CHOICE, /* int, the index in `choices` */
    OPTION_SIZE,   /* int64_t bytes; K, M, G behind the number are powers of 1024 ("2G", "1.5M") */
    OPTION_SETTINGS, /* struct option_settings: a TOML or JSON file that says values of options by name, in tables or not. What the
                        line says counts more. A --config that is a file (FILE.toml, FILE.json), or of a command that has no such
                        option, is the same */
};

#define OPTION_TEXTS_MAX 64
struct option_texts {
    const char *items[OPTION_TEXTS_MAX]; /* borrowed from argv */
    int count;
};

struct option_settings {
    const char *path; /* borrowed from argv */
    json_t *values;   /* texts among the arguments are borrowed from it */
};

struct option {
    const char *name; /* words joined by dashes; NULL ends a table. Users may write underscores */
    char letter;      /* -s; 0: none */
    enum option_kind kind;
    size_t place;        /* offsetof in the command's arguments */
    const char *initial; /* the default as a user would type it; NULL: zero (a CHOICE: the first). It may lie
                            outside [min, max]: so a value says "not given" */
    double min, max;     /* INT, FLOAT, SIZE; both 0: any value. INFINITY and -INFINITY leave a side open */
    const char *(*choices)(int index); /* CHOICE: the index-th name; NULL behind the last */
    const char *value;        /* what stands for the value in help: "FILE" and "FOLDER" are completed so;
                                 NULL: N, X, TEXT or SIZE by kind */
    const char *help;         /* a phrase without a full stop */
    const char *initial_help; /* shown as the default in place of `initial` */
    const char *group;        /* a heading that begins with this option */
};

/* Defines the `choices` function of a CHOICE from fixed names. */
#define OPTION_CHOICES(function, ...)                                                                        \
    static const char *function(int index)                                                                   \
    {                                                                                                        \
        static const char *const names[] = { __VA_ARGS__ };                                                  \
        return index >= 0 && (size_t)index < sizeof names / sizeof *names ? names[index] : NULL;             \
    }

struct command {
    const char *name;    /* "generate", or two words: "train vae" */
    const char *help;    /* one sentence */
    const char *details; /* more paragraphs for its own help page, lines broken by '\n' only between
                            paragraphs; or NULL */
    const char *words;   /* what stands behind the options, as in usage: "\"TEXT\""; NULL: nothing may */
    size_t words_place;  /* a struct option_texts in the arguments */
    int words_min, words_max;
    /* Offered by completion; NULL: files if `words` holds "FILE" or "FOLDER", else nothing. */
    const char *(*words_choices)(int index);
    const struct option *options; /* NULL: none */
    size_t args_bytes;            /* may be 0 if there are neither options nor words */
    /* False with e set is a failure: ERR_ARG exits with 2, ERR_STOPPED with 130, others with 1. */
    bool (*run)(const void *args, struct err *e);
};

/* Fills args (args_bytes zeros or anything) with the defaults. An error is a mistake in the table. */
MUST_USE bool options_defaults(const struct command *command, void *args, struct err *e);
/* Defaults, then argv[0..argc): what follows the command's name. "--name value", "--name=value", "-s value",
 * "-svalue"; "--" ends the options. The last of several wins. *help is set if --help or -h stands there; then
 * nothing else is checked.
 * errors  ERR_ARG, naming option, value and range, or the nearest name; ERR_FORMAT in a settings file. End with options_release. */
MUST_USE bool options_parse(const struct command *command, int argc, const char *const *argv, void *args,
                            bool *help, struct err *e);
/* Lets go of what a settings file said; the texts of args are then gone. */
void options_release(const struct command *command, void *args);
/* {"steps": 20, "cfg": 7.5, ...}: names with underscores, choices by name, unset texts null. For a run's
 * config.json. */
MUST_USE json_t *options_json(const struct command *command, const void *args, struct err *e);
/* The other way: values by name from such an object over what args holds; names that are not options are left
 * out. Texts are borrowed from `object`. */
MUST_USE bool options_from_json(const struct command *command, const json_t *object, const char *where,
                                void *args, struct err *e);

#endif
