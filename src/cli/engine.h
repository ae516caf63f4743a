/* What the commands that run a model share: the processor's backend, the type to compute in, where model folders are. */
#ifndef LIMN_CLI_ENGINE_H
#define LIMN_CLI_ENGINE_H

#include "base/file.h"
#include "cli/commands.h"
#include "generate/generate.h"

/* The names behind --precision, by index. */
enum precision { PRECISION_AUTO, PRECISION_F32, PRECISION_BF16 };
const char *precision_choice(int index);
#define OPTION_ROW_PRECISION(type)                                                                           \
    {                                                                                                        \
        "precision", 0, OPTION_CHOICE, offsetof(type, precision), "auto", .choices = precision_choice,       \
            .help = "what the models compute in; auto is bf16 where the processor has it"                    \
    }
#define OPTION_ROW_MODEL(type)                                                                               \
    {                                                                                                        \
        "model", 'm', OPTION_TEXT, offsetof(type, model), .value = "FOLDER",                                 \
            .help = "a model folder, or the name of an installed one", .initial_help = "limn-emoji"          \
    }

struct engine {
    const struct backend *backend;
    enum dtype type;
    const char *isa;
    int threads;
};
/* threads 0: all cores. Free with engine_release. */
MUST_USE bool engine_init(struct engine *engine, int64_t threads, int precision, struct err *e);
void engine_release(struct engine *engine);

/* The folder of a model into out[PATH_MAX_BYTES]: `name` itself if it is a folder or holds a slash; else that name in
 * $LIMN_MODELS, beside the program's folder, or where it was installed. NULL: the model that limn brings. ERR_MISSING lists
 * the places. */
MUST_USE bool engine_find_model(char *out, const char *name, struct err *e);

/* Where models are looked for, in this order: $LIMN_MODELS, beside the program's folder, where it was installed. Returns how
 * many there are. */
enum { ENGINE_PLACES = 3 };
int engine_places(char places[ENGINE_PLACES][PATH_MAX_BYTES]);

/* Lines of a table of bytes by kind for people, as --plan prints it on stderr; names ends with NULL. */
void engine_print_plan(const char *const *names, const size_t *bytes);

#endif
