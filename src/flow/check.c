/* What is wrong with a flow, in ComfyUI's words: clients and the page read these types, messages and details. */
#include <ctype.h>
#include <errno.h>
#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "flow/flow_internal.h"

enum verdict { UNSEEN, SEEING, GOOD, BAD };

struct seen {
    const char *id;
    enum verdict verdict;
    json_t *errors; /* array of this node's own */
};

/* What Python would have raised: the link cannot even be looked at. */
struct raised {
    bool is;
    char type[24], text[200];
};

/* A node whose inputs are being looked at. */
struct frame {
    struct seen *seen;
    const struct node *node;
    json_t *inputs;
    size_t at; /* the input at hand */
    bool good; /* what is linked to the inputs before it */
};

/* A flow may be long, and the thread's stack is small: where a link is followed, a frame is put down, nothing calls itself. */
struct checking {
    json_t *flow;
    const struct flow_host *host;
    struct seen *seen; /* [count], as in the flow */
    size_t count;
    GHashTable *by_id; /* of seen */
    struct frame *frames; /* [count]: the last is the node at hand, the others wait for it */
    size_t depth;
};

static json_t *error_of(const char *type, const char *message, json_t *details, json_t *extra)
{
    return json_pack("{s:s, s:s, s:o, s:o}", "type", type, "message", message, "details", details ? details : json_string(""), "extra_info",
                     extra ? extra : json_object());
}

static struct seen *find(const struct checking *k, const char *id)
{
    return g_hash_table_lookup(k->by_id, id);
}

static const struct node *class_of(const struct checking *k, const json_t *json)
{
    const char *class = json_string_value(json_object_get(json, "class_type"));
    return class ? node_find(class, k->host->test_nodes) : NULL;
}

/* --- values as Python writes them --- */

static void add_value(struct text *out, const json_t *j, bool inner)
{
    int64_t bits;
    bool large;
    size_t i;
    const char *key;
    json_t *v;
    if (flow_json_is_whole(j, &bits, &large)) {
        if (large)
            text_addf(out, "%llu", (unsigned long long)bits);
        else
            text_addf(out, "%lld", (long long)bits);
    } else if (json_is_string(j)) {
        text_addf(out, inner ? "'%s'" : "%s", json_string_value(j));
    } else if (json_is_real(j)) {
        double r = json_real_value(j);
        char number[40];
        snprintf(number, sizeof number, "%.17g", r);
        for (int digits = 1; digits < 17; digits++) {
            char shorter[40];
            snprintf(shorter, sizeof shorter, "%.*g", digits, r);
            if (strtod(shorter, NULL) == r) {
                strcpy(number, shorter);
                break;
            }
        }
        text_addf(out, "%s%s", number, strpbrk(number, ".en") ? "" : ".0");
    } else if (json_is_array(j)) {
        text_add(out, "[");
        json_array_foreach(j, i, v) {
            text_add(out, i ? ", " : "");
            add_value(out, v, true);
        }
        text_add(out, "]");
    } else if (json_is_object(j)) {
        text_add(out, "{");
        bool first = true;
        json_object_foreach((json_t *)(uintptr_t)j, key, v) {
            text_addf(out, "%s'%s': ", first ? "" : ", ", key);
            add_value(out, v, true);
            first = false;
        }
        text_add(out, "}");
    } else {
        text_add(out, json_is_true(j) ? "True" : json_is_false(j) ? "False" : "None");
    }
}

/* A text of the parts; values[k] stands for the k-th '$' of the format. */
static json_t *words(const char *format, const json_t *const *values)
{
    struct text out;
    text_init(&out, 1 << 20);
    for (const char *at = format; *at; at++)
        if (*at == '$')
            add_value(&out, *values++, false);
        else
            text_add_bytes(&out, at, 1);
    json_t *j = json_string(text_string(&out));
    text_release(&out);
    return j;
}

/* --- constants --- */

