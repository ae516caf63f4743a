/* Byte ranges, dates and tags of HTTP (RFC 9110): what a request asks of a file. */
#ifndef LIMN_SERVE_RANGE_H
#define LIMN_SERVE_RANGE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum range_kind {
    RANGE_WHOLE, /* no range, or one that may be ignored: several, another unit, not written as it should be */
    RANGE_PART,  /* [first, last], both inside the file */
    RANGE_NONE,  /* a good range outside the file: 416 */
};
/* Reads the value of a Range header (NULL: none) for a file of `bytes` bytes. RANGE_PART: 0 <= *first <= *last < bytes. */
enum range_kind range_parse(const char *header, int64_t bytes, int64_t *first, int64_t *last);

enum { HTTP_DATE_BYTES = 30 };
/* "Sun, 06 Nov 1994 08:49:37 GMT". */
void http_date(time_t when, char out[HTTP_DATE_BYTES]);
/* The time of such a text; -1: it is none (also the old forms, which no one sends). */
time_t http_date_parse(const char *text);

/* Whether a list of tags (If-None-Match) names this tag, quotes included, weak or not, or is "*". */
bool tag_listed(const char *header, const char *tag);
/* Whether the value of Accept-Encoding (NULL: none) names gzip, and not with q=0. */
bool gzip_accepted(const char *header);

#endif
