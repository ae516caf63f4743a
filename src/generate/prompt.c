#include "generate/prompt.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

const char *const prompt_syntax_names[PROMPT_SYNTAX_COUNT] = { "plain", "comfy", "a1111" };

/* \( and \) while ComfyUI's brackets are read: bytes that UTF-8 does not have. */
enum { ESCAPED_OPEN = 0xFE, ESCAPED_CLOSE = 0xFF };

struct span {
    const char *at;
    size_t bytes;
};

static bool span_is(struct span s, const char *text)
{
    return s.bytes == strlen(text) && !memcmp(s.at, text, s.bytes);
}

static struct span span_cut(struct span s, size_t from, size_t to)
{
    return (struct span){ s.at + from, to - from };
}

/* What Python's str.split and float call white space. */
static bool is_space(uint32_t rune)
{
    GUnicodeType type = g_unichar_type(rune);
    return (rune >= 9 && rune <= 13) || (rune >= 0x1C && rune <= 0x1F) || rune == 0x85 || type == G_UNICODE_SPACE_SEPARATOR ||
           type == G_UNICODE_LINE_SEPARATOR || type == G_UNICODE_PARAGRAPH_SEPARATOR;
}

/* \w of Python's regular expressions. */
static bool is_word(uint32_t rune)
{
    GUnicodeType type = g_unichar_type(rune);
    return rune == '_' || g_unichar_isalpha(rune) || type == G_UNICODE_DECIMAL_NUMBER || type == G_UNICODE_LETTER_NUMBER ||
           type == G_UNICODE_OTHER_NUMBER;
}

/* Bytes of white space at `from`, at most to the end. */
static size_t spaces_at(struct span s, size_t from)
{
    size_t at = from;
    while (at < s.bytes) {
        uint32_t rune;
        size_t n = utf8_decode(s.at + at, s.bytes - at, &rune);
        if (!is_space(rune))
            break;
        at += n;
    }
    return at - from;
}

static size_t digits_at(struct span s, size_t from, struct text *out)
{
    size_t at = from;
    for (; at < s.bytes && (g_ascii_isdigit(s.at[at]) || (s.at[at] == '_' && at > from && g_ascii_isdigit(s.at[at - 1]) &&
                                                          at + 1 < s.bytes && g_ascii_isdigit(s.at[at + 1]))); at++)
        if (s.at[at] != '_')
            text_add_bytes(out, s.at + at, 1);
    return at - from;
}

/* A number as Python's float reads it: white space around, "_" between digits, inf and nan. False if it is none. */
static bool read_number(struct span s, double *out)
{
    static const char *const names[] = { "infinity", "inf", "nan" };
    size_t at = spaces_at(s, 0), sign = at;
    struct text digits;
    text_init(&digits, PROMPT_MAX_BYTES);
    if (at < s.bytes && (s.at[at] == '+' || s.at[at] == '-'))
        text_add_bytes(&digits, s.at + at++, 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (s.bytes - at >= n && !g_ascii_strncasecmp(s.at + at, names[i], n) && at + n + spaces_at(s, at + n) == s.bytes) {
            text_release(&digits);
            *out = i == 2 ? NAN : s.at[sign] == '-' ? -INFINITY : INFINITY;
            return true;
        }
    }
    size_t whole = digits_at(s, at, &digits), part = 0;
    at += whole;
    if (at < s.bytes && s.at[at] == '.') {
        text_add_bytes(&digits, s.at + at++, 1);
        at += part = digits_at(s, at, &digits);
    }
    bool good = whole || part;
    if (good && at < s.bytes && (s.at[at] == 'e' || s.at[at] == 'E')) {
        text_add_bytes(&digits, s.at + at++, 1);
        if (at < s.bytes && (s.at[at] == '+' || s.at[at] == '-'))
            text_add_bytes(&digits, s.at + at++, 1);
        size_t power = digits_at(s, at, &digits);
        at += power;
        good = power > 0;
    }
    good = good && at + spaces_at(s, at) == s.bytes && !digits.failed;
    if (good)
        *out = g_ascii_strtod(text_string(&digits), NULL);
    text_release(&digits);
    return good;
}

