/* Nodes that are there only for tests (limn serve --test-nodes): those that ComfyUI's own tests of its executor, tests/execution, expect
 * from a server. Those that take time are in test_waiting.c. */
#include <stdio.h>

#include "base/random.h"
#include "flow/nodes/test_nodes.h"

enum { VALUES = 5, LIST_VALUES = 9 };
#define BIG ((double)((int64_t)1 << 30))

static const struct node_output int_output[] = { NODE_OUT("INT"), { 0 } };
static const struct node_output float_output[] = { NODE_OUT("FLOAT"), { 0 } };
static const struct node_output bool_output[] = { NODE_OUT("BOOLEAN"), { 0 } };

static struct flow_image *times(const struct flow_image *a, double factor, struct err *e)
{
    struct flow_image *image = flow_image_new(a->n, a->h, a->w, e);
    for (int64_t i = 0; image && i < a->n * a->h * a->w * 3; i++)
        image->at[i] = a->at[i] * (float)factor;
    return image;
}

/* --- constants --- */

struct stub_args {
    const char *content;
    double value;
    int64_t height, width, batch, whole;
};
static const char *const contents[] = { "WHITE", "BLACK", "NOISE", NULL };
#define SIZES                                                                                                                         \
    { "height", "INT", AT(stub_args, height), "512", .min = 1, .max = BIG, .step = 1 },                                               \
    { "width", "INT", AT(stub_args, width), "512", .min = 1, .max = BIG, .step = 1 },                                                 \
    { "batch_size", "INT", AT(stub_args, batch), "1", .min = 1, .max = BIG, .step = 1 }
#define PART { "value", "FLOAT", AT(stub_args, value), "0.5", .min = 0, .max = 1, .step = 0.01 }
static const struct node_input stub_image_inputs[] = { { "content", "COMBO", AT(stub_args, content), .choices = contents }, SIZES, { 0 } };
static const struct node_input stub_value_inputs[] = { PART, SIZES, { 0 } };
static const struct node_input stub_int_inputs[] = { { "value", "INT", AT(stub_args, whole), "0", .min = -4294967295.0, .max = 4294967295.0, .step = 1 },
                                                     { 0 } };
static const struct node_input stub_float_inputs[] = { { "value", "FLOAT", AT(stub_args, value), "0.0", .min = -1e38, .max = 1e38, .step = 0.01 },
                                                       { 0 } };

static bool stub_image_run(struct node_call *call, const void *args, struct err *e)
{
    const struct stub_args *a = args;
    struct flow_image *image = constant(a->batch, a->height, a->width, *a->content == 'W', e);
    if (image && *a->content == 'N') {
        struct torch_random *random = mem_zeroed(1, sizeof *random);
        if (random) {
            torch_random_seed(random, 0);
            torch_random_uniform(random, image->at, (size_t)(image->n * image->h * image->w * 3));
        }
        mem_free(random);
    }
    return give_image(call, 0, image, e);
}

static bool stub_constant_run(struct node_call *call, const void *args, struct err *e)
{
    const struct stub_args *a = args;
    return give_image(call, 0, constant(a->batch, a->height, a->width, (float)a->value, e), e);
}

static bool stub_mask_run(struct node_call *call, const void *args, struct err *e)
{
    const struct stub_args *a = args;
    struct flow_mask *m = flow_mask_new(a->batch, a->height, a->width, e);
    for (int64_t i = 0; m && i < m->n * m->h * m->w; i++)
        m->at[i] = (float)a->value;
    return node_give(call, 0, datum_of_object(&type_mask, m, e), e);
}

static bool stub_int_run(struct node_call *call, const void *args, struct err *e)
{
    return node_give(call, 0, datum_of_int(((const struct stub_args *)args)->whole, e), e);
}

static bool stub_float_run(struct node_call *call, const void *args, struct err *e)
{
    return node_give(call, 0, datum_of_float(((const struct stub_args *)args)->value, e), e);
}

/* --- pictures --- */

struct mix_args {
    const struct datum *image1, *image2, *mask;
};
static const struct node_input mix_inputs[] = {
    { "image1", "IMAGE", AT(mix_args, image1), .flags = NODE_LAZY },
    { "image2", "IMAGE", AT(mix_args, image2), .flags = NODE_LAZY },
    NODE_SOCKET("mask", "MASK", struct mix_args, mask),
    { 0 },
};

