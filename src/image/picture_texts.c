#include "image/picture_texts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "image/image.h"

/* Where a text is taken from a file: [at, at + bytes). */
struct span {
    const unsigned char *at;
    size_t bytes;
};

static bool begins(struct span s, const char *what, size_t bytes)
{
    return s.bytes >= bytes && !memcmp(s.at, what, bytes);
}

static struct span behind(struct span s, size_t bytes)
{
    return bytes > s.bytes ? (struct span){ s.at, 0 } : (struct span){ s.at + bytes, s.bytes - bytes };
}

/* --- what a text is --- */

/* Keeps a copy of text[0..bytes), unless there is one already. */
static bool keep(char **out, const char *text, size_t bytes, struct err *e)
{
    if (*out)
        return true;
    if (!(*out = mem_zeroed(bytes + 1, 1)))
        return err_nomem(e, "a picture's texts");
    memcpy(*out, text, bytes);
    return true;
}

/* Takes a text for what it is. It is UTF-8 with a 0 behind. */
static bool sort(struct picture_texts *t, const char *text, struct err *e)
{
    static const struct { const char *name; size_t bytes; } named[] = { { "prompt:", 7 }, { "workflow:", 9 }, { "parameters:", 11 } };
    char **const out[] = { &t->prompt, &t->workflow, &t->parameters };
    text += strspn(text, " \t\r\n");
    for (int i = 0; i < 3; i++)
        if (!strncasecmp(text, named[i].name, named[i].bytes) && (i == 2 || text[named[i].bytes + strspn(text + named[i].bytes, " ")] == '{'))
            return keep(out[i], text + named[i].bytes, strlen(text + named[i].bytes), e);
    if (*text == '{' && strstr(text, "\"class_type\""))
        return keep(&t->prompt, text, strlen(text), e);
    if (*text == '{' && strstr(text, "\"nodes\"") && strstr(text, "\"links\""))
        return keep(&t->workflow, text, strlen(text), e);
    return !strstr(text, "Steps: ") || keep(&t->parameters, text, strlen(text), e);
}

/* Bytes that should be UTF-8; zeros at the end are padding. */
static bool sort_utf8(struct picture_texts *t, struct span s, struct err *e)
{
    while (s.bytes && !s.at[s.bytes - 1])
        s.bytes--;
    if (!s.bytes || s.bytes > PICTURE_TEXTS_MAX_BYTES || memchr(s.at, 0, s.bytes) || !utf8_valid((const char *)s.at, s.bytes))
        return true;
    char *text = mem_zeroed(s.bytes + 1, 1);
    if (!text)
        return err_nomem(e, "a picture's texts");
    memcpy(text, s.at, s.bytes);
    bool good = sort(t, text, e);
    mem_free(text);
    return good;
}

static unsigned unit_at(struct span s, size_t i, bool big)
{
    return big ? (unsigned)s.at[i] << 8 | s.at[i + 1] : (unsigned)s.at[i + 1] << 8 | s.at[i];
}

/* UTF-16. Programs do not agree on the order of its bytes: that which gives more of ASCII is right, `big` where both give as much. */
static bool sort_utf16(struct picture_texts *t, struct span s, bool big, struct err *e)
{
    size_t count[2] = { 0 };
    s.bytes &= ~(size_t)1;
    if (!s.bytes || s.bytes > PICTURE_TEXTS_MAX_BYTES)
        return true;
    for (size_t i = 0; i < s.bytes; i += 2)
        for (int order = 0; order < 2; order++)
            count[order] += unit_at(s, i, order) < 0x80;
    big = count[0] == count[1] ? big : count[1] > count[0];
    char *text = mem_zeroed(s.bytes / 2 * 3 + 4, 1), *at = text;
    if (!text)
        return err_nomem(e, "a picture's texts");
    bool good = true;
    for (size_t i = 0; good && i < s.bytes; i += 2) {
        unsigned u = unit_at(s, i, big), low = i + 2 < s.bytes ? unit_at(s, i + 2, big) : 0;
        if (u >= 0xD800 && u < 0xDC00 && low >= 0xDC00 && low < 0xE000) {
            u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00);
            i += 2;
        }
        if (!u)
            break;
        good = u < 0xD800 || u >= 0xE000; /* half of a pair is no text */
        if (good && u != 0xFEFF)
            at += utf8_encode(u, at);
    }
    good = !good || sort(t, text, e);
    mem_free(text);
    return good;
}

/* --- EXIF: a TIFF file of directories, of which two have texts --- */

enum { TAG_DESCRIPTION = 0x010E, TAG_EXIF = 0x8769, TAG_COMMENT = 0x9286, TAG_XP_COMMENT = 0x9C9C, MOST_ENTRIES = 1000, ENTRY_BYTES = 12 };
enum { TIFF_BYTE = 1, TIFF_ASCII = 2, TIFF_LONG = 4, TIFF_UNDEFINED = 7 };

struct tiff {
    struct span all;
    bool big;
};