/* Python's int(text) and float(text): white space around is fine. */
static bool read_whole(const char *s, int64_t *bits, bool *large)
{
    char *end;
    while (isspace((unsigned char)*s))
        s++;
    bool negative = *s == '-';
    errno = 0;
    *bits = strtoll(s, &end, 10);
    *large = false;
    if (errno == ERANGE && !negative) {
        errno = 0;
        *bits = (int64_t)strtoull(s, &end, 10);
        *large = true;
    }
    bool any = end != s && !errno;
    while (isspace((unsigned char)*end))
        end++;
    return any && !*end;
}

static bool read_real(const char *s, double *out)
{
    char *end;
    *out = strtod(s, &end);
    bool any = end != s;
    while (isspace((unsigned char)*end))
        end++;
    return any && !*end && isfinite(*out);
}

/* What the value becomes for this input, a new reference; NULL with why: it cannot. */
static json_t *convert(const struct node_input *input, json_t *value, const char **why)
{
    int64_t bits;
    bool large;
    double real;
    if (!strcmp(input->type, "INT")) {
        *why = "invalid literal for int() with base 10";
        if (json_is_boolean(value))
            return json_integer(json_is_true(value));
        if (json_is_real(value)) {
            real = trunc(json_real_value(value));
            if (fabs(real) < 9.2e18)
                return json_integer((json_int_t)real);
            return real > 0 && real < 1.8446744073709551e19 ? flow_json_u64((uint64_t)real) : NULL;
        }
        if (flow_json_is_whole(value, &bits, &large))
            return json_incref(value);
        if (json_is_string(value) && read_whole(json_string_value(value), &bits, &large))
            return large ? flow_json_u64((uint64_t)bits) : json_integer(bits);
        return NULL;
    }
    if (!strcmp(input->type, "FLOAT")) {
        *why = "could not convert to float";
        if (json_is_boolean(value))
            return json_real(json_is_true(value));
        if (json_is_real(value))
            return json_incref(value);
        if (flow_json_is_whole(value, &bits, &large))
            return json_real(large ? (double)(uint64_t)bits : (double)bits);
        if (json_is_string(value) && read_real(json_string_value(value), &real))
            return json_real(real);
        return NULL;
    }
    if (!strcmp(input->type, "STRING"))
        return json_is_string(value) && !flow_json_is_whole(value, &bits, &large) ? json_incref(value) : words("$", (const json_t *[]){ value });
    if (!strcmp(input->type, "BOOLEAN")) {
        bool empty = json_is_null(value) || json_is_false(value) || (json_is_integer(value) && !json_integer_value(value)) ||
                     (json_is_real(value) && json_real_value(value) == 0) || (json_is_string(value) && !json_string_length(value)) ||
                     (json_is_object(value) && !json_object_size(value)) || (json_is_array(value) && !json_array_size(value));
        return json_boolean(!empty);
    }
    return json_incref(value);
}

/* a < b for whole numbers of which each may be above INT64_MAX. */
static bool is_below(int64_t a, bool a_large, int64_t b, bool b_large)
{
    if (a_large != b_large)
        return b_large;
    return a_large ? (uint64_t)a < (uint64_t)b : a < b;
}

static json_t *bound_error(const struct node_input *input, json_t *value, json_t *bound, bool below)
{
    json_t *message = words(below ? "Value $ smaller than min of $" : "Value $ bigger than max of $", (const json_t *[]){ value, bound });
    json_t *e = error_of(below ? "value_smaller_than_min" : "value_bigger_than_max", json_string_value(message), json_string(input->name),
                         json_pack("{s:s, s:o, s:O}", "input_name", input->name, "input_config", node_input_config(input, NULL),
                                   "received_value", value));
    json_decref(message);
    return e;
}

/* NULL: the number is inside. */
static json_t *check_range(const struct node_input *input, json_t *value)
{
    bool whole = !strcmp(input->type, "INT"), seed = input->flags & NODE_SEED, large, below = false, above = false;
    int64_t bits;
    if ((!whole && strcmp(input->type, "FLOAT")) || (!seed && input->max <= input->min))
        return NULL;
    if (whole && flow_json_is_whole(value, &bits, &large)) {
        below = is_below(bits, large, seed ? 0 : (int64_t)input->min, false);
        above = !seed && (large || (double)bits > input->max);
    } else if (json_is_real(value)) {
        below = json_real_value(value) < input->min;
        above = json_real_value(value) > input->max;
    }
    if (!below && !above)
        return NULL;
    double at = below ? (seed ? 0 : input->min) : input->max;
    json_t *bound = whole ? json_integer((json_int_t)at) : json_real(at);
    json_t *e = bound_error(input, value, bound, below);
    json_decref(bound);
    return e;
}