static void mask_ends(const struct flow_mask *m, float *least, float *most)
{
    *least = *most = m->at[0];
    for (int64_t i = 0; i < m->n * m->h * m->w; i++) {
        *least = fminf(*least, m->at[i]);
        *most = fmaxf(*most, m->at[i]);
    }
}

static bool mix_lazy(struct node_call *call, const void *args, struct err *e)
{
    const struct mix_args *a = args;
    float least, most;
    mask_ends(mask_of(a->mask), &least, &most);
    return ((least == 1 && most == 1) || node_need(call, "image1", e)) && ((least == 0 && most == 0) || node_need(call, "image2", e));
}

static bool mix_run(struct node_call *call, const void *args, struct err *e)
{
    const struct mix_args *a = args;
    const struct flow_mask *m = mask_of(a->mask);
    float least, most;
    mask_ends(m, &least, &most);
    if (most == 0 && a->image1)
        return give_same(call, 0, a->image1, e);
    if (least == 1 && a->image2)
        return give_same(call, 0, a->image2, e);
    if (!a->image1 || !a->image2)
        return err_set(e, ERR_MISSING, "a picture to mix is missing");
    const struct flow_image *x = image_of(a->image1), *y = image_of(a->image2);
    if (x->h != y->h || x->w != y->w || x->n != y->n || m->h != x->h || m->w != x->w)
        return err_set(e, ERR_SHAPE, "pictures of %lldx%lld and %lldx%lld, and a mask of %lldx%lld, cannot be mixed", (long long)x->w, (long long)x->h,
                       (long long)y->w, (long long)y->h, (long long)m->w, (long long)m->h);
    struct flow_image *image = flow_image_new(x->n, x->h, x->w, e);
    for (int64_t i = 0; image && i < x->n * x->h * x->w * 3; i++) {
        float part = m->at[i / 3 % (m->n * m->h * m->w)];
        image->at[i] = x->at[i] * (1 - part) + y->at[i] * part;
    }
    return give_image(call, 0, image, e);
}

struct average_args {
    const struct datum *first;
};
static const struct node_input average_inputs[] = { NODE_SOCKET("input1", "IMAGE", struct average_args, first), { 0 } };

static bool average_run(struct node_call *call, const void *args, struct err *e)
{
    const struct average_args *a = args;
    struct flow_image *sum = times(image_of(a->first), 1, e);
    char name[32];
    int count = 1;
    const struct datum_list *more;
    while (sum && (snprintf(name, sizeof name, "input%d", count + 1), more = call_input(call, name))) {
        const struct datum *d = more->at[call_index(call) < more->count ? call_index(call) : more->count - 1];
        if (d->kind != DATUM_OBJECT || d->type != &type_image || image_of(d)->h != sum->h || image_of(d)->w != sum->w || image_of(d)->n != sum->n) {
            flow_image_free(sum);
            return err_set(e, ERR_SHAPE, "%s is no picture of the same size", name);
        }
        for (int64_t i = 0; i < sum->n * sum->h * sum->w * 3; i++)
            sum->at[i] += image_of(d)->at[i];
        count++;
    }
    for (int64_t i = 0; sum && i < sum->n * sum->h * sum->w * 3; i++)
        sum->at[i] /= (float)count;
    return give_image(call, 0, sum, e);
}

struct changed_args {
    const struct datum *image, *should_change;
    double value;
};
static const struct node_input changed_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct changed_args, image),
    { "should_change", "BOOL", AT(changed_args, should_change), .flags = NODE_OPTIONAL },
    { 0 },
};
static const struct node_input scaled_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct changed_args, image),
    { "value", "FLOAT", AT(changed_args, value), "1.0", .min = 0, .max = 10 },
    { 0 },
};

static bool same_run(struct node_call *call, const void *args, struct err *e)
{
    return give_same(call, 0, ((const struct changed_args *)args)->image, e);
}

static bool same_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    const struct changed_args *a = args;
    *always = a->should_change && a->should_change->whole;
    return true;
}

static bool scaled_run(struct node_call *call, const void *args, struct err *e)
{
    const struct changed_args *a = args;
    return give_image(call, 0, times(image_of(a->image), a->value, e), e);
}

