/* How every `limn eval` command tells what it found: a table on stdout, or one JSON line, and beside it a page, Markdown, a CSV file. */
#ifndef LIMN_CLI_EVAL_OUTPUT_H
#define LIMN_CLI_EVAL_OUTPUT_H

#include "cli/commands.h"
#include "evaluate/findings.h"
#include "evaluate/picture_set.h"

/* A member `out` of the arguments, and its rows. */
struct eval_output_args {
    const char *html, *csv, *markdown;
    bool json, quiet;
};
#define OPTION_ROWS_EVAL_OUTPUT(type)                                                                        \
    { "html", 0, OPTION_TEXT, offsetof(type, out.html), .value = "FILE", .group = "Output",                  \
      .help = "write a page with the pictures in it, one file that needs no other" },                        \
    { "csv", 0, OPTION_TEXT, offsetof(type, out.csv), .value = "FILE",                                       \
      .help = "write the first table, all of its rows" },                                                    \
    { "markdown", 0, OPTION_TEXT, offsetof(type, out.markdown), .value = "FILE",                             \
      .help = "write facts and tables for a page in Markdown" },                                             \
    { "json", 0, OPTION_FLAG, offsetof(type, out.json), .help = "one JSON line of facts on stdout" },        \
    { "quiet", 'q', OPTION_FLAG, offsetof(type, out.quiet), .help = "no progress" }

/* The names behind --split, by index, and what they mean. */
const char *eval_split_choice(int index);
enum picture_which eval_split(int index);

/* Writes f in every way that was asked for. name: the command's. errors  those of writing, and of f itself (findings_ok). */
MUST_USE bool eval_output(const struct findings *f, const struct eval_output_args *a, const char *name, struct err *e);

#endif
