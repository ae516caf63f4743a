/* Help pages and the man page, made from the tables; and the commands help and version. */
#include <stdio.h>
#include <string.h>

#include "cli/options_internal.h"

enum { PAGE = 100, LEFT_MAX = 32 };
static const char what_limn_is[] = "draws pictures from words, and trains the models that do";

const char *option_value(const struct option *o)
{
    static const char *const usual[] = {
        [OPTION_INT] = "N",      [OPTION_FLOAT] = "X",     [OPTION_TEXT] = "TEXT",
        [OPTION_TEXTS] = "TEXT", [OPTION_CHOICE] = "NAME", [OPTION_SIZE] = "SIZE", [OPTION_SETTINGS] = "FILE",
    };
    return o->kind == OPTION_FLAG ? NULL : o->value ? o->value : usual[o->kind];
}

/* The default as help shows it; NULL: none. */
static const char *initial(const struct option *o)
{
    if (o->initial_help)
        return o->initial_help;
    if (o->kind == OPTION_FLAG)
        return NULL;
    return o->kind == OPTION_CHOICE && !o->initial ? o->choices(0) : o->initial;
}

/* "default 20, 1 to 1000; may be repeated" or "". */
static void facts_text(struct text *out, const struct option *o)
{
    char range[80] = "";
    const char *between = " (";
    if (o->kind == OPTION_CHOICE) {
        const char *name;
        for (int i = 0; (name = o->choices(i)); i++)
            text_addf(out, "%s%s", i ? ", " : " (one of ", name);
        between = "; ";
    } else if (o->kind != OPTION_FLAG) {
        option_range(o, range, sizeof range);
    }
    if (initial(o)) {
        text_addf(out, "%sdefault %s", between, initial(o));
        between = "; ";
    }
    if (range[0]) {
        text_addf(out, "%s%s", between, range);
        between = "; ";
    }
    if (o->kind == OPTION_TEXTS) {
        text_addf(out, "%smay be given several times", between);
        between = "; ";
    }
    if (strcmp(between, "; ") == 0)
        text_add(out, ")");
}

/* Adds the text from column `column` on, broken between words before PAGE, further lines indented by
 * `indent`. */