static bool scaled_changed(const struct node_check *check, const void *args, char token[65], bool *always, struct err *e)
{
    snprintf(token, 65, "%.17g", ((const struct changed_args *)args)->value);
    return true;
}

/* --- checks of its own --- */

struct two_args {
    const struct datum *input1, *input2;
};
struct two_float_args {
    double input1, input2;
};
static const struct node_input two_inputs[] = {
    NODE_SOCKET("input1", "IMAGE,FLOAT", struct two_args, input1),
    NODE_SOCKET("input2", "IMAGE,FLOAT", struct two_args, input2),
    { 0 },
};
static const struct node_input two_float_inputs[] = {
    NODE_SOCKET("input1", "FLOAT", struct two_float_args, input1),
    NODE_SOCKET("input2", "FLOAT", struct two_float_args, input2),
    { 0 },
};
static const struct node_input two_part_inputs[] = {
    { "input1", "FLOAT", AT(two_float_args, input1), .initial = NULL, .min = 0, .max = 1 },
    { "input2", "FLOAT", AT(two_float_args, input2), .initial = NULL, .min = 0, .max = 1 },
    { 0 },
};

static bool product_run(struct node_call *call, const void *args, struct err *e)
{
    const struct two_args *a = args;
    double factor = 1;
    const struct flow_image *image = NULL;
    for (int i = 0; i < 2; i++) {
        const struct datum *d = i ? a->input2 : a->input1;
        if (d->kind == DATUM_OBJECT && d->type == &type_image)
            image = image_of(d);
        else
            factor *= d->real;
    }
    return give_image(call, 0, image ? times(image, factor, e) : constant(1, 512, 512, (float)factor, e), e);
}

static bool float_product_run(struct node_call *call, const void *args, struct err *e)
{
    const struct two_float_args *a = args;
    return give_image(call, 0, constant(1, 512, 512, (float)(a->input1 * a->input2), e), e);
}

static bool two_check(const struct node_check *check, const void *args, char why[400])
{
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "input2" : "input1", *came = check->received ? check->received[i] : NULL;
        if (check_has(check, name) && !json_is_real(json_object_get(check->inputs, name))) {
            snprintf(why, 400, "Invalid type of input%d: it is no float", i + 1);
            return false;
        }
        if (came && !node_types_meet(came, "IMAGE,FLOAT")) {
            snprintf(why, 400, "Invalid type of input%d: %s", i + 1, came);
            return false;
        }
    }
    return true;
}

static bool no_sevens(const struct node_check *check, const void *args, char why[400])
{
    if (((const struct two_float_args *)args)->input2 != 7)
        return true;
    snprintf(why, 400, "7s are not allowed. I've never liked 7s.");
    return false;
}

/* --- lists, blockers, conditions --- */

struct list_args {
    const struct datum *value[LIST_VALUES];
};
#define VALUE(n) { "value" #n, "*", AT(list_args, value[n - 1]), .flags = NODE_OPTIONAL }
static const struct node_input list_inputs[] = {
    NODE_SOCKET("value1", "*", struct list_args, value[0]),
    VALUE(2), VALUE(3), VALUE(4), VALUE(5), VALUE(6), VALUE(7), VALUE(8), VALUE(9),
    { 0 },
};
static const struct node_output list_output[] = { { .type = "*", .list = true }, { 0 } };

static bool list_run(struct node_call *call, const void *args, struct err *e)
{
    const struct list_args *a = args;
    bool good = true;
    for (int i = 0; good && i < LIST_VALUES; i++)
        good = !a->value[i] || give_same(call, 0, a->value[i], e);
    return good;
}

struct block_args {
    const struct datum *input;
    bool block, verbose;
};
static const struct node_input block_inputs[] = {
    NODE_SOCKET("input", "*", struct block_args, input),
    NODE_SOCKET("block", "BOOLEAN", struct block_args, block),
    { "verbose", "BOOLEAN", AT(block_args, verbose), .initial = "false" },
    { 0 },
};
static const struct node_output block_output[] = { { .type = "*", .name = "output" }, { 0 } };

static bool block_run(struct node_call *call, const void *args, struct err *e)
{
    const struct block_args *a = args;
    return a->block ? node_give(call, 0, datum_of_blocker(a->verbose ? "Blocked Execution" : NULL, e), e) : give_same(call, 0, a->input, e);
}