/* Whether a name means a model of the folders all the same: with the other slash, without its ending, or by its last part alone. */
static bool is_meant(const struct node_input *input, const struct flow_host *host, const json_t *value)
{
    enum model_kind kind = input->folder ? model_kind_of(input->folder) : MODELS_KINDS;
    char path[PATH_MAX_BYTES];
    struct err ignored = { 0 };
    unsigned kinds = kind == MODELS_CHECKPOINTS ? 1U << MODELS_CHECKPOINTS | 1U << MODELS_DIFFUSERS : 1U << kind;
    return kind != MODELS_KINDS && json_is_string(value) &&
           model_places_find(host->models, kinds, "model", json_string_value(value), path, &ignored);
}

/* "; looked in A, B" for models; else nothing. */
static void add_places(struct text *out, const struct node_input *input, const struct flow_host *host, json_t *folders)
{
    enum model_kind kind = input->folder ? model_kind_of(input->folder) : MODELS_KINDS;
    for (size_t i = 0; kind != MODELS_KINDS && i < host->models->count; i++)
        if (host->models->items[i].kind == kind) {
            text_addf(out, "%s%s", json_array_size(folders) ? ", " : "; looked in ", host->models->items[i].path);
            json_array_append_new(folders, json_string(host->models->items[i].path));
        }
}

/* NULL: it is offered. */
static json_t *check_choice(const struct checking *k, const struct node_input *input, json_t *value, struct err *e)
{
    enum { MOST_SHOWN = 20 };
    json_t *choices = node_choices(input, k->host, e), *v;
    size_t i;
    bool found = false;
    if (!choices)
        return NULL;
    json_array_foreach(choices, i, v)
        found |= json_equal(v, value);
    json_t *error = NULL;
    if (!found && !(input->flags & NODE_ANY_TEXT && json_is_string(value)) && !is_meant(input, k->host, value)) {
        struct text details;
        bool few = json_array_size(choices) <= MOST_SHOWN;
        json_t *folders = json_array();
        text_init(&details, 1 << 20);
        text_addf(&details, "%s: '", input->name);
        add_value(&details, value, false);
        text_add(&details, "' not in ");
        if (few)
            add_value(&details, choices, true);
        else
            text_addf(&details, "(list of length %zu)", json_array_size(choices));
        add_places(&details, input, k->host, folders);
        json_t *extra = json_pack("{s:s, s:o, s:O}", "input_name", input->name, "input_config",
                                  few ? node_input_config(input, choices) : json_null(), "received_value", value);
        if (json_array_size(folders))
            json_object_set(extra, "looked_in", folders);
        json_decref(folders);
        error = error_of("value_not_in_list", "Value not in list", json_string(text_string(&details)), extra);
        text_release(&details);
    }
    json_decref(choices);
    return error;
}

/* Converts and checks a constant; what is wrong goes to errors. */
static void check_constant(const struct checking *k, const struct node *node, const struct node_input *input, json_t *inputs, json_t *errors,
                           struct err *e)
{
    json_t *value = json_object_get(inputs, input->name), *wrapped = json_is_object(value) ? json_object_get(value, "__value__") : NULL;
    const char *why = "";
    if (wrapped) {
        json_object_set(inputs, input->name, wrapped);
        value = json_object_get(inputs, input->name);
    }
    json_t *converted = convert(input, value, &why);
    if (!converted) {
        json_t *reason = json_string(why), *name = json_string(input->name);
        char message[100];
        snprintf(message, sizeof message, "Failed to convert an input value to a %s value", input->type);
        json_t *details = words("$, $, $: '$'", (const json_t *[]){ name, value, reason, value });
        json_array_append_new(errors, error_of("invalid_input_type", message, details,
                                               json_pack("{s:s, s:o, s:O, s:s}", "input_name", input->name, "input_config",
                                                         node_input_config(input, NULL), "received_value", value, "exception_message", why)));
        json_decref(name);
        json_decref(reason);
        return;
    }
    json_object_set_new(inputs, input->name, converted);
    if (node_names_input(node->checks, input->name))
        return;
    json_t *error = check_range(input, converted);
    if (!error && node_is_choice(input))
        error = check_choice(k, input, converted, e);
    if (error)
        json_array_append_new(errors, error);
}