static uint32_t tiff_u(const struct tiff *f, size_t at, size_t bytes)
{
    uint32_t v = 0;
    for (size_t i = 0; at + bytes <= f->all.bytes && i < bytes; i++)
        v = f->big ? v << 8 | f->all.at[at + i] : v | (uint32_t)f->all.at[at + i] << 8 * i;
    return v;
}

/* "UNICODE", "ASCII" or eight zeros, then the text. */
static bool sort_comment(struct picture_texts *t, struct span s, bool big, struct err *e)
{
    struct span text = behind(s, 8);
    if (begins(s, "UNICODE\0", 8))
        return sort_utf16(t, text, big, e);
    return begins(s, "ASCII\0\0\0", 8) || begins(s, "\0\0\0\0\0\0\0\0", 8) ? sort_utf8(t, text, e) : sort_utf8(t, s, e);
}

/* One directory; *next gets where that of EXIF begins, if it is told. */
static bool read_directory(struct picture_texts *t, const struct tiff *f, size_t at, size_t *next, struct err *e)
{
    size_t count = tiff_u(f, at, 2);
    for (size_t i = 0; i < count && i < MOST_ENTRIES; i++) {
        size_t entry = at + 2 + i * ENTRY_BYTES;
        if (entry + ENTRY_BYTES > f->all.bytes)
            break;
        uint32_t tag = tiff_u(f, entry, 2), type = tiff_u(f, entry + 2, 2), bytes = tiff_u(f, entry + 4, 4);
        size_t value = bytes <= 4 ? entry + 8 : tiff_u(f, entry + 8, 4);
        if (tag == TAG_EXIF && type == TIFF_LONG)
            *next = tiff_u(f, entry + 8, 4);
        if ((type != TIFF_BYTE && type != TIFF_ASCII && type != TIFF_UNDEFINED) || value > f->all.bytes || bytes > f->all.bytes - value)
            continue;
        struct span s = { f->all.at + value, bytes };
        bool named = begins(s, "prompt:", 7) || begins(s, "workflow:", 9) || tag == TAG_DESCRIPTION;
        bool good = tag == TAG_COMMENT                       ? sort_comment(t, s, f->big, e)
                    : tag == TAG_XP_COMMENT                  ? sort_utf16(t, s, false, e)
                    : type == TIFF_ASCII && named            ? sort_utf8(t, s, e)
                                                             : true;
        if (!good)
            return false;
    }
    return true;
}

static bool read_exif(struct picture_texts *t, struct span s, struct err *e)
{
    if (begins(s, "Exif\0\0", 6)) /* in JPEG always, in WebP by mistake */
        s = behind(s, 6);
    if (!begins(s, "II*\0", 4) && !begins(s, "MM\0*", 4))
        return true;
    struct tiff f = { s, *s.at == 'M' };
    size_t inner = 0, none = 0;
    return read_directory(t, &f, tiff_u(&f, 4, 4), &inner, e) && (!inner || read_directory(t, &f, inner, &none, e));
}

/* --- XMP: XML, of which a value or two are looked for --- */

/* Writes the character that an entity at *p stands for; *p is behind it then. */
static size_t entity(const char **p, const char *end, char *out)
{
    static const struct { const char *name; char is; } names[] = { { "&lt;", '<' }, { "&gt;", '>' }, { "&amp;", '&' }, { "&quot;", '"' }, { "&apos;", '\'' } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i].name);
        if ((size_t)(end - *p) >= n && !memcmp(*p, names[i].name, n)) {
            *p += n;
            *out = names[i].is;
            return 1;
        }
    }
    if (end - *p > 3 && (*p)[1] == '#') {
        bool hex = (*p)[2] == 'x';
        char *stop;
        unsigned long code = strtoul(*p + (hex ? 3 : 2), &stop, hex ? 16 : 10);
        if (stop < end && *stop == ';' && code && code < 0x110000 && (code < 0xD800 || code >= 0xE000)) {
            *p = stop + 1;
            return utf8_encode((unsigned)code, out);
        }
    }
    *out = *(*p)++;
    return 1;
}

/* XML text [p, end) without its entities. */
static bool sort_xml(struct picture_texts *t, const char *p, const char *end, struct err *e)
{
    char *text = mem_zeroed((size_t)(end - p) + 8, 1), *at = text;
    if (!text)
        return err_nomem(e, "a picture's texts");
    while (p < end)
        if (*p == '&')
            at += entity(&p, end, at);
        else
            *at++ = *p++;
    bool good = sort(t, text, e);
    mem_free(text);
    return good;
}

/* The value of a property: an attribute, an element's text, or the text of the first rdf:li in it. */
static bool read_property(struct picture_texts *t, const char *xml, const char *name, struct err *e)
{
    const char *p = strstr(xml, name);
    if (!p)
        return true;
    p += strlen(name);
    p += strspn(p, " \t\r\n");
    if (*p == '=') {
        p += 1 + strspn(p + 1, " \t\r\n");
        const char *end = *p == '"' || *p == '\'' ? strchr(p + 1, *p) : NULL;
        return !end || sort_xml(t, p + 1, end, e);
    }
    for (int depth = 0; depth < 4; depth++) { /* the element, rdf:Alt, rdf:li */
        const char *end;
        if (!(p = strchr(p, '>')))
            return true;
        p++;
        const char *text = p + strspn(p, " \t\r\n");
        if (*text && *text != '<')
            return !(end = strchr(text, '<')) || sort_xml(t, text, end, e);
        if (text[0] == '<' && text[1] == '/')
            return true;
        p = text;
    }
    return true;
}

