/* Text -> normalised text -> words, and CLIP's letters for bytes. Unicode's tables are GLib's. */
#include <glib.h>
#include <string.h>

#include "tokenizer/clip_internal.h"

enum kind { KIND_LETTER, KIND_NUMBER, KIND_SPACE, KIND_OTHER };

/* Letters and digits of Unicode 15.1 to 17 that GLib 2.74 has as unassigned and the judge's tables know. */
static const struct {
    uint32_t from, to;
    enum kind kind;
} young[] = {
    { 0x1C89, 0x1C8A, KIND_LETTER },   { 0xA7CB, 0xA7CD, KIND_LETTER },   { 0xA7DA, 0xA7DC, KIND_LETTER },
    { 0x105C0, 0x105F3, KIND_LETTER }, { 0x10D40, 0x10D49, KIND_NUMBER }, { 0x10D4A, 0x10D65, KIND_LETTER },
    { 0x10D6F, 0x10D85, KIND_LETTER }, { 0x10EC2, 0x10EC4, KIND_LETTER }, { 0x11380, 0x11389, KIND_LETTER },
    { 0x1138B, 0x1138B, KIND_LETTER }, { 0x1138E, 0x1138E, KIND_LETTER }, { 0x11390, 0x113B5, KIND_LETTER },
    { 0x113B7, 0x113B7, KIND_LETTER }, { 0x113D1, 0x113D1, KIND_LETTER }, { 0x113D3, 0x113D3, KIND_LETTER },
    { 0x116D0, 0x116E3, KIND_NUMBER }, { 0x11BC0, 0x11BE0, KIND_LETTER }, { 0x11BF0, 0x11BF9, KIND_NUMBER },
    { 0x13460, 0x143FA, KIND_LETTER }, { 0x16100, 0x1611D, KIND_LETTER }, { 0x16130, 0x16139, KIND_NUMBER },
    { 0x16D40, 0x16D6C, KIND_LETTER }, { 0x16D70, 0x16D79, KIND_NUMBER }, { 0x18CFF, 0x18CFF, KIND_LETTER },
    { 0x1CCF0, 0x1CCF9, KIND_NUMBER }, { 0x1E5D0, 0x1E5ED, KIND_LETTER }, { 0x1E5F0, 0x1E5F0, KIND_LETTER },
    { 0x1E5F1, 0x1E5FA, KIND_NUMBER }, { 0x2EBF0, 0x2EE5D, KIND_LETTER },
};

static enum kind kind_of(uint32_t rune)
{
    if ((rune >= 9 && rune <= 13) || rune == 0x85)
        return KIND_SPACE;
    switch (g_unichar_type(rune)) {
    case G_UNICODE_LOWERCASE_LETTER:
    case G_UNICODE_UPPERCASE_LETTER:
    case G_UNICODE_TITLECASE_LETTER:
    case G_UNICODE_MODIFIER_LETTER:
    case G_UNICODE_OTHER_LETTER:
        return KIND_LETTER;
    case G_UNICODE_DECIMAL_NUMBER:
    case G_UNICODE_LETTER_NUMBER:
    case G_UNICODE_OTHER_NUMBER:
        return KIND_NUMBER;
    case G_UNICODE_SPACE_SEPARATOR:
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
        return KIND_SPACE;
    case G_UNICODE_UNASSIGNED:
        for (size_t i = 0; i < sizeof young / sizeof *young; i++)
            if (rune >= young[i].from && rune <= young[i].to)
                return young[i].kind;
        return KIND_OTHER;
    default:
        return KIND_OTHER;
    }
}

/* The lower case of one character. Roman numerals and circled letters are no letters to GLib, though they have one; the rest
 * is younger than its tables. */
static uint32_t lower(uint32_t rune)
{
    if (rune >= 0x2160 && rune <= 0x216F)
        return rune + 0x10;
    if (rune >= 0x24B6 && rune <= 0x24CF)
        return rune + 0x1A;
    switch (rune) {
    case 0x1C89: case 0xA7CC: case 0xA7CE: case 0xA7D2: case 0xA7D4: case 0xA7DA: return rune + 1;
    case 0xA7CB: return 0x264;
    case 0xA7DC: return 0x19B;
    default: break;
    }
    if (rune >= 0x10D50 && rune <= 0x10D65)
        return rune + 0x20;
    if (rune >= 0x16EA0 && rune <= 0x16EB8)
        return rune + 0x1B;
    return g_unichar_tolower(rune);
}