struct int_args {
    int64_t a, b;
    const char *operation;
};
static const char *const comparisons[] = { "==", "!=", "<", ">", "<=", ">=", NULL };
static const char *const operations[] = { "add", "subtract", "multiply", "divide", "modulo", "power", NULL };
#define INTS                                                                                                                          \
    { "a", "INT", AT(int_args, a), "0", .min = -9.2e18, .max = 9.2e18, .step = 1 },                                                    \
    { "b", "INT", AT(int_args, b), "0", .min = -9.2e18, .max = 9.2e18, .step = 1 }
static const struct node_input compare_inputs[] = { INTS, { "operation", "COMBO", AT(int_args, operation), .choices = comparisons }, { 0 } };
static const struct node_input math_inputs[] = { INTS, { "operation", "COMBO", AT(int_args, operation), .choices = operations }, { 0 } };

static bool compare_run(struct node_call *call, const void *args, struct err *e)
{
    const struct int_args *a = args;
    const char *o = a->operation;
    bool v = *o == '=' ? a->a == a->b : *o == '!' ? a->a != a->b : *o == '<' ? a->a < a->b : a->a > a->b;
    v |= (*o == '<' || *o == '>') && o[1] == '=' && a->a == a->b;
    return node_give(call, 0, datum_of_bool(v, e), e);
}

/* Towards minus infinity, as Python. */
static int64_t floor_divide(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b && (a < 0) != (b < 0) ? q - 1 : q;
}

static bool math_run(struct node_call *call, const void *args, struct err *e)
{
    const struct int_args *a = args;
    int64_t v = 0;
    bool good = true;
    switch (*a->operation) {
    case 'a': good = !__builtin_add_overflow(a->a, a->b, &v); break;
    case 's': good = !__builtin_sub_overflow(a->a, a->b, &v); break;
    case 'd': good = a->b != 0 && a->b != -1; v = good ? floor_divide(a->a, a->b) : -a->a; good = a->b != 0; break;
    case 'p': v = (int64_t)pow((double)a->a, (double)a->b); break;
    default:
        if (a->operation[1] == 'u')
            good = !__builtin_mul_overflow(a->a, a->b, &v);
        else
            good = a->b > 0 && (v = a->a - floor_divide(a->a, a->b) * a->b, true);
    }
    return good ? node_give(call, 0, datum_of_int(v, e), e) : err_set(e, ERR_ARG, "%lld %s %lld cannot be done", (long long)a->a, a->operation, (long long)a->b);
}

struct bool_args {
    const struct datum *value;
    bool invert;
};
static const struct node_input bool_inputs[] = {
    NODE_SOCKET("value", "*", struct bool_args, value),
    { "invert", "BOOLEAN", AT(bool_args, invert), "false", .flags = NODE_OPTIONAL },
    { 0 },
};

static bool bool_run(struct node_call *call, const void *args, struct err *e)
{
    const struct bool_args *a = args;
    const struct datum *d = a->value;
    bool v = d->kind == DATUM_FLOAT ? d->real != 0 : d->kind == DATUM_TEXT ? *d->text != 0 : d->kind == DATUM_OBJECT || d->whole != 0;
    return node_give(call, 0, datum_of_bool(v != a->invert, e), e);
}

/* --- nodes inside of nodes --- */

static bool add_mix(struct node_call *call, const char *id, const char *mask, struct err *e)
{
    return node_expand(call, id, "TestLazyMixImages", NULL, e) && node_expand_link(call, id, "mask", mask, 0, e);
}

static bool add_stub(struct node_call *call, const char *id, const char *class, const char *input, json_t *value, struct err *e)
{
    return node_expand(call, id, class, NULL, e) ? node_expand_json(call, id, input, value, e) && node_expand_json(call, id, "height", json_integer(512), e) &&
                                                       node_expand_json(call, id, "width", json_integer(512), e) &&
                                                       node_expand_json(call, id, "batch_size", json_integer(1), e)
                                                 : (json_decref(value), false);
}

static const struct node_input cycle_inputs[] = {
    NODE_SOCKET("input1", "IMAGE", struct two_args, input1),
    NODE_SOCKET("input2", "IMAGE", struct two_args, input2),
    { 0 },
};

