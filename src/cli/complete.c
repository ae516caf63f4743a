/* Completion scripts for bash, zsh and fish, made from the tables. */
#include <stdio.h>
#include <string.h>

#include "cli/options_internal.h"

enum { NAME_MAX_BYTES = 64 };

/* The first word of a command's name into out; returns the second or NULL. */
static const char *split(const struct command *c, char out[NAME_MAX_BYTES])
{
    const char *space = strchr(c->name, ' ');
    snprintf(out, NAME_MAX_BYTES, "%.*s", (int)(space ? (size_t)(space - c->name) : strlen(c->name)),
             c->name);
    return space ? space + 1 : NULL;
}

/* True if an earlier command has the same first word. */
static bool first_word_seen(const struct command *const *table, const struct command *const *at)
{
    char mine[NAME_MAX_BYTES], other[NAME_MAX_BYTES];
    split(*at, mine);
    for (const struct command *const *c = table; c < at; c++) {
        split(*c, other);
        if (strcmp(mine, other) == 0)
            return true;
    }
    return false;
}

/* s inside single quotes of a POSIX-like shell, the quotes not added; characters of `escape` get a backslash.
 */
static void add_quoted(struct text *out, const char *s, const char *escape, bool fish)
{
    for (; *s; s++) {
        if (*s == '\'')
            text_add(out, fish ? "\\'" : "'\\''");
        else if (strchr(escape, *s) || (fish && *s == '\\'))
            text_addf(out, "\\%c", *s);
        else
            text_add_bytes(out, s, 1);
    }
}

static void add_names(struct text *out, const char *(*name_of)(int index))
{
    const char *name;
    for (int i = 0; (name = name_of(i)); i++)
        text_addf(out, "%s%s", i ? " " : "", name);
}

static void add_first_words(struct text *out, const struct command *const *table)
{
    char first[NAME_MAX_BYTES];
    for (const struct command *const *c = table; *c; c++)
        if (!first_word_seen(table, c)) {
            split(*c, first);
            text_addf(out, "%s ", first);
        }
}

static bool is_file(const char *value)
{
    return value && strstr(value, "FILE");
}

static bool is_folder(const char *value)
{
    return value && strstr(value, "FOLDER");
}

static void bash_value(struct text *out, const struct command *c, const struct option *o)
{
    const char *value = option_value(o);
    text_addf(out, "    \"%s --%s\"", c->name, o->name);
    if (o->letter)
        text_addf(out, "|\"%s -%c\"", c->name, o->letter);
    if (o->kind == OPTION_CHOICE) {
        text_add(out, ") COMPREPLY=($(compgen -W \"");
        add_names(out, o->choices);
        text_add(out, "\" -- \"$cur\")); return ;;\n");
    } else if (is_folder(value)) {
        text_add(out, ") compopt -o filenames; COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n");
    } else if (is_file(value)) {
        text_add(out, ") compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n");
    } else {
        text_add(out, ") return ;;\n"); /* a number or a text of the user's own */
    }
}

static void bash_command(struct text *out, const struct command *c)
{
    text_addf(out, "    \"%s\")\n        options=\"--help", c->name);
    for (const struct option *o = c->options; o && o->name; o++)
        text_addf(out, " --%s%s", option_is_no(o) ? "no-" : "", o->name);
    text_add(out, "\"\n");
    if (c->words_choices) {
        text_add(out, "        words=\"");
        add_names(out, c->words_choices);
        text_add(out, "\"\n");
    } else if (is_folder(c->words) || is_file(c->words)) {
        text_add(out, "        files=yes\n");
    }
    text_add(out, "        ;;\n");
}

