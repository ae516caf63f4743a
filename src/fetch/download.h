/* Downloads: a list of files over HTTP or HTTPS, several at a time.
 *
 * A file grows as "<path>.part" and gets its name when it is whole: its size and SHA-256 are checked where they are known. What a
 * broken connection, a stopped program or a full disk left is gone on with, by a range request; a server that knows no ranges
 * begins anew. A connection that fails is tried again, later each time, as long as now and then bytes arrive. */
#ifndef LIMN_FETCH_DOWNLOAD_H
#define LIMN_FETCH_DOWNLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/progress.h"
#include "base/text.h"

struct download {
    const char *url, *path; /* borrowed; folders above path are made */
    int64_t bytes;          /* -1: unknown */
    const char *sha256;     /* 64 hex digits, or NULL: unknown */
};

struct download_options {
    const char *token;   /* sent as a bearer token to the first host, never to one it redirects to; NULL: none */
    const char *token_help; /* the name of the variable to set, for errors; NULL: none */
    int jobs;            /* files at a time, 1 to 16; 0: 4 */
    int tries;           /* in a row without a new byte; 0: 5 */
    double wait_seconds; /* before the second try, then twice as long each time; 0: 1 */
    double stall_seconds; /* without a byte before a connection counts as broken; 0: 30 */
};

/* Gets every file; those that are there already, whole, are left alone. progress counts MiB.
 * errors  ERR_IO (the network after all tries, a status of the server, a disk), ERR_MISSING (404), ERR_FORMAT (size or SHA-256 are not
 *         what was told; the wrong bytes are gone), ERR_ARG (an URL that is not http or https), ERR_STOPPED. The text names the file.
 *         Whole files stay, parts too. */
MUST_USE bool download_files(const struct download *files, size_t count, const struct download_options *o,
                             const struct progress *progress, struct err *e);

/* A short answer, at most max_bytes, into *out (to be released also after a failure). next: the URL of the "next" link of the
 * answer's head, or "" (RFC 8288); NULL: not asked. Tried again as above. */
MUST_USE bool download_text(const char *url, const struct download_options *o, size_t max_bytes, struct text *out,
                            char *next, size_t next_bytes, struct err *e);

/* 64 hex digits and a 0 for a file's bytes; "checking" is told to progress. */
MUST_USE bool file_sha256(const char *path, char out[65], const struct progress *progress, struct err *e);

#endif