static bool is_ascii(const char *s, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)s[i] >= 0x80)
            return false;
    return true;
}

bool clip_normalize(const char *text, size_t bytes, struct text *out, struct err *e)
{
    text_clear(out);
    char *composed = NULL;
    if (!is_ascii(text, bytes)) {
        composed = g_utf8_normalize(text, (gssize)bytes, G_NORMALIZE_NFC);
        if (!composed)
            return err_set(e, ERR_FORMAT, "a text is not valid UTF-8");
        text = composed;
        bytes = strlen(composed);
    }
    bool space = false;
    for (size_t i = 0; i < bytes;) {
        uint32_t rune;
        i += utf8_decode(text + i, bytes - i, &rune);
        bool now = kind_of(rune) == KIND_SPACE;
        if (now && space)
            continue;
        space = now;
        char u[8];
        size_t n = now ? utf8_encode(' ', u) : utf8_encode(rune == 0x130 ? 'i' : lower(rune), u);
        if (rune == 0x130) /* I with a dot: i, and the dot as a mark of its own */
            n += utf8_encode(0x307, u + n);
        text_add_bytes(out, u, n);
    }
    g_free(composed);
    return text_ok(out, e);
}

struct clip_words clip_words_of(const char *text, size_t bytes)
{
    return (struct clip_words){ text, text + bytes, NULL };
}

static bool begins(const struct clip_words *w, const char *with)
{
    size_t n = strlen(with);
    return (size_t)(w->end - w->at) >= n && !memcmp(w->at, with, n);
}

/* The word at w->at, where no space is: CLIP's expression
 *     <|startoftext|> | <|endoftext|> | 's | 't | 're | 've | 'm | 'll | 'd | letters+ | one number | others+
 * and behind it GPT-2's, which leaves all of these whole but the first two: they fall into <|, the letters, |>. */
static const char *word_end(struct clip_words *w)
{
    static const char *const whole[] = { CLIP_START, CLIP_END };
    static const char *const endings[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d" };
    if (!w->cut)
        for (size_t i = 0; i < 2; i++)
            if (begins(w, whole[i]))
                w->cut = w->at + strlen(whole[i]);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (begins(w, endings[i]))
            return w->at + strlen(endings[i]);
    const char *limit = w->cut ? w->cut : w->end, *p = w->at;
    uint32_t rune;
    p += utf8_decode(p, (size_t)(limit - p), &rune);
    enum kind kind = kind_of(rune);
    while (kind != KIND_NUMBER && p < limit) {
        size_t n = utf8_decode(p, (size_t)(limit - p), &rune);
        if (kind_of(rune) != kind)
            break;
        p += n;
    }
    return p;
}

bool clip_words_next(struct clip_words *w, const char **word, size_t *bytes)
{
    while (w->at < w->end) {
        uint32_t rune;
        size_t n = utf8_decode(w->at, (size_t)(w->end - w->at), &rune);
        if (kind_of(rune) != KIND_SPACE)
            break;
        w->at += n;
    }
    if (w->at == w->end)
        return false;
    *word = w->at;
    w->at = word_end(w);
    *bytes = (size_t)(w->at - *word);
    if (w->cut && w->at >= w->cut)
        w->cut = NULL;
    return true;
}

/* The bytes that are their own symbol: ! to ~, then ¡ to ¬, then ® to ÿ. The other 68 follow in their order as U+0100 ... */
static bool printable(int byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

enum { PRINTABLE = 94 + 12 + 82 };

unsigned char clip_byte_at(int order)
{
    int left = order < PRINTABLE ? order : order - PRINTABLE;
    for (int b = 0;; b++)
        if (printable(b) == (order < PRINTABLE) && left-- == 0)
            return (unsigned char)b;
}

int clip_byte_order(unsigned char byte)
{
    int before = printable(byte) ? 0 : PRINTABLE;
    for (int b = 0; b < byte; b++)
        before += printable(b) == printable(byte);
    return before;
}

size_t clip_byte_symbol(unsigned char byte, char *out)
{
    return utf8_encode(printable(byte) ? byte : (uint32_t)(0x100 + clip_byte_order(byte) - PRINTABLE), out);
}

int clip_symbol_byte(uint32_t rune)
{
    if (rune < 0x100)
        return printable((int)rune) ? (int)rune : -1;
    return rune < 0x100 + 256 - PRINTABLE ? clip_byte_at((int)(rune - 0x100 + PRINTABLE)) : -1;
}
