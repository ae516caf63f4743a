/* The machine: a stack, a memo and the opcodes that move values between them. */
#include "weights/unpickle.h"

#include <stdlib.h>

#include "base/mem.h"

/* What a global is when it is called (REDUCE, NEWOBJ); a few are only ever handed on as arguments. */
enum meaning {
    MEANS_DICT,            /* OrderedDict() */
    MEANS_MODULE,          /* a ParameterDict: its state's "_parameters" are its items */
    MEANS_TENSOR,          /* (storage, offset, size, stride, ...) */
    MEANS_TYPED_TENSOR,    /* the same, and the seventh argument is the type */
    MEANS_FIRST_ARGUMENT,  /* a Parameter is the tensor that it wraps */
    MEANS_STORAGE,         /* a class of storages: `type` */
    MEANS_UNTYPED_STORAGE,
    MEANS_TYPE,            /* an element type: `type` */
    MEANS_NOTHING,         /* harmless and of no use here: its calls give None */
};

static const struct global {
    const char *module, *name;
    enum meaning meaning;
    enum dtype type;
} globals[] = {
    { "collections", "OrderedDict", MEANS_DICT, 0 },
    { "torch._utils", "_rebuild_tensor", MEANS_TENSOR, 0 },
    { "torch._utils", "_rebuild_tensor_v2", MEANS_TENSOR, 0 },
    { "torch._utils", "_rebuild_tensor_v3", MEANS_TYPED_TENSOR, 0 },
    { "torch._utils", "_rebuild_parameter", MEANS_FIRST_ARGUMENT, 0 },
    { "torch._utils", "_rebuild_parameter_with_state", MEANS_FIRST_ARGUMENT, 0 },
    { "torch", "Size", MEANS_FIRST_ARGUMENT, 0 },
    { "torch.nn.modules.container", "ParameterDict", MEANS_MODULE, 0 },
    { "torch", "FloatStorage", MEANS_STORAGE, DTYPE_F32 },
    { "torch", "HalfStorage", MEANS_STORAGE, DTYPE_F16 },
    { "torch", "BFloat16Storage", MEANS_STORAGE, DTYPE_BF16 },
    { "torch", "DoubleStorage", MEANS_STORAGE, DTYPE_F64 },
    { "torch", "LongStorage", MEANS_STORAGE, DTYPE_I64 },
    { "torch", "IntStorage", MEANS_STORAGE, DTYPE_I32 },
    { "torch", "ShortStorage", MEANS_STORAGE, DTYPE_I16 },
    { "torch", "CharStorage", MEANS_STORAGE, DTYPE_I8 },
    { "torch", "ByteStorage", MEANS_STORAGE, DTYPE_U8 },
    { "torch", "BoolStorage", MEANS_STORAGE, DTYPE_BOOL },
    { "torch", "UntypedStorage", MEANS_UNTYPED_STORAGE, DTYPE_U8 },
    { "torch.storage", "UntypedStorage", MEANS_UNTYPED_STORAGE, DTYPE_U8 },
    { "torch", "float32", MEANS_TYPE, DTYPE_F32 },
    { "torch", "float16", MEANS_TYPE, DTYPE_F16 },
    { "torch", "bfloat16", MEANS_TYPE, DTYPE_BF16 },
    { "torch", "float64", MEANS_TYPE, DTYPE_F64 },
    { "torch", "float8_e4m3fn", MEANS_TYPE, DTYPE_F8_E4M3 },
    { "torch", "float8_e5m2", MEANS_TYPE, DTYPE_F8_E5M2 },
    { "torch", "int64", MEANS_TYPE, DTYPE_I64 },
    { "torch", "int32", MEANS_TYPE, DTYPE_I32 },
    { "torch", "int16", MEANS_TYPE, DTYPE_I16 },
    { "torch", "int8", MEANS_TYPE, DTYPE_I8 },
    { "torch", "uint8", MEANS_TYPE, DTYPE_U8 },
    { "torch", "bool", MEANS_TYPE, DTYPE_BOOL },
    /* Checkpoints of trainings carry these beside the weights. */
    { "torch", "device", MEANS_NOTHING, 0 },
    { "__builtin__", "set", MEANS_NOTHING, 0 },
    { "builtins", "set", MEANS_NOTHING, 0 },
    { "_codecs", "encode", MEANS_NOTHING, 0 },
    { "numpy", "dtype", MEANS_NOTHING, 0 },
    { "numpy.core.multiarray", "scalar", MEANS_NOTHING, 0 },
    { "numpy._core.multiarray", "scalar", MEANS_NOTHING, 0 },
    { "pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", MEANS_NOTHING, 0 },
};

