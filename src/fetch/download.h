/* Downloads: a list of files over HTTP or HTTPS, several at a time.
 *
 * A file grows as "<path>.part" and gets its name when it is whole: its size and SHA-256 are checked where they are known. What a
 * broken connection, a stopped program or a full disk left is gone on with, by a range request; a server that knows no ranges
 * begins anew. A connection that fails is tried again, later each time, as long as now and then bytes arrive; a server that says
 * when (Retry-After) is asked then, if that is within DOWNLOAD_MOST_WAIT. */
#ifndef LIMN_FETCH_DOWNLOAD_H
#define LIMN_FETCH_DOWNLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/progress.h"
#include "base/text.h"

#define DOWNLOAD_MOST_WAIT 300 /* seconds */

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

    /* For files of many strangers. */
    double host_seconds;      /* above 0: from a host one file at a time, and so long a rest behind each */
    int64_t max_bytes;        /* a larger file fails with ERR_LIMIT, as early as it is known; 0: any */
    const char *const *types; /* Content-Type must begin with one of these (NULL ends), else ERR_TYPE; NULL: any */
    /* Called when file `index` has come (why->code is ERR_NONE) or has failed: then a failure ends that file only. What cannot be
     * written ends everything, and so does false. NULL: the first failure ends everything. */
    bool (*ended)(void *self, size_t index, const struct err *why, struct err *e);
    void *self;
};

/* Gets every file; those that are there already, whole, are left alone. progress counts MiB.
 * errors  ERR_IO (the network after all tries, a status of the server, a disk), ERR_MISSING (404), ERR_FORMAT (size or SHA-256 are not
 *         what was told; the wrong bytes are gone), ERR_LIMIT and ERR_TYPE (see above), ERR_ARG (an URL that is not http or https), ERR_STOPPED. The text names the file.
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
