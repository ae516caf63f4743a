/* Pictures by their addresses into a data set's folder, without a burden to those who serve them: one at a time from a host, a rest
 * behind each, Retry-After obeyed, nothing asked for twice.
 *
 * The list is a text with an address a line ('#' begins a remark), or a .jsonl or .csv file with the address in url, image_url or
 * link and the caption in text, caption or prompt; all else that a row says is kept in the manifest. */
#ifndef LIMN_DATASET_COLLECT_H
#define LIMN_DATASET_COLLECT_H

#include <jansson.h>

#include "base/progress.h"

/* What is not there (404, 410), refused, too large or no picture is written here, a JSON line each, and is not asked for again. */
#define COLLECT_FAILED_FILE "collect-failed.jsonl"

struct collect_options {
    const char *list, *to;
    const char *url_column, *text_column; /* NULL: the usual names */
    double host_seconds;                  /* rest behind each file of a host; at least 0.001 */
    int64_t max_bytes;                    /* of a file */
    int jobs, tries;                      /* hosts at a time; tries of a file */
    double wait_seconds, stall_seconds;   /* as download.h's; 0: its own */
    bool again;                           /* also what failed before */
};

struct collect_result {
    long taken, there, failed, failed_before;
    json_t *reasons; /* [{"url": .., "reason": ..}, ..], the first COLLECT_MOST_REASONS; json_decref it */
};
#define COLLECT_MOST_REASONS 1000

/* Saves the manifest now and then, when it is stopped and at the end: the same call goes on. r is filled also after a failure.
 * errors  ERR_MISSING, ERR_FORMAT and ERR_LIMIT of the list, ERR_IO of the data set's folder, ERR_STOPPED, ERR_NOMEM. */
MUST_USE bool dataset_collect(const struct collect_options *o, struct collect_result *r, const struct progress *progress,
                              struct err *e);

#endif
