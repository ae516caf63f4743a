/* The list of what is in a zip file, for files that are mapped: entries are pointed at; what is packed can be unpacked.
 *
 * source  PKWARE APPNOTE 6.3.10: end of central directory (4.3.16), its 64-bit form (4.3.14, 4.3.15), central headers
 *         (4.3.12), local headers (4.3.7).
 * bounds  ZIP_MAX_ENTRIES; every offset and size is checked against the file before a pointer is made of it. */
#ifndef LIMN_BASE_ZIP_H
#define LIMN_BASE_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ZIP_MAX_ENTRIES ((size_t)1000000)

struct zip_entry {
    const char *name; /* not ended by 0; borrowed from the file */
    size_t name_bytes;
    const unsigned char *data; /* borrowed; as stored */
    size_t bytes;
    bool plain; /* stored: neither compressed nor encrypted */
    uint64_t unpacked_bytes; /* as the directory says */
    uint32_t crc;            /* the same; checked by zip_unpack only */
    uint16_t method, flags;
};

struct zip {
    struct zip_entry *entries; /* sorted by name */
    size_t count;
};

/* errors  ERR_FORMAT, ERR_LIMIT, ERR_NOMEM; `where` begins them. */
MUST_USE bool zip_init(struct zip *z, const unsigned char *data, size_t bytes, const char *where, struct err *e);
void zip_release(struct zip *z);
/* The entry whose name is a followed by b, or NULL. */
const struct zip_entry *zip_find(const struct zip *z, const char *a, size_t a_bytes, const char *b, size_t b_bytes);

/* The entry's bytes, unpacked where they are deflated (RFC 1951, zlib) and checked against size and CRC-32, with a 0 behind
 * them; freed with mem_free.
 * errors  ERR_LIMIT (more than max_bytes: told before anything is unpacked), ERR_FORMAT (broken), ERR_TYPE (encrypted, or packed in
 *         another way), ERR_NOMEM. The text names the entry. */
MUST_USE bool zip_unpack(const struct zip_entry *entry, size_t max_bytes, char **out, size_t *bytes, struct err *e);

#endif