static bool read_xmp(struct picture_texts *t, struct span s, struct err *e)
{
    if (!s.bytes || s.bytes > PICTURE_TEXTS_MAX_BYTES || memchr(s.at, 0, s.bytes) || !utf8_valid((const char *)s.at, s.bytes))
        return true;
    char *xml = mem_zeroed(s.bytes + 1, 1);
    if (!xml)
        return err_nomem(e, "a picture's texts");
    memcpy(xml, s.at, s.bytes);
    bool good = read_property(t, xml, "exif:UserComment", e) && read_property(t, xml, "dc:description", e);
    mem_free(xml);
    return good;
}

/* --- the files --- */

static size_t big_u(const unsigned char *p, size_t bytes)
{
    size_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

/* Segments up to the first scan. */
static bool read_jpeg(struct picture_texts *t, struct span s, struct err *e)
{
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/"; /* with its 0 */
    s = behind(s, 2);
    while (s.bytes >= 4 && s.at[0] == 0xFF) {
        unsigned marker = s.at[1];
        size_t length = big_u(s.at + 2, 2);
        if (marker == 0xFF) { /* a fill byte */
            s = behind(s, 1);
            continue;
        }
        if (marker == 0xDA || marker == 0xD9 || length < 2 || length + 2 > s.bytes)
            break;
        struct span body = { s.at + 4, length - 2 };
        bool good = marker != 0xE1                     ? marker != 0xFE || sort_utf8(t, body, e)
                    : begins(body, "Exif\0\0", 6)      ? read_exif(t, body, e)
                    : begins(body, xmp, sizeof xmp)    ? read_xmp(t, behind(body, sizeof xmp), e)
                                                       : true;
        if (!good)
            return false;
        s = behind(s, length + 2);
    }
    return true;
}

/* Chunks: a name, the length in little-endian bytes, the body, padded to an even length. */
static bool read_webp(struct picture_texts *t, struct span s, struct err *e)
{
    s = behind(s, 12);
    while (s.bytes >= 8) {
        size_t length = (size_t)s.at[4] | (size_t)s.at[5] << 8 | (size_t)s.at[6] << 16 | (size_t)s.at[7] << 24;
        if (length > s.bytes - 8)
            break;
        struct span body = { s.at + 8, length };
        if ((begins(s, "EXIF", 4) && !read_exif(t, body, e)) || (begins(s, "XMP ", 4) && !read_xmp(t, body, e)))
            return false;
        s = behind(s, 8 + length + (length & 1));
    }
    return true;
}

/* A text of a PNG, NULL: there is none that can be read. */
static bool png_text(char **out, struct span s, const char *key, struct err *e)
{
    struct err why = { 0 };
    *out = image_png_text_in(s.at, s.bytes, "the picture", key, &why);
    return *out || why.code != ERR_NOMEM || err_nomem(e, "a picture's texts");
}

static bool read_png(struct picture_texts *t, struct span s, struct err *e)
{
    char *xmp = NULL;
    bool good = png_text(&t->parameters, s, "parameters", e) && png_text(&t->prompt, s, "prompt", e) && png_text(&t->workflow, s, "workflow", e);
    if (!good || t->parameters || t->prompt || t->workflow)
        return good;
    good = png_text(&xmp, s, "XML:com.adobe.xmp", e) && (!xmp || read_xmp(t, (struct span){ (const unsigned char *)xmp, strlen(xmp) }, e));
    mem_free(xmp);
    for (s = behind(s, 8); good && s.bytes >= 12; ) {
        size_t length = big_u(s.at, 4);
        if (length > s.bytes - 12)
            break;
        if (!memcmp(s.at + 4, "eXIf", 4))
            good = read_exif(t, (struct span){ s.at + 8, length }, e);
        s = behind(s, 12 + length);
    }
    return good;
}

bool picture_texts_read(struct picture_texts *out, const void *data, size_t bytes, struct err *e)
{
    struct span s = { data, bytes };
    *out = (struct picture_texts){ 0 };
    bool good = true;
    if (begins(s, "\x89PNG\r\n\x1a\n", 8))
        good = read_png(out, s, e);
    else if (begins(s, "\xff\xd8\xff", 3))
        good = read_jpeg(out, s, e);
    else if (begins(s, "RIFF", 4) && s.bytes >= 12 && !memcmp(s.at + 8, "WEBP", 4))
        good = read_webp(out, s, e);
    if (!good)
        picture_texts_release(out);
    return good;
}

void picture_texts_release(struct picture_texts *t)
{
    mem_free(t->parameters);
    mem_free(t->prompt);
    mem_free(t->workflow);
    *t = (struct picture_texts){ 0 };
}