static bool cycle_run(struct node_call *call, const void *args, struct err *e)
{
    const struct two_args *a = args;
    char mask[NODE_ID_BYTES], first[NODE_ID_BYTES], second[NODE_ID_BYTES];
    node_new_id(call, "mask", mask, sizeof mask);
    node_new_id(call, "mix1", first, sizeof first);
    node_new_id(call, "mix2", second, sizeof second);
    return add_stub(call, mask, "StubMask", "value", json_real(0.5), e) && add_mix(call, first, mask, e) && add_mix(call, second, mask, e) &&
           node_expand_datum(call, first, "image1", datum_keep((struct datum *)(uintptr_t)a->input1), e) &&
           node_expand_link(call, first, "image2", second, 0, e) && node_expand_link(call, second, "image1", first, 0, e) &&
           node_expand_datum(call, second, "image2", datum_keep((struct datum *)(uintptr_t)a->input2), e) && node_give_link(call, 0, second, 0, e);
}

static const struct node_input mixed_inputs[] = { NODE_SOCKET("input1", "FLOAT", struct two_float_args, input1), { 0 } };
static const struct node_output mixed_outputs[] = { NODE_OUT("IMAGE"), NODE_OUT("IMAGE"), { 0 } };

static bool mixed_run(struct node_call *call, const void *args, struct err *e)
{
    double v = ((const struct two_float_args *)args)->input1;
    char mask[NODE_ID_BYTES], black[NODE_ID_BYTES], white[NODE_ID_BYTES], mix[NODE_ID_BYTES];
    if (!give_image(call, 1, constant(1, 512, 512, 1, e), e))
        return false;
    if (v <= 0.2)
        return give_image(call, 0, constant(1, 512, 512, v <= 0.1 ? 0.1f : 0.2f, e), e);
    node_new_id(call, "mask", mask, sizeof mask);
    node_new_id(call, "black", black, sizeof black);
    node_new_id(call, "white", white, sizeof white);
    node_new_id(call, "mix", mix, sizeof mix);
    return add_stub(call, mask, "StubMask", "value", json_real(0.3), e) &&
           add_stub(call, black, "StubImage", "content", json_string("BLACK"), e) &&
           add_stub(call, white, "StubImage", "content", json_string("WHITE"), e) && add_mix(call, mix, mask, e) &&
           node_expand_link(call, mix, "image1", black, 0, e) && node_expand_link(call, mix, "image2", white, 0, e) &&
           node_give_link(call, 0, mix, 0, e);
}

static const struct node_input output_inputs[] = {
    NODE_SOCKET("image", "IMAGE", struct changed_args, image),
    { "value", "FLOAT", AT(changed_args, value), "1.0", .min = 0, .max = 10 },
    { 0 },
};

/* --- loops --- */

struct loop_args {
    const struct datum *control;
    bool condition;
    int64_t remaining;
    const struct datum *value[VALUES];
};
#define INITIAL(n, more) { "initial_value" #n, "*", AT(loop_args, value[n]), .flags = NODE_OPTIONAL | more }
static const struct node_input while_open_inputs[] = {
    { "condition", "BOOLEAN", AT(loop_args, condition), .initial = "true" },
    INITIAL(0, 0), INITIAL(1, 0), INITIAL(2, 0), INITIAL(3, 0), INITIAL(4, 0),
    { 0 },
};
static const struct node_input while_close_inputs[] = {
    { "flow_control", "FLOW_CONTROL", AT(loop_args, control), .flags = NODE_RAW_LINK },
    { "condition", "BOOLEAN", AT(loop_args, condition), .flags = NODE_FORCE_INPUT },
    INITIAL(0, 0), INITIAL(1, 0), INITIAL(2, 0), INITIAL(3, 0), INITIAL(4, 0),
    { 0 },
};
static const struct node_input for_open_inputs[] = {
    { "remaining", "INT", AT(loop_args, remaining), "1", .min = 0, .max = 100000, .step = 1 },
    INITIAL(1, 0), INITIAL(2, 0), INITIAL(3, 0), INITIAL(4, 0),
    { 0 },
};
static const struct node_input for_close_inputs[] = {
    { "flow_control", "FLOW_CONTROL", AT(loop_args, control), .flags = NODE_RAW_LINK },
    INITIAL(1, NODE_RAW_LINK), INITIAL(2, NODE_RAW_LINK), INITIAL(3, NODE_RAW_LINK), INITIAL(4, NODE_RAW_LINK),
    { 0 },
};
#define ANY(label) { .type = "*", .name = label }
static const struct node_output while_open_outputs[] = { NODE_OUT("FLOW_CONTROL"), ANY("value0"), ANY("value1"), ANY("value2"), ANY("value3"),
                                                         ANY("value4"), { 0 } };
