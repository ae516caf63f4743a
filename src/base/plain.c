#include "base/plain.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

char *plain_line(char *out, size_t bytes, const char *from)
{
    size_t n = 0;
    for (const unsigned char *s = (const unsigned char *)from; s && *s && n + 1 < bytes; s++) {
        bool upper = s[0] == 0xC2 && s[1] >= 0x80 && s[1] < 0xA0; /* U+0080 to U+009F */
        out[n++] = upper || *s < 32 || *s == 127 ? ' ' : (char)*s;
        s += upper;
    }
    out[n] = 0;
    return out;
}

char *plain_utf8(char *out, size_t bytes, const char *from)
{
    size_t left = strlen(from), n = 0;
    while (left) {
        uint32_t rune;
        char part[5];
        size_t took = utf8_decode(from, left, &rune);
        bool bad = took == 1 && (unsigned char)*from >= 0x80;
        size_t length = bad ? (size_t)snprintf(part, sizeof part, "\\x%02x", (unsigned char)*from) : took;
        if (n + length >= bytes)
            break;
        memcpy(out + n, bad ? part : from, length);
        n += length;
        from += took;
        left -= took;
    }
    out[n] = 0;
    return out;
}
