/* ControlNets as words of a command line. */
#ifndef LIMN_CLI_CONTROL_ARGS_H
#define LIMN_CLI_CONTROL_ARGS_H

#include "cli/engine.h"

/* Reads words "MODEL=IMAGE", "MODEL=IMAGE:STRENGTH" or "MODEL=IMAGE:STRENGTH:START:END" into controls[CONTROL_MOST] and opens them. MODEL is a
 * path, or a name in a place of ControlNets (engine_places). A last part that is no number belongs to the picture's name.
 * owner   what is in controls: control_words_release gives it back, also after a failure; words must outlive it.
 * errors  ERR_ARG, ERR_MISSING, those of control_net_open and of image_load. */
MUST_USE bool control_words_open(const struct model_places *places, const struct option_texts *words, struct draw_control *controls, size_t *count,
                                 struct err *e);
void control_words_release(struct draw_control *controls, size_t count);

/* [{"path": ..., "image": ..., "strength": 1, "start": 0, "end": 1}, ...]; NULL without memory. */
json_t *control_words_json(const struct draw_control *controls, size_t count);

#define OPTION_ROWS_CONTROL(type)                                                                                                      \
    { "control", 0, OPTION_TEXTS, offsetof(type, controls), .value = "MODEL=IMAGE", .group = "Control",                                \
      .help = "a ControlNet, a file, folder or name in a folder of them, and its picture; MODEL=IMAGE:0.8 at that strength, "          \
              "MODEL=IMAGE:0.8:0:0.5 in that part of the run" },                                                                       \
    { "control-guess", 0, OPTION_FLAG, offsetof(type, control_guess),                                                                  \
      .help = "diffusers' guess mode: ControlNets do not speak to what is drawn without words, and less at the fine levels" }

#endif
