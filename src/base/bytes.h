/* Bounded reading of little-endian bytes from outside. A read past the end sets `short_by` and gives zeros, so a parser
 * may read a whole header and ask once. */
#ifndef LIMN_BASE_BYTES_H
#define LIMN_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct bytes {
    const unsigned char *at;
    size_t left;
    bool short_by; /* something was read that is not there */
};

static inline struct bytes bytes_of(const void *data, size_t count)
{
    return (struct bytes){ data, count, false };
}

/* The next `count` bytes, borrowed, or NULL if they are not there. */
static inline const unsigned char *bytes_take(struct bytes *b, size_t count)
{
    if (count > b->left) {
        b->short_by = true;
        return NULL;
    }
    const unsigned char *p = b->at;
    b->at += count;
    b->left -= count;
    return p;
}

static inline uint64_t bytes_u(struct bytes *b, size_t count)
{
    const unsigned char *p = bytes_take(b, count);
    uint64_t v = 0;
    for (size_t i = 0; p && i < count; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static inline uint8_t bytes_u8(struct bytes *b) { return (uint8_t)bytes_u(b, 1); }
static inline uint16_t bytes_u16(struct bytes *b) { return (uint16_t)bytes_u(b, 2); }
static inline uint32_t bytes_u32(struct bytes *b) { return (uint32_t)bytes_u(b, 4); }
static inline uint64_t bytes_u64(struct bytes *b) { return bytes_u(b, 8); }

#endif