static bool failed(struct pickle *p, const char *what)
{
    return err_set(p->e, ERR_FORMAT, "%s: the pickle is broken: %s", p->where, what);
}

/* ---- values and the stack ---- */

static bool push_index(struct pickle *p, uint32_t index)
{
    uint32_t *grown = mem_grow(p->stack, &p->stack_cap, p->depth + 1, sizeof *grown);
    if (!grown)
        return err_nomem(p->e, p->where);
    p->stack = grown;
    p->stack[p->depth++] = index;
    return true;
}

static bool push(struct pickle *p, struct pickle_value v)
{
    struct pickle_value *grown = mem_grow(p->values, &p->cap, p->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(p->e, p->where);
    p->values = grown;
    p->values[p->count++] = v;
    return push_index(p, (uint32_t)(p->count - 1));
}

static bool push_number(struct pickle *p, enum pickle_kind kind, int64_t number)
{
    return push(p, (struct pickle_value){ .kind = kind, .number = number });
}

/* The value `below` the top (0 is the top), or NULL; a mark is no value. */
static struct pickle_value *peek(struct pickle *p, size_t below)
{
    if (p->depth <= below) {
        failed(p, "it takes from an empty stack");
        return NULL;
    }
    struct pickle_value *v = &p->values[p->stack[p->depth - 1 - below]];
    if (v->kind != PICKLE_MARK)
        return v;
    failed(p, "it takes a mark for a value");
    return NULL;
}

/* Where the items above the last mark begin on the stack. */
static bool find_mark(struct pickle *p, size_t *first)
{
    for (size_t i = p->depth; i-- > 0;)
        if (p->values[p->stack[i]].kind == PICKLE_MARK) {
            *first = i + 1;
            return true;
        }
    return failed(p, "a mark is missing");
}

static bool add_items(struct pickle *p, struct pickle_value *v, size_t first)
{
    size_t more = p->depth - first;
    if (!more)
        return true;
    uint32_t *grown = mem_grow(v->items.at, &v->items.cap, v->items.count + more, sizeof *grown);
    if (!grown)
        return err_nomem(p->e, p->where);
    v->items.at = grown;
    memcpy(grown + v->items.count, p->stack + first, more * sizeof *grown);
    v->items.count += more;
    return true;
}

/* The items from `first` on become one value, in their place or, with a mark, in the mark's. */
static bool gather(struct pickle *p, enum pickle_kind kind, size_t first, bool marked)
{
    struct pickle_value v = { .kind = kind };
    if (kind == PICKLE_DICT && (p->depth - first) % 2)
        return failed(p, "a key without a value");
    if (!add_items(p, &v, first))
        return false;
    p->depth = first - marked;
    if (push(p, v))
        return true;
    mem_free(v.items.at);
    return false;
}

static bool gather_count(struct pickle *p, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!peek(p, i))
            return false;
    return gather(p, PICKLE_TUPLE, p->depth - count, false);
}

static bool gather_marked(struct pickle *p, enum pickle_kind kind)
{
    size_t first = 0;
    return find_mark(p, &first) && gather(p, kind, first, true);
}