void complete_bash(struct text *out, const struct command *const *table)
{
    char first[NAME_MAX_BYTES], other[NAME_MAX_BYTES];
    text_add(out, "# bash completion for limn, made by: limn completion bash\n"
                  "_limn() {\n"
                  "    local cur=${COMP_WORDS[COMP_CWORD]} option command= options= words= files=\n"
                  "    COMPREPLY=()\n"
                  "    option=${COMP_WORDS[COMP_CWORD-1]}\n"
                  "    # --name=value comes as three words\n"
                  "    if [[ $cur == \"=\" ]]; then\n"
                  "        cur=\n"
                  "    elif [[ $option == \"=\" ]]; then\n"
                  "        option=${COMP_WORDS[COMP_CWORD-2]}\n"
                  "    fi\n"
                  "    if ((COMP_CWORD == 1)); then\n"
                  "        COMPREPLY=($(compgen -W \"");
    add_first_words(out, table);
    text_add(out, "--help --version\" -- \"$cur\"))\n"
                  "        return\n"
                  "    fi\n"
                  "    case \"${COMP_WORDS[1]}\" in\n");
    for (const struct command *const *c = table; *c; c++) {
        if (first_word_seen(table, c))
            continue;
        if (!split(*c, first)) {
            text_addf(out, "    %s) command=%s ;;\n", first, first);
            continue;
        }
        text_addf(out,
                  "    %s)\n"
                  "        if ((COMP_CWORD == 2)); then\n"
                  "            COMPREPLY=($(compgen -W \"",
                  first);
        for (const struct command *const *d = c; *d; d++) {
            const char *second = split(*d, other);
            if (second && strcmp(first, other) == 0)
                text_addf(out, "%s%s", d == c ? "" : " ", second);
        }
        text_addf(out,
                  "\" -- \"$cur\"))\n"
                  "            return\n"
                  "        fi\n"
                  "        command=\"%s ${COMP_WORDS[2]}\"\n"
                  "        ;;\n",
                  first);
    }
    text_add(out, "    esac\n    case \"$command $option\" in\n");
    for (const struct command *const *c = table; *c; c++)
        for (const struct option *o = (*c)->options; o && o->name; o++)
            if (o->kind != OPTION_FLAG)
                bash_value(out, *c, o);
    text_add(out, "    esac\n    case \"$command\" in\n");
    for (const struct command *const *c = table; *c; c++)
        bash_command(out, *c);
    text_add(out, "    esac\n"
                  "    if [[ $cur == -* ]]; then\n"
                  "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
                  "    elif [[ $files ]]; then\n"
                  "        compopt -o filenames\n"
                  "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                  "    else\n"
                  "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                  "    fi\n"
                  "}\n"
                  "complete -F _limn limn\n");
}

static void zsh_option(struct text *out, const struct option *o, const char *dashes, const char *name,
                       bool is_long)
{
    const char *value = option_value(o);
    text_addf(out, "            '%s%s%s%s[", o->kind == OPTION_TEXTS ? "*" : "", dashes, name,
              value && is_long ? "=" : "");
    add_quoted(out, o->help, "[]:\\", false);
    text_add(out, "]");
    if (value) {
        text_add(out, ":");
        add_quoted(out, value, ":\\", false);
        text_add(out, ":");
        if (o->kind == OPTION_CHOICE) {
            text_add(out, "(");
            add_names(out, o->choices);
            text_add(out, ")");
        } else {
            text_add(out, is_folder(value) ? "_files -/" : is_file(value) ? "_files" : "");
        }
    }
    text_add(out, "' \\\n");
}

static void zsh_command(struct text *out, const struct command *c)
{
    char first[NAME_MAX_BYTES], name[NAME_MAX_BYTES + 4];
    int words = split(c, first) ? 2 : 1;
    text_addf(out,
              "    (\"%s\")\n        shift %d words\n        ((CURRENT -= %d))\n        _arguments -s \\\n",
              c->name, words, words);
    for (const struct option *o = c->options; o && o->name; o++) {
        if (o->letter)
            zsh_option(out, o, "-", (char[]){ o->letter, 0 }, false);
        snprintf(name, sizeof name, "%s%s", option_is_no(o) ? "no-" : "", o->name);
        zsh_option(out, o, "--", name, true);
    }
    text_add(out, "            '--help[this command and its options]'");
    if (c->words) {
        text_add(out, " \\\n            '*:");
        add_quoted(out, c->words, ":\\", false);
        text_add(out, ":");
        if (c->words_choices) {
            text_add(out, "(");
            add_names(out, c->words_choices);
            text_add(out, ")");
        } else {
            text_add(out, is_folder(c->words) || is_file(c->words) ? "_files" : "");
        }
        text_add(out, "'");
    }
    text_add(out, "\n        ;;\n");
}

void complete_zsh(struct text *out, const struct command *const *table)
{
    char first[NAME_MAX_BYTES], other[NAME_MAX_BYTES];
    text_add(out, "#compdef limn\n# zsh completion for limn, made by: limn completion zsh\n"
                  "_limn() {\n    local command=\n    local -a names\n"
                  "    if ((CURRENT == 2)); then\n        names=(\n");
    for (const struct command *const *c = table; *c; c++) {
        if (first_word_seen(table, c))
            continue;
        bool family = split(*c, first) != NULL;
        text_addf(out, "            '%s:", first);
        add_quoted(out, family ? "more commands" : (*c)->help, ":\\", false);
        text_add(out, "'\n");
    }
    text_add(
        out,
        "        )\n        _describe command names\n        return\n    fi\n    case \"$words[2]\" in\n");
    for (const struct command *const *c = table; *c; c++) {
        if (first_word_seen(table, c))
            continue;
        if (!split(*c, first)) {
            text_addf(out, "    (%s) command=%s ;;\n", first, first);
            continue;
        }
        text_addf(out, "    (%s)\n        if ((CURRENT == 3)); then\n            names=(\n", first);
        for (const struct command *const *d = c; *d; d++) {
            const char *second = split(*d, other);
            if (!second || strcmp(first, other) != 0)
                continue;
            text_addf(out, "                '%s:", second);
            add_quoted(out, (*d)->help, ":\\", false);
            text_add(out, "'\n");
        }
        text_addf(out,
                  "            )\n            _describe command names\n            return\n        fi\n"
                  "        command=\"%s $words[3]\"\n        ;;\n",
                  first);
    }
    text_add(out, "    esac\n    case \"$command\" in\n");
    for (const struct command *const *c = table; *c; c++)
        zsh_command(out, *c);
    text_add(out,
             "    esac\n}\n"
             "if [[ $funcstack[1] == _limn ]]; then\n    _limn \"$@\"\nelse\n    compdef _limn limn\nfi\n");
}

