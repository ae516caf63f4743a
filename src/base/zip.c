#include "base/zip.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/mem.h"

enum { END_BYTES = 22, LOCATOR_BYTES = 20, END64_BYTES = 56, CENTRAL_BYTES = 46, LOCAL_BYTES = 30 };
#define END_MARK 0x06054b50u
#define LOCATOR_MARK 0x07064b50u
#define END64_MARK 0x06064b50u
#define CENTRAL_MARK 0x02014b50u
#define LOCAL_MARK 0x04034b50u

/* Where the central directory is. */
struct directory {
    uint64_t entries, bytes, at;
};

static uint32_t mark_at(const unsigned char *p)
{
    struct bytes b = bytes_of(p, 4);
    return bytes_u32(&b);
}

/* The end record is searched backwards: a comment of at most 65535 bytes may follow it. */
static bool find_end(const unsigned char *data, size_t bytes, size_t *at)
{
    if (bytes < END_BYTES)
        return false;
    for (size_t i = bytes - END_BYTES;; i--) {
        if (mark_at(data + i) == END_MARK && (size_t)(data[i + 20] | data[i + 21] << 8) == bytes - END_BYTES - i) {
            *at = i;
            return true;
        }
        if (!i || bytes - i > END_BYTES + 65535)
            return false;
    }
}

static bool find_directory(struct directory *d, const unsigned char *data, size_t bytes, const char *where, struct err *e)
{
    size_t end;
    if (!find_end(data, bytes, &end))
        return err_set(e, ERR_FORMAT, "%s: a zip file without its directory: is it cut off?", where);
    struct bytes b = bytes_of(data + end + 8, END_BYTES - 8);
    (void)bytes_u16(&b);
    d->entries = bytes_u16(&b);
    d->bytes = bytes_u32(&b);
    d->at = bytes_u32(&b);
    if (end >= LOCATOR_BYTES && mark_at(data + end - LOCATOR_BYTES) == LOCATOR_MARK) {
        b = bytes_of(data + end - LOCATOR_BYTES + 8, 8);
        uint64_t at = bytes_u64(&b);
        if (at > bytes || bytes - at < END64_BYTES || mark_at(data + at) != END64_MARK)
            return err_set(e, ERR_FORMAT, "%s: the zip file's 64-bit directory is not where it should be", where);
        b = bytes_of(data + at + 32, 24);
        d->entries = bytes_u64(&b);
        d->bytes = bytes_u64(&b);
        d->at = bytes_u64(&b);
    }
    if (d->at > bytes || d->bytes > bytes - d->at || d->entries > d->bytes / CENTRAL_BYTES)
        return err_set(e, ERR_FORMAT, "%s: the zip file's directory reaches beyond the file: is it cut off?", where);
    if (d->entries > ZIP_MAX_ENTRIES)
        return err_set(e, ERR_LIMIT, "%s: a zip file of %llu entries, at most %zu are read", where,
                       (unsigned long long)d->entries, ZIP_MAX_ENTRIES);
    return true;
}

/* Replaces sizes and offset that did not fit 32 bits by those of the 64-bit field. */
static void read_extra(struct bytes extra, uint64_t *size, uint64_t *packed, uint64_t *at)
{
    while (extra.left >= 4) {
        unsigned id = bytes_u16(&extra);
        size_t bytes = bytes_u16(&extra);
        const unsigned char *p = bytes_take(&extra, bytes);
        if (!p)
            return;
        if (id != 1)
            continue;
        struct bytes b = bytes_of(p, bytes);
        uint64_t *const fields[] = { size, packed, at };
        for (int i = 0; i < 3; i++)
            if (*fields[i] == UINT32_MAX)
                *fields[i] = bytes_u64(&b);
        return;
    }
}

static bool read_entry(struct zip_entry *z, struct bytes *b, const unsigned char *data, size_t bytes, const char *where,
                       struct err *e)
{
    const unsigned char *p = bytes_take(b, CENTRAL_BYTES);
    if (!p || mark_at(p) != CENTRAL_MARK)
        return err_set(e, ERR_FORMAT, "%s: the zip file's directory is broken", where);
    struct bytes h = bytes_of(p + 8, CENTRAL_BYTES - 8);
    unsigned flags = bytes_u16(&h), method = bytes_u16(&h);
    (void)bytes_take(&h, 4); /* time and date */
    uint32_t crc = bytes_u32(&h); /* not checked here: no page of a tensor is touched for it */
    uint64_t packed = bytes_u32(&h), size = bytes_u32(&h);
    size_t name_bytes = bytes_u16(&h), extra_bytes = bytes_u16(&h), comment_bytes = bytes_u16(&h);
    (void)bytes_take(&h, 8);
    uint64_t at = bytes_u32(&h);
    const unsigned char *name = bytes_take(b, name_bytes), *extra = bytes_take(b, extra_bytes);
    (void)bytes_take(b, comment_bytes);
    if (b->short_by)
        return err_set(e, ERR_FORMAT, "%s: the zip file's directory is broken", where);
    read_extra(bytes_of(extra, extra_bytes), &size, &packed, &at);
    if (at > bytes || bytes - at < LOCAL_BYTES || mark_at(data + at) != LOCAL_MARK)
        return err_set(e, ERR_FORMAT, "%s: the zip entry \"%.*s\" is not where the directory says", where,
                       (int)(name_bytes < 200 ? name_bytes : 200), (const char *)name);
    h = bytes_of(data + at + 26, 4);
    uint64_t begin = at + LOCAL_BYTES;
    begin += bytes_u16(&h);
    begin += bytes_u16(&h);
    if (begin > bytes || packed > bytes - begin)
        return err_set(e, ERR_FORMAT, "%s: the zip entry \"%.*s\" reaches beyond the file: is it cut off?", where,
                       (int)(name_bytes < 200 ? name_bytes : 200), (const char *)name);
    *z = (struct zip_entry){ (const char *)name, name_bytes, data + begin, (size_t)packed,
                             method == 0 && (flags & 1) == 0 && packed == size, size, crc, (uint16_t)method, (uint16_t)flags };
    return true;
}