/* The items from `first` on are added to the list or dictionary below them; `marked`: below their mark. */
static bool extend(struct pickle *p, enum pickle_kind kind, size_t first, bool marked)
{
    size_t below = p->depth - first + marked;
    struct pickle_value *v = peek(p, below);
    if (!v)
        return false;
    if (v->kind == PICKLE_NONE) { /* of something that is not kept */
        p->depth = first - marked;
        return true;
    }
    if (v->kind != kind)
        return failed(p, kind == PICKLE_LIST ? "it appends to what is no list" : "it sets an item of what is no dictionary");
    if (kind == PICKLE_DICT && (p->depth - first) % 2)
        return failed(p, "a key without a value");
    if (!add_items(p, v, first))
        return false;
    p->depth = first - marked;
    return true;
}

static bool extend_marked(struct pickle *p, enum pickle_kind kind)
{
    size_t first = 0;
    return find_mark(p, &first) && extend(p, kind, first, true);
}

static bool extend_few(struct pickle *p, enum pickle_kind kind, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!peek(p, i))
            return false;
    return extend(p, kind, p->depth - count, false);
}

static bool push_text(struct pickle *p, enum pickle_kind kind, uint64_t bytes)
{
    const char *s = (const char *)bytes_take(&p->from, (size_t)bytes);
    return s ? push(p, (struct pickle_value){ .kind = kind, .text = { s, (size_t)bytes } })
             : failed(p, "it ends in the middle");
}

/* A whole number of `bytes` bytes, little-endian, two's complement. */
static bool push_long(struct pickle *p, uint64_t bytes)
{
    if (bytes > 8)
        return push_text(p, PICKLE_BIG, bytes);
    uint64_t v = bytes_u(&p->from, (size_t)bytes);
    if (bytes && bytes < 8 && v >> (8 * bytes - 1))
        v |= ~(uint64_t)0 << 8 * bytes;
    return push_number(p, PICKLE_INT, (int64_t)v);
}

static bool remember(struct pickle *p, size_t index)
{
    if (!peek(p, 0))
        return false;
    if (index >= PICKLE_MAX_OPS)
        return err_set(p->e, ERR_LIMIT, "%s: the pickle remembers value %zu, at most %zu are kept", p->where, index,
                       PICKLE_MAX_OPS);
    if (index >= p->memo_count) {
        uint32_t *grown = mem_grow(p->memo, &p->memo_cap, index + 1, sizeof *grown);
        if (!grown)
            return err_nomem(p->e, p->where);
        p->memo = grown;
        memset(grown + p->memo_count, 0xFF, (index + 1 - p->memo_count) * sizeof *grown);
        p->memo_count = index + 1;
    }
    p->memo[index] = p->stack[p->depth - 1];
    return true;
}

static bool recall(struct pickle *p, size_t index)
{
    if (index >= p->memo_count || p->memo[index] == UINT32_MAX)
        return failed(p, "it asks for a value that it never remembered");
    return push_index(p, p->memo[index]);
}

/* Items that one opcode copies count as opcodes of their own: else a short file could ask for endless memory. */
static bool count_items(struct pickle *p, size_t items)
{
    p->ops += items;
    return p->ops <= PICKLE_MAX_OPS ||
           err_set(p->e, ERR_LIMIT, "%s: a pickle of more than %zu opcodes", p->where, PICKLE_MAX_OPS);
}

/* ---- globals and their calls ---- */

static bool push_global(struct pickle *p, const char *module, size_t module_bytes, const char *name, size_t name_bytes)
{
    if (module_bytes == 10 && !memcmp(module, "torch.cuda", 10))
        module_bytes = 5; /* torch.cuda.FloatStorage: the same on the device */
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strlen(globals[i].module) == module_bytes && !memcmp(globals[i].module, module, module_bytes) &&
            strlen(globals[i].name) == name_bytes && !memcmp(globals[i].name, name, name_bytes))
            return push_number(p, PICKLE_GLOBAL, (int64_t)i);
    return err_set(p->e, ERR_FORMAT,
                   "%s: the pickle asks for the Python object \"%.*s.%.*s\", which is not one of those that tensors "
                   "need: refused (a file of weights must hold tensors, dictionaries, lists, numbers and strings only)",
                   p->where, (int)(module_bytes < 100 ? module_bytes : 100), module,
                   (int)(name_bytes < 100 ? name_bytes : 100), name);
}

