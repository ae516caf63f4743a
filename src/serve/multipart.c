#include "serve/multipart.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/text.h"

/* The value of a parameter (name="..." or name=...) of a header's value into out. False if it is not there or does not fit. */
static bool parameter(const char *header, const char *name, char *out, size_t cap)
{
    size_t n = strlen(name);
    const char *at = strchr(header, ';');
    while (at) {
        at++;
        at += strspn(at, " \t");
        bool here = !strncasecmp(at, name, n) && at[n + strspn(at + n, " \t")] == '=';
        at += strcspn(at, "=;");
        if (*at != '=') {
            at = *at ? at : NULL;
            continue;
        }
        at++;
        at += strspn(at, " \t");
        size_t used = 0;
        bool quoted = *at == '"', fits = true;
        for (at += quoted; *at && (quoted ? *at != '"' : *at != ';' && *at != ' ' && *at != '\t'); at++) {
            /* browsers write %22 for a quote; others escape it */
            if (quoted && *at == '\\' && (at[1] == '"' || at[1] == '\\'))
                at++;
            if (used + 1 < cap)
                out[used++] = *at;
            else
                fits = false;
        }
        out[used] = 0;
        if (here)
            return fits;
        at = strchr(at, ';');
    }
    return false;
}

bool multipart_boundary(const char *content_type, char out[71])
{
    static const char kind[] = "multipart/form-data";
    return content_type && !strncasecmp(content_type, kind, sizeof kind - 1) && parameter(content_type, "boundary", out, 71) && *out;
}

void multipart_release(struct multipart *m)
{
    mem_free(m->parts);
    *m = (struct multipart){ 0 };
}

/* The lines before a part's data. */
static bool read_head(struct part *part, const char *head, size_t bytes, struct err *e)
{
    char line[MULTIPART_HEAD_BYTES + 1];
    for (size_t i = 0; i < bytes;) {
        const char *end = memmem(head + i, bytes - i, "\r\n", 2);
        size_t n = end ? (size_t)(end - head) - i : bytes - i;
        memcpy(line, head + i, n);
        line[n] = 0;
        i += n + 2;
        if (memchr(line, 0, n))
            return err_set(e, ERR_FORMAT, "a form: a part's head holds a zero byte");
        if (strncasecmp(line, "Content-Disposition:", 20))
            continue;
        if (!parameter(line, "name", part->name, sizeof part->name))
            return err_set(e, ERR_FORMAT, "a form: a part has no name, or one of more than %d bytes", MULTIPART_NAME_BYTES - 1);
        if (!parameter(line, "filename", part->filename, sizeof part->filename))
            part->filename[0] = 0;
    }
    if (!*part->name)
        return err_set(e, ERR_FORMAT, "a form: a part has no Content-Disposition with a name");
    if (!utf8_valid(part->name, strlen(part->name)) || !utf8_valid(part->filename, strlen(part->filename)))
        return err_set(e, ERR_FORMAT, "a form: a part's name is not valid UTF-8");
    return true;
}

bool multipart_parse(struct multipart *m, const char *body, size_t bytes, const char *boundary, struct err *e)
{
    char mark[80];
    int mark_bytes = snprintf(mark, sizeof mark, "\r\n--%s", boundary);
    const char *end = body + bytes, *at;
    size_t cap = 0;
    *m = (struct multipart){ 0 };
    /* the first line has no line before it; what stands before it counts for nothing */
    if (bytes >= (size_t)mark_bytes - 2 && !memcmp(body, mark + 2, (size_t)mark_bytes - 2))
        at = body + mark_bytes - 2;
    else if ((at = memmem(body, bytes, mark, (size_t)mark_bytes)))
        at += mark_bytes;
    else
        return err_set(e, ERR_FORMAT, "a form: the boundary that its Content-Type names is not in it");
    for (;;) {
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        if (end - at >= 2 && !memcmp(at, "--", 2))
            return true;
        if (end - at < 2 || memcmp(at, "\r\n", 2))
            return err_set(e, ERR_FORMAT, "a form is cut off behind part %zu", m->count);
        at += 2;
        size_t left = (size_t)(end - at), head = left < MULTIPART_HEAD_BYTES ? left : MULTIPART_HEAD_BYTES;
        const char *data = memmem(at, head, "\r\n\r\n", 4);
        if (!data)
            return err_set(e, ERR_FORMAT, "a form: the head of part %zu is cut off or has more than %d bytes", m->count + 1,
                           MULTIPART_HEAD_BYTES);
        const char *close = memmem(data + 2, (size_t)(end - data) - 2, mark, (size_t)mark_bytes);
        if (!close)
            return err_set(e, ERR_FORMAT, "a form is cut off in part %zu", m->count + 1);
        if (m->count == MULTIPART_MOST)
            return err_set(e, ERR_LIMIT, "a form of more than %d parts", MULTIPART_MOST);
        struct part *grown = mem_grow(m->parts, &cap, m->count + 1, sizeof *m->parts);
        if (!grown)
            return err_nomem(e, "a form");
        m->parts = grown;
        struct part *part = &grown[m->count];
        memset(part, 0, sizeof *part);
        part->data = close < data + 4 ? close : data + 4;
        part->bytes = (size_t)(close - part->data);
        if (!read_head(part, at, (size_t)(data - at), e))
            return false;
        m->count++;
        at = close + mark_bytes;
    }
}

const struct part *multipart_find(const struct multipart *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (!strcmp(m->parts[i].name, name))
            return &m->parts[i];
    return NULL;
}

bool multipart_text(const struct multipart *m, const char *name, char *out, size_t cap, struct err *e)
{
    const struct part *part = multipart_find(m, name);
    *out = 0;
    if (!part)
        return true;
    if (part->bytes >= cap)
        return err_set(e, ERR_LIMIT, "the field %s of a form has %zu bytes, at most %zu are read", name, part->bytes, cap - 1);
    if (memchr(part->data, 0, part->bytes) || !utf8_valid(part->data, part->bytes))
        return err_set(e, ERR_FORMAT, "the field %s of a form is not valid UTF-8", name);
    memcpy(out, part->data, part->bytes);
    out[part->bytes] = 0;
    return true;
}