static void add_wrapped(struct text *out, const char *s, size_t column, size_t indent)
{
    while (*s) {
        size_t word = strcspn(s, " \n");
        if (column > indent && column + word > PAGE) {
            text_addf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        text_add_bytes(out, s, word);
        column += word;
        s += word;
        if (*s == '\n') {
            text_addf(out, "\n%*s", (int)indent, "");
            column = indent;
            s++;
        } else if (*s == ' ') {
            s++;
            if (column + 1 + strcspn(s, " \n") <= PAGE) {
                text_add(out, " ");
                column++;
            } else {
                text_addf(out, "\n%*s", (int)indent, "");
                column = indent;
            }
        }
    }
    text_add(out, "\n");
}

/* "  -s, --steps N" */
static void option_left(char out[96], const struct option *o)
{
    char letter[8] = "    ";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    const char *value = option_value(o);
    snprintf(out, 96, "  %s--%s%s%s%s", letter, option_is_no(o) ? "no-" : "", o->name, value ? " " : "",
             value ? value : "");
}

static void add_row(struct text *out, const char *left, size_t width, const char *right)
{
    text_add(out, left);
    size_t length = strlen(left);
    if (length + 2 > width) {
        text_add(out, "\n");
        length = 0;
    }
    text_addf(out, "%*s", (int)(width - length), "");
    add_wrapped(out, right, width, width);
}

static void add_usage(struct text *out, const struct command *c)
{
    text_addf(out, "limn %s%s%s%s%s%s", c->name, c->options ? " [OPTIONS]" : "", c->words ? " " : "",
              c->words && c->words_min == 0 ? "[" : "", c->words ? c->words : "",
              c->words && c->words_min == 0 ? "]" : "");
}

void help_command(struct text *out, const struct command *c)
{
    add_wrapped(out, c->help, 0, 0);
    text_add(out, "\nUsage: ");
    add_usage(out, c);
    text_add(out, "\n");
    if (c->details) {
        text_add(out, "\n");
        add_wrapped(out, c->details, 0, 0);
    }
    size_t width = 0;
    char left[96];
    for (const struct option *o = c->options; o && o->name; o++) {
        option_left(left, o);
        if (strlen(left) + 2 <= LEFT_MAX && strlen(left) + 2 > width)
            width = strlen(left) + 2;
    }
    struct text right;
    text_init(&right, 1 << 16);
    for (const struct option *o = c->options; o && o->name; o++) {
        if (o->group || o == c->options)
            text_addf(out, "\n%s:\n", o->group ? o->group : "Options");
        option_left(left, o);
        text_clear(&right);
        text_add(&right, o->help);
        facts_text(&right, o);
        add_row(out, left, width ? width : LEFT_MAX, text_string(&right));
    }
    out->failed = out->failed || right.failed;
    out->failed |= right.failed;
    text_release(&right);
}

static size_t names_width(const struct command *const *table)
{
    size_t width = 0;
    for (; *table; table++)
        if (strlen((*table)->name) + 4 > width)
            width = strlen((*table)->name) + 4;
    return width;
}

static void add_name(struct text *out, const struct command *c, size_t width)
{
    char left[96];
    snprintf(left, sizeof left, "  %s", c->name);
    add_row(out, left, width, c->help);
}

void help_overview(struct text *out, const struct command *const *table)
{
    text_addf(out, "limn %s %s.\n\nUsage: limn COMMAND [OPTIONS] [WORDS]\n\nCommands:\n", LIMN_VERSION,
              what_limn_is);
    for (const struct command *const *c = table; *c; c++)
        add_name(out, *c, names_width(table));
    text_add(out, "\nlimn help COMMAND tells a command's options; in their names - and _ are the same.\n"
                  "Exit status: 0 good, 1 failed, 2 wrong usage, 130 stopped by the user.\n");
}

int help_family(struct text *out, const struct command *const *table, const char *first)
{
    int count = 0;
    size_t bytes = strlen(first);
    for (const struct command *const *c = table; *c; c++)
        if (strncmp((*c)->name, first, bytes) == 0 && (*c)->name[bytes] == ' ') {
            if (count++ == 0)
                text_addf(out, "Usage: limn %s COMMAND [OPTIONS] [WORDS]\n\nCommands:\n", first);
            add_name(out, *c, names_width(table));
        }
    if (count)
        text_add(out, "\n");
    return count;
}

/* Text for roff: hyphens stay hyphens, backslashes print, no line begins with a request. */
static void add_roff(struct text *out, const char *s)
{
    if (*s == '.' || *s == '\'')
        text_add(out, "\\&");
    for (; *s; s++) {
        if (*s == '\\')
            text_add(out, "\\e");
        else if (*s == '-')
            text_add(out, "\\-");
        else if (*s == '\n')
            text_add(out, s[1] == '.' || s[1] == '\'' ? "\n.PP\n\\&" : "\n.PP\n");
        else
            text_add_bytes(out, s, 1);
    }
}

static void man_option(struct text *out, const struct option *o)
{
    text_add(out, ".TP\n");
    if (o->letter)
        text_addf(out, "\\fB\\-%c\\fR, ", o->letter);
    text_add(out, "\\fB\\-\\-");
    add_roff(out, option_is_no(o) ? "no-" : "");
    add_roff(out, o->name);
    text_add(out, "\\fR");
    if (option_value(o)) {
        text_add(out, " \\fI");
        add_roff(out, option_value(o));
        text_add(out, "\\fR");
    }
    struct text facts;
    text_init(&facts, 1 << 16);
    facts_text(&facts, o);
    text_add(out, "\n");
    add_roff(out, o->help);
    add_roff(out, text_string(&facts));
    text_add(out, "\n");
    out->failed |= facts.failed;
    text_release(&facts);
}

void help_man(struct text *out, const struct command *const *table)
{
    text_addf(out, ".TH LIMN 1 \"\" \"limn %s\" \"User commands\"\n.SH NAME\nlimn \\- %s\n", LIMN_VERSION,
              what_limn_is);
    text_add(out, ".SH SYNOPSIS\n.B limn\n\\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIWORDS\\fR]\n.SH COMMANDS\n");
    for (const struct command *const *c = table; *c; c++) {
        struct text usage;
        text_init(&usage, 4096);
        add_usage(&usage, *c);
        text_add(out, ".SS ");
        for (const char *s = text_string(&usage); *s;
             s++) /* a quote would end nothing here, but \(dq is always itself */
            text_add(out, *s == '"' ? "\\(dq" : (char[]){ *s, 0 });
        out->failed |= usage.failed;
        text_release(&usage);
        text_add(out, "\n");
        add_roff(out, (*c)->help);
        text_add(out, "\n");
        if ((*c)->details) {
            text_add(out, ".PP\n");
            add_roff(out, (*c)->details);
            text_add(out, "\n");
        }
        for (const struct option *o = (*c)->options; o && o->name; o++)
            man_option(out, o);
    }
    text_add(out, ".SH EXIT STATUS\n0 good, 1 failed, 2 wrong usage, 130 stopped by the user.\n");
}

struct help_args {
    struct option_texts words;
    bool man;
};

static const struct option help_options[] = {
    { "man", 0, OPTION_FLAG, offsetof(struct help_args, man),
      .help = "the manual page of all commands, as roff" },
    { 0 },
};

static bool help_run(const void *args, struct err *e)
{
    const struct help_args *a = args;
    struct text text;
    text_init(&text, 1 << 22);
    int used = 0;
    const struct command *c = command_find(commands, a->words.count, a->words.items, &used);
    bool good = true;
    if (a->man)
        help_man(&text, commands);
    else if (a->words.count == 0)
        help_overview(&text, commands);
    else if (c && used == a->words.count)
        help_command(&text, c);
    else if (a->words.count > 1 || !help_family(&text, commands, a->words.items[0]))
        good = err_set(e, ERR_ARG, "no command %s%s%s; see limn help", a->words.items[0],
                       a->words.count > 1 ? " " : "", a->words.count > 1 ? a->words.items[1] : "");
    good = good && text_ok(&text, e);
    if (good)
        fputs(text_string(&text), stdout);
    text_release(&text);
    return good;
}

static const char *command_name(int index)
{
    return commands[index] ? commands[index]->name : NULL;
}

const struct command command_help = {
    .name = "help",
    .help = "Tells what the commands do and which options they have.",
    .words = "COMMAND",
    .words_place = offsetof(struct help_args, words),
    .words_max = 2,
    .words_choices = command_name,
    .options = help_options,
    .args_bytes = sizeof(struct help_args),
    .run = help_run,
};

static bool version_run(const void *args, struct err *e)
{
    printf("limn %s\n", LIMN_VERSION);
    return true;
}

const struct command command_version = {
    .name = "version",
    .help = "Tells the version.",
    .run = version_run,
};
