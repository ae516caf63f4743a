/* Walks a SentencePiece model (a protocol buffer, sentencepiece_model.proto) before the library reads it:
 *
 *   field 1  a piece, repeated: { 1: text, 2: score, 3: kind }
 *   field 3  normalizer, field 5 denormalizer: { 2: table of characters, ... }
 *
 * The table is a u32 of how many bytes follow of a double array (Yata et al. 2007, as darts-clone keeps it: units of 32
 * bits), then texts that end in 0. The library walks the units and the texts without looking where they end. */
#include "base/bytes.h"
#include "tokenizer/chatglm_tokenizer.h"
#include "tokenizer/sentencepiece_internal.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static bool varint(struct bytes *b, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t byte = bytes_u8(b);
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (b->short_by || byte < 0x80)
            return !b->short_by;
    }
    return false;
}

/* The next field: its number, and its bytes if it has any (NULL data for numbers). False at a malformed one. */
static bool next_field(struct bytes *b, uint64_t *number, struct bytes *inside)
{
    uint64_t key, length;
    *inside = (struct bytes){ 0 };
    if (!varint(b, &key))
        return false;
    *number = key >> 3;
    switch (key & 7) {
    case WIRE_VARINT: return varint(b, &length);
    case WIRE_64: return bytes_take(b, 8);
    case WIRE_32: return bytes_take(b, 4);
    case WIRE_BYTES:
        if (!varint(b, &length) || length > b->left)
            return false;
        inside->left = (size_t)length;
        inside->at = bytes_take(b, (size_t)length);
        return inside->at;
    default: return false; /* groups, which nobody writes any more */
    }
}

static uint32_t unit_at(const unsigned char *units, size_t i)
{
    return (uint32_t)bytes_u32(&(struct bytes){ units + 4 * i, 4, false });
}

/* From unit i the walk goes to i ^ offset ^ byte; a unit with the top bit holds a number and is never gone on from. */
static bool table_holds(struct bytes table)
{
    const uint32_t number = 0x80000000u;
    uint32_t size = bytes_u32(&table);
    const unsigned char *units = size % 4 ? NULL : bytes_take(&table, size);
    size_t count = size / 4;
    if (!units || !count || !table.left || table.at[table.left - 1])
        return false;
    for (size_t i = 0; i < count; i++) {
        uint32_t unit = unit_at(units, i);
        if (i && (unit & number))
            continue;
        size_t to = i ^ ((size_t)(unit >> 10 & 0x1FFFFF) << ((unit & 1u << 9) >> 6));
        if ((to | 0xFF) >= count)
            return false;
        if (unit & 1u << 8 && (unit_at(units, to) & ~number) >= table.left)
            return false;
    }
    return true;
}

static bool check_tables(struct bytes spec, const char *where, struct err *e)
{
    uint64_t field;
    struct bytes inside;
    while (spec.left) {
        if (!next_field(&spec, &field, &inside))
            return err_set(e, ERR_FORMAT, "%s: not a SentencePiece model (broken normalizer)", where);
        if (field == 2 && inside.left && !table_holds(inside))
            return err_set(e, ERR_FORMAT, "%s: the normalizer's table points outside itself", where);
    }
    return true;
}

bool sentencepiece_check(const void *model, size_t bytes, const char *where, struct err *e)
{
    struct bytes all = bytes_of(model, bytes), inside;
    uint64_t field;
    size_t pieces = 0;
    while (all.left) {
        if (!next_field(&all, &field, &inside))
            return err_set(e, ERR_FORMAT, "%s: not a SentencePiece model (broken at byte %zu)", where, bytes - all.left);
        pieces += field == 1;
        if ((field == 3 || field == 5) && !check_tables(inside, where, e))
            return false;
    }
    if (!pieces)
        return err_set(e, ERR_FORMAT, "%s: not a SentencePiece model (it has no pieces)", where);
    if (pieces > CHATGLM_VOCABULARY_MAX)
        return err_set(e, ERR_LIMIT, "%s: %zu pieces, at most %d are read", where, pieces, CHATGLM_VOCABULARY_MAX);
    return true;
}