/* --- nodes --- */

/* The node's own check, over its constants and the types that come along links. */
static void check_own(const struct checking *k, const struct node *node, const json_t *inputs, const char *const *received, json_t *errors,
                      struct err *e)
{
    struct datum_list held = { 0 };
    struct err unfit = { 0 };
    struct node_check check = { node, k->host, inputs, received };
    char why[400] = "";
    void *args = mem_zeroed(1, node->args_bytes ? node->args_bytes : 1);
    bool good = args != NULL && args_of_constants(node, inputs, args, &held, &unfit);
    if (!args)
        err_nomem(e, "a node's inputs");
    else if (!good)
        snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, unfit.text);
    if (good && node->check(&check, args, why))
        why[0] = 0;
    else if (good && !*why)
        strcpy(why, "it is not allowed");
    for (const struct node_input *i = node->inputs; *why && i && i->name; i++)
        if (node_names_input(node->checks, i->name) && json_object_get(inputs, i->name))
            json_array_append_new(errors, error_of("custom_validation_failed", "Custom validation failed for node",
                                                   json_sprintf("%s - %s", i->name, why), json_pack("{s:s}", "input_name", i->name)));
    datum_list_release(&held);
    mem_free(args);
}

static const char *id_above(const struct checking *k, size_t i)
{
    return k->frames[i].seen->id;
}

/* The circle that ends at the node of this id, as an error of each of its nodes. Each tells all of it, but of a large one the beginning. */
static void tell_circle(struct checking *k, const char *id)
{
    enum { MOST_TOLD = 40 };
    size_t first = 0;
    struct text path;
    json_t *ids = json_array();
    while (strcmp(id_above(k, first), id))
        first++;
    text_init(&path, 1 << 20);
    for (size_t i = first; i <= k->depth; i++) {
        const char *at = i < k->depth ? id_above(k, i) : id;
        if (i == first + MOST_TOLD && i < k->depth) {
            text_addf(&path, " -> ... (%zu nodes)", k->depth - first);
            i = k->depth - 1;
            continue;
        }
        text_addf(&path, "%s%s (%s)", i > first ? " -> " : "", at,
                  json_string_value(json_object_get(json_object_get(k->flow, at), "class_type")));
        if (i < k->depth)
            json_array_append_new(ids, json_string(at));
    }
    for (size_t i = first; i < k->depth; i++)
        json_array_append_new(k->frames[i].seen->errors,
                              error_of("dependency_cycle", "Dependency cycle detected", json_string(text_string(&path)),
                                       json_pack("{s:s, s:O}", "node_id", id_above(k, i), "cycle_nodes", ids)));
    json_decref(ids);
    text_release(&path);
}

/* The link of an input: the node to look at next, or NULL: it is bad, with an error of the node's or raised. */
static const char *check_link(const struct checking *k, const struct node *node, const struct node_input *input, const json_t *value,
                              json_t *errors, struct raised *raised)
{
    const json_t *first = json_array_get(value, 0), *second = json_array_get(value, 1);
    if (json_array_size(value) != 2) {
        json_array_append_new(errors, error_of("bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                                               json_string(input->name),
                                               json_pack("{s:s, s:o, s:O}", "input_name", input->name, "input_config",
                                                         node_input_config(input, NULL), "received_value", value)));
        return NULL;
    }
    const char *id = json_string_value(first);
    const json_t *from = id ? json_object_get(k->flow, id) : NULL;
    const struct node *source = from ? class_of(k, from) : NULL;
    int64_t output = json_is_integer(second) ? json_integer_value(second) : -1;
    raised->is = !source || output < 0 || (size_t)output >= node_output_count(source);
    if (!source) {
        strcpy(raised->type, "KeyError");
        snprintf(raised->text, sizeof raised->text, "'%.80s': input %s is linked to a node that is not there", id ? id : "?", input->name);
    } else if (raised->is) {
        strcpy(raised->type, "IndexError");
        snprintf(raised->text, sizeof raised->text, "input %s is linked to output %lld of node %.80s (%s), which has %zu", input->name,
                 (long long)output, id, source->name, node_output_count(source));
    }
    if (raised->is)
        return NULL;
    const char *received = source->outputs[output].type;
    bool own_types = node->checks && strcmp(node->checks, "*") && node_names_input(node->checks, "input_types");
    if (!own_types && !node_types_meet(received, input->type)) {
        json_t *details = json_sprintf("%s, received_type(%s) mismatch input_type(%s)", input->name, received, input->type);
        json_array_append_new(errors, error_of("return_type_mismatch", "Return type mismatch between linked nodes", details,
                                               json_pack("{s:s, s:o, s:s, s:O}", "input_name", input->name, "input_config",
                                                         node_input_config(input, NULL), "received_type", received, "linked_node", value)));
        return NULL;
    }
    return id;
}

