#include "serve/range.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Digits at *at, at most 18 of them. False if there are none or too many. */
static bool digits(const char **at, int64_t *out)
{
    int64_t n = 0;
    int count = 0;
    for (; **at >= '0' && **at <= '9'; ++*at, count++) {
        if (count == 18)
            return false;
        n = 10 * n + (**at - '0');
    }
    *out = n;
    return count > 0;
}

static bool ends(const char *at)
{
    return !at[strspn(at, " \t")];
}

enum range_kind range_parse(const char *header, int64_t bytes, int64_t *first, int64_t *last)
{
    if (!header || strncasecmp(header, "bytes=", 6))
        return RANGE_WHOLE;
    const char *at = header + 6;
    at += strspn(at, " \t");
    if (*at == '-') { /* the last n bytes */
        int64_t n;
        at++;
        if (!digits(&at, &n) || !ends(at))
            return RANGE_WHOLE;
        if (n == 0 || bytes == 0)
            return RANGE_NONE;
        *first = n < bytes ? bytes - n : 0;
        *last = bytes - 1;
        return RANGE_PART;
    }
    int64_t from, to = bytes - 1;
    if (!digits(&at, &from) || *at++ != '-')
        return RANGE_WHOLE;
    if (!ends(at) && (!digits(&at, &to) || !ends(at) || to < from))
        return RANGE_WHOLE;
    if (from >= bytes)
        return RANGE_NONE;
    *first = from;
    *last = to < bytes ? to : bytes - 1;
    return RANGE_PART;
}

static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

void http_date(time_t when, char out[HTTP_DATE_BYTES])
{
    struct tm t;
    char whole[80];
    gmtime_r(&when, &t);
    snprintf(whole, sizeof whole, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[t.tm_wday], t.tm_mday, months[t.tm_mon],
             t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    snprintf(out, HTTP_DATE_BYTES, "%.29s", whole);
}

time_t http_date_parse(const char *text)
{
    struct tm t = { 0 };
    char day[4], month[4], zone[4];
    int end = 0;
    if (sscanf(text, "%3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d %3[A-Z]%n", day, &t.tm_mday, month, &t.tm_year, &t.tm_hour, &t.tm_min,
               &t.tm_sec, zone, &end) != 8 || strcmp(zone, "GMT") || !ends(text + end))
        return -1;
    for (t.tm_mon = 0; t.tm_mon < 12 && strcmp(months[t.tm_mon], month); t.tm_mon++)
        ;
    t.tm_year -= 1900;
    if (t.tm_mon == 12 || t.tm_year < 70 || t.tm_mday < 1 || t.tm_mday > 31 || t.tm_hour > 23 || t.tm_min > 59 || t.tm_sec > 60)
        return -1;
    return timegm(&t);
}

bool tag_listed(const char *header, const char *tag)
{
    size_t n = strlen(tag);
    for (const char *at = header; *at;) {
        at += strspn(at, " \t,");
        if (*at == '*' && ends(at + 1))
            return true;
        if (!strncmp(at, "W/", 2))
            at += 2;
        if (!strncmp(at, tag, n) && (!at[n] || strchr(" \t,", at[n])))
            return true;
        if (*at == '"') { /* a comma may stand inside the quotes */
            const char *close = strchr(at + 1, '"');
            at = close ? close + 1 : at + strlen(at);
        } else {
            at += strcspn(at, ",");
        }
    }
    return false;
}

bool gzip_accepted(const char *header)
{
    for (const char *at = header ? header : ""; *at; at += *at == ',') {
        at += strspn(at, " \t,");
        size_t name = strcspn(at, " \t;,"), all = strcspn(at, ",");
        bool gzip = name == 4 && !strncasecmp(at, "gzip", 4);
        const char *q = memchr(at, '=', all);
        at += all;
        if (gzip)
            return !q || strspn(q + 1, "0. \t") < (size_t)(at - q - 1);
    }
    return false;
}
