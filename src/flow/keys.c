/* What a node's result depends on, as one hash: class, what node.changed says, its constants, and the keys of what is linked to it. Ids of
 * nodes are not in it, so the same node in another flow has the same key. */
#include <glib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "flow/run_internal.h"

static void add(GChecksum *sum, const char *text)
{
    /* with the 0 behind it, so that two texts are not one */
    g_checksum_update(sum, (const guchar *)text, (gssize)strlen(text) + 1);
}

/* node.changed, into token. False: it is new each time. */
static bool change_token(struct run *run, const struct run_node *n, char token[DIGEST_TEXT_BYTES])
{
    struct datum_list held = { 0 };
    struct err ignored = { 0 };
    struct node_check check = { n->node, run->o->host, json_object_get(n->json, "inputs"), NULL };
    void *args = mem_zeroed(1, n->node->args_bytes ? n->node->args_bytes : 1);
    bool always = false;
    *token = 0;
    bool good = args && args_of_constants(n->node, check.inputs, args, &held, &ignored) &&
                n->node->changed(&check, args, token, &always, &ignored);
    datum_list_release(&held);
    mem_free(args);
    return good && !always;
}

static bool add_input(struct run *run, GChecksum *sum, const struct run_node *n, const char *name, const json_t *value)
{
    const char *id;
    int64_t output;
    struct text text;
    char number[32];
    bool good = true;
    add(sum, name);
    if (json_object_get(value, "__held__"))
        return false;
    if (flow_is_link(value, &id, &output)) {
        struct run_node *from = run_find(run, id);
        if (!from)
            return false;
        snprintf(number, sizeof number, "%lld", (long long)output);
        add(sum, "link");
        add(sum, from->key);
        add(sum, number);
        const struct node_input *declared = node_input_find(n->node, name);
        if (declared && declared->flags & NODE_RAW_LINK)
            add(sum, id);
        return *from->key != 0;
    }
    text_init(&text, FLOW_MAX_BYTES);
    flow_json_text(&text, value);
    good = !text.failed;
    add(sum, "constant");
    add(sum, text_string(&text));
    text_release(&text);
    return good;
}

/* Undeclared constants have no effect, so they are not in the key. */
static bool counts(const struct node *n, const char *name, const json_t *value)
{
    return json_is_array(value) || json_object_get(value, "__held__") || node_input_find(n, name);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What is linked to it has its key, but in a circle. */
static void make_key(struct run *run, struct run_node *n)
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    char token[DIGEST_TEXT_BYTES];
    bool good = true;
    add(sum, n->node->name);
    if (n->node->flags & (NODE_SEES_ID | NODE_SEES_DYNAMIC | NODE_NOT_IDEMPOTENT))
        add(sum, n->id);
    if (n->node->flags & NODE_FILES)
        add(sum, run->o->host->user ? run->o->host->user : "");
    if (n->node->changed) {
        good = change_token(run, n, token);
        add(sum, token);
    }
    json_t *inputs = json_object_get(n->json, "inputs"), *value;
    const char *name, **names = mem_zeroed(json_object_size(inputs) + 1, sizeof *names);
    size_t count = 0;
    good = good && names;
    json_object_foreach(inputs, name, value)
        if (good && counts(n->node, name, value))
            names[count++] = name;
    if (count)
        qsort(names, count, sizeof *names, by_text);
    for (size_t i = 0; good && i < count; i++)
        good = add_input(run, sum, n, names[i], json_object_get(inputs, names[i]));
    if (good)
        snprintf(n->key, sizeof n->key, "%s", g_checksum_get_string(sum));
    mem_free(names);
    g_checksum_free(sum);
    n->keying = false;
    n->keyed = true;
}

/* A node linked to it that has no key yet; NULL: there is none. In a circle the key stays "". */
static struct run_node *without_key(struct run *run, const struct run_node *n)
{
    const char *name, *id;
    json_t *value;
    int64_t output;
    json_object_foreach(json_object_get(n->json, "inputs"), name, value) {
        struct run_node *from = flow_is_link(value, &id, &output) ? run_find(run, id) : NULL;
        if (from && !from->keyed && !from->keying)
            return from;
    }
    return NULL;
}

/* Without recursion: a flow may be long. Without memory for that the node gets no key, and is run. */
void run_set_key(struct run *run, struct run_node *n)
{
    struct run_node **stack = NULL, **grown;
    size_t count = 0, cap = 0;
    for (struct run_node *next = n->keyed || n->keying ? NULL : n; next || count;) {
        if (next && (grown = mem_grow(stack, &cap, count + 1, sizeof *stack))) {
            stack = grown;
            next->keying = true;
            stack[count++] = next;
        } else if (next) {
            next->keyed = true;
        } else {
            make_key(run, stack[--count]);
        }
        next = count ? without_key(run, stack[count - 1]) : NULL;
    }
    mem_free(stack);
}