static void fish_option(struct text *out, const struct command *c, const struct option *o)
{
    const char *value = option_value(o);
    text_addf(out, "complete -c limn -n '__limn_in %s' -l %s%s", c->name, option_is_no(o) ? "no-" : "",
              o->name);
    if (o->letter)
        text_addf(out, " -s %c", o->letter);
    if (o->kind == OPTION_CHOICE) {
        text_add(out, " -x -a '");
        add_names(out, o->choices);
        text_add(out, "'");
    } else if (value) {
        text_add(out, is_folder(value) ? " -x -a '(__fish_complete_directories)'"
                      : is_file(value) ? " -r -F"
                                       : " -x");
    }
    text_add(out, " -d '");
    add_quoted(out, o->help, "", true);
    text_add(out, "'\n");
}

void complete_fish(struct text *out, const struct command *const *table)
{
    char first[NAME_MAX_BYTES];
    text_add(out,
             "# fish completion for limn, made by: limn completion fish\n"
             "function __limn_after --description 'the words so far are exactly these'\n"
             "    set -l typed (commandline -opc)\n"
             "    set -e typed[1]\n"
             "    test \"$typed\" = \"$argv\"\n"
             "end\n"
             "function __limn_in --description 'the words so far begin with these'\n"
             "    set -l typed (commandline -opc)\n"
             "    set -e typed[1]\n"
             "    string match -q -- \"$argv *\" \"$typed \"\n"
             "end\n"
             "complete -c limn -f\n"
             "complete -c limn -n __limn_after -l version -d 'the version'\n"
             "complete -c limn -l help -s h -d 'what a command does and its options'\n");
    for (const struct command *const *c = table; *c; c++) {
        const char *second = split(*c, first);
        if (second && !first_word_seen(table, c))
            text_addf(out, "complete -c limn -n __limn_after -a %s -d 'more commands'\n", first);
        text_addf(out, "complete -c limn -n '__limn_after%s%s' -a %s -d '", second ? " " : "",
                  second ? first : "", second ? second : first);
        add_quoted(out, (*c)->help, "", true);
        text_add(out, "'\n");
        for (const struct option *o = (*c)->options; o && o->name; o++)
            fish_option(out, *c, o);
        if (!(*c)->words)
            continue;
        if ((*c)->words_choices) {
            text_addf(out, "complete -c limn -n '__limn_in %s' -a '", (*c)->name);
            add_names(out, (*c)->words_choices);
            text_add(out, "'\n");
        } else if (is_folder((*c)->words) || is_file((*c)->words)) {
            text_addf(out, "complete -c limn -n '__limn_in %s' -F\n", (*c)->name);
        }
    }
}

struct completion_args {
    struct option_texts words;
};

static const struct {
    const char *name;
    void (*write)(struct text *out, const struct command *const *table);
} shells[] = { { "bash", complete_bash }, { "zsh", complete_zsh }, { "fish", complete_fish } };

static const char *shell_name(int index)
{
    return index >= 0 && (size_t)index < sizeof shells / sizeof *shells ? shells[index].name : NULL;
}

static bool completion_run(const void *args, struct err *e)
{
    const char *wanted = ((const struct completion_args *)args)->words.items[0];
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(shells[i].name, wanted) != 0)
            continue;
        struct text text;
        text_init(&text, 1 << 22);
        shells[i].write(&text, commands);
        bool good = text_ok(&text, e);
        if (good)
            fputs(text_string(&text), stdout);
        text_release(&text);
        return good;
    }
    return err_set(e, ERR_ARG, "no completion for %.100s; there is one for bash, zsh and fish", wanted);
}

const struct command command_completion = {
    .name = "completion",
    .help = "Prints a completion script for bash, zsh or fish.",
    .details = "For bash: limn completion bash > ~/.local/share/bash-completion/completions/limn\n"
               "For zsh: limn completion zsh > a file _limn in a folder of $fpath\n"
               "For fish: limn completion fish > ~/.config/fish/completions/limn.fish",
    .words = "SHELL",
    .words_place = offsetof(struct completion_args, words),
    .words_min = 1,
    .words_max = 1,
    .words_choices = shell_name,
    .args_bytes = sizeof(struct completion_args),
    .run = completion_run,
};