static const struct node_output while_close_outputs[] = { ANY("value0"), ANY("value1"), ANY("value2"), ANY("value3"), ANY("value4"), { 0 } };
static const struct node_output for_open_outputs[] = { { .type = "FLOW_CONTROL", .name = "flow_control" }, { .type = "INT", .name = "remaining" },
                                                       ANY("value1"), ANY("value2"), ANY("value3"), ANY("value4"), { 0 } };
static const struct node_output for_close_outputs[] = { ANY("value1"), ANY("value2"), ANY("value3"), ANY("value4"), { 0 } };

static struct datum *value_or_nothing(const struct loop_args *a, int i, struct err *e)
{
    return a->value[i] ? datum_keep((struct datum *)(uintptr_t)a->value[i]) : datum_of_nothing(e);
}

static bool while_open_run(struct node_call *call, const void *args, struct err *e)
{
    bool good = node_give(call, 0, datum_of_text("stub", e), e);
    for (int i = 0; good && i < VALUES; i++)
        good = node_give(call, i + 1, value_or_nothing(args, i, e), e);
    return good;
}

/* A loop's body that goes round again gets what remains as an input that the table does not name. */
static bool for_open_run(struct node_call *call, const void *args, struct err *e)
{
    const struct loop_args *a = args;
    const struct datum_list *again = call_input(call, "initial_value0");
    int64_t remaining = again && again->at[0]->kind == DATUM_INT ? again->at[0]->whole : a->remaining;
    bool good = node_give(call, 0, datum_of_text("stub", e), e) && node_give(call, 1, datum_of_int(remaining, e), e);
    for (int i = 1; good && i < VALUES; i++)
        good = node_give(call, i + 1, value_or_nothing(a, i, e), e);
    return good;
}

/* A set of ids, in order. */
struct ids {
    char (*at)[NODE_ID_BYTES];
    size_t count, cap;
};

static bool holds(const struct ids *s, const char *id)
{
    for (size_t i = 0; i < s->count; i++)
        if (!strcmp(s->at[i], id))
            return true;
    return false;
}

static bool put(struct ids *s, const char *id, struct err *e)
{
    char (*grown)[NODE_ID_BYTES] = mem_grow(s->at, &s->cap, s->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "a loop");
    s->at = grown;
    snprintf(s->at[s->count++], NODE_ID_BYTES, "%s", id);
    return true;
}

/* Whether `open` is upstream of a node; every node on a way to it is put into `inside`. */
static bool leads_to(const struct node_call *call, const char *id, const char *open, struct ids *inside, struct ids *seen, bool *leads, struct err *e)
{
    const char *name, *from;
    json_t *value;
    int64_t output;
    *leads = !strcmp(id, open) || holds(inside, id);
    if (*leads || holds(seen, id))
        return *leads && !holds(inside, id) ? put(inside, id, e) : true;
    if (!put(seen, id, e))
        return false;
    json_object_foreach(json_object_get((json_t *)(uintptr_t)call_node(call, id), "inputs"), name, value) {
        bool inner;
        if (!flow_is_link(value, &from, &output))
            continue;
        if (!leads_to(call, from, open, inside, seen, &inner, e))
            return false;
        *leads |= inner;
    }
    return !*leads || holds(inside, id) || put(inside, id, e);
}