/* How much of it an error shows: whole characters, and nothing from an escaped bracket on. */
static int shown(struct span s)
{
    enum { MOST = 100 };
    size_t n = 0;
    for (uint32_t rune; n < s.bytes && n < MOST && (unsigned char)s.at[n] < ESCAPED_OPEN;)
        n += utf8_decode(s.at + n, s.bytes - n, &rune);
    return (int)n;
}

static bool check_weight(double weight, struct span around, struct err *e)
{
    if (fabs(weight) <= PROMPT_MAX_WEIGHT)
        return true;
    return err_set(e, ERR_LIMIT, "the weight %g of \"%.*s\": at most %g either way", weight,
                   shown(around), around.at, PROMPT_MAX_WEIGHT);
}

/* The reader: pieces are gathered with the place of their strings in `words`; the strings move while it grows. */
struct reader {
    struct prompt *out;
    struct text words;
    struct err *e;
};

static size_t begin_string(struct reader *r)
{
    return r->words.length;
}

static void end_string(struct reader *r)
{
    text_add_bytes(&r->words, "", 1);
}

/* A string's place until storage is final (place_strings). */
static const char *as_place(size_t at)
{
    return (const char *)(uintptr_t)at;
}

static bool add_piece(struct reader *r, enum prompt_kind kind, size_t text, size_t rest, double weight)
{
    struct prompt *p = r->out;
    if (p->count == PROMPT_MAX_PIECES)
        return err_set(r->e, ERR_LIMIT, "the prompt has more than %d stretches of one weight", PROMPT_MAX_PIECES);
    struct prompt_piece *grown = mem_grow(p->pieces, &p->cap, p->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(r->e, "a prompt");
    p->pieces = grown;
    grown[p->count++] = (struct prompt_piece){ kind, as_place(text), as_place(rest), weight };
    return true;
}

static bool place_strings(struct reader *r)
{
    struct prompt *p = r->out;
    if (!text_ok(&r->words, r->e))
        return false;
    p->storage = r->words.s;
    r->words.s = NULL;
    p->bare = p->storage + (uintptr_t)p->bare;
    for (size_t i = 0; i < p->count; i++) {
        p->pieces[i].text = p->storage + (uintptr_t)p->pieces[i].text;
        p->pieces[i].rest = p->storage + (uintptr_t)p->pieces[i].rest;
    }
    for (size_t i = 0; i < p->lora_count; i++)
        p->loras[i].name = p->storage + (uintptr_t)p->loras[i].name;
    return true;
}

/* --- <lora:...> --- */

/* The scales of "NAME:1:2"; what stands behind NAME is in `at`. */
static bool read_scales(struct span at, enum prompt_syntax syntax, struct span whole, double *unet, double *text, struct err *e)
{
    double given[2] = { 1, 1 }, named[2] = { NAN, NAN }; /* by place; te and unet */
    int count = 0;
    for (size_t i = 0; i < at.bytes;) {
        size_t end = i + 1;
        while (end < at.bytes && at.at[end] != ':')
            end++;
        struct span item = span_cut(at, i + 1, end);
        i = end;
        const char *is = syntax == PROMPT_A1111 ? memchr(item.at, '=', item.bytes) : NULL;
        struct span name = { item.at, is ? (size_t)(is - item.at) : 0 };
        int which = !is ? -1 : span_is(name, "te") ? 0 : span_is(name, "unet") ? 1 : 2;
        if (which == 2)
            return err_set(e, ERR_FORMAT, "%.*s: \"%.*s\" is not known; te=, unet= and plain numbers are", shown(whole),
                           whole.at, shown(item), item.at);
        double number;
        struct span digits = is ? span_cut(item, name.bytes + 1, item.bytes) : item;
        if (!read_number(digits, &number) || !isfinite(number))
            return err_set(e, ERR_FORMAT, "%.*s: \"%.*s\" is not a number", shown(whole), whole.at, shown(item), item.at);
        if (which >= 0)
            named[which] = number;
        else if (count == 2)
            return err_set(e, ERR_FORMAT, "%.*s: more than two numbers", shown(whole), whole.at);
        else
            given[count++] = number;
    }
    if (syntax == PROMPT_A1111) {
        *text = isnan(named[0]) ? given[0] : named[0];
        *unet = !isnan(named[1]) ? named[1] : count == 2 ? given[1] : *text;
    } else {
        *unet = given[0];
        *text = count == 2 ? given[1] : *unet;
    }
    return true;
}

static bool add_lora(struct reader *r, struct span whole, struct span inside, enum prompt_syntax syntax)
{
    struct prompt *p = r->out;
    const char *colon = memchr(inside.at, ':', inside.bytes);
    struct span name = { inside.at, colon ? (size_t)(colon - inside.at) : inside.bytes };
    struct prompt_lora lora = { as_place(begin_string(r)), 1, 1 };
    if (!name.bytes)
        return err_set(r->e, ERR_FORMAT, "%.*s names no LoRA", shown(whole), whole.at);
    if (!read_scales(span_cut(inside, name.bytes, inside.bytes), syntax, whole, &lora.unet, &lora.text, r->e) ||
        !check_weight(lora.unet, whole, r->e) || !check_weight(lora.text, whole, r->e))
        return false;
    if (p->lora_count == PROMPT_MAX_LORAS)
        return err_set(r->e, ERR_LIMIT, "the prompt names more than %d LoRAs", PROMPT_MAX_LORAS);
    struct prompt_lora *grown = mem_grow(p->loras, &p->lora_cap, p->lora_count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(r->e, "the LoRAs of a prompt");
    p->loras = grown;
    grown[p->lora_count++] = lora;
    text_add_bytes(&r->words, name.at, name.bytes);
    end_string(r);
    return true;
}

/* The length of "<kind:something>" at `from`, or 0. */
static size_t network_at(struct span s, size_t from, struct span *kind, struct span *inside)
{
    size_t at = from + 1;
    uint32_t rune;
    while (at < s.bytes) {
        size_t n = utf8_decode(s.at + at, s.bytes - at, &rune);
        if (!is_word(rune))
            break;
        at += n;
    }
    if (at == from + 1 || at == s.bytes || s.at[at] != ':')
        return 0;
    *kind = span_cut(s, from + 1, at);
    const char *end = memchr(s.at + at + 1, '>', s.bytes - at - 1);
    if (!end || end == s.at + at + 1)
        return 0;
    *inside = span_cut(s, at + 1, (size_t)(end - s.at));
    return (size_t)(end - s.at) + 1 - from;
}

/* The text without its LoRAs, into out. */
static bool take_loras(struct reader *r, struct span s, enum prompt_syntax syntax, struct text *out)
{
    for (size_t i = 0; i < s.bytes;) {
        struct span kind, inside;
        size_t length = s.at[i] == '<' ? network_at(s, i, &kind, &inside) : 0;
        bool lora = length && (span_is(kind, "lora") || (syntax == PROMPT_A1111 && span_is(kind, "lyco")));
        if (lora && !add_lora(r, span_cut(s, i, i + length), inside, syntax))
            return false;
        if (length && !lora && syntax == PROMPT_A1111 && span_is(kind, "hypernet"))
            return err_set(r->e, ERR_FORMAT, "%.*s: hypernetworks are not supported", shown(span_cut(s, i, i + length)),
                           s.at + i);
        if (!length || !(lora || syntax == PROMPT_A1111)) /* a1111 drops any <kind:...> */
            text_add_bytes(out, s.at + i, length = 1);
        i += length;
    }
    return text_ok(out, r->e);
}

/* --- ComfyUI --- */

static void add_unescaped(struct reader *r, struct span s)
{
    for (size_t i = 0; i < s.bytes; i++) {
        unsigned char c = (unsigned char)s.at[i];
        text_add_bytes(&r->words, c == ESCAPED_OPEN ? "(" : c == ESCAPED_CLOSE ? ")" : s.at + i, 1);
    }
}

static const char embedding_mark[] = "embedding:";
enum { MARK_BYTES = sizeof embedding_mark - 1 };

static bool begins_with_mark(struct span s)
{
    return s.bytes >= MARK_BYTES && !memcmp(s.at, embedding_mark, MARK_BYTES);
}

/* One stretch of a weight between two embeddings. */
static bool comfy_words(struct reader *r, struct span s, double weight)
{
    struct span name = { s.at, 0 };
    size_t text = begin_string(r), at = 0;
    if (begins_with_mark(s)) {
        at = MARK_BYTES + spaces_at(s, MARK_BYTES);
        name.at = s.at + at;
        for (uint32_t rune; at < s.bytes; name.bytes = (size_t)(s.at + at - name.at)) {
            size_t n = utf8_decode(s.at + at, s.bytes - at, &rune);
            if (is_space(rune))
                break;
            at += n;
        }
    }
    if (!name.bytes) { /* words, and "embedding:" without a name, on which ComfyUI breaks off */
        add_unescaped(r, s);
        end_string(r);
        return add_piece(r, PROMPT_WORDS, text, begin_string(r) - 1, weight);
    }
    add_unescaped(r, name);
    end_string(r);
    size_t rest = begin_string(r);
    for (bool first = true; (at += spaces_at(s, at)) < s.bytes; first = false) {
        size_t from = at;
        for (uint32_t rune; at < s.bytes;) {
            size_t n = utf8_decode(s.at + at, s.bytes - at, &rune);
            if (is_space(rune))
                break;
            at += n;
        }
        if (!first)
            text_add(&r->words, " ");
        add_unescaped(r, span_cut(s, from, at));
    }
    end_string(r);
    return add_piece(r, PROMPT_EMBEDDING, text, rest, weight);
}

static bool comfy_stretch(struct reader *r, struct span s, double weight)
{
    size_t from = 0;
    for (size_t i = 0; i < s.bytes; i++)
        if ((s.at[i] == ' ' || s.at[i] == '\n') && begins_with_mark(span_cut(s, i + 1, s.bytes))) {
            if (i > from && !comfy_words(r, span_cut(s, from, i), weight))
                return false;
            from = i + 1;
            i += MARK_BYTES; /* marks do not overlap */
        }
    return from == s.bytes || comfy_words(r, span_cut(s, from, s.bytes), weight);
}

/* An item is a stretch outside of brackets, or a bracket with what is inside. The level goes below zero where more are closed
 * than opened, and then the next ( opens nothing. */
static bool comfy_read(struct reader *r, struct span s, double weight, int nesting)
{
    if (nesting > PROMPT_MAX_NESTING)
        return err_set(r->e, ERR_LIMIT, "the prompt has more than %d brackets in each other", PROMPT_MAX_NESTING);
    size_t from = 0;
    long level = 0;
    for (size_t i = 0; i <= s.bytes; i++) {
        bool ends = i == s.bytes || (s.at[i] == '(' && level == 0) || (s.at[i] == ')' && level == 1);
        size_t to = i < s.bytes && s.at[i] == ')' ? i + 1 : i;
        if (i < s.bytes)
            level += s.at[i] == '(' ? 1 : s.at[i] == ')' ? -1 : 0;
        if (!ends || to == from)
            continue;
        struct span item = span_cut(s, from, to);
        from = to;
        if (item.bytes < 2 || item.at[0] != '(' || item.at[item.bytes - 1] != ')') {
            if (!comfy_stretch(r, item, weight))
                return false;
            continue;
        }
        struct span inside = span_cut(item, 1, item.bytes - 1);
        double inner = weight * 1.1, number;
        const char *colon = memrchr(inside.at, ':', inside.bytes);
        if (colon && colon > inside.at && read_number((struct span){ colon + 1, (size_t)(inside.at + inside.bytes - colon - 1) },
                                                      &number)) {
            inside.bytes = (size_t)(colon - inside.at);
            inner = number;
        }
        if (!check_weight(inner, item, r->e) || !comfy_read(r, inside, inner, nesting + 1))
            return false;
    }
    return true;
}

static bool read_comfy(struct reader *r, struct span s)
{
    struct text escaped;
    text_init(&escaped, PROMPT_MAX_BYTES);
    for (size_t i = 0; i < s.bytes; i++) {
        char next = i + 1 < s.bytes && s.at[i] == '\\' ? s.at[i + 1] : 0, byte = s.at[i];
        if (next == '(' || next == ')') {
            byte = (char)(next == '(' ? ESCAPED_OPEN : ESCAPED_CLOSE);
            i++;
        }
        text_add_bytes(&escaped, &byte, 1);
    }
    bool good = text_ok(&escaped, r->e) && comfy_read(r, (struct span){ text_string(&escaped), escaped.length }, 1, 0);
    text_release(&escaped);
    return good;
}

/* --- stable-diffusion-webui --- */

/* Stretches as they are gathered: what is closed later multiplies all that came since its opening. */
struct emphasis {
    struct stretch {
        struct span text;
        double weight;
        bool broken; /* a BREAK */
    } *list;
    size_t count, cap;
    size_t round[PROMPT_MAX_NESTING], square[PROMPT_MAX_NESTING];
    int round_count, square_count;
};

static bool add_stretch(struct emphasis *m, struct span text, bool broken, struct err *e)
{
    struct stretch *grown = mem_grow(m->list, &m->cap, m->count + 1, sizeof *grown);
    if (!grown)
        return err_nomem(e, "a prompt");
    m->list = grown;
    grown[m->count++] = (struct stretch){ text, broken ? -1 : 1, broken };
    return true;
}

static bool open_bracket(size_t *stack, int *count, size_t at, struct err *e)
{
    if (*count == PROMPT_MAX_NESTING)
        return err_set(e, ERR_LIMIT, "the prompt has more than %d brackets in each other", PROMPT_MAX_NESTING);
    stack[(*count)++] = at;
    return true;
}

static void multiply(struct emphasis *m, size_t from, double by)
{
    for (; from < m->count; from++)
        m->list[from].weight *= by;
}

/* ":1.2)" at i: the length up to and with the bracket, or 0. */
static size_t weight_at(struct span s, size_t i, struct span *number)
{
    size_t at = i + 1 + spaces_at(s, i + 1), from = at;
    at += at < s.bytes && (s.at[at] == '+' || s.at[at] == '-');
    size_t digits = at;
    while (at < s.bytes && (g_ascii_isdigit(s.at[at]) || s.at[at] == '.'))
        at++;
    if (at == digits)
        return 0;
    *number = span_cut(s, from, at);
    at += spaces_at(s, at);
    return at < s.bytes && s.at[at] == ')' ? at + 1 - i : 0;
}

/* Whether `word` stands at i, as a word of its own. */
static bool stands_at(struct span s, size_t i, const char *word)
{
    size_t bytes = strlen(word);
    uint32_t rune;
    if (s.bytes - i < bytes || memcmp(s.at + i, word, bytes))
        return false;
    if (i > 0) {
        size_t at = i - 1;
        while (at > 0 && ((unsigned char)s.at[at] & 0xC0) == 0x80)
            at--;
        utf8_decode(s.at + at, i - at, &rune);
        if (is_word(rune))
            return false;
    }
    return i + bytes == s.bytes || (utf8_decode(s.at + i + bytes, s.bytes - i - bytes, &rune), !is_word(rune));
}

/* Words, which may hold BREAKs; the white space around one falls away. */
static bool add_words(struct emphasis *m, struct span s, struct err *e)
{
    static const char word[] = "BREAK";
    size_t from = 0, end = 0; /* end: behind the last character that is no white space */
    for (size_t i = 0; i < s.bytes;) {
        uint32_t rune;
        size_t n = utf8_decode(s.at + i, s.bytes - i, &rune);
        if (stands_at(s, i, word)) {
            if (!add_stretch(m, span_cut(s, from, end), false, e) ||
                !add_stretch(m, span_cut(s, i, i + strlen(word)), true, e))
                return false;
            i += strlen(word);
            i += spaces_at(s, i);
            from = end = i;
            continue;
        }
        i += n;
        if (!is_space(rune))
            end = i;
    }
    return add_stretch(m, span_cut(s, from, s.bytes), false, e);
}

static bool a1111_token(struct emphasis *m, struct span s, size_t *at, struct err *e)
{
    size_t i = *at, length = 1;
    struct span number;
    double weight;
    char c = s.at[i];
    if (c == '\\') {
        bool escapes = i + 1 < s.bytes && strchr("()[]\\", s.at[i + 1]);
        *at = i + 1 + escapes;
        return add_stretch(m, span_cut(s, i + 1, i + 1 + escapes), false, e);
    }
    if (c == '(' || c == '[') {
        *at = i + 1;
        return c == '(' ? open_bracket(m->round, &m->round_count, m->count, e)
                        : open_bracket(m->square, &m->square_count, m->count, e);
    }
    if (c == ':' && (length = weight_at(s, i, &number)) && m->round_count) {
        *at = i + length;
        if (!read_number(number, &weight))
            return err_set(e, ERR_FORMAT, "the weight \"%.*s\" is not a number", shown(number),
                           number.at);
        multiply(m, m->round[--m->round_count], weight);
        return true;
    }
    if (c == ')' && m->round_count) {
        *at = i + 1;
        multiply(m, m->round[--m->round_count], 1.1);
        return true;
    }
    if (c == ']' && m->square_count) {
        *at = i + 1;
        multiply(m, m->square[--m->square_count], 1 / 1.1);
        return true;
    }
    if (!length || c == ')' || c == ']')
        length = 1;
    if (c != ':' && c != ')' && c != ']')
        while (i + length < s.bytes && !strchr("\\()[]:", s.at[i + length]))
            length++;
    *at = i + length;
    return add_words(m, span_cut(s, i, i + length), e);
}

/* Neighbours of one weight are one piece. */
static bool add_merged(struct reader *r, const struct emphasis *m)
{
    for (size_t i = 0; i < m->count;) {
        size_t text = begin_string(r), end = i;
        for (; end < m->count && m->list[end].weight == m->list[i].weight; end++)
            text_add_bytes(&r->words, m->list[end].text.at, m->list[end].text.bytes);
        bool breaks = end == i + 1 && m->list[i].broken && m->list[i].weight == -1;
        end_string(r);
        if (!check_weight(m->list[i].weight, m->list[i].text, r->e) ||
            !add_piece(r, breaks ? PROMPT_BREAK : PROMPT_WORDS, text, begin_string(r) - 1, m->list[i].weight))
            return false;
        i = end;
    }
    return m->count || (end_string(r), add_piece(r, PROMPT_WORDS, begin_string(r) - 1, begin_string(r) - 1, 1));
}

/* The bracket of [a|b], [a:3] or [a:b:0.5] that begins at `at`, or 0 bytes. */
static struct span editing_at(struct span s, size_t at)
{
    size_t colon = 0, end = at + 1;
    int level = 0;
    bool bar = false;
    double when;
    for (; end < s.bytes; end++) {
        char c = s.at[end];
        if (c == '\\')
            end++;
        else if (c == '(' || c == '[')
            level++;
        else if ((c == ')' || c == ']') && level > 0)
            level--;
        else if (c == ']')
            break;
        else if (level == 0 && c == ':')
            colon = end;
        else if (level == 0 && c == '|')
            bar = true;
    }
    if (end < s.bytes && (bar || (colon && read_number(span_cut(s, colon + 1, end), &when) && isfinite(when))))
        return span_cut(s, at, end + 1);
    return (struct span){ s.at, 0 };
}

/* What changes the words between steps would else be drawn as something else in silence. */
static bool refuse_editing(struct span s, struct err *e)
{
    for (size_t i = 0; i < s.bytes; i++) {
        struct span found = s.at[i] == '[' ? editing_at(s, i) : (struct span){ s.at, 0 };
        if (found.bytes)
            return err_set(e, ERR_FORMAT, "\"%.*s\": words that change between steps are not supported; \\[ is a plain bracket",
                           shown(found), found.at);
        if (stands_at(s, i, "AND"))
            return err_set(e, ERR_FORMAT, "AND: several prompts mixed in every step are not supported; \"and\" is a plain word");
        i += s.at[i] == '\\';
    }
    return true;
}

static bool read_a1111(struct reader *r, struct span s)
{
    struct emphasis m = { 0 };
    bool good = refuse_editing(s, r->e);
    for (size_t i = 0; good && i < s.bytes;)
        good = a1111_token(&m, s, &i, r->e);
    for (int i = 0; good && i < m.round_count; i++)
        multiply(&m, m.round[i], 1.1);
    for (int i = 0; good && i < m.square_count; i++)
        multiply(&m, m.square[i], 1 / 1.1);
    good = good && add_merged(r, &m);
    mem_free(m.list);
    return good;
}

/* --- all of them --- */

static bool read_plain(struct reader *r, struct span s)
{
    size_t text = begin_string(r);
    text_add_bytes(&r->words, s.at, s.bytes);
    end_string(r);
    return add_piece(r, PROMPT_WORDS, text, begin_string(r) - 1, 1);
}

bool prompt_parse(struct prompt *out, enum prompt_syntax syntax, const char *text, struct err *e)
{
    struct span s = { text, strlen(text) };
    struct reader r = { .out = out, .e = e };
    struct text without;
    *out = (struct prompt){ 0 };
    if (s.bytes > PROMPT_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "a prompt of %zu bytes, at most %zu are read", s.bytes, PROMPT_MAX_BYTES);
    if (!utf8_valid(s.at, s.bytes))
        return err_set(e, ERR_FORMAT, "the text \"%.60s\" is not valid UTF-8", text);
    text_init(&r.words, 4 * PROMPT_MAX_BYTES); /* every byte twice, and at most two ends of strings for each piece or LoRA */
    text_init(&without, PROMPT_MAX_BYTES);
    bool good = syntax == PROMPT_PLAIN || take_loras(&r, s, syntax, &without);
    if (good && syntax != PROMPT_PLAIN)
        s = (struct span){ text_string(&without), without.length };
    out->bare = as_place(begin_string(&r));
    text_add_bytes(&r.words, s.at, s.bytes);
    end_string(&r);
    good = good && (syntax == PROMPT_COMFY ? read_comfy(&r, s) : syntax == PROMPT_A1111 ? read_a1111(&r, s) : read_plain(&r, s));
    good = good && place_strings(&r);
    text_release(&without);
    text_release(&r.words);
    if (!good)
        prompt_release(out);
    return good;
}

void prompt_release(struct prompt *p)
{
    mem_free(p->pieces);
    mem_free(p->loras);
    mem_free(p->storage);
    *p = (struct prompt){ 0 };
}
