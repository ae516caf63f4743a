/* LoRAs as words of a command line: which file, at which scales, and what is said about it. */
#ifndef LIMN_CLI_LORA_ARGS_H
#define LIMN_CLI_LORA_ARGS_H

#include "cli/engine.h"

/* "FILE", "FILE:SCALE" or "FILE:UNET:TEXT". */
struct lora_word {
    char path[PATH_MAX_BYTES];
    double unet, text; /* 1 where nothing is said */
};

/* Reads a word and finds its file: a path that is there, or a name, with or without its ending, in a place of LoRAs
 * (engine_places). Windows' drive letters are no scales; neither is a last part that is no number.
 * errors  ERR_ARG for a scale that is not finite, ERR_MISSING with the places that were looked at. */
MUST_USE bool lora_word_read(struct lora_word *out, const struct model_places *places, const char *word, struct err *e);

/* Reads words into loras[LORA_MOST], opens the files for the pipeline's model, and says on stderr what a user must know: an
 * alpha that was assumed, keys without a use. alpha: 0 is not given. */
MUST_USE bool lora_words_open(struct pipeline *p, const struct model_places *places, const struct option_texts *words,
                              double alpha, struct draw_lora *loras, size_t *count, struct err *e);

/* Adds one that a prompt names, <lora:name:...>, in the same way. */
MUST_USE bool lora_words_add(struct pipeline *p, const struct model_places *places, const char *name, double unet,
                             double text, double alpha, struct draw_lora *loras, size_t *count, struct err *e);

/* [{"path": ..., "name": ..., "unet": 1, "text": 1, "modules": 12, "rank": 16, "unused": [...]}, ...]; NULL without memory. */
json_t *lora_words_json(const struct draw_lora *loras, size_t count);

#define OPTION_ROW_LORA(type)                                                                                          \
    {                                                                                                                  \
        "lora", 'l', OPTION_TEXTS, offsetof(type, loras), .value = "FILE",                                             \
            .help = "a LoRA, also by its name in a folder of loras; FILE:0.8 at that scale, FILE:0.8:0.5 with one of its own " \
                    "for the text encoder"                                                                             \
    }
#define OPTION_ROW_LORA_ALPHA(type)                                                                                    \
    {                                                                                                                  \
        "lora-alpha", 0, OPTION_FLOAT, offsetof(type, lora_alpha), "0", .min = 1e-6, .max = 1e6,                       \
            .help = "alpha of LoRA files that do not tell it", .initial_help = "4 for DiffSynth's, else the rank"      \
    }

#endif
