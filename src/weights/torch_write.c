/* A zip whose files are stored as they are: <name>/data.pkl, a pickle that builds the dictionary, <name>/data/0, 1, ..., a tensor's
 * bytes each, <name>/version. Bytes of tensors begin at multiples of 64, as PyTorch's do. source  PyTorch's serialization notes;
 * PKWARE's APPNOTE 6.3. */
#include "weights/torch_write.h"

#include <stdio.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { LOCAL_BYTES = 30, CENTRAL_BYTES = 46, END_BYTES = 22, ALIGN = 64, FIELD_BYTES = 4, MOST_FILES = 65000 };

struct zip_entry {
    char name[300];
    uint32_t crc, bytes, at;
};

struct zip_out {
    struct file_write file;
    struct zip_entry *entries;
    size_t count;
    uint64_t at;
};

static void put_u16(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

static void put_u32(unsigned char *p, uint32_t v)
{
    put_u16(p, v & 0xFFFF);
    put_u16(p + 2, v >> 16);
}

static bool put(struct zip_out *z, const void *data, size_t bytes, struct err *e)
{
    z->at += bytes;
    if (z->at > UINT32_MAX)
        return err_set(e, ERR_LIMIT, "%s: more than 4 GB do not fit into such a file; write safetensors", z->file.path);
    return file_put(&z->file, data, bytes, e);
}

/* One file of the zip. The extra field of a local header fills up to the next multiple of 64. */
static bool put_file(struct zip_out *z, const char *folder, const char *name, const void *data, size_t bytes, struct err *e)
{
    unsigned char header[LOCAL_BYTES] = { 0 }, fill[ALIGN + FIELD_BYTES] = { 0 };
    struct zip_entry *f = &z->entries[z->count++];
    if (bytes > UINT32_MAX)
        return err_set(e, ERR_LIMIT, "%s: more than 4 GB do not fit into such a file; write safetensors", z->file.path);
    snprintf(f->name, sizeof f->name, "%.200s/%s", folder, name);
    f->at = (uint32_t)z->at;
    f->bytes = (uint32_t)bytes;
    f->crc = (uint32_t)crc32_z(0, data, bytes);
    size_t length = strlen(f->name), begin = z->at + LOCAL_BYTES + length + FIELD_BYTES, padding = (ALIGN - begin % ALIGN) % ALIGN;
    memcpy(header, "PK\3\4", 4);
    put_u16(header + 4, 20); /* the version that is needed to read it */
    put_u32(header + 14, f->crc);
    put_u32(header + 18, f->bytes);
    put_u32(header + 22, f->bytes);
    put_u16(header + 26, (uint32_t)length);
    put_u16(header + 28, (uint32_t)(FIELD_BYTES + padding));
    memcpy(fill, "FB", 2);
    put_u16(fill + 2, (uint32_t)padding);
    return put(z, header, sizeof header, e) && put(z, f->name, length, e) && put(z, fill, FIELD_BYTES + padding, e) &&
           put(z, data, bytes, e);
}

static bool put_directory(struct zip_out *z, struct err *e)
{
    uint64_t begin = z->at;
    for (size_t i = 0; i < z->count; i++) {
        const struct zip_entry *f = &z->entries[i];
        unsigned char header[CENTRAL_BYTES] = { 0 };
        size_t length = strlen(f->name);
        memcpy(header, "PK\1\2", 4);
        put_u16(header + 4, 20);
        put_u16(header + 6, 20);
        put_u32(header + 16, f->crc);
        put_u32(header + 20, f->bytes);
        put_u32(header + 24, f->bytes);
        put_u16(header + 28, (uint32_t)length);
        put_u32(header + 42, f->at);
        if (!put(z, header, sizeof header, e) || !put(z, f->name, length, e))
            return false;
    }
    unsigned char end[END_BYTES] = { 0 };
    memcpy(end, "PK\5\6", 4);
    put_u16(end + 8, (uint32_t)z->count);
    put_u16(end + 10, (uint32_t)z->count);
    put_u32(end + 12, (uint32_t)(z->at - begin));
    put_u32(end + 16, (uint32_t)begin);
    return put(z, end, sizeof end, e);
}

static void add_word(struct text *t, const char *word)
{
    unsigned char head[5] = { 'X' };
    put_u32(head + 1, (uint32_t)strlen(word));
    text_add_bytes(t, head, sizeof head);
    text_add(t, word);
}

static void add_number(struct text *t, int64_t v)
{
    unsigned char bytes[11] = { 'J' };
    if (v <= INT32_MAX) {
        put_u32(bytes + 1, (uint32_t)v);
        text_add_bytes(t, bytes, 5);
        return;
    }
    bytes[0] = 0x8a; /* LONG1 of 8 bytes */
    bytes[1] = 8;
    put_u32(bytes + 2, (uint32_t)v);
    put_u32(bytes + 6, (uint32_t)(v >> 32));
    text_add_bytes(t, bytes, 10);
}

static const char *storage_of(enum dtype type)
{
    return type == DTYPE_F32 ? "ctorch\nFloatStorage\n" : type == DTYPE_F16 ? "ctorch\nHalfStorage\n"
         : type == DTYPE_BF16 ? "ctorch\nBFloat16Storage\n" : NULL;
}

/* torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()), as torch.save pickles a tensor. */
static void add_tensor(struct text *t, const struct weights_entry *w, size_t number)
{
    char key[24];
    int64_t stride[SHAPE_MAX_RANK] = { 1 };
    snprintf(key, sizeof key, "%zu", number);
    add_word(t, w->name);
    text_add(t, "ctorch._utils\n_rebuild_tensor_v2\n((");
    add_word(t, "storage");
    text_add(t, storage_of(w->type));
    add_word(t, key);
    add_word(t, "cpu");
    add_number(t, shape_count(w->shape));
    text_add(t, "tQ");
    add_number(t, 0);
    text_add(t, "(");
    for (int i = 0; i < w->shape.rank; i++)
        add_number(t, w->shape.dim[i]);
    text_add(t, "t(");
    for (int i = w->shape.rank; i-- > 0;)
        stride[i] = i + 1 < w->shape.rank ? stride[i + 1] * w->shape.dim[i + 1] : 1;
    for (int i = 0; i < w->shape.rank; i++)
        add_number(t, stride[i]);
    text_add_bytes(t, "t\x89", 2);
    text_add(t, "ccollections\nOrderedDict\n)RtR");
}

static bool put_all(struct zip_out *z, const char *folder, const struct weights_entry *entries, const void *const *data, size_t count,
                    struct err *e)
{
    struct text t;
    text_init(&t, (size_t)256 << 20);
    text_add_bytes(&t, "\x80\x02}(", 4);
    for (size_t i = 0; i < count; i++)
        add_tensor(&t, &entries[i], i);
    text_add(&t, "u.");
    bool good = text_ok(&t, e) && put_file(z, folder, "data.pkl", t.s, t.length, e);
    text_release(&t);
    for (size_t i = 0; good && i < count; i++) {
        char name[40];
        snprintf(name, sizeof name, "data/%zu", i);
        good = put_file(z, folder, name, data[i], dtype_span(entries[i].type, shape_count(entries[i].shape)), e);
    }
    return good && put_file(z, folder, "version", "3\n", 2, e) && put_directory(z, e);
}

bool torch_save(const char *path, const struct weights_entry *entries, const void *const *data, size_t count, struct err *e)
{
    char folder[200];
    struct zip_out z = { .count = 0 };
    for (size_t i = 0; i < count; i++)
        if (!storage_of(entries[i].type))
            return err_set(e, ERR_TYPE, "%s: %s is %s; such a file has f32, f16 and bf16", path, entries[i].name,
                           dtype_name(entries[i].type));
    if (count > MOST_FILES)
        return err_set(e, ERR_LIMIT, "%s: %zu tensors; at most %d fit into such a file", path, count, MOST_FILES);
    snprintf(folder, sizeof folder, "%.190s", path_name(path)); /* PyTorch names it after the file */
    if (strrchr(folder, '.') > folder)
        *strrchr(folder, '.') = 0;
    z.entries = mem_zeroed(count + 2, sizeof *z.entries);
    if (!z.entries)
        return err_nomem(e, path);
    bool good = file_begin(&z.file, path, e);
    if (good) {
        good = put_all(&z, folder, entries, data, count, e);
        if (good)
            good = file_commit(&z.file, e);
        else
            file_abandon(&z.file);
    }
    mem_free(z.entries);
    return good;
}
