/* What help, man page and completion read beside the tables themselves. */
#ifndef LIMN_CLI_OPTIONS_INTERNAL_H
#define LIMN_CLI_OPTIONS_INTERNAL_H

#include "base/text.h"
#include "cli/commands.h"

/* "1 to 1000", "1 or more", "at most 5", or "" if every value is allowed. */
void option_range(const struct option *o, char *out, size_t bytes);
/* What stands for the value in help; NULL for a flag. */
const char *option_value(const struct option *o);
/* True if help writes the option as --no-name. */
bool option_is_no(const struct option *o);

/* The command whose name the words begin with, *used set to how many words that took (1 or 2); NULL if there
 * is none. */
const struct command *command_find(const struct command *const *table, int argc, const char *const *argv,
                                   int *used);

/* Each adds a whole document. Check with text_ok. */
void help_overview(struct text *out, const struct command *const *table);
/* All commands that begin with `first` ("train"), as a short list; returns how many. */
int help_family(struct text *out, const struct command *const *table, const char *first);
void help_command(struct text *out, const struct command *command);
void help_man(struct text *out, const struct command *const *table);
void complete_bash(struct text *out, const struct command *const *table);
void complete_zsh(struct text *out, const struct command *const *table);
void complete_fish(struct text *out, const struct command *const *table);

#endif