/* Copies of the nodes between open and close, linked among themselves, go round once more. */
static bool go_round(struct node_call *call, const struct loop_args *a, const struct ids *inside, const char *open, struct err *e)
{
    char id[NODE_ID_BYTES], from_id[NODE_ID_BYTES], again[NODE_ID_BYTES], input[32];
    node_new_id(call, "Recurse", again, sizeof again);
    for (size_t i = 0; i < inside->count; i++) {
        const char *old = inside->at[i], *class = json_string_value(json_object_get(call_node(call, old), "class_type"));
        node_new_id(call, strcmp(old, call_id(call)) ? old : "Recurse", id, sizeof id);
        if (!node_expand(call, id, class, old, e))
            return false;
    }
    for (size_t i = 0; i < inside->count; i++) {
        const char *old = inside->at[i], *name, *from;
        json_t *value;
        int64_t output;
        node_new_id(call, strcmp(old, call_id(call)) ? old : "Recurse", id, sizeof id);
        json_object_foreach(json_object_get((json_t *)(uintptr_t)call_node(call, old), "inputs"), name, value) {
            if (flow_is_link(value, &from, &output) && holds(inside, from)) {
                node_new_id(call, strcmp(from, call_id(call)) ? from : "Recurse", from_id, sizeof from_id);
                if (!node_expand_link(call, id, name, from_id, (int)output, e))
                    return false;
            } else if (!node_expand_copy(call, id, name, old, e)) {
                return false;
            }
        }
    }
    node_new_id(call, open, id, sizeof id);
    bool good = true;
    for (int i = 0; good && i < VALUES; i++) {
        snprintf(input, sizeof input, "initial_value%d", i);
        good = node_expand_datum(call, id, input, value_or_nothing(a, i, e), e) && node_give_link(call, i, again, i, e);
    }
    return good;
}

static bool while_close_run(struct node_call *call, const void *args, struct err *e)
{
    const struct loop_args *a = args;
    const char *open;
    int64_t output;
    struct ids inside = { 0 }, seen = { 0 };
    bool good = true, leads = false;
    for (int i = 0; good && !a->condition && i < VALUES; i++)
        good = node_give(call, i, value_or_nothing(a, i, e), e);
    if (!a->condition)
        return good;
    if (a->control->kind != DATUM_JSON || !flow_is_link(a->control->json, &open, &output))
        return err_set(e, ERR_TYPE, "flow_control must be linked to the beginning of the loop");
    good = leads_to(call, call_id(call), open, &inside, &seen, &leads, e) && (holds(&inside, call_id(call)) || put(&inside, call_id(call), e)) &&
           go_round(call, a, &inside, open, e);
    mem_free(inside.at);
    mem_free(seen.at);
    return good;
}

static bool for_close_run(struct node_call *call, const void *args, struct err *e)
{
    const struct loop_args *a = args;
    const char *open, *from;
    int64_t output;
    char sub[NODE_ID_BYTES], condition[NODE_ID_BYTES], close[NODE_ID_BYTES], input[32];
    if (a->control->kind != DATUM_JSON || !flow_is_link(a->control->json, &open, &output))
        return err_set(e, ERR_TYPE, "flow_control must be linked to the beginning of the loop");
    node_new_id(call, "sub", sub, sizeof sub);
    node_new_id(call, "condition", condition, sizeof condition);
    node_new_id(call, "close", close, sizeof close);
    bool good = node_expand(call, sub, "TestIntMathOperation", NULL, e) && node_expand_json(call, sub, "operation", json_string("subtract"), e) &&
                node_expand_link(call, sub, "a", open, 1, e) && node_expand_json(call, sub, "b", json_integer(1), e) &&
                node_expand(call, condition, "TestToBoolNode", NULL, e) && node_expand_link(call, condition, "value", sub, 0, e) &&
                node_expand(call, close, "TestWhileLoopClose", NULL, e) && node_expand_link(call, close, "flow_control", open, (int)output, e) &&
                node_expand_link(call, close, "condition", condition, 0, e) && node_expand_link(call, close, "initial_value0", sub, 0, e);
    for (int i = 1; good && i < VALUES; i++) {
        snprintf(input, sizeof input, "initial_value%d", i);
        if (a->value[i] && a->value[i]->kind == DATUM_JSON && flow_is_link(a->value[i]->json, &from, &output))
            good = node_expand_link(call, close, input, from, (int)output, e);
        good = good && node_give_link(call, i - 1, close, i, e);
    }
    return good;
}