/* What came of the node that the input at hand is linked to. */
static void take_linked(const struct checking *k, struct frame *f, enum verdict v, const struct raised *inner)
{
    const struct node_input *input = &f->node->inputs[f->at++];
    const json_t *value = json_object_get(f->inputs, input->name);
    if (inner->is) {
        struct seen *seen = find(k, json_string_value(json_array_get(value, 0)));
        seen->verdict = BAD;
        json_array_clear(seen->errors);
        json_array_append_new(seen->errors,
                              error_of("exception_during_inner_validation", "Exception when validating inner node", json_string(inner->text),
                                       json_pack("{s:s, s:o, s:s, s:s, s:[], s:O}", "input_name", input->name, "input_config",
                                                 node_input_config(input, NULL), "exception_message", inner->text, "exception_type", inner->type,
                                                 "traceback", "linked_node", value)));
    }
    f->good = f->good && v == GOOD && !inner->is;
}

/* Begins with a node: true if its inputs are to be looked at, else its verdict is known, or it raises. */
static bool enter(struct checking *k, const char *id, enum verdict *v, struct raised *raised)
{
    struct seen *seen = find(k, id);
    json_t *json = json_object_get(k->flow, id), *inputs = json_object_get(json, "inputs");
    *raised = (struct raised){ 0 };
    *v = seen->verdict == GOOD ? GOOD : BAD;
    if (seen->verdict == GOOD || seen->verdict == BAD)
        return false;
    if (seen->verdict == SEEING) {
        tell_circle(k, id);
        return false;
    }
    if (!json_is_object(inputs)) {
        *raised = (struct raised){ true, "KeyError", "'inputs'" };
        return false;
    }
    seen->verdict = SEEING;
    k->frames[k->depth++] = (struct frame){ seen, class_of(k, json), inputs, 0, true };
    return true;
}

/* The types that come along the links to a node, all of which are good enough to be followed. */
static void check_whole(const struct checking *k, const struct frame *f, struct err *e)
{
    enum { MOST_INPUTS = 64 };
    const char *received[MOST_INPUTS] = { NULL };
    size_t at = 0;
    if (!f->node->check)
        return;
    for (const struct node_input *i = f->node->inputs; i && i->name && at < MOST_INPUTS; i++, at++) {
        const json_t *value = json_object_get(f->inputs, i->name);
        const char *id = json_array_size(value) == 2 ? json_string_value(json_array_get(value, 0)) : NULL;
        if (id)
            received[at] = class_of(k, json_object_get(k->flow, id))->outputs[json_integer_value(json_array_get(value, 1))].type;
    }
    check_own(k, f->node, f->inputs, received, f->seen->errors, e);
}

/* Looks at inputs of the last frame, up to a link that is to be followed: then true, and its node has a frame of its own or a verdict that was
 * taken. False: the node is done, or raises. */
