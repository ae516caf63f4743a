#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void text_init(struct text *t, size_t max_bytes)
{
    *t = (struct text){ .max_bytes = max_bytes };
}

void text_release(struct text *t)
{
    mem_free(t->s);
    *t = (struct text){ .max_bytes = t->max_bytes };
}

void text_clear(struct text *t)
{
    t->length = 0;
    t->failed = false;
    if (t->s)
        t->s[0] = 0;
}

static bool room_for(struct text *t, size_t more)
{
    if (t->failed || more > t->max_bytes - t->length) {
        t->failed = true;
        return false;
    }
    char *grown = mem_grow(t->s, &t->cap, t->length + more + 1, 1);
    if (!grown) {
        t->failed = true;
        return false;
    }
    t->s = grown;
    return true;
}

void text_add_bytes(struct text *t, const void *bytes, size_t count)
{
    if (!room_for(t, count))
        return;
    memcpy(t->s + t->length, bytes, count);
    t->length += count;
    t->s[t->length] = 0;
}

void text_add(struct text *t, const char *s)
{
    text_add_bytes(t, s, strlen(s));
}

void text_addf(struct text *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need >= 0 && room_for(t, (size_t)need)) {
        vsnprintf(t->s + t->length, (size_t)need + 1, format, again);
        t->length += (size_t)need;
    }
    va_end(again);
}

bool text_ok(const struct text *t, struct err *e)
{
    return !t->failed || err_set(e, ERR_LIMIT, "a text of more than %zu bytes, or out of memory", t->max_bytes);
}

const char *text_string(const struct text *t)
{
    return t->s ? t->s : "";
}

bool text_same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        char x = *a == '_' ? '-' : *a, y = *b == '_' ? '-' : *b;
        if (x != y)
            return false;
        if (!x)
            return true;
    }
}

size_t utf8_decode(const char *s, size_t bytes, uint32_t *rune)
{
    const unsigned char *u = (const unsigned char *)s;
    static const struct { unsigned char mask, lead; uint32_t least; } forms[] = {
        { 0x80, 0x00, 0 }, { 0xE0, 0xC0, 0x80 }, { 0xF0, 0xE0, 0x800 }, { 0xF8, 0xF0, 0x10000 },
    };
    for (size_t n = 1; n <= 4; n++) {
        if ((u[0] & forms[n - 1].mask) != forms[n - 1].lead)
            continue;
        if (n > bytes)
            break;
        uint32_t r = u[0] & (unsigned char)~forms[n - 1].mask;
        size_t i = 1;
        while (i < n && (u[i] & 0xC0) == 0x80)
            r = r << 6 | (u[i++] & 0x3F);
        if (i < n || r < forms[n - 1].least || r > 0x10FFFF || (r >= 0xD800 && r < 0xE000))
            break;
        *rune = r;
        return n;
    }
    *rune = 0xFFFD;
    return 1;
}

size_t utf8_encode(uint32_t rune, char *out)
{
    if (rune < 0x80) {
        out[0] = (char)rune;
        return 1;
    }
    if (rune < 0x800) {
        out[0] = (char)(0xC0 | rune >> 6);
        out[1] = (char)(0x80 | (rune & 0x3F));
        return 2;
    }
    if (rune < 0x10000) {
        out[0] = (char)(0xE0 | rune >> 12);
        out[1] = (char)(0x80 | (rune >> 6 & 0x3F));
        out[2] = (char)(0x80 | (rune & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | rune >> 18);
    out[1] = (char)(0x80 | (rune >> 12 & 0x3F));
    out[2] = (char)(0x80 | (rune >> 6 & 0x3F));
    out[3] = (char)(0x80 | (rune & 0x3F));
    return 4;
}

bool utf8_valid(const char *s, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        uint32_t rune;
        size_t n = utf8_decode(s + i, bytes - i, &rune);
        if (n == 1 && rune == 0xFFFD)
            return false;
        i += n;
    }
    return true;
}
