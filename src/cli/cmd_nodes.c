/* limn nodes: what a flow can be made of. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/engine.h"
#include "flow/flow.h"
#include "flow/node_page.h"
#include "flow/object_info.h"

struct nodes_args {
    struct option_texts words;
    const char *comfyui, *extra_model_paths;
    bool markdown, json;
};

#define AT(member) offsetof(struct nodes_args, member)

static const struct option nodes_options[] = {
    { "markdown", 0, OPTION_FLAG, AT(markdown), .help = "all nodes as a page, docs/nodes.md" },
    OPTION_ROWS_PLACES(struct nodes_args),
    { "json", 0, OPTION_FLAG, AT(json), .help = "what a server answers to /object_info" },
    { 0 },
};

static bool print_json(const struct nodes_args *a, const char *name, struct err *e)
{
    struct model_places places;
    struct text text;
    struct flow_host host = { .models = &places, .output = "output", .input = ".", .temp = "", .version = LIMN_VERSION };
    text_init(&text, FLOW_MAX_BYTES);
    bool good = engine_places(&places, a->comfyui, a->extra_model_paths, e);
    json_t *all = good ? object_info(name, &host, e) : NULL;
    if (all)
        flow_json_text(&text, all);
    good = all && text_ok(&text, e);
    if (good)
        puts(text_string(&text));
    json_decref(all);
    text_release(&text);
    model_places_release(&places);
    return good;
}

static bool nodes_run(const void *args, struct err *e)
{
    const struct nodes_args *a = args;
    const char *name = a->words.count ? a->words.items[0] : NULL;
    const struct node *found = name ? node_find(name, false) : NULL, *n;
    struct text text;
    if (name && !found)
        return err_set(e, ERR_ARG, "there is no node %s; limn nodes lists those there are", name);
    if (a->json)
        return print_json(a, name, e);
    text_init(&text, 1 << 22);
    if (found)
        node_page_one(&text, found);
    else if (a->markdown)
        node_page(&text);
    for (size_t i = 0; !found && !a->markdown && (n = node_at(i, false)); i++)
        text_addf(&text, "%-30s  %s\n", n->name, n->help);
    bool good = text_ok(&text, e);
    if (good)
        fputs(text_string(&text), stdout);
    text_release(&text);
    return good;
}

const struct command command_nodes = {
    .name = "nodes",
    .help = "Lists the nodes that a flow can be made of.",
    .details = "With a name: what the node wants and gives.",
    .words = "NAME", .words_place = AT(words), .words_min = 0, .words_max = 1,
    .options = nodes_options, .args_bytes = sizeof(struct nodes_args), .run = nodes_run,
};