/* The rest of the line, without its end. */
static const char *line(struct pickle *p, size_t *bytes)
{
    const unsigned char *end = p->from.left ? memchr(p->from.at, '\n', p->from.left) : NULL;
    if (!end) {
        failed(p, "it ends in the middle");
        return NULL;
    }
    *bytes = (size_t)(end - p->from.at);
    return (const char *)bytes_take(&p->from, *bytes + 1);
}

static bool global_of_lines(struct pickle *p)
{
    size_t module_bytes, name_bytes = 0;
    const char *module = line(p, &module_bytes), *name = module ? line(p, &name_bytes) : NULL;
    return name && push_global(p, module, module_bytes, name, name_bytes);
}

static bool global_of_stack(struct pickle *p)
{
    const struct pickle_value *name = peek(p, 0), *module = name ? peek(p, 1) : NULL;
    if (!module)
        return false;
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT)
        return failed(p, "the name of a global is no text");
    struct pickle_value m = *module, n = *name;
    p->depth -= 2;
    return push_global(p, m.text.s, m.text.bytes, n.text.s, n.text.bytes);
}

/* None where there is no such item, or v holds none. */
static const struct pickle_value *item(const struct pickle *p, const struct pickle_value *v, size_t i)
{
    bool holds = v->kind == PICKLE_TUPLE || v->kind == PICKLE_LIST || v->kind == PICKLE_DICT;
    return holds && i < v->items.count ? &p->values[v->items.at[i]] : &p->values[0];
}

static bool read_sizes(struct pickle *p, const struct pickle_value *list, int64_t *out, int *rank)
{
    if (list->kind != PICKLE_TUPLE && list->kind != PICKLE_LIST)
        return failed(p, "the sizes or strides of a tensor are no tuple");
    if (list->items.count > SHAPE_MAX_RANK)
        return err_set(p->e, ERR_LIMIT, "%s: a tensor of %zu dimensions, at most %d are read", p->where, list->items.count,
                       SHAPE_MAX_RANK);
    for (size_t i = 0; i < list->items.count; i++) {
        const struct pickle_value *v = item(p, list, i);
        if (v->kind != PICKLE_INT || v->number < 0)
            return failed(p, "a size or stride of a tensor is not a number from 0 on");
        out[i] = v->number;
    }
    *rank = (int)list->items.count;
    return true;
}