static bool check_inputs(struct checking *k, struct raised *raised, struct err *e)
{
    struct frame *f = &k->frames[k->depth - 1];
    for (; f->node->inputs && f->node->inputs[f->at].name; f->at++) {
        const struct node_input *i = &f->node->inputs[f->at];
        json_t *value = json_object_get(f->inputs, i->name);
        if (!value) {
            if (!(i->flags & NODE_OPTIONAL))
                json_array_append_new(f->seen->errors, error_of("required_input_missing", "Required input is missing", json_string(i->name),
                                                                json_pack("{s:s}", "input_name", i->name)));
        } else if (json_is_array(value)) {
            enum verdict v;
            struct raised inner;
            const char *id = check_link(k, f->node, i, value, f->seen->errors, raised);
            if (raised->is)
                return false;
            if (id && !enter(k, id, &v, &inner))
                take_linked(k, f, v, &inner);
            if (id)
                return true;
        } else {
            check_constant(k, f->node, i, f->inputs, f->seen->errors, e);
        }
    }
    check_whole(k, f, e);
    return false;
}

static enum verdict check_node(struct checking *k, const char *id, struct raised *raised, struct err *e)
{
    enum verdict v;
    if (!enter(k, id, &v, raised))
        return v;
    while (k->depth) {
        *raised = (struct raised){ 0 };
        if (check_inputs(k, raised, e))
            continue;
        const struct frame *done = &k->frames[--k->depth];
        v = done->good && !raised->is && !json_array_size(done->seen->errors) ? GOOD : BAD;
        done->seen->verdict = raised->is ? UNSEEN : v;
        if (k->depth)
            take_linked(k, &k->frames[k->depth - 1], v, raised);
    }
    return v;
}

/* --- the flow --- */

static bool whole_error(struct flow_checked *out, const char *type, const char *message, json_t *details, json_t *extra)
{
    out->error = error_of(type, message, details, extra);
    return true;
}

static bool is_wanted(const json_t *targets, const char *id)
{
    size_t i;
    json_t *v;
    if (!targets || json_is_null(targets))
        return true;
    json_array_foreach(targets, i, v)
        if (json_is_string(v) && !strcmp(json_string_value(v), id))
            return true;
    return false;
}

/* The errors of all nodes seen so far as those that this output node depends on. */
static void add_node_errors(const struct checking *k, json_t *node_errors, const char *output)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct seen *s = &k->seen[i];
        if (s->verdict != BAD || !json_array_size(s->errors))
            continue;
        json_t *entry = json_object_get(node_errors, s->id);
        if (!entry) {
            const json_t *class = json_object_get(json_object_get(k->flow, s->id), "class_type");
            entry = json_pack("{s:O, s:[], s:O}", "errors", s->errors, "dependent_outputs", "class_type", class);
            json_object_set_new(node_errors, s->id, entry);
        }
        json_array_append_new(json_object_get(entry, "dependent_outputs"), json_string(output));
    }
}

static void check_outputs(struct checking *k, struct flow_checked *out, const json_t *targets, struct err *e)
{
    struct text lines;
    text_init(&lines, 1 << 22);
    for (size_t i = 0; i < k->count; i++) {
        const char *id = k->seen[i].id;
        struct raised raised = { 0 };
        if (!(class_of(k, json_object_get(k->flow, id))->flags & NODE_OUTPUT) || !is_wanted(targets, id))
            continue;
        enum verdict v = check_node(k, id, &raised, e);
        if (raised.is) {
            v = k->seen[i].verdict = BAD;
            json_array_clear(k->seen[i].errors);
            json_array_append_new(k->seen[i].errors, error_of("exception_during_validation", "Exception when validating node",
                                                              json_string(raised.text),
                                                              json_pack("{s:s, s:[]}", "exception_type", raised.type, "traceback")));
        }
        if (v == GOOD) {
            json_array_append_new(out->outputs, json_string(id));
            continue;
        }
        add_node_errors(k, out->node_errors, id);
        size_t n;
        json_t *error;
        json_array_foreach(k->seen[i].errors, n, error)
            text_addf(&lines, "%s%s: %s", lines.length ? "\n" : "", json_string_value(json_object_get(error, "message")),
                      json_string_value(json_object_get(error, "details")));
    }
    if (!json_array_size(out->outputs))
        whole_error(out, "prompt_outputs_failed_validation", "Prompt outputs failed validation", json_string(text_string(&lines)), NULL);
    text_release(&lines);
}

