#include "flow/node_page.h"

#include <ctype.h>
#include <string.h>

#include "flow/flow_internal.h"

/* "20, 1 to 10000", "one of `a` `b`", "a file of `loras`": what may be given. */
static void add_values(struct text *out, const struct node_input *i)
{
    bool whole = !strcmp(i->type, "INT");
    if (i->choices || i->choice) {
        text_add(out, "one of");
        for (int k = 0; i->choices && i->choices[k]; k++)
            text_addf(out, " `%s`", i->choices[k]);
        for (int k = 0; i->choice && i->choice(k); k++)
            text_addf(out, " `%s`", i->choice(k));
    } else if (i->folder) {
        static const struct { const char *folder, *words; } names[] = { { "input", "a picture of the input folder" },
                                                                        { "output", "a picture of the output folder" },
                                                                        { "input/", "a folder of the input folder" } };
        const char *words = NULL;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            words = strcmp(names[k].folder, i->folder) ? words : names[k].words;
        if (words)
            text_add(out, words);
        else
            text_addf(out, "a model of `%s`", i->folder);
        if (i->folder_first)
            text_addf(out, ", or `%s`", i->folder_first);
    } else if (i->flags & NODE_SEED) {
        text_add(out, "0 to 2^64 - 1");
    } else if (i->max > i->min) {
        text_addf(out, whole ? "%.0f to %.0f" : "%g to %g", i->min, i->max);
    }
    if (i->initial && *i->initial)
        text_addf(out, "%sdefault `%s`", i->choices || i->choice || i->folder || i->flags & NODE_SEED || i->max > i->min ? "; " : "", i->initial);
}

static void add_input(struct text *out, const struct node_input *i)
{
    text_addf(out, "- `%s` %s", i->name, node_is_choice(i) ? "choice" : i->type);
    if (i->flags & NODE_OPTIONAL)
        text_add(out, ", may be missing");
    if (i->flags & NODE_LAZY)
        text_add(out, ", computed only if it is needed");
    struct text values;
    text_init(&values, 1 << 16);
    add_values(&values, i);
    if (values.length)
        text_addf(out, ": %s", text_string(&values));
    text_release(&values);
    if (i->help)
        text_addf(out, ". %c%s", toupper((unsigned char)*i->help), i->help + 1);
    text_add(out, "\n");
}

void node_page_one(struct text *out, const struct node *n)
{
    text_addf(out, "%s%s%s%s\n\n%s\n\n", n->name, n->title ? " (" : "", n->title ? n->title : "", n->title ? ")" : "", n->help);
    for (const struct node_input *i = n->inputs; i && i->name; i++)
        add_input(out, i);
    text_add(out, "- gives");
    for (const struct node_output *o = n->outputs; o && o->type; o++)
        text_addf(out, "%s %s%s%s%s", o == n->outputs ? "" : ",", o->type, o->name && strcmp(o->name, o->type) ? " `" : "",
                  o->name && strcmp(o->name, o->type) ? o->name : "", o->name && strcmp(o->name, o->type) ? "`" : "");
    text_add(out, n->outputs ? "\n" : " nothing\n");
    if (n->flags & NODE_OUTPUT)
        text_add(out, "- is an output node: a flow needs one\n");
}

void node_page(struct text *out)
{
    text_add(out, "# Nodes\n\nMade from the node table by `limn nodes --markdown`; `make docs` writes it. `limn nodes NAME` prints one of these "
                  "parts. An input in capitals is a socket of that type, which another node's output is linked to. How to add a node: "
                  "[adding-a-node.md](adding-a-node.md).\n");
    const struct node *n, *other;
    for (size_t i = 0; (n = node_at(i, false)); i++) {
        bool first = true;
        for (size_t k = 0; k < i && (other = node_at(k, false)); k++)
            first &= strcmp(other->category, n->category) != 0;
        if (!first)
            continue;
        text_addf(out, "\n## %s\n", n->category);
        for (size_t k = i; (other = node_at(k, false)); k++)
            if (!strcmp(other->category, n->category)) {
                text_add(out, "\n### ");
                node_page_one(out, other);
            }
    }
}
