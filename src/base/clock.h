/* Seconds of a clock that only goes forward, and wall-clock text. */
#ifndef LIMN_BASE_CLOCK_H
#define LIMN_BASE_CLOCK_H

#include <stddef.h>
#include <time.h>

static inline double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* "2026-01-31T12:00:00Z" into out[21]. */
static inline void clock_utc(char out[21])
{
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &t);
}

#endif
