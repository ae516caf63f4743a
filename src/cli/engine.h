/* What the commands that run a model share: the processor's backend, the type to compute in, where model folders are. */
#ifndef LIMN_CLI_ENGINE_H
#define LIMN_CLI_ENGINE_H

#include "base/file.h"
#include "cli/commands.h"
#include "generate/generate.h"
#include "model/places/places.h"

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
        "model", 'm', OPTION_TEXT, offsetof(type, model), .value = "FILE",                                   \
            .help = "a model folder or file, or the name of an installed one", .initial_help = "limn-emoji"          \
    }

/* Where the parts that a single file lacks come from: members config, vae, text_encoder (const char *) and prediction (int). */
#define OPTION_ROWS_MODEL_PARTS(type)                                                                        \
    { "config", 0, OPTION_TEXT, offsetof(type, config), .value = "FOLDER",                                   \
      .help = "configs and tokenizer of a model in a single file, from a folder in diffusers' layout",       \
      .initial_help = "those of its family" },                                                               \
    { "vae", 0, OPTION_TEXT, offsetof(type, vae), .value = "FILE",                                           \
      .help = "a file or folder whose VAE is taken in place of the model's" },                               \
    { "text-encoder", 0, OPTION_TEXT, offsetof(type, text_encoder), .value = "FILE",                         \
      .help = "a file or folder whose text encoder is taken in place of the model's (first) one: ChatGLM3's of a Kolors" }, \
    { "prediction", 0, OPTION_CHOICE, offsetof(type, prediction), "auto", .choices = prediction_choice,      \
      .help = "what the denoiser predicts, where a file does not tell it truly" }
const char *prediction_choice(int index);

/* The names behind --type of what writes weights ("keep" first), and the type: DTYPE_COUNT for "keep". */
const char *weights_type_choice(int index);
enum dtype weights_type_of_choice(int index);

struct engine {
    const struct backend *backend;
    enum dtype type;
    const char *isa;
    int threads;
};
/* threads 0: all cores. Free with engine_release. */
MUST_USE bool engine_init(struct engine *engine, int64_t threads, int precision, struct err *e);
void engine_release(struct engine *engine);

/* The folder of limn's own page, beside the program where `make web` puts it or where it was installed, into out[PATH_MAX_BYTES];
 * false: there is none. */
bool engine_page(char *out);

/* Where models that are fetched go, into out[PATH_MAX_BYTES]: $LIMN_MODELS, else the user's data folder. ERR_MISSING without either. */
MUST_USE bool engine_pull_place(char *out, struct err *e);

/* Folders of other programs: members comfyui and extra_model_paths (const char *). */
#define OPTION_ROWS_PLACES(type)                                                                             \
    { "comfyui", 0, OPTION_TEXT, offsetof(type, comfyui), .value = "FOLDER",                                 \
      .help = "an installation of ComfyUI: models, LoRAs, VAEs and embeddings are found in it by name",      \
      .initial_help = "$LIMN_COMFYUI" },                                                                     \
    { "extra-model-paths", 0, OPTION_TEXT, offsetof(type, extra_model_paths), .value = "FILE",               \
      .help = "more folders of models, in the form of ComfyUI's extra_model_paths.yaml",                     \
      .initial_help = "$LIMN_EXTRA_MODEL_PATHS" }
/* Every folder of models, in this order: $LIMN_LORAS, limn's own (engine_pull_place, beside the program's folder, where it was
 * installed), the installation, the file. comfyui and extra are the values of the two options; NULL: the environment's. Release
 * with model_places_release, after a failure, too. What looks like a mistake in a file of paths is told on stderr. Errors of model_places_add_comfyui and model_places_add_file. */
MUST_USE bool engine_places(struct model_places *places, const char *comfyui, const char *extra, struct err *e);

/* The folder or file of a model into out[PATH_MAX_BYTES]: `name` itself if it is there or begins as a path ('/', "./", "../"); else
 * the model of that name in the places (model_places_find). NULL: the model that limn brings. ERR_MISSING lists the places. */
MUST_USE bool engine_find_model(char *out, const struct model_places *places, const char *name, struct err *e);
/* The same for --vae and for --text-encoder: *name becomes out, or stays NULL. */
MUST_USE bool engine_find_vae(char *out, const struct model_places *places, const char **name, struct err *e);
MUST_USE bool engine_find_text(char *out, const struct model_places *places, const char **name, struct err *e);
/* engine_places and engine_find_model, for commands that need nothing else of the places. */
MUST_USE bool engine_find_only_model(char *out, const char *comfyui, const char *extra, const char *name, struct err *e);

/* Gives the pipeline its embeddings. name: a folder: models/embeddings or embeddings in it, or that folder itself, or one of that
 * name in the places of embeddings; nothing else is taken then. NULL: the folder embeddings beside the model or one above (as
 * ComfyUI's models has it), then the places of embeddings; there may be none. ERR_MISSING if a named folder is not there. */
MUST_USE bool engine_add_embeddings(struct pipeline *p, const struct model_places *places, const char *name, const char *model,
                                    struct err *e);

/* Lines of a table of bytes by kind for people, as --plan prints it on stderr; names ends with NULL. */
void engine_print_plan(const char *const *names, const size_t *bytes);

#endif
