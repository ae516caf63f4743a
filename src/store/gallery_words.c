/* Words of texts and of searches, in English and Chinese. */
#include <glib.h>
#include <string.h>

#include "base/mem.h"
#include "store/gallery_internal.h"

enum { SHORT_TERM = 3 }; /* from so many characters on trigrams find any part */

static void add_rune(struct text *out, uint32_t rune)
{
    char bytes[4];
    text_add_bytes(out, bytes, utf8_encode(rune, bytes));
}

void words_fold(struct text *out, const char *text)
{
    for (size_t left = strlen(text); left;) {
        uint32_t rune;
        size_t used = utf8_decode(text, left, &rune);
        add_rune(out, g_unichar_tolower(rune));
        text += used;
        left -= used;
    }
}

/* Whether words are written without spaces, so that each character has to stand for itself. */
static bool stands_alone(uint32_t rune)
{
    switch (g_unichar_get_script(rune)) {
    case G_UNICODE_SCRIPT_HAN:
    case G_UNICODE_SCRIPT_HIRAGANA:
    case G_UNICODE_SCRIPT_KATAKANA:
    case G_UNICODE_SCRIPT_BOPOMOFO:
    case G_UNICODE_SCRIPT_HANGUL:
    case G_UNICODE_SCRIPT_THAI:
    case G_UNICODE_SCRIPT_LAO:
    case G_UNICODE_SCRIPT_KHMER:
    case G_UNICODE_SCRIPT_MYANMAR:
        return true;
    default:
        return false;
    }
}

size_t words_split(struct text *out, const char *text)
{
    size_t count = 0;
    bool inside = false;
    for (size_t left = strlen(text); left;) {
        uint32_t rune;
        size_t used = utf8_decode(text, left, &rune);
        bool word = g_unichar_isalnum(rune), alone = word && stands_alone(rune);
        if (inside && (!word || alone)) {
            text_add(out, " ");
            inside = false;
        }
        count += word && !inside;
        if (word)
            add_rune(out, g_unichar_tolower(rune));
        if (alone)
            text_add(out, " ");
        inside = word && !alone;
        text += used;
        left -= used;
    }
    if (inside)
        text_add(out, " ");
    return count;
}

static size_t characters(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

/* One term; typed without its quotes or minus. False with e only for want of memory; *empty: nothing to look for. */
static bool read_term(struct term *term, const char *typed, bool quoted, bool without, bool *empty, struct err *e)
{
    struct text text;
    text_init(&text, 4096);
    *term = (struct term){ .without = without, .words = quoted || characters(typed) < SHORT_TERM };
    if (term->words)
        *empty = words_split(&text, typed) == 0;
    else
        words_fold(&text, typed);
    if (!term->words)
        *empty = !text.length;
    if (!*empty && term->words && text.length) { /* the space behind the last */
        text.s[--text.length] = 0;
        uint32_t last = 0;
        const char *at = g_utf8_find_prev_char(text.s, text.s + text.length);
        if (at)
            utf8_decode(at, strlen(at), &last);
        term->begins = !quoted && !stands_alone(last);
    }
    if (!text_ok(&text, e)) {
        text_release(&text);
        return false;
    }
    if (*empty)
        text_release(&text);
    else
        term->text = text.s;
    return true;
}

bool terms_read(struct term terms[GALLERY_MOST_TERMS], size_t *count, const char *typed, struct err *e)
{
    char *own = mem_string(typed);
    bool good = own || err_nomem(e, "a search");
    *count = 0;
    for (char *p = own; good && *p;) {
        p += strspn(p, " \t\r\n");
        bool without = *p == '-' && p[1] && p[1] != ' ';
        p += without;
        bool quoted = *p == '"';
        char *begin = p + quoted, *end = begin + strcspn(begin, quoted ? "\"" : " \t\r\n");
        if (quoted && !*end)
            good = err_set(e, ERR_ARG, "the search %s: a quote without its end", typed);
        if (!*begin)
            break;
        bool more = *end != 0, empty = false;
        *end = 0;
        if (good && *count == GALLERY_MOST_TERMS)
            good = err_set(e, ERR_ARG, "a search of more than %d words", GALLERY_MOST_TERMS);
        good = good && read_term(&terms[*count], begin, quoted, without, &empty, e);
        *count += good && !empty;
        p = end + more;
    }
    mem_free(own);
    if (good)
        return true;
    terms_release(terms, *count);
    *count = 0;
    return false;
}

void terms_release(struct term *terms, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(terms[i].text);
}