/* Every node has a class that there is; some are output nodes. False: out has the error. */
static bool check_classes(const struct checking *k, struct flow_checked *out, const json_t *targets)
{
    size_t outputs = 0;
    const char *id;
    json_t *json;
    json_object_foreach(k->flow, id, json) {
        const char *class = json_string_value(json_object_get(json, "class_type"));
        char message[300];
        const char *title = json_string_value(json_object_get(json_object_get(json, "_meta"), "title"));
        const struct node *node = class ? node_find(class, k->host->test_nodes) : NULL;
        if (!class)
            return !whole_error(out, "invalid_prompt", "Cannot execute because a node is missing the class_type property.",
                                json_sprintf("Node ID '#%s'", id), NULL);
        if (!node) {
            snprintf(message, sizeof message, "Cannot execute because node %.200s does not exist.", class);
            return !whole_error(out, "missing_node_type", message, json_sprintf("Node ID '#%s'", id),
                                json_pack("{s:s, s:s, s:s}", "node_id", id, "class_type", class, "node_title", title ? title : class));
        }
        outputs += node->flags & NODE_OUTPUT && is_wanted(targets, id);
    }
    return outputs || !whole_error(out, "prompt_no_outputs", "Prompt has no outputs", NULL, NULL);
}

static bool check_all(struct checking *k, struct flow_checked *out, const json_t *targets, struct err *e)
{
    const char *id;
    json_t *json;
    k->seen = mem_zeroed(json_object_size(k->flow), sizeof *k->seen);
    k->frames = mem_zeroed(json_object_size(k->flow), sizeof *k->frames);
    k->by_id = g_hash_table_new(g_str_hash, g_str_equal);
    if (!k->seen || !k->frames)
        return err_nomem(e, "a flow's nodes");
    json_object_foreach(k->flow, id, json) {
        struct seen *seen = &k->seen[k->count++];
        *seen = (struct seen){ .id = id, .errors = json_array() };
        g_hash_table_insert(k->by_id, (char *)(uintptr_t)id, seen);
    }
    check_outputs(k, out, targets, e);
    return !e->code;
}

bool flow_check(struct flow_checked *out, json_t *flow, const json_t *targets, const struct flow_host *host, struct err *e)
{
    struct checking k = { .flow = flow, .host = host };
    *out = (struct flow_checked){ .outputs = json_array(), .node_errors = json_object() };
    bool good = (out->outputs && out->node_errors) || err_nomem(e, "a flow's errors");
    if (good && !json_is_object(flow))
        whole_error(out, "no_prompt", "No prompt provided", json_string("No prompt provided"), NULL);
    else if (good && json_object_size(flow) > FLOW_MAX_NODES)
        whole_error(out, "invalid_prompt", "The flow has too many nodes.",
                    json_sprintf("%zu, at most %d", json_object_size(flow), FLOW_MAX_NODES), NULL);
    else if (good && check_classes(&k, out, targets))
        good = check_all(&k, out, targets, e);
    for (size_t i = 0; i < k.count; i++)
        json_decref(k.seen[i].errors);
    if (k.by_id)
        g_hash_table_destroy(k.by_id);
    mem_free(k.seen);
    mem_free(k.frames);
    if (!good)
        flow_checked_release(out);
    return good;
}

void flow_checked_release(struct flow_checked *c)
{
    json_decref(c->outputs);
    json_decref(c->error);
    json_decref(c->node_errors);
    *c = (struct flow_checked){ 0 };
}

void flow_checked_text(const struct flow_checked *c, struct text *out)
{
    const char *id;
    json_t *entry, *error;
    size_t i;
    if (c->error)
        text_addf(out, "%s", json_string_value(json_object_get(c->error, "message")));
    if (c->error && !json_object_size(c->node_errors))
        text_addf(out, ": %s", json_string_value(json_object_get(c->error, "details")));
    json_object_foreach(c->node_errors, id, entry)
        json_array_foreach(json_object_get(entry, "errors"), i, error)
            text_addf(out, "%snode %s (%s): %s: %s", out->length ? "\n" : "", id, json_string_value(json_object_get(entry, "class_type")),
                      json_string_value(json_object_get(error, "message")), json_string_value(json_object_get(error, "details")));
}
