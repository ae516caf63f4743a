/* The commands of limn. commands.c lists them in the order of help; adding one is a line here and a line
 * there. */
#ifndef LIMN_CLI_COMMANDS_H
#define LIMN_CLI_COMMANDS_H

#include <stddef.h>

#include "cli/options.h"

#define LIMN_VERSION "0.1.0"

extern const struct command command_generate;
extern const struct command command_upscale;
extern const struct command command_run;
extern const struct command command_nodes;
extern const struct command command_tokenize;
extern const struct command command_pull;
extern const struct command command_bench;
extern const struct command command_dataset_import;
extern const struct command command_dataset_collect;
extern const struct command command_dataset_scan;
extern const struct command command_dataset_split;
extern const struct command command_dataset_caption;
extern const struct command command_dataset_info;
extern const struct command command_dataset_clean;
extern const struct command command_dataset_crop;
extern const struct command command_dataset_resize;
extern const struct command command_dataset_cache;
extern const struct command command_dataset_export;
extern const struct command command_train_tokenizer;
extern const struct command command_train_vae;
extern const struct command command_train_base;
extern const struct command command_train_text;
extern const struct command command_train_compare;
extern const struct command command_train_lora;
extern const struct command command_train_full;
extern const struct command command_train_dreambooth;
extern const struct command command_eval_images;
extern const struct command command_eval_vae;
extern const struct command command_eval_leak;
extern const struct command command_eval_style;
extern const struct command command_eval_sweep;
extern const struct command command_eval_compare;
extern const struct command command_eval_run;
extern const struct command command_eval_networks;
extern const struct command command_eval_report;
extern const struct command command_serve;
extern const struct command command_worker;
extern const struct command command_gallery_list;
extern const struct command command_gallery_search;
extern const struct command command_gallery_show;
extern const struct command command_gallery_names;
extern const struct command command_gallery_tag;
extern const struct command command_gallery_collect;
extern const struct command command_gallery_rate;
extern const struct command command_gallery_delete;
extern const struct command command_gallery_undo;
extern const struct command command_gallery_purge;
extern const struct command command_gallery_import;
extern const struct command command_gallery_export;
extern const struct command command_gallery_learn;
extern const struct command command_models;
extern const struct command command_model_info;
extern const struct command command_model_convert;
extern const struct command command_model_bake;
extern const struct command command_model_merge;
extern const struct command command_help;
extern const struct command command_version;
extern const struct command command_completion;

/* A table of commands that ends in NULL. */
extern const struct command *const commands[];

/* Runs the program: argv[0] is its name. Returns the exit status: 0 good, 1 failed, 2 wrong usage, 130
 * stopped by the user. Errors go to stderr as "limn: <text>". */
int cli_main(int argc, char **argv);
/* The same over another table of commands. */
int cli_run(const struct command *const *table, int argc, const char *const *argv);

/* Rows that several commands have, so that they read the same everywhere; `type` is the arguments struct,
 * which has a member of the row's name: int64_t threads, bool quiet, bool json, bool plan. */
#define OPTION_ROW_THREADS(type)                                                                             \
    {                                                                                                        \
        "threads", 't', OPTION_INT, offsetof(type, threads), "0",                                            \
            .min = 1, .max = 1024, .value = "N", .help = "processor threads", .initial_help = "all cores"    \
    }
#define OPTION_ROW_QUIET(type)                                                                               \
    {                                                                                                        \
        "quiet", 'q', OPTION_FLAG, offsetof(type, quiet),                                                    \
            .help = "no progress and no picture in the terminal"                                             \
    }
#define OPTION_ROW_JSON(type)                                                                                \
    {                                                                                                        \
        "json", 0, OPTION_FLAG, offsetof(type, json), .help = "one JSON line of facts on stdout"             \
    }
#define OPTION_ROW_PLAN(type)                                                                                \
    {                                                                                                        \
        "plan", 0, OPTION_FLAG, offsetof(type, plan),                                                        \
            .help = "print the planned memory by kind before the work"                                       \
    }

#endif
