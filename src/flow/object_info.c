#include "flow/object_info.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "flow/flow_internal.h"

/* json_object_set_new, whose failure is only remembered by the object's missing key: out of memory is checked at the end. */
static void put(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value);
}

json_t *node_default(const struct node_input *input)
{
    const char *text = input->initial;
    if (!strcmp(input->type, "INT"))
        return input->flags & NODE_SEED ? json_integer(0) : text ? json_integer(strtoll(text, NULL, 10)) : NULL;
    if (!strcmp(input->type, "FLOAT"))
        return text ? json_real(strtod(text, NULL)) : NULL;
    if (!strcmp(input->type, "BOOLEAN"))
        return text ? json_boolean(!strcmp(text, "true")) : NULL;
    if (!strcmp(input->type, "STRING"))
        return json_string(text ? text : "");
    return text ? json_string(text) : NULL;
}

/* Whole numbers where they are: the page shows 1, not 1.0, in fields of INT. */
static json_t *number(const struct node_input *input, double v)
{
    return !strcmp(input->type, "INT") ? json_integer((json_int_t)v) : json_real(v);
}

/* The options object of an input; choices: for NODE_COMBO_OBJECT, borrowed. */
static json_t *options_of(const struct node_input *input, json_t *choices)
{
    json_t *o = json_object(), *initial = node_default(input);
    struct err ignored = { 0 };
    if (choices && input->flags & NODE_COMBO_OBJECT)
        json_object_set(o, "options", choices);
    if (initial)
        put(o, "default", initial);
    if (input->flags & NODE_SEED) {
        put(o, "min", json_integer(0));
        put(o, "max", flow_json_u64(UINT64_MAX));
        put(o, "control_after_generate", json_true());
    } else if (input->max > input->min) {
        put(o, "min", number(input, input->min));
        put(o, "max", number(input, input->max));
    }
    if (input->step > 0)
        put(o, "step", number(input, input->step));
    if (input->round > 0)
        put(o, "round", json_real(input->round));
    static const struct { unsigned flag; const char *key; } flags[] = {
        { NODE_LAZY, "lazy" }, { NODE_RAW_LINK, "rawLink" }, { NODE_FORCE_INPUT, "forceInput" }, { NODE_MULTILINE, "multiline" },
        { NODE_DYNAMIC_PROMPTS, "dynamicPrompts" }, { NODE_ADVANCED, "advanced" },
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (input->flags & flags[i].flag)
            put(o, flags[i].key, json_true());
    if (input->help)
        put(o, "tooltip", json_string(input->help));
    if (input->more) {
        json_t *more = json_parse(input->more, strlen(input->more), input->name, &ignored);
        json_object_update(o, more);
        json_decref(more);
    }
    return o;
}

bool node_is_choice(const struct node_input *input)
{
    return !strcmp(input->type, "COMBO");
}

json_t *node_input_config(const struct node_input *input, json_t *choices)
{
    json_t *pair = json_array(), *options = options_of(input, choices);
    if (choices && !(input->flags & NODE_COMBO_OBJECT))
        json_array_append(pair, choices);
    else
        json_array_append_new(pair, json_string(input->type));
    if (json_object_size(options))
        json_array_append(pair, options);
    json_decref(options);
    return pair;
}

static bool add_inputs(json_t *to, json_t *order, const struct node *n, bool optional, const struct flow_host *host, struct err *e)
{
    json_t *all = json_object(), *names = json_array();
    for (const struct node_input *i = n->inputs; i && i->name; i++) {
        if (!(i->flags & NODE_OPTIONAL) == optional)
            continue;
        json_t *choices = node_is_choice(i) ? node_choices(i, host, e) : NULL;
        if (e->code)
            break;
        put(all, i->name, node_input_config(i, choices));
        json_array_append_new(names, json_string(i->name));
        json_decref(choices);
    }
    const char *key = optional ? "optional" : "required";
    if (json_object_size(all) || !optional) {
        put(to, key, json_incref(all));
        put(order, key, json_incref(names));
    }
    json_decref(all);
    json_decref(names);
    return !e->code;
}

static void add_hidden(json_t *to, json_t *order, const struct node *n)
{
    static const struct { unsigned flag; const char *name, *what; } hidden[] = {
        { NODE_SEES_PROMPT, "prompt", "PROMPT" }, { NODE_SEES_PNG_INFO, "extra_pnginfo", "EXTRA_PNGINFO" },
        { NODE_SEES_ID, "unique_id", "UNIQUE_ID" }, { NODE_SEES_DYNAMIC, "dynprompt", "DYNPROMPT" },
    };
    json_t *all = json_object(), *names = json_array();
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (n->flags & hidden[i].flag) {
            put(all, hidden[i].name, json_string(hidden[i].what));
            json_array_append_new(names, json_string(hidden[i].name));
        }
    if (json_object_size(all)) {
        put(to, "hidden", json_incref(all));
        put(order, "hidden", json_incref(names));
    }
    json_decref(all);
    json_decref(names);
}

static json_t *aliases_of(const struct node *n)
{
    json_t *list = json_array();
    char word[100];
    for (const char *at = n->aliases; at && *at;) {
        size_t length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        json_array_append_new(list, json_string(word));
        at += length + (at[length] == ',');
        at += strspn(at, " ");
    }
    return list;
}

static json_t *describe(const struct node *n, const struct flow_host *host, struct err *e)
{
    json_t *inputs = json_object(), *order = json_object(), *j = json_object();
    bool good = add_inputs(inputs, order, n, false, host, e) && add_inputs(inputs, order, n, true, host, e);
    add_hidden(inputs, order, n);
    json_t *types = json_array(), *lists = json_array(), *names = json_array(), *help = json_array();
    bool helps = false;
    for (const struct node_output *o = n->outputs; o && o->type; o++) {
        json_array_append_new(types, json_string(o->type));
        json_array_append_new(lists, json_boolean(o->list));
        json_array_append_new(names, json_string(o->name ? o->name : o->type));
        json_array_append_new(help, json_string(o->help ? o->help : ""));
        helps |= o->help != NULL;
    }
    put(j, "input", inputs);
    put(j, "input_order", order);
    put(j, "is_input_list", json_boolean(n->flags & NODE_INPUT_LISTS));
    put(j, "output", types);
    put(j, "output_is_list", lists);
    put(j, "output_name", names);
    if (helps)
        put(j, "output_tooltips", json_incref(help));
    json_decref(help);
    put(j, "name", json_string(n->name));
    put(j, "display_name", json_string(n->title ? n->title : n->name));
    put(j, "description", json_string(n->help));
    put(j, "python_module", json_string("nodes"));
    put(j, "category", json_string(n->category));
    put(j, "output_node", json_boolean(n->flags & NODE_OUTPUT));
    if (n->flags & NODE_DEPRECATED)
        put(j, "deprecated", json_true());
    if (n->flags & NODE_EXPERIMENTAL)
        put(j, "experimental", json_true());
    if (n->aliases)
        put(j, "search_aliases", aliases_of(n));
    if (good)
        return j;
    json_decref(j);
    return NULL;
}

json_t *object_info(const char *class, const struct flow_host *host, struct err *e)
{
    json_t *all = json_object();
    const struct node *n;
    bool good = all || err_nomem(e, "the list of nodes");
    for (size_t i = 0; good && (n = node_at(i, host->test_nodes)); i++)
        if (!class || !strcmp(class, n->name)) {
            json_t *j = describe(n, host, e);
            good = j && (!json_object_set_new(all, n->name, j) || err_nomem(e, "the list of nodes"));
        }
    if (good)
        return all;
    json_decref(all);
    return NULL;
}