static bool call_tensor(struct pickle *p, const struct pickle_value *args, bool typed)
{
    const struct pickle_value *storage = item(p, args, 0), *offset = item(p, args, 1), *type = item(p, args, 6);
    if (args->items.count < 4 || storage->kind != PICKLE_STORAGE || offset->kind != PICKLE_INT || offset->number < 0)
        return failed(p, "a tensor is made of other things than a storage, an offset, sizes and strides");
    struct pickle_tensor t = { .storage = (size_t)storage->number, .offset = offset->number };
    const struct pickle_storage *s = &p->storages[t.storage];
    int strides;
    t.type = s->type;
    if (typed && (type->kind != PICKLE_GLOBAL || globals[type->number].meaning != MEANS_TYPE))
        return failed(p, "the type of a tensor is no torch.dtype");
    if (typed)
        t.type = globals[type->number].type;
    if (!read_sizes(p, item(p, args, 2), t.shape.dim, &t.shape.rank) || !read_sizes(p, item(p, args, 3), t.stride, &strides))
        return false;
    if (strides != t.shape.rank)
        return failed(p, "a tensor has more strides than sizes or fewer");
    if (t.type != s->type && !s->untyped)
        return failed(p, "a tensor has another type than its storage");
    struct pickle_tensor *grown = mem_grow(p->tensors, &p->tensor_cap, p->tensor_count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(p->e, p->where);
    p->tensors = grown;
    p->tensors[p->tensor_count++] = t;
    return push_number(p, PICKLE_TENSOR, (int64_t)p->tensor_count - 1);
}

static bool call_dict(struct pickle *p, const struct pickle_value *args)
{
    struct pickle_value dict = { .kind = PICKLE_DICT };
    const struct pickle_value *pairs = item(p, args, 0); /* Python 2 wrote OrderedDict([[key, value], ...]) */
    if (args->items.count > 1 || (args->items.count && pairs->kind != PICKLE_LIST))
        return failed(p, "an OrderedDict of other things than a list of pairs");
    if (args->items.count && !count_items(p, pairs->items.count))
        return false;
    for (size_t i = 0; args->items.count && i < pairs->items.count; i++) {
        const struct pickle_value *pair = item(p, pairs, i);
        if ((pair->kind != PICKLE_LIST && pair->kind != PICKLE_TUPLE) || pair->items.count != 2) {
            mem_free(dict.items.at);
            return failed(p, "an OrderedDict of other things than a list of pairs");
        }
        uint32_t *grown = mem_grow(dict.items.at, &dict.items.cap, dict.items.count + 2, sizeof *grown);
        if (!grown) {
            mem_free(dict.items.at);
            return err_nomem(p->e, p->where);
        }
        dict.items.at = grown;
        memcpy(grown + dict.items.count, pair->items.at, 2 * sizeof *grown);
        dict.items.count += 2;
    }
    if (push(p, dict))
        return true;
    mem_free(dict.items.at);
    return false;
}

/* callable, arguments -> result */
static bool call(struct pickle *p)
{
    const struct pickle_value *args = peek(p, 0), *f = args ? peek(p, 1) : NULL;
    if (!f)
        return false;
    if (args->kind != PICKLE_TUPLE)
        return failed(p, "the arguments of a call are no tuple");
    struct pickle_value kept = *args; /* its items stay where they are while values grows */
    if (f->kind != PICKLE_GLOBAL)
        return failed(p, "it calls what is no function");
    const struct global *g = &globals[f->number];
    p->depth -= 2;
    switch (g->meaning) {
    case MEANS_DICT: return call_dict(p, &kept);
    case MEANS_MODULE: return push(p, (struct pickle_value){ .kind = PICKLE_DICT, .module = true });
    case MEANS_TENSOR: return call_tensor(p, &kept, false);
    case MEANS_TYPED_TENSOR: return call_tensor(p, &kept, true);
    case MEANS_FIRST_ARGUMENT: return kept.items.count ? push_index(p, kept.items.at[0]) : failed(p, "a call without arguments");
    case MEANS_NOTHING: return push_index(p, 0);
    default: return err_set(p->e, ERR_FORMAT, "%s: the pickle calls %s.%s, which is refused", p->where, g->module, g->name);
    }
}

/* object, state -> object: only a module's state matters, the rest (an OrderedDict's "_metadata") is not kept. */
static bool build(struct pickle *p)
{
    const struct pickle_value *state = peek(p, 0);
    struct pickle_value *object = state ? peek(p, 1) : NULL;
    if (!object)
        return false;
    if (object->kind == PICKLE_GLOBAL)
        return failed(p, "it changes a class");
    if (object->kind == PICKLE_DICT && object->module) {
        const struct pickle_value *parameters = pickle_get(p, state, "_parameters");
        if (!parameters || parameters->kind != PICKLE_DICT || parameters == object)
            return failed(p, "a module without parameters");
        if (!count_items(p, parameters->items.count))
            return false;
        for (size_t i = 0; i < parameters->items.count; i++)
            if (!push_index(p, parameters->items.at[i]))
                return false;
        if (!add_items(p, object, p->depth - parameters->items.count))
            return false;
        p->depth -= parameters->items.count;
    }
    p->depth--;
    return true;
}

/* ("storage", class, key, device, count[, view]) -> storage */
static bool persistent(struct pickle *p)
{
    const struct pickle_value *id = peek(p, 0);
    if (!id)
        return false;
    const struct pickle_value *class = item(p, id, 1), *key = item(p, id, 2), *count = item(p, id, 4), *view = item(p, id, 5);
    if (id->kind != PICKLE_TUPLE || id->items.count < 5 || !pickle_is(item(p, id, 0), "storage") ||
        class->kind != PICKLE_GLOBAL || key->kind != PICKLE_TEXT || count->kind != PICKLE_INT || count->number < 0)
        return failed(p, "a persistent id is not (\"storage\", class, key, device, count)");
    const struct global *g = &globals[class->number];
    if (g->meaning != MEANS_STORAGE && g->meaning != MEANS_UNTYPED_STORAGE)
        return failed(p, "the class of a storage is none of torch's");
    struct pickle_storage s = { key->text.s, key->text.bytes, g->type, g->meaning == MEANS_UNTYPED_STORAGE,
                                count->number, 0, count->number };
    if (view->kind == PICKLE_TUPLE) {
        const struct pickle_value *at = item(p, view, 1), *size = item(p, view, 2);
        if (at->kind != PICKLE_INT || size->kind != PICKLE_INT || at->number < 0 || size->number < 0 ||
            at->number > s.count || size->number > s.count - at->number)
            return failed(p, "a view of a storage reaches beyond it");
        s.view_at = at->number;
        s.view_count = size->number;
    }
    struct pickle_storage *grown = mem_grow(p->storages, &p->storage_cap, p->storage_count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(p->e, p->where);
    p->storages = grown;
    p->storages[p->storage_count++] = s;
    p->depth--;
    return push_number(p, PICKLE_STORAGE, (int64_t)p->storage_count - 1);
}

static bool push_real(struct pickle *p)
{
    uint64_t bits = 0; /* big-endian, alone among pickle's numbers */
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | bytes_u8(&p->from);
    struct pickle_value v = { .kind = PICKLE_FLOAT };
    memcpy(&v.real, &bits, sizeof bits);
    return push(p, v);
}

static bool pop(struct pickle *p)
{
    if (!p->depth)
        return failed(p, "it takes from an empty stack");
    p->depth--;
    return true;
}

static bool pop_mark(struct pickle *p)
{
    size_t first = 0;
    if (!find_mark(p, &first))
        return false;
    p->depth = first - 1;
    return true;
}

static bool protocol(struct pickle *p)
{
    unsigned number = bytes_u8(&p->from);
    return number <= 5 || err_set(p->e, ERR_FORMAT, "%s: pickle protocol %u, at most 5 is read", p->where, number);
}

/* ---- the opcodes, with the names of pickletools; those without a function are refused by name ---- */

#define OP(name, expression) \
    static bool op_##name(struct pickle *p) { return expression; }

OP(proto, protocol(p))
OP(frame, ((void)bytes_u64(&p->from), true))
OP(mark, push_number(p, PICKLE_MARK, 0))
OP(pop, pop(p))
OP(pop_mark, pop_mark(p))
OP(none, push_index(p, 0))
OP(newtrue, push_number(p, PICKLE_BOOL, 1))
OP(newfalse, push_number(p, PICKLE_BOOL, 0))
OP(binint, push_number(p, PICKLE_INT, (int32_t)bytes_u32(&p->from)))
OP(binint1, push_number(p, PICKLE_INT, bytes_u8(&p->from)))
OP(binint2, push_number(p, PICKLE_INT, bytes_u16(&p->from)))
OP(long1, push_long(p, bytes_u8(&p->from)))
OP(long4, push_long(p, bytes_u32(&p->from)))
OP(binfloat, push_real(p))
OP(text1, push_text(p, PICKLE_TEXT, bytes_u8(&p->from)))
OP(text4, push_text(p, PICKLE_TEXT, bytes_u32(&p->from)))
OP(text8, push_text(p, PICKLE_TEXT, bytes_u64(&p->from)))
OP(empty_tuple, push(p, (struct pickle_value){ .kind = PICKLE_TUPLE }))
OP(tuple1, gather_count(p, 1))
OP(tuple2, gather_count(p, 2))
OP(tuple3, gather_count(p, 3))
OP(tuple, gather_marked(p, PICKLE_TUPLE))
OP(empty_list, push(p, (struct pickle_value){ .kind = PICKLE_LIST }))
OP(list, gather_marked(p, PICKLE_LIST))
OP(append, extend_few(p, PICKLE_LIST, 1))
OP(appends, extend_marked(p, PICKLE_LIST))
OP(empty_dict, push(p, (struct pickle_value){ .kind = PICKLE_DICT }))
OP(dict, gather_marked(p, PICKLE_DICT))
OP(setitem, extend_few(p, PICKLE_DICT, 2))
OP(setitems, extend_marked(p, PICKLE_DICT))
OP(binget, recall(p, bytes_u8(&p->from)))
OP(long_binget, recall(p, bytes_u32(&p->from)))
OP(binput, remember(p, bytes_u8(&p->from)))
OP(long_binput, remember(p, bytes_u32(&p->from)))
OP(memoize, remember(p, p->memo_count))
OP(global, global_of_lines(p))
OP(stack_global, global_of_stack(p))
OP(reduce, call(p))
OP(newobj, call(p))
OP(build, build(p))
OP(binpersid, persistent(p))

static const struct opcode {
    const char *name;
    bool (*run)(struct pickle *p);
} opcodes[256] = {
    [0x80] = { "PROTO", op_proto },       [0x95] = { "FRAME", op_frame },         ['('] = { "MARK", op_mark },
    ['0'] = { "POP", op_pop },            ['1'] = { "POP_MARK", op_pop_mark },    ['N'] = { "NONE", op_none },
    [0x88] = { "NEWTRUE", op_newtrue },   [0x89] = { "NEWFALSE", op_newfalse },   ['J'] = { "BININT", op_binint },
    ['K'] = { "BININT1", op_binint1 },    ['M'] = { "BININT2", op_binint2 },      [0x8a] = { "LONG1", op_long1 },
    [0x8b] = { "LONG4", op_long4 },       ['G'] = { "BINFLOAT", op_binfloat },    ['X'] = { "BINUNICODE", op_text4 },
    [0x8c] = { "SHORT_BINUNICODE", op_text1 }, [0x8d] = { "BINUNICODE8", op_text8 }, ['T'] = { "BINSTRING", op_text4 },
    ['U'] = { "SHORT_BINSTRING", op_text1 },   ['B'] = { "BINBYTES", op_text4 },  ['C'] = { "SHORT_BINBYTES", op_text1 },
    [0x8e] = { "BINBYTES8", op_text8 },   [')'] = { "EMPTY_TUPLE", op_empty_tuple }, ['t'] = { "TUPLE", op_tuple },
    [0x85] = { "TUPLE1", op_tuple1 },     [0x86] = { "TUPLE2", op_tuple2 },       [0x87] = { "TUPLE3", op_tuple3 },
    [']'] = { "EMPTY_LIST", op_empty_list }, ['l'] = { "LIST", op_list },         ['a'] = { "APPEND", op_append },
    ['e'] = { "APPENDS", op_appends },    ['}'] = { "EMPTY_DICT", op_empty_dict }, ['d'] = { "DICT", op_dict },
    ['s'] = { "SETITEM", op_setitem },    ['u'] = { "SETITEMS", op_setitems },    ['h'] = { "BINGET", op_binget },
    ['j'] = { "LONG_BINGET", op_long_binget }, ['q'] = { "BINPUT", op_binput },   ['r'] = { "LONG_BINPUT", op_long_binput },
    [0x94] = { "MEMOIZE", op_memoize },   ['c'] = { "GLOBAL", op_global },        [0x93] = { "STACK_GLOBAL", op_stack_global },
    ['R'] = { "REDUCE", op_reduce },      [0x81] = { "NEWOBJ", op_newobj },       ['b'] = { "BUILD", op_build },
    ['Q'] = { "BINPERSID", op_binpersid },
    ['I'] = { "INT", NULL },              ['L'] = { "LONG", NULL },               ['F'] = { "FLOAT", NULL },
    ['S'] = { "STRING", NULL },           ['V'] = { "UNICODE", NULL },            ['2'] = { "DUP", NULL },
    ['p'] = { "PUT", NULL },              ['g'] = { "GET", NULL },                ['i'] = { "INST", NULL },
    ['o'] = { "OBJ", NULL },              ['P'] = { "PERSID", NULL },             [0x82] = { "EXT1", NULL },
    [0x83] = { "EXT2", NULL },            [0x84] = { "EXT4", NULL },              [0x8f] = { "EMPTY_SET", NULL },
    [0x90] = { "ADDITEMS", NULL },        [0x91] = { "FROZENSET", NULL },         [0x92] = { "NEWOBJ_EX", NULL },
    [0x96] = { "BYTEARRAY8", NULL },      [0x97] = { "NEXT_BUFFER", NULL },       [0x98] = { "READONLY_BUFFER", NULL },
};

static bool run(struct pickle *p, uint32_t *result)
{
    for (;;) {
        unsigned code = bytes_u8(&p->from);
        if (p->from.short_by)
            return failed(p, "it ends in the middle");
        if (!count_items(p, 1))
            return false;
        if (code == '.') {
            if (!peek(p, 0))
                return false;
            *result = p->stack[p->depth - 1];
            return true;
        }
        const struct opcode *op = &opcodes[code];
        if (!op->name)
            return err_set(p->e, ERR_FORMAT, "%s: byte 0x%02x is no opcode of a pickle", p->where, code);
        if (!op->run)
            return err_set(p->e, ERR_FORMAT,
                           "%s: the pickle has the opcode %s, which files of weights do not need: refused", p->where, op->name);
        if (!op->run(p))
            return false;
    }
}

void pickle_init(struct pickle *p, const char *where)
{
    *p = (struct pickle){ .where = where };
}

void pickle_release(struct pickle *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->values[i].kind == PICKLE_TUPLE || p->values[i].kind == PICKLE_LIST || p->values[i].kind == PICKLE_DICT)
            mem_free(p->values[i].items.at);
    mem_free(p->values);
    mem_free(p->storages);
    mem_free(p->tensors);
    mem_free(p->stack);
    mem_free(p->memo);
    pickle_init(p, NULL);
}

bool pickle_read(struct pickle *p, struct bytes *from, uint32_t *result, struct err *e)
{
    p->from = *from;
    p->e = e;
    p->depth = p->memo_count = 0;
    if (!p->count) { /* value 0 */
        if (!push_number(p, PICKLE_NONE, 0))
            return false;
        p->depth = 0;
    }
    bool good = run(p, result);
    *from = p->from;
    return good;
}

bool pickle_is(const struct pickle_value *v, const char *text)
{
    return v->kind == PICKLE_TEXT && v->text.bytes == strlen(text) && !memcmp(v->text.s, text, v->text.bytes);
}

const struct pickle_value *pickle_get(const struct pickle *p, const struct pickle_value *dict, const char *key)
{
    if (dict->kind == PICKLE_DICT)
        for (size_t i = 0; i + 1 < dict->items.count; i += 2)
            if (pickle_is(&p->values[dict->items.at[i]], key))
                return &p->values[dict->items.at[i + 1]];
    return NULL;
}

const char *pickle_kind_name(enum pickle_kind kind)
{
    static const char *const names[] = {
        [PICKLE_NONE] = "None", [PICKLE_BOOL] = "a bool", [PICKLE_INT] = "a number", [PICKLE_BIG] = "a large number",
        [PICKLE_FLOAT] = "a number", [PICKLE_TEXT] = "a text", [PICKLE_TUPLE] = "a tuple", [PICKLE_LIST] = "a list",
        [PICKLE_DICT] = "a dictionary", [PICKLE_GLOBAL] = "a class", [PICKLE_STORAGE] = "a storage",
        [PICKLE_TENSOR] = "a tensor", [PICKLE_MARK] = "a mark",
    };
    return names[kind];
}