const struct node nodes_test[] = {
    TEST_NODE("StubImage", "Stub Image", "Testing/Stub Nodes", stub_image_inputs, image_output, stub_args, 0, stub_image_run),
    TEST_NODE("StubConstantImage", "Stub Constant Image", "Testing/Stub Nodes", stub_value_inputs, image_output, stub_args, 0, stub_constant_run),
    TEST_NODE("StubMask", "Stub Mask", "Testing/Stub Nodes", stub_value_inputs, mask_output, stub_args, 0, stub_mask_run),
    TEST_NODE("StubInt", "Stub Int", "Testing/Stub Nodes", stub_int_inputs, int_output, stub_args, 0, stub_int_run),
    TEST_NODE("StubFloat", "Stub Float", "Testing/Stub Nodes", stub_float_inputs, float_output, stub_args, 0, stub_float_run),
    TEST_NODE("TestLazyMixImages", "Lazy Mix Images", "Testing/Nodes", mix_inputs, image_output, mix_args, 0, mix_run, .lazy = mix_lazy),
    TEST_NODE("TestVariadicAverage", "Variadic Average", "Testing/Nodes", average_inputs, image_output, average_args, NODE_ANY_INPUTS, average_run),
    TEST_NODE("TestCustomIsChanged", "Custom IsChanged", "Testing/Nodes", changed_inputs, image_output, changed_args, 0, same_run,
              .changed = same_changed),
    TEST_NODE("TestIsChangedWithConstants", "IsChanged With Constants", "Testing/Nodes", scaled_inputs, image_output, changed_args, 0, scaled_run,
              .changed = scaled_changed),
    TEST_NODE("TestCustomValidation1", "Custom Validation 1", "Testing/Nodes", two_inputs, image_output, two_args, 0, product_run,
              .check = two_check, .checks = "input1, input2"),
    TEST_NODE("TestCustomValidation2", "Custom Validation 2", "Testing/Nodes", two_inputs, image_output, two_args, 0, product_run,
              .check = two_check, .checks = "input_types, input1, input2"),
    TEST_NODE("TestCustomValidation3", "Custom Validation 3", "Testing/Nodes", two_inputs, image_output, two_args, 0, product_run,
              .check = two_check, .checks = "input_types, input1, input2"),
    TEST_NODE("TestCustomValidation4", "Custom Validation 4", "Testing/Nodes", two_float_inputs, image_output, two_float_args, 0,
              float_product_run),
    TEST_NODE("TestCustomValidation5", "Custom Validation 5", "Testing/Nodes", two_part_inputs, image_output, two_float_args, 0,
              float_product_run, .check = no_sevens, .checks = "*"),
    TEST_NODE("TestDynamicDependencyCycle", "Dynamic Dependency Cycle", "Testing/Nodes", cycle_inputs, image_output, two_args, 0, cycle_run),
    TEST_NODE("TestMixedExpansionReturns", "Mixed Expansion Returns", "Testing/Nodes", mixed_inputs, mixed_outputs, two_float_args, 0, mixed_run),
    TEST_NODE("TestOutputNodeWithSocketOutput", "Test Output Node With Socket Output", "_for_testing", output_inputs, image_output, changed_args,
              NODE_OUTPUT, scaled_run),
    TEST_NODE("TestMakeListNode", "Make List", "Testing/Lists", list_inputs, list_output, list_args, 0, list_run),
    TEST_NODE("TestExecutionBlocker", "Execution Blocker", "Testing/Flow", block_inputs, block_output, block_args, 0, block_run),
    TEST_NODE("TestIntConditions", "Int Condition", "Testing/Logic", compare_inputs, bool_output, int_args, 0, compare_run),
    TEST_NODE("TestIntMathOperation", "Int Math Operation", "Testing/Logic", math_inputs, int_output, int_args, 0, math_run),
    TEST_NODE("TestToBoolNode", "To Bool", "Testing/Logic", bool_inputs, bool_output, bool_args, 0, bool_run),
    TEST_NODE("TestWhileLoopOpen", "While Loop Open", "Testing/Flow", while_open_inputs, while_open_outputs, loop_args, 0, while_open_run),
    TEST_NODE("TestWhileLoopClose", "While Loop Close", "Testing/Flow", while_close_inputs, while_close_outputs, loop_args,
              NODE_SEES_DYNAMIC | NODE_SEES_ID, while_close_run),
    TEST_NODE("TestForLoopOpen", "For Loop Open", "Testing/Flow", for_open_inputs, for_open_outputs, loop_args, NODE_ANY_INPUTS, for_open_run),
    TEST_NODE("TestForLoopClose", "For Loop Close", "Testing/Flow", for_close_inputs, for_close_outputs, loop_args, 0, for_close_run),
    { 0 },
};
