#include "image/png_text_internal.h"

#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { SIGNATURE = 8, HEADER_CHUNK = 25, CHUNK_FRAME = 12, KEY_MAX = 79 };
static const uint8_t signature[SIGNATURE] = { 137, 'P', 'N', 'G', '\r', '\n', 26, '\n' };

/* CRC-32 of the PNG specification's annex D, bit by bit: texts are short. */
static uint32_t crc(const uint8_t *p, size_t bytes)
{
    uint32_t c = 0xFFFFFFFF;
    for (size_t i = 0; i < bytes; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xEDB88320 ^ c >> 1 : c >> 1;
    }
    return ~c;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool ascii(const char *s)
{
    for (; *s; s++)
        if (*s & 0x80)
            return false;
    return true;
}

static bool key_good(const char *key)
{
    size_t n = strlen(key);
    if (n < 1 || n > KEY_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (key[i] < 32 || key[i] > 126)
            return false;
    return true;
}

/* Bytes of a text's chunk: tEXt is key, 0, value; iTXt is key, 0, compressed 0, method 0, language "", 0,
 * translated key "", 0, value. */
static size_t chunk_bytes(const struct image_text *t)
{
    return CHUNK_FRAME + strlen(t->key) + (ascii(t->value) ? 1 : 5) + strlen(t->value);
}

static uint8_t *put_chunk(uint8_t *p, const struct image_text *t)
{
    size_t whole = chunk_bytes(t), key = strlen(t->key), value = strlen(t->value);
    put_u32(p, (uint32_t)(whole - CHUNK_FRAME));
    memcpy(p + 4, ascii(t->value) ? "tEXt" : "iTXt", 4);
    memcpy(p + 8, t->key, key);
    memset(p + 8 + key, 0, whole - CHUNK_FRAME - key - value);
    memcpy(p + whole - 4 - value, t->value, value);
    put_u32(p + whole - 4, crc(p + 4, whole - 8));
    return p + whole;
}

bool png_text_insert(const uint8_t *png, size_t bytes, const struct image_text *texts, size_t count,
                     uint8_t **out, size_t *out_bytes, struct err *e)
{
    size_t more = 0;
    for (size_t i = 0; i < count; i++) {
        if (!key_good(texts[i].key))
            return err_set(e, ERR_ARG,
                           "the key of a PNG text must be 1 to 79 printable ASCII characters: %.100s",
                           texts[i].key);
        if (!utf8_valid(texts[i].value, strlen(texts[i].value)))
            return err_set(e, ERR_ARG, "the PNG text %s is not valid UTF-8", texts[i].key);
        more += chunk_bytes(&texts[i]);
        if (more > PNG_TEXT_MAX_BYTES)
            return err_set(e, ERR_LIMIT, "the PNG text %s: all texts together may have %zu bytes",
                           texts[i].key, PNG_TEXT_MAX_BYTES);
    }
    if (bytes < SIGNATURE + HEADER_CHUNK || memcmp(png, signature, SIGNATURE) != 0)
        return err_set(e, ERR_BACKEND, "the PNG encoder gave no PNG");
    uint8_t *p = mem_aligned(bytes + more);
    if (!p)
        return err_nomem(e, "a PNG");
    memcpy(p, png, SIGNATURE + HEADER_CHUNK);
    uint8_t *end = p + SIGNATURE + HEADER_CHUNK;
    for (size_t i = 0; i < count; i++)
        end = put_chunk(end, &texts[i]);
    memcpy(end, png + SIGNATURE + HEADER_CHUNK, bytes - SIGNATURE - HEADER_CHUNK);
    *out = p;
    *out_bytes = bytes + more;
    return true;
}

/* Latin-1 bytes (a tEXt value) as UTF-8. */
static char *from_latin1(const uint8_t *p, size_t bytes, struct err *e)
{
    char *s = mem_zeroed(2 * bytes + 1, 1), *at = s;
    for (size_t i = 0; s && i < bytes; i++)
        at += utf8_encode(p[i], at);
    if (!s)
        err_nomem(e, "a PNG text");
    return s;
}

/* An iTXt value behind the key's 0: flag, method, language, translated key, text. */
static char *from_international(const uint8_t *p, size_t bytes, const char *where, const char *key,
                                struct err *e)
{
    struct bytes b = bytes_of(p, bytes);
    bool compressed = bytes_u8(&b) != 0;
    bytes_u8(&b);
    for (int skip = 0; skip < 2; skip++) {
        const uint8_t *zero = b.left ? memchr(b.at, 0, b.left) : NULL;
        if (!zero) {
            err_set(e, ERR_FORMAT, "%s: the text %s is cut off", where, key);
            return NULL;
        }
        bytes_take(&b, (size_t)(zero - b.at) + 1);
    }
    if (compressed) {
        err_set(e, ERR_TYPE, "%s: the text %s is compressed; only plain ones are read", where, key);
        return NULL;
    }
    if (!utf8_valid((const char *)b.at, b.left) || memchr(b.at, 0, b.left)) {
        err_set(e, ERR_FORMAT, "%s: the text %s is not valid UTF-8", where, key);
        return NULL;
    }
    char *s = mem_zeroed(b.left + 1, 1);
    if (!s)
        err_nomem(e, "a PNG text");
    else
        memcpy(s, b.at, b.left);
    return s;
}

char *image_png_text_in(const void *data, size_t bytes, const char *where, const char *key, struct err *e)
{
    struct bytes b = bytes_of(data, bytes);
    const uint8_t *head = bytes_take(&b, SIGNATURE);
    if (!head || memcmp(head, signature, SIGNATURE) != 0) {
        err_set(e, ERR_FORMAT, "%s: not a PNG file", where);
        return NULL;
    }
    size_t key_bytes = strlen(key);
    while (b.left) {
        const uint8_t *frame = bytes_take(&b, 8);
        size_t length = frame ? get_u32(frame) : 0;
        const uint8_t *body = frame ? bytes_take(&b, length) : NULL;
        const uint8_t *sum = bytes_take(&b, 4);
        if (!frame || !body || !sum) {
            err_set(e, ERR_FORMAT, "%s: the PNG file is cut off", where);
            return NULL;
        }
        if (memcmp(frame + 4, "IEND", 4) == 0)
            break;
        bool plain = memcmp(frame + 4, "tEXt", 4) == 0, packed = memcmp(frame + 4, "zTXt", 4) == 0;
        bool international = memcmp(frame + 4, "iTXt", 4) == 0;
        if (!(plain || packed || international) || length <= key_bytes || memcmp(body, key, key_bytes) != 0 ||
            body[key_bytes] != 0)
            continue;
        const uint8_t *value = body + key_bytes + 1;
        size_t value_bytes = length - key_bytes - 1;
        if (length > PNG_TEXT_MAX_BYTES)
            err_set(e, ERR_LIMIT, "%s: the text %s has more than %zu bytes", where, key, PNG_TEXT_MAX_BYTES);
        else if (crc(frame + 4, length + 4) != get_u32(sum))
            err_set(e, ERR_FORMAT, "%s: the text %s is damaged (its check sum is wrong)", where, key);
        else if (packed)
            err_set(e, ERR_TYPE, "%s: the text %s is compressed; only plain ones are read", where, key);
        else if (plain && memchr(value, 0, value_bytes))
            err_set(e, ERR_FORMAT, "%s: the text %s has a zero byte", where, key);
        else
            return plain ? from_latin1(value, value_bytes, e)
                         : from_international(value, value_bytes, where, key, e);
        return NULL;
    }
    err_set(e, ERR_MISSING, "%s: no text %s in the PNG file", where, key);
    return NULL;
}

char *image_png_text(const char *path, const char *key, struct err *e)
{
    char *data;
    size_t bytes;
    if (!file_read(path, IMAGE_FILE_MAX_BYTES, &data, &bytes, e))
        return NULL;
    char *s = image_png_text_in(data, bytes, path, key, e);
    mem_free(data);
    return s;
}