static int compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    int c = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return c ? c : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int by_name(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;
    return compare(x->name, x->name_bytes, y->name, y->name_bytes);
}

bool zip_init(struct zip *z, const unsigned char *data, size_t bytes, const char *where, struct err *e)
{
    struct directory d = { 0 };
    *z = (struct zip){ 0 };
    if (!find_directory(&d, data, bytes, where, e))
        return false;
    if (!(z->entries = mem_zeroed((size_t)d.entries, sizeof *z->entries)))
        return err_nomem(e, where);
    struct bytes b = bytes_of(data + d.at, (size_t)d.bytes);
    for (; z->count < d.entries; z->count++)
        if (!read_entry(&z->entries[z->count], &b, data, bytes, where, e)) {
            zip_release(z);
            return false;
        }
    if (z->count)
        qsort(z->entries, z->count, sizeof *z->entries, by_name);
    return true;
}

void zip_release(struct zip *z)
{
    mem_free(z->entries);
    *z = (struct zip){ 0 };
}

const struct zip_entry *zip_find(const struct zip *z, const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    size_t low = 0, high = z->count;
    while (low < high) {
        size_t i = low + (high - low) / 2;
        const struct zip_entry *x = &z->entries[i];
        size_t common = x->name_bytes < a_bytes ? x->name_bytes : a_bytes;
        int c = compare(x->name, common, a, a_bytes);
        if (!c)
            c = compare(x->name + common, x->name_bytes - common, b, b_bytes);
        if (!c)
            return x;
        if (c < 0)
            low = i + 1;
        else
            high = i;
    }
    return NULL;
}

static bool inflate_entry(const struct zip_entry *z, unsigned char *out, size_t size)
{
    z_stream s = { 0 };
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK)
        return false;
    size_t in = z->bytes, room = size;
    int code = Z_OK;
    s.next_in = (unsigned char *)(uintptr_t)z->data;
    s.next_out = out;
    while (code == Z_OK) { /* zlib counts in 32 bits */
        uInt in_step = in > UINT_MAX ? UINT_MAX : (uInt)in, out_step = room > UINT_MAX ? UINT_MAX : (uInt)room;
        s.avail_in = in_step;
        s.avail_out = out_step;
        code = inflate(&s, Z_NO_FLUSH);
        in -= in_step - s.avail_in;
        room -= out_step - s.avail_out;
        if (code == Z_OK && s.avail_in == in_step && s.avail_out == out_step)
            break; /* nothing moves any more: it is cut off, or longer than it says */
    }
    inflateEnd(&s);
    return code == Z_STREAM_END && room == 0;
}

bool zip_unpack(const struct zip_entry *z, size_t max_bytes, char **out, size_t *bytes, struct err *e)
{
    enum { STORED = 0, DEFLATED = 8, ENCRYPTED = 1 };
    int name_bytes = (int)(z->name_bytes < 200 ? z->name_bytes : 200);
    const char *name = z->name;
    if (z->flags & ENCRYPTED || (z->method != STORED && z->method != DEFLATED))
        return err_set(e, ERR_TYPE, "the zip entry \"%.*s\" is %s", name_bytes, name,
                       z->flags & ENCRYPTED ? "encrypted" : "packed in a way that is not read here (only deflate is)");
    if (z->unpacked_bytes > max_bytes)
        return err_set(e, ERR_LIMIT, "the zip entry \"%.*s\" has %llu bytes, at most %zu are read", name_bytes, name,
                       (unsigned long long)z->unpacked_bytes, max_bytes);
    size_t size = (size_t)z->unpacked_bytes;
    char *data = mem_zeroed(size + 1, 1);
    if (!data)
        return err_nomem(e, "a zip entry");
    bool good = z->method == STORED ? z->bytes == size : inflate_entry(z, (unsigned char *)data, size);
    if (good && z->method == STORED)
        memcpy(data, z->data, size);
    if (!good || crc32_z(0, (unsigned char *)data, size) != z->crc) {
        mem_free(data);
        return err_set(e, ERR_FORMAT, "the zip entry \"%.*s\" is broken", name_bytes, name);
    }
    *out = data;
    *bytes = size;
    return true;
}
