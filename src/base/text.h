/* Text that grows. Born with its largest size, so that no input can make it eat the machine (curl's dynbuf). */
#ifndef LIMN_BASE_TEXT_H
#define LIMN_BASE_TEXT_H

#include <stddef.h>

#include "base/err.h"

/* Invariants: s is NULL or ends in 0 at s[length]; length <= max_bytes. `failed` stays set once an addition did not
 * fit or memory ran out, so a caller may add many times and ask once (text_ok). */
struct text {
    char *s;
    size_t length, cap, max_bytes;
    bool failed;
};

void text_init(struct text *t, size_t max_bytes);
void text_release(struct text *t);
void text_clear(struct text *t); /* keeps the memory */
void text_add(struct text *t, const char *s);
void text_add_bytes(struct text *t, const void *bytes, size_t count);
void text_addf(struct text *t, const char *format, ...) PRINTF_LIKE(2, 3);
MUST_USE bool text_ok(const struct text *t, struct err *e);
/* The string, "" if nothing was added. Borrowed until the next change. */
const char *text_string(const struct text *t);

/* True if a and b are equal when '-' and '_' count as the same character: flags and names are read so. */
bool text_same_name(const char *a, const char *b);

/* Decodes one UTF-8 character at s (bytes long, > 0) into *rune. Returns how many bytes it took; an invalid byte
 * takes 1 and gives 0xFFFD. Overlong forms, surrogates and values beyond 0x10FFFF are invalid. */
size_t utf8_decode(const char *s, size_t bytes, uint32_t *rune);
/* Writes rune as UTF-8 to out[4]; returns the number of bytes. */
size_t utf8_encode(uint32_t rune, char *out);
bool utf8_valid(const char *s, size_t bytes);

#endif
